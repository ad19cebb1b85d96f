"""How families lay out the same matrices: packed together, turned over, with rotating pairs side by side."""

import re
from typing import NamedTuple

import torch
from torch import Tensor

from slmkit.config import ModelConfig


class Layout(NamedTuple):
    """What a family does with matrices beside naming them."""

    # How one matrix holds q, k and v: "stacked" (all of q, then all of k and v) or "by head" (q, k, v of head 0, …).
    qkv: str | None = None
    gate_up: bool = False  # one matrix holds gate and up, one above the other
    transposed: bool = False  # matrices lie as [inputs, outputs] (GPT-2's Conv1D), not PyTorch's [outputs, inputs]
    # Which elements of a head rotate as a pair. Ours: j and j + rope_dim / 2. "interleaved": 2j and 2j + 1. "swapped":
    # j + rope_dim / 2 and j, which is to turn the other way.
    pairs: str | None = None


def pack(tensors: dict[str, Tensor], config: ModelConfig, layout: Layout) -> dict[str, Tensor]:
    """Our tensors by their names, laid out as the family has them; qkv and gate_up are new names."""
    packed = dict(tensors)
    for layer in range(config.n_layers):
        for kind in ("weight", "bias"):
            prefix = f"blocks.{layer}."
            if layout.pairs:
                _turn(packed, prefix, kind, config, layout.pairs, back=False)
            if layout.qkv and f"{prefix}attention.q.{kind}" in packed:
                parts = [packed.pop(f"{prefix}attention.{part}.{kind}") for part in "qkv"]
                packed[f"{prefix}attention.qkv.{kind}"] = _join(parts, config, layout.qkv)
            if layout.gate_up and f"{prefix}ffn.gate.{kind}" in packed:
                parts = [packed.pop(f"{prefix}ffn.{part}.{kind}") for part in ("gate", "up")]
                packed[f"{prefix}ffn.gate_up.{kind}"] = torch.cat(parts)
    return _transposed(packed) if layout.transposed else packed


def unpack(tensors: dict[str, Tensor], config: ModelConfig, layout: Layout) -> dict[str, Tensor]:
    """The reverse of `pack`."""
    plain = _transposed(tensors) if layout.transposed else dict(tensors)
    for layer in range(config.n_layers):
        for kind in ("weight", "bias"):
            prefix = f"blocks.{layer}."
            if (qkv := plain.pop(f"{prefix}attention.qkv.{kind}", None)) is not None:
                for part, piece in zip("qkv", _split(qkv, config, layer, layout.qkv), strict=True):
                    plain[f"{prefix}attention.{part}.{kind}"] = piece
            if (both := plain.pop(f"{prefix}ffn.gate_up.{kind}", None)) is not None:
                for part, piece in zip(("gate", "up"), both.chunk(2), strict=True):
                    plain[f"{prefix}ffn.{part}.{kind}"] = piece.clone()
            if layout.pairs:
                _turn(plain, prefix, kind, config, layout.pairs, back=True)
    return plain


def _join(parts: list[Tensor], config: ModelConfig, how: str) -> Tensor:
    """q, k and v, each [heads × head_dim, …], in one matrix with all their rows."""
    if how == "stacked":
        return torch.cat(parts)
    by_head = [part.unflatten(0, (-1, config.head_dim)) for part in parts]
    return torch.stack(by_head, dim=1).flatten(0, 2)  # [heads, 3, head_dim, …]


def _split(packed: Tensor, config: ModelConfig, layer: int, how: str) -> list[Tensor]:
    if how == "stacked":
        heads, kv_heads = config.layer(layer)[:2]
        return [part.clone() for part in packed.split([n * config.head_dim for n in (heads, kv_heads, kv_heads)])]
    return [part.flatten(0, 1) for part in packed.unflatten(0, (-1, 3, config.head_dim)).unbind(1)]


def _transposed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    matrices = re.compile(r"(qkv|out|up|down)\.weight$")
    return {name: tensor.t().contiguous() if matrices.search(name) else tensor for name, tensor in tensors.items()}


def _turn(tensors: dict[str, Tensor], prefix: str, kind: str, config: ModelConfig, pairs: str, *, back: bool):
    """Moves the rows of what rotates, the last rope_dim of each head, between our order of pairs and theirs."""
    turning, width = config.rope_dim, config.head_dim
    halves = torch.arange(turning).unflatten(0, (2, -1))
    order = halves.t().flatten() if pairs == "interleaved" else halves.flip(0).flatten()
    order = order.argsort() if back else order
    parts = {"attention.q": width, "attention.k": width}
    if config.attention == "mla":
        parts = {"attention.q": width, "attention.kv_down": config.kv_lora_rank + turning}
    for part, rows in parts.items():
        name = f"{prefix}{part}.{kind}"
        if name in tensors:
            moved = torch.cat((torch.arange(rows - turning), rows - turning + order)).to(tensors[name].device)
            tensors[name] = tensors[name].unflatten(0, (-1, rows))[:, moved].flatten(0, 1)
