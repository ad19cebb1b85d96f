"""Architectural choices over time: as the survey counted them, as they were published, and after the survey's end.

An *axis* is one of the survey's six aspects (section 2.2), an *option* one answer on it. `counting` is "survey", what
the survey's figures count, or "published", what the released configurations say. Rows are dictionaries of strings.
"""

from collections import Counter
from collections.abc import Callable
from statistics import median

from slmkit.survey import statistics
from slmkit.survey.tables import rows

Row = dict[str, str]

# The options of each axis, in the order in which figures stack them: what came first stands first.
AXES = {
    "attention": ("MHA", "GQA", "MQA", "MLA"),
    "ffn": ("standard", "gated"),
    "ratio": ("4", "below 2.75", "2.75", "3", "between", "above 4", "by layer"),
    "activation": ("ReLU", "GELU", "GELU_tanh", "SiLU", "other"),
    "norm": ("LayerNorm", "RMSNorm"),
    "vocabulary": ("up to 50k", "50k-100k", "100k-150k", "150k-200k", "above 200k"),
}
PRINTED_ACTIVATION = {"relu": "ReLU", "gelu": "GELU", "gelu_new": "GELU_tanh", "gelu_pytorch_tanh": "GELU_tanh",
                      "silu": "SiLU"}  # fmt: skip
# The survey's Figure 2 counts these as RMSNorm; the published configurations have LayerNorm.
COUNTED_AS_RMSNORM = ("StableLM-zephyr-3B", "StableLM-2-zephyr-1.6B", "OLMo-1B")
CUT = "2024-10"  # rows of models_since.csv from this month on are counted as "since"


# -- which rows ------------------------------------------------------------------------------------------------------


def in_figures() -> list[Row]:
    """The models behind the survey's Figures 2a and 2b that our table has: 61 of 62, Hare-1.1B is missing.

    Figure 2 takes the table of version 1 without Dolly-v2, and adds Danube2 and two more sizes of Qwen2.5.
    """
    added = ("Danube2-1.8B", "Qwen2.5-0.5B", "Qwen2.5-1.5B")
    return [row for row in rows("models")
            if (row["in_v1"] == "yes" and row["name"] != "Dolly-v2-3B") or row["name"] in added]  # fmt: skip


def before() -> list[Row]:
    """The survey's models from January to September 2024, to which the later ones are compared."""
    return [row for row in rows("models") if "2024-01" <= row["release"] < CUT]


def since() -> list[Row]:
    """Our rows: dense decoders released from October 2024 on. They are not the survey's."""
    return [row for row in rows("models_since") if row["release"] >= CUT]


def period(row: Row, ours: bool = False) -> str:
    """The half-year of a release. Of our rows those of 2024 stand apart as "late 2024", and 2026 is one period."""
    if ours and row["release"] < "2025":
        return "late 2024"
    return row["release"][:4] if row["release"] >= "2026" else statistics.half_year(row["release"])


# -- what a row chose ------------------------------------------------------------------------------------------------


def option(row: Row, axis: str, counting: str = "published") -> str:
    """Which option of an axis a model takes; an empty string where it is not known."""
    if axis not in AXES:
        raise ValueError(f"there is no axis {axis!r}; the axes are {', '.join(AXES)}")
    if counting not in ("survey", "published"):
        raise ValueError(f"counting is {counting!r}; it must be survey or published")
    printed = counting == "survey"
    if axis == "attention":
        unlisted = row["name"].startswith("Qwen2.5")  # no entry in the survey's pie
        return ("" if unlisted else row["survey_attention"]) if printed else row["attention"]
    if axis == "ffn":
        return row["ffn"]
    if axis == "ratio":
        return ratio_option(row["survey_ffn_ratio"] if printed else row["ffn_ratio"])
    if axis == "activation":
        found = PRINTED_ACTIVATION.get(row["survey_activation"], "") if printed else row["activation"]
        return found if found in ("", *AXES[axis]) else "other"
    if axis == "norm":
        if not row["norm"]:
            return ""
        counted_so = printed and row["name"] in COUNTED_AS_RMSNORM
        return "RMSNorm" if counted_so or row["norm"].startswith("RMSNorm") else "LayerNorm"
    return vocabulary_option(row["survey_vocab"] if printed else row["vocab_size"])


def ratio_option(text: str) -> str:
    """A printed ratio of FFN width to model width -> its class; "0" and "0.5-4.0" are OpenELM's, which varies."""
    if text in ("", "-"):
        return ""
    if text in ("0", "0.5-4.0"):
        return "by layer"
    ratio = float(text)
    exact = {2.75: "2.75", 3.0: "3", 4.0: "4"}.get(ratio)
    return exact or ("below 2.75" if ratio < 2.75 else "above 4" if ratio > 4 else "between")


def vocabulary_option(text: str) -> str:
    """A vocabulary -> its class. GPT-2's 50,257, padded to as many as 51,200, count as 50k, the survey's way."""
    if not text:
        return ""
    bounds = dict(zip((51_200, 100_000, 150_000, 200_000), AXES["vocabulary"]))
    return next((name for bound, name in bounds.items() if float(text) <= bound), "above 200k")


def query_key_norm(row: Row) -> bool:
    """Whether queries and keys are normalized. Recorded in our rows alone; the survey does not count it."""
    return "QK" in row["norm"]


def follows_recipe(row: Row) -> dict[str, bool]:
    """Which parts of the survey's typical recipe a model has; the kinds of RMSNorm count as RMSNorm."""
    plain = row | {"norm": option(row, "norm"), "ffn_ratio": row["ffn_ratio"] or "0"}  # unknown: not within the bounds
    return {name: bool(part(plain)) for name, part in statistics.RECIPE.items()}


def recipe_shares(models: list[Row]) -> dict[str, float]:
    """Percent of `models` with each part of the recipe, and under "all" with every part. Unknown counts as not."""
    found = [follows_recipe(row) for row in models]
    parts = {name: [row[name] for row in found] for name in statistics.RECIPE} | {
        "all": [all(row.values()) for row in found]
    }
    return {name: 100 * sum(has) / len(models) for name, has in parts.items()}


def tokens(row: Row) -> float | None:
    """Training tokens, None where unknown. Tuning on top ("350B + 0.5B fine-tune") is left out."""
    text = row["training_tokens"].partition(" + ")[0]
    return float(text[:-1]) * {"B": 1e9, "T": 1e12}[text[-1]] if text else None


def tokens_per_parameter(row: Row) -> float | None:
    """None where either is unknown, and for models cut out of larger ones, whose tokens are those of the repair."""
    seen = tokens(row)
    if seen is None or not row["params_exact"] or "pruning" in row["training_algorithm"]:
        return None
    return seen / float(row["params_exact"])


# -- counting --------------------------------------------------------------------------------------------------------


def counts(models: list[Row], axis: str, counting: str = "published") -> dict[str, int]:
    """How many of `models` take each option, every option of the axis named; unknown ones are left out."""
    found = Counter(option(row, axis, counting) for row in models)
    return {name: found[name] for name in AXES[axis]}


def shares(models: list[Row], axis: str, counting: str = "published") -> dict[str, float]:
    """The same in percent of the known ones, without the options that none takes."""
    found = counts(models, axis, counting)
    return {name: 100 * count / sum(found.values()) for name, count in found.items() if count}


def by_period(models: list[Row], axis: str, counting: str = "published", ours: bool = False) -> dict[str, dict]:
    """The same for each period from first to last: {"2022 H1": {"MHA": 4, …}, …}."""
    names = sorted({period(row, ours) for row in models}, key=lambda name: (name != "late 2024", name))
    return {name: counts([row for row in models if period(row, ours) == name], axis, counting) for name in names}


def middle(models: list[Row], value: Callable[[Row], float | None]) -> float:
    """The median of `value` over the models that have one."""
    return median(found for found in map(value, models) if found is not None)


def disagreements(axis: str) -> dict[str, tuple[str, str]]:
    """Models whose option the survey counts differently from what was published: name -> (counted, published)."""
    pairs = {row["name"]: (option(row, axis, "survey"), option(row, axis)) for row in in_figures()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and "" not in pair}


def recounted() -> list[dict]:
    """Every count that Figures 2a, 2b and 3 print beside the same count from our tables.

    A list of {figure, axis, option, period, printed, survey, published}: `survey` counts the survey's own entries,
    `published` the released configurations. Figure 3 has one count only, and its axis is the data set.
    """
    models, uses = in_figures(), {row["name"]: row for row in rows("datasets")}
    out = []
    for row in rows("published"):
        place = {key: row[key] for key in ("figure", "axis", "option", "period")} | {"printed": int(row["count"])}
        if row["figure"] == "3":
            again = int(uses[row["axis"]][f"uses_{row['period']}"] or 0)
            out.append(place | {"survey": again, "published": again})
            continue
        chosen = [model for model in models if row["period"] in ("", period(model))]
        both = {way: counts(chosen, row["axis"], way)[row["option"]] for way in ("survey", "published")}
        out.append(place | both)
    return out


def agreement() -> list[dict]:
    """How well the redrawn Figures 2a, 2b and 3 agree with the printed counts, one entry for each figure and axis.

    `furthest` is the largest difference from the survey's own entries, `released` that from the released models.
    """
    out = []
    for figure, axis in dict.fromkeys(
        (row["figure"], row["axis"] if row["option"] else "data set") for row in recounted()
    ):
        found = [row for row in recounted() if row["figure"] == figure and (figure == "3" or row["axis"] == axis)]
        away = {way: [abs(row["printed"] - row[way]) for row in found] for way in ("survey", "published")}
        furthest = max(away["survey"])
        why = (
            "" if not furthest else "Hare-1.1B is not in our table" if furthest == 1 else "rounding that is not stated"
        )
        out.append({"figure": figure, "axis": axis, "numbers": len(found), "equal": away["survey"].count(0),
                    "furthest": furthest, "released": max(away["published"]), "why": why})  # fmt: skip
    return out
