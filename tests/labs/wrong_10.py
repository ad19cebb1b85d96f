"""Plausible wrong answers to lab 10's exercises: for each, what it gets told."""

import math

import numpy as np
import torch


def growth(base, now):
    return [b / a for a, b in zip(base, now)]


def hidden(base, now):
    return len(base) == 2 and 1 not in growth(base, now)


def line(x, y):
    return np.polyfit(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 1)


def vertex(x, y, two=2, sign=-1):
    square, linear, _ = np.polyfit(x, y, 2)
    return sign * linear / (two * square)


def around(rates, losses, place=np.log, back=np.exp, ends=True, diverged=True, **changed):
    """The right answer with something changed."""
    i = int(np.argmin(losses))
    low = min(max(i - 1, 0), len(rates) - 3)
    if ends and i in (0, len(rates) - 1):
        return rates[i]
    if diverged and not np.isfinite(losses[low : low + 3]).all():
        return rates[i]
    x, y = place(np.array(rates))[low : low + 3], losses[low : low + 3]
    if not np.isfinite(y).all():
        return math.nan
    return float(back(vertex(x, y, **changed)))


def all_points(rates, losses):
    return float(np.exp(vertex(np.log(rates), losses)))


def finite_points(rates, losses):
    i, kept = int(np.argmin(losses)), np.isfinite(losses)
    if kept.all():
        return around(rates, losses)
    near = slice(i - 2, i + 1)
    return float(np.exp(vertex(np.log(rates)[near], losses[near])))


WRONG = {
    "10/first_step": [
        (lambda x, g, rate: rate * torch.sign(g) * x.abs().sum(), "sign is turned"),
        (lambda x, g, rate: -rate * torch.outer(g, x) @ x, "plain gradient descent"),
        (lambda x, g, rate: -rate * torch.sign(g), "one number of W"),
        (lambda x, g, rate: -rate * g * x.abs().sum(), "whatever the gradient's"),
        (lambda x, g, rate: -rate * torch.sign(g) * x.sum(), "signs cancel"),
        (lambda x, g, rate: -rate * torch.sign(g) * x.abs().mean(), "not their mean"),
        (lambda x, g, rate: -rate * torch.sign(g) * x.norm(), "length of x"),
        (lambda x, g, rate: -rate * torch.sign(g) * x.abs()[: len(g)], "its own output"),
        (lambda x, g, rate: -torch.sign(g) * x.abs().sum(), "rate is missing"),
        (lambda x, g, rate: -rate * torch.sign(torch.outer(g, x)), "shape"),
        (lambda x, g, rate: None, "return"),
    ],
    "10/rate_factor": [
        (lambda base, now: 1 / growth(base, now)[0] if hidden(base, now) else 1.0, "growth of the outputs"),
        (lambda base, now: growth(base, now)[1] ** -0.5 if hidden(base, now) else 1.0, "not its root"),
        (lambda base, now: growth(base, now)[1] if hidden(base, now) else 1.0, "yours grows"),
        (lambda base, now: 1 / now[1] if hidden(base, now) else 1.0, "only the growth counts"),
        (lambda base, now: 1 / math.prod(growth(base, now)) if hidden(base, now) else 1.0, "both sides"),
        (lambda base, now: 1 / growth(base, now)[1] if len(base) == 2 else 1.0, "only hidden matrices"),
        (lambda base, now: 1 / growth(base, now)[0] if len(base) == 1 else
            (1 / growth(base, now)[1] if hidden(base, now) else 1.0), "only hidden matrices"),
        (lambda base, now: 1.0, "two sides grow"),
        (lambda base, now: 1 / max(growth(base, now)), "growth of the outputs"),
    ],
    "10/score_factor": [
        (lambda now, base: now**-0.5, "usual 1/√d"),
        (lambda now, base: 1 / now, "not the usual 1/√d"),
        (lambda now, base: base**-0.5, "at every width"),
        (lambda now, base: base**-0.5 * now / base, "upside down"),
        (lambda now, base: base / now, "growth alone"),
        (lambda now, base: now**-0.5 * base / now, "twice over"),
        (lambda now, base: base**-0.5 * (base / now) ** 2, "square of the growth"),
    ],
    "10/slope": [
        (lambda widths, sizes: line(widths, sizes)[0], "logarithms are missing"),
        (lambda widths, sizes: line(np.log(widths), sizes)[0], "of the sizes is missing"),
        (lambda widths, sizes: line(widths, np.log(sizes))[0], "of the widths is missing"),
        (lambda widths, sizes: line(np.log(widths), np.log(sizes))[1], "intercept"),
        (lambda widths, sizes: line(np.log(sizes), np.log(widths))[0], "turn it round"),
        (lambda widths, sizes: math.log(sizes[-1] / sizes[0]) / math.log(widths[-1] / widths[0]), "use all points"),
        (lambda widths, sizes: (np.diff(np.log(sizes)) / np.diff(np.log(widths))).mean(), "between neighbours"),
        (lambda widths, sizes: np.log(sizes) @ np.log(widths) / sum(np.log(widths) ** 2), "through the origin"),
        (lambda widths, sizes: np.corrcoef(np.log(widths), np.log(sizes))[0, 1], "correlation"),
        (lambda widths, sizes: line(np.log(widths), np.log2(sizes))[0], "is wrong"),
    ],
    "10/best_rate": [
        (lambda rates, losses: rates[int(np.argmin(losses))], "lowest of the rates tried"),
        (lambda rates, losses: int(np.argmin(losses)), "place in the list"),
        (lambda rates, losses: around(rates, losses, lambda x: x, lambda x: x), "rate itself; use its logarithm"),
        (all_points, "fitted to all losses"),
        (lambda rates, losses: around(rates, losses, back=lambda x: x), "that is the logarithm"),
        (lambda rates, losses: around(rates, losses, back=lambda x: 10**x), "ten to the power"),
        (lambda rates, losses: around(rates, losses, two=1), "the 2 is missing"),
        (lambda rates, losses: around(rates, losses, sign=1), "sign is turned"),
        (lambda rates, losses: rates[int(np.argmax(losses))], "greatest loss"),
        (lambda rates, losses: around(rates, losses, ends=False), "at an end"),
        (lambda rates, losses: around(rates, losses, diverged=False), "through infinity"),
        (finite_points, "no point further away"),
    ],
}  # fmt: skip
