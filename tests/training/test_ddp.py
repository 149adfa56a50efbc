"""Two processes on one machine train as one process does, with Lightning's DDP and torch's gloo backend."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from digitnet.data.datamodule import MNISTDataModule
from digitnet.model.calibration import Calibration
from digitnet.model.checkpoint import load_model
from digitnet.model.views import VIEWS, Views
from tests.conftest import ROOT, TRAIN_IMAGES, child_processes
from tests.forking import DEADLINE

pytestmark = pytest.mark.slow

TWO = ("--trainer.strategy=ddp", "--trainer.devices=2")

# train.py with an additional callback, which records the images that each rank trains on in each epoch.
SEEN = """
import hashlib, json, sys
from pathlib import Path
from lightning import Callback
from digitnet.data import mnist
from digitnet.training.cli import TrainingCLI

class Seen(Callback):
    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        with open(f"{sys.argv[1]}/{trainer.current_epoch}-{trainer.global_rank}", "a") as file:
            file.writelines(hashlib.sha256(image.numpy().tobytes()).hexdigest() + "\\n" for image in batch[0])

mnist.MD5.update(json.loads(sys.argv[2]))
cli = TrainingCLI(sys.argv[3:])
cli.trainer.callbacks.append(Seen())
cli.fit()
cli.test()
"""


def finished(process):
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    return out


def figures(root):
    return json.loads((root / "reports" / "metrics.json").read_text())


def torchrun(machine):
    """The start of a command that trains as one of two machines, both of them this one."""
    return ["-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={machine}", "--master-addr=127.0.0.1",
            "--master-port=29571"]  # fmt: skip


@pytest.mark.parametrize(
    ("commands", "devices"),
    [([[]], TWO), ([torchrun(0), torchrun(1)], ("--trainer.strategy=ddp", "--trainer.num_nodes=2"))],
    ids=["two processes", "two machines"],
)
def test_each_image_is_seen_once_per_epoch_by_one_of_two_processes(tiny_mnist, tmp_path, commands, devices):
    (tmp_path / "seen").mkdir()
    script = tmp_path / "seen.py"
    script.write_text(SEEN)
    options = [
        *devices,
        "--trainer.max_epochs=2",
        "--data.augmentation=false",
        "--data.synthetic_digits=0",
        "--data.non_digits=0",
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, *command, str(script), str(tmp_path / "seen"), json.dumps(tiny_mnist.md5),
             *tiny_mnist.options(tmp_path / f"run{machine}"), *options],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        for machine, command in enumerate(commands)
    ]  # fmt: skip
    assert [process.wait(timeout=DEADLINE) for process in processes] == [0] * len(commands)
    for epoch in (0, 1):
        hashes = [(tmp_path / "seen" / f"{epoch}-{rank}").read_text().split() for rank in (0, 1)]
        assert len(hashes[0]) == len(hashes[1])
        assert len({*hashes[0], *hashes[1]}) == len(hashes[0]) + len(hashes[1]) == TRAIN_IMAGES * 9 // 10
    # The first machine writes all results, including those of the test.
    assert [(tmp_path / f"run{machine}" / "reports" / "metrics.json").exists() for machine in (0, 1)] == [True, False]


def test_two_processes_leave_one_checkpoint_and_one_report_and_learn_as_well_as_one(tiny_mnist, tmp_path):
    output = finished(tiny_mnist.train(tmp_path / "two", *TWO, "--trainer.max_epochs=2"))
    assert output.count("Test accuracy") == 1
    assert sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir()) == [
        "best.ckpt", "last.ckpt",
    ]  # fmt: skip
    two = figures(tmp_path / "two")
    assert two["devices"] == 2
    # Two processes measure the same values on the validation images as one process.
    model, data = load_model(tmp_path / "two" / "checkpoints" / "best.ckpt"), MNISTDataModule(tiny_mnist.directory)
    data.setup("fit")
    images, labels = data.val_set.images, data.val_set.labels
    with torch.inference_mode():
        logits = model.network(images[:, None].float() / 255)
        views = [model.network(Views((view,))(images[:, None].float() / 255)) for view in VIEWS]
    assert torch.nn.functional.cross_entropy(logits, labels).item() == pytest.approx(two["val_loss"], rel=1e-4)
    assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(two["val_accuracy"], abs=1e-6)
    for fitted, values in [(model.calibration, logits), (model.averaged_calibration, torch.stack(views).mean(0))]:
        expected = Calibration()
        expected.fit(values, labels)
        for name, value in expected.state_dict().items():
            assert getattr(fitted, name).item() == pytest.approx(value.item(), rel=1e-4)
    # The same number of images per step: each of the two processes has a batch of its own.
    finished(tiny_mnist.train(tmp_path / "one", "--trainer.max_epochs=2", "--data.batch_size=32"))
    assert figures(tmp_path / "one")["test_accuracy"] == pytest.approx(two["test_accuracy"], abs=0.0015)

    # Two processes measure the same values on the test images as one process, which only tests the resumed run.
    last = tmp_path / "two" / "checkpoints" / "last.ckpt"
    finished(tiny_mnist.train(tmp_path / "two", "--trainer.max_epochs=2", f"--ckpt_path={last}"))
    again = figures(tmp_path / "two")
    assert again["test_accuracy"] == pytest.approx(two["test_accuracy"], abs=1e-7)
    assert again["test_loss"] == pytest.approx(two["test_loss"], rel=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the other rank by pgrep")
def test_a_killed_rank_ends_all_within_a_minute_and_the_run_can_be_resumed(tiny_mnist, tmp_path):
    root = tmp_path / "killed"
    process = tiny_mnist.train(root, *TWO, "--trainer.max_epochs=200")
    last = root / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + DEADLINE
    while not (root / "checkpoints" / "best.ckpt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (rank_1,) = child_processes(process.pid)
    os.kill(rank_1, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "error: Rank 0 of 2 lost the connection to the other processes" in err
    assert f"--ckpt_path {last}" in err
    for options in (TWO, ()):  # on two processes, and on one
        epochs = torch.load(last, weights_only=True)["epoch"] + 2
        finished(tiny_mnist.train(root, *options, f"--trainer.max_epochs={epochs}", f"--ckpt_path={last}"))
