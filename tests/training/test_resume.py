"""Runs that are stopped at any moment and go on as if they had not been: real processes, real signals."""

import signal
import time

import pytest
import torch

from digitnet.training.checkpoint import read_checkpoint
from tests.conftest import TinyMNIST

pytestmark = pytest.mark.slow

EPOCHS = 4
OPTIONS = [f"--trainer.max_epochs={EPOCHS}", "--seed_everything=11"]


def weights(root):
    return read_checkpoint(root / "checkpoints" / "last.ckpt")["state_dict"]


def same(first, second):
    return all(torch.equal(weight, second[name]) for name, weight in first.items())


def finish(process):
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The weights at the end of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    finish(TinyMNIST(folder / "made").train(folder / "run", *OPTIONS))
    return weights(folder / "run")


def stop(process, root, after, signum):
    """Sends the signal once `after` has happened: the run's first last.ckpt is there, or an epoch's line is printed."""
    if after == "begun":
        last = root / "checkpoints" / "last.ckpt"
        before = last.stat().st_ino if last.exists() else None
        while not last.exists() or last.stat().st_ino == before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
    else:
        for line in process.stdout:
            if line.startswith(f"epoch {after}/"):
                break
        time.sleep(0.15)  # into the next epoch
    assert process.poll() is None, "the run ended before it could be stopped"
    process.send_signal(signum)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny_mnist, tmp_path, unbroken):
    finish(tiny_mnist.train(tmp_path / "again", *OPTIONS))
    assert same(unbroken, weights(tmp_path / "again"))
    finish(tiny_mnist.train(tmp_path / "other", *OPTIONS, "--seed_everything=12"))
    assert not same(unbroken, weights(tmp_path / "other"))


def test_a_run_killed_at_several_moments_ends_with_the_weights_of_an_unbroken_one(tiny_mnist, tmp_path, unbroken):
    root = tmp_path / "killed"
    resume = f"--ckpt_path={root / 'checkpoints' / 'last.ckpt'}"
    process = tiny_mnist.train(root, *OPTIONS)
    stop(process, root, "begun", signal.SIGKILL)
    process.communicate()
    for after in (1, "begun", 3):
        process = tiny_mnist.train(root, *OPTIONS, resume)
        stop(process, root, after, signal.SIGKILL)
        process.communicate()
    finish(tiny_mnist.train(root, *OPTIONS, resume))
    assert same(unbroken, weights(root))


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_a_checkpoint_to_resume_from_and_says_so(tiny_mnist, tmp_path, unbroken, signum, status):
    root = tmp_path / "interrupted"
    process = tiny_mnist.train(root, *OPTIONS)
    stop(process, root, 2, signum)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status
    last = root / "checkpoints" / "last.ckpt"
    assert f"Go on: python train.py --ckpt_path {last}" in output
    assert "Traceback" not in errors
    finish(tiny_mnist.train(root, *OPTIONS, f"--ckpt_path={last}"))
    assert same(unbroken, weights(root))
