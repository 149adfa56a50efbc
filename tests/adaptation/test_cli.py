import json
import os
import signal

import pytest

from digitnet.adaptation import cli
from digitnet.adaptation.adapt import released_checkpoint_path
from digitnet.console import EXIT_FAILURE
from tests.adaptation.test_adapt import adaptation
from tests.conftest import ROOT
from tests.forking import DEADLINE, LIGHTNING, ForkedProcess


def failure(capsys, *args):
    """Run the command and return its exit status and its message."""
    with pytest.raises(SystemExit) as caught:
        cli.main([*map(str, args)])
    (line,) = capsys.readouterr().err.splitlines()
    return caught.value.code, line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output=adapted.ckpt"], "expected an .onnx file as --output, got adapted.ckpt"),
        (["--seed=-1"], "seed is -1; it must be from 0 to"),
        (["--progress=xml"], "invalid choice: 'xml'"),
    ],
)
def test_an_invalid_option_is_refused(corrections, capsys, options, message):
    code, line = failure(capsys, corrections, *options)
    assert code == 2
    assert message in line


def test_the_checkpoint_to_start_from_is_never_replaced(corrections, capsys):
    output = released_checkpoint_path().with_suffix(".onnx")
    code, line = failure(capsys, corrections, f"--output={output}")
    assert code == 2
    assert "would replace" in line


def test_a_directory_that_does_not_exist_is_refused(tmp_path, capsys):
    code, line = failure(capsys, tmp_path / "missing")
    assert code == 2
    assert "expected a directory with images in the directories 0 to 9" in line


def test_an_image_that_cannot_be_decoded_is_named(corrections, capsys):
    (corrections / "3" / "bad.png").write_bytes(b"not an image")
    code, line = failure(capsys, corrections)
    assert code == 2
    assert "bad.png" in line
    assert "Remove it" in line


def test_a_worse_model_is_refused_with_its_scores(corrections, tmp_path, monkeypatch, capsys):
    worse = adaptation(corrections=((20, 2, 1, 3.0), (20, 3, 1, 2.0)))
    monkeypatch.setattr(cli, "adapt", lambda *args: worse)
    with pytest.raises(SystemExit) as caught:
        cli.main([str(corrections), f"--output={tmp_path / 'out.onnx'}", "--progress=json"])
    output = capsys.readouterr()
    assert caught.value.code == EXIT_FAILURE
    (scores,) = [json.loads(line)["scores"] for line in output.out.splitlines() if "scores" in line]
    assert [score["errors"] for score in scores["held-back corrections"]] == [2, 3]
    assert output.err.startswith("error: The adapted model is worse on the 20 held-back corrections")
    assert not (tmp_path / "out.onnx").exists()


def test_the_table_has_accuracy_and_errors_before_and_after(capsys):
    cli.print_scores(adaptation(), "bar")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["held-back", "corrections", "10", "50.00%", "(5", "errors)", "80.00%", "(2", "errors)"] in rows


def start(tiny_mnist, corrections, checkpoint, output, *options):
    """Start the command on tiny data in a process of its own."""
    program = (
        "import json, sys; from digitnet.data import mnist; mnist.MD5.update(json.loads(sys.argv.pop(1)));"
        "from digitnet.adaptation import Adaptation, AdaptationDataModule;"
        "Adaptation.check = lambda self: None;"  # a random network is bad
        # Few synthetic images and small batches; the number of steps is the default.
        "assert AdaptationDataModule.__init__.__defaults__ == ('data', 128, 60, 1000, 750, 0.4);"
        "AdaptationDataModule.__init__.__defaults__ = ('data', 16, 60, 30, 10, 0.4);"
        # Framing changes the tiny images, and so the accuracy on them; test_adapt.py verifies a file on the real ones.
        "sys.modules['digitnet.adaptation.adapt'].verify = lambda graph, *_: graph.SerializeToString();"
        "from digitnet.cli import main; main()"
    )
    arguments = [
        "-c", json.dumps(tiny_mnist.md5), "adapt", str(corrections), f"--data-dir={tiny_mnist.directory}",
        f"--checkpoint={checkpoint}", f"--output={output}", *options,
    ]  # fmt: skip
    return ForkedProcess(LIGHTNING, program, arguments, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_command_ends_and_leaves_the_earlier_file(tiny_mnist, corrections, checkpoint, tmp_path, signum):
    output = tmp_path / "out" / "adapted.onnx"
    output.parent.mkdir()
    output.write_bytes(b"earlier")
    process = start(tiny_mnist, corrections, checkpoint, output, "--progress=json")
    line = next(line for line in process.stdout if "Holding back part 1" in line)
    assert 0 < json.loads(line)["fraction"] < 1
    process.send_signal(signum)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + signum
    assert errors.splitlines()[-1] == f"Interrupted ({signum.name})."
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == {"adapted.onnx": b"earlier"}


@pytest.mark.slow
def test_the_command_reports_each_step_as_json_and_writes_the_model(tiny_mnist, corrections, checkpoint, tmp_path):
    output = tmp_path / "out" / "adapted.onnx"
    process = start(tiny_mnist, corrections, checkpoint, output, "--progress=json")
    stdout, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (0, "")
    lines = [json.loads(line) for line in stdout.splitlines()]
    fractions = [line["fraction"] for line in lines if "fraction" in line]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len(fractions) > 6 * 60
    assert lines[-1] == {"checkpoint": str(output.with_suffix(".ckpt")), "model": str(output)}
    assert output.is_file()
    assert output.with_suffix(".ckpt").is_file()
