"""The convolutional network that classifies framed digits, as a plain PyTorch module."""

import copy

import torch.nn.functional as F
from torch import Tensor, channels_last, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from digitnet.contract import NUM_CLASSES


class ConvNet(nn.Module):
    """Two convolutions with max pooling, then two dense layers.

    With its batch norm fused into the second convolution (see `fused`) it has the 225,034 parameters of the network
    in the Keras example "Simple MNIST convnet" (https://keras.io/examples/vision/mnist_convnet/).

    Args:
        dropout: Dropout probability before the last layer, at least 0 and below 1.
    """

    def __init__(self, dropout: float = 0.25) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.norm = nn.BatchNorm2d(64)  # a second one after conv1 makes a step 8 % slower without better accuracy
        # The scale stays 1: the next layer can scale as well, and fusing requires a positive scale (see `fused`).
        self.norm.weight.requires_grad_(False)
        self.dense1 = nn.Linear(64 * 5 * 5, 128)
        self.dropout = nn.Dropout(dropout)
        self.dense2 = nn.Linear(128, NUM_CLASSES)
        self.to(memory_format=channels_last)  # faster convolutions on CPU and GPU

    def forward(self, ink: Tensor) -> Tensor:
        """Return the logits of framed images.

        Args:
            ink: Stroke intensity, float32 (N, 1, 28, 28) in [0, 1]; 0 is blank.

        Returns:
            Logits, float32 (N, 10).
        """
        # ReLU after max pooling equals ReLU before it, on a quarter of the pixels.
        maps = self.conv1(ink.contiguous(memory_format=channels_last))  # (N, 32, 26, 26)
        maps = F.relu(F.max_pool2d(maps, 2))  # (N, 32, 13, 13)
        maps = self.conv2(maps)  # (N, 64, 11, 11)
        maps = F.relu(self.norm(F.max_pool2d(maps, 2)))  # (N, 64, 5, 5)
        features = F.relu(self.dense1(maps.flatten(1)))  # (N, 1600) -> (N, 128)
        logits: Tensor = self.dense2(self.dropout(features))  # (N, 10)
        return logits

    def fused(self) -> nn.Sequential:
        """Return a copy for inference with the batch norm fused into the convolution and without dropout.

        Returns:
            A module in evaluation mode with the same input and, up to rounding, the same logits.
        """
        # The batch norm follows the pooling. Its scale is positive, so it is monotonic and commutes with the maximum:
        # it may move before the pooling, next to the convolution.
        conv2 = fuse_conv_bn_eval(copy.deepcopy(self.conv2).eval(), copy.deepcopy(self.norm).eval())
        return nn.Sequential(
            copy.deepcopy(self.conv1), nn.MaxPool2d(2), nn.ReLU(),
            conv2, nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), copy.deepcopy(self.dense1), nn.ReLU(), copy.deepcopy(self.dense2),
        ).eval()  # fmt: skip
