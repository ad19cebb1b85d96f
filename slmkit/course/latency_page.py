"""The numbers of the pages on runtime and on latency: what bytes and FLOPs explain of the survey's Figures 8 and 12.

Twenty models at 4 bits on a Jetson, 50 prompt tokens and 50 generated ones. Bytes are those of the engine's formats.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import permutations
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from slmkit.course import memory_page
from slmkit.course.data_quality import told
from slmkit.model.counting import count_parameters, flops_by_part, kv_cache_bytes
from slmkit.profiling.roofline import decode_cost, prefill_cost
from slmkit.survey import zoo
from slmkit.survey.evidence import latency
from slmkit.survey.evidence.estimates import Estimate, bootstrap

PROMPT, NEW = 50, 50
MIDDLE = PROMPT + NEW // 2  # tokens that a decoding step sees in the mean
FIGURES = {"prefill": latency.PREFILL, "decode": latency.DECODE}
DATA_SHEET = 102.4  # GB/s of the Jetson Orin NX 16GB's memory: NVIDIA's data sheet DS-10712-001, version 1.1
LABELLED = ("Qwen1.5-0.5B", "Qwen2-0.5B")  # the two models of Figure 12
REAL = "SmolLM2-135M"  # the example of the page


class Cost(NamedTuple):
    """What a phase of one model takes, and two counts of its parameters."""

    count: float  # as the engine reports
    unique: float
    bytes: float  # weights once, the cache once
    flops: float
    layers: float


DESIGNS: dict[str, tuple[str, ...]] = {
    "count": ("count",),
    "unique": ("unique",),
    "bytes": ("bytes",),
    "flops": ("flops",),
    "both": ("bytes", "flops"),
    "all": ("bytes", "flops", "layers"),
}


@cache
def names() -> list[str]:
    """The twenty models of Figure 8."""
    return list(latency.times(latency.PREFILL))


@cache
def cost(name: str, phase: str) -> Cost:
    """What the survey's setting takes of a model. The embedding is a table to look up: its bytes are not read."""
    built, weights = memory_page.configuration(name), memory_page.weights(name)
    tokens = PROMPT if phase == "prefill" else MIDDLE
    work = prefill_cost(built, tokens) if phase == "prefill" else decode_cost(built, tokens)
    return Cost(
        count=1e6 * latency.times(FIGURES[phase])[name][0],
        unique=count_parameters(built).total,
        bytes=sum(weights.values()) - weights["embedding"] + kv_cache_bytes(built, tokens),
        flops=work.flops,
        layers=built.n_layers,
    )


def milliseconds(phase: str) -> np.ndarray:
    return np.array([latency.times(FIGURES[phase])[name][1] for name in names()])


def columns(phase: str, design: str, logs: bool) -> list[np.ndarray]:
    """The columns of a design and the times: as they are, in units of their means, or as logarithms."""
    found = [np.array([getattr(cost(name, phase), field) for name in names()]) for field in DESIGNS[design]]
    return [np.log(column) if logs else column / column.mean() for column in [*found, milliseconds(phase)]]


def fitted(*arrays: np.ndarray) -> np.ndarray:
    """What least squares, with a constant, makes of the last column from the others."""
    *known, aim = (array - array.mean() for array in arrays)
    design = np.column_stack(known)
    return arrays[-1].mean() + design @ np.linalg.solve(design.T @ design, design.T @ aim)


def r_squared(*arrays: np.ndarray) -> float:
    """The part of the last column's variance that the others explain."""
    left = arrays[-1] - fitted(*arrays)
    return 1 - float(left @ left) / float(np.var(arrays[-1]) * len(left))


@cache
def explained(phase: str, design: str) -> Estimate:
    """R² on logarithms, with an interval from resampled models."""
    return bootstrap(r_squared, *columns(phase, design, True))


@cache
def gained(phase: str, more: str, less: str) -> Estimate:
    """R² of one design minus that of another, on logarithms, on the same resampled models."""
    first, second = columns(phase, more, True), columns(phase, less, True)
    cut = len(first)
    return bootstrap(lambda *both: r_squared(*both[:cut]) - r_squared(*both[cut:]), *first, *second)


@cache
def left_out(phase: str, design: str) -> list[float]:
    """By how many percent each model's time is above what the fit on the other nineteen says."""
    *known, times = columns(phase, design, True)
    found = []
    for alone in np.eye(len(times)):
        # A column that is 1 for one model takes it out of the fit; its coefficient is what the fit leaves of it.
        rows = np.column_stack([np.ones(len(times)), *known, alone])
        found.append(_percent(np.linalg.lstsq(rows, times, rcond=None)[0][-1]))
    return found


@cache
def residual(phase: str, design: str = "all") -> dict[str, float]:
    """By how many percent a time is above the fit."""
    arrays = columns(phase, design, True)
    return dict(zip(names(), map(_percent, arrays[-1] - fitted(*arrays))))


def standing_out(phase: str, place: int) -> tuple[str, float]:
    """The model in that place, 1 for the furthest, by distance from the fit, and its residual."""
    return sorted(residual(phase).items(), key=lambda item: -abs(np.log1p(item[1] / 100)))[place - 1]


def twins() -> list[tuple[str, str]]:
    """Pairs of models with one configuration: the same work to the engine."""
    built = {name: memory_page.configuration(name) for name in names()}
    return [(a, b) for a, b in permutations(names(), 2) if built[a] == built[b] and a < b]


def comparable(phase: str) -> list[tuple[str, str]]:
    """Ordered pairs: the first takes no more bytes, FLOPs and layers than the second, and is another shape."""
    works = {name: cost(name, phase)[2:] for name in names()}
    return [(a, b) for a, b in permutations(names(), 2)
            if works[a] != works[b] and all(x <= y for x, y in zip(works[a], works[b]))]  # fmt: skip


def inversions(phase: str) -> list[tuple[str, str]]:
    """Those of them where the first was slower all the same, by more than the reading leaves open; the worst first."""
    times = dict(zip(names(), milliseconds(phase)))
    found = [(a, b) for a, b in comparable(phase) if times[a] - times[b] > 2 * latency.READ]
    return sorted(found, key=lambda pair: -times[pair[0]] / times[pair[1]])


@cache
def line(phase: str = "decode") -> tuple[Estimate, Estimate]:
    """Of a line through time against bytes: GB/s, from its slope, and the milliseconds at no bytes."""
    read = np.array([cost(name, phase).bytes for name in names()]) / 1e6
    slope = bootstrap(lambda x, y: 1 / np.polyfit(x, y, 1)[0], read, milliseconds(phase))
    start = bootstrap(lambda x, y: np.polyfit(x, y, 1)[1], read, milliseconds(phase))
    return slope, start


@cache
def per_layer(phase: str = "decode") -> Estimate:
    """Milliseconds that a layer adds beyond its bytes, in a plane through time against bytes and layers."""
    works = [cost(name, phase) for name in names()]
    arrays = [work.bytes for work in works], [work.layers for work in works]
    return bootstrap(_second, *arrays, milliseconds(phase))


def _second(first: np.ndarray, second: np.ndarray, aim: np.ndarray) -> float:
    """The slope in the second of two columns."""
    design = np.column_stack([first - first.mean(), second - second.mean()])
    scale = np.abs(design).max(axis=0)
    design = design / scale
    return float((np.linalg.solve(design.T @ design, design.T @ aim) / scale)[1])


def together(phase: str) -> float:
    """Correlation of the logarithms of bytes and FLOPs over the models."""
    first, second, _ = columns(phase, "both", True)
    return float(np.corrcoef(first, second)[0, 1])


def intensity(phase: str) -> tuple[float, float]:
    """The least and the most FLOPs a byte over the models."""
    found = [cost(name, phase).flops / cost(name, phase).bytes for name in names()]
    return min(found), max(found)


# -- Figure 12 -------------------------------------------------------------------------------------------------------


def expected_shares(name: str, phase: str, by: str) -> dict[str, float]:
    """Percent of bytes, or of FLOPs, in attention, FFN and head, which is what time follows if one of them rules."""
    built = memory_page.configuration(name)
    tokens = PROMPT if phase == "prefill" else MIDDLE
    if by == "bytes":
        found = {part: memory_page.weights(name)[part] for part in ("attention", "ffn", "head")}
        found["attention"] += kv_cache_bytes(built, tokens)
    else:
        found = flops_by_part(built, tokens, phase)
        found["attention"] += found.pop("scores")
        if phase == "prefill":
            found["head"] /= tokens  # logits of the last token alone
    return {label: 100 * found[part] / sum(found.values())
            for part, label in (("attention", "Attention"), ("ffn", "FFN"), ("head", "LM Head"))}  # fmt: skip


# -- the example -----------------------------------------------------------------------------------------------------


def example(phase: str, part: str) -> float:
    """FLOPs, bytes or FLOPs a byte of SmolLM2-135M in bfloat16, in the survey's setting."""
    built = zoo.config(REAL)
    work = prefill_cost(built, PROMPT, torch.bfloat16) if phase == "prefill" else decode_cost(
        built, MIDDLE, torch.bfloat16)  # fmt: skip
    return getattr(work, part)


def _percent(logarithm: float) -> float:
    return 100 * float(np.expm1(logarithm))


def surplus(first: str, second: str, phase: str, field: str) -> float:
    """By how many percent the first model takes more of a field of Cost than the second."""
    return 100 * (getattr(cost(first, phase), field) / getattr(cost(second, phase), field) - 1)


# -- what the pages say ----------------------------------------------------------------------------------------------

SIGNED = "{:+.0f}%"
PAIRS = {"pythia": ("Qwen1.5-1.8B", "Pythia-1.4B"), "qwen": ("Qwen1.5-0.5B", "Qwen2-0.5B"),
         "openelm": ("OpenELM-3B", "Phi-2")}  # fmt: skip
STEPS = {"corrected": ("unique", "count"), "read": ("bytes", "count"), "flops": ("flops", "bytes"),
         "layers": ("all", "both")}  # fmt: skip


def _said(text: str, *values) -> str:
    return text.format(*values).replace("-", "−")


def _typical(values) -> str:
    return f"{median(map(abs, values)):.0f}%"


def _apart(phase: str) -> str:
    """By how many percent the slower of two models with one configuration took longer."""
    times = [latency.times(FIGURES[phase])[name][1] for name in twins()[0]]
    return f"{100 * (max(times) / min(times) - 1):.0f}%"


FACTS: dict[str, Callable[[], str]] = {
    "latency.models": lambda: str(len(names())),
    "latency.prompt": lambda: str(PROMPT),
    "latency.new": lambda: str(NEW),
    "latency.twins": lambda: " and ".join(twins()[0]),
    "latency.bandwidth": lambda: told(line()[0], 1)["value"],
    "latency.bandwidth.interval": lambda: told(line()[0], 1)["interval"],
    "latency.bandwidth.sheet": lambda: f"{DATA_SHEET:g}",
    "latency.bandwidth.share": lambda: f"{100 * line()[0].value / DATA_SHEET:.0f}%",
    "latency.start": lambda: told(line()[1], 1)["value"],
    "latency.start.interval": lambda: told(line()[1], 1)["interval"],
    "latency.openelm.less": lambda: f"{latency.faster(*PAIRS['openelm']):.1f}",
    "latency.layer": lambda: told(per_layer(), 2)["value"],
    "latency.layer.interval": lambda: told(per_layer(), 2)["interval"],
    "latency.example.prefill.gflops": lambda: f"{example('prefill', 'flops') / 1e9:.1f}",
    "latency.example.decode.gflops": lambda: f"{example('decode', 'flops') / 1e9:.2f}",
    "latency.example.decode.mb": lambda: f"{example('decode', 'bytes') / 1e6:.0f}",
    "latency.example.prefill.intensity": lambda: f"{example('prefill', 'intensity'):.0f}",
    "latency.example.decode.intensity": lambda: f"{example('decode', 'intensity'):.1f}",
}
for _phase in FIGURES:
    FACTS |= {
        f"latency.{_phase}.together": lambda phase=_phase: f"{together(phase):.3f}",
        f"latency.{_phase}.least": lambda phase=_phase: f"{intensity(phase)[0]:.0f}",
        f"latency.{_phase}.most": lambda phase=_phase: f"{intensity(phase)[1]:.0f}",
        f"latency.{_phase}.comparable": lambda phase=_phase: str(len(comparable(phase))),
        f"latency.{_phase}.inversions": lambda phase=_phase: str(len(inversions(phase))),
        f"latency.{_phase}.twins": partial(_apart, _phase),
        f"latency.{_phase}.typical": lambda phase=_phase: _typical(residual(phase).values()),
        f"latency.{_phase}.inverted.first": lambda phase=_phase: inversions(phase)[0][0],
        f"latency.{_phase}.inverted.second": lambda phase=_phase: inversions(phase)[0][1],
        f"latency.{_phase}.inverted.ratio": lambda phase=_phase: (
            f"{latency.ratio(*inversions(phase)[0], FIGURES[phase]):.1f}"
        ),
    }
    for _place in (1, 2, 3, 4):
        FACTS |= {
            f"latency.{_phase}.out.{_place}": lambda phase=_phase, i=_place: standing_out(phase, i)[0],
            f"latency.{_phase}.out.{_place}.by": lambda phase=_phase, i=_place: _said(
                SIGNED, standing_out(phase, i)[1]
            ),
        }
    for _design in DESIGNS:
        FACTS[f"latency.{_phase}.{_design}.left_out"] = lambda p=_phase, d=_design: _typical(left_out(p, d))
        FACTS[f"latency.{_phase}.{_design}.time"] = lambda p=_phase, d=_design: (
            f"{r_squared(*columns(p, d, False)):.2f}"
        )
        for _part in ("value", "interval"):
            FACTS[f"latency.{_phase}.{_design}.{_part}"] = lambda p=_phase, d=_design, part=_part: told(
                explained(p, d), 2
            )[part]
    for _step, _pair in STEPS.items():
        for _part in ("value", "interval"):
            FACTS[f"latency.{_phase}.step.{_step}.{_part}"] = lambda p=_phase, pair=_pair, part=_part: told(
                gained(p, *pair), 3, "+"
            )[part]
for _name in ("Gemma-2B", "SmolLM-135M", "SmolLM-360M"):
    for _phase in FIGURES:
        for _design in ("bytes", "all"):
            FACTS[f"latency.{_phase}.of.{_name}.{_design}"] = lambda n=_name, p=_phase, d=_design: _said(
                SIGNED, residual(p, d)[n]
            )
for _short, _pair in PAIRS.items():
    for _phase in FIGURES:
        for _field in ("count", "bytes", "flops"):
            FACTS[f"latency.{_short}.{_phase}.{_field}"] = lambda pair=_pair, phase=_phase, field=_field: _said(
                SIGNED, surplus(*pair, phase, field)
            )
for _name in LABELLED:
    for _phase in FIGURES:
        for _module in ("Attention", "FFN", "LM Head"):
            _key = f"latency.share.{_name}.{_phase}.{_module.split()[-1].lower()}"
            FACTS[_key] = lambda key=(_name, _phase, _module): f"{latency.shares('module')[key]:.0f}%"
            for _by in ("bytes", "flops"):
                FACTS[f"{_key}.{_by}"] = lambda n=_name, p=_phase, m=_module, by=_by: (
                    f"{expected_shares(n, p, by)[m]:.0f}%"
                )
