"""How well labelled pictures are read: accuracy, calibration, confusion, and the worst mistakes as a picture."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from digitnet.errors import ConfigError
from digitnet.evaluation.corruptions import CORRUPTIONS, PAGES
from digitnet.files import write_atomically
from digitnet.inference.classifier import DigitClassifier, Prediction
from digitnet.inference.sources import IMAGE_SUFFIXES

BINS = 15  # of confidence, as in the paper named below
MAX_MISTAKES = 60
CELL, CAPTION, COLUMNS, ENLARGED = 112, 26, 10, 3  # pixels, pixels, cells in a row, times 28


def find_labeled_images(folder: Path) -> list[Path]:
    """The pictures in the folders 0 to 9 of a folder, in order. Raises ConfigError where there are none."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; it must hold folders 0 to 9 with pictures in them")
    digits = [path for digit in range(10) for path in sorted((folder / str(digit)).glob("*"))]
    found = [path for path in digits if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise ConfigError(f"{folder} holds no pictures in folders named 0 to 9, for example {folder}/7/a.png")
    return found


@dataclass(frozen=True)
class LabeledPrediction:
    """One picture: where it is from, the digit it shows, and what it was read as."""

    name: str
    label: int
    prediction: Prediction

    @property
    def right(self) -> bool:
        return self.prediction.label == self.label


def accuracy(readings: Sequence[LabeledPrediction]) -> float:
    """Part of the pictures read as what they show; 'no digit' counts as wrong."""
    return sum(reading.right for reading in readings) / len(readings)


def calibration_error(readings: Sequence[LabeledPrediction]) -> float:
    """Expected calibration error in [0, 1]: how far confidence lies from accuracy, on average over bins of confidence.

    After C. Guo et al., "On Calibration of Modern Neural Networks" (2017), https://arxiv.org/abs/1706.04599
    """
    confidence = np.array([reading.prediction.confidence for reading in readings])
    right = np.array([reading.prediction.probabilities.argmax() == reading.label for reading in readings])
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in range(BINS)]
    return float(sum(gaps) / len(readings))


def confusion(readings: Sequence[LabeledPrediction]) -> np.ndarray:
    """int64 (10, 11): how often the digit of a row was read as the digit of a column; the last column is 'no digit'."""
    table = np.zeros((10, 11), np.int64)
    for reading in readings:
        read_as = reading.prediction.label
        table[reading.label, 10 if read_as is None else read_as] += 1
    return table


def summarize(readings: Sequence[LabeledPrediction]) -> str:
    """The figures as text."""
    wrong = sum(not reading.right for reading in readings)
    header = "is \\ read as" + "".join(f"{name:>6}" for name in [*map(str, range(10)), "none"])
    rows = [
        f"{digit:>11} " + "".join(f"{count or '.':>6}" for count in row)
        for digit, row in enumerate(confusion(readings))
        if row.any()
    ]
    return "\n".join(
        [
            f"accuracy           {accuracy(readings):.2%} ({wrong:,} of {len(readings):,} wrong)",
            f"calibration error  {calibration_error(readings):.2%} (ECE, {BINS} bins)",
            header,
            *rows,
        ]
    )


def robustness(
    classifier: DigitClassifier, images: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[str, float, float]]:
    """How MNIST's images, uint8 (N, 28, 28), are read as they are, and made hard in each way of corruptions.py.

    Yields the name of the way, the part whose likeliest digit is right, and the part called no digit.
    """
    for name, make in {"nothing": lambda ink, _: ink, **CORRUPTIONS, **PAGES}.items():
        random = np.random.default_rng(0)
        right = rejected = 0
        for part in np.array_split(np.arange(len(images)), -(-len(images) // 500)):
            pictures = make(images[part], random)[..., None]
            for some in np.array_split(np.arange(len(part)), -(-pictures.size // 2**20)):
                predictions = classifier.predict_batch(pictures[some])
                likeliest = np.array([prediction.probabilities.argmax() for prediction in predictions])
                right += (likeliest == labels[part[some]]).sum()
                rejected += sum(prediction.label is None for prediction in predictions)
        yield name, right / len(images), rejected / len(images)


def save_mistakes(readings: Sequence[LabeledPrediction], path: Path) -> bool:
    """Writes a sheet of what the network saw where it was wrong, surest first, as PNG; False where it never was."""
    mistakes = sorted((r for r in readings if not r.right), key=lambda r: -r.prediction.confidence)[:MAX_MISTAKES]
    if not mistakes:
        return False
    rows = -(-len(mistakes) // COLUMNS)
    sheet = Image.new("L", (min(len(mistakes), COLUMNS) * CELL, rows * (CELL + CAPTION)), 255)
    draw = ImageDraw.Draw(sheet)
    for place, reading in enumerate(mistakes):
        x, y = place % COLUMNS * CELL, place // COLUMNS * (CELL + CAPTION)
        ink = Image.fromarray(255 - np.rint(reading.prediction.framed * 255).astype(np.uint8))
        side = 28 * ENLARGED
        sheet.paste(ink.resize((side, side), Image.Resampling.NEAREST), (x + (CELL - side) // 2, y + CAPTION))
        read_as = "none" if reading.prediction.label is None else reading.prediction.label
        draw.text((x + 6, y), f"{reading.label} as {read_as}, {reading.prediction.confidence:.0%}", fill=0)
        draw.text((x + 6, y + 12), Path(reading.name).name[:17], fill=90)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
    return True
