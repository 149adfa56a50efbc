"""Measure the released model; write its metrics.json, its MODEL_CARD.md with images, and the results of README.md.

    python docs/model_card.py [--seeds SEED1.onnx SEED2.onnx] [--datasets DIR] [--images DIR] [--data-dir data]
    python docs/model_card.py --from-metrics   # without measuring: the texts again, from metrics.json

Run it after checkpoints/release/ was made again, as MODEL_CARD.md describes. MNIST is downloaded; other images may not
be redistributed. Each dataset is an .npz file with images, uint8 (N, H, W), and labels, -1 for a non-digit. --images
has such a file for each kind of difficult images. It takes four minutes for each model.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks.results import README, write_results
from digitnet import DigitClassifier, __version__
from digitnet.data.mnist import fetch_mnist, read_test_set
from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.image_grids import save_mistakes, save_mistakes_by_kind
from digitnet.evaluation.metrics import LabeledPrediction
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from digitnet.evaluation.plots import save_figure
from digitnet.evaluation.robustness import RobustnessResult, measure_robustness
from digitnet.files import write_atomically
from docs.model_card_metrics import (
    KINDS,
    Metrics,
    attach_labels,
    fraction_accepted,
    measure_digits,
    measure_images,
    measure_separation,
    predict,
    trade_off,
)
from docs.model_card_tables import POSITIVES, files_table, options_table, percent, plot_trade_off, tables

RELEASE = Path(__file__).parent.parent / "checkpoints" / "release"
UNCORRUPTED = ("uncorrupted", "clean")  # results that are not of a corruption
WEAKEST = 6  # corruptions whose mistakes are shown
NAMED_CORRUPTIONS = 3  # corruptions that the text names
THREADS = 2


@dataclass(frozen=True)
class Run:
    """The results of one model.

    Attributes:
        metrics: All metrics by dataset.
        mnist: The predictions for MNIST's test images.
        weakest: The results of the corruptions, lowest accuracy first.
    """

    metrics: Metrics
    mnist: Sequence[LabeledPrediction]
    weakest: Sequence[RobustnessResult]


def measure(model: Path, options: argparse.Namespace) -> Run:
    """Measure a model.

    Args:
        model: Path of the ONNX file.
        options: The options of the command line.

    Returns:
        Its results.
    """
    classifier = DigitClassifier(model, threads=THREADS)
    images, labels = read_test_set(options.data_dir)
    groups = {"mnist": predict(classifier, images)}
    mnist = attach_labels(groups["mnist"], labels)
    metrics: Metrics = {"threshold": float(classifier.metadata["threshold"]), "mnist": measure_digits(mnist)}
    for path in sorted(options.datasets.glob("*.npz")) if options.datasets else ():
        with np.load(path) as data:
            groups[path.stem] = predict(classifier, data["images"])
            if (data["labels"] >= 0).all():
                metrics[path.stem] = measure_digits(attach_labels(groups[path.stem], data["labels"]))
    if "omniglot" in groups:
        positives = [name for name in POSITIVES if name in groups]
        against = {name: measure_separation(groups["omniglot"], groups[name]) for name in positives}
        metrics["omniglot"] = fraction_accepted(groups["omniglot"]) | {"against": against}
    if options.images:
        metrics["images"], groups["not_a_digit"] = measure_images(classifier, options.images)
    if groups.get("omniglot") or groups.get("not_a_digit"):
        names = (*POSITIVES, "omniglot", "not_a_digit")
        metrics["trade_off"] = trade_off({name: groups[name] for name in names if groups.get(name)})
    results = []
    for result in measure_robustness(classifier, images, labels):
        results.append(result)
        print(f"{model}: {result.corruption.replace('_', ' ')} {result.accuracy:.2%}", flush=True)
    corrupted = {one.corruption: {"accuracy": one.accuracy, "rejected": one.rejected} for one in results}
    metrics["corrupted"] = corrupted
    for group, corruptions in (("corruptions", CORRUPTIONS), ("pages", PAGE_CORRUPTIONS)):
        metrics[group] = float(np.mean([corrupted[name]["accuracy"] for name in corruptions]))
    weakest = [result for result in results if result.corruption not in UNCORRUPTED]
    return Run(metrics, mnist, sorted(weakest, key=lambda result: result.accuracy))


def stored_dtype(model: Path) -> str:
    """Look up the data type of the stored weights.

    Args:
        model: Path of the ONNX file.

    Returns:
        "float32", "float16" or "int8", as in the option --weights of export.py.
    """
    suffixes = {tensor.name.rpartition(".")[2] for tensor in onnx.load(model).graph.initializer}
    return next((suffix for suffix in ("int8", "float16") if suffix in suffixes), "float32")


def save_images(release: Run) -> None:
    """Write the images that the card shows, and remove the plot of an earlier run if this one has none.

    Args:
        release: The results of the released model.
    """
    save_mistakes(release.mnist, RELEASE / "mistakes.png")
    weakest = release.weakest[:WEAKEST]
    titles = [f"{one.corruption.replace('_', ' ')}: accuracy {percent(one.accuracy)} %" for one in weakest]
    mistakes = {title: one.mistakes for title, one in zip(titles, weakest, strict=True)}
    save_mistakes_by_kind(mistakes, RELEASE / "mistakes_by_kind.png")
    (RELEASE / "trade_off.png").unlink(missing_ok=True)
    if "trade_off" in release.metrics:
        save_figure(plot_trade_off(release.metrics), RELEASE / "trade_off.png")


def fill(template: str, content: dict[str, str]) -> str:
    """Replace the names in braces of a template.

    Args:
        template: The text.
        content: The replacement of each name. A line that would be left empty is removed.

    Returns:
        The text with the replacements.
    """
    for name, text in content.items():
        if not text:
            template = template.replace(f"{{{name}}}\n", "")
        template = template.replace(f"{{{name}}}", text)
    return template


def write_card(runs: Sequence[Metrics]) -> None:
    """Write MODEL_CARD.md from its template, the metrics and the other files of the release.

    Args:
        runs: The metrics of each model; the first is the released one.
    """
    corrupted = {name: one for name, one in runs[0]["corrupted"].items() if name not in UNCORRUPTED}
    difficult = sorted(corrupted, key=lambda name: corrupted[name]["accuracy"])[:NAMED_CORRUPTIONS]
    named = [f"{name.replace('_', ' ')} ({percent(corrupted[name]['accuracy'], 1)} %)" for name in difficult]
    content = {
        "figures": "\n".join(tables(runs)),
        "weights": stored_dtype(RELEASE / "digitnet.onnx"),
        "files": "\n".join(files_table(RELEASE)),
        "options": "\n".join(options_table([RELEASE / name for name in ("config.yaml", "fine_tuning.yaml")])),
        "version": __version__,
        "seeds": "For the seeds, the tables give mean ± standard deviation of the same recipe." if runs[1:] else "",
        "difficult": f"{', '.join(named[:-1])} and {named[-1]}",
        "unmeasured": "" if "images" in runs[0] else "- It has not been measured on printed or seven-segment digits.",
    }
    card = fill(Path(__file__).with_name("model_card.md").read_text(), content)
    write_atomically(RELEASE / "MODEL_CARD.md", card.encode())


def write_texts(runs: Sequence[Metrics]) -> None:
    """Write MODEL_CARD.md and the results of README.md.

    Args:
        runs: The metrics of each model, as in metrics.json; the first is the released one.
    """
    write_card(runs)
    write_results(README, RELEASE / "metrics.json")


def main(args: Sequence[str] | None = None) -> None:
    """Measure all models and write the files.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, help="directory of .npz files")
    parser.add_argument("--images", type=Path, help="directory of .npz files of difficult images, one for each kind")
    parser.add_argument("--seeds", type=Path, nargs="+", default=[], help="models of the same recipe with other seeds")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--from-metrics", action="store_true", help="only write the texts, from metrics.json")
    options = parser.parse_args(args)
    if options.from_metrics:
        write_texts(json.loads((RELEASE / "metrics.json").read_text()))
        return
    if options.datasets and not (options.datasets / "pen.npz").is_file():
        parser.error(f"{options.datasets} has no pen.npz, with which the acceptance of non-digits is measured")
    if options.images and not any((options.images / f"{kind}.npz").is_file() for kind in KINDS):
        parser.error(f"{options.images} has none of {', '.join(f'{kind}.npz' for kind in KINDS)}")
    fetch_mnist(options.data_dir)
    runs = [measure(path, options) for path in [RELEASE / "digitnet.onnx", *options.seeds]]
    metrics = [run.metrics for run in runs]
    write_atomically(RELEASE / "metrics.json", (json.dumps(metrics, indent=1, default=float) + "\n").encode())
    save_images(runs[0])
    write_texts(metrics)


if __name__ == "__main__":
    main()
