"""Corrected drawings on the disk."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitnet.app.corrections import CorrectionError, Corrections
from digitnet.errors import ConfigError


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_a_correction_is_saved_as_the_same_image_below_its_digit(tmp_path):
    name = Corrections(tmp_path / "corrections").save(image(), 7)
    assert name.startswith("7/")
    assert (np.asarray(Image.open(tmp_path / "corrections" / name)) == image()).all()


def test_the_last_of_several_corrections_of_an_image_counts(tmp_path):
    corrections = Corrections(tmp_path)
    other = corrections.save(image(1), 4)
    for digit in (4, 7, 7):
        name = corrections.save(image(), digit)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")} == {other, name}


def test_a_directory_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "corrections").write_text("a file")
    with pytest.raises(CorrectionError, match=r"^Not a directory\.$"):
        Corrections(tmp_path / "corrections").save(image(), 3)


def test_a_directory_that_can_be_created_or_written_passes_the_check(tmp_path, monkeypatch):
    Corrections(tmp_path).check()
    Corrections(tmp_path / "new" / "corrections").check()
    assert not (tmp_path / "new").exists()
    monkeypatch.chdir(tmp_path)
    Corrections(Path("corrections")).check()


@pytest.mark.parametrize("below", ["", "corrections"])
def test_a_file_instead_of_the_directory_is_refused_at_the_start(tmp_path, below):
    (tmp_path / "file").write_text("text")
    with pytest.raises(ConfigError, match="file is not a directory; it must be a directory that this user may write"):
        Corrections(tmp_path / "file" / below).check()


def test_a_directory_without_permission_is_refused_at_the_start(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):  # root may write everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ConfigError, match="may not be written"):
        Corrections(tmp_path / "corrections").check()
    tmp_path.chmod(0o700)


def test_no_more_than_the_maximum_number_is_saved(tmp_path):
    corrections = Corrections(tmp_path, max_count=2)
    corrections.save(image(0), 0)
    name = corrections.save(image(1), 1)
    with pytest.raises(CorrectionError, match=r"^The corrections are full \(the limit is 2 images\)\. "):
        corrections.save(image(2), 2)
    corrections.save(image(1), 9)  # replaces another, as does the next after one was removed
    assert not (tmp_path / name).exists()
    assert len([*tmp_path.rglob("*.png")]) == 2
    next(tmp_path.rglob("*.png")).unlink()
    corrections.save(image(2), 2)
    assert len([*tmp_path.rglob("*.png")]) == 2


def test_no_more_than_the_maximum_of_bytes_is_saved(tmp_path):
    corrections = Corrections(tmp_path, max_bytes=5_000)  # an image has 1,800 bytes, which are random
    corrections.save(image(0), 0)
    corrections.save(image(1), 1)
    with pytest.raises(CorrectionError, match=r"the limit is 0\.0 MB"):
        corrections.save(image(2), 2)
    corrections.save(image(1), 9)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.png")) <= 5_000
