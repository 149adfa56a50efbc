"""Fixtures and helpers for batch inference."""

import csv

import numpy as np
import pytest

from digitnet.inference.cli import main
from tests.images import draw_digit


@pytest.fixture(scope="session")
def gray():
    """300 images of 1 and 7 in turn, uint8 (300, 28, 28)."""
    return np.stack([np.asarray(draw_digit((1, 7)[i % 2], 28).convert("L")) for i in range(300)])


def run(*args):
    """Run `digitnet predict` in this process and return its exit status."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, args)])
    return caught.value.code


def records_of(path):
    """Return the records of a CSV file."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
