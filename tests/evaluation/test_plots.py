import numpy as np
import pytest
from PIL import Image

from digitnet.evaluation.plots import plot_confusion, plot_curves, save_figure


def test_curves_show_the_epochs_that_have_a_metric():
    epochs = [{"train/loss": 1.0, "train/accuracy": 0.5}, {"train/loss": 0.5, "train/accuracy": 0.8, "val/loss": 0.4}]
    _, loss = plot_curves(epochs).axes
    training, validation = loss.get_lines()
    assert training.get_xydata().tolist() == [[1, 1.0], [2, 0.5]]
    assert validation.get_xydata().tolist() == [[2, 0.4]]


def test_the_confusion_matrix_shows_each_count_that_is_not_0():
    confusion = np.diag(np.arange(10))
    confusion[3, 5] = 17
    texts = [text.get_text() for text in plot_confusion(confusion).axes[0].texts]
    assert sorted(texts) == sorted([*map(str, range(1, 10)), "17"])


@pytest.mark.parametrize("confusion", [np.zeros((10, 10), int), np.diag([5] * 10)])
def test_a_confusion_matrix_without_mistakes_is_saved_as_png(tmp_path, confusion):
    save_figure(plot_confusion(confusion), tmp_path / "new" / "confusion.png")
    with Image.open(tmp_path / "new" / "confusion.png") as image:
        assert image.format == "PNG"
