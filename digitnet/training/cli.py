"""The command line of train.py: a LightningCLI with digitnet's defaults."""

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from jsonargparse import ArgumentError, Namespace
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

import digitnet
from digitnet.console import log_to_stderr, one_line_errors, track
from digitnet.data.datamodule import MNISTDataModule
from digitnet.errors import ConfigError
from digitnet.training.callbacks import EpochLog, EpochSeed, ResumeHint
from digitnet.training.checkpoint import check_resumable
from digitnet.training.module import DigitNet
from digitnet.training.option_errors import config_without_options, describe_error
from digitnet.training.report import TrainingReport
from digitnet.training.runtime import prepare_process, started_by_script
from digitnet.training.summary import summary

MAX_SEED = 2**32 - 1
DIGITNET, LIGHTNING, TORCH = (Path(package.__path__[0]) for package in (digitnet, lightning, torch))
LIGHTNING_CKPT_PATHS = ("best", "last", "hpc")  # words that Lightning resolves to a path
POSITIVE_OPTIONS = ("accumulate_grad_batches", "check_val_every_n_epoch")  # used as divisors without a check
TRAINER_DEFAULTS = {
    "max_epochs": 5,
    "devices": 1,
    "log_every_n_steps": 20,
    "default_root_dir": ".",
    "plugins": [{"class_path": "digitnet.training.checkpoint.AtomicCheckpointIO"}],
}


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the `train` command: train, test the best epoch once, and print where the results are stored.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    cli = TrainingCLI(args)
    cli.fit()
    cli.test()
    cli.print_summary()


class TrainingCLI(LightningCLI):
    """LightningCLI for `DigitNet` and `MNISTDataModule`, with checkpoints, loggers and a report by default.

    It has every option of Lightning's Trainer, and instantiates `trainer`, `model` and `datamodule` without running
    them. In addition to the classes' options there are `--ckpt_path`, and the options of two ModelCheckpoints and a
    LearningRateMonitor: `--best_checkpoint.*`, `--last_checkpoint.*` and `--learning_rate_monitor.*`.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.

    Raises:
        ConfigError: If an option is unknown or has an invalid value.
        CheckpointError: If `--ckpt_path` is not a checkpoint from which this run can be resumed.
    """

    def __init__(self, args: ArgsType = None) -> None:
        log_to_stderr()
        prepare_process()
        super().__init__(
            DigitNet,
            MNISTDataModule,
            trainer_defaults=dict(TRAINER_DEFAULTS),
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={
                "prog": "python train.py" if started_by_script() else "digitnet train",
                "usage": "%(prog)s [options]",
                "description": "Trains digitnet on MNIST and tests it.",
                "exit_on_error": False,  # raise an exception instead of printing the usage
            },
            args=args,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it stores the name of a class to import in each checkpoint
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the checkpoint to resume from, and the stock callbacks with their options.

        Args:
            parser: The parser of the command.
        """
        parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint to resume from, for example last.ckpt.")
        parser.add_lightning_class_args(ModelCheckpoint, "best_checkpoint")
        parser.add_lightning_class_args(ModelCheckpoint, "last_checkpoint")
        parser.add_lightning_class_args(LearningRateMonitor, "learning_rate_monitor")
        parser.set_defaults(
            {
                # The loss distinguishes epochs that misclassify the same few images, and measures their probabilities.
                "best_checkpoint.monitor": "val/loss",
                "best_checkpoint.filename": "best",
                "best_checkpoint.save_weights_only": True,
                "best_checkpoint.enable_version_counter": False,
                "last_checkpoint.filename": "last",
                # It has no effect without a monitored metric, but distinguishes the state of this callback from that of
                # another ModelCheckpoint: --trainer.callbacks+=ModelCheckpoint.
                "last_checkpoint.mode": "max",
                "last_checkpoint.enable_version_counter": False,
                "last_checkpoint.save_on_train_epoch_end": True,
                "learning_rate_monitor.logging_interval": "epoch",
            }
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the options.

        Args:
            parser: The parser of the command.
            args: Command-line arguments, `sys.argv[1:]` if None.

        Raises:
            ConfigError: If an option is unknown or has an invalid value.
        """
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            if config := config_without_options(sys.argv[1:] if args is None else args):
                raise ConfigError(
                    f"config {config} is empty; expected options as --print_config prints them"
                ) from error
            raise ConfigError(f"{describe_error(error)} (`{parser.prog} --help` lists the options)") from error
        for name in POSITIVE_OPTIONS:
            value = self.config.trainer[name]
            if value is not None and value < 1:
                raise ConfigError(f"trainer.{name} is {value}; it must be 1 or more")
        if not 0 <= self.config.seed_everything <= MAX_SEED:
            raise ConfigError(f"seed_everything is {self.config.seed_everything}; it must be from 0 to {MAX_SEED}")

    def instantiate_classes(self) -> None:
        """Build the data module, the module and the trainer.

        Raises:
            ConfigError: If an argument of a class is out of its range, or a package that the class needs is missing.
        """
        try:
            super().instantiate_classes()
        except (ValueError, ModuleNotFoundError, MisconfigurationException) as error:  # jsonargparse wraps ValueErrors
            raise ConfigError(describe_error(error)) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with those default callbacks and loggers that its options allow.

        Args:
            kwargs: Arguments of the trainer that replace the options.

        Returns:
            The trainer.

        Raises:
            ConfigError: If the options contradict each other or cannot be satisfied on this machine.
        """
        options = self.config_init.trainer
        root = Path(options.default_root_dir or ".")
        for checkpoint in (self.config_init.best_checkpoint, self.config_init.last_checkpoint):
            if checkpoint.dirpath is None:
                checkpoint.dirpath = os.path.realpath(root / "checkpoints")
        own: list[Callback] = []
        stock: list[Callback] = []
        if options.barebones:  # which excludes loggers, checkpoints, progress bars and everything that logs
            if options.log_every_n_steps == TRAINER_DEFAULTS["log_every_n_steps"]:
                kwargs["log_every_n_steps"] = None
        else:
            if options.logger is None or options.logger is True:
                kwargs["logger"] = default_loggers(root)
            own, stock = self._own_callbacks(root), self._stock_callbacks()
            if options.enable_progress_bar is None and not sys.stdout.isatty() and not _has_progress_bar(options):
                kwargs["enable_progress_bar"] = False
                own.append(EpochLog())
        self.trainer_defaults["callbacks"] = own
        try:
            return self._instantiate_trainer({**options, **kwargs}, stock)
        except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(f"The trainer cannot be built with these options: {error}") from error

    def _stock_callbacks(self) -> list[Callback]:
        """Return Lightning's callbacks that the other options allow."""
        callbacks: list[Callback] = []
        if self.config_init.trainer.enable_checkpointing is not False:
            callbacks += [self.config_init.best_checkpoint, self.config_init.last_checkpoint]
        if self.config_init.trainer.logger is not False:  # it requires a logger
            callbacks.append(self.config_init.learning_rate_monitor)
        return callbacks

    def _own_callbacks(self, root: Path) -> list[Callback]:
        """Return digitnet's own callbacks, which do what no stock callback does."""
        checkpoint = self.config_init.last_checkpoint
        enabled = self.config_init.trainer.enable_checkpointing is not False
        callbacks: list[Callback] = [TrainingReport(root / "reports"), ResumeHint(checkpoint if enabled else None)]
        if self.config.seed_everything is not False:
            callbacks.append(EpochSeed(int(self.config.seed_everything)))
        return callbacks

    def after_instantiate_classes(self) -> None:
        """Check the checkpoint to resume from, before anything is written.

        Raises:
            CheckpointError: If no run with these options can be resumed from the checkpoint.
        """
        self.datamodule.track = partial(track, description="Drawing synthetic images")
        last = Path(self.config_init.last_checkpoint.dirpath) / "last.ckpt"
        path = last if self.config.ckpt_path == "last" and last.is_file() else self.config.ckpt_path
        if path not in (None, *LIGHTNING_CKPT_PATHS):
            check_resumable(Path(path), self.model, self.datamodule)

    def fit(self) -> None:
        """Train, or resume from `--ckpt_path`.

        Raises:
            ConfigError: If Lightning finds an option invalid, or one that does not fit the others.
        """
        with invalid_options_as_config_errors():
            self.trainer.fit(self.model, self.datamodule, ckpt_path=self.config.ckpt_path, weights_only=True)

    def test(self) -> None:
        """Test the epoch with the lowest val/loss, or the last state of the network if no checkpoint was written.

        Raises:
            ConfigError: If Lightning finds an option invalid.
        """
        path = self.best_checkpoint_path()
        with invalid_options_as_config_errors():
            self.trainer.test(self.model, self.datamodule, ckpt_path=path, weights_only=True, verbose=False)

    def print_summary(self) -> None:
        """Print the result of the run and where its files are stored, in the first of several processes."""
        if self.trainer.is_global_zero:
            print(summary(self.trainer, self.best_checkpoint_path()))

    def best_checkpoint_path(self) -> str | None:
        """Return the path of the checkpoint with the lowest val/loss.

        Returns:
            The path, or None if there is no such checkpoint.
        """
        path = self.config_init.best_checkpoint.best_model_path
        return path if os.path.isfile(path) else None


@contextmanager
def invalid_options_as_config_errors() -> Iterator[None]:
    """Raise ConfigError for the exceptions with which Lightning refuses options.

    Exceptions of other code keep their traceback, also those that Lightning raises for a wrong call of a callback or
    network of the user.

    Raises:
        ConfigError: With the message of the exception.
    """
    try:
        yield
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
        if not files[-1].is_relative_to(LIGHTNING) or not all(map(_is_known_code, files)):
            raise
        raise ConfigError(str(error)) from error


def _is_known_code(file: Path) -> bool:
    """Return whether a file of a traceback belongs to digitnet, Lightning, torch or Python."""
    in_python = file.is_relative_to(sysconfig.get_path("stdlib")) and "site-packages" not in file.parts
    return in_python or any(file.is_relative_to(package) for package in (DIGITNET, LIGHTNING, TORCH))


def _has_progress_bar(options: Namespace) -> bool:
    """Return whether the options of the trainer name a progress bar."""
    return any(isinstance(callback, ProgressBar) for callback in options.callbacks or [])


def default_loggers(root: Path) -> list[Logger]:
    """Return a TensorBoardLogger and a CSVLogger with the same version number, below `root`/logs.

    Args:
        root: The trainer's root directory.

    Returns:
        The two loggers.
    """
    tensorboard = TensorBoardLogger(root / "logs", name="tensorboard")
    return [tensorboard, CSVLogger(root / "logs", name="csv", version=tensorboard.version)]
