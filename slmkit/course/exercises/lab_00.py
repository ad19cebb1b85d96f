"""Checkers of lab 00, your machine."""

import math

from slmkit.config import ModelConfig
from slmkit.course.checking import call, compare, exercise
from slmkit.model.counting import count_parameters
from slmkit.profiling import decode_cost


@exercise("00/intensity")
def intensity(answer):
    m, k, n, size = 3, 5, 7, 2
    flops, moved = 2 * m * k * n, m * k + k * n + m * n
    compare(call(answer, m, k, n, size), flops / (size * moved), "the intensity of [3, 5] @ [5, 7] in 2-byte numbers", {
        "each term takes a multiplication and an addition, two FLOPs; you counted one": flops / 2 / (size * moved),
        "you divided by the count of numbers; each takes bytes_per_number bytes": flops / moved,
        "you counted the bytes of the weights only; the input [m, k] and the result [m, n] move too":
            flops / (size * k * n),
        "the result is missing from the bytes; it has m × n numbers to write": flops / (size * (m * k + k * n)),
        "upside down: intensity is FLOPs divided by bytes": size * moved / flops,
        "the FLOPs lack a factor: each of the m × n results sums over k terms": 2 * m * n / (size * moved),
    })  # fmt: skip
    compare(call(answer, 1, 5, 7), 70 / (4 * 47), "the intensity of [1, 5] @ [5, 7] with the default of 4 bytes")


@exercise("00/attainable")
def attainable(answer):
    peak, bandwidth = 120.0, 10.0  # the ridge is at 12
    # One case on each side of the ridge: each mistake below shows on one of them.
    compare(call(answer, 2.0, peak, bandwidth), 20.0, "the roof at 2 FLOPs a byte, left of the ridge at 12", {
        "that is the peak, which memory is too slow to feed here; take the lower of the two limits": peak,
        "the limits are not added up; the lower one alone decides": peak + 20.0,
        "that is the bandwidth in bytes/s; times the intensity it becomes FLOP/s": bandwidth,
        "you divided the bandwidth by the intensity; bytes/s times FLOPs a byte gives FLOP/s": bandwidth / 2.0,
        "you divided the intensity by the bandwidth; bytes/s times FLOPs a byte gives FLOP/s": 2.0 / bandwidth,
        "the two limits overlap in time, they do not wait for each other; take the lower one":
            1 / (1 / peak + 1 / 20.0),
    })  # fmt: skip
    compare(call(answer, 100.0, peak, bandwidth), peak, "the roof at 100 FLOPs a byte, right of the ridge at 12", {
        "right of the ridge the processor cannot compute faster than its peak, however fast the bytes come": 1000.0,
    })  # fmt: skip


@exercise("00/decode_bytes")
def decode_bytes(answer):
    config = ModelConfig(vocab_size=100, d_model=24, n_layers=3, n_heads=6, n_kv_heads=2, d_ff=32)
    context, size = 50, 8
    weights, right = count_parameters(config).total, decode_cost(config, context).bytes / 4 * size
    key = config.n_layers * config.n_kv_heads * config.head_dim * context  # numbers in the keys of all layers

    def total(cache):
        return size * (weights + cache)

    compare(call(answer, config, context, size), right, "the bytes of one token", {
        "the cache is missing: every earlier token's keys and values are read too": total(0),
        "the weights are missing: every one of them is read for each token": size * 2 * key,
        "the cache holds keys and values, two numbers where you counted one": total(key),
        "only the key/value heads are cached, n_kv_heads of them, not all n_heads": total(2 * key * 3),
        "every layer has a cache of its own; n_layers is missing": total(2 * key // 3),
        "every token of the context is in the cache; context is missing": total(2 * key // context),
        "you counted numbers; each takes bytes_per_number bytes": weights + 2 * key,
        "you took bytes_per_number for the weights only; the cache holds numbers of that size too":
            size * weights + 2 * key,
    })  # fmt: skip
    compare(call(answer, config, context), right / 2, "the bytes of one token with the default of 4 bytes a number")


@exercise("00/turning_batch")
def turning_batch(answer):
    ridge, size = 10.5, 8
    compare(call(answer, ridge, size), 42, "the number of sequences at a ridge of 10.5 and 8 bytes a weight", {
        "each sequence computes two FLOPs with a weight, a multiplication and an addition; you counted one":
            math.ceil(ridge * size),
        "the ridge counts FLOPs a byte, and a weight has bytes_per_weight bytes": math.ceil(ridge / 2),
        "that is the ridge itself; one sequence does not compute one FLOP a byte": math.ceil(ridge),
        "upside down: more bytes a weight need more sequences": math.ceil(2 * ridge / size),
        "42 sequences reach this ridge exactly; one more is not needed": 43,
    })  # fmt: skip
    compare(call(answer, 5.2, 2), 6, "the number of sequences at a ridge of 5.2 and 2 bytes a weight", {
        "with one sequence fewer than needed the pass is still memory-bound; round up": 5,
        "the answer is a whole number of sequences; round up": 5.2,
    })  # fmt: skip
