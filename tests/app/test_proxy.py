"""The sketchpad in other surroundings: proxies, paths, and applications of others."""

import io
import os
import pty
import re
import shutil
import ssl
import subprocess
import sys

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")
httpx = pytest.importorskip("httpx")

from digitnet.app.address import network_address  # noqa: E402
from digitnet.app.cli import main  # noqa: E402
from digitnet.app.routes import FOREVER, static_url  # noqa: E402
from tests.app.processes import DEADLINE, App, free_port, wait_for_port  # noqa: E402
from tests.conftest import ROOT  # noqa: E402

pytestmark = pytest.mark.slow
needs_nginx = pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("openssl")),
    reason="needs nginx and openssl: apt-get install nginx-light",
)


def one() -> bytes:
    image = Image.new("L", (280, 280), 255)
    image.paste(0, (130, 50, 150, 230))
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def stop(app: App) -> None:
    assert app.stop() == 130
    assert "Traceback" not in app.output


@pytest.mark.parametrize(
    "variables",
    [
        {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.org", "All_Proxy": "http://127.0.0.1:9"},
        {"All_Proxy": "http://127.0.0.1:9", "no_proxy": ""},
    ],
    ids=["lower case and socks", "upper case", "mixed case"],
)
def test_the_app_starts_if_a_proxy_is_set(tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    app = App(tmp_path, new=True)  # httpx reads the variables when it is imported
    stop(app)


NGINX = """
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
        {location}
    }}
}}
"""


def snippet(language: str) -> str:
    """Return the code block in a language about serving the sketchpad below a path."""
    section = (ROOT / "docs/sketchpad.md").read_text("utf-8").partition("### Below a path\n")[2]
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return block


@pytest.fixture
def below_a_path(tmp_path):
    """The address of the sketchpad below /digits/, behind nginx with TLS, as docs/sketchpad.md describes it."""
    certificate = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    certificate += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", *certificate], cwd=tmp_path, check=True, capture_output=True)
    app, port = App(tmp_path, "--root-path=/digits"), free_port()
    location = snippet("nginx").replace("http://127.0.0.1:7860/", app.url)
    (tmp_path / "nginx.conf").write_text(NGINX.format(directory=tmp_path, port=port, location=location))
    nginx = subprocess.Popen(["nginx", "-c", f"{tmp_path}/nginx.conf", "-p", tmp_path], stderr=subprocess.DEVNULL)
    wait_for_port(port)
    yield f"https://127.0.0.1:{port}/digits/"
    nginx.terminate()
    nginx.wait()
    stop(app)


@needs_nginx
def test_programs_use_the_app_below_a_path_with_tls(below_a_path, tmp_path):
    with httpx.Client(
        verify=ssl.create_default_context(cafile=f"{tmp_path}/cert.pem"), base_url=below_a_path
    ) as client:
        page = client.get("")
        assert page.status_code == 200
        assert f'"root":"{below_a_path.rstrip("/")}"' in page.text
        assert f'<meta property="og:url" content="{below_a_path}">' in page.text
        for name in ("icon.svg", "manifest.webmanifest"):
            assert client.get(static_url(name)).headers["cache-control"] == FOREVER
        origin = {"Origin": below_a_path.removesuffix("/digits/")}
        assert client.post("digitnet/classify", content=one(), headers=origin).json()["label"] == 1
        response = client.post("digitnet/classify", content=one(), headers={"Origin": "https://evil.example"})
        assert response.status_code == 403


@needs_nginx
@pytest.mark.browser
def test_a_browser_opens_the_page_below_a_path_with_tls(pages, below_a_path):
    page = pages.open(below_a_path, ignore_https_errors=True)
    page.get_by_role("button", name="Clear").wait_for()
    label = page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(280, 280), pen = canvas.getContext("2d");
            pen.fillStyle = "white"; pen.fillRect(0, 0, 280, 280);
            pen.fillStyle = "black"; pen.fillRect(130, 50, 20, 180);
            const body = await canvas.convertToBlob();
            return (await (await fetch("digitnet/classify", { method: "POST", body })).json()).label;
        }"""
    )
    assert label == 1
    page.close()  # before its server stops
    # Chromium repeats requests after it accepted the self-signed certificate, and gives up some on a busy machine.
    pages.errors[:] = [error for error in pages.errors if "ERR_TOO_MANY_RETRIES" not in error]


@pytest.mark.parametrize("path", ["digits", "/a b", "https://x/y", "/"])
def test_an_invalid_root_path_gets_one_line(path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--no-open", f"--root-path={path}", f"--port={free_port()}"])
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "must be a path such as /digits" in printed


@pytest.fixture
def mounted(tmp_path):
    """The address of the application of docs/sketchpad.md, served by uvicorn."""
    port = free_port()
    program = f"{snippet('python')}\nimport uvicorn\nuvicorn.run(app, port={port}, log_level='warning')\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait_for_port(port)
    yield f"http://127.0.0.1:{port}/digits/"
    process.terminate()
    printed = process.communicate(timeout=DEADLINE)[0]
    assert "Traceback" not in printed


@pytest.mark.browser
def test_a_mounted_sketchpad_keeps_its_limits_headers_theme_and_routes(mounted, tmp_path, pages):
    assert httpx.post(mounted + "digitnet/classify", content=one()).json()["label"] == 1
    assert httpx.post(mounted + "digitnet/corrections?digit=1", content=one()).status_code == 201
    assert len([*(tmp_path / "corrections").rglob("*.png")]) == 1
    assert httpx.post(mounted + "digitnet/classify", content=bytes(4_000_001)).status_code == 413
    assert httpx.post(mounted + "gradio_api/call/predict", json={"data": []}).status_code == 400
    evil = {"Origin": "http://evil.example"}
    assert httpx.post(mounted + "digitnet/classify", content=one(), headers=evil).status_code == 403
    response = httpx.get(mounted)
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert "--font: system-ui" in httpx.get(mounted + "theme.css").text
    page = pages.open(mounted)
    page.get_by_role("button", name="Clear").wait_for()


def test_the_head_is_of_the_sketchpad_and_hashed_files_are_kept(tmp_path):
    app = App(tmp_path)
    page = httpx.get(app.url)
    assert int(page.headers.get("content-length", len(page.content))) == len(page.content)
    head = page.text.partition("</head>")[0]
    assert re.findall(r'property="og:title" content="([^"]*)"', head) == ["digitnet: draw a digit"]
    assert "twitter:" not in head
    assert "https://" not in head.partition("window.gradio_config")[0]
    assert f'<meta property="og:url" content="{app.url}">' in head
    for url in re.findall(r'<link rel="(?:icon|manifest|apple-touch-icon)" href="([^"]*)"', head):
        assert httpx.get(app.url + url).status_code == 200
    (script,) = re.findall(r'src="\./(assets/index-[^"]*\.js)"', head)
    assert httpx.get(app.url + script).headers["cache-control"] == FOREVER
    assert "cache-control" not in httpx.get(app.url + "assets/none-12345678.js").headers
    stop(app)


@pytest.mark.browser
def test_the_language_of_the_page_is_english_in_any_browser(pages, tmp_path):
    app = App(tmp_path)
    page = pages.open(app.url, locale="ar")
    page.get_by_role("button", name="Clear").wait_for()
    assert page.evaluate("[document.documentElement.lang, document.title]") == ["en", "digitnet: draw a digit"]
    page.close()
    stop(app)


@pytest.mark.skipif(network_address() is None, reason="needs a network interface")
def test_the_address_for_phones_is_printed_with_a_code_on_a_terminal(tmp_path):
    port = free_port()
    command = [sys.executable, str(ROOT / "app.py"), "--no-open", "--host=0.0.0.0", f"--port={port}"]
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=terminal, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    os.close(terminal)
    printed = b""
    while printed.count(b"\n") < 12:
        printed += os.read(main, 10_000)
    process.terminate()
    process.wait(DEADLINE)
    os.close(main)
    url = f"http://{network_address()}:{port}/"
    assert f"On a phone in the same network, open {url}" in printed.decode()
    assert "\N{UPPER HALF BLOCK}" in printed.decode()


@pytest.mark.skipif(network_address() is None, reason="needs a network interface")
def test_without_a_terminal_there_is_no_code(tmp_path):
    app = App(tmp_path, "--host=0.0.0.0")
    assert httpx.get(f"http://{network_address()}:{app.port}/").status_code == 200
    assert app.stop() == 130
    assert app.output.splitlines()[2:] == [  # after model and address
        f"On a phone in the same network, open http://{network_address()}:{app.port}/",
        "Interrupted (SIGINT).",
    ]
