"""Plausible wrong answers to lab 07's exercises: for each, what it gets told."""

import re
from collections import defaultdict
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np
from datatrove.pipeline.filters.gopher_quality_filter import STOP_WORDS
from datatrove.utils.text import PUNCTUATION_SET


def runs_of(
    words, n, step=None, first=False, last=0, key=tuple, size=lambda run: sum(map(len, run)), skip=True, again=True
):
    seen, total, i = set(), 0, 0
    counted = set()
    while i <= len(words) - n + last:
        run = key(words[i : i + n])
        repeated = run in seen
        if repeated and (again or run not in counted):
            total += size(words[i : i + n])
            counted.add(run)
        seen.add(run)
        i += (n if skip else 1) if repeated else (step or 1)
    if first:
        total += sum(size(run) for run in counted)
    return total


def reasons(tokens, least=50, mean_of="words", swap=False, alpha_of="tokens", some=any, stops=2, distinct=True,
            order=None, short=len, below=0.8, strict=False):  # fmt: skip
    words = [token for token in tokens if not PUNCTUATION_SET.issuperset(token)]
    among = {"words": words, "tokens": tokens}
    mean = fmean(map(len, among[mean_of]))
    share = fmean(some(c.isalpha() for c in token) for token in among[alpha_of])
    known = [token for token in tokens if token in STOP_WORDS]
    low, high = ("above", "below") if swap else ("below", "above")
    found = {
        "short_doc": short(words) <= least if strict else short(words) < least,
        f"{low}_avg_threshold": mean < 3,
        f"{high}_avg_threshold": mean > 10,
        "below_alpha_threshold": share < below,
        "enough_stop_words": len(set(known) if distinct else known) < stops,
    }
    names = order or list(found)
    return next((name for name in names if found[name]), None)


def runs(text, n, words=None, step=1, last=0, kind=tuple, made=set):
    words = re.findall(r"\w+", text.lower()) if words is None else words(text)
    return made(kind(words[i : i + n]) for i in range(0, len(words) - n + 1 + last, step))


def least(h, a, b, p):
    return (h[:, None] * a + b) % p


def banded(signatures, bands, key=lambda place, band: (place, band.tobytes()), split=np.split, pairs=combinations):
    groups = defaultdict(list)
    for i, numbers in enumerate(signatures):
        for place, band in enumerate(split(numbers, bands)):
            groups[key(place, band)].append(i)
    return {pair for group in groups.values() for pair in pairs(group, 2)}


def agreeing(signatures, rule):
    return {(i, j) for j in range(len(signatures)) for i in range(j) if rule(signatures[i] == signatures[j])}


def covered(words, seen, n, last=0, length=None, step=1):
    inside = [False] * len(words)
    for i in range(0, len(words) - n + 1 + last, step):
        if tuple(words[i : i + n]) in seen:
            inside[i : i + (length or n)] = [True] * (length or n)
    return inside


def seen_runs(words, seen, n):
    return [tuple(words[i : i + n]) in seen for i in range(len(words) - n + 1)]


WRONG = {
    "07/repeated_runs": [
        (lambda w, n: runs_of(w, n, first=True), "the first occurrence counts too"),
        (lambda w, n: runs_of(w, n, size=lambda run: 1), "those are runs"),
        (lambda w, n: runs_of(w, n, size=len), "those are words"),
        (lambda w, n: runs_of(w, n, size=lambda run: len(" ".join(run))), "spaces between the words"),
        (lambda w, n: runs_of(w, n, again=False), "counts once only"),
        (lambda w, n: runs_of(w, n) / sum(map(len, w)), "that is a share"),
        (lambda w, n: runs_of(w, n, skip=False), "go on after its last word"),
        (lambda w, n: runs_of(w, n, step=n), "go on one word later"),
        (lambda w, n: runs_of(w, n, last=-1), "the last run is left out"),
        (lambda w, n: runs_of(w, n, key=frozenset), "in the same order only"),
        (lambda w, n: runs_of(w, n, key="".join), "not when their letters are"),
    ],
    "07/heuristics": [
        (lambda t: reasons(t, short=lambda words: len(t)), "punctuation is counted as words"),
        (lambda t: reasons(t, strict=True), "50 words are enough"),
        (lambda t: reasons(t, mean_of="tokens"), "counted in the mean length"),
        (lambda t: reasons(t, swap=True), "have changed places"),
        (lambda t: reasons(t, alpha_of="words"), "share is of all tokens"),
        (lambda t: reasons(t, below=0), "a token without a letter"),
        (lambda t: reasons(t, some=all), "one letter in a token is enough"),
        (lambda t: reasons(t, distinct=False), "two different ones are needed"),
        (lambda t: reasons(t, stops=1), "two different ones are needed"),
        (lambda t: reasons(t, stops=3), "fewer than two different stop words"),
        (
            lambda t: reasons(
                t,
                order=[
                    "short_doc",
                    "enough_stop_words",
                    "below_alpha_threshold",
                    "below_avg_threshold",
                    "above_avg_threshold",
                ],
            ),
            "the first in the order",
        ),
        (lambda t: reasons(t) is None, "the reason is asked for"),
        (lambda t: (why := reasons(t)) and f"gopher_{why}", "leave out gopher_"),
        (lambda t: (why := reasons(t)) and why.replace("_", " "), "none of the reasons"),
        (lambda t: None, "short_doc asks for"),
    ],
    "07/shingles": [
        (lambda t, n: runs(t, n, made=list), "that is a list"),
        (lambda t, n: runs(t, n, kind=" ".join), "not tuples"),
        (lambda t, n: runs(t, n, lambda t: re.findall(r"\w+", t)), "lower case"),
        (lambda t, n: runs(t, n, lambda t: t.lower().split()), "stick to the words"),
        (lambda t, n: runs(t, n, last=-1), "last run is missing"),
        (lambda t, n: runs(t, n, last=n - 1), "shorter ones"),
        (lambda t, n: runs(t, n, step=n), "not n words"),
        (lambda t, n: runs(t, n, lambda t: t.lower()), "runs of characters"),
        (lambda t, n: runs(t, 1), "single words"),
        (lambda t, n: runs(t, n + 1), "n + 1"),
        (lambda t, n: runs(t, n, kind=lambda run: tuple(sorted(run))), "sorted"),
        (lambda t, n: runs(t, 2), "is n used"),
        (lambda t, n: len(runs(t, n)), "of type int"),
    ],
    "07/jaccard": [
        (lambda a, b: len(a & b) / max(min(len(a), len(b)), 1), "over the smaller set"),
        (lambda a, b: len(a & b) / max(len(a), len(b), 1), "over the larger set"),
        (lambda a, b: len(a & b) / max(len(a) + len(b), 1), "count twice in your total"),
        (lambda a, b: 2 * len(a & b) / max(len(a) + len(b), 1), "Dice"),
        (lambda a, b: 1 - len(a & b) / max(len(a | b), 1), "distance"),
        (lambda a, b: len(a & b), "number of shared"),
        (lambda a, b: len(a & b) / max(len(a ^ b), 1), "by what they do not share"),
        (lambda a, b: len(a & b) / len(a | b), "your code raised ZeroDivisionError"),
    ],
    "07/signature": [
        (lambda h, a, b, p: least(h, a, b, p).max(0), "greatest"),
        (lambda h, a, b, p: least(h, a, b, p).min(1), "least of each shingle"),
        (lambda h, a, b, p: (h[:, None] * a + b).min(0) % p, "comes before the least"),
        (lambda h, a, b, p: (h[:, None] * a + b).min(0), "by the prime is missing"),
        (lambda h, a, b, p: least(h, a, 0 * b, p).min(0), "b is missing"),
        (lambda h, a, b, p: ((h[:, None] + b) * a % p).min(0), "before the product"),
        (lambda h, a, b, p: ((h[:, None] + b) % p).min(0), "a is missing"),
        (lambda h, a, b, p: least(h, b, a, p).min(0), "changed places"),
        (lambda h, a, b, p: least(h, a, b, p).argmin(0), "place of the least"),
        (lambda h, a, b, p: least(h, a, b, p).min(), "one number"),
        (lambda h, a, b, p: ((h * a + b) % p).min(0), "your code raised ValueError"),
    ],
    "07/candidates": [
        (lambda s, b: agreeing(s, np.any), "share a single number"),
        (lambda s, b: agreeing(s, np.all), "agree in all bands"),
        (lambda s, b: banded(s, b, lambda place, band: band.tobytes()), "with other bands too"),
        (lambda s, b: banded(s, b, split=lambda row, b: [row[i::b].copy() for i in range(b)]), "3 apart"),
        (lambda s, b: banded(s, s.shape[1] // b), "how many bands there are"),
        (lambda s, b: banded(s, b) | {(j, i) for i, j in banded(s, b)}, "there twice"),
        (lambda s, b: {(j, i) for i, j in banded(s, b)}, "wrong way round"),
        (lambda s, b: banded(s, b) | {(i, i) for i in range(len(s))}, "pair with itself"),
        (lambda s, b: banded(s, b, lambda place, band: (place, np.sort(band).tobytes())), "order of the numbers"),
        (lambda s, b: banded(s, b, pairs=lambda group, _: pairwise(group)), "only neighbours"),
        (
            lambda s, b: banded(s, b, pairs=lambda group, _: ((group[0], j) for j in group[1:])),
            "only the first is paired",
        ),
        (lambda s, b: agreeing(s, lambda same: same.mean() >= 0.5), "half of the numbers"),
        (lambda s, b: banded(s[:, : s.shape[1] // b], 1), "only the first band"),
        (lambda s, b: len(banded(s, b)), "of type int"),
        (lambda s, b: banded(s, b) or {(0, 1)}, "without a common number"),
    ],
    "07/overlap": [
        (lambda w, seen, n: fmean(seen_runs(w, seen, n) or [0]), "share of runs"),
        (lambda w, seen, n: n * sum(seen_runs(w, seen, n)) / max(len(w), 1), "counted twice"),
        (lambda w, seen, n: sum(covered(w, seen, n, length=1)) / max(len(w), 1), "only the first word"),
        (lambda w, seen, n: sum(covered(w, seen, n, last=-1)) / max(len(w), 1), "last run is left out"),
        (lambda w, seen, n: sum(covered(w, seen, n)), "divide by len(words)"),
        (lambda w, seen, n: float(any(seen_runs(w, seen, n))), "whether any run"),
        (lambda w, seen, n: fmean(word in {x for run in seen for x in run} for word in w), "single words"),
        (lambda w, seen, n: sum(covered(w, seen, n, step=n)) / max(len(w), 1), "n words apart"),
        (lambda w, seen, n: 1 - sum(covered(w, seen, n)) / max(len(w), 1), "in no seen run"),
        (lambda w, seen, n: sum(covered(w, seen, n)) / len(w), "your code raised ZeroDivisionError"),
    ],
}
