"""The LightningModule: how the network is trained, validated and tested."""

import math
from pathlib import Path
from typing import IO, Any, Self

import torch
import torch.nn.functional as F
from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import CatMetric, MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from digitnet.contract import NUM_CLASSES
from digitnet.errors import ConfigError, DivergedError
from digitnet.model.calibration import Calibration
from digitnet.model.checkpoint import check_instantiator, load_model
from digitnet.model.network import ConvNet
from digitnet.model.views import Views

DEFAULT_DROPOUT = 0.25
INITIAL_RATE = 0.04  # of the one-cycle schedule, as a fraction of the maximum learning rate
WARM_UP = 0.25  # fraction of the run in which the learning rate rises
MIN_EPSILON = 1e-8  # added to AdamW's denominator; PyTorch's default

Batch = tuple[Tensor, Tensor]  # ink, float32 (N, 1, 28, 28), and labels, int64 (N,); label -1 is a non-digit


class DigitNet(LightningModule):
    """Train a network to classify framed digits and to be uncertain about non-digits.

    Labels are 0 to 9, or -1 for a non-digit. Validation also fits the calibration: the temperature of the logits and
    the threshold below which an image is rejected.

    Args:
        network: Maps ink, float32 (N, 1, 28, 28) in [0, 1], to logits, float32 (N, 10). `ConvNet(dropout)` by default.
        learning_rate: Maximum learning rate, above 0.
        weight_decay: Weight decay of AdamW, at least 0.
        dropout: Dropout probability of the default network, at least 0 and below 1. It has no effect on `network`.
        label_smoothing: Fraction of the target that is spread over all digits, at least 0 and below 1.
        weights: Checkpoint of an earlier training run with whose weights the default network starts, to fine-tune it.

    Raises:
        ConfigError: If an argument is out of its range or has no effect, or the network has no parameters to train.
        CheckpointError: If the checkpoint is missing, damaged or of another network.
    """

    def __init__(
        self,
        network: nn.Module | None = None,
        learning_rate: float = 6e-3,
        weight_decay: float = 1e-2,
        dropout: float = DEFAULT_DROPOUT,
        label_smoothing: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 < learning_rate < math.inf:
            raise ConfigError(f"model.learning_rate is {learning_rate}; it must be above 0, for example 0.006")
        if not 0 <= weight_decay < math.inf:
            raise ConfigError(f"model.weight_decay is {weight_decay}; it must be 0 or more, for example 0.01")
        if not 0 <= dropout < 1:
            raise ConfigError(f"model.dropout is {dropout}; it must be 0 or more and below 1, for example 0.25")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"model.label_smoothing is {label_smoothing}; it must be 0 or more and below 1")
        if network is not None and dropout != DEFAULT_DROPOUT:
            raise ConfigError(f"model.dropout {dropout} has no effect on model.network: set it in the network itself")
        if network is not None and weights is not None:
            raise ConfigError("model.weights has no effect on model.network: load them into the network itself")
        # A checkpoint of this run replaces the weights with which it starts.
        self.save_hyperparameters(ignore=["network", "weights", *([] if network is None else ["dropout"])])
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.network = ConvNet(dropout) if network is None else network
        if weights is not None:
            self.network.load_state_dict(load_model(weights).network.state_dict())
        if not any(parameter.requires_grad for parameter in self.network.parameters()):
            raise ConfigError(f"model.network {type(self.network).__name__} has no parameters to train")
        self.views = Views()
        self.calibration, self.averaged_calibration = Calibration(), Calibration()
        # Labels and losses are not validated, because that would synchronize with a GPU at each step.
        self.train_loss = MeanMetric(nan_strategy="disable")
        accuracy = MulticlassAccuracy(NUM_CLASSES, average="micro", ignore_index=-1, validate_args=False)
        self.train_accuracy, self.val_accuracy, self.test_accuracy = accuracy.clone(), accuracy.clone(), accuracy
        self._metrics_logged = False  # in this epoch
        # Metrics rather than lists, because they are gathered over processes.
        self.val_logits, self.val_labels = CatMetric(nan_strategy="disable"), CatMetric(nan_strategy="disable")
        self.averaged_val_logits = CatMetric(nan_strategy="disable")

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path | IO[Any], *args: Any, **kwargs: Any) -> Self:
        """Load a checkpoint as Lightning does, unless it names code to import.

        Args:
            checkpoint_path: The checkpoint: a path on this machine, or a file object.
            *args: Passed to Lightning's method.
            **kwargs: Passed to Lightning's method, among them arguments of `__init__`.

        Returns:
            The module.

        Raises:
            CheckpointError: See `digitnet.model.checkpoint.check_instantiator`.
        """
        check_instantiator(checkpoint_path)
        return super().load_from_checkpoint(checkpoint_path, *args, **{"weights_only": True, **kwargs})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Accept a checkpoint of an earlier version, which has no calibration for test-time augmentation.

        Args:
            checkpoint: The content of the checkpoint, which is changed in place.
        """
        for name, value in self.averaged_calibration.state_dict().items():
            checkpoint["state_dict"].setdefault(f"averaged_calibration.{name}", value)

    def forward(self, ink: Tensor) -> Tensor:
        """Return the logits of framed images.

        Args:
            ink: Stroke intensity, float32 (N, 1, 28, 28) in [0, 1]; 0 is blank.

        Returns:
            Logits before calibration, float32 (N, 10).
        """
        logits: Tensor = self.network(ink)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of a batch.

        It is logged at the logging interval, and with the accuracy once per epoch.

        Args:
            batch: Ink, float32 (N, 1, 28, 28) in [0, 1], and labels, int64 (N,), 0 to 9, or -1 for a non-digit.
            batch_idx: The index of the batch in the epoch.

        Returns:
            The mean cross-entropy, a scalar tensor with a gradient.
        """
        ink, labels = batch
        logits = self(ink)
        loss = self._loss(logits, labels, self.label_smoothing)
        self.train_loss.update(loss.detach(), torch.full_like(loss, len(labels), dtype=torch.float32))
        self.train_accuracy.update(logits.detach(), labels)
        if not self._metrics_logged:
            self._log_training_metrics()
        interval = self.trainer.log_every_n_steps or math.inf  # type: ignore[attr-defined]  # 0 if nothing is logged
        if (self.trainer.global_step + 1) % interval == 0:  # as Lightning counts the steps when it decides what to log
            # A progress bar fetches its values from the device, so the loss is passed to it only if there is one.
            self.log("train/loss_step", loss, prog_bar=self.trainer.progress_bar_callback is not None)
        return loss

    def _log_training_metrics(self) -> None:
        """Let Lightning compute the training metrics when the epoch ends, also if that is before its last batch.

        Lightning computes a metric that was logged once with all of its updates. Calling `self.log` for both metrics at
        each step would reduce the training speed by several percent (see docs/benchmarks.md).
        """
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)
        self._metrics_logged = True

    def on_train_start(self) -> None:
        """Log the training metrics at the next step, also in a run that is resumed within an epoch."""
        self._metrics_logged = False

    def on_train_epoch_start(self) -> None:
        """Log the training metrics at the next step."""
        self._metrics_logged = False

    def _loss(self, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        return F.cross_entropy(logits, soft_targets(labels).to(logits.dtype), label_smoothing=label_smoothing)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log loss and accuracy, and keep the logits for the calibration.

        Args:
            batch: Ink, float32 (N, 1, 28, 28) in [0, 1], and labels, int64 (N,), 0 to 9, or -1 for a non-digit.
            batch_idx: The index of the batch in the epoch.
        """
        logits = self._evaluate(batch, "val", self.val_accuracy)
        if self._calibrates:
            self.val_logits.update(logits)
            self.averaged_val_logits.update(self.views.average(self(self.views(batch[0]))))
            self.val_labels.update(batch[1])

    @property
    def _calibrates(self) -> bool:
        """Whether this validation is a part of training, after which the calibration is fitted."""
        return self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking

    def on_validation_epoch_end(self) -> None:
        """Fit both calibrations on the digits among the validation images.

        Raises:
            DivergedError: If the logits are not finite.
        """
        if not self._calibrates:
            return
        logits, averaged_logits, labels = (
            torch.as_tensor(metric.compute()) for metric in (self.val_logits, self.averaged_val_logits, self.val_labels)
        )
        for metric in (self.val_logits, self.averaged_val_logits, self.val_labels):
            metric.reset()
        if not logits.isfinite().all():
            raise DivergedError(
                f"The network's outputs are not finite after epoch {self.current_epoch + 1}: training diverged."
                f" Use a smaller learning rate than --model.learning_rate {self.learning_rate}"
            )
        digits = labels >= 0
        if digits.any():
            self.calibration.fit(logits[digits].float(), labels[digits].long())
            self.averaged_calibration.fit(averaged_logits[digits].float(), labels[digits].long())

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Log loss and accuracy, and return the logits for callbacks.

        Args:
            batch: Ink, float32 (N, 1, 28, 28) in [0, 1], and labels, int64 (N,), 0 to 9, or -1 for a non-digit.
            batch_idx: The index of the batch in the epoch.

        Returns:
            Logits before calibration, float32 (N, 10).
        """
        return self._evaluate(batch, "test", self.test_accuracy)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Classify a batch.

        Args:
            batch: Ink, float32 (N, 1, 28, 28) in [0, 1], and labels, int64 (N,), 0 to 9, or -1 for a non-digit.
            batch_idx: The index of the batch in the epoch.

        Returns:
            The calibrated probabilities of the ten digits, float32 (N, 10).
        """
        logits: Tensor = self.calibration(self(batch[0]))
        return logits.softmax(1)

    def _evaluate(self, batch: Batch, split: str, accuracy: Metric) -> Tensor:
        """Log loss and accuracy of a batch and return its logits."""
        ink, labels = batch
        logits: Tensor = self(ink)
        loss = self._loss(logits, labels)  # without smoothing: it measures the probabilities
        accuracy.update(logits, labels)
        self.log(f"{split}/loss", loss, prog_bar=True, batch_size=len(labels), sync_dist=True)
        self.log(f"{split}/accuracy", accuracy, prog_bar=True)
        return logits

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Create the optimizer and the learning-rate schedule.

        Returns:
            AdamW for the parameters that require a gradient, and a one-cycle schedule over the steps of the run; the
            rate is constant if the number of steps is unlimited.
        """
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = AdamW(
            parameters,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=max(MIN_EPSILON, torch.finfo(parameters[0].dtype).tiny),  # float16 rounds 1e-8 to 0, a division by 0
            # One kernel for all parameters. Lightning cannot clip gradients of a fused optimizer in mixed precision.
            fused=not self.trainer.gradient_clip_val,
        )
        steps = max(self.trainer.estimated_stepping_batches, 1)
        # LambdaLR, because OneCycleLR keeps the former number of steps if a run is resumed for more epochs.
        schedule = LambdaLR(optimizer, lambda step: one_cycle(step / steps) if steps < math.inf else 1.0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }


def soft_targets(labels: Tensor) -> Tensor:
    """Return the target distribution of each label.

    Args:
        labels: Int64 (N,), 0 to 9, or -1 for a non-digit.

    Returns:
        Float32 (N, 10): one-hot for a digit, 0.1 each for a non-digit.
    """
    digits = torch.arange(NUM_CLASSES, device=labels.device)
    return (labels[:, None] == digits).float() + (labels[:, None] < 0) * (1 / NUM_CLASSES)


def one_cycle(progress: float) -> float:
    """Return the fraction of the maximum learning rate: linearly up for a quarter of the run, then linearly down to 0.

    From L. N. Smith and N. Topin, "Super-Convergence" (2018), https://arxiv.org/abs/1708.07120.

    Args:
        progress: Fraction of the run that is over, 0 to 1.

    Returns:
        A number in [0, 1].
    """
    warm_up = INITIAL_RATE + progress / WARM_UP
    return max(0.0, min(warm_up, (1 - progress) / (1 - WARM_UP), 1.0))
