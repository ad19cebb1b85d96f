"""The index of claims by lab leaves out no claim, and says of each what decides it."""

import ast
import re

import pytest
from sphinx_page import build

from slmkit.course import labclaims
from slmkit.course.ledger import anchor
from slmkit.course.source import labs
from slmkit.survey.evidence import DECIDED
from slmkit.survey.tables import rows

CONF = """
from slmkit.course import labclaims
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}  # else added to a default that outlives this build
def setup(app):
    labclaims.setup(app)
"""
PAGE = """# By lab

```{claims-by-lab}
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The HTML of a page with the index, and the warnings of its build."""
    folder = tmp_path_factory.mktemp("book")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLMKIT_BUILD", str(folder / "build"))
        return build(folder, {"conf.py": CONF, "index.md": PAGE})


def test_the_page_has_every_lab_and_every_claim(built):
    html, warnings = built
    assert warnings == ""
    linked = set(re.findall(r'<th scope="row"><a href="book/reference/ledger.html#([\w-]+)">', html))
    assert linked == {anchor(row["id"]) for row in rows("claims")}
    for lab in labs():
        assert f'<section id="lab-{lab.name[:2]}">' in html
        assert f'href="labs/{lab.stem}.html">The lab</a>' in html
    told = r"Lab 05: Feed-forward layer, .*\n<p><a [^>]*>The lab</a> has 2 claims, of which it measures 2 itself"
    assert re.search(told, html)
    assert "has no claim of its own" in html


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_what_a_lab_records_is_found(lab):
    calls = [node for node in ast.walk(ast.parse(lab.read_text())) if isinstance(node, ast.Call)]
    named = [node.args[0].value for node in calls if getattr(node.func, "id", "") == "record"]
    assert sorted(labclaims.recorded(lab)) == sorted(named)


def test_what_decides_a_claim():
    found = [claim for claims in labclaims.by_lab().values() for claim in claims]
    claims = {claim["id"]: claim for claim in found if "this lab" not in claim["by"]}
    own = {claim["id"]: claim["by"] for claim in found if "this lab" in claim["by"]}
    assert all((claim["by"] == "") == (name not in DECIDED) for name, claim in claims.items())
    assert claims["C5"]["by"] == "the survey's tables"
    assert own["C28a"] == "this lab"
    assert own["C9"] == "the survey's tables and this lab"
    assert own["C59"] == "the survey's tables and this lab"  # a claim on capability, which lab 01 computes
    assert own["C13"] == "published configurations and this lab"


def test_what_a_lab_measures_is_counted():
    claims = [{"by": "the survey's tables and this lab"}, {"by": "the survey's tables"}, {"by": ""}]
    assert labclaims.in_words(claims) == " has 3 claims, of which it measures 1 itself."
    assert labclaims.in_words(claims[1:2]) == " has 1 claim, of which it measures none itself."


def test_text_is_escaped():
    claim = rows("claims")[0] | {"statement": "a < b", "by": "", "verdict": "open"}
    assert "<td>a &lt; b</td>" in labclaims.table([claim], "page.html")
