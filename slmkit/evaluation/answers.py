"""Tasks that are answered in writing: the model writes until a stop, and the text is compared with the right one."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.prefixes import Ids, Rows, read_rows
from slmkit.evaluation.tasks import Task
from slmkit.model.decoder import Decoder
from slmkit.model.generation import sample


def generate_until(model: Decoder, tokenizer: Tokenizer, contexts: Sequence[str], *, until: Sequence[str] = ("\n",),
                   max_new_tokens: int = 32, batch_size: int = 16) -> list[str]:  # fmt: skip
    """What the model writes behind each context, greedily, up to the first of `until` (not included), the end of the
    text or `max_new_tokens`. What contexts have in common is read once.

    A context longer than max_context - max_new_tokens loses its first tokens, as in lm-eval. Spaces at a context's end
    are left to the model to write. Raises ValueError when no token of a context would be left.
    """
    if (most := model.config.max_context - max_new_tokens) < 1 or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; at least 1, and less than the model's max_context of "
                         f"{model.config.max_context}")  # fmt: skip
    rows = [tuple(tokenizer.encode(context.rstrip(" "))[-most:]) or (tokenizer.end_of_text,) for context in contexts]
    texts: dict[Ids, str] = {}
    with torch.inference_mode():
        for done in read_rows(model, rows, batch_size, room=max_new_tokens - 1):
            count, ends = len(done.sequences), {tokenizer.end_of_text}
            found = written(_greedy(model, done), count, tokenizer.decode, ends, until)
            texts |= zip(done.sequences, found, strict=True)
    return [texts[row] for row in rows]


def _greedy(model: Decoder, done: Rows) -> Iterator[Tensor]:
    """The likeliest tokens [batch] behind the rows of a batch, one step after the other, while the cache has room."""
    _, hidden, cache, padding = done
    while True:
        yield (tokens := sample(model.logits(hidden)))
        if cache.length == cache.capacity:  # the last token is never read
            return
        hidden = model.hidden(tokens[:, None], cache, padding)[:, -1]


def written(steps: Iterable[Tensor], rows: int, decode: Callable[[list[int]], str], stops: Collection[int],
            until: Sequence[str]) -> list[str]:  # fmt: skip
    """The texts of a batch's rows: each step has one more token of each, [rows].

    A row ends before a token of `stops` and before the first text of `until`. No step is asked for when all have ended.
    """
    ids, texts, ended = [[] for _ in range(rows)], [""] * rows, [False] * rows
    for tokens in steps:
        for row, token in enumerate(tokens.tolist()):
            if ended[row]:
                continue
            if token not in stops:
                ids[row].append(token)
                texts[row] = decode(ids[row])
            ended[row] = token in stops or any(end in texts[row] for end in until)
        if all(ended):
            break
    return [before(text, until) for text in texts]


def before(text: str, until: Sequence[str]) -> str:
    """The text up to the first of its ends."""
    for end in until:
        text = text.split(end)[0]
    return text


def normalised(text: str) -> str:
    """What exact match compares: without space at the ends, runs of space as one, no full stop at the end; case is
    kept."""
    return " ".join(text.split()).removesuffix(".")


@dataclass(frozen=True)
class Answered:
    """A model's answers to a task of kind "text", in the order of `task.items`."""

    task: Task
    texts: tuple[str, ...]
    right: np.ndarray  # [items], bool

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


def answer(model: Decoder, tokenizer: Tokenizer, task: Task, *, batch_size: int = 16) -> Answered:
    """Lets the model write an answer to every item, and compares each with the item's right answers."""
    if task.kind != "text":
        raise ValueError(f"{task.name} is answered by choice; slmkit.evaluation.multiple_choice scores it")
    contexts = [item.context for item in task.items]
    texts = generate_until(model, tokenizer, contexts, until=task.until, max_new_tokens=task.max_new_tokens,
                           batch_size=batch_size)  # fmt: skip
    right = [normalised(text) in map(normalised, item.choices) for text, item in zip(texts, task.items, strict=True)]
    return Answered(task, tuple(texts), np.array(right, dtype=bool))
