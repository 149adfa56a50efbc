"""The network and how it learns."""

import copy
from typing import cast

import torch
import torch.nn.functional as F
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, channels_last, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import CatMetric, MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from digitnet.errors import ConfigError

ACCEPTED = 0.995  # part of the validation images that counts as sure enough to be a digit


class DigitNet(LightningModule):
    """Two convolutions, two poolings, two dense layers: ink in, one logit for each digit out.

    Ink is float32 (N, 1, 28, 28) in [0, 1], 0 = blank; logits are float32 (N, 10). With the normalisation folded
    into the convolutions (see `folded`) it has the 225,034 parameters of the Keras network that it mirrors. Each
    validation sets two more numbers, see `calibrate`: what to divide the logits by, so that probabilities mean what
    they say, and the probability below which a picture shows no digit.

    Args:
        learning_rate: At its highest.
        weight_decay: Pull towards zero.
        dropout: Part of the dense layer.
        label_smoothing: Part over all digits.
    """

    def __init__(
        self,
        learning_rate: float = 6e-3,
        weight_decay: float = 1e-2,
        dropout: float = 0.25,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < learning_rate < float("inf"):
            raise ConfigError(f"model.learning_rate is {learning_rate}; it must be above 0, for example 0.006")
        if not 0 <= weight_decay < float("inf"):
            raise ConfigError(f"model.weight_decay is {weight_decay}; it must be 0 or more, for example 0.01")
        if not 0 <= dropout < 1:
            raise ConfigError(f"model.dropout is {dropout}; it must be 0 or more and below 1, for example 0.25")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"model.label_smoothing is {label_smoothing}; it must be 0 or more and below 1")
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.save_hyperparameters()
        # `training_step` says what a step does, and saves Lightning doing it by hooks: a hundredth of the epoch.
        self.automatic_optimization = False

        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.norm = nn.BatchNorm2d(64)  # one more behind conv1 slowed a step by 8 % and read no better
        self.norm.weight.requires_grad_(False)  # stays 1: the next layer can scale as well, and `folded` needs it > 0
        self.dense1 = nn.Linear(64 * 5 * 5, 128)
        self.dropout = nn.Dropout(dropout)
        self.dense2 = nn.Linear(128, 10)
        self.to(memory_format=channels_last)  # pixels outside, channels inside: faster on CPU and GPU

        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("threshold", torch.zeros(()))
        self.temperature: Tensor
        self.threshold: Tensor

        self.outputs: list[tuple[Tensor, Tensor, Tensor]] = []  # of the epoch's steps: loss, logits, labels
        self.train_loss, self.train_accuracy = _loss(), _accuracy()
        self.val_loss, self.val_accuracy = _loss(), _accuracy()
        # Metrics, since these are gathered over ranks; of a run that diverges they keep the NaN, see `BestAndLast`.
        self.val_logits, self.val_labels = CatMetric(nan_strategy="disable"), CatMetric(nan_strategy="disable")
        self.test_loss, self.test_accuracy = _loss(), _accuracy()

    def forward(self, ink: Tensor) -> Tensor:
        """Logits, (N, 10), of ink, (N, 1, 28, 28)."""
        # Pooling before ReLU computes the same as after it, on a quarter of the pixels.
        maps = self.conv1(ink.contiguous(memory_format=channels_last))  # (N, 32, 26, 26)
        maps = F.relu(F.max_pool2d(maps, 2))  # (N, 32, 13, 13)
        maps = self.conv2(maps)  # (N, 64, 11, 11)
        maps = F.relu(self.norm(F.max_pool2d(maps, 2)))  # (N, 64, 5, 5)
        features = F.relu(self.dense1(maps.flatten(1)))  # (N, 1600) -> (N, 128)
        return self.dense2(self.dropout(features))  # (N, 10)

    def folded(self) -> nn.Sequential:
        """A copy for reading: the logits over the temperature, the normalisation inside the convolution, no dropout."""
        conv2, norm = copy.deepcopy(self.conv2).eval(), copy.deepcopy(self.norm).eval()
        dense2 = copy.deepcopy(self.dense2)
        dense2.weight.data /= self.temperature
        dense2.bias.data /= self.temperature
        # The normalisation stands behind the pooling. It may move before it because its scale is positive: then the
        # largest of four pixels stays the largest.
        return nn.Sequential(
            copy.deepcopy(self.conv1), nn.MaxPool2d(2), nn.ReLU(),
            fuse_conv_bn_eval(conv2, norm), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), copy.deepcopy(self.dense1), nn.ReLU(), dense2,
        ).eval()  # fmt: skip

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        ink, labels = batch
        logits = self(ink)
        loss = F.cross_entropy(logits, soft_targets(labels), label_smoothing=self.label_smoothing)
        optimizer, schedule = cast(LightningOptimizer, self.optimizers()), cast(LambdaLR, self.lr_schedulers())
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        schedule.step()
        self.outputs.append((loss.detach(), logits.detach(), labels))
        if self.trainer.is_last_batch:  # metrics at every step would take a hundredth of the epoch, logging a tenth
            losses, all_logits, all_labels = zip(*self.outputs, strict=True)
            self.outputs.clear()
            self.train_loss.update(torch.stack(losses), torch.tensor([len(labels) for labels in all_labels]).to(loss))
            self.train_accuracy.update(torch.cat(all_logits), torch.cat(all_labels))
            self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
            self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)

    def on_validation_start(self) -> None:
        # Each rank's normalisation saw other images. Where Lightning does the steps, DDP hands round the first one's.
        for mean in (self.norm.running_mean, self.norm.running_var):
            self.trainer.strategy.reduce(cast(Tensor, mean), reduce_op="mean")  # in place

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        logits = self._evaluate("val", self.val_loss, self.val_accuracy, batch)
        self.val_logits.update(logits)
        self.val_labels.update(batch[1])

    def on_validation_epoch_end(self) -> None:
        logits, labels = torch.as_tensor(self.val_logits.compute()), torch.as_tensor(self.val_labels.compute())
        temperature, threshold = calibrate(logits.float(), labels.long())
        self.temperature.copy_(temperature)
        self.threshold.copy_(threshold)
        self.val_logits.reset()
        self.val_labels.reset()

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._evaluate("test", self.test_loss, self.test_accuracy, batch)

    def _evaluate(self, split: str, loss: Metric, accuracy: Metric, batch: tuple[Tensor, Tensor]) -> Tensor:
        ink, labels = batch
        logits = self(ink)
        loss.update(F.cross_entropy(logits, labels), len(labels))  # no smoothing: what it says against what is so
        accuracy.update(logits, labels)
        self.log(f"{split}/loss", loss, prog_bar=True)
        self.log(f"{split}/accuracy", accuracy, prog_bar=True)
        return logits

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = AdamW(
            [weight for weight in self.parameters() if weight.requires_grad],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True,  # one kernel for all weights; the same arithmetic
        )
        steps = int(self.trainer.estimated_stepping_batches)
        # LambdaLR rather than OneCycleLR, which keeps the old number of steps when a run is resumed for more epochs.
        schedule = LambdaLR(optimizer, lambda step: one_cycle(step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "name": "learning_rate"}}


def soft_targets(labels: Tensor) -> Tensor:
    """What the network is to say, float32 (N, 10): the label's digit; each digit alike where it is -1, for none."""
    digits = torch.arange(10, device=labels.device)
    return (labels[:, None] == digits).float() + (labels[:, None] < 0) * 0.1


def calibrate(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Temperature and threshold from logits, (N, 10), of held-back digits, and their labels, (N,).

    Divided by the temperature the logits are as likely as can be; of the digits, 99.5 % are then surer than the
    threshold. After C. Guo et al., "On Calibration of Modern Neural Networks" (2017), https://arxiv.org/abs/1706.04599
    """
    temperatures = torch.logspace(-1, 1, 101, base=4, device=logits.device)  # 1/4 to 4, in steps of 3 %
    losses = torch.stack([F.cross_entropy(logits / temperature, labels) for temperature in temperatures])
    temperature = temperatures[losses.argmin()]
    surest = (logits / temperature).softmax(1).amax(1)
    return temperature, surest.quantile(1 - ACCEPTED)


def one_cycle(progress: float) -> float:
    """Part of the highest learning rate to use when `progress`, 0 to 1, of the run is over: up for a quarter, down.

    After L. N. Smith and N. Topin, "Super-Convergence" (2018), https://arxiv.org/abs/1708.07120
    """
    return min(0.04 + progress / 0.25, (1 - progress) / 0.75, 1.0)


# Both metrics would look at every step for values that cannot come up here: NaN, labels above 9.
def _loss() -> Metric:
    return MeanMetric(nan_strategy="disable")


def _accuracy() -> Metric:
    return MulticlassAccuracy(10, average="micro", ignore_index=-1, validate_args=False)
