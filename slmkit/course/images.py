"""Figures that say their size in the page, so that the text below stays where it is while they come."""

import re
from pathlib import Path

from sphinx.application import Sphinx

IMAGE = re.compile(r'<img (?=[^>]*src="[^"]*_images/([^"/]+\.svg)")(?![^>]* width=)')
SIZE = re.compile(r'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"')


def size_of(path: Path) -> str:
    """`width="…" height="…" ` in pixels, as matplotlib wrote them into the figure; "" for another kind of figure."""
    found = SIZE.search(path.read_text(encoding="utf-8")[:2000])
    return 'width="{:.0f}" height="{:.0f}" '.format(*(float(side) * 4 / 3 for side in found.groups())) if found else ""


def finish(app: Sphinx, pagename: str, templatename: str, context: dict, doctree):
    """Runs before a page is written; the figures themselves are copied later, so they are read where they come from."""
    if body := context.get("body"):
        sources = {name: Path(app.srcdir, source) for source, name in app.builder.images.items()}
        context["body"] = IMAGE.sub(lambda found: f"<img {size_of(sources[found[1]])}", body)


def setup(app: Sphinx):
    app.connect("html-page-context", finish)
