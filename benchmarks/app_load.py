"""Sketchpad: start time, latency, fifty concurrent clients, thousands of requests.

    python benchmarks/app_load.py [--requests 20000] [--clients 50] [--requests-per-client 20] [--strokes 20]

Clients and server run on the same machine. Memory is the server's resident set size after a warm-up. With the
default of 20,000 requests, it takes ten minutes.
"""

import argparse
import asyncio
import base64
import io
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import httpx
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.training.report import cpu_name

ROOT = Path(__file__).parent.parent
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="total number, sent by four clients")
    parser.add_argument("--clients", type=int, default=50, help="concurrent clients")
    parser.add_argument("--requests-per-client", type=int, default=20, help="predictions of each client")
    parser.add_argument("--strokes", type=int, default=20, help="drawn in a browser; 0 to skip")
    options = parser.parse_args()
    print(f"{cpu_name()}, {os.cpu_count()} cores; Python {platform.python_version()}, gradio {version('gradio')}\n")
    print("| | measured | requirement |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        import_seconds = timed([sys.executable, "-c", "import gradio"])
        start = time.perf_counter()
        server = Server(Path(directory))
        print(f"| `python app.py` until the page responds, s | {time.perf_counter() - start:.1f} | ≤ 8 |")
        print(f"| `import gradio` alone, s | {import_seconds:.1f} | |", flush=True)
        try:
            asyncio.run(server.load(server.call_api, clients=4, requests_per_client=50))  # warms up
            before, files = server.memory(), server.files()
            if options.strokes and Path(CHROMIUM).exists():
                drawing(server, options.strokes)
            for name, call in (("the page", server.call_page), ("the API", server.call_api)):
                report(server, name, call, options.clients, options.requests_per_client, before, "≤ 100")
            for _ in range(4):  # "constant" means no growth from one quarter to the next
                report(server, "the page", server.call_page, 4, options.requests // 16, before, "constant")
            print(f"| files left behind | {len(server.files() - files)} | 0 |")
        finally:
            server.process.kill()
            server.process.wait()


def timed(command: list[str]) -> float:
    """Measure how long a command runs.

    Args:
        command: The program and its arguments.

    Returns:
        The duration in seconds.
    """
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def report(
    server: "Server",
    name: str,
    call: Callable,
    clients: int,
    requests_per_client: int,
    before: float,
    requirement: str,
) -> None:
    """Measure concurrent clients and print two rows of the table.

    Args:
        server: The server.
        name: Who sends such requests.
        call: A method of the server that sends one.
        clients: Number of clients.
        requests_per_client: Number of predictions that each client requests, one after the other.
        before: Memory before the measurements, in MB.
        requirement: Maximum of the memory increase.
    """
    seconds = asyncio.run(server.load(call, clients, requests_per_client))
    requests = clients * requests_per_client
    times = sorted(seconds)
    p95 = f"median {times[len(times) // 2] * 1000:.0f} ms, p95 {times[int(0.95 * len(times))] * 1000:.0f} ms"
    failed = f"{requests - len(times)} ({p95})"
    print(f"| {clients} clients as {name}, {requests_per_client:,} predictions each: failed | {failed} | 0 |")
    print(f"| memory increase since the start, MB | {server.memory() - before:+.1f} | {requirement} |", flush=True)


class Server:
    """`python app.py` in a directory of its own, which is also its directory for temporary files."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.directory, self.url = directory, f"http://127.0.0.1:{port}/"
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--no-open", f"--port={port}"],
            cwd=directory, env={**os.environ, "TMPDIR": str(directory)}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(self.url).raise_for_status()
                return
            except httpx.TransportError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def memory(self) -> float:
        """Measure the server's resident set.

        Returns:
            Its size in megabytes.
        """
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1000

    def files(self) -> set[Path]:
        """List the files that the server has left.

        Returns:
            All files in its directory.
        """
        return {path for path in self.directory.rglob("*") if path.is_file()}

    async def call_api(self, session: httpx.AsyncClient) -> bool:
        """Send an image of a 1 to Gradio's API.

        Args:
            session: The connection of one client.

        Returns:
            Whether the prediction is correct.
        """
        url = f"{self.url}gradio_api/call/predict"
        sent = {"data": ["data:image/png;base64," + base64.b64encode(image_of_one()).decode()]}
        event = (await session.post(url, json=sent)).json()["event_id"]
        return '"label":1' in (await session.get(f"{url}/{event}")).text.replace(" ", "")

    async def call_page(self, session: httpx.AsyncClient) -> bool:
        """Send an image of a 1 as the page does.

        Args:
            session: The connection of one client.

        Returns:
            Whether the prediction is correct.
        """
        response = await session.post(f"{self.url}digitnet/classify", content=image_of_one())
        return response.json()["label"] == 1

    async def load(self, call: Callable, clients: int, requests_per_client: int) -> list[float]:
        """Request predictions from concurrent clients.

        Args:
            call: Sends one request with a client's session and returns whether the prediction is correct.
            clients: Number of concurrent clients.
            requests_per_client: Number of predictions that each client requests, one after the other.

        Returns:
            The duration of each correct prediction in seconds.
        """

        async def client() -> list[float]:
            seconds = []
            async with httpx.AsyncClient(timeout=60) as session:
                for _ in range(requests_per_client):
                    start = time.perf_counter()
                    try:
                        correct = await call(session)
                    except (httpx.HTTPError, KeyError, ValueError):
                        continue
                    if correct:
                        seconds.append(time.perf_counter() - start)
            return seconds

        return [second for of_one in await asyncio.gather(*(client() for _ in range(clients))) for second in of_one]


@cache
def image_of_one() -> bytes:
    """Draw an image of a 1.

    Returns:
        A PNG file of 280 x 280 pixels.
    """
    image = Image.new("L", (280, 280), 255)
    image.paste(0, (130, 50, 150, 230))
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def drawing(server: Server, strokes: int) -> None:
    """Measure the time from pen-up to the updated prediction in a browser, for strokes of one second.

    Args:
        server: The server.
        strokes: Number of strokes to draw, at least 2.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_role("button", name="Clear").wait_for()
        # By the clock of the page: pen-up, and the frame after the last update.
        page.evaluate(
            """() => {
                addEventListener("pointerup", () => { window.up = performance.now(); window.shown = null; }, true);
                new MutationObserver(() => {
                    window.during = (window.during ?? 0) + 1;
                    requestAnimationFrame(() => setTimeout(() => { window.shown = performance.now(); }));
                }).observe(document.querySelector(".time"), { childList: true });
            }"""
        )
        waits, during = [], []
        for index in range(strokes):
            box = page.locator("canvas.area").bounding_box()
            x = box["x"] + box["width"] * (0.45 + 0.1 * (index % 2))
            page.evaluate("() => { window.during = 0; }")
            page.mouse.move(x, box["y"] + 60)
            page.mouse.down()
            for step in range(20):
                page.mouse.move(x, box["y"] + 60 + step * box["height"] * 0.03)
                page.wait_for_timeout(50)
            during.append(page.evaluate("() => window.during"))
            page.mouse.up()
            page.wait_for_timeout(600)
            waits.append(page.evaluate("() => window.shown - window.up"))
            page.get_by_role("button", name="Clear").click()
            page.wait_for_timeout(200)
        browser.close()
    low, middle, high = statistics.quantiles(waits, n=4)
    spread = f"{middle:.0f} ({low:.0f} to {high:.0f}, n = {strokes})"
    print(f"| pen-up to the painted prediction, ms, median and quartiles | {spread} | ≤ 60 |")
    print(f"| updates during a one-second stroke, median | {statistics.median(during):.0f} | ≥ 1 |", flush=True)


if __name__ == "__main__":
    main()
