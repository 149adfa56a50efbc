"""Writing checkpoints atomically, and the check of a checkpoint before a run is resumed from it."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, LightningModule
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from torch import nn

from digitnet.errors import CheckpointError
from digitnet.files import write_atomically
from digitnet.model.checkpoint import check_tensor, read_checkpoint

STATE = ("optimizer_states", "lr_schedulers", "loops", "callbacks", "datamodule_hyper_parameters")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints atomically, and load only weights and plain values.

    Lightning's own `TorchCheckpointIO` moves the file from the system's temporary directory, which is not atomic if
    that is on another filesystem.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Write the checkpoint, so that a kill or a full disk leaves the old file or the new one.

        Args:
            checkpoint: The content of the checkpoint.
            path: The file to write; its directory is created.
            storage_options: Unused.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(str(path), buffer.getvalue())

    def load_checkpoint(
        self, path: _PATH, map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Load a checkpoint without running code from it.

        Args:
            path: The checkpoint.
            map_location: Where to place the tensors, as in `torch.load`.
            weights_only: Ignored: only weights and plain values are loaded.

        Returns:
            The content of the checkpoint.

        Raises:
            FileNotFoundError: If there is no such file.
            pickle.UnpicklingError: If the file contains more than weights and plain values.
        """
        return super().load_checkpoint(path, map_location, weights_only=True)


def check_resumable(path: Path, model: LightningModule, data: LightningDataModule) -> None:
    """Check that a run of this model on this data can be resumed from a checkpoint.

    Args:
        path: The checkpoint.
        model: The LightningModule that will be trained.
        data: The LightningDataModule that it will be trained on.

    Raises:
        CheckpointError: If the checkpoint is damaged, belongs to another network, lacks the state of a run, or was
            written with other hyperparameters.
    """
    checkpoint = read_checkpoint(path, model)
    if missing := set(STATE) - set(checkpoint):
        raise CheckpointError(
            f"{path} holds weights but not the state of a run ({', '.join(sorted(missing))} missing), so no run can be"
            " resumed from it. Use a last.ckpt that train.py wrote"
        )
    for name in STATE:
        if not checkpoint[name] or not isinstance(checkpoint[name], (dict, list)):
            raise CheckpointError(f"expected the state of a run, {path} has {checkpoint[name]!r:.40} as {name}")
    _check_optimizer(path, checkpoint["optimizer_states"], model)
    _check_options(path, "model", checkpoint["hyper_parameters"], model.hparams)
    _check_options(path, "data", checkpoint["datamodule_hyper_parameters"], data.hparams)


def _check_options(path: Path, section: str, saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a hyperparameter differs from that of the checkpoint, naming its option."""
    for name in sorted({*saved, *current}, key=str):
        if saved.get(name) != current.get(name):
            option = "seed_everything" if name == "seed" else f"{section}.{name}"
            raise CheckpointError(
                f"{path} was trained with --{option} {saved.get(name)}, this run has {current.get(name)}."
                f" Resume with the same options (config.yaml lists them): --{option} {saved.get(name)}"
            )


def _check_optimizer(path: Path, states: Any, model: nn.Module) -> None:
    """Raise CheckpointError unless AdamW's buffers fit the parameters.

    The fused kernel trusts the sizes of its buffers: it would write past the end of a shorter one.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer_state = states[0] if isinstance(states, list) and len(states) == 1 else None
    state = optimizer_state.get("state") if isinstance(optimizer_state, dict) else None
    if not isinstance(state, dict) or set(state) not in (set(range(len(parameters))), set()):  # empty before a step
        raise CheckpointError(f"expected the state of a run, {path} has optimizer_states that do not fit the weights")
    for index, buffers in state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            value = buffers.get(name) if isinstance(buffers, dict) else None
            check_tensor(path, f"{name} of parameter {index}", value, parameters[index])
