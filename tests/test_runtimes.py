"""The table of docs/runtimes.md, and the comparison of runtimes that writes it."""

import argparse
import json

import numpy as np
import pytest

from benchmarks import runtimes
from benchmarks.runtimes import BEGIN, END, MODELS, PAGE, RELEASE, RESULTS, ROOT, RUNTIMES, Row

ROWS = [Row(**row) for row in json.loads(RESULTS.read_text())]


def measure(title, model, inputs):
    (runtime,) = [one for one in RUNTIMES if one[0] == title]
    options = argparse.Namespace(environments=ROOT / "environments", node=ROOT / "environments" / "node")
    return runtimes.measure(*runtime, model, inputs, options)


def test_the_page_shows_the_measurements():
    assert f"{BEGIN}\n{runtimes.table(ROWS)}\n{END}" in PAGE.read_text()
    for row in ROWS:
        assert RELEASE.joinpath(MODELS[row.model]).exists()
        assert bool(row.error) != (row.difference is not None)


def test_at_least_eight_runtimes_agree_with_onnxruntime():
    assert len({row.runtime for row in ROWS if row.agrees}) >= 8


def test_a_label_that_differs_and_a_large_difference_are_no_agreement():
    assert Row("some", "network", 18, difference=1e-5, labels=0).agrees
    assert not Row("some", "network", 18, difference=1e-5, labels=1).agrees
    assert not Row("some", "network", 18, difference=2e-4, labels=0).agrees
    assert not Row("some", "network", 18, error="it failed").agrees


@pytest.mark.runtimes
def test_onnxruntime_in_another_process_agrees_with_itself():
    images = [np.zeros((1, 1, 28, 28), np.float32), np.full((1, 1, 28, 28), 0.5, np.float32)] * 2
    row = measure("ONNX Runtime, newest", "network", images)
    assert (row.error, row.difference, row.labels, row.images) == ("", 0, 0, 4)


@pytest.mark.runtimes
def test_a_runtime_that_fails_or_is_missing_gets_a_row_with_its_error(monkeypatch):
    row = measure("ONNX Runtime, newest", "network", [np.zeros((1, 3, 28, 28), np.float32)])
    assert "invalid dimensions" in row.error
    monkeypatch.setitem(runtimes.ADAPTERS, "missing", ("missing", None))
    monkeypatch.setattr(runtimes, "RUNTIMES", [("Missing", "missing", "missing")])
    monkeypatch.setitem(globals(), "RUNTIMES", [("Missing", "missing", "missing")])
    assert "KeyError: 'missing'" in measure("Missing", "network", [np.zeros((1, 1, 28, 28), np.float32)]).error


@pytest.mark.runtimes
@pytest.mark.parametrize("runtime", [one for one in RUNTIMES if one[1] in runtimes.ADAPTERS], ids=lambda one: one[0])
def test_an_installed_runtime_agrees_with_onnxruntime(runtime):
    ink = np.zeros((1, 1, 28, 28), np.float32)
    ink[..., 4:24, 12:15] = 1
    row = measure(runtime[0], "network", [ink, 0 * ink])
    if any(text in row.error for text in (*runtimes.NOT_INSTALLED, "No package metadata")):
        pytest.skip(row.error)
    assert row.agrees, row
