"""Processes that are forked from one that has already imported torch or Gradio, which takes ten seconds each time."""

import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
DEADLINE = 300  # seconds until a process is considered to hang; a shared machine can be very slow
SERVER = Path(__file__).with_name("fork_server.py")
# What the app and the training import, without onnxruntime: it starts a thread, which a forked process does not have.
GRADIO = ("gradio",)
LIGHTNING = ("lightning.pytorch.cli", "matplotlib.pyplot", "torch.utils.tensorboard", "torchmetrics.classification",
             "torchvision")  # fmt: skip


@functools.cache
def channel_to(modules: tuple[str, ...]) -> socket.socket:
    """Start a process that imports modules and forks itself for each request, and return the socket for requests.

    It ends with this process, which has the only other end of the socket.
    """
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, SERVER, str(theirs.fileno()), *modules],
        cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    process.returncode = 0  # so that Python does not warn that nobody waits for it
    theirs.close()
    return ours


class ForkedProcess:
    """A process that runs a program after modules were imported, with the methods of `subprocess.Popen` that tests use.

    What is read while the modules are imported, for example environment variables, is that of the first process.
    """

    def __init__(self, modules: tuple[str, ...], program: str, argv: list[str], *, cwd: Path, env: dict[str, str],
                 output: IO | None = None) -> None:  # fmt: skip
        """Start it; without a file for the output, `stdout` and `stderr` are pipes."""
        self.returncode: int | None = None
        ends = [output.fileno()] * 2 if output else []
        if output is None:
            (self.stdout, out), (self.stderr, err) = text_pipe(), text_pipe()
            ends = [out, err]
        read, status = os.pipe()
        self._status = open(read, "rb", buffering=0)  # noqa: SIM115  # unbuffered, because select sees no buffer
        request = {"argv": argv, "cwd": str(cwd), "env": env, "program": program}
        with open(os.devnull) as nothing:
            files = [nothing.fileno(), *ends, status]
            socket.send_fds(channel_to(modules), [json.dumps(request).encode()], files)
        for end in (*(() if output else ends), status):
            os.close(end)
        self.pid = int(self._status.readline())

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended and return its exit status, negative after a signal."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit status, or None if the process has not ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return what the process prints until it ends, on both streams."""
        with ThreadPoolExecutor(2) as threads, self.stdout, self.stderr:
            printed = [threads.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except BaseException:
                self.kill()
                raise
            out, err = (future.result() for future in printed)
            return out, err

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def text_pipe() -> tuple[IO[str], int]:
    """Return a pipe: the file to read from, and the descriptor to write to."""
    read, write = os.pipe()
    return open(read, encoding="utf-8"), write
