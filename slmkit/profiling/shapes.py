"""Shapes side by side: published ones made shorter, and prefill and decode of several decoders in turn."""

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
from slmkit.profiling.timing import measure_in_turn

PHASES = ("prefill", "decode")


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


def measure_shapes(configs: Mapping[str, ModelConfig], seeds: Sequence[int], repeats: int = 5, prompt: int = 50,
                   context: int = 75, device="cpu") -> dict[str, dict[str, list[float]]]:  # fmt: skip
    """Milliseconds by name and phase ("prefill", "decode"), a number a seed: the median of its repeats.

    The weights are drawn once, at random, which takes as long as trained ones. A seed draws the prompt and the order in
    which all run in turn. A step of decoding sees `context` tokens and is repeated three times as often.
    """
    models = {name: Decoder(config).to(device) for name, config in configs.items()}
    found = {name: {phase: [] for phase in PHASES} for name in models}
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
                found[name][phase].append(1e3 * timing.median)
    return found


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
