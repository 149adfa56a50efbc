"""Adapt a trained network to corrections, judge it on held-back corrections and MNIST, and write it."""

import copy
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from lightning import Trainer
from torch import Tensor

from digitnet.adaptation.data import AdaptationDataModule
from digitnet.adaptation.module import AdaptedDigitNet, Score, fit, score
from digitnet.data.dataset import Batches, LabeledImages
from digitnet.errors import ConfigError, RegressionError
from digitnet.export.activations import build_activations
from digitnet.export.cli import document
from digitnet.export.graph import build_onnx
from digitnet.export.variant import Variant
from digitnet.export.verify import verify
from digitnet.files import write_atomically
from digitnet.inference.classifier import released_model_path
from digitnet.model.checkpoint import load_model, read_checkpoint

FOLDS = 5  # of the cross-validation
MIN_CORRECTIONS = FOLDS
MANY_CORRECTIONS = 200  # from this number on, one of the folds holds back enough
MAX_VALIDATION_DROP = 0.001  # of the accuracy on MNIST's validation images: 0.1 points
EXPORTED = Variant(averaged=True)  # as the released file

# The fraction of the work that is done when a stage begins.
TRAINING_STARTS, EXPORT_STARTS = 0.2, 0.8

Report = Callable[[str, float], None]  # the current stage, and which fraction of the work is done, 0 to 1


class Adaptation(NamedTuple):
    """An adapted model and its scores.

    Attributes:
        trainer: The trainer of the last run, which has the adapted model.
        corrections: Number of corrections that the adapted model was trained on.
        corrections_before: Score of the original model on the held-back corrections.
        corrections_after: Score on the same corrections, each classified by a model that was not trained on it.
        validation_before: Score of the original model on MNIST's validation images.
        validation_after: Score of the adapted model on them.
    """

    trainer: Trainer
    corrections: int
    corrections_before: Score
    corrections_after: Score
    validation_before: Score
    validation_after: Score

    def check(self) -> None:
        """Check that the adapted model is not worse than the original one.

        Of two models with equally many errors on the corrections, the one with the larger loss is worse.

        Raises:
            RegressionError: If it is worse on the held-back corrections, or loses more than 0.1 points of accuracy on
                MNIST's validation images.
        """
        before, after = self.corrections_before, self.corrections_after
        if (after.errors, after.loss) > (before.errors, before.loss):
            raise RegressionError(
                f"The adapted model is worse on the {after.images} held-back corrections: {after.errors} errors, loss"
                f" {after.loss / after.images:.3f}; before: {before.errors} and {before.loss / before.images:.3f}."
                " Nothing was written. Check the labels of the corrections, or add more"
            )
        before, after = self.validation_before, self.validation_after
        increase = max(after.errors - before.errors, after.misclassified - before.misclassified)
        if increase > MAX_VALIDATION_DROP * after.images:
            raise RegressionError(
                f"The adapted model has {increase} more errors on the {after.images:,} validation images of MNIST; at"
                f" most {MAX_VALIDATION_DROP:.1%} are allowed. Nothing was written. Check the labels of the corrections"
            )


def ignore_progress(stage: str, fraction: float) -> None:
    """Report nothing.

    Args:
        stage: The current stage.
        fraction: The fraction of the work that is done, 0 to 1.
    """


def adapt(data: AdaptationDataModule, checkpoint: Path | None = None, report: Report = ignore_progress) -> Adaptation:
    """Adapt a trained network to corrections. Nothing is written, except MNIST if it is missing.

    Args:
        data: The corrections, and the images to mix them with.
        checkpoint: The checkpoint to start from, by default the released one.
        report: Called with the progress. An exception that it raises ends the adaptation.

    Returns:
        The adapted model and its scores. `Adaptation.check` raises an exception if the model became worse.

    Raises:
        ConfigError: If there are fewer than five corrections.
        CheckpointError: If the checkpoint is missing, damaged or of another network.
        DatasetError: If MNIST cannot be downloaded.
    """
    if len(data.corrections) < MIN_CORRECTIONS:
        raise ConfigError(
            f"expected at least {MIN_CORRECTIONS} corrections, {data.extra_dir} has {len(data.corrections)}."
            " Correct more predictions first"
        )
    original = load_for_adaptation(checkpoint or released_checkpoint_path())
    data.prepare_data()
    data.track = lambda batches, total: _report_drawing(batches, total, report)
    data.setup()
    return _cross_validate_and_fit(original, data, report)


def load_for_adaptation(path: Path) -> AdaptedDigitNet:
    """Load a checkpoint of `DigitNet` as a module that can be trained further.

    Args:
        path: A checkpoint that train.py wrote.

    Returns:
        The module.

    Raises:
        CheckpointError: If the checkpoint is missing, damaged or of another network.
    """
    model = AdaptedDigitNet()
    model.load_state_dict(read_checkpoint(path, model)["state_dict"])
    return model


def released_checkpoint_path() -> Path:
    """Return the path of the released checkpoint, in the installed package or in the clone."""
    return released_model_path().with_suffix(".ckpt")


def _report_drawing(batches: Batches, total: int, report: Report) -> Batches:
    """Yield the batches of synthetic images, and report each."""
    for index, batch in enumerate(batches):
        report("Drawing synthetic images", TRAINING_STARTS * index / total)
        yield batch


def _cross_validate_and_fit(original: AdaptedDigitNet, data: AdaptationDataModule, report: Report) -> Adaptation:
    """Train one model for each fold of held-back corrections, then one on all corrections."""
    folds = split_folds(len(data.corrections), data.seed)
    runs = len(folds) + 1
    before, after = [], []
    for index, fold in enumerate(folds):
        steps = _StepReport(report, f"Holding back part {index + 1} of {len(folds)}", index / runs, runs * data.batches)
        model, _ = _fit_copy(original, data, fold, steps)
        images = LabeledImages(*data.corrections.__getitems__(fold.tolist()))
        before.append(score(original, images))
        after.append(score(model, images))
    steps = _StepReport(report, "Training on all corrections", len(folds) / runs, runs * data.batches)
    model, trainer = _fit_copy(original, data, torch.empty(0, dtype=torch.int64), steps)
    return Adaptation(
        trainer, len(data.corrections), Score.total(before), Score.total(after),
        score(original, data.val_set), score(model, data.val_set),
    )  # fmt: skip


def split_folds(count: int, seed: int) -> list[Tensor]:
    """Split corrections at random into parts that are held back in turn.

    Args:
        count: Number of corrections.
        seed: Seed of the random numbers.

    Returns:
        Indices of the corrections in each of the five parts, int64; only the first part if there are many corrections.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    folds = order.tensor_split(FOLDS)
    return list(folds if count < MANY_CORRECTIONS else folds[:1])


class _StepReport:
    """Reports the progress of one training run, whose steps are a part of those of all runs."""

    def __init__(self, report: Report, stage: str, start: float, total_steps: int) -> None:
        self.report, self.stage, self.total_steps = report, stage, total_steps
        self.done = start * total_steps

    def __call__(self) -> None:
        self.done += 1
        fraction = TRAINING_STARTS + (EXPORT_STARTS - TRAINING_STARTS) * self.done / self.total_steps
        self.report(self.stage, fraction)


def _fit_copy(
    original: AdaptedDigitNet, data: AdaptationDataModule, held_back: Tensor, on_step: Callable[[], None]
) -> tuple[AdaptedDigitNet, Trainer]:
    """Train a copy of a module without some of the corrections."""
    data.held_back = held_back
    model = copy.deepcopy(original)
    return model, fit(model, data, on_step)


def save(adaptation: Adaptation, output: Path, data_dir: str = "data", report: Report = ignore_progress) -> Path:
    """Write the checkpoint and the verified ONNX files of an adapted model, each atomically.

    The sketchpad explains the predictions of the model with the file .activations.onnx beside it. The ONNX file itself
    is written last: until all are complete, an earlier one remains.

    Args:
        adaptation: The adapted model.
        output: The ONNX file; the checkpoint has the suffix .ckpt instead. The directory is created.
        data_dir: Directory with MNIST/raw; the metadata of the file states its accuracy on the test images.
        report: Called with the progress. An exception that it raises leaves the earlier files.

    Returns:
        The path of the checkpoint.

    Raises:
        RegressionError: If the adapted model became worse.
        ExportError: If the ONNX file does not compute what the checkpoint does.
        OSError: If the files cannot be written.
    """
    adaptation.check()
    report("Exporting", EXPORT_STARTS)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".adapt-") as scratch:
        checkpoint = Path(scratch) / "adapted.ckpt"
        adaptation.trainer.save_checkpoint(checkpoint, weights_only=True)
        model = load_model(checkpoint)
        graph = build_onnx(model, variant=EXPORTED)
        report("Verifying the exported model", (1 + EXPORT_STARTS) / 2)
        document(graph, model, checkpoint, data_dir, EXPORTED)
        graph.metadata_props.add(key="adapted_to", value=f"{adaptation.corrections} corrections")
        content = verify(graph, model, data_dir, EXPORTED)
        activations = build_activations(model, checkpoint, averaged=EXPORTED.averaged)
        write_atomically(output.with_suffix(".activations.onnx"), activations)
        write_atomically(output.with_suffix(".ckpt"), checkpoint.read_bytes())
    write_atomically(output, content)
    report("Done", 1.0)
    return output.with_suffix(".ckpt")
