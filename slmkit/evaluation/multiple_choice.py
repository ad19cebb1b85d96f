"""Multiple choice: the log-likelihood of each choice behind its context, what the contexts share computed once."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.prefixes import CACHE_BYTES, Held, Ids, Read, passes, read, read_families
from slmkit.evaluation.tasks import Item, Task, say
from slmkit.model.decoder import Decoder

if TYPE_CHECKING:
    import pandas

NORMALISATIONS = ("sum", "character", "byte", "token", "unconditional")
POSITIONS = 256  # whose logits are computed at once: a vocabulary is wide
Pair = tuple[Ids, Ids]  # a context and its continuation


class Likelihood(NamedTuple):
    """What a model says of one continuation."""

    logprob: float  # natural logarithm, summed over its tokens
    greedy: bool  # whether greedy decoding would have written it
    tokens: int
    cut: int  # tokens of the context that did not fit into the model's window and were left away, from the left


def encode_pair(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of a context and of what follows it, as lm-eval has them.

    Both are encoded together and split where the context alone would end; spaces at the context's end go to the
    continuation, because a byte-level vocabulary writes them into the next word. An empty context is the separator of
    documents. Raises ValueError for a continuation without a token.
    """
    text, context = context + continuation, context.rstrip()
    before = tokenizer.encode(context)
    after = tokenizer.encode(text)[len(before) :]
    if not after:
        raise ValueError(f"the continuation {continuation!r} has no token of its own behind its context")
    return before or [tokenizer.end_of_text], after


def loglikelihoods(model: Decoder, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], *, batch_size: int = 32,
                   shared: bool = True) -> list[Likelihood]:  # fmt: skip
    """log p(continuation | context) of each (context, continuation), in the order given.

    `shared` computes what contexts have in common once and keeps it in the KV cache; without it every pair is read
    whole, as lm-eval does. Both give the same numbers. `batch_size` is the number of sequences read at once.
    A context that does not fit into max_context with its continuation loses its first tokens, see `Likelihood.cut`.
    Raises ValueError for a continuation without a token, or longer than max_context.
    """
    encoded = [encode_pair(tokenizer, *pair) for pair in pairs]
    return token_loglikelihoods(model, encoded, batch_size=batch_size, shared=shared)


@torch.inference_mode()
def token_loglikelihoods(model: Decoder, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, batch_size: int = 32,
                         shared: bool = True) -> list[Likelihood]:  # fmt: skip
    """The same of token ids: pairs of a context and its continuation, neither empty.

    Raises ValueError when one is empty, or a continuation longer than max_context.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    window, found = model.config.max_context, {}
    fitted = [_fitted(context, continuation, window) for context, continuation in pairs]
    asked: dict[Ids, list[Pair]] = defaultdict(list)  # by the sequence that is read first
    for context, continuation, _ in dict.fromkeys(fitted):
        asked[context if shared else context + continuation[:-1]].append((context, continuation))
    was_training = model.training
    model.eval()
    behind: list[Behind] = []
    for sequences, done in read_families(model, list(asked), batch_size, shared=shared):
        wanted = [(row, pair, pair[1][:1] if shared else pair[1])
                  for row, ids in enumerate(sequences) for pair in asked[ids]]  # fmt: skip
        _add(model, done.hidden, wanted, found)
        if shared:
            behind += _behind(sequences, done, asked)
            if _held_bytes(behind) > CACHE_BYTES:
                _score_behind(model, behind, batch_size, found)
                behind = []
    _score_behind(model, behind, batch_size, found)
    model.train(was_training)
    return [Likelihood(*found[context, continuation], len(continuation), cut) for context, continuation, cut in fitted]


class Behind(NamedTuple):
    """Tokens to read behind a context that is in a cache, and the continuations that begin with them."""

    tokens: Ids
    context: Ids
    held: Held
    pairs: list[Pair]


def _behind(contexts: Sequence[Ids], done: Read, asked: dict[Ids, list[Pair]]) -> list[Behind]:
    """What is left of the continuations of contexts that have been read, their first tokens predicted already."""
    found = []
    for row, context in enumerate(contexts):
        rest = defaultdict(list)
        for pair in asked[context]:
            if len(pair[1]) > 1:
                rest[pair[1][:-1]].append(pair)
        held = Held(done.cache, row, len(context))
        found += [Behind(tokens, context, held, pairs) for tokens, pairs in rest.items()]
    return found


def _held_bytes(behind: list[Behind]) -> int:
    """Bytes of the caches that wait."""
    caches = {id(one.held.cache): one.held.cache for one in behind}.values()
    return sum(tensor.nbytes for cache in caches for pair in cache.layers for tensor in pair)


def _score_behind(model: Decoder, behind: list[Behind], batch_size: int, found: dict[Pair, tuple[float, bool]]):
    """Scores all but the first token of each continuation."""
    behind = sorted(behind, key=lambda one: len(one.tokens))
    rows = [one.context + one.tokens for one in behind]
    for part in passes(model, rows, [len(one.tokens) for one in behind], batch_size):
        hidden = read(model, rows[part], [one.held for one in behind[part]]).hidden
        _add(model, hidden, [(i, pair, pair[1][1:]) for i, one in enumerate(behind[part]) for pair in one.pairs], found)


def _add(model: Decoder, hidden: Tensor, wanted: list[tuple[int, Pair, Ids]], found: dict[Pair, tuple[float, bool]]):
    """Adds to what is known of each pair: log p of some of its tokens, predicted at the last places of a row of
    `hidden` [batch, time, d_model]."""
    time = hidden.shape[1]
    parts = [(row * time + time - len(tokens) + i, token, owner)
             for owner, (row, _, tokens) in enumerate(wanted) for i, token in enumerate(tokens)]  # fmt: skip
    place, target, owner = torch.tensor(parts).T.to(hidden.device)
    places, place = place.unique(return_inverse=True)  # the choices of an item have their first place in common
    logprob = torch.zeros(len(wanted), dtype=torch.float64, device=hidden.device)
    missed = torch.zeros_like(logprob)  # tokens that greedy decoding would not write
    for start in range(0, len(places), POSITIONS):
        # logits - logsumexp would be more exact. But lm-eval has the rounding of log_softmax, up to 1e-5 a token with
        # a wide vocabulary; taken the same way it is the same.
        logprobs = model.logits(hidden.flatten(0, 1)[places[start : start + POSITIONS]]).float().log_softmax(-1)
        here = (place >= start) & (place < start + POSITIONS)
        at, token = place[here] - start, target[here]
        logprob.index_add_(0, owner[here], logprobs[at, token].double())
        missed.index_add_(0, owner[here], (logprobs.argmax(-1)[at] != token).double())
    for (_, pair, _), value, misses in zip(wanted, logprob.tolist(), missed.tolist(), strict=True):
        before, greedy = found.get(pair, (0.0, True))
        found[pair] = before + value, greedy and not misses


def _fitted(context: Sequence[int], continuation: Sequence[int], window: int) -> tuple[Ids, Ids, int]:
    """Both as tuples, the context cut from the left as lm-eval does it; and how many tokens were cut."""
    if not len(context) or not len(continuation):
        raise ValueError("a context and a continuation need a token each; put the separator of documents before a text")
    if len(continuation) > window:
        raise ValueError(f"a continuation has {len(continuation):,} tokens and the model's window {window:,} (its "
                         f"max_context is {window})")  # fmt: skip
    # The last token of the continuation is predicted and never read, so one more has its place.
    cut = max(len(context) + len(continuation) - window - 1, 0)
    return tuple(context[cut:]), tuple(continuation), cut


@dataclass(frozen=True)
class Scored:
    """A model's scores on a task of kind "choice"; the sequences follow the items of `task`."""

    task: Task  # with the items that were scored
    logprobs: tuple[np.ndarray, ...]  # by item, [choices]
    tokens: tuple[np.ndarray, ...]  # by item, [choices]: tokens of each choice
    unconditional: tuple[np.ndarray, ...] | None  # by item, [choices]: log p(choice) behind no context
    left_out: tuple[str, ...]  # lines: items that could not be scored, each with its id and the reason
    cut: tuple[str, ...]  # lines: items whose context was too long and lost its beginning

    def values(self, by: str = "sum") -> list[np.ndarray]:
        """What the choices are compared by, an array [choices] an item; the largest is picked.

        `by` is one of NORMALISATIONS: the sum of log-probabilities, as it is, or divided by the choice's characters or
        bytes (without its leading space) or tokens; or less what it is behind no context. lm-eval's names for four of
        them are acc, acc_norm, acc_bytes and acc_mutual_info.
        """
        if by == "unconditional":
            if self.unconditional is None:
                raise ValueError("this was scored without the unconditional normalisation; score(unconditional=True)")
            return [with_it - without for with_it, without in zip(self.logprobs, self.unconditional, strict=True)]
        if by not in NORMALISATIONS:
            raise ValueError(f"there is no normalisation {by!r}; it is one of {', '.join(NORMALISATIONS)}")
        if by == "sum":
            return list(self.logprobs)
        sizes = self.tokens
        if by != "token":
            sizes = [_lengths(item, by) for item in self.task.items]
        return [logprob / size for logprob, size in zip(self.logprobs, sizes, strict=True)]

    def picks(self, by: str = "sum") -> np.ndarray:
        """The index of the choice that the model prefers, [items]; the first of equals."""
        return np.array([int(np.argmax(values)) for values in self.values(by)], dtype=int)

    def right(self, by: str = "sum") -> np.ndarray:
        """Whether each pick is right, [items], bool."""
        return self.picks(by) == np.array([item.answer for item in self.task.items], dtype=int)

    def accuracy(self, by: str = "sum") -> float:
        """The share of items whose pick is right; NaN without items."""
        return float(self.right(by).mean()) if self.task.items else math.nan

    def table(self) -> "pandas.DataFrame":
        """A row a choice: item, choice (its index), text, answer (whether it is right), tokens, and what each
        normalisation compares, in columns of their names."""
        import pandas

        names = [by for by in NORMALISATIONS if by != "unconditional" or self.unconditional is not None]
        columns = {by: np.concatenate(self.values(by)) for by in names}
        rows = [(item.id, i, choice, i == item.answer)
                for item in self.task.items for i, choice in enumerate(item.choices)]  # fmt: skip
        table = pandas.DataFrame(rows, columns=["item", "choice", "text", "answer"])
        return table.assign(tokens=np.concatenate(self.tokens), **columns)


def _lengths(item: Item, by: str) -> np.ndarray:
    """Characters or bytes of each choice without the space before it, as lm-eval counts them."""
    texts = [choice.removeprefix(" ") for choice in item.choices]
    return np.array([len(text if by == "character" else text.encode()) for text in texts])


def score(model: Decoder, tokenizer: Tokenizer, task: Task, *, batch_size: int = 32, unconditional: bool = False,
          shared: bool = True) -> Scored:  # fmt: skip
    """Scores every choice of every item. `unconditional` also scores each choice behind no context (it costs a second
    reading of the choices) and is needed for that normalisation.

    What cannot be scored, or is cut, is told in a line naming the item, on stderr too; the rest is scored.
    """
    if task.kind != "choice":
        raise ValueError(f"{task.name} is answered in writing, not by choice; slmkit.evaluation.answers does that")
    window, items, pairs, left_out, cut = model.config.max_context, [], [], [], []
    for item in task.items:
        try:
            encoded = [encode_pair(tokenizer, item.context, choice) for choice in item.choices]
            if (longest := max(len(after) for _, after in encoded)) > window:
                raise ValueError(f"a choice has {longest:,} tokens and the model's window {window:,}")
        except ValueError as error:
            left_out.append(f"{task.name}, item {item.id}: {error}; left out")
            continue
        if (over := max(len(before) + len(after) for before, after in encoded) - window - 1) > 0:
            cut.append(f"{task.name}, item {item.id}: the context loses its first {over:,} tokens to fit into the "
                       f"model's window of {window:,}")  # fmt: skip
        items.append(item)
        pairs += encoded
    say(left_out + cut)
    found = token_loglikelihoods(model, pairs, batch_size=batch_size, shared=shared)
    alone = None
    if unconditional:
        choices = [("", choice) for item in items for choice in item.choices]
        alone = _by_item(items, [one.logprob for one in loglikelihoods(model, tokenizer, choices)])
    logprobs, tokens = ([getattr(one, name) for one in found] for name in ("logprob", "tokens"))
    return Scored(replace(task, items=tuple(items)), _by_item(items, logprobs), _by_item(items, tokens), alone,
                  tuple(left_out), tuple(cut))  # fmt: skip


def _by_item(items: Sequence[Item], values: list) -> tuple[np.ndarray, ...]:
    ends = np.cumsum([len(item.choices) for item in items], dtype=int)
    return tuple(np.split(np.array(values, dtype=float), ends[:-1])) if items else ()
