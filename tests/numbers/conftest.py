"""Numbers that are drawn for the tests, and the released model."""

import numpy as np
import pytest

from benchmarks.synthetic_numbers import DigitSource
from digitnet import DigitClassifier


@pytest.fixture(scope="session")
def classifier():
    return DigitClassifier()


@pytest.fixture(scope="session")
def glyph_source():
    """A source that draws glyph templates only, so that no dataset is needed."""
    return DigitSource(np.zeros((0, 28, 28), np.uint8), np.zeros(0, int), mnist=0)
