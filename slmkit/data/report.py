"""What a cleaning run did: documents in and out, what each step dropped and why, with examples, and what was left out.

All of it is put together from the counts that datatrove keeps with each task, so a run that was killed and went on
reports what an unbroken one does. No time stands in it: the same documents and steps give the same bytes.
"""

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

from slmkit.data.blocks import LEFT_OUT_SHOWN, RUN, SHOWN, Block, Kept
from slmkit.data.filtering import meaning

REPORT = "report.json"
LINES = "line-"  # how datatrove's C4 filter calls what it does to lines


class Finish(Block):
    """The last block: moves the output to its place, then writes the report, by which the run is known to be done.

    passes: the folder of a pass's log -> what each of its counting blocks is, as in pipeline.Pass.
    """

    def __init__(self, work: Path, target: Path, run: str, passes: dict[str, list]):
        super().__init__(work)
        self.target, self.run, self.passes = str(target), run, passes

    def __call__(self, data=None, rank: int = 0, world_size: int = 1):
        target = Path(self.target)
        for path in sorted(Path(self.work, "out").glob("*")):
            shutil.move(path, target / path.name)
        report = self.report()
        part = target / f"{REPORT}.part"
        part.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(target / REPORT)

    def report(self) -> dict:
        run = json.loads(Path(self.work, RUN).read_text(encoding="utf-8"))
        counts = self.counts()
        read, out, settings = counts["read"], counts["out"], run["settings"]
        left = {what: reasons(read, f"{what} left out: ") for what in ("files", "documents")}
        places = range(len(settings["steps"]))
        came = [counts[place]["total"] for place in places] + [out["documents"]]
        known = Kept(LEFT_OUT_SHOWN).load(Path(self.work, "examples", "left_out")).examples
        return {
            "files": {"found": len(run["files"]), "left_out": sum(left["files"].values())},
            "documents": {"read": read["documents"], "left_out": sum(left["documents"].values()),
                          "dropped": read["documents"] - out["documents"], "out": out["documents"]},
            "bytes": {"read": read["bytes"], "out": out["bytes"]},
            "words": {"out": out["words"]},
            "left_out": [
                {"what": what, "reason": reason, "count": count, "examples": known.get(f"{what} {reason}", [])}
                for what in left for reason, count in left[what].items()
            ],
            "steps": [self.step(place, settings["steps"][place], counts[place], came[place : place + 2])
                      for place in places],
            "settings": settings,
            "source": run["folder"],
            "run": self.run,
        }  # fmt: skip

    def step(self, place: int, settings: dict, counted: Counter, came: list[int]) -> dict:
        """What one step did. Those that give no reason have one: themselves."""
        documents, left = came
        why = reasons(counted, "dropped_") or ({settings["step"]: documents - left} if documents > left else {})
        examples = Kept(SHOWN).load(Path(self.work, "examples", str(place))).examples
        made = {"step": settings["step"], "in": documents, "dropped": documents - left, "out": left,
                "reasons": {reason: {"count": count, "examples": examples.get(reason, [])}
                            for reason, count in why.items()}}  # fmt: skip
        if changed := {name: count for name, count in sorted(counted.items()) if name.startswith(LINES)}:
            made["lines"] = changed
        if settings["step"] == "lines":
            made["lines"] = {"seen": counted["original_sentences"], "cut": counted["removed_sentences"]}
            made["examples"] = examples.get("lines", [])
        return made

    def counts(self) -> dict[str | int, Counter]:
        """What each block counted, over all tasks."""
        found = defaultdict(Counter)
        for folder, labels in self.passes.items():
            for path in sorted(Path(self.work, "logs", folder, "stats").glob("*.json")):
                for label, block in zip(labels, json.loads(path.read_text(encoding="utf-8")), strict=True):
                    if label is not None:
                        for name, value in block["stats"].items():
                            found[label][name] += round(value["total"] if isinstance(value, dict) else value)
        return found


def reasons(counted: Counter, prefix: str) -> dict[str, int]:
    """The counts whose names begin so, the largest first."""
    found = {name.removeprefix(prefix): count for name, count in counted.items() if name.startswith(prefix)}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def in_words(report: dict) -> str:
    """The report as lines to print."""
    documents, size = report["documents"], report["bytes"]
    lines = []
    for left in report["left_out"]:
        for one in left["examples"]:
            says = "" if one["says"] == left["reason"] else f" ({one['says']})"
            lines.append(f"left out: {one['where']}: {left['reason']}{says}")
        if (more := left["count"] - len(left["examples"])) > 0:
            lines.append(f"left out: {more} more {left['what']}: {left['reason']}")
    lines.append(f"{'read':<20}{documents['read']:>9,} documents  {size['read'] / 1e6:>9.2f} MB")
    for step in report["steps"]:
        why = ", ".join(f"{reason} {found['count']:,}" for reason, found in step["reasons"].items())
        lines.append(f"{step['step']:<20}{-step['dropped']:>9,} {f'({why})' if why else ''}".rstrip())
        lines += [f"    {reason}: {words}" for reason in step["reasons"] if (words := meaning(reason))]
    lines.append(f"{'out':<20}{documents['out']:>9,} documents  {size['out'] / 1e6:>9.2f} MB")
    return "\n".join(lines)
