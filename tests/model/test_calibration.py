import pytest
import torch

from digitnet.model.calibration import Calibration


@pytest.fixture
def calibrated():
    """Return logits, and labels that were drawn from their softmax."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(20_000, 10)
    return logits, logits.softmax(1).multinomial(1).flatten()


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 2.0, 3.0])
def test_fitting_finds_the_overconfidence_and_accepts_995_in_1000(calibrated, overconfidence):
    logits, labels = calibrated
    calibration = Calibration()
    calibration.fit(overconfidence * logits, labels)
    assert calibration.temperature.item() == pytest.approx(overconfidence, rel=0.06)
    confidence = calibration(overconfidence * logits).softmax(1).amax(1)
    assert (confidence >= calibration.threshold).float().mean().item() == pytest.approx(0.995, abs=0.001)


def test_calibration_changes_no_logit_and_rejects_nothing_until_fitted(calibrated):
    logits, _ = calibrated
    calibration = Calibration()
    assert torch.equal(calibration(logits), logits)
    assert calibration.threshold == 0


def test_calibration_divides_the_logits_by_the_temperature(calibrated):
    logits, _ = calibrated
    calibration = Calibration()
    calibration.temperature.fill_(2.5)
    assert torch.equal(calibration(logits), logits / 2.5)


def test_temperature_and_threshold_are_saved_with_the_model(calibrated):
    fitted, loaded = Calibration(), Calibration()
    fitted.fit(*calibrated)
    loaded.load_state_dict(fitted.state_dict())
    assert (loaded.temperature, loaded.threshold) == (fitted.temperature, fitted.threshold)
