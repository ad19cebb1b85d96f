"""Right answers to lab 00's exercises, written otherwise than the lab's."""

import math

import torch

import slmkit


def intensity_by_reciprocals(m, k, n, bytes_per_number=4):
    return 2 / (bytes_per_number * (1 / m + 1 / k + 1 / n))


def intensity_by_tensors(m, k, n, bytes_per_number=4):
    shapes = ((m, k), (k, n), (m, n))
    moved = sum(torch.empty(shape, device="meta").numel() * bytes_per_number for shape in shapes)
    return (m * n * (k + k)) / moved


def attainable_by_side(intensity, peak_flops, bandwidth):
    if intensity < peak_flops / bandwidth:
        return bandwidth * intensity
    return peak_flops


def attainable_by_time(intensity, peak_flops, bandwidth):
    return 1 / max(1 / peak_flops, 1 / (intensity * bandwidth))


def decode_by_cache(config, context, bytes_per_number=4):
    cache = slmkit.kv_cache_bytes(config, context, torch.float32) / 4
    return (slmkit.count_parameters(config).total + cache) * bytes_per_number


def decode_by_model(config, context, bytes_per_number=4):
    total = sum(weight.numel() for weight in slmkit.Decoder(config).parameters())
    for _ in range(config.n_layers):
        for _ in ("keys", "values"):
            total += config.n_kv_heads * context * config.head_dim
    return total * bytes_per_number


def batch_by_search(ridge, bytes_per_weight=4):
    batch = 1
    while 2 * batch / bytes_per_weight < ridge:
        batch += 1
    return batch


def batch_by_floor(ridge, bytes_per_weight=4):
    return -math.floor(-ridge * bytes_per_weight / 2)


RIGHT = {
    "00/intensity": [intensity_by_reciprocals, intensity_by_tensors],
    "00/attainable": [attainable_by_side, attainable_by_time],
    "00/decode_bytes": [decode_by_cache, decode_by_model],
    "00/turning_batch": [batch_by_search, batch_by_floor],
}
