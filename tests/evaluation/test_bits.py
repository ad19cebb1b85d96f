"""Bits per byte against sums by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from slmkit import Decoder, ModelConfig
from slmkit.data.packing import TokenRow
from slmkit.evaluation import bits_per_byte

VOCAB = 17


def row(n, text_bytes=100):
    generator = torch.Generator().manual_seed(n)
    return TokenRow(torch.randint(0, VOCAB, (n,), generator=generator), text_bytes, "none", VOCAB)


def model():
    torch.manual_seed(0)
    return Decoder(ModelConfig(VOCAB, 16, 1, 2, max_context=64))


def test_a_model_that_knows_nothing_needs_log2_of_the_vocabulary():
    uniform = model()
    torch.nn.init.zeros_(uniform.embedding.weight)
    bits = bits_per_byte(uniform, row(50), 8)
    assert bits == pytest.approx(50 * math.log2(VOCAB) / 100)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 23, 64])
@pytest.mark.parametrize(("context", "stride"), [(8, 8), (8, 4), (8, 3), (8, 1), (1, 1)])
@torch.no_grad()
def test_every_token_counts_once_from_the_context_it_should_have(n, context, stride):
    data, decoder = row(n), model()
    text = torch.cat((data.tokens[-1:], data.tokens))  # the last separator stands before the first token
    bits, covered, start = 0.0, 0, 0
    while covered < n:
        window = text[start : start + context + 1]
        losses = F.cross_entropy(decoder(window[None, :-1])[0], window[1:], reduction="none")
        bits += losses[covered - start :].sum().item() / math.log(2)
        covered, start = start + len(window) - 1, start + stride
    for batch_size in (1, 3, 32):
        got = bits_per_byte(decoder, data, context, stride=stride, batch_size=batch_size)
        assert got == pytest.approx(bits / 100, rel=1e-5)


def test_a_part_takes_its_share_of_the_bytes():
    data, decoder = row(64), model()
    part = TokenRow(torch.cat((data.tokens[:16], data.tokens[-1:])), 25, "none", VOCAB)
    torch.nn.init.zeros_(decoder.embedding.weight)
    assert bits_per_byte(decoder, data, 8, max_tokens=16) == pytest.approx(16 * math.log2(VOCAB) / 25)
    assert len(part) == 17


def test_it_leaves_the_model_as_it_was():
    decoder = model().train()
    bits_per_byte(decoder, row(20), 8)
    assert decoder.training
    assert all(p.requires_grad and p.grad is None for p in decoder.parameters())


def test_windows_that_would_leave_tokens_out_are_refused():
    with pytest.raises(ValueError, match=r"stride = 9 must be between 1 and context = 8"):
        bits_per_byte(model(), row(20), 8, stride=9)
