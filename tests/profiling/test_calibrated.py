"""Rounding, activation-aware scaling and GPTQ: what each promises; and models whose weights are such."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slmkit import Decoder, ModelConfig
from slmkit.data.packing import TokenRow
from slmkit.evaluation.bits import bits_per_byte
from slmkit.profiling import calibrated as c
from slmkit.profiling.calibrated import Inputs, Point, awq, front, gptq, output_error, rtn
from slmkit.profiling.quantization import FORMATS, dequantize, grid, quantize

NAMES = list(FORMATS)


def example(width: int = 256, outputs: int = 24, seed: int = 0) -> tuple[np.ndarray, Inputs]:
    """Weights, and inputs that are correlated and larger in a few channels, as those of real layers are."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((outputs, width)).astype(np.float32) / 16
    mixing = np.eye(width) + rng.standard_normal((width, width)) / math.sqrt(width)
    x = rng.standard_normal((4 * width, width)) @ mixing
    x[:, rng.choice(width, 6, replace=False)] *= 8
    return weight, Inputs.of(x)


def diagonal(width: int) -> Inputs:
    """Inputs of which no two are correlated."""
    rng = np.random.default_rng(3)
    return Inputs(np.diag(rng.uniform(0.1, 9, width)), np.ones(width), 100)


def test_inputs_add_up_however_they_come():
    x = np.random.default_rng(0).standard_normal((10, 3, 8)).astype(np.float32)
    at_once, in_parts = Inputs.of(x), Inputs.of(x[:4])
    in_parts.add(x[4:])
    flat = x.reshape(-1, 8).astype(np.float64)
    for inputs in (at_once, in_parts):
        np.testing.assert_allclose(inputs.hessian, flat.T @ flat)
        np.testing.assert_allclose(inputs.magnitude, np.abs(flat).sum(0))
        assert inputs.count == 30


def test_the_output_error_is_that_of_the_outputs():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((50, 32)), rng.standard_normal((5, 32))
    other = weight + 0.1 * rng.standard_normal(weight.shape)
    expected = ((x @ (other - weight).T) ** 2).sum() / ((x @ weight.T) ** 2).sum()
    assert output_error(weight, other, Inputs.of(x)) == pytest.approx(expected)
    assert output_error(weight, other, Inputs.of(0 * x)) == 0


# -- rounding to nearest -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_rounding_is_never_further_off_than_the_engines(name):
    weight, _ = example()
    ours, engines = rtn(weight, name), quantize(weight, name)
    errors = [np.abs(dequantize(packed, name) - weight) for packed in (ours, engines)]
    assert (errors[0] <= errors[1] * (1 + 1e-6) + 1e-9).all()
    assert (ours != engines).mean() < 0.02
    kind = FORMATS[name]
    steps = [grid(kind.unpack(packed.reshape(-1, kind.bytes)))[0] for packed in (ours, engines)]
    assert np.array_equal(*steps)


@pytest.mark.parametrize("name", NAMES)
def test_no_other_code_is_nearer(name):
    weight, _ = example(outputs=4)
    kind, packed = FORMATS[name], rtn(weight, name)
    blocks = kind.unpack(packed.reshape(-1, kind.bytes))
    step, offset = (None if part is None else part.repeat(kind.size // part.shape[1], axis=1) for part in grid(blocks))
    codes = np.arange(kind.lowest, kind.highest + 1)
    values = codes * step[..., None].astype(np.float64) + (0 if offset is None else offset[..., None])
    best = np.abs(values - weight.reshape(-1, kind.size)[..., None]).min(-1).reshape(weight.shape)
    np.testing.assert_allclose(np.abs(dequantize(packed, name) - weight), best, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_step_the_code_is_that_of_zero(name):
    kind, weight = FORMATS[name], (1e-12 * example()[0]).astype(np.float32)
    assert not kind.unpack(rtn(weight, name).reshape(-1, kind.bytes)).codes.any()


# -- activation-aware scaling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_scaling_errs_less_on_what_it_saw(name):
    weight, inputs = example()
    packed, scale = awq(weight, name, inputs)
    scaled = output_error(weight, dequantize(packed, name) / scale, inputs)
    assert scaled < 0.9 * output_error(weight, dequantize(rtn(weight, name), name), inputs)
    assert np.array_equal(packed, rtn(weight * scale, name)), "what is stored is the rounded W diag(s)"
    large = inputs.magnitude > 3 * np.median(inputs.magnitude)
    assert large.sum() == 6
    assert scale[large].min() > scale[~large].max()


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from(["Q4_0", "Q4_1"]))
def test_scaling_is_never_worse_than_rounding(seed, name):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((3, 64)).astype(np.float32)
    inputs = Inputs.of(rng.standard_normal((20, 64)) * rng.integers(0, 3, 64))  # some inputs are always zero
    packed, scale = awq(weight, name, inputs, trials=5)
    rounded = output_error(weight, dequantize(rtn(weight, name), name), inputs)
    assert output_error(weight, dequantize(packed, name) / scale, inputs) <= rounded


def test_equal_inputs_need_no_scaling():
    weight, _ = example()
    for inputs in (Inputs(np.eye(256), np.full(256, 0.7), 1), Inputs.of(np.zeros((5, 256)))):
        packed, scale = awq(weight, "Q4_0", inputs)
        assert np.array_equal(scale, np.ones(256))
        assert np.array_equal(packed, rtn(weight, "Q4_0"))


# -- GPTQ --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_gptq_errs_less_on_correlated_inputs(name):
    weight, inputs = example()
    error = output_error(weight, dequantize(gptq(weight, name, inputs), name), inputs)
    assert error < 0.8 * output_error(weight, dequantize(rtn(weight, name), name), inputs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damping", [0, 0.01])
def test_gptq_is_rounding_when_inputs_are_not_correlated(name, damping):
    weight, _ = example()
    assert np.array_equal(gptq(weight, name, diagonal(256), damping), rtn(weight, name))


def direct(weight: np.ndarray, inputs: Inputs, name: str, damping: float) -> np.ndarray:
    """The same without Cholesky: after each column, all later ones are solved for anew from the original weights.

    With the first j columns fixed at Q, the outputs are nearest when the others are W₂ + (W₁ - Q) H₁₂ H₂₂⁻¹.
    """
    kind, width = FORMATS[name], weight.shape[1]
    hessian = inputs.hessian + damping * np.trace(inputs.hessian) / width * np.eye(width)
    exact, fixed, packed = weight.astype(np.float64), np.zeros(weight.shape), []
    current = exact.copy()
    for j in range(width):
        if j % kind.size == 0:
            blocks = kind.fit(current[:, j : j + kind.size].astype(np.float32))
            step, offset = (np.zeros((len(weight), 1)) if x is None else x.astype(np.float64) for x in grid(blocks))
        i = j % kind.size
        part = i // (kind.size // step.shape[1])
        code = np.clip(
            np.rint((current[:, j] - offset[:, part % offset.shape[1]]) / step[:, part]), kind.lowest, kind.highest
        )
        blocks.codes[:, i] = code
        fixed[:, j] = code * step[:, part] + offset[:, part % offset.shape[1]]
        if i == kind.size - 1:
            packed.append(kind.pack(blocks))
        if j + 1 < width:
            made_good = np.linalg.solve(hessian[j + 1 :, j + 1 :], hessian[j + 1 :, : j + 1])
            current[:, j + 1 :] = exact[:, j + 1 :] + (exact[:, : j + 1] - fixed[:, : j + 1]) @ made_good.T
    return np.concatenate(packed, axis=1)


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1", "Q4_K"])
@pytest.mark.parametrize("damping", [0, 0.05])
def test_gptq_equals_a_direct_solution_of_each_step(name, damping):
    weight, inputs = example(width=256 if name == "Q4_K" else 64, outputs=5)
    assert np.array_equal(gptq(weight, name, inputs, damping), direct(weight, inputs, name, damping))


def test_inputs_that_are_always_zero_are_rounded_by_themselves():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 64)) @ (np.eye(64) + rng.standard_normal((64, 64)) / 8)
    x[:, [5, 40]] = 0
    weight = rng.standard_normal((4, 64)).astype(np.float32)
    packed = gptq(weight, "Q8_0", Inputs.of(x), damping=0)
    assert np.allclose(dequantize(packed, "Q8_0")[:, [5, 40]], weight[:, [5, 40]], atol=0.02)


def test_gptq_refuses_what_it_cannot_solve():
    weight, inputs = example(width=64)
    few = Inputs.of(np.random.default_rng(0).standard_normal((10, 64)))
    with pytest.raises(ValueError, match="10 inputs do not determine 64 columns with damping = 0"):
        gptq(weight, "Q4_0", few, damping=0)
    assert gptq(weight, "Q4_0", few).shape == (24, 36)
    with pytest.raises(ValueError, match="damping is -1"):
        gptq(weight, "Q4_0", inputs, damping=-1)
    for method in (gptq, awq):
        with pytest.raises(ValueError, match="the inputs are 64 wide and the weights 32"):
            method(weight[:, :32], "Q4_0", inputs)


# -- models ------------------------------------------------------------------------------------------------------------


def decoder(**options) -> Decoder:
    torch.manual_seed(0)
    shape = {"vocab_size": 48, "d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96}
    return Decoder(ModelConfig(**shape | options, max_context=32))


def ids(model: Decoder) -> torch.Tensor:
    return torch.randint(model.config.vocab_size, (4, 32), generator=torch.Generator().manual_seed(1))


def row(model: Decoder) -> TokenRow:
    tokens = torch.randint(model.config.vocab_size, (200,), generator=torch.Generator().manual_seed(2))
    return TokenRow(tokens, 400, "", model.config.vocab_size)


def test_calibration_sees_what_each_layer_reads():
    model = decoder()
    seen, block = c.calibrate(model, ids(model)), model.blocks[1]
    assert set(seen) == {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert {inputs.count for inputs in seen.values()} == {4 * 32}
    read = {}
    hook = block.ffn.register_forward_pre_hook(lambda _, args: read.update(x=args[0].detach()))
    model(ids(model))
    hook.remove()
    x = read["x"].flatten(0, 1).double().numpy()
    np.testing.assert_allclose(seen["blocks.1.ffn.up"].hessian, x.T @ x, rtol=1e-5, atol=1e-5)
    assert not any(module._forward_pre_hooks for module in model.modules()), "no hook stays behind"


def test_every_matrix_is_put_on_its_grid_and_nothing_else_changes():
    model, before = decoder(tied_embeddings=False, head_bias=True), decoder(tied_embeddings=False, head_bias=True)
    formats = c.quantize_model(model, "Q4_0")
    old = dict(before.named_parameters())
    for name, weight in model.named_parameters():
        if weight.ndim < 2:
            assert name not in formats
            assert torch.equal(weight, old[name])
        else:
            expected = dequantize(rtn(old[name].detach().numpy(), "Q4_0"), formats[name])
            assert np.array_equal(weight.detach().numpy(), expected), name
    assert len(formats) == 2 * 7 + 2


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_methods_use_their_inputs(method):
    model, exact = decoder(), decoder()
    inputs = c.calibrate(exact, ids(exact))
    c.quantize_model(model, "Q4_0", method, inputs)
    weight = exact.blocks[0].attention.q.weight.detach().numpy()
    seen = inputs["blocks.0.attention.q"]
    if method == "gptq":
        expected = dequantize(gptq(weight, "Q4_0", seen), "Q4_0")
    else:
        packed, scale = awq(weight, "Q4_0", seen)
        expected = dequantize(packed, "Q4_0") / scale
    assert np.array_equal(model.blocks[0].attention.q.weight.detach().numpy(), expected)


def test_a_shared_block_is_quantized_once_and_a_tied_head_with_its_table():
    model = decoder(sharing="block_pairs", tied_embeddings=True)
    formats = c.quantize_model(model, "Q8_0")
    assert len(formats) == 7 + 1
    assert model.blocks[0] is model.blocks[1]
    names = {name for name, weight in model.named_parameters() if weight.ndim == 2}
    assert set(formats) == names


def test_widths_that_do_not_fit_go_to_the_fallback():
    model = decoder(d_ff=256)
    with pytest.raises(ValueError, match=r"embedding has rows of 64, .* Q4_K's blocks of 256; name a fallback"):
        c.quantize_model(model, "Q4_K")
    assert torch.equal(model.embedding.weight, decoder(d_ff=256).embedding.weight), "refused before anything changed"
    formats = c.quantize_model(model, "Q4_K", fallback="Q8_0")
    assert {name for name, kind in formats.items() if kind == "Q4_K"} == {f"blocks.{i}.ffn.down.weight" for i in (0, 1)}
    assert set(formats.values()) == {"Q4_K", "Q8_0"}


def test_what_cannot_be_done_is_refused():
    model = decoder()
    with pytest.raises(ValueError, match="bfloat16, too coarse"):
        c.quantize_model(decoder().bfloat16(), "Q8_0")
    with pytest.raises(ValueError, match="no method 'best'; there are rtn, awq, gptq"):
        c.quantize_model(model, "Q8_0", "best")
    with pytest.raises(ValueError, match=r"gptq needs inputs; make them with calibrate"):
        c.quantize_model(model, "Q8_0", "gptq")
    with pytest.raises(ValueError, match="no format 'Q2_K'"):
        c.quantize_model(model, "Q8_0", fallback="Q2_K")
    with pytest.raises(ValueError, match=r"no inputs of blocks.2.attention.k; make them"):
        c.quantize_model(decoder(n_layers=3), "Q8_0", "awq", c.calibrate(model, ids(model)))


def test_bytes_are_those_of_the_blocks():
    model = decoder()
    formats = c.quantize_model(model, "Q4_1")
    vectors = sum(weight.numel() for weight in model.parameters() if weight.ndim == 1)
    matrices = sum(weight.numel() for weight in model.parameters()) - vectors
    assert c.stored_bytes(model, formats) == matrices * 5 / 8 + 4 * vectors
    assert c.stored_bytes(model, {}) == 2 * matrices + 4 * vectors


def test_the_trade_off_has_size_and_quality_of_each_arm():
    model = decoder()
    inputs = c.calibrate(model, ids(model))
    arms = {"16 bits": {}, "8": {"name": "Q8_0"}, "4": {"name": "Q4_0", "method": "gptq"}}
    points = c.trade_off(model, arms, row(model), 32, inputs, max_tokens=100)
    assert [point.name for point in points] == list(arms)
    assert torch.equal(model.embedding.weight, decoder().embedding.weight), "the model is left alone"
    assert points[0].bits_per_byte == bits_per_byte(model, row(model), 32, max_tokens=100)
    changes = [abs(point.bits_per_byte - points[0].bits_per_byte) for point in points]
    assert 0 < changes[1] < changes[2]
    assert [point.bits_per_weight for point in points] == pytest.approx([16, 8.5, 4.5], abs=0.3)
    c.quantize_model(model, "Q4_0", "gptq", inputs)
    assert points[2].bits_per_byte == bits_per_byte(model, row(model), 32, max_tokens=100)


def test_the_front_keeps_what_nothing_beats():
    a, b, worse, larger, same = (Point(*p) for p in (
        ("a", 100, 4.5, 2.0), ("b", 200, 8.5, 1.8), ("worse", 150, 5.0, 2.1), ("larger", 300, 16, 1.8),
        ("same size", 100, 4.5, 2.2)))  # fmt: skip
    assert front([larger, worse, b, same, a]) == [a, b]
    assert front([]) == []
