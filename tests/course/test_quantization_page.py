"""The page on quantization: its numbers, its drawings, and what it says of the engine's files."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from slmkit import Decoder, ModelConfig, interop
from slmkit.course import figures_quantization as drawn
from slmkit.course import quantization as page
from slmkit.profiling.quantization import FORMATS, dequantize, quantize
from slmkit.survey import zoo
from slmkit.survey.evidence import devices


def test_sizes_of_the_real_model():
    weights = sum(weight.numel() for weight in page.shapes().parameters())
    assert weights == 134_515_008
    vectors = 61 * 576  # two norms in each of 30 layers, and the last
    assert page.megabytes(None) == pytest.approx((2 * (weights - vectors) + 4 * vectors) / 1e6)
    for name in ("Q8_0", "Q4_0", "Q4_1"):
        expected = (weights - vectors) * FORMATS[name].bytes / 32 + 4 * vectors
        assert page.megabytes(name) == pytest.approx(expected / 1e6)
        assert page.FACTS[f"quant.{name}.size"]() == f"{expected / 1e6:.0f} MB"
    assert "quant.Q4_K.size" not in page.FACTS, "as the table says"


def test_rows_that_super_blocks_divide():
    config = zoo.config(page.REAL)
    down = config.n_layers * config.d_model * 1536
    assert page.even_share() == pytest.approx(100 * down / (134_515_008 - 61 * 576))
    few, all_of_them = page.uneven()
    assert 1 <= few < all_of_them == len(zoo.available(since=False))
    assert zoo.config(page.TESTED).d_model % page.SUPER_BLOCK == 0, "the survey's own model has no such trap"


def test_bits_are_those_of_the_bytes():
    for name, kind in FORMATS.items():
        assert page.bits(name) == kind.bits_per_weight
        assert page.FACTS[f"quant.{name}.bits"]() == f"{8 * kind.bytes / kind.size:g}"
    assert page.bits("Q4_K_M") == page.bits("Q4_K")
    assert page.fewer_bytes("Q8_0") == pytest.approx(100 * 7.5 / 16)
    assert [page.bits(name) for name in devices.QUANTS] == sorted(page.bits(name) for name in devices.QUANTS)


def test_noise_is_that_of_rounding():
    plain = {name: page.noise(name) for name in FORMATS}
    outlier = {name: page.noise(name, True) for name in FORMATS}
    assert plain["Q8_0"] < plain["Q4_K"] < plain["Q4_1"] < plain["Q4_0"], "as the figure's description says"
    assert outlier["Q8_0"] < outlier["Q4_K"] < outlier["Q4_1"] < outlier["Q4_0"]
    assert all(outlier[name] > 1.5 * plain[name] for name in FORMATS)
    # Uniform errors of a step's width: step / √12, with the step that Q8_0 takes from the largest of 32 weights.
    weights = np.random.default_rng(1).standard_normal((4000, 32))
    step = np.abs(weights).max(axis=1) / 127
    assert plain["Q8_0"] == pytest.approx(100 * np.sqrt((step**2).mean() / 12), rel=0.02)


def test_a_huge_outlier_leaves_the_other_blocks_their_smallest_weight():
    weights = np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
    weights[0, 100] = 1e4
    read = dequantize(quantize(weights, "Q4_K"), "Q4_K").reshape(8, 32)
    others, smallest = np.delete(read, 3, axis=0), np.delete(weights.reshape(8, 32), 3, axis=0).min(axis=1)
    assert (others == others[:, :1]).all(), "one number for each block"
    assert others[:, 0] == pytest.approx(smallest, abs=0.5)
    assert (others**2).mean() > 2, "worse than zero, as the page says: the weights' own mean square is one"


@pytest.mark.parametrize("name", devices.QUANTS)
def test_the_survey_s_rows_are_its_figure(name):
    base, times = devices.curve(devices.DECODE, "FP16"), devices.curve(devices.DECODE, name)
    mean = np.mean([100 * (1 - times[tokens] / base[tokens]) for tokens in times])
    assert page.FACTS[f"quant.survey.{name}.decode"]() == f"{mean:.0f}%"
    assert devices.reduction(devices.PREFILL, name) < devices.reduction(devices.DECODE, name) < page.fewer_bytes(name)


def test_the_order_is_the_one_in_the_figures_description():
    for figure in (devices.PREFILL, devices.DECODE):
        assert devices.place(figure, "Q4_K_M") == 1
        assert devices.place(figure, "Q6_K") == 5


@pytest.mark.parametrize("name", FORMATS)
def test_the_drawn_layout_fills_the_block(name):
    assert sum(drawn.LAYOUT[name]) == 8 * FORMATS[name].bytes


def test_the_drawn_bits_are_where_the_bytes_have_them():
    from slmkit.profiling.quantization import pack_six_bits

    figure = drawn.quant_six_bits()
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    plt.close(figure)
    assert len(places) == 8 + 16
    for kind, letter in enumerate("so"):
        for i in range(8):
            for bit in range(6):
                parts = np.zeros((1, 2, 8), np.uint8)
                parts[0, kind, i] = 1 << bit
                ((byte,), (column,)) = np.unpackbits(pack_six_bits(parts)[0][:, None], axis=1).nonzero()
                label = f"{letter}{i}" + ("" if i < 4 else " high" if bit >= 4 else " low")
                middle, row = places[label]
                assert row == byte
                assert abs(middle - (column + 0.5)) <= (3 if i < 4 else 1 if bit >= 4 else 2)


@pytest.mark.parametrize("name", drawn.FIGURES)
def test_figures_are_drawn_with_labels(name):
    figure = drawn.FIGURES[name]()
    assert figure.get_figwidth() <= 4.8
    assert figure.axes[0].get_xlabel()
    plt.close(figure)


@pytest.mark.engine
@pytest.mark.parametrize("asked", page.FALLBACK)
def test_the_engine_takes_other_formats_for_rows_that_do_not_fit(asked, tmp_path):
    """As deep as SmolLM2-135M, whose mixtures go by the layer, with its kinds of rows: too short, and 256."""
    import gguf

    from slmkit.profiling import engine

    config = ModelConfig(vocab_size=256, d_model=32, n_layers=30, n_heads=2, d_ff=256, max_context=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        interop.gguf.to_gguf(Decoder(config), tmp_path / "f32.gguf")
    engine.quantize(tmp_path / "f32.gguf", tmp_path / "small.gguf", "Q4_K_M" if asked == "Q4_K" else asked)
    types: dict[bool, list[str]] = {True: [], False: []}
    for tensor in gguf.GGUFReader(tmp_path / "small.gguf").tensors:
        if len(tensor.shape) > 1:
            types[int(tensor.shape[0]) % 256 == 0].append(tensor.tensor_type.name)
    even, uneven = types[True], types[False]
    assert not {name for name in uneven if name.endswith("_K")}
    assert max(set(uneven), key=uneven.count) == page.FALLBACK[asked]
    assert len(even) == 30
    if asked == "Q3_K":
        assert "Q3_K" not in even + uneven, "no 3-bit codes at all, as the page says"
    else:
        assert asked in even
