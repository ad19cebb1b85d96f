"""Reading many token sequences, and what they have in common only once: few-shot examples, an item's context.

Sequences that begin alike are the branches of one tree of tokens (a trie). The tree is read as a single row, depth
first and a part at a time, and each token sees only those on its way from the root: tree attention (SpecInfer, Miao et
al. 2024). No token is read twice, and no row is filled up.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slmkit.model.cache import KVCache
from slmkit.model.counting import kv_cache_bytes
from slmkit.model.decoder import Decoder

Ids = tuple[int, ...]
# Tokens of one pass. Fewer, and the weights are fetched more often; more, and more scores are computed that the tree
# then hides.
PART = 256
CACHE_BYTES = 2**28  # no batch's cache takes more, so that long contexts are read in smaller batches


@dataclass
class Tree:
    """Tokens in depth-first order: parents before children, and a branch to its end before the next one."""

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)  # how many tokens stand before each on its way from a root
    parents: list[int] = field(default_factory=list)  # the place of the token before it in `tokens`; -1 for a root
    ends: dict[Ids, int] = field(default_factory=dict)  # of each sequence, in their order, its last token's place

    def way(self, end: int, count: int) -> list[int]:
        """The places of the last `count` tokens on the way to `end`, which is the last of them."""
        places = [end]
        while len(places) < count:
            places.append(self.parents[places[-1]])
        return places[::-1]


def grow(sequences: Iterable[Ids], shared: bool = True) -> Tree:
    """The tree of the sequences, none of them empty. Without `shared`, each is a tree of its own."""
    tree, before, way = Tree(), (), []
    for ids in sorted(set(sequences)):  # neighbours have the longest beginnings in common
        del way[_common(before, ids) if shared else 0 :]
        for token in ids[len(way) :]:
            tree.parents.append(way[-1] if way else -1)
            tree.depths.append(len(way))
            way.append(len(tree.tokens))
            tree.tokens.append(token)
        tree.ends[ids], before = way[-1], ids
    return tree


def _common(first: Ids, second: Ids) -> int:
    """How many tokens two sequences share at the start."""
    same = (a == b for a, b in zip(first, second))
    return next((i for i, equal in enumerate(same) if not equal), min(len(first), len(second)))


class Part(NamedTuple):
    """What a pass gives, over the tree's tokens from `start` on; they are the cache's last.

    `hidden` [n, d_model] is the output at `places` [n] of the tree. `sees` [time, cache.length] says which cached
    tokens are on the way to each token of the pass, itself included.
    """

    start: int
    places: Tensor
    hidden: Tensor
    cache: KVCache
    sees: Tensor


def read(model: Decoder, tree: Tree, wanted: Iterable[int], most: int = PART) -> Iterator[Part]:
    """Reads the tree, at most `most` tokens a pass, for its output at the places `wanted`. The next pass changes the
    cache of the last.

    Raises ValueError when a sequence is longer than max_context.
    """
    config, weight, longest = model.config, model.embedding.weight, max(tree.depths, default=0) + 1
    room = min(longest + most, max(longest, config.max_context))
    cache = KVCache(config, 1, room, dtype=weight.dtype, device=weight.device)
    wanted, start, stop, sees = torch.tensor(sorted(set(wanted)), dtype=torch.long), 0, 0, torch.empty(0)
    while stop < len(tree.tokens):
        # The way to the next token is in the cache: it leaves what has been read last, or what stood before that.
        parent, depth = tree.parents[stop], tree.depths[stop]
        way = sees[parent - start].nonzero()[:, 0] if parent >= start else torch.arange(depth, device=weight.device)
        cache.keep(way)
        start, stop = stop, min(stop + most, stop + config.max_context - depth, len(tree.tokens))
        sees = torch.from_numpy(_visible(tree, start, stop, depth)).to(weight.device)
        ids = torch.tensor([tree.tokens[start:stop]], device=weight.device)
        places = wanted[(wanted >= start) & (wanted < stop)]
        only = (places - start).to(weight.device)
        yield Part(start, places, model.hidden(ids, cache, tree=sees, only=only)[0], cache, sees)


def _visible(tree: Tree, start: int, stop: int, cached: int) -> np.ndarray:
    """What tokens `start` to `stop` see of `cached` tokens, the way to the first of them, and of each other."""
    sees = np.zeros((stop - start, cached + stop - start), dtype=bool)
    for i, parent in enumerate(tree.parents[start:stop]):
        if parent >= start:
            sees[i] = sees[parent - start]
        else:
            sees[i, : tree.depths[start + i]] = True
        sees[i, cached + i] = True
    return sees


class Rows(NamedTuple):
    """A batch of sequences that have been read, to go on from."""

    sequences: Sequence[Ids]
    hidden: Tensor  # [batch, d_model], of the last token of each
    cache: KVCache
    padding: Tensor | None  # [batch], places at the left of each row that are empty


def read_rows(model: Decoder, sequences: Iterable[Ids], batch_size: int, room: int = 0) -> Iterator[Rows]:
    """Reads all sequences, and puts the cached tokens of each into a row of a batch that has `room` for more tokens.

    Raises ValueError when a sequence and its room are longer than max_context.
    """
    tree, weight = grow(sequences), model.embedding.weight
    parts = read(model, tree, tree.ends.values())
    part = next(parts, None)
    for batch in _batches(model, list(tree.ends), batch_size, room):
        longest, hidden = max(map(len, batch)), []
        cache = KVCache(model.config, len(batch), longest + room, dtype=weight.dtype, device=weight.device)
        for row, ids in enumerate(batch):
            while (place := tree.ends[ids]) >= part.start + len(part.sees):
                part = next(parts)
            way = part.sees[place - part.start].nonzero()[:, 0]
            for stores, olds in zip(cache.layers, part.cache.layers, strict=True):
                for store, old in zip(stores, olds, strict=True):
                    store[row].narrow(1, longest - len(ids), len(ids)).copy_(old[0].index_select(1, way))
            hidden.append(part.hidden[torch.searchsorted(part.places, place)])
        cache.length = longest
        padding = torch.tensor([longest - len(ids) for ids in batch], device=weight.device)
        yield Rows(batch, torch.stack(hidden), cache, padding if padding.any() else None)


def _batches(model: Decoder, sequences: Sequence[Ids], batch_size: int, room: int) -> Iterator[Sequence[Ids]]:
    """Cuts them into batches whose cache takes no more than CACHE_BYTES, or has one row."""
    token, start = kv_cache_bytes(model.config, 1, model.embedding.weight.dtype), 0
    while start < len(sequences):
        count = 1
        while count < len(more := sequences[start : start + min(count + 1, batch_size)]):
            if len(more) * (max(map(len, more)) + room) * token > CACHE_BYTES:
                break
            count += 1
        yield sequences[start : start + count]
        start += count
