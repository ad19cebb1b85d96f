"""The whole decoder: causality, layout of blocks, sharing, and the size of its first activations."""

import pytest
import torch
import torch.nn.functional as F
from mixtures import MIXTURES

from slmkit import Decoder, ModelConfig, RopeScaling
from slmkit.model.attention import Reading
from slmkit.model.cache import KVCache

BASE = dict(vocab_size=48, d_model=24, n_layers=2, n_heads=4, max_context=16)
KINDS = {
    "llama": {}, "gpt2": dict(positions="learned", norm="layernorm", ffn="standard", activation="gelu"),
    "alibi": dict(positions="alibi"), "window": dict(window=3), "parallel": dict(block="parallel"),
    "mla": dict(attention="mla", head_dim=8, kv_lora_rank=6, qk_rope_head_dim=4), "untied": dict(tied_embeddings=False),
    "shared": dict(sharing="block_pairs"), "scaled": dict(rope_scaling=RopeScaling("llama3", 2.0, 8)),
    "gemma2": dict(norm_placement="both", norm_unit_offset=True, score_cap=5.0, logit_cap=9.0, window=(4, None)),
    "gemma3": dict(norm_placement="both", qk_norm="head", rope_theta=(100.0, 1e4),
                   rope_scaling=(None, RopeScaling("linear", 2.0))),
} | MIXTURES  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_token_changes_nothing_before_itself_and_something_from_there_on(name):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE | KINDS[name])).double()
    ids = torch.randint(0, 48, (1, 10))
    before = model(ids)
    for position in (0, 4, 9):
        changed = ids.clone()
        changed[0, position] = (ids[0, position] + 1) % 48
        difference = (model(changed) - before).abs().amax(-1)[0]
        assert difference[:position].eq(0).all() or difference[:position].max() < 1e-12
        assert difference[position] > 1e-6


@pytest.mark.parametrize("cached", [0, 1, 4])
@pytest.mark.parametrize("name", KINDS)
def test_a_tree_gives_each_of_its_texts_what_it_gets_alone(name, cached):
    """Two texts, 0 1 2 3 4 5 and 0 1 2 3 6 7 8, in one row; the first tokens may be in the cache already."""
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE | KINDS[name])).double()
    ids = torch.randint(0, 48, (1, 9))
    sees = torch.ones(9, 9, dtype=torch.bool).tril()
    sees[6:, 4:6] = False
    cache = KVCache(model.config, 1, 9, dtype=torch.float64)
    first = [model.hidden(ids[:, :cached], cache)] if cached else []
    hidden = torch.cat((*first, model.hidden(ids[:, cached:], cache, tree=sees[cached:])), dim=1)
    for text in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 6, 7, 8]):
        torch.testing.assert_close(hidden[:, text], model.hidden(ids[:, text]))
    if not cached:
        torch.testing.assert_close(model.hidden(ids, tree=sees), hidden)


@pytest.mark.parametrize("name", KINDS)
def test_the_output_at_some_places_only(name):
    torch.manual_seed(0)
    model, only = Decoder(ModelConfig(**BASE | KINDS[name])).double(), torch.tensor([1, 4, 5])
    ids = torch.randint(0, 48, (2, 7))
    torch.testing.assert_close(model.hidden(ids, only=only), model.hidden(ids)[:, only])
    fed = []
    model.blocks[-1].ffn.register_forward_hook(lambda module, inputs, output: fed.append(output.shape[1]))
    model.hidden(ids, only=only)
    assert fed[-1] == 3, "no more is computed"


def test_a_window_reaches_exactly_as_far_as_it_says():
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE | dict(n_layers=1), window=3)).double()
    ids = torch.randint(0, 48, (1, 10))
    changed = ids.clone()
    changed[0, 2] = (ids[0, 2] + 1) % 48
    difference = (model(changed) - model(ids)).abs().amax(-1)[0]
    assert (difference > 1e-6).tolist() == [False] * 2 + [True] * 3 + [False] * 5  # itself and the two after it


@pytest.mark.parametrize("block", ["sequential", "parallel", "parallel_shared_norm"])
def test_blocks_add_up_as_their_name_says(block):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE | dict(n_layers=1), block=block, positions="none", tied_embeddings=False))
    layer, ids = model.blocks[0], torch.randint(0, 48, (2, 5))
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)

    def attention(y):
        return layer.attention(y, Reading(None, None, None), 0)

    x = model.embedding(ids)
    normed = layer.attention_norm(x)
    if block == "sequential":
        x = x + attention(normed)
        x = x + layer.ffn(layer.ffn_norm(x))
    elif block == "parallel":
        x = x + attention(normed) + layer.ffn(layer.ffn_norm(x))
    else:
        assert layer.ffn_norm is None
        x = x + attention(normed) + layer.ffn(normed)
    torch.testing.assert_close(model(ids), model.norm(x) @ model.head.weight.T)


def test_a_tied_head_is_the_embedding():
    model = Decoder(ModelConfig(**BASE))
    assert model.head is None
    hidden = model.hidden(torch.tensor([[1, 2]]))
    torch.testing.assert_close(model(torch.tensor([[1, 2]])), hidden @ model.embedding.weight.T)


def test_the_embedding_scale_multiplies_what_enters_and_not_what_leaves():
    torch.manual_seed(0)
    scaled = Decoder(ModelConfig(**BASE | dict(positions="learned"), embedding_scale=3.0, tied_embeddings=False))
    plain = Decoder(ModelConfig(**BASE | dict(positions="learned"), tied_embeddings=False))
    plain.load_state_dict(scaled.state_dict())
    plain.embedding.weight.data *= 3
    ids = torch.randint(0, 48, (1, 6))
    torch.testing.assert_close(plain(ids), scaled(ids))


def test_the_embedding_scale_is_rounded_to_the_weights_type():
    model = Decoder(ModelConfig(**BASE | dict(n_layers=1), embedding_scale=3072**0.5)).bfloat16()
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(torch.tensor([[5]]))
    assert torch.equal(seen[0][0, 0], model.embedding.weight[5] * 55.5)


def test_blocks_in_pairs_are_one_module_read_twice():
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE | dict(n_layers=4), sharing="block_pairs"))
    assert model.blocks[0] is model.blocks[1]
    assert model.blocks[2] is model.blocks[3]
    assert model.blocks[0] is not model.blocks[2]
    long = Decoder(ModelConfig(**BASE | dict(n_layers=4)))
    long.load_state_dict(model.state_dict())
    ids = torch.randint(0, 48, (1, 6))
    torch.testing.assert_close(model(ids), long(ids))


def test_one_ffn_for_all_blocks():
    model = Decoder(ModelConfig(**BASE | dict(n_layers=3), sharing="ffn_all"))
    assert model.blocks[0].ffn is model.blocks[1].ffn is model.blocks[2].ffn
    assert model.blocks[0].attention is not model.blocks[1].attention
    F.cross_entropy(model(torch.tensor([[1, 2]]))[0], torch.tensor([2, 3])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def spread(tensor):
    return float(tensor.detach().float().std())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("scale", [1.0, 16.0])
def test_weights_are_drawn_with_the_stated_deviations(tied, scale):
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=512, d_model=256, n_layers=8, n_heads=4, d_ff=512, tied_embeddings=tied,
                         embedding_scale=scale, qkv_bias=True, positions="learned", max_context=64)  # fmt: skip
    model = Decoder(config)
    block = model.blocks[3]
    assert spread(block.attention.q.weight) == pytest.approx(256**-0.5, rel=0.05)
    assert spread(block.ffn.up.weight) == pytest.approx(256**-0.5, rel=0.05)
    assert spread(block.attention.out.weight) == pytest.approx(256**-0.5 / 4, rel=0.05)  # √(2 × 8 layers) = 4
    assert spread(block.ffn.down.weight) == pytest.approx(512**-0.5 / 4, rel=0.05)
    assert spread(block.attention.q.bias) == 0
    assert spread(model.embedding.weight) == pytest.approx(1 / 4 / scale**0.5 if tied else 1 / scale, rel=0.05)
    assert spread(model.position_embedding.weight) == pytest.approx(0.1, rel=0.05)
    if not tied:
        assert spread(model.head.weight) == pytest.approx(256**-0.5, rel=0.05)


@pytest.mark.parametrize("n_layers", [2, 16])
def test_the_first_loss_is_near_that_of_guessing_at_any_depth(n_layers):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(vocab_size=512, d_model=64, n_layers=n_layers, n_heads=4, tied_embeddings=False))
    ids = torch.randint(0, 512, (8, 32))
    loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert 6.2 < loss < 7.2  # ln 512 = 6.24; logits of deviation one add about a half
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(spread(output)))
    model(ids)
    assert all(0.8 < size < 2 for size in seen)


def test_the_same_seed_draws_the_same_weights():
    models = []
    for _ in range(2):
        torch.manual_seed(7)
        models.append(Decoder(ModelConfig(**BASE)))
    assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in models), strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_bfloat16_weights_give_about_the_same_logits(name):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**BASE | KINDS[name]))
    ids = torch.randint(0, 48, (2, 10))
    exact = model(ids)
    rounded = model.bfloat16()(ids)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_too_long_a_text_is_refused():
    with pytest.raises(ValueError, match="17 tokens are more than the model's max_context of 16"):
        Decoder(ModelConfig(**BASE))(torch.zeros(1, 17, dtype=torch.long))
