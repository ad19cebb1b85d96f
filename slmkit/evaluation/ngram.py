"""n-gram language models with interpolated absolute discounting: the baseline that a small decoder has to beat.

P_k(w | h) = max(c(h w) − δ, 0) / c(h)  +  δ · N(h) / c(h) · P_{k−1}(w | h without its oldest token)

where h is the k − 1 tokens before w, c counts, N(h) is the number of different tokens seen after h, and P_0 = 1 / V
(Ney, Essen and Kneser 1994). What δ takes from every seen n-gram is just what the shorter context hands out, so the
probabilities of all V tokens sum to one. A context that was never seen leaves everything to the shorter one.
"""

from typing import NamedTuple

import numpy as np

from slmkit.data.packing import TokenRow


class _Counts(NamedTuple):
    """Counts of one order. A context is known by its number: its place in `grams` of the order below."""

    grams: np.ndarray  # context number × V + token, sorted, each once; int64
    count: np.ndarray  # c(h w) of each entry of `grams`
    context_count: np.ndarray  # c(h) by context number
    context_types: np.ndarray  # N(h) by context number


class NGram:
    """Counts of orders 1 to `order` in token ids below `vocab_size`.

    `tokens` is one row [n], or pieces that do not continue each other [pieces, n], such as the windows of a training
    run; no n-gram is counted across two pieces. Take each token once: a second copy would count as evidence.

    The separator between documents is a token like any other. So a document's first token is predicted from what
    usually follows a separator, as a decoder trained on the packed row does it; longer contexts, which would reach
    into the document before, have rarely been seen and back off to that.
    """

    def __init__(self, tokens, order: int, vocab_size: int, discount: float = 0.75):
        if order < 1:
            raise ValueError(f"order is {order}; the shortest n-gram is a single token, order 1")
        if not 0 < discount <= 1:
            raise ValueError(f"discount is {discount}; it is taken from counts of 1 and more, so above 0 and at most 1")
        if vocab_size >= 2**31:
            raise ValueError(f"vocab_size is {vocab_size}; keys of 64 bits have room for less than 2^31")
        self.order, self.vocab_size, self.discount = order, vocab_size, discount
        tokens = np.atleast_2d(self._checked(tokens))
        if tokens.shape[1] < order:
            raise ValueError(f"{tokens.shape[1]} tokens in a row are too few to count n-grams of order {order}")
        self.counts: list[_Counts] = []
        contexts, context = 1, np.zeros_like(tokens)  # order 1: one context, the empty one
        for k in range(1, order + 1):
            keys = context * vocab_size + tokens[:, k - 1 :]
            grams, number, count = np.unique(keys, return_inverse=True, return_counts=True)
            of = grams // vocab_size
            totals = np.bincount(of, weights=count, minlength=contexts)
            self.counts.append(_Counts(grams, count, totals, np.bincount(of, minlength=contexts)))
            # The n-gram that ends at a token is the context of the next token, one order up.
            contexts, context = len(grams), number.reshape(keys.shape)[:, :-1]

    def log2_probs(self, tokens, order: int | None = None) -> np.ndarray:
        """log2 P of each token of a row [n] given those before it -> [n], using contexts up to `order` (default all).

        The first tokens of the row have fewer tokens before them and use what there is.
        """
        order = self.order if order is None else order
        if not 1 <= order <= self.order:
            raise ValueError(f"order is {order}; this model has counted orders 1 to {self.order}")
        tokens = self._checked(tokens).reshape(-1)
        p = np.full(len(tokens), 1 / self.vocab_size)
        context = np.zeros(len(tokens), dtype=np.int64)  # number of each token's context, −1 where it was never seen
        for counts in self.counts[:order]:
            found = context >= 0
            total = np.where(found, counts.context_count[context], 1)
            seen = found & (total > 0)  # a row's last n-gram is a context in which nothing followed
            keys = context * self.vocab_size + tokens
            place = np.minimum(np.searchsorted(counts.grams, keys), len(counts.grams) - 1)
            hit = seen & (counts.grams[place] == keys)
            count = np.where(hit, counts.count[place], 0)
            left = self.discount * counts.context_types[context] / np.maximum(total, 1)
            p = np.where(seen, np.maximum(count - self.discount, 0) / np.maximum(total, 1) + left * p, p)
            number = np.where(hit, place, -1)
            context = np.concatenate(([-1], number[:-1]))
        return np.log2(p)

    def bits(self, tokens, order: int | None = None) -> float:
        """Bits that a row takes in all: minus the sum of `log2_probs`."""
        return -float(self.log2_probs(tokens, order).sum())

    def bits_per_byte(self, row: TokenRow, order: int | None = None) -> float:
        """Bits for each byte of the row's text, separators paid for but not counted as text; comparable across
        vocabularies."""
        if row.vocab_size != self.vocab_size:
            raise ValueError(
                f"the row has a vocabulary of {row.vocab_size} and the model one of {self.vocab_size}; "
                "count and measure with the same tokenizer"
            )
        return self.bits(row.tokens, order) / row.text_bytes

    def _checked(self, tokens) -> np.ndarray:
        tokens = np.asarray(tokens).astype(np.int64)
        if not tokens.size:
            raise ValueError("there are no tokens")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.vocab_size:
            raise ValueError(f"token ids run from {low} to {high}; the vocabulary has 0 to {self.vocab_size - 1}")
        return tokens
