"""The script that writes the model card: its metrics, its tables, and the files that it writes."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmarks import results
from digitnet import Prediction
from digitnet.evaluation.metrics import LabeledPrediction
from docs import model_card, model_card_metrics, model_card_tables
from tests.conftest import ROOT
from tests.images import draw_digit

RELEASE = ROOT / "checkpoints" / "release"
DIGITS = (1, 7, 7, 1)


def predicted(digit, confidence=0.9, accepted=True):
    """A prediction for a blank image."""
    probabilities = np.full(10, (1 - confidence) / 9, np.float32)
    probabilities[digit] = confidence
    return Prediction(digit if accepted else None, probabilities, confidence, np.zeros((28, 28)))


def draw(digits, size=56):
    """Return images of digits, dark on white, uint8 (N, size, size)."""
    return np.stack([np.asarray(draw_digit(digit, size).convert("L")) for digit in digits])


@pytest.fixture
def release(tmp_path, monkeypatch):
    """A copy of the released model, which is measured on four images, of which one has a wrong label."""
    directory = tmp_path / "release"
    directory.mkdir()
    for name in ("digitnet.onnx", "config.yaml", "fine_tuning.yaml"):
        shutil.copy(RELEASE / name, directory)
    monkeypatch.setattr(model_card, "RELEASE", directory)
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(model_card, "README", tmp_path / "README.md")
    monkeypatch.setattr(model_card, "fetch_mnist", lambda data_dir: None)
    images, labels = 255 - draw(DIGITS, 28), np.array([*DIGITS[:-1], 3])
    monkeypatch.setattr(model_card, "read_test_set", lambda data_dir: (images, labels))
    return directory


@pytest.fixture
def datasets(tmp_path):
    """Digits and letters."""
    directory = tmp_path / "datasets"
    directory.mkdir()
    np.savez(directory / "pen.npz", images=draw(DIGITS), labels=DIGITS)
    np.savez(directory / "omniglot.npz", images=np.full((3, 56, 56), 255, np.uint8), labels=[-1] * 3)
    return directory


@pytest.fixture
def kinds(tmp_path):
    """Images of two kinds, of non-digits, and numbers in another format."""
    directory = tmp_path / "kinds"
    directory.mkdir()
    np.savez(directory / "shadow.npz", images=draw((1, 7)), labels=[1, 3], subkind=["hard", "soft"])
    subkinds = ["font", "hand font", "seven segments", "font"]
    np.savez(directory / "printed.npz", images=draw(DIGITS), labels=[1, 7, 3, 1], subkind=subkinds)
    np.savez(directory / "not_a_digit.npz", images=np.full((5, 56, 56), 255, np.uint8), labels=[-1] * 5)
    np.savez(directory / "numbers.npz", images=np.array([None, "12"], object), text=["1", "12"])
    return directory


def check_files(release):
    """Check the files that the script wrote, and return the card and the metrics."""
    card, metrics = (release / "MODEL_CARD.md").read_text(), json.loads((release / "metrics.json").read_text())
    assert not re.findall(r"\{\w*\}", card), "all names are replaced"
    assert "\n\n\n" not in card
    for line in model_card_tables.tables(metrics):
        assert line in card
    shown = set(re.findall(r"\]\((\w+\.png)\)", card))
    assert shown == {path.name for path in release.glob("*.png")}
    assert shown == set(re.findall(r"`(\w+\.png)`", card))
    measurements = json.loads(results.MEASUREMENTS.read_text())
    assert results.render(metrics[0], measurements) in model_card.README.read_text()
    return card, metrics


def test_a_card_without_options_has_no_column_for_seeds_and_removes_an_earlier_plot(release):
    (release / "trade_off.png").write_bytes(b"of an earlier run")
    model_card.main([])
    card, metrics = check_files(release)
    assert "seeds:" not in card
    assert "For the seeds" not in card
    assert "It has not been measured on printed" in card
    assert metrics[0]["mnist"]["accuracy"] == 0.75
    assert not (release / "trade_off.png").exists()


def test_a_card_with_all_options_shows_each_table_and_the_spread_over_seeds(release, datasets, kinds):
    options = ["--datasets", datasets, "--images", kinds, "--seeds", release / "digitnet.onnx"]
    model_card.main(list(map(str, options)))
    card, metrics = check_files(release)
    assert len(metrics) == 2
    assert "For the seeds" in card
    assert "| 2 seeds: accuracy, % |" in card
    assert "75.00 ± 0.00" in card
    assert "| printed digits | 3 | 100.0 |" in card
    assert "| seven-segment digits | 1 | 0.0 | 0.0 to 79.3 | 100.0 | 100.0 | 0.00 ± 0.00 |" in card
    assert "| **mean of the 2 kinds, all printed digits as one** | | **62.5** |" in card.replace("|  |", "| |")
    assert "It has not been measured on printed" not in card
    assert (release / "trade_off.png").exists()
    with Image.open(release / "trade_off.png") as image:
        assert image.width >= 800


def test_the_released_card_and_the_readme_are_those_of_the_recorded_metrics(release):
    shutil.copytree(RELEASE, release, dirs_exist_ok=True)
    (release / "MODEL_CARD.md").unlink()
    model_card.README.write_text(results.BEGIN + results.END)
    model_card.main(["--from-metrics"])
    card, _ = check_files(release)
    assert card == (RELEASE / "MODEL_CARD.md").read_text()


def test_the_card_has_the_usual_headings():
    headings = re.findall(r"^## (.*)$", (RELEASE / "MODEL_CARD.md").read_text(), re.MULTILINE)
    assert headings == [
        "Model details", "Intended use", "Out-of-scope use", "Training data", "Evaluation data and results",
        "Limitations", "Ethical considerations", "How to reproduce", "Citation",
    ]  # fmt: skip


def test_the_card_lists_each_released_file():
    others = {"MODEL_CARD.md", "SHA256SUMS"}
    assert {path.name for path in RELEASE.iterdir()} - others == set(model_card_tables.FILES)


def test_each_table_of_the_card_is_generated():
    template = (ROOT / "docs" / "model_card.md").read_text()
    assert re.findall(r"^\|", template, re.MULTILINE) == []


def test_an_option_of_one_stage_has_its_default_in_the_other(tmp_path):
    for name, data in (("a.yaml", {"words": 3}), ("b.yaml", {"textures": 5, "data_dir": "x"})):
        options = {"seed_everything": 1, "trainer": {"max_epochs": 2}, "model": {}, "data": data}
        (tmp_path / name).write_text(json.dumps(options))  # JSON is YAML
    lines = list(model_card_tables.options_table([tmp_path / "a.yaml", tmp_path / "b.yaml"]))
    assert lines[0] == "| option | `a.yaml` | `b.yaml` |"
    assert lines[-2:] == ["| `--data.words` | 3 | default |", "| `--data.textures` | default | 5 |"]
    assert "data_dir" not in "".join(lines)


def test_a_directory_without_a_known_kind_is_named(release, tmp_path, capsys):
    with pytest.raises(SystemExit):
        model_card.main(["--images", str(tmp_path)])
    assert f"{tmp_path} has none of shadow.npz" in capsys.readouterr().err


def test_the_limits_of_the_wilson_interval_are_the_fractions_at_which_the_score_test_is_significant():
    for limit in model_card_metrics.wilson_interval(15, 20):
        assert abs(15 / 20 - limit) == pytest.approx(1.96 * np.sqrt(limit * (1 - limit) / 20))


def test_the_wilson_interval_stays_between_0_and_1():
    for count in range(1, 100):
        (low, _), (_, high) = (model_card_metrics.wilson_interval(successes, count) for successes in (0, count))
        assert 0 <= low < 1e-9
        assert 1 - 1e-9 < high <= 1


@pytest.mark.parametrize(
    ("negatives", "positives", "area"),
    [([0.1, 0.2], [0.3], 1), ([0.3], [0.1, 0.2], 0), ([0.5], [0.5], 0.5), ([0.1, 0.5, 0.9], [0.5, 0.6], 0.5 + 1 / 12)],
)
def test_equal_scores_count_one_half_in_the_area_under_the_curve(negatives, positives, area):
    assert model_card_metrics.area_under_curve(np.array(negatives), np.array(positives)) == pytest.approx(area)


def test_a_rejected_mistake_is_not_accepted_and_wrong():
    predictions = [predicted(3), predicted(5), predicted(5, accepted=False), predicted(3, accepted=False)]
    kind = model_card_metrics.measure_kind([LabeledPrediction("", 3, one) for one in predictions])
    assert (kind["n"], kind["accuracy"], kind["coverage"], kind["accepted_and_wrong"]) == (4, 0.5, 0.5, 0.25)


def test_the_trade_off_falls_from_all_images_to_the_most_confident():
    groups = {"mnist": [predicted(3, 0.95), predicted(3, 0.6)], "omniglot": [predicted(3, 0.3)]}
    curves = model_card_metrics.trade_off(groups)
    fractions = {name: np.interp([0, 0.5, 0.7, 0.99], curves["threshold"], curves[name]) for name in groups}
    assert fractions["mnist"].tolist() == [1, 1, 0.5, 0]
    assert fractions["omniglot"].tolist() == [1, 0, 0, 0]


def test_the_plot_marks_what_label_accepts():
    fractions = {"threshold": [0, 0.9], "mnist": [1, 0.9], "not_a_digit": [1, 0.2]}
    metrics = {"threshold": 0.5, "mnist": {"coverage": 0.99}, "images": {"not_a_digit": {"accepted": 0.3}}}
    (axes,) = model_card_tables.plot_trade_off(metrics | {"trade_off": fractions}).axes
    curve, point, _ = axes.get_lines()
    assert curve.get_xydata() == pytest.approx(np.array([[100, 100], [90, 20]]))
    assert point.get_xydata() == pytest.approx(np.array([[99, 30]]))


def test_a_line_that_would_be_empty_is_removed():
    template = "a\n{gone}\n- {kept}\n"
    assert model_card.fill(template, {"gone": "", "kept": "b"}) == "a\n- b\n"
