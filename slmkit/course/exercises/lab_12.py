"""Checkers of lab 12, measuring capability."""

import math

import numpy as np
import torch

from slmkit.course.checking import Wrong, call, compare, exercise

PIECES = (" is", " blue", " The", "The", " sky", " s", "ky", "\n", "?", " ", "blue")  # of the tokenizer below


def _encode(text: str) -> list[int]:
    """A small tokenizer that, as a byte-level one does, writes a space into the word behind it."""
    ids = []
    while text:
        piece = max((piece for piece in PIECES if text.startswith(piece)), key=len)
        ids.append(PIECES.index(piece))
        text = text[len(piece) :]
    return ids


@exercise("12/encode_pair")
def encode_pair(answer):
    def joined(context, continuation):
        bare = context.rstrip()
        return _encode(bare), _encode(context + continuation)[len(_encode(bare)) :]

    for context, continuation in (("The sky is", " blue"), ("The sky is ", "blue"), ("The sky is?\n", "blue")):
        context_ids, ids = joined(context, continuation)
        space = len(context) > len(context.rstrip())
        got = call(answer, _encode, context, continuation)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Wrong("two lists are asked for: the ids of the context, and those of the continuation")
        got = tuple([int(i) for i in part] for part in got)
        where = f"for {context!r} and {continuation!r}"
        if got == (context_ids, ids):
            continue
        apart = _encode(context), _encode(continuation)
        if got == (context_ids, context_ids + ids):
            raise Wrong(f"{where} the second list begins with the context; split it off")
        if got == (ids, context_ids):
            raise Wrong(f"{where} the lists are exchanged: first the context, then the continuation")
        if space and got == apart:
            raise Wrong(f"{where} both were encoded apart, and the space stands alone; it belongs to the continuation")
        if space and got[0] == _encode(context):
            raise Wrong(f"{where} the space stays with the context; it belongs to the continuation's first token")
        if space and got == (context_ids, _encode(continuation)):
            raise Wrong(f"{where} the space is lost; it belongs to the continuation")
        if got[1] == _encode(continuation.strip()):
            raise Wrong(f"{where} the continuation lost its space: 'blue' and ' blue' are different tokens")
        raise Wrong(f"{where} the lists are {got}; they should be {(context_ids, ids)}")


@exercise("12/log_likelihood")
def log_likelihood(answer):
    logits = 3 * torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    context, ids = [4, 0, 2, 2], [1, 3, 0]
    whole = torch.tensor(context + ids)

    def total(first, last, targets, values=None):
        values = logits.log_softmax(-1) if values is None else values
        return values[first:last].gather(-1, torch.as_tensor(targets)[:, None]).sum()

    right = total(3, 6, ids)
    mistakes = {
        "the logits are read one place too late: a token is predicted by the place before it": total(4, 7, ids),
        "the logits are read one place too early: the first token is predicted by the context's last":
            total(2, 5, ids),
        "the first token of the continuation is missing; the context's last place predicts it": total(4, 6, ids[1:]),
        "the last token of the continuation is missing": total(3, 5, ids[:2]),
        "the context is scored too; sum over the continuation alone": total(0, 6, whole[1:]),
        "that is the mean over tokens; take the sum": right / 3,
        "that is the probability; its logarithm is asked for": right.exp(),
        "those are logits; take log_softmax over the vocabulary": total(3, 6, ids, logits),
        "those are probabilities added up; take their logarithms first": total(3, 6, ids, logits.softmax(-1)),
        "the softmax runs over time; it belongs over the vocabulary, the last axis":
            total(3, 6, ids, logits.log_softmax(0)),
        "the sign is turned; that is the loss": -right,
        "that is in bits; the natural logarithm is asked for": right / math.log(2),
        "those are the likeliest tokens' values; take those of the tokens that stand there":
            logits.log_softmax(-1)[3:6].amax(-1).sum(),
    }  # fmt: skip
    compare(call(answer, logits, context, ids), right, "log p of a continuation of three tokens", mistakes)
    compare(call(answer, logits[:5], context, [1]), total(3, 4, [1]), "log p of a continuation of one token")


@exercise("12/normalised")
def normalised(answer):
    sums, tokens, alone = [-6.0, -9.0, -12.0], [2, 3, 2], [-4.0, -9.5, -7.0]
    choices = [" a cat", " naïveté", " tea"]
    lengths = {"character": [5, 7, 3], "byte": [5, 9, 3], "token": tokens}

    def divided(by):
        return [value / length for value, length in zip(sums, by)]

    for by in ("sum", "token", "character", "byte", "unconditional"):
        right = divided(lengths[by]) if by in lengths else sums
        mistakes = {}
        if by == "unconditional":
            right = [value - other for value, other in zip(sums, alone)]
            mistakes = {
                "the logarithms are divided; take their difference, the logarithm of the ratio": divided(alone),
                "the sign is turned: take off what the choice has alone": [-value for value in right],
                "they are added; take off what the choice has alone": [a + b for a, b in zip(sums, alone)],
                "that is the choice alone; take it off the sum": alone,
            }
        else:
            mistakes |= {"the sign is turned; the largest value is picked, so keep it": [-value for value in right]}
        if by in lengths:
            mistakes |= {
                "that is the sum; divide it by the length": sums,
                "multiplied by the length; divide": [value * length for value, length in zip(sums, lengths[by])],
                "divided by the square root; divide by the length": divided([n**0.5 for n in lengths[by]]),
            }
        if by in ("character", "byte"):
            mistakes |= {
                "the space in front was counted; lm-eval counts without it": divided([n + 1 for n in lengths[by]]),
                "that is per token": divided(tokens),
                "words were counted; count characters": divided([2, 1, 1]),
            }
        if by == "character":
            mistakes["bytes were counted; ï and é are one character each"] = divided(lengths["byte"])
        if by == "byte":
            mistakes["characters were counted; ï and é have two bytes each"] = divided(lengths["character"])
        if by == "token":
            mistakes["that is per character"] = divided(lengths["character"])
        got = call(answer, list(sums), list(choices), list(tokens), list(alone), by)
        compare(got, right, f"normalised by {by}", mistakes)


@exercise("12/standard_error")
def standard_error(answer):
    right = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1, 0])
    n, p = len(right), right.mean()
    error = math.sqrt(p * (1 - p) / (n - 1))
    mistakes = {
        "that is divided by n - 1 nowhere: the deviation of a sample has n - 1 (ddof=1)": math.sqrt(p * (1 - p) / n),
        "that is the deviation of single answers; divide it by √n": math.sqrt(p * (1 - p) * n / (n - 1)),
        "that is the deviation of single answers, and with n; divide by √n": math.sqrt(p * (1 - p)),
        "that is the variance; take its root": error**2,
        "divided by n; the error of a mean falls with √n": error / math.sqrt(n),
        "that is half the 95% interval; the standard error is asked for": 1.96 * error,
        "that is the accuracy; its standard error is asked for": p,
        "that is the largest possible error, for an accuracy of one half": 0.5 / math.sqrt(n),
        "that is in percent; a share is asked for": 100 * error,
    }
    compare(call(answer, right), error, "the standard error of six right of ten", mistakes)
    compare(call(answer, np.array([1, 0] * 50)), math.sqrt(0.25 / 99), "the standard error of 50 right of 100")


@exercise("12/above_chance")
def above_chance(answer):
    right, choices = np.array([1, 0, 1, 1, 0, 1]), [2, 2, 2, 4, 5, 5]
    accuracy, chance = right.mean(), float(np.mean([1 / k for k in choices]))
    wrong = 1 / np.mean(choices)
    mistakes = {
        "that is the accuracy; chance is not taken off": accuracy,
        "chance is taken off, but perfect is not 1: divide by what guessing leaves to win": accuracy - chance,
        "divided by chance; divide by 1 - chance": (accuracy - chance) / chance,
        "that is how many times chance; take chance off, then divide by 1 - chance": accuracy / chance,
        "divide by 1 - chance; chance itself is not taken off": accuracy / (1 - chance),
        "chance is the mean of 1/k over the items, not 1 over the mean of k": (accuracy - wrong) / (1 - wrong),
        "only the first item's number of choices is used": (accuracy - 0.5) / 0.5,
        "an item with few choices counts more when each is corrected by itself; correct the means":
            float(np.mean([(r - 1 / k) / (1 - 1 / k) for r, k in zip(right, choices)])),
        "that is the chance of guessing": chance,
    }  # fmt: skip
    compare(call(answer, right, choices), (accuracy - chance) / (1 - chance), "four right of six", mistakes)
    low = call(answer, np.array([0, 0, 0, 1]), [2, 2, 2, 2])
    compare(low, -0.5, "one right of four with two choices",
            {"it was cut at 0; worse than guessing is negative": 0.0, "the sign was lost": 0.5})  # fmt: skip


def _answers(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of two models on shuffled items, by the number of items that each has right."""
    order = np.random.default_rng(0).permutation(both + first + second + neither)
    one, other = (
        [1] * (both + first) + [0] * (second + neither),
        [1] * both + [0] * first + [1] * second + [0] * neither,
    )
    return np.array(one)[order], np.array(other)[order]


@exercise("12/mcnemar")
def mcnemar(answer):
    for b, c in ((9, 2), (1, 6)):
        n, low = b + c, min(b, c)
        one, other = _answers(20, b, c, 15)
        tail = sum(math.comb(n, k) for k in range(low + 1)) / 2**n
        chi = (b - c) ** 2 / n
        mistakes = {
            "that is one-sided; the split may be as uneven the other way, so double it": tail,
            "that is the probability of this split alone; add those that are more uneven": math.comb(n, low) / 2**n,
            "twice the probability of this split alone; add those that are more uneven": 2 * math.comb(n, low) / 2**n,
            "this split itself is left out; add it to the more uneven ones": 2 * (tail - math.comb(n, low) / 2**n),
            "that is the chi-square approximation; with few items the exact sum differs": math.erfc(math.sqrt(chi / 2)),
            "that is the statistic of chi-square; p is asked for": chi,
            "that is 1 - p": 1 - 2 * tail,
            "all items were counted; where both are right, or both wrong, nothing is told apart":
                min(1.0, 2 * sum(math.comb(n + 35, k) for k in range(low + 1)) / 2 ** (n + 35)),
            "that is the difference of the accuracies": (b - c) / (n + 35),
        }  # fmt: skip
        found = call(answer, one, other)
        compare(found, 2 * tail, f"p for {b} items that only the first has right and {c} only the second",
                {message: value for message, value in mistakes.items() if abs(value - 2 * tail) > 1e-9},
                atol=1e-6)  # fmt: skip
    even = _answers(5, 4, 4, 3)
    compare(call(answer, *even), 1.0, "p for an even split",
            {"above 1: the middle was counted twice; p is at most 1":
                 2 * sum(math.comb(8, k) for k in range(5)) / 2**8}, atol=1e-6)  # fmt: skip
    same = np.array([1, 0, 1])
    compare(call(answer, same, same), 1.0, "p for two models with the same answers", atol=1e-6)
