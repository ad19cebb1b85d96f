"""What a site needs once it is published, and the line at the foot of each page that says what it was built from.

One setting, html.baseurl in _config.yml, is the address at which the site will stand. With it each page names its own
address (a canonical link, by Sphinx) and describes itself to those who share it, and the site gets a map of its pages.
Without it nothing of this is written: a site that does not know its address cannot name one.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib import metadata
from pathlib import Path
from textwrap import shorten
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from slmkit.course import style
from slmkit.course.figures_survey import months
from slmkit.course.modelpages import parameters
from slmkit.paths import root
from slmkit.survey import statistics

logger = logging.getLogger(__name__)

CARD = "card.png"  # shown beside a link to the book; 1200 by 630 pixels is the size that is asked for
WIDTH, HEIGHT = 1200, 630
MOTTO = "A survey of small language models, as a course that runs"


def address(app: Sphinx, page: str = "") -> str:
    """The address of a file of the published site; "" when none is set."""
    base = app.config.html_baseurl
    return f"{base.rstrip('/')}/{page}" if base else ""


def check_address(app: Sphinx, config):
    parts = urlsplit(config.html_baseurl)
    if config.html_baseurl and not (parts.scheme in ("http", "https") and parts.netloc):
        logger.warning("html.baseurl is %r; it has to begin with https:// and the name of a host",
                       config.html_baseurl, type="slmkit", subtype="address")  # fmt: skip


def describe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree):
    """Runs before a page is written: its foot, and where the address is known what Open Graph and Twitter read."""
    context["built_from"] = built_from(root())
    if doctree is not None and address(app):
        head = tags(app, pagename, doctree)
        context["metatags"] += head
        if pagename == app.config.root_doc != "index":
            lead_on(app, head)


def tags(app: Sphinx, pagename: str, doctree: nodes.document) -> str:
    """The <meta> elements of a page. Its description is its first paragraph, cut to what previews show."""
    first = next(iter(doctree.findall(nodes.paragraph)), None)
    text = shorten(first.astext() if first else MOTTO, 200, placeholder=" …")
    found = {
        "og:title": app.env.titles[pagename].astext(),
        "og:type": "website",
        "og:url": address(app, app.builder.get_target_uri(pagename)),
        "og:site_name": app.config.html_title,
        "og:description": text,
        "og:image": address(app, f"_static/{CARD}"),
        "og:image:width": str(WIDTH),
        "og:image:height": str(HEIGHT),
        "og:image:alt": f"{app.config.html_title}. {MOTTO}.",
    }
    lines = [f'<meta property="{key}" content="{escape(value)}" />' for key, value in found.items()]
    lines += [f'<meta name="description" content="{escape(text)}" />']
    lines += ['<meta name="twitter:card" content="summary_large_image" />']
    return "\n".join(lines) + "\n"


def lead_on(app: Sphinx, head: str):
    """An index.html that leads to the book's first page and describes it, since not every program follows."""
    target, title = app.builder.get_target_uri(app.config.root_doc), escape(app.config.html_title)
    Path(app.outdir, "index.html").write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8" /><title>{title}</title>\n'
        f'<meta http-equiv="Refresh" content="0; url={target}" />\n'
        f'<link rel="canonical" href="{escape(address(app, target))}" />\n{head}</head>\n'
        f'<body><a href="{target}">{title}</a></body></html>\n',
        encoding="utf-8",
    )


def finish(app: Sphinx, exception: Exception | None):
    """The map of the site and the card."""
    if exception or app.builder.name != "html" or not address(app):
        return
    pages = [address(app, app.builder.get_target_uri(page)) for page in sorted(app.env.found_docs)]
    entries = "".join(f"<url><loc>{escape(page)}</loc></url>\n" for page in pages)
    sitemap = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>\n'
    out = Path(app.outdir)
    (out / "sitemap.xml").write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{sitemap}')
    if urlsplit(address(app)).path == "/":  # read at the root of a host alone
        (out / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {address(app, 'sitemap.xml')}\n")
    card(out / "_static" / CARD, app.config.html_title)


def card(path: Path, title: str):
    """Draws the picture that stands beside a shared link: the survey's models by release and size, under the title."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    models = statistics.listed("v3")
    with matplotlib.rc_context():
        style.settings()
        matplotlib.rcParams.update({"figure.constrained_layout.use": False, "font.size": 17})
        figure = pyplot.figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
        figure.text(0.06, 0.83, title, fontsize=38, fontweight="bold")
        figure.text(0.06, 0.74, MOTTO, fontsize=21, color="#444444")
        axis = figure.add_axes((0.1, 0.14, 0.84, 0.52))
        releases, sizes = months([row["release"] for row in models]), [parameters(row) for row in models]
        axis.plot(releases, sizes, "o", markersize=11, alpha=0.75)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_yscale("log")
        axis.set_ylabel("parameters")
        figure.savefig(path, format="png", metadata={"Software": None})
    pyplot.close(figure)


@cache
def built_from(folder: Path) -> str:
    """What a page was built from: versions, commit, day. The day is SOURCE_DATE_EPOCH's, else that of the commit, so
    that the same commit gives the same page."""
    known = [f"slmkit {metadata.version('slmkit')}", f"torch {metadata.version('torch')}"]
    known += [f"Python {platform.python_version()}"]
    # Twelve digits: git's own choice of how many depends on what else the clone holds.
    commit = _git(folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or _git(folder, "log", "-1", "--format=%ct")
    known += [f"commit {commit}"] if commit else []
    known += [datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d")] if seconds else []
    return " · ".join(known)


def _git(folder: Path, *words: str) -> str:
    """What git says; "" where there is no clone or no git."""
    try:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def setup(app: Sphinx):
    app.connect("config-inited", check_address)
    app.connect("html-page-context", describe)
    app.connect("build-finished", finish)
