"""The tables and the plot of the model card."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from docs.model_card_metrics import KINDS, Metrics

DATASETS = {
    "mnist": "MNIST, the 10,000 test images",
    "pen": "drawn on a tablet (UCI, CC BY 4.0)",
    "usps": "scanned from envelopes (USPS)",
    "optdigits": "scanned forms, 32 x 32 bitmaps (Optdigits, UCI, CC BY 4.0)",
    "semeion": "scanned, stretched to a box, 16 x 16 bitmaps (Semeion, UCI, CC BY 4.0)",
    "omniglot": "Letters of other alphabets (Omniglot, MIT)",
}
POSITIVES = {"pen": "the digits drawn on a tablet", "mnist": "MNIST's test images"}
NEGATIVES = {"omniglot": "letters of other alphabets", "not_a_digit": "non-digits examined during development"}
FILES = {
    "digitnet.onnx": "the model, which takes raw images",
    "digitnet-280.onnx": "the model for RGBA images of 280 x 280 pixels, for runtimes that need fixed sizes",
    "digitnet-28.onnx": "the network without framing",
    "digitnet.activations.onnx": "the network with its activations as outputs, for the sketchpad's explanation",
    "framing.onnx": "framing with the position of the digit, for the same",
    "digitnet.ckpt": "the weights and hyperparameters from which these files were exported",
    "config.yaml": "the options of the first stage of the training",
    "fine_tuning.yaml": "the options of its last stage",
    "metrics.json": "the figures below",
    "mistakes.png": "an image of this card",
    "mistakes_by_kind.png": "an image of this card",
    "trade_off.png": "an image of this card",
}
MIN_SHOWN, MAX_SHOWN = 90, 50  # %, of the digits and of the non-digits that are accepted, in the plot


def percent(fraction: float, digits: int = 2) -> str:
    """Format a fraction in percent.

    Args:
        fraction: A number in [0, 1].
        digits: Number of decimals.

    Returns:
        The number without a unit.
    """
    return f"{fraction * 100:.{digits}f}"


def limits(interval: Sequence[float], digits: int = 2) -> str:
    """Format an interval in percent.

    Args:
        interval: The lower and the upper limit, in [0, 1].
        digits: Number of decimals.

    Returns:
        Text, for example "99.38 to 99.65".
    """
    low, high = interval
    return f"{percent(low, digits)} to {percent(high, digits)}"


def over_seeds(fractions: Sequence[float]) -> str:
    """Format the mean and the standard deviation over seeds in percent.

    Args:
        fractions: At least two numbers in [0, 1].

    Returns:
        Text, for example "97.12 ± 0.10".
    """
    return f"{np.mean(fractions) * 100:.2f} ± {np.std(fractions, ddof=1) * 100:.2f}"


def seeds_title(runs: Sequence[Metrics], what: str) -> list[str]:
    """Return the title of a table's column for the seeds.

    Args:
        runs: The metrics of each model.
        what: What the column shows.

    Returns:
        The title, or nothing if there is one model.
    """
    return [f"{len(runs)} seeds: {what}"] if len(runs) > 1 else []


def seeds_cell(runs: Sequence[Metrics], fraction: Callable[[Metrics], float]) -> list[str]:
    """Return a cell of a table's column for the seeds.

    Args:
        runs: The metrics of each model.
        fraction: Selects a fraction from the metrics of a model.

    Returns:
        The cell, or nothing if there is one model.
    """
    return [over_seeds([fraction(run) for run in runs])] if len(runs) > 1 else []


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Format a table.

    Args:
        titles: The titles of the columns.
        rows: The cells of each row, as many as there are titles.

    Yields:
        Its lines.
    """
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def tables(runs: Sequence[Metrics]) -> Iterator[str]:
    """Create the card's tables and the link to its plot.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        The lines of all tables, with their introductions.
    """
    yield from digits_table(runs)
    if "omniglot" in runs[0]:
        yield from non_digits_table(runs)
    if "images" in runs[0]:
        yield from images_table(runs)
    if "trade_off" in runs[0]:
        yield ""
        yield "The fraction of non-digits that are accepted against the fraction of digits that are accepted, for"
        yield "thresholds of the largest probability. The dots show what `label` accepts:"
        yield ""
        yield "![Non-digits accepted against digits accepted](trade_off.png)"
    yield from corruptions_table(runs)


def files_table(directory: Path) -> Iterator[str]:
    """Create the table of the released files.

    Args:
        directory: The directory of the release.

    Yields:
        Its lines.
    """
    rows = []
    for name, description in FILES.items():
        path = directory / name
        if path.exists():
            rows.append([f"`{name}`", f"{path.stat().st_size / 1000:,.1f}", description])
    yield from table(["file", "KB", "content"], rows)


def options_table(configurations: Sequence[Path]) -> Iterator[str]:
    """Create the table of the training options.

    Args:
        configurations: The configurations of the stages, as train.py writes them.

    Yields:
        Its lines: a row for each option of the trainer's duration, the model and the data.
    """
    stages = [yaml.safe_load(path.read_text()) for path in configurations]
    values = [
        {"trainer.max_epochs": stage["trainer"]["max_epochs"], "seed_everything": stage["seed_everything"]}
        | {f"{group}.{name}": value for group in ("model", "data") for name, value in stage[group].items()}
        for stage in stages
    ]
    names = [name for name in dict.fromkeys(name for one in values for name in one) if name != "data.data_dir"]
    rows = [[f"`--{name}`", *(str(one.get(name, "default")) for one in values)] for name in names]
    yield from table(["option", *(f"`{path.name}`" for path in configurations)], rows)


def digits_table(runs: Sequence[Metrics]) -> Iterator[str]:
    """Create the table of the datasets of digits.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        Its lines.
    """

    def row(name: str) -> list[str]:
        m = runs[0][name]
        fractions = [percent(m[key]) for key in ("coverage", "accuracy_of_accepted", "ece")]
        cells = [DATASETS[name], f"{m['n']:,}", percent(m["accuracy"]), limits(m["interval"]), *fractions]
        return cells + seeds_cell(runs, lambda run: run[name]["accuracy"])

    columns = ["dataset", "n", "accuracy, %", "95 % interval", "coverage, %", "accuracy on accepted, %", "ECE, %"]
    names = [name for name in DATASETS if "accuracy" in runs[0].get(name, {})]
    yield from table([*columns, *seeds_title(runs, "accuracy, %")], map(row, names))


def non_digits_table(runs: Sequence[Metrics]) -> Iterator[str]:
    """Create the table of the letters of other alphabets.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        Its lines.
    """
    m = runs[0]["omniglot"]
    yield ""
    yield f"{DATASETS['omniglot']}, n = {m['n']:,}, distinguished from digits by the largest probability. The AUROC is"
    yield "the probability that it is larger for a digit than for a letter:"
    yield ""

    def row(name: str) -> list[str]:
        one = m["against"][name]
        cells = [POSITIVES[name], percent(one["auroc"]), limits(one["auroc_interval"])]
        cells += seeds_cell(runs, lambda run: run["omniglot"]["against"][name]["auroc"])
        cells += [percent(one["accepted_at_95"], 1), limits(one["interval"], 1)]
        return cells + seeds_cell(runs, lambda run: run["omniglot"]["against"][name]["accepted_at_95"])

    area = ["letters and", "AUROC, %", "95 % interval", *seeds_title(runs, "AUROC, %")]
    accepted = ["letters accepted where 95 % of the digits are, %", "95 % interval", *seeds_title(runs, "accepted, %")]
    yield from table(area + accepted, map(row, m["against"]))
    yield ""
    digits = " and ".join(f"{percent(runs[0][name]['coverage'], 1)} % of {POSITIVES[name]}" for name in m["against"])
    spread = seeds_cell(runs, lambda run: run["omniglot"]["accepted"])
    interval = "; over seeds ".join([f"95 % interval {limits(m['interval'], 1)}", *spread])
    yield f"With its threshold of {runs[0]['threshold']:.4f}, `label` accepts {percent(m['accepted'], 1)} % of the"
    yield f"letters ({interval}), {digits}."


def images_table(runs: Sequence[Metrics]) -> Iterator[str]:
    """Create the table of the development images by kind.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        Its lines.
    """
    images = runs[0]["images"]
    yield ""
    yield "Difficult images by kind. These images were examined during development, so the figures are optimistic. They"
    yield "were not used for training or for a threshold, and they are not part of the project:"
    yield ""

    def row(name: str, title: str) -> list[str]:
        m = images[name]
        cells = [title, f"{m['n']:,}", percent(m["accuracy"], 1), limits(m["interval"], 1)]
        cells += [percent(m[key], 1) for key in ("coverage", "accepted_and_wrong")]
        return cells + seeds_cell(runs, lambda run: run["images"][name]["accuracy"])

    titles = {}
    for kind, title in KINDS.items():
        titles[kind] = title
        if kind == "printed":
            titles["seven_segments"] = "seven-segment digits"
    rows = [row(name, title) for name, title in titles.items() if name in images]
    mean = images["mean"]
    fractions = {name: percent(mean[name], 1) for name in ("accuracy", "coverage", "accepted_and_wrong")}
    kinds = f"mean of the {mean['kinds']} kinds" + (", all printed digits as one" if "seven_segments" in images else "")
    cells = [f"**{kinds}**", "", f"**{fractions['accuracy']}**", "", fractions["coverage"]]
    rows.append([*cells, fractions["accepted_and_wrong"], *seeds_cell(runs, lambda r: r["images"]["mean"]["accuracy"])])
    columns = ["kind", "n", "accuracy, %", "95 % interval", "coverage, %", "accepted and wrong, %"]
    yield from table([*columns, *seeds_title(runs, "accuracy, %")], rows)
    if "not_a_digit" in images:
        m = images["not_a_digit"]
        spread = seeds_cell(runs, lambda run: run["images"]["not_a_digit"]["accepted"])
        interval = "; over seeds ".join([f"95 % interval {limits(m['interval'], 1)}", *spread])
        yield ""
        yield "Non-digits that were examined in the same way (letters, other scripts, signs, scribbles, several digits,"
        yield f"mirrored and rotated digits, empty paper, texture), n = {m['n']:,}: `label` accepts"
        yield f"{percent(m['accepted'], 1)} % ({interval})."


def corruptions_table(runs: Sequence[Metrics]) -> Iterator[str]:
    """Create the table of the corruptions.

    Args:
        runs: The metrics of each model; the first is the released one.

    Yields:
        Its lines.
    """
    yield ""
    yield "MNIST's 10,000 test images with corruptions; `digitnet evaluate --robustness` measures it again:"
    yield ""

    def row(name: str) -> list[str]:
        m = runs[0]["corrupted"][name]
        cells = [name.replace("_", " "), percent(m["accuracy"]), percent(m["rejected"])]
        return cells + seeds_cell(runs, lambda run: run["corrupted"][name]["accuracy"])

    def mean_row(key: str, title: str) -> list[str]:
        cells = [f"**mean of the {title}**", f"**{percent(runs[0][key])}**", ""]
        return cells + seeds_cell(runs, lambda run: run[key])

    rows = [row(name) for name in CORRUPTIONS]
    rows.append(mean_row("corruptions", "fifteen corruptions of MNIST-C"))
    rows += [row(name) for name in PAGE_CORRUPTIONS]
    rows.append(mean_row("pages", "pages of 160 x 160"))
    columns = ["corruption", "accuracy, %", "rejected, %", *seeds_title(runs, "accuracy, %")]
    yield from table(columns, rows)


def plot_trade_off(metrics: Metrics) -> Figure:
    """Plot the non-digits that are accepted against the digits that are accepted.

    Args:
        metrics: The metrics of a model, with "trade_off".

    Returns:
        The figure, with axes for each group of digits. The operating point of `label` is marked.
    """
    curves = metrics["trade_off"]
    digits = [name for name in POSITIVES if name in curves]
    figure = Figure(figsize=(4.2 * len(digits) + 0.4, 4.4), layout="constrained")
    panels = figure.subplots(1, len(digits), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, digits, strict=True):
        for index, (group, title) in enumerate(NEGATIVES.items()):
            if group in curves:
                percentages = [[100 * fraction for fraction in curves[one]] for one in (name, group)]
                axes.plot(*percentages, color=f"C{index}", label=title)
                accepted = (metrics if group in metrics else metrics["images"])[group]["accepted"]
                axes.plot(
                    [100 * metrics[name]["coverage"]], [100 * accepted], "o", color=f"C{index}", markeredgecolor="black"
                )
        axes.set(xlim=(MIN_SHOWN, 100), ylim=(0, MAX_SHOWN), title=POSITIVES[name], xlabel="digits accepted, %")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("non-digits accepted, %")
    point = axes.plot([], [], "o", color="white", markeredgecolor="black")[0]
    lines, titles = axes.get_legend_handles_labels()
    titles.append(f"accepted by label (threshold {metrics['threshold']:.2f})")
    figure.legend([*lines, point], titles, loc="outside lower center", ncols=3, fontsize=9)
    return figure
