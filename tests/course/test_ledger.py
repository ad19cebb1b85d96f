"""The ledger's page holds every claim with its verdict, and the errata name every error."""

import re

import pytest
from sphinx_page import build

from slmkit.course import ledger
from slmkit.paths import root
from slmkit.survey import tables
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import OPEN, OWN_DATA, VERDICTS

ERRATA = (root() / "book" / "reference" / "errata.md").read_text()


CONF = """
from slmkit.course import ledger
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}  # else added to a default that outlives this build
def setup(app):
    ledger.setup(app)
"""
PAGE = """# Claims

```{claim-counts}
```

```{claim-table}
```

See {claim}`C30a` and {claim}`C999`.

```{toctree}
labs/00_x
```
"""


@pytest.fixture
def no_records(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    monkeypatch.setattr(tables, "root", lambda: tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The HTML of a page with everything that ledger.py adds, and the warnings of its build."""
    folder = tmp_path_factory.mktemp("book")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLMKIT_BUILD", str(folder / "build"))
        return build(folder, {"conf.py": CONF, "index.md": PAGE, "labs/00_x.md": "# A lab\n"})


def test_every_claim_has_its_line_and_its_details(built):
    html, _ = built
    ids = [row["id"] for row in rows("claims")]
    assert re.findall(r'<tr data-row="claim-\w+"><th [^>]+><a href="#claim-\w+">(\w+)</a>', html) == ids
    assert len(re.findall(r'<div class="slm-model" id="claim-\w+">', html)) == len(ids)
    places = [float(place) for place in re.findall(r'data-sort="([\d.]+)"', html)]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    assert '<a href="labs/00_x.html">00</a>' in html
    assert "<td>70</td>" in html
    line = next(line for line in html.splitlines() if 'data-row="claim-c5"' in line)
    assert OWN_DATA in line
    assert "The table of version 3 has 70 rows" in next(line for line in html.splitlines() if 'id="claim-c5"' in line)


def test_a_claim_without_a_result_says_so_and_a_record_says_where_it_was_made(no_records, tmp_path):
    claims = {claim["id"]: claim for claim in ledger.ledger()}
    assert claims["C28a"]["verdict"] == OPEN
    assert "none yet" in ledger.line(claims["C28a"], None)
    assert "to be trained by lab 05" in ledger.details(claims["C28a"], None)
    assert "recomputed from the survey" in ledger.details(claims["C9"], None)
    machine = {"cpu": "Abacus", "cores": 1, "memory_gb": 1, "gpu": None}
    record = {"lab": "05", "profile": "full", "date": "2026-01-02", "machine": machine, "seeds_used": 8, "effect": 0.1}
    assert "trained by lab 05, full profile, 2026-01-02, on Abacus, 1 core, 1 GB; 8 seeds" in ledger.details(
        claims["C28a"], record
    )
    refused = {name: value for name, value in record.items() if name != "seeds_used"}
    refused |= {"effect": None, "reason": "needs a phone"}
    assert "<dt>reason</dt><dd>needs a phone</dd>" in ledger.details(claims["C28a"], refused)


def test_the_counts_add_up(built):
    html, _ = built
    counts = dict(re.findall(r'<th scope="row">([^<]+)</th><td>(\d+)</td>', html))
    assert sum(map(int, counts.values())) == len(rows("claims"))
    assert set(counts) <= {*VERDICTS, OPEN}
    assert int(counts[OWN_DATA]) > 10


def test_a_claim_links_to_its_line_and_an_unknown_one_warns(built):
    html, warnings = built
    assert re.search(r'href="book/reference/ledger.html#claim-c30a"[^>]*>C30a</a>', html)
    assert "there is no claim C999" in warnings
    assert warnings.count("WARNING") == 1


def test_text_is_escaped():
    claim = ledger.ledger()[0] | {"statement": "a < b", "problem": "x & y"}
    assert "a &lt; b" in ledger.line(claim, None)
    assert "x &amp; y" in ledger.details(claim, None)


def test_the_errata_name_every_error_and_only_claims():
    named = set(re.findall(r"\{claim\}`(\w+)`", ERRATA))
    claims = {row["id"]: row for row in rows("claims")}
    assert named <= set(claims)
    assert {name for name, row in claims.items() if row["mark"] == "!"} <= named
