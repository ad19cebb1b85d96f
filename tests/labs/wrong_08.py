"""Plausible wrong answers to lab 08's exercises: for each, what it gets told."""

import math
from functools import partial

import numpy as np
import torch


def turns(weight, shift, start, stop, before=0, after=0, how=torch.floor):
    return how(torch.arange(start - before, stop + after + 1).double() * weight + shift).diff() > 0


def in_float32(weight, shift, start, stop):
    return torch.floor(torch.arange(start, stop + 1) * weight + shift).diff() > 0


def law_fit(n, d, loss, exponents, columns=lambda n, d, a, b: (np.ones(len(n)), n**-a, d**-b), pairs=None, order=None):
    best = (math.inf,)
    for a, b in pairs(exponents) if pairs else [(a, b) for a in exponents for b in exponents]:
        matrix = np.stack(columns(n, d, a, b), 1)
        parts = np.linalg.lstsq(matrix, loss, rcond=None)[0]
        error = np.square(matrix @ parts - loss).sum()
        if error < best[0]:
            best = error, parts[0], parts[1], a, parts[2], b
    found = best[1:]
    return [found[i] for i in order] if order else found


def without_least(n, d, a, b):
    return np.zeros(len(n)), n**-a, d**-b


def parabola(n, loss, of=np.log, back=np.exp, scale=-0.5):
    a, b, _ = np.polyfit(of(n), loss, 2)
    return float(back(scale * b / a))


def worth_of(unique, read, worth=15.4, first=1.0, scale=None, rate=None, fewer=0):
    repeats = max(read / unique - 1, 0) + fewer
    gain = (worth if scale is None else scale) * (1 - math.exp(-repeats / worth if rate is None else -repeats * rate))
    return min(unique, read) * first + unique * gain


def served_best(law, loss, served, sizes, training=6, serving=2, flip=False, reachable=True):
    least, a, alpha, b, beta = law
    with np.errstate(all="ignore"):
        tokens = (b / (loss - least - a * sizes**-alpha)) ** (1 / beta)
    cost = training * sizes * tokens + serving * sizes * served
    i = int(np.nanargmin(cost)) if reachable else int(cost.argmin())
    return (tokens[i], sizes[i]) if flip else (sizes[i], tokens[i])


WRONG = {
    "08/from_first": [
        (lambda weight, shift, start, stop: turns(weight, 0.0, start, stop), "shift is not used"),
        (partial(turns, before=1, after=-1), "a row late"),
        (partial(turns, before=-1, after=1), "a row early"),
        (lambda weight, shift, start, stop: turns(weight, shift, 0, stop - start), "the first one asked for"),
        (lambda *given: ~turns(*given), "second source"),
        (partial(turns, how=torch.round), "rounds to the nearest"),
        (partial(turns, how=torch.ceil), "rounds up"),
        (lambda weight, shift, start, stop: turns(weight, -shift, start, stop), "add it"),
        (lambda w, s, start, stop: torch.floor(torch.arange(start, stop) * w + s).long(), "that is the count"),
        (lambda *given: turns(*given).long(), "it should be bool"),
        (partial(turns, after=1), "one row too many"),
        (in_float32, "float32 has seven digits"),
        (lambda *given: None, "return"),
    ],
    "08/fit_law": [
        (partial(law_fit, order=(0, 1, 4, 3, 2)), "alpha and beta have changed places"),
        (partial(law_fit, order=(0, 3, 2, 1, 4)), "A and B have changed places"),
        (lambda n, d, loss, exponents: law_fit(d, n, loss, exponents), "alpha belongs to the size"),
        (partial(law_fit, pairs=lambda exponents: [(a, a) for a in exponents]), "one exponent serves for both"),
        (partial(law_fit, columns=without_least), "E is missing"),
        (partial(law_fit, pairs=lambda exponents: [(exponents[0], exponents[0])]), "the first pair"),
        (partial(law_fit, pairs=lambda exponents: [(exponents[-1], exponents[-1])]), "the last pair"),
        (partial(law_fit, order=(0, 1, 2)), "five numbers"),
    ],
    "08/optimal_size": [
        (partial(parabola, back=float), "take its exponential"),
        (lambda n, loss: float(n[loss.argmin()]), "lies between them"),
        (partial(parabola, of=np.array, back=float), "in the size itself"),
        (partial(parabola, scale=0.5), "sign is missing"),
        (partial(parabola, scale=-1), "the 2 is missing"),
        (partial(parabola, back=lambda x: 10**x), "do not match"),
        (partial(parabola, of=np.log10), "do not match"),
        (lambda n, loss: float(np.polyval(fit := np.polyfit(np.log(n), loss, 2), -fit[1] / fit[0] / 2)), "the loss at"),
    ],
    "08/effective_tokens": [
        (partial(worth_of, fewer=1), "the first epoch is no repetition"),
        (partial(worth_of, first=0.0), "the unique tokens themselves"),
        (lambda unique, read, worth: read, "as a fresh one"),
        (lambda unique, read, worth: min(unique, read), "as nothing"),
        (lambda unique, read, worth: worth_of(unique, read, worth, rate=worth), "not e^(-repeats · worth)"),
        (lambda unique, read, worth: worth_of(unique, read, worth, scale=worth / unique), "multiply by `unique`"),
        (partial(worth_of, scale=1.0), "multiply by it"),
        (lambda unique, read, worth: worth_of(unique, max(read, unique), worth), "than were read"),
    ],
    "08/serving_optimum": [
        (partial(served_best, flip=True), "changed places"),
        (partial(served_best, serving=0), "what is served is not counted"),
        (partial(served_best, serving=6), "you gave both the same"),
        (partial(served_best, training=2), "a served one 2"),
        (lambda law, loss, served, sizes: served_best(law, loss, served, sizes, 6 * (not served)), "training costs"),
        (partial(served_best, reachable=False), "not left out"),
        (lambda *given: served_best(*given)[0], "two numbers"),
    ],
}
