import pytest
import torch

from digitnet.errors import ConfigError
from digitnet.training.module import DigitNet, calibrate, one_cycle, soft_targets


@pytest.fixture
def trained():
    """A network whose normalisation is far from their first state."""
    torch.manual_seed(0)
    model = DigitNet()
    with torch.no_grad():
        model.norm.bias.normal_()
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.1, 3)
    return model.eval()


def test_folded_it_has_the_parameters_of_the_keras_network(trained):
    assert sum(weight.numel() for weight in trained.folded().parameters()) == 225_034


def test_folded_it_is_two_convolutions_two_poolings_and_two_dense_layers(trained):
    names = [type(layer).__name__ for layer in trained.folded()]
    assert " ".join(names) == "Conv2d MaxPool2d ReLU Conv2d MaxPool2d ReLU Flatten Linear ReLU Linear"


def test_folding_changes_no_logit_and_leaves_the_network_alone(trained):
    ink = torch.rand(32, 1, 28, 28)
    logits = trained(ink)
    assert logits.shape == (32, 10)
    torch.testing.assert_close(trained.folded()(ink), logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(trained(ink), logits)


def test_folded_its_logits_are_over_the_temperature(trained):
    ink = torch.rand(8, 1, 28, 28)
    trained.temperature.fill_(2.5)
    torch.testing.assert_close(trained.folded()(ink), trained(ink) / 2.5, rtol=1e-4, atol=1e-5)


def test_a_digit_is_to_be_said_and_what_is_none_to_be_called_each_digit_alike():
    assert torch.equal(soft_targets(torch.tensor([3, -1]))[0], torch.eye(10)[3])
    assert soft_targets(torch.tensor([3, -1]))[1] == pytest.approx(0.1)


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 2.0, 3.0])
def test_calibration_finds_how_much_too_sure_the_logits_are_and_accepts_995_in_1000(too_sure):
    torch.manual_seed(0)
    honest = 3 * torch.randn(20_000, 10)
    labels = honest.softmax(1).multinomial(1).flatten()  # drawn as the probabilities say
    temperature, threshold = calibrate(too_sure * honest, labels)
    assert temperature.item() == pytest.approx(too_sure, rel=0.06)
    surest = (too_sure * honest / temperature).softmax(1).amax(1)
    assert (surest >= threshold).float().mean().item() == pytest.approx(0.995, abs=0.001)


def test_the_network_agrees_with_arithmetic_by_hand(trained):
    """Independent of torch's layers: convolution and pooling as loops over the nine weights and four pixels."""

    def convolve(maps, layer):  # (C, H, W)
        height, width = maps.shape[1] - 2, maps.shape[2] - 2
        total = layer.bias[:, None, None].expand(-1, height, width).clone()
        for y in range(3):
            for x in range(3):
                window = maps[:, y : y + height, x : x + width]
                total += torch.tensordot(layer.weight[:, :, y, x], window, dims=1)
        return total

    def pool(maps):
        maps = maps[:, : maps.shape[1] // 2 * 2, : maps.shape[2] // 2 * 2]
        return torch.stack([maps[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]).amax(0)

    def normalise(maps, layer):
        parts = (layer.running_mean, (layer.running_var + layer.eps).sqrt(), layer.bias)
        mean, deviation, bias = (part[:, None, None] for part in parts)
        return (maps - mean) / deviation + bias

    ink = torch.rand(1, 28, 28)
    with torch.no_grad():
        maps = pool(convolve(ink, trained.conv1)).clamp(min=0)
        maps = normalise(pool(convolve(maps, trained.conv2)), trained.norm).clamp(min=0)
        features = (trained.dense1.weight @ maps.flatten() + trained.dense1.bias).clamp(min=0)
        by_hand = trained.dense2.weight @ features + trained.dense2.bias
        torch.testing.assert_close(trained(ink[None])[0], by_hand, rtol=1e-4, atol=1e-4)


def test_the_learning_rate_rises_for_a_quarter_of_the_run_and_falls_to_nothing():
    rates = [one_cycle(step / 1000) for step in range(1001)]
    assert max(rates) == 1
    assert 200 < rates.index(1) <= 250
    assert rates[0] == pytest.approx(0.04)
    assert rates[625] == pytest.approx(0.5)
    assert rates[1000] == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [("learning_rate", 0), ("learning_rate", -0.1), ("learning_rate", float("inf")), ("weight_decay", -1),
     ("dropout", 1), ("dropout", -0.1), ("label_smoothing", 1)],
)  # fmt: skip
def test_hyper_parameters_that_cannot_work_are_refused(option, value):
    with pytest.raises(ConfigError, match=f"model.{option} is {value}"):
        DigitNet(**{option: value})
