"""One Chromium for all checks of the site, and the site over HTTP."""

import functools
import http.server
import shutil
import threading

import pytest
from chromium import Browser
from test_pages import SITE


@pytest.fixture(scope="session")
def browser():
    opened = Browser()
    yield opened
    opened.driver.quit()
    shutil.rmtree(opened.profile, ignore_errors=True)


@pytest.fixture
def page(request, browser):
    """The test file's PAGE, open; whatever the test does there, the console stays quiet and nobody else is asked."""
    browser.open(request.module.PAGE)
    yield browser
    assert browser.complaints() == []
    assert all(address.startswith(SITE.as_uri()) for address in browser.requests())


@pytest.fixture(scope="session")
def served():
    """The site over HTTP, in a subfolder of its server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def translate_path(self, path):
            return super().translate_path(path.removeprefix("/some/folder"))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/some/folder"
    server.shutdown()
