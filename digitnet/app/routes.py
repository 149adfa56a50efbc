"""The routes of the page, beside those of Gradio: classify or read an image, save a correction, and the static files.

The page sends an image as the bytes of a file and receives JSON; an error is {"error": one sentence for the visitor}.
"""

import hashlib
import os
from collections.abc import Awaitable, Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from digitnet.app.corrections import CorrectionError, Corrections
from digitnet.app.explanation import Explainer
from digitnet.app.server import error_response
from digitnet.app.service import MAX_CONCURRENT, classify, decode_image, message_for_page, read
from digitnet.app.teaching import Teaching, TeachingError
from digitnet.contract import NUM_CLASSES
from digitnet.errors import ImageError, ModelError
from digitnet.inference.classifier import DigitClassifier

PREFIX = "/digitnet"  # of all routes of the page
STATIC = Path(__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"  # Cache-Control of files whose URL changes with their content
MAX_WAITING = 100  # requests that wait for a thread; more are answered with 503
DIGITS = [str(digit) for digit in range(NUM_CLASSES)]

Result = TypeVar("Result")
Handler = Callable[[Request], Awaitable[Response]]


@cache
def static_version() -> str:
    """Return a hash of all static files, which is a part of their URLs."""
    digest = hashlib.sha256()
    for path in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(STATIC)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def static_url(name: str) -> str:
    """Return the URL of a static file, relative to the page.

    The version is a directory of the URL, so that the relative imports of a module have it too, and browsers may keep
    all files forever.

    Args:
        name: The name of a file in static/.

    Returns:
        The URL, for example digitnet/static/0123456789ab/main.js.
    """
    return f"{PREFIX.lstrip('/')}/static/{static_version()}/{name}"


def page_routes(classifier: DigitClassifier, corrections: Corrections | None) -> list[BaseRoute]:
    """Return the routes of the page.

    Args:
        classifier: The classifier.
        corrections: Where corrections are saved; None to save none.

    Returns:
        Routes for Starlette.
    """
    threads = Threads(MAX_CONCURRENT, MAX_WAITING)
    teaching = Teaching(classifier, corrections) if corrections and Teaching.is_available() else None
    explainer = lru_cache(maxsize=2)(Explainer)  # of the original and of the adapted model

    def model_in_use() -> DigitClassifier:
        return teaching.classifier if teaching else classifier

    async def post_classify(request: Request) -> Response:
        """Classify the image in the body."""
        model, content = model_in_use(), await request.body()
        answer = await threads.run(classify, model, content)
        # Another tab of the browser may have changed the model.
        return JSONResponse({**answer, "model": teaching.name_of(model)} if teaching else answer)

    async def post_read(request: Request) -> Response:
        """Read the numbers in the image in the body."""
        return JSONResponse(await threads.run(read, model_in_use(), await request.body()))

    async def post_explain(request: Request) -> Response:
        """Explain the prediction for the image in the body."""
        return JSONResponse(await threads.run(explain, await request.body()))

    def explain(content: bytes) -> dict[str, object]:
        return explainer(model_in_use())(decode_image(content)) if content else {"blank": True}

    async def post_correction(request: Request) -> Response:
        """Save the image in the body with the correct digit."""
        assert corrections is not None
        digit, content = request.query_params.get("digit"), await request.body()
        if digit not in DIGITS:
            return error_response(400, f"The digit is {digit!r}; it must be from 0 to 9.")
        if not content:
            return error_response(400, "There is no picture to save.")
        return JSONResponse({"saved": await threads.run(save, content, int(digit))}, 201)

    def save(content: bytes, digit: int) -> str:
        assert corrections is not None
        return corrections.save(decode_image(content), digit)

    routes: list[BaseRoute] = [
        Route(f"{PREFIX}/classify", answers_errors(post_classify), methods=["POST"]),
        Route(f"{PREFIX}/read", answers_errors(post_read), methods=["POST"]),
        Route(f"{PREFIX}/explain", answers_errors(post_explain), methods=["POST"]),
        Route(f"{PREFIX}/static/{static_version()}/{{path:path}}", CachedFiles(FOREVER).get),
        # With the name only, for example a bookmarked icon.
        Route(f"{PREFIX}/static/{{path:path}}", CachedFiles("no-cache").get),
    ]
    if corrections is not None:
        routes.append(Route(f"{PREFIX}/corrections", answers_errors(post_correction), methods=["POST"]))
    return routes + (teaching_routes(teaching) if teaching else [])


def teaching_routes(teaching: Teaching) -> list[BaseRoute]:
    """Return the routes that adapt the model. All return the status of `teaching`.

    Args:
        teaching: The adaptation.

    Returns:
        Routes for Starlette.
    """

    async def get_status(_: Request) -> Response:
        """Return the status."""
        return JSONResponse(teaching.status())

    def post(action: Callable[..., None], *parameters: str) -> Route:
        async def handle(request: Request) -> Response:
            """Call the action and return the status."""
            await run_sync(action, *(request.query_params.get(name, "") for name in parameters))
            return JSONResponse(teaching.status())

        return Route(f"{PREFIX}/teaching/{action.__name__}", answers_errors(handle), methods=["POST"])

    return [
        Route(f"{PREFIX}/teaching", answers_errors(get_status), methods=["GET"]),
        post(teaching.start),
        post(teaching.cancel),
        post(teaching.use, "model"),
    ]


def answers_errors(handler: Handler) -> Handler:
    """Return a handler that answers the errors of another one with JSON, and whose responses are not stored.

    Args:
        handler: The handler of a route.

    Returns:
        The handler.
    """

    async def handle(request: Request) -> Response:
        """Call the other handler."""
        try:
            response = await handler(request)
        except ImageError as error:
            response = error_response(400, message_for_page(error))
        except ModelError as error:  # there are no activations to explain a prediction with
            response = error_response(404, f"{error}.")
        except BusyError:
            response = error_response(503, "The app is busy. Try again in a moment.")
            response.headers["Retry-After"] = "1"
        except TeachingError as error:
            response = error_response(409, str(error))
        except CorrectionError as error:
            response = error_response(507, str(error))
        except ClientDisconnect:  # nobody receives the response
            response = Response(status_code=400)
        response.headers["Cache-Control"] = "no-store"
        return response

    return handle


class BusyError(Exception):
    """Too many requests wait."""


class Threads:
    """Runs functions in a few threads.

    Args:
        count: Maximum number of functions that run at the same time.
        max_waiting: Maximum number of calls that wait for one of them to end.
    """

    def __init__(self, count: int, max_waiting: int) -> None:
        self._limiter, self._max_calls, self._calls = anyio.CapacityLimiter(count), count + max_waiting, 0

    async def run(self, function: Callable[..., Result], *args: object) -> Result:
        """Return the result of a function.

        Args:
            function: The function.
            args: Its arguments.

        Returns:
            What the function returns.

        Raises:
            BusyError: If too many calls wait.
        """
        if self._calls >= self._max_calls:
            raise BusyError
        self._calls += 1
        try:
            return await run_sync(function, *args, limiter=self._limiter)
        finally:
            self._calls -= 1


class CachedFiles(StaticFiles):
    """The static files, with a Cache-Control header.

    Args:
        cache_control: The value of the header.
    """

    def __init__(self, cache_control: str) -> None:
        super().__init__(directory=STATIC)
        self._cache_control = cache_control

    async def get(self, request: Request) -> Response:
        """Return the file that the route's parameter `path` names.

        As a route, because below the path of a proxy, Starlette's Mount expects that path in the request.

        Args:
            request: The request.

        Returns:
            The response with the file.
        """
        return await self.get_response(os.path.normpath(request.path_params["path"]), request.scope)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the response with a file, or with the status that it has not changed.

        Args:
            full_path: The path of the file.
            stat_result: What the system says about it.
            scope: The scope of the request.
            status_code: The status of a response with the file.

        Returns:
            The response, with the Cache-Control header.
        """
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = self._cache_control
        return response
