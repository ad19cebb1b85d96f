"""The benchmark of data: pairs are as alike as asked, loops find the same copies, the meter sees all processes."""

import json
import random
import sys

import pytest

from slmkit.data.dedup import shingles
from slmkit.profiling import bench_data
from slmkit.profiling.bench_data import Spent, documents, pair_of_similarity, watched

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


@pytest.mark.parametrize("similarity", [0.0, 0.5, 0.8, 0.95, 1.0])
def test_a_pair_is_as_alike_as_asked(similarity):
    first, second = (shingles(text) for text in pair_of_similarity(similarity, 204, WORDS, random.Random(0)))
    assert len(first & second) / len(first | second) == pytest.approx(similarity, abs=0.01)


def test_documents_hold_the_planted_copies_and_all_loops_find_them():
    texts = documents(200, copies=0.25)
    assert len(texts) == 200
    assert any("def " in text for text in texts)
    found = {name: loop(texts) for name, loop in bench_data.MINHASH.items()}
    assert all(30 <= count <= 50 for count in found.values()), found  # of 50 planted; the S-curve misses some
    assert max(found.values()) - min(found.values()) <= 8, found


def test_the_meter_counts_memory_and_time_of_child_processes_too():
    work = "import time\nblock = b'x' * 150_000_000\nwhile time.process_time() < 0.5: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}], check=True)"
    spent = watched([sys.executable, "-c", code], interval=0.02)
    assert spent.peak > 150e6
    assert spent.cpu > 0.2
    assert spent.wall >= 0.3
    with pytest.raises(RuntimeError, match="no good"):
        watched([sys.executable, "-c", "raise SystemExit('no good')"])


def test_recall_is_near_the_theory_and_nothing_unplanted_is_found():
    for row in bench_data.recall(24, words=60):
        assert row["reached"] == pytest.approx(row["similarity"], abs=0.03)
        assert row["recall"] == pytest.approx(row["theory"], abs=0.4)
        assert row["precision"] in (None, 1.0)


def test_the_record_holds_rows_memory_report_and_recall(monkeypatch, tmp_path, capsys):
    spent = {"theirs": [Spent(8.0, 12.0, 2_000_000)], "ours": [Spent(4.0, 6.0, 1_000_000)]}
    step = {"step": "minhash", "in": 1000, "dropped": 80, "out": 920, "reasons": {"minhash": {"count": 80}}}
    report = {"documents": {"read": 1000, "out": 920}, "steps": [step]}
    row = {"similarity": 0.8, "reached": 0.8, "pairs": 9, "recall": 0.9, "theory": 0.92, "precision": None}
    monkeypatch.setattr(bench_data, "pipelines", lambda *_: (spent, report))
    monkeypatch.setattr(bench_data, "documents", lambda count: ["text"] * count)
    monkeypatch.setattr(bench_data, "MINHASH", {"slmkit": len, "datasketch": len, "rensa": len})
    monkeypatch.setattr(bench_data, "recall", lambda pairs: [row])
    assert bench_data.run(2, quick=True, path=tmp_path / "made" / "data.json", facts={"date": "today"}) == 0
    record = json.loads((tmp_path / "made" / "data.json").read_text())
    wall, cpu = record["rows"][:2]
    assert (wall["ours"], wall["theirs"], wall["ratio"]) == (250, 125, 2)
    assert (cpu["ours"], cpu["unit"]) == (1000 / 6, "documents/s of processor time")
    assert wall["notes"] == {"peak memory": "2 MB peer, 1 MB ours"}
    assert record["report"]["steps"] == [step | {"reasons": {"minhash": 80}}]
    assert (record["date"], record["documents"], record["recall"]) == ("today", 1000, [row])
    assert "0.80     0.900     0.920          –" in capsys.readouterr().out
