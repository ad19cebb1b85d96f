"""The top of every lab: the profile's table, one thread, the seed, how figures look, and the lab card."""

import json
import os
import random
import sys
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock
from threadpoolctl import threadpool_limits

from slmkit.course import machine, style
from slmkit.course.checking import Short
from slmkit.data.packing import TokenData
from slmkit.model.decoder import Decoder
from slmkit.paths import build_folder
from slmkit.training.config import TrainingConfig
from slmkit.training.history import History
from slmkit.training.kept import run_folder
from slmkit.training.sweep import Arm, sweep, tuned
from slmkit.training.trainer import train

if TYPE_CHECKING:
    import pandas

PROFILES = ("smoke", "cpu", "full")
CARD = {"slmkit": "card"}  # marks the output that the site replaces with the card of the run that made the page
_current: "Lab | None" = None


class LabError(Short, ValueError):
    """A lab that cannot start, in one line."""


class Lab:
    """The running lab. The profile's table is its attributes: `lab.steps`, `lab.seeds`, and so on."""

    def __init__(self, number: str, profile: str, device: torch.device, table: dict[str, Any]):
        self.number, self.profile, self.device, self.table = number, profile, device, table
        self.kept_s = 0.0  # processor seconds of training that this run took from an earlier one
        self._uncounted = {path.name for path in (build_folder() / "models").glob("*")}

    def __getattr__(self, name: str):
        table = self.__dict__.get("table", {})
        if name in table:
            return table[name]
        raise AttributeError(f"lab has no {name!r}; its table has {', '.join(table) or 'no entries'}")

    def train(self, model: Decoder, data: TokenData, config: TrainingConfig, objective=None) -> History:
        """`slmkit.train`, once: the run is kept under `build/models` and read back when the lab runs again."""
        folder = run_folder(model, data, config, objective)
        with FileLock(folder.with_suffix(".lock")):  # another lab may be training the same model
            history = train(model, data, config, folder, objective=objective)
        self._count(folder.name, history.earlier_cpu_seconds)
        return history

    def sweep(self, arms: Mapping[str, Arm], seeds: Sequence[int], workers: int = 1) -> "pandas.DataFrame":
        """`slmkit.training.sweep.sweep`; what it reads back is counted as kept on the lab card."""
        table = sweep(arms, seeds, workers)
        for run, seconds in zip(table.run, table.kept_s):
            self._count(run, seconds)
        return table

    def tuned(self, arms: Mapping[str, Arm], factors: Sequence[float], seeds: Sequence[int]) -> dict[str, Arm]:
        """`slmkit.training.sweep.tuned`, counted in the same way. One factor leaves the arms as they are."""
        return tuned(arms, factors, seeds, sweep=self.sweep) if len(factors) > 1 else dict(arms)

    def _count(self, run: str, kept_s: float):
        """Adds to `kept_s` what a run took from before this lab began, once however often the lab reads it back."""
        if run in self._uncounted:
            self._uncounted.remove(run)
            self.kept_s += kept_s

    def __repr__(self):
        return f"Lab({self.number!r}, profile={self.profile!r}, {self.table})"


def start(number: str, profiles: dict[str, dict[str, Any]]) -> Lab:
    """Begins lab `number` in the profile that SLMKIT_PROFILE names (default cpu), and shows the lab card.

    Computes on one thread, so that times compare and results repeat; only the full profile on a GPU keeps them all.
    Seeds torch, numpy and random with the table's first seed (0 without). Raises LabError, one line, when the profile
    is unknown or the profiles' tables differ in their keys.
    """
    global _current
    sys.excepthook = _one_line_errors
    profile = os.environ.get("SLMKIT_PROFILE") or "cpu"
    _check(profile, profiles)
    table = profiles[profile]
    gpu = profile == "full" and torch.cuda.is_available()
    if not gpu:
        torch.set_num_threads(1)
        threadpool_limits(1)  # numpy's own matrix library
    seed = next(iter(table.get("seeds", ())), 0)
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    style.use()
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, when transformers is loaded in a notebook
    _current = Lab(number, profile, torch.device("cuda" if gpu else "cpu"), table)
    _keep_usage(_current)
    _show_card(_current)
    return _current


def current() -> Lab | None:
    """The lab that `start` began in this process."""
    return _current


# -- the lab card ----------------------------------------------------------------------------------------------------


def last_run(number: str, profile: str) -> dict | None:
    """What the last build measured of this lab: wall and CPU seconds, peak memory, machine, date. None: never run."""
    try:
        return json.loads((build_folder() / "labs" / profile / f"{number}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def card(number: str, profile: str, run: dict | None) -> dict[str, str]:
    """The lab card for a run, as plain text and as HTML, keyed by media type."""
    rows = {"Lab": f"{number}, profile {profile}"}
    if run:
        rows["Time"] = f"{duration(run['cpu_s'])} of processor time, {duration(run['wall_s'])} by the clock"
        if kept := run.get("kept_s"):
            rows["Time"] += f"; {duration(kept)} of training more, kept from an earlier run"
        rows["Memory"] = f"{run['peak_mb']} MB at the peak"
        rows["Measured"] = f"{run['date']}, {machine.in_words(run['machine'])}"
    else:
        rows["Measured"] = "no run of this lab in this profile is known on this machine yet"
    text = "\n".join(f"{name:>8}: {value}" for name, value in rows.items())
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows.items())
    return {"text/plain": text, "text/html": f'<dl class="lab-card">{cells}</dl>'}


def duration(seconds: float) -> str:
    """Seconds for people: "8.4 s", "52 s", "2 min 41 s"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"


def notebook():
    """The running IPython shell, None in plain Python."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _show_card(lab: Lab):
    shown = card(lab.number, lab.profile, last_run(lab.number, lab.profile))
    if notebook() is None:
        print(shown["text/plain"])
        return
    from IPython.display import display

    display(shown, raw=True, metadata=CARD)


def _keep_usage(lab: Lab):
    """When the build runs this lab, leave what the run has used beside the notebook, after every cell."""
    folder, shell = os.environ.get("SLMKIT_LAB_RUNS"), notebook()
    if not folder or shell is None:
        return
    known = {"lab": lab.number, "profile": lab.profile, "threads": torch.get_num_threads(), "date": machine.today()}
    known |= {"machine": machine.describe(), "versions": machine.versions()}
    path = os.path.join(folder, f"{lab.number}.json")

    def write(*_):
        with open(path + ".part", "w") as file:
            json.dump(known | machine.usage() | {"kept_s": round(lab.kept_s, 1)}, file, indent=1)
        os.replace(path + ".part", path)

    shell.events.register("post_run_cell", write)


# -- bad input -------------------------------------------------------------------------------------------------------


def _check(profile: str, profiles: dict):
    if profile not in PROFILES:
        raise LabError(f"SLMKIT_PROFILE is {profile!r}; it must be one of {', '.join(PROFILES)}")
    if missing := [name for name in PROFILES if name not in profiles]:
        raise LabError(f"this lab has no table for the profile {missing[0]!r}; give smoke, cpu and full")
    keys = {name: set(profiles[name]) for name in PROFILES}
    if odd := (keys["smoke"] | keys["cpu"] | keys["full"]) - (keys["smoke"] & keys["cpu"] & keys["full"]):
        raise LabError(f"{min(odd)!r} is not in every profile's table; a profile changes sizes, never the code path")


def _one_line_errors(kind, error, trace):
    """Outside a notebook, the errors meant for a reader print as one line too."""
    if isinstance(error, Short):
        print(f"✗ {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
