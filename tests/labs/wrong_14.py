"""Plausible wrong answers to lab 14's exercises: for each, what it gets told. And answers right in another way."""

import math
import statistics

import numpy as np
import torch

import slmkit


def bytes_read(table=0, head=1, shared=lambda weights, cache, batch: weights / batch + cache, keep=lambda c, n: n):
    """The right answer but for some parts: `keep(config, numbers of the cache)`."""

    def bytes_per_token(config, context, batch=1, bytes_per_number=4):
        count = slmkit.count_parameters(config)
        weights = count.non_embedding + head * (count.head or count.token_embedding)
        weights += table * (count.token_embedding if count.head else 0)
        cache = 2 * config.n_layers * config.n_kv_heads * config.head_dim * context
        return bytes_per_number * shared(weights, keep(config, cache), batch)

    return bytes_per_token


def all_parameters(config, context, batch=1, bytes_per_number=4):
    cache = slmkit.kv_cache_bytes(config, context, torch.int8)
    return bytes_per_number * (slmkit.count_parameters(config).total / batch + cache)


def tied_twice(config, context, batch=1, bytes_per_number=4):
    count = slmkit.count_parameters(config)
    weights = count.non_embedding + count.token_embedding * (2 if config.tied_embeddings else 1)
    return bytes_per_number * (weights / batch + slmkit.kv_cache_bytes(config, context, torch.int8))


def by_matrices(config, context, batch=1, bytes_per_number=4):
    """Right, from the modules of a decoder in place of the count."""
    with torch.device("meta"):
        model = slmkit.Decoder(config)
    weights = sum(
        w.numel() for name, w in model.named_parameters() if config.tied_embeddings or "embedding" not in name
    )
    cache = sum(2 * config.layer(i).n_kv_heads * config.head_dim for i in range(config.n_layers)) * context
    return weights * bytes_per_number / batch + cache * bytes_per_number


def by_roofline(config, context, batch=1, bytes_per_number=4):
    """Right, with the library's own cost."""
    dtype = {2: torch.bfloat16, 4: torch.float32}[bytes_per_number]
    return slmkit.profiling.decode_cost(config, context, dtype, batch).bytes / batch


def turn(double=2, moved=lambda a, size: a * size, size=lambda s: s, end=lambda below, w, a, s, f, b: math.inf):
    def turning_prompt(weights, activations, bytes_per_number, flops, bandwidth):
        size_ = size(bytes_per_number)
        gained = double * weights / flops - moved(activations, size_) / bandwidth
        length = size_ * weights / bandwidth / gained
        return length if gained > 0 else end(length, weights, activations, size_, flops, bandwidth)

    return turning_prompt


def once(weights, activations, bytes_per_number, flops, bandwidth):
    return bytes_per_number * (weights + activations) / bandwidth * flops / 2 / weights


def searched(weights, activations, bytes_per_number, flops, bandwidth):
    """Right, by bisection of the difference of the two times."""

    def late(n):
        return 2 * n * weights / flops - bytes_per_number * (weights + n * activations) / bandwidth

    if late(1e12) < 0:
        return math.inf
    low, high = 0.0, 1e12
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if late(middle) > 0 else (middle, high)
    return high


def by_intensity(weights, activations, bytes_per_number, flops, bandwidth):
    """Right, from the intensity 2nW / (b (W + nA)) = flops / bandwidth."""
    ridge = flops / bandwidth
    left = 2 * weights - ridge * bytes_per_number * activations
    return ridge * bytes_per_number * weights / left if left > 0 else float("inf")


def cached(config, tokens, rows):
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * tokens


def parts(weights=lambda c: slmkit.count_parameters(c).total, cache=cached,
          logits=lambda c, tokens, rows: rows * c.vocab_size, size=lambda s: s):  # fmt: skip
    def memory_parts(config, tokens, rows, bytes_per_number=4):
        numbers = weights(config), cache(config, tokens, rows), logits(config, tokens, rows)
        return tuple(size(bytes_per_number) * n for n in numbers)

    return memory_parts


def built(config, tokens, rows, bytes_per_number=4):
    """Right, by allocating everything."""
    model = slmkit.Decoder(config)
    cache = slmkit.model.cache.KVCache(config, 1, tokens)
    numbers = [sum(t.numel() for layer in cache.layers for t in layer), torch.empty(rows, config.vocab_size).numel()]
    return [bytes_per_number * n for n in (sum(w.numel() for w in model.parameters()), *numbers)]


def counted(config, tokens, rows, bytes_per_number=4):
    """Right, with the library's own functions."""
    cache = slmkit.kv_cache_bytes(config, tokens, torch.int8) * bytes_per_number
    return slmkit.count_parameters(config).total * bytes_per_number, cache, config.vocab_size * rows * bytes_per_number


def summary(middle=np.median, spread=lambda s: np.subtract(*np.percentile(s, [75, 25])), refuse=lambda s, w: s > w,
            share=lambda s, m: s / m):  # fmt: skip
    def steady(seconds, widest=0.25):
        found = share(spread(seconds), np.median(seconds))
        if refuse(np.subtract(*np.percentile(seconds, [75, 25])) / np.median(seconds), widest):
            raise ValueError("unsteady")
        return middle(seconds), found

    return steady


def by_range(seconds, widest=0.25):
    spread = (max(seconds) - min(seconds)) / np.median(seconds)
    if spread > widest:
        raise ValueError("unsteady")
    return np.median(seconds), spread


def exclusive(seconds):
    low, _, high = statistics.quantiles(seconds, n=4)
    return high - low


def from_scratch(seconds, widest=0.25):
    """Right, with the percentiles written out."""
    ordered = sorted(seconds)

    def at(share):
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    middle = at(0.5)
    spread = (at(0.75) - at(0.25)) / middle
    if not spread <= widest:
        raise ValueError(f"{spread:.0%} is too wide")
    return [middle, spread]


def by_timing(seconds, widest=0.25):
    """Right, with slmkit's own stopwatch."""
    timing = slmkit.profiling.Timing(tuple(seconds), tuple(seconds))
    if timing.spread > widest:
        raise ValueError("too wide")
    return timing.median, timing.spread


def fate(
    keep=lambda p, q, t, u: u < p[t] / q[t], left=lambda p, q, t: (p - q).clamp(min=0), norm=lambda x: x / x.sum()
):
    return lambda target, draft, token, uniform: (keep(target, draft, token, uniform), norm(left(target, draft, token)))


def with_minimum(target, draft, token, uniform):
    """Right: p minus the smaller of both."""
    rest = target - torch.minimum(target, draft)
    return min(1.0, float(target[token] / draft[token])) > uniform, rest / rest.sum()


def with_numpy(target, draft, token, uniform):
    """Right, without a division that may overflow."""
    p, q = np.asarray(target), np.asarray(draft)
    rest = np.where(p > q, p - q, 0)
    return uniform * q[token] < p[token], rest / rest.sum()


def run(alpha, drafted):
    return sum(alpha**i for i in range(drafted + 1))


def gain(
    tokens=run, passed=lambda drafted, cost, verify: drafted * cost + verify, up=lambda tokens, time: tokens / time
):
    def speed_up(acceptance, drafted, cost, verify=1.0):
        return tokens(acceptance, drafted), up(run(acceptance, drafted), passed(drafted, cost, verify))

    return speed_up


def closed(acceptance, drafted, cost, verify=1.0):
    """Right, by the closed form with its limit."""
    sure = acceptance == 1
    tokens = drafted + 1 if sure else (1 - acceptance ** (drafted + 1)) / (1 - acceptance)
    return float(tokens), tokens / (cost * drafted + verify)


def by_cases(acceptance, drafted, cost, verify=1.0):
    """Right, from the chance of each number of tokens."""
    chances = [acceptance**n * (1 - acceptance) for n in range(drafted)] + [acceptance**drafted]
    tokens = sum((n + 1) * chance for n, chance in enumerate(chances))
    return tokens, 1 / ((cost * drafted + verify) / tokens)


def without_limit(acceptance, drafted, cost, verify=1.0):
    tokens = math.nan if acceptance == 1 else run(acceptance, drafted)
    return tokens, tokens / (drafted * cost + verify)


WRONG = {
    "14/bytes_per_token": [
        (all_parameters, "lookup table was counted"),
        (bytes_read(head=0), "the head is missing"),
        (bytes_read(shared=lambda w, c, n: w + c), "share the weights"),
        (bytes_read(shared=lambda w, c, n: (w + c) / n), "caches are not shared"),
        (bytes_read(shared=lambda w, c, n: w + n * c), "that is the pass"),
        (bytes_read(shared=lambda w, c, n: w / n + n * c), "cache of its own, and a token"),
        (bytes_read(keep=lambda c, n: 0), "the cache is missing"),
        (bytes_read(shared=lambda w, c, n: c), "the weights are missing"),
        (bytes_read(keep=lambda c, n: n / 2), "keys and values"),
        (bytes_read(keep=lambda c, n: n * c.n_heads / c.n_kv_heads), "n_kv_heads"),
        (bytes_read(keep=lambda c, n: n / c.n_layers), "n_layers is missing"),
        (bytes_read(keep=lambda c, n: n / 50), "context is missing"),
        (lambda *x: bytes_read()(*x) / x[-1], "bytes_per_number"),
        (tied_twice, "counted twice"),
        (lambda c, *x: bytes_read(head=not c.tied_embeddings)(c, *x), "all of it is read"),
    ],
    "14/turning_prompt": [
        (turn(double=1), "you counted one"),
        (turn(moved=lambda a, size: 0), "activations are missing"),
        (once, "for each token, not once"),
        (turn(size=lambda s: 1), "bytes that a number takes"),
        (turn(moved=lambda a, size: a), "bytes_per_number"),
        (lambda w, a, s, f, b: f / b, "that is the intensity"),
        (lambda *x: 1 / turn()(*x), "upside down"),
        (turn(end=lambda below, *x: below), "says nothing"),
        (turn(end=lambda below, *x: -below), "sign alone"),
        (turn(end=lambda *x: 0.0), "not nought"),
    ],
    "14/memory_parts": [
        (lambda *x: sum(parts()(*x)), "three numbers"),
        (parts(weights=lambda c: slmkit.count_parameters(c).total + c.vocab_size * c.d_model), "tied matrix"),
        (parts(weights=lambda c: slmkit.count_parameters(c).non_embedding), "embedding is missing"),
        (
            parts(weights=lambda c: 2 * slmkit.count_parameters(c).total - c.vocab_size * c.d_model - c.d_model),
            "stored once",
        ),
        (parts(size=lambda s: 1), "those are the parameters"),
        (parts(cache=lambda c, t, r: c.n_layers * c.n_kv_heads * c.head_dim * t), "that is half"),
        (parts(cache=lambda c, t, r: 2 * c.n_layers * c.n_heads * c.head_dim * t), "n_kv_heads"),
        (parts(cache=lambda c, t, r: 2 * c.n_layers * c.n_kv_heads * c.head_dim * r), "allocated for all"),
        (parts(cache=lambda c, t, r: c.n_layers * c.n_kv_heads * c.head_dim * t // 2), "numbers of the cache"),
        (parts(logits=lambda c, t, r: t * c.vocab_size), "not of the whole context"),
        (parts(logits=lambda c, t, r: c.d_model * c.vocab_size), "head's matrix"),
        (parts(logits=lambda c, t, r: c.d_model * r), "every entry of the vocabulary"),
        (parts(logits=lambda c, t, r: c.vocab_size), "one position"),
    ],
    "14/steady": [
        (lambda s, w=0.25: np.median(s), "two numbers"),
        (summary(middle=np.mean), "that is the mean"),
        (summary(middle=min), "fastest"),
        (summary(middle=lambda s: (s[len(s) // 2 - 1] + s[len(s) // 2]) / 2), "not sorted"),
        (summary(middle=lambda s: sorted(s)[len(s) // 2]), "two in the middle"),
        (summary(middle=lambda s: sorted(s)[(len(s) - 1) // 2]), "the lower one"),
        (summary(share=lambda s, m: s), "divide by the median"),
        (summary(share=lambda s, m: s / m / 2), "half the spread"),
        (summary(share=lambda s, m: 100 * s / m), "in percent"),
        (summary(spread=lambda s: max(s) - min(s)), "fastest to the slowest"),
        (summary(spread=lambda s: np.std(s, ddof=1)), "standard deviation"),
        (summary(spread=exclusive), "inclusive"),
        (by_range, "was refused"),
        (summary(refuse=lambda s, w: False), "raise a ValueError"),
        (summary(refuse=lambda s, w: s > 0.25), "though `widest` allows 60%"),
    ],
    "14/accept": [
        (lambda p, q, t, u: u < p[t] / q[t], "two things"),
        (fate(keep=lambda p, q, t, u: u < q[t] / p[t]), "above p/q"),
        (fate(keep=lambda p, q, t, u: u < p[t]), "not the threshold"),
        (fate(keep=lambda p, q, t, u: p[t] >= q[t]), "was refused, but 0.2 is below"),
        (fate(keep=lambda p, q, t, u: u > p[t] / q[t]), "was refused"),
        (fate(keep=lambda p, q, t, u: True), "was kept"),
        (fate(left=lambda p, q, t: p), "it is p itself"),
        (fate(left=lambda p, q, t: p - q, norm=lambda x: x), "negative places: where"),
        (fate(left=lambda p, q, t: p - q, norm=lambda x: x / x.abs().sum()), "no distribution"),
        (fate(norm=lambda x: x), "sum to 1"),
        (fate(left=lambda p, q, t: (p - q).abs()), "with their size"),
        (fate(left=lambda p, q, t: (q - p).clamp(min=0)), "turned round"),
        (fate(left=lambda p, q, t: p.scatter(0, torch.tensor(t), 0)), "refused token alone"),
        (fate(norm=lambda x: x.softmax(0)), "softmax"),
    ],
    "14/speed_up": [
        (lambda *x: gain()(*x)[1], "two numbers"),
        (gain(tokens=lambda a, n: run(a, n) - 1), "one more"),
        (gain(tokens=lambda a, n: 1 + a * n), "chances multiply"),
        (gain(tokens=lambda a, n: a * n), "all before it"),
        (gain(tokens=lambda a, n: run(a, n + 1)), "one power too many"),
        (gain(tokens=lambda a, n: 1 / (1 - a) if a < 1 else math.inf), "without end"),
        (gain(passed=lambda n, c, v: v), "drafts cost time"),
        (gain(passed=lambda n, c, v: n * c + 1), "`verify`, not one"),
        (gain(passed=lambda n, c, v: c + v), "you counted one"),
        (gain(passed=lambda n, c, v: n * (c + v)), "not paid for each"),
        (gain(passed=lambda n, c, v: n * c), "target's pass is missing"),
        (gain(passed=lambda n, c, v: (n + 1) * c + v), "not γ + 1"),
        (gain(up=lambda tokens, time: time / tokens), "upside down"),
        (gain(up=lambda tokens, time: time), "time of a pass"),
        (without_limit, "0/0"),
        (lambda a, n, c, v=1.0: ((1 - a ** (n + 1)) / (1 - a), run(a, n) / (n * c + v)), "0/0"),
    ],
}
RIGHT = {
    "14/bytes_per_token": [by_matrices, by_roofline],
    "14/turning_prompt": [searched, by_intensity],
    "14/memory_parts": [built, counted],
    "14/steady": [from_scratch, by_timing],
    "14/accept": [with_minimum, with_numpy],
    "14/speed_up": [closed, by_cases],
}
