import copy

import pytest
import torch

from digitnet.adaptation.adapt import load_for_adaptation
from digitnet.adaptation.module import Score, fit, score
from digitnet.data.dataset import LabeledImages
from digitnet.model.checkpoint import load_model


class InterruptionError(Exception):
    pass


@pytest.fixture
def model(checkpoint):
    return load_for_adaptation(checkpoint)


def test_only_the_dense_layers_and_the_calibration_change(model, data):
    before = copy.deepcopy(model.state_dict())
    fit(model, data, on_step=lambda: None)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    dense = {f"network.dense{layer}.{name}" for layer in (1, 2) for name in ("weight", "bias")}
    calibrations = {
        f"{calibration}.{name}"
        for calibration in ("calibration", "averaged_calibration")
        for name in ("temperature", "threshold")
    }
    assert changed == dense | calibrations


def test_a_run_trains_with_dropout_even_if_the_module_was_in_evaluation_mode(model, data):
    modes = []
    fit(model.eval(), data, on_step=lambda: modes.append((model.network.dropout.training, model.network.norm.training)))
    assert modes == [(True, False)] * data.batches


def test_the_calibration_is_that_of_the_trained_weights(model, data):
    fit(model, data, on_step=lambda: None)
    fitted = copy.deepcopy(model.calibration)
    with torch.inference_mode():
        logits = model.eval()(data.val_set.images[:, None].float() / 255)
    fitted.fit(logits, data.val_set.labels)
    assert fitted.temperature == model.calibration.temperature
    assert fitted.threshold == pytest.approx(model.calibration.threshold.item(), abs=1e-5)


def test_the_checkpoint_is_one_of_digitnet(model, data, tmp_path):
    trainer = fit(model, data, on_step=lambda: None)
    trainer.save_checkpoint(tmp_path / "adapted.ckpt", weights_only=True)
    loaded = load_model(tmp_path / "adapted.ckpt")
    assert torch.equal(loaded.network.dense1.weight, model.network.dense1.weight)
    assert torch.equal(loaded.calibration.threshold, model.calibration.threshold)


def test_an_exception_after_a_step_ends_the_run(model, data):
    steps = []

    def cancel():
        steps.append(1)
        raise InterruptionError

    with pytest.raises(InterruptionError):
        fit(model, data, on_step=cancel)
    assert len(steps) == 1


def test_a_rejected_image_is_an_error_but_not_misclassified(model):
    images = LabeledImages(torch.zeros(3, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 0]))

    def forward(ink):
        logits = torch.tensor([[9.0] + [0.0] * 9, [9.0] + [0.0] * 9, [0.2] + [0.0] * 9])  # sure, wrong, unsure
        return logits.repeat_interleave(len(ink) // 3, 0)

    model.forward = forward
    model.averaged_calibration.threshold.fill_(0.5)
    result = score(model, images)
    assert (result.images, result.errors, result.misclassified) == (3, 2, 1)


def test_scores_of_several_sets_add_up():
    assert Score.total([Score(3, 2, 1, 0.5), Score(4, 1, 0, 1.0)]) == Score(7, 3, 1, 1.5)
