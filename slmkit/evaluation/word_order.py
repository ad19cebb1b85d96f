"""A small task that even tiny models solve better than by chance: which of two sentences has its words in order?

Each pair is a sentence of a text and the same with two neighbouring words in each other's place. The model chooses the
one that it gives the higher probability, as in the minimal pairs of BLiMP (Warstadt et al. 2020). Guessing gives 0.5.
"""

import random
from collections.abc import Sequence
from statistics import fmean

from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.multiple_choice import token_loglikelihoods
from slmkit.model.decoder import Decoder

WORDS = range(6, 15)  # of a sentence: long enough to have an order, short enough for a small context


def swapped_pairs(documents: Sequence[str], n: int, seed: int = 0) -> list[tuple[str, str]]:
    """`n` pairs of a sentence and the same with two neighbouring words swapped, neither its first nor its last word."""
    sentences = {" ".join(one.split()): None for document in documents for one in document.split(". ")}
    fitting = [one for one in sentences if len(one.split()) in WORDS and _places(one.split())]
    if n > len(fitting):
        raise ValueError(f"{n} pairs are asked for and the documents have {len(fitting)} sentences of fitting length")
    rng, pairs = random.Random(seed), []
    for sentence in rng.sample(fitting, n):
        words = sentence.split()
        i = rng.choice(_places(words))
        pairs.append((sentence, " ".join((*words[:i], words[i + 1], words[i], *words[i + 2 :]))))
    return pairs


def _places(words: list[str]) -> list[int]:
    return [i for i in range(1, len(words) - 2) if words[i] != words[i + 1]]


def share_in_order(model: Decoder, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> float:
    """The share of pairs of which the model finds the first sentence likelier, each read behind a separator.

    Raises ValueError for a sentence of more tokens than the model's max_context.
    """
    encoded = tokenizer.encode_documents([sentence for pair in pairs for sentence in pair])
    found = token_loglikelihoods(model, [((tokenizer.end_of_text,), ids) for ids in encoded])
    right, swapped = ([one.logprob for one in found[i::2]] for i in (0, 1))
    return fmean(one > other for one, other in zip(right, swapped, strict=True))
