"""Right answers to lab 06's exercises, written otherwise than the lab's."""

import torch
from torch import nn

import slmkit
from slmkit.model.counting import flops_by_part
from slmkit.survey.zoo import divisible


def tie_by_name(embedding, head):
    head.register_parameter("weight", embedding.weight)
    return embedding.num_embeddings * embedding.embedding_dim


def tie_by_counting(embedding, head):
    both = nn.ModuleList((embedding, head))
    before = sum(weight.numel() for weight in both.parameters())
    setattr(head, "weight", embedding.weight)  # noqa: B010
    return before - sum(weight.numel() for weight in both.parameters())


def share_by_list(blocks, kind):
    made = list(blocks)
    for i, block in enumerate(made):
        if kind == "ffn_all":
            block.ffn = made[0].ffn
        elif i % 2:
            made[i] = made[i - 1]
    return nn.ModuleList(made)


def share_in_place(blocks, kind):
    if kind == "ffn_all":
        first, *others = blocks
        for block in others:
            block.ffn = first.ffn
    else:
        for i in range(1, len(blocks), 2):
            blocks[i] = blocks[i - 1]
    return blocks


def gradient_in_one_product(x, w):
    gate = (x @ w > 0).float()
    inner = x @ w * gate
    y = inner @ w
    return torch.cat((inner, x)).T @ torch.cat((y, y @ w.T * gate))


def gradient_by_row(x, w):
    total = torch.zeros_like(w)
    for row in x:
        before = row @ w
        inner = before.clamp(min=0)
        y = inner @ w
        total += torch.outer(inner, y) + torch.outer(row, (w @ y).where(before > 0, torch.tensor(0.0)))
    return total


def weights_by_slmkit(config):
    count, flops = slmkit.count_parameters(config), flops_by_part(config, 1)
    return count.attention + count.ffn, (flops["attention"] + flops["ffn"]) // 2


def weights_by_layer(config):
    held = used = 0
    for i in range(config.n_layers):
        layer = config.layer(i)
        queries, keys = layer.n_heads * config.head_dim, layer.n_kv_heads * config.head_dim
        attention = config.d_model * (queries + keys + keys + queries)
        ffn = config.d_model * layer.d_ff * 3
        used += attention + ffn
        if config.sharing == "ffn_all":
            held += attention + (ffn if i == 0 else 0)
        elif config.sharing != "block_pairs" or i % 2 == 0:
            held += attention + ffn
    return held, used


def widths_by_layer(d_model, n_layers, head_dim, groups, alpha=(0.5, 1.0), beta=(0.5, 4.0), divisor=256):
    heads, widths = [], []
    for i in range(n_layers):
        a = round(alpha[0] + (alpha[1] - alpha[0]) * i / (n_layers - 1), 2)
        b = round(beta[0] + (beta[1] - beta[0]) * i / (n_layers - 1), 2)
        heads.append(divisible(a * d_model, groups * head_dim) // head_dim)
        widths.append(divisible(b * d_model, divisor))
    return tuple(heads), tuple(widths)


def widths_by_weights(d_model, n_layers, head_dim, groups, alpha=(0.5, 1.0), beta=(0.5, 4.0), divisor=256):
    def steps(ends, by):
        values = torch.linspace(*ends, n_layers, dtype=torch.float64).tolist()
        return tuple(divisible(round(value, 2) * d_model, by) for value in values)

    return tuple(width // head_dim for width in steps(alpha, head_dim * groups)), steps(beta, divisor)


def series_at_once(x, a, b):
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return (a * nn.functional.silu(x.unsqueeze(-1) + b)).sum(-1)


def series_by_loop(x, a, b):
    total = 0 * x
    for i in range(len(a)):
        moved = x + b[i]
        total = total + a[i] * moved / (1 + torch.exp(-moved))
    return total


RIGHT = {
    "06/tie": [tie_by_name, tie_by_counting],
    "06/share": [share_by_list, share_in_place],
    "06/shared_gradient": [gradient_in_one_product, gradient_by_row],
    "06/block_weights": [weights_by_slmkit, weights_by_layer],
    "06/layer_widths": [widths_by_layer, widths_by_weights],
    "06/series": [series_at_once, series_by_loop],
}
