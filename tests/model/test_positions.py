"""Rotary tables and ALiBi slopes against their published formulas."""

import math

import pytest
import torch

from slmkit import Decoder, ModelConfig, RopeScaling
from slmkit.model.attention import Reading
from slmkit.model.positions import alibi_slopes, apply_rope, rope_tables

BASE = dict(vocab_size=32, d_model=32, n_layers=1, n_heads=2, max_context=40)


def frequencies(config):
    """What the tables say that each pair turns by from one position to the next, and their common factor."""
    cos, sin = rope_tables(config)
    factor, half = float(cos[0, 0]), cos.shape[-1] // 2
    return torch.atan2(sin[1, half:], cos[1, half:]), factor


def test_the_tables_hold_t_theta_to_the_minus_2j_over_d():
    config = ModelConfig(**BASE, rope_theta=500.0)
    cos, sin = rope_tables(config)
    assert cos.shape == sin.shape == (40, 16)
    assert torch.equal(cos[:, :8], cos[:, 8:])
    assert torch.equal(sin[:, :8], -sin[:, 8:])
    for t in (0, 1, 39):
        for j in (0, 1, 7):
            angle = t * 500.0 ** (-2 * j / 16)
            assert cos[t, j] == pytest.approx(math.cos(angle), abs=1e-5)
            assert sin[t, j + 8] == pytest.approx(math.sin(angle), abs=1e-5)


def test_only_the_first_elements_turn_when_rotary_is_partial():
    config = ModelConfig(**BASE, rope_fraction=0.25)
    cos, sin = rope_tables(config)
    assert cos.shape == (40, 4)
    x = torch.randn(1, 2, 40, 16)
    turned = apply_rope(x, (cos, sin))
    assert torch.equal(turned[..., 4:], x[..., 4:])
    torch.testing.assert_close(turned[..., 0], x[..., 0] * cos[:, 0] - x[..., 2] * sin[:, 2])
    torch.testing.assert_close(turned[..., 3], x[..., 3] * cos[:, 1] + x[..., 1] * sin[:, 3])


def test_rotation_keeps_lengths_and_depends_on_distance_only():
    tables = tuple(table.double() for table in rope_tables(ModelConfig(**BASE)))
    q, k = torch.randn(2, 16, dtype=torch.float64)
    turned_q, turned_k = (apply_rope(x.expand(1, 1, 40, 16), tables)[0, 0] for x in (q, k))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(40), rtol=1e-6, atol=1e-6)
    scores = turned_q @ turned_k.T  # [query position, key position]
    for distance in (-3, 0, 1, 20):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-5, atol=1e-5)
    assert (scores[0, 0] - scores[3, 0]).abs() > 1e-3


def test_linear_scaling_divides_every_frequency():
    plain, _ = frequencies(ModelConfig(**BASE))
    scaled, factor = frequencies(ModelConfig(**BASE, rope_scaling=RopeScaling("linear", 4.0)))
    torch.testing.assert_close(scaled, plain / 4)
    assert factor == 1


def test_llama3_scaling_keeps_fast_pairs_divides_slow_ones_and_blends_between():
    """Llama 3.1's reference code: by wavelength against original context / 4 and original context / 1."""
    scaling = RopeScaling("llama3", 8.0, 64, low_freq_factor=1.0, high_freq_factor=4.0)
    plain, _ = frequencies(ModelConfig(**BASE, rope_theta=5000.0))
    scaled, factor = frequencies(ModelConfig(**BASE, rope_theta=5000.0, rope_scaling=scaling))
    kinds = set()
    for before, after in zip(plain.tolist(), scaled.tolist(), strict=True):
        wavelength = 2 * math.pi / before
        if wavelength < 64 / 4:
            kinds.add("fast")
            expected = before
        elif wavelength > 64 / 1:
            kinds.add("slow")
            expected = before / 8
        else:
            kinds.add("between")
            smooth = (64 / wavelength - 1) / (4 - 1)
            expected = (1 - smooth) * before / 8 + smooth * before
        assert after == pytest.approx(expected, rel=1e-4)
    assert kinds == {"fast", "slow", "between"}
    assert factor == 1


@pytest.mark.parametrize("attention_factor", [None, 1.25])
def test_yarn_scaling(attention_factor):
    """Peng et al. 2023, with the ramp over the pair's index that their code uses."""
    scaling = RopeScaling("yarn", 4.0, 128, beta_fast=16.0, beta_slow=2.0, attention_factor=attention_factor)
    plain, _ = frequencies(ModelConfig(**BASE, rope_theta=700.0))
    scaled, factor = frequencies(ModelConfig(**BASE, rope_theta=700.0, rope_scaling=scaling))
    low = math.floor(16 * math.log(128 / (16 * 2 * math.pi)) / (2 * math.log(700)))
    high = math.ceil(16 * math.log(128 / (2 * 2 * math.pi)) / (2 * math.log(700)))
    assert (low, high) == (0, 3)
    for j in range(8):
        ramp = min(max((j - low) / (high - low), 0), 1)
        expected = float(plain[j]) * (1 - ramp) + float(plain[j]) / 4 * ramp
        assert float(scaled[j]) == pytest.approx(expected, rel=1e-4)
    assert factor == pytest.approx(attention_factor or 0.1 * math.log(4) + 1)


def test_ntk_scaling_is_a_larger_base():
    """bloc97 2023: the base times factor^(d / (d - 2)), so that the fastest pair stays and the slowest is divided."""
    scaled, factor = frequencies(ModelConfig(**BASE, rope_scaling=RopeScaling("ntk", 5.0)))
    other, _ = frequencies(ModelConfig(**BASE, rope_theta=10000.0 * 5.0 ** (16 / 14)))
    torch.testing.assert_close(scaled, other)
    plain, _ = frequencies(ModelConfig(**BASE))
    torch.testing.assert_close(scaled[-1], plain[-1] / 5)
    assert factor == 1


@pytest.mark.parametrize("attention_factor", [None, 1.25])
@pytest.mark.parametrize("original", [32, 40])
def test_longrope_divides_each_pair_by_its_own_number(original, attention_factor):
    """Ding et al. 2024; the long factors as soon as the configuration's context (40) is above the original one."""
    short, long = tuple(1 + j / 10 for j in range(8)), tuple(2.0 + j for j in range(8))
    scaling = RopeScaling("longrope", 4.0, original, attention_factor=attention_factor, short_factors=short,
                          long_factors=long)  # fmt: skip
    plain, _ = frequencies(ModelConfig(**BASE))
    scaled, factor = frequencies(ModelConfig(**BASE, rope_scaling=scaling))
    torch.testing.assert_close(scaled, plain / torch.tensor(long if original == 32 else short))
    assert factor == pytest.approx(attention_factor or math.sqrt(1 + math.log(4) / math.log(original)))


def test_yarn_with_a_ramp_of_no_width():
    """When both ends fall on one pair, that pair is kept and all later ones are divided."""
    scaling = RopeScaling("yarn", 4.0, 6, beta_fast=2.0, beta_slow=1.0)
    plain, _ = frequencies(ModelConfig(**BASE))
    scaled, _ = frequencies(ModelConfig(**BASE, rope_scaling=scaling))
    torch.testing.assert_close(scaled, torch.cat((plain[:1], plain[1:] / 4)))


@pytest.mark.parametrize(
    ("n_heads", "slopes"),
    [
        (1, [2**-8]),
        (8, [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8]),
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
        (3, [2**-4, 2**-8, 2**-2]),
    ],
)
def test_alibi_slopes(n_heads, slopes):
    """Press et al. 2021: 2^(-8i/n), and for other n every second slope of twice the next lower power of two."""
    torch.testing.assert_close(alibi_slopes(n_heads), torch.tensor(slopes))


@pytest.mark.parametrize("positions", ["rope", "learned", "alibi"])
def test_order_matters_with_positions(positions):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE, positions=positions))
    a, b = model(torch.tensor([[1, 2, 3, 4]])), model(torch.tensor([[2, 1, 3, 4]]))
    assert (a[0, -1] - b[0, -1]).abs().max() > 1e-4


def test_without_positions_only_the_set_of_earlier_tokens_matters():
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE, positions="none"))
    a, b = model(torch.tensor([[1, 2, 3, 4]])), model(torch.tensor([[2, 1, 3, 4]]))
    torch.testing.assert_close(a[0, -1], b[0, -1])


@pytest.mark.parametrize("positions", ["rope", "alibi", "none"])
def test_relative_positions_do_not_see_where_the_text_begins(positions):
    """Shifting all positions by padding changes learned embeddings only; here the row's own count is not reset."""
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE, positions=positions)).double()
    block = model.blocks[0]
    x = torch.randn(1, 5, 32, dtype=torch.float64)

    def read(start):
        rope = model.ropes[0].at(slice(start, start + 5)) if model.ropes else None
        return block(x, Reading(rope, None, None), 0)

    torch.testing.assert_close(read(0), read(20), rtol=1e-5, atol=1e-5)
