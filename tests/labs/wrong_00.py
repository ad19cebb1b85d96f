"""Plausible wrong answers to lab 00's exercises: for each, what it gets told."""

import math

from slmkit import count_parameters


def cache(config, context):
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * context


WRONG = {
    "00/intensity": [
        (lambda m, k, n, b=4: m * k * n / (b * (m * k + k * n + m * n)), "two FLOPs"),
        (lambda m, k, n, b=4: 2 * m * k * n / (m * k + k * n + m * n), "bytes_per_number"),
        (lambda m, k, n, b=4: 2 * m * k * n / (b * k * n), "weights only"),
        (lambda m, k, n, b=4: 2 * m * k * n / (b * (m * k + k * n)), "result is missing"),
        (lambda m, k, n, b=4: b * (m * k + k * n + m * n) / (2 * m * k * n), "upside down"),
        (lambda m, k, n, b=4: 2 * m * n / (b * (m * k + k * n + m * n)), "sums over k"),
        (lambda m, k, n, b=2: 2 * m * k * n / (b * (m * k + k * n + m * n)), "default of 4"),
        (lambda m, k, n, b=4: print(m), "return"),
    ],
    "00/attainable": [
        (lambda i, peak, bandwidth: max(peak, i * bandwidth), "lower of the two"),
        (lambda i, peak, bandwidth: i * bandwidth, "right of the ridge"),
        (lambda i, peak, bandwidth: peak, "lower of the two"),
        (lambda i, peak, bandwidth: min(peak, bandwidth), "times the intensity"),
        (lambda i, peak, bandwidth: min(peak, bandwidth / i), "divided the bandwidth"),
        (lambda i, peak, bandwidth: min(peak, i / bandwidth), "divided the intensity"),
        (lambda i, peak, bandwidth: peak + i * bandwidth, "not added"),
        (lambda i, peak, bandwidth: 1 / (1 / peak + 1 / (i * bandwidth)), "overlap"),
    ],
    "00/decode_bytes": [
        (lambda c, n, b=4: b * count_parameters(c).total, "cache is missing"),
        (lambda c, n, b=4: b * cache(c, n), "weights are missing"),
        (lambda c, n, b=4: b * (count_parameters(c).total + cache(c, n) // 2), "keys and values"),
        (lambda c, n, b=4: b * (count_parameters(c).total + 2 * c.n_layers * c.d_model * n), "n_kv_heads"),
        (lambda c, n, b=4: b * (count_parameters(c).total + 2 * c.n_kv_heads * c.head_dim * n), "n_layers"),
        (lambda c, n, b=4: b * (count_parameters(c).total + cache(c, 1)), "context is missing"),
        (lambda c, n, b=4: count_parameters(c).total + cache(c, n), "counted numbers"),
        (lambda c, n, b=4: b * count_parameters(c).total + cache(c, n), "weights only"),
        (lambda c, n, b=2: b * (count_parameters(c).total + cache(c, n)), "default of 4"),
    ],
    "00/turning_batch": [
        (lambda ridge, b=4: math.ceil(ridge * b), "two FLOPs"),
        (lambda ridge, b=4: math.ceil(ridge / 2), "bytes_per_weight"),
        (lambda ridge, b=4: math.ceil(ridge), "ridge itself"),
        (lambda ridge, b=4: math.ceil(2 * ridge / b), "more bytes a weight"),
        (lambda ridge, b=4: int(ridge * b / 2), "round up"),
        (lambda ridge, b=4: ridge * b / 2, "round up"),
        (lambda ridge, b=4: int(ridge * b / 2) + 1, "one more"),
    ],
}
