"""The instructor's guide: its tables from book/teaching/course.toml and from what runs of the labs took.

- {lab-costs}, a directive: time and memory of every lab in every profile that was measured.
- {lab-needs} 04, a directive: what a lab needs, and what it takes.
- {syllabus} 8, a directive: the plan for so many weeks.

`python -m slmkit.course.teaching` copies what the last runs took from build/labs into COSTS, which is committed: a full
run takes too long to be made again for each site.
"""

import csv
import tomllib
from collections.abc import Callable
from functools import cache
from statistics import median

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from slmkit.course.lab import PROFILES, duration, last_run
from slmkit.course.machine import in_words
from slmkit.course.progress import overview
from slmkit.course.sharing import megabytes
from slmkit.course.source import labs
from slmkit.paths import root

COURSE = root() / "book" / "teaching" / "course.toml"
COSTS = root() / "book" / "records" / "teaching" / "costs.csv"
COLUMNS = ("lab", "profile", "seconds", "peak_mb", "date", "machine")
CLASS = 30  # students, in the examples
NOT_MEASURED = "not measured"


@cache
def course() -> dict:
    """What labs need, `labs`, and the plans, `plan`."""
    return tomllib.loads(COURSE.read_text(encoding="utf-8"))


def plan(weeks: int) -> dict:
    """The plan for so many weeks. Raises ValueError when there is none."""
    found = {one["weeks"]: one for one in course()["plan"]}
    if weeks not in found:
        raise ValueError(f"there is no plan for {weeks} weeks; there are plans for {', '.join(map(str, found))}")
    return found[weeks]


def costs() -> dict[tuple[str, str], dict]:
    """What a lab took in a profile: seconds on one thread, kept training included, and MB at the peak."""
    with open(COSTS, encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    numbers = {"seconds": float, "peak_mb": int}
    return {(row["lab"], row["profile"]): row | {name: kind(row[name]) for name, kind in numbers.items()}
            for row in read}  # fmt: skip


def remember():
    """Puts what the last runs under build/labs took into COSTS; rows of labs that have not run here stay."""
    known = costs() if COSTS.is_file() else {}
    for number, profile in ((lab.name[:2], profile) for lab in labs() for profile in PROFILES):
        if run := last_run(number, profile):
            spent = round(run["cpu_s"] + run.get("kept_s", 0), 1)
            row = (number, profile, spent, run["peak_mb"], run["date"], in_words(run["machine"]))
            known[number, profile] = dict(zip(COLUMNS, row))
    COSTS.parent.mkdir(parents=True, exist_ok=True)
    with open(COSTS, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(known[key] for key in sorted(known))
    print(f"{len(known)} rows in {COSTS}")


# -- numbers that pages state ----------------------------------------------------------------------------------------


def _cpu(column: str, pick: Callable, say: Callable) -> Callable[[], str]:
    """A fact: what `pick` takes out of a column of the cpu profile, in the words of `say`."""

    def fact() -> str:
        values = [row[column] for (_, profile), row in costs().items() if profile == "cpu"]
        return say(pick(values)) if values else NOT_MEASURED

    return fact


def _lab_with_most(column: str) -> str:
    rows = [(row[column], number) for (number, profile), row in costs().items() if profile == "cpu"]
    return max(rows)[1] if rows else NOT_MEASURED


def of_memory(peak_mb: float) -> str:
    return megabytes(1e6 * peak_mb)


def of_class_memory(each: float) -> str:
    return f"{CLASS * each / 1000:.0f} GB"


def of_class_time(each: float) -> str:
    return f"{CLASS * each / 3600:.0f} hours"


FACTS: dict[str, Callable[[], str]] = {
    "teaching.class": lambda: str(CLASS),
    "teaching.labs": lambda: str(len(labs())),
    "teaching.cpu_total": _cpu("seconds", sum, duration),
    "teaching.cpu_longest": _cpu("seconds", max, duration),
    "teaching.cpu_longest_lab": lambda: _lab_with_most("seconds"),
    "teaching.class_hours": _cpu("seconds", sum, of_class_time),
    "teaching.memory_most": _cpu("peak_mb", max, of_memory),
    "teaching.memory_most_lab": lambda: _lab_with_most("peak_mb"),
    "teaching.memory_median": _cpu("peak_mb", median, of_memory),
    "teaching.class_memory": _cpu("peak_mb", max, of_class_memory),
    "teaching.class_memory_median": _cpu("peak_mb", median, of_class_memory),
}


# -- directives ------------------------------------------------------------------------------------------------------


class _Written(SphinxDirective):
    """A directive that writes Markdown, which is then read."""

    def run(self):
        found = nodes.Element()
        self.state.nested_parse(StringList(self.lines()), 0, found)
        return found.children


class LabCosts(_Written):
    def lines(self) -> list[str]:
        known = costs()
        lines = [f"| lab | {' | '.join(PROFILES)} |", f"|---|{'--:|' * len(PROFILES)}"]
        for lab in labs():
            cells = (took(known.get((lab.name[:2], profile))) for profile in PROFILES)
            lines.append(f"| [](/labs/{lab.stem}) | {' | '.join(cells)} |")
        machines = sorted({f"{row['machine']}, {row['date']}" for row in known.values()})
        return [*lines, "", f"Processor time of one thread, and memory at the peak. Measured on {'; '.join(machines)}."]


class LabNeeds(_Written):
    required_arguments = 1

    def lines(self) -> list[str]:
        (lab,) = labs([self.arguments[0]])
        number, needs, known = lab.name[:2], course()["labs"][lab.name[:2]], costs()
        links = [f"[{one.name[:2]}](/labs/{one.stem})" for one in labs(needs["after"]) if needs["after"]]
        after = ", ".join(links) or "no other lab"
        times = [f"{profile} {took(known[number, profile])}" for profile in PROFILES if (number, profile) in known]
        exercises = len(overview(lab, {})["exercises"])
        return [f"[The lab](/labs/{lab.stem}), {exercises} exercises. *After:* {after}. "
                f"*Mathematics:* {needs['mathematics']}. *Python:* {needs['python']}. "
                f"*Measured:* {'; '.join(times) or 'not yet'}."]  # fmt: skip


class Syllabus(_Written):
    required_arguments = 1

    def lines(self) -> list[str]:
        chosen, titles = plan(int(self.arguments[0])), {lab.name[:2]: lab.stem for lab in labs()}
        table = ["| week | read | labs | exercises | one run | memory |", "|--:|---|---|--:|--:|--:|"]
        notes = []
        for number, week in enumerate(chosen["week"], 1):
            pages = ", ".join(f"[](/{page})" for page in week["read"])
            links = ", ".join(f"[](/labs/{titles[lab]})" for lab in week["labs"])
            exercises = sum(len(overview(lab, {})["exercises"]) for lab in labs(week["labs"]))
            table.append(f"| {number} | {pages} | {links} | {exercises} | {' | '.join(spent(week['labs']))} |")
            notes.append(f"{number}. **{week['title']}.** {week['goal']} *Leave out:* {week['leave']}")
        head = f"For {chosen['whom']}. Left for another time: {chosen['later']}."
        time, memory = spent([lab for week in chosen["week"] for lab in week["labs"]])
        end = f"All labs of this plan, once, in the `cpu` profile: {time} of processor time, and at most {memory}."
        return [head, "", *table, "", end, "", *notes]


def spent(numbers: list[str]) -> tuple[str, str]:
    """Time of labs in the cpu profile, one after the other, and the most memory that one of them holds."""
    rows = [row for number in numbers if (row := costs().get((number, "cpu")))]
    if len(rows) < len(numbers):
        return NOT_MEASURED, NOT_MEASURED
    return duration(sum(row["seconds"] for row in rows)), of_memory(max(row["peak_mb"] for row in rows))


def took(row: dict | None) -> str:
    """Time and memory of a run."""
    return f"{duration(row['seconds'])}, {of_memory(row['peak_mb'])}" if row else "not kept"


def setup(app: Sphinx):
    app.add_directive("lab-costs", LabCosts)
    app.add_directive("lab-needs", LabNeeds)
    app.add_directive("syllabus", Syllabus)


if __name__ == "__main__":
    remember()
