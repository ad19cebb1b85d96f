"""The ledger's page holds every claim with its verdict, and the errata name every error."""

import re
from types import SimpleNamespace

import pytest

from slmkit.course import ledger
from slmkit.paths import root
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import OPEN, OWN_DATA, VERDICTS

ERRATA = (root() / "book" / "reference" / "errata.md").read_text()


@pytest.fixture
def no_records(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))


def directive(kind) -> str:
    """The HTML of a directive on a page beside one built lab."""
    builder = SimpleNamespace(get_relative_uri=lambda page, target: f"../../{target}.html")
    env = SimpleNamespace(app=SimpleNamespace(builder=builder), docname=ledger.PAGE, found_docs={"labs/00_x"})
    made = kind.__new__(kind)
    made.state = SimpleNamespace(document=SimpleNamespace(settings=SimpleNamespace(env=env)))
    (node,) = made.run()
    return node.astext()


def test_every_claim_has_its_line_and_its_details(no_records):
    html = directive(ledger.ClaimTable)
    ids = [row["id"] for row in rows("claims")]
    assert re.findall(r'<tr data-row="claim-\w+"><th [^>]+><a href="#claim-\w+">(\w+)</a>', html) == ids
    assert len(re.findall(r'<div class="slm-model" id="claim-\w+">', html)) == len(ids)
    places = [float(place) for place in re.findall(r'data-sort="([\d.]+)"', html)]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    assert '<a href="../../labs/00_x.html">00</a>' in html
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
    refused = record | {"effect": None, "seeds_used": None, "reason": "needs a phone"}
    assert "<dt>reason</dt><dd>needs a phone</dd>" in ledger.details(claims["C28a"], refused)


def test_the_counts_add_up(no_records):
    html = directive(ledger.ClaimCounts)
    counts = dict(re.findall(r'<th scope="row">([^<]+)</th><td>(\d+)</td>', html))
    assert sum(map(int, counts.values())) == len(rows("claims"))
    assert set(counts) <= {*VERDICTS, OPEN}
    assert int(counts[OWN_DATA]) > 10


def test_text_is_escaped():
    claim = ledger.ledger()[0] | {"statement": "a < b", "problem": "x & y"}
    assert "a &lt; b" in ledger.line(claim, None)
    assert "x &amp; y" in ledger.details(claim, None)


def test_the_errata_name_every_error_and_only_claims():
    named = set(re.findall(r"\{claim\}`(\w+)`", ERRATA))
    claims = {row["id"]: row for row in rows("claims")}
    assert named <= set(claims)
    assert {name for name, row in claims.items() if row["mark"] == "!"} <= named
