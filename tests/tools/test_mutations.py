"""tools/mutations.py stays true: each entry still applies, still parses, and names tests that exist."""

import ast
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MUTATIONS = runpy.run_path(str(ROOT / "tools" / "mutations.py"))["MUTATIONS"]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_mutation_applies(mutation):
    source = (ROOT / mutation.file).read_text(encoding="utf-8")
    assert source.count(mutation.old) == 1, "the text that it replaces must occur once; adapt tools/mutations.py"
    mutated = source.replace(mutation.old, mutation.new)
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(source)), "it must change more than a comment"
    assert mutation.tests
    for test in mutation.tests:
        assert (ROOT / test.split("::")[0]).exists(), f"{test} is gone"


def test_each_part_has_its_mutations():
    count = {part: sum(f"slmkit/{part}/" in m.file for m in MUTATIONS) for part in ("model", "data", "training")}
    assert sum(count.values()) >= 30
    assert min(count.values()) >= 8, count
    assert len({(m.file, m.old, m.new) for m in MUTATIONS}) == len(MUTATIONS)
