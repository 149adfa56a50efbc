import hashlib
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DistributedSampler

from digitnet.data import mnist
from digitnet.data.augmentation import Augmentation
from digitnet.data.datamodule import MNISTDataModule, split_indices
from digitnet.data.dataset import load_mnist
from digitnet.data.mnist import RAW_DIRECTORY
from digitnet.errors import ConfigError
from tests.conftest import TEST_IMAGES, TRAIN_IMAGES, tiny_images


@pytest.fixture
def data(tiny_mnist):
    data = MNISTDataModule(str(tiny_mnist.directory), batch_size=50, synthetic_digits=40, non_digits=10)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def test_validation_and_test_have_every_image_once_in_order(data):
    _, expected = tiny_images(TEST_IMAGES, seed=2)
    assert torch.cat([labels for _, labels in data.test_dataloader()]).tolist() == expected.tolist()
    assert torch.equal(torch.cat([images for images, _ in data.val_dataloader()]), data.val_set.images)


def epoch_of(loader, epoch=0):
    """The indices of the training images in the order of an epoch."""
    loader.sampler.set_epoch(epoch)
    return list(loader.sampler)


def test_training_has_every_image_once_per_epoch_in_another_order_each_epoch(data):
    loader = data.train_dataloader()
    assert len(loader) == -(-len(data.train_set) // 50)
    first, second = epoch_of(loader, 0), epoch_of(loader, 1)
    assert sorted(first) == sorted(second) == list(range(len(data.train_set)))
    assert first != second


def test_a_batch_has_the_images_of_its_indices(data):
    loader = data.train_dataloader()
    order = epoch_of(loader, 2)
    images, labels = next(iter(loader))
    assert torch.equal(images, data.train_set.images[order[:50]])
    assert torch.equal(labels, data.train_set.labels[order[:50]])
    image, label = data.train_set[order[3]]
    assert torch.equal(image, images[3])
    assert label == labels[3]


def test_the_order_depends_on_seed_and_epoch_only(data):
    first = epoch_of(data.train_dataloader(), 4)
    torch.rand(5)
    assert epoch_of(data.train_dataloader(), 4) == first
    data.seed = 2
    assert epoch_of(data.train_dataloader(), 4) != first


def test_iterating_draws_no_random_numbers_from_the_global_generator(data):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    next(iter(data.train_dataloader()))
    assert torch.equal(torch.rand(1), expected)


class Rank:
    """The attributes of a Trainer that the data module uses, in one of several processes."""

    def __init__(self, rank, world_size):
        self.global_rank, self.world_size = rank, world_size
        self.strategy = type("Strategy", (), {"root_device": torch.device("cpu")})
        self.training = False


def loaders_of_ranks(data, world_size, name):
    """The data loader of each process."""
    loaders = []
    for rank in range(world_size):
        data.trainer = Rank(rank, world_size)
        loaders.append(getattr(data, f"{name}_dataloader")())
    return loaders


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_ranks_evaluate_each_image_exactly_once_even_if_they_do_not_divide_evenly(data, ranks):
    for name, size in (("val", len(data.val_set)), ("test", TEST_IMAGES)):
        loaders = loaders_of_ranks(data, ranks, name)
        indices = [list(loader.sampler) for loader in loaders]
        assert sorted(index for rank in indices for index in rank) == list(range(size))
        for loader, rank in zip(loaders, indices, strict=True):
            assert len(loader.sampler) == len(rank)
            assert len(loader) == len(list(loader))


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_ranks_train_on_equal_numbers_of_images_without_repeats(data, ranks):
    indices = [list(loader.sampler) for loader in loaders_of_ranks(data, ranks, "train")]
    size = len(data.train_set)
    assert {len(rank) for rank in indices} == {size // ranks}, "ranks must take the same number of steps"
    assert len({index for rank in indices for index in rank}) == size // ranks * ranks


def test_lightning_does_not_distribute_the_images_a_second_time(tiny_mnist):
    """It replaces every sampler but a DistributedSampler if there are several processes."""
    data = MNISTDataModule(str(tiny_mnist.directory), synthetic_digits=0, non_digits=0)
    data.setup("fit")
    assert isinstance(data.val_dataloader().sampler, DistributedSampler)
    assert isinstance(data.train_dataloader().sampler, DistributedSampler)


def test_fewer_images_than_processes_are_refused(tiny_mnist):
    data = MNISTDataModule(str(tiny_mnist.directory), synthetic_digits=0, non_digits=0, val_fraction=0.01)
    data.trainer = Rank(0, 8)
    with pytest.raises(ConfigError, match="at least one validation image for each process, got 6 for 8"):
        data.setup("fit")


@pytest.mark.parametrize(
    ("stage", "sets"),
    [("fit", {"train_set", "val_set"}), ("validate", {"val_set"}), ("test", {"test_set"}), ("predict", {"test_set"}),
     (None, {"train_set", "val_set", "test_set"})],
)  # fmt: skip
def test_each_stage_loads_what_it_needs(tiny_mnist, stage, sets):
    data = MNISTDataModule(str(tiny_mnist.directory), synthetic_digits=0, non_digits=0)
    data.setup(stage)
    assert {name for name in ("train_set", "val_set", "test_set") if hasattr(data, name)} == sets


def test_the_split_is_disjoint_complete_and_the_same_every_time():
    val, train = split_indices(60_000, 0.1)
    assert (len(val), len(train)) == (6_000, 54_000)
    assert sorted(val.tolist() + train.tolist()) == list(range(60_000))
    torch.manual_seed(123)
    assert torch.equal(split_indices(60_000, 0.1)[0], val)


def test_images_stay_uint8_in_memory_and_become_ink_batch_by_batch(data):
    images, labels = next(iter(data.train_dataloader()))
    assert images.dtype == torch.uint8
    ink, same_labels = data.on_after_batch_transfer((images, labels), 0)
    assert (ink.dtype, ink.shape) == (torch.float32, (50, 1, 28, 28))
    assert torch.equal(ink[:, 0], images.float() / 255)  # without a trainer, nothing is augmented
    assert torch.equal(same_labels, labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size is 0"),
        ({"val_fraction": 1.0}, "data.val_fraction is 1.0"),
        ({"val_fraction": 0.0}, "data.val_fraction is 0.0"),
        ({"val_fraction": float("nan")}, "data.val_fraction is nan"),
        ({"synthetic_digits": -1}, "data.synthetic_digits is -1"),
        ({"non_digits": -5}, "data.non_digits is -5"),
        ({"printed_digits": -1}, "data.printed_digits is -1"),
        ({"seven_segment_digits": -1}, "data.seven_segment_digits is -1"),
        ({"printed_non_digits": -1}, "data.printed_non_digits is -1"),
        ({"altered_digits": -1}, "data.altered_digits is -1"),
        ({"words": -1}, "data.words is -1"),
        ({"textures": -1}, "data.textures is -1"),
        ({"degradation": 1.1}, "data.degradation is 1.1"),
        ({"degradation": float("nan")}, "data.degradation is nan"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MNISTDataModule(**options)


def test_a_split_without_validation_images_is_refused():
    with pytest.raises(ConfigError, match="640 for training and 0 for validation"):
        split_indices(TRAIN_IMAGES, 0.0001)


def test_the_real_files_have_the_published_md5_and_split_54000_to_6000(mnist_dir):
    for name, md5 in mnist.MD5.items():
        assert hashlib.md5((mnist_dir / RAW_DIRECTORY / name).read_bytes()).hexdigest() == md5
    data = MNISTDataModule(str(mnist_dir), synthetic_digits=0, non_digits=0)
    data.setup("fit")
    data.setup("test")
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (54_000, 6_000, 10_000)
    assert torch.cat([data.train_set.labels, data.val_set.labels]).bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip  # as published


def test_synthetic_digits_and_non_digits_are_training_images_framed_as_mnist(data):
    images, labels = data.train_set.images[-50:], data.train_set.labels[-50:]
    assert labels.clamp(min=-1).add(1).bincount().tolist() == [10, *[4] * 10]
    assert images.dtype == torch.uint8
    assert (images.amax((1, 2)) == 255).all()
    sides = (images > 0).any(1).sum(1), (images > 0).any(2).sum(1)
    assert torch.maximum(*sides).float().median() == 20, "the longest side of the ink"
    assert len(data.val_set) == 64, "validation is on MNIST only"


SOURCES = {
    "printed_digits": range(10), "seven_segment_digits": range(10), "printed_non_digits": [-1], "altered_digits": [-1],
    "words": [-1], "textures": [-1],
}  # fmt: skip


@pytest.fixture
def no_mnist(tiny_mnist):
    return {"data_dir": str(tiny_mnist.directory), "synthetic_digits": 0, "non_digits": 0}


@pytest.mark.parametrize("source", SOURCES)
def test_each_further_source_adds_its_number_of_framed_images_to_the_training_set_only(no_mnist, source):
    if source == "altered_digits":  # the bars of the tiny dataset are not digits
        no_mnist["synthetic_digits"] = 200
    sets = []
    for number in (0, 30):
        data = MNISTDataModule(**no_mnist, **{source: number})
        data.setup("fit")
        sets.append(data)
    before, after = sets
    assert len(after.train_set) == len(before.train_set) + 30
    assert torch.equal(after.train_set.images[:-30], before.train_set.images)
    assert torch.equal(after.val_set.images, before.val_set.images)
    images, labels = after.train_set.images[-30:], after.train_set.labels[-30:]
    assert sorted(set(labels.tolist())) == list(SOURCES[source])
    assert len(images.unique(dim=0)) > 20
    assert images.dtype == torch.uint8
    assert (images.amax((1, 2)) > 200).all()


def test_altered_digits_are_made_from_the_training_images_and_never_from_those_of_validation(mnist_dir, monkeypatch):
    given = {}
    monkeypatch.setattr(
        "digitnet.data.datamodule.draw_altered_digits",
        lambda images, labels, count: given.update(images=images) or (images[:count], labels[:count]),
    )
    data = MNISTDataModule(str(mnist_dir), synthetic_digits=0, non_digits=0, altered_digits=3)
    data.setup("fit")
    _, train = split_indices(60_000, 0.1)
    assert torch.equal(given["images"], load_mnist(str(mnist_dir), train=True)[0][train])


def save_labeled(directory, **images):
    """Save images in the directories of their labels: a8=image becomes directory/8/a8.png."""
    for name, image in images.items():
        (directory / name[-1]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(directory / name[-1] / f"{name}.png")
    return str(directory)


def test_images_of_extra_dir_are_training_images_framed_as_mnist(tiny_mnist, tmp_path):
    stroke = np.full((200, 300, 3), 240, np.uint8)
    stroke[40:160, 140:155] = 20
    directory = save_labeled(tmp_path, a1=stroke, b1=255 - stroke, a7=stroke[:, ::2])
    data = MNISTDataModule(str(tiny_mnist.directory), synthetic_digits=0, non_digits=0, extra_dir=directory)
    data.prepare_data()
    data.setup("fit")
    images, labels = data.train_set.images, data.train_set.labels
    val = len(data.val_set)
    assert len(images) == TRAIN_IMAGES - val + 3
    assert labels[-3:].tolist() == [1, 1, 7]
    assert torch.equal(images[-3], images[-2])
    assert images.dtype == torch.uint8
    ys, _ = torch.nonzero(images[-3], as_tuple=True)
    assert ys.max() - ys.min() + 1 == 20


def test_a_fraction_of_a_batch_is_degraded_an_eighth_unchanged_and_the_rest_augmented():
    for fraction, counts in ((0.0, [0, 12, 88]), (0.25, [25, 12, 63]), (1.0, [100, 0, 0])):
        data = MNISTDataModule(degradation=fraction)
        data.degrade.forward, data.augment.forward = (lambda ink: ink + 1), (lambda ink: ink + 2)
        ink = data.transform(torch.zeros(100, 1, 28, 28))
        assert ink.shape == (100, 1, 28, 28)
        assert [int((ink[:, 0, 0, 0] == kind).sum()) for kind in (1, 0, 2)] == counts


def test_augmentation_can_be_disabled_or_have_other_magnitudes():
    ink = torch.rand(16, 1, 28, 28)
    assert torch.equal(MNISTDataModule(augmentation=False).transform(ink), ink)
    assert not torch.equal(MNISTDataModule().transform(ink), ink)
    augment = Augmentation(rotation=3)
    assert MNISTDataModule(augment=augment).augment is augment


def test_the_magnitudes_in_use_are_hyperparameters_named_like_their_options():
    hparams = MNISTDataModule(augment=Augmentation(rotation=3)).hparams
    assert hparams["augment.rotation"] == 3
    assert not any(name.startswith("degrade.") for name in hparams)
    hparams = MNISTDataModule(augmentation=False, degradation=0.25).hparams
    assert (hparams["augmentation"], hparams["degradation"]) == (False, 0.25)
    assert hparams["degrade.noise.gaussian_std"] == (0.0, 0.12)
    assert "augment.rotation" not in hparams


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_ink_has_the_data_type_of_the_network(data, dtype):
    data.trainer = SimpleNamespace(training=True, lightning_module=SimpleNamespace(dtype=dtype))
    ink, _ = data.on_after_batch_transfer((torch.zeros(4, 28, 28, dtype=torch.uint8), torch.zeros(4)), 0)
    assert ink.dtype == dtype


def test_the_data_module_is_pickled_for_other_processes_as_ddp_spawn_does(data):
    copy = pickle.loads(pickle.dumps(data))
    copy.setup("fit")
    assert torch.equal(copy.train_set.images, data.train_set.images)


def test_a_progress_bar_can_be_shown_while_synthetic_images_are_drawn(tiny_mnist):
    tracked = []

    def track(batches, total):
        tracked.append(total)
        for batch in batches:
            tracked.append(len(batch[0]))
            yield batch

    data = MNISTDataModule(str(tiny_mnist.directory), synthetic_digits=250, non_digits=1)
    data.track = track
    data.setup("fit")
    assert tracked == [2, 200, 51]
