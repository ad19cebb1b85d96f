"""The survey's tables as pandas data frames. Each call reads its file anew, so a caller may change what it gets."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

from slmkit.paths import build_folder, root

if TYPE_CHECKING:
    import pandas

FOLDER = Path(__file__).parent

# Integers with gaps; pandas would turn them into floats, and 134,515,008 parameters into 134515008.0.
WHOLE = {
    "params_exact", "params_non_embedding", "params_llamacpp", "head_dim", "n_layers", "d_model", "vocab_size",
    "max_context", "survey_vocab", "uses_2022", "uses_2023", "uses_2024", "number",
}  # fmt: skip


def models(since: bool = False) -> pandas.DataFrame:
    """One row for each model: what the survey lists, what was published, and the exact parameter count.

    `in_v1` and `in_v3_table` (yes or no) say in which version's table it stands; the columns `survey_…` hold what the
    survey printed where that differs in kind from what was published. With `since`, the models that came after the
    survey follow, in the same columns.
    """
    if not since:
        return _read("models")
    import pandas

    return pandas.concat([_read("models"), _read("models_since")], ignore_index=True)


def datasets() -> pandas.DataFrame:
    """One row for each pre-training data set: size, filtering, licence and how often models of each year used it."""
    return _read("datasets")


def capability() -> pandas.DataFrame:
    """One row for each score: model, metric, number of shots, value, where it was read and how precisely."""
    return _read("capability")


def runtime() -> pandas.DataFrame:
    """One row for each timing or memory figure: device, model, quantization, phase, value, unit.

    `value` and `x_value` are text, since a few rows quote words ("10 to 20"); `pandas.to_numeric` reads the others.
    """
    return _read("runtime")


def claims() -> pandas.DataFrame:
    """One row for each claim: number, mark, section, statement, kind, lab, metric and the rule for its verdict.

    `mark` is K for a boxed insight, Q for a statement with a number, ! for one that something contradicts; `problem`
    says what. `value`, `interval` and `verdict` are recomputed here where the survey's own tables decide; for the
    others they come from the labs' records, and are empty where there is none. An exact value has no interval.
    """
    frame = _read("claims", text="object").astype({"number": int})
    frame.insert(list(frame.columns).index("verdict"), "interval", "")
    for claim, found in findings().items():
        frame.loc[frame.id == claim, list(found)] = list(found.values())
    return frame


def findings() -> dict[str, dict[str, str]]:
    """`value`, `interval` and `verdict` as texts, by claim, from the survey's tables and the labs' records."""
    from slmkit.survey import evidence
    from slmkit.survey.verdicts import bounds, digits

    found = {}
    for claim, record in known_records().items():
        value = "" if record["effect"] is None else digits(record["effect"])
        interval = bounds(*record["interval"]) if record.get("interval") else ""
        found[claim] = {"value": value, "interval": interval, "verdict": record["verdict"]}
    for claim in evidence.DECIDED:
        (value, low, high), verdict = evidence.decide(claim)
        found[claim] = {"value": digits(value), "interval": bounds(low, high), "verdict": verdict}
    return found


def known_records() -> dict[str, dict]:
    """The labs' records with a verdict, by claim: the committed ones, else those of the last cpu run here."""
    found = {}
    for folder in (build_folder() / "records" / "cpu", root() / "book" / "records"):
        for path in sorted(folder.glob("*.json")):
            made = json.loads(path.read_text(encoding="utf-8"))
            if not made["verdict"].startswith("none"):
                found[path.stem] = made
    return found


def rows(table: str) -> list[dict[str, str]]:
    """The same table as plain dictionaries of strings, for code that should not wait for pandas."""
    with open(FOLDER / f"{table}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read(table: str, text: str | None = None) -> pandas.DataFrame:
    import pandas

    # Lab "03" stays text, and in a table of text a blank is an empty string.
    frame = pandas.read_csv(FOLDER / f"{table}.csv", dtype=text, keep_default_na=text is None)
    return frame.astype({name: "Int64" for name in frame.columns if name in WHOLE})
