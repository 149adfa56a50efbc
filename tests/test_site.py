"""`make docs` builds a site without warnings that is complete and needs no other host."""

import ast
import functools
import html
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from digitnet import cli
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

NAVIGATION = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
# Attributes with addresses that a browser loads without a click, by element.
LOADED = {
    "audio": ("src",), "embed": ("src",), "iframe": ("src",), "image": ("href",), "img": ("src", "srcset"),
    "input": ("src",), "link": ("href",), "object": ("data",), "script": ("src",), "source": ("src", "srcset"),
    "track": ("src",), "use": ("href",), "video": ("src", "poster"),
}  # fmt: skip
NOT_LOADED = {"canonical", "prev", "next"}  # kinds of links that only name another page


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built once."""
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", directory],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return directory


def page_of(site, address):
    """Return the path of the HTML file that is made from a file in docs/."""
    name = address.removesuffix(".md").removesuffix("index").rstrip("/")
    return site / name / "index.html"


class Addresses(HTMLParser):
    """Collects the addresses that a page loads."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if not NOT_LOADED & set((attributes.get("rel") or "").split()):
            self.found += [attributes[name] for name in LOADED.get(tag, ()) if attributes.get(name)]
        if "style" in attributes:
            self.found += re.findall(r"url\(['\"]?([^'\")]+)", attributes["style"] or "")


def loaded_addresses(text):
    parser = Addresses()
    parser.feed(text)
    return parser.found


def test_every_page_of_the_navigation_is_built(site):
    addresses = re.findall(r"\S+\.md$", NAVIGATION, re.MULTILINE)
    assert len(addresses) > 30
    assert [address for address in addresses if not page_of(site, address).is_file()] == []


def test_no_page_loads_anything_from_another_host(site):
    pages = list(site.rglob("*.html"))
    loaded = {path: loaded_addresses(path.read_text()) for path in pages}
    assert all(loaded.values())
    for path, addresses in loaded.items():
        assert [address for address in addresses if urlsplit(address).netloc] == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"(?:url\(['\"]?|@import ['\"])(?:https?:)?//[^)]*", path.read_text()) == [], path


def test_every_image_of_a_page_exists(site):
    for path in site.rglob("index.html"):  # the addresses of 404.html begin with that of the host
        for address in re.findall(r'<img[^>]* src="([^"]+)"', path.read_text()):
            assert (path.parent / address).is_file(), f"{path}: {address}"


def test_the_search_for_addresses_finds_those_of_other_hosts():
    text = '<link rel="stylesheet" href="https://a/b.css"><script src="//c/d.js"></script><a href="https://e">e</a>'
    assert loaded_addresses(text) == ["https://a/b.css", "//c/d.js"]


@pytest.mark.parametrize("path", sorted((ROOT / "digitnet").rglob("*.py")), ids=lambda path: path.stem)
def test_the_reference_has_every_public_class_and_function(path, site):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if any(part.startswith("_") for part in module.split(".")):
        return
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, definitions)]
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    reference = page_of(site, f"reference/api/{package}.md").read_text()
    for name in ["", *(f".{name}" for name in names if not name.startswith("_"))]:
        assert f'id="{module}{name}"' in reference, f"{module}{name}"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_reference_has_every_option_of_a_command(command, site, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["digitnet"])
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    options = set(re.findall(r"(?<![\w.-])--[a-z][\w.-]*\w", capsys.readouterr().out))
    assert len(options) >= 4
    text = html.unescape(re.sub(r"<[^>]*>", "", page_of(site, f"reference/commands/{command}.md").read_text()))
    assert {option for option in options if not re.search(rf"{re.escape(option)}(?![\w.-]*\w)", text)} == set()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    """Serve the site on a free port of the loopback interface."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.browser
def test_a_question_is_answered_by_the_search_and_without_other_hosts(address, pages):
    page = pages.open(f"{address}/")
    page.get_by_role("link", name="Use it on a phone").wait_for()
    page.locator(".md-search__input").fill("two GPUs")
    page.locator(".md-search-result__link", has_text="Train on GPUs").first.click()
    page.get_by_role("heading", name="Several machines").wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("name", ["tutorial", "reference/commands/train", "reference/api/digitnet", "framing"])
def test_a_page_fits_on_the_screen_of_a_phone(name, address, pages):
    page = pages.open(f"{address}/{name}/", viewport={"width": 390, "height": 800})
    page.get_by_role("heading", level=1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
