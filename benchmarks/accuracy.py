"""What `python train.py` alone comes to: its five epochs, with three seeds. About five minutes on 2 cores.

    python benchmarks/accuracy.py [--seeds 3] [--sets DIR] [--data_dir data]

MNIST's test images are read once by each run. 'corrupted' and 'pages' are validation images made hard (see
`digitnet evaluate --robustness`). --sets names a folder of .npz files with images, uint8 (N, H, W), and labels, -1 for
what is no digit: of those the part is given that is accepted where 95 % of the set 'pen' is.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks.ablation import figures, read_sets
from digitnet.data.mnist import fetch_mnist
from digitnet.training.report import cpu_name

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()
    fetch_mnist(options.data_dir)
    sets = read_sets(options.data_dir, options.sets)
    rows: list[list[float]] = []
    for seed in range(options.seeds):
        print(f"training with seed {seed} ...", file=sys.stderr, flush=True)
        with TemporaryDirectory() as folder:
            subprocess.run(
                [
                    sys.executable, "train.py", f"--seed_everything={seed}", "--trainer.accelerator=cpu",
                    f"--data.data_dir={Path(options.data_dir).resolve()}", f"--trainer.default_root_dir={folder}",
                ],
                check=True, stdout=subprocess.DEVNULL, cwd=ROOT,
            )  # fmt: skip
            report = json.loads((Path(folder) / "reports" / "metrics.json").read_text())
            read = figures(Path(folder) / "checkpoints" / "best.ckpt", sets)
            rows.append([report["fit_seconds"], report["test_accuracy"], *read])
    versions = ", ".join(f"{name} {report[name + '_version']}" for name in ("python", "torch", "lightning"))
    print(f"{cpu_name()}, {report['cpu_cores']} cores; {versions}\n")
    print(f"| seed | seconds of training | MNIST test | {' | '.join(sets)} |\n|{'---|' * (3 + len(sets))}")
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    for name, (seconds, *accuracies) in [*((str(seed), row) for seed, row in enumerate(rows)), ("mean", means)]:
        print(f"| {name} | {seconds:.0f} | {' | '.join(f'{accuracy:.2%}' for accuracy in accuracies)} |")


if __name__ == "__main__":
    main()
