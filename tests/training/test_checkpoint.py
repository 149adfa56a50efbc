"""Checkpoints of runs: written atomically, read as untrusted files, and checked before a run is resumed from them."""

import os
from pickle import UnpicklingError

import pytest
import torch
from lightning import Trainer

from digitnet.data import MNISTDataModule
from digitnet.errors import CheckpointError
from digitnet.model.checkpoint import read_checkpoint
from digitnet.training.checkpoint import AtomicCheckpointIO, check_resumable
from digitnet.training.module import DigitNet


@pytest.fixture
def model():
    return DigitNet()


@pytest.fixture
def data(tiny_mnist):
    return MNISTDataModule(str(tiny_mnist.directory), batch_size=16, synthetic_digits=0, non_digits=0)


@pytest.fixture
def path(model, data, tmp_path):
    """The checkpoint of a run of two steps that Lightning wrote."""
    trainer = Trainer(
        max_epochs=1, limit_train_batches=2, limit_val_batches=1, accelerator="cpu", default_root_dir=tmp_path,
        logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    return tmp_path / "run.ckpt"


def change(path, edit):
    """Apply a function to the content of a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    edit(checkpoint)
    torch.save(checkpoint, path)


def test_a_checkpoint_of_a_run_can_be_resumed_also_if_it_was_written_before_the_first_step(path, data):
    check_resumable(path, DigitNet(), data)
    change(path, lambda checkpoint: checkpoint["optimizer_states"][0].update(state={}))
    check_resumable(path, DigitNet(), data)


@pytest.mark.parametrize("buffer", ["exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("value", [torch.zeros(3), torch.full((10,), float("nan")), None])
def test_a_buffer_of_the_optimizer_that_does_not_fit_its_parameter_is_refused(path, model, data, buffer, value):
    index = [name for name, weight in model.named_parameters() if weight.requires_grad].index("network.dense2.bias")
    change(path, lambda checkpoint: checkpoint["optimizer_states"][0]["state"][index].update({buffer: value}))
    with pytest.raises(CheckpointError, match=f"{buffer} of parameter {index}"):
        check_resumable(path, model, data)


def test_the_state_of_two_optimizers_is_refused(path, model, data):
    change(path, lambda checkpoint: checkpoint["optimizer_states"].append({"state": {}}))
    with pytest.raises(CheckpointError, match="optimizer_states that do not fit the weights"):
        check_resumable(path, model, data)


def test_a_frozen_parameter_needs_no_state_of_the_optimizer(path, model, data):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    change(path, lambda checkpoint: checkpoint["optimizer_states"][0]["state"].pop(len(trained) - 1))
    with pytest.raises(CheckpointError, match="do not fit the weights"):
        check_resumable(path, model, data)
    trained[-1].requires_grad_(False)
    check_resumable(path, model, data)


def test_an_option_that_only_the_checkpoint_or_only_the_run_has_is_named(path, model, data):
    change(path, lambda checkpoint: checkpoint["datamodule_hyper_parameters"].update(extra=3))
    with pytest.raises(CheckpointError, match=r"was trained with --data\.extra 3, this run has None"):
        check_resumable(path, model, data)
    change(path, lambda checkpoint: checkpoint["datamodule_hyper_parameters"].pop("extra"))
    change(path, lambda checkpoint: checkpoint["datamodule_hyper_parameters"].pop("degradation"))
    with pytest.raises(CheckpointError, match=r"was trained with --data\.degradation None, this run has"):
        check_resumable(path, model, data)


class Payload:
    """An object whose unpickling runs a command."""

    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("weights_only", [True, False, None])
def test_lightning_loads_nothing_but_weights_and_plain_values(tmp_path, monkeypatch, weights_only):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Payload()}, "some.ckpt")
    with pytest.raises(UnpicklingError):
        AtomicCheckpointIO().load_checkpoint("some.ckpt", weights_only=weights_only)
    assert not os.path.exists("executed")


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path, checkpoint_io = tmp_path / "checkpoints" / "last.ckpt", AtomicCheckpointIO()
    checkpoint_io.save_checkpoint({"epoch": 1}, path)
    with pytest.raises(Exception, match=r"(?i)pickle"):
        checkpoint_io.save_checkpoint({"epoch": 2, "weights": torch.zeros(1000), "callback": lambda: None}, path)
    assert checkpoint_io.load_checkpoint(path) == {"epoch": 1}
    assert os.listdir(path.parent) == ["last.ckpt"]


@pytest.mark.parametrize(
    ("option", "then", "now"),
    [("model.dropout", "0.4", "0.25"), ("data.batch_size", "32", "16"), ("seed_everything", "5", "0")],
)
@pytest.mark.slow
def test_resuming_with_other_options_names_the_option_and_how_to_resume(run, capsys, option, then, now):
    run("--trainer.max_epochs=1", f"--{option}={then}")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(f"--ckpt_path={run.root / 'checkpoints' / 'last.ckpt'}")
    assert caught.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"--{option} {then}" in line
    assert f"this run has {now}" in line


@pytest.mark.slow
def test_weights_alone_cannot_be_resumed(run, tmp_path, capsys):
    run("--trainer.max_epochs=1")
    whole = read_checkpoint(run.root / "checkpoints" / "last.ckpt")
    torch.save({key: whole[key] for key in ("state_dict", "hyper_parameters")}, tmp_path / "weights.ckpt")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(f"--ckpt_path={tmp_path / 'weights.ckpt'}")
    assert caught.value.code == 2
    assert "holds weights but not the state of a run" in capsys.readouterr().err


def tampered(part, value):
    def tamper(checkpoint):
        checkpoint[part] = value

    return tamper


def short_buffer(checkpoint):
    checkpoint["optimizer_states"][0]["state"][3]["exp_avg"] = torch.zeros(3)


def damaged_report(checkpoint):
    checkpoint["callbacks"]["TrainingReport"]["epochs"] = [{"val/loss": "x"}]


@pytest.mark.parametrize(
    "tamper",
    [
        short_buffer, damaged_report,
        *(tampered("optimizer_states", value) for value in ([], [{}], 5, {})),
        *(tampered("lr_schedulers", value) for value in ([], [{}], 5)),
        *(tampered("loops", value) for value in ({}, None, {"fit_loop": 3})),
        *(tampered("callbacks", value) for value in ({}, [], {"TrainingReport": {"epochs": 3}})),
        tampered("pytorch-lightning_version", "abc"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_a_damaged_state_of_a_run_prints_a_one_line_error(run, tmp_path, capsys, tamper):
    run("--trainer.max_epochs=1")
    checkpoint = torch.load(run.root / "checkpoints" / "last.ckpt", weights_only=True)
    tamper(checkpoint)
    torch.save(checkpoint, tmp_path / "damaged.ckpt")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(f"--ckpt_path={tmp_path / 'damaged.ckpt'}")
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert str(tmp_path / "damaged.ckpt") in line
    assert "Traceback" not in printed
