import socket
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from digitnet.app import cli, mounting
from digitnet.app.corrections import Corrections
from digitnet.errors import ConfigError


@pytest.fixture
def launch(monkeypatch):
    """Run the command with a stand-in for the page, and return what is passed to Gradio's `launch`."""
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setattr(cli, "check_address", lambda host, port: None)

    def launch(*options):
        passed = {}

        def record(**arguments):
            passed.update(arguments)
            return None, f"http://{arguments['server_name']}/", None

        def build_demo(classifier, corrections):
            passed["corrections"] = corrections
            return SimpleNamespace(launch=record, block_thread=lambda: None, close=lambda verbose: None)

        monkeypatch.setattr(cli, "build_demo", build_demo)
        cli.main(list(options))
        return passed

    return launch


def client_of(passed, host):
    """Return a client that sends requests for this host through the middleware that Gradio was given."""
    site = Starlette(
        routes=[Route("/", lambda request: PlainTextResponse("the page"))],
        middleware=passed["app_kwargs"]["middleware"],
    )
    return TestClient(site, base_url=f"http://{host}")


@pytest.mark.parametrize(
    ("options", "answered", "refused"),
    [
        ([], ["127.0.0.1", "localhost"], ["evil.example"]),
        (["--host=0.0.0.0"], ["127.0.0.1", "laptop.lan"], []),
        (["--share"], ["tunnel.example"], []),
        (["--host=0.0.0.0", "--allow-host=a.example", "--allow-host=b.example"], ["a.example", "b.example"],
         ["c.example"]),
    ],
)  # fmt: skip
def test_requests_are_answered_by_the_names_of_the_host_only(launch, options, answered, refused):
    passed = launch(*options)
    assert [client_of(passed, host).get("/").status_code for host in answered] == [200] * len(answered)
    assert [client_of(passed, host).get("/").status_code for host in refused] == [400] * len(refused)


@pytest.mark.parametrize(
    ("options", "space", "sites"),
    [
        ([], None, []),
        (["--allow-frame=https://a.example"], None, ["https://a.example"]),
        (["--allow-frame=http://localhost:8080"], None, ["http://localhost:8080"]),
        ([], "me/digits", ["https://huggingface.co"]),
    ],
)
def test_named_sites_and_hugging_face_on_its_own_servers_may_show_the_page_in_a_frame(
    launch, monkeypatch, options, space, sites
):
    if space:
        monkeypatch.setenv("SPACE_ID", space)
    policy = client_of(launch(*options), "127.0.0.1").get("/").headers["Content-Security-Policy"]
    (ancestors,) = [part.split()[1:] for part in policy.split(";") if part.strip().startswith("frame-ancestors")]
    assert ancestors == ["'self'", *sites]


@pytest.mark.parametrize(
    "site", ["https://a.example; script-src *", "a.example", "https://a.example/path", "https://a.example b", "*", ""]
)
def test_a_site_that_is_not_an_origin_is_refused(launch, monkeypatch, site, capsys):
    monkeypatch.setattr(mounting, "build_demo", lambda *_: SimpleNamespace())
    with pytest.raises(SystemExit):
        launch(f"--allow-frame={site}")
    assert f"is {site!r}; it must be an origin, scheme://host[:port], such as" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="it must be an origin"):
        mounting.mount(FastAPI(), "/digits", frame_ancestors=[site])


def test_corrections_in_a_file_are_refused_at_the_start(launch, tmp_path, capsys):
    (tmp_path / "file").write_text("text")
    with pytest.raises(SystemExit):
        launch(f"--corrections={tmp_path / 'file'}")
    assert "is not a directory; it must be" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="is not a directory; it must be"):
        mounting.mount(FastAPI(), "/digits", corrections=Corrections(tmp_path / "file"))


def test_the_app_is_served_on_loopback_unless_an_option_or_gradios_variable_names_another_host(launch, monkeypatch):
    assert launch()["server_name"] == "127.0.0.1"
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert launch()["server_name"] == "0.0.0.0"
    assert launch("--host=127.0.0.1")["server_name"] == "127.0.0.1"


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_out_of_range_is_refused(port):
    with pytest.raises(ConfigError, match=f"port is {port}; it must be from 1 to 65535"):
        cli.check_address("127.0.0.1", port)


@pytest.mark.parametrize("host", ["::1", "localhost:80"])
def test_a_host_with_a_colon_is_refused(host):
    with pytest.raises(ConfigError, match=f"host is {host}; it must be a name or an IPv4 address"):
        cli.check_address(host, 7860)


def test_a_busy_port_is_refused_with_another_one_to_use_and_a_free_one_is_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Cannot serve on 127\.0\.0\.1, port {port}: .*: --port {port + 1}$"):
            cli.check_address("127.0.0.1", port)
    cli.check_address("127.0.0.1", port)


def test_the_port_after_the_last_one_is_the_first():
    with socket.create_server(("127.0.0.1", 65535)), pytest.raises(ConfigError, match=r"Use another port: --port 1$"):
        cli.check_address("127.0.0.1", 65535)


def test_a_name_that_cannot_be_resolved_is_not_called_a_problem_of_the_port():
    with pytest.raises(ConfigError, match=r"Use another host, for example --host 127\.0\.0\.1$"):
        cli.check_address("digits.invalid", 7860)


def test_the_page_offers_corrections_unless_they_are_disabled(launch):
    assert launch()["corrections"] is not None
    assert launch("--no-corrections")["corrections"] is None
    assert launch("--no-corrections", "--corrections=mine")["corrections"] is None


def test_the_address_and_the_way_to_stop_are_printed(launch, capsys):
    launch("--host=0.0.0.0")
    assert "Open http://0.0.0.0/  (press Ctrl-C to stop)" in capsys.readouterr().out
