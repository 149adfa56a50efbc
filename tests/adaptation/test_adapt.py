import onnx
import pytest
import torch

from digitnet.adaptation import adapt as adapt_function
from digitnet.adaptation import save
from digitnet.adaptation.adapt import MANY_CORRECTIONS, Adaptation, split_folds
from digitnet.adaptation.module import Score
from digitnet.data import mnist
from digitnet.errors import CheckpointError, ConfigError, RegressionError
from digitnet.model.checkpoint import load_model

MD5 = dict(mnist.MD5)


class CancelledError(Exception):
    pass


def adaptation(corrections=((10, 5, 4, 9.0), (10, 2, 2, 3.0)), validation=((6000, 50, 30, 1.0), (6000, 50, 30, 1.0))):
    return Adaptation(None, 10, *(Score(*score) for score in (*corrections, *validation)))


def test_the_folds_contain_each_correction_once():
    folds = split_folds(33, seed=0)
    assert sorted(torch.cat(folds).tolist()) == list(range(33))
    assert sorted(len(fold) for fold in folds) == [6, 6, 7, 7, 7]


def test_one_fold_is_held_back_if_there_are_many_corrections():
    assert len(split_folds(MANY_CORRECTIONS - 1, seed=0)) == 5
    assert [len(fold) for fold in split_folds(MANY_CORRECTIONS, seed=0)] == [MANY_CORRECTIONS // 5]


@pytest.mark.parametrize(
    "scores",
    [
        {},
        {"corrections": ((10, 5, 4, 9.0), (10, 5, 4, 8.9))},
        {"validation": ((6000, 50, 30, 1.0), (6000, 56, 36, 9.0))},  # 0.1 points
    ],
)
def test_a_model_that_is_not_worse_is_accepted(scores):
    adaptation(**scores).check()


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"corrections": ((10, 2, 1, 3.0), (10, 3, 1, 2.0))}, "3 errors, loss 0.200; before: 2 and 0.300"),
        ({"corrections": ((10, 2, 1, 3.0), (10, 2, 1, 3.1))}, "worse on the 10 held-back corrections"),
        ({"validation": ((6000, 50, 30, 1.0), (6000, 57, 30, 1.0))}, "7 more errors on the 6,000 validation images"),
        ({"validation": ((6000, 50, 30, 1.0), (6000, 50, 37, 1.0))}, "7 more errors on the 6,000 validation images"),
    ],
)
def test_a_model_that_is_worse_is_refused(scores, reason):
    with pytest.raises(RegressionError, match=reason):
        adaptation(**scores).check()


def test_a_worse_model_is_not_written(tmp_path):
    (tmp_path / "some.onnx").write_bytes(b"earlier")
    with pytest.raises(RegressionError):
        save(adaptation(corrections=((10, 2, 1, 3.0), (10, 3, 1, 2.0))), tmp_path / "some.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["some.onnx"]
    assert (tmp_path / "some.onnx").read_bytes() == b"earlier"


def test_too_few_corrections_are_refused(data, checkpoint):
    data.corrections.images, data.corrections.labels = data.corrections.images[:4], data.corrections.labels[:4]
    with pytest.raises(ConfigError, match=r"expected at least 5 corrections, .* has 4"):
        adapt_function(data, checkpoint)


def test_a_missing_checkpoint_is_reported_before_anything_is_drawn(data, tmp_path):
    with pytest.raises(CheckpointError, match="No checkpoint"):
        adapt_function(data, tmp_path / "missing.ckpt", report=lambda *progress: pytest.fail(str(progress)))


def test_an_exception_of_the_report_cancels_the_adaptation(data, checkpoint):
    def cancel(stage, fraction):
        if stage == "Holding back part 3 of 5":
            raise CancelledError

    with pytest.raises(CancelledError):
        adapt_function(data, checkpoint, cancel)


def test_each_held_back_correction_is_scored_by_both_models(data, checkpoint):
    progress = []
    result = adapt_function(data, checkpoint, lambda stage, fraction: progress.append(fraction))
    assert result.corrections == result.corrections_before.images == result.corrections_after.images == 20
    assert result.validation_before.images == result.validation_after.images == len(data.val_set)
    assert result.corrections_after.loss != result.corrections_before.loss
    assert progress == sorted(progress)
    assert 0 <= progress[0] < progress[-1] <= 1
    assert len(data.held_back) == 0, "the last run trains on all corrections"


@pytest.mark.slow
def test_the_original_model_is_not_changed_by_the_runs(data, checkpoint):
    first = adapt_function(data, checkpoint)
    second = adapt_function(data, checkpoint)
    assert first.corrections_before == second.corrections_before
    assert first.corrections_after == second.corrections_after


@pytest.fixture
def adapted(data):
    """Return an adaptation of the released model; a random one gives almost the same logits for all images."""
    return adapt_function(data)._replace(corrections_after=Score(20, 0, 0, 0.0), validation_after=Score(64, 0, 0, 0.0))


@pytest.mark.slow
def test_the_checkpoint_and_a_verified_onnx_file_are_written(adapted, mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "MD5", MD5)  # of the real files: framing changes the tiny ones, and so the accuracy
    output = tmp_path / "out" / "adapted.onnx"
    stages = []
    written = save(adapted, output, str(mnist_dir), lambda stage, fraction: stages.append(fraction))
    assert written == tmp_path / "out" / "adapted.ckpt"
    names = ["adapted.activations.onnx", "adapted.ckpt", "adapted.onnx"]
    assert sorted(path.name for path in output.parent.iterdir()) == names
    metadata = {entry.key: entry.value for entry in onnx.load(output).metadata_props}
    assert metadata["adapted_to"] == "20 corrections"
    model = load_model(written)
    assert float(metadata["temperature"]) == pytest.approx(model.averaged_calibration.temperature.item(), abs=1e-4)
    assert stages == sorted(stages)
    assert stages[-1] == 1


@pytest.mark.slow
def test_a_cancelled_export_leaves_the_earlier_files(adapted, data, tmp_path):
    output = tmp_path / "out" / "adapted.onnx"
    output.parent.mkdir()
    for path in (output, output.with_suffix(".ckpt")):
        path.write_bytes(b"earlier")

    def cancel(stage, fraction):
        if stage == "Verifying the exported model":
            raise CancelledError

    with pytest.raises(CancelledError):
        save(adapted, output, data.data_dir, cancel)
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == {
        "adapted.onnx": b"earlier", "adapted.ckpt": b"earlier",
    }  # fmt: skip
