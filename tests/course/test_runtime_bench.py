"""The page's table of speeds is the benchmark's record, and says what the record says."""

import re

import pytest

from slmkit.course.findings import kept
from slmkit.course.runtime_bench import CAUSES, FACTS, NAMES, THREADS, decoding, record
from slmkit.paths import root
from slmkit.profiling import Peaks
from slmkit.profiling.bench_runtime import FASTER, PAIRS, SAME
from slmkit.profiling.decode_model import DecodeModel

PAGE = (root() / "book" / "runtime" / "latency.md").read_text(encoding="utf-8")


def test_the_table_has_every_contestant():
    assert set(re.findall(r"\{fact\}`(bench\.[^`]+)`", PAGE)) == set(FACTS)
    assert set(NAMES.values()) == {name for pair in PAIRS for name in pair[:2]}
    assert all(0 < len(fact()) < 60 for fact in FACTS.values())


@pytest.mark.parametrize("threads", THREADS)
def test_the_numbers_are_those_of_the_repeats(threads):
    rows = [row for row in record()["rows"] if row["threads"] == threads and row["what"].startswith("decoding")]
    assert [row["what"] for row in rows] == [f"decoding: {mine} | {other}" for mine, other, _ in PAIRS]
    for row, (mine, other, _) in zip(rows, PAIRS, strict=True):
        for name, side in ((mine, "ours"), (other, "theirs")):
            seconds = sorted(row["repeats"][side])
            tokens = re.search(r"greedy, (\d+) tokens", record()["settings"]["decoding"])[1]
            assert decoding()[name, threads]["speed"] == pytest.approx(int(tokens) / seconds[len(seconds) // 2])


def test_the_constants_are_those_that_the_model_prints():
    peaks = Peaks("cpu", "made up", 1, {"float32": {64: 1e11}}, {10**6: 4e10})
    causes = {name: float(FACTS[f"bench.step.{name}"]()) for name in CAUSES}
    model = DecodeModel(peaks, causes["roofline"], causes["row"] / 1e9, causes["layer"] / 1e6, causes["rest"] / 1e6)
    said = kept()["14-model"]["values"]["constants"]
    assert str(model).split(" (")[0] == said.split(" (")[0]


def test_the_sentences_hold():
    for threads in THREADS:
        speeds = {name: decoding()[what, threads]["speed"] for name, what in NAMES.items()}
        shares = {name: int(decoding()[what, threads]["share"]) for name, what in NAMES.items()}
        slow = ("transformers-fp32", "fp32", "transformers-bf16", "bf16")
        assert max(shares[name] for name in slow) < 40
        assert shares["fp32-compiled"] > 55
        assert 40 < shares["bf16-compiled"] < 60
        assert shares["bf16-compiled"] < shares["F16"]
        assert speeds["int8-compiled"] > speeds["bf16-compiled"]
    assert min(float(FACTS[f"bench.{name}.gain2"]()) for name in ("fp32", "bf16")) > FASTER
    assert record()["same_token"] > SAME
    # What reads most: all but the formats of few bits.
    most = [name for name in NAMES if "fp32" in name or "compiled" in name or name == "F16"]
    assert max(decoding()[NAMES[name], 2]["speed"] / decoding()[NAMES[name], 1]["speed"] for name in most) < 1.55
