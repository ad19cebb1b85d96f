"""Plausible wrong answers to lab 12's exercises: for each, what it gets told."""

import math

import numpy as np
import torch


def apart(encode, context, continuation):
    return encode(context), encode(continuation)


def space_stays(encode, context, continuation):
    ids = encode(context)
    bare = encode(context.rstrip())
    return ids, encode(context + continuation)[len(bare) :]


def space_lost(encode, context, continuation):
    bare = encode(context.rstrip())
    return bare, encode(context.rstrip() + continuation)[len(bare) :]


def right_pair(encode, context, continuation):
    bare = encode(context.rstrip())
    return bare, encode(context + continuation)[len(bare) :]


def stripped(encode, context, continuation):
    return encode(context.rstrip()), encode(continuation.strip())


def whole(encode, context, continuation):
    return encode(context.rstrip()), encode(context + continuation)


def picked(first, last=None, of=lambda logits: logits.log_softmax(-1), skip=0, end=None):
    """Sums values of rows len(context) + first on, for the continuation from `skip` to `end`."""

    def answer(logits, context, continuation):
        ids = torch.tensor(continuation[skip:end])
        start = len(context) + first
        return of(logits)[start : start + len(ids)].gather(-1, ids[:, None]).sum()

    return answer


def all_tokens(logits, context, continuation):
    ids = torch.tensor([*context, *continuation])
    return logits.log_softmax(-1)[:-1].gather(-1, ids[1:, None]).sum()


def likeliest(logits, context, continuation):
    return logits.log_softmax(-1)[len(context) - 1 : -1].amax(-1).sum()


def changed(change):
    return lambda logits, context, continuation: change(picked(-1)(logits, context, continuation), continuation)


def norm(**instead):
    """The right answer but for some normalisations: instead[by](sums, choices, tokens, alone) -> list."""

    def answer(sums, choices, tokens, alone, by):
        if by in instead:
            return instead[by](sums, choices, tokens, alone)
        if by == "unconditional":
            return [a - b for a, b in zip(sums, alone)]
        texts = [text.strip() for text in choices]
        lengths = {"sum": [1] * len(sums), "character": [len(text) for text in texts], "token": tokens,
                   "byte": [len(text.encode()) for text in texts]}  # fmt: skip
        return [a / b for a, b in zip(sums, lengths[by])]

    return answer


def per(length):
    return lambda sums, choices, tokens, alone: [a / length(text) for a, text in zip(sums, choices)]


def error(ddof=1, power=0.5, factor=1.0):
    return lambda right: factor * np.std(right, ddof=ddof) / len(right) ** power


def chance(choices):
    return np.mean([1 / k for k in choices])


def corrected(right, choices, chance):
    return (np.mean(right) - chance) / (1 - chance)


def split(first, second):
    first, second = np.asarray(first), np.asarray(second)
    return int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())


def exact(sides=2, inner=True, outer=True, cap=True, all_items=False):
    def answer(first, second):
        b, c = split(first, second)
        n, low = len(first) if all_items else b + c, min(b, c)
        kept = range(0 if outer else low, low + 1 if inner else low)
        p = sides * sum(math.comb(n, k) for k in kept) / 2**n
        return min(1.0, p) if cap else p

    return answer


def chi_square(first, second):
    b, c = split(first, second)
    return math.erfc(math.sqrt((b - c) ** 2 / (b + c) / 2))


WRONG = {
    "12/encode_pair": [
        (apart, "apart"),
        (space_stays, "the space stays"),
        (space_lost, "the space is lost"),
        (stripped, "lost its space"),
        (whole, "begins with the context"),
        (lambda *x: right_pair(*x)[::-1], "exchanged"),
        (lambda *x: right_pair(*x)[1], "two lists"),
    ],
    "12/log_likelihood": [
        (picked(0, skip=0), "one place too late"),
        (picked(-2), "one place too early"),
        (picked(0, skip=1), "the first token of the continuation is missing"),
        (picked(-1, end=-1), "the last token"),
        (all_tokens, "the context is scored too"),
        (picked(-1, of=lambda logits: logits), "those are logits"),
        (picked(-1, of=lambda logits: logits.softmax(-1)), "added up"),
        (picked(-1, of=lambda logits: logits.log_softmax(0)), "over time"),
        (likeliest, "likeliest"),
        (changed(lambda found, ids: found / len(ids)), "mean"),
        (changed(lambda found, ids: -found), "sign"),
        (changed(lambda found, ids: found.exp()), "probability"),
        (changed(lambda found, ids: found / math.log(2)), "bits"),
    ],
    "12/normalised": [
        (norm(character=per(len)), "space in front"),
        (norm(character=per(lambda text: len(text.strip().encode()))), "bytes were counted"),
        (norm(byte=per(lambda text: len(text.strip()))), "characters were counted"),
        (norm(byte=per(lambda text: len(text.encode()))), "space in front"),
        (norm(character=per(lambda text: len(text.split()))), "words were counted"),
        (norm(token=lambda sums, *_: sums), "that is the sum"),
        (norm(token=lambda sums, choices, tokens, _: [a * b for a, b in zip(sums, tokens)]), "multiplied"),
        (norm(unconditional=lambda sums, c, t, alone: [a / b for a, b in zip(sums, alone)]), "divided"),
        (norm(unconditional=lambda sums, c, t, alone: [b - a for a, b in zip(sums, alone)]), "sign"),
        (norm(unconditional=lambda sums, c, t, alone: [a + b for a, b in zip(sums, alone)]), "added"),
        (norm(unconditional=lambda sums, c, t, alone: alone), "choice alone"),
        (norm(sum=lambda sums, *_: [-value for value in sums]), "sign"),
    ],
    "12/standard_error": [
        (error(ddof=0), "n - 1"),
        (error(power=0), "divide it by √n"),
        (error(power=1), "falls with √n"),
        (error(factor=1.96), "half the 95% interval"),
        (error(factor=100), "percent"),
        (lambda right: np.var(right, ddof=1) / len(right), "take its root"),
        (np.mean, "that is the accuracy"),
        (lambda right: 0.5 / math.sqrt(len(right)), "largest possible"),
    ],
    "12/above_chance": [
        (lambda right, choices: np.mean(right), "not taken off"),
        (lambda right, choices: np.mean(right) - chance(choices), "perfect is not 1"),
        (lambda right, choices: np.mean(right) / chance(choices), "how many times"),
        (lambda right, choices: np.mean(right) / chance(choices) - 1, "divided by chance"),
        (lambda right, choices: corrected(right, choices, 1 / np.mean(choices)), "1 over the mean"),
        (lambda right, choices: corrected(right, choices, 1 / choices[0]), "first item"),
        (lambda right, choices: np.mean([(r - 1 / k) / (1 - 1 / k) for r, k in zip(right, choices)]), "by itself"),
        (lambda right, choices: max(0.0, corrected(right, choices, chance(choices))), "cut at 0"),
        (lambda right, choices: abs(corrected(right, choices, chance(choices))), "sign was lost"),
    ],
    "12/mcnemar": [
        (exact(sides=1), "one-sided"),
        (exact(outer=False), "twice the probability"),
        (exact(sides=1, outer=False), "this split alone"),
        (exact(inner=False), "left out"),
        (exact(cap=False), "at most 1"),
        (exact(all_items=True), "all items were counted"),
        (chi_square, "approximation"),
        (lambda first, second: 1 - exact()(first, second), "1 - p"),
        (lambda first, second: np.mean(first) - np.mean(second), "difference of the accuracies"),
    ],
}
