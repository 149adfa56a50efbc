"""The command line of train.py and the Lightning Trainer behind it."""

import ctypes
import logging
import sys
import warnings
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentError
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from digitnet.data.datamodule import MNISTDataModule
from digitnet.errors import ConfigError, one_line_errors
from digitnet.training.callbacks import BestAndLast, EpochBar, EpochSeed, History, SaveConfig
from digitnet.training.checkpoint import AtomicCheckpointIO, check_resumable
from digitnet.training.module import DigitNet
from digitnet.training.report import Report, summary

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the `train` command: train, test the best epoch once, and print where the results are stored."""
    cli = TrainingCLI(args)
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True)
    cli.trainer.test(cli.best_network(), cli.datamodule, verbose=False)
    if cli.trainer.is_global_zero:
        print(summary(cli.trainer))


def build_trainer(
    max_epochs: int = 5,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    deterministic: bool = False,
    early_stopping_patience: int | None = None,
    default_root_dir: str = ".",
    callbacks: list | None = None,
) -> Trainer:
    """A Lightning Trainer with digitnet's checkpoints, logs and progress display.

    Args:
        max_epochs: Times over the images.
        accelerator: auto: a GPU, else the CPU.
        devices: On each machine.
        num_nodes: How many machines.
        strategy: ddp for several devices.
        precision: Of the arithmetic.
        deterministic: Repeatable bit for bit on a GPU too.
        early_stopping_patience: Epochs without a lower val/loss after which to stop.
        default_root_dir: Where checkpoints/, reports/ and logs/ are made.
        callbacks: More Lightning callbacks.
    """
    for name, value, least in [
        ("max_epochs", max_epochs, 1),
        ("num_nodes", num_nodes, 1),
        ("early_stopping_patience", early_stopping_patience, 1),
    ]:
        if value is not None and value < least:
            raise ConfigError(f"trainer.{name} is {value}; it must be {least} or more")
    for callback in callbacks or []:
        if not isinstance(callback, Callback):
            raise ConfigError(f"trainer.callbacks has {callback!r}, which is no Lightning callback")
    configure_malloc()
    root = Path(default_root_dir)
    on_terminal = sys.stdout.isatty()
    history = History(print_epochs=not on_terminal)
    own_callbacks: list[Callback] = [
        EpochSeed(),
        LearningRateMonitor(logging_interval="epoch"),
        history,
        BestAndLast(root / "checkpoints"),
        Report(root / "reports", history),
    ]
    if on_terminal:
        own_callbacks.append(EpochBar())
    if early_stopping_patience:
        own_callbacks.append(EarlyStopping("val/loss", patience=early_stopping_patience))
    tensorboard = TensorBoardLogger(root / "logs", name="tensorboard")
    try:
        trainer = Trainer(
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=strategy,
            precision=precision,
            deterministic=deterministic,
            default_root_dir=root,
            callbacks=own_callbacks + (callbacks or []),
            logger=[tensorboard, CSVLogger(root / "logs", name="csv", version=tensorboard.version)],
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,  # the data module shares out the images itself, none twice
            log_every_n_steps=1,  # only whole epochs are logged; more than an epoch has steps draws a warning
            num_sanity_val_steps=0,  # a test run of the validation guards against bugs that the tests find
            enable_progress_bar=on_terminal,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ModuleNotFoundError, ValueError, TypeError, RuntimeError) as error:
        reason, _, hint = str(error).partition(" HINT: ")
        raise ConfigError(
            f"This machine cannot train with accelerator {accelerator}, devices {devices}, strategy {strategy},"
            f" precision {precision} ({reason.split('. ')[0].rstrip('.')})."
            f" {hint or 'Without these options it trains on what it has'}"
        ) from error
    if precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        raise ConfigError("trainer.precision 16-mixed takes a GPU; on the CPU use 32-true or bf16-mixed")
    return trainer


def configure_malloc() -> None:
    """Makes glibc keep what a step frees for the next one, where it would hand blocks as large as ours back to the
    system and be given them page by page again: 8,000 page faults and a quarter of a step's CPU time. The same names
    and numbers as in its mallopt(3); nothing is done where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for parameter, value in [(M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1)]:
            mallopt(parameter, value)


def filter_warnings() -> None:
    """Keeps Lightning from saying what a user of digitnet can do nothing about."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # hints and adverts; what matters we say ourselves
    # Said of any loader without worker processes; ours are quicker without (see MNISTDataModule).
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # Said before `build_trainer` refuses it.
    warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
    # Said on every machine that has SLURM, where one may well train without it.
    warnings.filterwarnings("ignore", message=".*`srun` command is available")
    # `digitnet train` passes its arguments on, without the name of the command.
    warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter is intended")
    # Lightning's own use of torch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")


class TrainingCLI(LightningCLI):
    """The options of train.py: those of `build_trainer`, `DigitNet` and `MNISTDataModule`, a seed and a checkpoint.

    Builds `.trainer`, `.model` and `.datamodule`. Raises ConfigError and CheckpointError before anything is written.
    """

    def __init__(self, args: ArgsType = None) -> None:
        filter_warnings()
        super().__init__(
            DigitNet,
            MNISTDataModule,
            trainer_class=build_trainer,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            parser_kwargs={
                "usage": "python train.py [options]",
                "description": "Trains digitnet on MNIST and tests it.",
                "exit_on_error": False,  # raise instead, for one line where argparse prints its usage
            },
            args=args,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # else each checkpoint would name code to import
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--seed_everything", type=int, default=0, help="Fixes all that is random.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--ckpt_path", type=str | None, help="Go on from this last.ckpt.")
        parser.link_arguments("seed_everything", "data.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise ConfigError(f"{error} (python train.py --help lists the options)") from error
        if not 0 <= self.config.seed_everything < 2**32:
            raise ConfigError(f"seed_everything is {self.config.seed_everything}; it must be from 0 to {2**32 - 1}")

    def after_instantiate_classes(self) -> None:
        if self.config.ckpt_path is not None:
            check_resumable(Path(self.config.ckpt_path), self.model, self.datamodule)

    def best_network(self) -> DigitNet:
        """The network with the weights of best.ckpt, from memory: a second machine may have no such file."""
        weights = next(c.best_weights for c in self.trainer.callbacks if isinstance(c, BestAndLast))  # type: ignore[attr-defined]
        assert weights is not None
        self.model.load_state_dict(weights)
        return self.model
