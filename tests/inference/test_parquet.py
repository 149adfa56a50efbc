import os
import sys

import numpy as np
import pytest

from digitnet.errors import ConfigError, ImageError
from digitnet.inference.batch import ChunkPredictions
from digitnet.inference.parquet import ParquetWriter
from tests.images import draw_digit
from tests.inference.conftest import run

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install '.[parquet]'")
pq = pytest.importorskip("pyarrow.parquet")


def test_parquet_is_resumed_after_the_last_complete_file(tmp_path, gray, monkeypatch):
    monkeypatch.setattr("digitnet.inference.parquet.RECORDS_PER_FILE", 1000)
    source, output = tmp_path / "many.npy", tmp_path / "output"
    np.save(source, np.tile(gray, (10, 1, 1)))
    assert run(source, "--format", "parquet", "--output", output, "--probabilities") == 0
    parts = sorted(output.iterdir())
    parts[-1].unlink()  # as if killed before it was written
    assert run(source, "--format", "parquet", "--output", output, "--probabilities") == 2
    assert run(source, "--format", "parquet", "--output", output, "--probabilities", "--resume") == 0
    table = pq.read_table(output)
    assert table["file"].to_pylist() == [f"{source}[{i}]" for i in range(3000)]
    assert table["probability_1"][0].as_py() == pytest.approx(table["confidence"][0].as_py())


def test_parquet_that_is_damaged_or_incomplete_is_not_resumed(tmp_path, gray, monkeypatch, capsys):
    monkeypatch.setattr("digitnet.inference.parquet.RECORDS_PER_FILE", 1000)
    np.save(tmp_path / "many.npy", np.tile(gray, (10, 1, 1)))
    output = tmp_path / "output"
    options = [tmp_path / "many.npy", "--format", "parquet", "--output", output]
    assert run(*options) == 0
    assert run(*options, "--probabilities", "--resume") == 2
    assert "has other columns" in capsys.readouterr().err
    (output / "part-00000.parquet").rename(tmp_path / "first")
    assert run(*options, "--resume") == 2
    assert "has no part-00000.parquet" in capsys.readouterr().err
    (output / "part-00000.parquet").write_bytes((tmp_path / "first").read_bytes()[:-100])
    assert run(*options, "--resume") == 2
    assert "part-00000.parquet is damaged" in capsys.readouterr().err


def predictions_of(*names):
    """Return predictions of a 0 for images with these names."""
    predictions = ChunkPredictions.empty(list(names))
    predictions.labels[:] = 0
    predictions.probabilities[:, 0] = 0.93334567
    return predictions


def test_columns_have_the_smallest_exact_types_and_nulls_for_what_is_missing(tmp_path):
    predictions = predictions_of("zero.png", "bad.png")
    predictions.labels[1] = -1
    predictions.errors[1] = ImageError("bad.png: damaged")
    with ParquetWriter(tmp_path, probabilities=True, resume=False) as writer:
        writer.write(predictions)
    table = pq.read_table(tmp_path)
    names = ["file", "label", "confidence", *(f"probability_{digit}" for digit in range(10)), "error"]
    assert table.schema.names == names
    assert table.schema.types == [pa.string(), pa.int8(), *[pa.float32()] * 11, pa.string()]
    zero, bad = table.to_pylist()
    assert (zero["label"], zero["error"]) == (0, None)
    assert zero["confidence"] == zero["probability_0"] == pytest.approx(0.933346, abs=1e-7)
    assert bad == dict.fromkeys(names) | {"file": "bad.png", "error": "bad.png: damaged"}


def test_a_file_is_written_as_soon_as_it_has_its_number_of_records(tmp_path, monkeypatch):
    monkeypatch.setattr("digitnet.inference.parquet.RECORDS_PER_FILE", 4)
    with ParquetWriter(tmp_path, probabilities=False, resume=False) as writer:
        writer.write(predictions_of("a", "b"))
        assert not list(tmp_path.iterdir())
        writer.write(predictions_of("c", "d"))
        assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]
        writer.write(predictions_of("e"))
    parts = [pq.read_table(path)["file"].to_pylist() for path in sorted(tmp_path.iterdir())]
    assert parts == [["a", "b", "c", "d"], ["e"]]


def test_a_directory_with_a_single_file_is_not_added_to_without_resume(tmp_path):
    with ParquetWriter(tmp_path, probabilities=False, resume=False) as writer:
        writer.write(predictions_of("a"))
    with pytest.raises(ConfigError, match=r"already has part-00000\.parquet; name another directory, or add --resume"):
        ParquetWriter(tmp_path, probabilities=False, resume=False)


def test_a_name_that_is_not_utf_8_is_written_and_resumed_from(tmp_path):
    source, output = tmp_path / "images", tmp_path / "output"
    source.mkdir()
    for name in (b"a.png", b"\xff.png"):
        draw_digit(7).save(os.fsdecode(os.fsencode(source) + b"/" + name), "PNG")
    options = [source, "--format", "parquet", "--output", output]
    assert run(*options) == 0
    assert pq.read_table(output)["file"].to_pylist() == [f"{source}/a.png", f"{source}/?.png"]
    assert run(*options, "--resume") == 0
    assert len(list(output.iterdir())) == 1


def test_without_pyarrow_the_error_names_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"pip install 'digitnet\[parquet\]'"):
        ParquetWriter(tmp_path / "output", probabilities=False, resume=False)
    assert not (tmp_path / "output").exists()
