"""The app as a process, for tests of the server and of the page."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

PATH = str(ROOT)  # from which the app is imported


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for_port(port: int) -> None:
    """Wait until something listens on a port of this machine."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(port)


class App:
    """`python app.py` in a process and a directory of its own."""

    def __init__(self, directory: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory, self.url = directory, f"http://127.0.0.1:{self.port}/"
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--no-open", f"--port={self.port}", *options],
            cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": PATH},
        )  # fmt: skip
        self.output = ""
        assert self.process.stdout is not None
        while "Open http" not in self.output:
            line = self.process.stdout.readline()
            assert line, f"the app ended: {self.output}"
            self.output += line

    def stop(self) -> int:
        """Stop the app with Ctrl-C and return its exit status; `output` is what it printed since its address."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGINT)
        self.output = self.process.communicate(timeout=20)[0]
        if self.process.returncode < 0:
            print(self.output)  # which pytest shows if the test fails
        return self.process.returncode

    def end(self) -> None:
        """Kill the process and close its output."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
