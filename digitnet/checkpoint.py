"""Checkpoints: written whole, and read as if they came from a stranger.

A checkpoint is a zip file with a pickle in it, and a pickle can name any code to run. So only weights and plain
values are ever unpickled (torch's weights-only reader), nothing in the file says what to build, and what it holds
is compared with what the network wants before any of it is used.
"""

import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from digitnet.data import MNISTDataModule
from digitnet.errors import CheckpointError, ConfigError
from digitnet.files import write_file
from digitnet.model import DigitNet

LARGEST_CHECKPOINT = 64 * 2**20  # bytes once unpacked; ours with AdamW's state has under 3 MB


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's own, but by rename within the folder: Lightning goes by way of /tmp, often another filesystem."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_file(path, buffer.getvalue())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of one of digitnet's checkpoints, on the CPU: weights under "state_dict", and plain values.

    Raises CheckpointError where the file is missing, damaged, or not a checkpoint of this network.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"No checkpoint {path}. Train one first: python train.py")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > LARGEST_CHECKPOINT:
            raise CheckpointError(
                f"{path} unpacks to {unpacked:,} bytes; a checkpoint of digitnet has at most {LARGEST_CHECKPOINT:,}"
            )
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than weights and plain values, so it was not read and nothing in it was run."
            " Use a checkpoint that train.py wrote"
        ) from error
    except OSError:
        raise
    except CheckpointError:
        raise
    except Exception as error:  # a damaged zip or pickle can fail in any of a dozen ways, none of them ours to list
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint ({type(error).__name__}). Use one that train.py wrote"
        ) from error
    _check_content(path, checkpoint)
    return checkpoint


def _check_content(path: Path, checkpoint: Any) -> None:
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not isinstance(checkpoint.get("hyper_parameters"), dict):
        raise CheckpointError(f"{path} is not a checkpoint of digitnet: it lacks state_dict or hyper_parameters")
    wanted = {name: list(tensor.shape) for name, tensor in DigitNet().state_dict().items()}
    met = {name: list(tensor.shape) if isinstance(tensor, torch.Tensor) else None for name, tensor in weights.items()}
    for name in sorted({*wanted, *met}, key=str):
        if met.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{path} is of another network: its {name} is {met.get(name, 'missing')} where digitnet has"
                f" {wanted.get(name, 'none')}"
            )


def load_digitnet(path: str | Path) -> DigitNet:
    """The network of a checkpoint, on the CPU, ready to read digits. Raises CheckpointError like `read_checkpoint`."""
    checkpoint = read_checkpoint(path)
    hyper_parameters = checkpoint["hyper_parameters"]
    wanted = DigitNet().hparams
    if set(hyper_parameters) != set(wanted) or not all(
        isinstance(value, (int, float)) for value in hyper_parameters.values()
    ):
        raise CheckpointError(
            f"{path} has hyper-parameters {', '.join(map(str, hyper_parameters)) or 'none'}; digitnet has"
            f" {', '.join(wanted)}, each a number"
        )
    try:
        model = DigitNet(**hyper_parameters)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()


def check_resumable(path: str | Path, model: DigitNet, data: MNISTDataModule) -> None:
    """Raises CheckpointError unless a run of this model on this data can go on from `path` as if never stopped."""
    checkpoint = read_checkpoint(path)
    missing = {"optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step"} - set(checkpoint)
    if missing:
        raise CheckpointError(
            f"{path} holds weights but not the state of a run ({', '.join(sorted(missing))} missing), so no run can go"
            " on from it. Use a last.ckpt that train.py wrote"
        )
    for section, saved, now in [
        ("model", checkpoint["hyper_parameters"], model.hparams),
        ("data", checkpoint.get("datamodule_hyper_parameters"), data.hparams),
    ]:
        saved = saved if isinstance(saved, dict) else {}
        for name in sorted({*saved, *now}, key=str):
            if saved.get(name) != now.get(name):
                option = "seed_everything" if name == "seed" else f"{section}.{name}"
                raise CheckpointError(
                    f"{path} was trained with --{option} {saved.get(name)}, this run has {now.get(name)}."
                    f" Give the same options as then (checkpoints/config.yaml lists them): --{option} {saved.get(name)}"
                )
