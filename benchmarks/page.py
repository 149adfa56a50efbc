"""Run the benchmarks and write docs/benchmarks.md, its plots, and the results of README.md from their output.

    python benchmarks/page.py [--only NAME ...] [--datasets DIR] [--data-dir data]

--only repeats some of them, by their names without .py, and keeps the other sections. Fifty minutes in total.
"""

import argparse
import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks.results import MEASUREMENTS, record, write_results
from digitnet.files import write_atomically

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
SCRIPTS = {
    "accuracy": [],
    "train_speed": [],
    "inference_speed": [],
    "predict_speed": ["--plot", "docs/predict_speed.png"],
    "framing": ["--checkpoint", "checkpoints/release/digitnet.ckpt", "--plot", "docs/framing.png"],
    "app_load": ["--requests", "4000"],  # the default of 20,000 takes ten minutes
}
WITHOUT_MNIST = ("predict_speed", "app_load")
PAGE_HEAD = """# Benchmarks

`make bench` writes this page: each section is the output of one script in [benchmarks](../benchmarks), with its date
and hardware. Some rows have a requirement, which every change must satisfy.

No GPU was available for these measurements, so the page has no GPU figures.
"""


def main() -> None:
    """Run the benchmarks, and record their measurements and write the pages after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--datasets", type=Path)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    sections = read_sections()
    measurements = json.loads(MEASUREMENTS.read_text())
    for name in options.only:
        arguments = list(SCRIPTS[name])
        if name not in WITHOUT_MNIST:
            arguments += ["--data-dir", options.data_dir]
        if name == "accuracy" and options.datasets:
            arguments += ["--datasets", str(options.datasets)]
        print(f"{name} ...", file=sys.stderr, flush=True)
        sections[name] = section(name, arguments)
        write_page(sections)
        measurements[name] = record(sections[name])
        write_atomically(MEASUREMENTS, (json.dumps(measurements, indent=1, ensure_ascii=False) + "\n").encode())
        write_results()


def section(name: str, arguments: list[str]) -> str:
    """Run a script.

    Args:
        name: Its name without .py.
        arguments: Its arguments.

    Returns:
        Its section of the page: its documentation and its output, in Markdown.
    """
    script = Path(__file__).parent / f"{name}.py"
    done = subprocess.run([sys.executable, str(script), *arguments], check=True, cwd=ROOT, stdout=subprocess.PIPE)
    (documentation,) = re.findall(r'^"""(.*?)"""', script.read_text(), re.DOTALL)
    title, _, rest = documentation.partition("\n\n")
    command, _, explanation = rest.strip().partition("\n\n")
    # Without the paths of this machine.
    datasets = ["--datasets DIR"] if "--datasets" in arguments else []
    shown = " ".join([command.split(" [")[0], *SCRIPTS[name], *datasets])
    plot = "\n![Images per second by image size](predict_speed.png)\n" if name == "predict_speed" else ""
    return (
        f"{title.split('. ')[0].rstrip('.')}\n\n`{shown}`, {date.today()}.\n\n{explanation.strip()}\n\n"
        f"{done.stdout.decode().strip()}\n{plot}"
    )


def read_sections() -> dict[str, str]:
    """Read the sections of the page.

    Returns:
        The sections by the script that each names.
    """
    text = PAGE.read_text() if PAGE.exists() else ""
    return {re.findall(r"benchmarks/(\w+)\.py", section)[0]: section for section in text.split("\n## ")[1:]}


def write_page(sections: dict[str, str]) -> None:
    """Write docs/benchmarks.md.

    Args:
        sections: The sections by script.
    """
    head = PAGE_HEAD
    texts = [sections[name].strip() for name in SCRIPTS if name in sections]
    write_atomically(PAGE, "\n## ".join([head, *(f"{text}\n" for text in texts)]).encode())


if __name__ == "__main__":
    main()
