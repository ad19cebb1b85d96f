"""Every answer that the exercises' checks are tried on, and what a check makes of one.

Wrong answers are in wrong_NN.py, WRONG = {"NN/name": [(answer, part of the message), …]}; answers that are right, but
written otherwise than the lab's, in right_NN.py (or wrong_14 and wrong_15), RIGHT = {"NN/name": [answer, …]}. Two more
wrong ones are made of each exercise's solution: what it gives, turned to zeros, and a little off.
"""

from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from slmkit.course.checking import ExerciseError, check
from slmkit.course.grading import definitions, exercises
from slmkit.course.source import code_cells, labs

CELLS = {lab.name[:2]: code_cells(lab.read_text(encoding="utf-8")) for lab in labs()}
FUNCTIONS = {name: function for cells in CELLS.values() for name, function in exercises(cells).items()}
WRONG, RIGHT = {}, {}
for path in sorted(Path(__file__).parent.glob("*_[0-9][0-9].py")):
    if path.stem.startswith(("wrong", "right")):
        answers = import_module(path.stem)
        WRONG |= getattr(answers, "WRONG", {})
        RIGHT |= getattr(answers, "RIGHT", {})
OFF = 1.011  # just more than the most that a tolerance may be, 1% of the answer's own scale
# Their answers are whole numbers, words, or modules: nothing in them can be a little off.
WHOLE = {
    "00/decode_bytes", "00/turning_batch",
    "01/stored_twice",
    "02/count_pairs", "02/merge", "02/train_bpe", "02/encode", "02/logits_bytes",
    "03/causal_mask",
    "04/cache_bytes",
    "05/matched_width",
    "06/tie", "06/share", "06/block_weights", "06/layer_widths",
    "07/repeated_runs", "07/heuristics", "07/shingles", "07/signature", "07/candidates",
    "08/from_first",
    "11/stored_bytes",
    "12/encode_pair",
    "13/induction_batch", "13/prompt", "13/placed",
    "14/memory_parts",
    "15/nibbles", "15/six_bits", "15/file_bytes", "15/front",
}  # fmt: skip


@cache
def solutions(number: str) -> dict:
    """What a lab defines, its solutions included."""
    return definitions(CELLS[number])


def solution(name: str):
    return solutions(name[:2])[FUNCTIONS[name]]


def turned(name: str, change):
    """The exercise's solution, each number and text that it gives replaced by `change` of it."""
    answer = solution(name)
    return lambda *args, **options: _each(answer(*args, **options), change)


def _each(value, change):
    if isinstance(value, dict):
        return type(value)({key: _each(one, change) for key, one in value.items()})
    if isinstance(value, tuple | list):
        return type(value)(_each(one, change) for one in value)
    return change(value)


def zero(value):
    """Nothing, of the same kind and shape."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return torch.zeros_like(value) if isinstance(value, torch.Tensor) else np.zeros_like(value)
    return 0 if isinstance(value, torch.nn.Module) or value is None else type(value)()


def off(value):
    """A little more, if it is a number that need not be whole."""
    floating = isinstance(value, float | np.floating) or (
        torch.is_floating_point(value) if isinstance(value, torch.Tensor)
        else isinstance(value, np.ndarray) and value.dtype.kind == "f"
    )  # fmt: skip
    return value * OFF if floating else value


def wrong(name: str) -> list:
    """All wrong answers to an exercise."""
    made = [turned(name, zero)] + ([] if name in WHOLE else [turned(name, off)])
    return [*made, *(answer for answer, _ in WRONG[name])]


def told(name: str, answer) -> str | None:
    """What `check` says against an answer, None when it passes."""
    try:
        check(name, answer)
    except ExerciseError as error:
        return str(error)
    return None
