"""The benchmark itself: contestants do the same work, ratios point the right way, wrong work is refused."""

import json

import pytest
import torch

from slmkit import Decoder, TrainingConfig
from slmkit.profiling import Timing, bench, contestants

QUICK = bench.Effort(sizes=("tiny",), rounds=2, turn_flops=1e6, new_tokens=4, starts=1)


def result(seconds: float, bits: float = 2.0, first: float = 0.1) -> bench.Result:
    return bench.Result(first, Timing((seconds,) * 3, (seconds,) * 3, "cpu"), bits)


@pytest.fixture
def made_up(monkeypatch):
    """Results of a contest that took no time: made_up["slmkit"] = …"""
    results = {name: result(2.0) for name in contestants.CONTESTANTS}
    results["slmkit"] = result(1.0, first=10.1)
    monkeypatch.setattr(bench, "contest", lambda *_: results)
    monkeypatch.setattr(bench, "gemm_flops", lambda side: 1e12)
    return results


def test_rows_hold_medians_ratios_and_what_repays_compiling(made_up):
    made_up["trainer"] = bench.Result(0.1, Timing((9.0, 9.0, 9.0), (2.0, 3.0, 5.0), "cpu"), 2.01)
    rows = bench.training_rows("tiny", 1, QUICK, {})
    tokens = QUICK.steps("tiny") * contestants.BATCH * contestants.CONTEXT
    assert (rows[0].theirs, rows[0].ours, rows[0].ratio) == (tokens / 3, tokens, 3.0)
    assert (rows[0].low, rows[0].high) == (2.5, 4.0)
    assert rows[0].repeats == {"ours": [1.0] * 3, "theirs": [2.0, 3.0, 5.0]}
    assert rows[2].ratio == 1.0
    assert "10.0 s longer" in rows[0].notes["compiling"]
    assert f"{10 * tokens / 1e6:.2f}M tokens" in rows[0].notes["compiling"]  # one second gained for each `tokens`
    assert "GFLOP/s" in rows[2].notes["share of the machine's peak"]
    json.dumps([vars(row) for row in rows])


def test_other_losses_and_impossible_speeds_are_refused(made_up):
    made_up["bare_loop"] = result(2.0, bits=2.03)
    with pytest.raises(RuntimeError, match=r"bare loop.*2\.0000 and 2\.0300"):
        bench.training_rows("tiny", 1, QUICK, {})
    made_up["bare_loop"] = result(2.0)
    made_up["slmkit_eager"] = result(1e-9)
    with pytest.raises(RuntimeError, match="above the measured peak"):
        bench.training_rows("tiny", 1, QUICK, {})


@pytest.mark.parametrize("names", [
    ("slmkit_eager", "bare_loop"),
    pytest.param(("slmkit_eager", "trainer"), marks=pytest.mark.slow),
])  # fmt: skip
def test_contestants_take_turns_and_learn_the_same(names):
    results = bench.contest("tiny", 1, 2, 1, "cpu", names)
    for one in results.values():
        assert len(one.turns.cpu) == 2
        assert 0 < one.turns.median < 60
        assert one.first > 0
    mine, other = (results[name].bits for name in names)
    assert abs(mine - other) < 1e-4  # other batches, another decay or a target less in each row would show


def test_a_contestant_that_fails_says_why(monkeypatch):
    with pytest.raises(RuntimeError, match="'nobody' ended early: KeyError"):
        bench.contest("tiny", 1, 1, 1, "cpu", ["nobody"])


def test_the_default_run_is_one_that_compiling_repays():
    from slmkit.training.trainer import WORTH_COMPILING, flops_per_token

    for size in ("small", "large"):
        config = contestants.decoder(size).config
        training = contestants.settings(config)
        flops = training.steps * training.tokens_per_step * flops_per_token(config, contestants.CONTEXT, "training")
        assert flops >= WORTH_COMPILING
        assert (training.precision, training.compile) == ("auto", "auto") == (
            TrainingConfig(1).precision, TrainingConfig(1).compile)  # fmt: skip


def test_decoding_needs_the_same_tokens(monkeypatch):
    row = bench.decoding_row("tiny", 1, QUICK)
    assert row.ratio > 0
    assert len(row.repeats["ours"]) == QUICK.rounds
    logits = Decoder.logits
    monkeypatch.setattr(Decoder, "logits", lambda self, hidden: -logits(self, hidden))
    with pytest.raises(RuntimeError, match="different tokens"):
        bench.decoding_row("tiny", 1, QUICK)


def test_starts_are_timed_in_turn():
    row = bench.start_row(QUICK)
    assert len(row.repeats["ours"]) == 1
    assert min(*row.repeats["ours"], *row.repeats["theirs"]) > 0.1  # importing torch cannot be faster
    assert 0.2 < row.ratio < 2


def test_run_prints_the_table_and_writes_the_record(made_up, monkeypatch, tmp_path, capsys):
    row = bench.compared("a | b", "tiny", 1, "tokens/s", 10, Timing((1.0, 1.0), (1.0, 1.0), "cpu"),
                         Timing((3.0, 3.0), (3.0, 3.0), "cpu"), 2.0)  # fmt: skip
    monkeypatch.setattr(bench, "QUICK", QUICK)
    monkeypatch.setattr(bench, "decoding_row", lambda *_: row)
    monkeypatch.setattr(bench, "start_row", lambda *_: row)
    monkeypatch.setattr(contestants, "prepare", lambda *_: None)
    before = torch.get_num_threads()
    assert bench.run([1], quick=True, path=tmp_path / "new" / "bench.json", facts={"date": "today"}) == 0
    assert torch.get_num_threads() == before
    record = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert record["date"] == "today"
    assert [one["ratio"] for one in record["rows"]] == [2.0, 2.0, 1.0, 3.0, 3.0]
    out = capsys.readouterr().out
    assert "a | b" in out
    assert " 3.00    3.00–3.00  ≥ 2.00  tokens/s" in out
