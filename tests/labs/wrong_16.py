"""Plausible wrong answers to lab 16's exercises: for each, what it gets told."""

import math

import numpy as np


def limits(share=lambda used, limit: used / limit, over=lambda used, limit: used > limit):
    def over_budget(used, budget):
        return {name: share(used[name], budget[name]) for name in budget if over(used[name], budget[name])}

    return over_budget


def steps(times=3, asked=1, paid=1, whole=math.floor, share=lambda rest, step, left, budget: rest / budget):
    def steps_affordable(budget, step_tokens, forward, teacher=0.0, spent=0.0):
        step, left = step_tokens * (times * forward + asked * teacher), budget - paid * spent
        made = whole(left / step)
        return made, share(left - made * step, step, left, budget)

    return steps_affordable


def in_tokens(budget, step_tokens, forward, teacher=0.0, spent=0.0):
    return int((budget - spent) / (3 * forward + teacher)), 0.0


def cost(plain=4, kept=2, time=max, blocks=lambda numbers, block: numbers // block[0] * block[1]):
    def token_cost(matrices, vectors, block, cache, flops, peak, bandwidth):
        total = blocks(matrices, block) + plain * vectors + kept * cache
        return total, time(total / bandwidth, flops / peak)

    return token_cost


def in_bits(*given):
    total, seconds = cost()(*given)
    return 8 * total, seconds


def welch(sign=1, ddof=1, over=len, root=math.sqrt, exchanged=False):
    def known_too_well(suspect, control, suspect_baseline, control_baseline):
        if exchanged:
            suspect_baseline, control_baseline = control_baseline.mean(), suspect_baseline.mean()
        a, b = suspect - suspect_baseline, control - control_baseline
        return sign * (b.mean() - a.mean()) / root(a.var(ddof=ddof) / over(a) + b.var(ddof=ddof) / over(b))

    return known_too_well


def without_baseline(suspect, control, suspect_baseline, control_baseline):
    return welch()(suspect, control, np.zeros(len(suspect)), np.zeros(len(control)))


WRONG = {
    "16/over_budget": [
        (limits(over=lambda used, limit: used >= limit), "just reached"),
        (limits(over=lambda used, limit: True), "all limits"),
        (limits(over=lambda used, limit: used < limit), "that are kept"),
        (limits(over=lambda used, limit: used <= limit), "that are kept"),
        (limits(over=lambda used, limit: used > limit and limit < 1), "exceeded are parameters, latency"),
        (limits(share=lambda used, limit: limit / used), "upside down"),
        (limits(share=lambda used, limit: used - limit), "how much is too much"),
        (limits(share=lambda used, limit: used / limit - 1), "the excess as a share"),
        (limits(share=lambda used, limit: used), "divide by the limit"),
        (limits(share=lambda used, limit: 100 * used / limit), "in percent"),
        (lambda used, budget: list(limits()(used, budget)), "a dict"),
        (lambda used, budget: limits()(used, budget) or None, "None"),
    ],
    "16/steps_affordable": [
        (steps(whole=math.ceil), "round down"),
        (steps(whole=lambda made: made), "whole"),
        (steps(times=1), "three times in all"),
        (steps(times=2), "counted both alike"),
        (in_tokens, "those are tokens"),
        (steps(share=lambda rest, step, left, budget: rest), "that is FLOPs"),
        (steps(share=lambda rest, step, left, budget: 1 - rest / budget), "that is spent"),
        (steps(share=lambda rest, step, left, budget: rest / step), "the rest in steps"),
        (steps(asked=3), "passed forward alone"),
        (steps(asked=0), "the teacher's answers cost"),
        (steps(paid=0), "has come out of the budget"),
        (steps(share=lambda rest, step, left, budget: rest / left), "the whole budget"),
        (lambda *given: steps()(*given)[0], "two things"),
    ],
    "16/token_cost": [
        (cost(plain=2), "32 bits, 4 bytes"),
        (cost(plain=0), "take bytes too"),
        (cost(kept=4), "16 bits a number"),
        (cost(kept=0), "the cache is read too"),
        (cost(blocks=lambda numbers, block: numbers * block[1]), "a whole block"),
        (cost(blocks=lambda numbers, block: numbers * block[0] // block[1]), "in this order"),
        (in_bits, "those are bits"),
        (cost(time=lambda reading, computing: reading + computing), "not the sum"),
        (cost(time=min), "not the shorter"),
        (cost(time=lambda reading, computing: reading), "computing takes time too"),
        (cost(time=lambda reading, computing: computing), "reading takes time too"),
        (lambda *given: cost()(*given)[1], "two things"),
    ],
    "16/text_score": [
        (lambda nats, sizes: sum(a / b for a, b in zip(nats, sizes)) / len(nats) / math.log(2), "mean over pieces"),
        (lambda nats, sizes: sum(nats) / sum(sizes), "those are nats"),
        (lambda nats, sizes: sum(nats) * math.log(2) / sum(sizes), "multiplied by log(2)"),
        (lambda nats, sizes: sum(sizes) / sum(nats) * math.log(2), "upside down"),
        (lambda nats, sizes: sum(nats) / math.log(2), "divide by its bytes"),
        (lambda nats, sizes: nats[-1] / sizes[-1] / math.log(2), "last piece alone"),
    ],
    "16/known_too_well": [
        (welch(sign=-1), "the sign"),
        (without_baseline, "baselines are not used"),
        (welch(root=lambda spread: 1), "that is the difference"),
        (welch(over=lambda sample: 1), "standard deviations"),
        (welch(root=float), "divided by the variance"),
        (welch(ddof=0), "n - 1"),
        (welch(exchanged=True), "taken for the other"),
    ],
}
