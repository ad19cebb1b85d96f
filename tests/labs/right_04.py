"""Right answers to lab 04's exercises, written otherwise than the lab's."""

import math

import torch
import torch.nn.functional as F

import slmkit
from slmkit.model.cache import KVCache


def grouped_by_torch(q, k, v):
    behind = torch.arange(k.shape[2] - q.shape[2], k.shape[2])[:, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.arange(k.shape[2]) <= behind, enable_gqa=True)


def grouped_by_reshaping(q, k, v):
    batch, heads, time, width = q.shape
    grouped = q.reshape(batch, k.shape[1], -1, time, width)
    scores = torch.einsum("bkgtd,bksd->bkgts", grouped, k) * width**-0.5
    future = torch.ones(time, k.shape[2]).triu(k.shape[2] - time + 1) > 0
    weights = scores.masked_fill(future, -math.inf).softmax(-1)
    return torch.einsum("bkgts,bksd->bkgtd", weights, v).reshape(batch, heads, time, -1)


def write_by_narrow(store, length, new):
    store.narrow(2, length, new.shape[2]).copy_(new)
    return store.narrow(2, 0, length + new.shape[2])


def write_by_token(store, length, new):
    for i in range(new.shape[2]):
        store[:, :, length + i] = new[:, :, i]
    return store[..., : length + new.shape[2], :]


def cache_by_allocating(config, tokens, bytes_per_number=2):
    tensors = [tensor for layer in KVCache(config, 1, tokens).layers for tensor in layer]
    return sum(tensor.numel() for tensor in tensors) * bytes_per_number


def cache_by_layer(config, tokens, bytes_per_number=2):
    total = 0
    for _ in range(config.n_layers):
        if config.attention == "mla":
            total += tokens * (config.kv_lora_rank + config.qk_rope_head_dim)
        else:
            total += tokens * config.n_kv_heads * config.head_dim + tokens * config.n_kv_heads * config.head_dim
    assert total * 4 == slmkit.kv_cache_bytes(config, tokens, torch.float32)
    return total * bytes_per_number


def rebuilt_by_head(q_plain, q_rope, latent, k_rope, up_k, up_v):
    out = []
    for head in range(q_plain.shape[1]):
        k, v = latent @ up_k[head].T, latent @ up_v[head].T
        scores = q_plain[:, head] @ k.mT + q_rope[:, head] @ k_rope.mT
        out.append((scores / math.sqrt(q_plain.shape[-1] + q_rope.shape[-1])).softmax(-1) @ v)
    return torch.stack(out, 1)


def rebuilt_by_torch(q_plain, q_rope, latent, k_rope, up_k, up_v):
    k, v = latent[:, None] @ up_k.mT, latent[:, None] @ up_v.mT
    k = torch.cat((k, k_rope[:, None].repeat(1, k.shape[1], 1, 1)), -1)
    return F.scaled_dot_product_attention(torch.cat((q_plain, q_rope), -1), k, v)


def absorbed_by_matrices(q_plain, q_rope, latent, k_rope, up_k, up_v):
    scores = (q_plain @ up_k) @ latent[:, None].mT + q_rope @ k_rope[:, None].mT
    weights = (scores * (q_plain.shape[-1] + q_rope.shape[-1]) ** -0.5).softmax(-1)
    return (weights @ latent[:, None]) @ up_v.mT


def absorbed_by_head(q_plain, q_rope, latent, k_rope, up_k, up_v):
    out = []
    for head in range(q_plain.shape[1]):
        scores = (q_plain[:, head] @ up_k[head]) @ latent.mT + q_rope[:, head] @ k_rope.mT
        weights = (scores / math.sqrt(q_plain.shape[-1] + q_rope.shape[-1])).softmax(-1)
        out.append((weights @ latent) @ up_v[head].T)
    return torch.stack(out, 1)


def merged_by_group(weight, kv_heads, head_dim):
    groups = [group.split(head_dim) for group in weight.chunk(kv_heads)]
    return torch.cat([sum(heads) / len(heads) for heads in groups])


def merged_by_matrix(weight, kv_heads, head_dim):
    size = len(weight) // (kv_heads * head_dim)
    mean = torch.kron(torch.eye(kv_heads), torch.full((1, size), 1 / size))
    return torch.kron(mean, torch.eye(head_dim)) @ weight


RIGHT = {
    "04/grouped_attention": [grouped_by_torch, grouped_by_reshaping],
    "04/write": [write_by_narrow, write_by_token],
    "04/cache_bytes": [cache_by_allocating, cache_by_layer],
    "04/rebuilt": [rebuilt_by_head, rebuilt_by_torch],
    "04/absorbed": [absorbed_by_matrices, absorbed_by_head],
    "04/merged_heads": [merged_by_group, merged_by_matrix],
}
