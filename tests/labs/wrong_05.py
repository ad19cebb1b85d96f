"""Plausible wrong answers to lab 05's exercises: for each, what it gets told."""

import math

import torch
import torch.nn.functional as F

ROOT = math.sqrt(2 / math.pi)


def tanh_form(x, constant=0.044715, scale=ROOT, power=3):
    return 0.5 * x * (1 + torch.tanh(scale * (x + constant * x**power)))


def standard_or(gated):
    """Right without a gate."""

    def layer(x, up, down, activation, gate=None):
        if gate is None:
            return activation(x @ up.T) @ down.T
        return gated(x @ up.T, x @ gate.T, activation) @ down.T

    return layer


def gated(x, up, down, activation, gate):
    return (activation(x @ gate.T) * (x @ up.T)) @ down.T


def rooted(x, centred, eps=1e-5, power=0.5, shift=True):
    moved = x - x.mean(-1, keepdim=True) * centred
    return (moved if shift else x) / (moved.square().mean(-1, keepdim=True) + eps) ** power


def mean_size(x, centred, eps=1e-5):
    return rooted(x, centred, eps) if centred else x / (x.abs().mean(-1, keepdim=True) ** 2 + eps).sqrt()


def divided(x, centred, eps=1e-5, axis=-1, unbiased=False, inside=True):
    x = x - x.mean(axis, keepdim=True) if centred else x
    mean = x.square().mean(axis, keepdim=True) * (x.shape[axis] / (x.shape[axis] - unbiased))
    return x / ((mean + eps).sqrt() if inside else mean.sqrt() + eps)


def global_mean(x, centred, eps=1e-5):
    x = x - x.mean() if centred else x
    return x / (x.square().mean() + eps).sqrt()


def placed(x, f, norm, place, **changed):
    forms = {
        "pre": lambda: x + f(norm(x)),
        "post": lambda: x + norm(f(x)),
        "after_residual": lambda: norm(x + f(x)),
    }
    return (forms | changed)[place]()


def added_in_place(x, f, norm, place):
    if place != "pre":
        return placed(x, f, norm, place)
    x += f(norm(x))
    return x


WRONG = {
    "05/tanh_gelu": [
        (lambda x, constant=0.044715: tanh_form(x, constant, scale=1.0), "√(2/π) is missing"),
        (lambda x, constant=0.044715: tanh_form(x, constant, scale=1 / ROOT), "not √(π/2)"),
        (lambda x, constant=0.044715: tanh_form(x, constant, scale=2 / math.pi), "take its root"),
        (lambda x, constant=0.044715: tanh_form(x, constant, power=2), "x³, not x²"),
        (lambda x, constant=0.044715: 2 * tanh_form(x, constant), "½ is missing"),
        (lambda x, constant=0.044715: tanh_form(x, constant) / x, "Φ(x) alone"),
        (lambda x, constant=0.044715: tanh_form(x, constant) * x, "an x too many"),
        (lambda x, constant=0.044715: tanh_form(x, constant) - 0.5 * x, "1 + tanh"),
        (lambda x, constant=0.04715: tanh_form(x, constant), "misprinted"),
        (lambda x, constant=0.044715: F.gelu(x), "exact GELU"),
        (lambda x, constant=0.044715: F.silu(x), "SiLU"),
        (lambda x, constant=0.044715: F.gelu(x, approximate="tanh"), "not used"),
        (lambda x, constant=0.044715: None, "return"),
    ],
    "05/feed_forward": [
        (lambda x, up, down, a, gate=None: x @ up.T @ down.T, "activation is missing"),
        (lambda x, up, down, a, gate=None: a(x @ up.T @ down.T), "after the last matrix"),
        (lambda x, up, down, a, gate=None: a(x) @ up.T @ down.T, "before the first matrix"),
        (lambda x, up, down, a, gate=None: F.relu(x @ up.T) @ down.T, "is fixed"),
        (lambda x, up, down, a, gate=None: x + a(x @ up.T) @ down.T, "input is added"),
        (lambda x, up, down, a, gate=None: gated(x, up, down, a, up if gate is None else gate), "its square"),
        (lambda x, up, down, a, gate=None: a(x @ up.T) @ down.T, "gate is not used"),
        (standard_or(lambda up, gate, a: a(up) * gate), "sits on up"),
        (standard_or(lambda up, gate, a: a(up * gate)), "applied to the product"),
        (standard_or(lambda up, gate, a: up * gate), "missing on the gate"),
        (standard_or(lambda up, gate, a: a(up) * a(gate)), "applied to both"),
        (standard_or(lambda up, gate, a: a(gate) + up), "are added"),
        (standard_or(lambda up, gate, a: a(gate)), "up is not used"),
        (standard_or(lambda up, gate, a: F.silu(gate) * up), "gate's activation is fixed"),
        (lambda x, up, down, a, gate=None: a(x @ up) @ down, "your code raised"),
    ],
    "05/matched_width": [
        (lambda d, r, m: m * math.ceil(r * d / m), "two thirds"),
        (lambda d, r, m: m * math.ceil(1.5 * r * d / m), "does not grow"),
        (lambda d, r, m: m * math.ceil(r * d / 2 / m), "half the standard width"),
        (lambda d, r, m: m * int(2 * r * d / 3 / m), "rounded down"),
        (lambda d, r, m: m * int(2 * r * d / 3 // m), "rounded down"),
        (lambda d, r, m: m * round(2 * r * d / 3 / m), "nearest multiple"),
        (lambda d, r, m: math.ceil(2 * r * d / 3), "not a multiple"),
        (lambda d, r, m: m * (int(2 * r * d / 3 / m) + 1), "one multiple too many"),
        (lambda d, r, m: m * math.ceil(2 * r / 3 / m), "multiply by d_model"),
        (lambda d, r, m: math.ceil(2 * r * d / 3 / m), "number of multiples"),
        (lambda d, r, m: m * math.ceil(8 * d / 3 / m), "need not be 4"),
        (lambda d, r, m: 2 * r * d / 3, "whole number"),
    ],
    "05/normalized": [
        (lambda x, c, eps=1e-5: divided(x, True, eps), "only centred=True"),
        (lambda x, c, eps=1e-5: divided(x, False, eps), "that is RMSNorm"),
        (lambda x, c, eps=1e-5: divided(x, c, 0.0), "eps is missing"),
        (lambda x, c, eps=1e-5: divided(x, c, eps, inside=False), "added to the root"),
        (lambda x, c, eps=1e-5: divided(x, c, eps, axis=1), "over the tokens"),
        (lambda x, c, eps=1e-5: divided(x, c, eps, unbiased=True), "D - 1"),
        (global_mean, "one mean is taken of all numbers"),
        (lambda x, c, eps=1e-5: rooted(x, c, eps, power=1), "root is missing"),
        (lambda x, c, eps=1e-5: rooted(x, c, eps, power=-0.5), "multiplied"),
        (lambda x, c, eps=1e-5: rooted(x, c, eps, shift=False), "from x too"),
        (mean_size, "mean size"),
        (lambda x, c, eps=1e-6: divided(x, c, eps), "default eps"),
    ],
    "05/placed": [
        (lambda x, f, norm, place: placed(x, f, norm, place, pre=lambda: f(norm(x))), "stream is missing"),
        (lambda x, f, norm, place: x + f(x), "norm is missing"),
        (lambda x, f, norm, place: placed(x, f, norm, place, pre=lambda: norm(x) + f(norm(x))), "stream itself"),
        (lambda x, f, norm, place: x + norm(f(norm(x))), "both sides"),
        (lambda x, f, norm, place: placed(x, f, norm, place, post=lambda: norm(x + f(x))), 'that is "after_residual"'),
        (lambda x, f, norm, place: placed(x, f, norm, place, pre=lambda: x + norm(f(x))), 'that is "post"'),
        (lambda x, f, norm, place: placed(x, f, norm, place, after_residual=lambda: x + norm(f(x))), 'that is "post"'),
        (lambda x, f, norm, place: x + f(norm(x)), 'that is "pre"'),
        (lambda x, f, norm, place: placed(x, f, norm, place, after_residual=lambda: norm(x) + f(x)), "stream itself"),
        (lambda x, f, norm, place: placed(x, f, norm, place, pre=lambda: norm(x + f(norm(x)))), "sum as well"),
        (added_in_place, "x itself was changed"),
    ],
}
