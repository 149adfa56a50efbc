"""The app as a process, for tests of the server and of the page."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.forking import DEADLINE, GRADIO, ForkedProcess

PATH = str(ROOT)  # from which the app is imported
MAX_OUTPUT = 2**20  # bytes


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for_port(port: int) -> None:
    """Wait until something listens on a port of this machine."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(port)


class App:
    """`python app.py` in a process and a directory of its own; `new` starts Python instead of forking it."""

    def __init__(self, directory: Path, *options: str, port: int | None = None, new: bool = False) -> None:
        self.port = port or free_port()
        self.directory, self.url = directory, f"http://127.0.0.1:{self.port}/"
        # Unlike a pipe, a file never fills, and what is read stays there. `end` closes it.
        self.printed = tempfile.TemporaryFile()  # noqa: SIM115
        arguments = [str(ROOT / "app.py"), "--no-open", f"--port={self.port}", *options]
        environment = {**os.environ, "PYTHONPATH": PATH}
        self.process: subprocess.Popen | ForkedProcess
        if new:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], cwd=directory, stdout=self.printed, stderr=subprocess.STDOUT,
                env=environment,
            )  # fmt: skip
        else:
            program = "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
            self.process = ForkedProcess(
                GRADIO, program, arguments, cwd=directory, env=environment, output=self.printed
            )
        try:
            self._wait_for_address()
        except BaseException:
            self.end()
            raise

    def _wait_for_address(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while "Open http" not in self.output:
            assert self.process.poll() is None, f"the app ended: {self.output}"
            assert time.monotonic() < deadline, f"the app does not start: {self.output}"
            time.sleep(0.02)

    @property
    def output(self) -> str:
        """What the app has printed."""
        if not self.printed.closed:
            # os.pread, because the app writes at the offset that read and seek would move.
            self.last_output = os.pread(self.printed.fileno(), MAX_OUTPUT, 0).decode()
        return self.last_output

    def stop(self) -> int:
        """Stop the app with Ctrl-C and return its exit status."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(DEADLINE)
        if self.process.returncode < 0:
            print(self.output)  # which pytest shows if the test fails
        self.end()
        return self.process.returncode

    def end(self) -> None:
        """Kill the process, unless it has ended; its output is kept."""
        self.process.kill()
        self.process.wait()
        self.last_output = self.output
        self.printed.close()
