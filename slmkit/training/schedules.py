"""Learning-rate schedules: warm-up, then constant, cosine, or stable and decay (WSD)."""

import math

from slmkit.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of `step` (from 0). The last step still learns, at `final_rate` of the peak or a little above.

    cosine (Loshchilov and Hutter 2017) falls from the end of warm-up to the end of the run. wsd (MiniCPM, Hu et al.
    2024) stays at the peak until the last `decay` share of the steps and falls linearly there.
    """
    return config.learning_rate * share(config, step)


def share(config: TrainingConfig, step: int) -> float:
    """The share of the peak rate: up to 1 in the warm-up, then down to `final_rate`."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    start = config.warmup
    if config.schedule == "wsd":
        start = max(start, round(config.steps * (1 - config.decay)))
        if step < start:
            return 1.0
    done = (step - start) / (config.steps - start)  # from 0 to just below 1
    falling = 1 - done if config.schedule == "wsd" else (1 + math.cos(math.pi * done)) / 2
    return config.final_rate + (1 - config.final_rate) * falling
