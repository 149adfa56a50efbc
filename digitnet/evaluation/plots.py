"""Plots of a training run: learning curves and the confusion matrix."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from digitnet.files import write_atomically

RESOLUTION = 120  # dots per inch


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, atomically.

    Args:
        figure: The figure.
        path: The file to write; its directory is created.

    Raises:
        OSError: If the file cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION)
    write_atomically(path, buffer.getvalue())


def plot_curves(epochs: Sequence[dict[str, float]]) -> Figure:
    """Return the learning curves of a run.

    Args:
        epochs: The metrics of each epoch: "train/loss", "train/accuracy", and where there was a validation, "val/loss"
            and "val/accuracy".

    Returns:
        The figure.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        _plot_curve(axes, epochs, f"train/{metric}", "training (augmented, with dropout, mean over the epoch)", "o--")
        _plot_curve(axes, epochs, f"val/{metric}", "validation (after the epoch)", "o-")
        axes.set(xlabel="epoch", ylabel=metric, title=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _plot_curve(axes: Axes, epochs: Sequence[dict[str, float]], name: str, label: str, style: str) -> None:
    """Plot one metric over the epochs that have it."""
    points = [(number, epoch[name]) for number, epoch in enumerate(epochs, 1) if name in epoch]
    axes.plot([number for number, _ in points], [value for _, value in points], style, label=label)


def plot_confusion(confusion: np.ndarray) -> Figure:
    """Return the confusion matrix, colored by the misclassified images only.

    Args:
        confusion: Counts (10, 10): rows are labels, columns are predictions.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6.5, 6), layout="constrained")
    axes = figure.subplots()
    mistakes = confusion.astype(float)
    np.fill_diagonal(mistakes, np.nan)  # its counts would hide the others
    axes.imshow(mistakes, cmap="Reds", vmin=0)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            dark = row != column and count > np.nanmax(mistakes) / 2
            axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color="white" if dark else "black")
    ticks = range(len(confusion))
    axes.set(
        xlabel="predicted", ylabel="label", xticks=ticks, yticks=ticks, title="Confusion matrix of the test images"
    )
    return figure
