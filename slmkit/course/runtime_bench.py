"""How far decoding stays from the memory's limit: the record of `slmkit bench --only runtime`, and lab 14's fit."""

import json
import re
from functools import cache, partial

from slmkit.course.findings import kept
from slmkit.paths import root

# Copied from build/records/bench-runtime.json.
RECORD = root() / "book" / "records" / "bench" / "runtime.json"
NAMES = {
    "transformers-fp32": "transformers fp32",
    "fp32": "slmkit fp32",
    "fp32-compiled": "slmkit fp32, compiled",
    "transformers-bf16": "transformers bf16",
    "bf16": "slmkit bf16",
    "bf16-compiled": "slmkit bf16, compiled",
    "int8-compiled": "slmkit int8, compiled",
    "F16": "llama.cpp F16",
    "Q8_0": "llama.cpp Q8_0",
    "Q4_0": "llama.cpp Q4_0",
}
GAINS = (
    ("fp32", "fp32-compiled", "transformers-fp32"),
    ("bf16", "bf16-compiled", "transformers-bf16"),
    ("int8", "int8-compiled", "bf16-compiled"),
)
THREADS = (1, 2)
CAUSES = ("roofline", "row", "layer", "rest")


@cache
def record() -> dict:
    return json.loads(RECORD.read_text(encoding="utf-8"))


@cache
def decoding() -> dict[tuple[str, int], dict]:
    """By contestant and threads: tokens a second, and percent of the bandwidth. Who is in several rows has one time."""
    found = {}
    for row in record()["rows"]:
        if row["what"].startswith("decoding: "):
            mine, other = row["what"].removeprefix("decoding: ").split(" | ")
            shares = re.match(r"(\d+)% peer, (\d+)% ours", row["notes"]["share of the memory's bandwidth"]).groups()
            found[other, row["threads"]] = {"speed": row["theirs"], "share": shares[0]}
            found[mine, row["threads"]] = {"speed": row["ours"], "share": shares[1]}
    return found


def speed(name: str, threads: int) -> str:
    return f"{decoding()[NAMES[name], threads]['speed']:.3g}"


def share(name: str, threads: int) -> str:
    return f"{decoding()[NAMES[name], threads]['share']}%"


def ratio(mine: str, other: str, threads: int) -> str:
    return f"{decoding()[NAMES[mine], threads]['speed'] / decoding()[NAMES[other], threads]['speed']:.2f}"


def fitted(cause: str) -> str:
    """One of the four constants of lab 14's model of a step, as that model prints them."""
    constants = kept()["14-model"]["values"]["constants"]
    words = ("× roofline", "ns a row", "µs a layer", "µs a step")
    return dict(zip(CAUSES, [re.search(rf"([\d.]+) {word}", constants)[1] for word in words]))[cause]


FACTS = {
    "bench.date": lambda: record()["date"],
    "bench.machine": lambda: f"{record()['machine']['cpu']}, {record()['machine']['cores']} cores",
    "bench.same": lambda: f"{100 * record()['same_token']:.1f}%",
}
FACTS |= {f"bench.step.{_cause}": partial(fitted, _cause) for _cause in CAUSES}
for _threads in THREADS:
    for _name, _mine, _other in GAINS:
        FACTS[f"bench.{_name}.gain{_threads}"] = partial(ratio, _mine, _other, _threads)
    for _name in NAMES:
        FACTS[f"bench.{_name}.speed{_threads}"] = partial(speed, _name, _threads)
        FACTS[f"bench.{_name}.share{_threads}"] = partial(share, _name, _threads)
