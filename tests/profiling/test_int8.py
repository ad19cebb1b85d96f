"""Weights in 8 bits: what is stored, and what a product gives."""

import pytest
import torch
import torch.nn.functional as F

from slmkit import Decoder, ModelConfig, generate
from slmkit.profiling.int8 import Narrow, bytes_read, int8_model, rounded


def small(**options) -> Decoder:
    torch.manual_seed(0)
    return Decoder(ModelConfig(97, 32, 2, 4, n_kv_heads=2, max_context=64, **options)).eval()


def test_a_group_keeps_its_largest_weight_and_errs_by_half_a_step():
    torch.manual_seed(0)
    weight = torch.randn(5, 48)
    weight[3, 16:32] = 0
    codes, scale = rounded(weight)
    assert (codes.dtype, codes.shape, scale.shape) == (torch.int8, (5, 48), (5, 3))
    assert codes.abs().unflatten(1, (3, 16)).amax(2).tolist() == [[127] * 3] * 3 + [[127, 0, 127], [127] * 3]
    error = (codes * scale.repeat_interleave(16, 1) - weight).abs()
    assert (error <= 0.5001 * scale.repeat_interleave(16, 1)).all()


def stored(weight: torch.Tensor) -> torch.Tensor:
    """What is left of the weights, worked out plainly."""
    codes, scale = rounded(F.pad(weight, (0, -weight.shape[1] % 16)))
    return (codes * scale.repeat_interleave(16, 1))[:, : weight.shape[1]]


@pytest.mark.parametrize("compiling", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("outputs", "inputs"), [(7, 40), (32, 64), (33, 5)])
def test_a_product_is_that_of_the_weights_that_are_stored(compiling, biased, outputs, inputs, monkeypatch):
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs) if biased else None
    layer = Narrow(weight, bias)
    assert torch.equal(layer.widened(), stored(weight))
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
