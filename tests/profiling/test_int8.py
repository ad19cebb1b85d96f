"""Weights in 8 bits: what is stored, and what a product gives."""

import pytest
import torch

from slmkit import Decoder, ModelConfig, generate
from slmkit.profiling.int8 import FEW, Narrow, bytes_read, int8_model, rounded


def small(**options) -> Decoder:
    torch.manual_seed(0)
    return Decoder(ModelConfig(97, 32, 2, 4, n_kv_heads=2, max_context=64, **options)).eval()


def test_a_row_keeps_its_largest_weight_and_errs_by_half_a_step():
    torch.manual_seed(0)
    weight = torch.randn(5, 40)
    weight[3] = 0
    codes, scale = rounded(weight)
    assert (codes.dtype, scale.shape) == (torch.int8, (5,))
    assert codes.abs().amax(1).tolist() == [127, 127, 127, 0, 127]
    error = (codes * scale.float()[:, None] - weight).abs()
    # The scale is rounded to 8 bits, so the largest weight may be off by as much: 127 steps / 256.
    assert (error <= 0.51 * scale.float()[:, None]).all()


@pytest.mark.parametrize("rows", [1, FEW, FEW + 1])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("inputs", [40, 5])  # no multiple of 16, with which the kernel alone is wrong or crashes
def test_a_product_is_that_of_the_weights_that_are_stored(rows, bits, inputs):
    torch.manual_seed(0)
    weight, bias, x = torch.randn(7, inputs), torch.randn(7), torch.randn(2, rows, inputs)[:1]
    codes, scale = rounded(weight) if bits == 8 else (weight.half(), None)
    stored = codes.float() * (1 if scale is None else scale.float()[:, None])
    found = Narrow(codes, scale, bias)(x)
    assert (found.dtype, found.shape) == (torch.float32, (1, rows, 7))
    torch.testing.assert_close(found, x.bfloat16().float() @ stored.T + bias, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("tied", [True, False])
@torch.inference_mode()
def test_a_model_in_8_bits_says_nearly_the_same_and_leaves_the_other_alone(tied):
    model, ids = small(tied_embeddings=tied), torch.arange(40).view(2, 20)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    exact = model(ids)
    quick = int8_model(model)
    assert 1e-4 < (quick(ids) - exact).norm() / exact.norm() < 0.03
    assert generate(quick, ids[:1], 5).shape == (1, 25)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_what_a_step_reads_is_counted():
    model = small(d_ff=96)  # rows of whole steps of the kernel
    matrices = sum(w.numel() for name, w in model.named_parameters() if w.ndim == 2 and "embedding" not in name)
    outputs = sum(len(w) for name, w in model.named_parameters() if w.ndim == 2 and "embedding" not in name)
    norms = sum(w.numel() for w in model.parameters() if w.ndim == 1)
    head = 2 * 97 * 32
    assert bytes_read(int8_model(model)) == matrices + 2 * outputs + 4 * norms + head


def test_what_is_not_finite_is_refused():
    model = small()
    model.blocks[1].ffn.up.weight.data[3, 4] = float("inf")
    with pytest.raises(ValueError, match="only finite numbers"):
        int8_model(model)
