"""Adapting the model from the page: the process, its progress, and the choice of the model."""

import shutil
import sys
import time

import pytest

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

from digitnet import DigitClassifier
from digitnet.app.corrections import Corrections
from digitnet.app.teaching import Teaching, TeachingError
from tests.app.drawing import REJECTED, SEVEN, draw, opened, shows
from tests.conftest import child_processes
from tests.forking import DEADLINE
from tests.images import draw_digit

SCORES = {"MNIST validation": [{"images": 10, "errors": 1}, {"images": 10, "errors": 0}]}


@pytest.fixture
def teaching(tmp_path):
    for digit in range(5):
        (tmp_path / "corrections" / str(digit)).mkdir(parents=True)
        draw_digit(1).save(tmp_path / "corrections" / str(digit) / "image.png")
    teaching = Teaching(DigitClassifier(), Corrections(tmp_path / "corrections"))
    yield teaching
    teaching.cancel()


def run(teaching: Teaching, program: str) -> dict:
    """Start a program instead of `digitnet adapt`; return the status after it has ended."""
    teaching.command = [sys.executable, "-c", program]
    teaching.start()
    return wait(teaching, lambda status: status["state"] != "running")


def wait(teaching: Teaching, condition) -> dict:
    deadline = time.monotonic() + DEADLINE
    while not condition(status := teaching.status()):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def test_the_scores_and_the_adapted_model_are_offered_after_a_success(teaching):
    program = f"""
import json, shutil, sys
print(json.dumps({{"scores": {SCORES}}}))
"""
    assert run(teaching, program) == {"state": "done", "scores": SCORES, "adapted": False, "in_use": "original"}
    shutil.copy(teaching.classifier.path, teaching.output)
    assert teaching.status()["adapted"]
    teaching.use("adapted")
    assert teaching.classifier.path == teaching.output
    assert teaching.status()["in_use"] == "adapted"
    teaching.use("original")
    assert teaching.classifier.path == DigitClassifier().path


def test_the_reason_of_a_failure_is_reported(teaching):
    status = run(teaching, "import sys; sys.exit('some output\\nerror: The model became worse.')")
    assert (status["state"], status["error"]) == ("failed", "The model became worse.")


def test_only_one_adaptation_runs_at_a_time_and_it_can_be_cancelled(teaching):
    report = "print(json.dumps(dict(stage='Training', fraction=0.25)), flush=True)"
    teaching.command = [sys.executable, "-c", f"import json, time; {report}; time.sleep(600)"]
    teaching.start()
    status = wait(teaching, lambda status: status.get("stage") == "Training")
    assert status["fraction"] == 0.25
    with pytest.raises(TeachingError, match="already"):
        teaching.start()
    teaching.cancel()
    assert teaching.status()["state"] == "cancelled"
    assert teaching._process is not None
    assert teaching._process.poll() is not None
    assert run(teaching, "")["state"] == "done"  # another one can be started


def test_a_download_of_mnist_is_announced_if_it_is_not_there(teaching, tmp_path):
    stages = []
    for present in (False, True):
        if present:
            (tmp_path / "MNIST" / "raw").mkdir(parents=True)
            (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").touch()
        teaching._data_dir = tmp_path
        teaching.command = [sys.executable, "-c", "import time; time.sleep(600)"]
        teaching.start()
        stages.append(teaching.status()["stage"])
        teaching.cancel()
    assert stages == ["Downloading MNIST, 11 MB", "Starting"]


def test_five_corrections_are_needed(teaching):
    next(teaching.output.parent.rglob("*.png")).unlink()
    with pytest.raises(TeachingError, match="at least 5 predictions first; there are 4 so far"):
        teaching.start()


def test_what_a_library_prints_is_ignored(teaching):
    assert run(teaching, "print('some warning'); print('{\"scores\": {}}')")["state"] == "done"


@pytest.mark.parametrize("model", ["adapted", "../../etc/passwd", ""])
def test_a_model_that_does_not_exist_is_refused(teaching, model):
    with pytest.raises(TeachingError, match="There is no model"):
        teaching.use(model)


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_shows_the_progress_and_cancels(pages, start_app, tmp_path, mnist_dir):
    pytest.importorskip("lightning", reason="needs lightning: pip install '.[train]'")
    for index in range(12):
        path = tmp_path / "corrections" / "17"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_digit((1, 7)[index % 2], 100 + index).save(path)
    (tmp_path / "data").symlink_to(mnist_dir)
    app = start_app()
    page = opened(pages, app)
    draw(page, SEVEN)
    page.get_by_role("button", name="Teach").click()
    progress = page.get_by_role("progressbar")
    progress.wait_for()
    page.wait_for_function("() => document.querySelector('progress').value > 0", timeout=120_000)
    page.get_by_role("button", name="Clear").click()
    shows(page, REJECTED)
    draw(page, SEVEN)
    shows(page, "7")  # the page answers meanwhile
    assert child_processes(app.process.pid)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled. Nothing has changed.").wait_for()
    assert not progress.is_visible()
    deadline = time.monotonic() + DEADLINE
    while child_processes(app.process.pid):  # the page says so before the process has ended
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not (tmp_path / "corrections" / "adapted.onnx").exists()
    page.close()
    assert app.stop() == 130


@pytest.mark.slow
@pytest.mark.browser
def test_an_adapted_model_can_be_used_and_left_again(pages, start_app, tmp_path):
    pytest.importorskip("lightning", reason="needs lightning: pip install '.[train]'")
    (tmp_path / "corrections").mkdir()
    shutil.copy(DigitClassifier().path, tmp_path / "corrections" / "adapted.onnx")
    app = start_app()
    page = opened(pages, app)
    draw(page, SEVEN)
    shows(page, "7")
    other = opened(pages, app)
    draw(other, SEVEN)
    other.get_by_role("button", name="Use the adapted model").wait_for()
    page.get_by_role("button", name="Use the adapted model").click()
    page.get_by_text("The adapted model is in use.").wait_for()
    shows(page, "7")
    draw(other, [[(0.3, 0.5), (0.7, 0.5)]])
    other.get_by_text("The adapted model is in use.").wait_for()
    other.get_by_role("button", name="Go back to the original model").wait_for()
    page.get_by_role("button", name="Go back to the original model").click()
    page.get_by_text("Teach adapts the model to your corrections.").wait_for()
    page.close()
    other.close()


@pytest.mark.slow
@pytest.mark.browser
def test_without_corrections_nothing_is_taught(pages, start_app):
    app = start_app("--no-corrections")
    page = opened(pages, app)
    draw(page, SEVEN)
    page.get_by_text("How does it decide?").wait_for()
    assert not page.get_by_role("button", name="Teach").is_visible()
    page.close()
