"""The page of the package: every public name, docstrings that Sphinx can read, and no warning."""

import re
from html import unescape
from importlib import import_module

import pytest
from sphinx_page import build

import slmkit
from slmkit import course
from slmkit.course.apipage import as_rst
from slmkit.paths import root

CONF = """
from slmkit.course import apipage
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}  # else added to a default that outlives this build
autodoc_preserve_defaults = True
smartquotes = False  # so that the text compares
nitpicky = True
nitpick_ignore_regex = [["py:.*", ".*"]]
def setup(app):
    apipage.setup(app)
"""


@pytest.fixture(scope="module")
def page():
    return (root() / "book" / "reference" / "api.md").read_text()


@pytest.fixture(scope="module")
def names(page):
    return re.findall(r"auto(?:class|function):: (\S+)", page)


@pytest.fixture(scope="module")
def built(tmp_path_factory, page):
    """The HTML of the page, and the warnings of its build."""
    return build(tmp_path_factory.mktemp("book"), {"conf.py": CONF, "index.md": page})


def test_every_public_name_is_there(names):
    functions = {name for name in slmkit.__all__ if callable(getattr(slmkit, name))}
    assert {f"slmkit.{name}" for name in functions} <= set(names)
    assert {f"slmkit.course.{name}" for name in course.__all__} <= set(names)
    for module in set(slmkit.__all__) - functions:
        assert [name for name in names if name.startswith(f"slmkit.{module}.")], module


def test_each_has_its_signature_and_its_docstring_without_a_warning(built, names):
    html, warnings = built
    assert warnings == ""
    text = " ".join(unescape(re.sub("<[^>]+>", "", html)).split())
    for name in names:
        assert f'id="{name}"' in html
        module, _, last = name.rpartition(".")
        said = getattr(import_module(module), last).__doc__.replace("`", "")
        assert " ".join(said.split()) in text, name
    assert re.search(r"Unique parameters of <code[^>]*><span[^>]*>Decoder\(config\)</span></code> by part", html)


def test_code_stays_code_and_the_rest_is_literal():
    assert as_rst("a `b` c") == "a \\ ``b``\\  c"
    assert as_rst("*x* and d_model, |y|") == "\\*x\\* and d\\_model, \\|y\\|"
    assert as_rst("`a\nb`s") == "\\ ``a\nb``\\ s"
