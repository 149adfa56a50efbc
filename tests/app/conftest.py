import pytest

from tests.app.processes import App


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Return an app that the tests of a module share."""
    app = App(tmp_path_factory.mktemp("app"))
    yield app
    app.end()
