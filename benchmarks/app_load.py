"""Sketchpad: start time, latency, fifty concurrent clients, thousands of requests.

    python benchmarks/app_load.py [--requests 20000] [--clients 50] [--each 20] [--strokes 20]

Clients and server run on the same machine. Memory is the server's resident set size after a warm-up. Ten minutes.
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
    parser.add_argument("--requests", type=int, default=20_000, help="one after another, four at a time")
    parser.add_argument("--clients", type=int, default=50, help="concurrent clients")
    parser.add_argument("--each", type=int, default=20, help="predictions of each client")
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
            asyncio.run(server.load(clients=4, each=50))  # warms up
            before, files = server.memory(), server.files()
            if options.strokes and Path(CHROMIUM).exists():
                drawing(server, options.strokes)
            report(server, options.clients, options.each, before, "≤ 100")
            for _ in range(4):  # "constant" means no growth from one quarter to the next
                report(server, 4, options.requests // 16, before, "constant")
            print(f"| files left behind | {len(server.files() - files)} | 0 |")
        finally:
            server.process.kill()
            server.process.wait()


def timed(command: list[str]) -> float:
    """Return the duration of a command in seconds."""
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def report(server: "Server", clients: int, each: int, before: float, target: str) -> None:
    """Measure concurrent clients and print two rows of the table."""
    seconds = asyncio.run(server.load(clients, each))
    requests = clients * each
    times = sorted(seconds)
    p95 = f"median {times[len(times) // 2] * 1000:.0f} ms, p95 {times[int(0.95 * len(times))] * 1000:.0f} ms"
    print(f"| {clients} clients, {each:,} predictions each: failed | {requests - len(times)} ({p95}) | 0 |")
    print(f"| memory increase since the start, MB | {server.memory() - before:+.1f} | {target} |", flush=True)


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
        """Return the resident set in megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1000

    def files(self) -> set[Path]:
        """Return all files in the directory."""
        return {path for path in self.directory.rglob("*") if path.is_file()}

    async def load(self, clients: int, each: int) -> list[float]:
        """Send requests and return the duration of each correct prediction in seconds."""
        image = Image.new("L", (280, 280), 255)
        image.paste(0, (130, 50, 150, 230))
        image.save(buffer := io.BytesIO(), "PNG")
        sent = {"data": ["data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()]}
        url = f"{self.url}gradio_api/call/predict"

        async def client() -> list[float]:
            seconds = []
            async with httpx.AsyncClient(timeout=60) as session:
                for _ in range(each):
                    start = time.perf_counter()
                    try:
                        event = (await session.post(url, json=sent)).json()["event_id"]
                        response = (await session.get(f"{url}/{event}")).text
                    except (httpx.HTTPError, KeyError, ValueError):
                        continue
                    if '"label": 1' in response or '"label":1' in response:
                        seconds.append(time.perf_counter() - start)
            return seconds

        return [second for of_one in await asyncio.gather(*(client() for _ in range(clients))) for second in of_one]


def drawing(server: Server, strokes: int) -> None:
    """Measure the time from pen-up to the updated prediction in a browser, for strokes of one second."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_role("button", name="Clear").wait_for()
        # By the clock of the page: pen-up, and the last update.
        page.evaluate(
            """() => {
                addEventListener("pointerup", () => { window.up = performance.now(); window.shown = null; }, true);
                document.addEventListener("digitnet-prediction", () => {
                    window.during = (window.during ?? 0) + 1;
                    window.shown = performance.now();
                });
            }"""
        )
        waits, during = [], []
        for index in range(strokes):
            box = page.locator("canvas:visible").bounding_box()
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
    print(f"| pen-up to the updated prediction, ms, median and quartiles | {spread} | ≤ 150 |")
    print(f"| updates during a one-second stroke, median | {statistics.median(during):.0f} | ≥ 1 |", flush=True)


if __name__ == "__main__":
    main()
