"""Facts in long texts: where they stand, what is asked, and contexts stretched."""

import numpy as np
import pytest
import torch

import slmkit
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation import needle


def test_a_needle_stands_at_its_depth():
    filler = range(100, 150)
    assert needle.placed(filler, [[1, 2]], [0.0], 12) == [1, 2, *range(100, 110)]
    assert needle.placed(filler, [[1, 2]], [1.0], 12) == [*range(100, 110), 1, 2]
    assert needle.placed(filler, [[1], [2, 3]], [0.7, 0.2], 13) == [100, 101, 2, 3, *range(102, 107), 1, 107, 108, 109]
    assert needle.placed(filler, [[1], [2]], [0.5, 0.5], 6) == [100, 101, 1, 2, 102, 103]


@pytest.mark.parametrize(("filler", "depth", "length"), [(5, 0.5, 9), (50, 0.5, 1), (50, 1.2, 12), (50, -0.1, 12)])
def test_what_cannot_be_placed(filler, depth, length):
    with pytest.raises(ValueError, match=r"filler|depths"):
        needle.placed(range(filler), [[1, 2]], [depth], length)


DEPTHS = (0, 0.25, 0.5, 1)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["The secret number of the guest is in the question. The answer is what it is."] * 3, 300)


@pytest.mark.parametrize("kind", needle.KINDS)
def test_questions_hold_their_answer_once_and_have_their_length(tokenizer, kind):
    filler = tokenizer.encode("nothing to see here, " * 400)
    made = needle.questions(tokenizer, filler, kind, 900, DEPTHS, seed=3)
    assert [question.depth for question in made] == list(DEPTHS)
    for question in made:
        text, number = tokenizer.decode(list(question.context)), tokenizer.decode(list(question.answer))
        assert len(number) == 5
        assert number.startswith(" ")
        assert text.count(number) == 1
        assert text.count("The secret number of") == (1 if kind == "single" else 4) + 1
        city = text.rsplit("What is the secret number of ")[-1].split("?")[0].removeprefix("the guest of ")
        who = text.split(f"The guest of {city} is ")[1].split(".")[0] if kind == "reasoning" else city
        assert f"The secret number of {who} is{number}." in text
        fact = text.index(f"The guest of {city} is" if kind == "reasoning" else f"The secret number of {who} is")
        before = text[:fact].count("nothing")
        whole = text.count("nothing")
        assert before / whole == pytest.approx(question.depth, abs=0.06)
    assert max(len(question.context) for question in made) == 900
    hays = [tokenizer.decode(list(question.context)).split("\nQuestion:")[0] for question in made]
    assert len({len(tokenizer.encode(hay)) for hay in hays}) == 1
    assert len(set(hays)) == (len(DEPTHS) if kind == "single" else 1)
    assert needle.questions(tokenizer, filler, kind, 900, DEPTHS, seed=3) == made
    assert needle.questions(tokenizer, filler, kind, 900, DEPTHS, seed=4) != made


def test_other_kinds_and_too_many_depths(tokenizer):
    for kind, depths in (("several", (0, 1)), ("single", ()), ("multiple", [0.1] * 11)):
        with pytest.raises(ValueError, match="kinds are single"):
            needle.questions(tokenizer, [1] * 99, kind, 50, depths)


def test_found_is_what_greedy_decoding_writes():
    torch.manual_seed(0)
    model = slmkit.Decoder(slmkit.ModelConfig(40, 16, 2, 2, max_context=32))
    contexts = [tuple(range(i, i + 6)) for i in range(4)]
    written = [
        slmkit.generate(model, torch.tensor([context]), max_new_tokens=2)[0, -2:].tolist() for context in contexts
    ]
    asked = [needle.Question(context, tuple(answer), 0) for context, answer in zip(contexts, written)]
    asked[1] = asked[1]._replace(answer=(written[1][0], (written[1][1] + 1) % 40))
    assert needle.found(model, asked).tolist() == [True, False, True, True]


def test_rows_whose_last_token_stood_once_before():
    for depth, place in ((0, 0), (0.5, 8), (1, 17)):
        rows, answers = needle.tokens(np.random.default_rng(0), 12, 20, depth, 30)
        key = rows[:, -1:]
        assert ((rows == key).sum(1) == 2).all()
        assert (rows[:, place] == key[:, 0]).all()
        assert torch.equal(rows[:, place + 1], answers)
    with pytest.raises(ValueError, match="at least 4"):
        needle.tokens(np.random.default_rng(0), 12, 3, 0, 1)


def test_a_model_reaches_further_with_the_same_weights():
    torch.manual_seed(0)
    model = slmkit.Decoder(slmkit.ModelConfig(12, 16, 2, 2, max_context=16)).eval()
    ids = torch.randint(12, (2, 16))
    plain, linear, ntk = (needle.reaching(model, 64, kind) for kind in (None, "linear", "ntk"))
    with torch.no_grad():
        torch.testing.assert_close(plain(ids), model(ids))
        assert not torch.allclose(linear(ids), ntk(ids))
        assert not torch.allclose(linear(ids), model(ids))
    assert ntk.config.rope_scaling.factor == 4
    assert plain.config.max_context == 64
    assert needle.reaching(model, 16, "ntk").config == model.config
    assert needle.recalled(model, 32, (0, 0.5), 4, "ntk").shape == (2,)
