"""The LightningModule of an adaptation, one run of it, and how its result is scored."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from digitnet.adaptation.data import AdaptationDataModule
from digitnet.data.dataset import LabeledImages
from digitnet.training.callbacks import EpochSeed
from digitnet.training.checkpoint import AtomicCheckpointIO
from digitnet.training.module import DigitNet

SCORE_BATCH_SIZE = 500


class AdaptedDigitNet(DigitNet):
    """A trained DigitNet of which only the two dense layers are trained further.

    The convolutions and the batch norm keep their weights and statistics: a few dozen images are too few to improve
    features, and the dense layers alone forget less. Its checkpoints are those of `DigitNet`.

    Args:
        learning_rate: Maximum learning rate, above 0.
        weight_decay: Weight decay of AdamW, at least 0.
        dropout: Dropout probability, at least 0 and below 1.
    """

    def __init__(self, learning_rate: float = 5e-4, weight_decay: float = 1e-2, dropout: float = 0.05) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, dropout=dropout)
        for name in ("conv1", "conv2", "norm"):
            self.network.get_submodule(name).requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        """Stop the batch norm from updating its statistics."""
        super().on_train_epoch_start()
        self.network.get_submodule("norm").eval()


class StepCounter(Callback):
    """Call a function after each training step.

    Args:
        on_step: The function. An exception that it raises ends the run.
    """

    def __init__(self, on_step: Callable[[], None]) -> None:
        self.on_step = on_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Call the function."""
        self.on_step()


class Score(NamedTuple):
    """Numbers of errors on labeled images.

    Attributes:
        images: Number of images.
        errors: Number of images whose `label` is wrong: they are misclassified or rejected.
        misclassified: Number of images whose most probable digit is wrong, whether they are rejected or not.
        loss: Sum of the cross-entropy of the calibrated probabilities.
    """

    images: int
    errors: int
    misclassified: int
    loss: float

    @classmethod
    def total(cls, scores: list["Score"]) -> "Score":
        """Add scores.

        Args:
            scores: Scores on different images.

        Returns:
            The score on all of these images.
        """
        return cls(*map(sum, zip(*scores, strict=True)))


def fit(model: DigitNet, data: AdaptationDataModule, on_step: Callable[[], None]) -> Trainer:
    """Train for one epoch and calibrate on the validation images, as `digitnet train` does after each epoch.

    Args:
        model: The module, which is trained in place.
        data: Its data.
        on_step: Called after each step. An exception that it raises ends the run.

    Returns:
        The trainer, which can save a checkpoint.
    """
    trainer = Trainer(
        accelerator="cpu",  # the run takes seconds, and gives the same model everywhere
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[AtomicCheckpointIO()],
        callbacks=[EpochSeed(data.seed), StepCounter(on_step)],
    )
    trainer.fit(model.train(), data)
    return trainer


@torch.inference_mode()
def score(model: DigitNet, images: LabeledImages) -> Score:
    """Count the errors of a module with test-time augmentation, with which it is exported.

    Args:
        model: The module; it is set to evaluation mode.
        images: Framed images and their labels, 0 to 9.

    Returns:
        The score.
    """
    model.eval()
    ink = images.images.unsqueeze(1).float() / 255
    calibration, views = model.averaged_calibration, model.views
    batches = torch.split(ink, SCORE_BATCH_SIZE)
    logits = calibration(torch.cat([views.average(model(views(batch))) for batch in batches]))
    confidence, digit = logits.softmax(1).max(1)
    misclassified = digit != images.labels
    wrong = misclassified | (confidence < calibration.threshold)
    loss = F.cross_entropy(logits, images.labels, reduction="sum")
    return Score(len(digit), int(wrong.sum()), int(misclassified.sum()), float(loss))
