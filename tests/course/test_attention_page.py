"""The page on attention: its counts, its sizes, its drawing."""

from collections import Counter

from slmkit.course.attention import FACTS, KINDS, attention_kinds
from slmkit.survey import statistics, trends


def test_every_model_is_counted_once_and_the_first_is_the_earliest():
    table, since = (Counter(row["attention"] for row in rows) for rows in (statistics.listed("v3"), trends.since()))
    assert {kind: int(FACTS[f"attention.{kind}.then"]()) for kind in KINDS} == {kind: table[kind] for kind in KINDS}
    assert sum(int(FACTS[f"attention.{kind}.since"]()) for kind in KINDS) == sum(since.values())
    assert int(FACTS["attention.models_since"]()) == sum(since.values())
    assert FACTS["attention.GQA.first"]() == "TinyLlama-1.1B (2023-12)"


def test_caches_are_those_of_the_published_shapes():
    # 2 × layers × key/value heads × width × 2 bytes × 4096 tokens; MiniCPM3 keeps 256 + 32 numbers in each of 62 layers
    assert FACTS["attention.cache.TinyLlama-1.1B"]() == f"{2 * 22 * 4 * 64 * 2 * 4096 / 1e6:.0f} MB"
    assert FACTS["attention.cache.MiniCPM3-4B"]() == f"{62 * 288 * 2 * 4096 / 1e6:.0f} MB"
    assert FACTS["attention.saves.TinyLlama-1.1B"]() == "8.0"
    assert FACTS["attention.saves.StableLM-zephyr-3B"]() == "1.0"
    assert FACTS["attention.saves.MiniCPM3-4B"]() == f"{40 * (96 + 64) / 288:.1f}"


def test_the_drawing_has_eight_queries_above_what_each_kind_keeps():
    for axis, kept in zip(attention_kinds().axes, (8, 2, 1, 1)):
        queries, below = (group.get_offsets() for group in axis.collections)
        assert len(queries) == 8
        assert len(below) == kept
        ends = sorted({line.get_xdata()[1] for line in axis.lines})
        assert ends == sorted(x for x, _ in below)
