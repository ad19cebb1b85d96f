"""The benchmark of evaluation: both get the same requests, and a difference stops it."""

import json

import pytest
import torch

from slmkit import Decoder, ModelConfig, pretrained
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation import tasks
from slmkit.evaluation.tasks import Item, Task
from slmkit.profiling import bench_evaluation

ITEMS = tuple(Item(str(i), f"Question {i % 7}: which?\nAnswer:", (" a hat", " a hen", " no"), i % 3) for i in range(12))


@pytest.fixture
def small(monkeypatch):
    """A small model and a made-up task in the place of the pretrained one and BIG-bench."""
    tokenizer = Tokenizer.train(["Question 0 1 2 3 4 5 6: which?\nAnswer: a hat a hen no " * 20], 270)
    torch.manual_seed(0)
    model = Decoder(ModelConfig(tokenizer.vocab_size, 32, 2, 2, max_context=256))
    monkeypatch.setattr(pretrained, "load", lambda: (model, tokenizer))
    monkeypatch.setattr(tasks, "load", lambda name, limit: Task(name, ITEMS[:limit], "choice", pool=ITEMS[limit:]))
    monkeypatch.setattr(bench_evaluation, "CASES", (("made", 0, 8), ("made", 2, 8)))


def test_the_record_holds_a_row_a_case_with_what_was_checked(small, tmp_path, capsys):
    path = tmp_path / "made" / "evaluation.json"
    assert bench_evaluation.run([1], path=path, facts={"date": "today"}, rounds=2) == 0
    record = json.loads(path.read_text())
    assert (record["date"], record["batch_size"], len(record["rows"])) == ("today", bench_evaluation.BATCH, 3)
    *cases, both = record["rows"]
    assert (both["size"], both["repeats"]["ours"]) == (
        "16 items",
        [sum(t) for t in zip(*(one["repeats"]["ours"] for one in cases), strict=True)],
    )
    for row, shots in zip(cases, (0, 2), strict=True):
        assert f"made, {shots} shots, 3 choices" in row["what"]
        assert (row["size"], row["unit"], row["threads"]) == ("8 items", "items/s", 1)
        assert row["ours"] == pytest.approx(8 / sorted(row["repeats"]["ours"])[0], rel=0.5)
        assert len(row["repeats"]["theirs"]) == 2
        assert float(row["notes"]["largest difference of a log-likelihood"]) <= 1e-4
        assert 0 <= float(row["notes"]["accuracy of both"]) <= 1
    assert "hf: made, 2 shots" in capsys.readouterr().out


def test_another_answer_stops_it(small, tmp_path, monkeypatch):
    both = bench_evaluation.contestants

    def swapped(model, tokenizer):
        scorers = both(model, tokenizer)
        said = scorers["ours"].loglikelihood
        scorers["ours"].loglikelihood = lambda *args, **_: [(value - 0.01, greedy) for value, greedy in said(*args)]
        return scorers

    monkeypatch.setattr(bench_evaluation, "contestants", swapped)
    with pytest.raises(RuntimeError, match=r"differ by 1\.0e-02"):
        bench_evaluation.run([1], path=tmp_path / "evaluation.json", rounds=1)
    assert not (tmp_path / "evaluation.json").exists()
