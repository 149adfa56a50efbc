"""The head of the page, and for how long browsers may keep Gradio's files.

Gradio's own head names Gradio as the title of the preview, and `gr.Blocks(head=...)` reaches the page only after its
scripts have run, too late for programs that show a preview and for the language.
"""

import html
import re

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from digitnet.app.routes import FOREVER, STATIC, static_url

TITLE = "digitnet: draw a digit"
DESCRIPTION = "Draw a digit and see how a small neural network recognizes it."
THEME_COLOR = "#c2410c"
# Of Gradio's head. Its manifest is one at the root of the host, wherever the page is.
REPLACED = re.compile(rb'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>\s*|<link rel="manifest"[^>]*>\s*')
HASHED = re.compile(r"/assets/[\w./-]+-[\w-]{8}\.\w+")  # Gradio's files, with a hash of the content in the name


class PageMiddleware:
    """Replace the head of Gradio's page, and let browsers keep its files that have a hash in their names.

    Args:
        app: The application of Gradio.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and change the response."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return await self.app(scope, receive, send)
        start: Message | None = None
        parts: list[bytes] = []

        async def send_changed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    start = message
                    return
                if message["status"] in (200, 304) and HASHED.search(scope["path"]):
                    headers["Cache-Control"] = FOREVER
            elif start is not None:
                parts.append(message.get("body", b""))
                if message.get("more_body"):
                    return
                page = replace_head(b"".join(parts), str(Request(scope).base_url))
                if scope["method"] == "GET":
                    MutableHeaders(scope=start)["Content-Length"] = str(len(page))
                await send(start)
                message = {**message, "body": page if scope["method"] == "GET" else b""}
            await send(message)

        await self.app(scope, receive, send_changed)


def replace_head(page: bytes, url: str) -> bytes:
    """Return a page of Gradio with the title, description, preview, icons and language of the sketchpad.

    Args:
        page: HTML.
        url: The URL of the page, with a slash at the end.

    Returns:
        HTML.
    """
    return REPLACED.sub(b"", page).replace(b"</head>", head(url).encode() + b"</head>", 1)


def head(url: str) -> str:
    """Return the elements of the page's head, with its style and the modules that it needs at once.

    Args:
        url: The URL of the page, with a slash at the end; previews need complete URLs.

    Returns:
        HTML.
    """
    imports = re.findall(r'^import .* from "\./(\w+\.js)";$', (STATIC / "main.js").read_text("utf-8"), re.MULTILINE)
    names = ["main.js", "server.js", *imports]
    modules = "\n".join(f'<link rel="modulepreload" href="{static_url(name)}">' for name in names)
    address, image = html.escape(url), html.escape(url + static_url("icon-512.png"))
    return f"""
<title>{TITLE}</title>
<meta name="description" content="{DESCRIPTION}">
<meta name="theme-color" content="{THEME_COLOR}">
<meta property="og:title" content="{TITLE}">
<meta property="og:description" content="{DESCRIPTION}">
<meta property="og:type" content="website">
<meta property="og:url" content="{address}">
<meta property="og:image" content="{image}">
<link rel="icon" href="{static_url("icon.svg")}" type="image/svg+xml">
<link rel="icon" href="{static_url("icon-32.png")}" type="image/png" sizes="32x32">
<link rel="apple-touch-icon" href="{static_url("icon-192.png")}">
<link rel="manifest" href="{static_url("manifest.webmanifest")}">
<link rel="stylesheet" href="{static_url("page.css")}">
{modules}
<script>
  // Gradio would set the language of the page to the browser's, but the page is in English.
  Object.defineProperty(navigator, "language", {{ value: "en" }});
</script>
"""
