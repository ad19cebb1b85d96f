"""Weights in 8 bits: what is stored, and what a product gives."""

import pytest
import torch
import torch.nn.functional as F

from slmkit import Decoder, ModelConfig, generate
from slmkit.profiling.int8 import Narrow, bytes_read, int8_model, packed


def small(**options) -> Decoder:
    torch.manual_seed(0)
    return Decoder(ModelConfig(97, 32, 2, 4, n_kv_heads=2, max_context=64, **options)).eval()


def stored(weight: torch.Tensor) -> torch.Tensor:
    """What is left of the weights, worked out plainly: a code of its own byte and, as its fraction, the bytes below."""
    codes, scale = packed(F.pad(weight, (0, -weight.shape[1] % 16)))
    parts = []
    for i in range(4):
        byte_and_below = codes.long() % 256 ** (i + 1)
        signed = byte_and_below - (byte_and_below >= 256 ** (i + 1) // 2) * 256 ** (i + 1)
        parts.append(signed.double() / 256**i)
    exact = torch.stack(parts, -1).flatten(-2) * scale[..., None].double() * 2**24
    return exact.flatten(1)[:, : weight.shape[1]].float()


def test_a_group_keeps_its_largest_weight_and_no_weight_errs_by_more_than_half_a_step():
    torch.manual_seed(0)
    weight = torch.randn(50, 48)
    weight[3, 16:32] = 0
    weight[4, 16:32] = torch.tensor([1.0, -1.0]).repeat(8)  # all at the end of the scale
    weight[5, :16] = 1e-35
    codes, scale = packed(weight)
    assert (codes.dtype, codes.shape, scale.shape) == (torch.int32, (50, 3, 4), (50, 3))
    largest = weight.abs().unflatten(1, (3, 16)).amax(2)
    torch.testing.assert_close(scale * 2**24 * 127, largest.clamp(min=1.27e-28), rtol=1e-6, atol=0)
    step = scale.repeat_interleave(16, 1) * 2**24
    assert ((stored(weight) - weight).abs() <= 0.5001 * step).all()


@pytest.mark.parametrize("compiling", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("outputs", "inputs"), [(7, 40), (32, 64), (33, 5)])
def test_a_product_is_that_of_the_weights_that_are_stored(compiling, biased, outputs, inputs, monkeypatch):
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs) if biased else None
    layer = Narrow(weight, bias)
    torch.testing.assert_close(layer.widened(), stored(weight), rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    for shape in ((inputs,), (1, 1, inputs), (2, 3, inputs)):
        x = torch.randn(shape)
        found = layer(x)
        assert (found.dtype, found.shape) == (torch.float32, (*shape[:-1], outputs))
        torch.testing.assert_close(found, F.linear(x, stored(weight), bias), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@torch.inference_mode()
def test_a_model_in_8_bits_says_nearly_the_same_and_leaves_the_other_alone(tied):
    model, ids = small(tied_embeddings=tied), torch.arange(40).view(2, 20)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    exact = model(ids)
    quick = int8_model(model)
    assert 1e-4 < (quick(ids) - exact).norm() / exact.norm() < 0.02
    assert generate(quick, ids[:1], 5).shape == (1, 25)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_what_a_step_reads_is_counted():
    model = small(d_ff=96)  # all widths are multiples of 16, but for the vocabulary of 97
    matrices = sum(w.numel() for name, w in model.named_parameters() if w.ndim == 2 and "embedding" not in name)
    norms = sum(w.numel() for w in model.parameters() if w.ndim == 1)
    head = (97 + 15) * 32
    assert bytes_read(int8_model(model)) == (matrices + head) * (1 + 4 / 16) + 4 * norms


def test_what_is_not_finite_is_refused():
    model = small()
    model.blocks[1].ffn.up.weight.data[3, 4] = float("inf")
    with pytest.raises(ValueError, match="only finite numbers"):
        int8_model(model)
