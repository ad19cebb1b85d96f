"""The n-gram baseline against the formula written out in dictionaries, and against what must hold for any text."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slmkit.data.packing import TokenRow
from slmkit.evaluation.ngram import NGram

VOCAB = 5
ROWS = st.lists(st.integers(0, VOCAB - 1), min_size=4, max_size=60)


def reference(pieces, order, vocab, discount):
    """P(token | context) by the formula in the module's docstring, one n-gram at a time."""
    counts = Counter()
    for piece in pieces:
        for k in range(1, order + 1):
            counts.update(tuple(piece[i : i + k]) for i in range(len(piece) - k + 1))

    def p(context, token):
        below = p(context[1:], token) if context else 1 / vocab
        after = {w: counts[(*context, w)] for w in range(vocab) if counts[(*context, w)]}
        if not after:
            return below
        total, types = sum(after.values()), len(after)
        return max(after.get(token, 0) - discount, 0) / total + discount * types / total * below

    return p


@given(ROWS, ROWS, st.integers(1, 4), st.floats(0.05, 1.0))
@settings(max_examples=80)
def test_equals_the_formula(train, held_out, order, discount):
    p = reference([train], order, VOCAB, discount)
    expected = [p(tuple(held_out[max(0, i - order + 1) : i]), held_out[i]) for i in range(len(held_out))]
    ours = NGram(train, order, VOCAB, discount).log2_probs(held_out)
    np.testing.assert_allclose(ours, np.log2(expected), rtol=1e-9, atol=1e-9)


@given(st.lists(ROWS.map(lambda row: row[:4]), min_size=1, max_size=8), ROWS, st.integers(1, 4))
@settings(max_examples=40)
def test_pieces_do_not_continue_each_other(pieces, held_out, order):
    p = reference(pieces, order, VOCAB, 0.75)
    expected = [p(tuple(held_out[max(0, i - order + 1) : i]), held_out[i]) for i in range(len(held_out))]
    np.testing.assert_allclose(NGram(pieces, order, VOCAB).log2_probs(held_out), np.log2(expected), atol=1e-9)


@given(ROWS, ROWS, st.integers(1, 4))
@settings(max_examples=40)
def test_probabilities_sum_to_one_after_any_context(train, context, order):
    model = NGram(train, order, VOCAB)
    total = sum(2 ** model.log2_probs([*context, token])[-1] for token in range(VOCAB))
    assert total == pytest.approx(1, abs=1e-12)


def test_unseen_contexts_back_off_fully():
    model = NGram([0, 1, 2] * 4, 3, VOCAB)
    unigram = NGram([0, 1, 2] * 4, 1, VOCAB)
    after_unseen = model.log2_probs([4, 3, 1])[-1]  # neither "4 3" nor "3" was ever followed by anything
    assert after_unseen == pytest.approx(unigram.log2_probs([1])[-1], abs=1e-12)


def test_lower_orders_come_from_the_same_counts():
    rng = np.random.default_rng(0)
    train, held_out = rng.integers(50, size=3000), rng.integers(50, size=300)
    model = NGram(train, 4, 50)
    for order in (1, 2, 3, 4):
        assert model.bits(held_out, order) == NGram(train, order, 50).bits(held_out)
    with pytest.raises(ValueError, match="orders 1 to 4"):
        model.bits(held_out, 5)


def test_keys_do_not_collide_in_a_large_vocabulary():
    """With 8192 tokens and order 6, an n-gram packed into one key would need 78 bits."""
    rng = np.random.default_rng(1)
    chain = rng.permutation(8192)
    model = NGram(np.concatenate([chain, chain, chain]), 6, 8192)
    seen, noise = model.log2_probs(chain)[5:], model.log2_probs(rng.permutation(8192))
    assert seen.max() < 0  # each continuation is seen three times of three: (3 − δ) / 3 and the rest from below
    np.testing.assert_allclose(2**seen, 1, atol=0.01)
    assert noise.mean() < -9


def test_order_one_of_a_known_source_reaches_its_entropy():
    p = np.array([0.5, 0.25, 0.125, 0.125])
    row = np.random.default_rng(2).choice(4, size=200_000, p=p)
    bits = NGram(row[:100_000], 1, 4).bits(row[100_000:]) / 100_000
    assert bits == pytest.approx(1.75, abs=0.01)


def test_bits_per_byte_divides_by_the_text_and_checks_the_vocabulary():
    row = TokenRow(torch.tensor([1, 2, 3, 0], dtype=torch.uint16), text_bytes=10, tokenizer="x", vocab_size=VOCAB)
    model = NGram([0, 1, 2, 3, 0], 2, VOCAB)
    assert model.bits_per_byte(row) == pytest.approx(model.bits([1, 2, 3, 0]) / 10)
    with pytest.raises(ValueError, match="same tokenizer"):
        NGram([0, 1, 2], 2, 4).bits_per_byte(row)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], 0, VOCAB), "order is 0"),
        (([0, 1], 3, VOCAB), "too few"),
        (([], 1, VOCAB), "no tokens"),
        (([0, 5], 1, VOCAB), "0 to 4"),
        (([0, -1], 1, VOCAB), "0 to 4"),
        (([0, 1], 1, VOCAB, 0.0), "discount is 0.0"),
        (([0, 1], 1, VOCAB, 1.5), "discount is 1.5"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NGram(*arguments)
