"""Block formats: bytes and weights as the package gguf and the engine itself make them, and what rounding promises."""

import ctypes

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from slmkit import pretrained
from slmkit.profiling import quantization as q
from slmkit.profiling.quantization import FORMATS, dequantize, quantize

WIDTH = 512  # two super-blocks
SIMPLE = ["Q8_0", "Q4_0", "Q4_1"]  # what the package gguf can make too


def cases() -> dict[str, np.ndarray]:
    """Random and adversarial weights, float32 [rows, WIDTH]."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((24, WIDTH)).astype(np.float32)
    scales = 10.0 ** rng.integers(-9, 3, (24, WIDTH // 32)).repeat(32, axis=1)
    made = {
        "normal": normal,
        "heavy tails": rng.standard_t(2, normal.shape),
        "positive": np.abs(normal),
        "negative": -np.abs(normal),
        "whole numbers": np.round(3 * normal),  # ties in size, and on the way between two codes
        "halves": np.where(np.arange(WIDTH) % 32 == 5, 127, np.round(9 * normal) + 0.5),  # ties where the step is 1
        "zeros": np.zeros((2, WIDTH)),
        "negative zeros": np.full((2, WIDTH), -0.0),
        "a constant": np.full((2, WIDTH), 0.7),
        "a negative constant": np.full((2, WIDTH), -0.7),
        "one outlier": np.where(np.arange(WIDTH) == 77, 1e4, normal),
        "one weight": np.where(np.arange(WIDTH) == 300, -1.0, np.zeros_like(normal)),
        "an offset": 1e-3 * normal + 10,
        "sparse": np.where(rng.random(normal.shape) < 0.95, 0, normal),
        "another scale in each block": normal * scales,
        "steps that are subnormal in 16 bits": 1e-5 * normal,
        "steps that are zero in 16 bits": 1e-8 * normal,
        "tiny": 1e-30 * normal,
        "large": 1e4 * normal,
    }
    return {name: weights.astype(np.float32) for name, weights in made.items()}


CASES = cases()
SUBNORMAL = (1e-40 * CASES["normal"]).astype(np.float32)  # 32-bit numbers below 1.2e-38


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def damaged(name: str, blocks: int = 64, seed: int = 1) -> np.ndarray:
    """Random bytes as blocks, with finite steps and offsets: any codes and scales, whether fitted or not."""
    kind, rng = FORMATS[name], np.random.default_rng(seed)
    packed = rng.integers(0, 256, (blocks, kind.bytes), dtype=np.uint8)
    halves = 2 if kind.name in ("Q4_1", "Q4_K") else 1
    packed[:, : 2 * halves] = rng.standard_normal((blocks, halves)).astype("<f2").view(np.uint8)
    return packed


# -- against the references --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_dequantizing_equals_gguf_to_the_bit(name):
    kind = gguf.GGMLQuantizationType[name]
    for case, weights in [*CASES.items(), ("subnormal", SUBNORMAL)]:
        packed = quantize(weights, name)
        assert same_bits(dequantize(packed, name), gguf.quants.dequantize(packed, kind)), case
    assert same_bits(dequantize(damaged(name), name), gguf.quants.dequantize(damaged(name), kind))


@pytest.mark.parametrize("name", SIMPLE)
def test_quantizing_equals_gguf_to_the_byte(name):
    for case, weights in CASES.items():
        if (name, case) == ("Q4_0", "negative zeros"):
            continue  # here gguf and the engine give the step, zero, another sign; ours is the engine's
        expected = gguf.quants.quantize(weights, gguf.GGMLQuantizationType[name])
        assert same_bits(quantize(weights, name), expected), case


@pytest.mark.parametrize("name", FORMATS)
def test_sizes_are_those_of_gguf(name):
    assert (FORMATS[name].size, FORMATS[name].bytes) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    assert quantize(CASES["normal"], name).nbytes == CASES["normal"].size * FORMATS[name].bits_per_weight / 8


def engine(function: str, data: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Calls llama.cpp's own `function(from, to, number of weights)` row by row."""
    from llama_cpp._ggml import libggml

    call = getattr(libggml, function)
    call.restype, call.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    weights = max(data, out, key=lambda array: array.itemsize).size
    call(np.ascontiguousarray(data).ctypes.data, out.ctypes.data, weights)
    return out


def by_engine(weights: np.ndarray, name: str) -> np.ndarray:
    kind = FORMATS[name]
    out = np.empty((*weights.shape[:-1], weights.shape[-1] // kind.size * kind.bytes), np.uint8)
    return engine(f"quantize_row_q{name[1:]}_ref", weights, out)


def read_by_engine(packed: np.ndarray, name: str) -> np.ndarray:
    kind = FORMATS[name]
    out = np.empty((*packed.shape[:-1], packed.shape[-1] // kind.bytes * kind.size), np.float32)
    return engine(f"dequantize_row_q{name[1:]}", packed, out)


@pytest.mark.engine
@pytest.mark.parametrize("name", FORMATS)
def test_dequantizing_equals_the_engine_to_the_bit(name):
    for case, weights in [*CASES.items(), ("subnormal", SUBNORMAL)]:
        packed = quantize(weights, name)
        assert same_bits(dequantize(packed, name), read_by_engine(packed, name)), case
    assert same_bits(dequantize(damaged(name), name), read_by_engine(damaged(name), name))


@pytest.mark.engine
@pytest.mark.parametrize("name", FORMATS)
def test_quantizing_equals_the_engine_to_the_byte(name):
    for case, weights in CASES.items():
        ours, theirs = quantize(weights, name), by_engine(weights, name)
        if platform_fuses():  # the compiler may have fused a product with a sum, and a tie falls the other way
            assert (ours != theirs).mean() < 0.01, case
        else:
            assert same_bits(ours, theirs), case


@pytest.mark.engine
@pytest.mark.parametrize("name", FORMATS)
def test_subnormal_weights_are_read_alike_whoever_wrote_them(name):
    theirs = by_engine(SUBNORMAL, name)
    assert np.array_equal(dequantize(theirs, name), dequantize(quantize(SUBNORMAL, name), name))
    assert not dequantize(theirs, name).any()


def platform_fuses() -> bool:
    import platform

    return platform.machine() not in ("x86_64", "AMD64", "i686")


@pytest.mark.slow
def test_a_real_file_is_read_alike_and_written_back():
    tensor = next(t for t in gguf.GGUFReader(pretrained.gguf_path()).tensors if t.name == "blk.0.ffn_down.weight")
    weights = dequantize(np.asarray(tensor.data), "Q4_1")
    assert tensor.tensor_type.name == "Q4_1"
    assert same_bits(weights, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    # Quantized once more, the weights stay on their grid.
    assert np.array_equal(dequantize(quantize(weights, "Q4_1"), "Q4_1"), weights)


# -- layouts by hand ---------------------------------------------------------------------------------------------------


def test_a_block_of_q4_0_by_hand():
    weights = np.zeros((1, 32), np.float32)
    weights[0, 0], weights[0, 1], weights[0, 16] = 4.0, -2.0, 1.0
    # 4.0 is largest: step 4 / -8 = -0.5, stored as the 16-bit float 0xB800. Codes 8 + weight / step.
    packed = quantize(weights, "Q4_0")[0]
    assert packed[:2].tolist() == [0x00, 0xB8]
    assert packed[2:5].tolist() == [6 << 4 | 0, 8 << 4 | 12, 8 << 4 | 8]
    assert dequantize(packed, "Q4_0").tolist() == weights[0].tolist()


def test_a_super_block_by_hand():
    # Blocks 0 to 7 hold codes 0 … 15 twice, each with a step and offset of its own, that 6 bits hold exactly.
    scales, offsets = np.array([63, 1, 2, 3, 40, 50, 60, 33]), np.array([0, 63, 5, 6, 7, 48, 31, 16])
    codes = np.tile(np.arange(16), 16).reshape(8, 32)
    expected = 0.5 * scales[:, None] * codes - 0.25 * offsets[:, None]
    parts = np.stack((scales, offsets)).astype(np.uint8)[None]
    halves = np.array([[0.5]], np.float16), np.array([[0.25]], np.float16)
    packed = FORMATS["Q4_K"].pack(
        q.Blocks(codes.reshape(1, 256).astype(np.int8), halves[0][:, 0], halves[1][:, 0], parts)
    )
    assert packed.shape == (1, 144)
    assert packed[0, :4].tolist() == [0x00, 0x38, 0x00, 0x34]  # 0.5 and 0.25
    six = packed[0, 4:16]
    assert six[0] == 63 | (40 >> 4) << 6  # scale 0 with the high bits of scale 4
    assert six[5] == 63 | (48 >> 4) << 6  # offset 1 with the high bits of offset 5
    assert six[11] == 33 & 15 | (16 & 15) << 4  # the low bits of scale and offset 7
    assert packed[0, 16:18].tolist() == [0x00, 0x11]  # weights 0 and 32, weights 1 and 33
    assert dequantize(packed, "Q4_K").reshape(8, 32).tolist() == expected.tolist()


@given(arrays.arrays(np.uint8, (3, 2, 8), elements=st.integers(0, 63)))
def test_six_bits_come_back(parts):
    assert np.array_equal(q.unpack_six_bits(q.pack_six_bits(parts)), parts)


@given(arrays.arrays(np.uint8, (2, 64), elements=st.integers(0, 15)), st.sampled_from([16, 32]))
def test_nibbles_come_back(codes, run):
    packed = q.pack_nibbles(codes, run)
    assert packed.shape == (2, 32)
    assert np.array_equal(q.unpack_nibbles(packed, run), codes)


# -- what rounding promises --------------------------------------------------------------------------------------------

# Up to 65504, the largest 16-bit float, so that Q4_1 can hold any offset.
ROWS = arrays.arrays(np.float32, (2, 256), elements=st.floats(-30000, 30000, width=32))


def blocks_of(weights: np.ndarray, name: str) -> tuple[np.ndarray, q.Blocks]:
    kind = FORMATS[name]
    blocks = kind.unpack(quantize(weights, name).reshape(-1, kind.bytes))
    return weights.reshape(len(blocks.step), -1).astype(np.float64), blocks


@settings(max_examples=60)
@given(ROWS, st.sampled_from(SIMPLE))
def test_the_error_is_at_most_half_a_step(weights, name):
    exact, blocks = blocks_of(weights, name)
    step = np.abs(blocks.step.astype(np.float64))[:, None]
    # Beside half a step: the step's own rounding to 16 bits (half of 2^-10, or of 2^-24 when it is subnormal) counts as
    # often as the code says, and Q4_1's offset is rounded too.
    rounding = np.maximum(step * 2**-11, 2**-25) * (1 + 1e-6)
    allowed = step / 2 + (rounding * 127 if name == "Q8_0" else rounding * 16)
    if name == "Q4_0":  # at the end opposite to the largest weight the code 8 is missing
        wanted = exact / np.where(blocks.step == 0, 1, blocks.step)[:, None].astype(np.float64)
        allowed = np.where(wanted > 7, step + rounding * 16, allowed)
    if name == "Q4_1":
        allowed = allowed + np.maximum(np.abs(blocks.offset.astype(np.float64)) * 2**-11, 2**-25)[:, None]
    error = np.abs(q.read(blocks) - exact)
    assert (error <= allowed * (1 + 1e-5)).all()


def test_half_a_step_is_reached_and_a_whole_one_at_the_open_end():
    weights = np.zeros(32, np.float32)
    weights[:3] = -8, 8, 0.5
    error = np.abs(dequantize(quantize(weights, "Q4_0"), "Q4_0") - weights)
    assert error.tolist() == [0, 1, 0.5, *[0] * 29]  # the step is 1; 8 is read as 7


@settings(max_examples=40)
@given(arrays.arrays(np.float32, (2, 256), elements=st.floats(-8, 8, width=16)))
def test_a_super_block_errs_by_half_a_step_where_it_does_not_clip(weights):
    exact, blocks = blocks_of(weights, "Q4_K")
    step, offset = (part.repeat(32, axis=1).astype(np.float64) for part in q.grid(blocks))
    wanted = (exact - offset) / np.where(step == 0, 1, step)
    inside = (step != 0) & (wanted >= -0.5) & (wanted <= 15.5)
    assert (np.abs(q.read(blocks) - exact)[inside] <= (step / 2 + 1e-4)[inside]).all()
    assert set(blocks.codes[(step != 0) & (wanted > 15.5)]) <= {15}, "the least squares may cut off the ends"
    assert set(blocks.codes[(step != 0) & (wanted < -0.5)]) <= {0}


@settings(max_examples=60)
@given(ROWS, st.sampled_from(["Q8_0", "Q4_0"]))
def test_weights_on_their_own_grid_stay(weights, name):
    once = dequantize(quantize(weights, name), name)
    assert np.array_equal(dequantize(quantize(once, name), name), once)


@settings(max_examples=60)
@given(arrays.arrays(np.int8, (2, 32), elements=st.integers(0, 15)), st.floats(-1000, 1000), st.floats(0.01, 10))
def test_weights_on_a_grid_with_an_offset_stay(codes, start, step):
    """As long as the offset is not so many steps away that 24 bits cannot tell the steps apart."""
    codes[:, :2] = 0, 15
    step, start = np.float16(step), np.float16(start * step)
    weights = q.read(q.Blocks(codes, np.repeat(step, 2), np.repeat(start, 2)))
    assert np.array_equal(dequantize(quantize(weights, "Q4_1"), "Q4_1"), weights)


@settings(max_examples=40)
@given(ROWS, st.sampled_from(list(FORMATS)), st.integers(-6, 4))
def test_a_power_of_two_passes_through(weights, name, power):
    """All numbers scale exactly, as long as no step is subnormal."""
    weights = np.where(np.abs(weights) < 1, np.float32(1), weights) / 16
    factor = np.float32(2.0**power)
    scaled = dequantize(quantize(weights * factor, name), name)
    if (np.abs(weights).reshape(-1, 32).max(1) > 64).all():
        assert np.array_equal(scaled, factor * dequantize(quantize(weights, name), name))


def test_more_bits_err_less_and_an_outlier_costs_its_block_alone():
    errors = {}
    for name in FORMATS:
        for case in ("normal", "one outlier"):
            errors[name, case] = (dequantize(quantize(CASES[case], name), name) - CASES[case])[:, :256] ** 2
    mean = {key: np.sqrt(error.mean()) for key, error in errors.items()}
    assert mean["Q8_0", "normal"] < mean["Q4_K", "normal"] < mean["Q4_1", "normal"] < mean["Q4_0", "normal"]
    for name in SIMPLE:
        change = np.abs(errors[name, "one outlier"] - errors[name, "normal"]).reshape(24, 8, 32).max(axis=(0, 2))
        assert (change > 0).tolist() == [False, False, True, *[False] * 5], name  # weight 77 is in block 2
    # A super-block has one float for its eight steps: the others shrink to a few of 63 parts, or to none.
    assert mean["Q4_K", "one outlier"] > 3 * mean["Q4_K", "normal"]
    parts = FORMATS["Q4_K"].unpack(quantize(CASES["one outlier"], "Q4_K").reshape(-1, 144)).parts[::2, 0]
    assert (parts[:, 2] == 63).all()
    assert not np.delete(parts, 2, axis=1).any()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(name, bad):
    weights = CASES["normal"].copy()
    weights[3, 40] = bad
    with pytest.raises(ValueError, match=rf"the weight at \(3, 40\) is {bad}"):
        quantize(weights, name)


@pytest.mark.parametrize("name", FORMATS)
def test_steps_beyond_16_bits_are_refused(name):
    with pytest.raises(ValueError, match="beyond 65504"):
        quantize(CASES["normal"] * np.float32(1e9), name)
    with pytest.raises(ValueError, match="the weight at"):
        quantize(CASES["normal"].astype(np.float64) * 1e300, name)


def test_an_offset_beyond_16_bits_is_refused_and_a_step_is_not():
    weights = CASES["normal"] + np.float32(1e5)
    with pytest.raises(ValueError, match="beyond 65504 in Q4_1"):
        quantize(weights, "Q4_1")
    assert np.isfinite(dequantize(quantize(weights, "Q8_0"), "Q8_0")).all()


def test_widths_that_are_no_whole_number_of_blocks_are_refused():
    with pytest.raises(ValueError, match=r"width 48 .* Q8_0's blocks of 32$"):
        quantize(np.ones((2, 48)), "Q8_0")
    with pytest.raises(ValueError, match=r"width 576 .* Q4_K's blocks of 256; formats with blocks of 32: Q8_0"):
        quantize(np.ones((2, 576)), "Q4_K")
    for empty in (np.float32(1), np.ones((0, 32)), np.ones((2, 0))):
        with pytest.raises(ValueError, match="no row to quantize"):
            quantize(empty, "Q4_0")
    with pytest.raises(ValueError, match="no block to read"):
        dequantize(np.ones((2, 0), np.uint8), "Q4_0")


def test_bytes_that_are_not_blocks_are_refused():
    packed = quantize(CASES["normal"], "Q4_K")
    with pytest.raises(ValueError, match=r"287 bytes .* blocks of 144; cut short\?"):
        dequantize(packed[:, :-1], "Q4_K")
    with pytest.raises(ValueError, match=r"bytes \(uint8\), not int8"):
        dequantize(packed.view(np.int8), "Q4_K")
    broken = packed.copy()
    broken[5, 1] = 0x7C  # with any low byte an infinity or NaN
    with pytest.raises(ValueError, match="damaged"):
        dequantize(broken, "Q4_K")


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match=r"no format 'Q3_K' here; there are Q8_0, Q4_0, Q4_1, Q4_K"):
        quantize(CASES["normal"], "Q3_K")


@pytest.mark.parametrize("name", FORMATS)
def test_shapes_and_types(name):
    weights = CASES["normal"].reshape(2, 12, WIDTH)
    packed = quantize(weights, name)
    assert packed.dtype == np.uint8
    assert packed.shape == (2, 12, WIDTH // FORMATS[name].size * FORMATS[name].bytes)
    assert dequantize(packed, name).shape == weights.shape
    assert same_bits(quantize(weights[:, ::2], name), packed[:, ::2].copy())
    assert same_bits(quantize(weights.astype(np.float64), name), packed)
