"""What stands between the sketchpad and its visitors: whom it answers, how much it reads, what a page may load."""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's page has scripts and styles within it, and makes functions of text; all else comes from this server alone.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'"
)
FORBIDDEN = (b"FileData", b"\\u", b"\0")  # in a body, the longest first: see CheckedBody
LOOPBACK = ("127.0.0.1", "localhost")  # Gradio asks itself there whether it has started


def middleware(hosts: Sequence[str], most_body: int) -> list[Middleware]:
    """For an ASGI application: answer to `hosts` and this machine alone (to all where none is named), to no page from
    elsewhere, take no uploads, and read at most `most_body` bytes of a request."""
    limits = [Middleware(OwnPagesOnly), Middleware(CheckedBody, most_body=most_body), Middleware(ContentPolicy)]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts, *LOOPBACK]), *limits] if hosts else limits


class OwnPagesOnly:
    """Answers 403 to what a page of another site sends, and to uploads, which the sketchpad has no use for."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            # A server in front may ask under another name; what a page may not set it may add.
            own = {headers.get("host"), headers.get("x-forwarded-host")}
            if "origin" in headers and urlsplit(headers["origin"]).netloc not in own:
                return await PlainTextResponse("This is for the app's own pages.", 403)(scope, receive, send)
            if scope["path"].rstrip("/").endswith("/upload"):
                return await PlainTextResponse("No uploads: send a data URI.", 403)(scope, receive, send)
        await self.app(scope, receive, send)


class CheckedBody:
    """Answers 413 to a body larger than `most_body` bytes, before it is in memory, and 400 to one with a file payload.

    Gradio copies, or fetches, the file that a payload names before any handler sees it, on several of its routes; the
    sketchpad takes none. Refused too is what could spell the payload's name otherwise, and neither a data URI nor
    what Gradio's clients add has: escapes by number, and the zero bytes of UTF-16 and UTF-32, which JSON may come in.
    """

    def __init__(self, app: ASGIApp, most_body: int) -> None:
        self.app, self.most_body = app, most_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = PlainTextResponse(f"The request is too large; at most {self.most_body:,} bytes are read.", 413)
        if not said.isdigit() or int(said) > self.most_body:
            return await too_large(scope, receive, send)
        read, tail, started = 0, b"", False
        refusal: PlainTextResponse | None = None

        async def checked() -> Message:
            nonlocal read, tail, refusal
            message = await receive()
            part = message.get("body", b"")
            read += len(part)
            tail = tail[-len(FORBIDDEN[0]) :] + part
            if read > self.most_body:  # sent in chunks, without saying how much
                refusal = too_large
            elif any(word in tail for word in FORBIDDEN):
                refusal = PlainTextResponse(
                    "No file payloads: send a data URI, data:image/png;base64,..., in JSON as UTF-8", 400
                )
            if refusal:
                raise RefusedError
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            if not refusal:  # else it is what the application makes of half a request
                started = True
                await send(message)

        with suppress(RefusedError):
            await self.app(scope, checked, noted)
        if refusal and not started:
            await refusal(scope, receive, send)


class RefusedError(Exception):
    pass


class ContentPolicy:
    """Tells the browser to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (b"content-security-policy", CONTENT_POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await self.app(scope, receive, with_policy)
