"""Checkers of lab 01, the survey as data."""

from collections import Counter

import numpy as np

from slmkit.config import ModelConfig
from slmkit.course.checking import Wrong, call, compare, exercise
from slmkit.model.counting import count_parameters


def _percents(got, expected: dict[str, float], what: str, mistakes: dict[str, dict[str, float]]):
    """Compares dictionaries of the same kind as `expected`, by key and then by value."""
    if not isinstance(got, dict):
        raise Wrong(f"{what} is a {type(got).__name__}; a dictionary {{option: percent}} is asked for")
    for message, value in mistakes.items():
        if got.keys() == value.keys() and np.allclose(list(map(got.get, value)), list(value.values()), rtol=1e-4):
            raise Wrong(message)
    if got.keys() != expected.keys():
        odd = sorted(map(repr, got.keys() ^ expected.keys()))
        raise Wrong(f"{what} has the options {list(got)}; they should be {list(expected)} ({', '.join(odd)} differs)")
    compare(list(map(got.get, expected)), [float(value) for value in expected.values()],
            f"{what}, in the order {', '.join(expected)},")  # fmt: skip


@exercise("01/shares")
def shares(answer):
    options = ["GQA"] * 2 + ["MHA"] * 5 + [""] * 2 + ["MQA"]
    count = {"GQA": 2, "MHA": 5, "MQA": 1}
    right = {name: 100 * n / 8 for name, n in count.items()}
    _percents(call(answer, options), right, "the result", {
        "those are fractions; a percent is a hundredth": {name: n / 8 for name, n in count.items()},
        "those are counts; divide by the number of known ones and multiply by 100": count,
        'the unknown ones ("") count in your total; leave them out, else the percents do not add up to 100':
            {name: 10 * n for name, n in count.items()},
        'an empty string means that the option is not known; it is no option of its own':
            {name: 10 * n for name, n in (count | {"": 2}).items()},
        "you divided by the largest count; divide by all that are known": {name: 20 * n for name, n in count.items()},
        "you divided by the number of different options; divide by the number of models that are known":
            {name: 100 * n / 3 for name, n in count.items()},
        "that is the share of all others; each option's own share is asked for":
            {name: 100 - share for name, share in right.items()},
        "do not round: what is rounded cannot be added up again": {name: round(share) for name, share in right.items()},
    })  # fmt: skip


@exercise("01/split")
def split(answer):
    scores = [2.5, 1.0, 7.0, 1.0, 0.5, 40.0, 7.0, 1.0]  # 1.0 is drawn three times, 7.0 twice
    others = [score for score in scores if score != 1.0]
    got = call(answer, scores)
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise Wrong("two numbers are expected: the value that most models share, and the mean of the other scores")
    compare(got[0], 1.0, "the value that most models share", {
        "that is the smallest score; the suspicious one is the most frequent": 0.5,
        "that is how often the value occurs; return the value": 3,
        "that is the mean; here the value that occurs most often is asked for": float(np.mean(scores)),
        "that is the median; here the value that occurs most often is asked for": float(np.median([*scores, 7.0])),
        "the two numbers have changed places: the value first, then the mean of the others": float(np.mean(others)),
    })  # fmt: skip
    compare(got[1], float(np.mean(others)), "the mean of the other scores", {
        "the placeholder is still in the mean": float(np.mean(scores)),
        "you left out every value that occurs twice; two models may share a real score": float(np.mean([2.5, 0.5, 40])),
        "each value counts once in your mean; each model should": float(np.mean(list(set(others)))),
        "you divided by the number of all models; a model without a score is not a model with score zero":
            sum(others) / len(scores),
        "one copy of the placeholder was taken out; it stands there several times": float(np.mean([*others, 1, 1])),
        "that is the sum of the others; divide by their number": sum(others),
        "that is the median of the others": float(np.median(others)),
    })  # fmt: skip


@exercise("01/mean_gain")
def mean_gain(answer):
    none = np.array([[0.25, 0.5, 0.40, 0.1], [0.40, 0.35, 0.20, 0.5]])
    five = np.array([[0.35, 0.4, 0.46, 0.2], [0.39, 0.45, 0.20, 0.5]])
    gain = five - none
    right = 100 * gain.mean()
    compare(call(answer, none, five), right, "the mean gain of two models on four tasks", {
        "that is a fraction; a percentage point is a hundredth": gain.mean(),
        "you divided by the score without examples; that is percent, not percentage points": 100 * (gain / none).mean(),
        "that is percent of the mean score; percentage points are a difference": 100 * gain.mean() / none.mean(),
        "the sign is turned: five examples minus none": -right,
        "you averaged the winners alone; those who lost or stayed belong to the mean": 100 * gain[gain > 0].mean(),
        "the losses are counted as gains: no absolute value": 100 * np.abs(gain).mean(),
        "that is the largest gain": 100 * gain.max(),
        "that is the median gain": 100 * np.median(gain),
        "the tasks are summed up; the mean runs over tasks as well": 100 * gain.sum(1).mean(),
        "that is the mean score with five examples; subtract the one without": 100 * five.mean(),
        "one number is asked for, over models and tasks; you have one a model": 100 * gain.mean(1),
        "one number is asked for, over models and tasks; you have one a task": 100 * gain.mean(0),
    })  # fmt: skip


@exercise("01/stored_twice")
def stored_twice(answer):
    tied = ModelConfig(vocab_size=500, d_model=24, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=40)
    once, matrix = count_parameters(tied).total, 500 * 24
    compare(call(answer, tied), once + matrix, "the count of a tied model", {
        "that counts the matrix once; here the file holds it twice": once,
        "that is without the matrix altogether": once - matrix,
        "the whole model is counted twice; only one matrix is": 2 * once,
        "the matrix is there three times: the total has it once already": once + 2 * matrix,
        "that is the matrix alone": matrix,
        "the matrix has vocab_size rows of width d_model; you took d_ff": once + 500 * 40,
        "a row is as wide as the model, so multiply vocab_size by d_model": once + 500,
    })  # fmt: skip
    untied = ModelConfig(vocab_size=500, d_model=24, n_layers=2, n_heads=4, d_ff=40, tied_embeddings=False)
    total = count_parameters(untied).total
    compare(call(answer, untied), total, "the count of an untied model", {
        "an untied model has two different matrices, which its total already holds; add nothing": total + matrix,
    })  # fmt: skip


@exercise("01/family_shares")
def family_shares(answer):
    options = ["MHA", "MHA", "MHA", "GQA", "MHA", "GQA", "MQA"]
    families = ["Pythia", "Pythia", "Pythia", "Qwen", "Qwen", "Danube", "Gemma"]
    right = {"MHA": 37.5, "GQA": 37.5, "MQA": 25.0}
    each = {name: n / 7 for name, n in Counter(options).items()}
    _percents(call(answer, options, families), right, "the result", {
        "each model counts once; a model of a family of three should weigh 1/3":
            {name: 100 * share for name, share in each.items()},
        "those are fractions; a percent is a hundredth": {name: share / 100 for name, share in right.items()},
        "those are weights; divide by the number of families and multiply by 100":
            {name: share / 25 for name, share in right.items()},
        "you divided by the number of models; the weights add up to the number of families":
            {name: share * 4 / 7 for name, share in right.items()},
        "a family counts once for each option that it has; a family with two options should be divided between them":
            {"MHA": 40.0, "GQA": 40.0, "MQA": 20.0},
        "only the first model of each family counts; the others should share its weight":
            {"MHA": 25.0, "GQA": 50.0, "MQA": 25.0},
        "only the last model of each family counts; the others should share its weight":
            {"MHA": 50.0, "GQA": 25.0, "MQA": 25.0},
        "a larger family weighs more in your sum; a model of a family of three should weigh 1/3, not 3":
            {"MHA": 1100 / 15, "GQA": 300 / 15, "MQA": 100 / 15},
    })  # fmt: skip
