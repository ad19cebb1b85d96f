"""The numbers that the prose states: FACTS, name -> function returning the text. Nothing is typed by hand.

In a page: {fact}`survey.models_v3`. A name that is not here stops the build.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from slmkit.course import (
    attention,
    capability,
    data_quality,
    data_quantity,
    datasets,
    distillation,
    facts_trends,
    feedforward,
    findings,
    hardware,
    harness_page,
    killtable,
    latency_page,
    lora_page,
    memory_page,
    mup_page,
    pipelines,
    practice_page,
    quantization,
    runtime_bench,
    sharing,
    teaching,
    training,
)
from slmkit.model.counting import count_parameters, kv_cache_bytes, weight_bytes
from slmkit.paths import root
from slmkit.survey import evidence, statistics, zoo
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import bounds, digits

REAL = "SmolLM2-135M"  # the published model that the labs load


def _claim(number: str, column: str) -> str:
    return next(row[column] for row in rows("claims") if row["id"] == number)


def _organisations() -> str:
    return str(len({row["organisation"] for row in statistics.listed("v3")}))


def _size(pick: Callable) -> str:
    count = pick(int(row["params_exact"]) for row in statistics.listed("v3") if row["params_exact"])
    return millions(count)


def _pace(half: str, families: bool = False) -> str:
    return str(statistics.release_pace("v3", families)[half])


def _data(kind: str) -> str:
    """How many models of version 3's table were trained on closed data, on open data, or on data it does not state."""
    data = [row["pretraining_datasets"] for row in statistics.listed("v3")]
    counts = {"closed": data.count("closed"), "unstated": data.count("")}
    counts["open"] = len(data) - sum(counts.values())
    return str(counts[kind])


def millions(count: float) -> str:
    """A count of parameters for people: "135 million", "4.2 billion"."""
    return f"{count / 1e6:.0f} million" if count < 1e9 else f"{count / 1e9:.1f} billion"


def _decided(claim: str, part: str) -> str:
    """The value, the interval or the verdict of a claim that the survey's own tables decide."""
    estimate, verdict = evidence.decide(claim)
    texts = {"value": digits(estimate.value), "interval": bounds(estimate.low, estimate.high) or "exact"}
    return (texts | {"verdict": verdict})[part]


RECORDED = {  # what a page may quote of a committed record; the size is the effect without its sign
    "size": lambda made: digits(abs(made["effect"])),
    "interval": lambda made: bounds(*made["interval"]) if made["interval"] else "exact",
    "seeds": lambda made: str(made["seeds_used"]),
    "verdict": lambda made: made["verdict"],
    "note": lambda made: made["note"],
    "machine": lambda made: made["machine"]["cpu"],
}


def _recorded(path: Path) -> dict[str, Callable[[], str]]:
    made = json.loads(path.read_text(encoding="utf-8"))
    untold = {"note"} if not made["note"] else set()
    if made["effect"] is None:  # it cannot be tested here
        untold |= {"size", "interval", "seeds"}
    return {f"record.{path.stem}.{part}": partial(say, made) for part, say in RECORDED.items() if part not in untold}


def _recipe(part: str) -> str:
    return f"{statistics.recipe_shares(2024)[part]:.0f}%"


FACTS: dict[str, Callable[[], str]] = {
    "survey.models_v1": lambda: str(len(statistics.listed("v1"))),
    "survey.models_v3": lambda: str(len(statistics.listed("v3"))),
    "survey.models_printed": lambda: _claim("C5", "survey_value"),
    "survey.models_file": lambda: str(len(rows("models"))),
    "survey.families": lambda: str(len({statistics.family(row) for row in statistics.listed("v3")})),
    "survey.organisations": _organisations,
    "survey.smallest": lambda: _size(min),
    "survey.largest": lambda: _size(max),
    "survey.tuned": lambda: str(statistics.tuned("v3")),
    "survey.first_release": lambda: min(row["release"] for row in statistics.listed("v3")),
    "survey.last_release": lambda: max(row["release"] for row in statistics.listed("v3")),
    "survey.open_data": lambda: _data("open"),
    "survey.closed_data": lambda: _data("closed"),
    "survey.unstated_data": lambda: _data("unstated"),
    "pace.first_half": lambda: _pace("2022 H1"),
    "pace.families_first_half": lambda: _pace("2022 H1", families=True),
    "pace.models_2023H1": lambda: _pace("2023 H1"),
    "pace.models_2023H2": lambda: _pace("2023 H2"),
    "pace.families_2023H1": lambda: _pace("2023 H1", families=True),
    "pace.families_2023H2": lambda: _pace("2023 H2", families=True),
    "pace.families_2024H1": lambda: _pace("2024 H1", families=True),
    "pace.families_2024H2": lambda: _pace("2024 H2", families=True),
    "recipe.gqa_2024": lambda: _recipe("grouped attention"),
    "recipe.gated_2024": lambda: _recipe("gated FFN"),
    "recipe.rmsnorm_2024": lambda: _recipe("RMSNorm"),
    "recipe.all_2024": lambda: _recipe("all"),
    "claims.total": lambda: str(len(rows("claims"))),
    "claims.insights": lambda: str(len({row["number"] for row in rows("claims") if row["mark"] == "K"})),
    "claims.problems": lambda: str(sum(row["problem"] != "" for row in rows("claims"))),
    "claims.decided_by_tables": lambda: str(len(evidence.DECIDED)),
    "zoo.buildable": lambda: str(len(zoo.available(since=False))),
    "smollm2.parameters": lambda: f"{count_parameters(zoo.config(REAL)).total:,}",
    "smollm2.layers": lambda: str(zoo.config(REAL).n_layers),
    "smollm2.megabytes": lambda: f"{weight_bytes(zoo.config(REAL)) / 1e6:.0f} MB",
    "smollm2.cache_2048": lambda: f"{kv_cache_bytes(zoo.config(REAL), 2048) / 1e6:.0f} MB",
    "labs.count": lambda: str(len(list((root() / "labs").glob("[0-9][0-9]_*.py")))),
}
FACTS |= {f"claim.{row['id']}.survey": partial(_claim, row["id"], "survey_value")
          for row in rows("claims") if row["survey_value"]}  # fmt: skip
for _id in evidence.DECIDED:
    for _part in ("value", "interval", "verdict"):
        FACTS[f"claim.{_id}.{_part}"] = partial(_decided, _id, _part)
for _path in (root() / "book" / "records").glob("*.json"):
    FACTS |= _recorded(_path)
FACTS |= facts_trends.FACTS | attention.FACTS | feedforward.FACTS | sharing.FACTS | findings.facts()
FACTS |= data_quality.FACTS | data_quantity.FACTS | datasets.FACTS | training.FACTS | pipelines.FACTS | mup_page.FACTS
FACTS |= practice_page.FACTS
FACTS |= latency_page.FACTS | memory_page.FACTS | lora_page.FACTS | runtime_bench.FACTS | killtable.FACTS
FACTS |= distillation.FACTS | capability.FACTS | harness_page.FACTS | quantization.FACTS | hardware.FACTS
FACTS |= teaching.FACTS
