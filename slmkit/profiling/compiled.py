"""Decoding with less time between kernels: the step of one token compiled by PyTorch, one block for all.

Eager PyTorch calls some forty small kernels a layer for one token, and in a small model the calls take as long as the
reading of the weights. The compiler makes a few of them. All blocks of a decoder are one program with other weights, so
one block is compiled and called for each: seconds, where the whole decoder would take minutes.
"""

import torch
from torch import Tensor

from slmkit.model.attention import Reading
from slmkit.model.cache import KVCache
from slmkit.model.decoder import Decoder


class Layer:
    """What a block needs of a KVCache in a step of one token: its two stores, cut behind the place of that token."""

    def __init__(self, stores: tuple[Tensor, Tensor]):
        self.stores = stores

    def update(self, _, *new: Tensor) -> tuple[Tensor, Tensor]:
        for store, part in zip(self.stores, new, strict=True):
            store[:, :, -1:] = part
        return self.stores


# A vector that several sums read, such as a normalized input, is computed once and not again for each row of each.
OPTIONS = {"realize_reads_threshold": 1}


def compile_decoding(model: Decoder) -> Decoder:
    """`model` itself, with steps of one token, for rows without padding, compiled; prompts are read as before.

    The first step takes the seconds of compiling, and so does the first with another number of threads. Raises
    RuntimeError where there is no C++ compiler.
    """
    from slmkit.training.trainer import cannot_compile

    if obstacle := cannot_compile(model.embedding.weight.device):
        raise RuntimeError(obstacle)
    plain, run = type(model), torch.compile(_block, options=OPTIONS)
    head = torch.compile(plain.logits, options=OPTIONS)

    def hidden(ids: Tensor, cache: KVCache | None = None, padding: Tensor | None = None,
               tree: Tensor | None = None, only: Tensor | None = None) -> Tensor:  # fmt: skip
        # Stores of one token would be a program of their own.
        if cache is None or padding is not None or tree is not None or ids.numel() != 1 or cache.length == 0:
            return plain.hidden(model, ids, cache, padding, tree, only)
        where, end = slice(cache.length, cache.length + 1), cache.length + 1
        x = model.embedded(ids, where)
        ropes = [*(tables.at(where) for tables in model.ropes), None]
        for i, block in enumerate(model.blocks):
            stores = tuple([store.narrow(2, 0, end) for store in cache.layers[i]])
            for store in stores:
                torch._dynamo.maybe_mark_dynamic(store, 2)
            x = run(block, x, ropes[model.rope_of[i]], stores)
        cache.advance(1)
        return x if model.norm is None else model.norm(x)

    def logits(hidden: Tensor) -> Tensor:
        return (head if hidden.numel() == hidden.shape[-1] else plain.logits)(model, hidden)

    model.hidden, model.logits = hidden, logits
    return model


def _block(block, x: Tensor, rope: tuple[Tensor, Tensor] | None, stores: tuple[Tensor, Tensor]) -> Tensor:
    return block(x, Reading(rope, Layer(stores), None), 0)
