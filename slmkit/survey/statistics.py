"""What the survey's tables hold: models listed, pace, the typical recipe, uses of data sets.

Dates are months, "2024-02"; half-years are written "2024 H1". `edition` is "v1" or "v3": the table of that version.
"""

import re

from slmkit.survey.tables import rows

EDITIONS = {"v1": "in_v1", "v3": "in_v3_table"}
TUNED = ("Bloomz", "LaMini-GPT", "Dolly-v2")  # from Bloom, GPT-2 and Pythia, against the survey's own rule

# The parts of the survey's typical recipe (boxed insight of section 2.2), as published, not as the survey prints them.
RECIPE = {
    "grouped attention": lambda row: row["attention"] == "GQA",
    "gated FFN": lambda row: row["ffn"] == "gated",
    "FFN ratio 2 to 8": lambda row: row["layerwise_scaling"] == "no" and 2 <= float(row["ffn_ratio"]) <= 8,
    "SiLU": lambda row: row["activation"] == "SiLU",
    "RMSNorm": lambda row: row["norm"] == "RMSNorm",
    # GPT-2's 50,257 entries, padded to as many as 51,200, count as 50k, as they do in the survey's figure.
    "vocabulary above 50k": lambda row: int(row["vocab_size"]) > 51_200,
}


def listed(edition: str = "v3") -> list[dict[str, str]]:
    """The rows of models.csv that stand in the table of that version."""
    if edition not in EDITIONS:
        raise ValueError(f"edition is {edition!r}; it must be one of {', '.join(EDITIONS)}")
    return [row for row in rows("models") if row[EDITIONS[edition]] == "yes"]


def half_year(release: str) -> str:
    """ "2024-07" -> "2024 H2"."""
    year, month = release.split("-")
    return f"{year} H{1 if int(month) <= 6 else 2}"


def family(row: dict[str, str]) -> str:
    """The name without its size: models of one family differ in size alone, "Pythia-160M" -> "Pythia"."""
    return re.sub(r"-\d[\d.]*[MB]$", "", row["name"])


def release_pace(edition: str = "v3", families: bool = False) -> dict[str, int]:
    """Models, or families, released in each half-year from the first to the last, the empty ones with 0."""
    first = {}  # the first release of each model or family
    for row in listed(edition):
        key = family(row) if families else row["name"]
        first[key] = min(row["release"], first.get(key, "9999"))
    halves = [half_year(release) for release in first.values()]
    years = range(int(min(halves)[:4]), int(max(halves)[:4]) + 1)
    span = [f"{year} H{half}" for year in years for half in (1, 2)]
    return {half: halves.count(half) for half in span if min(halves) <= half <= max(halves)}


def growth(edition: str = "v1") -> float:
    """Models released in 2024 for each one released in 2023."""
    pace = release_pace(edition)
    return (pace["2024 H1"] + pace["2024 H2"]) / (pace["2023 H1"] + pace["2023 H2"])


def tuned(edition: str = "v3") -> int:
    """Rows of that version's table that were tuned from another model."""
    return sum(row["name"].startswith(TUNED) for row in listed(edition))


def recipe_shares(year: int, edition: str = "v3") -> dict[str, float]:
    """Percent of the models of a year with each part of the typical recipe, and under "all" with every part.

    Rows whose dimensions were never published are left out.
    """
    of_year = [row for row in listed(edition) if row["release"].startswith(str(year)) and row["ffn_ratio"]]
    parts = {name: [part(row) for row in of_year] for name, part in RECIPE.items()}
    parts["all"] = [all(row) for row in zip(*parts.values())]
    return {name: 100 * sum(row) / len(of_year) for name, row in parts.items()}


def dataset_uses(name: str, year: int) -> int:
    """How many models of a year were trained on a data set."""
    return next(int(row[f"uses_{year}"] or 0) for row in rows("datasets") if row["name"] == name)


def open_datasets() -> int:
    """Open pre-training sets that some model of the survey used."""
    return sum(any(int(row[f"uses_{year}"] or 0) for year in (2022, 2023, 2024)) for row in rows("datasets"))
