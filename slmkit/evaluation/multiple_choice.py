"""Multiple choice: the log-likelihood of each choice behind its context, what the contexts share computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.tasks import Task
from slmkit.model.decoder import Decoder

if TYPE_CHECKING:
    import pandas

NORMALISATIONS = ("sum", "character", "byte", "token", "unconditional")


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
    raise NotImplementedError


def loglikelihoods(model: Decoder, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], *, batch_size: int = 32,
                   shared: bool = True) -> list[Likelihood]:  # fmt: skip
    """log p(continuation | context) of each (context, continuation), in the order given.

    `shared` computes what contexts have in common once and keeps it in the KV cache; without it every pair is read
    whole, as lm-eval does. Both give the same numbers. `batch_size` is the number of continuations read at once.
    A context that does not fit into max_context with its continuation loses its first tokens, see `Likelihood.cut`.
    """
    raise NotImplementedError


def token_loglikelihoods(model: Decoder, pairs: Sequence[tuple[list[int], list[int]]], *, batch_size: int = 32,
                         shared: bool = True) -> list[Likelihood]:  # fmt: skip
    """The same of ids: (context, continuation), both without a token missing between them and neither empty.

    Raises ValueError when a continuation is empty or longer than max_context.
    """
    raise NotImplementedError


@dataclass(frozen=True)
class Scored:
    """A model's scores on a task of kind "choice". Rows of the arrays are `task.items` without those in `left_out`."""

    task: Task  # with the items that were scored
    logprobs: tuple[np.ndarray, ...]  # by item, [choices]
    tokens: tuple[np.ndarray, ...]  # by item, [choices]: tokens of each choice
    unconditional: tuple[np.ndarray, ...] | None  # by item, [choices]: log p(choice) behind no context
    left_out: tuple[str, ...]  # lines: items that could not be scored, each with its id and the reason
    cut: tuple[str, ...]  # lines: items whose context was too long and lost its beginning

    def values(self, by: str = "sum") -> list[np.ndarray]:
        """What the choices are compared by, an array [choices] an item; the largest is picked. `by` is one of
        NORMALISATIONS."""
        raise NotImplementedError

    def picks(self, by: str = "sum") -> np.ndarray:
        """The index of the choice that the model prefers, [items]; the first of equals."""
        raise NotImplementedError

    def right(self, by: str = "sum") -> np.ndarray:
        """Whether each pick is right, [items], bool."""
        raise NotImplementedError

    def accuracy(self, by: str = "sum") -> float:
        raise NotImplementedError

    def table(self) -> "pandas.DataFrame":
        """A row a choice: item, choice, text, right, logprob, tokens, and a column for each normalisation."""
        raise NotImplementedError


def score(model: Decoder, tokenizer: Tokenizer, task: Task, *, batch_size: int = 32, unconditional: bool = False,
          shared: bool = True) -> Scored:  # fmt: skip
    """Scores every choice of every item. `unconditional` also scores each choice behind no context (it costs a second
    reading of the choices) and is needed for that normalisation.

    What cannot be scored, or is cut, is told in a line naming the item, on stderr too; the rest is scored.
    """
    raise NotImplementedError
