"""Checks of single values that configurations share. Each raises ValueError in one line: name, value, bound."""

import math


def positive(name: str, value):
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def above(name: str, value, bound: float):
    if not (is_number(value) and value > bound):
        raise ValueError(f"{name} is {value!r}; it must be a number above {bound}")


def one_of(name: str, value, choices: tuple):
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(str, choices))}")
