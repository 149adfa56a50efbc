"""Runs that are interrupted at any moment are resumed bit for bit: real processes, real signals."""

import signal
import time

import pytest
import torch

from digitnet.model.checkpoint import read_checkpoint
from tests.conftest import TinyMNIST
from tests.forking import DEADLINE

pytestmark = pytest.mark.slow

EPOCHS = 4
OPTIONS = [f"--trainer.max_epochs={EPOCHS}", "--seed_everything=11"]


def weights(root):
    return read_checkpoint(root / "checkpoints" / "last.ckpt")["state_dict"]


def same(first, second):
    return all(torch.equal(weight, second[name]) for name, weight in first.items())


def finish(process):
    output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the final weights of a run that was never interrupted."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    finish(TinyMNIST(directory / "made").train(directory / "run", *OPTIONS))
    return weights(directory / "run")


def stop(process, root, after, signum):
    """Send the signal once `after` has happened: a last.ckpt was written ("saved"), or an epoch was logged."""
    if after == "saved":
        last = root / "checkpoints" / "last.ckpt"
        before = last.stat().st_ino if last.exists() else None
        while not last.exists() or last.stat().st_ino == before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
    else:
        for line in process.stderr:
            if line.startswith(f"epoch {after}/"):
                break
        time.sleep(0.15)  # into the next epoch
    assert process.poll() is None, "the run ended before it could be stopped"
    process.send_signal(signum)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny_mnist, tmp_path, uninterrupted):
    finish(tiny_mnist.train(tmp_path / "again", *OPTIONS))
    assert same(uninterrupted, weights(tmp_path / "again"))
    finish(tiny_mnist.train(tmp_path / "other", *OPTIONS, "--seed_everything=12"))
    assert not same(uninterrupted, weights(tmp_path / "other"))


def test_a_run_killed_at_several_moments_has_the_weights_of_an_uninterrupted_one(tiny_mnist, tmp_path, uninterrupted):
    root = tmp_path / "killed"
    resume = f"--ckpt_path={root / 'checkpoints' / 'last.ckpt'}"
    process = tiny_mnist.train(root, *OPTIONS)
    stop(process, root, "saved", signal.SIGKILL)
    process.communicate()
    for after in (2, "saved"):
        process = tiny_mnist.train(root, *OPTIONS, resume)
        stop(process, root, after, signal.SIGKILL)
        process.communicate()
    finish(tiny_mnist.train(root, *OPTIONS, resume))
    assert same(uninterrupted, weights(root))


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_resume_it(tiny_mnist, tmp_path, uninterrupted, signum, status):
    root = tmp_path / "interrupted"
    process = tiny_mnist.train(root, *OPTIONS)
    stop(process, root, 2, signum)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == status
    last = root / "checkpoints" / "last.ckpt"
    assert f"Resume with the same options and --ckpt_path {last}" in errors
    assert "Traceback" not in errors
    finish(tiny_mnist.train(root, *OPTIONS, f"--ckpt_path={last}"))
    assert same(uninterrupted, weights(root))
