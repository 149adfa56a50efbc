"""Request checks for the sketchpad: who gets a response, how much is read, and what a page may load.

A request that is refused gets JSON, {"error": one sentence}.
"""

from collections.abc import Callable, Sequence
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

# Gradio's page has inline scripts and styles, and creates functions from text. All else comes from this server.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; object-src 'none';"
    " base-uri 'self'; form-action 'self'; frame-ancestors 'self'"  # which is last: more sites may follow
)
OTHER_SITES = ("cross-site", "same-site")  # values of Sec-Fetch-Site, which a page's script cannot set
FORBIDDEN = (b"FileData", b"\\u", b"\0")  # in a request body, the longest first; see FilePayloadMiddleware
LOOPBACK = ("127.0.0.1", "localhost")  # Gradio sends a request there to find out whether it has started
UPLOAD_PATH = "/upload"


def error_response(status: int, message: str) -> JSONResponse:
    """Return the response to a request that failed, {"error": message}.

    Args:
        status: HTTP status.
        message: One sentence for the visitor of the page.
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
        routes: Routes that precede those of the application. Their bodies may have any content.

    Returns:
        Middleware for Starlette that accepts only requests from its own pages, no uploads, and bodies of limited size.
    """
    checks = [
        Middleware(HeadersMiddleware, frame_ancestors=frame_ancestors),
        Middleware(SameOriginMiddleware, hosts=hosts),
        Middleware(BodyMiddleware, max_body_bytes=max_body_bytes),
        Middleware(RoutesMiddleware, routes=routes),
        Middleware(FilePayloadMiddleware),
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
            own = origin is None or urlsplit(origin).netloc in self.hosts | {headers.get("host")}
            if not own or headers.get("sec-fetch-site") in OTHER_SITES:
                return await error_response(403, "Only pages of this app may send requests.")(scope, receive, send)
            if scope["path"].rstrip("/").endswith(UPLOAD_PATH):
                return await error_response(403, "Uploads are disabled: send a data URI.")(scope, receive, send)
        await self.app(scope, receive, send)


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
        size = 0

        def exceeds_limit(content: bytes) -> bool:  # a chunked body is of undeclared size
            nonlocal size
            size += len(content)
            return size > self.max_body_bytes

        await _CheckedExchange(exceeds_limit, refusal).run(self.app, scope, receive, send)


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


class FilePayloadMiddleware:
    """Respond with 400 to a body with a file payload.

    Gradio copies or downloads the file that a payload names before a handler is called, on several of its routes; the
    sketchpad uses none. Other spellings of the payload's name are refused, too: numeric escapes, and the
    zero bytes of JSON in UTF-16 and UTF-32. Neither data URIs nor Gradio's clients contain them.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        message = "File payloads are disabled: send a data URI, data:image/png;base64,..., in JSON as UTF-8."
        end = b""

        def has_payload(content: bytes) -> bool:  # which may be in two parts of the body
            nonlocal end
            both = end + content
            end = both[-len(FORBIDDEN[0]) :]
            return any(word in both for word in FORBIDDEN)

        await _CheckedExchange(has_payload, error_response(400, message)).run(self.app, scope, receive, send)


class _CheckedExchange:
    """A request whose body is checked while the application receives it, and the response.

    Args:
        is_refused: A function that is called with each part of the body, and tells whether the request is refused.
        refusal: The response to a request that is refused.
    """

    def __init__(self, is_refused: Callable[[bytes], bool], refusal: Response) -> None:
        self._is_refused, self._refusal = is_refused, refusal
        self._refused = self._started = False

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to an application, or refuse it."""

        async def checked_receive() -> Message:
            message = await receive()
            if self._is_refused(message.get("body", b"")):
                self._refused = True
                raise _RefusedError
            return message

        async def checked_send(message: Message) -> None:
            if not self._refused:  # otherwise it is the application's response to an incomplete request
                self._started = True
                await send(message)

        with suppress(_RefusedError):
            await app(scope, checked_receive, checked_send)
        if self._refused and not self._started:
            await self._refusal(scope, receive, send)


class _RefusedError(Exception):
    """Ends the processing of a request that is refused."""


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
