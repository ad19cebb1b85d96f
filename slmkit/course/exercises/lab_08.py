"""Checkers of lab 08, data quality, quantity, over-training."""

import math

import numpy as np
import torch

from slmkit.course.checking import Wrong, call, compare, exercise


@exercise("08/from_first")
def from_first(answer):
    weight, shift, start, stop = 0.375, 0.875, 6, 26

    def turns(first=start, last=stop, shift=shift, how=torch.floor, weight=weight):
        return how(torch.arange(first, last + 1).double() * weight + shift).diff() > 0

    right = turns()
    compare(call(answer, weight, shift, start, stop), right, "rows 6 to 25 at a weight of 3/8 and a shift of 7/8", {
        "the shift is not used": turns(shift=0.0),
        "that is a row late: row i is the first source's when its count grows from i to i + 1":
            turns(start - 1, stop - 1),
        "that is a row early: row i is the first source's when its count grows from i to i + 1":
            turns(start + 1, stop + 1),
        "the rows are counted from 0; the first one asked for is `start`": turns(0, stop - start),
        "these are the turns of the second source": ~right,
        "that rounds to the nearest; the count is rounded down": turns(how=torch.round),
        "that rounds up; the count is rounded down": turns(how=torch.ceil),
        "the shift is subtracted; add it": turns(shift=-shift),
        "that is the count; a turn is where it grows": torch.floor(torch.arange(start, stop) * weight + shift).long(),
        "that is one row too many: `stop` is not asked for": turns(last=stop + 1),
    })  # fmt: skip
    far = 10**9
    got = call(answer, weight, shift, far, far + 20)
    if torch.is_tensor(got) and got.shape == (20,) and not torch.equal(got, turns(far, far + 20)):
        raise Wrong("after 10⁹ rows the turns are wrong: float32 has seven digits; count in float64 (`.double()`)")
    compare(got, turns(far, far + 20), "rows after the first 10⁹")


def law_at(law, n, d):
    least, a, alpha, b, beta = law
    return least + a * n**-alpha + b * d**-beta


def fitted(n, d, loss, exponents, same=False, least=True, negative=True):
    found = []
    for alpha in exponents:
        for beta in [alpha] if same else exponents:
            columns = np.stack([np.full(len(n), float(least)), n**-alpha, d**-beta], 1)
            parts = np.linalg.lstsq(columns, loss, rcond=None)[0]
            if negative or (parts >= 0).all():
                error = np.square(columns @ parts - loss).sum()
                found.append((error, parts[0], parts[1], alpha, parts[2], beta))
    return min(found)[1:]


@exercise("08/fit_law")
def fit_law(answer):
    law, exponents = (0.8, 20.0, 0.4, 300.0, 0.6), np.linspace(0.2, 1.0, 9)
    n, d = (axis.ravel() for axis in np.meshgrid([1e4, 3e4, 1e5, 4e5], [1e5, 5e5, 2e6]))
    wobble = np.random.default_rng(0).normal(0, 0.01, n.size)
    names = ("E", "A", "alpha", "B", "beta")
    for what, loss in (("losses on the law", law_at(law, n, d)), ("noisy losses", law_at(law, n, d) + wobble)):
        got, right = call(answer, n, d, loss, exponents), fitted(n, d, loss, exponents, negative=False)
        if not isinstance(got, (tuple, list, np.ndarray)) or len(got) != 5:
            raise Wrong("give five numbers: E, A, alpha, B, beta")
        got = [float(one) for one in got]
        others = {
            "alpha and beta have changed places": (right[0], right[1], right[4], right[3], right[2]),
            "A and B have changed places": (right[0], right[3], right[2], right[1], right[4]),
            "alpha belongs to the size, beta to the tokens": (right[0], right[3], right[4], right[1], right[2]),
            "one exponent serves for both; try every pair": fitted(n, d, loss, exponents, same=True),
            "E is missing: the loss that stays however large the model and the text":
                fitted(n, d, loss, exponents, least=False),
            "that is the first pair of exponents; take the one with the least squared error":
                fitted(n, d, loss, exponents[:1]),
            "that is the last pair of exponents; take the one with the least squared error":
                fitted(n, d, loss, exponents[-1:]),
        }  # fmt: skip
        for message, other in others.items():
            if np.allclose(got, other, rtol=1e-3) and not np.allclose(right, other, rtol=1e-3):
                raise Wrong(message)
        for i in (2, 4, 0, 1, 3):
            compare(got[i], float(right[i]), f"{names[i]} of {what}", rtol=1e-3)


@exercise("08/optimal_size")
def optimal_size(answer):
    n = np.array([1e4, 2e4, 5e4, 1.2e5, 4e5])
    loss = 1.9 + 0.05 * np.log(n / 4.5e4) ** 2 + 0.004 * np.log(n / 4.5e4) ** 3
    a, b, c = np.polyfit(np.log(n), loss, 2)
    right, plain = math.exp(-b / (2 * a)), np.polyfit(n, loss, 2)
    mistakes = {
        "that is the logarithm of the size; take its exponential": -b / (2 * a),
        "that is the best of the runs; the parabola's lowest point lies between them": float(n[loss.argmin()]),
        "the parabola is one in the size itself; fit it in its logarithm": -plain[1] / (2 * plain[0]),
        "the lowest point of a x² + b x + c is at -b / 2a; the sign is missing": math.exp(b / (2 * a)),
        "the lowest point of a x² + b x + c is at -b / 2a; the 2 is missing": math.exp(-b / a),
        "exponential and logarithm do not match: both of base e, or both of base 10": 10 ** (-b / (2 * a)),
        "logarithm and exponential do not match: both of base e, or both of base 10":
            math.exp(-b / (2 * a) / math.log(10)),
        "that is the loss at the lowest point; the size is asked for":
            float(np.polyval((a, b, c), -b / (2 * a))),
    }  # fmt: skip
    got = call(answer, n, loss)
    for message, value in mistakes.items():  # of very different sizes, so compared one by one
        if np.ndim(got) == 0 and math.isclose(float(got), value, rel_tol=1e-3):
            raise Wrong(message)
    compare(got, right, "the optimal of five sizes", rtol=1e-3)


@exercise("08/effective_tokens")
def effective_tokens(answer):
    for unique, read, worth in ((50, 400, 15.4), (20, 600, 5.0)):
        again = read / unique - 1

        def tokens(repeats=again, first=unique, unique=unique, worth=worth):
            return first + unique * worth * (1 - math.exp(-repeats / worth))

        compare(call(answer, unique, read, worth), tokens(), f"{read / unique:g} epochs of {unique:g} tokens", {
            "the first epoch is no repetition: there are read / unique - 1 of them": tokens(again + 1),
            "the unique tokens themselves are missing": tokens(first=0.0),
            "that counts a repeated token as a fresh one": read,
            "that counts repeated tokens as nothing": unique,
            "the decay is e^(-repeats / worth), not e^(-repeats · worth)": unique + unique * worth * (
                1 - math.exp(-again * worth)),
            "the repeated part is a multiple of the unique tokens: multiply by `unique`": unique + worth * (
                1 - math.exp(-again / worth)),
            "the repeated part is worth `worth` epochs at most: multiply by it": unique + unique * (
                1 - math.exp(-again / worth)),
        })  # fmt: skip
    compare(call(answer, 1e6, 1e6, 15.4), 1e6, "one epoch, which repeats nothing,")
    compare(call(answer, 1e6, 4e5, 15.4), 4e5, "less than an epoch", {
        "of less than an epoch, no more tokens count than were read": 1e6})  # fmt: skip


@exercise("08/serving_optimum")
def serving_optimum(answer):
    law, sizes = (0.8, 20.0, 0.4, 300.0, 0.6), np.geomspace(1e3, 1e8, 2001)
    loss = law_at(law, 1e5, 2e6)
    with np.errstate(all="ignore"):
        tokens = (law[3] / (loss - law[0] - law[1] * sizes ** -law[2])) ** (1 / law[4])
    reached = np.isfinite(tokens)
    for served in (0.0, 5e6):

        def best(training=6, serving=2, served=served):
            cost = np.where(reached, training * sizes * np.nan_to_num(tokens) + serving * sizes * served, np.inf)
            return [float(sizes[cost.argmin()]), float(tokens[cost.argmin()])]

        got = call(answer, law, loss, served, sizes)
        if not isinstance(got, (tuple, list, np.ndarray)) or len(got) != 2:
            raise Wrong("give two numbers: the size and the tokens to train it on")
        got = [float(one) for one in got]
        if not all(map(math.isfinite, got)):
            raise Wrong("sizes that never reach the loss were not left out: there, the tokens are not a number")
        right = best()
        others = {"size and tokens have changed places": right[::-1]}
        if served:
            others |= {
                "what is served is not counted": best(serving=0),
                "a token of training takes 6 FLOPs a parameter, a served one 2; you gave both the same": best(
                    training=2
                ),
                "only what is served is counted; training costs too": best(training=0),
            }
        for i, what in enumerate(("the size", "the tokens")):
            known = {message: other[i] for message, other in others.items() if not math.isclose(other[i], right[i])}
            compare(got[i], right[i], f"{what} for {served:g} served tokens", known, rtol=1e-3)
