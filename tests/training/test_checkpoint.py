import io
import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch

from digitnet.errors import CheckpointError
from digitnet.training.checkpoint import load_model, read_checkpoint
from digitnet.training.module import DigitNet


@pytest.fixture
def content():
    model = DigitNet(dropout=0.5)
    return {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.ckpt"


class Bomb:
    def __reduce__(self):
        return os.system, ("touch went-off",)


def refused(path, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_comes_back_with_its_weights_and_hyper_parameters(content, path):
    torch.save(content, path)
    model = load_model(path)
    assert model.hparams == content["hyper_parameters"]
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, content["state_dict"][name])


def test_a_missing_file_says_how_to_make_one(path):
    refused(path, "Train one first: python train.py")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(content, path, keep):
    torch.save(content, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    refused(path, "is damaged or not a checkpoint")


@pytest.mark.parametrize("other", [b"", b"# a text file\n", b"PK\x03\x04", os.urandom(5000)])
def test_a_file_that_is_no_checkpoint_is_refused(path, other):
    path.write_bytes(other)
    refused(path, "is damaged or not a checkpoint")


def test_flipped_bits_are_refused(content, path):
    torch.save(content, path)
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = next(e for e in archive.infolist() if e.filename.endswith("data.pkl"))
    damaged[entry.header_offset + 200] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(CheckpointError):
        load_model(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_pickle_runs(content, path, legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**content, "extra": Bomb()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError):
        load_model(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError):
        load_model(path)
    assert not (tmp_path / "went-off").exists()


def test_a_string_that_names_code_is_not_followed(content, path, tmp_path, monkeypatch):
    """Lightning's load_from_checkpoint imports and calls what `_instantiator` names."""
    (tmp_path / "evil.py").write_text("open('went-off', 'w')\ndef run(*args, **kwargs): raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    content["hyper_parameters"]["_instantiator"] = "evil.run"
    torch.save(content, path)
    refused(path, "has hyper-parameters .*_instantiator")
    assert not (tmp_path / "went-off").exists()


def test_a_file_that_unpacks_to_far_more_is_refused_before_it_is_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in range(3):
            archive.writestr(f"archive/data/{part}", bytes(2**25))
    assert path.stat().st_size < 2**20
    refused(path, "unpacks to 100,663,296 bytes")


def test_another_networks_weights_are_refused(content, path):
    content["state_dict"] = torch.nn.Linear(3, 4).state_dict()
    torch.save(content, path)
    refused(path, "is of another network")


def test_weights_of_another_shape_are_refused(content, path):
    content["state_dict"]["dense2.bias"] = torch.zeros(26)
    torch.save(content, path)
    refused(path, r"its dense2.bias is \[26\] float32, digitnet.s is \[10\] float32")


def test_a_flipped_bit_in_the_weights_is_refused(content, path):
    torch.save(content, path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    refused(path, "is damaged or not a checkpoint")


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (torch.full((10,), float("nan")), "NaN or infinity in dense2.bias"),
        (torch.zeros(10, dtype=torch.complex64), "is \\[10\\] complex64"),
        (torch.zeros(10).to_sparse(), "sparse|damaged"),
        (3, "dense2.bias is missing"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(content, path, weight, says):
    content["state_dict"]["dense2.bias"] = weight
    torch.save(content, path)
    refused(path, says)


@pytest.mark.parametrize("content", [[], {}, {"state_dict": 3}, {"state_dict": OrderedDict(), "hyper_parameters": 1}])
def test_other_things_saved_by_torch_are_refused(content, path):
    torch.save(content, path)
    refused(path, "is not a checkpoint of digitnet")


@pytest.mark.parametrize(("name", "value"), [("dropout", "much"), ("dropout", 7), ("width", 64)])
def test_other_hyper_parameters_are_refused(content, path, name, value):
    content["hyper_parameters"][name] = value
    torch.save(content, path)
    refused(path, "hyper-parameters|dropout is 7")


def test_reading_leaves_the_file_as_it_was(content, path):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())
    read_checkpoint(path)
    assert path.read_bytes() == buffer.getvalue()
