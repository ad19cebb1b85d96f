"""Shapes side by side: published ones made shorter; prefill, decode and breakdowns of several decoders."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev

import torch

from slmkit.config import ModelConfig
from slmkit.model.decoder import Decoder
from slmkit.model.generation import generate
from slmkit.profiling.latency import measure_steps
from slmkit.profiling.operators import Breakdown, breakdown
from slmkit.profiling.timing import Timing, measure_in_turn
from slmkit.survey import zoo

PHASES = ("prefill", "decode")
ATTEMPTS = 10  # at a breakdown whose rows sum to its total


def shortened(config: ModelConfig, share: int, max_context: int = 512) -> ModelConfig:
    """The model with its layers and its vocabulary divided by `share`: each layer keeps its shape, each part its share.

    ValueError when the layers do not divide, or are not all of one shape.
    """
    if share < 1 or config.n_layers % share:
        raise ValueError(f"share is {share}; it must divide the {config.n_layers} layers")
    if any(config.layer(i) != config.layer(0) for i in range(config.n_layers)):
        raise ValueError("the layers differ in shape, so fewer of them are another model")
    return replace(config, n_layers=config.n_layers // share, vocab_size=config.vocab_size // share,
                   max_context=max_context)  # fmt: skip


def of_survey(shares: Mapping[str, int], max_context: int = 512) -> dict[str, ModelConfig]:
    """Models of the survey by name, each shortened by its share."""
    return {name: shortened(zoo.config(name), share, max_context) for name, share in shares.items()}


def measure_shapes(configs: Mapping[str, ModelConfig], seeds: Sequence[int], repeats: int = 5, prompt: int = 50,
                   context: int = 75, device="cpu") -> dict[str, list[float]]:  # fmt: skip
    """Milliseconds by "prefill_NAME" and "decode_NAME", a number a seed: the median of its repeats.

    The weights are drawn once, at random, which takes as long as trained ones. A seed draws the prompt and the order in
    which all run in turn. A step of decoding sees `context` tokens and is repeated three times as often.
    """
    models = {name: Decoder(config).to(device) for name, config in configs.items()}
    found = {f"{phase}_{name}": [] for name in models for phase in PHASES}
    for seed in seeds:
        order = random.Random(seed).sample([*models], len(models))
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(min(c.vocab_size for c in configs.values()), (1, prompt), generator=generator).to(device)
        works = {name: partial(generate, models[name], ids, 1) for name in order}
        timings = (
            measure_in_turn(works, repeats=repeats, device=device),
            measure_steps({name: models[name] for name in order}, context, 3 * repeats),
        )
        for phase, timed in zip(PHASES, timings):
            for name, timing in timed.items():
                found[f"{phase}_{name}"].append(1e3 * timing.median)
    return found


def measure_lengths(model: Decoder, prompts: Sequence[int], contexts: Sequence[int], seeds: Sequence[int],
                    repeats: int = 5) -> tuple[list[dict[int, Timing]], list[dict[int, Timing]]]:  # fmt: skip
    """Prefill by the prompt's length, all in turn, and a step of decoding by its context; a dictionary a seed each."""
    device, reads, steps = model.embedding.weight.device, [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(model.config.vocab_size, (1, max(prompts)), generator=generator).to(device)
        works = {length: partial(generate, model, ids[:, :length], 1) for length in prompts}
        reads.append(measure_in_turn(works, repeats=repeats, device=device))
        steps.append({length: measure_steps({"": model}, length, 3 * repeats)[""] for length in contexts})
    return reads, steps


def measure_breakdowns(models: Mapping[str, Decoder], seeds: Sequence[int],
                       **options) -> dict[tuple[str, str], list[Breakdown]]:  # fmt: skip
    """(phase, name) -> the breakdown by each seed, with `operators.breakdown`'s options.

    Where a busy machine breaks in between two of its clocks the rows miss the total, and it is tried again. Raises
    RuntimeError when that does not help.
    """
    return {
        (phase, name): [_unbroken(model, phase=phase, seed=seed, **options) for seed in seeds]
        for phase in PHASES
        for name, model in models.items()
    }


def _unbroken(model: Decoder, **options) -> Breakdown:
    for _ in range(ATTEMPTS - 1):
        try:
            return breakdown(model, **options)
        except RuntimeError:
            continue
    return breakdown(model, **options)


def products_share(found: Mapping[tuple[str, str], Sequence[Breakdown]], name: str, steps: int) -> list[float]:
    """From `measure_breakdowns`: by seed, the share of products with weights in a prefill and `steps` steps."""
    shares = []
    for prefill, decode in zip(found["prefill", name], found["decode", name], strict=True):
        products = prefill.total * prefill.products + steps * decode.total * decode.products
        shares.append(products / (prefill.total + steps * decode.total))
    return shares


def of_phase(phase: str, times: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Of what `measure_shapes` gives, the times of one phase by the shapes' names."""
    return {name.removeprefix(f"{phase}_"): t for name, t in times.items() if name.startswith(f"{phase}_")}


def ratio(times: Mapping[str, Sequence[float]], one: str, other: str, phase: str = "prefill") -> list[float]:
    """Of what `measure_shapes` gives, by each seed, the time of one shape over that of another."""
    return [a / b for a, b in zip(times[f"{phase}_{one}"], times[f"{phase}_{other}"], strict=True)]


def slowest_over_fastest(times: Mapping[str, Sequence[float]]) -> list[float]:
    """By each seed, the time of the slowest over that of the fastest, both picked by the *other* seeds' means.

    Picked by the same seed, noise alone would give a ratio above 1.
    """
    ratios = []
    for i in range(_seeds(times)):
        others = {name: fmean([*values[:i], *values[i + 1 :]]) for name, values in times.items()}
        ratios.append(times[max(others, key=others.get)][i] / times[min(others, key=others.get)][i])
    return ratios


def spread(times: Mapping[str, Sequence[float]]) -> list[float]:
    """By each seed, the standard deviation of the times' logarithms: about the relative difference between works."""
    return [stdev(math.log(values[i]) for values in times.values()) for i in range(_seeds(times))]


def _seeds(times: Mapping[str, Sequence[float]]) -> int:
    counts = {len(values) for values in times.values()}
    if len(times) < 2 or len(counts) != 1 or min(counts) < 2:
        raise ValueError("at least two works are needed, each with a time for each of the same two or more seeds")
    return counts.pop()
