"""The `app` command: serve the sketchpad."""

import argparse
import errno
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.request import getproxies

import gradio as gr
from starlette.routing import BaseRoute

from digitnet.app.address import describe_address_for_phones
from digitnet.app.corrections import MAX_BYTES, MAX_CORRECTIONS, Corrections
from digitnet.app.demo import build_demo, describe, launch_options
from digitnet.app.memory import configure_memory
from digitnet.app.mounting import checks
from digitnet.app.routes import page_routes
from digitnet.app.server import LOOPBACK
from digitnet.console import OptionParser, one_line_errors
from digitnet.errors import ConfigError
from digitnet.inference.classifier import DigitClassifier


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command: serve the sketchpad until Ctrl-C.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    options = build_parser().parse_args(args)
    classifier = DigitClassifier(options.model)
    corrections = open_corrections(options)
    demo = build_demo(classifier, corrections)
    serve(demo, classifier, corrections, options)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = OptionParser(
        prog="digitnet app", description="Serves a page with a sketchpad; the prediction updates as you draw."
    )
    parser.add_argument("--model", type=Path, metavar="ONNX", help="model file (default: the released model)")
    parser.add_argument("--host", help="address to serve on (default: 127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port to serve on (default: 7860)")
    parser.add_argument(
        "--allow-host", action="append", metavar="NAME",
        help="answer only requests to this host name, with the port if a proxy uses a special one; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--allow-frame", action="append", default=[], metavar="SITE",
        help="let pages of this site (https://example.org) show the page in a frame; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--root-path", metavar="PATH", help="the path below which a reverse proxy serves the page, for example /digits"
    )
    parser.add_argument(
        "--corrections",
        type=Path,
        default=Path("corrections"),
        metavar="DIR",
        help="where corrected drawings are saved (default: corrections)",
    )
    parser.add_argument(
        "--max-corrections", type=positive, default=MAX_CORRECTIONS, metavar="N",
        help=f"save at most this many (default: {MAX_CORRECTIONS:,})",
    )  # fmt: skip
    parser.add_argument(
        "--max-correction-bytes", type=positive, default=MAX_BYTES, metavar="N",
        help=f"save at most this many bytes of them (default: {MAX_BYTES:,})",
    )  # fmt: skip
    parser.add_argument("--no-corrections", action="store_true", help="do not offer to correct and save drawings")
    parser.add_argument("--share", action="store_true", help="make the page public through a tunnel of Gradio")
    parser.add_argument("--open", action=argparse.BooleanOptionalAction, default=True, help="open the browser")
    return parser


def positive(text: str) -> int:
    """Return the value of an option that is a positive integer.

    Args:
        text: The argument.

    Returns:
        The number, 1 or more.

    Raises:
        ArgumentTypeError: If it is not a positive integer.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text}; it must be an integer of 1 or more")
    return int(text)


def open_corrections(options: argparse.Namespace) -> Corrections | None:
    """Return where the page saves corrections; None if it does not offer them.

    Args:
        options: The command's options.

    Returns:
        The directory of the corrections; None with --no-corrections.

    Raises:
        ConfigError: If no corrections can be saved in the directory.
    """
    if options.no_corrections:
        return None
    corrections = Corrections(options.corrections, options.max_corrections, options.max_correction_bytes)
    corrections.check()
    return corrections


def serve(
    demo: gr.Blocks, classifier: DigitClassifier, corrections: Corrections | None, options: argparse.Namespace
) -> None:
    """Print the model and the address, and serve the demo until Ctrl-C.

    Args:
        demo: The page of `build_demo`.
        classifier: The classifier of the page.
        corrections: Where corrections are saved; None to save none.
        options: The command's options.

    Raises:
        ConfigError: If the host or the port cannot be used.
    """
    try:
        address = launch(demo, page_routes(classifier, corrections), options)
        for_phones = describe_address_for_phones(host_of(options), options.port, sys.stdout.isatty())
        # In one piece, so that a program which waits for the address has read all of it.
        print(f"{describe(classifier)}\nOpen {address}  (press Ctrl-C to stop)\n{for_phones}", end="", flush=True)
        demo.block_thread()
    finally:  # otherwise Python ends while the threads of the server run, which can abort the process
        demo.close(verbose=False)


def launch(demo: gr.Blocks, routes: Sequence[BaseRoute], options: argparse.Namespace) -> str:
    """Start serving the demo in the background and return its address.

    Args:
        demo: The page of `build_demo`.
        routes: The routes of `page_routes`.
        options: The command's options.

    Returns:
        The address at which the page can be opened on this machine.

    Raises:
        ConfigError: If the host, the port, the root path or a site of --allow-frame cannot be used.
    """
    host = host_of(options)
    check_address(host, options.port)
    hosts = options.allow_host or (LOOPBACK if host in LOOPBACK and not options.share else [])
    frame_ancestors = [*options.allow_frame, *(["https://huggingface.co"] if "SPACE_ID" in os.environ else [])]
    with without_proxy(is_loopback_only=not options.share):
        _, address, _ = demo.launch(
            server_name=host,
            server_port=options.port,
            share=options.share,
            inbrowser=options.open,
            root_path=root_path(options.root_path),
            prevent_thread_lock=True,
            app_kwargs={"middleware": checks(demo, routes, hosts, frame_ancestors)},
            **launch_options(),
        )
    configure_memory()
    return address


def host_of(options: argparse.Namespace) -> str:
    """Return the host on which the page is served.

    Args:
        options: The command's options.

    Returns:
        A host name or an IPv4 address.
    """
    return options.host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")


@contextmanager
def without_proxy(is_loopback_only: bool) -> Iterator[None]:
    """Make Gradio's requests to itself, which find out whether it has started, not use a proxy.

    Args:
        is_loopback_only: Whether no other requests need a proxy. Then the proxies, which httpx may not support, are not
            even looked at.
    """
    previous = os.environ.get("no_proxy")
    exempted = [getproxies().get("no", ""), *LOOPBACK]  # from any spelling of the variable
    os.environ["no_proxy"] = "*" if is_loopback_only else ",".join(filter(None, exempted))
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        if previous is not None:
            os.environ["no_proxy"] = previous


def root_path(text: str | None) -> str | None:
    """Return the path below which a reverse proxy serves the page, as Gradio expects it.

    Args:
        text: The option, for example /digits, or None.

    Returns:
        The path without a slash at the end; None if the option is missing.

    Raises:
        ConfigError: If it is not a path.
    """
    if text is None:
        return None  # then Gradio uses the environment variable GRADIO_ROOT_PATH
    if not re.fullmatch(r"(/[\w.~-]+)+/?", text):
        raise ConfigError(f"root-path is {text!r}; it must be a path such as /digits")
    return text.rstrip("/")


def check_address(host: str, port: int) -> None:
    """Check that a server can be started.

    Args:
        host: A host name or an IPv4 address.
        port: A TCP port.

    Raises:
        ConfigError: If nothing can be served on this host and port.
    """
    if not 0 < port < 65536:
        raise ConfigError(f"port is {port}; it must be from 1 to 65535")
    if ":" in host:  # Starlette's check of host names takes what is before the first colon
        raise ConfigError(f"host is {host}; it must be a name or an IPv4 address, for example 127.0.0.1 or 0.0.0.0")
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]  # what follows repeats the address
        step = f"Use another port: --port {port % 65535 + 1}"
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            step = "Use another host, for example --host 127.0.0.1"
        raise ConfigError(f"Cannot serve on {host}, port {port}: {reason}. {step}") from error
