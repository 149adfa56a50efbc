import pytest

from tests.app.drawing import opened
from tests.app.processes import App
from tests.conftest import Pages


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


@pytest.fixture(scope="module")
def shared_pages(browser):
    """Return the record of the page that the tests of a module share."""
    pages = Pages(browser)
    yield pages
    pages.close()


@pytest.fixture
def page(shared_pages, app):
    """Return a page of the app without a drawing, in a tab that the tests of a module share: it is loaded sooner."""
    shared_pages.errors.clear()
    if shared_pages.contexts:
        (page,) = shared_pages.contexts[0].pages
        page.goto(app.url)
        page.get_by_role("button", name="Clear").wait_for()
    else:
        page = opened(shared_pages, app)
    yield page
    page.mouse.up()
    page.unroute_all()
    page.evaluate("sessionStorage.clear()")
    shared_pages.check()
    page.goto("about:blank")  # whose errors belong to no test
