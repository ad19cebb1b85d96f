"""Numbers of the page on the harness, from the record of `slmkit bench --only evaluation`."""

import json
from functools import cache, partial

from slmkit import survey
from slmkit.evaluation.prefixes import PART
from slmkit.model.counting import flops_by_part
from slmkit.paths import root

# Copied from build/records/bench-evaluation.json.
RECORD = root() / "book" / "records" / "bench" / "evaluation.json"
CASES = ("words", "shots", "long", "letters", "all")  # the rows of slmkit.profiling.bench_evaluation, on one thread


@cache
def record() -> dict:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def value(case: str, column: str) -> str:
    return f"{record()['rows'][CASES.index(case)][column]:.3g}"


def head_share() -> str:
    """The part of a token's FLOPs that its logits take in SmolLM2-135M, in a text of 32 tokens, as in `letters`."""
    parts = flops_by_part(survey.config("SmolLM2-135M"), 32, "prefill")
    return f"{100 * parts['head'] / sum(parts.values()):.0f}%"


FACTS = {
    "harness.head": head_share,
    "harness.part": lambda: str(PART),
    "harness.date": lambda: record()["date"],
    "harness.machine": lambda: f"{record()['machine']['cpu']}, {record()['machine']['cores']} cores",
}
for _case in CASES:
    for _column in ("ours", "theirs", "ratio"):
        FACTS[f"harness.{_case}.{_column}"] = partial(value, _case, _column)
