"""Verifier: a small network that tells crops with exactly one whole digit from parts of digits, several and letters.

The released model was trained on whole digits. The segments of a number are often parts of a digit, or two digits,
which it may take for a digit. So this network of two convolutions and two dense layers, which was trained on segments
(benchmarks/train_verifier.py), gives a second opinion. It is so small that NumPy is fast enough.
"""

import base64
import json
from functools import cache
from pathlib import Path

import numpy as np

WEIGHTS_FILE = Path(__file__).with_name("verifier.json")
NON_DIGIT = 10  # the class of a crop that is not exactly one digit
STRIDE = 2  # of both convolutions
MAX_LEVEL = 255.0


def verify(crops: np.ndarray) -> np.ndarray:
    """Estimate which digit crops show, and whether they show exactly one.

    Args:
        crops: Uint8 (S, 28, 28), bright on black.

    Returns:
        The log-probability of each digit, and of the class NON_DIGIT, float32 (S, 11).
    """
    weights = _load_weights()
    values = crops[:, None].astype(np.float32) / np.float32(MAX_LEVEL)
    for kernel, bias in zip(weights[0:4:2], weights[1:4:2], strict=True):
        values = np.maximum(_convolve(values, kernel) + bias[:, None, None], 0)
    hidden = np.maximum(values.reshape(len(values), -1) @ weights[4].T + weights[5], 0)
    logits = hidden @ weights[6].T + weights[7]
    logits -= logits.max(1, keepdims=True)
    result: np.ndarray = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return result


def _convolve(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the convolution of values, (S, C, H, W), with a kernel, (D, C, K, K), without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(values, kernel.shape[2:], (2, 3))[:, :, ::STRIDE, ::STRIDE]
    columns = windows.transpose(0, 2, 3, 1, 4, 5)
    shape = columns.shape[:3]
    result = columns.reshape(shape[0] * shape[1] * shape[2], -1) @ kernel.reshape(len(kernel), -1).T
    planes: np.ndarray = result.reshape(*shape, -1).transpose(0, 3, 1, 2)
    return planes


@cache
def _load_weights() -> list[np.ndarray]:
    """Return the weights and biases of the layers."""
    return [
        np.frombuffer(base64.b64decode(array["values"]), np.int8).reshape(array["shape"]) * np.float32(array["scale"])
        for array in json.loads(WEIGHTS_FILE.read_text())
    ]
