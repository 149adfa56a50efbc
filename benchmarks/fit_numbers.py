"""Fit the weights and the calibration of digitnet/numbers/lattice.py to synthetic numbers. It takes five minutes.

    python benchmarks/fit_numbers.py [--count 1200] [--data-dir data]

The weights are fitted by maximum likelihood to numbers with MNIST's training digits, of which some contain a non-digit;
the calibration (Platt scaling) to numbers with its validation digits.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks.synthetic_numbers import KINDS, DigitSource, WrittenNumber, write_number
from digitnet import DigitClassifier
from digitnet.contract import REJECTED
from digitnet.data.mnist import fetch_mnist
from digitnet.numbers.components import find_components
from digitnet.numbers.crops import crop
from digitnet.numbers.ink import find_ink
from digitnet.numbers.lattice import SMALLEST, WEIGHTS, Candidates, best_path, combine, features, score
from digitnet.numbers.layout import find_lines
from digitnet.numbers.rules import remove_rules
from digitnet.numbers.segments import Pieces, Segment, cut_line, find_segments
from digitnet.numbers.verifier import verify

LENGTHS = (1, 2, 2, 3, 3, 4, 5, 6)
TRAINING_IMAGES = 54_000  # the others are the validation set
NON_DIGITS = 0.1  # fraction of numbers with one
EXTRA_TOUCHING = 4  # further times that touching digits are drawn
REGULARIZATION = 0.002
STEPS, RATE = 3000, 0.05  # of the calibration


class Lattice(NamedTuple):
    """A synthetic number with its segments.

    Attributes:
        segments: The segments.
        values: Their features, (S, F).
        labels: Their predicted digits, (S,).
        confidences: Their largest probabilities, (S,).
        count: Number of pieces.
        path: The correct sequence of segments, or None if the segments contain none.
        text: The digits.
    """

    segments: list[Segment]
    values: np.ndarray
    labels: np.ndarray
    confidences: np.ndarray
    count: int
    path: list[int] | None
    text: str


def main() -> None:
    """Print the weights and the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    fetch_mnist(options.data_dir)
    mnist = MNIST(options.data_dir, train=True)
    images, labels = mnist.data.numpy(), mnist.targets.numpy()
    training = DigitSource(images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES])
    validation = DigitSource(images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:])
    classifier = DigitClassifier()
    kinds = KINDS + ("touching",) * EXTRA_TOUCHING
    weights = fit_weights(build(classifier, training, kinds, NON_DIGITS, options.count, seed=1))
    for name, weight in zip(WEIGHTS, weights, strict=True):
        print(f'    "{name}": {weight:.2f},')
    slope, offset = fit_calibration(build(classifier, validation, KINDS, 0, options.count // 3, seed=2))
    print(f"CALIBRATION_SLOPE, CALIBRATION_OFFSET = {slope:.2f}, {offset:.2f}")


def build(
    classifier: DigitClassifier, source: DigitSource, kinds: tuple[str, ...], non_digits: float, count: int, seed: int
) -> list[Lattice]:
    """Return the lattices of `count` numbers."""
    rng = np.random.default_rng(seed)
    lattices = []
    for index in range(count):
        labels = rng.integers(0, 10, rng.choice(LENGTHS)).tolist()
        if rng.random() < non_digits:
            labels[rng.integers(len(labels))] = REJECTED
        lattice = _build(classifier, write_number(source, labels, kinds[index % len(kinds)], rng))
        lattices += [lattice] if lattice else []
    return lattices


def _build(classifier: DigitClassifier, number: WrittenNumber) -> Lattice | None:
    """Return the lattice of the largest line of a number, or None if there is no line."""
    ink = find_ink(number.image)
    components = find_components(remove_rules(ink.mask, ink.faint))
    lines = find_lines(components)
    if not lines:
        return None
    pieces = cut_line(ink, components, max(lines, key=lambda line: components.areas[line.members].sum()))
    segments = find_segments(pieces)
    crops = np.stack([crop(pieces, segment) for segment in segments])
    probabilities, labels, _ = classifier.run(crops[..., None])
    candidates = Candidates(probabilities, labels, verify(crops))
    probabilities = combine(pieces, segments, candidates)
    values = features(pieces, segments, candidates, probabilities)
    path = _true_path(pieces, segments, number)
    digits = probabilities.argmax(1)
    return Lattice(segments, values, digits, probabilities.max(1), len(pieces.boxes), path, number.text)


def _true_path(pieces: Pieces, segments: list[Segment], number: WrittenNumber) -> list[int] | None:
    """Return the segments that are the digits, by the digit that most of the ink of each piece belongs to."""
    step = pieces.scale
    owner = number.owner[pieces.top :, pieces.left :][step // 2 :: step, step // 2 :: step]
    owner = owner[: pieces.numbers.shape[0], : pieces.numbers.shape[1]]
    owners = []
    for index in range(len(pieces.boxes)):
        own = owner[(pieces.numbers[: owner.shape[0], : owner.shape[1]] == index + 1) & (owner >= 0)]
        owners.append(int(np.bincount(own).argmax()) if len(own) else REJECTED)
    starts = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist()]
    indices = {(segment.start, segment.stop): index for index, segment in enumerate(segments)}
    path = [indices.get(pair, -1) for pair in zip(starts, [*starts[1:], len(owners)], strict=True)]
    is_complete = [owners[start] for start in starts] == list(range(len(number.text)))
    return path if is_complete and min(path) >= 0 else None


def fit_weights(lattices: list[Lattice]) -> np.ndarray:
    """Return the weights with the highest likelihood of the correct paths, (F,)."""
    usable = [lattice for lattice in lattices if lattice.path is not None]
    weights = torch.tensor(list(WEIGHTS.values()), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        loss, gradient = _likelihood(weights.detach().numpy(), usable)
        weights.grad = torch.from_numpy(gradient)
        return torch.tensor(loss)

    optimizer.step(closure)
    return weights.detach().numpy()


def _likelihood(weights: np.ndarray, lattices: list[Lattice]) -> tuple[float, np.ndarray]:
    """Return the mean negative log-likelihood and its gradient, by the forward-backward algorithm."""
    loss, gradient = 0.0, np.zeros(len(weights))
    for lattice in lattices:
        scores = lattice.values @ weights
        starts = np.array([segment.start for segment in lattice.segments])
        stops = np.array([segment.stop for segment in lattice.segments])
        forward, backward = np.full((2, lattice.count + 1), -np.inf)
        forward[0] = backward[-1] = 0
        for start, stop, value in zip(starts, stops, scores, strict=True):
            forward[stop] = np.logaddexp(forward[stop], forward[start] + value)
        for start, stop, value in zip(starts[::-1], stops[::-1], scores[::-1], strict=True):
            backward[start] = np.logaddexp(backward[start], backward[stop] + value)
        posterior = np.exp(forward[starts] + scores + backward[stops] - forward[-1])
        loss += forward[-1] - scores[lattice.path].sum()
        gradient += posterior @ lattice.values - lattice.values[lattice.path].sum(0)
    count = len(lattices)
    return loss / count + REGULARIZATION * weights @ weights / 2, gradient / count + REGULARIZATION * weights


def fit_calibration(lattices: list[Lattice]) -> tuple[float, float]:
    """Return the slope and the offset of the calibration, with the weights of lattice.py."""
    logits, correct = [], []
    for lattice in lattices:
        path = best_path(lattice.segments, score(lattice.values), lattice.count)
        labels = lattice.labels[path.segments]
        if (labels != REJECTED).all():
            probability = path.probability * float(np.prod(lattice.confidences[path.segments]))
            clipped = min(max(probability, SMALLEST), 1 - SMALLEST)
            logits.append(np.log(clipped / (1 - clipped)))
            correct.append("".join(map(str, labels)) == lattice.text)
    slope, offset = 1.0, 0.0
    for _ in range(STEPS):
        error = 1 / (1 + np.exp(-(slope * np.array(logits) + offset))) - np.array(correct)
        slope -= RATE * float((error * logits).mean())
        offset -= RATE * float(error.mean())
    return slope, offset


if __name__ == "__main__":
    main()
