"""Checkers of lab 16, the capstone."""

import math

import numpy as np
import torch

from slmkit.course.checking import Wrong, call, compare, exercise


def _pair(got, what: str) -> tuple:
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"return two things, {what}")
    return tuple(got)


@exercise("16/over_budget")
def over_budget(answer):
    budget = {"parameters": 1000, "memory": 800, "training": 2e9, "latency": 1e-3}
    used = {"latency": 1.5e-3, "memory": 800, "parameters": 1100, "training": 1e9}
    got, right = call(answer, dict(used), dict(budget)), {"parameters": 1.1, "latency": 1.5}
    if not isinstance(got, dict):
        raise Wrong(f"give a dict, name to number, even when it is empty; that is a {type(got).__name__}")
    if set(got) == set(budget):
        raise Wrong("those are all limits; give the exceeded ones alone")
    if set(got) == {"training", "memory"} or set(got) == {"training"}:
        raise Wrong("those are the limits that are kept; give the exceeded ones")
    if "memory" in got and set(got) < set(budget):
        raise Wrong("a limit that is just reached is kept; only more than it is too much")
    if set(got) != set(right):
        raise Wrong(f"exceeded are {', '.join(right)}; you name {', '.join(map(str, got)) or 'none'}")
    values = torch.tensor([float(got[name]) for name in right], dtype=torch.float64)

    def told(change):
        return torch.tensor([change(used[name], budget[name]) for name in right], dtype=torch.float64)

    compare(values, told(lambda a, b: a / b), "how many times the limits are used", {
        "upside down: what is used over the limit": told(lambda a, b: b / a),
        "that is how much is too much; how many times the limit is used, says more": told(lambda a, b: a - b),
        "that is the excess as a share; the whole use, as a share of the limit": told(lambda a, b: a / b - 1),
        "that is what is used; divide by the limit": told(lambda a, b: a),
        "that is in percent": told(lambda a, b: 100 * a / b),
    })  # fmt: skip
    if call(answer, dict.fromkeys(budget, 0), dict(budget)) != {}:
        raise Wrong("a design that takes nothing exceeds no limit: {}")


def _steps(budget, tokens, forward, teacher=0.0, spent=0.0, *, times=3, asked=1, paid=1, whole=math.floor):
    step = tokens * (times * forward + asked * teacher)
    left = budget - paid * spent
    steps = whole(left / step)
    return steps, (left - steps * step) / budget


@exercise("16/steps_affordable")
def steps_affordable(answer):
    plain, taught = (1e9, 1024, 9000.0), (1e9, 1024, 9000.0, 30_000.0, 2.5e8)
    what = "the steps and the share of the budget that is left"
    steps, left = _pair(call(answer, *plain), what)
    right = _steps(*plain)
    if isinstance(steps, float) and steps != int(steps):
        raise Wrong("steps are whole: a step that the budget ends in is not made")
    compare(int(steps), right[0], "steps without a teacher", {
        "a step that the budget ends in is not made: round down": _steps(*plain, whole=math.ceil)[0],
        "the pass backward costs twice the pass forward: three times in all": _steps(*plain, times=1)[0],
        "the pass backward costs twice the pass forward; you counted both alike": _steps(*plain, times=2)[0],
        "those are tokens; a step has step_tokens of them": int(1e9 / 27_000),
    })  # fmt: skip
    compare(float(left), right[1], "the share that is left", {
        "that is FLOPs; give the share of the budget": right[1] * 1e9,
        "that is the share that is spent": 1 - right[1],
        "that is the rest in steps; give the share of the budget": right[1] * 1e9 / (1024 * 27_000),
    })  # fmt: skip
    steps, left = _pair(call(answer, *taught), what)
    right = _steps(*taught)
    compare(int(steps), right[0], "steps with a teacher", {
        "the teacher answers, and learns nothing: it is passed forward alone": _steps(*taught, asked=3)[0],
        "the teacher's answers cost FLOPs too, one pass forward a token": _steps(*taught, asked=0)[0],
        "the teacher's own training has come out of the budget": _steps(*taught, paid=0)[0],
    })  # fmt: skip
    compare(float(left), right[1], "the share that is left with a teacher", {
        "the share is of the whole budget, not of what the teacher left": right[1] * 1e9 / 7.5e8,
    })  # fmt: skip


def _cost(matrices, vectors, block, cache, flops, peak, bandwidth, *, plain=4, kept=2, time=max, of=None):
    size, stored = block
    total = (of or (lambda n: n // size * stored))(matrices) + plain * vectors + kept * cache
    return total, time(total / bandwidth, flops / peak)


@exercise("16/token_cost")
def token_cost(answer):
    got, given = [], []
    for flops in (4e5, 3e6):  # the memory decides, then the arithmetic
        given.append((64_000, 300, (32, 18), 4096, flops, 1e9, 1e8))
        total, seconds = _pair(call(answer, *given[-1]), "bytes and seconds")
        right = _cost(*given[-1])[0]
        compare(total, right, "the bytes", {
            "numbers outside matrices have 32 bits, 4 bytes": _cost(*given[-1], plain=2)[0],
            "numbers outside matrices take bytes too, 4 each": _cost(*given[-1], plain=0)[0],
            "the cache has 16 bits a number, 2 bytes": _cost(*given[-1], kept=4)[0],
            "the cache is read too": _cost(*given[-1], kept=0)[0],
            "block[1] is the bytes of a whole block of block[0] numbers": _cost(*given[-1], of=lambda n: n * 18)[0],
            "block is (numbers, bytes), in this order": _cost(*given[-1], of=lambda n: n * 32 // 18)[0],
            "those are bits": 8 * right,
        }, atol=0.5)  # fmt: skip
        got.append(float(seconds))

    def told(time):
        return torch.tensor([_cost(*one, time=time)[1] for one in given], dtype=torch.float64)

    compare(torch.tensor(got, dtype=torch.float64), told(max), "the seconds, of two tokens", {
        "reading and computing go on at the same time: the longer one decides, not the sum": told(lambda a, b: a + b),
        "the longer one decides, not the shorter": told(min),
        "computing takes time too, and may take longer": told(lambda a, b: a),
        "reading takes time too, and may take longer": told(lambda a, b: b),
    })  # fmt: skip


@exercise("16/text_score")
def text_score(answer):
    nats, sizes = [500.0, 90.0, 1400.0], [400, 50, 1000]
    bits = [one / math.log(2) for one in nats]
    compare(float(call(answer, list(nats), list(sizes))), sum(bits) / sum(sizes), "bits per byte of three pieces", {
        "that is the mean over pieces, in which a short one counts as much as a long one":
            sum(b / n for b, n in zip(bits, sizes)) / 3,
        "those are nats; a bit is log(2) of them": sum(nats) / sum(sizes),
        "multiplied by log(2); a nat is more than a bit": sum(nats) * math.log(2) / sum(sizes),
        "upside down: bits over bytes": sum(sizes) / sum(bits),
        "those are the bits of the whole text; divide by its bytes": sum(bits),
        "that is the last piece alone": bits[-1] / sizes[-1],
    })  # fmt: skip


def _errors(mine, control, harder, plainer, *, ddof=1, root=math.sqrt, counts=True):
    a, b = (np.asarray(x) - np.asarray(y) for x, y in ((mine, harder), (control, plainer)))
    spread = a.var(ddof=ddof) / (len(a) if counts else 1) + b.var(ddof=ddof) / (len(b) if counts else 1)
    return float((b.mean() - a.mean()) / root(spread))


@exercise("16/known_too_well")
def known_too_well(answer):
    draw = np.random.default_rng(16)
    harder, plainer = 2.6 + 0.3 * draw.standard_normal(7), 2.2 + 0.3 * draw.standard_normal(12)
    given = (
        harder + 0.1 + 0.1 * draw.standard_normal(7),
        plainer + 0.4 + 0.2 * draw.standard_normal(12),
        harder,
        plainer,
    )
    none = np.zeros(7), np.zeros(12)
    right = _errors(*given)
    compare(float(call(answer, *(one.copy() for one in given))), right, "the standard errors", {
        "the sign is exchanged: above 0 when the suspect text takes fewer bits than the control": -right,
        "the baselines are not used: the suspect text is harder for anyone": _errors(*given[:2], *none),
        "that is the difference; divide it by its standard error": _errors(*given, root=lambda _: 1.0),
        "that is in standard deviations; a mean of n pieces has an error smaller by the root of n":
            _errors(*given, counts=False),
        "divided by the variance; take its root": _errors(*given, root=float),
        "the variance of a sample is over n - 1": _errors(*given, ddof=0),
        "the baseline of the one text was taken for the other":
            _errors(given[0] - plainer.mean(), given[1] - harder.mean(), *none),
    })  # fmt: skip
