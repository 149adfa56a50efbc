"""Request checks for the sketchpad: who gets a response, how much is read, and what a page may load."""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's page has inline scripts and styles, and creates functions from text. All else comes from this server.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; object-src 'none';"
    " base-uri 'self'; form-action 'self'; frame-ancestors 'self'"  # which is last: more sites may follow
)
OTHER_SITES = ("cross-site", "same-site")  # values of Sec-Fetch-Site, which a page's script cannot set
FORBIDDEN = (b"FileData", b"\\u", b"\0")  # in a request body, the longest first; see BodyMiddleware
LOOPBACK = ("127.0.0.1", "localhost")  # Gradio sends a request there to find out whether it has started
UPLOAD_PATH = "/upload"


def middleware(hosts: Sequence[str], max_body_bytes: int, frame_ancestors: Sequence[str] = ()) -> list[Middleware]:
    """Return the request checks for an ASGI application.

    Args:
        hosts: The host names to respond to, in addition to this machine's; if empty, all names. With a port if a proxy
            uses another than the default one.
        max_body_bytes: Maximum size of a request body.
        frame_ancestors: The sites whose pages may show the application in a frame, for example https://example.org.

    Returns:
        Middleware for Starlette that accepts only requests from its own pages, no uploads, and bodies of limited size.
    """
    checks = [
        Middleware(SameOriginMiddleware, hosts=hosts),
        Middleware(BodyMiddleware, max_body_bytes=max_body_bytes),
        Middleware(HeadersMiddleware, frame_ancestors=frame_ancestors),
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
                return await PlainTextResponse("Only pages of this app may send requests.", 403)(scope, receive, send)
            if scope["path"].rstrip("/").endswith(UPLOAD_PATH):
                return await PlainTextResponse("Uploads are disabled: send a data URI.", 403)(scope, receive, send)
        await self.app(scope, receive, send)


class BodyMiddleware:
    """Respond with 413 to a body that is too large, before it is in memory, and with 400 to one with a file payload.

    Gradio copies or downloads the file that a payload names before a handler is called, on several of its routes; the
    sketchpad uses none. Other spellings of the payload's name are refused, too: numeric escapes, and the
    zero bytes of JSON in UTF-16 and UTF-32. Neither data URIs nor Gradio's clients contain them.

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
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.max_body_bytes:
            return await _too_large(self.max_body_bytes)(scope, receive, send)
        exchange = _CheckedExchange(receive, send, self.max_body_bytes)
        with suppress(_RefusedError):
            await self.app(scope, exchange.receive, exchange.send)
        if exchange.refusal and not exchange.started:
            await exchange.refusal(scope, receive, send)


class _CheckedExchange:
    """The body of one request, which is checked while the application receives it, and the response.

    Attributes:
        refusal: The response to a body that is refused; None while it is accepted.
        started: Whether the application has started its response.
    """

    def __init__(self, receive: Receive, send: Send, max_body_bytes: int) -> None:
        self._receive, self._send, self._max_body_bytes = receive, send, max_body_bytes
        self._size, self._tail = 0, b""
        self.refusal: PlainTextResponse | None = None
        self.started = False

    async def receive(self) -> Message:
        """Receive a part of the body, or raise _RefusedError."""
        message = await self._receive()
        content = message.get("body", b"")
        self._size += len(content)
        self._tail = self._tail[-len(FORBIDDEN[0]) :] + content
        if self._size > self._max_body_bytes:  # a chunked body, of undeclared size
            self.refusal = _too_large(self._max_body_bytes)
        elif any(word in self._tail for word in FORBIDDEN):
            self.refusal = PlainTextResponse(
                "File payloads are disabled: send a data URI, data:image/png;base64,..., in JSON as UTF-8", 400
            )
        if self.refusal:
            raise _RefusedError
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response, unless it is the application's response to an incomplete request."""
        if not self.refusal:
            self.started = True
            await self._send(message)


def _too_large(max_body_bytes: int) -> PlainTextResponse:
    """Return the response to a body that is too large."""
    return PlainTextResponse(f"expected a request of at most {max_body_bytes:,} bytes, got more", 413)


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
