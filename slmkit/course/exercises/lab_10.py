"""Checkers of lab 10, maximal update parametrisation."""

import math

import numpy as np
import torch

from slmkit.course.checking import Wrong, call, compare, exercise


@exercise("10/first_step")
def first_step(answer):
    x, g, rate = torch.tensor([0.5, -2.0, 1.0, 0.25]), torch.tensor([-0.3, 0.1, 2.0]), 0.01
    total, sign = x.abs().sum(), torch.sign(g)
    compare(call(answer, x, g, rate), -rate * sign * total, "the change of three outputs", {
        "the sign is turned: the step goes against the gradient": rate * sign * total,
        "that is the step of plain gradient descent; Adam's first step has the rate's size in every number of W":
            -rate * g * x.square().sum(),
        "that is how far one number of W moves; an output sums over all inputs": -rate * sign,
        "the step's size is the rate, whatever the gradient's: take its sign": -rate * g * total,
        "the inputs' signs cancel: the gradient of W is g xᵀ, and its sign holds that of x": -rate * sign * x.sum(),
        "an output is a sum over the inputs, not their mean": -rate * sign * x.abs().mean(),
        "that takes the length of x; each term of the sum is |x|": -rate * sign * x.norm(),
        "each input moves its own output here; every output sums over all inputs":
            torch.stack([-rate * s * x.abs()[i] for i, s in enumerate(sign)]),
        "the rate is missing": -sign * total,
    })  # fmt: skip


@exercise("10/rate_factor")
def rate_factor(answer):
    cases = {
        "a square hidden matrix": ((32, 32), (128, 128)),
        "the FFN's last matrix": ((32, 96), (96, 288)),
        "a hidden matrix whose outputs grow more than its inputs": ((32, 16), (128, 32)),
        "an embedding": ((512, 32), (512, 128)),
        "a matrix with a fixed number of outputs": ((1, 64), (1, 128)),
        "a matrix that reads a fixed number of inputs": ((32, 8), (128, 8)),
        "a norm's weight": ((32,), (128,)),
        "a hidden matrix at the base": ((32, 96), (32, 96)),
    }
    for what, (base, now) in cases.items():
        grown = [b / a for a, b in zip(base, now)]
        hidden = len(grown) == 2 and 1 not in grown
        right = 1 / grown[1] if hidden else 1.0
        mistakes = {
            "that divides by the growth of the outputs; Adam's rate falls with the inputs, which are summed":
                1 / grown[0] if hidden else 1.0,
            "the rate falls with the growth itself, not its root": grown[-1] ** -0.5 if hidden else 1.0,
            "it should fall with the width; yours grows": grown[-1] if hidden else 1.0,
            "only the growth counts, not the number of inputs": 1 / now[-1] if hidden else 1.0,
            "that divides by the growth of both sides; the inputs alone count":
                1 / (grown[0] * grown[-1]) if hidden else 1.0,
            "only hidden matrices, whose two sides grow, get another rate": 1 / max(grown),
            "a vector has no inputs that are summed; it keeps the rate": 1 / grown[0] if len(grown) == 1 else right,
            "only hidden matrices need another rate, and they do: two sides grow": 1.0,
            "a matrix keeps the rate unless both its sides grow": 1 / grown[-1] if len(grown) == 2 else right,
        }  # fmt: skip
        mistakes = {message: value for message, value in mistakes.items() if not math.isclose(value, right)}
        compare(call(answer, base, now), right, f"the factor for {what}, {list(base)} to {list(now)},", mistakes)


@exercise("10/score_factor")
def score_factor(answer):
    for now, base in ((96, 24), (16, 16), (128, 32), (8, 16)):
        right = math.sqrt(base) / now
        mistakes = {
            "that is the usual 1/√d; µP divides by d": now**-0.5,
            "that is 1/d, which at the base width is not the usual 1/√d": 1 / now,
            "that is the base's factor at every width; divide it by the growth of the head": base**-0.5,
            "the growth is upside down: a wider head needs a smaller factor": base**-0.5 * now / base,
            "that is the growth alone; at the base width the factor is 1/√d": base / now,
            "that divides by the root of the growth twice over: 1/√(base) times base/d is enough": now**-0.5
            * base
            / now,
            "the base's factor is 1/√d, not 1/d": 1 / base * base / now if now != base else 1 / base,
            "that divides by the square of the growth": base**-0.5 * (base / now) ** 2,
        }
        mistakes = {message: value for message, value in mistakes.items() if not math.isclose(value, right)}
        compare(call(answer, now, base), right, f"the factor for heads of {now} when the base has {base}", mistakes)


@exercise("10/slope")
def slope(answer):
    widths, sizes = [32, 64, 256, 512], [1.0, 3.0, 7.0, 40.0]
    x, y = np.log(widths), np.log(sizes)

    def fit(x, y):
        return np.polyfit(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 1)

    compare(call(answer, widths, sizes), fit(x, y)[0], "the slope through four points", {
        "the logarithms are missing": fit(widths, sizes)[0],
        "the logarithm of the sizes is missing": fit(x, sizes)[0],
        "the logarithm of the widths is missing": fit(widths, y)[0],
        "that is the intercept; the slope is the other number": fit(x, y)[1],
        "that is the slope of widths against sizes; turn it round": fit(y, x)[0],
        "that joins the first point and the last; use all points": (y[-1] - y[0]) / (x[-1] - x[0]),
        "that is the mean of the slopes between neighbours; use least squares": (np.diff(y) / np.diff(x)).mean(),
        "that line goes through the origin; it needs an intercept": (x * y).sum() / (x * x).sum(),
        "that is the correlation; divide by the spread of the widths alone": np.corrcoef(x, y)[0, 1],
    })  # fmt: skip
    compare(call(answer, [16, 64, 32], [2.0, 8.0, 4.0]), 1.0, "the slope of sizes in proportion to widths", {
        "the logarithms have bases that differ": math.log2(math.e)})  # fmt: skip


@exercise("10/best_rate")
def best_rate(answer):
    rates, losses = [0.001, 0.004, 0.008, 0.04, 0.1], np.array([5.0, 4.2, 4.0, 4.6, 6.0])

    def vertex(x, y):
        square, linear, _ = np.polyfit(x, y, 2)
        return -linear / (2 * square)

    logs = np.log(rates)
    right = math.exp(vertex(logs[1:4], losses[1:4]))
    compare(call(answer, rates, losses), right, "the best of five rates", {
        "that is the lowest of the rates tried; the parabola's lowest point lies beside it": rates[2],
        "that is the place in the list; the rate is asked for": 2,
        "the parabola runs over the rate itself; use its logarithm": vertex(rates[1:4], losses[1:4]),
        "the parabola is fitted to all losses; use the lowest and its two neighbours": math.exp(vertex(logs, losses)),
        "that is the logarithm of the rate": vertex(logs[1:4], losses[1:4]),
        "that is ten to the power of a natural logarithm": 10 ** vertex(logs[1:4], losses[1:4]),
        "that is the least loss of the parabola, not its place":
            np.polyval(np.polyfit(logs[1:4], losses[1:4], 2), vertex(logs[1:4], losses[1:4])),
        "the lowest point of a x² + b x + c is at -b / 2a; the 2 is missing":
            math.exp(2 * vertex(logs[1:4], losses[1:4])),
        "the lowest point of a x² + b x + c is at -b / 2a; the sign is turned":
            math.exp(-vertex(logs[1:4], losses[1:4])),
        "that is the rate of the greatest loss": rates[4],
    }, atol=1e-6)  # fmt: skip
    falling, rising = np.array([5.0, 4.5, 4.2, 4.1, 4.0]), np.array([4.0, 4.1, 4.2, 4.5, 5.0])
    ends = {"the last": (falling, slice(2, 5), 4), "the first": (rising, slice(0, 3), 0)}
    for which, (values, near, best) in ends.items():
        compare(call(answer, rates, values), rates[best], f"the best when {which} rate has the least loss", {
            "at an end there is no neighbour on one side, and a parabola would guess; give the rate itself":
                math.exp(vertex(logs[near], values[near])),
            "at an end the rate itself is asked for, not its neighbour": rates[1 if best == 0 else 3],
        }, atol=1e-6)  # fmt: skip
    diverged = np.array([5.0, 4.2, 4.0, np.inf, np.inf])
    got = call(answer, rates, diverged)
    if not np.isfinite(got):
        raise Wrong("a parabola through infinity has no lowest point; beside a run that diverged give the rate itself")
    compare(got, rates[2], "the best when its right neighbour diverged", {
        "use no point further away: beside a run that diverged give the rate itself":
            math.exp(vertex(logs[:3], diverged[:3])),
    }, atol=1e-6)  # fmt: skip
