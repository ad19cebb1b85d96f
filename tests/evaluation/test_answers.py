"""Written answers against generating each alone."""

import numpy as np
import pytest
import torch

from slmkit import Decoder, ModelConfig, generate
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation import answers, prefixes
from slmkit.evaluation.answers import answer, generate_until, normalised, written
from slmkit.evaluation.tasks import Item, Task

CONTEXTS = ["the cat sat", "the cat ran to", "the cat ran to the dog", "a man", "the cat ran to", ""]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["the cat sat on the mat. the dog ran to the cat. a man has a hat" * 3], 290)


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(1)
    return Decoder(ModelConfig(tokenizer.vocab_size, 32, 2, 2, max_context=40)).eval()


def alone(model, tokenizer, context, new):
    ids = tokenizer.encode(context)[-(40 - new) :] or [tokenizer.end_of_text]
    written = generate(model, [ids], new)[0, len(ids) :].tolist()
    end = written.index(tokenizer.end_of_text) if tokenizer.end_of_text in written else new
    return tokenizer.decode(written[:end])


@pytest.mark.parametrize(("batch_size", "room"), [(1, 2**28), (2, 2**28), (16, 2**28), (16, 20_000)])
def test_each_context_gets_what_it_gets_alone(model, tokenizer, batch_size, room, monkeypatch):
    monkeypatch.setattr(prefixes, "CACHE_BYTES", room)
    found = generate_until(model, tokenizer, CONTEXTS, until=(), max_new_tokens=9, batch_size=batch_size)
    assert found == [alone(model, tokenizer, context, 9) for context in CONTEXTS]


def test_the_text_ends_before_the_first_of_the_ends(model, tokenizer):
    whole = alone(model, tokenizer, "a man", 12)
    assert len(whole) > 6
    for ends in ([whole[4]], [whole[6], whole[3:5]], [whole]):
        expected = whole[: min(whole.index(end) for end in ends)]
        found = generate_until(model, tokenizer, ["a man", "the cat"], until=ends, max_new_tokens=12)
        assert found[0] == expected


def test_it_ends_with_the_text(model, tokenizer, monkeypatch):
    """The model writes two tokens, then the separator for ever."""
    steps = []

    def scripted(logits):
        steps.append(len(logits))
        token = 40 if len(steps) < 3 else tokenizer.end_of_text
        return torch.full((len(logits),), token)

    monkeypatch.setattr(answers, "sample", scripted)
    found = generate_until(model, tokenizer, ["a man", "the cat"], until=(), max_new_tokens=12)
    assert found == [tokenizer.decode([40, 40])] * 2
    assert len(steps) == 3


def test_a_row_that_has_ended_writes_no_more_and_the_last_one_ends_all():
    asked = []

    def steps():
        for tokens in ([1, 1, 0], [9, 2, 1], [3, 3, 2], [4, 9, 3], [5, 5, 5]):
            asked.append(tokens)
            yield torch.tensor(tokens)

    found = written(steps(), 3, lambda ids: "".join(map(str, ids)), {9}, ["23"])
    assert found == ["1", "1", "01"]
    assert len(asked) == 4


def test_a_long_context_loses_its_beginning_and_new_tokens_fit(model, tokenizer):
    long = "the dog ran to the cat. " * 20
    found = generate_until(model, tokenizer, [long, "a man"], until=(), max_new_tokens=9)
    assert found[0] == alone(model, tokenizer, long.rstrip(), 9)
    for new in (0, 40):
        with pytest.raises(ValueError, match=f"max_new_tokens is {new}"):
            generate_until(model, tokenizer, ["a man"], max_new_tokens=new)


def test_normalised():
    assert normalised("  two   words.\n") == "two words"
    assert normalised("Paris") != normalised("paris")


def test_any_of_the_right_answers_counts(model, tokenizer, monkeypatch):
    monkeypatch.setattr(answers, "generate_until", lambda *_, **options: [" four. ", "4", "five"])
    items = tuple(Item(str(i), "2 + 2 =", (" 4", " four"), 0) for i in range(3))
    found = answer(model, tokenizer, Task("sums", items, "text"))
    assert found.right.tolist() == [True, True, False]
    assert found.right.dtype == np.bool_
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.texts[2] == "five"
    with pytest.raises(ValueError, match="multiple_choice scores it"):
        answer(model, tokenizer, Task("sums", items, "choice"))


def test_a_tasks_own_ends_and_length_are_used(model, tokenizer):
    item = Item("0", "a man", (" x",), 0)
    whole = alone(model, tokenizer, "a man", 7)
    assert answer(model, tokenizer, Task("t", (item,), "text", until=("@@",), max_new_tokens=7)).texts == (whole,)
    shorter = answer(model, tokenizer, Task("t", (item,), "text", until=(whole[2],)))
    assert shorter.texts == (whole[: whole.index(whole[2])],)
