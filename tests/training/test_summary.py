"""The summary that a training run prints at its end."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from digitnet.training.module import DigitNet
from digitnet.training.summary import summary


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """What `summary` uses of a trainer that has tested the network and written nothing, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return SimpleNamespace(
        callback_metrics={"test/accuracy": torch.tensor(0.98766)}, fast_dev_run=0, callbacks=[],
        checkpoint_callbacks=[], loggers=[], default_root_dir=str(tmp_path), lightning_module=DigitNet(),
    )  # fmt: skip


def add_checkpoint(trainer, name, **options):
    """Add a ModelCheckpoint that has written a file, and return its path."""
    path = Path(trainer.default_root_dir, name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    checkpoint = ModelCheckpoint(**options)
    checkpoint.best_model_path = str(path)
    trainer.checkpoint_callbacks.append(checkpoint)
    return str(path)


def listed(text):
    """Return the files that a summary names, relative to the working directory, and what it says of each."""
    return dict(re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.startswith("  "))


def test_each_checkpoint_is_described_by_what_it_is_for(trainer):
    add_checkpoint(trainer, "checkpoints/best.ckpt", monitor="val/loss")
    add_checkpoint(trainer, "checkpoints/most.ckpt", monitor="val/accuracy", mode="max")
    add_checkpoint(trainer, "checkpoints/last.ckpt")
    assert listed(summary(trainer)) == {
        "checkpoints/best.ckpt": "lowest val/loss",
        "checkpoints/most.ckpt": "highest val/accuracy",
        "checkpoints/last.ckpt": "to resume from",
    }


def test_the_log_and_the_options_of_the_run_are_named(trainer):
    trainer.loggers.append(CSVLogger("logs", name="csv", version=3))
    config = Path("logs/csv/version_3/config.yaml")
    config.parent.mkdir(parents=True)
    config.touch()
    assert listed(summary(trainer)) == {"logs/csv/version_3": "log of CSVLogger", str(config): "options of the run"}


def test_the_accuracy_comes_first_as_a_percentage(trainer):
    assert summary(trainer).strip() == "Test accuracy 98.77%."
    trainer.callback_metrics = {}
    assert summary(trainer).strip() == "The network was not tested."


@pytest.mark.parametrize(
    ("program", "command"), [("/x/train.py", "python export.py"), ("/x/digitnet", "digitnet export")]
)
def test_the_next_step_is_a_command_of_the_form_that_the_user_ran(trainer, monkeypatch, program, command):
    monkeypatch.setattr(sys, "argv", [program])
    best = add_checkpoint(trainer, "checkpoints/best.ckpt")
    assert summary(trainer, best).endswith(f"\nNext: export the model to ONNX: {command}")


def test_the_next_step_names_a_checkpoint_that_is_not_the_default_one(trainer, monkeypatch, tmp_path):
    best = add_checkpoint(trainer, "other/best.ckpt")
    assert summary(trainer, best).endswith(": python export.py --checkpoint other/best.ckpt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert summary(trainer, best).endswith(f": python export.py --checkpoint {best}")


def test_another_network_has_no_next_step_because_export_takes_convnet_only(trainer):
    trainer.lightning_module = DigitNet(torch.nn.Linear(28, 10))
    assert "Next" not in summary(trainer, add_checkpoint(trainer, "checkpoints/best.ckpt"))


def test_without_a_checkpoint_there_is_no_next_step(trainer):
    assert "Next" not in summary(trainer)


def test_fast_dev_run_names_no_file(trainer):
    best = add_checkpoint(trainer, "checkpoints/best.ckpt")
    trainer.fast_dev_run = 1
    text = summary(trainer, best)
    assert "Nothing was written" in text
    assert "best.ckpt" not in text


def files_in(text):
    """The files and directories that a summary names."""
    return [Path(line.split()[0]) for line in text.splitlines() if line.startswith("  ")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval", "ignore:.*could not find the monitored key")
@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ([], []),
        (["--trainer.limit_val_batches=0"], ["best.ckpt"]),
        (["--trainer.max_epochs=0"], ["best.ckpt", "last.ckpt", "curves.png"]),
        (["--trainer.enable_checkpointing=false"], ["best.ckpt", "last.ckpt"]),
        (["--trainer.logger=false"], ["version_0"]),
    ],
)
def test_the_summary_names_the_files_that_were_written_and_no_others(run_cli, options, missing):
    cli = run_cli("--trainer.limit_train_batches=4", *options)
    text = summary(cli.trainer, cli.best_checkpoint_path())
    files = files_in(text)
    assert files
    assert all(path.exists() for path in files)
    named = {path.name for path in files}
    assert not named & set(missing)
    written = {path.name for path in run_cli.root.rglob("*") if path.suffix in {".ckpt", ".png", ".json"}}
    assert written <= named
    assert ("Next: export" in text) == ("best.ckpt" in named)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_resumed_in_another_directory_is_tested_and_names_the_files_it_has(run_cli, tmp_path):
    run_cli(epochs=2)
    first, run_cli.root = run_cli.root, tmp_path / "other"
    cli = run_cli(f"--ckpt_path={first / 'checkpoints' / 'last.ckpt'}", epochs=2)  # nothing is left to train
    assert all(path.exists() for path in files_in(summary(cli.trainer, cli.best_checkpoint_path())))
