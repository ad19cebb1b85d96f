"""Right answers to lab 13's exercises, written otherwise than the lab's."""

import math
import statistics
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F


def batch_by_row(pieces, periods, length):
    rows, known = [], []
    for piece, period in zip(pieces, periods.tolist()):
        rows.append(piece[:period].repeat(length // period + 1)[:length])
        known.append(torch.tensor([place >= period + 1 for place in range(length)]))
    return torch.stack(rows), torch.stack(known)


def batch_by_steps(pieces, periods, length):
    ids, known = torch.zeros(len(pieces), length, dtype=pieces.dtype), torch.zeros(len(pieces), length).bool()
    for row in range(len(pieces)):
        period = int(periods[row])
        for place in range(length):
            ids[row, place] = pieces[row, place] if place < period else ids[row, place - period]
            known[row, place] = place - period > 0
    return ids, known


def matching_by_padding(pattern, ids):
    copy = (ids.unsqueeze(2) == ids.unsqueeze(1)).tril(-1)
    behind = F.pad(copy[..., :-1], (1, 0)).to(pattern.dtype)
    told = copy.any(-1).to(pattern.dtype)
    return torch.einsum("bhqk,bqk,bq->h", pattern, behind, told) / told.sum()


def matching_by_place(pattern, ids):
    scores = []
    for row, tokens in enumerate(ids.tolist()):
        for t in range(len(tokens)):
            behind = [i + 1 for i in range(t) if tokens[i] == tokens[t]]
            if behind:
                scores.append(pattern[row, :, t, behind].sum(-1))
    return torch.stack(scores).mean(0)


def prompt_by_loop(pool, item, shots):
    text = ""
    for context, answer in pool:
        if shots > 0 and context != item[0]:
            text += f"{context}{answer}\n\n"
            shots -= 1
    return text + item[0]


def prompt_by_islice(pool, item, shots):
    others = (context + answer for context, answer in pool if context != item[0])
    return "".join(one + "\n\n" for one in islice(others, shots)) + item[0]


def gain_by_statistics(before, after, t):
    gains = [float(b) - float(a) for a, b in zip(before, after)]
    mean, error = statistics.fmean(gains), statistics.stdev(gains) / math.sqrt(len(gains))
    return mean, mean - t * error, mean + t * error


def gain_by_torch(before, after, t):
    gain = torch.as_tensor(np.asarray(after)) - torch.as_tensor(np.asarray(before))
    centre, half = gain.mean(), t * (gain.var() / gain.numel()).sqrt()
    return tuple(float(centre + side * half) for side in (0, -1, 1))


def placed_by_inserting(filler, needle, question, depth, length):
    room = length - len(needle + question)
    text, cut = filler[:room], round(room * depth)
    text[cut:cut] = needle
    return text + question


def placed_by_parts(filler, needle, question, depth, length):
    room = length - len(question) - len(needle)
    before = round(depth * room)
    return [*filler[:before], *needle, *filler[before : before + room - before], *question]


def frequencies_by_exponential(theta, dim, factor=1.0, kind=None):
    base = math.log(theta) + (math.log(factor) * dim / (dim - 2) if kind == "ntk" else 0)
    turns = torch.exp(-base * torch.arange(dim // 2) * 2 / dim)
    return turns * (1 / factor if kind == "linear" else 1)


def frequencies_by_list(theta, dim, factor=1.0, kind=None):
    turns = []
    for pair in range(dim // 2):
        turn = theta ** (-2 * pair / dim)
        if kind == "linear":
            turn /= factor
        if kind == "ntk":
            turn /= factor ** (2 * pair / (dim - 2))
        turns.append(turn)
    return torch.tensor(turns)


RIGHT = {
    "13/induction_batch": [batch_by_row, batch_by_steps],
    "13/prefix_matching": [matching_by_padding, matching_by_place],
    "13/prompt": [prompt_by_loop, prompt_by_islice],
    "13/mean_gain": [gain_by_statistics, gain_by_torch],
    "13/placed": [placed_by_inserting, placed_by_parts],
    "13/frequencies": [frequencies_by_exponential, frequencies_by_list],
}
