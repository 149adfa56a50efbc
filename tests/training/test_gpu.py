"""Training on a GPU, and checks without a GPU that no data would leave it."""

import json

import pytest
import torch
from lightning import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from digitnet.data.augmentation import Augmentation
from digitnet.data.datamodule import MNISTDataModule
from digitnet.data.degradation import Degradation
from digitnet.model.framing import Framing
from digitnet.training.module import DigitNet, soft_targets
from tests.forking import DEADLINE


@pytest.mark.parametrize(
    "change", [Augmentation(), Degradation(), DigitNet().to("meta")], ids=["augmentation", "degradation", "network"]
)
def test_a_batch_stays_on_its_device(change):
    # Tensors of the device "meta" have no values: reading one, or mixing it with one of the CPU, fails.
    torch.manual_seed(0)  # the size of the canvas is drawn on the CPU
    assert change(torch.empty(8, 1, 28, 28, device="meta")).device.type == "meta"


def test_framing_and_targets_stay_on_their_device():
    framed, blank = Framing()(torch.empty(4, 50, 40, 3, dtype=torch.uint8, device="meta"))
    assert {framed.device.type, blank.device.type} == {"meta"}
    assert soft_targets(torch.empty(8, dtype=torch.int64, device="meta")).device.type == "meta"


class Fetched(TorchDispatchMode, Callback):
    """Count the numbers that the steps of an epoch fetch from their device; on a GPU, each synchronizes with it."""

    steps = numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.numbers += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps += 1
        if trainer.is_last_batch:
            self.__exit__(None, None, None)


def test_no_step_of_an_epoch_fetches_a_number_from_the_device(tiny_mnist, tmp_path):
    fetched = Fetched()
    # Without a logger, which fetches what it writes, and without a progress bar, which fetches what it shows.
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", default_root_dir=str(tmp_path), callbacks=[fetched],
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    trainer.fit(
        DigitNet(), MNISTDataModule(str(tiny_mnist.directory), batch_size=16, synthetic_digits=40, non_digits=10)
    )
    assert fetched.steps > 20
    assert fetched.numbers == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_training_on_a_gpu_learns_in_each_precision(tiny_mnist, tmp_path, precision):
    process = tiny_mnist.train_in_new_process(
        tmp_path, "--trainer.accelerator=gpu", f"--trainer.precision={precision}", "--data.degradation=0.5",
        "--trainer.max_epochs=2",
    )  # fmt: skip
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    figures = json.loads((tmp_path / "reports" / "metrics.json").read_text())
    assert figures["device"] == torch.cuda.get_device_name()
    assert figures["test_accuracy"] > 0.9
