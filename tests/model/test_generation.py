"""Generation: the right distribution, rows that do not disturb each other, and messages for wrong input."""

from dataclasses import replace

import pytest
import torch

from slmkit import Decoder, ModelConfig, generate
from slmkit.model.generation import left_pad, sample, stream

CONFIG = ModelConfig(vocab_size=40, d_model=24, n_layers=2, n_heads=4, max_context=32, tied_embeddings=False)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Decoder(CONFIG)


def greedy_without_cache(model, ids, n):
    """The plainest loop: read everything again for each token."""
    with torch.no_grad():
        for _ in range(n):
            ids = torch.cat((ids, model(ids)[:, -1:].argmax(-1)), dim=1)
    return ids


@pytest.mark.parametrize("n", [1, 2, 20])
def test_greedy_equals_reading_everything_again(model, n):
    ids = torch.randint(0, 40, (3, 5))
    out = generate(model, ids, n)
    assert torch.equal(out, greedy_without_cache(model, ids, n))
    assert torch.equal(out[:, :5], ids)


def test_the_text_may_fill_the_context_and_one_token_more(model):
    """The last token drawn is never read, so 32 positions serve 33 tokens."""
    ids = torch.randint(0, 40, (1, 5))
    assert generate(model, ids, 28).shape == (1, 33)
    with pytest.raises(ValueError, match="33 tokens is longer than the model's max_context of 32"):
        generate(model, ids, 29)


@pytest.mark.parametrize("positions", ["rope", "learned", "alibi"])
def test_padded_rows_continue_as_they_would_alone(positions):
    torch.manual_seed(0)
    model = Decoder(replace(CONFIG, positions=positions))
    if positions == "learned":
        torch.nn.init.normal_(model.position_embedding.weight, std=2)  # so that a wrong position tells
    rows = [[1, 2, 3, 4, 5, 6, 7], [8, 9], [10, 11, 12, 13]]
    ids, padding = left_pad(rows, pad_token=39)
    out = generate(model, ids, 12, padding=padding)
    for i, row in enumerate(rows):
        assert out[i, int(padding[i]) :].tolist() == generate(model, [row], 12)[0].tolist()


def test_left_pad():
    ids, padding = left_pad([[1, 2, 3], [4]], pad_token=7)
    assert ids.tolist() == [[1, 2, 3], [7, 7, 4]]
    assert padding.tolist() == [0, 2]


def test_a_row_stops_at_its_stop_token_and_the_others_go_on(model):
    ids = torch.tensor([[1, 2], [3, 4], [5, 6]])
    free = generate(model, ids, 20)
    stop = int(free[0, 5])  # what the first row says as its fourth token
    out = generate(model, ids, 20, stop_tokens=[stop])
    for row, free_row in zip(out[:, 2:].tolist(), free[:, 2:].tolist(), strict=True):
        end = free_row.index(stop) + 1 if stop in free_row else len(free_row)
        assert row[:end] == free_row[:end][: len(row)]
        assert all(token == stop for token in row[end:])


def test_generation_ends_when_every_row_has_stopped(model):
    free = generate(model, [[1, 2]], 20)[0, 2:].tolist()
    stops = [free[3], free[6]]
    out = generate(model, [[1, 2]], 20, stop_tokens=stops)[0, 2:].tolist()
    assert out == free[: min(free.index(stop) for stop in stops) + 1]


def test_stream_yields_what_generate_returns(model):
    ids = torch.tensor([[1, 2], [3, 4]])
    tokens = [token.tolist() for token in stream(model, ids, 6)]
    assert torch.tensor(tokens).T.tolist() == generate(model, ids, 6)[:, 2:].tolist()


def test_nothing_is_kept_for_a_backward_pass(model):
    assert not generate(model, [[1]], 3).requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0])


def shares(draws=40_000, **options):
    """How often each token is drawn."""
    generator = torch.Generator().manual_seed(0)
    tokens = sample(LOGITS.expand(draws, -1), generator=generator, **options)
    return torch.bincount(tokens, minlength=5) / draws


def close(drawn, expected):
    assert torch.equal(drawn > 0, expected > 0)
    torch.testing.assert_close(drawn, expected, atol=0.012, rtol=0)  # about five standard errors


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_divides_the_logits(temperature):
    close(shares(temperature=temperature), (LOGITS / temperature).softmax(-1))


@pytest.mark.parametrize("k", [1, 2, 4, 5, 9])
def test_top_k_keeps_the_k_likeliest(k):
    expected = LOGITS.clone()
    expected[k:] = float("-inf")
    close(shares(temperature=1.0, top_k=k), expected.softmax(-1))


# The probabilities are .56, .21, .12, .08, .03.
@pytest.mark.parametrize(("p", "kept"), [(0.01, 1), (0.5, 1), (0.6, 2), (0.76, 2), (0.8, 3), (0.96, 4), (1.0, 5)])
def test_top_p_keeps_the_fewest_that_reach_p(p, kept):
    expected = LOGITS.clone()
    expected[kept:] = float("-inf")
    close(shares(temperature=1.0, top_p=p), expected.softmax(-1))


def test_the_temperature_comes_before_top_p():
    hot = (LOGITS / 4).softmax(-1)  # .31 .24 .21 .19 .05…: it takes three to reach 0.6
    expected = torch.where(torch.arange(5) < 3, hot, 0.0)
    close(shares(temperature=4.0, top_p=0.6), expected / expected.sum())


def test_top_k_comes_before_top_p():
    expected = torch.tensor([0.7311, 0.2689, 0, 0, 0])  # of two tokens left, the first holds .73
    close(shares(temperature=1.0, top_k=2, top_p=0.74), expected)
    close(shares(temperature=1.0, top_k=2, top_p=0.7), torch.tensor([1.0, 0, 0, 0, 0]))


def test_order_in_the_vocabulary_does_not_matter():
    order = torch.tensor([2, 0, 3, 4, 1])  # a cycle, so that going there is not the way back
    generator = torch.Generator().manual_seed(0)
    tokens = sample(LOGITS[order].expand(20_000, -1), 1.0, None, 0.8, generator)
    drawn = torch.bincount(order[tokens], minlength=5) / 20_000
    close(drawn, torch.where(torch.arange(5) < 3, LOGITS, float("-inf")).softmax(-1))


def test_a_very_low_temperature_is_greedy_and_not_nan():
    assert sample(LOGITS[None], 1e-42).tolist() == [0]
    assert sample(1e30 * LOGITS[None], 0.7).tolist() == [0]
    assert sample(LOGITS[None], 0.0).tolist() == [0]


def test_the_seed_decides(model):
    options = dict(temperature=1.5, top_k=20)
    first, same, other = (generate(model, [[1, 2]], 20, seed=seed, **options).tolist() for seed in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([[1, 40]], {}, "token ids run from 1 to 40; the model knows 0 to 39"),
        ([[-1, 3]], {}, "token ids run from -1 to 3"),
        ([1, 2], {}, r"shape \[batch, time\].*got \[2\]"),
        ([[]], {}, "both at least 1"),
        ([[0.5]], {}, "must be whole numbers"),
        ([[1, 2], [3]], {}, "left_pad makes them so"),
        ([[1]], dict(temperature=-0.1), "temperature is -0.1; it must be 0"),
        ([[1]], dict(temperature=float("nan")), "temperature is nan"),
        ([[1]], dict(temperature=1.0, top_k=0), "top_k is 0; keep at least 1"),
        ([[1]], dict(temperature=1.0, top_p=0.0), "top_p is 0.0; it is a probability"),
        ([[1]], dict(temperature=1.0, top_p=1.1), "top_p is 1.1"),
        ([[1, 2]], dict(padding=[2]), "padding must count 0 to 1 tokens for each of 1 rows"),
        ([[1, 2]], dict(padding=[-1]), "padding must count"),
        ([[1, 2]], dict(padding=[0, 0]), "padding must count"),
    ],
)
def test_wrong_input_is_named(model, ids, options, message):
    with pytest.raises(ValueError, match=message):
        generate(model, ids, 3, **options)


def test_at_least_one_new_token(model):
    with pytest.raises(ValueError, match="max_new_tokens is 0; ask for at least 1"):
        generate(model, [[1]], 0)


@pytest.mark.parametrize("rows", [[], [[1], []]])
def test_a_row_without_tokens_cannot_be_padded(rows):
    with pytest.raises(ValueError, match="give each row at least one token"):
        left_pad(rows)
