"""`slmkit capstone train` and `slmkit capstone score`: a hand-in made of a design, and its place on the leaderboard."""

import json
import shutil
from pathlib import Path

import torch
from filelock import FileLock

from slmkit.commands import print_table
from slmkit.course import capstone, machine, records
from slmkit.course.capstone_design import BUDGETS, DESIGN, REFERENCES, Design
from slmkit.paths import build_folder

UNITS = {"parameters": "", "memory": ", bytes", "training": ", FLOPs", "latency": ", s a token"}  # of Budget.limits


def capstone_train(options) -> int:
    """Trains a design, or a budget's reference, and hands it in; the same seed gives the same bits."""
    torch.set_num_threads(1)
    if options.design in REFERENCES:
        design = Design(REFERENCES[options.design])
    elif Path(options.design).exists():
        design = Design.read(options.design)
    else:
        raise FileNotFoundError(f"there is no design at {options.design}, and no budget of that name; the budgets are "
                                f"{', '.join(BUDGETS)}")  # fmt: skip
    folder = Path(options.out)
    if (folder / DESIGN).exists():
        raise ValueError(f"{folder} holds a hand-in already; choose another --out")
    made = capstone.train(design)
    if design.teacher:
        shutil.copytree(design.teacher, folder / design.teacher.name, dirs_exist_ok=True)
    show(capstone.hand_in(folder, design, made.model, made.tokenizer))
    print(f"handed in: {folder}; to score it: slmkit capstone score {folder}")
    return 0


def capstone_score(options) -> int:
    """Scores a hand-in and gives it its place. 1 when it is refused."""
    torch.set_num_threads(1)
    hidden = read_text(options.hidden) if options.hidden else None
    found = capstone.score(options.folder, hidden)
    show(found)
    refused = found.refused
    if options.again and not refused and (differs := capstone.reproduces(options.folder)):
        refused = f"trained again, its {differs} comes out otherwise"
    if refused:
        print(f"refused: {refused}")
        return 1
    if options.again:
        print("trained again: the same bits")
    place, entries = placed(found)
    print(f"place {place} of {entries} for {found.budget}, {found.text}: {board()}")
    return 0


def read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start})") from None


def show(found: capstone.Score):
    table = [
        [f"{name}{UNITS[name]}", number(found.used[name]), number(limit), f"{found.used[name] / limit:.2f}"]
        for name, limit in BUDGETS[found.budget].limits.items()
    ]
    print_table([found.name, "used", "limit", "share"], table, right=(1, 2, 3))
    print(f"{found.bits_per_byte:.4f} bits per byte, {found.text}")
    if found.errors is not None:
        print(f"known better than the public evaluation by {found.errors:+.1f} standard errors, "
              f"limit {capstone.LIMIT:g} either way")  # fmt: skip
    if found.apart is not None:
        print(f"its design, trained again here, differs by {found.apart:+.6f} bits per byte, limit {capstone.APART:g}")


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:.3g}"


def board() -> Path:
    """Where the leaderboard is kept."""
    return build_folder() / "capstone" / "leaderboard.json"


def placed(found: capstone.Score) -> tuple[int, int]:
    """Puts a score on the leaderboard, once however often; its place among those of its budget and text."""
    path = board()
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {name: getattr(found, name) for name in ("name", "budget", "text", "bits_per_byte", "weights")}
    with FileLock(path.with_suffix(".lock")):
        try:
            entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        except ValueError:
            raise ValueError(f"{path} is damaged; delete it and score again") from None
        same = ("budget", "text", "weights")
        entries = [one for one in entries if any(one[name] != entry[name] for name in same)]
        entries.append(entry | {"date": machine.today()})
        entries.sort(key=lambda one: (one["budget"], one["text"], one["bits_per_byte"]))
        records.write(path, entries)
    peers = [one["weights"] for one in entries if (one["budget"], one["text"]) == (found.budget, found.text)]
    return peers.index(found.weights) + 1, len(peers)
