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

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from digitnet.data.datamodule import MNISTDataModule
from digitnet.errors import CheckpointError, ConfigError
from digitnet.files import write_atomically
from digitnet.training.module import DigitNet

LARGEST_CHECKPOINT = 64 * 2**20  # bytes once unpacked; ours with AdamW's state has under 3 MB


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own, but by rename within the folder: Lightning goes by way of /tmp, often another filesystem."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(path, buffer.getvalue())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of one of digitnet's checkpoints, on the CPU: weights under "state_dict", and plain values.

    Raises CheckpointError where the file is missing, damaged, or not a checkpoint of this network.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; wanted a checkpoint, for example checkpoints/last.ckpt")
    if not path.is_file():
        raise CheckpointError(f"No checkpoint {path}. Train one first: python train.py")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > LARGEST_CHECKPOINT:
                raise CheckpointError(
                    f"{path} unpacks to {unpacked:,} bytes; a checkpoint of digitnet has at most {LARGEST_CHECKPOINT:,}"
                )
            if archive.testzip() is not None:  # torch does not compare checksums
                raise zipfile.BadZipFile
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
    for name, tensor in DigitNet().state_dict().items():
        _check_tensor(path, name, weights.get(name), tensor)
    if extra := set(weights) - set(DigitNet().state_dict()):
        raise CheckpointError(f"{path} is of another network: it has {min(map(str, extra))}, which digitnet has not")
    hyper_parameters, known = checkpoint["hyper_parameters"], DigitNet().hparams
    if set(hyper_parameters) != set(known) or not all(
        type(value) in (int, float) for value in hyper_parameters.values()
    ):
        raise CheckpointError(
            f"{path} has hyper-parameters {', '.join(map(str, hyper_parameters)) or 'none'}; digitnet has"
            f" {', '.join(known)}, each a number"
        )


def _check_tensor(path: Path, name: str, met: Any, wanted: torch.Tensor) -> None:
    def kind(tensor: Any) -> str:
        if not isinstance(tensor, torch.Tensor):
            return "missing"
        return f"{list(tensor.shape)} {tensor.dtype} {tensor.layout}".replace("torch.", "").replace(" strided", "")

    if kind(met) != kind(wanted):
        raise CheckpointError(f"{path} is of another network: its {name} is {kind(met)}, digitnet's is {kind(wanted)}")
    if not met.isfinite().all():
        raise CheckpointError(f"{path} has NaN or infinity in {name}: its training diverged, or it was changed")


def load_model(path: str | Path) -> DigitNet:
    """The network of a checkpoint, on the CPU, ready to read digits. Raises CheckpointError like `read_checkpoint`."""
    checkpoint = read_checkpoint(path)
    try:
        model = DigitNet(**checkpoint["hyper_parameters"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()


def check_resumable(path: Path, model: DigitNet, data: MNISTDataModule) -> None:
    """Raises CheckpointError unless a run of this model on this data can go on from `path` as if never stopped."""
    checkpoint = read_checkpoint(path)
    missing = {"optimizer_states", "lr_schedulers", "loops", "callbacks", "datamodule_hyper_parameters"} - set(
        checkpoint
    )
    if missing:
        raise CheckpointError(
            f"{path} holds weights but not the state of a run ({', '.join(sorted(missing))} missing), so no run can go"
            " on from it. Use a last.ckpt that train.py wrote"
        )
    _check_optimizer(path, checkpoint["optimizer_states"], model)
    for part in ("lr_schedulers", "loops", "callbacks", "datamodule_hyper_parameters"):
        if not checkpoint[part] or not isinstance(checkpoint[part], (dict, list)):
            raise CheckpointError(f"{path} has no whole state of a run: {part} is {checkpoint[part]!r:.40}")
    for section, saved, now in [
        ("model", checkpoint["hyper_parameters"], model.hparams),
        ("data", checkpoint["datamodule_hyper_parameters"], data.hparams),
    ]:
        for name in sorted({*saved, *now}, key=str):
            if saved.get(name) != now.get(name):
                option = "seed_everything" if name == "seed" else f"{section}.{name}"
                raise CheckpointError(
                    f"{path} was trained with --{option} {saved.get(name)}, this run has {now.get(name)}."
                    f" Give the same options as then (checkpoints/config.yaml lists them): --{option} {saved.get(name)}"
                )


def _check_optimizer(path: Path, states: Any, model: DigitNet) -> None:
    """AdamW's fused kernel trusts its buffers: with ones of another size it would write past their ends."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    state = (
        states[0].get("state")
        if isinstance(states, list) and len(states) == 1 and isinstance(states[0], dict)
        else None
    )
    # Empty before the first step.
    if not isinstance(state, dict) or not (set(state) == set(range(len(weights))) or not state):
        raise CheckpointError(f"{path} has no whole state of a run: optimizer_states does not fit the weights")
    for index, buffers in state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            met = buffers.get(name) if isinstance(buffers, dict) else None
            _check_tensor(path, f"{name} of weight {index}", met, weights[index])


def save_network(path: Path, weights: dict[str, torch.Tensor], model: DigitNet) -> None:
    """Writes best.ckpt: weights and hyper-parameters, without the state of a run."""
    checkpoint = {
        "state_dict": weights,
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__,  # Lightning's load_from_checkpoint asks for it
    }
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
