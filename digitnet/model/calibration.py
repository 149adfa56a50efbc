"""Calibration of the network's probabilities, and the confidence below which an image is rejected."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COVERAGE = 0.994  # the fraction of digits whose confidence reaches the threshold


class Calibration(nn.Module):
    """Temperature scaling and a rejection threshold, both fitted on validation images.

    Temperature scaling is from C. Guo et al., "On Calibration of Modern Neural Networks" (2017),
    https://arxiv.org/abs/1706.04599.

    Attributes:
        temperature: Buffer, float32 scalar: the divisor of the logits. 1 until fitted.
        threshold: Buffer, float32 scalar: the largest probability of an image must reach it, otherwise the image is
            rejected as a non-digit. 0 until fitted.
    """

    temperature: Tensor
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        """Return the logits divided by the temperature.

        Args:
            logits: Float (N, 10).

        Returns:
            Calibrated logits, float (N, 10); their softmax gives the probabilities.
        """
        return logits / self.temperature

    @torch.no_grad()
    def fit(self, logits: Tensor, labels: Tensor) -> None:
        """Set temperature and threshold from the logits of labeled digits that the network was not trained on.

        The temperature minimizes the negative log-likelihood over a grid from 1/4 to 4 in steps of 3 %. At the
        threshold, 99.4 % of these digits are accepted.

        Args:
            logits: Float (N, 10), N at least 1.
            labels: Int64 (N,), the digits 0 to 9.
        """
        temperatures = torch.logspace(-1, 1, 101, base=4, device=logits.device)
        losses = torch.stack([F.cross_entropy(logits / temperature, labels) for temperature in temperatures])
        self.temperature.copy_(temperatures[losses.argmin()])
        confidence = self(logits).softmax(1).amax(1)
        self.threshold.copy_(confidence.quantile(1 - COVERAGE))
