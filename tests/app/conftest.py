import pytest

from tests.app.processes import App


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Return an app that the tests of a module share."""
    app = App(tmp_path_factory.mktemp("app"))
    yield app
    app.end()


@pytest.fixture
def start_app(tmp_path):
    """Return a function that starts an app with options in the directory of the test; it ends with the test."""
    apps = []

    def start(*options: str) -> App:
        apps.append(App(tmp_path, *options))
        return apps[-1]

    yield start
    for app in apps:
        app.end()
