"""The modules of the sketchpad that need no page, in Node."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")

STATIC = ROOT / "digitnet" / "app" / "static"


def run(program: str, *values):
    """Run a program that has the exports of drawing.js and `values`, and return what it returns."""
    source = (
        f"import * as drawing from {json.dumps((STATIC / 'drawing.js').as_uri())};\n"
        "const { Drawing, boundsOf } = drawing;\n"
        f"const run = (...values) => {{ {program} }};\n"
        f"console.log(JSON.stringify(run(...{json.dumps(values)})));"
    )
    command = ["node", "--input-type=module", "--eval", source]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def stroke(points) -> list:
    """Return the points that a drawing stores of a pointer's positions."""
    program = """
        const [points] = values, drawing = new Drawing();
        drawing.begin("mouse", 0.07, points[0]);
        for (const point of points.slice(1)) drawing.extend("mouse", [point]);
        drawing.end("mouse");
        return drawing.strokes[0].points;
    """
    return run(program, points)


def turning(points) -> float:
    """Return by how many radians a curve through the midpoints between points turns in all."""
    middles = (np.array(points)[1:] + np.array(points)[:-1]) / 2
    x, y = np.diff(middles, axis=0).T
    return np.abs(np.diff(np.arctan2(y, x))).sum()


def test_the_jitter_of_a_mouse_is_smoothed():
    rng = np.random.default_rng(0)
    positions = [[0.2 + 0.006 * step, 0.5 + rng.normal(0, 0.004)] for step in range(100)]  # a straight line
    assert turning(stroke(positions)) < 0.6 * turning(positions)


def test_a_stroke_ends_where_the_pointer_was_lifted():
    assert stroke([[0.1, 0.1], [0.2, 0.3], [0.5, 0.9]])[-1] == [0.5, 0.9]


def test_a_dot_has_one_point():
    assert stroke([[0.4, 0.4], [0.4, 0.4]]) == [[0.4, 0.4]]


def test_bounds_include_all_strokes():
    strokes = [{"points": [[0.2, 0.9], [0.4, 0.5]]}, {"points": [[0.3, 0.1]]}]
    assert run("return boundsOf(values[0]);", strokes) == {"left": 0.2, "top": 0.1, "right": 0.4, "bottom": 0.9}
    assert run("return boundsOf([]);") is None


HISTORY = """
    const drawing = new Drawing(), counts = [];
    const draw = (x) => { drawing.begin("mouse", 0.07, [x, 0]); drawing.end("mouse"); };
    for (const name of values) {
      if (name === "draw") draw(0.5);
      else drawing[name]();
      counts.push(drawing.strokes.length);
    }
    return counts;
"""


@pytest.mark.parametrize(
    ("actions", "counts"),
    [
        (["draw", "draw", "undo", "undo", "undo", "redo", "redo", "redo"], [1, 2, 1, 0, 0, 1, 2, 2]),
        (["draw", "draw", "clear", "undo", "redo"], [1, 2, 0, 2, 0]),
        (["draw", "undo", "draw", "redo"], [1, 0, 1, 1]),  # what was undone is lost by a new stroke
        (["clear", "undo", "draw"], [0, 0, 1]),  # clearing an empty drawing changes nothing
    ],
)
def test_undo_and_redo_restore_earlier_and_later_states(actions, counts):
    assert run(HISTORY, *actions) == counts


TOUCHES = """
    const drawing = new Drawing();
    for (const [action, finger, position] of values) {
      if (action === "down") drawing.begin(finger, 0.07, position);
      if (action === "move") drawing.extend(finger, [position]);
      if (action === "up") drawing.end(finger);
    }
    return drawing.strokes.map(({ points }) => points[0]);
"""


def test_of_two_fingers_the_one_that_hardly_moved_leaves_no_ink():
    palm, finger = [0.9, 0.9], [0.2, 0.2]
    events = [
        ("down", "palm", palm), ("down", "finger", finger), ("move", "palm", [0.91, 0.9]),
        ("move", "finger", [0.2, 0.8]), ("up", "finger"), ("up", "palm"),
    ]  # fmt: skip
    assert run(TOUCHES, *events[:-2]) == [finger]  # not while they draw, either
    assert run(TOUCHES, *events) == [finger]


def test_two_fingers_that_move_leave_ink():
    events = [
        ("down", "a", [0.2, 0.2]), ("down", "b", [0.8, 0.2]), ("move", "a", [0.2, 0.8]), ("move", "b", [0.8, 0.8]),
        ("up", "a"), ("up", "b"),
    ]  # fmt: skip
    assert run(TOUCHES, *events) == [[0.2, 0.2], [0.8, 0.2]]


def test_a_dot_beside_a_resting_palm_leaves_ink():
    events = [("down", "palm", [0.9, 0.9]), ("down", "finger", [0.5, 0.5]), ("up", "finger"), ("up", "palm")]
    assert run(TOUCHES, *events) == [[0.5, 0.5]]
