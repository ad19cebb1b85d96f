"""Plausible wrong answers to lab 13's exercises: for each, what it gets told."""

import numpy as np
import torch


def batch(period=lambda p: p[:, None], known=lambda place, p: place > p, turn=lambda place, p: place % p, more=0):
    def induction_batch(pieces, periods, length):
        place = torch.arange(length + more)
        p = period(periods)
        ids = pieces.gather(1, turn(place, p).expand(len(pieces), -1))
        return ids, known(torch.arange(length), periods[:, None])

    return induction_batch


def backwards(place, p):
    return torch.where(place // p % 2 == 1, p - 1 - place % p, place % p)


def matching(copies=lambda same: same.tril(-1), by=1, reduce=None, pick=None):
    def prefix_matching(pattern, ids):
        same = ids[:, :, None] == ids[:, None, :]
        copy = copies(same)
        seen = same.tril(-1).any(-1)
        if pick:
            copy = torch.nn.functional.one_hot(pick(copy), copy.shape[-1]).bool() & seen[..., None]
        behind = copy.roll(by, -1) if by else copy
        if by == 1:
            behind[..., 0] = False
        if by == -1:
            behind[..., -1] = False
        score = (pattern * behind[:, None]).sum(-1)
        if reduce:
            return reduce(score, seen, behind)
        return score.movedim(1, -1)[seen].mean(0)

    return prefix_matching


def exchanged(pattern, ids):
    return matching()(pattern.transpose(-1, -2), ids)


def few(keep=lambda context, item: context != item[0], between="\n\n", end="", one=lambda c, a: c + a, cut=None):
    cut = cut or (lambda solved, shots: solved[:shots])

    def prompt(pool, item, shots):
        solved = [one(context, answer) for context, answer in pool if keep(context, item)]
        return between.join([*cut(solved, shots), item[0]]) + end

    return prompt


def with_answer(pool, item, shots):
    return few()(pool, item, shots) + item[1]


def sliced_first(pool, item, shots):
    return few(cut=lambda solved, shots: solved)(pool[:shots], item, shots)


def question_first(pool, item, shots):
    solved = [context + answer for context, answer in pool if context != item[0]]
    return "\n\n".join([item[0], *solved[:shots]])


def gain(sign=1, half=None, middle=np.mean):
    half = half or (lambda d, before, after, t: t * d.std(ddof=1) / len(d) ** 0.5)

    def mean_gain(before, after, t):
        d = after - before
        h = half(d, before, after, t)
        return sign * middle(d), sign * middle(d) - h, sign * middle(d) + h

    return mean_gain


def independent(d, before, after, t):
    return t * ((before.var(ddof=1) + after.var(ddof=1)) / len(d)) ** 0.5


def put(room=lambda filler, needle, question, length: length - len(needle) - len(question),
        cut=lambda depth, room, filler, length: round(depth * room)):  # fmt: skip
    def placed(filler, needle, question, depth, length):
        n = room(filler, needle, question, length)
        c = min(cut(depth, n, filler, length), n)
        return filler[:c] + needle + filler[c:n] + question

    return placed


def no_rest(filler, needle, question, depth, length):
    return filler[: round(depth * (length - len(needle) - len(question)))] + needle + question


def last_filler(filler, needle, question, depth, length):
    return put()(filler[-(length - len(needle) - len(question)) :], needle, question, depth, length)


def no_needle(filler, needle, question, depth, length):
    return filler[: length - len(question)] + question


def no_question(filler, needle, question, depth, length):
    return put()(filler, needle, [], depth, length)


def question_in_front(filler, needle, question, depth, length):
    return question + put()(filler, needle, question, depth, length)[: -len(question)]


def turning(exponent=lambda dim: torch.arange(0, dim, 2) / dim, ntk=None, linear=lambda turns, f: turns / f, sign=-1):
    ntk = ntk or (lambda theta, f, dim: theta * f ** (dim / (dim - 2)))

    def frequencies(theta, dim, factor=1.0, kind=None):
        if kind == "ntk":
            theta = ntk(theta, factor, dim)
        turns = theta ** (sign * exponent(dim))
        return linear(turns, factor) if kind == "linear" else turns

    return frequencies


def both(theta, dim, factor=1.0, kind=None):
    turns = turning()(theta, dim, factor, kind)
    return turns / factor if kind == "ntk" else turns


def always(theta, dim, factor=1.0, kind=None):
    return turning()(theta, dim) / factor if kind is None else turning()(theta, dim, factor, kind)


WRONG = {
    "13/induction_batch": [
        (batch(period=lambda p: torch.full((len(p), 1), 5)), "the whole piece is repeated"),
        (batch(period=lambda p: p[:1, None].expand(len(p), 1)), "first row's period"),
        (batch(turn=lambda place, p: (place // p).clamp(max=4)), "not the token"),
        (batch(turn=lambda place, p: (place + 1) % p), "shifted by one"),
        (batch(turn=backwards), "runs backwards"),
        (batch(more=1), "one token too many"),
        (batch(known=lambda place, p: place >= p), "first token of the second round"),
        (batch(known=lambda place, p: place <= p), "turn it round"),
        (batch(known=lambda place, p: place >= 2 * p), "second round are known already"),
        (batch(known=lambda place, p: torch.ones(2, len(place)).bool()), "first round is not known"),
        (batch(known=lambda place, p: place > p + 1), "one token too late"),
        (lambda pieces, periods, length: batch()(pieces, periods, length)[0], "two things"),
    ],
    "13/prefix_matching": [
        (matching(by=0), "earlier copies themselves"),
        (matching(by=-1), "right before"),
        (matching(copies=torch.tril, by=0), "on the token itself"),
        (matching(pick=lambda copy: (copy * torch.arange(1, copy.shape[-1] + 1)).argmax(-1)), "the latest copy"),
        (matching(pick=lambda copy: copy.int().argmax(-1)), "the first copy"),
        (matching(reduce=lambda score, seen, behind: score.mean((0, 2))), "over all places"),
        (matching(reduce=lambda score, seen, behind: score.sum((0, 2))), "sums"),
        (matching(reduce=lambda score, seen, behind: score.sum((0, 2)) / behind.sum()), "not by the number of pairs"),
        (matching(reduce=lambda score, seen, behind: score.sum((0, 2)).mean() / seen.sum()), "each head"),
        (matching(reduce=lambda score, seen, behind: score.sum(-1) / seen.sum(-1, keepdim=True)), "each row"),
        (exchanged, "exchanged"),
    ],
    "13/prompt": [
        (few(keep=lambda context, item: True), "leaks"),
        (with_answer, "ends with the answer"),
        (few(end=" "), "space at the end"),
        (few(end="\n"), "new line at the end"),
        (sliced_first, "one is missing"),
        (few(between="\n"), "two new lines"),
        (few(between=""), "run into each other"),
        (few(one=lambda context, answer: context), "no answers"),
        (few(one=lambda context, answer: f"{context} {answer}"), "two spaces"),
        (few(cut=lambda solved, shots: solved[: shots + 1]), "one example too many"),
        (few(cut=lambda solved, shots: solved[-shots:]), "not the last"),
        (few(cut=lambda solved, shots: solved[:shots][::-1]), "order of the pool"),
        (question_first, "comes last"),
    ],
    "13/mean_gain": [
        (gain(sign=-1), "sign is turned"),
        (gain(half=independent), "independent"),
        (gain(half=lambda d, before, after, t: t * d.std(ddof=1)), "by √n"),
        (gain(half=lambda d, before, after, t: t * d.std(ddof=1) / len(d)), "not by n"),
        (gain(half=lambda d, before, after, t: t * d.std() / len(d) ** 0.5), "n - 1"),
        (gain(half=lambda d, before, after, t: t * d.var(ddof=1) / len(d) ** 0.5), "variance"),
        (gain(half=lambda d, before, after, t: d.std(ddof=1) / len(d) ** 0.5), "t is not used"),
        (gain(half=lambda d, before, after, t: 1.96 * d.std(ddof=1) / len(d) ** 0.5), "Student's t"),
        (gain(half=lambda d, before, after, t: -t * d.std(ddof=1) / len(d) ** 0.5), "exchanged"),
        (gain(middle=np.median), "median"),
        (lambda before, after, t: (after - before).mean(), "three numbers"),
    ],
    "13/placed": [
        (put(cut=lambda depth, room, filler, length: room - round(depth * room)), "count from the end"),
        (put(cut=lambda depth, room, filler, length: round(depth * len(filler))), "not of all the filler"),
        (put(cut=lambda depth, room, filler, length: round(depth * length)), "not of the whole prompt"),
        (put(cut=lambda depth, room, filler, length: int(depth * room)), "cut off"),
        (put(room=lambda filler, needle, question, length: length), "too long"),
        (put(room=lambda filler, needle, question, length: length - len(needle)), "the question counts too"),
        (put(room=lambda filler, needle, question, length: length - len(question)), "the needle counts too"),
        (no_rest, "is missing"),
        (no_needle, "needle is missing"),
        (no_question, "question is missing"),
        (question_in_front, "comes last"),
        (last_filler, "take its first"),
    ],
    "13/frequencies": [
        (turning(sign=1), "the first pair turns fastest"),
        (turning(exponent=lambda dim: torch.arange(dim) / dim), "one for each pair"),
        (turning(exponent=lambda dim: torch.arange(0, dim, 2) / dim / 2), "not -j / d"),
        (always, "without a kind"),
        (turning(linear=lambda turns, f: turns), "divide by the factor"),
        (turning(linear=lambda turns, f: turns * f), "you multiplied"),
        (turning(ntk=lambda theta, f, dim: theta), "raise the base"),
        (turning(ntk=lambda theta, f, dim: theta * f), "not by f alone"),
        (turning(ntk=lambda theta, f, dim: theta * f ** ((dim - 2) / dim)), "inverse"),
        (turning(ntk=lambda theta, f, dim: theta / f ** (dim / (dim - 2))), "lowered"),
        (turning(ntk=lambda theta, f, dim: (theta * f) ** (dim / (dim - 2))), "of the factor alone"),
        (both, "do the first only"),
    ],
}
