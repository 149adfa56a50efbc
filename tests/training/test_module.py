import pytest
import torch

from digitnet.errors import ConfigError
from digitnet.training.module import DigitNet, one_cycle, soft_targets


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
