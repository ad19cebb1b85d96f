"""The benchmark of decoding: peers read and write the same tokens, shares stay below one, a difference stops it."""

import json
import re
from types import SimpleNamespace

import pytest
import torch

from slmkit import Decoder, ModelConfig, pretrained
from slmkit.data import corpora
from slmkit.data.tokenizer import Tokenizer
from slmkit.profiling import AbovePeakError, Timing, bench_runtime, compiled
from slmkit.profiling.bench_runtime import Effort, agreement, share
from slmkit.profiling.roofline import weights_read

EFFORT = Effort(rounds=2, new_tokens=4, prompt=12, rows=2, width=24)
TEXTS = tuple(f"{word} is the state of the union, and so it was before; " * 9 for word in ("strong", "weak", "sound"))


@pytest.fixture
def small(monkeypatch):
    """A small model and made-up speeches; nothing is compiled, and the memory is as fast as can be."""
    tokenizer = Tokenizer.train(TEXTS, 280)
    torch.manual_seed(0)
    model = Decoder(ModelConfig(tokenizer.vocab_size, 32, 2, 2, n_kv_heads=1, d_ff=64, norm="rmsnorm", ffn="gated",
                                activation="silu", positions="rope", max_context=64)).bfloat16()  # fmt: skip
    monkeypatch.setattr(pretrained, "load", lambda: (model, tokenizer))
    monkeypatch.setattr(corpora, "load", lambda name: SimpleNamespace(train=TEXTS, held_out=TEXTS))
    monkeypatch.setattr(bench_runtime, "read_bandwidth", lambda *_, **__: 1e15)
    monkeypatch.setattr(compiled, "compile_decoding", lambda model: model)
    return model


def without_engine(monkeypatch):
    monkeypatch.setattr(bench_runtime, "find_spec", lambda name: None)


def test_the_record_holds_a_row_a_pair_with_what_was_checked(small, tmp_path, monkeypatch, capsys):
    without_engine(monkeypatch)
    path = tmp_path / "made" / "runtime.json"
    assert bench_runtime.run([1], path=path, facts={"date": "today"}, effort=EFFORT) == 0
    record = json.loads(path.read_text())
    assert (record["date"], record["bandwidth"]) == ("today", {"1": 1e15})
    assert 0.5 < record["same_token"] <= 1
    rows = {row["what"]: row for row in record["rows"]}
    pairs = [pair for pair in bench_runtime.PAIRS if "llama" not in pair[1]]
    assert [f"decoding: {mine} | {other}" for mine, other, _ in pairs] == [what for what in rows if "deco" in what]
    assert {what for what in rows if "pre" in what} == {
        f"prefill: slmkit {mine} | {other}"
        for mine, other in (("fp32", "transformers fp32"), ("bf16", "transformers bf16"), ("int8", "slmkit bf16"))
    }
    assert rows["decoding: slmkit fp32 | transformers fp32"]["notes"]["transformers fp32"] in ("dynamic", "static")
    assert "llama.cpp is not installed" in capsys.readouterr().out


def test_a_peer_that_takes_twice_as_long_is_half_as_fast(small, tmp_path, monkeypatch):
    """Made-up times: a turn takes transformers two seconds and others one, so 4 tokens come at 2 and at 4 a second."""
    without_engine(monkeypatch)

    def made_up(works, *, repeats, prepare=None, clock="cpu"):
        times = {name: (2.0 if "transformers" in name else 1.0,) * repeats for name in works}
        for name in prepare or ():
            prepare[name]()
        return {name: Timing(seconds, seconds, clock) for name, seconds in times.items() if works[name]() is not None}

    monkeypatch.setattr(bench_runtime, "measure_in_turn", made_up)
    monkeypatch.setattr(bench_runtime, "read_bandwidth", lambda *_, **__: 1e6)
    bench_runtime.run([1], path=tmp_path / "runtime.json", effort=EFFORT)
    rows = {row["what"]: row for row in json.loads((tmp_path / "runtime.json").read_text())["rows"]}
    row = rows["decoding: slmkit fp32 | transformers fp32"]
    assert (row["ours"], row["theirs"], row["ratio"], row["unit"], row["threads"]) == (4, 2, 2, "tokens/s", 1)
    peer, ours = map(int, re.findall(r"(\d+)%", row["notes"]["share of the memory's bandwidth"])[:2])
    assert peer == pytest.approx(100 * weights_read(small.config, torch.float32) * 2 / 1e6, abs=1)
    assert ours == pytest.approx(2 * peer, abs=2)  # and the cache of two tokens
    assert rows["prefill: slmkit bf16 | transformers bf16"]["ours"] == EFFORT.prompt


def test_without_a_compiler_its_rows_are_left_out(small, tmp_path, monkeypatch, capsys):
    without_engine(monkeypatch)

    def refuse(model):
        raise RuntimeError("there is none")

    monkeypatch.setattr(compiled, "compile_decoding", refuse)
    bench_runtime.run([1], path=tmp_path / "runtime.json", effort=EFFORT)
    rows = json.loads((tmp_path / "runtime.json").read_text())["rows"]
    assert not [row for row in rows if "compiled" in row["what"]]
    assert "left out (there is none)" in capsys.readouterr().out


def test_other_tokens_stop_it(small, tmp_path, monkeypatch):
    without_engine(monkeypatch)
    made = bench_runtime.stream
    monkeypatch.setattr(bench_runtime, "stream", lambda *given: ((token + 1) % 200 for token in made(*given)))
    with pytest.raises(RuntimeError, match="slmkit fp32, transformers fp32"):
        bench_runtime.run([1], path=tmp_path / "runtime.json", effort=EFFORT)
    assert not (tmp_path / "runtime.json").exists()


@pytest.mark.engine
def test_the_engine_takes_turns_too(small, tmp_path):
    bench_runtime.run([1], path=tmp_path / "runtime.json", effort=EFFORT)
    whats = [row["what"] for row in json.loads((tmp_path / "runtime.json").read_text())["rows"]]
    assert {f"{kind}: slmkit bf16 | llama.cpp F16" for kind in ("decoding", "prefill")} <= set(whats)
    assert {"decoding: slmkit int8, compiled | llama.cpp Q8_0", "prefill: slmkit int8 | llama.cpp Q8_0"} <= set(whats)


def test_agreement_counts_likeliest_tokens(small):
    ids = torch.arange(48).view(2, 24)
    assert agreement(small, small.float(), ids) == 1

    class Other:
        """The same but for the first six of each row."""

        def __call__(self, row):
            logits = small(row).clone()
            logits[:, :6] *= -1
            return logits

    assert agreement(small, Other(), ids) == pytest.approx(0.75)


def test_a_share_above_one_is_measured_again_and_then_refused(monkeypatch):
    token = Timing((0.01,) * 3, (0.01,) * 3)
    assert share("one", token, 5e7, 1e10) == pytest.approx(0.5)
    monkeypatch.setattr(bench_runtime, "bandwidth", lambda: 1e10)
    assert share("one", token, 1e8, 5e9) == 1
    with pytest.raises(AbovePeakError, match="one in bytes"):
        share("one", token, 2e8, 5e9)
