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
