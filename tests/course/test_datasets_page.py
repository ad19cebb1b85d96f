"""The pages on the data sets and their use: cards, sizes, the three counts, and what the prose says of the tables."""

import re
from collections import Counter

import matplotlib.pyplot as plt
import pytest

from slmkit.course import datasets, figures_datasets
from slmkit.course.datasets import FACTS, YEARS, card, disagreements, listed, uses
from slmkit.course.facts import FACTS as ALL
from slmkit.data import hub
from slmkit.paths import root
from slmkit.survey.tables import rows

PAGES = {name: (root() / "book" / "data" / f"{name}.md").read_text(encoding="utf-8") for name in ("datasets", "usage")}
TEXT = {name: " ".join(page.split()) for name, page in PAGES.items()}
IN_BYTES = {"GB": 1e9, "TB": 1e12, "GiB": 2**30, "B": 1e9, "T": 1e12}


@pytest.fixture
def drawn():
    yield lambda name: figures_datasets.FIGURES[name]()
    plt.close("all")


# -- the cards -------------------------------------------------------------------------------------------------------


def test_the_page_has_a_card_for_each_set_under_its_name():
    found = re.findall(r"## (.+?)\n\n(?:(?!```)[^#])*```\{dataset-card\} (\S+)\n```", PAGES["datasets"])
    assert found == [(row["name"], name) for name, row in listed().items()]
    assert len(found) == 13


@pytest.mark.parametrize("name", hub.entries())
def test_a_card_has_all_that_a_reader_asks_for(name):
    terms, row, entry = dict(card(name)), listed()[name], hub.entries()[name]
    for term in ("what it is", "size", "filter class", "licence", "released", "uses in Figure 3", "today", "to load"):
        assert terms[term], f"the card of {name} says nothing about {term}"
    assert terms["uses in Figure 3"] == ", ".join(f"{year}: {row[f'uses_{year}']}" for year in YEARS)
    assert entry.hub_id in terms["today"]
    assert entry.happened in terms["today"]
    assert ("gate" in terms["today"]) == (entry.status == "gated")
    assert f'corpora.load("{name}", streaming=True' in terms["to load"]
    assert ("nearest=True" in terms["to load"]) == (entry.status == "elsewhere")
    html = datasets.as_html(card(name))
    assert "`" not in html
    assert html.count("<dt>") == html.count("<dd>") == sum(text != "" for _, text in card(name))
    check = row["survey_text_check"]
    at_odds = bool(check) and not check.endswith("consistent")
    assert ("<strong>does not agree:</strong>" in html) == at_odds
    assert not at_odds or check in terms["the survey checked"]


def test_every_published_size_says_its_unit_edition_and_source_and_reads_as_printed():
    names = {row["name"] for row in listed().values()}
    keys = Counter(row["key"] for row in rows("dataset_sizes"))
    assert max(keys.values()) == 1
    for row in rows("dataset_sizes"):
        assert row["name"] in names
        assert row["edition"]
        assert row["source"]
        number, unit = re.fullmatch(r"([\d.]+) ?(\w+)", row["printed"]).groups()
        assert (row["unit"] == "bytes") == (unit in ("GB", "TB", "GiB"))
        assert float(row["amount"]) == pytest.approx(float(number) * IN_BYTES[unit], rel=0.01)
    assert {row["name"] for row in rows("dataset_sizes")} == names


def test_sizes_that_the_survey_prints_are_read():
    printed = {name: datasets.printed_tokens(row) for name, row in listed().items()}
    assert printed["the-pile"] == 825e9
    assert printed["wudaocorpora"] == 4e12
    assert printed["dclm-baseline"] == 1.35e12
    assert printed["dolma"] is printed["slimpajama"] is None
    # The bar of The Pile is on no number of tokens, as the page says.
    tokens = [float(row["amount"]) for row in datasets.sizes("The Pile") if row["unit"] == "tokens"]
    assert all(abs(amount / 825e9 - 1) > 0.5 for amount in tokens)


def test_classes_and_states_add_up():
    assert sum(int(FACTS[f"sets.{kind}"]()) for kind in ("rule-based", "model-based", "synthetic")) == 13
    assert sum(int(FACTS[f"sets.{status}"]()) for status in ("open", "gated", "elsewhere")) == 13
    assert (FACTS["sets.model-based"](), FACTS["sets.synthetic"]()) == ("2", "1")
    model_based = {row["name"] for row in listed().values() if datasets.kind(row) == "model-based"}
    assert model_based == {"FineWeb-Edu", "DCLM-baseline"}
    assert FACTS["sets.helper"]() == "2"
    assert float(FACTS["sets.bytes_per_token.code"]()) < float(FACTS["sets.bytes_per_token.text"]()) < 4.5


# -- who used them ---------------------------------------------------------------------------------------------------


def test_the_figure_s_counts_are_those_of_the_published_one():
    published = {
        (row["axis"], int(row["period"])): int(row["count"]) for row in rows("published") if row["figure"] == "3"
    }
    counted = {(title, year): count for year in YEARS for title, count in uses(year, "printed").items() if count}
    assert counted == published


def test_the_table_s_counts_are_of_the_models_that_name_the_set():
    for year in YEARS:
        named = Counter(
            name
            for row in rows("models")
            if row["release"].startswith(str(year))
            for name in row["pretraining_datasets"].split(";")
        )
        assert {title: count for title, count in uses(year, "models").items() if count} == {
            title: named[title] for title in uses(year, "models") if named[title]
        }


def test_a_family_is_one_choice_and_a_tuned_model_none():
    assert uses(2022, "runs")["The Pile"] == 1  # OPT
    assert uses(2022, "runs")["WuDaoCorpora"] == 1  # Bloom, and Bloomz tuned from it
    assert uses(2023, "runs")["The Pile"] == 3  # Pythia, Cerebras-GPT, StableLM-zephyr
    assert uses(2024, "runs")["The Pile"] == 2
    for year in YEARS:
        assert all(uses(year, "runs")[title] <= count for title, count in uses(year, "models").items())


def test_where_figure_and_table_differ_is_what_the_page_lists():
    listed_rows = re.findall(r"\| (RedPajama|Dolma), (\d{4}) \|", PAGES["usage"])
    assert [(title, int(year)) for title, year in listed_rows] == [
        (title, year) for title, year, _, _ in disagreements()
    ]
    assert FACTS["uses.disagreements"]() == "3"


def test_the_five_users_of_the_pile_in_2024_are_named():
    users = datasets.users("The Pile", 2024)
    assert len(users) == 5
    assert [row["name"] for row in users if row["name"] not in TEXT["usage"]] == []
    assert all(row["pretraining_datasets"].count(";") >= 3 for row in users)  # with three other sets or more
    alone = [row["release"] for row in rows("models") if row["pretraining_datasets"] == "The Pile"]
    assert max(alone) == "2023-03"
    assert FACTS["uses.the-pile.since"]() == "0"


def test_shares_are_of_the_year_s_uses():
    assert FACTS["uses.the-pile.2023.printed.share"]() == "68.8%"
    assert FACTS["uses.the-pile.2023.runs.share"]() == "33.3%"
    assert FACTS["uses.2023.printed"]() == "16"


def test_what_came_since():
    assert FACTS["uses.rest.since"]() == "0"
    assert all(int(FACTS[f"uses.{name}.since"]()) for name in datasets.LATER)
    used = {name: int(FACTS[f"uses.{name}.since"]()) for name in hub.entries()}
    assert max(used, key=used.get) == "fineweb-edu"
    for name in ("OLMo-mix-1124", "Ultra-FineWeb"):
        assert name in datasets.new_sets()
    total = sum(int(FACTS[f"uses.since.{state}"]()) for state in ("open", "closed", "unknown"))
    assert total == len(rows("models_since"))


def test_those_without_an_entry_came_with_version_3():
    unknown = [row for row in rows("models") if not row["pretraining_datasets"]]
    assert len(unknown) == int(FACTS["uses.survey.unknown"]())
    assert all((row["in_v1"], row["in_v3_table"]) == ("no", "yes") for row in unknown)


def test_names_are_joined_as_in_prose():
    names = [{"name": name} for name in ("OpenELM-270M", "OpenELM-3B", "DCLM-1B", "OLMo-1B")]
    assert datasets.who(names) == "OpenELM (2 models), DCLM and OLMo"
    assert datasets.who(names[:1]) == "OpenELM"
    assert datasets.who([]) == "none"


# -- the pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_fact_claim_and_figure_of_the_page_is_there(page):
    facts = re.findall(r"\{fact\}`([^`]+)`", PAGES[page])
    assert facts
    for name in facts:
        assert ALL[name]().strip(), f"{name} says nothing"
    claims = {row["id"] for row in rows("claims")}
    assert set(re.findall(r"\{claim\}`([^`]+)`", PAGES[page])) <= claims
    for name, alt in re.findall(r"```\{drawn\} (\S+)\n:alt: (.*)\n", PAGES[page]):
        assert name in figures_datasets.FIGURES
        assert len(alt) > 80
    bib = (root() / "book" / "references.bib").read_text(encoding="utf-8")
    for group in re.findall(r"\{cite\}`([^`]+)`", PAGES[page]):
        for key in group.split(","):
            assert f"{{{key}," in bib, f"{key} is not in references.bib"


def test_the_claims_of_the_issue_are_linked():
    both = PAGES["datasets"] + PAGES["usage"]
    for claim in ("C30", "C30a", "C31", "C31a", "C31b", "C32"):
        assert f"{{claim}}`{claim}`" in both


def test_figures_show_every_set_and_every_use(drawn):
    (axis,) = drawn("dataset_sizes").axes
    assert len(axis.get_yticks()) == 13
    points = [line for line in axis.lines if len(line.get_xdata()) == 1]
    bars = [line for line in axis.lines if len(line.get_xdata()) == 2]
    assert len(points) == len(rows("dataset_sizes"))
    assert len(bars) == sum(datasets.printed_tokens(row) is not None for row in listed().values())
    for name, ways in (("dataset_uses", ["printed"]), ("dataset_families", ["models", "runs"])):
        for axis, year in zip(drawn(name).axes, YEARS):
            widths = [sum(bar.get_width() for bar in group) for group in axis.containers]
            assert widths == [sum(uses(year, way).values()) for way in ways]
            assert axis.get_title() == str(year)
    for name in figures_datasets.FIGURES:
        assert drawn(name).get_figwidth() <= 4.8


def test_an_unknown_card_is_not_made():
    with pytest.raises(KeyError):
        card("the-heap")
