"""Right answers to lab 05's exercises, written otherwise than the lab's."""

import math
from fractions import Fraction

import torch
import torch.nn.functional as F


def gelu_by_sigmoid(x, constant=0.044715):
    return x * torch.sigmoid(math.sqrt(8 / math.pi) * (x + constant * x * x * x))


def gelu_by_exponential(x, constant=0.044715):
    inner = torch.exp(-2 * math.sqrt(2 / math.pi) * x * (1 + constant * x.square()))
    return x / (1 + inner)


def layer_by_linear(x, up, down, activation, gate=None):
    if gate is None:
        return F.linear(activation(F.linear(x, up)), down)
    return F.linear(activation(F.linear(x, gate)) * F.linear(x, up), down)


def layer_by_sums(x, up, down, activation, gate=None):
    wide = torch.einsum("...d,fd->...f", x, up)
    opened = activation(wide if gate is None else torch.einsum("...d,fd->...f", x, gate))
    return torch.einsum("...f,df->...d", opened if gate is None else opened * wide, down)


def width_by_search(d_model, ratio, multiple):
    width = multiple
    while 3 * d_model * width < 2 * d_model * ratio * d_model:
        width += multiple
    return width


def width_by_fraction(d_model, ratio, multiple):
    exact = Fraction(2, 3) * Fraction(ratio) * d_model
    return -(-exact // multiple) * multiple


def normalized_by_torch(x, centred, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], eps=eps) if centred else F.rms_norm(x, x.shape[-1:], eps=eps)


def normalized_by_variance(x, centred, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    if centred:
        return (x - mean) * torch.rsqrt(variance + eps)
    return x * torch.rsqrt(variance + mean**2 + eps)


def placed_by_table(x, branch, norm, place):
    return {
        "pre": lambda: branch(norm(x)) + x,
        "post": lambda: norm(branch(x)) + x,
        "after_residual": lambda: norm(branch(x) + x),
    }[place]()


def placed_in_steps(x, branch, norm, place):
    out = branch(norm(x) if place == "pre" else x)
    if place == "post":
        out = norm(out)
    out = torch.add(x, out)
    return norm(out) if place == "after_residual" else out


RIGHT = {
    "05/tanh_gelu": [gelu_by_sigmoid, gelu_by_exponential],
    "05/feed_forward": [layer_by_linear, layer_by_sums],
    "05/matched_width": [width_by_search, width_by_fraction],
    "05/normalized": [normalized_by_torch, normalized_by_variance],
    "05/placed": [placed_by_table, placed_in_steps],
}
