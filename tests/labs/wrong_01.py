"""Plausible wrong answers to lab 01's exercises: for each, what it gets told."""

from collections import Counter
from statistics import fmean, median

import numpy as np

from slmkit import count_parameters


def percent(counts, total):
    return {name: 100 * count / total for name, count in counts.items()}


def known(options):
    return Counter(option for option in options if option)


def others(scores, value=1.0):
    return [score for score in scores if score != value]


def matrix(config):
    return config.vocab_size * config.d_model


def weights(options, families, power=-1):
    sizes, found = Counter(families), Counter()
    for option, family in zip(options, families):
        found[option] += sizes[family] ** power
    return found


def one_of_each(options, families):
    return percent(Counter(dict(zip(families, options)).values()), len(set(families)))


WRONG = {
    "01/shares": [
        (lambda o: percent(known(o), len(o)), "leave them out"),
        (lambda o: percent(Counter(o), len(o)), "no option of its own"),
        (lambda o: dict(known(o)), "counts"),
        (lambda o: {name: n / sum(known(o).values()) for name, n in known(o).items()}, "fractions"),
        (lambda o: percent(known(o), max(known(o).values())), "largest count"),
        (lambda o: percent(known(o), len(known(o))), "different options"),
        (lambda o: {name: round(p) for name, p in percent(known(o), 8).items()}, "round"),
        (lambda o: {name: 100 - p for name, p in percent(known(o), 8).items()}, "all others"),
        (lambda o: list(percent(known(o), 8).values()), "dictionary"),
        (lambda o: percent(known(o[:-1]), 7), "options"),
        (lambda o: print(o), "return"),
    ],
    "01/split": [
        (lambda s: (min(s), fmean(others(s))), "smallest"),
        (lambda s: (s.count(1.0), fmean(others(s))), "how often"),
        (lambda s: (fmean(others(s)), 1.0), "changed places"),
        (lambda s: (1.0, fmean(s)), "still in the mean"),
        (lambda s: (1.0, fmean(x for x in s if s.count(x) == 1)), "share a real score"),
        (lambda s: (1.0, fmean(set(others(s)))), "each model should"),
        (lambda s: (1.0, sum(others(s)) / len(s)), "not a model with score zero"),
        (lambda s: (1.0, (sum(s) - 1) / (len(s) - 1)), "several times"),
        (lambda s: (1.0, median(others(s))), "median"),
        (lambda s: (1.0, sum(others(s))), "divide by their number"),
        (lambda s: fmean(others(s)), "two numbers"),
    ],
    "01/mean_gain": [
        (lambda a, b: (b - a).mean(), "fraction"),
        (lambda a, b: 100 * (b / a - 1).mean(), "not percentage points"),
        (lambda a, b: 100 * (b.mean() / a.mean() - 1), "percent of the mean score"),
        (lambda a, b: 100 * (a - b).mean(), "sign is turned"),
        (lambda a, b: 100 * (b - a)[b > a].mean(), "winners"),
        (lambda a, b: 100 * np.abs(b - a).mean(), "absolute value"),
        (lambda a, b: 100 * (b - a).max(), "largest"),
        (lambda a, b: 100 * np.median(b - a), "median"),
        (lambda a, b: 100 * (b - a).sum(1).mean(), "summed up"),
        (lambda a, b: 100 * (b - a).mean(1), "one a model"),
        (lambda a, b: 100 * (b - a).mean(0), "one a task"),
        (lambda a, b: 100 * b.mean(), "subtract"),
    ],
    "01/stored_twice": [
        (lambda c: count_parameters(c).total, "counts the matrix once"),
        (lambda c: count_parameters(c).total + matrix(c), "untied model"),
        (lambda c: 2 * count_parameters(c).total, "only one matrix"),
        (lambda c: count_parameters(c).total + 2 * matrix(c), "three times"),
        (lambda c: count_parameters(c).total - matrix(c), "without the matrix"),
        (lambda c: matrix(c), "alone"),
        (lambda c: count_parameters(c).total + c.vocab_size * c.d_ff, "you took d_ff"),
        (lambda c: count_parameters(c).total + c.vocab_size, "as wide as the model"),
    ],
    "01/family_shares": [
        (lambda o, f: percent(Counter(o), len(o)), "each model counts once"),
        (lambda o, f: {name: w / len(set(f)) for name, w in weights(o, f).items()}, "fractions"),
        (lambda o, f: dict(weights(o, f)), "those are weights"),
        (lambda o, f: percent(weights(o, f), len(o)), "number of models"),
        (lambda o, f: percent(Counter(option for option, _ in set(zip(o, f))), 5), "divided between them"),
        (lambda o, f: one_of_each(o, f), "only the last"),
        (lambda o, f: one_of_each(o[::-1], f[::-1]), "only the first"),
        (lambda o, f: percent(weights(o, f, 1), 15), "larger family"),
    ],
}
