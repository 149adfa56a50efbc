from types import SimpleNamespace

import pytest
import torch

from digitnet.training.callbacks import EpochSeed, epoch_name, random_seed


def test_seeds_differ_if_any_key_differs():
    seeds = {random_seed(seed, epoch, rank) for seed in range(10) for epoch in range(10) for rank in range(10)}
    assert len(seeds) == 1000


def test_the_seed_of_an_epoch_does_not_depend_on_earlier_epochs():
    drawn = []
    for start in (0, 3):
        torch.manual_seed(start)
        EpochSeed(7).on_train_epoch_start(SimpleNamespace(current_epoch=2, global_rank=1), None)
        drawn.append(torch.rand(4))
    assert torch.equal(*drawn)


@pytest.mark.parametrize(("maximum", "name"), [(5, "epoch 2/5"), (-1, "epoch 2"), (None, "epoch 2")])
def test_epochs_are_counted_from_1(maximum, name):
    assert epoch_name(SimpleNamespace(current_epoch=1, max_epochs=maximum)) == name
