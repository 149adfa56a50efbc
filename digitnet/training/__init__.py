"""Train the network with Lightning."""

from digitnet.training.module import DigitNet

__all__ = ["DigitNet"]
