"""Plausible wrong answers to lab 09's exercises: for each, what it gets told."""

import math

import torch


def share(step, steps, warmup, decay, final=0.0, first=1, ends=0, start=None):
    if step < warmup:
        return (step + first) / warmup
    start = steps - decay if start is None else start
    falling = min(1, (steps - step - ends) / (steps - start - ends))
    return final + (1 - final) * falling


def along_cosine(step, steps, warmup, decay, final=0.0):
    if step < max(warmup, steps - decay):
        return share(step, steps, warmup, decay, final)
    return final + (1 - final) * (1 + math.cos(math.pi * (step - steps + decay) / decay)) / 2


def clipped(step, steps, warmup, decay, final=0.0):
    return share(step, steps, warmup, decay) if step < warmup else max(final, share(step, steps, warmup, decay))


def without_zero(step, steps, warmup, decay, final=0.0):
    return share(step, steps, warmup, decay, final) if warmup else share(step, steps, 1, decay, final, first=0)


def losses(rates, h, noise, w, keep=2, noisy=2, half=2, before=False):
    square, found = w**2, []
    for rate in rates:
        found.append(h * square / half)
        square = (1 - rate * h) ** keep * square + rate**noisy * noise**2
    return found if before else [*found[1:], h * square / half]


def of_the_mean(rates, h, noise, w):
    found = []
    for rate in rates:
        w *= 1 - rate * h
        found.append(h * w**2 / 2)
    return found


def level(rate, h, noise):
    return rate * noise**2 / (2 * (2 - rate * h))


def stages(place, steps, decay=0.2, good=0.1, **changed):
    few = round(decay * steps)
    forms = {
        "none": [(steps, 0.0)],
        "spread": [(steps, good)],
        "start": [(few, good * steps / few), (steps - few, 0.0)],
        "end": [(steps - few, 0.0), (few, good * steps / few)],
        "alone": [(steps - round(good * steps), 0.0), (round(good * steps), good * steps / round(good * steps))],
    }
    return changed[place](few, steps, decay, good) if place in changed else forms[place]


def with_place(**changed):
    return lambda place, steps, decay=0.2, good=0.1: stages(place, steps, decay, good, **changed)


def square(one):
    return one[0, 0], one[0, 1], one[1, 0], one[1, 1]


def rows(make):
    def answer(losses):
        a, b, c, d = square(losses)
        return torch.stack(make(a, b, c, d))

    return answer


WRONG = {
    "09/wsd_share": [
        (lambda step, steps, warmup, decay, final=0.0: share(step, steps, warmup, decay, final, first=0),
         "learns nothing"),
        (lambda step, steps, warmup, decay, final=0.0: share(step, steps, warmup, decay, final, ends=1),
         "the step after the end"),
        (lambda step, steps, warmup, decay, final=0.0: share(step, steps, warmup, decay, final, start=warmup),
         "from the end of the warm-up on"),
        (along_cosine, "along a cosine"),
        (lambda step, steps, warmup, decay, final=0.0:
            final if step >= steps - decay else share(step, steps, warmup, decay), "at once"),
        (lambda step, steps, warmup, decay, final=0.0: min(1.0, (step + 1) / warmup), "never falls"),
        (lambda step, steps, warmup, decay, final=0.0: share(step, steps, 0, decay, final), "warm-up is missing"),
        (lambda step, steps, warmup, decay, final=0.0: share(step, steps, warmup, decay), "it goes to `final`"),
        (clipped, "cut off at `final`"),
        (lambda step, steps, warmup, decay, final=0.0: 3e-3 * share(step, steps, warmup, decay, final), "is wrong"),
        (without_zero, "without a warm-up"),
        (lambda step, steps, warmup, decay, final=0.0: None, "return"),
    ],
    "09/mean_loss": [
        (lambda rates, h, noise, w: losses(rates, h, 0.0, w), "noise is missing"),
        (lambda rates, h, noise, w: losses(rates, h, noise, w, noisy=1), "not with its square"),
        (lambda rates, h, noise, w: losses(rates, h, noise, w, keep=1), "the square is missing"),
        (lambda rates, h, noise, w: losses(rates, h, noise, w, half=1), "½ of the loss"),
        (lambda rates, h, noise, w: losses(rates, h, noise, w, half=h), "that is E[w²]"),
        (lambda rates, h, noise, w: losses(rates, h, noise, w, before=True), "before each step"),
        (of_the_mean, "that is the loss of the mean"),
        (lambda rates, h, noise, w: losses(rates, h, noise, abs(w) ** 0.5), "starts at E[w²] = w"),
        (lambda rates, h, noise, w: losses([rates[-1]] * len(rates), h, noise, w), "the last rate"),
        (lambda rates, h, noise, w: losses([rates[0]] * len(rates), h, noise, w), "the first rate"),
        (lambda rates, h, noise, w: losses(rates, h, noise, w)[-1], "one number"),
        (lambda rates, h, noise, w: losses(rates[1:], h, noise, w), "shape"),
    ],
    "09/floor": [
        (lambda rate, h, noise: 2 * level(rate, h, noise) / h, "that is E[w²]"),
        (lambda rate, h, noise: 2 * level(rate, h, noise), "½ of the loss"),
        (lambda rate, h, noise: level(rate, h, noise) / noise, "with its square"),
        (lambda rate, h, noise: rate * noise**2 / 4, "small rates"),
        (lambda rate, h, noise: rate * noise**2 / (2 * (2 + rate * h)), "sign of rate h"),
        (lambda rate, h, noise: h * rate**2 * noise**2 / 2, "what one step adds"),
        (lambda rate, h, noise: rate * noise**2 / 2, "not 1 - rate h"),
        (lambda rate, h, noise: level(rate, h, noise) / rate, "rate is missing"),
        (lambda rate, h, noise: 0.0, "noise is forgotten"),
        (lambda rate, h, noise: level(rate, h, noise) if rate * h != 2 else math.inf, "return infinity"),
        (lambda rate, h, noise: h * level(rate, h, noise), "once too often"),
    ],
    "09/placed": [
        (with_place(start=lambda few, steps, decay, good: stages("end", steps, decay, good)), "wrong end"),
        (with_place(end=lambda few, steps, decay, good: stages("start", steps, decay, good)), "wrong end"),
        (with_place(end=lambda few, steps, decay, good: [(steps - few, 0.0), (few, good)]), "needs a larger share"),
        (with_place(end=lambda few, steps, decay, good: [(steps - few, 0.0), (few, 0.5)]), "twice `good`"),
        (with_place(end=lambda few, steps, decay, good: [(steps - few, 0.0), (few, 1.0)]), "of all rows are good"),
        (with_place(none=lambda few, steps, decay, good: [(steps, good)]), "it should be 0"),
        (with_place(spread=lambda few, steps, decay, good: [(steps, 0.0)]), "0 of all rows"),
        (with_place(end=lambda few, steps, decay, good: [(steps, 0.0), (few, good * steps / few)]), "together"),
        (with_place(alone=lambda few, steps, decay, good: stages("end", steps, decay, good)), "steps long"),
        (with_place(spread=lambda few, steps, decay, good: [(steps - few, good), (few, good)]), "there are 2 stages"),
        (with_place(end=lambda few, steps, decay, good: [((1 - decay) * steps + 0.5, 0.0), (decay * steps, 0.5)]),
         "whole numbers"),
        (with_place(end=lambda few, steps, decay, good: [(steps - few, 0.0), (few, 100 * good)]), "cannot be"),
        (with_place(none=lambda few, steps, decay, good: (steps, 0.0)), "list of pairs"),
    ],
    "09/effects": [
        (rows(lambda a, b, c, d: (a - b, a - c, b + c - a - d)), "signs are wrong"),
        (rows(lambda a, b, c, d: (c - a, b - a, d - b - c + a)), "exchanged"),
        (rows(lambda a, b, c, d: (b - a, c - a, d - a)), "take off what each gives"),
        (rows(lambda a, b, c, d: (b - a, c - a, d - b - c)), "taken off twice"),
        (rows(lambda a, b, c, d: (d - c, d - b, d - b - c + a)), "is there already"),
        (rows(lambda a, b, c, d: ((b - a + d - c) / 2, (c - a + d - b) / 2, d - b - c + a)), "main effects"),
        (rows(lambda a, b, c, d: (b - a, c - a, (d - b - c + a) / 2)), "half of what"),
        (lambda losses: rows(lambda a, b, c, d: (b - a, c - a, d - b - c + a))(losses).mean(1), "one number a seed"),
        (lambda losses: rows(lambda a, b, c, d: (b - a, c - a, d - b - c + a))(losses).T, "seeds come first"),
        (rows(lambda a, b, c, d: (b, c, d)), "not their differences"),
    ],
}  # fmt: skip
