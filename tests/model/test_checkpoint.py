import io
import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch

from digitnet.data import MNISTDataModule
from digitnet.errors import CheckpointError
from digitnet.model.checkpoint import load_model, read_checkpoint
from digitnet.training.module import DigitNet


@pytest.fixture
def content():
    model = DigitNet(dropout=0.5)
    return {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.ckpt"


class Payload:
    """An object whose unpickling runs a command."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def refused(path, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_is_loaded_with_its_weights_and_its_calibration(content, path):
    content["state_dict"]["calibration.temperature"] = torch.tensor(1.5)
    content["state_dict"]["averaged_calibration.threshold"] = torch.tensor(0.6)
    torch.save(content, path)
    network, calibration, averaged_calibration = load_model(path)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, content["state_dict"][f"network.{name}"])
    assert calibration.temperature == 1.5
    assert averaged_calibration.threshold == torch.tensor(0.6)
    assert not network.training


def test_a_checkpoint_of_an_earlier_version_has_no_calibration_for_test_time_augmentation(content, path):
    for name in ("temperature", "threshold"):
        del content["state_dict"][f"averaged_calibration.{name}"]
    torch.save({**content, "pytorch-lightning_version": "2.6.6"}, path)
    assert load_model(path).averaged_calibration.threshold == 0
    assert DigitNet.load_from_checkpoint(path).averaged_calibration.threshold == 0


def test_hyperparameters_are_read(content, path):
    torch.save(content, path)
    assert read_checkpoint(path)["hyper_parameters"] == content["hyper_parameters"]


def test_a_missing_file_says_how_to_make_one(path):
    refused(path, "Train one first: digitnet train, or python train.py")


def test_a_directory_is_refused(tmp_path):
    refused(tmp_path, "got the directory")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(content, path, keep):
    torch.save(content, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    refused(path, "is damaged or not a checkpoint")


@pytest.mark.parametrize("other", [b"", b"# a text file\n", b"PK\x03\x04", os.urandom(5000)])
def test_a_file_that_is_not_a_checkpoint_is_refused(path, other):
    path.write_bytes(other)
    refused(path, "is damaged or not a checkpoint")


def test_flipped_bits_in_the_pickle_are_refused(content, path):
    torch.save(content, path)
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = next(e for e in archive.infolist() if e.filename.endswith("data.pkl"))
    damaged[entry.header_offset + 200] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(CheckpointError):
        load_model(path)


def test_a_flipped_bit_in_the_weights_is_refused(content, path):
    torch.save(content, path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    refused(path, "is damaged or not a checkpoint")


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_pickle_is_executed(content, path, legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**content, "extra": Payload()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError):
        load_model(path)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CheckpointError):
        load_model(path)
    assert not (tmp_path / "executed").exists()


def test_a_string_that_names_code_is_refused(content, path, tmp_path, monkeypatch):
    """Lightning's load_from_checkpoint imports and calls what `_instantiator` names."""
    (tmp_path / "evil.py").write_text("open('executed', 'w')\ndef run(*args, **kwargs): raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    content["hyper_parameters"]["_instantiator"] = "evil.run"
    torch.save(content, path)
    refused(path, "has _instantiator 'evil.run'")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("cls", "key"),
    [(DigitNet, "hyper_parameters"), (DigitNet, "hparams"), (MNISTDataModule, "datamodule_hyper_parameters")],
)
def test_load_from_checkpoint_imports_nothing_that_the_file_names(cls, key, content, path, tmp_path, monkeypatch):
    """Lightning allows the instantiator of its command line, which imports each class_path."""
    (tmp_path / "evil2.py").write_text("open('executed', 'w')\ndef run(*args, **kwargs): raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    content[key] = {
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
        "network" if cls is DigitNet else "augment": {"class_path": "evil2.run"},
    }
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"name no code to import, .* has _instantiator 'lightning.pytorch"):
        cls.load_from_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_load_from_checkpoint_takes_file_objects(content):
    file = io.BytesIO()
    torch.save({**content, "pytorch-lightning_version": "2.6.0"}, file)
    file.seek(0)
    assert DigitNet.load_from_checkpoint(file).hparams.dropout == 0.5


def test_load_from_checkpoint_opens_no_url():
    with pytest.raises(CheckpointError, match="got the URL https://example"):
        DigitNet.load_from_checkpoint("https://example.org/a.ckpt")


def test_a_file_that_unpacks_to_too_many_bytes_is_refused_before_it_is_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(3):
            archive.writestr(f"archive/data/{index}", bytes(2**25))
    assert path.stat().st_size < 2**20
    refused(path, "unpacks to 100,663,296")


def test_the_size_limit_grows_with_the_network_that_is_compared(path):
    network = torch.nn.Linear(2500, 2500, bias=False)
    training_state = [torch.zeros(2500, 2500) for _ in range(2)]  # 75 MB with the weights
    torch.save({"state_dict": network.state_dict(), "hyper_parameters": {}, "state": training_state}, path)
    assert read_checkpoint(path, network)["hyper_parameters"] == {}
    refused(path, "expected at most 67,108,864 bytes")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_loaded_as_float32(content, path, dtype):
    expected = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                for name, tensor in content["state_dict"].items()}  # fmt: skip
    torch.save({**content, "state_dict": expected}, path)
    network = load_model(path).network
    assert network.conv1.weight.dtype == torch.float32
    assert torch.equal(network.conv1.weight, expected["network.conv1.weight"].float())


def test_weights_of_another_network_are_refused(content, path):
    content["state_dict"] = torch.nn.Linear(3, 4).state_dict()
    torch.save(content, path)
    refused(path, "is of another network")


def test_an_additional_weight_is_refused(content, path):
    content["state_dict"]["network.conv3.weight"] = torch.zeros(3)
    torch.save(content, path)
    refused(path, "it has network.conv3.weight")


def test_weights_of_another_shape_are_refused(content, path):
    content["state_dict"]["network.dense2.bias"] = torch.zeros(26)
    torch.save(content, path)
    refused(path, r"expected network.dense2.bias as \[10\] float, got \[26\] float")


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.full((10,), float("nan")), "NaN or infinity in network.dense2.bias"),
        (torch.zeros(10, dtype=torch.complex64), r"got \[10\] complex64"),
        (torch.zeros(10).to_sparse(), "sparse|damaged"),
        (3, "got an object of type int"),
        (None, "got none"),
    ],
)
def test_weights_that_are_not_finite_float_tensors_are_refused(content, path, weight, message):
    content["state_dict"]["network.dense2.bias"] = weight
    torch.save(content, path)
    refused(path, message)


@pytest.mark.parametrize("content", [[], {}, {"state_dict": 3}, {"state_dict": OrderedDict(), "hyper_parameters": 1}])
def test_a_file_of_torch_without_weights_and_hyperparameters_is_refused(content, path):
    torch.save(content, path)
    refused(path, "is not a checkpoint of digitnet")


@pytest.mark.parametrize("value", ["much", [0.5], None, True])
def test_hyperparameters_that_are_not_numbers_are_refused(content, path, value):
    content["hyper_parameters"]["dropout"] = value
    torch.save(content, path)
    refused(path, "expected hyperparameters that are numbers")


def test_reading_leaves_the_file_unchanged(content, path):
    torch.save(content, path)
    before = path.read_bytes()
    read_checkpoint(path)
    assert path.read_bytes() == before
