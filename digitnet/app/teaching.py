"""Teaching: adapt the model to the saved corrections, in a process of its own, which can be watched and cancelled."""

import atexit
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from digitnet.app.corrections import Corrections
from digitnet.errors import DigitnetError
from digitnet.inference.classifier import DigitClassifier

REQUIRED_PACKAGES = ("torch", "lightning", "onnx")  # of `digitnet adapt`, which runs in the other process
MIN_CORRECTIONS = 5  # that `digitnet adapt` needs for cross-validation
NICENESS = 10  # the page has to answer while the model is adapted
MNIST_FILE = Path("MNIST", "raw", "train-images-idx3-ubyte")  # `digitnet adapt` downloads it if it is missing
SECONDS_TO_END = 5  # after which a cancelled process is killed


class TeachingError(DigitnetError):
    """The model cannot be adapted, or there is no adapted model."""


class Teaching:
    """The adaptation of a model to a directory of corrections, and the choice between the two models.

    Args:
        classifier: The classifier of the model to start with.
        corrections: The corrections; the adapted model is written beside them, as adapted.onnx.
        data_dir: The directory with MNIST/raw, which the adapted model must not forget.

    Attributes:
        classifier: The classifier that is in use.
    """

    def __init__(self, classifier: DigitClassifier, corrections: Corrections, data_dir: str = "data") -> None:
        self.classifier = self._original = classifier
        self.output = corrections.directory / "adapted.onnx"
        self._corrections, self._data_dir = corrections, Path(data_dir)
        self.command = [
            sys.executable, "-m", "digitnet", "adapt", str(corrections.directory),
            "--output", str(self.output), "--data-dir", data_dir, "--progress", "json",
        ]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._progress: dict[str, object] = {"state": "idle"}
        atexit.register(self.cancel)

    @staticmethod
    def is_available() -> bool:
        """Return whether the packages that adapt a model are installed."""
        return all(importlib.util.find_spec(name) for name in REQUIRED_PACKAGES)

    def status(self) -> dict[str, object]:
        """Return what is known, for the page.

        Returns:
            "state": "idle", "running", "done", "failed" or "cancelled"; while it runs, "stage", a text, and "fraction",
            0 to 1; after a success, "scores", as `digitnet adapt --progress json` prints them; after a failure,
            "error", a sentence; always, "adapted", whether there is an adapted model, and "in_use", "original" or
            "adapted".
        """
        return {**self._progress, "adapted": self.output.is_file(), "in_use": self.name_of(self.classifier)}

    def name_of(self, classifier: DigitClassifier) -> str:
        """Return which model a classifier has.

        Args:
            classifier: A classifier that is or was in use.

        Returns:
            "original" or "adapted".
        """
        return "original" if classifier is self._original else "adapted"

    def start(self) -> None:
        """Start to adapt the original model.

        Raises:
            TeachingError: If it is running already, or there are too few corrections.
        """
        count = self._corrections.count()
        if count < MIN_CORRECTIONS:
            raise TeachingError(f"Correct at least {MIN_CORRECTIONS} predictions first; there are {count} so far.")
        with self._lock:
            if self._process and self._process.poll() is None:
                raise TeachingError("The model is being adapted already.")
            is_downloaded = (self._data_dir / MNIST_FILE).is_file()
            stage = "Starting" if is_downloaded else "Downloading MNIST, 11 MB"
            self._progress = {"state": "running", "stage": stage, "fraction": 0.0}
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            if hasattr(os, "setpriority"):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
            self._thread = threading.Thread(target=self._follow, args=(self._process,), daemon=True)
            self._thread.start()

    def _follow(self, process: "subprocess.Popen[str]") -> None:
        """Read the progress of a process until it ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        errors: list[str] = []
        scores: object = None
        with process:  # closes its output
            reading = threading.Thread(target=_read_lines, args=(process.stderr, errors), daemon=True)
            reading.start()
            for line in process.stdout:
                try:
                    message = json.loads(line)
                except ValueError:  # printed by a library
                    continue
                scores = message.get("scores", scores)
                if "stage" in message and self._progress["state"] == "running":
                    self._progress = {"state": "running", "stage": message["stage"], "fraction": message["fraction"]}
            reading.join()
        if self._progress["state"] == "cancelled":
            return
        if process.returncode == 0:
            self._progress = {"state": "done", "scores": scores}
        else:
            reason = errors[-1].removeprefix("error: ") if errors else f"It ended with status {process.returncode}."
            self._progress = {"state": "failed", "error": reason, "scores": scores}

    def cancel(self) -> None:
        """End the process, if it is running. It writes nothing but complete files."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return
            self._progress = {"state": "cancelled"}
            process.terminate()
            try:
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
            self._thread.join()

    def use(self, model: str) -> None:
        """Choose the model that classifies from now on.

        Args:
            model: "original" or "adapted".

        Raises:
            TeachingError: If there is no such model, or not yet.
            ModelError: If the adapted model cannot be loaded.
        """
        if model == "original":
            self.classifier = self._original
        elif model == "adapted" and self.output.is_file():
            self.classifier = DigitClassifier(self.output)
        else:
            raise TeachingError(f"There is no model {model[:20]!r}.")


def _read_lines(stream: IO[str], lines: list[str]) -> None:
    """Append the lines of a stream to a list until its end."""
    lines += [line.strip() for line in stream if line.strip()]
