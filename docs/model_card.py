"""Measure the released model and write its metrics.json, mistakes.png and MODEL_CARD.md.

    python docs/model_card.py --seeds SEED1.onnx SEED2.onnx [--datasets DIR] [--data-dir data]

Run it after checkpoints/release/ was made again, as MODEL_CARD.md describes. MNIST is downloaded; other datasets may
not be redistributed. Each dataset is an .npz file with images, uint8 (N, H, W), and labels, -1 for a non-digit. It
takes ten minutes for three models.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet import DigitClassifier, Prediction
from digitnet.data.mnist import fetch_mnist, read_test_set
from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.image_grids import save_mistakes
from digitnet.evaluation.metrics import LabeledPrediction, calibration_error
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from digitnet.evaluation.robustness import measure_robustness
from digitnet.files import write_atomically

RELEASE = Path(__file__).parent.parent / "checkpoints" / "release"
BOOTSTRAP_SAMPLES = 1000  # for the interval of an area under the ROC curve
DATASETS = {
    "mnist": "MNIST, the 10,000 test images",
    "pen": "drawn on a tablet (UCI, CC BY 4.0)",
    "usps": "scanned from envelopes (USPS)",
    "optdigits": "scanned forms, 32 x 32 bitmaps (Optdigits, UCI, CC BY 4.0)",
    "semeion": "scanned, stretched to a box, 16 x 16 bitmaps (Semeion, UCI, CC BY 4.0)",
    "omniglot": "Letters of other alphabets (Omniglot, MIT)",
}

Metrics = dict[str, Any]


def wilson_interval(successes: float, count: int) -> tuple[float, float]:
    """Compute the 95 % Wilson score interval of a fraction.

    Args:
        successes: Number of successes, 0 to `count`.
        count: Number of trials, at least 1.

    Returns:
        The lower and the upper limit, in [0, 1].
    """
    z, fraction = 1.96, successes / count
    center = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    return center - half, center + half


def predict(classifier: DigitClassifier, images: np.ndarray) -> list[Prediction]:
    """Classify grayscale images in batches of about a megabyte.

    Args:
        classifier: The classifier.
        images: Uint8 (N, H, W).

    Returns:
        N predictions.
    """
    batches = np.array_split(images[..., None], -(-images.size // 2**20))
    return [prediction for batch in batches for prediction in classifier.predict_batch(batch)]


def measure_digits(predictions: list[Prediction], labels: np.ndarray) -> Metrics:
    """Measure accuracy, coverage and calibration error on labeled digits.

    Args:
        predictions: N predictions.
        labels: Integers (N,), 0 to 9.

    Returns:
        Fractions in [0, 1] by name, their "interval", and the number of images "n".
    """
    correct = sum(p.probabilities.argmax() == label for p, label in zip(predictions, labels, strict=True))
    labeled = [LabeledPrediction("", int(label), p) for p, label in zip(predictions, labels, strict=True)]
    return {
        "n": len(labels),
        "accuracy": correct / len(labels),
        "interval": wilson_interval(correct, len(labels)),
        "coverage": np.mean([p.label is not None for p in predictions]),
        "accuracy_of_accepted": np.mean([one.correct for one in labeled if one.prediction.label is not None]),
        "ece": calibration_error(labeled),
    }


def measure_non_digits(non_digits: list[Prediction], digits: list[Prediction]) -> Metrics:
    """Measure how well the confidence distinguishes non-digits from digits.

    Args:
        non_digits: Predictions for non-digits.
        digits: Predictions for digits.

    Returns:
        Fractions in [0, 1] by name, "auroc_interval", and the number of non-digits "n".
    """

    def area(negatives: np.ndarray, positives: np.ndarray) -> float:
        return float(np.searchsorted(np.sort(negatives), positives).mean() / len(negatives))

    negatives, positives = (np.array([p.confidence for p in group]) for group in (non_digits, digits))
    rng = np.random.default_rng(0)
    areas = [
        area(rng.choice(negatives, len(negatives)), rng.choice(positives, len(positives)))
        for _ in range(BOOTSTRAP_SAMPLES)
    ]
    return {
        "n": len(negatives),
        "auroc": area(negatives, positives),
        "auroc_interval": list(np.quantile(areas, [0.025, 0.975])),
        "accepted_at_95": (negatives >= np.quantile(positives, 0.05)).mean(),
        "accepted": np.mean([p.label is not None for p in non_digits]),
    }


def measure(model: Path, data_dir: str, datasets: Path | None) -> Metrics:
    """Measure a model, and write the mistakes of the released one.

    Args:
        model: Path of the ONNX file.
        data_dir: The directory with MNIST/raw.
        datasets: A directory of .npz files, or None.

    Returns:
        All metrics by dataset.
    """
    classifier = DigitClassifier(model, threads=2)
    images, labels = read_test_set(data_dir)
    predictions = {"mnist": predict(classifier, images)}
    metrics: Metrics = {"mnist": measure_digits(predictions["mnist"], labels)}
    for path in sorted(datasets.glob("*.npz"), key=lambda path: path.stem == "omniglot") if datasets else ():
        with np.load(path) as data:
            predictions[path.stem] = predict(classifier, data["images"])
            if (data["labels"] < 0).all():
                metrics[path.stem] = measure_non_digits(predictions[path.stem], predictions["pen"])
            else:
                metrics[path.stem] = measure_digits(predictions[path.stem], data["labels"])
    corrupted = {}
    for result in measure_robustness(classifier, images, labels):
        corrupted[result.corruption] = {"accuracy": result.accuracy, "rejected": result.rejected}
        print(f"{model}: {result.corruption.replace('_', ' ')} {result.accuracy:.2%}", flush=True)
    metrics["corrupted"] = corrupted
    for group, corruptions in (("corruptions", CORRUPTIONS), ("pages", PAGE_CORRUPTIONS)):
        metrics[group] = float(np.mean([corrupted[name]["accuracy"] for name in corruptions]))
    if model.parent == RELEASE:
        pairs = enumerate(zip(predictions["mnist"], labels, strict=True))
        save_mistakes([LabeledPrediction(str(i), int(label), p) for i, (p, label) in pairs], RELEASE / "mistakes.png")
    return metrics


def stored_dtype(model: Path) -> str:
    """Look up the data type of the stored weights.

    Args:
        model: Path of the ONNX file.

    Returns:
        "float32", "float16" or "int8", as in the option --weights of export.py.
    """
    suffixes = {tensor.name.rpartition(".")[2] for tensor in onnx.load(model).graph.initializer}
    return next((suffix for suffix in ("int8", "float16") if suffix in suffixes), "float32")


def percent(fraction: float, digits: int = 2) -> str:
    """Format a fraction in percent.

    Args:
        fraction: A number in [0, 1].
        digits: Number of decimals.

    Returns:
        The number without a unit.
    """
    return f"{fraction * 100:.{digits}f}"


def over_seeds(fractions: list[float]) -> str:
    """Format the mean and the standard deviation over seeds in percent.

    Args:
        fractions: At least two numbers in [0, 1].

    Returns:
        Text, for example "97.12 ± 0.10".
    """
    return f"{np.mean(fractions) * 100:.2f} ± {np.std(fractions, ddof=1) * 100:.2f}"


def tables(runs: list[Metrics]) -> Iterator[str]:
    """Create the card's tables.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        The lines of all tables.
    """
    yield from digits_table(runs)
    if "omniglot" in runs[0]:
        yield from non_digits_table(runs)
    yield from corruptions_table(runs)


def digits_table(runs: list[Metrics]) -> Iterator[str]:
    """Create the table of the datasets of digits.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        Its lines.
    """
    release, seeds = runs[0], f"{len(runs)} seeds"
    columns = "dataset | n | accuracy, % | 95 % interval | coverage, % | accuracy on accepted, % | ECE, %"
    yield f"| {columns} | {seeds}: accuracy, % |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, title in DATASETS.items():
        if name in release and "accuracy" in release[name]:
            m = release[name]
            low, high = m["interval"]
            yield (
                f"| {title} | {m['n']:,} | {percent(m['accuracy'])} | {percent(low)} to {percent(high)}"
                f" | {percent(m['coverage'])} | {percent(m['accuracy_of_accepted'])} | {percent(m['ece'])}"
                f" | {over_seeds([run[name]['accuracy'] for run in runs])} |"
            )


def non_digits_table(runs: list[Metrics]) -> Iterator[str]:
    """Create the table of the letters of other alphabets.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        Its lines.
    """
    m = runs[0]["omniglot"]
    low, high = m["auroc_interval"]
    yield ""
    yield f"{DATASETS['omniglot']}, n = {m['n']:,}, compared with the digits drawn on a tablet:"
    yield ""
    yield f"| | | 95 % interval | {len(runs)} seeds |"
    yield "|---|---|---|---|"
    areas = [run["omniglot"]["auroc"] for run in runs]
    spread = f"{np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}"
    yield f"| AUROC of the confidence | {m['auroc']:.3f} | {low:.3f} to {high:.3f} | {spread} |"
    for key, where in (("accepted_at_95", "where 95 % of the digits are accepted"), ("accepted", "by `label`")):
        low, high = wilson_interval(m[key] * m["n"], m["n"])
        interval = f"{percent(low, 1)} to {percent(high, 1)}"
        seeds = over_seeds([run["omniglot"][key] for run in runs])
        yield f"| accepted {where}, % | {percent(m[key], 1)} | {interval} | {seeds} |"


def corruptions_table(runs: list[Metrics]) -> Iterator[str]:
    """Create the table of the corruptions.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        Its lines.
    """
    release = runs[0]
    yield ""
    yield "MNIST's 10,000 test images with corruptions; `digitnet evaluate --robustness` measures it again:"
    yield ""
    yield f"| corruption | accuracy, % | rejected, % | {len(runs)} seeds: accuracy, % |"
    yield "|---|---|---|---|"
    for title, key, corruptions in (
        ("fifteen corruptions of MNIST-C", "corruptions", CORRUPTIONS),
        ("pages of 160 x 160", "pages", PAGE_CORRUPTIONS),
    ):
        for name in corruptions:
            m = release["corrupted"][name]
            seeds = over_seeds([run["corrupted"][name]["accuracy"] for run in runs])
            yield f"| {name.replace('_', ' ')} | {percent(m['accuracy'])} | {percent(m['rejected'])} | {seeds} |"
        yield f"| **mean of the {title}** | **{percent(release[key])}** | | {over_seeds([run[key] for run in runs])} |"


def write_card(runs: list[Metrics]) -> None:
    """Write MODEL_CARD.md from its template and the metrics.

    Args:
        runs: The metrics of each model; the first is the released one.
    """
    card = Path(__file__).with_name("model_card.md").read_text()
    content = {"figures": "\n".join(tables(runs)), "weights": stored_dtype(RELEASE / "digitnet.onnx")}
    for name, text in content.items():
        card = card.replace(f"{{{name}}}", text)
    write_atomically(RELEASE / "MODEL_CARD.md", card.encode())


def main() -> None:
    """Measure all models and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, help="directory of .npz files")
    parser.add_argument("--seeds", type=Path, nargs="+", default=[], help="models of the same recipe with other seeds")
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    if not options.seeds:
        parser.error("expected models of other seeds, for the spread that the card gives: --seeds FILE...")
    if options.datasets and not (options.datasets / "pen.npz").is_file():
        parser.error(f"{options.datasets} has no pen.npz, with which the acceptance of non-digits is measured")
    fetch_mnist(options.data_dir)
    runs = [measure(path, options.data_dir, options.datasets) for path in [RELEASE / "digitnet.onnx", *options.seeds]]
    write_atomically(RELEASE / "metrics.json", (json.dumps(runs, indent=1, default=float) + "\n").encode())
    write_card(runs)


if __name__ == "__main__":
    main()
