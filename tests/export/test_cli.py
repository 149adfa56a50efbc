import onnx
import pytest

from tests.export.conftest import failure

pytestmark = pytest.mark.slow  # each export takes seconds


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--checkpoint=no.ckpt"], "No checkpoint no.ckpt"),
        (["--checkpoint=README.md"], "is damaged or not a checkpoint"),
        (["--output=README.md/x.onnx"], "expected a file in a directory, got 'README.md/x.onnx': README.md is a file"),
        (["--output=docs"], "expected a file, got the directory 'docs'"),
        (["--data-dir=README.md"], "data_dir is README.md, a file"),
    ],
)
def test_bad_input_gets_one_clear_line_and_status_2(run, capsys, options, expected):
    status, line = failure(run, *options, capsys=capsys)
    assert status == 2
    assert expected in line


def test_the_size_and_the_accuracy_in_the_file_are_printed(run, capsys):
    content = run()
    accuracy = onnx.load_from_string(content).metadata_props
    (stated,) = [float(entry.value) for entry in accuracy if entry.key == "test_accuracy"]
    expected = f"{run.output}: {len(content):,} bytes, accuracy {100 * stated:.2f}% on the MNIST test set.\n"
    assert capsys.readouterr().out == expected
