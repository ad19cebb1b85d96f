"""Measurements of the survey's claims: each a JSON file that says what was measured, where, and what follows.

A lab's run writes into `build/records/<profile>/`; promote.py copies from there what the book shall quote.
"""

import difflib
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from slmkit.course import machine
from slmkit.course.checking import Short
from slmkit.course.lab import current
from slmkit.paths import build_folder, root
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import NOT_TESTABLE, interval, judge

NO_VERDICT = "none: a smoke run"
EXACT = ("statistics", "computed")  # kinds of claim whose one value has no spread
FEWEST_SEEDS = 3
TOO_FEW = f"none: a verdict needs {FEWEST_SEEDS} seeds"


class RecordError(Short, ValueError):
    """A measurement that cannot be recorded, in one line."""


def record(
    claim_id: str,
    values: Sequence[float] | float | None,
    against: Sequence[float] | None = None,
    unit: str = "",
    reason: str = "",
    note: str = "",
) -> dict:
    """Stores what the running lab measured of a claim, and prints claim, effect, 95% interval and verdict.

    `values` has one number for each of the lab's seeds; with `against`, paired seed by seed, the effect is the mean of
    their differences. A claim of kind statistics or computed takes one number. None with a `reason` says that the
    claim cannot be tested here. With fewer than three seeds the values are kept and there is no verdict. Raises
    RecordError on an unknown claim, values that are not finite, or arms of different length.
    """
    claim = _claim(claim_id)
    lab = current()
    profile = lab.profile if lab else "cpu"
    if values is None:
        if not reason:
            raise RecordError(f"{claim_id} has no values; give the reason why it cannot be tested here")
        made = {"effect": None, "interval": None, "verdict": NOT_TESTABLE, "reason": reason}
    else:
        made = _judge(claim, _effects(claim_id, values, against), profile)
    made |= {"values": _list(values), "against": _list(against), "unit": unit, "note": note}
    made |= {"rule": {key: claim[key] for key in ("rule", "expected", "tolerance")}}
    made |= {"claim": claim_id, "statement": claim["statement"], "metric": claim["metric"]}
    made |= circumstances(lab, profile)
    write(build_folder() / "records" / profile / f"{claim_id}.json", made)
    print(in_words(made))
    return made


def in_words(made: dict) -> str:
    """The record for people: claim, effect, interval and verdict, a line each."""
    lines = [f"Claim {made['claim']}: {made['statement']}", f"Measured: {made['metric']}"]
    if made["effect"] is not None:
        spread = made["interval"]
        if spread is None:
            between = f"no interval, {made['seeds_used']} seed" if made["seeds_used"] else "exact"
        else:
            between = f"95% interval {spread[0]:.3g} to {spread[1]:.3g}, {made['seeds_used']} seeds"
        rule = made["rule"]
        claimed = f"{rule['rule']} {rule['expected']:g}" + (f" ± {rule['tolerance']:g}" if rule["tolerance"] else "")
        unit = f" {made['unit']}" if made["unit"] else ""
        lines.append(f"Effect: {made['effect']:.3g}{unit} ({between}); claimed: {claimed}")
    lines.append(f"Verdict: {made['verdict']}" + (f" ({made['reason']})" if made.get("reason") else ""))
    return "\n".join(lines + ([made["note"]] if made["note"] else []))


# -- the parts of record ---------------------------------------------------------------------------------------------


def _claim(claim_id: str) -> dict:
    claims = {row["id"]: row for row in rows("claims")}
    if claim_id not in claims:
        near = difflib.get_close_matches(claim_id, claims, n=1)
        raise RecordError(f"there is no claim {claim_id!r}" + (f"; did you mean {near[0]}?" if near else ""))
    claim = claims[claim_id]
    return claim | {key: float(claim[key] or 0) if claim["rule"] else 0.0 for key in ("expected", "tolerance")}


def _list(values) -> list[float] | None:
    if values is None:
        return None
    return [float(value) for value in (values if hasattr(values, "__iter__") else [values])]


def _effects(claim_id: str, values, against) -> list[float]:
    values, against = _list(values), _list(against)
    if against is not None and len(values) != len(against):
        raise RecordError(f"{claim_id}: {len(values)} values against {len(against)}; the arms are paired seed by seed")
    if not values or not all(map(math.isfinite, values + (against or []))):
        raise RecordError(f"{claim_id}: values must be finite numbers, at least one; got {values} against {against}")
    return [a - b for a, b in zip(values, against)] if against else values


def _judge(claim: dict, effects: list[float], profile: str) -> dict:
    exact = claim["kind"] in EXACT and len(effects) == 1
    enough = len(effects) >= FEWEST_SEEDS
    effect = fmean(effects)
    low, high = (effect, effect) if exact else interval(effects)
    try:
        found = judge(claim, low, high)
    except ValueError as error:
        raise RecordError(f"{claim['id']}: {error}") from None
    spread = None if exact or len(effects) < 2 else [low, high]
    return {"effect": effect, "interval": spread, "seeds_used": 0 if exact else len(effects),
            "verdict": NO_VERDICT if profile == "smoke" else found if exact or enough else TOO_FEW}  # fmt: skip


def circumstances(lab, profile: str, seeds: Sequence[int] = ()) -> dict:
    """What a measurement depends on beside what was asked; `seeds` are those of a recipe of the book, without a lab."""
    number = lab.number if lab else None
    return {
        "lab": number,
        "profile": profile,
        "seeds": list(lab.table.get("seeds", ())) if lab else list(seeds),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "date": machine.today(),
        "revision": _revision(),
        "command": f"make lab LAB={number} PROFILE={profile}" if lab else _recipe(),
    }


def _recipe() -> str | None:
    """The command of the book's script that is running, if one is."""
    script = Path(sys.argv[0]).resolve()
    return f"python {script.relative_to(root())}" if script.is_relative_to(root() / "book") else None


def _revision() -> str | None:
    """The commit that the sources are at, with "+" when they differ from it; None outside a clone."""
    described = subprocess.run(
        ["git", "-C", str(root()), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return described.stdout.strip() or None


def write(path: Path, made: dict):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)
