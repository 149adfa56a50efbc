"""The text formats, read back by the standard library's parsers."""

import csv
import io
import json

import numpy as np
import pytest

from digitnet.errors import ImageError
from digitnet.inference.batch import ChunkPredictions
from digitnet.inference.formats import csv_header, to_csv, to_json, to_table

ZERO = np.array([0.93334567, 0.01, 0.02, 0.00123456, 0.005, 0.006, 0.007, 0.00841977, 0.009, 0], np.float32)


@pytest.fixture
def predictions():
    """A 0, a rejected image, and a file that could not be decoded."""
    predictions = ChunkPredictions.empty(["zero.png", "cross.png", "bad.png"])
    predictions.labels[0] = 0
    predictions.probabilities[0], predictions.probabilities[1] = ZERO, 0.1
    predictions.errors[2] = ImageError("bad.png: damaged")
    return predictions


def parse_csv(predictions, probabilities):
    """Return the records that the csv module reads."""
    return list(csv.DictReader(io.StringIO(csv_header(probabilities) + to_csv(predictions, probabilities))))


def parse_json(predictions, probabilities):
    """Return the records that the json module reads, line by line."""
    return [json.loads(line) for line in to_json(predictions, probabilities).splitlines()]


def test_a_0_is_a_label_and_neither_a_rejected_nor_a_damaged_image_has_one(predictions):
    assert [record["label"] for record in parse_csv(predictions, False)] == ["0", "", ""]
    assert [record["label"] for record in parse_json(predictions, False)] == [0, None, None]


def test_an_image_that_could_not_be_decoded_has_an_error_and_no_confidence(predictions):
    for record, damaged in zip(parse_json(predictions, True), [False, False, True], strict=True):
        assert ("error" in record) == damaged
        assert (record["confidence"] is None) == damaged
        assert (record["probabilities"] == [None] * 10) == damaged
    assert [record["error"] for record in parse_csv(predictions, True)] == ["", "", "bad.png: damaged"]
    assert [record["confidence"] == "" for record in parse_csv(predictions, True)] == [False, False, True]


def test_each_probability_is_in_the_column_of_its_digit_with_six_decimals(predictions):
    record = parse_csv(predictions, True)[0]
    assert [float(record[f"probability_{digit}"]) for digit in range(10)] == pytest.approx(ZERO.tolist(), abs=6e-7)
    assert record["probability_3"] == "0.001235"
    assert record["confidence"] == "0.933346"
    assert parse_json(predictions, True)[0]["probabilities"] == pytest.approx(ZERO.tolist(), abs=6e-7)


def test_a_table_has_a_dash_for_a_rejected_image_and_no_line_for_a_damaged_one(predictions):
    assert to_table(predictions, False) == "0   93.33%  zero.png\n-   10.00%  cross.png\n"


def test_a_table_can_have_the_probabilities_from_0_to_9(predictions):
    first, second = to_table(predictions, True).splitlines()
    assert first.split()[3:] == [
        "0.933",
        "0.010",
        "0.020",
        "0.001",
        "0.005",
        "0.006",
        "0.007",
        "0.008",
        "0.009",
        "0.000",
    ]
    assert second.split()[3:] == ["0.100"] * 10
