"""Numbers of the page on the harness, from the record of `slmkit bench --only evaluation`."""

import json
from functools import cache, partial

from slmkit.paths import root

# Copied from build/records/bench-evaluation.json.
RECORD = root() / "book" / "records" / "bench" / "evaluation.json"
CASES = ("words", "shots", "long", "letters")  # the rows of slmkit.profiling.bench_evaluation, on one thread


@cache
def record() -> dict:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def value(case: str, column: str) -> str:
    return f"{record()['rows'][CASES.index(case)][column]:.3g}"


FACTS = {
    "harness.date": lambda: record()["date"],
    "harness.machine": lambda: f"{record()['machine']['cpu']}, {record()['machine']['cores']} cores",
}
for _case in CASES:
    for _column in ("ours", "theirs", "ratio"):
        FACTS[f"harness.{_case}.{_column}"] = partial(value, _case, _column)
