"""Forks processes that have already imported modules: `python fork_server.py FD MODULE...`. See tests/forking.py.

Each request is a JSON object {argv, cwd, env, program} with four files: the standard input, output and error of the
process, and a pipe to which its PID and later its exit status are written, a line each.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys

MAX_REQUEST = 2**17  # bytes


def main() -> None:
    sys.path[0] = os.path.dirname(sys.path[0])  # not tests/, whose package numbers would hide that of Python
    channel = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for the others
    while True:
        message, files, *_ = socket.recv_fds(channel, MAX_REQUEST, 4)
        if not message:
            return
        if os.fork() == 0:
            channel.close()
            request = json.loads(message)
            start(request, files)
            return exec(compile(request["program"], "<program>", "exec"), sys.modules["__main__"].__dict__)
        for file in files:
            os.close(file)


def start(request: dict, files: list[int]) -> None:
    """Return in a new process as requested. This one waits for it, and ends."""
    *standard, status = files
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        for file in (*standard, 0, 1, 2):  # so that the new process alone keeps them open
            os.close(file)
        os.write(status, f"{pid}\n".encode())
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(BrokenPipeError):
            os.write(status, f"{code}\n".encode())
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(standard):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[:] = request["argv"]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))


if __name__ == "__main__":
    main()
