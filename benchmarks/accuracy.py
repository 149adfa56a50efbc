"""Accuracy of `python train.py` with its default options, for three seeds. About five minutes on two cores.

    python benchmarks/accuracy.py [--seeds 3] [--datasets DIR] [--data-dir data]

Each run uses MNIST's test images once, after training. "corrupted" and "pages" are the mean accuracy on MNIST's
validation images with corruptions such as blur, and on pages of 160 x 160 pixels that show such a digit among shadows,
lines or specks (see `digitnet evaluate --robustness`). The other columns are digits drawn on a tablet (pen) and scanned
(optdigits, semeion, usps), and letters (omniglot). `--datasets` names a directory of .npz files with images,
uint8 (N, H, W), and labels, -1 for non-digits. For a dataset of non-digits, the table shows the fraction that is
accepted at the threshold that accepts 95 % of the dataset "pen".
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks.ablation import Datasets, load_datasets, measure
from digitnet.data.mnist import fetch_mnist
from digitnet.training.report import cpu_name

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Print a table with a row for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--datasets", type=Path)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    fetch_mnist(options.data_dir)
    datasets = load_datasets(options.data_dir, options.datasets)
    rows: list[list[float]] = []
    for seed in range(options.seeds):
        print(f"training with seed {seed} ...", file=sys.stderr, flush=True)
        row, report = train(seed, options.data_dir, datasets)
        rows.append(row)
    versions = ", ".join(f"{name} {report[name + '_version']}" for name in ("python", "torch", "lightning"))
    print(f"{cpu_name()}, {report['cpu_cores']} cores; {versions}\n")
    print(f"| seed | seconds of training | MNIST test | {' | '.join(datasets)} |\n|{'---|' * (3 + len(datasets))}")
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    for name, (seconds, *accuracies) in [*((str(seed), row) for seed, row in enumerate(rows)), ("mean", means)]:
        print(f"| {name} | {seconds:.0f} | {' | '.join(f'{accuracy:.2%}' for accuracy in accuracies)} |")


def train(seed: int, data_dir: str, datasets: Datasets) -> tuple[list[float], dict[str, Any]]:
    """Run train.py and measure the result.

    Args:
        seed: The seed of the run.
        data_dir: The directory with MNIST/raw.
        datasets: Framed images, uint8 (N, 28, 28), and labels, (N,), of each dataset; "pen" precedes non-digits.

    Returns:
        A row of the table (seconds of training, test accuracy, accuracy on each dataset), and the content of
        metrics.json.
    """
    with TemporaryDirectory() as directory:
        command = [
            sys.executable, "train.py", f"--seed_everything={seed}", "--trainer.accelerator=cpu",
            f"--data.data_dir={Path(data_dir).resolve()}", f"--trainer.default_root_dir={directory}",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        report = json.loads((Path(directory) / "reports" / "metrics.json").read_text())
        accuracies = measure(Path(directory) / "checkpoints" / "best.ckpt", datasets)
        return [report["fit_seconds"], report["test_accuracy"], *accuracies], report


if __name__ == "__main__":
    main()
