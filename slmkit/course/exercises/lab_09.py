"""Checkers of lab 09: the schedule, the noise floor, where good text goes, effects told apart."""

import math
from itertools import product

import torch

from slmkit.course.checking import Wrong, call, compare, exercise


@exercise("09/wsd_share")
def wsd_share(answer):
    def form(step, steps, warmup, decay, final, first=1, ends=0, start=None, floor=True, tail=None):
        """The schedule with one thing changed"""
        if step < warmup:
            return (step + first) / warmup
        if tail is not None and step >= steps - decay:
            return tail(step, steps, decay, final)
        falling = min(1, (steps - step - ends) / (decay - ends))
        falling = falling if start is None else min(1, (steps - step) / (steps - start))
        return final + (1 - final) * falling if floor else falling

    def cosine(step, steps, decay, final):
        return final + (1 - final) * (1 + math.cos(math.pi * (1 - (steps - step) / decay))) / 2

    # steps, warmup, decay, final; then the steps to ask for
    for steps, warmup, decay, final in ((40, 5, 8, 0.0), (40, 5, 8, 0.25), (30, 4, 12, 0.1)):
        places = list(range(steps))
        right = [form(step, steps, warmup, decay, final) for step in places]
        changes = {
            "the warm-up starts at 0, so that its first step learns nothing; it is at the peak at its last step":
                dict(first=0),
            "the last step is already at `final`; the step after the end would be there": dict(ends=1),
            "the rate falls from the end of the warm-up on; it stays at the peak until the last `decay` steps":
                dict(start=warmup),
            "it falls along a cosine; a straight line is asked for": dict(tail=cosine),
            "it drops to `final` at once; it falls in a straight line": dict(tail=lambda *given: given[-1]),
        }  # fmt: skip
        mistakes = {
            message: [form(step, steps, warmup, decay, final, **changed) for step in places]
            for message, changed in changes.items()
        }
        stays = [min(1.0, (step + 1) / warmup) for step in places]
        mistakes["the rate never falls"] = stays
        mistakes["it stays at the peak for the warm-up's steps too: the warm-up is missing"] = [
            max(one, float(step < warmup)) for step, one in zip(places, right)
        ]
        if final:
            mistakes["the line goes to 0; it goes to `final`"] = [
                form(step, steps, warmup, decay, final, floor=False) for step in places
            ]
            mistakes["the line is cut off at `final`; it goes from 1 to `final` over all of the decay"] = [
                max(form(step, steps, warmup, decay, final, floor=False), final if step >= warmup else 0.0)
                for step in places
            ]
        got = [call(answer, step, steps, warmup, decay, final) for step in places]
        what = f"the share at steps 0 to {steps - 1} with warmup = {warmup}, decay = {decay}, final = {final}"
        compare([float(one) for one in got], right, what, mistakes)
    if not math.isclose(call(answer, 0, 10, 0, 4), 1):
        raise Wrong("without a warm-up (0 steps) the first step is at the peak")


@exercise("09/mean_loss")
def mean_loss(answer):
    def form(rates, h, noise, w, forget=2, noisy=2, drive=True, half=True, before=False):
        square, losses = w**2, []
        for rate in rates:
            if before:
                losses.append(h * square / 2)
            square = (1 - rate * h) ** forget * square + drive * rate**noisy * noise**2
            if not before:
                losses.append(h * square / (2 if half else 1))
        return losses

    changes = {
        "the noise is missing, so that is the loss of the mean of w; each step adds rate² noise² to E[w²]": dict(
            drive=False
        ),
        "the noise enters with the rate, not with its square": dict(noisy=1),
        "the part that is kept is (1 - rate h)²; the square is missing": dict(forget=1),
        "the ½ of the loss is missing": dict(half=False),
        "that is the loss before each step; asked for is the one after it": dict(before=True),
    }
    for rates, h, noise, w in (([0.5, 0.3, 0.1, 0.7], 0.8, 0.6, 1.5), ([0.2] * 6, 1.3, 0.9, -2.0)):
        right = form(rates, h, noise, w)
        mistakes = {message: form(rates, h, noise, w, **changed) for message, changed in changes.items()}
        mistakes["that is E[w²]; the loss is ½ h times it"] = [2 * one / h for one in right]
        if w < 0:
            mistakes["w = -2 has the loss of w = 2: it enters as w², not as |w| or w"] = form(
                rates, h, noise, -(abs(w) ** 0.5)
            )
        else:
            mistakes["it starts at E[w²] = w; w² is where it starts"] = form(rates, h, noise, w**0.5)
            mistakes["the last rate is taken at each step"] = form([rates[-1]] * len(rates), h, noise, w)
            mistakes["the first rate is taken at each step"] = form([rates[0]] * len(rates), h, noise, w)
        got = call(answer, list(rates), h, noise, w)
        if isinstance(got, (int, float)) and not isinstance(got, bool):
            raise Wrong("that is one number; give the loss after each step, as a list")
        compare(got, right, f"the losses for rates {rates}, curvature {h}, noise {noise}, w = {w}", mistakes)


@exercise("09/floor")
def floor(answer):
    for rate, h, noise in ((0.6, 0.8, 0.3), (0.9, 1.5, 2.0), (0.1, 4.0, 1.0)):
        right = rate * noise**2 / (2 * (2 - rate * h))
        mistakes = {
            "that is E[w²]; the loss is ½ h times it": 2 * right / h,
            "the ½ of the loss is missing": 2 * right,
            "noise enters with its square, the variance": right / noise,
            "that is the limit for small rates, rate noise² / 4; give it for all rates": rate * noise**2 / 4,
            "the sign of rate h is wrong: E[w²] = rate² noise² / (1 - (1 - rate h)²)":
                rate * noise**2 / (2 * (2 + rate * h)),
            "that is what one step adds, ½ h rate² noise²; the steps before it are not forgotten at once":
                h * rate**2 * noise**2 / 2,
            "what is kept of E[w²] is (1 - rate h)², not 1 - rate h": rate * noise**2 / 2,
            "the rate is missing": right / rate,
            "the curvature is there once too often": right * h,
            "the noise is forgotten: without it the loss ends at 0": 0.0,
        }  # fmt: skip
        mistakes = {message: value for message, value in mistakes.items() if not math.isclose(value, right)}
        compare(float(call(answer, rate, h, noise)), right, f"the floor at rate {rate}, curvature {h}, noise {noise}",
                mistakes)  # fmt: skip
    for rate, h in ((1.0, 2.0), (3.0, 1.0)):
        got = float(call(answer, rate, h, 1.0))
        if got != math.inf:
            raise Wrong(
                f"at rate {rate} and curvature {h}, w does not shrink, |1 - rate h| ≥ 1; return infinity, not {got}"
            )


@exercise("09/placed")
def placed(answer):
    def form(place, steps, decay, good):
        if place in ("none", "spread"):
            return [(steps, good if place == "spread" else 0.0)]
        few = round(steps * (good if place == "alone" else decay))
        parts = [(few, good * steps / few), (steps - few, 0.0)]
        return parts if place == "start" else parts[::-1]

    for place, (steps, decay, good) in product(
        ("none", "spread", "start", "end", "alone"), ((100, 0.2, 0.1), (60, 0.25, 0.05), (200, 0.1, 0.02))
    ):
        right, asked = form(place, steps, decay, good), f'"{place}" of {steps} steps, decay {decay}, good {good}'
        got = call(answer, place, steps, decay, good)
        _stages(got, asked, place, steps)
        got = [(int(length), float(share)) for length, share in got]
        whole = sum(length * share for length, share in got) / steps
        wanted = 0.0 if place == "none" else good
        if [one for one in got if one[1] > 0] == [one for one in right if one[1] > 0] and got == right[::-1] != right:
            raise Wrong(f"{asked}: the good text is at the wrong end")
        if not math.isclose(whole, wanted, abs_tol=1e-9):
            hint = ""
            if any(math.isclose(share, good) for _, share in got) and place in ("start", "end"):
                hint = "; a stage of few steps needs a larger share, so that it holds as many good rows"
            elif any(math.isclose(share, 0.5) for _, share in got):
                hint = "; half of the rows is right only where `decay` is twice `good`"
            raise Wrong(f"{asked}: {whole:.4g} of all rows are good, it should be {wanted:g}{hint}")
        if got != right and sorted(got) == sorted(right):
            raise Wrong(f"{asked}: the stages are in the wrong order")
        if len(got) == len(right) and [length for length, _ in got] != [length for length, _ in right]:
            raise Wrong(f"{asked}: the stages are {[length for length, _ in got]} steps long, "
                        f"they should be {[length for length, _ in right]}")  # fmt: skip
        if len(got) != len(right):
            raise Wrong(f"{asked}: there are {len(got)} stages; there should be {len(right)}")
        compare([share for _, share in got], [share for _, share in right], f"the shares of {asked}")


def _stages(got, asked: str, place: str, steps: int):
    """What is no list of stages, or one that does not fill the run, is told so."""
    if not isinstance(got, (list, tuple)) or not all(isinstance(one, (list, tuple)) and len(one) == 2 for one in got):
        raise Wrong(f"{asked}: give a list of pairs, (steps, share of good rows)")
    if any(float(length) != round(float(length)) for length, _ in got):
        raise Wrong(f"{asked}: a stage has {got[0][0]} steps; steps are whole numbers, round them")
    if (total := sum(length for length, _ in got)) != steps:
        raise Wrong(f"{asked}: the stages have {total} steps together; a run of {steps} steps needs as many")
    if any(not 0 <= share <= 1 for _, share in got):
        raise Wrong(f"{asked}: a share of {max(share for _, share in got):g} cannot be; shares go from 0 to 1")


@exercise("09/effects")
def effects(answer):
    losses = torch.tensor([[[2.0, 2.3, 1.9], [1.7, 1.9, 1.8]], [[1.8, 2.2, 1.6], [1.2, 1.7, 1.45]]])
    a, b, c, d = losses[0, 0], losses[0, 1], losses[1, 0], losses[1, 1]

    def rows(*three):
        return torch.stack(three)

    right = rows(b - a, c - a, d - b - c + a)
    got = call(answer, losses.clone())
    compare(got, right, "the effects of three seeds", {
        "the signs are wrong: with the change minus without it, so that less than 0 is a gain": -right,
        "decay and end are exchanged: losses[0, 1] is spread with the decay": rows(c - a, b - a, d - b - c + a),
        "the third row is the sum of both changes together, d - a; take off what each gives alone":
            rows(b - a, c - a, d - a),
        "the loss they start from is taken off twice in the third row: d - b - c + a": rows(b - a, c - a, d - b - c),
        "the first two are the effects where the other change is there already": rows(d - c, d - b, d - b - c + a),
        "the first two are main effects, averaged over the other change":
            rows((b - a + d - c) / 2, (c - a + d - b) / 2, d - b - c + a),
        "the third row is half of what both give beyond the sum": rows(b - a, c - a, (d - b - c + a) / 2),
        "the mean over the seeds is taken; keep one number a seed": right.mean(1),
        "the seeds come first; the effects do: [3, seeds]": right.T + torch.zeros(3, 3),
        "those are the losses, not their differences": rows(b, c, d),
    })  # fmt: skip
    two = torch.tensor([[[2.0, 2.3], [1.7, 1.9]], [[1.8, 2.2], [1.2, 1.7]]])
    compare(call(answer, two), right[:, :2], "the effects of two seeds")
