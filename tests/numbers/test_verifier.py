import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from benchmarks.synthetic_numbers import write_number
from digitnet.numbers.verifier import NON_DIGIT, _load_weights, verify


def test_the_network_is_the_one_that_torch_computes():
    crops = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    weights = [torch.from_numpy(array) for array in _load_weights()]
    values = torch.from_numpy(crops).float().unsqueeze(1) / 255
    for index in (0, 2):
        values = functional.conv2d(values, weights[index], weights[index + 1], stride=2).relu()
    hidden = functional.linear(values.flatten(1), weights[4], weights[5]).relu()
    expected = functional.linear(hidden, weights[6], weights[7]).log_softmax(1)
    assert np.allclose(verify(crops), expected.numpy(), atol=1e-4)


def test_whole_digits_are_told_from_halves(glyph_source):
    rng = np.random.default_rng(2)
    labels = np.arange(60) % 10
    whole, half = [], []
    for label in labels:
        ink = write_number(glyph_source, [int(label)], "spaced", rng).owner >= 0
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        whole.append(frame(digit))
        half.append(frame(digit[: len(digit) // 2]))
    assert (verify(np.stack(whole)).argmax(1) == labels).mean() > 0.8
    assert (verify(np.stack(half)).argmax(1) == NON_DIGIT).mean() > 0.6


def frame(ink):
    """Return ink, scaled to 20 pixels and centered in 28 x 28 pixels."""
    height, width = (max(1, round(20 * size / max(ink.shape))) for size in ink.shape)
    framed = Image.new("L", (28, 28))
    framed.paste(Image.fromarray(ink).convert("L").resize((width, height)), ((28 - width) // 2, (28 - height) // 2))
    return np.asarray(framed)
