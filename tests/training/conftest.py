"""Fixtures that train on tiny data in this process."""

import sys

import pytest

import train
from digitnet.training.cli import TrainingCLI


@pytest.fixture
def run(tiny_mnist, tmp_path, monkeypatch):
    """Run the main function of train.py in this process on tiny data, with output below tmp_path/root."""

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["train.py"])  # Lightning warns if both it and args have options
        train.main([*tiny_mnist.options(tmp_path / "root"), "--trainer.max_epochs=2", *options])

    run.root = tmp_path / "root"
    return run


@pytest.fixture
def run_cli(tiny_mnist, tmp_path):
    """Train and test with the given options, as train.py does, and return the TrainingCLI."""

    def run(*options, epochs=1):
        cli = TrainingCLI([*tiny_mnist.options(run.root), f"--trainer.max_epochs={epochs}", *options])
        cli.fit()
        cli.test()
        return cli

    run.root = tmp_path / "root"
    return run
