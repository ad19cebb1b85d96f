"""Exercise feedback that says what is wrong, not only that it is.

A checker is a function in `slmkit/course/exercises/lab_NN.py`. It gets the reader's answer and raises `Wrong` with one
sentence that names the mistake. `call` and `compare` below find the common mistakes, so that a checker is short.
"""

import sys
import traceback
from collections.abc import Callable
from importlib import import_module, util
from pathlib import Path
from typing import Any

import torch

from slmkit.course import progress

STUB = "your turn"  # what a stub raises: NotImplementedError(STUB)
_CHECKERS: dict[str, Callable] = {}


class Short(Exception):
    """An error that a reader meets in a notebook: IPython shows its one line, not a traceback."""

    def _render_traceback_(self):
        return [f"✗ {self}"]


class ExerciseError(Short, AssertionError):
    """What `check` raises. An AssertionError, so that graders and test runners count it as a failure."""


class Wrong(Exception):
    """Raised by a checker: one sentence that names the mistake and hints at the remedy."""


def exercise(name: str):
    """Registers a checker under a name such as "03/causal_mask"."""

    def register(checker):
        known = _CHECKERS.get(name)
        if known and (known.__module__, known.__qualname__) != (checker.__module__, checker.__qualname__):
            raise ValueError(f"two checkers are named {name!r}: {known.__qualname__} and {checker.__qualname__}")
        _CHECKERS[name] = checker
        return checker

    return register


def check(name: str, answer: Any, **context):
    """Checks the reader's `answer` to an exercise: prints a tick, or raises ExerciseError with what is wrong.

    The tick is remembered for `slmkit lab list` (progress.py). `context` is handed to the checker by keyword. Raises
    ValueError when there is no exercise of that name.
    """
    checker = _checker(name)
    try:
        said = checker(answer, **context)
    except Wrong as wrong:
        problem = str(wrong)
    except NotImplementedError:
        problem = "not written yet. Replace the line `raise NotImplementedError` by your answer and run the cell again"
    except Exception as error:
        problem = raised(error)
    else:
        print(f"✓ {name}" + (f": {said}" if said else ""))
        progress.passed(name)
        return
    raise ExerciseError(f"{name}: {problem}") from None


def call(answer: Any, *args, **kwargs) -> Any:
    """The result of the reader's function (or module) on these arguments; Wrong when it gives nothing back."""
    if not callable(answer):
        raise Wrong(f"expected a function, got {_describe(answer)}")
    result = answer(*args, **kwargs)
    if result is None:
        label = getattr(answer, "__name__", type(answer).__name__)
        raise Wrong(f"{label} returned None; is a `return` missing?")
    return result


def compare(got: Any, expected: Any, what: str = "the answer", mistakes: dict[str, Any] | None = None,
            rtol: float = 1e-4, atol: float | None = None):  # fmt: skip
    """Raises Wrong unless `got` equals `expected`, within `rtol` of the largest expected value (or `atol`) for floats.

    Names, in this order: a missing, mistyped or misshapen answer; NaN; the known mistake (message to the value it
    would give) that explains it; else the first place that differs. A mistake that gives the expected value is a
    ValueError: the checker's inputs cannot tell it from the right answer.
    """
    if isinstance(expected, str):
        if got != expected:
            _explain(got, mistakes, lambda value: got == value)
            raise Wrong(f"{what} is {_describe(got)}; it should be {expected!r}")
        return
    wanted = torch.as_tensor(expected)
    given = _tensor(got, what)
    limit = _limit(wanted, rtol, atol)
    candidates = {message: torch.as_tensor(value) for message, value in (mistakes or {}).items()}
    for message, value in candidates.items():
        if _same(value, wanted, limit):
            raise ValueError(f"these inputs cannot tell the mistake {message!r} from the right answer; choose others")
    if given.shape != wanted.shape or _kind(given) != _kind(wanted):
        _explain(got, candidates, lambda value: _kind(value) == _kind(given) and _same(value, given, limit))
        _check_form(given, wanted, what)
    if _same(given, wanted, limit):
        return
    if given.is_floating_point() and given.isnan().any() and not wanted.isnan().any():
        raise Wrong(f"{what} has NaN in {int(given.isnan().sum())} of {given.numel()} places")
    _explain(got, candidates, lambda value: _same(value, given, limit))
    raise Wrong(f"{what} is wrong{_first_difference(given, wanted, limit)}")


# -- the parts of check ----------------------------------------------------------------------------------------------


def _checker(name: str) -> Callable:
    module = f"slmkit.course.exercises.lab_{name.partition('/')[0]}"
    if name not in _CHECKERS and util.find_spec(module):
        import_module(module)
    if name not in _CHECKERS:
        lab = [known for known in sorted(_CHECKERS) if known.partition("/")[0] == name.partition("/")[0]]
        raise ValueError(f"there is no exercise {name!r}" + (f"; this lab has {', '.join(lab)}" if lab else ""))
    return _CHECKERS[name]


def raised(error: Exception) -> str:
    """One line on an exception that came out of the answer: what it was, and on which of the reader's lines."""
    package = Path(__file__).resolve().parents[1]
    said = f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(": ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if package not in path.parents and not {"site-packages", "dist-packages"} & set(path.parts):
            if Path(sys.base_prefix) in path.parents and "lib" in path.parts:
                continue  # the standard library
            return f"your code raised {said} (line {frame.lineno}: `{(frame.line or '').strip()}`)"
    return f"the check stopped with {said}; the answer is probably not of the kind asked for"


# -- the parts of compare --------------------------------------------------------------------------------------------


def _tensor(got: Any, what: str) -> torch.Tensor:
    if got is None:
        raise Wrong(f"{what} is None; is a `return` missing?")
    try:
        return torch.as_tensor(got).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} is {_describe(got)}; a tensor or a number is asked for") from None


def _kind(tensor: torch.Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "float" if tensor.is_floating_point() or tensor.is_complex() else "integer"


def _check_form(given: torch.Tensor, wanted: torch.Tensor, what: str):
    if given.shape != wanted.shape:
        raise Wrong(f"{what} has shape {tuple(given.shape)}; it should be {tuple(wanted.shape)}")
    if {_kind(given), _kind(wanted)} != {"float", "integer"}:  # 3 for 3.0 is fine
        raise Wrong(f"{what} is of kind {_kind(given)} ({given.dtype}); it should be {_kind(wanted)}")


def _limit(wanted: torch.Tensor, rtol: float, atol: float | None) -> float:
    if atol is not None:
        return atol
    return rtol * float(wanted.abs().nan_to_num(0, 0, 0).max()) if _kind(wanted) == "float" and wanted.numel() else 0.0


def _differs(a: torch.Tensor, b: torch.Tensor, limit: float) -> torch.Tensor:
    a, b = a.double(), b.double()
    close = (a - b).abs() <= limit
    return ~(close | (a == b) | (a.isnan() & b.isnan()))  # equal infinities have no difference to compare


def _same(a: torch.Tensor, b: torch.Tensor, limit: float) -> bool:
    return a.shape == b.shape and not bool(_differs(a, b, limit).any())


def _explain(got: Any, mistakes: dict[str, Any] | None, matches: Callable[[Any], bool]):
    for message, value in (mistakes or {}).items():
        if matches(value):
            raise Wrong(message)


def _first_difference(given: torch.Tensor, wanted: torch.Tensor, limit: float) -> str:
    differs = _differs(given, wanted, limit)
    if not given.dim():
        return f": {given.item():.6g}; it should be {wanted.item():.6g}"
    place = tuple(int(i) for i in differs.nonzero()[0])
    return (
        f" in {int(differs.sum())} of {differs.numel()} places, first at {list(place)}: "
        f"{given[place].item():.6g}; it should be {wanted[place].item():.6g}"
    )


def _describe(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:37] + '…'} ({type(value).__name__})"
