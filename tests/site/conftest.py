"""One Chromium for all checks of the site, and the site over HTTP."""

import pytest
from chromium import Browser
from host import serve
from test_pages import SITE


@pytest.fixture(scope="session")
def browser():
    opened = Browser()
    yield opened
    opened.close()


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
    with serve(SITE) as address:
        yield address
