"""Reading many token sequences, and what they have in common only once: few-shot examples, an item's context.

A sequence's beginning is taken from the KV cache of another that begins alike. A Decoder reads batches whose rows end
together, padded at the left, so the rows of a cache are put together like that: each row's cached tokens stand
right before its new ones. Rotated keys and ALiBi depend on how far apart tokens are, not on where the row starts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor

from slmkit.model.cache import KVCache
from slmkit.model.counting import kv_cache_bytes
from slmkit.model.decoder import Decoder

Ids = tuple[int, ...]
WORTH = 32  # tokens that one more pass through the model must save: about what reading all weights once costs
CACHE_BYTES = 2**28  # no batch's cache takes more, so that long contexts are read in smaller batches


class Held(NamedTuple):
    """A sequence whose keys and values are in row `row` of a cache, as its last `length` tokens."""

    cache: KVCache
    row: int
    length: int


class Read(NamedTuple):
    """What a pass over a batch gives: `hidden` [batch, time, d_model], the rows' last tokens; all of them cached."""

    hidden: Tensor
    cache: KVCache
    padding: Tensor | None  # [batch], tokens at the left of each row that mean nothing


def read(model: Decoder, rows: Sequence[Ids], known: Sequence[Held | None], room: int = 0) -> Read:
    """One pass over `rows`, each the continuation of what `known` holds of it (None: nothing), its tokens included.

    `time` of the result is the largest number of tokens that are new in a row; rows with fewer read some of theirs
    again. The cache keeps `room` for that many more tokens.
    """
    weight = model.embedding.weight
    longest = max(map(len, rows))
    time = max(len(ids) - (held.length if held else 0) for ids, held in zip(rows, known, strict=True))
    cache = KVCache(model.config, len(rows), longest + room, dtype=weight.dtype, device=weight.device)
    for i, (ids, held) in enumerate(zip(rows, known, strict=True)):
        if (taken := len(ids) - time) > 0:
            start = held.cache.length - held.length
            for stores, olds in zip(cache.layers, held.cache.layers, strict=True):
                for store, old in zip(stores, olds, strict=True):
                    store[i].narrow(1, longest - len(ids), taken).copy_(old[held.row].narrow(1, start, taken))
    cache.length = longest - time
    fresh = torch.tensor([(0,) * (time - len(ids)) + ids[-time:] for ids in rows], device=weight.device)
    padding = torch.tensor([longest - len(ids) for ids in rows], device=weight.device)
    padding = padding if padding.any() else None
    return Read(model.hidden(fresh, cache, padding), cache, padding)


def passes(model: Decoder, rows: Sequence[Ids], new: Sequence[int], batch_size: int) -> list[slice]:
    """Cuts rows, sorted by the number of tokens that are `new` in each, into the passes that cost least.

    A pass costs the tokens that it reads, with those that fill up its shorter rows, and WORTH. It reads no more tokens
    than `batch_size` whole rows have, so short continuations are read many at a time, and its cache takes no more than
    CACHE_BYTES.
    """
    cost, begin = [0], [0]  # by number of rows: the least that the first so many cost, and where their last pass begins
    token = kv_cache_bytes(model.config, 1, model.embedding.weight.dtype)
    for end in range(1, len(rows) + 1):
        longest, found = 0, []
        for start in range(end - 1, -1, -1):
            longest, count = max(longest, len(rows[start])), end - start
            tokens = count * new[end - 1]
            if count > 1 and (tokens > batch_size * longest or count * longest * token > CACHE_BYTES):
                break
            found.append((cost[start] + tokens + WORTH, start))
        least, start = min(found)
        cost.append(least)
        begin.append(start)
    cuts, end = [], len(rows)
    while end:
        cuts.append(slice(begin[end], end))
        end = begin[end]
    return cuts[::-1]


@dataclass
class Family:
    """Sequences that begin with the same `length` tokens, read behind those of the family above."""

    head: Ids
    depth: int  # families above
    members: list[Ids] = field(default_factory=list)  # without those of the families below


def families(sequences: Sequence[Ids]) -> list[Family]:
    """Splits different sequences, none empty, into families, parents before children, depth first.

    A head is shorter than every member, so that each has a token of its own to read. The first family has no head.
    """
    found = [Family((), 0)]
    stack = [(sorted(set(sequences)), found[0])]
    while stack:
        group, family = stack.pop()
        if len(group) < 2 or (len(group) - 1) * (max(map(len, group)) - 1 - len(family.head)) < WORTH:
            family.members += group
            continue
        common = _common(group[0], group[-1], min(map(len, group)) - 1)
        if (len(group) - 1) * (common - len(family.head)) >= WORTH:
            family = Family(group[0][:common], family.depth + 1)
            found.append(family)
        for _, branch in groupby(group, itemgetter(common)):
            branch = list(branch)
            if len(branch[0]) == common + 1:  # it ends here, and the others go on from it
                family.members.append(branch.pop(0))
            if branch:
                stack.append((branch, family))
    return found


def _common(first: Ids, second: Ids, most: int) -> int:
    """How many tokens two sequences share at the start, up to `most`. In sorted sequences, all between share them."""
    same = (a == b for a, b in zip(first[:most], second[:most], strict=True))
    return next((i for i, equal in enumerate(same) if not equal), most)


def read_families(model: Decoder, sequences: Sequence[Ids], batch_size: int, room: int = 0,
                  shared: bool = True) -> Iterator[tuple[Sequence[Ids], Read]]:  # fmt: skip
    """Reads all sequences, each of them once; yields batches of them with what came out."""
    path: list[Held | None] = []  # the heads from the first family to the present one
    for family in families(sequences) if shared else [Family((), 0, list(set(sequences)))]:
        del path[family.depth :]
        above = path[-1] if path else None
        path.append(Held(read(model, [family.head], [above]).cache, 0, len(family.head)) if family.head else None)
        members = sorted(family.members, key=len)
        new = [len(member) - len(family.head) for member in members]
        for part in passes(model, members, new, batch_size):
            rows = members[part]
            yield rows, read(model, rows, [path[-1]] * len(rows), room)
