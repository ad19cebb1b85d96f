"""Counts from a configuration alone, against models that are built and run."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from slmkit import Decoder, ModelConfig, count_parameters, flops_per_token, kv_cache_bytes
from slmkit.config import ACTIVATIONS, BLOCKS, FFNS, NORM_PLACEMENTS, NORMS, POSITIONS, QK_NORMS, SHARINGS
from slmkit.model.cache import KVCache
from slmkit.model.counting import activation_bytes, flops_by_part, weight_bytes

MLA = dict(attention="mla", head_dim=10, kv_lora_rank=6, qk_rope_head_dim=4, v_head_dim=8)


@st.composite
def configs(draw):
    """Any sound configuration, small."""

    def some(values):
        return draw(st.sampled_from(values))

    n_layers, flag = draw(st.integers(1, 4)), st.booleans()
    widths = st.integers(1, 30)
    latent = dict(MLA, q_lora_rank=some([None, 5]), positions=some(["rope", "none"])) if draw(flag) else None
    values = dict(
        vocab_size=draw(st.integers(1, 50)), d_model=some([12, 24]), n_layers=n_layers, n_heads=some([2, 4]),
        n_kv_heads=None if latent else some([None, 1, 2]), head_dim=some([None, 8]),
        d_ff=draw(st.one_of(st.none(), widths, st.tuples(*[widths] * n_layers))), positions=some(POSITIONS),
        ffn=some(FFNS), norm=some(NORMS), block=some(BLOCKS), sharing=some(SHARINGS), tied_embeddings=draw(flag),
        qkv_bias=draw(flag), out_bias=draw(flag), ffn_bias=draw(flag), norm_weight=draw(flag), max_context=9,
        window=some([None, 2]), activation=some(ACTIVATIONS), qk_norm=None if latent else some([None, *QK_NORMS]),
        embedding_norm=draw(flag), embedding_width=some([None, 10]), head_bias=draw(flag), position_offset=some([0, 2]),
        norm_placement=some(NORM_PLACEMENTS), score_cap=some([None, 3.0]), logit_scale=some([1.0, 0.5]),
        norm_unit_offset=draw(flag), residual_scale=some([1.0, 0.3]),
    ) | (latent or {})  # fmt: skip
    # What excludes one another, put right, so that few draws are lost.
    values["head_bias"] &= not values["tied_embeddings"]
    values["norm_unit_offset"] &= values["norm_weight"]
    values["position_offset"] *= values["positions"] == "learned"
    if values["block"] != "sequential":
        values["norm_placement"] = "pre"
    try:
        return ModelConfig(**values)
    except ValueError:
        assume(False)


def built(config):
    with torch.device("meta"):
        return Decoder(config)


@settings(max_examples=100)
@given(configs())
@example(ModelConfig(vocab_size=9, d_model=24, n_layers=2, n_heads=4, n_kv_heads=2, qk_norm="full"))
def test_counts_equal_the_built_model_part_by_part(config):
    model, count = built(config), count_parameters(config)
    parts = dict.fromkeys(("token_embedding", "position_embedding", "head", "attention", "ffn", "norm", "ends"), 0)
    for name, parameter in model.named_parameters():
        part = "norm" if "norm" in name else name.split(".")[0]
        if part == "blocks":
            part = name.split(".")[2]
        elif part in ("embedding_in", "embedding_out") or name == "head.bias":
            part = "ends"
        parts["token_embedding" if part == "embedding" else part] += parameter.numel()
    assert parts == {name: getattr(count, name) for name in parts}
    assert count.total == sum(p.numel() for p in model.parameters()) == count.embedding + count.non_embedding
    assert weight_bytes(config, torch.bfloat16) == 2 * count.total


@settings(max_examples=50)
@given(configs(), st.integers(1, 9), st.sampled_from([torch.float32, torch.bfloat16]), st.integers(1, 3))
def test_cache_bytes_equal_the_caches_own(config, tokens, dtype, batch):
    cache = KVCache(config, batch, tokens, dtype=dtype)
    real = sum(store.nbytes for layer in cache.layers for store in layer)
    assert kv_cache_bytes(config, tokens, dtype, batch) == real


BASE = dict(vocab_size=40, d_model=24, n_layers=3, n_heads=4, max_context=12)
SHAPES = {
    "llama": dict(n_kv_heads=2), "gpt2": dict(ffn="standard", positions="learned", norm="layernorm", ffn_bias=True),
    "layer-wise": dict(d_ff=(8, 16, 40), n_heads=(2, 4, 6), head_dim=8), "shared": dict(sharing="ffn_all"),
    "mla": MLA, "mla with q rank": MLA | dict(q_lora_rank=5), "biased": dict(qkv_bias=True, out_bias=True),
    "narrow": dict(embedding_width=10), "narrow, own head": dict(embedding_width=10, tied_embeddings=False),
    "capped": dict(score_cap=4.0, qk_norm="full"),
}  # fmt: skip


def counted(run):
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", SHAPES)
def test_decode_flops_equal_pytorchs_count(name):
    config = ModelConfig(**BASE | SHAPES[name])
    model, cache = Decoder(config), KVCache(config, 1, 12)
    with torch.no_grad():
        model(torch.zeros(1, 11, dtype=torch.long), cache)
    # With a cache of 11 tokens, the next one sees 12.
    measured = counted(lambda: model(torch.zeros(1, 1, dtype=torch.long), cache))
    assert measured == flops_per_token(config, 12)


@pytest.mark.parametrize("name", SHAPES)
def test_prefill_flops_equal_pytorchs_count_but_for_the_masked_half(name):
    config = ModelConfig(**BASE | SHAPES[name])
    model = Decoder(config)
    parts = flops_by_part(config, 12, "prefill")
    measured = counted(lambda: model(torch.zeros(1, 12, dtype=torch.long)))
    # PyTorch multiplies all 12 × 12 scores; a causal kernel needs 12 × 13 / 2 of them.
    assert measured == pytest.approx(12 * (sum(parts.values()) - parts["scores"] + parts["scores"] * 24 / 13))
    assert flops_by_part(config, 12, "training") == {part: 3 * flops for part, flops in parts.items()}


def test_a_window_limits_the_scores():
    config = ModelConfig(**BASE, window=4)
    per_key = 3 * 2 * 4 * (6 + 6)
    assert flops_by_part(config, 12)["scores"] == per_key * 4
    assert flops_by_part(config, 3)["scores"] == per_key * 3
    seen = [1, 2, 3] + [4] * 9
    assert flops_by_part(config, 12, "prefill")["scores"] == pytest.approx(per_key * sum(seen) / 12)


def test_an_unknown_phase_is_refused():
    with pytest.raises(ValueError, match="phase is 'warmup'; it must be decode, prefill or training"):
        flops_per_token(ModelConfig(**BASE), 4, "warmup")


def saved_bytes(model, ids):
    """Bytes of all tensors that autograd keeps for one training step, weights and ids not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    own |= {buffer.untyped_storage().data_ptr() for buffer in model.buffers()} | {ids.untyped_storage().data_ptr()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(ids)
        F.cross_entropy(logits.flatten(0, 1), ids.flatten())
    return sum(size for _, size in kept.values())


@pytest.mark.parametrize("options", [
    {}, dict(n_kv_heads=2), dict(positions="learned", ffn="standard", activation="gelu", norm="layernorm"),
    dict(ffn="standard", activation="relu"), dict(activation="relu"), dict(block="parallel"),
    dict(block="parallel_shared_norm", norm="layernorm"), dict(d_ff=(64, 128)), dict(norm_weight=False),
    dict(n_heads=(2, 4), head_dim=16, tied_embeddings=False), dict(norm_placement="post"),
    dict(norm_placement="both", norm="layernorm"), dict(norm_placement="both"),
    dict(norm_placement="after_residual"), dict(norm_placement="post", norm_weight=False),
    dict(embedding_norm=True), dict(embedding_width=32), dict(logit_cap=3.0, logit_scale=0.5, residual_scale=0.3),
    dict(activation="relu2"), dict(activation="relu2", ffn="standard"), dict(qk_norm="head", n_kv_heads=2),
    dict(qk_norm="full", n_kv_heads=2), dict(qk_norm="head_plain"), dict(qk_norm="head_rotated"),
    dict(qk_norm="head", norm="layernorm"), dict(qk_norm="head", rope_fraction=0.5),
    dict(tied_embeddings=False, head_bias=True),
])  # fmt: skip
def test_activation_bytes_equal_what_autograd_keeps(options):
    config = ModelConfig(**dict(vocab_size=400, d_model=64, n_layers=2, n_heads=4, max_context=48) | options)
    torch.manual_seed(0)
    measured = saved_bytes(Decoder(config), torch.randint(0, 400, (3, 48)))
    assert activation_bytes(config, 3, 48) == pytest.approx(measured, rel=1e-4)  # the loss itself


def test_activation_bytes_refuses_latent_attention_and_capped_scores():
    for options in (MLA, dict(score_cap=3.0)):
        with pytest.raises(ValueError, match="covers attention = 'full' without score_cap"):
            activation_bytes(ModelConfig(**BASE | options), 1, 4)


@pytest.mark.parametrize(
    ("config", "total"),
    [
        # The totals of the published checkpoints: SmolLM-135M, GPT-2, Pythia-160M, Qwen2-0.5B, Gemma-2B, TinyLlama,
        # and OPT-350M, with its narrow embedding and two spare rows of positions.
        (dict(vocab_size=49152, d_model=576, n_layers=30, n_heads=9, n_kv_heads=3, d_ff=1536), 134_515_008),
        (dict(vocab_size=50257, d_model=768, n_layers=12, n_heads=12, ffn="standard", norm="layernorm",
              positions="learned", max_context=1024, qkv_bias=True, out_bias=True, ffn_bias=True), 124_439_808),
        (dict(vocab_size=50304, d_model=768, n_layers=12, n_heads=12, ffn="standard", norm="layernorm",
              tied_embeddings=False, block="parallel", qkv_bias=True, out_bias=True, ffn_bias=True,
              rope_fraction=0.25), 162_322_944),
        (dict(vocab_size=151936, d_model=896, n_layers=24, n_heads=14, n_kv_heads=2, d_ff=4864, qkv_bias=True),
         494_032_768),
        (dict(vocab_size=256000, d_model=2048, n_layers=18, n_heads=8, n_kv_heads=1, head_dim=256, d_ff=16384),
         2_506_172_416),
        (dict(vocab_size=32000, d_model=2048, n_layers=22, n_heads=32, n_kv_heads=4, d_ff=5632, tied_embeddings=False),
         1_100_048_384),
        (dict(vocab_size=50272, d_model=1024, n_layers=24, n_heads=16, ffn="standard", norm="layernorm",
              positions="learned", position_offset=2, max_context=2048, qkv_bias=True, out_bias=True, ffn_bias=True,
              embedding_width=512, norm_placement="after_residual"), 331_196_416),
    ],
)  # fmt: skip
def test_published_models_to_the_unit(config, total):
    assert count_parameters(ModelConfig(**config)).total == total


def test_shared_layers_share_weights_and_not_caches():
    alone = ModelConfig(**BASE | dict(n_layers=4))
    pairs = ModelConfig(**BASE | dict(n_layers=4), sharing="block_pairs")
    assert 2 * count_parameters(pairs).ffn == count_parameters(alone).ffn
    assert kv_cache_bytes(pairs, 10) == kv_cache_bytes(alone, 10)
    assert flops_per_token(pairs, 10) == flops_per_token(alone, 10)
    assert kv_cache_bytes(alone, 10) == 4 * 10 * 2 * 4 * 6 * 2  # layers, tokens, k and v, heads, width, bytes of fp16
