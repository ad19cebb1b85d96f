"""Right answers to lab 09's exercises, written otherwise than the lab's."""

import math
from itertools import accumulate

import numpy as np
import torch


def share_by_cases(step, steps, warmup, decay, final=0.0):
    if step < warmup:
        return (1 + step) / warmup
    if step < steps - decay:
        return 1.0
    left = (steps - step) / decay
    return left + (1 - left) * final


def share_by_table(step, steps, warmup, decay, final=0.0):
    rising = [(i + 1) / warmup for i in range(warmup)]
    falling = np.linspace(1, final, decay + 1)[:-1].tolist()
    return [*rising, *[1] * (steps - warmup - decay), *falling][step]


def loss_by_accumulate(rates, curvature, noise, w):
    def after(loss, rate):
        return loss * (1 - rate * curvature) ** 2 + curvature * (rate * noise) ** 2 / 2

    return list(accumulate(rates, after, initial=curvature * w * w / 2))[1:]


def loss_by_mean_and_variance(rates, curvature, noise, w):
    variance, losses = 0.0, []
    for rate in rates:
        kept = 1 - rate * curvature
        w, variance = kept * w, kept * kept * variance + (rate * noise) ** 2
        losses.append(0.5 * curvature * (w * w + variance))
    return losses


def floor_by_series(rate, curvature, noise):
    kept = (1 - rate * curvature) ** 2
    return curvature / 2 * (rate * noise) ** 2 / (1 - kept) if kept < 1 else math.inf


def floor_by_steps(rate, curvature, noise):
    if rate * curvature >= 2:
        return float("inf")
    square = 0.0
    for _ in range(10_000):
        square = (1 - rate * curvature) ** 2 * square + (rate * noise) ** 2
    return 0.5 * curvature * square


def placed_by_cases(place, steps, decay=0.2, good=0.1):
    if place == "none":
        return [(steps, 0.0)]
    if place == "spread":
        return [(steps, good)]
    if place == "alone":
        few = round(good * steps)
        return [(steps - few, 0.0), (few, good * steps / few)]
    few = round(decay * steps)
    stages = [(few, good / (few / steps)), (steps - few, 0.0)]
    return stages if place == "start" else [stages[1], stages[0]]


def placed_by_table(place, steps, decay=0.2, good=0.1):
    width = round({"none": 1, "spread": 1, "start": decay, "end": decay, "alone": good}[place] * steps)
    rich = (width, 0.0 if place == "none" else steps * good / width)
    poor = [(steps - width, 0.0)] if width < steps else []
    return [rich, *poor] if place == "start" else [*poor, rich]


CONTRASTS = [[-1.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0], [1.0, -1.0, -1.0, 1.0]]


def effects_by_matrix(losses):
    return torch.tensor(CONTRASTS, dtype=losses.dtype) @ losses.flatten(0, 1)


def effects_by_seed(losses):
    rows = []
    for plain, decay, end, both in losses.reshape(4, -1).T.tolist():
        rows.append([decay - plain, end - plain, (both - end) - (decay - plain)])
    return torch.tensor(rows).T


RIGHT = {
    "09/wsd_share": [share_by_cases, share_by_table],
    "09/mean_loss": [loss_by_accumulate, loss_by_mean_and_variance],
    "09/floor": [floor_by_series, floor_by_steps],
    "09/placed": [placed_by_cases, placed_by_table],
    "09/effects": [effects_by_matrix, effects_by_seed],
}
