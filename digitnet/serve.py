"""What stands between the sketchpad and whoever can reach it: limits on hosts and bodies, and a content policy."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's page has scripts and styles within it, and makes functions of text; all else comes from this server alone.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'"
)


def middleware(hosts: Sequence[str], most_body: int) -> list[Middleware]:
    """For an ASGI application: answer only to `hosts` (to all where none is named), and read at most `most_body` bytes
    of a request."""
    limits = [Middleware(LimitedBody, most_body=most_body), Middleware(ContentPolicy)]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts]), *limits] if hosts else limits


class LimitedBody:
    """Answers 413 to a request whose body is larger than `most_body` bytes, before it is in memory."""

    def __init__(self, app: ASGIApp, most_body: int) -> None:
        self.app, self.most_body = app, most_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        refusal = PlainTextResponse(f"The request is too large; at most {self.most_body:,} bytes are read.", 413)
        if not said.isdigit() or int(said) > self.most_body:
            return await refusal(scope, receive, send)
        read, started = 0, False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most_body:  # sent in chunks, without saying how much
                raise TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except TooLargeError:
            if not started:
                await refusal(scope, receive, send)


class TooLargeError(Exception):
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
