"""The index of claims by lab: which claims have their place in which lab, and which of them that lab itself measures.

{claims-by-lab}, a directive: a section a lab, from claims.csv and the calls of `record` in the labs' sources.
"""

import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from slmkit.course import ledger
from slmkit.course.progress import overview
from slmkit.course.source import labs
from slmkit.survey.evidence import DECIDED

HEADS = ("claim", "statement", "decided by", "verdict")
TABLES = {"statistics": "the survey's tables", "computed": "published configurations"}


def recorded(lab: Path) -> list[str]:
    """The claims that a lab measures, in the order of its calls of `record`."""
    return re.findall(r'\brecord\("(C\w+)"', lab.read_text(encoding="utf-8"))


def by_lab() -> dict[Path, list[dict[str, str]]]:
    """For each lab the claims that claims.csv gives to it or that it records, in the survey's order.

    `by` of a claim says what decides it: the lab, the survey's tables, or both; empty when nothing does yet.
    """
    claims, found = ledger.ledger(), {}
    for lab in labs():
        measured = recorded(lab)
        found[lab] = [claim | {"by": _decided(claim, measured)} for claim in claims
                      if claim["lab"] == lab.name[:2] or claim["id"] in measured]  # fmt: skip
    return found


def _decided(claim: dict[str, str], measured: list[str]) -> str:
    sources = [TABLES[claim["kind"]]] if claim["id"] in DECIDED else []
    return " and ".join(sources + ["this lab"] * (claim["id"] in measured))


class ClaimsByLab(SphinxDirective):
    def run(self):
        return [self._section(lab, claims) for lab, claims in by_lab().items()]

    def _section(self, lab: Path, claims: list[dict[str, str]]) -> nodes.section:
        address = self.env.app.builder.get_relative_uri
        title = f"Lab {lab.name[:2]}: {overview(lab, {})['title']}"
        section = nodes.section("", nodes.title("", title), ids=[f"lab-{lab.name[:2]}"])
        page = nodes.reference("", "The lab", refuri=address(self.env.docname, f"labs/{lab.stem}"), internal=True)
        section += nodes.paragraph("", "", page, nodes.Text(in_words(claims)))
        if claims:
            section += nodes.raw("", table(claims, address(self.env.docname, ledger.PAGE)), format="html")
        return section


def in_words(claims: list[dict[str, str]]) -> str:
    """How many claims a lab has, as the rest of a sentence that begins with "The lab"."""
    if not claims:
        return " has no claim of its own."
    measured = sum("this lab" in claim["by"] for claim in claims)
    return f" has {len(claims)} claim{'s' * (len(claims) > 1)}, of which it measures {measured or 'none'} itself."


def table(claims: list[dict[str, str]], page: str) -> str:
    """The claims of one lab as an HTML table; `page` is the address of the ledger."""
    heads = "".join(f'<th scope="col"{ledger.WIDE * (name == "statement")}>{name}</th>' for name in HEADS)
    lines = "\n".join(
        f'<tr><th scope="row"><a href="{page}#{ledger.anchor(claim["id"])}">{claim["id"]}</a></th>'
        f"<td>{escape(claim['statement'])}</td><td>{claim['by'] or ledger.blank('nothing yet')}</td>"
        f"<td>{claim['verdict']}</td></tr>"
        for claim in claims
    )
    return f'<table class="table"><thead><tr>{heads}</tr></thead><tbody>\n{lines}\n</tbody></table>'


def setup(app: Sphinx):
    app.add_directive("claims-by-lab", ClaimsByLab)
