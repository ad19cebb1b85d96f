"""The pages on vocabulary, sharing and layer-wise scaling: counts, sizes, drawings."""

from collections import Counter

import matplotlib.pyplot as plt
import pytest
import torch

from slmkit import Decoder, ModelConfig, count_parameters
from slmkit.course import figures_sharing, sharing
from slmkit.course.sharing import FACTS
from slmkit.model.feedforward import FeedForward
from slmkit.model.normalization import Norm
from slmkit.survey import statistics, trends, zoo
from slmkit.survey.evidence import memory

GROUPS = {"then": statistics.listed("v3"), "since": trends.since()}
SMALL = {"vocab_size": 50, "d_model": 16, "n_layers": 4, "n_heads": 2}


@pytest.fixture
def drawn():
    """Draws a figure by name and closes what was drawn when the test is over."""
    yield lambda name: figures_sharing.FIGURES[name]()
    plt.close("all")


def test_every_vocabulary_is_in_one_class_and_the_first_is_the_earliest():
    for group, rows in GROUPS.items():
        assert sum(int(FACTS[f"vocabulary.{name}.{group}"]()) for name in sharing.CLASSES) == sum(
            row["vocab_size"] != "" for row in rows
        )
    assert FACTS["vocabulary.above.first"]() == "Bloom-560M (2022-11)"
    assert FACTS["vocabulary.150k.first"]() == "StableLM-2-zephyr-1.6B (2024-01)"


def test_embedding_shares_and_logits_are_those_of_the_published_shapes():
    assert FACTS["vocabulary.share.Gemma-3-270M"]() == f"{100 * 262_144 * 640 / 268_098_176:.0f}%"
    assert FACTS["vocabulary.share.OpenELM-3B"]() == f"{100 * 32_000 * 3072 / 3_036_647_424:.0f}%"
    assert FACTS["vocabulary.logits.Bloom-560M"]() == f"{512 * 250_880 * 4 / 2**20:.0f} MiB"
    assert FACTS["vocabulary.training"]() == f"{16_384 * 151_936 * 4 / 1e9:.1f} GB"
    small, large = (int(FACTS[f"vocabulary.share.{where}"]()[:-1]) for where in ("below_half", "above_two"))
    assert small > 2 * large


def test_heads_share_of_arithmetic():
    """Of a token's FLOPs after 2048 tokens, from SmolLM2-1.7B's dimensions: 24 layers, width 2048, FFN 8192."""
    head, scores = 2 * 49_152 * 2048, 24 * 4 * 2048 * 2048
    layers = 24 * 2 * (4 * 2048**2 + 3 * 2048 * 8192)
    assert FACTS["vocabulary.head.SmolLM2-1.7B"]() == f"{100 * head / (head + scores + layers):.0f}%"


def test_every_model_of_known_size_is_in_one_row_of_the_table_on_tying():
    for group, rows in GROUPS.items():
        cells = [FACTS[f"tied.{group}.{size}"]().split(" of ") for size in ("below", "middle", "above")]
        known = [row["tied_embeddings"] for row in rows if row["tied_embeddings"] and row["params_exact"]]
        small = [row["name"] for row in rows if row["tied_embeddings"] and len(row["params_exact"]) == 9]
        assert int(cells[0][1]) == len(small)  # nine digits: below a billion
        assert [sum(int(cell[i]) for cell in cells) for i in (0, 1)] == [known.count("yes"), len(known)]
    pair = {row["name"]: row for row in GROUPS["then"] if row["name"] in ("Qwen1.5-0.5B", "Qwen2-0.5B")}
    assert [row["tied_embeddings"] for row in pair.values()] == ["yes", "yes"]
    assert int(pair["Qwen2-0.5B"]["d_ff"]) > int(pair["Qwen1.5-0.5B"]["d_ff"])
    assert FACTS["tied.matrix.Qwen2-0.5B"]() == f"{151_936 * 896 / 1e6:.0f} million"


@pytest.mark.parametrize("shared", ["none", "ffn_all", "block_pairs"])
def test_weights_passed_are_those_that_a_token_meets(shared):
    config = ModelConfig(**SMALL, sharing=shared)
    model, met = Decoder(config), []
    for module in model.modules():
        if isinstance(module, Norm):
            module.register_forward_hook(lambda module, *_: met.append(module.weight.numel()))
    for block in model.blocks:  # a block or an FFN that is listed twice is met twice
        met += [weight.numel() for name, weight in block.named_parameters(recurse=True) if "norm" not in name]
    model(torch.zeros(1, 1, dtype=torch.long))
    assert sharing.passed(config) == sum(met) + config.vocab_size * config.d_model
    ffns = {id(module) for module in model.modules() if isinstance(module, FeedForward)}
    assert len(ffns) == {"none": 4, "ffn_all": 1, "block_pairs": 2}[shared]


def test_variants_are_equal_where_the_page_says_so():
    sizes = {name: count_parameters(config).total for name, config in sharing.variants().items()}
    assert sizes["twice"] == pytest.approx(sizes["plain"], rel=0.001)
    assert sizes["wide"] == pytest.approx(sizes["plain"], rel=0.001)
    assert sizes["one"] < sizes["pairs"] < sizes["plain"]
    assert FACTS["sharing.one.flops"]() == FACTS["sharing.pairs.flops"]() == FACTS["sharing.plain.flops"]()
    assert FACTS["sharing.twice.layers"]() == str(2 * int(FACTS["sharing.plain.layers"]()))
    cache = 2 * 30 * 3 * 64 * 2 * 2048  # MobileLLM-125M: 30 layers of three key/value heads of 64
    assert FACTS["sharing.pairs.cache"]() == f"{cache / 1e6:.0f} MB"
    assert FACTS["sharing.twice.cache"]() == f"{2 * cache / 1e6:.0f} MB"


def test_mobillama_passes_what_its_unshared_sister_holds_in_layers_and_head():
    sister = next(row for row in statistics.listed("v3") if row["name"] == "MobiLlama-1B")
    size = int(sister["params_non_embedding"]) + 32_000 * 2048
    assert FACTS["sharing.mobillama.passed"]() == f"{size / 1e6:,.0f} million"
    assert FACTS["sharing.mobillama.ffn"]() == f"{3 * 2048 * int(sister['d_ff']) * 2 / 1e6:.0f} MB"


def test_layers_add_up_and_the_level_model_is_the_mean():
    config = zoo.config(sharing.ELM)
    counted, flat = count_parameters(config), sharing.level(config)
    each = [sharing.layer_parameters(config, i) for i in range(config.n_layers)]
    assert sum(each) == counted.attention + counted.ffn
    assert each == sorted(each)
    assert FACTS["layerwise.growth"]() == f"{each[-1] / each[0]:.1f}"
    assert count_parameters(flat).total == pytest.approx(counted.total, rel=0.01)
    assert not any(sharing.varies(flat, field) for field in ("n_heads", "n_kv_heads", "d_ff"))


def test_models_whose_layers_differ():
    assert sharing.by_layer("d_ff", since=False) == [f"OpenELM-{size}" for size in ("270M", "450M", "1.1B", "3B")]
    assert sharing.by_layer("d_ff", since=True) == []
    assert sharing.by_layer("window", since=False) == ["Gemma-2-2B"]
    columns = Counter(row["layerwise_scaling"] for row in GROUPS["then"])
    assert FACTS["layerwise.then"]() == str(columns["yes"])


def test_a_window_bounds_what_a_layer_keeps():
    # Gemma-3-1B: 26 layers of one key/value head of 256; layers 6, 12, 18 and 24 keep everything
    kept = 2 * 256 * 2 * (22 * 512 + 4 * 32_768)
    assert FACTS["layerwise.windowed.Gemma-3-1B"]() == f"{kept / 1e6:.0f} MB"
    assert FACTS["layerwise.full_cache.Gemma-3-1B"]() == f"{2 * 256 * 2 * 26 * 32_768 / 1e6:.0f} MB"
    config = zoo.config("Gemma-3-1B")
    assert sharing.windowed_cache(config, 100) == 2 * 256 * 2 * 26 * 100


def test_every_model_is_a_marker(drawn):
    axis = drawn("embedding_shares").axes[0]
    points = [line for line in axis.lines if len(line.get_xdata())]
    rows = [row for group in sharing.counted_rows().values() for row in group]
    assert len(points) == len(rows)
    assert {text.get_text() for text in axis.texts} == set(figures_sharing.NAMED)
    hollow = sum(line.get_markerfacecolor() == "white" for line in points)
    assert hollow == len(sharing.counted_rows()["since"])
    low, high = axis.get_ylim()
    assert all(low < float(line.get_ydata()[0]) < high for line in points)


def test_bars_end_at_the_measured_memory_and_marks_at_the_logits(drawn):
    axis = drawn("memory_and_vocabulary").axes[0]
    for y, name in enumerate(figures_sharing.MEASURED):
        ends = [bar.get_x() + bar.get_width() for bar in axis.patches if abs(bar.get_y() + 0.3 - y) < 0.01]
        total = sum(size for (model, _), size in memory.parts().items() if model == name)
        assert max(ends) == pytest.approx(total)
        assert axis.lines[y].get_xdata()[0] == pytest.approx(memory.logits_mb(name))
    sizes = [int(memory.row_of(name)["vocab_size"]) for name in figures_sharing.MEASURED]
    assert sizes == sorted(sizes, reverse=True)


def test_the_drawing_holds_what_slmkit_holds(drawn):
    for axis, shared in zip(drawn("sharing_kinds").axes, ("none", "block_pairs", "ffn_all")):
        model = Decoder(ModelConfig(**SMALL | {"n_layers": 6}, sharing=shared))
        held = [len({id(block.attention) for block in model.blocks}), len({id(block.ffn) for block in model.blocks})]
        groups = [len(group.get_offsets()) for group in axis.collections if len(group.get_offsets())]
        assert groups == [held[0], 6, held[1], 6]
        assert len(axis.lines) == 12  # one from each place of use to what is held
        assert len({line.get_ydata()[1] for line in axis.lines}) == 12


def test_layers_are_drawn_as_configured(drawn):
    heads, ratio, weights = drawn("openelm_layers").axes
    config = zoo.config(sharing.ELM)
    assert tuple(heads.lines[0].get_ydata()) == config.n_heads
    assert tuple(heads.lines[1].get_ydata()) == config.n_kv_heads
    assert ratio.lines[0].get_ydata()[-1] == 4
    total = sum(bar.get_height() for bar in weights.patches)
    counted = count_parameters(config)
    assert total == pytest.approx((counted.attention + counted.ffn) / 1e6)


def test_patterns_are_the_configurations_windows(drawn):
    axis = drawn("layer_patterns").axes[0]
    for y, name in enumerate(figures_sharing.PATTERNS):
        config = zoo.config(name)
        row = [line for line in axis.lines if len(line.get_xdata()) and line.get_ydata()[0] == y]
        assert [line.get_marker() == "o" for line in row] == [bool(config.layer(i).window) for i in range(18)]
        assert [line.get_marker() == "D" for line in row] == [config.rotation(i) is None for i in range(18)]
