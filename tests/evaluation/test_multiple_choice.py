"""The scorer against reading every sequence alone, without cache, batch or padding; and against lm-eval's splitting."""

import math

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
from slmkit.evaluation.prefixes import grow
from slmkit.evaluation.tasks import Item, Task
from slmkit.model.cache import KVCache
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


token = st.integers(0, 2)  # three different tokens, so that sequences often begin alike
pair_of_ids = st.tuples(st.lists(token, min_size=1, max_size=30), st.lists(token, min_size=1, max_size=6))
pairs_of_ids = st.lists(pair_of_ids, min_size=1, max_size=12)


@settings(max_examples=60)
@given(
    pairs_of_ids,
    st.sampled_from(sorted(KINDS)),
    st.sampled_from([1, 2, 3, 16]),
    st.booleans(),
    st.sampled_from([1, 2, 5, 128]),
)
def test_every_pair_gets_what_it_gets_alone(pairs, kind, batch_size, shared, part):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiple_choice, "PART", part)
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
    monkeypatch.setattr(
        model, "hidden", lambda ids, *args, **tree: read.append(ids.numel()) or hidden(ids, *args, **tree)
    )
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


@pytest.mark.parametrize(("batch_size", "expected"), [(1, [13, 12]), (2, [24, 1]), (9, [24, 1])])
def test_a_pass_reads_no_more_than_a_batch_or_than_the_context(monkeypatch, batch_size, expected):
    """The tree has 12 tokens and 13 behind them, the longest sequence 13, the model's context 24."""
    model, passes = decoder(vocab=20), []
    read = model.hidden
    monkeypatch.setattr(
        model, "hidden", lambda ids, *args, **tree: passes.append(ids.shape[1]) or read(ids, *args, **tree)
    )
    token_loglikelihoods(model, [([1] * 11 + [2, i], [3]) for i in range(4, 17)], batch_size=batch_size)
    assert passes == expected


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


# -- the tree


sequences = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9).map(tuple), max_size=20)


@settings(max_examples=200)
@given(sequences, st.booleans())
def test_a_tree_has_every_beginning_once(rows, shared):
    tree = grow(rows, shared)
    assert sorted(tree.ends) == sorted(set(rows)) == list(tree.ends)
    for ids, end in tree.ends.items():
        way = tree.way(end, len(ids))
        assert tuple(tree.tokens[place] for place in way) == ids
        assert [tree.depths[place] for place in way] == list(range(len(ids)))
        assert [tree.parents[place] for place in way] == [-1, *way[:-1]]
    beginnings = {ids[:n] for ids in rows for n in range(1, len(ids) + 1)}
    assert len(tree.tokens) == (len(beginnings) if shared else sum(map(len, set(rows))))


@settings(max_examples=60)
@given(sequences, st.integers(1, 12), st.data())
@torch.inference_mode()
def test_each_token_sees_its_way_and_is_read_once(rows, most, data):
    model, tree, done = MODELS["window"], grow(rows), 0
    wanted = data.draw(st.sets(st.integers(0, max(len(tree.tokens) - 1, 0)))) if rows else []
    for part in prefixes.read(model, tree, wanted, most):
        assert part.start == done
        assert len(part.sees) <= most
        assert part.places.tolist() == sorted(i for i in wanted if done <= i < done + len(part.sees))
        for i, sees in enumerate(part.sees, part.start):
            way = tree.way(i, tree.depths[i] + 1)
            alone = KVCache(model.config, 1, len(way))
            hidden = model.hidden(torch.tensor([[tree.tokens[place] for place in way]]), alone)[0, -1]
            for found in part.hidden[part.places == i]:
                torch.testing.assert_close(found, hidden, atol=1e-5, rtol=0)
            for stores, expected in zip(part.cache.layers, alone.layers, strict=True):
                torch.testing.assert_close(stores[0][:, :, : len(sees)][:, :, sees], expected[0], atol=1e-5, rtol=0)
        done += len(part.sees)
    assert done == len(tree.tokens)


@settings(max_examples=60)
@given(sequences, st.integers(1, 4), st.integers(0, 3), st.sampled_from([1, 4000, 2**28]))
@torch.inference_mode()
def test_batches_are_as_large_as_they_may_be(rows, batch_size, room, most):
    model, token = MODELS["alibi"], kv_cache_bytes(MODELS["alibi"].config, 1, torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefixes, "CACHE_BYTES", most)
        found = list(prefixes.read_rows(model, rows, batch_size, room))
    assert [ids for batch in found for ids in batch.sequences] == sorted(set(rows))
    for batch, following in zip(found, [*found[1:], None]):
        longest, count = max(map(len, batch.sequences)), len(batch.sequences)
        assert (batch.cache.length, batch.cache.capacity) == (longest, longest + room)
        assert count == 1 or (count <= batch_size and count * (longest + room) * token <= most)
        if following and count < batch_size:
            longest = max(longest, len(following.sequences[0]))
            assert (count + 1) * (longest + room) * token > most


def test_a_sequence_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match="25 tokens is longer than the model's max_context of 24"):
        next(prefixes.read(MODELS["alibi"], grow([(1,) * 25]), [24]))


def test_a_chain_of_prefixes_is_no_problem():
    assert len(grow([(1,) * n for n in range(1, 1200)]).tokens) == 1199


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


@settings(max_examples=300)
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
def test_the_pretrained_model_on_real_items(fetched):
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
