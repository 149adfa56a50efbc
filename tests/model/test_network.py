import pytest
import torch

from digitnet.model.network import ConvNet


@pytest.fixture
def network():
    """A network whose batch norm is far from its initial state."""
    torch.manual_seed(0)
    network = ConvNet()
    with torch.no_grad():
        network.norm.bias.normal_()
        network.norm.running_mean.normal_()
        network.norm.running_var.uniform_(0.1, 3)
    return network.eval()


def test_the_fused_network_has_the_parameters_of_the_keras_network(network):
    assert sum(parameter.numel() for parameter in network.fused().parameters()) == 225_034


def test_the_fused_network_has_two_convolutions_two_poolings_and_two_dense_layers(network):
    names = [type(layer).__name__ for layer in network.fused()]
    assert " ".join(names) == "Conv2d MaxPool2d ReLU Conv2d MaxPool2d ReLU Flatten Linear ReLU Linear"


def test_fusing_changes_no_logit_and_leaves_the_network_alone(network):
    ink = torch.rand(32, 1, 28, 28)
    with torch.no_grad():
        logits = network(ink)
        assert logits.shape == (32, 10)
        torch.testing.assert_close(network.fused()(ink), logits, rtol=1e-4, atol=1e-5)
        assert torch.equal(network(ink), logits)


def test_dropout_is_active_in_training_only(network):
    ink = torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(network(ink), network(ink))
        network.dropout.train()
        assert not torch.equal(network(ink), network(ink))


def test_the_scale_of_the_batch_norm_is_not_trained():
    network = ConvNet()
    network.train()(torch.rand(4, 1, 28, 28)).sum().backward()
    assert network.norm.weight.grad is None
    assert torch.equal(network.norm.weight, torch.ones(64))


def test_the_network_matches_a_manual_computation(network):
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

    def normalize(maps, layer):
        statistics = (layer.running_mean, (layer.running_var + layer.eps).sqrt(), layer.bias)
        mean, deviation, bias = (values[:, None, None] for values in statistics)
        return (maps - mean) / deviation + bias

    ink = torch.rand(1, 28, 28)
    with torch.no_grad():
        maps = pool(convolve(ink, network.conv1)).clamp(min=0)
        maps = normalize(pool(convolve(maps, network.conv2)), network.norm).clamp(min=0)
        features = (network.dense1.weight @ maps.flatten() + network.dense1.bias).clamp(min=0)
        by_hand = network.dense2.weight @ features + network.dense2.bias
        torch.testing.assert_close(network(ink[None])[0], by_hand, rtol=1e-4, atol=1e-4)
