"""Multiple choice: the log-likelihood of each choice behind its context, what the contexts share computed once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.prefixes import PART, Ids, grow, read
from slmkit.evaluation.tasks import Item, Task, say
from slmkit.model.decoder import Decoder

if TYPE_CHECKING:
    import pandas

NORMALISATIONS = ("sum", "character", "byte", "token", "unconditional")
POSITIONS = 256  # whose logits are computed at once: a vocabulary is wide


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

    `shared` reads what pairs begin with alike once; without it every pair is read whole, as lm-eval does. Both give the
    same numbers. A pass reads no more tokens than `batch_size` of the longest sequences have.
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
    fitted = [_fitted(context, continuation, model.config.max_context) for context, continuation in pairs]
    asked = list(dict.fromkeys((context, continuation) for context, continuation, _ in fitted))
    # The last token of a continuation is predicted and never read.
    read_of = {pair: pair[0] + pair[1][:-1] for pair in asked}
    tree = grow(read_of.values(), shared)
    wanted = [
        (place, target, owner)
        for owner, pair in enumerate(asked)
        for place, target in zip(tree.way(tree.ends[read_of[pair]], len(pair[1])), pair[1], strict=True)
    ]
    places, targets, owners = torch.tensor(wanted, dtype=torch.long).view(-1, 3).T.contiguous()
    sums = torch.zeros(2, len(asked), dtype=torch.float64)  # of log p, and of tokens that greedy would not write
    was_training = model.training
    model.eval()
    most = min(PART, batch_size * max(map(len, read_of.values()), default=1))
    for part in read(model, tree, places.tolist(), most):
        here = torch.isin(places, part.places)
        # The choices of an item have their first place in common.
        rows = torch.searchsorted(part.places, places[here])
        _add(model, part.hidden, rows, targets[here], owners[here], sums)
    model.train(was_training)
    found = {pair: (value, not misses) for pair, value, misses in zip(asked, *sums.tolist(), strict=True)}
    return [Likelihood(*found[context, continuation], len(continuation), cut) for context, continuation, cut in fitted]


def _add(model: Decoder, hidden: Tensor, rows: Tensor, targets: Tensor, owners: Tensor, sums: Tensor):
    """Adds to each owner's column of `sums` log p of its targets, which are predicted from `rows` of `hidden`
    [n, d_model], and how many of them greedy decoding would not write."""
    for start in range(0, len(hidden), POSITIONS):
        # logits - logsumexp would be more exact. But lm-eval has the rounding of log_softmax, up to 1e-5 a token with
        # a wide vocabulary; taken the same way it is the same.
        logprobs = model.logits(hidden[start : start + POSITIONS]).float().log_softmax(-1)
        here = (rows >= start) & (rows < start + POSITIONS)
        row, target, owner = rows[here] - start, targets[here], owners[here]
        sums[0].index_add_(0, owner, logprobs[row, target].double().cpu())
        sums[1].index_add_(0, owner, (logprobs.argmax(-1).cpu()[row] != target).double())


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
