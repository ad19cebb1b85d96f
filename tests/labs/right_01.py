"""Right answers to lab 01's exercises, written otherwise than the lab's."""

from dataclasses import replace
from fractions import Fraction
from statistics import mode

import numpy as np
import pandas as pd

import slmkit


def shares_by_hand(options):
    counts = {}
    for option in options:
        if option != "":
            counts[option] = counts.get(option, 0) + 1
    return {option: counts[option] / sum(counts.values()) * 100 for option in counts}


def shares_by_pandas(options):
    known = pd.Series([option for option in options if option])
    return known.value_counts(normalize=True).mul(100).to_dict()


def split_by_mode(scores):
    value = mode(scores)
    others = np.array(scores)[np.array(scores) != value]
    return value, float(others.mean())


def split_by_sums(scores):
    value = max(set(scores), key=scores.count)
    times = scores.count(value)
    return [value, (sum(scores) - times * value) / (len(scores) - times)]


def gain_of_means(none, five):
    return (np.mean(five) - np.mean(none)) * 100


def gain_by_loop(none, five):
    gains = [(b - a) * 100 for before, after in zip(none, five) for a, b in zip(before, after)]
    return sum(gains) / len(gains)


def stored_by_flag(config):
    return slmkit.count_parameters(config).total + config.tied_embeddings * config.vocab_size * config.d_model


def stored_untied(config):
    return slmkit.count_parameters(replace(config, tied_embeddings=False)).total


def families_apart(options, families):
    found = {}
    for family in set(families):
        own = [option for option, name in zip(options, families) if name == family]
        for option in own:
            found[option] = found.get(option, 0) + 100 / len(own) / len(set(families))
    return found


def families_exactly(options, families):
    weights = [Fraction(1, families.count(family)) for family in families]
    total = sum(weights)
    return {option: float(100 * sum(w for w, one in zip(weights, options) if one == option) / total)
            for option in options}  # fmt: skip


RIGHT = {
    "01/shares": [shares_by_hand, shares_by_pandas],
    "01/split": [split_by_mode, split_by_sums],
    "01/mean_gain": [gain_of_means, gain_by_loop],
    "01/stored_twice": [stored_by_flag, stored_untied],
    "01/family_shares": [families_apart, families_exactly],
}
