"""Right answers to lab 16's exercises, written otherwise than the lab's."""

import math
import statistics

import numpy as np
import torch


def over_by_loop(used, budget):
    found = {}
    for name in used:
        times = used[name] / budget[name]
        if times > 1:
            found[name] = times
    return found


def over_by_arrays(used, budget):
    names = sorted(budget)
    times = np.array([used[name] for name in names]) / np.array([budget[name] for name in names])
    return {name: float(share) for name, share in zip(names, times) if share > 1}


def steps_by_counting(budget, step_tokens, forward, teacher=0.0, spent=0.0):
    left, made, step = budget - spent, 0, step_tokens * (forward + 2 * forward + teacher)
    while left >= step:
        left, made = left - step, made + 1
    return made, left / budget


def steps_by_division(budget, step_tokens, forward, teacher=0.0, spent=0.0):
    made, left = divmod(budget - spent, step_tokens * 3 * forward + step_tokens * teacher)
    return [made, left / budget]


def cost_by_parts(matrices, vectors, block, cache, flops, peak, bandwidth):
    numbers, stored = block
    parts = {"matrices": matrices * stored / numbers, "vectors": vectors * 4, "cache": cache * 2}
    reading, computing = sum(parts.values()) / bandwidth, flops / peak
    return sum(parts.values()), reading if reading > computing else computing


def cost_by_rate(matrices, vectors, block, cache, flops, peak, bandwidth):
    total = block[1] * (matrices // block[0]) + np.dot([4, 2], [vectors, cache])
    return int(total), flops / min(peak, bandwidth * flops / total)


def score_by_pieces(nats, sizes):
    shares = [size / sum(sizes) for size in sizes]
    return sum(share * loss / math.log(2) / size for share, loss, size in zip(shares, nats, sizes))


def score_by_torch(nats, sizes):
    return torch.as_tensor(nats).sum() / torch.as_tensor(sizes).sum() * math.log2(math.e)


def errors_by_statistics(suspect, control, suspect_baseline, control_baseline):
    a = [float(x - y) for x, y in zip(suspect, suspect_baseline)]
    b = [float(x - y) for x, y in zip(control, control_baseline)]
    error = (statistics.variance(a) / len(a) + statistics.variance(b) / len(b)) ** 0.5
    return (statistics.fmean(b) - statistics.fmean(a)) / error


def errors_by_scipy(suspect, control, suspect_baseline, control_baseline):
    from scipy.stats import ttest_ind

    return ttest_ind(control - control_baseline, suspect - suspect_baseline, equal_var=False).statistic


RIGHT = {
    "16/over_budget": [over_by_loop, over_by_arrays],
    "16/steps_affordable": [steps_by_counting, steps_by_division],
    "16/token_cost": [cost_by_parts, cost_by_rate],
    "16/text_score": [score_by_pieces, score_by_torch],
    "16/known_too_well": [errors_by_statistics, errors_by_scipy],
}
