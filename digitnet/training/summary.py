"""The summary of a training run: its result, the files that it has written, and what to do next."""

import os
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from digitnet.model.network import ConvNet
from digitnet.training.report import TrainingReport
from digitnet.training.runtime import started_by_script


def summary(trainer: Trainer, best: str | None = None) -> str:
    """Return the result of a run, the files that it has written, and what to do next.

    Args:
        trainer: A trainer that has trained and tested the network.
        best: Path of the checkpoint that was tested, if there is one.

    Returns:
        Several lines of text.
    """
    accuracy = trainer.callback_metrics.get("test/accuracy")
    result = "The network was not tested" if accuracy is None else f"Test accuracy {accuracy:.2%}"
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return f"\n{result}. Nothing was written: fast_dev_run tries each step on a few batches."
    report = next((callback for callback in trainer.callbacks if isinstance(callback, TrainingReport)), None)  # type: ignore[attr-defined]
    written = [*_written_checkpoints(trainer), *([] if report is None else report.written), *_written_logs(trainer)]
    width = max((len(str(_relative(path))) for path, _ in written), default=0)
    files = "".join(f"\n  {_relative(path)!s:{width}}  {meaning}" for path, meaning in written)
    details = "" if report is None else report.describe()
    return f"\n{result}{details}.\n{files}\n{_next_step(trainer, best)}".rstrip()


def _written_checkpoints(trainer: Trainer) -> list[tuple[Path, str]]:
    """Return the checkpoints of a run, and what each is for."""
    checkpoints = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    return [
        (Path(checkpoint.best_model_path), _meaning(checkpoint))
        for checkpoint in checkpoints
        if os.path.isfile(checkpoint.best_model_path)
    ]


def _meaning(checkpoint: ModelCheckpoint) -> str:
    """Return what a checkpoint is for."""
    if not checkpoint.monitor:
        return "to resume from"
    return f"{'lowest' if checkpoint.mode == 'min' else 'highest'} {checkpoint.monitor}"


def _written_logs(trainer: Trainer) -> list[tuple[Path, str]]:
    """Return the directories of the loggers and what they contain."""
    directories = [(logger.log_dir, f"log of {type(logger).__name__}") for logger in trainer.loggers]
    directories = directories or [(trainer.default_root_dir, "")]
    written = [(Path(directory), meaning) for directory, meaning in directories if directory and meaning]
    configs = [Path(directory) / "config.yaml" for directory, _ in directories if directory]
    return written + [(path, "options of the run") for path in configs if path.is_file()]


def _next_step(trainer: Trainer, best: str | None) -> str:
    """Return how to export a checkpoint, or an empty text if there is none or it is of another network."""
    if best is None or not isinstance(getattr(trainer.lightning_module, "network", None), ConvNet):
        return ""
    path = _relative(Path(best))
    command = "python export.py" if started_by_script() else "digitnet export"
    options = "" if path == Path("checkpoints/best.ckpt") else f" --checkpoint {path}"
    return f"\nNext: export the model to ONNX: {command}{options}"


def _relative(path: Path) -> Path:
    """Return a path relative to the working directory if it is below it."""
    path = path.absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
