import pytest
import torch

from digitnet.adaptation import AdaptationDataModule
from digitnet.adaptation.data import CORRECTIONS_FRACTION
from digitnet.errors import ConfigError


def drawn_corrections(data):
    """Return how often each correction is drawn in an epoch."""
    data.setup()
    first = len(data.train_set) - len(data.corrections)
    drawn = torch.tensor(list(data.train_dataloader().sampler))
    return torch.bincount(drawn[drawn >= first] - first, minlength=len(data.corrections)), len(drawn)


def test_a_fixed_fraction_of_the_images_are_corrections_however_few_there_are(data):
    data.batches = 200
    counts, total = drawn_corrections(data)
    assert total == 200 * 16
    assert counts.sum().item() / total == pytest.approx(CORRECTIONS_FRACTION, abs=0.03)
    assert counts.min() > 0


def test_held_back_corrections_are_not_drawn_and_the_others_make_up_for_them(data):
    data.batches, data.held_back = 200, torch.tensor([0, 7, 19])
    counts, total = drawn_corrections(data)
    assert torch.where(counts == 0)[0].tolist() == [0, 7, 19]
    assert counts.sum().item() / total == pytest.approx(CORRECTIONS_FRACTION, abs=0.03)


def test_the_corrections_have_their_labels(data):
    data.setup()
    assert torch.equal(data.train_set.images[-20:], data.corrections.images)
    assert data.train_set.labels[-20:].tolist() == sorted(list(range(10)) * 2)


def test_an_epoch_depends_on_the_seed_only(data):
    data.setup()
    assert list(data.train_dataloader().sampler) == list(data.train_dataloader().sampler)


def test_images_are_loaded_once(data):
    data.setup("fit")
    train_set = data.train_set
    data.setup("fit")
    assert data.train_set is train_set


def test_a_directory_without_images_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match="contains no images in directories named 0 to 9"):
        AdaptationDataModule(str(tmp_path))
