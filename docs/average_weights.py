"""Average the weights of a network before and after fine-tuning, and calibrate it. Half a minute.

    python docs/average_weights.py BEFORE.ckpt AFTER.ckpt AVERAGE.ckpt [--data-dir data]

Fine-tuning for new kinds of images costs a little accuracy on the earlier ones, and the average of both networks keeps
most of both (M. Wortsman et al., "Robust fine-tuning of zero-shot models", https://arxiv.org/abs/2109.01903). The
fraction of the fine-tuned weights is the largest with which the loss on MNIST's validation images, with test-time
augmentation and calibration, is not above that of the network before.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.data.datamodule import split_indices
from digitnet.data.mnist import fetch_mnist
from digitnet.model.calibration import Calibration
from digitnet.model.checkpoint import TrainedModel, load_model, read_checkpoint
from digitnet.model.network import ConvNet
from digitnet.model.views import Views

FRACTIONS = [step / 10 for step in range(11)]
DECIMALS = 4  # of the losses; smaller differences are noise
VAL_FRACTION = 0.1  # as in checkpoints/release/fine_tuning.yaml
KEYS = ("state_dict", "hyper_parameters", "pytorch-lightning_version")  # of the released checkpoint

Weights = dict[str, Tensor]


def average(before: Weights, after: Weights, fraction: float) -> Weights:
    """Average two state dictionaries; counters are those of the second one.

    Args:
        before: Weights before fine-tuning.
        after: Weights after it.
        fraction: Fraction of `after`, in [0, 1].

    Returns:
        The averaged weights.
    """
    return {
        name: torch.lerp(weight, after[name], fraction) if weight.is_floating_point() else after[name]
        for name, weight in before.items()
    }


@torch.inference_mode()
def logits_of(network: nn.Module, ink: Tensor) -> Tensor:
    """Classify the validation images.

    Args:
        network: The network, in evaluation mode.
        ink: Float32 (N, 1, 28, 28).

    Returns:
        Logits, float32 (N, 10).
    """
    return torch.cat([network(batch) for batch in ink.split(500)])


def main() -> None:
    """Print the accuracy for each fraction, and write the checkpoint with the chosen one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("before", "after", "average"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    fetch_mnist(options.data_dir)
    images = MNIST(options.data_dir, train=True)
    val, _ = split_indices(len(images), VAL_FRACTION)
    ink, labels = images.data[val, None].float() / 255, images.targets[val]
    before, after = (load_model(path).network.state_dict() for path in (options.before, options.after))
    model, views, losses = TrainedModel(ConvNet().eval(), Calibration(), Calibration()), Views(), {}
    for fraction in FRACTIONS:
        model.network.load_state_dict(average(before, after, fraction))
        logits = views.average(logits_of(model.network, views(ink)))
        model.averaged_calibration.fit(logits, labels)
        losses[fraction] = round(F.cross_entropy(model.averaged_calibration(logits), labels).item(), DECIMALS)
        print(f"{fraction:.1f}: loss {losses[fraction]}, accuracy {(logits.argmax(1) == labels).float().mean():.2%}")
    chosen = max(fraction for fraction in FRACTIONS if losses[fraction] <= losses[0])
    model.network.load_state_dict(average(before, after, chosen))
    logits = logits_of(model.network, ink)
    model.calibration.fit(logits, labels)
    model.averaged_calibration.fit(views.average(logits_of(model.network, views(ink))), labels)
    print(f"{options.average}: {chosen:.1f} of the fine-tuned weights")
    checkpoint = {key: value for key, value in read_checkpoint(options.after).items() if key in KEYS}
    checkpoint["state_dict"] = nn.ModuleDict(model._asdict()).state_dict()
    torch.save(checkpoint, options.average)


if __name__ == "__main__":
    main()
