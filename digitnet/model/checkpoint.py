"""Reading checkpoints as untrusted input.

A checkpoint is a zip archive with a pickle in it, and unpickling can run arbitrary code. Therefore only tensors and
plain values are unpickled (`torch.load(weights_only=True)`), nothing in the file decides which classes are built, and
the tensors are compared with those of the network before any of them is used.
"""

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor, nn

from digitnet.errors import CheckpointError
from digitnet.model.calibration import Calibration
from digitnet.model.network import ConvNet

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)  # depends on --trainer.precision
MAX_UNPACKED_BYTES = 64 * 2**20  # a checkpoint of digitnet with the state of AdamW has less than 3 MB
# Of a checkpoint, relative to the weights in it: AdamW's two buffers make it 3, and float64 in place of float32 6.
MAX_SIZE_RATIO = 8
UNSAFE = (  # the end of a message
    "contains more than weights and plain values, so it was not loaded and nothing in it was run."
    " Use a checkpoint that train.py wrote"
)
ADDED = "averaged_calibration."  # prefix of the buffers that checkpoints of earlier versions lack


class TrainedModel(NamedTuple):
    """A trained network with its calibration, in evaluation mode on the CPU.

    Attributes:
        network: Maps ink to logits.
        calibration: The temperature of the logits and the rejection threshold.
        averaged_calibration: Both for logits that are averaged over `digitnet.model.views`. Its threshold is 0 if the
            checkpoint has none.
    """

    network: ConvNet
    calibration: Calibration
    averaged_calibration: Calibration


def load_model(path: str | Path) -> TrainedModel:
    """Load the network and its calibration from a checkpoint of `DigitNet`.

    Args:
        path: A checkpoint that train.py wrote.

    Returns:
        The trained model, on the CPU.

    Raises:
        CheckpointError: If the checkpoint is missing, damaged or of another network; see `read_checkpoint`.
        OSError: If the file cannot be read.
    """
    model = TrainedModel(ConvNet(), Calibration(), Calibration())
    modules = nn.ModuleDict(model._asdict())
    modules.load_state_dict(read_checkpoint(path, modules)["state_dict"], strict=False)
    modules.eval()
    return model


def read_checkpoint(path: str | Path, reference: nn.Module | None = None) -> dict[str, Any]:
    """Read a Lightning checkpoint without running anything in it.

    Args:
        path: The checkpoint.
        reference: If given, the checkpoint must have exactly the parameters and buffers of this module, with the same
            shapes and finite values. The precision of floats may differ.

    Returns:
        The content, with tensors on the CPU: among others "state_dict" and "hyper_parameters" (numbers).

    Raises:
        CheckpointError: If the file is missing, damaged, holds more than tensors and plain values, unpacks to more than
            64 MiB and 8 times the size of `reference`, or does not fit `reference`.
        OSError: If the file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"expected a checkpoint, for example checkpoints/last.ckpt, got the directory {path}")
    if not path.is_file():
        raise CheckpointError(f"No checkpoint {path}. Train one first: digitnet train, or python train.py")
    weights = {} if reference is None else reference.state_dict()
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    checkpoint: dict[str, Any] = _unpickle(path, max(MAX_UNPACKED_BYTES, MAX_SIZE_RATIO * size))
    _check_content(path, checkpoint)
    if reference is not None:
        _check_state_dict(path, checkpoint["state_dict"], weights)
    return checkpoint


def check_instantiator(path: str | Path | IO[Any]) -> None:
    """Refuse a checkpoint from which Lightning's `load_from_checkpoint` would import what the file names.

    Args:
        path: The checkpoint, a path or a file object, which is left at its start.

    Raises:
        CheckpointError: If it is a URL, damaged, holds more than tensors and plain values, or names code to import.
        OSError: If the file cannot be read.
    """
    if "://" in str(path):
        raise CheckpointError(f"expected the path of a checkpoint, got the URL {path}; download it first")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(f"{path} {UNSAFE}") from error
    if not isinstance(path, (str, Path)):
        path.seek(0)
    # Lightning looks for hyperparameters under four keys.
    for values in checkpoint.values() if isinstance(checkpoint, dict) else ():
        if isinstance(values, dict) and "_instantiator" in values:
            raise CheckpointError(
                f"expected hyperparameters that name no code to import, {path} has _instantiator"
                f" {values['_instantiator']!r:.60}; use a checkpoint that train.py wrote"
            )


def _unpickle(path: Path, max_bytes: int) -> Any:
    """Return what the archive contains after its size, at most `max_bytes`, and its checksums were checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > max_bytes:
                raise CheckpointError(f"expected at most {max_bytes:,} bytes, {path} unpacks to {unpacked:,}")
            if archive.testzip() is not None:  # torch does not compare checksums
                raise zipfile.BadZipFile
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(f"{path} {UNSAFE}") from error
    except (OSError, CheckpointError):
        raise
    except Exception as error:  # a damaged archive or pickle raises a dozen undocumented types
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint ({type(error).__name__}). Use one that train.py wrote"
        ) from error


def _check_content(path: Path, checkpoint: Any) -> None:
    """Raise CheckpointError unless there are weights, and hyperparameters that are numbers."""
    for key in ("state_dict", "hyper_parameters"):
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(key), dict):
            raise CheckpointError(f"{path} is not a checkpoint of digitnet: it has no {key}")
    for name, value in checkpoint["hyper_parameters"].items():
        if type(value) not in (int, float):  # Lightning would import and call the function that a string names
            raise CheckpointError(f"expected hyperparameters that are numbers, {path} has {name} {value!r:.40}")


def _check_state_dict(path: Path, weights: dict[str, Any], expected: dict[str, Tensor]) -> None:
    """Raise CheckpointError unless `weights` has the same names, shapes and kinds of data types as `expected`."""
    for name, tensor in expected.items():
        if name in weights or not name.startswith(ADDED):
            check_tensor(path, name, weights.get(name), tensor)
    if extra := set(weights) - set(expected):
        raise CheckpointError(f"{path} is of another network: it has {min(map(str, extra))}, digitnet does not")


def check_tensor(path: Path, name: str, value: Any, expected: Tensor) -> None:
    """Check one tensor of a checkpoint.

    Args:
        path: The checkpoint, for the message.
        name: Name of the tensor, for the message.
        value: What the checkpoint has under this name, or None.
        expected: A tensor with the expected shape, kind of data type and layout.

    Raises:
        CheckpointError: If shape, kind of data type or layout differ, or a value is not finite.
    """
    if _describe(value) != _describe(expected):
        raise CheckpointError(
            f"{path} is of another network: expected {name} as {_describe(expected)}, got {_describe(value)}"
        )
    if not value.isfinite().all():
        raise CheckpointError(f"{path} has NaN or infinity in {name}: its training diverged, or it was changed")


def _describe(tensor: Any) -> str:
    """Return shape, data type and layout as text, for example "[10] float"."""
    if not isinstance(tensor, Tensor):
        return "none" if tensor is None else f"an object of type {type(tensor).__name__}"
    kind = "float" if tensor.dtype in FLOATS else str(tensor.dtype)
    return f"{list(tensor.shape)} {kind} {tensor.layout}".replace("torch.", "").removesuffix(" strided")
