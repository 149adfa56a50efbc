"""Request checks for the sketchpad: who gets a response, how much is read, and what a page may load.

A request that is refused gets JSON, {"error": one sentence}.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from digitnet.errors import ConfigError

# Gradio's page has inline scripts and styles, and creates functions from text. All else comes from this server.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; object-src 'none';"
    " base-uri 'self'; form-action 'self'; frame-ancestors 'self'"  # which is last: more sites may follow
)
OTHER_SITES = ("cross-site", "same-site")  # values of Sec-Fetch-Site, which a page's script cannot set
LOOPBACK = ("127.0.0.1", "localhost")  # Gradio sends a request there to find out whether it has started
UPLOAD_PATH = "/upload"
ORIGIN = re.compile(r"https?://[\w-]+(\.[\w-]+)*(:\d{1,5})?", re.ASCII)


def error_response(status: int, message: str) -> JSONResponse:
    """Return the response to a request that failed, {"error": message}.

    Args:
        status: HTTP status.
        message: One sentence for the visitor of the page.

    Returns:
        The response.
    """
    return JSONResponse({"error": message}, status, {"Cache-Control": "no-store"})


def middleware(
    hosts: Sequence[str],
    max_body_bytes: int,
    frame_ancestors: Sequence[str] = (),
    routes: Sequence[BaseRoute] = (),
) -> list[Middleware]:
    """Return the request checks for an ASGI application.

    Args:
        hosts: The host names to respond to, in addition to this machine's; if empty, all names. With a port if a proxy
            uses another than the default one.
        max_body_bytes: Maximum size of a request body.
        frame_ancestors: The sites whose pages may show the application in a frame, for example https://example.org.
        routes: Routes that precede those of the application.

    Returns:
        Middleware for Starlette that accepts only requests from its own pages, no uploads, and bodies of limited size.

    Raises:
        ConfigError: If one of `frame_ancestors` is not an origin.
    """
    for site in frame_ancestors:  # a semicolon or a space would add to the Content-Security-Policy
        if not ORIGIN.fullmatch(site):
            raise ConfigError(
                f"the site that may show the page in a frame is {site!r}; it must be an origin, scheme://host[:port],"
                " such as https://example.org"
            )
    checks = [
        Middleware(HeadersMiddleware, frame_ancestors=frame_ancestors),
        Middleware(SameOriginMiddleware, hosts=hosts),
        Middleware(BodyMiddleware, max_body_bytes=max_body_bytes),
        Middleware(RoutesMiddleware, routes=routes),
    ]
    names = [host.partition(":")[0] for host in hosts]  # Starlette compares without the port
    return [Middleware(TrustedHostMiddleware, allowed_hosts=[*names, *LOOPBACK]), *checks] if hosts else checks


class SameOriginMiddleware:
    """Respond with 403 to requests from pages of other sites, and to uploads, which the sketchpad does not use.

    A page may send requests if its origin is the host that it sends them to, or one of `hosts`. X-Forwarded-Host does
    not count, because a script can set it.

    Args:
        app: The application behind it.
        hosts: Other host names of the sketchpad, for example that of a reverse proxy, with the port unless it is the
            default one.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app, self.hosts = app, frozenset(hosts) - {*LOOPBACK}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["method"] == "POST":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            origin = headers.get("origin")
            own = origin is None or _host_of(origin) in self.hosts | {headers.get("host", "")}
            if not own or headers.get("sec-fetch-site") in OTHER_SITES:
                return await error_response(403, "Only pages of this app may send requests.")(scope, receive, send)
            if scope["path"].rstrip("/").endswith(UPLOAD_PATH):
                return await error_response(403, "Uploads are disabled: send a data URI.")(scope, receive, send)
        await self.app(scope, receive, send)


def _host_of(origin: str) -> str | None:
    """Return the host of an Origin header, with the port if it has one; None if it has none or is malformed."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


class BodyMiddleware:
    """Respond with 413 to a body that is too large, before it is in memory.

    Args:
        app: The application behind it.
        max_body_bytes: Maximum size of a request body.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app, self.max_body_bytes = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = error_response(413, f"Expected a request of at most {self.max_body_bytes:,} bytes, got more.")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.max_body_bytes:
            return await refusal(scope, receive, send)
        size, started = 0, False

        async def checked_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_body_bytes:  # a chunked body, of undeclared size
                raise _TooLargeError
            return message

        async def checked_send(message: Message) -> None:
            nonlocal started
            if size <= self.max_body_bytes:  # otherwise it is the application's response to an incomplete request
                started = True
                await send(message)

        with suppress(_TooLargeError):
            await self.app(scope, checked_receive, checked_send)
        if size > self.max_body_bytes and not started:
            await refusal(scope, receive, send)


class RoutesMiddleware:
    """Serve routes that precede those of the application behind it.

    Args:
        app: The application behind it.
        routes: The routes.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app, self.routes = app, routes
        handlers = {HTTPException: _http_error, Exception: _server_error}
        self.server = Starlette(routes=routes, exception_handlers=handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to its route, or on."""
        own = scope["type"] == "http" and any(route.matches(scope)[0] is not Match.NONE for route in self.routes)
        # A copy, because Starlette stores the application in it.
        await (self.server({**scope}, receive, send) if own else self.app(scope, receive, send))


def _http_error(request: Request, error: Exception) -> Response:
    """Return the response to an unknown path or method."""
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, f"{error.detail}.")


def _server_error(request: Request, error: Exception) -> Response:
    """Return the response if there is a bug, whose traceback is in the server's log."""
    return error_response(500, "The app has a bug: see the terminal in which it runs.")


class _TooLargeError(Exception):
    """Ends the processing of a request that is too large."""


class HeadersMiddleware:
    """Add headers that allow a page to load content of this server only.

    Args:
        app: The application behind it.
        frame_ancestors: The sites whose pages may show the application in a frame.
    """

    def __init__(self, app: ASGIApp, frame_ancestors: Sequence[str] = ()) -> None:
        self.app = app
        policy = " ".join([CONTENT_SECURITY_POLICY, *frame_ancestors])
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to the response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.headers]}
            await send(message)

        await self.app(scope, receive, send_with_headers)
