"""What happens around the epochs of a run: fixed seeds, checkpoints, and the record of how it went."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, RichProgressBar
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from digitnet.data.datamodule import random_seed
from digitnet.errors import CheckpointError, DigitnetError, DivergedError, Interrupted, RankLostError
from digitnet.files import write_atomically
from digitnet.training.checkpoint import save_network
from digitnet.training.module import DigitNet

Metrics = dict[str, float]
_METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
_TIMES = ("seconds", "train_seconds")
SHOW_EVERY = 20  # steps between what the progress bar shows of the batch at hand


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
        self.rows = [{name: float(row[name]) for name in (*_METRICS, *_TIMES)} for row in state_dict["rows"]]


class BestAndLast(Checkpoint):
    """Keeps best.ckpt, the network of the epoch with the lowest val/loss, and last.ckpt, the run up to its last epoch.

    val/loss rather than val/accuracy, for it tells apart epochs that get the same few images wrong, and rewards
    probabilities that mean what they say. last.ckpt is there from the first step on, so that a run can be resumed
    whenever it stops; it carries the best weights too, so that it can be resumed wherever it is taken. Lightning's
    ModelCheckpoint stores absolute paths in each file, forgets the best score when the folder moves, and writes no
    last.ckpt after an epoch that was not the best.
    """

    def __init__(self, folder: Path) -> None:
        self.best_path = folder / "best.ckpt"
        self.last_path = folder / "last.ckpt"
        self.best_loss = float("inf")
        self.best_weights: dict[str, Tensor] | None = None
        self._training = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best_weights is not None:  # resumed: what lies there may be another run's
            self._save_best(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = True
        trainer.save_checkpoint(self.last_path, weights_only=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics["val/loss"].item()
        if not math.isfinite(loss):
            raise DivergedError(
                f"val/loss is {loss} after epoch {trainer.current_epoch + 1}: training diverged."
                f" Try less than --model.learning_rate {pl_module.hparams['learning_rate']}"
            )
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_weights = {name: weight.cpu().clone() for name, weight in pl_module.state_dict().items()}
            self._save_best(trainer, pl_module)
        trainer.save_checkpoint(self.last_path, weights_only=False)

    def _save_best(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            assert isinstance(pl_module, DigitNet)
            assert self.best_weights is not None
            save_network(self.best_path, self.best_weights, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.world_size > 1 and isinstance(exception, RuntimeError) and _of_ranks(exception):
            raise RankLostError(
                f"Rank {trainer.global_rank} of {trainer.world_size} can no longer reach the others, for one of them"
                " stopped. See what it said, or whether it was killed for memory. Nothing up to the start of epoch"
                f" {trainer.current_epoch + 1} is lost. Go on, with as many processes as you like:"
                f" python train.py --ckpt_path {self.last_path} (and the same options)"
            ) from exception
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if isinstance(exception, Interrupted) and trainer.is_global_zero and self._training:
            print(
                f"\nStopped in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}. Nothing up to its start"
                f" is lost. Go on: python train.py --ckpt_path {self.last_path} (and the same options)",
                flush=True,
            )
        elif trainer.ckpt_path and not self._training and not isinstance(exception, (DigitnetError, OSError)):
            raise CheckpointError(
                f"{trainer.ckpt_path} is damaged: the run cannot be restored from it ({type(exception).__name__})."
                " Use a last.ckpt that train.py wrote"
            ) from exception

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "best_weights": self.best_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_loss, self.best_weights = float(state_dict["best_loss"]), state_dict["best_weights"]


def _of_ranks(error: RuntimeError) -> bool:
    """Whether it comes from what carries gradients between ranks. gloo has no class of errors of its own."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


class EpochBar(RichProgressBar):
    """Lightning's progress bar, counting epochs from 1, without the number of the log folder; with the batch at hand.

    Loss and accuracy of that are taken here and now and then, since what a step logs is fetched from the device, and
    waited for, at each.
    """

    def __init__(self) -> None:
        super().__init__(leave=True)
        self._of_batch: Metrics = {}

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}"

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        assert isinstance(pl_module, DigitNet)
        if len(pl_module.outputs) % SHOW_EVERY == 1:
            loss, logits, labels = pl_module.outputs[-1]
            right = logits.argmax(1) == labels
            self._of_batch = {"loss": loss.item(), "accuracy": right.float().mean().item()}
        shown = super().get_metrics(trainer, pl_module) | self._of_batch
        return {name: value for name, value in shown.items() if name != "v_num"}


class SaveConfig(SaveConfigCallback):
    """Writes the run's options to checkpoints/config.yaml, beside what came of them."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            config = self.config.clone()
            config.pop("ckpt_path", None)  # the run as a whole, not the session that ended it
            config.pop("config", None)
            folder = Path(trainer.default_root_dir) / "checkpoints"
            write_atomically(folder / "config.yaml", self.parser.dump(config).encode())
