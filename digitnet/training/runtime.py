"""Settings of the process that trains: memory, warnings, YAML, and its end in a distributed run."""

import atexit
import ctypes
import logging
import sys
import warnings
from enum import Enum
from pathlib import Path

import torch
import yaml

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt in glibc's malloc.h


def prepare_process() -> None:
    """Make all settings of this module."""
    filter_warnings()
    configure_malloc()
    represent_enums()
    atexit.register(destroy_process_group)


def started_by_script() -> bool:
    """Return whether the user started train.py rather than the command `digitnet train`."""
    return Path(sys.argv[0]).name == "train.py"


def configure_malloc() -> None:
    """Make glibc reuse the memory of a training step for the next one.

    By default, it returns large blocks to the system and gets them back page by page, which costs 8,000 page
    faults and a quarter of the CPU time of a step. See mallopt(3). It has no effect on systems without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for parameter, value in [(M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1)]:
            mallopt(parameter, value)


def represent_enums() -> None:
    """Let YAML write members of enumerations as their values.

    The default of an option of Lightning's Timer is one, and config.yaml could not be saved.
    """
    yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))


def destroy_process_group() -> None:
    """Close the connections of a distributed run, if there are any, before Python's own clean-up.

    Lightning does so for NCCL only. With gloo, a process then sometimes aborts at its end, because threads of the group
    still hold tensors: https://github.com/pytorch/pytorch/pull/179291.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def filter_warnings() -> None:
    """Hide messages of Lightning that do not apply to digitnet."""
    # MNISTDataModule is faster without worker processes.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # A machine with SLURM can also train without it.
    warnings.filterwarnings("ignore", message=".*`srun` command is available")
    # `digitnet train` passes its arguments without the name of the command.
    warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter is intended")
    # A second run replaces the checkpoints of the first.
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty")
    # The data module's sampler evaluates each image once, on any number of devices.
    warnings.filterwarnings("ignore", message=".*it is recommended to use `Trainer.devices=1")
    # Lightning's own use of torch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    # Lightning's tips.
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: "Tip:" not in str(record.msg))
