import shutil

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from digitnet.data import MNISTDataModule
from digitnet.errors import CheckpointError, ConfigError, DivergedError
from digitnet.model.checkpoint import load_model
from digitnet.training.module import DigitNet, one_cycle, soft_targets
from tests.conftest import ROOT


def test_the_target_of_a_digit_is_one_hot_and_that_of_a_non_digit_uniform():
    assert torch.equal(soft_targets(torch.tensor([3, -1]))[0], torch.eye(10)[3])
    assert soft_targets(torch.tensor([3, -1]))[1] == pytest.approx(0.1)


def test_the_learning_rate_rises_for_a_quarter_of_the_run_and_then_falls_to_zero():
    rates = [one_cycle(step / 1000) for step in range(1001)]
    assert max(rates) == 1
    assert 200 < rates.index(1) <= 250
    assert rates[0] == pytest.approx(0.04)
    assert rates[625] == pytest.approx(0.5)
    assert rates[1000] == one_cycle(1.1) == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [("learning_rate", 0), ("learning_rate", -0.1), ("learning_rate", float("inf")), ("weight_decay", -1),
     ("dropout", 1), ("dropout", -0.1), ("label_smoothing", 1)],
)  # fmt: skip
def test_hyperparameters_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=f"model.{option} is {value}"):
        DigitNet(**{option: value})


@pytest.fixture
def trainer(tmp_path):
    return Trainer(
        max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


@pytest.fixture
def data(tiny_mnist):
    return MNISTDataModule(str(tiny_mnist.directory), batch_size=16, synthetic_digits=40, non_digits=10)


def test_the_plain_api_fits_validates_tests_and_predicts(trainer, data):
    model = DigitNet()
    trainer.fit(model, data)
    temperature = model.calibration.temperature.clone()
    assert temperature != 1
    (validated,) = trainer.validate(model, data, verbose=False)
    (tested,) = trainer.test(model, data, verbose=False)
    assert validated["val/accuracy"] > 0.8
    assert tested["test/accuracy"] > 0.8
    assert model.calibration.temperature == temperature, "only fitting changes the calibration"
    probabilities = torch.cat(trainer.predict(model, data))
    assert probabilities.shape == (len(data.test_set), 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(probabilities)))


def test_another_network_is_trained(trainer, data):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28, 10))
    before = network[1].weight.clone()
    model = DigitNet(network)
    trainer.fit(model, data)
    assert not torch.equal(network[1].weight, before)
    assert "network" not in model.hparams


class StopAfter(Callback):
    """End the epoch, as Timer does when the time is over."""

    def __init__(self, batches):
        self.batches = batches

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx + 1 == self.batches:
            trainer.should_stop = True


def test_the_metrics_of_an_epoch_that_ends_before_its_last_batch_are_those_of_its_steps(data, tmp_path, monkeypatch):
    losses, step = [], DigitNet.training_step

    def recorded(self, batch, batch_idx):
        losses.append(step(self, batch, batch_idx))
        return losses[-1]

    monkeypatch.setattr(DigitNet, "training_step", recorded)
    monitor = EarlyStopping("train/loss", check_on_train_epoch_end=True)  # it requires the metric
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[StopAfter(7), monitor],
    )  # fmt: skip
    trainer.fit(DigitNet(), data)
    assert len(losses) == 7
    mean = torch.stack(losses).mean()  # of batches of one size
    torch.testing.assert_close(trainer.callback_metrics["train/loss"], mean.detach())
    assert 0 <= trainer.callback_metrics["train/accuracy"] <= 1


def test_dropout_is_refused_with_another_network_and_not_stored_with_it():
    network = torch.nn.Linear(28, 10)
    with pytest.raises(ConfigError, match=r"model\.dropout 0\.4 has no effect on model\.network"):
        DigitNet(network, dropout=0.4)
    assert "dropout" not in DigitNet(network).hparams
    assert DigitNet(dropout=0.4).hparams["dropout"] == 0.4


def test_training_starts_with_given_weights_which_no_later_checkpoint_needs(trainer, data, tmp_path):
    weights = tmp_path / "weights.ckpt"
    shutil.copy(ROOT / "checkpoints" / "release" / "digitnet.ckpt", weights)
    model = DigitNet(weights=str(weights), dropout=0.1)
    for name, weight in load_model(weights).network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], weight), name
    trainer.fit(model, data)
    weights.unlink()
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    trained = DigitNet.load_from_checkpoint(tmp_path / "trained.ckpt").network.state_dict()
    assert all(torch.equal(trained[name], weight) for name, weight in model.network.state_dict().items())


def test_weights_that_are_missing_or_of_no_effect_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="No checkpoint"):
        DigitNet(weights=str(tmp_path / "none.ckpt"))
    with pytest.raises(ConfigError, match=r"model\.weights has no effect on model\.network"):
        DigitNet(torch.nn.Linear(784, 10), weights="best.ckpt")


def test_outputs_that_are_not_finite_end_the_run(trainer, data):
    with pytest.raises(DivergedError, match="training diverged"):
        trainer.fit(DigitNet(learning_rate=1e30), data)
