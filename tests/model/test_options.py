"""What the published families add to the plain decoder, each option against its formula or a model that must agree."""

import math

import pytest
import torch
import torch.nn.functional as F

from slmkit import Decoder, ModelConfig, RopeScaling
from slmkit.model.attention import soft_cap
from slmkit.model.positions import rope_tables

BASE = dict(vocab_size=48, d_model=24, n_layers=2, n_heads=4, max_context=16)
IDS = torch.randint(0, 48, (2, 9), generator=torch.Generator().manual_seed(5))


def made(**options):
    """A model in fp64 whose weights are all random, those of norms too."""
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE | dict(tied_embeddings=False) | options)).double()
    for name, parameter in model.named_parameters():
        parameter.data.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
    return model


def like(model, **options):
    """A model with other options and the same weights."""
    other = Decoder(ModelConfig(**model.config.to_dict() | options)).double()
    other.load_state_dict(model.state_dict())
    return other


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


def differ(a, b):
    assert (a - b).abs().max() > 1e-4


# -- norms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["pre", "post", "both", "after_residual"])
def test_norms_stand_where_their_placement_says(placement):
    model = made(norm_placement=placement, positions="none", residual_scale=0.7)
    x = model.embedding(IDS)
    seen = []
    for block in model.blocks:
        # Attention is caught rather than called, since it needs its reading.
        block.attention.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    hidden = model.hidden(IDS)
    for block, (read, mixed) in zip(model.blocks, seen, strict=True):
        before = placement in ("pre", "both")
        assert (block.attention_norm is not None, block.ffn_norm is not None) == (before, before)
        same(read, block.attention_norm(x) if before else x)
        if placement == "after_residual":
            x = block.attention_post_norm(x + 0.7 * mixed)
            x = block.ffn_post_norm(x + 0.7 * block.ffn(x))
            continue
        x = x + 0.7 * (mixed if placement == "pre" else block.attention_post_norm(mixed))
        fed = block.ffn(block.ffn_norm(x) if before else x)
        x = x + 0.7 * (fed if placement == "pre" else block.ffn_post_norm(fed))
    same(hidden, x if placement == "after_residual" else model.norm(x))
    assert (model.norm is None) == (placement == "after_residual")


@pytest.mark.parametrize("placement", ["post", "both"])
def test_a_norm_on_the_branch_takes_the_branch_s_size_away(placement):
    model = made(norm_placement=placement, norm_eps=1e-12)
    before = model(IDS)
    for block in model.blocks:
        block.attention.out.weight.data *= 5
        block.ffn.down.weight.data *= 0.2
    same(model(IDS), before)


def test_a_norm_on_the_embedding_takes_its_size_away():
    model = made(embedding_norm=True, norm_eps=1e-12)
    before = model(IDS)
    same(model.embedded(IDS, slice(0, 9)), model.embedding_norm(model.embedding(IDS)))
    model.embedding.weight.data *= 7
    same(model(IDS), before)


@pytest.mark.parametrize("kind", ["head", "head_plain", "head_rotated", "full"])
def test_query_and_key_norms_take_the_size_of_queries_and_keys_away(kind):
    model = made(qk_norm=kind, n_kv_heads=2, norm_eps=1e-12)
    before = model(IDS)
    for block in model.blocks:
        block.attention.q.weight.data *= 5
        block.attention.k.weight.data *= 3
    same(model(IDS), before)
    # One head alone: norms of heads do not see it, a norm over the full width does.
    model.blocks[0].attention.q.weight.data[:6] *= 5
    (differ if kind == "full" else same)(model(IDS), before)


def test_widths_and_weights_of_query_and_key_norms():
    shapes = {"head": ((6,), (6,)), "head_rotated": ((6,), (6,)), "full": ((24,), (12,))}
    for kind, (query, key) in shapes.items():
        attention = made(qk_norm=kind, n_kv_heads=2).blocks[0].attention
        assert (attention.q_norm.weight.shape, attention.k_norm.weight.shape) == (query, key)
    plain = made(qk_norm="head_plain").blocks[0]
    assert plain.attention.q_norm.weight is None
    assert plain.attention_norm.weight is not None


def test_a_norm_after_the_rotation_is_another_one_only_by_its_weights():
    model = made(qk_norm="head")
    rotated = like(model, qk_norm="head_rotated")
    differ(model(IDS), rotated(IDS))
    for either in (model, rotated):
        for block in either.blocks:
            block.attention.q_norm.weight.data.fill_(1.3)
            block.attention.k_norm.weight.data.fill_(0.8)
    same(model(IDS), rotated(IDS))


def test_each_norm_has_its_own_epsilon_in_latent_attention():
    mla = dict(attention="mla", head_dim=8, kv_lora_rank=6, q_lora_rank=5, qk_rope_head_dim=4)
    model = made(**mla, norm_eps=1e-5, latent_norm_eps=0.5)
    attention = model.blocks[0].attention
    assert (attention.kv_norm.eps, attention.q_norm.eps, model.blocks[0].attention_norm.eps) == (0.5, 0.5, 1e-5)
    assert made(**mla, norm_eps=1e-3).blocks[0].attention.kv_norm.eps == 1e-3


# -- factors and caps ------------------------------------------------------------------------------------------------


def test_a_soft_cap():
    x = torch.linspace(-100, 100, 201, dtype=torch.float64)
    torch.testing.assert_close(soft_cap(x, 5.0), torch.tensor([5 * math.tanh(v / 5) for v in x.tolist()]).double())
    assert soft_cap(x, 5.0).abs().max() <= 5
    torch.testing.assert_close(soft_cap(x, 1e9), x)


def test_a_cap_at_infinity_is_none():
    model = made(n_kv_heads=2, window=(3, None))
    same(like(model, score_cap=1e9, logit_cap=1e9)(IDS), model(IDS))
    differ(like(model, score_cap=0.5)(IDS), model(IDS))
    latent = made(attention="mla", head_dim=8, kv_lora_rank=6, qk_rope_head_dim=4)
    same(like(latent, score_cap=1e9)(IDS), latent(IDS))
    differ(like(latent, score_cap=0.5)(IDS), latent(IDS))


def test_logits_are_scaled_and_then_capped():
    model = made()
    plain = model(IDS)
    same(like(model, logit_scale=0.3)(IDS), 0.3 * plain)
    same(like(model, logit_scale=0.3, logit_cap=2.0)(IDS), 2 * torch.tanh(0.15 * plain))


def test_a_scaled_residual_is_a_model_with_smaller_output_projections():
    model = made(residual_scale=0.3, block="parallel")
    for options in (dict(block="parallel"), dict(block="sequential")):
        scaled, plain = like(model, **options), like(model, **options, residual_scale=1.0)
        for block in plain.blocks:
            block.attention.out.weight.data *= 0.3
            block.ffn.down.weight.data *= 0.3
        same(scaled(IDS), plain(IDS))


# -- both ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_a_narrow_embedding_is_projected_at_both_ends(tied):
    model = made(embedding_width=10, tied_embeddings=tied)
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    logits = model(IDS)
    same(seen[0], model.embedding.weight[IDS] @ model.embedding_in.weight.T)
    head = model.embedding.weight if tied else model.head.weight
    assert head.shape == (48, 10)
    same(logits, model.hidden(IDS) @ model.embedding_out.weight.T @ head.T)


def test_spare_rows_in_front_of_the_positions():
    model = made(positions="learned", position_offset=2)
    assert model.position_embedding.weight.shape == (18, 24)
    same(model.embedded(IDS, slice(3, 12)), model.embedding(IDS) + model.position_embedding.weight[5:14])
    plain = made(positions="learned")
    state = model.state_dict() | {"position_embedding.weight": model.position_embedding.weight[2:]}
    plain.load_state_dict(state)
    same(plain(IDS), model(IDS))


def test_a_bias_on_the_head():
    model = made(head_bias=True)
    same(model(IDS), model.hidden(IDS) @ model.head.weight.T + model.head.bias)


# -- positions -------------------------------------------------------------------------------------------------------


def test_each_layer_reads_the_tables_of_its_own_rotation():
    near, far = RopeScaling("linear", 2.0), None
    model = made(n_layers=4, rope_theta=(100.0, 1e4, None, 100.0), rope_scaling=(far, near, far, far))
    assert len(model.ropes) == 2, "layers that rotate alike share their tables"
    seen = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].rope))
    model(IDS)
    assert seen[2] is None
    for layer, theta in ((0, 100.0), (1, 1e4), (3, 100.0)):
        alone = ModelConfig(**BASE, rope_theta=theta, rope_scaling=near if layer == 1 else None)
        for table, expected in zip(seen[layer], rope_tables(alone), strict=True):
            torch.testing.assert_close(table.float(), expected[:9])


def test_one_rotation_for_all_is_the_same_given_layer_by_layer():
    model = made(rope_theta=500.0)
    same(like(model, rope_theta=(500.0, 500.0))(IDS), model(IDS))
    same(like(model, rope_theta=(None, 500.0))(IDS[:, :1]), model(IDS[:, :1]))  # a token alone has no distances
    differ(like(model, rope_theta=(None, 500.0))(IDS), model(IDS))


def test_shared_blocks_must_rotate_alike():
    with pytest.raises(ValueError, match="layers 0 and 1 share a block"):
        ModelConfig(**BASE, sharing="block_pairs", rope_theta=(100.0, None))


# -- the first activations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    dict(norm_placement="post"), dict(norm_placement="both", norm_unit_offset=True), dict(norm_placement="both"),
    dict(norm_placement="after_residual"), dict(residual_scale=0.2), dict(residual_scale=0.2, norm_placement="post"),
    dict(qk_norm="full"), dict(embedding_width=32), dict(embedding_norm=True), dict(score_cap=20.0),
])  # fmt: skip
def test_activations_start_near_one_with_every_option(options):
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=512, d_model=64, n_layers=12, n_heads=4, tied_embeddings=False, **options)
    model, sizes = Decoder(config), []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: sizes.append(float(output.detach().std())))
    ids = torch.randint(0, 512, (8, 32))
    logits = model(ids)
    assert all(0.8 < size < 2 for size in sizes)
    assert 6.2 < F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()) < 7.2  # ln 512 = 6.24


def test_a_scaled_residual_is_divided_out_of_what_writes_to_it():
    model = Decoder(ModelConfig(vocab_size=64, d_model=256, n_layers=8, n_heads=4, residual_scale=0.2))
    spread = float(model.blocks[3].attention.out.weight.detach().std())
    assert spread == pytest.approx(256**-0.5 / 4 / 0.2, rel=0.05)  # √(2 × 8 layers) = 4


def test_a_tied_embedding_weighs_what_scales_it_at_either_end():
    options = dict(vocab_size=512, d_model=256, n_layers=1, n_heads=4, embedding_scale=4.0, logit_scale=0.5)
    for width in (None, 64):
        weight = Decoder(ModelConfig(**options, embedding_width=width)).embedding.weight
        expected = (width or 256) ** -0.25 / (4.0 * 0.5) ** 0.5
        assert float(weight.detach().std()) == pytest.approx(expected, rel=0.05)
