"""Runs the benchmarks and writes docs/benchmarks.md, its plot, and the table of README.md from what they print.

    python benchmarks/page.py [--only NAME ...] [--sets DIR] [--data_dir data]

--only runs some again, by their names without .py, and leaves the rest of the page as it is. Fifty minutes in all.
"""

import argparse
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.files import write_atomically

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
SCRIPTS = {
    "accuracy": [],
    "train_speed": [],
    "inference_speed": [],
    "predict_speed": ["--plot", "docs/predict_speed.png"],
    "framing": ["--checkpoint", "checkpoints/release/digitnet.ckpt"],
    "app_load": ["--requests", "4000"],  # 20,000, as many as come in eight hours, take ten minutes
}
WITHOUT_MNIST = ("predict_speed", "app_load")
BEGIN, END = "<!-- what follows is written by benchmarks/page.py -->\n", "<!-- to here -->\n"
# Rows of the page that README.md shows: what it calls them, the script, and the beginning of the row.
SHOWN = {
    "`python train.py`, 5 epochs, seconds of training, mean of 3 seeds": ("accuracy", "mean", 1),
    "its test accuracy, mean of 3 seeds": ("accuracy", "mean", 2),
    "one epoch, with validation, seconds": ("train_speed", "fit: seconds of that epoch", 1),
    "its test accuracy": ("train_speed", "fit: test accuracy", 1),
    "the Keras demo's recipe in plain torch to 99.0 %, seconds": ("train_speed", "usual way: seconds", 1),
    "the same in Keras": ("train_speed", "Keras: seconds", 1),
    "images a second, over that recipe's": ("train_speed", "fit / usual way", 1),
    "reading 28 x 28 grey, milliseconds": ("inference_speed", "28 x 28 grey", 1),
    "the same, cropped by Pillow and read by the bare network": ("inference_speed", "usual way, 28 x 28 grey", 1),
    "reading 280 x 280 RGBA, milliseconds": ("inference_speed", "280 x 280 RGBA", 1),
    "reading 1000 x 1000 RGBA, milliseconds": ("inference_speed", "1000 x 1000 RGBA", 1),
    "reading batches of 64, pictures a second": ("inference_speed", "batch of 64", 1),
    "from nothing to the first prediction, seconds": ("inference_speed", "cold start: import", 1),
    "`import torch` alone, seconds": ("inference_speed", "import torch alone", 1),
    "sketchpad: from pen-up to the digit, milliseconds": ("app_load", "pen-up", 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()
    sections = read_sections()
    for name in options.only:
        arguments = list(SCRIPTS[name])
        if name not in WITHOUT_MNIST:
            arguments += ["--data_dir", options.data_dir]
        if name == "accuracy" and options.sets:
            arguments += ["--sets", str(options.sets)]
        print(f"{name} ...", file=sys.stderr, flush=True)
        sections[name] = section(name, arguments)
        write_page(sections)


def section(name: str, arguments: list[str]) -> str:
    """What the script says of itself, and what it prints."""
    script = Path(__file__).parent / f"{name}.py"
    done = subprocess.run([sys.executable, str(script), *arguments], check=True, cwd=ROOT, stdout=subprocess.PIPE)
    (said,) = re.findall(r'^"""(.*?)"""', script.read_text(), re.DOTALL)
    title, _, rest = said.partition("\n\n")
    command, _, explained = rest.strip().partition("\n\n")
    # Where other data lies is of this machine; what is asked of the script is not.
    shown = " ".join([command.split(" [")[0], *SCRIPTS[name], *(["--sets DIR"] if "--sets" in arguments else [])])
    plot = "\n![Pictures a second against their size](predict_speed.png)\n" if name == "predict_speed" else ""
    return (
        f"{title.split('. ')[0].rstrip('.')}\n\n`{shown}`, {date.today()}.\n\n{explained.strip()}\n\n"
        f"{done.stdout.decode().strip()}\n{plot}"
    )


def read_sections() -> dict[str, str]:
    """The page's sections, by the script that each names."""
    text = PAGE.read_text() if PAGE.exists() else ""
    return {re.findall(r"benchmarks/(\w+)\.py", part)[0]: part for part in text.split("\n## ")[1:]}


def write_page(sections: dict[str, str]) -> None:
    """docs/benchmarks.md whole, and README.md's table, as far as there are figures for it."""
    head = "# Benchmarks\n\nWritten by `make bench`: what each script in [benchmarks](../benchmarks) measures.\n"
    parts = [sections[name].strip() for name in SCRIPTS if name in sections]
    write_atomically(PAGE, "\n## ".join([head, *(f"{part}\n" for part in parts)]).encode())
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    write_atomically(readme, (before + BEGIN + table(sections) + END + after).encode())


def table(sections: dict[str, str]) -> str:
    """README.md's table."""
    rows = []
    for title, (name, start, column) in SHOWN.items():
        for line in sections.get(name, "").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("|") and cells[0].strip("`").startswith(start):
                rows.append(f"| {title} | {cells[column]} |")
                break
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    main()
