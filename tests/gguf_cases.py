"""A small decoder of each of GGUF's kinds, and of what else a file can hold, by name: kind, configuration."""

import torch

from slmkit import Decoder, ModelConfig
from slmkit.config import RopeScaling

SIZES = dict(vocab_size=300, d_model=64, n_layers=3, n_heads=4, max_context=96)
STANDARD = dict(ffn="standard", activation="gelu_tanh", norm="layernorm", qkv_bias=True, out_bias=True, ffn_bias=True)
LONG = RopeScaling("longrope", 4.0, 32, short_factors=(1.0,) * 8, long_factors=tuple(range(1, 9)))
OPTIONS = {
    "llama": ("llama", dict(n_kv_heads=2)),
    "llama-wide": ("llama", dict(n_kv_heads=1, head_dim=24, tied_embeddings=False, rope_theta=1e5, norm_eps=1e-3)),
    "llama-bias": ("llama", dict(qkv_bias=True, out_bias=True, ffn_bias=True)),
    "llama-3": ("llama", dict(rope_scaling=RopeScaling("llama3", 8.0, 32))),
    "llama-yarn": ("llama", dict(rope_scaling=RopeScaling("yarn", 4.0, 32))),
    "llama-long": ("llama", dict(rope_scaling=LONG)),
    "llama-one-ffn": ("llama", dict(sharing="ffn_all")),
    "llama-pairs": ("llama", dict(n_layers=4, sharing="block_pairs")),
    "qwen2": ("qwen2", dict(qkv_bias=True, n_kv_heads=2)),
    "qwen2-untied": ("qwen2", dict(qkv_bias=True, tied_embeddings=False)),
    "gemma": ("gemma", dict(activation="gelu_tanh", embedding_scale=8.0, norm_unit_offset=True, n_kv_heads=1,
                            head_dim=32)),
    "gpt2": ("gpt2", STANDARD | dict(positions="learned")),
    "gpt2-untied": ("gpt2", STANDARD | dict(positions="learned", tied_embeddings=False, n_kv_heads=2)),
    "gpt_neox": ("gpt_neox", STANDARD | dict(rope_fraction=0.25, block="parallel", tied_embeddings=False,
                                             activation="gelu")),
    "gpt_neox-sequential": ("gpt_neox", STANDARD | dict(rope_fraction=0.5)),
    "stablelm": ("stablelm", dict(norm="layernorm", rope_fraction=0.25, qkv_bias=True, tied_embeddings=False)),
    "stablelm-parallel": ("stablelm", dict(norm="layernorm", rope_fraction=0.25, n_kv_heads=2,
                                           block="parallel_shared_norm")),
    "phi": ("phi", STANDARD | dict(rope_fraction=0.5, block="parallel_shared_norm", tied_embeddings=False,
                                   head_bias=True, n_kv_heads=2)),
}  # fmt: skip


def config(name: str, **changes) -> ModelConfig:
    return ModelConfig(**SIZES | OPTIONS[name][1] | changes)


@torch.no_grad()
def decoder(name: str, **changes) -> Decoder:
    """With biases and norms away from where they start, so that one left out or mistaken for another is seen."""
    torch.manual_seed(0)
    model = Decoder(config(name, **changes)).eval()
    for tensor_name, tensor in model.named_parameters():
        if tensor_name.endswith("bias"):
            tensor.normal_(0, 0.3)
        elif "norm" in tensor_name:
            tensor.add_(0.2 * torch.randn_like(tensor))
    return model
