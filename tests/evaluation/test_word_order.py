"""Pairs of sentences that differ in the order of two words, and a model's choice between them."""

import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.word_order import share_in_order, swapped_pairs

DOCUMENTS = (
    "One two three four five six seven. Eight nine ten eleven twelve thirteen. Too short. the the the the the the",
    "An old dog sees the small red house. " * 3,
    " ".join(["many"] * 30),
)


def test_pairs_differ_in_two_neighbouring_words_inside_the_sentence():
    pairs = swapped_pairs(DOCUMENTS, 3, seed=1)
    assert pairs == swapped_pairs(DOCUMENTS, 3, seed=1)
    assert len({right for right, _ in pairs}) == 3
    for right, swapped in pairs:
        a, b = right.split(), swapped.split()
        differ = [i for i in range(len(a)) if a[i] != b[i]]
        assert differ == [differ[0], differ[0] + 1]
        assert 0 < differ[0] < len(a) - 2
        assert (a[differ[0]], a[differ[1]]) == (b[differ[1]], b[differ[0]])
    assert len({tuple(swapped_pairs(DOCUMENTS, 3, seed)) for seed in range(8)}) > 4
    with pytest.raises(ValueError, match="4 pairs are asked for and the documents have 3 sentences"):
        swapped_pairs(DOCUMENTS, 4)


def test_the_likelier_sentence_is_chosen():
    tokenizer = Tokenizer.train(DOCUMENTS, 300)
    torch.manual_seed(0)
    model = Decoder(ModelConfig(tokenizer.vocab_size, 32, 1, 2, max_context=64))
    pairs = swapped_pairs(DOCUMENTS, 3)

    def bits(text):
        ids = torch.tensor([tokenizer.end_of_text, *tokenizer.encode(text)])
        logs = model(ids[None, :-1])[0].log_softmax(-1)
        return -logs[torch.arange(len(ids) - 1), ids[1:]].sum().item()

    words = DOCUMENTS[0].split()
    # Any two texts can be compared: some of one length, some not, where the filling of the shorter must not count.
    pairs += [(" ".join(words[i : i + 4]), " ".join(words[j : j + n])) for i, j, n in ((0, 1, 4), (5, 2, 4), (8, 0, 4))]
    pairs += [(" ".join(words[i:]), " ".join(words[: i + 2])) for i in range(2, len(words) - 2)]
    chosen = [bits(right) < bits(swapped) for right, swapped in pairs]
    assert 0 < sum(chosen) < len(pairs)
    for pair, likelier in zip(pairs, chosen, strict=True):
        assert share_in_order(model, tokenizer, [pair]) == likelier
    assert share_in_order(model, tokenizer, pairs) == pytest.approx(sum(chosen) / len(pairs))
    turned = [(swapped, right) for right, swapped in pairs]
    assert share_in_order(model, tokenizer, turned) == pytest.approx(1 - sum(chosen) / len(pairs))
    assert share_in_order(model, tokenizer, [(pairs[0][0], pairs[0][0])]) == 0, "a draw is no choice"
    short = Decoder(ModelConfig(tokenizer.vocab_size, 32, 1, 2, max_context=4))
    with pytest.raises(ValueError, match="max_context is 4"):
        share_in_order(short, tokenizer, pairs)
