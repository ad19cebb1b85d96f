"""Right answers to lab 12's exercises, written otherwise than the lab's."""

import math
import statistics
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binomtest


def pair_by_moving_the_space(encode, context, continuation):
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    first, whole = encode(bare), encode(bare + continuation)
    return first, whole[len(first) :]


def pair_by_deleting(encode, context, continuation):
    ids, whole = list(encode(context.rstrip())), list(encode(context + continuation))
    del whole[: len(ids)]
    return [ids, whole]


def likelihood_by_cross_entropy(logits, context, continuation):
    first = len(context) - 1
    return -F.cross_entropy(logits[first : first + len(continuation)], torch.tensor(continuation), reduction="sum")


def likelihood_by_loop(logits, context, continuation):
    total, place = 0.0, len(context) - 1
    for token in continuation:
        total += float(logits[place, token] - torch.logsumexp(logits[place], 0))
        place += 1
    return total


def normalised_by_cases(sums, choices, tokens, alone, by):
    made = []
    for i, value in enumerate(sums):
        text = choices[i][1:] if choices[i].startswith(" ") else choices[i]
        if by == "sum":
            made.append(value)
        elif by == "token":
            made.append(value / tokens[i])
        elif by == "character":
            made.append(value / len(text))
        elif by == "byte":
            made.append(value / len(bytes(text, "utf-8")))
        else:
            made.append(value - alone[i])
    return made


def normalised_by_arrays(sums, choices, tokens, alone, by):
    bare = [choice.removeprefix(" ") for choice in choices]
    divisors = {
        "token": np.array(tokens),
        "character": np.array([len(text) for text in bare]),
        "byte": np.array([len(text.encode("utf-8")) for text in bare]),
    }
    taken = np.array(alone) if by == "unconditional" else 0.0
    return ((np.array(sums) - taken) / divisors.get(by, 1.0)).tolist()


def error_by_share(right):
    share, items = float(np.mean(right)), len(right)
    return math.sqrt(share * (1 - share) / (items - 1))


def error_by_statistics(right):
    return statistics.stdev(map(float, right)) / len(right) ** 0.5


def above_by_counts(right, choices):
    guessed = sum(1 / k for k in choices)
    return (sum(right) - guessed) / (len(right) - guessed)


def above_exactly(right, choices):
    chance = sum(Fraction(1, int(k)) for k in choices) / len(choices)
    share = Fraction(int(sum(right)), len(right))
    return float(1 - (1 - share) / (1 - chance))


def p_by_scipy(first, second):
    first, second = np.asarray(first), np.asarray(second)
    apart, won = int((first != second).sum()), int((first > second).sum())
    return binomtest(won, apart).pvalue if apart else 1.0


def p_by_listing(first, second):
    pairs = list(zip(first, second))
    one, other = pairs.count((1, 0)), pairs.count((0, 1))
    n, least = one + other, abs(one - other)
    extreme = [k for k in range(n + 1) if abs(n - 2 * k) >= least]
    return sum(math.comb(n, k) for k in extreme) / 2**n


RIGHT = {
    "12/encode_pair": [pair_by_moving_the_space, pair_by_deleting],
    "12/log_likelihood": [likelihood_by_cross_entropy, likelihood_by_loop],
    "12/normalised": [normalised_by_cases, normalised_by_arrays],
    "12/standard_error": [error_by_share, error_by_statistics],
    "12/above_chance": [above_by_counts, above_exactly],
    "12/mcnemar": [p_by_scipy, p_by_listing],
}
