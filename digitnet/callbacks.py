"""What happens around the epochs of a run: fixed seeds, checkpoints, and the record of how it went."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn

from digitnet.checkpoint import read_checkpoint
from digitnet.data import random_seed
from digitnet.errors import CheckpointError, Interrupted
from digitnet.files import write_file

Metrics = dict[str, float]


class EpochSeed(Callback):
    """Sets torch's generators from the data module's seed, the epoch and the rank before each epoch.

    So dropout and augmentation draw the same in a resumed run as in one that was never stopped.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed = trainer.datamodule.seed  # type: ignore[attr-defined]
        torch.manual_seed(random_seed(seed, trainer.current_epoch, trainer.global_rank))


class History(Callback):
    """Keeps each epoch's metrics, over every session of a resumed run; prints them as one line where asked to.

    A row has train/loss, train/accuracy, val/loss, val/accuracy, `seconds` (the whole epoch) and `train_seconds`
    (without its validation).
    """

    def __init__(self, print_epochs: bool) -> None:
        self.print_epochs = print_epochs
        self.rows: list[Metrics] = []
        self._start = self._validation_start = self._train_seconds = 0.0

    @property
    def best(self) -> Metrics:
        """The row of the epoch that best.ckpt comes from."""
        return min(self.rows, key=lambda row: row["val/loss"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._train_seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        row = {name: trainer.callback_metrics[name].item() for name in _METRICS}
        row |= {"seconds": time.perf_counter() - self._start, "train_seconds": self._train_seconds}
        self.rows.append(row)
        if self.print_epochs and trainer.is_global_zero:
            print(
                f"epoch {len(self.rows)}/{trainer.max_epochs}"
                f"  train loss {row['train/loss']:.4f} accuracy {row['train/accuracy']:.2%}"
                f"  val loss {row['val/loss']:.4f} accuracy {row['val/accuracy']:.2%}"
                f"  {row['seconds']:.1f} s",
                flush=True,
            )

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]


_METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")


class BestAndLast(Checkpoint):
    """Keeps best.ckpt, the epoch with the lowest val/loss, and last.ckpt, the last whole epoch of this run.

    val/loss rather than val/accuracy, for it tells apart epochs that get the same few images wrong, and rewards
    probabilities that mean what they say. last.ckpt is there from the first step on, so that a run can be resumed
    whenever it stops. Lightning's ModelCheckpoint stores absolute paths in each file, forgets the best score when
    the folder moves, and writes no last.ckpt after an epoch that was not the best.
    """

    def __init__(self, folder: Path) -> None:
        self.best_path = folder / "best.ckpt"
        self.last_path = folder / "last.ckpt"
        self.best_loss = float("inf")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best_loss < float("inf") and not self._best_is_of_this_run():
            self.best_loss = float("inf")
        trainer.save_checkpoint(self.last_path, weights_only=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics["val/loss"].item()
        if loss < self.best_loss:
            self.best_loss = loss
            trainer.save_checkpoint(self.best_path, weights_only=False)
        trainer.save_checkpoint(self.last_path, weights_only=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        interrupted = trainer.state.fn == TrainerFn.FITTING and isinstance(exception, Interrupted)
        if interrupted and trainer.is_global_zero and self.last_path.exists():
            print(
                f"\nStopped in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}. Nothing up to its start"
                f" is lost. Go on: python train.py --ckpt_path {self.last_path} (and the same options)",
                flush=True,
            )

    def _best_is_of_this_run(self) -> bool:
        # A run may be resumed in another folder, where there is no best.ckpt or another run's.
        try:
            best = read_checkpoint(self.best_path)
        except CheckpointError:
            return False
        return best.get("callbacks", {}).get(self.state_key) == self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_loss = state_dict["best_loss"]


class SaveConfig(SaveConfigCallback):
    """Writes the run's options to checkpoints/config.yaml, beside what came of them."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            config = self.config.clone()
            config.pop("ckpt_path", None)  # the run as a whole, not the session that ended it
            config.pop("config", None)
            folder = Path(trainer.default_root_dir) / "checkpoints"
            write_file(folder / "config.yaml", self.parser.dump(config).encode())
