"""The ledger of claims as a page: what the survey states, what was measured, and how many claims stand at each verdict.

- {claim-counts}, a directive: a small table of verdicts and how many claims have each.
- {claim-table}, a directive: every claim with a line of details under it; book/extra/widgets/tables.js adds filters.
- {claim}`C5`, a role: the claim's id as a link to its line in the ledger. An unknown id warns, and -W stops the build.
"""

from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from slmkit.course.machine import in_words
from slmkit.survey.tables import findings, known_records, rows
from slmkit.survey.verdicts import NOT_TESTABLE, OPEN, VERDICTS

logger = logging.getLogger(__name__)

PAGE = "book/reference/ledger"
HEADS = ("claim", "statement", "kind", "survey", "ours", "verdict", "lab")
FILTERED = ("kind", "verdict", "lab")
WIDE = ' style="min-width:13rem"'  # on a phone the table scrolls instead of breaking sentences after every word
MARKS = {"K": "boxed insight", "Q": "number", "!": "error"}
# What each verdict means, for the table of counts.
MEANS = dict(zip((*VERDICTS, OPEN), (
    "what was measured agrees",
    "the interval of what was measured does not decide",
    "what was measured, or what was published, says otherwise",
    "the tables and figures behind the sentence say otherwise",
    "it needs what the labs do not have",
    "a lab will test it",
)))  # fmt: skip
HOW = {"statistics": "recomputed from the survey's tables", "computed": "computed from published configurations"}


def ledger() -> list[dict[str, str]]:
    """The rows of claims.csv with `value`, `interval` and `verdict` filled in; OPEN where nothing is known yet."""
    found = findings()
    return [row | {"interval": "", "verdict": OPEN} | found.get(row["id"], {}) for row in rows("claims")]


def anchor(claim: str) -> str:
    """The address of a claim within the ledger's page."""
    return f"claim-{claim.lower()}"


class ClaimCounts(SphinxDirective):
    def run(self):
        claims = ledger()
        verdicts = [claim["verdict"] for claim in claims]
        lines = "".join(
            f'<tr><th scope="row">{name}</th><td>{verdicts.count(name)}</td><td>{meaning}</td></tr>'
            for name, meaning in MEANS.items()
            if name in verdicts or name != NOT_TESTABLE
        )
        head = '<tr><th scope="col">verdict</th><th scope="col">claims</th><th scope="col">what it says</th></tr>'
        table = f'<table class="table"><thead>{head}</thead><tbody>{lines}</tbody></table>'
        return [nodes.raw("", table, format="html")]


class ClaimTable(SphinxDirective):
    def run(self):
        claims, records = ledger(), known_records()
        address = self.env.app.builder.get_relative_uri
        labs = {name[5:7]: address(self.env.docname, name) for name in self.env.found_docs if name.startswith("labs/")}
        heads = "".join(
            f'<th scope="col"{" data-filter" * (name in FILTERED)}{WIDE * (name == "statement")}>{name}</th>'
            for name in HEADS
        )
        body = "\n".join(
            line(claim, labs.get(claim["lab"])) + details(claim, records.get(claim["id"])) for claim in claims
        )
        table = (
            '<div class="slm-scroll"><table class="table slm-filter slm-claims" data-noun="claims">\n'
            f"<caption>The {len(claims)} claims in the survey's order.</caption>\n"
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )
        return [nodes.raw("", table, format="html")]


def line(claim: dict[str, str], lab: str | None) -> str:
    """A claim's line. `lab` is the address of its lab's page, where there is one."""
    place = int(claim["number"]) + (ord(claim["id"][-1]) - 96) / 100 * claim["id"][-1].isalpha()
    link = f'<a href="{lab}">{claim["lab"]}</a>' if lab else claim["lab"]
    cells = [
        f"<td>{escape(claim['statement'])}</td>",
        f'<td data-group="{MARKS[claim["mark"]]}">{MARKS[claim["mark"]]}</td>',
        f"<td>{escape(claim['survey_value']) or blank('no number')}</td>",
        f"<td>{escape(claim['value']) or blank('none yet')}</td>",
        f'<td data-group="{claim["verdict"]}">{claim["verdict"]}</td>',
        f'<td data-group="{claim["lab"]}">{link}</td>',
    ]
    first = f'<th scope="row" data-sort="{place:.2f}"><a href="#{anchor(claim["id"])}">{claim["id"]}</a></th>'
    return f'<tr data-row="{anchor(claim["id"])}">{first}{"".join(cells)}</tr>\n'


def details(claim: dict[str, str], record: dict | None) -> str:
    """The line under a claim's: what is measured, by which rule, how, and what speaks against it."""
    tolerance = "" if float(claim["tolerance"] or 0) == 0 else f" ± {claim['tolerance']}"
    made = HOW.get(claim["kind"], f"to be {claim['kind']} by lab {claim['lab']}")
    if record and claim["kind"] not in HOW:
        made = f"{claim['kind']} by lab {record['lab']}, {record['profile']} profile, {record['date']}"
        made += f", on {in_words(record['machine'])}; {record['seeds_used']} seeds" if record.get("effect") else ""
    terms = {
        "section": claim["section"],
        "measured": claim["metric"],
        "holds when": f"{claim['rule']} {claim['expected']}{tolerance}",
        "95% interval": claim["interval"],
        "how": made,
        "reason": (record or {}).get("reason", ""),
        "problem": claim["problem"],
    }
    listed = "".join(f"<dt>{term}</dt><dd>{escape(text)}</dd>" for term, text in terms.items() if text)
    inner = f'<div class="slm-model" id="{anchor(claim["id"])}"><dl>{listed}</dl></div>'
    opened = f"<details><summary>{claim['id']} in detail</summary>{inner}</details>"
    return f'<tr class="more"><td colspan="{len(HEADS)}">{opened}</td></tr>'


def blank(text: str) -> str:
    """A cell without a value; it sorts last."""
    return f'<span class="slm-blank">{text}</span>'


class Claim(SphinxRole):
    def run(self):
        if self.text not in {row["id"] for row in rows("claims")}:
            logger.warning("there is no claim %s in slmkit/survey/claims.csv", self.text, location=self.get_location(),
                           type="slmkit", subtype="claim")  # fmt: skip
            return [nodes.Text(self.text)], []
        page = self.env.app.builder.get_relative_uri(self.env.docname, PAGE)
        return [nodes.reference("", self.text, refuri=f"{page}#{anchor(self.text)}")], []


def setup(app: Sphinx):
    app.add_directive("claim-counts", ClaimCounts)
    app.add_directive("claim-table", ClaimTable)
    app.add_role("claim", Claim())
