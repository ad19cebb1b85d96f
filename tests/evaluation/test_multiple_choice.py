"""The scorer against reading every sequence alone, without cache, batch or padding; and against lm-eval's splitting."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slmkit import Decoder, ModelConfig, pretrained
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation import multiple_choice, prefixes, tasks
from slmkit.evaluation.multiple_choice import (
    NORMALISATIONS,
    Scored,
    encode_pair,
    loglikelihoods,
    score,
    token_loglikelihoods,
)
from slmkit.evaluation.tasks import Item, Task
from slmkit.model.counting import kv_cache_bytes

VOCAB, WINDOW = 11, 24
KINDS = {
    "grouped queries": {"n_kv_heads": 1},
    "learned positions": {"positions": "learned", "tied_embeddings": False},
    "alibi": {"positions": "alibi"},
    "no positions": {"positions": "none"},
    "window": {"window": (5, None), "qk_norm": "head"},
    "latent": {"attention": "mla", "kv_lora_rank": 6, "qk_rope_head_dim": 4},
    "shared blocks": {"sharing": "block_pairs"},
}


def decoder(vocab=VOCAB, **options) -> Decoder:
    torch.manual_seed(3)
    return Decoder(ModelConfig(vocab, 16, 2, 2, max_context=WINDOW, **options)).eval()


@torch.inference_mode()
def alone(model, context, continuation):
    """log p(continuation | context), and whether it is the likeliest, of one whole sequence."""
    ids = [*context, *continuation][-(WINDOW + 1) :]
    logits = model(torch.tensor([ids[:-1]]))[0, -len(continuation) :].log_softmax(-1)
    target = torch.tensor(ids[-len(continuation) :])
    return logits.gather(-1, target[:, None]).sum().item(), bool((logits.argmax(-1) == target).all())


@pytest.fixture(autouse=True)
def small_families(monkeypatch):
    """Sequences of these tests are short: let two common tokens be worth a pass."""
    monkeypatch.setattr(prefixes, "WORTH", 2)


token = st.integers(0, 2)  # three different tokens, so that sequences often begin alike
pair_of_ids = st.tuples(st.lists(token, min_size=1, max_size=30), st.lists(token, min_size=1, max_size=6))
pairs_of_ids = st.lists(pair_of_ids, min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    pairs_of_ids,
    st.sampled_from(sorted(KINDS)),
    st.sampled_from([1, 2, 3, 16]),
    st.booleans(),
    st.booleans(),
)
def test_every_pair_gets_what_it_gets_alone(pairs, kind, batch_size, shared, cramped):
    with pytest.MonkeyPatch.context() as patch:
        if cramped:  # a cache for about two short rows
            patch.setattr(prefixes, "CACHE_BYTES", 2000)
        model = MODELS[kind]
        found = token_loglikelihoods(model, pairs, batch_size=batch_size, shared=shared)
    assert len(found) == len(pairs)
    for (context, continuation), one in zip(pairs, found, strict=True):
        expected, greedy = alone(model, context, continuation)
        assert one.logprob == pytest.approx(expected, abs=1e-4)
        assert one.greedy == greedy
        assert one.tokens == len(continuation)
        assert one.cut == max(len(context) + len(continuation) - WINDOW - 1, 0)


MODELS = {kind: decoder(**options) for kind, options in KINDS.items()}


def test_greedy_is_told_for_what_greedy_decoding_writes():
    model, ids = decoder(), [1, 2, 3]
    for _ in range(4):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    other = [*ids[:-1], (ids[-1] + 1) % VOCAB]
    found = token_loglikelihoods(model, [(ids[:3], ids[3:]), (other[:3], other[3:]), (ids[:3], ids[3:4])])
    assert [one.greedy for one in found] == [True, False, True]


def tokens_read(model, monkeypatch, call) -> int:
    """How many tokens, padding included, go through the model."""
    read, hidden = [], model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids, *args: read.append(ids.numel()) or hidden(ids, *args))
    call()
    return sum(read)


def test_what_is_shared_is_read_once(monkeypatch):
    model, head = decoder(), [1] * 10
    items = [[*head, 2, i] for i in range(5)]
    pairs = [(item, [last, last]) for item in items for last in (3, 4, 5)] + [(item, [6]) for item in items]
    once = tokens_read(model, monkeypatch, lambda: token_loglikelihoods(model, pairs))
    assert once == 11 + 5 * 1 + 5 * 3 * 1  # the head, each item's own token, the first token of each longer choice
    whole = tokens_read(model, monkeypatch, lambda: token_loglikelihoods(model, pairs, shared=False))
    assert whole >= 5 * 3 * 13 + 5 * 12


def test_short_ends_behind_a_head_are_read_many_at_a_time(monkeypatch):
    """Two rows of 13 tokens may be read at once, so 26 new tokens, and behind the head of 12 each row has one."""
    model, passes = decoder(vocab=20), []
    read = model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids, *args: passes.append(tuple(ids.shape)) or read(ids, *args))
    token_loglikelihoods(model, [([1] * 11 + [2, i], [3]) for i in range(4, 17)], batch_size=2)
    assert passes == [(1, 12), (13, 1)]


def test_logits_are_computed_only_where_something_is_predicted(monkeypatch):
    model, computed = decoder(), []
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda hidden: computed.append(len(hidden)) or logits(hidden))
    monkeypatch.setattr(multiple_choice, "POSITIONS", 2)
    pairs = [([1, 2, 3, 4, i], [5, 6, choice]) for i in range(3) for choice in range(2)]
    found = token_loglikelihoods(model, pairs)
    assert max(computed) == 2
    assert sum(computed) == 3 + 3 * 2  # choices that differ in their last token are predicted from the same places
    assert found[3].logprob == pytest.approx(alone(model, *pairs[3])[0], abs=1e-5)


@pytest.mark.parametrize(("pair", "words"), [(([], [1]), "a token each"), (([1], []), "a token each"),
                                             (([1], [1] * 25), "25 tokens and the model's window 24")])  # fmt: skip
def test_what_cannot_be_scored_is_refused(pair, words):
    with pytest.raises(ValueError, match=words):
        token_loglikelihoods(MODELS["alibi"], [pair])
    with pytest.raises(ValueError, match="batch_size is 0"):
        token_loglikelihoods(MODELS["alibi"], [([1], [1])], batch_size=0)


def test_the_model_is_left_as_it_was():
    model = decoder().train()
    token_loglikelihoods(model, [([1], [2])])
    assert model.training
    assert token_loglikelihoods(model, []) == []


# -- families


sequences = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9).map(tuple), max_size=20)


@settings(max_examples=200, deadline=None)
@given(sequences, st.integers(1, 40))
def test_families_hold_every_sequence_once_behind_a_head_that_is_shorter(rows, worth):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefixes, "WORTH", worth)
        found = prefixes.families(rows)
    assert sorted(member for family in found for member in family.members) == sorted(set(rows))
    path = []
    for family in found:
        del path[family.depth :]
        assert len(path) == family.depth
        assert not path or len(family.head) > len(path[-1].head)
        assert not path or family.head[: len(path[-1].head)] == path[-1].head
        path.append(family)
        assert all(ids[: len(family.head)] == family.head and len(ids) > len(family.head) for ids in family.members)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=8), st.integers(1, 12), st.integers(1, 3), st.sampled_from([2**28, 10_000]))
def test_passes_cost_least_of_all_cuts_that_are_allowed(new, worth, batch_size, room):
    model, new, head = MODELS["alibi"], sorted(new), 6
    rows = [(1,) * (head + count) for count in new]
    row_bytes = kv_cache_bytes(model.config, 1, torch.float32)

    def allowed(part):
        tokens, longest = len(part) * part[-1], head + part[-1]
        fits = tokens <= batch_size * longest and len(part) * longest * row_bytes <= room
        return len(part) == 1 or fits

    def cost(cuts):
        parts = [new[a:b] for a, b in pairwise((0, *cuts, len(new)))]
        return sum(len(part) * part[-1] + worth for part in parts) if all(map(allowed, parts)) else math.inf

    places = range(1, len(new))
    least = min(cost(cuts) for size in range(len(new)) for cuts in combinations(places, size)) if new else 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefixes, "WORTH", worth)
        patch.setattr(prefixes, "CACHE_BYTES", room)
        found = prefixes.passes(model, rows, new, batch_size)
    assert [i for part in found for i in range(*part.indices(len(rows)))] == list(range(len(rows)))
    assert (cost([part.start for part in found[1:]]) if new else 0) == least


def test_a_chain_of_prefixes_is_no_problem():
    chain = [(1,) * n for n in range(1, 1200)]
    assert sum(len(family.members) for family in prefixes.families(chain)) == len(chain)


# -- text


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["the cat sat on the mat. the dog ran to the cat. a man has a hat" * 3], 300)


@pytest.fixture(scope="module")
def harness(tokenizer):
    """lm-eval's own way to split a pair, with our tokenizer."""
    from lm_eval.api.model import TemplateLM

    class Splitter(TemplateLM):
        eot_token_id = tokenizer.end_of_text
        generate_until = loglikelihood_rolling = _loglikelihood_tokens = None

        def tok_encode(self, string, add_special_tokens=None, **_):
            return tokenizer.encode(string)

    return Splitter()


words = st.text(st.sampled_from("the cat\n.Ω"), max_size=12)


@settings(max_examples=300, deadline=None)
@given(words, words)
def test_pairs_are_split_as_lm_eval_splits_them(tokenizer, harness, context, continuation):
    if not context.strip() or not continuation.strip():
        return
    before, after = harness._encode_pair(context, continuation)
    if not after:  # the continuation is merged into the context's last token: lm-eval would fail
        with pytest.raises(ValueError, match="no token of its own"):
            encode_pair(tokenizer, context, continuation)
    else:
        assert encode_pair(tokenizer, context, continuation) == (before, after)


def test_without_a_context_the_separator_stands_before_the_text(tokenizer):
    assert encode_pair(tokenizer, "", " cat") == ([tokenizer.end_of_text], tokenizer.encode(" cat"))
    assert encode_pair(tokenizer, " ", "cat") == ([tokenizer.end_of_text], tokenizer.encode(" cat"))


ITEMS = (
    Item("a", "the cat sat", (" on", " on the mat", " Ω"), 1),
    Item("b", "the dog", (" ran", " has a hat"), 0),
)


@pytest.fixture(scope="module")
def text_model(tokenizer):
    return decoder(tokenizer.vocab_size)


def test_a_task_is_scored_by_every_normalisation(tokenizer, text_model):
    model = text_model
    scored = score(model, tokenizer, Task("two", ITEMS, "choice"), unconditional=True)
    for i, item in enumerate(ITEMS):
        for j, choice in enumerate(item.choices):
            value = alone(model, *encode_pair(tokenizer, item.context, choice))[0]
            unconditional = value - alone(model, [tokenizer.end_of_text], tokenizer.encode(choice))[0]
            word = choice[1:]
            expected = (value, value / len(word), value / len(word.encode()), value / scored.tokens[i][j],
                        unconditional)  # fmt: skip
            found = [scored.values(by)[i][j] for by in NORMALISATIONS]
            assert found == pytest.approx(expected, abs=1e-4)
    table = scored.table()
    assert list(table.item) == ["a", "a", "a", "b", "b"]
    assert table[table.answer].text.tolist() == [" on the mat", " ran"]
    assert table.byte[2] == pytest.approx(table["sum"][2] / 2)


def made_up(logprobs, choices, answers, tokens=None):
    items = tuple(Item(str(i), "", each, answer) for i, (each, answer) in enumerate(zip(choices, answers, strict=True)))
    tokens = tokens or [np.ones(len(each)) for each in choices]
    return Scored(Task("made", items, "choice"), tuple(map(np.array, logprobs)), tuple(map(np.array, tokens)), None,
                  (), ())  # fmt: skip


def test_normalisations_can_pick_differently():
    scored = made_up([[-4.0, -6.0, -9.0]], [(" é", " abcdef", " abcdefghijkl")], [2], [[1, 6, 2]])
    assert {by: scored.picks(by)[0] for by in NORMALISATIONS[:4]} == {"sum": 0, "character": 2, "byte": 2, "token": 1}
    assert scored.values("byte")[0][0] == -2  # é is two bytes, one character
    assert scored.accuracy() == 0
    assert scored.accuracy("character") == 1


def test_of_equals_the_first_is_picked_and_the_share_is_of_the_items():
    scored = made_up([[-1.0, -1.0], [-2.0, -1.0]], [(" a", " b")] * 2, [0, 0])
    assert scored.picks().tolist() == [0, 1]
    assert scored.right().tolist() == [True, False]
    assert scored.accuracy() == 0.5
    assert math.isnan(made_up([], [], []).accuracy())


def test_a_normalisation_that_is_not_there_is_refused():
    scored = made_up([[-1.0, -2.0]], [(" a", " b")], [0])
    with pytest.raises(ValueError, match=r"score\(unconditional=True\)"):
        scored.values("unconditional")
    with pytest.raises(ValueError, match=r"'length'.*sum, character"):
        scored.picks("length")


def test_an_item_that_cannot_be_scored_is_told_and_the_rest_is_scored(tokenizer, text_model, capsys):
    long = Item("long", "the cat", (" on", " mat. a man" * 30), 0)
    cut = Item("cut", "the hat " * 40, (" on", " a hat"), 0)
    scored = score(text_model, tokenizer, Task("mixed", (ITEMS[0], long, cut), "choice"))
    assert [item.id for item in scored.task.items] == ["a", "cut"]
    assert len(scored.left_out) == len(scored.cut) == 1
    assert scored.left_out[0].startswith("mixed, item long: a choice has ")
    assert scored.cut[0].startswith("mixed, item cut: the context loses its first ")
    assert capsys.readouterr().err.splitlines() == [*scored.left_out, *scored.cut]
    assert scored.logprobs[0] == pytest.approx(
        score(text_model, tokenizer, Task("one", ITEMS[:1], "choice")).logprobs[0]
    )
    pair = encode_pair(tokenizer, cut.context, cut.choices[1])
    assert scored.logprobs[1][1] == pytest.approx(alone(text_model, *pair)[0], abs=1e-4)


def test_a_task_that_is_answered_in_writing_is_refused(tokenizer, text_model):
    with pytest.raises(ValueError, match=r"answers"):
        score(text_model, tokenizer, Task("written", ITEMS, "text"))


@pytest.mark.slow
def test_the_pretrained_model_on_real_items(fetched, monkeypatch):
    monkeypatch.setattr(prefixes, "WORTH", 32)
    model, tokenizer = fetched(pretrained.load)
    task = tasks.few_shot(fetched(tasks.load, "step_inference", 3), 2)
    scored = score(model.float(), tokenizer, task)
    for item, found in zip(task.items, scored.logprobs, strict=True):
        texts = [item.context + choice for choice in item.choices]
        for text, value in zip(texts, found, strict=True):
            ids, start = tokenizer.encode(text), len(tokenizer.encode(item.context))
            with torch.inference_mode():
                logits = model(torch.tensor([ids[:-1]]))[0, start - 1 :].log_softmax(-1)
            expected = logits.gather(-1, torch.tensor(ids[start:])[:, None]).sum().item()
            assert value == pytest.approx(expected, abs=1e-4)
    both = loglikelihoods(model, tokenizer, [(task.items[0].context, choice) for choice in task.items[0].choices])
    assert [one.logprob for one in both] == pytest.approx(scored.logprobs[0], abs=1e-4)
