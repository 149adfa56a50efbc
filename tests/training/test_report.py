"""The report of a run, from epochs and test images whose metrics are known, on a clock that the test sets."""

import json
from types import SimpleNamespace

import pytest
import torch

from digitnet.training.report import TrainingReport


@pytest.fixture
def clock(monkeypatch):
    """The time that the report reads."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("digitnet.training.report.time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


@pytest.fixture
def trainer():
    """What the report uses of a trainer."""
    return SimpleNamespace(
        callback_metrics={}, current_epoch=0, world_size=1, is_global_zero=True, fast_dev_run=0,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )  # fmt: skip


@pytest.fixture
def report(tmp_path):
    return TrainingReport(str(tmp_path / "reports"))


@pytest.fixture
def run_epoch(report, clock, trainer):
    """Report an epoch of two batches of 8 images that takes 3 s, and 1 s of validation if there is a loss."""

    def run_epoch(loss=None, ink=0.5):
        report.on_train_epoch_start(trainer, None)
        for batch in range(2):
            images = torch.full((8, 1, 28, 28), ink / (batch + 1))
            report.on_train_batch_end(trainer, None, None, (images, torch.arange(8)), batch)
        clock.now += 3
        trainer.callback_metrics = {"train/loss": torch.tensor(1.0), "train/accuracy": torch.tensor(0.5)}
        if loss is not None:
            report.on_validation_start(trainer, None)
            clock.now += 1
            report.on_validation_end(trainer, None)
            trainer.callback_metrics |= {"val/loss": torch.tensor(loss), "val/accuracy": torch.tensor(1 - loss)}
        report.on_train_epoch_end(trainer, None)
        trainer.current_epoch += 1

    return run_epoch


@pytest.fixture
def run_test(report, trainer):
    """Report a test of images with these labels and predictions, and return the content of metrics.json."""

    def run_test(labels, predictions):
        report.on_test_start(trainer, SimpleNamespace(device=torch.device("cpu")))
        for label, prediction in zip(labels, predictions, strict=True):  # batches of one image
            logits = 9 * torch.eye(10)[[prediction]]
            batch = torch.rand(1, 1, 28, 28), torch.tensor([label])
            report.on_test_batch_end(trainer, None, logits, batch, batch_idx=0)
        report.on_test_end(trainer, None)
        path = report.directory / "metrics.json"
        return json.loads(path.read_text()) if path.exists() else None

    return run_test


def test_the_best_epoch_has_the_lowest_validation_loss_and_is_counted_from_1(run_epoch, run_test):
    for loss in (0.5, None, 0.125, 0.25):
        run_epoch(loss)
    metrics = run_test([1], [1])
    assert (metrics["best_epoch"], metrics["epochs"]) == (3, 4)
    assert (metrics["val_loss"], metrics["val_accuracy"]) == (0.125, 0.875)


def test_the_speed_leaves_validation_out_and_counts_the_images_of_all_processes(run_epoch, run_test, trainer):
    trainer.world_size = 3
    run_epoch(0.5)
    run_epoch(0.5)
    metrics = run_test([1], [1])
    assert metrics["fit_seconds"] == 2 * (3 + 1)
    assert metrics["images_per_second"] == 2 * (2 * 8) * 3 / (2 * 3)


def test_a_resumed_run_reports_the_epochs_before_it(run_epoch, run_test, report):
    run_epoch(0.25)
    run_epoch(0.5)
    state = json.loads(json.dumps(report.state_dict()))  # plain values, which a weights-only load allows
    report.epochs = []
    report.load_state_dict(state)
    run_epoch(0.75)
    metrics = run_test([1], [1])
    assert (metrics["best_epoch"], metrics["epochs"], metrics["fit_seconds"]) == (1, 3, 12)


def test_the_accuracy_of_a_digit_is_the_correct_fraction_of_its_images(run_test):
    metrics = run_test([4, 4, 4, 4, 5, 9], [4, 5, 5, 4, 5, 4])
    accuracies = [metrics[f"test_accuracy_of_{digit}"] for digit in range(10)]
    assert accuracies == [0, 0, 0, 0, 0.5, 1, 0, 0, 0, 0]


def test_mistakes_of_an_earlier_run_are_removed_if_this_one_has_none(run_test, report):
    run_test([3, 8], [8, 8])
    assert (report.directory / "mistakes.png").exists()
    assert (report.directory / "mistakes.png", "misclassified test images") in report.written
    run_test([3, 8], [3, 8])
    assert not (report.directory / "mistakes.png").exists()


def test_samples_are_the_first_batch_of_the_first_epoch(run_epoch, monkeypatch):
    drawn = []
    monkeypatch.setattr("digitnet.training.report.save_samples", lambda ink, labels, path: drawn.append((ink, labels)))
    run_epoch(ink=0.5)
    run_epoch(ink=0.75)
    ((ink, labels),) = drawn
    assert ink.shape == (8, 28, 28)
    assert (ink == 0.5).all()
    assert labels.tolist() == list(range(8))


def test_the_description_names_epoch_seed_and_speed(run_epoch, run_test, report, monkeypatch):
    assert report.describe() == ""
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    run_epoch(0.25)
    run_epoch(0.5)
    run_test([1], [1])
    assert report.describe() == " (epoch 1 of 2), seed 7, 8 s with validation, 5 training images/s without it"


def test_metrics_that_are_not_finite_are_null_because_json_has_no_infinity(run_test, report, trainer):
    trainer.callback_metrics = {"test/loss": torch.tensor(float("inf")), "test/accuracy": torch.tensor(float("nan"))}
    metrics = run_test([1], [1])
    assert metrics["test_loss"] is None
    assert metrics["test_accuracy"] is None

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    json.loads((report.directory / "metrics.json").read_text(), parse_constant=refuse)


def test_a_run_that_was_only_tested_has_no_curves_and_no_speed(run_test, report):
    metrics = run_test([1], [1])
    assert metrics["epochs"] == 0
    assert "images_per_second" not in metrics
    assert sorted(path.name for path in report.directory.iterdir()) == ["confusion.png", "metrics.json"]


@pytest.mark.parametrize(("attribute", "value"), [("fast_dev_run", 1), ("is_global_zero", False)])
def test_fast_dev_run_and_other_processes_write_nothing(run_epoch, run_test, report, trainer, attribute, value):
    setattr(trainer, attribute, value)
    run_epoch(0.5)
    assert run_test([1], [2]) is None
    assert not report.directory.exists()
