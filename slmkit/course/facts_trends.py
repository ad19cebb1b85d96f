"""Numbers of the two pages on architecture: the survey's Figure 2 counted again, and what came after the survey.

`then` are the survey's models of January to September 2024, `since` our rows from October 2024 on.
"""

import math
import re
from collections.abc import Callable
from functools import partial

from slmkit.survey import statistics, trends, zoo
from slmkit.survey.tables import rows

GROUPS = {"then": trends.before, "since": trends.since}
Test = Callable[[trends.Row], bool]

# Statements of the survey beside the parts of its recipe, each as a test of a row.
BESIDE: dict[str, Test] = {
    "tied": lambda row: row["tied_embeddings"] == "yes",
    "sharing": lambda row: row["sharing"] not in ("", "-"),
    "scaling": lambda row: row["layerwise_scaling"] not in ("", "no"),
}


def _has(part: str, row: trends.Row) -> bool:
    return BESIDE[part](row) if part in BESIDE else trends.follows_recipe(row)[part]


def _count(group: str, test: Test) -> int:
    return sum(map(test, GROUPS[group]()))


def _share(group: str, part: str) -> float:
    return _count(group, partial(_has, part)) / len(GROUPS[group]())


def _all(row: trends.Row) -> bool:
    return all(trends.follows_recipe(row).values())


def change(part: str) -> str:
    """Whether a share rose or fell from `then` to `since`, by the 95% interval of the difference of two shares."""
    before, after = (_share(group, part) for group in GROUPS)
    variance = sum(share * (1 - share) / len(models()) for share, models in zip((before, after), GROUPS.values()))
    if abs(after - before) <= 1.96 * math.sqrt(variance):
        return "no clear change"
    return "rose" if after > before else "fell"


def later(part: str) -> str:
    """What the new models say of a statement: most do so, half or fewer, none."""
    share = _share("since", part)
    return "holds" if share > 0.5 else "not typical" if share else "not adopted"


def _median(group: str, column: str) -> float:
    return trends.middle(GROUPS[group](), lambda row: _number(row[column]))


def _number(text: str) -> float | None:
    """A column's number; None for a blank or for "0.5-4.0"."""
    return float(text) if re.fullmatch(r"[\d.]+", text) else None


def _large(value: float) -> str:
    """Three digits, with commas: 3992.6 -> "3,990"."""
    return f"{round(value, 2 - math.floor(math.log10(value))):,.0f}"


def _embedding_share(row: trends.Row) -> float:
    exact, rest = row["params_exact"], row["params_non_embedding"]
    return 1 - float(rest) / float(exact) if exact and rest else 0.0


def _nominal(row: trends.Row) -> float:
    return float(row["params_nominal"][:-1]) * {"M": 1e6, "B": 1e9}[row["params_nominal"][-1]]


def _free_heads(row: trends.Row) -> bool:
    return row["attention"] != "MLA" and int(row["n_heads"]) * int(row["head_dim"]) != int(row["d_model"])


def _qk(late: bool) -> str:
    """Our rows with query/key norm, of those of 2024 or of those that came later."""
    chosen = [row for row in trends.since() if (row["release"] >= "2025") == late]
    return f"{sum(map(trends.query_key_norm, chosen))} of {len(chosen)}"


def _qk_then() -> str:
    """Models of the comparison with query/key norm. The survey's table has no column for it, the zoo knows."""
    known = set(zoo.available())
    return str(sum(zoo.config(row["name"]).qk_norm is not None for row in trends.before() if row["name"] in known))


def _families() -> list[trends.Row]:
    """The first of our rows for each family of an organisation."""
    return list({(row["organisation"], statistics.family(row)): row for row in reversed(trends.since())}.values())


def _of_families(test: Test) -> str:
    found = _families()
    return f"{100 * sum(map(test, found)) / len(found):.0f}%"


def _printed(figure: str, axis: str, option: str, key: str) -> str:
    return str(
        next(
            row[key]
            for row in trends.recounted()
            if (row["figure"], row["axis"], row["option"]) == (figure, axis, option)
        )
    )


def _fox(column: str) -> str:
    return f"{int(next(row[column] for row in rows('models') if row['name'].startswith('Fox'))):,}"


def _since(test: Test) -> Callable[[], str]:
    return lambda: str(_count("since", test))


FACTS: dict[str, Callable[[], str]] = {
    "figure2.printed": lambda: str(
        sum(row["printed"] for row in trends.recounted() if (row["figure"], row["axis"]) == ("2a", "ffn"))
    ),
    "figure2.ours": lambda: str(len(trends.in_figures())),
    "figure2.printed.below": partial(_printed, "2a", "ratio", "below 2.75", "printed"),
    "figure2.counted.below": partial(_printed, "2a", "ratio", "below 2.75", "survey"),
    "figure2.wrong.attention": lambda: str(len(trends.disagreements("attention"))),
    "figure2.wrong.ratio": lambda: str(len(trends.disagreements("ratio"))),
    "embedding.cost": lambda: f"{1024 * 100_000 / 1e6:.0f} million",
    "tied.v3": lambda: str(sum(map(BESIDE["tied"], statistics.listed("v3")))),
    "then.rows": lambda: str(len(trends.before())),
    "since.rows": lambda: str(len(trends.since())),
    "since.rows_2026": _since(lambda row: row["release"] >= "2026"),
    "since.last": lambda: max(row["release"] for row in trends.since()),
    "since.organisations": lambda: str(len({row["organisation"] for row in trends.since()})),
    "since.recipe.all": lambda: f"{100 * _count('since', _all) / len(trends.since()):.0f}%",
    "then.recipe.all": lambda: f"{100 * _count('then', _all) / len(trends.before()):.0f}%",
    "since.attention.GQA": _since(lambda row: row["attention"] == "GQA"),
    "since.attention.MHA": _since(lambda row: row["attention"] == "MHA"),
    "since.attention.MLA": _since(lambda row: row["attention"] == "MLA"),
    "since.ffn.standard": _since(lambda row: row["ffn"] == "standard"),
    "since.ratio_min": lambda: str(min(found for row in trends.since() if (found := _number(row["ffn_ratio"])))),
    "since.ratio_max": lambda: str(max(found for row in trends.since() if (found := _number(row["ffn_ratio"])))),
    "since.embedding_max": lambda: f"{100 * max(map(_embedding_share, trends.since())):.0f}%",
    "then.qk": _qk_then,
    "since.qk_2024": partial(_qk, late=False),
    "since.qk_2025": partial(_qk, late=True),
    "fox.counted": partial(_fox, "survey_vocab"),
    "fox.published": partial(_fox, "vocab_size"),
    "since.post_norm": _since(lambda row: "post" in row["norm"]),
    "since.tokens_known": _since(lambda row: trends.tokens(row) is not None),
    "since.tokens_unknown": _since(lambda row: trends.tokens(row) is None),
    "since.over_10T": _since(lambda row: (trends.tokens(row) or 0) >= 1e13),
    "since.free_heads": _since(_free_heads),
    "since.no_positions": _since(lambda row: "none" in row["pos"]),
    "since.parallel": _since(lambda row: row["parallel_block"] == "yes"),
    "since.families": lambda: str(len(_families())),
    "since.family.GQA": lambda: _of_families(lambda row: row["attention"] == "GQA"),
    "since.family.recipe": lambda: _of_families(_all),
    "since.counted": _since(lambda row: row["params_exact"] != ""),
    "since.from_memory": _since(lambda row: "knowledge" in row["source"]),
    "since.tied_unknown": _since(lambda row: row["tied_embeddings"] == ""),
    "since.understated": _since(
        lambda row: bool(row["params_exact"]) and float(row["params_exact"]) > 1.1 * _nominal(row)
    ),
}
for _group in GROUPS:
    FACTS |= {
        f"{_group}.ratio": lambda group=_group: f"{_median(group, 'ffn_ratio'):g}",
        f"{_group}.vocabulary": lambda group=_group: _large(_median(group, "vocab_size")),
        f"{_group}.context": lambda group=_group: f"{_median(group, 'max_context'):,.0f}",
        f"{_group}.tokens_per_parameter": lambda group=_group: _large(
            trends.middle(GROUPS[group](), trends.tokens_per_parameter)
        ),
        f"{_group}.distilled": lambda group=_group: str(_count(group, lambda row: "KD" in row["training_algorithm"])),
    }
for _part in (*statistics.RECIPE, *BESIDE):
    _name = _part.replace(" ", "_")
    _prefix = "" if _part in BESIDE else "recipe."
    for _group in GROUPS:
        FACTS[f"{_group}.{_prefix}{_name}"] = lambda group=_group, part=_part: f"{100 * _share(group, part):.0f}%"
    FACTS[f"change.{_name}"] = partial(change, _part)
    FACTS[f"later.{_name}"] = partial(later, _part)
