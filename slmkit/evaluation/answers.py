"""Tasks that are answered in writing: the model writes until a stop, and the text is compared with the right one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.tasks import Task
from slmkit.model.decoder import Decoder


def generate_until(model: Decoder, tokenizer: Tokenizer, contexts: Sequence[str], *, until: Sequence[str] = ("\n",),
                   max_new_tokens: int = 32, batch_size: int = 16, **sampling) -> list[str]:  # fmt: skip
    """What the model writes behind each context, up to the first of `until` (not included), the end of the text or
    `max_new_tokens`; greedy, unless `sampling` (temperature, top_k, top_p, seed) says otherwise.

    A context longer than max_context - max_new_tokens loses its first tokens, as in lm-eval.
    """
    raise NotImplementedError


def normalised(text: str) -> str:
    """What exact match compares: without space at the ends, runs of space as one, no final full stop; case is kept."""
    raise NotImplementedError


@dataclass(frozen=True)
class Answered:
    """A model's answers to a task of kind "text", in the order of `task.items`."""

    task: Task
    texts: tuple[str, ...]
    right: np.ndarray  # [items], bool

    @property
    def accuracy(self) -> float:
        raise NotImplementedError


def answer(model: Decoder, tokenizer: Tokenizer, task: Task, *, batch_size: int = 16) -> Answered:
    """Lets the model write an answer to every item, and compares each with the item's right answers."""
    raise NotImplementedError
