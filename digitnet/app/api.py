"""Which requests reach Gradio: those of its page and of the clients of `/predict`, and only if they are well-formed.

Gradio answers many others with a traceback in the log and status 500, keeps parts of them in memory or on the disk, or
opens the files that they name.
"""

import json
import re
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from digitnet.app.memory import collect_garbage
from digitnet.app.server import error_response

API = "/gradio_api/"  # the prefix of Gradio's API
# What Gradio's page and its clients for Python and JavaScript use.
GET_ROUTES = re.compile(
    r"info|config|startup-events|app_id|user|theme\.css|openapi\.json|login_check|queue/(?:data|status)|heartbeat/[\w-]+"
    r"|call/(?:v2/)?predict/(?P<event>[\w-]+)"
)
POST_ROUTES = re.compile(r"(?P<data>queue/join|(?:call|run|api)/predict)|(?P<named>call/v2/predict)|cancel|reset")
# In a request body. Gradio copies or downloads the file that a payload names before a handler is called. Other
# spellings of the payload's name: numeric escapes, and the zero bytes of JSON in UTF-16 and UTF-32. Neither data URIs
# nor Gradio's clients contain them.
FILE_PAYLOADS = (b"FileData", b"\\u", b"\0")
MAX_SESSION_HASH = 100  # characters; Gradio keeps thousands of them
EXAMPLE = '{"data": ["data:image/png;base64,..."]}'


class GradioMiddleware:
    """Respond with 400 or 404 to requests that neither Gradio's page nor the clients of `/predict` send.

    Args:
        app: The application of Gradio.
        demo: Its Blocks.
    """

    def __init__(self, app: ASGIApp, demo: gr.Blocks) -> None:
        self.app, self.demo = app, demo
        self._last_size = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = b""
        is_post = scope["method"] == "POST"
        if not is_post and (problem := self._find_problem_of_get(scope)):
            return await error_response(404, problem)(scope, receive, send)
        if is_post:
            body = await _read(receive)
            status, problem = self._find_problem_of_post(scope["path"], body)
            if problem:
                return await error_response(status, problem)(scope, receive, send)
            receive = _repeat(body, receive)
        collect_garbage(self._last_size)  # of the previous request, whose event has ended by now
        self._last_size = len(body)
        await self.app(scope, receive, send)

    def _find_problem_of_get(self, scope: Scope) -> str:
        """Return why a request without a body is refused; an empty string if it is accepted."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if query.get("page", [""]) != [""] or "deep_link" in query:  # there is one page, without saved states
            return "There is no such page."
        if API not in scope["path"]:
            return ""
        route = GET_ROUTES.fullmatch(_route(scope["path"]))
        if route is None:
            return "There is no such route."
        awaited = [*query.get("session_hash", []), *filter(None, [route["event"]])]
        if not all(self._has_session(name) for name in awaited):
            return "There is no such event: its result was received, or the app was started again."
        return ""

    def _has_session(self, name: str) -> bool:
        """Return whether Gradio has messages for a session or an event; it ends the connection if it has none."""
        queue = self.demo._queue
        events = queue.pending_event_ids_session.values()
        return name in queue.pending_messages_per_session or any(name in ids for ids in events)

    def _find_problem_of_post(self, path: str, body: bytes) -> tuple[int, str]:
        """Return a status and why a request with a body is refused; an empty string if it is accepted."""
        if any(word in body for word in FILE_PAYLOADS):
            return 400, "File payloads are disabled: send a data URI, data:image/png;base64,..., in JSON as UTF-8."
        route = POST_ROUTES.fullmatch(_route(path))
        if route is None:
            return 404, "There is no such route. Send images to /predict."
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            return 400, f"Expected JSON, for example {EXAMPLE}."
        if route["named"]:
            return 400, "" if list(parsed) == ["image"] else 'Expected {"image": "data:image/png;base64,..."}.'
        if route["data"]:
            return 400, self._find_problem_of_call(parsed)
        return 400, ""

    def _find_problem_of_call(self, call: dict[str, Any]) -> str:
        """Return why a call of a function is refused; an empty string if it is accepted."""
        data, index, session = call.get("data"), call.get("fn_index"), call.get("session_hash")
        if not isinstance(data, list) or len(data) != 1:
            got = f"a list of {len(data)}" if isinstance(data, list) else "no list"
            return f'Expected one image as "data", {EXAMPLE}, got {got}.'
        if index is not None and (type(index) is not int or index not in self.demo.fns):
            return 'Expected the index of a function as "fn_index", or none.'
        if session is not None and (not isinstance(session, str) or len(session) > MAX_SESSION_HASH):
            return f'Expected at most {MAX_SESSION_HASH} characters as "session_hash".'
        if call.get("batched"):
            return 'Expected one image: "batched" is not supported.'
        return ""


def _route(path: str) -> str:
    """Return the part of a path after the prefix of Gradio's API; an empty string if it has another prefix."""
    return path.rpartition(API)[2].strip("/") if API in path else ""


async def _read(receive: Receive) -> bytes:
    """Return the body of a request, whose size is limited by BodyMiddleware."""
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)


def _repeat(body: bytes, receive: Receive) -> Receive:
    """Return a function that receives a body that was read before, and then what follows it."""
    bodies = [body]

    async def receive_again() -> Message:
        return {"type": "http.request", "body": bodies.pop(), "more_body": False} if bodies else await receive()

    return receive_again
