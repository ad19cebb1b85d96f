"""Plausible answers to lab 15's exercises: wrong ones with what they get told, and others that are right."""

import numpy as np


def block(step=None, codes=np.rint, over=None, store=np.float16, kind=np.int8):
    """Q8_0 with something changed; over: what the weights are divided by, from the exact step."""
    step = step or (lambda w: np.abs(w).max() / np.float32(127))

    def quantize_block(weights):
        exact = step(weights)
        divisor = over(exact) if over else exact
        scaled = weights / divisor if exact else np.zeros_like(weights)
        return store(exact), codes(scaled).astype(kind)

    return quantize_block


def divides_by_zero(weights):
    step = np.abs(weights).max() / np.float32(127)
    with np.errstate(all="ignore"):
        return np.float16(step), np.rint(weights / step)


def by_loop(weights):
    """Right: weight by weight, in Python."""
    step = float(np.float32(max(abs(float(w)) for w in weights)) / np.float32(127))
    codes = [int(np.floor(abs(float(w)) / step + 0.5)) * (1 if w > 0 else -1) if step else 0 for w in weights]
    return float(np.float16(step)), codes


def by_inverse(weights):
    """Right: as llama.cpp does, with one division."""
    step = np.abs(weights).max() / np.float32(127)
    inverse = np.float32(1) / step if step else np.float32(0)
    return np.float16(step), np.rint(weights * inverse).astype(np.int64)


def split(low=lambda p: p & 15, high=lambda p: p >> 4, order=None, run_of=None):
    def nibbles(packed, run):
        run = run_of(packed, run) if run_of else run
        groups = packed.astype(int).reshape(len(packed), -1, run)
        pair = (low(groups), high(groups))
        return np.stack(pair[::-1] if order else pair, axis=2).reshape(len(packed), -1)

    return nibbles


def nibbles_by_place(packed, run):
    """Right: where each code lies, worked out from its number."""
    codes = np.zeros((len(packed), 2 * packed.shape[1]), int)
    for i in range(codes.shape[1]):
        group, place = divmod(i, 2 * run)
        byte = packed[:, group * run + place % run]
        codes[:, i] = byte // 16 if place >= run else byte % 16
    return codes


def nibbles_by_group(packed, run):
    """Right: group after group, joined."""
    groups = [packed[:, i : i + run] for i in range(0, packed.shape[1], run)]
    return np.concatenate([half for group in groups for half in (group & 15, group >> 4)], axis=1)


def scales(first=lambda b: b & 63, high=lambda b: b >> 6 << 4, low=lambda b: b & 15, up=lambda b: b >> 4, swap=False,
           join=lambda a, b: np.concatenate((a, b)), other=False):  # fmt: skip
    def six_bits(packed):
        parts = []
        for i, nibble in enumerate((low, up)):
            mine = packed[4 * i : 4 * i + 4]
            above = packed[4 - 4 * i : 8 - 4 * i] if other else mine
            parts.append(join(first(mine), nibble(packed[8:]) | high(above)))
        return tuple(parts[::-1] if swap else parts)

    return six_bits


def by_index(packed):
    """Right: as `get_scale_min_k4` of ggml, one by one."""
    q, found = [int(b) for b in packed], ([], [])
    for j in range(8):
        found[0].append(q[j] & 63 if j < 4 else (q[j + 4] & 15) | (q[j - 4] >> 6) << 4)
        found[1].append(q[j + 4] & 63 if j < 4 else (q[j + 4] >> 4) | (q[j] >> 6) << 4)
    return found


def by_arithmetic(packed):
    """Right: division and remainder instead of shifts."""
    p = packed.astype(int)
    s, o, rest = p[:4], p[4:8], p[8:]
    return [np.append(s % 64, rest % 16 + 16 * (s // 64)), np.append(o % 64, rest // 16 + 16 * (o // 64))]


def size(fits=None, each=None):
    fits = fits or (lambda rows, width, block: width % block[0] == 0)
    each = each or (lambda rows, width, kind: rows * width // kind[0] * kind[1])

    def file_bytes(matrices, block, fallback):
        return sum(each(rows, width, block if fits(rows, width, block) else fallback) for rows, width in matrices)

    return file_bytes


def crossing(matrices, block, fallback):
    return sum(rows * width // block[0] * block[1] for rows, width in matrices)


def filled_up(matrices, block, fallback):
    return sum(rows * -(-width // block[0]) * block[1] for rows, width in matrices)


def cut(matrices, block, fallback):
    return sum(rows * (width // block[0]) * block[1] for rows, width in matrices)


def rest_alone(matrices, block, fallback):
    return sum(r * (w // block[0] * block[1] + w % block[0] // fallback[0] * fallback[1]) for r, w in matrices)


def all_or_none(matrices, block, fallback):
    kind = block if all(width % block[0] == 0 for _, width in matrices) else fallback
    return sum(rows * width // kind[0] * kind[1] for rows, width in matrices)


def by_rows(matrices, block, fallback):
    """Right: row by row."""
    total = 0
    for rows, width in matrices:
        kind = fallback if width % block[0] else block
        for _ in range(rows):
            total += kind[1] * (width // kind[0])
    return total


def unbeaten(beats=lambda a, b: a != b and a[0] <= b[0] and a[1] <= b[1], order=True, keep=False):
    def front(points):
        kept = [name for name, p in points.items() if any(beats(other, p) for other in points.values()) == keep]
        return sorted(kept, key=points.get) if order else kept

    return front


def by_sweep(points):
    """Right: by time, each that is better than all before."""
    kept, best = [], float("inf")
    for name in sorted(points, key=lambda name: points[name]):
        if points[name][1] < best:
            kept.append(name)
            best = points[name][1]
    return kept


def by_pairs(points):
    """Right: a tuple, found by comparing all pairs in arrays."""
    names, table = list(points), np.array(list(points.values()))
    no_worse = (table[:, None] <= table[None]).all(-1)
    better = (table[:, None] < table[None]).any(-1)
    return tuple(names[i] for i in np.argsort(table[:, 0], kind="stable") if not (no_worse & better)[:, i].any())


def only_ends(points):
    return [min(points, key=points.get), min(points, key=lambda name: points[name][1])]


def passes(time=max, read=lambda tokens, size, b: size / b, compute=lambda tokens, f, p: tokens * f / p, over=None):
    over = over or (lambda slow, quick: slow / quick)

    def speed_up(tokens, many, few, flops, peak, bandwidth):
        slow, quick = (time(read(tokens, n, bandwidth), compute(tokens, flops, peak)) for n in (many, few))
        return over(slow, quick)

    return speed_up


def fewer_operations(tokens, many, few, flops, peak, bandwidth):
    computing = tokens * flops / peak
    return max(many / bandwidth, computing) / max(few / bandwidth, computing * few / many)


def by_cases(tokens, many, few, flops, peak, bandwidth):
    """Right: which limit decides, asked for each."""
    work = tokens * flops
    slow = many / bandwidth if many * peak > work * bandwidth else work / peak
    return slow / (few / bandwidth if few * peak > work * bandwidth else work / peak)


def by_rates(tokens, many, few, flops, peak, bandwidth):
    """Right: tokens a second by the roofline, one over the other."""
    rates = [min(peak, tokens * flops / n * bandwidth) / flops for n in (few, many)]
    return rates[0] / rates[1]


WRONG = {
    "15/quantize_block": [
        (block(step=lambda w: np.abs(w).max() / np.float32(128)), "127, not 128"),
        (block(step=lambda w: w.max() / np.float32(127)), "the largest size"),
        (block(step=lambda w: np.ptp(w) / np.float32(255)), "not the whole range"),
        (block(step=lambda w: np.abs(w).max()), "the largest weight itself"),
        (block(store=lambda step: np.float16(1 / step) if step else step), "upside down"),
        (block(store=np.float32), "16 bits"),
        (block(codes=np.trunc), "cut off"),
        (block(codes=np.floor), "rounded down"),
        (block(codes=lambda x: np.abs(np.rint(x))), "sign"),
        (block(codes=lambda x: np.rint(x) + 128, kind=np.int64), "off by 128"),
        (block(over=lambda step: np.float32(np.float16(step)) or np.float32(1)), "rounds the step only to store it"),
        (lambda w: (block()(w)[0], block()(w)[1] * np.float32(block()(w)[0])), "a code is a whole number"),
        (divides_by_zero, "do not divide"),
        (lambda w: block()(w)[1], "two things"),
    ],
    "15/nibbles": [
        (split(run_of=lambda packed, run: 1), "neighbours do not share"),
        (split(order=True), "exchanged"),
        (split(high=lambda p: p & 240), "not moved down"),
        (split(low=lambda p: p), "mask them"),
        (split(run_of=lambda packed, run: packed.shape[1]), "its run of high ones"),
        (lambda packed, run: packed & 15, "high halves are missing"),
        (lambda packed, run: packed >> 4, "low halves are missing"),
        (lambda packed, run: split()(packed, run) - 8, "not every format"),
        (lambda packed, run: split()(packed, run).reshape(-1, run), "keeps its row"),
    ],
    "15/six_bits": [
        (scales(swap=True), "exchanged; the scales lie first"),
        (scales(first=lambda b: b), "the two above them belong"),
        (scales(high=lambda b: b & 0), "are missing"),
        (scales(high=lambda b: b >> 6), "above their four low ones"),
        (scales(high=lambda b: b & 192), "shift them down by two"),
        (scales(low=lambda b: b >> 4, up=lambda b: b & 15), "halves of bytes 8 to 11"),
        (scales(other=True), "of the other kind"),
        (scales(join=lambda a, b: a), "there are eight"),
        (scales(join=lambda a, b: np.concatenate((b, a))), "stand before"),
        (lambda packed: scales()(packed)[0], "two things"),
    ],
    "15/file_bytes": [
        (crossing, "no whole number of blocks"),
        (filled_up, "not filled up"),
        (cut, "the rest of each row is lost"),
        (size(fits=lambda rows, width, block: rows * width % block[0] == 0), "the width decides"),
        (all_or_none, "does not send the others"),
        (rest_alone, "the whole matrix does"),
        (lambda *given: 8 * size()(*given), "those are bits"),
        (size(each=lambda rows, width, kind: rows * width // kind[0]), "number of blocks"),
        (size(fits=lambda rows, width, block: width % block[0] != 0), "exchanged"),
        (size(fits=lambda rows, width, block: rows % block[0] == 0), "the second number"),
    ],
    "15/front": [
        (lambda points: sorted(points, key=points.get), "all points"),
        (unbeaten(keep=True), "that another beats; keep"),
        (only_ends, "what lies between"),
        (unbeaten(beats=lambda a, b: a[0] < b[0] and a[1] < b[1]), "c takes longer than b"),
        (unbeaten(beats=lambda a, b: a != b and a[0] >= b[0] and a[1] >= b[1]), "less is better"),
        (unbeaten(order=False), "begin with the fastest"),
        (lambda points: {name: points[name] for name in unbeaten()(points)}, "a list of texts"),
        (lambda points: unbeaten()(points)[1:], "is missing"),
        (lambda points: ["d", *unbeaten()(points)], "d is beaten"),
    ],
    "15/speed_up": [
        (lambda tokens, many, few, flops, peak, bandwidth: many / few, "how many times fewer bytes"),
        (passes(time=lambda a, b: a + b), "you added them"),
        (passes(read=lambda tokens, size, b: tokens * size / b), "read once for all tokens"),
        (passes(compute=lambda tokens, f, p: f / p), "the arithmetic grows"),
        (passes(over=lambda slow, quick: quick / slow), "upside down"),
        (passes(time=min), "the longer one decides"),
        (passes(over=lambda slow, quick: slow - quick), "a ratio is asked for"),
        (passes(over=lambda slow, quick: quick), "the time of one pass"),
        (fewer_operations, "the arithmetic stays as it is"),
    ],
}

RIGHT = {
    "15/quantize_block": [by_loop, by_inverse],
    "15/nibbles": [nibbles_by_place, nibbles_by_group],
    "15/six_bits": [by_index, by_arithmetic],
    "15/file_bytes": [by_rows, size()],
    "15/front": [by_sweep, by_pairs],
    "15/speed_up": [by_cases, by_rates],
}
