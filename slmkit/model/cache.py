"""The key-value cache: what attention keeps of the tokens it has already read."""

import torch
from torch import Tensor

from slmkit.config import ModelConfig


class KVCache:
    """Room for `capacity` tokens in every layer, allocated once; `update` writes the new and returns all so far.

    Full attention stores keys and values, each [batch, n_kv_heads, capacity, head_dim]. Latent attention stores the
    joint latent [batch, 1, capacity, kv_lora_rank] and the rotated key part [batch, 1, capacity, qk_rope_head_dim].
    A cache grown by concatenation copies everything at each token; this one copies nothing.
    """

    def __init__(self, config: ModelConfig, batch: int, capacity: int, *, dtype=torch.float32, device=None):
        if capacity > config.max_context:
            raise ValueError(
                f"a cache for {capacity} tokens is longer than the model's max_context of {config.max_context}; "
                "shorten the prompt or ask for fewer new tokens"
            )
        self.capacity, self.length = capacity, 0
        self.layers = [
            tuple(torch.zeros(batch, heads, capacity, width, dtype=dtype, device=device) for heads, width in shapes)
            for shapes in (cache_shapes(config, i) for i in range(config.n_layers))
        ]

    def update(self, layer: int, *new: Tensor) -> tuple[Tensor, ...]:
        """Writes two tensors [batch, heads, time, width] behind `length`; returns views of all tokens so far."""
        time = new[0].shape[2]
        end = self.length + time
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens and {end} are needed; allocate a larger one")
        for store, part in zip(self.layers[layer], new, strict=True):
            if part.shape[0] != store.shape[0]:
                raise ValueError(f"the cache is for a batch of {len(store)}, not {len(part)}")
            store.narrow(2, self.length, time).copy_(part)
        return tuple([store.narrow(2, 0, end) for store in self.layers[layer]])

    def advance(self, time: int):
        """Counts `time` tokens as read; called once a forward pass, after every layer has written."""
        self.length += time

    def keep(self, places: Tensor):
        """Forgets all tokens but those at `places` [n], in rising order; they move up to the front."""
        staying = int((places == torch.arange(len(places), device=places.device)).sum())
        moved = places[staying:]
        for store in (store for pair in self.layers for store in pair):
            store.narrow(2, staying, len(moved)).copy_(store.index_select(2, moved))
        self.length = len(places)


def cache_shapes(config: ModelConfig, layer: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(heads, width) of the two tensors that `layer` keeps for each token."""
    if config.attention == "mla":
        return (1, config.kv_lora_rank), (1, config.qk_rope_head_dim)
    return ((config.layer(layer).n_kv_heads, config.head_dim),) * 2
