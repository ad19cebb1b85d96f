"""Evaluation tasks: some of BIG-bench, taken out of its package; few-shot prompts."""

import json
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from slmkit.data.packages import Package, kept

PACKAGE = Package("bigbench", "1.0.0", "bigbench-1.0.0.tar.gz",
                  "1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2", 358, "Apache-2.0")  # fmt: skip
INSIDE = "bigbench-1.0.0/bigbench/benchmark_tasks/"

KEPT = 2000  # items of each task that are kept, drawn once and for all; the package's own files have up to 50,000


class Source(NamedTuple):
    """A task of the package."""

    folder: str  # in the package
    kind: str
    purpose: str


SOURCES = {
    "general_knowledge": Source("general_knowledge", "choice", "common sense facts, answered in a word or two"),
    "goal_inference": Source("goal_step_wikihow/goal_inference", "choice", "goals of unequal lengths, behind a step"),
    "hyperbaton": Source("hyperbaton", "choice", "order of adjectives, asked for by letter: small models guess"),
    "implicatures": Source("implicatures", "choice", "yes or no, of one token each: normalisations hardly matter"),
    "phrase_relatedness": Source("phrase_relatedness", "choice", "common and rare phrases: some are likely anywhere"),
    "similarities": Source("similarities_abstraction", "choice", "how two things are alike, in whole sentences"),
    "social_iqa": Source("social_iqa", "choice", "social sense; the people's names can be exchanged"),
    "step_inference": Source("goal_step_wikihow/step_inference", "choice", "steps of unequal lengths, behind a goal"),
    "timedial": Source("timedial", "choice", "how long or when, out of a long dialogue"),
    "winowhy": Source("winowhy", "choice", "right or wrong reasons; many share the sentence that they explain"),
    "copying": Source("unnatural_in_context_learning/identity", "text", "copying a list: shown by examples alone"),
    "one_digit_addition": Source("arithmetic/1_digit_addition", "text", "arithmetic that a small model may know"),
    "two_digit_addition": Source("arithmetic/2_digit_addition", "text", "arithmetic that it hardly knows"),
    "past_tense": Source("linguistic_mappings/past_tense_json", "text", "a rule of grammar and its exceptions"),
    "odd_addition": Source("unnatural_in_context_learning/unnatural_addition_2_digit", "text",
                           "a minus that means plus: examples against habit"),
}  # fmt: skip


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


def names(kind: str | None = None) -> list[str]:
    """The BIG-bench tasks that `load` knows, in alphabetical order; those of a kind, "choice" or "text", if given."""
    return sorted(name for name, source in SOURCES.items() if kind in (None, source.kind))


def purpose(name: str) -> str:
    """What the task is here for, in a few words."""
    return _source(name).purpose


def load(name: str, limit: int | None = None, seed: int = 0, listed: bool = False) -> Task:
    """A BIG-bench task (Srivastava et al. 2022), its choices in a shuffled order that depends on the item alone.

    `limit` draws that many items by `seed` (the same ones for every model); the others become the task's `pool`.
    `listed` writes the choices into the context, as BIG-bench's own prompts do for some tasks.
    Raises ValueError for another name, OSError when the package cannot be had.
    """
    source = _source(name)
    with open(folder() / f"{_stored(source.folder)}.json", encoding="utf-8") as file:
        stored = json.load(file)
    before, after = stored.get("example_input_prefix", "\nQ: "), stored.get("example_output_prefix", "\nA: ")
    # What begins with new lines begins a prompt without them.
    begins = before.lstrip("\n")
    lead, start = before[: len(before) - len(begins)], stored.get("task_prefix", "").rstrip()
    head = start + (lead or "\n") if start else ""
    made = []
    for i, example in enumerate(stored["examples"]):
        if source.kind == "text":
            target = example["target"]
            choices, answer = [target] if isinstance(target, str) else target, 0
        else:
            choices, scores = list(example["target_scores"]), example["target_scores"]
            random.Random(f"{name} {i}").shuffle(choices)
            answer = choices.index(max(choices, key=scores.get))
        shown = [f"\n  choice: {choice}" for choice in choices] if listed and source.kind == "choice" else []
        context = "".join((head, begins, example["input"].rstrip(), *shown, after)).rstrip()
        made.append((f"{i}", context, [f" {choice}" for choice in choices], answer))
    between = stored.get("few_shot_example_separator", "") + lead or "\n"
    return made_of(name, made, source.kind, limit, seed, head=head, between=between,
                 until=(between if source.folder.startswith("linguistic") else "\n",))  # fmt: skip


def folder() -> Path:
    """Where the tasks are kept; fetches the package (358 MB, of which 5 MB are kept) if they are not there."""
    wanted = {f"{INSIDE}{source.folder}/task.json": f"{_stored(source.folder)}.json" for source in SOURCES.values()}
    return kept(PACKAGE, wanted.get, _thin)


def fetch():
    """The package, so that nothing later needs the network. If it cannot be had, that is told in a line."""
    try:
        folder()
    except OSError as error:
        say([str(error)])


def _thin(folder: Path):
    """Leaves KEPT items of each task. The canary, by which those who train models find such text, stays."""
    for path in folder.glob("*.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if len(examples := stored["examples"]) > KEPT:
            stored["examples"] = random.Random(0).sample(examples, KEPT)
        path.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")


def _stored(folder: str) -> str:
    return folder.replace("/", "-")


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"there is no task {name!r}; there are {', '.join(names())}")
    return SOURCES[name]


# -- from whatever was read to a task


def made_of(name: str, made: Iterable[tuple[str, Any, Any, Any]], kind: str, limit: int | None, seed: int,
          **options) -> Task:  # fmt: skip
    """A task of the items that can be asked; a line for each of the others."""
    items, left_out = [], []
    for number, context, choices, answer in made:
        try:
            items.append(_checked(number, context, choices, answer, kind))
        except ValueError as error:
            left_out.append(f"{name}, item {number}: {error}; left out")
    say(left_out)
    if not items:
        raise ValueError(f"{name} has no item that can be asked")
    if limit is not None and not 0 < limit <= len(items):
        raise ValueError(f"limit is {limit} and {name} has {len(items)} items; ask for 1 to {len(items)}")
    chosen = set(random.Random(seed).sample(range(len(items)), limit)) if limit else set(range(len(items)))
    asked, pool = ([item for i, item in enumerate(items) if (i in chosen) == is_asked] for is_asked in (True, False))
    return Task(name, tuple(asked), kind, tuple(pool), left_out=tuple(left_out), **options)


def _checked(number: str, context: Any, choices: Any, answer: Any, kind: str) -> Item:
    if isinstance(context, Exception):  # what was wrong with its fields
        raise context
    for i, choice in enumerate(choices):
        if not choice.strip():
            raise ValueError(f"choice {i + 1} is empty")
        if kind == "choice" and choice in choices[:i]:
            raise ValueError(f"choices {choices.index(choice) + 1} and {i + 1} are identical ({choice.strip()!r})")
    if kind == "choice" and len(choices) < 2:
        raise ValueError("it has less than two choices")
    if not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise ValueError(f"its answer {answer!r} is none of its {len(choices)} choices")
    return Item(number, context, tuple(choices), answer)


def say(lines: Iterable[str]):
    """Tells on stderr what was wrong with single items."""
    for line in lines:
        print(line, file=sys.stderr)


# -- prompts


def few_shot(task: Task, shots: int, seed: int = 0) -> Task:
    """The same items behind `shots` solved examples, the same ones for every item (so they are computed once).

    The examples come from `task.pool`; the first k of a seed's are those of k shots. Call it on a task without shots.
    Raises ValueError when the pool is too small: load with a `limit`.
    """
    if not 0 <= shots <= len(task.pool):
        raise ValueError(f"{shots} shots are asked for and {len(task.pool)} items of {task.name} are not asked "
                         "themselves; load the task with a smaller limit")  # fmt: skip
    order = list(task.pool)
    random.Random(seed).shuffle(order)
    solved = [_bare(task, item) + item.choices[item.answer] for item in order[:shots]]
    items = [item._replace(context=task.head + task.between.join([*solved, _bare(task, item)])) for item in task.items]
    return replace(task, items=tuple(items))


def _bare(task: Task, item: Item) -> str:
    return item.context.removeprefix(task.head)


def chance(task: Task) -> float:
    """The accuracy of guessing: the mean of 1 / number of choices (0 for kind "text")."""
    if task.kind == "text":
        return 0.0
    return sum(1 / len(item.choices) for item in task.items) / len(task.items)
