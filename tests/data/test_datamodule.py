import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from digitnet.data import augmentation, mnist
from digitnet.data.augmentation import augment
from digitnet.data.datamodule import MNISTDataModule, WholeBatches, random_seed, split_indices
from digitnet.data.mnist import RAW_FOLDER
from digitnet.errors import ConfigError, DatasetError
from tests.conftest import TEST_IMAGES, TRAIN_IMAGES, tiny_images


def batches(size, batch_size, **options):
    return [batch.tolist() for batch in WholeBatches(size, batch_size, **options)]


def flat(lists):
    return [index for part in lists for index in part]


@pytest.fixture
def data(tiny_mnist):
    data = MNISTDataModule(str(tiny_mnist.folder), batch_size=50, synthetic_digits=40, non_digits=10)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def test_validation_and_test_see_every_image_once_in_order(data):
    _, made_labels = tiny_images(TEST_IMAGES, seed=2)
    labels = torch.cat([labels for _, labels in data.test_dataloader()])
    assert labels.tolist() == made_labels.tolist()
    images = torch.cat([images for images, _ in data.val_dataloader()])
    assert torch.equal(images, data.val_set.tensors[0])


def test_training_sees_every_image_once_an_epoch_in_another_order_each_epoch(data):
    loader = data.train_dataloader()
    assert len(loader) == -(-len(data.train_set) // 50)
    order = flat(batch.tolist() for batch in loader.sampler)
    loader.sampler.set_epoch(1)
    next_order = flat(batch.tolist() for batch in loader.sampler)
    assert sorted(order) == sorted(next_order) == list(range(len(data.train_set)))
    assert order != next_order


def test_the_order_depends_on_seed_and_epoch_alone():
    first = WholeBatches(100, 7, shuffle=True, seed=3)
    list(first)
    torch.rand(5)
    first.set_epoch(4)
    second = WholeBatches(100, 7, shuffle=True, seed=3)
    second.set_epoch(4)
    other = WholeBatches(100, 7, shuffle=True, seed=2)
    other.set_epoch(4)
    assert flat(b.tolist() for b in first) == flat(b.tolist() for b in second)
    assert flat(b.tolist() for b in first) != flat(b.tolist() for b in other)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_ranks_share_out_evaluation_images_completely_and_in_order(ranks):
    shares = [flat(batches(1000, 64, shuffle=False, rank=rank, ranks=ranks)) for rank in range(ranks)]
    assert flat(shares) == list(range(1000))


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_ranks_train_on_equal_shares_without_repeats(ranks):
    shares = [batches(1000, 64, shuffle=True, seed=5, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1, "ranks must take the same number of steps"
    assert len(set(flat(flat(share) for share in shares))) == 1000 // ranks * ranks


@pytest.mark.parametrize(
    ("size", "ranks", "shuffle"), [(1000, 1, True), (1000, 3, True), (1000, 3, False), (10, 4, False)]
)
def test_the_length_is_the_number_of_batches(size, ranks, shuffle):
    for rank in range(ranks):
        sampler = WholeBatches(size, 64, shuffle=shuffle, rank=rank, ranks=ranks)
        assert len(sampler) == len(list(sampler))


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
    assert torch.equal(ink[:, 0], images.float() / 255)  # no trainer, so nothing is distorted
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
        ({"degradation": 1.1}, "data.degradation is 1.1"),
        ({"degradation": float("nan")}, "data.degradation is nan"),
    ],
)
def test_values_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MNISTDataModule(**options)


def test_a_split_that_leaves_nothing_to_validate_with_is_refused():
    with pytest.raises(ConfigError, match="640 to train on and 0 to validate"):
        split_indices(TRAIN_IMAGES, 0.0001)


def test_seeds_differ_wherever_a_part_differs():
    seeds = {random_seed(seed, epoch, rank) for seed in range(10) for epoch in range(10) for rank in range(10)}
    assert len(seeds) == 1000


def test_distorted_images_keep_shape_range_and_most_of_their_ink():
    images, _ = tiny_images(200, seed=3)
    ink = torch.from_numpy(images * (images > 128)).unsqueeze(1).float() / 255  # the bars without the noise
    torch.manual_seed(0)
    distorted = augment(ink)
    assert distorted.shape == ink.shape
    assert distorted.min() >= 0
    assert distorted.max() <= 1
    assert not torch.equal(distorted, ink)
    assert distorted.mean().item() == pytest.approx(ink.mean().item(), rel=0.05)
    torch.manual_seed(0)
    assert torch.equal(augment(ink), distorted)


def test_a_dot_moves_as_far_as_the_shift_and_the_turn_allow_and_no_further(monkeypatch):
    monkeypatch.setattr(augmentation, "BEND", 0)
    ink = torch.zeros(2000, 1, 28, 28)
    ink[:, :, 13:15, 13:15] = 1  # round the centre: turning and scaling leave it there, only shifting moves it
    distorted = augment(ink)[:, 0]
    places = torch.arange(28) - 13.5
    mass = distorted.sum((1, 2))
    for axis in (1, 2):
        centre = (distorted.sum(axis) * places).sum(1) / mass
        assert centre.abs().max() < 2.3  # 1.5 pixels, a little of the other axis' by the turn, scaled up and slanted
        assert centre.std().item() == pytest.approx(1.5 / 3**0.5, rel=0.15)  # evenly drawn


def test_bending_moves_what_is_near_together_and_what_is_far_apart(monkeypatch):
    for name in ("TURN", "SCALE", "STRETCH", "SLANT", "SHIFT"):
        monkeypatch.setattr(augmentation, name, 0)
    dots = [(4, 4), (4, 7), (22, 22)]
    ink = torch.zeros(len(dots), 2000, 28, 28)
    for dot, (y, x) in enumerate(dots):
        ink[dot, :, y : y + 2, x : x + 2] = 1
    moves = []
    for dot, (_, x) in enumerate(dots):
        torch.manual_seed(0)  # each dot alone, on images bent alike
        bent = augment(ink[dot][:, None])[:, 0]
        moves.append((bent.sum(1) * torch.arange(28)).sum(1) / bent.sum((1, 2)) - x - 0.5)
    together = torch.corrcoef(torch.stack(moves))
    assert 0.3 < moves[2].std().item() < 0.7  # 0.6 at the places that are pushed, less between them
    assert together[0, 1] > 0.5
    assert together[0, 2].abs() < 0.1


def test_the_real_files_have_the_published_md5_and_split_54000_to_6000(mnist_dir):
    for name, md5 in mnist.MD5.items():
        assert hashlib.md5((mnist_dir / RAW_FOLDER / name).read_bytes()).hexdigest() == md5
    data = MNISTDataModule(str(mnist_dir), synthetic_digits=0, non_digits=0)
    data.setup("fit")
    data.setup("test")
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (54_000, 6_000, 10_000)
    assert torch.cat([data.train_set.tensors[1], data.val_set.tensors[1]]).bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip  # as published


def test_synthesised_digits_and_what_is_none_are_trained_on_too_framed_as_mnist(data):
    images, labels = (tensor[-50:] for tensor in data.train_set.tensors)
    assert labels.clamp(min=-1).add(1).bincount().tolist() == [10, *[4] * 10]
    assert images.dtype == torch.uint8
    assert (images.amax((1, 2)) == 255).all()
    sides = (images > 0).any(1).sum(1), (images > 0).any(2).sum(1)
    assert torch.maximum(*sides).float().median() == 20, "the longest side of the ink"
    assert len(data.val_set) == 64, "and validated on MNIST alone"


def corrections(folder, **pictures):
    """Pictures, dark on light, in folders of their digits: eight=image saves it in folder/8."""
    for digit, image in pictures.items():
        (folder / digit[-1]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / digit[-1] / f"{digit}.png")
    return str(folder)


def test_pictures_of_an_extra_folder_are_trained_on_too_framed_as_mnist(tiny_mnist, tmp_path):
    stroke = np.full((200, 300, 3), 240, np.uint8)
    stroke[40:160, 140:155] = 20
    folder = corrections(tmp_path, a1=stroke, b1=255 - stroke, a7=stroke[:, ::2])
    data = MNISTDataModule(str(tiny_mnist.folder), synthetic_digits=0, non_digits=0, extra_dir=folder)
    data.prepare_data()
    data.setup("fit")
    images, labels = data.train_set.tensors
    val = len(data.val_set)
    assert len(images) == TRAIN_IMAGES - val + 3
    assert labels[-3:].tolist() == [1, 1, 7]
    assert torch.equal(images[-3], images[-2])
    assert images.dtype == torch.uint8
    ys, _ = torch.nonzero(images[-3], as_tuple=True)
    assert ys.max() - ys.min() + 1 == 20


@pytest.mark.parametrize(
    ("pictures", "error", "says"),
    [
        ({}, ConfigError, "no images in folders named 0 to 9"),
        ({"a3": np.full((50, 50), 255, np.uint8)}, DatasetError, "a3.png: there is nothing to read in it"),
    ],
)
def test_an_extra_folder_that_cannot_be_trained_on_is_named(tiny_mnist, tmp_path, pictures, error, says):
    folder = tmp_path / "corrections"
    folder.mkdir()
    data = MNISTDataModule(
        str(tiny_mnist.folder), synthetic_digits=0, non_digits=0, extra_dir=corrections(folder, **pictures)
    )
    with pytest.raises(error, match=says):
        data.setup("fit")


def test_an_extra_folder_with_a_file_that_is_no_picture_is_named(tiny_mnist, tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "bad.png").write_text("no picture")
    with pytest.raises(DatasetError, match=r"bad\.png: not a picture"):
        MNISTDataModule(str(tiny_mnist.folder), synthetic_digits=0, non_digits=0, extra_dir=str(tmp_path)).setup("fit")
