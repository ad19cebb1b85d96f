"""Speculative decoding: the target's distribution, its greedy tokens, its counts, and messages for wrong input."""

from collections import Counter
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import chisquare

from slmkit import Decoder, ModelConfig, generate
from slmkit.profiling import speculative
from slmkit.profiling.speculative import distribution, expected_speedup, expected_tokens, speculate, verify

CONFIG = ModelConfig(vocab_size=40, d_model=24, n_layers=2, n_heads=4, max_context=64, tied_embeddings=False)
SMALL = replace(CONFIG, d_model=16, n_layers=1)


def made(config, seed=0, noise=0.0, like=None):
    torch.manual_seed(seed)
    model = Decoder(config)
    if like is not None:
        with torch.no_grad():
            for weight, source in zip(model.parameters(), like.parameters(), strict=True):
                weight.copy_(source + noise * torch.randn_like(source))
    return model


@pytest.fixture(scope="module")
def target():
    return made(CONFIG)


@pytest.fixture(scope="module")
def near(target):
    """A draft that is right often, and not always."""
    return made(CONFIG, 1, noise=0.03, like=target)


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_greedy_tokens_are_those_of_the_target_alone(target, near, k, n):
    ids = torch.randint(0, 40, (1, 5), generator=torch.Generator().manual_seed(k))
    for draft in (made(SMALL, 2), near, target):
        out = speculate(target, draft, ids, n, k=k)
        assert torch.equal(out.ids, generate(target, ids, n))
        assert out.accepted + out.passes == n


@pytest.mark.parametrize(
    "change",
    [
        {"positions": "learned"},
        {"positions": "alibi"},
        {"window": 6},
        {"attention": "mla", "kv_lora_rank": 12, "qk_rope_head_dim": 2, "v_head_dim": 6},
    ],
)
def test_rolled_back_caches_serve_every_kind_of_attention(change):
    target = made(replace(CONFIG, **change))
    draft, ids = made(replace(CONFIG, **change), 1, noise=0.03, like=target), [[1, 2, 3]]
    out = speculate(target, draft, ids, 40, k=4)
    assert torch.equal(out.ids, generate(target, ids, 40))
    assert 0 < out.accepted < out.proposed


def test_a_draft_that_is_the_target_is_always_right(target):
    out = speculate(target, target, [[1, 2]], 31, k=4, temperature=1.0, seed=0)
    assert (out.passes, out.proposed, out.accepted, out.rejected) == (7, 24, 24, 0)  # 6 × 5, and one token is left
    assert out.acceptance == 1
    assert out.tokens_per_pass == pytest.approx(31 / 7)


def test_what_is_refused_is_counted_once_a_pass(target, near):
    out = speculate(target, near, [[1, 2]], 60, k=5, temperature=1.0, seed=1)
    assert out.ids.shape == (1, 62)
    assert out.accepted + out.passes == 60
    assert 0 < out.rejected < out.passes
    assert out.rejected + out.accepted < out.proposed
    assert out.acceptance == out.accepted / (out.accepted + out.rejected)


def test_the_target_reads_each_token_once(target, near, monkeypatch):
    """Its passes read what is new: the token of its own that came last, and the proposals."""
    read, hidden = [], target.hidden
    monkeypatch.setattr(target, "hidden", lambda ids, cache: (read.append(ids.shape[1]), hidden(ids, cache))[1])
    out = speculate(target, near, [[1, 2, 3]], 30, k=4)
    assert read[0] == 3 + 4
    assert set(read[1:-1]) <= {1 + 4}
    assert len(read) == out.passes


class Table:
    """Stands in for a decoder, for speed: logits by the last token and the sum of all before, out of its cache."""

    config = ModelConfig(vocab_size=4, d_model=2, n_layers=1, n_heads=1, max_context=64)

    def __init__(self, seed):
        self.rows = 1.5 * torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
        self.embedding = SimpleNamespace(weight=torch.zeros(1))

    def hidden(self, ids, cache):
        text = cache.update(0, *[ids[:, None, :, None].expand(-1, -1, -1, 2)] * 2)[0][:, 0, :, 0].long()
        cache.advance(ids.shape[1])
        return (4 * ((text.cumsum(1) - text) % 4) + text)[:, -ids.shape[1] :]

    def logits(self, states):
        return self.rows[states]


def exact(table, prompt, length, temperature):
    """The probability of each continuation of `prompt` by `length` tokens, written out for a Table."""
    chances = {}
    for tokens in product(range(4), repeat=length):
        text, chances[tokens] = list(prompt), 1.0
        for token in tokens:
            row = table.rows[4 * (sum(text[:-1]) % 4) + text[-1]]
            chances[tokens] *= float((row.double() / temperature).softmax(-1)[token])
            text.append(token)
    return chances


def fits(counts, chances):
    """Chi-square: the p-value of `counts` under `chances`, outcomes too rare for the test taken together."""
    draws = sum(counts.values())
    common = [outcome for outcome, chance in chances.items() if draws * chance >= 5]
    observed, expected = [counts[one] for one in common], [draws * chances[one] for one in common]
    if any(chances[one] for one in chances.keys() - set(common)):
        observed, expected = [*observed, draws - sum(observed)], [*expected, draws - sum(expected)]
    return chisquare(observed, expected).pvalue


@pytest.mark.parametrize(("k", "temperature"), [(1, 1.0), (2, 0.7), (4, 1.5)])
def test_texts_are_drawn_from_the_targets_own_distribution(k, temperature):
    """All texts of three tokens over a vocabulary of four, drawn often, against their exact probabilities."""
    target, draft, prompt = Table(0), Table(1), [1, 2]
    counts, refused = Counter(), 0
    for seed in range(2000):
        out = speculate(target, draft, [prompt], 3, k=k, temperature=temperature, seed=seed)
        counts[tuple(out.ids[0, 2:].tolist())] += 1
        refused += out.rejected
    assert refused > 500
    assert fits(counts, exact(target, prompt, 3, temperature)) > 0.01
    assert fits(counts, exact(draft, prompt, 3, temperature)) < 1e-9  # the test can tell the two apart


def test_a_verified_token_has_the_targets_distribution_whatever_the_draft_says():
    p = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    q = torch.tensor([[0.1, 0.6, 0.0, 0.3]], dtype=torch.float64)
    generator, draws = torch.Generator().manual_seed(0), 4000
    first, behind = Counter(), Counter()
    for _ in range(draws):
        guess = torch.multinomial(q[0], 1, generator=generator)
        count, token = verify(p, q, guess, generator)
        first[int(guess if count else token)] += 1
        behind.update([int(token)] * count)
    assert first[3] == 0
    assert fits(first, dict(enumerate(p[0].tolist()))) > 0.01
    assert fits(behind, dict(enumerate(p[1].tolist()))) > 0.01
    overlap = float(torch.minimum(p, q)[0].sum())  # how often a proposal is accepted, corollary 3.6
    assert behind.total() / draws == pytest.approx(overlap, abs=0.03)


def test_equal_distributions_up_to_rounding_leave_nothing_to_divide(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(1.0))
    p = torch.tensor([[0.25, 0.75 - 1e-16], [1, 0]]).double()
    assert verify(p, torch.tensor([[0.25, 0.75]]).double(), torch.tensor([1]))[0] == 0


def test_a_seed_gives_the_same_text_again(target, near):
    texts = [speculate(target, near, [[1]], 20, temperature=1.0, seed=seed).ids for seed in (5, 5, 6)]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


def test_temperature_zero_is_the_greedy_choice():
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    assert distribution(logits, 0).tolist() == [[0, 1, 0]]
    assert torch.allclose(distribution(logits, 0.5), torch.tensor([[0.0, 4.0, 2.0]]).double().softmax(-1))


def test_expected_tokens_and_speedup():
    assert expected_tokens(0.8, 4) == pytest.approx((1 - 0.8**5) / 0.2)
    assert expected_tokens(1.0, 4) == 5
    assert expected_tokens(0.0, 4) == 1
    assert expected_speedup(0.8, 4, 0.1) == pytest.approx((1 - 0.8**5) / (0.2 * 1.4))
    assert expected_speedup(0.5, 3, 0.0) == expected_tokens(0.5, 3)


def test_tokens_a_pass_come_out_as_expected_where_acceptance_is_constant(monkeypatch):
    """A draft that is right seven times in ten, by a coin of its own."""
    coin = torch.Generator().manual_seed(0)

    def verify(p, q, guess, generator):
        right = (torch.rand(len(guess), generator=coin) < 0.7).tolist()
        return (right.index(False) if False in right else len(guess)), torch.tensor(1)

    monkeypatch.setattr(speculative, "verify", verify)
    outs = [speculate(Table(0), Table(0), [[1]], 60, k=3) for _ in range(40)]
    passes, tokens = sum(out.passes for out in outs), 60 * len(outs)
    assert tokens / passes == pytest.approx(expected_tokens(0.7, 3), rel=0.05)
    rates = sum(out.accepted for out in outs), sum(out.accepted + out.rejected for out in outs)
    assert rates[0] / rates[1] == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; the draft must propose"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"ids": [[1], [2]]}, "2 rows; speculative decoding takes one text"),
        ({"ids": [[40]]}, "the model knows 0 to 39"),
        ({"max_new_tokens": 65}, "too many for the target, whose max_context is 64"),
        ({"draft": made(replace(SMALL, max_context=32)), "max_new_tokens": 33}, "too many for the draft"),
        ({"draft": made(replace(SMALL, vocab_size=41))}, "the draft knows 41 tokens and the target 40"),
    ],
)
def test_wrong_input_gets_one_line(target, options, message):
    settings = {"draft": target, "ids": [[1]], "max_new_tokens": 4, **options}
    with pytest.raises(ValueError, match=message):
        speculate(target, **settings)


def test_the_text_may_fill_the_context_and_one_token_more(target, near):
    assert speculate(target, near, [[1]], 64).ids.shape == (1, 65)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_tokens(1.2, 3), "acceptance is 1.2"),
        (lambda: expected_tokens(0.5, 0), "k is 0"),
        (lambda: expected_speedup(0.5, 2, -1), "cost is -1"),
    ],
)
def test_expectations_refuse_what_is_no_share(call, message):
    with pytest.raises(ValueError, match=message):
        call()
