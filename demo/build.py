"""Build site/: the sketchpad as a static site, which classifies in the browser with onnxruntime-web.

Install onnxruntime-web first: npm install --prefix demo
"""

import gzip
import hashlib
import html
import json
import shutil
import string
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet import DigitClassifier, contract
from digitnet.app.demo import describe
from digitnet.app.page import DESCRIPTION, THEME_COLOR, TITLE
from digitnet.numbers import crops, ink, lattice, layout, number, segments, verifier

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "demo"
SITE = ROOT / "site"
STATIC = ROOT / "digitnet" / "app" / "static"
RELEASE = ROOT / "checkpoints" / "release"
RUNTIME = DEMO / "node_modules" / "onnxruntime-web" / "dist"
WASM = "ort-wasm-simd-threaded.wasm"  # the smallest of the package's; the others are for GPUs
# An extension that no server knows: some would send a .gz file so that the browser decompresses it.
COMPRESSED_WASM = f"{WASM}.gzip"
MANIFEST = "manifest.webmanifest"
CONSTANTS = "constants.js"  # of the modules that demo/numbers/ repeats in JavaScript
MODULES = (contract, crops, ink, lattice, layout, number, segments, verifier)

COPIED = {
    DEMO: ["browser_backend.js", "demo.js"],
    DEMO / "numbers": [
        "arrays.js", "components.js", "crops.js", "ink.js", "lattice.js", "layout.js", "number.js", "segments.js",
        "verifier.js",
    ],
    STATIC: [
        "answer.js", "backend.js", "canvas.js", "drawing.js", "examples.png", "explainer.js", "explanation.css",
        "explanation.js", "icon-192.png", "icon-32.png", "icon-512.png", "icon.svg", "image.js", "main.js",
        "numbers.js", "page.css", "painting.js", "predictor.js", "recent.js", "reduction.js", "sketchpad.js", "tabs.js",
        "training_images.png",
    ],
    RELEASE: ["digitnet.onnx", "digitnet.activations.onnx", "framing.onnx"],
    RUNTIME: ["ort.wasm.bundle.min.mjs"],
}  # fmt: skip


def main() -> None:
    """Replace site/."""
    if not RUNTIME.is_dir():
        raise SystemExit("error: onnxruntime-web is not installed; run: npm install --prefix demo")
    shutil.rmtree(SITE, ignore_errors=True)
    build(SITE)
    size = sum(path.stat().st_size for path in SITE.iterdir())
    print(f"site/: {size / 1e6:.1f} MB. Try it: python -m http.server --bind 127.0.0.1 --directory site")


def build(site: Path) -> None:
    """Write the site.

    Args:
        site: A directory that does not exist.

    Raises:
        FileNotFoundError: If a file of the site is missing.
    """
    site.mkdir(parents=True)
    for directory, names in COPIED.items():
        for name in names:
            shutil.copyfile(directory / name, site / name)
    (site / COMPRESSED_WASM).write_bytes(gzip.compress((RUNTIME / WASM).read_bytes(), mtime=0))
    (site / CONSTANTS).write_text(render_constants(), "utf-8")
    (site / MANIFEST).write_text(render_manifest(), "utf-8")
    (site / "index.html").write_text(render_index(), "utf-8")
    (site / "service_worker.js").write_text(render_service_worker(site), "utf-8")


def render_index() -> str:
    """Return index.html with the elements of the sketchpad."""
    template = string.Template((DEMO / "index.html").read_text("utf-8"))
    return template.substitute(
        title=html.escape(TITLE),
        summary=html.escape(DESCRIPTION),
        theme_color=THEME_COLOR,
        page=(STATIC / "page.html").read_text("utf-8"),
        model=html.escape(describe(DigitClassifier(RELEASE / "digitnet.onnx"))),
    )


def render_constants() -> str:
    """Return constants.js: the constants of each of MODULES, so that no threshold or weight is written twice."""
    weights = json.loads(verifier.WEIGHTS_FILE.read_text("utf-8"))
    lines = [f"export const verifierWeights = {json.dumps(weights)};"]
    for module in MODULES:
        values = {name: value for name, value in vars(module).items() if name.isupper() and is_json(value)}
        lines.append(f"export const {module.__name__.rpartition('.')[2]} = {json.dumps(values)};")
    return "\n".join(lines) + "\n"


def is_json(value: object) -> bool:
    """Return whether a constant can be written as JSON."""
    return isinstance(value, int | float | str | tuple | list | dict)


def render_manifest() -> str:
    """Return the manifest of the sketchpad for a page beside it."""
    manifest = json.loads((STATIC / MANIFEST).read_text("utf-8"))
    return json.dumps(manifest | {"start_url": "./", "scope": "./"}, indent=2)


def render_service_worker(site: Path) -> str:
    """Return service_worker.js with the names of all files and a hash of their content.

    Args:
        site: The directory with all other files.
    """
    code = (DEMO / "service_worker.js").read_text("utf-8")
    digest = hashlib.sha256(code.encode())
    paths = sorted(site.iterdir())
    for path in paths:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    files = ["./" if path.name == "index.html" else path.name for path in paths]
    return f"const VERSION = {json.dumps(digest.hexdigest())};\nconst FILES = {json.dumps(files)};\n\n{code}"


if __name__ == "__main__":
    main()
