"""Conditions on rows of a table, as one types them: "year=2024 attention=GQA vocab_size>50000"."""

import re
import shlex
from collections.abc import Callable, Sequence
from difflib import get_close_matches

Row = dict[str, str]

CONDITION = re.compile(r"(\w+)(>=|<=|!=|=|>|<|~)((?![=<>~]).*)", flags=re.S)
# Of a cell and the value typed: as numbers where both are numbers, else as text in lower case.
OPERATORS: dict[str, Callable] = {
    "=": lambda cell, value: cell == value,
    "!=": lambda cell, value: cell != value,
    ">": lambda cell, value: cell > value,
    "<": lambda cell, value: cell < value,
    ">=": lambda cell, value: cell >= value,
    "<=": lambda cell, value: cell <= value,
    "~": lambda cell, value: str(value) in str(cell),
}


def where(rows: list[Row], conditions: str) -> list[Row]:
    """The rows that meet every condition; `~` asks whether the cell contains the text.

    An empty cell is unknown: it meets `column=` and `column!=value` alone. ValueError on an unknown column, with the
    columns, on what is no condition, and on `column=value` with a value that no row has, with those that there are.
    """
    try:
        words = shlex.split(conditions)
    except ValueError as error:
        raise ValueError(f"--where {conditions!r} cannot be read: {error}") from None
    found = rows
    for word in words:
        parts = CONDITION.fullmatch(word)
        if not parts:
            raise ValueError(f"{word!r} is no condition; write such as year=2024 attention=GQA 'vocab_size>50000'")
        name, operator, value = parts.groups()
        check_columns(rows, [name])
        if operator == "=" and value and not any(_meets(row[name], operator, value) for row in rows):
            known = sorted({row[name] for row in rows if row[name]})
            raise ValueError(f"{name} is {value!r} nowhere; it is {', '.join(known[:20])}{' …' * (len(known) > 20)}. "
                             "Spaces separate conditions")  # fmt: skip
        found = [row for row in found if _meets(row[name], operator, value)]
    return found


def sort(rows: list[Row], column: str) -> list[Row]:
    """By number where every known cell of the column is one, else by text; unknown ones last."""
    check_columns(rows, [column])
    known = [row for row in rows if row[column]]
    numbers = [_number(row[column]) for row in known]
    keys = [row[column].lower() for row in known] if None in numbers else numbers
    order = sorted(range(len(known)), key=keys.__getitem__)
    return [known[i] for i in order] + [row for row in rows if not row[column]]


def check_columns(rows: list[Row], names: Sequence[str]):
    """ValueError when a name is not a column: the nearest one, and all columns, in one line."""
    columns = list(rows[0])
    for name in names:
        if name not in columns:
            near = get_close_matches(name, columns, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}? The" if near else "the"
            raise ValueError(f"there is no column {name!r}; {hint} columns are {', '.join(columns)}")


def _meets(cell: str, operator: str, value: str) -> bool:
    if not cell or not value:
        return {"=": cell == value, "!=": cell != value}.get(operator, False)
    numbers = (_number(cell), _number(value))
    if None not in numbers and operator != "~":
        return OPERATORS[operator](*numbers)
    if operator in (">", "<", ">=", "<=") and (None in numbers) and numbers[1] is not None:
        return False  # "0.5-4.0" is neither above nor below a number
    return OPERATORS[operator](cell.lower(), value.lower())


def _number(text: str) -> float | None:
    """12, 1.5, and as tokens and sizes are written: 600B, 1.7B, 360M, 3T."""
    parts = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)([MBT]?)", text.strip())
    return float(parts[1]) * {"": 1, "M": 1e6, "B": 1e9, "T": 1e12}[parts[2]] if parts else None
