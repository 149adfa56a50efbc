"""Measures the release and writes its metrics.json, mistakes.png and MODEL_CARD.md: python docs/model_card.py [--help]

Run it when checkpoints/release/ has been made again, as MODEL_CARD.md says how.
MNIST is fetched; the other sets are not ours to pass on. Each is an .npz file with images, uint8 (N, H, W), and
labels, -1 for what is no digit; name their folder with --sets. Ten minutes for three models.
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
from digitnet.evaluation.corruptions import CORRUPTIONS, PAGE_CORRUPTIONS
from digitnet.evaluation.metrics import LabeledPrediction, calibration_error
from digitnet.evaluation.mistakes import save_mistakes
from digitnet.evaluation.robustness import measure_robustness
from digitnet.files import write_atomically

RELEASE = Path(__file__).parent.parent / "checkpoints" / "release"
RESAMPLED = 1000  # times, for the interval of an area under a curve
SETS = {
    "mnist": "MNIST, the 10,000 test images",
    "pen": "drawn on a tablet (UCI, CC BY 4.0)",
    "usps": "scanned from envelopes (USPS)",
    "optdigits": "scanned forms, 32 x 32 bitmaps (Optdigits, UCI, CC BY 4.0)",
    "semeion": "scanned, stretched to a box, 16 x 16 bitmaps (Semeion, UCI, CC BY 4.0)",
    "omniglot": "Letters of other alphabets (Omniglot, MIT)",
}

Metrics = dict[str, Any]


def interval(successes: float, count: int) -> tuple[float, float]:
    """Where 95 % of the time the true share lies, by Wilson's score."""
    z, share = 1.96, successes / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


def read(classifier: DigitClassifier, images: np.ndarray) -> list[Prediction]:
    parts = np.array_split(images[..., None], -(-images.size // 2**20))
    return [prediction for part in parts for prediction in classifier.predict_batch(part)]


def digits_read(predictions: list[Prediction], labels: np.ndarray) -> Metrics:
    """How digits are read: which is the likeliest, how many are accepted, and how far probabilities can be believed."""
    right = sum(p.probabilities.argmax() == label for p, label in zip(predictions, labels, strict=True))
    readings = [LabeledPrediction("", int(label), p) for p, label in zip(predictions, labels, strict=True)]
    return {
        "n": len(labels),
        "accuracy": right / len(labels),
        "interval": interval(right, len(labels)),
        "accepted": np.mean([p.label is not None for p in predictions]),
        "accuracy_of_accepted": np.mean([r.correct for r in readings if r.prediction.label is not None]),
        "ece": calibration_error(readings),
    }


def others_told_apart(others: list[Prediction], digits: list[Prediction]) -> Metrics:
    """How well the largest probability tells what is no digit from digits."""

    def area(signs: np.ndarray, digits: np.ndarray) -> float:
        return float(np.searchsorted(np.sort(signs), digits).mean() / len(signs))

    signs, surest = (np.array([p.confidence for p in group]) for group in (others, digits))
    random = np.random.default_rng(0)
    areas = [area(random.choice(signs, len(signs)), random.choice(surest, len(surest))) for _ in range(RESAMPLED)]
    return {
        "n": len(signs),
        "auroc": area(signs, surest),
        "auroc_interval": list(np.quantile(areas, [0.025, 0.975])),
        "accepted_at_95": (signs >= np.quantile(surest, 0.05)).mean(),
        "accepted": np.mean([p.label is not None for p in others]),
    }


def measure(model: Path, data_dir: str, sets: Path | None) -> Metrics:
    classifier = DigitClassifier(model, threads=2)
    images, labels = read_test_set(data_dir)
    predictions = {"mnist": read(classifier, images)}
    metrics: Metrics = {"mnist": digits_read(predictions["mnist"], labels)}
    for path in sorted(sets.glob("*.npz"), key=lambda path: path.stem == "omniglot") if sets else ():
        with np.load(path) as data:
            predictions[path.stem] = read(classifier, data["images"])
            if (data["labels"] < 0).all():
                metrics[path.stem] = others_told_apart(predictions[path.stem], predictions["pen"])
            else:
                metrics[path.stem] = digits_read(predictions[path.stem], data["labels"])
    hard = {}
    for result in measure_robustness(classifier, images, labels):
        hard[result.corruption] = {"accuracy": result.accuracy, "called_none": result.rejected}
        print(f"{model}: {result.corruption.replace('_', ' ')} {result.accuracy:.2%}", flush=True)
    metrics["hard"] = hard
    for group, ways in (("corruptions", CORRUPTIONS), ("pages", PAGE_CORRUPTIONS)):
        metrics[group] = float(np.mean([hard[name]["accuracy"] for name in ways]))
    worst = [
        LabeledPrediction(str(i), int(label), p)
        for i, (p, label) in enumerate(zip(predictions["mnist"], labels, strict=True))
    ]
    if model.parent == RELEASE:
        save_mistakes(worst, RELEASE / "mistakes.png")
    return metrics


def stored_as(model: Path) -> str:
    """How export.py stored the weights: its --weights."""
    kinds = {tensor.name.rpartition(".")[2] for tensor in onnx.load(model).graph.initializer}
    return next((kind for kind in ("int8", "float16") if kind in kinds), "float32")


def _share(part: float, digits: int = 2) -> str:
    return f"{part * 100:.{digits}f}"


def _over_seeds(values: list[float]) -> str:
    return f"{np.mean(values) * 100:.2f} ± {np.std(values, ddof=1) * 100:.2f}"


def tables(runs: list[Metrics]) -> Iterator[str]:
    """The figures of the card, line by line; the first run is the released one."""
    release = runs[0]
    which = f"{len(runs)} seeds"
    yield f"| set | n | right, % | 95 % interval | accepted, % | right of these, % | ECE, % | {which}, right, % |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, title in SETS.items():
        if name in release and "accuracy" in release[name]:
            m = release[name]
            low, high = m["interval"]
            yield (
                f"| {title} | {m['n']:,} | {_share(m['accuracy'])} | {_share(low)} to {_share(high)}"
                f" | {_share(m['accepted'])} | {_share(m['accuracy_of_accepted'])} | {_share(m['ece'])}"
                f" | {_over_seeds([run[name]['accuracy'] for run in runs])} |"
            )
    if "omniglot" in release:
        m = release["omniglot"]
        low, high = m["auroc_interval"]
        yield ""
        yield f"{SETS['omniglot']}, n = {m['n']:,}, against the digits drawn on a tablet:"
        yield ""
        yield f"| | | 95 % interval | {which} |"
        yield "|---|---|---|---|"
        areas = [run["omniglot"]["auroc"] for run in runs]
        spread = f"{np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}"
        yield f"| AUROC of the largest probability | {m['auroc']:.3f} | {low:.3f} to {high:.3f} | {spread} |"
        for key, what in (("accepted_at_95", "where 95 % of the digits are accepted"), ("accepted", "by `label`")):
            low, high = interval(m[key] * m["n"], m["n"])
            seeds = _over_seeds([run["omniglot"][key] for run in runs])
            bounds = f"{_share(low, 1)} to {_share(high, 1)}"
            yield f"| taken for digits {what}, % | {_share(m[key], 1)} | {bounds} | {seeds} |"
    yield ""
    yield "MNIST's 10,000 test images made hard in each way; `digitnet evaluate --robustness` measures it again:"
    yield ""
    yield f"| made hard by | right, % | called none, % | {which}, right, % |"
    yield "|---|---|---|---|"
    for group, ways in (("fifteen, in the manner of MNIST-C", CORRUPTIONS), ("pages of 160 x 160", PAGE_CORRUPTIONS)):
        key = "pages" if ways is PAGE_CORRUPTIONS else "corruptions"
        for name in ways:
            m = release["hard"][name]
            seeds = _over_seeds([run["hard"][name]["accuracy"] for run in runs])
            yield f"| {name.replace('_', ' ')} | {_share(m['accuracy'])} | {_share(m['called_none'])} | {seeds} |"
        yield f"| **mean of the {group}** | **{_share(release[key])}** | | {_over_seeds([run[key] for run in runs])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, help="a folder of .npz files")
    parser.add_argument("--seeds", type=Path, nargs="+", default=[], help="the same recipe's files of other seeds")
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()
    if not options.seeds:
        parser.error("name the files of other seeds: the card says how far seeds differ")
    if options.sets and not (options.sets / "pen.npz").is_file():
        parser.error(f"there is no pen.npz in {options.sets}; what is no digit is measured against its digits")
    fetch_mnist(options.data_dir)
    runs = [measure(path, options.data_dir, options.sets) for path in [RELEASE / "digitnet.onnx", *options.seeds]]
    write_atomically(RELEASE / "metrics.json", (json.dumps(runs, indent=1, default=float) + "\n").encode())
    card = Path(__file__).with_name("model_card.md").read_text()
    for place, text in {"figures": "\n".join(tables(runs)), "weights": stored_as(RELEASE / "digitnet.onnx")}.items():
        card = card.replace(f"{{{place}}}", text)
    write_atomically(RELEASE / "MODEL_CARD.md", card.encode())


if __name__ == "__main__":
    main()
