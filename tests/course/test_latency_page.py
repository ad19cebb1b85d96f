"""The pages on runtime, latency and memory: their numbers worked out in another way, and what their text rests on."""

import re
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest

from slmkit.course import figures_latency_page as drawn
from slmkit.course import latency_page as page
from slmkit.course import memory_page, quantization
from slmkit.paths import root
from slmkit.survey import zoo
from slmkit.survey.evidence import latency, memory

PAGES = root() / "book" / "runtime"


# -- memory ----------------------------------------------------------------------------------------------------------


def test_weights_of_a_model_by_hand():
    """Qwen1.5-0.5B: 24 layers of width 1024 and 2816, biases on q, k and v, the tied matrix in the file twice."""
    d, ff, vocabulary, layers = 1024, 2816, 151_936, 24
    fine = [*range(3), 5, 8, 11, 14, 17, 20, 21, 22, 23]
    six, four = 210 / 256, 144 / 256  # bytes a weight of Q6_K and Q4_K
    found = 0.0
    for layer in range(layers):
        mixed = six if layer in fine else four
        found += d * d * (3 * four + mixed) + d * ff * (2 * four + mixed) + 4 * (3 * d + 2 * d)
    found += vocabulary * d * (four + six) + 4 * d
    assert sum(memory_page.weights("Qwen1.5-0.5B").values()) == pytest.approx(found)
    assert memory_page.predicted("Qwen1.5-0.5B")["weights"] == pytest.approx(382.6, abs=0.05), "the figure"


def test_rows_that_do_not_fit_fall_back():
    assert memory_page.stored(10, 576, "Q6_K") == 10 * 576 * 34 / 32, "Q8_0: 34 bytes for 32 weights"
    assert memory_page.stored(10, 896, "Q4_K") == 10 * 896 * 22 / 32, "Q5_0"
    assert memory_page.stored(10, 768, "Q4_K") == 10 * 768 * 144 / 256


@pytest.mark.parametrize("layers", [12, 24, 28, 30, 32])
def test_the_wider_format_is_at_the_ends_and_in_every_third_layer(layers):
    fine = [layer for layer in range(layers) if memory_page.wider(layer, layers)]
    first, last = layers // 8, 7 * layers // 8
    assert set(range(first)) | set(range(last, layers)) <= set(fine)
    middle = [layer for layer in fine if first <= layer < last]
    assert middle[0] == first + 2
    assert all(b - a == 3 for a, b in pairwise(middle))


def test_three_quarters_of_the_totals_within_a_thousandth():
    off = {name: memory_page.off(name) for name in memory.measured()}
    assert len(off) == 22
    assert sum(abs(value) <= 0.1 for value in off.values()) == 16
    assert max(map(abs, off.values())) < 2, "every model, without a number of its own"
    assert {name for name, value in off.items() if abs(value) > 0.5} <= {n for n in off if n.startswith("OpenELM")}


def test_the_figure_takes_gibibytes_for_thousands():
    heavy = memory_page.in_gibibytes()
    assert len(heavy) == 7
    for name in heavy:
        assert (
            memory_page.as_printed(memory_page.predicted(name)["weights"])
            == memory_page.measured(name, False)["weights"]
        )
        found = memory_page.measured(name)
        assert found["weights"] == pytest.approx(memory_page.predicted(name)["weights"], rel=0.005), "two decimals"
        assert sum(found.values()) == pytest.approx(sum(memory_page.measured(name, False).values())), "the total stays"
    light = set(memory.measured()) - set(heavy)
    assert all(memory_page.measured(name) == memory_page.measured(name, False) for name in light)


def test_openelm_s_file_is_sorted_as_text():
    for name in ("OpenELM-270M", "OpenELM-450M", "OpenELM-1.1B"):
        text = sum(memory_page.weights(name, str).values()) / 2**20
        assert text == pytest.approx(memory_page.measured(name)["weights"], abs=0.05), name
        assert abs(sum(memory_page.weights(name).values()) / 2**20 - text) > 0.5
    equal = ("Qwen2-0.5B", "SmolLM-360M")  # where all layers are alike their order does not matter
    for name in equal:
        assert memory_page.weights(name, str) == pytest.approx(memory_page.weights(name))


def test_a_tied_matrix_is_in_memory_twice():
    for name in ("Qwen2-0.5B", "Qwen2-1.5B", "SmolLM-360M", "OpenELM-1.1B"):
        assert memory_page.shared(name)
        assert memory_page.predicted(name)["other"] == pytest.approx(memory_page.measured(name)["other"], abs=0.15)
    assert not memory_page.shared("Bloom-560M"), "its file holds it twice"
    assert not memory_page.shared("Phi-2")


def test_shares_of_the_scatter_add_up_and_the_buffer_leads():
    found = {part: memory_page.share_of_scatter(part) for part in memory_page.PARTS}
    assert sum(found.values()) == pytest.approx(100)
    assert max(found, key=found.get) == "buffer"
    assert memory_page.above_the_line(1) == "Bloom-1B1"


@pytest.mark.engine
def test_the_engine_s_quantizer_follows_these_rules(tmp_path):
    """Eight layers of Llama's kind with rows of 256 and 512, and one model whose rows do not fit."""
    import gguf
    import torch

    from slmkit import Decoder, ModelConfig, interop
    from slmkit.profiling import engine

    for width in (256, 96):
        config = ModelConfig(vocab_size=256, d_model=width, n_layers=8, n_heads=2, d_ff=512, max_context=32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            interop.gguf.to_gguf(Decoder(config), tmp_path / "f32.gguf")
        engine.quantize(tmp_path / "f32.gguf", tmp_path / "small.gguf", "Q4_K_M")
        types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "small.gguf").tensors}
        fall = quantization.FALLBACK if width % 256 else {}
        for layer in range(8):
            mixed = "Q6_K" if memory_page.wider(layer, 8) else "Q4_K"
            assert types[f"blk.{layer}.ffn_down.weight"] == mixed, "512 fits in both"
            assert types[f"blk.{layer}.attn_v.weight"] == fall.get(mixed, mixed)
            assert types[f"blk.{layer}.attn_q.weight"] == fall.get("Q4_K", "Q4_K")
            assert types[f"blk.{layer}.attn_norm.weight"] == "F32"
        head = types.get("output.weight", types["token_embd.weight"])
        assert head == fall.get("Q6_K", "Q6_K")


# -- latency ---------------------------------------------------------------------------------------------------------


def test_cost_by_hand():
    """Pythia-160M: 12 layers of width 768, a head of its own; a token that sees 75 others."""
    layer = 4 * 768 * 768 + 2 * 768 * 3072
    products, vocabulary = 12 * layer, zoo.config("Pythia-160M").vocab_size * 768
    found = page.cost("Pythia-160M", "decode")
    assert found.flops == 2 * (products + vocabulary) + 12 * 2 * 2 * 768 * 75
    weights = memory_page.weights("Pythia-160M")
    assert (
        found.bytes
        == weights["attention"] + weights["ffn"] + weights["head"] + weights["vectors"] + 75 * 12 * 2 * 768 * 2
    )
    assert found.layers == 12
    prefill = page.cost("Pythia-160M", "prefill")
    assert prefill.flops == 50 * 2 * products + 2 * vocabulary + 12 * 2 * 2 * 768 * sum(range(1, 51))


def test_r_squared_is_that_of_least_squares():
    draw = np.random.default_rng(0)
    x, z, noise = draw.normal(size=(3, 30))
    y = 3 + 2 * x - z + noise
    assert page.r_squared(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)
    design = np.column_stack([np.ones(30), x, z])
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert page.r_squared(x, z, y) == pytest.approx(1 - left.var() / y.var())
    assert page.r_squared(x, z, 3 + 2 * x - z) == pytest.approx(1)


@pytest.mark.parametrize("phase", page.FIGURES)
def test_left_out_models_are_not_in_their_fit(phase):
    first, *_ = page.left_out(phase, "both")
    *known, times = page.columns(phase, "both", True)
    design = np.column_stack([np.ones(len(times) - 1), *(column[1:] for column in known)])
    weights = np.linalg.lstsq(design, times[1:], rcond=None)[0]
    guess = weights @ [1, *(column[0] for column in known)]
    assert first == pytest.approx(100 * (np.exp(times[0] - guess) - 1))


def test_what_the_tables_are_said_to_show():
    for phase in page.FIGURES:
        values = [page.explained(phase, design).value for design in ("count", "unique", "bytes")]
        assert values == sorted(values), "counting once, then bytes, raise R²"
        assert page.gained(phase, "bytes", "count").low > 0
        assert page.gained(phase, "unique", "count").low < 0.005, "not clear of zero"
        assert page.together(phase) > 0.98
    assert page.gained("decode", "flops", "bytes").high < 0
    low, high = page.gained("prefill", "flops", "bytes")[1:]
    assert low < 0 < high
    read, times = [page.cost(name, "decode").bytes / 1e6 for name in page.names()], page.milliseconds("decode")
    assert page.line()[0].value == pytest.approx(np.var(read) / np.cov(read, times, bias=True)[0, 1]), "MB over ms"
    assert page.line()[0].high < page.DATA_SHEET / 3
    assert page.per_layer().low > 0


def test_the_plane_s_slope_is_the_coefficient():
    draw = np.random.default_rng(1)
    read, layers = draw.normal(size=(2, 20))
    assert page._second(1e9 * read, layers, 5 + 2 * read + 0.3 * layers) == pytest.approx(0.3)


def test_the_twins_are_one_configuration():
    assert page.twins() == [("Phi-1", "Phi-1.5")]
    assert zoo.config("Phi-1") == zoo.config("Phi-1.5")
    assert page.cost("Phi-1", "decode") == page.cost("Phi-1.5", "decode")
    assert page.FACTS["latency.decode.twins"]() == f"{100 * (34.9 / 28.29 - 1):.0f}%"
    assert latency.faster("Qwen1.5-0.5B", "Qwen2-0.5B", latency.DECODE) < 100 * (1 - 28.29 / 34.9), "as the page says"


def test_a_smaller_model_that_was_slower():
    small, large = page.inversions("prefill")[0]
    assert (small, large) == ("OpenELM-270M", "OpenELM-450M")
    assert all(a < b for a, b in zip(page.cost(small, "prefill")[2:], page.cost(large, "prefill")[2:]))
    assert latency.ratio(small, large) > 1.5
    for phase, figure in page.FIGURES.items():
        assert set(page.inversions(phase)) <= set(page.comparable(phase))
        assert all(latency.ratio(*pair, figure) > 1 for pair in page.inversions(phase))
    assert not [(a, b) for a, b in page.comparable("decode") if (b, a) in page.comparable("decode")]


def test_who_stands_out_as_the_text_tells_it():
    assert page.standing_out("prefill", 1)[0] == page.inversions("prefill")[0][0]
    assert page.standing_out("prefill", 2)[0] == "Qwen2-0.5B"
    assert zoo.config("Qwen2-0.5B").d_model % 256
    assert zoo.config("SmolLM-135M").d_model % 256
    assert zoo.config("SmolLM-360M").d_model % 256
    assert page.residual("prefill")["SmolLM-360M"] < 0 < page.residual("prefill")["SmolLM-135M"], "on both sides"
    assert page.standing_out("decode", 1)[0] in page.twins()[0]
    assert {page.standing_out("decode", place)[0] for place in (2, 3)} == {"Gemma-2B", "SmolLM-135M"}


def test_the_pairs_of_the_survey():
    assert (
        page.surplus(*page.PAIRS["qwen"], "prefill", "unique")
        < 0
        < page.surplus(*page.PAIRS["qwen"], "prefill", "count")
    )
    assert page.surplus(*page.PAIRS["pythia"], "prefill", "count") == pytest.approx(30.5, abs=0.05)
    assert abs(page.surplus(*page.PAIRS["pythia"], "prefill", "flops")) < 2
    assert page.surplus(*page.PAIRS["openelm"], "prefill", "flops") > 0


@pytest.mark.parametrize("name", page.LABELLED)
def test_shares_as_the_text_tells_them(name):
    for phase in page.FIGURES:
        for by in ("bytes", "flops"):
            assert sum(page.expected_shares(name, phase, by).values()) == pytest.approx(100)
        measured = latency.shares("module")[name, phase, "Attention"]
        assert measured > page.expected_shares(name, phase, "bytes")["Attention"]
    assert (
        page.expected_shares(name, "prefill", "flops")["LM Head"]
        < 2
        < 20
        < latency.shares("module")[name, "prefill", "LM Head"]
    )


# -- the pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", drawn.FIGURES)
def test_figures_are_drawn_with_labels(name):
    figure = drawn.FIGURES[name]()
    assert figure.get_figwidth() <= 4.8
    assert all(axis.get_xlabel() for axis in figure.axes)
    plt.close(figure)


def test_a_bar_of_figure_12_is_full():
    figure = drawn.survey_figure12()
    ends = [
        bar.get_x() + bar.get_width() for bar in figure.axes[0].patches if bar.get_facecolor() == _rgba(drawn.GREEN)
    ]
    plt.close(figure)
    assert len(ends) == 12
    assert ends == pytest.approx([100] * 12, abs=0.2)


def test_the_listing_of_the_page_runs():
    (code,) = re.findall(r"```python\n(.+?)```", (PAGES / "latency.md").read_text(encoding="utf-8"), re.DOTALL)
    scope: dict = {}
    exec(code, scope)  # what the page says of it
    assert f"{scope['token'].bytes / 1e6:.0f}" == page.FACTS["latency.example.decode.mb"]()
    assert f"{scope['prompt'].intensity:.0f}" == page.FACTS["latency.example.prefill.intensity"]()


@pytest.mark.parametrize("name", ["overview", "latency", "memory"])
def test_every_number_of_the_page_has_a_fact(name):
    from slmkit.course.facts import FACTS

    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\{fact\}`([^`]+)`", text))
    assert named
    for fact in named:
        assert FACTS[fact]().strip(), fact
    assert set(re.findall(r"```\{drawn\} (\w+)", text)) <= set(drawn.FIGURES)


def _rgba(colour: str):
    from matplotlib.colors import to_rgba

    return to_rgba(colour)
