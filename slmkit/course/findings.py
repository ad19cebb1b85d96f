"""What a lab measured beside the survey's claims: comparisons of arms, and single values, kept so that pages can quote.

A finding is a JSON file like a record, without a rule and a verdict: `build/records/<profile>/findings/NAME.json`, and
after promotion `book/records/findings/NAME.json`. Its name begins with the number of its lab, if it is of one.
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from slmkit.course.lab import current
from slmkit.course.records import FEWEST_SEEDS, RecordError, circumstances, write
from slmkit.paths import build_folder, root
from slmkit.survey.verdicts import UNCLEAR, digits
from slmkit.training.sweep import paired

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

BASE, WORSE, BETTER = "the arm compared with", "worse", "better"
FEW = f"no interval: fewer than {FEWEST_SEEDS} seeds"


def comparison(name: str, table: "pandas.DataFrame", base: str, equal: str, column: str = "bits_per_byte"):
    """Compares the arms of a sweep with the arm `base`, seed by seed; prints and keeps what comes out.

    `equal` says what is held equal. Of each arm: parameters, the mean of `column`, the difference with its 95% interval
    (less is better) and what that says, the mean of cpu_s where the table has it. Raises RecordError when a run
    diverged.
    """
    import pandas

    if not table[column].map(math.isfinite).all():
        arm = table.arm[~table[column].map(math.isfinite)].iloc[0]
        raise RecordError(f"{name}: a run of {arm!r} diverged; lower its learning rate")
    differences = paired(table, base, column)
    arms = {arm: _arm(runs, column) for arm, runs in table.groupby("arm", sort=False)}
    for arm in arms.keys() - {base}:
        arms[arm] |= _difference(*differences.loc[arm])
    seeds = table.seed.drop_duplicates().tolist()
    made = _keep(name, {"base": base, "equal": equal, "column": column, "arms": arms}, seeds)
    shown = pandas.DataFrame({arm: {head: QUOTED[head](one) for head in SHOWN} for arm, one in arms.items()}).T
    print(f"{name}, {len(made['seeds'])} seeds; held equal: {equal}\n{shown.to_string()}")


def _arm(runs: "pandas.DataFrame", column: str) -> dict:
    made = {"parameters": int(runs.parameters.iloc[0]), "values": runs[column].tolist()}
    if "cpu_s" in runs:
        made["cpu_s"] = runs.cpu_s.tolist()
    return made | {"difference": 0.0, "interval": None, "finding": BASE}


def _difference(mean: float, low: float, high: float, seeds: float) -> dict:
    if seeds < FEWEST_SEEDS:
        return {"difference": mean, "interval": None, "finding": FEW}
    return {"difference": mean, "interval": [low, high], "finding": in_words(low, high)}


def in_words(low: float, high: float) -> str:
    """What the interval of a difference in loss says: worse, better, or not distinguishable."""
    return WORSE if low > 0 else BETTER if high < 0 else UNCLEAR


def finding(name: str, note: str = "", **values):
    """Keeps and prints measured values by name, each a number, a text, or a list with one number a seed."""
    if not values:
        raise RecordError(f"{name} has no values")
    print(f"{name}: " + ", ".join(f"{key} {_said(value)}" for key, value in values.items()) + f" ({note})" * bool(note))
    _keep(name, {"values": values, "note": note})


def kept() -> dict[str, dict]:
    """The findings that the book may quote, by name."""
    return {path.stem: _read(path) for path in sorted((root() / "book" / "records" / "findings").glob("*.json"))}


def _keep(name: str, made: dict, seeds: Sequence[int] = ()) -> dict:
    lab = current()
    profile = lab.profile if lab else "cpu"
    if lab and not name.startswith(f"{lab.number}-"):
        raise RecordError(f"the finding is named {name!r}; in lab {lab.number} its name begins with {lab.number}-")
    made = {"finding": name} | made | circumstances(lab, profile, seeds)
    write(build_folder() / "records" / profile / "findings" / f"{name}.json", made)
    return made


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


# -- what pages quote, such as {fact}`comparison.05-ffn.standard.difference` -----------------------------------------

QUOTED: dict[str, Callable[[dict], str]] = {
    "parameters": lambda arm: f"{arm['parameters']:,}",
    "bits": lambda arm: f"{fmean(arm['values']):.3f}",
    "difference": lambda arm: f"{arm['difference']:+.3f}".replace("-", "−"),
    "size": lambda arm: f"{abs(arm['difference']):.3f}",
    "interval": lambda arm: "{:+.3f} to {:+.3f}".format(*arm["interval"]).replace("-", "−") if arm["interval"] else "",
    "finding": lambda arm: arm["finding"],
    "cpu_s": lambda arm: f"{fmean(arm['cpu_s']):.0f} s" if "cpu_s" in arm else "",
}
SHOWN = ("parameters", "bits", "difference", "interval", "cpu_s", "finding")


def facts() -> dict[str, Callable[[], str]]:
    """The names that the prose may use, for every committed finding; what an arm does not have has no name."""
    found = {}
    for name, made in kept().items():
        if "arms" not in made:
            quoted = {key: value for key, value in made["values"].items() if not (_texts(value) or _long(value))}
            found |= {f"finding.{name}.{key}": partial(_said, value) for key, value in quoted.items()}
            continue
        found |= {f"comparison.{name}.seeds": partial(str, len(made["seeds"])),
                  f"comparison.{name}.equal": partial(str, made["equal"])}  # fmt: skip
        for arm, measured in made["arms"].items():
            told = {key: say(measured) for key, say in QUOTED.items()}
            found |= {f"comparison.{name}.{arm}.{key}": partial(str, text) for key, text in told.items() if text}
    return found


def _texts(value) -> bool:
    return isinstance(value, list) and not all(isinstance(one, (int, float)) for one in value)


def _long(value) -> bool:
    """Whether it is a sentence, for a reader of the record."""
    return isinstance(value, str) and len(value) > 40


def _said(value) -> str:
    if _texts(value):
        return "".join(f"\n  {one}" for one in value)
    if isinstance(value, list):
        value = fmean(value) if value else "none"
    if isinstance(value, float):
        return digits(value) if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def figures() -> "dict[str, Callable[[], Figure]]":
    """A figure for every committed comparison, `comparison_NAME`."""
    return {f"comparison_{name}": partial(forest, made) for name, made in kept().items() if "arms" in made}


def forest(made: dict) -> "Figure":
    """Each arm's difference with its interval, and beside it the processor time of its training where it is known.

    A filled point: the interval leaves no doubt of the sign.
    """
    import matplotlib.pyplot as plt

    from slmkit.course import style

    style.settings()
    arms, base = made["arms"], made["arms"][made["base"]]
    blue, orange = style.COLOURS[:2]
    figure, (left, right) = plt.subplots(
        1, 2, sharey=True, figsize=(4.8, 1.2 + 0.27 * len(arms)), width_ratios=(1.8, 1)
    )
    for y, arm in enumerate(arms.values()):
        fill = blue if arm["finding"] in (WORSE, BETTER) else "white"
        left.plot(arm["interval"] or [0, 0], [y, y], color=blue)
        left.plot(arm["difference"], y, "o", color=blue, markerfacecolor=fill)
        if "cpu_s" in arm:
            right.plot(fmean(arm["cpu_s"]) / fmean(base["cpu_s"]), y, "s", color=orange)
    left.axvline(0, color="black", linewidth=0.8)
    left.set(yticks=range(len(arms)), yticklabels=arms, ylim=(len(arms) - 0.5, -0.5))
    left.locator_params(axis="x", nbins=4, steps=(1, 2, 5, 10))  # no thousandths, whose labels would touch
    left.set_xlabel("difference\n(bits per byte)")
    right.set_xlabel("training time\n(base = 1)")
    right.set_xlim(0, 1.1 * right.get_xlim()[1])  # room for the whole marker
    right.set_visible("cpu_s" in base)
    return figure
