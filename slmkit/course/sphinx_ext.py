"""The Sphinx extension of the book: labs as pages, facts and figures from code, MathJax from the site itself.

- {fact}`name` is replaced by what FACTS[name]() returns (slmkit/course/facts.py).
- {drawn} name, a directive with a caption and a required :alt:, shows the figure that FIGURES[name]() returns.
- {lab-status}, a directive, is the table of the lab runs that made this site.
Each warns when its source is gone, and with -W the build stops.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from slmkit.course import (
    apipage,
    calculator,
    capability,
    datasets,
    glossary,
    icons,
    images,
    killtable,
    labclaims,
    ledger,
    modelpages,
    pages,
    publishing,
    style,
    teaching,
    techniques,
    widgets,
)
from slmkit.course.lab import duration, last_run
from slmkit.course.machine import in_words
from slmkit.course.source import labs
from slmkit.paths import build_folder

logger = logging.getLogger(__name__)

# Of MathJax's 24 MB, what a page with TeX input and HTML output can ask for. The parts weigh less than the one file of
# all, tex-chtml.js, because they leave out the menu.
MATHJAX = ("input/tex", "output/chtml", "a11y/assistive-mml")
MATHJAX_FILES = [f"{part}.js" for part in ("startup", "core", *MATHJAX, "output/chtml/fonts/tex")]
MATHJAX_FOLDERS = ("input/tex/extensions", "output/chtml/fonts/woff-v2")


class Fact(SphinxRole):
    """A number or a word from the data, computed when the page is built."""

    def run(self):
        from slmkit.course.facts import FACTS

        try:
            return [nodes.Text(FACTS[self.text]())], []
        except Exception as error:
            known = self.text in FACTS
            why = f"{type(error).__name__}: {error}" if known else "slmkit/course/facts.py has no such name"
            logger.warning("fact %s: %s", self.text, why, location=self.get_location(), type="slmkit", subtype="fact")
            return [nodes.Text("?")], []


class Drawn(SphinxDirective):
    """A figure drawn from the data when the page is built, as SVG in build/figures."""

    required_arguments = 1
    has_content = True
    option_spec = {"alt": directives.unchanged_required, "name": directives.unchanged}  # noqa: RUF012

    def run(self):
        name = self.arguments[0]
        if not self.options.get("alt"):
            return self._warn(name, "has no :alt: text for readers who cannot see it")
        try:
            path = draw(name)
        except KeyError:
            return self._warn(name, "is not in slmkit/course/figures.py")
        except Exception as error:
            return self._warn(name, f"cannot be drawn, {type(error).__name__}: {error}")
        address = "/" + os.path.relpath(path, self.env.srcdir)
        figure = nodes.figure("", nodes.image(uri=address, alt=self.options["alt"]), align="center")
        text = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, text)
        if not text.children or not isinstance(text[0], nodes.paragraph):
            return self._warn(name, "has no caption; write one as the body of the directive")
        figure += nodes.caption("", "", *text[0].children)
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]

    def _warn(self, name: str, why: str):
        logger.warning("figure %s %s", name, why, location=self.get_location(), type="slmkit", subtype="drawn")
        return []


def draw(name: str) -> Path:
    """Draws the figure of that name as SVG, the same bytes each time. Raises KeyError when there is none."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from slmkit.course.figures import FIGURES

    function = FIGURES[name]
    with matplotlib.rc_context():
        style.settings()
        figure = function()
        path = build_folder() / "figures" / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")  # renamed when whole: another build may be copying the figure
        figure.savefig(part, format="svg", metadata={"Date": None})
        os.replace(part, path)
    pyplot.close(figure)
    return path


class LabStatus(SphinxDirective):
    """What the lab runs behind this site took, and on what."""

    def run(self):
        runs = {lab: last_run(lab.name[:2], pages.profile()) for lab in labs()}
        if missing := [lab.name for lab, run in runs.items() if run is None]:
            logger.warning("lab status: no run of %s is known", missing[0], location=self.get_location(),
                           type="slmkit", subtype="lab")  # fmt: skip
        runs = {lab: run for lab, run in runs.items() if run}
        lines = ["| lab | profile | processor time | by the clock | peak memory | date |", "|---|---|--:|--:|--:|---|"]
        for lab, run in runs.items():
            times = f"{duration(run['cpu_s'])} | {duration(run['wall_s'])} | {run['peak_mb']} MB"
            lines.append(f"| [](/labs/{lab.stem}) | {run['profile']} | {times} | {run['date']} |")
        lines += ["", "| machine | labs |", "|---|---|", *_shared(runs, lambda run: in_words(run["machine"]))]
        lines += ["", "| versions | labs |", "|---|---|", *_shared(runs, _versions)]
        found = nodes.Element()
        self.state.nested_parse(StringList(lines), 0, found)
        return found.children


def _versions(run: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in run["versions"].items())


def _shared(runs: dict, describe) -> list[str]:
    """A table's rows: each description, and the labs that it fits."""
    found = {}
    for lab, run in runs.items():
        found.setdefault(describe(run), []).append(lab.name[:2])
    return [f"| {text} | {', '.join(numbers)} |" for text, numbers in found.items()]


def point_to_mathjax(app: Sphinx, config):
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config = {"loader": {"load": list(MATHJAX)}}


def copy_mathjax(app: Sphinx):
    """MathJax from its Python package into the site, so that a page asks nobody else for it."""
    if app.builder.format != "html":
        return
    source = Path(find_spec("mathjax").submodule_search_locations[0], "static", "mathjax", "es5")
    target = Path(app.outdir, "_static", "mathjax")
    for name in MATHJAX_FOLDERS:
        shutil.copytree(source / name, target / name, dirs_exist_ok=True)
    for name in MATHJAX_FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def setup(app: Sphinx) -> dict:
    app.add_config_value("slmkit_published_branch", "gh-pages", "html")
    app.add_role("fact", Fact())
    app.add_directive("drawn", Drawn)
    app.add_directive("lab-status", LabStatus)
    app.connect("config-inited", point_to_mathjax)
    app.connect("builder-inited", copy_mathjax)
    for part in (
        pages, ledger, labclaims, apipage, glossary, modelpages, calculator, datasets, capability, techniques,
        killtable, teaching, widgets, publishing, icons, images,
    ):  # fmt: skip
        part.setup(app)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
