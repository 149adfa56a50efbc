"""The sketchpad in a browser: python app.py [--help]

Draw a digit and see it read while you draw. Runs the exported file with onnxruntime; needs no network.
"""

import argparse
import os
import socket
from pathlib import Path

from digitnet.errors import ConfigError, one_line_errors

with one_line_errors():
    from digitnet.app.demo import MAX_BODY_BYTES, build_demo, describe, launch_options
    from digitnet.app.server import LOOPBACK, middleware
    from digitnet.inference.classifier import DigitClassifier


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A page to draw a digit on, and see it read while you draw.")
    parser.add_argument("--model", type=Path, metavar="ONNX", help="model file; the released one unless given")
    parser.add_argument("--host", help="address to serve on (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--port", type=int, default=7860, help="port to serve on (default: 7860)")
    parser.add_argument(
        "--allow-host", action="append", metavar="NAME", help="answer to this host name alone; repeatable"
    )
    parser.add_argument(
        "--corrections",
        type=Path,
        default=Path("corrections"),
        metavar="DIR",
        help="where 'Was it wrong?' keeps pictures (default: corrections)",
    )
    parser.add_argument("--no-corrections", action="store_true", help="keep no pictures, and offer no such thing")
    parser.add_argument("--share", action="store_true", help="show it to the world by way of a tunnel of Gradio's")
    parser.add_argument("--open", action=argparse.BooleanOptionalAction, default=True, help="open the browser")
    options = parser.parse_args(args)

    classifier = DigitClassifier(options.model)
    demo = build_demo(classifier, None if options.no_corrections else options.corrections)
    host = options.host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    check_free(host, options.port)
    hosts = options.allow_host or (LOOPBACK if host in LOOPBACK and not options.share else [])
    _, address, _ = demo.launch(
        server_name=host,
        server_port=options.port,
        share=options.share,
        inbrowser=options.open,
        prevent_thread_lock=True,
        app_kwargs={"middleware": middleware(hosts, MAX_BODY_BYTES)},
        **launch_options(),
    )
    print(f"{describe(classifier)}\nDraw on {address}  (Ctrl-C ends it)", flush=True)
    demo.block_thread()


def check_free(host: str, port: int) -> None:
    """Raises ConfigError where nothing can be served on this address."""
    if not 0 < port < 65536:
        raise ConfigError(f"port is {port}; it must be from 1 to 65535")
    if ":" in host:  # Starlette's check of host names takes what is before the first colon
        raise ConfigError(f"host is {host}; it must be a name or an IPv4 address, for example 127.0.0.1 or 0.0.0.0")
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        step = f"Choose another: python app.py --port {port % 65535 + 1}"
        reason = error.strerror or str(error)
        raise ConfigError(f"Cannot serve on {host}, port {port}: {reason}. {step}") from error


if __name__ == "__main__":
    main()
