import subprocess
import sys

import pytest

import digitnet
from digitnet import cli
from tests.conftest import ROOT


def run(*args):
    """Run the command and return its exit status."""
    with pytest.raises(SystemExit) as caught:
        cli.main([*map(str, args)])
    return caught.value.code


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_receives_the_arguments_after_its_name(monkeypatch, command):
    received = []

    class Module:
        main = received.append

    monkeypatch.setattr(cli.importlib, "import_module", {cli.COMMANDS[command][0]: Module}.__getitem__)
    cli.main([command, "--help", "x"])
    assert received == [["--help", "x"]]


def test_help_has_one_line_for_each_command(capsys):
    assert run("--help") == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert dict(lines) == {name: text for name, (_, text) in cli.COMMANDS.items()}


def test_the_version_is_the_package_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"digitnet {digitnet.__version__}\n"


@pytest.mark.parametrize(("args", "expected"), [([], "COMMAND"), (["unknown"], "unknown"), (["--unknown"], "COMMAND")])
def test_anything_but_a_command_is_an_error_with_status_2(args, expected, capsys):
    assert run(*args) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [("train", "lightning", "train"), ("export", "torch", "train"), ("app", "gradio", "app")],
)
def test_a_command_whose_packages_are_not_installed_names_the_extra_in_one_line(
    monkeypatch, capsys, command, package, extra
):
    def missing(module):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(cli.importlib, "import_module", missing)
    assert run(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"pip install 'digitnet[{extra}]'" in line


def test_python_m_digitnet_is_the_digitnet_command():
    command = [sys.executable, "-m", "digitnet", "--version"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == f"digitnet {digitnet.__version__}\n"
