"""Callbacks of a training run: random seeds, messages for a run that stops, and a log line per epoch."""

import logging
import time

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from digitnet.errors import CheckpointError, DigitnetError, Interrupted, RankLostError

METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")  # logged once per epoch

logger = logging.getLogger(__name__)


class EpochSeed(Callback):
    """Seed torch's generators from the run's seed, the epoch and the rank before each epoch.

    Lightning does not store the generators' states in checkpoints. With this callback, dropout and augmentation draw
    the same numbers in a resumed run as in one that was never interrupted.

    Args:
        seed: The seed of the run, at least 0.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the seed.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        torch.manual_seed(random_seed(self.seed, trainer.current_epoch, trainer.global_rank))


class EpochLog(Callback):
    """Log a line per epoch with its metrics, for output that is not a terminal and shows no progress bar."""

    def __init__(self) -> None:
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, also of a run that is resumed within an epoch.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        self._start = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the clock.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        if trainer.is_global_zero:
            values = {name: trainer.callback_metrics[name] for name in METRICS if name in trainer.callback_metrics}
            metrics = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            seconds = time.perf_counter() - self._start
            logger.info("%s  %s  %.1f s", epoch_name(trainer), metrics, seconds)


class ResumeHint(Callback):
    """Log how to resume a run that stops, and raise an error that explains why a run could not be restored.

    Args:
        checkpoint: The ModelCheckpoint that keeps last.ckpt, or None if the run keeps none.
    """

    def __init__(self, checkpoint: ModelCheckpoint | None) -> None:
        self.checkpoint = checkpoint
        self._training = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the checkpoint has been restored.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        self._training = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Log the hint, or replace the exception by one that names its cause.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
            exception: The exception that stops the run.

        Raises:
            RankLostError: If another process of a distributed run has ended.
            CheckpointError: If the state of the run could not be restored.
        """
        if trainer.world_size > 1 and isinstance(exception, RuntimeError) and _is_communication_error(exception):
            raise RankLostError(
                f"Rank {trainer.global_rank} of {trainer.world_size} lost the connection to the other processes. One of"
                " them ended: see its message, or whether the system killed it to free memory."
                f" {self._hint(trainer)}"
            ) from exception
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if isinstance(exception, MisconfigurationException):  # it names the option
            return
        if isinstance(exception, Interrupted) and trainer.is_global_zero and self._training:
            logger.warning("Interrupted in %s. %s", epoch_name(trainer), self._hint(trainer))
        elif trainer.ckpt_path and not self._training and not isinstance(exception, (DigitnetError, OSError)):
            raise CheckpointError(
                f"{trainer.ckpt_path} is damaged: the run cannot be restored from it ({type(exception).__name__})."
                " Use a last.ckpt that train.py wrote"
            ) from exception

    def _hint(self, trainer: Trainer) -> str:
        """Return how to resume the run."""
        if self.checkpoint is not None and self.checkpoint.save_on_exception:  # it is about to be written
            return "Resume with the same options and --ckpt_path last"
        if self.checkpoint is None or not self.checkpoint.best_model_path:
            return "There is no checkpoint of this run to resume from."
        return f"Resume with the same options and --ckpt_path {self.checkpoint.best_model_path}"


def random_seed(*keys: int) -> int:
    """Return a seed for torch that differs if any of the keys does.

    Args:
        keys: Non-negative numbers, for example the seed of the run, the epoch and the rank.

    Returns:
        An integer, 0 to 2**64 - 1.
    """
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0])


def epoch_name(trainer: Trainer) -> str:
    """Return the number of the current epoch.

    Args:
        trainer: The trainer of the run.

    Returns:
        The number, counted from 1, and the maximum if there is one, for example "epoch 2/5".
    """
    maximum = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{maximum}"


def _is_communication_error(error: RuntimeError) -> bool:
    """Return whether the error comes from the process group; gloo has no exception class of its own."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
