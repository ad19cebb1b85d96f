"""Section 3 of the survey: scores (Figure 5), examples in the prompt (Figure 6), long context.

Scores are percent, gains are percentage points. What the survey drew without a measurement behind it (1% for a missing
mathematics score, 50% and 60% for OpenELM-3B) is left out.
"""

from collections.abc import Callable
from functools import cache, partial
from operator import itemgetter
from statistics import fmean, stdev

import numpy as np

from slmkit.survey.evidence.estimates import Estimate, bootstrap, difference, rank_correlation
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import T

COMMONSENSE, PROBLEMS, MATHEMATICS = "commonsense reasoning", "problem solving", "mathematics"
DOMAINS = (COMMONSENSE, PROBLEMS, MATHEMATICS)
TASKS = {  # of each domain; mathematics has no record by task
    COMMONSENSE: ("HellaSwag", "TruthfulQA (mc2)", "WinoGrande", "CommonsenseQA", "PIQA", "OpenBookQA", "BoolQ"),
    PROBLEMS: ("ARC-Easy", "ARC-Challenge", "MMLU"),
}
BASELINES = {  # of the comparison line, as the rows by task name them and as those by domain do
    "luodian/llama-7b-hf": "Llama-7B [For Baseline]",
    "NousResearch/Llama-2-7b-hf": "Llama-2-7B [For Baseline]",
    "meta-llama/Meta-Llama-3-8B": "Llama-3-7B [For Baseline]",
    "meta-llama/Meta-Llama-3.1-8B": "Llama-3.1-7B [For Baseline]",
}
FIRST_LLAMA, LAST_LLAMA = "Llama-7B [For Baseline]", "Llama-3.1-7B [For Baseline]"
ONE_POINT = 0.01  # a gain below one point is within the error of the larger tests


# -- Figure 5 --------------------------------------------------------------------------------------------------------


@cache
def scores() -> dict[str, dict[str, float]]:
    """Model as the data file names it -> {domain: percent}."""
    found: dict[str, dict[str, float]] = {}
    for row in rows("capability"):
        if row["kind"] == "domain_average" and "placeholder" not in row["note"]:
            domain = row["metric"].partition(" (")[0]
            found.setdefault(row["model"], {})[domain] = round(100 * float(row["value"]), 6)
    return found


@cache
def task_scores() -> dict[str, dict[str, float]]:
    """Model as `scores` names it -> {task: percent}, for those with a record by task."""
    found: dict[str, dict[str, float]] = {}
    for row in rows("capability"):
        if row["kind"] == "task":
            name = BASELINES.get(row["model"], row["model"])
            found.setdefault(name, {})[row["metric"]] = round(100 * float(row["value"]), 6)
    return found


def recomputed() -> dict[tuple[str, str], float]:
    """(model, domain) -> mean of the domain's tasks minus the average that the data file has for it, points."""
    return {(model, domain): fmean(found[task] for task in tasks) - scores()[model][domain]
            for model, found in task_scores().items() for domain, tasks in TASKS.items()}  # fmt: skip


@cache
def model_scores() -> dict[str, dict[str, float]]:
    """The same by the names of models.csv; baselines and models outside it left out."""
    short = {name.rpartition("/")[2].lower(): found for name, found in scores().items()}
    pairs = ((row["name"], short.get(row["hf_id"].rpartition("/")[2].lower())) for row in rows("models"))
    return {name: found for name, found in pairs if found}


def _of_year(year: int, domain: str) -> list[float]:
    released = {row["name"]: row["release"] for row in rows("models")}
    return [found[domain] for name, found in model_scores().items()
            if released[name].startswith(str(year)) and domain in found]  # fmt: skip


def gain(domain: str) -> Estimate:
    """Mean of the models released in 2024 minus mean of those of 2022. The survey does not say how it averaged."""
    return difference(_of_year(2024, domain), _of_year(2022, domain))


def llama_gain() -> float:
    """From the first LLaMA-7B to LLaMA 3.1, mean over the three domains."""
    return fmean(scores()[LAST_LLAMA][domain] - scores()[FIRST_LLAMA][domain] for domain in DOMAINS)


def lead_in_gain() -> Estimate:
    """Gain of small models minus gain of the LLaMA line, mean over the three domains.

    The bounds are those of the mean of three domains, as if their errors moved together, which is the widest case.
    """
    gains = [gain(domain) for domain in DOMAINS]
    return Estimate(*(fmean(column) - llama_gain() for column in zip(*gains)))


def over_llama(name: str, domain: str) -> float:
    """Points that a model is ahead of LLaMA 3.1."""
    return model_scores()[name][domain] - scores()[LAST_LLAMA][domain]


def smallest_lead(name: str) -> float:
    """Points that a model is ahead of LLaMA 3.1 in the domain where that is least."""
    return min(over_llama(name, domain) for domain in DOMAINS)


def best(prefix: str, domain: str = COMMONSENSE) -> float:
    """The best score of the models whose name begins so."""
    return max(found[domain] for name, found in model_scores().items() if name.startswith(prefix) and domain in found)


def rank(prefix: str, domain: str = COMMONSENSE) -> int:
    """Place of that best model among all small models with a score."""
    return 1 + sum(found.get(domain, 0) > best(prefix, domain) for found in model_scores().values())


def size_and_score(domain: str = COMMONSENSE) -> Estimate:
    """Rank correlation of parameters and score."""
    size = {row["name"]: row["params_exact"] for row in rows("models")}
    points = [(float(size[name]), found[domain]) for name, found in model_scores().items() if size[name]]
    return bootstrap(rank_correlation, *zip(*points))


def larger_models_beaten(name: str, domain: str = COMMONSENSE) -> int:
    """Models of 2.5 billion parameters or more with a lower score."""
    size = {row["name"]: float(row["params_exact"] or 0) for row in rows("models")}
    mine = model_scores()[name][domain]
    return sum(size[other] >= 2.5e9 and found[domain] < mine for other, found in model_scores().items())


def _by_data(year: int, value: Callable[[dict[str, float]], float]) -> tuple[list[float], list[float]]:
    """`value` of the scores of that year's models: those on closed data, those on open data. Unknown data: left out."""
    known, groups = {row["name"]: row for row in rows("models")}, ([], [])
    for name, found in model_scores().items():
        data = known[name]["pretraining_datasets"]
        if known[name]["release"].startswith(str(year)) and data:
            groups[data != "closed"].append(value(found))
    return groups


def gap_of_open_data() -> Estimate:
    """How much more open-data models of 2024 trail the closed ones in problem solving than in commonsense, points."""
    return difference(*_by_data(2024, lambda found: found[PROBLEMS] - found[COMMONSENSE]))


def catching_up() -> Estimate:
    """How much further open-data models trail the closed ones in commonsense in 2024 than in 2023, points."""
    (closed, open_), (closed_before, open_before) = (_by_data(year, itemgetter(COMMONSENSE)) for year in (2024, 2023))
    points = [
        (kind, score) for kind, group in enumerate((closed, open_, closed_before, open_before)) for score in group
    ]

    def change(kinds: np.ndarray, values: np.ndarray) -> float:
        now_closed, now_open, then_closed, then_open = (values[kinds == kind].mean() for kind in range(4))
        return float(now_closed - now_open - (then_closed - then_open))

    return bootstrap(change, *zip(*points), within=True)


def without_mathematics() -> int:
    """Models in the data file that have no mathematics score."""
    return sum(MATHEMATICS not in found for found in scores().values())


# -- Figure 6 --------------------------------------------------------------------------------------------------------


@cache
def curves() -> dict[tuple[str, str], float]:
    """(model, task) -> gain from no example to five, as a fraction (Figure 6a)."""
    value = {(row["model"], row["metric"], float(row["shots"])): float(row["value"])
             for row in rows("capability") if row["kind"] == "in_context"}  # fmt: skip
    return {(model, task): found - value[model, task, 0.0]
            for (model, task, shots), found in value.items() if shots == 5}  # fmt: skip


def gains(task: str = "mean of 8 tasks") -> list[float]:
    """Gain of each of the 23 models on a task, points."""
    return [100 * found for (_, name), found in curves().items() if name == task]


def gain_of(model: str) -> float:
    """Mean gain of one model over the eight tasks, points."""
    return 100 * curves()[model, "mean of 8 tasks"]


def task_difference(first: str, second: str) -> Estimate:
    """Mean gain on one task minus that on another, resampled over the models."""
    return bootstrap(lambda a, b: float(np.mean(a - b)), gains(first), gains(second))


def profiting(*tasks: str, least: float = ONE_POINT) -> Estimate:
    """Percent of models and tasks with a gain of more than `least`, resampled over the curves."""
    found = [value > least for (_, task), value in curves().items() if task in tasks]
    return bootstrap(lambda profits: 100 * float(np.mean(profits)), found)


@cache
def markers() -> list[tuple[float, float]]:
    """(billions of parameters, gain in points) of the 60 markers of Figure 6b."""
    return [(float(row["x"].removesuffix("B")), 100 * float(row["value"]))
            for row in rows("capability") if row["kind"] == "icl_growth"]  # fmt: skip


def size_and_gain() -> Estimate:
    """Rank correlation of size and gain over the markers."""
    return bootstrap(rank_correlation, *zip(*markers()))


def mean_of_markers() -> Estimate:
    """Mean gain of the 60 markers, points."""
    return bootstrap(lambda values: float(np.mean(values)), [value for _, value in markers()])


def announced() -> int:
    """Of the quantities that the abstract and the introduction announce, those that any row of our tables holds."""
    metrics = " ".join(row["metric"] for table in ("capability", "runtime") for row in rows(table)).lower()
    announced = (("humaneval", "mbpp", "coding"), ("energy", "joule"))
    return sum(any(word in metrics for word in words) for words in announced)


# -- the needle test -------------------------------------------------------------------------------------------------


def needle_by_size() -> Estimate:
    """Mean of the two models of 3B minus mean of the two of 0.5B, points, with Student's interval for two pairs."""
    value = {row["model"]: float(row["value"]) for row in rows("capability") if row["metric"].startswith("needle")}
    large, small = ([found for name, found in value.items() if name.endswith(size)] for size in ("3B", "0.5B"))
    spread = ((stdev(large) ** 2 + stdev(small) ** 2) / 2) ** 0.5  # standard error of the difference
    effect, half = fmean(large) - fmean(small), T[1] * spread  # two degrees of freedom
    return Estimate(effect, effect - half, effect + half)


CLAIMS = {
    "C47": without_mathematics,
    "C48": partial(gain, COMMONSENSE),
    "C48a": partial(gain, PROBLEMS),
    "C48b": partial(gain, MATHEMATICS),
    "C48c": llama_gain,
    "C49": lambda: model_scores()["Phi-3-mini"][COMMONSENSE],
    "C49a": lambda: model_scores()["Phi-3-mini"][PROBLEMS],
    "C50": partial(over_llama, "Phi-3-mini", MATHEMATICS),
    "C50a": partial(over_llama, "Phi-3-mini", MATHEMATICS),
    "C51": partial(best, "SmolLM"),
    "C51a": partial(best, "DCLM"),
    "C54": lead_in_gain,
    "C55": partial(rank, "Phi"),
    "C55a": partial(smallest_lead, "Phi-3-mini"),
    "C56": size_and_score,
    "C56a": partial(larger_models_beaten, "Qwen2-1.5B"),
    "C57": gap_of_open_data,
    "C57a": catching_up,
    "C59": lambda: fmean(gains()),
    "C59a": mean_of_markers,
    "C60": partial(task_difference, "ARC-Challenge", "HellaSwag"),
    "C61": partial(gain_of, "google/gemma-2-2b"),
    "C61a": partial(gain_of, "MBZUAI/LaMini-GPT-1.5B"),
    "C62a": partial(profiting, "mean of 8 tasks", least=0),
    "C62b": partial(profiting, "ARC-Challenge"),
    "C62c": partial(profiting, "HellaSwag", "PIQA"),
    "C63a": size_and_gain,
    "C63b": lambda: sum(value < 0 for size, value in markers() if size < 2),
    "C66a": needle_by_size,
    "C116": announced,
}
