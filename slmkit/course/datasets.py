"""The pages on the data sets of section 2.3: a card for each set, their sizes, and who used them, counted three ways.

The drawings are in figures_datasets.py.

- {dataset-card} name, a directive: all that the tables hold about the set of that name (slmkit/data/hub.csv).
"""

import re
from collections.abc import Callable
from functools import partial
from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from slmkit.data import hub
from slmkit.survey import statistics
from slmkit.survey.tables import rows

YEARS = (2022, 2023, 2024)
# What a year's uses of a set may be counted in.
WAYS = {
    "printed": "models, as Figure 3 counts",
    "models": "models, as the survey's table names them",
    "runs": "families trained on it",
}
TUNED = {"Bloomz": "Bloom"}  # a model tuned from another brings no new use of what the other was trained on
LATER = ("fineweb-edu", "dclm-baseline", "starcoder", "dolma")  # what models since the survey name, of its sets
UNITS = {"bytes": "of text", "tokens": "tokens", "characters": "characters"}

logger = logging.getLogger(__name__)


# -- the sets ----------------------------------------------------------------------------------------------------------


def listed() -> dict[str, dict[str, str]]:
    """The thirteen rows of datasets.csv, by the name that the loader takes."""
    found = {row["name"]: row for row in rows("datasets")}
    return {name: found[entry.title] for name, entry in hub.entries().items()}


def sizes(title: str) -> list[dict[str, str]]:
    """The published sizes of a set's editions."""
    return [row for row in rows("dataset_sizes") if row["name"] == title]


def printed_tokens(row: dict[str, str]) -> float | None:
    """The size that the survey prints, which it calls tokens; None where it prints none."""
    found = re.fullmatch(r"([\d.]+)([BT])", row["survey_tokens"])
    return float(found[1]) * {"B": 1e9, "T": 1e12}[found[2]] if found else None


def size(key: str) -> dict[str, str]:
    return next(row for row in rows("dataset_sizes") if row["key"] == key)


def in_words(row: dict[str, str]) -> str:
    """825 GiB of text, 1.3T tokens."""
    return f"{row['printed']} {UNITS[row['unit']]}"


def wrong(row: dict[str, str]) -> bool:
    """Whether the survey's text on the set is at odds with the set's own paper, or with itself."""
    check = row["survey_text_check"]
    return check != "" and not check.endswith("consistent")


def ratio(above: str, below: str) -> float:
    return float(size(above)["amount"]) / float(size(below)["amount"])


def kind(row: dict[str, str]) -> str:
    """rule-based, model-based or synthetic."""
    return row["filter_class"].split(" ")[0]


# -- who used them -----------------------------------------------------------------------------------------------------


def family(row: dict[str, str]) -> str:
    """What was trained together, in one report: the sizes of a family, and what was tuned from them."""
    name = statistics.family(row)
    return TUNED.get(name, name)


def users(title: str, year: int | None = None, table: str = "models") -> list[dict[str, str]]:
    """The models, of a year or of all, for which the table names the set; in order of release."""
    found = [row for row in rows(table) if title in row["pretraining_datasets"].split(";")]
    return sorted((row for row in found if year is None or row["release"].startswith(str(year))),
                  key=lambda row: row["release"])  # fmt: skip


def uses(year: int, way: str) -> dict[str, int]:
    """{title: uses in a year}, counted as WAYS says."""
    if way == "printed":
        return {row["name"]: int(row[f"uses_{year}"]) for row in listed().values()}
    named = {row["name"]: users(row["name"], year) for row in listed().values()}
    if way == "runs":
        return {title: len(set(map(family, models))) for title, models in named.items()}
    return {title: len(models) for title, models in named.items()}


def who(models: list[dict[str, str]]) -> str:
    """Families with their numbers of models: OpenELM (4 models) and StableLM-2-zephyr."""
    families: dict[str, int] = {}
    for row in models:
        families[family(row)] = families.get(family(row), 0) + 1
    texts = [name + f" ({count} models)" * (count > 1) for name, count in families.items()]
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else "none"


def disagreements() -> list[tuple[str, int, int, int]]:
    """(title, year, printed, named) where Figure 3 and the survey's own table count differently."""
    return [
        (title, year, count, uses(year, "models")[title])
        for year in YEARS
        for title, count in uses(year, "printed").items()
        if count != uses(year, "models")[title]
    ]


def new_sets() -> list[str]:
    """Open sets of the models since the survey that it does not list."""
    known = {row["name"] for row in listed().values()}
    named = [name for row in rows("models_since") for name in row["pretraining_datasets"].split(";")]
    return sorted({name for name in named if name and name != "closed"} - known)


def disclosed(table: str) -> dict[str, int]:
    """Of a table's models: with open data, with closed data, with nothing recorded."""
    found = {"open": 0, "closed": 0, "unknown": 0}
    for row in rows(table):
        data = row["pretraining_datasets"]
        found["closed" if data == "closed" else "open" if data else "unknown"] += 1
    return found


# -- the cards ---------------------------------------------------------------------------------------------------------


def card(name: str) -> list[tuple[str, str]]:
    """(term, text) of a set; all from the tables."""
    row, entry = listed()[name], hub.entries()[name]
    editions = "; ".join(f"{in_words(one)} ({one['edition']}; {one['source']})" for one in sizes(row["name"]))
    named = [who(users(row["name"], year)) for year in YEARS]
    by_year = ", ".join(f"{year}: {row[f'uses_{year}']}" for year in YEARS)
    since, check = users(row["name"], table="models_since"), row["survey_text_check"]
    return [
        ("what it is", row["what_it_is"]),
        ("size", editions or "no published figure known to us"),
        ("the survey prints", row["survey_tokens"] or "no size"),
        ("how made", row["filtering"]),
        ("filter class", row["filter_class"]),
        ("deduplication", row["deduplication"] or "not known"),
        ("released", row["release"]),
        ("licence", row["license"]),
        ("uses in Figure 3", by_year),
        ("named users", "; ".join(f"{year}: {names}" for year, names in zip(YEARS, named) if names != "none")),
        ("since the survey", f"{who(since)}, of our sample" if since else "none in our sample"),
        ("today", today(entry)),
        ("to load", load_line(entry)),
        ("the survey checked", f"**does not agree:** {check}" if wrong(row) else "agrees with itself"),
        ("sources", f"{row['source']}; for the hub: {entry.source}"),
    ]


def today(entry: hub.Entry) -> str:
    where = f"{entry.hub_id} ({entry.size}; text in `{entry.column}`)"
    if entry.status == "elsewhere":
        return f"not to be had: {entry.happened}. Nearest: {entry.nearest_is}, {where}"
    return f"{'behind a gate: log in and accept its terms' if entry.status == 'gated' else 'open'}; {where}"


def load_line(entry: hub.Entry) -> str:
    nearest = ", nearest=True" * (entry.status == "elsewhere")
    return f'`corpora.load("{entry.name}", streaming=True{nearest}).take(1000)`'


def as_html(terms: list[tuple[str, str]]) -> str:
    made = ""
    for term, text in terms:
        if text:
            text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
            text = re.sub(r"[*]{2}(.+?)[*]{2}", r"<strong>\1</strong>", text)
            made += f"<dt>{term}</dt><dd>{text}</dd>"
    return f'<dl class="lab-card slm-set">{made}</dl>'


class DatasetCard(SphinxDirective):
    required_arguments = 1

    def run(self):
        name = self.arguments[0]
        if name not in hub.entries():
            logger.warning("there is no data set %s in slmkit/data/hub.csv", name, location=self.get_location(),
                           type="slmkit", subtype="dataset")  # fmt: skip
            return []
        return [nodes.raw("", as_html(card(name)), format="html")]


def setup(app: Sphinx):
    app.add_directive("dataset-card", DatasetCard)


# -- what prose quotes -------------------------------------------------------------------------------------------------


def _use(name: str, year: int, way: str, share: bool = False) -> str:
    counted = uses(year, way)
    count = counted[listed()[name]["name"]]
    return f"{100 * count / sum(counted.values()):.1f}%" if share else str(count)


def _who(name: str, year: int) -> str:
    return who(users(listed()[name]["name"], year))


def _since(name: str, say: Callable[[list], str]) -> str:
    return say(users(listed()[name]["name"], table="models_since"))


def _status(status: str) -> str:
    return str(sum(entry.status == status for entry in hub.entries().values()))


def _kind(which: str) -> str:
    return str(sum(kind(row) == which for row in listed().values()))


FACTS: dict[str, Callable[[], str]] = {
    "sets.count": lambda: str(len(listed())),
    "sets.in_list": lambda: str(sum(row["in_survey_list_of_12"] == "yes" for row in listed().values())),
    "sets.with_problem": lambda: str(sum(map(wrong, listed().values()))),
    "sets.helper": lambda: str(sum(kind(row) == "rule-based" and "classifier" in row["filter_class"]
                                   for row in listed().values())),
    "sets.bytes_per_token.text": lambda: f"{ratio('pile.dedup', 'pile.dedup_tokens'):.1f}",
    "sets.bytes_per_token.many": lambda: f"{ratio('culturax.bytes', 'culturax'):.1f}",
    "sets.bytes_per_token.code": lambda: f"{ratio('starcoder', 'starcoder.tokens'):.1f}",
    "sets.compression": lambda: f"{ratio('culturax.bytes', 'culturax.files'):.1f}",
    "sets.bytes_per_character": lambda: f"{ratio('wudao', 'wudao.characters'):.1f}",
    "uses.disagreements": lambda: str(len(disagreements())),
    "uses.rest.since": lambda: str(sum(len(users(entry.title, table="models_since"))
                                       for entry in hub.entries().values() if entry.name not in LATER)),
    "uses.new_sets": lambda: str(len(new_sets())),
    "uses.new_sets.names": lambda: " and ".join((", ".join(new_sets()[:-1]), new_sets()[-1])),
}  # fmt: skip
for _name in ("open", "gated", "elsewhere"):
    FACTS[f"sets.{_name}"] = partial(_status, _name)
for _name in ("rule-based", "model-based", "synthetic"):
    FACTS[f"sets.{_name}"] = partial(_kind, _name)
for _table, _short in (("models", "survey"), ("models_since", "since")):
    for _name in ("open", "closed", "unknown"):
        FACTS[f"uses.{_short}.{_name}"] = lambda which=(_table, _name): str(disclosed(which[0])[which[1]])
for _row in rows("dataset_sizes"):
    FACTS[f"size.{_row['key']}"] = partial(in_words, _row)
for _name, _row in listed().items():
    FACTS[f"size.{_name}.survey"] = partial(str, _row["survey_tokens"] or "no size")
    FACTS[f"uses.{_name}.since"] = partial(_since, _name, lambda models: str(len(models)))
    FACTS[f"uses.{_name}.since.who"] = partial(_since, _name, who)
    for _year in YEARS:
        FACTS[f"uses.{_name}.{_year}.who"] = partial(_who, _name, _year)
        for _way in WAYS:
            FACTS[f"uses.{_name}.{_year}.{_way}"] = partial(_use, _name, _year, _way)
            FACTS[f"uses.{_name}.{_year}.{_way}.share"] = partial(_use, _name, _year, _way, share=True)
for _year in YEARS:
    for _way in WAYS:
        FACTS[f"uses.{_year}.{_way}"] = lambda which=(_year, _way): str(sum(uses(*which).values()))
