"""Heads of keys and values merged into fewer."""

import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.training.grouping import regrouped


def made(**options):
    torch.manual_seed(0)
    return Decoder(ModelConfig(**dict(vocab_size=20, d_model=24, n_layers=2, n_heads=6, max_context=9) | options))


@pytest.mark.parametrize("options", [{}, dict(qkv_bias=True, qk_norm="head")])
def test_a_model_whose_heads_agree_in_groups_is_the_same_when_merged(options):
    model, ids = made(**options), torch.randint(20, (2, 9))
    for block in model.blocks:
        for part in (block.attention.k, block.attention.v):
            for tensor in part.parameters():
                tensor.data = (
                    torch.randn(2, *tensor.unflatten(0, (6, 4)).shape[1:]).repeat_interleave(3, 0).flatten(0, 1)
                )
    merged = regrouped(model, 2)
    assert merged.config.n_kv_heads == 2
    torch.testing.assert_close(merged(ids), model(ids))


def test_heads_that_differ_are_averaged():
    model = made(qkv_bias=True)
    merged = regrouped(model, 2).blocks[1].attention.v
    ours = model.blocks[1].attention.v
    torch.testing.assert_close(merged.weight[:4], (ours.weight[:4] + ours.weight[4:8] + ours.weight[8:12]) / 3)
    torch.testing.assert_close(merged.bias[4:], ours.bias[12:].view(3, 4).mean(0))


@pytest.mark.parametrize(
    ("options", "kv_heads", "message"),
    [({}, 4, "6 key/value heads cannot be merged into 4"), (dict(qk_norm="full"), 2, "only heads of full attention"),
     (dict(attention="mla", kv_lora_rank=4, qk_rope_head_dim=2), 2, "only heads of full attention")],
)  # fmt: skip
def test_what_cannot_be_merged_is_told(options, kv_heads, message):
    with pytest.raises(ValueError, match=message):
        regrouped(made(**options), kv_heads)
