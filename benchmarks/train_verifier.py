"""Train digitnet/numbers/verifier.json, the network that recognizes crops with exactly one whole digit.

    python benchmarks/train_verifier.py [--count 4000] [--data-dir data]

The crops are all segments of synthetic numbers with MNIST's training digits, of which many touch, and of printed
letters and signs. The weights in the package were trained for 12 epochs on the crops of two runs with 2,500 numbers
each, so the defaults give other weights.
"""

import argparse
import base64
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks.fit_numbers import LENGTHS, TRAINING_IMAGES
from benchmarks.synthetic_numbers import KINDS, DigitSource, WrittenNumber, write_number
from digitnet.contract import REJECTED
from digitnet.data.mnist import fetch_mnist
from digitnet.data.printed import load_printed_glyphs
from digitnet.numbers.components import find_components
from digitnet.numbers.crops import crop
from digitnet.numbers.ink import find_ink
from digitnet.numbers.layout import find_lines
from digitnet.numbers.rules import remove_rules
from digitnet.numbers.segments import Pieces, Segment, cut_line, find_segments
from digitnet.numbers.verifier import NON_DIGIT, WEIGHTS_FILE

NON_DIGITS, LETTERS = 0.2, 0.15  # fractions of numbers with a non-digit, and of images with a printed letter
EXTRA_TOUCHING = 5  # further times that touching digits are drawn
WHOLE, PARTIAL = 0.75, 0.6  # intersection over union with a digit: at least for a digit, at most for a non-digit
CHANNELS = (12, 24, 48)
LETTER_SIZE = (50, 140)  # pixels
EPOCHS, BATCH_SIZE, RATE = 24, 256, 3e-3
MAX_LEVEL = 127  # of a weight of 8 bits


def main() -> None:
    """Train the network and write its weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    fetch_mnist(options.data_dir)
    mnist = MNIST(options.data_dir, train=True)
    images, labels = mnist.data.numpy(), mnist.targets.numpy()
    crops, classes = draw_crops(DigitSource(images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES]), options.count, seed=3)
    held_out = draw_crops(DigitSource(images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:]), options.count // 20, seed=4)
    network = train(crops, classes)
    with torch.inference_mode():
        predicted = network(_to_tensor(held_out[0])).argmax(1).numpy()
    print(f"{len(crops)} crops, {np.mean(predicted == held_out[1]):.1%} of {len(predicted)} others are correct")
    save(network)


def draw_crops(source: DigitSource, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the crops of `count` numbers, uint8 (S, 28, 28), and their digits or NON_DIGIT, int64 (S,)."""
    rng, letters = np.random.default_rng(seed), load_printed_glyphs().non_digits
    kinds = KINDS + ("touching",) * EXTRA_TOUCHING
    crops, classes = [], []
    for index in range(count):
        if rng.random() < LETTERS:
            number = _print_letter(letters[rng.integers(len(letters))], rng)
        else:
            labels = rng.integers(0, 10, rng.choice(LENGTHS)).tolist()
            if rng.random() < NON_DIGITS:
                labels[rng.integers(len(labels))] = REJECTED
            number = write_number(source, labels, kinds[index % len(kinds)], rng)
        for image, label in _label_segments(number):
            crops.append(image)
            classes.append(label)
    return np.stack(crops), np.array(classes)


def _print_letter(glyph: np.ndarray, rng: np.random.Generator) -> WrittenNumber:
    """Return an image of a printed letter or sign."""
    size = int(rng.integers(*LETTER_SIZE))
    image = 255 - np.asarray(Image.fromarray(glyph).resize((size, size), Image.Resampling.BICUBIC))
    return WrittenNumber(image, "?", np.full(image.shape, -1, np.int16))


def _label_segments(number: WrittenNumber) -> list[tuple[np.ndarray, int]]:
    """Return the crop and the class of each segment of a number, without those that are almost a digit."""
    ink = find_ink(number.image)
    components = find_components(remove_rules(ink.mask, ink.faint))
    result = []
    for line in find_lines(components):
        pieces = cut_line(ink, components, line)
        for segment in find_segments(pieces):
            label = _find_class(pieces, segment, number)
            if label is not None:
                result.append((crop(pieces, segment), label))
    return result


def _find_class(pieces: Pieces, segment: Segment, number: WrittenNumber) -> int | None:
    """Return the digit that a segment consists of, NON_DIGIT if it is a part of one or more, or None in between."""
    step = pieces.scale
    owner = number.owner[pieces.top :, pieces.left :][step // 2 :: step, step // 2 :: step]
    owner = owner[: pieces.numbers.shape[0], : pieces.numbers.shape[1]]
    numbers = pieces.numbers[: owner.shape[0], : owner.shape[1]]
    own = (numbers > segment.start) & (numbers <= segment.stop)
    counts = np.bincount(owner[own & (owner >= 0)], minlength=1)
    index = int(counts.argmax())
    union = np.count_nonzero(own | ((owner == index) & (numbers > 0)))
    share = counts[index] / max(union, 1)
    if share <= PARTIAL or number.text[index] == "?":
        return NON_DIGIT
    return int(number.text[index]) if share >= WHOLE else None


def train(crops: np.ndarray, classes: np.ndarray) -> nn.Sequential:
    """Return a network that was trained on crops."""
    torch.manual_seed(0)
    first, second, hidden = CHANNELS
    network = nn.Sequential(
        nn.Conv2d(1, first, 5, stride=2), nn.ReLU(), nn.Conv2d(first, second, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(second * 25, hidden), nn.ReLU(), nn.Linear(hidden, NON_DIGIT + 1),
    )  # fmt: skip
    images, targets = _to_tensor(crops), torch.from_numpy(classes)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.02)
    steps = EPOCHS * -(-len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH_SIZE):
            optimizer.zero_grad()
            inputs = nn.functional.dropout(_shift(images[batch]), 0.05)
            nn.functional.cross_entropy(network(inputs), targets[batch], label_smoothing=0.02).backward()
            optimizer.step()
            schedule.step()
    return network


def _to_tensor(crops: np.ndarray) -> Tensor:
    """Return crops as float tensors, (S, 1, 28, 28)."""
    return torch.from_numpy(crops).float().unsqueeze(1) / 255


def _shift(images: Tensor) -> Tensor:
    """Return images that are shifted by at most a pixel."""
    rows, columns = torch.randint(-1, 2, (2,)).tolist()
    return images.roll((rows, columns), (2, 3))


def save(network: nn.Sequential) -> None:
    """Write the weights as integers of 8 bits, with a scale for each array."""
    arrays = []
    for parameter in network.parameters():
        values = parameter.detach().numpy()
        scale = float(abs(values).max()) / MAX_LEVEL
        levels = np.round(values / scale).astype(np.int8)
        arrays.append({
            "shape": list(values.shape),
            "scale": scale,
            "values": base64.b64encode(levels.tobytes()).decode(),
        })  # fmt: skip
    WEIGHTS_FILE.write_text(json.dumps(arrays, indent=1) + "\n")


if __name__ == "__main__":
    main()
