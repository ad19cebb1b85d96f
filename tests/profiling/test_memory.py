"""Memory by part: what the configuration says against what a run takes, and the meter against known bytes."""

from dataclasses import asdict

import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.profiling import measure_memory, memory_by_part, tensor_bytes
from slmkit.profiling import memory as memory_module

SMALL = {"vocab_size": 1000, "d_model": 128, "n_layers": 2, "n_heads": 4, "max_context": 1024}
LATENT = {"attention": "mla", "head_dim": 48, "qk_rope_head_dim": 16, "kv_lora_rank": 64}
NEOX = {"block": "parallel", "ffn": "standard", "norm": "layernorm", "rope_fraction": 0.25, "tied_embeddings": False}
SHAPES = {
    "tied": {},
    "untied": {"tied_embeddings": False},
    "grouped": {"n_kv_heads": 1},
    "grouped, narrow FFN": {"n_kv_heads": 2, "d_ff": 64},
    "latent": LATENT,
    "latent, narrow values": LATENT | {"q_lora_rank": 64, "v_head_dim": 32},
    "latent, narrow FFN": LATENT | {"d_ff": 64},
    "GPT-2": {"ffn": "standard", "activation": "gelu", "norm": "layernorm", "positions": "learned"},
    "GPT-NeoX": NEOX,
    "GPT-NeoX, narrow FFN": NEOX | {"d_ff": 64},
    "Phi": NEOX | {"block": "parallel_shared_norm", "qkv_bias": True, "head_bias": True, "d_ff": 300},
    "Nemotron": {"ffn": "standard", "activation": "relu2", "norm": "layernorm"},
    "OLMo-2": {"norm_placement": "post", "qk_norm": "full"},
    "Gemma-3": {"norm_placement": "both", "qk_norm": "head", "norm_unit_offset": True, "embedding_scale": 11.3},
    "shared in pairs": {"sharing": "block_pairs"},
    "layer by layer": {"head_dim": 32, "n_heads": (2, 4), "n_kv_heads": (1, 2), "d_ff": (512, 128)},
    "two rotations": {"rope_theta": (1e4, 1e6)},
}


def parts(shape: dict, dtype=torch.float32, prompt=200, new_tokens=8, batch=1, **options):
    config = ModelConfig(**SMALL | shape)
    measured = measure_memory(Decoder(config).to(dtype), prompt, new_tokens, batch=batch, **options)
    return memory_by_part(config, prompt, new_tokens, dtype, batch, **options), measured


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_part_is_as_predicted(shape, dtype):
    for prompt, batch in ((200, 1), (600, 2)):
        predicted, measured = map(asdict, parts(SHAPES[shape], dtype, prompt, batch=batch))
        assert predicted.pop("activations") == pytest.approx(measured.pop("activations"), rel=0.03), (prompt, batch)
        assert predicted == measured


def test_logits_are_of_the_last_token_or_of_all():
    last, all_of_them = (parts({}, batch=3, all_logits=every) for every in (False, True))
    assert last[0].logits == last[1].logits == 3 * 1000 * 4
    assert all_of_them[0].logits == all_of_them[1].logits == 3 * 200 * 1000 * 4


def test_the_total_is_the_sum_and_columns_are_megabytes():
    made = memory_module.MemoryParts(weights=1_000_000, tables=2, cache=30, activations=400, logits=5000)
    assert made.total == 1_005_432
    assert made.columns()["weights_mb"] == 1.0
    assert made.columns()["logits_mb"] == 0.005


def test_the_allocator_is_watched_from_begin_to_end():
    def work():
        first = torch.ones(1000)
        second = torch.ones(500)
        del first
        return second + second

    most, result = memory_module._allocated(work, torch.device("cpu"))
    assert most == 4 * 1500
    assert tensor_bytes(result) == 4 * 500


@pytest.mark.parametrize("shape", [{"positions": "alibi"}, {"score_cap": 50.0}, {"window": (None, 199)}])
def test_what_no_formula_covers_is_refused_and_can_be_measured(shape):
    with pytest.raises(ValueError, match="measure_memory measures"):
        parts(shape)
    assert measure_memory(Decoder(ModelConfig(**SMALL | shape)), 200).activations > 200 * 128 * 4
    if "window" in shape:
        assert memory_by_part(ModelConfig(**SMALL | shape), 199).activations > 0


def test_the_slopes_of_alibi_are_measured_as_tables():
    model = Decoder(ModelConfig(**SMALL | {"positions": "alibi"}))
    assert measure_memory(model, 3).tables == 2 * 4 * 4  # layers, heads, bytes


def test_no_tokens_are_refused():
    for measured in (
        lambda **n: memory_by_part(ModelConfig(**SMALL), **n),
        lambda **n: measure_memory(Decoder(ModelConfig(**SMALL)), **n),
    ):
        with pytest.raises(ValueError, match="prompt = 0"):
            measured(prompt=0)
        with pytest.raises(ValueError, match="new_tokens = 0"):
            measured(prompt=1, new_tokens=0)
