"""The sketchpad in another application."""

from collections.abc import Sequence

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from digitnet.app.api import GradioMiddleware
from digitnet.app.corrections import Corrections
from digitnet.app.demo import STATE_SESSION_CAPACITY, build_demo, page_options
from digitnet.app.page import PageMiddleware
from digitnet.app.routes import page_routes
from digitnet.app.server import middleware
from digitnet.app.service import MAX_BODY_BYTES
from digitnet.inference.classifier import DigitClassifier


def mount(
    app: FastAPI,
    path: str,
    classifier: DigitClassifier | None = None,
    corrections: Corrections | None = None,
    hosts: Sequence[str] = (),
    frame_ancestors: Sequence[str] = (),
) -> FastAPI:
    """Mount the sketchpad in an application, with its limits, headers, theme and routes.

    Args:
        app: The application.
        path: Where the page is, for example "/digits".
        classifier: The classifier; the released model by default.
        corrections: Where corrections are saved; None to offer no corrections.
        hosts: Names of the host to which the page responds; if empty, all names. With a port if it is not the default
            one.
        frame_ancestors: The sites whose pages may show the sketchpad in a frame, for example https://example.org.

    Returns:
        The application.

    Raises:
        ConfigError: If one of `frame_ancestors` is not an origin, or no corrections can be saved in the directory.
    """
    if corrections:
        corrections.check()
    classifier = classifier or DigitClassifier()
    demo = build_demo(classifier, corrections)
    demo.state_session_capacity = STATE_SESSION_CAPACITY  # an argument of launch() only
    checks_of_page = checks(demo, page_routes(classifier, corrections), hosts, frame_ancestors)
    app_kwargs = {"middleware": checks_of_page}
    mounted: FastAPI = gr.mount_gradio_app(app, demo, path.rstrip("/") or "/", app_kwargs=app_kwargs, **page_options())
    return mounted


def checks(
    demo: gr.Blocks, routes: Sequence[BaseRoute], hosts: Sequence[str], frame_ancestors: Sequence[str]
) -> list[Middleware]:
    """Return the middleware of the sketchpad: the request checks, the page's routes, and the checks of Gradio's API.

    Args:
        demo: The page of `build_demo`.
        routes: The routes of `page_routes`.
        hosts: See `middleware`.
        frame_ancestors: See `middleware`.

    Returns:
        Middleware for Starlette, the outermost first.

    Raises:
        ConfigError: See `middleware`.
    """
    return [
        *middleware(hosts, MAX_BODY_BYTES, frame_ancestors, routes),
        Middleware(GradioMiddleware, demo=demo),
        Middleware(PageMiddleware),
    ]
