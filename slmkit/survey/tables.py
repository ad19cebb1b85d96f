"""The survey's tables as pandas data frames. Each call reads its file anew, so a caller may change what it gets."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

FOLDER = Path(__file__).parent

# Integers with gaps; pandas would turn them into floats, and 134,515,008 parameters into 134515008.0.
WHOLE = {
    "params_exact", "params_non_embedding", "params_llamacpp", "head_dim", "n_layers", "d_model", "vocab_size",
    "max_context", "survey_vocab", "uses_2022", "uses_2023", "uses_2024", "number",
}  # fmt: skip


def models() -> pandas.DataFrame:
    """One row for each model: what the survey lists, what was published, and the exact parameter count.

    `in_v1` and `in_v3_table` (yes or no) say in which version's table it stands; the columns `survey_…` hold what the
    survey printed where that differs in kind from what was published.
    """
    return _read("models")


def datasets() -> pandas.DataFrame:
    """One row for each pre-training data set: size, filtering, licence and how often models of each year used it."""
    return _read("datasets")


def capability() -> pandas.DataFrame:
    """One row for each score: model, metric, number of shots, value, where it was read and how precisely."""
    return _read("capability")


def runtime() -> pandas.DataFrame:
    """One row for each timing or memory figure of the cost study: device, model, quantization, phase, value, unit."""
    return _read("runtime")


def claims() -> pandas.DataFrame:
    """One row for each claim: number, mark, section, statement, kind, lab, metric and the rule for its verdict.

    `mark` is K for a boxed insight, Q for a statement with a number, ! for an error found in the survey. `value` and
    `verdict` are empty until a record or a recomputation fills them. `problem` says what contradicts the statement.
    """
    return _read("claims")


def rows(table: str) -> list[dict[str, str]]:
    """The same table as plain dictionaries of strings, for code that should not wait for pandas."""
    with open(FOLDER / f"{table}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read(table: str) -> pandas.DataFrame:
    import pandas

    frame = pandas.read_csv(FOLDER / f"{table}.csv")
    return frame.astype({name: "Int64" for name in frame.columns if name in WHOLE})
