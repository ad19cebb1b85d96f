"""Evaluation tasks: ten of BIG-bench, taken from its package, and task files of one's own; few-shot prompts."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Item(NamedTuple):
    """One question. `context` + `choices[i]` is what a model reads, so a choice carries its leading space.

    In a task of kind "choice", `choices` are what the model picks from and `answer` is the right one's index.
    In a task of kind "text", the model writes; `choices` are the answers that count as right, `answer` is 0: the one
    that few-shot prompts show.
    """

    id: str
    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Task:
    """Items of one kind, and what is needed to make prompts of them."""

    name: str
    items: tuple[Item, ...]
    kind: str  # "choice" or "text"
    pool: tuple[Item, ...] = ()  # the items that are not asked: what few-shot examples are drawn from
    head: str = ""  # what stands before everything: the instruction
    between: str = "\n\n"  # between two examples of a prompt
    until: tuple[str, ...] = ("\n",)  # where a written answer ends (kind "text")
    max_new_tokens: int = 32  # of a written answer (kind "text")
    left_out: tuple[str, ...] = ()  # a line for each item that could not be used, with its id and the reason


def names() -> list[str]:
    """The BIG-bench tasks that `load` knows, in alphabetical order."""
    raise NotImplementedError


def purpose(name: str) -> str:
    """What the task is here for, in a sentence."""
    raise NotImplementedError


def load(name: str, limit: int | None = None, seed: int = 0, listed: bool = False) -> Task:
    """A BIG-bench task (Srivastava et al. 2022), its choices in a shuffled order that depends on the item alone.

    `limit` draws that many items by `seed` (the same ones for every model); the others become the task's `pool`.
    `listed` writes the choices into the context, as BIG-bench's own prompts do for most tasks.
    Raises ValueError for another name, OSError when the package cannot be had.
    """
    raise NotImplementedError


def read(path: str | Path, limit: int | None = None, seed: int = 0) -> Task:
    """A task file of one's own: the YAML head that lm-eval reads too, with its items in JSON lines beside it.

    An item that cannot be asked (a field is missing, a choice is empty, two are identical, the answer is none of the
    choices) is left out with a line in `left_out` and on stderr. Raises ValueError when the head is wrong or no item is
    left, FileNotFoundError when a file is not there.
    """
    raise NotImplementedError


def few_shot(task: Task, shots: int, seed: int = 0) -> Task:
    """The same items behind `shots` solved examples, the same ones for every item (so they are computed once).

    The examples come from `task.pool`; the first k of a seed's are those of k shots. Call it once, on a task without
    shots. Raises ValueError when the pool is too small: load with a `limit`.
    """
    raise NotImplementedError


def reordered(task: Task, seed: int) -> Task:
    """The same items with each one's choices in another order. The scores of choices do not depend on it, but a
    context that lists them does."""
    raise NotImplementedError


def chance(task: Task) -> float:
    """The accuracy of guessing: the mean of 1 / number of choices (0 for kind "text")."""
    raise NotImplementedError
