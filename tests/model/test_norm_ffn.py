"""Normalization and the feed-forward network against their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from slmkit import ModelConfig
from slmkit.model.feedforward import ACTIVATION, FeedForward
from slmkit.model.normalization import Norm

BASE = dict(vocab_size=16, d_model=12, n_layers=1, n_heads=2)
X = torch.randn(3, 4, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 1


def norm(**options):
    module = Norm(ModelConfig(**BASE | options)).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(parameter.shape)))
    return module


@pytest.mark.parametrize("weight", [True, False])
def test_rmsnorm(weight):
    module = norm(norm="rmsnorm", norm_eps=0.3, norm_weight=weight)
    expected = X / (X.square().mean(-1, keepdim=True) + 0.3).sqrt()
    torch.testing.assert_close(module(X), expected * module.weight if weight else expected)
    assert module.bias is None


def test_rmsnorm_with_bias():
    module = norm(norm="rmsnorm", norm_eps=0.3, norm_bias=True)
    expected = X / (X.square().mean(-1, keepdim=True) + 0.3).sqrt() * module.weight + module.bias
    torch.testing.assert_close(module(X), expected)


@pytest.mark.parametrize("options", [{}, {"norm_bias": False}, {"norm_weight": False}])
def test_layernorm(options):
    module = norm(norm="layernorm", norm_eps=0.3, **options)
    centred = X - X.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 0.3).sqrt()
    expected = expected * (1 if module.weight is None else module.weight)
    torch.testing.assert_close(module(X), expected + (0 if module.bias is None else module.bias))
    assert (module.weight is None, module.bias is None) == (
        options.get("norm_weight") is False, options != {})  # fmt: skip


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
def test_an_offset_weight_acts_as_one_more(kind):
    offset, plain = norm(norm=kind, norm_unit_offset=True), norm(norm=kind)
    plain.load_state_dict(offset.state_dict())
    plain.weight.data += 1
    torch.testing.assert_close(offset(X), plain(X))


@pytest.mark.parametrize("options", [{}, {"norm_unit_offset": True}, {"norm": "layernorm"}])
def test_a_fresh_norm_changes_only_the_size(options):
    module = Norm(ModelConfig(**BASE | options))
    y = module(X.float())
    torch.testing.assert_close(y.square().mean(-1), torch.ones(3, 4), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
def test_an_offset_weight_survives_bfloat16(kind):
    """1 + 0.003 is 1 in bfloat16. Computed in fp32, each element is rounded once, at the end."""
    module = norm(norm=kind, norm_unit_offset=True)
    module.weight.data.mul_(0.01)
    rounded = module.bfloat16()
    x = X.bfloat16()
    exact = norm(norm=kind, norm_unit_offset=True)
    exact.load_state_dict(rounded.state_dict())
    assert torch.equal(rounded(x), exact(x.double()).bfloat16())


def test_activations():
    x = torch.linspace(-4, 4, 41, dtype=torch.float64)
    phi = torch.tensor([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(ACTIVATION["gelu"](x), x * phi)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    torch.testing.assert_close(ACTIVATION["gelu_tanh"](x), 0.5 * x * (1 + inner.tanh()))
    torch.testing.assert_close(ACTIVATION["silu"](x), x / (1 + (-x).exp()))
    torch.testing.assert_close(ACTIVATION["relu"](x), x * (x > 0))
    torch.testing.assert_close(ACTIVATION["relu2"](x), x * x * (x > 0))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["relu", "relu2", "gelu", "gelu_tanh", "silu"])
@pytest.mark.parametrize("kind", ["standard", "gated"])
def test_feed_forward(kind, activation, bias):
    torch.manual_seed(0)
    ffn = FeedForward(ModelConfig(**BASE, ffn=kind, activation=activation, ffn_bias=bias, d_ff=20), 0).double()
    act = ACTIVATION[activation]
    up = F.linear(X, ffn.up.weight, ffn.up.bias)
    inner = act(up) if kind == "standard" else act(F.linear(X, ffn.gate.weight, ffn.gate.bias)) * up
    torch.testing.assert_close(ffn(X), F.linear(inner, ffn.down.weight, ffn.down.bias))
    assert (ffn.gate is None) == (kind == "standard")
    assert all((layer.bias is not None) == bias for layer in (ffn.up, ffn.down))
    assert ffn.up.weight.shape == (20, 12)


def test_each_layer_has_its_own_width():
    config = ModelConfig(**BASE | dict(n_layers=2), d_ff=(8, 16))
    assert [FeedForward(config, i).up.out_features for i in (0, 1)] == [8, 16]
