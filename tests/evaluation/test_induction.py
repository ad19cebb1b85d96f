"""Repeated sequences, what heads attend to, and heads silenced."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import slmkit
from slmkit.evaluation import induction


@pytest.fixture
def model():
    torch.manual_seed(0)
    return slmkit.Decoder(slmkit.ModelConfig(16, 16, 2, 4, 2, max_context=24))


STREAM = induction.Repeats(16, 4, 8)


def test_rows_repeat_a_piece_of_different_tokens():
    ids, periods = STREAM.held_out(50, 24)
    assert set(periods.tolist()) == {4, 5, 6, 7, 8}
    for row, period in zip(ids, periods):
        assert len(set(row[:period].tolist())) == period
        assert torch.equal(row[period:], row[:-period])


def test_batches_depend_on_seed_and_step_and_are_never_held_out():
    first = STREAM.batches(4, 23, seed=1)
    inputs, targets = first(3)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert inputs.shape == (4, 23)
    assert torch.equal(STREAM.batches(4, 23, seed=1)(3, slice(1, 3))[0], inputs[1:3])
    others = [first(4)[0], STREAM.batches(4, 23, seed=2)(3)[0]]
    assert not any(torch.equal(inputs, other) for other in others)
    held = STREAM.held_out(4, 24, seed=1)[0]
    assert not any(torch.equal(held[:, :-1], first(step)[0]) for step in range(4))
    assert not torch.equal(held, STREAM.held_out(4, 24, seed=2)[0])


def test_pieces_that_cannot_be_drawn():
    with pytest.raises(ValueError, match="vocabulary of 7"):
        induction.Repeats(7, 4, 8)


class Copies(torch.nn.Module):
    """Says what stood behind the latest earlier copy of a token, else token 0."""

    def forward(self, ids):
        logits = torch.zeros(*ids.shape, 16)
        for row, tokens in enumerate(ids.tolist()):
            for place, token in enumerate(tokens):
                earlier = [i for i in range(place) if tokens[i] == token]
                logits[row, place, tokens[earlier[-1] + 1] if earlier else 0] = 1
        return logits


def test_what_can_be_known_is_what_a_copying_model_has_right():
    ids, periods = STREAM.held_out(50, 24)
    first, again = induction.accuracy(Copies(), ids, periods)
    assert again == 1
    assert first < 0.3


@pytest.mark.parametrize("options", [{}, {"positions": "alibi"}, {"window": 5}, {"positions": "learned"}])
def test_the_patterns_are_those_of_the_models_own_attention(options):
    config = slmkit.ModelConfig(16, 16, 2, 4, 2, max_context=24, **options)
    torch.manual_seed(1)
    model = slmkit.Decoder(config)
    ids, _ = STREAM.held_out(3, 24)
    values, outputs = [], []
    for block in model.blocks:
        block.attention.v.register_forward_hook(lambda _, __, out: values.append(out))
        block.attention.out.register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0]))
    patterns = induction.attention_patterns(model, ids)
    for pattern, v, out in zip(patterns, values, outputs):
        v = v.view(3, 24, 2, 4).transpose(1, 2).repeat_interleave(2, 1)
        torch.testing.assert_close((pattern @ v).transpose(1, 2).flatten(2), out)
    assert not model.blocks[0].attention._forward_pre_hooks


def test_patterns_of_other_attention_are_refused():
    model = slmkit.Decoder(slmkit.ModelConfig(16, 16, 1, 4, max_context=24, qk_norm="head"))
    with pytest.raises(ValueError, match="qk_norm"):
        induction.attention_patterns(model, torch.zeros(1, 4, dtype=torch.long))


def test_scores_of_heads_written_by_hand():
    ids = torch.tensor([[5, 6, 7, 5, 6, 7, 5]])
    behind, before = torch.zeros(7, 7), torch.eye(7).roll(-1, 1).tril()
    for place, targets in {3: [1], 4: [2], 5: [3], 6: [1, 4]}.items():
        behind[place, targets] = 1 / len(targets)
    pattern = torch.stack([behind, before, torch.full((7, 7), 0.1)])[None]
    # of 4 places with a copy before, one has two places behind it
    assert induction.prefix_matching(pattern, ids).tolist() == pytest.approx([1, 0, 0.125])
    assert induction.previous_token(pattern)[1:].tolist() == pytest.approx([1, 0.1])


def test_a_silenced_head_is_one_without_output_weights(model):
    ids, _ = STREAM.held_out(2, 24)
    with torch.no_grad():
        plain = model(ids)
        with induction.ablated(model, [(1, 2), (0, 0)]):
            silent = model(ids)
        assert torch.equal(model(ids), plain)
        model.blocks[1].attention.out.weight[:, 8:12] = 0
        model.blocks[0].attention.out.weight[:, :4] = 0
        torch.testing.assert_close(model(ids), silent)
    assert not torch.allclose(plain, silent)
    with pytest.raises(ValueError, match="layer 1 has no head 4"), induction.ablated(model, [(0, 1), (1, 4)]):
        pass
    assert not model.blocks[0].attention.out._forward_pre_hooks


def test_what_is_silenced_and_compared(model, monkeypatch):
    matching = torch.tensor([[0.0, 0.1, 0.2, 0.3], [0.9, 0.5, 0.4, 0.8]])
    previous = torch.tensor([[0.7, 0, 0, 0], [0, 0, 0, 0]])
    monkeypatch.setattr(induction, "scores", lambda *_: (matching, previous))
    silent = []

    def ablated(_, heads):
        silent.append(sorted(tuple(map(int, head)) for head in heads))
        return induction.contextmanager(lambda: iter([None]))()

    monkeypatch.setattr(induction, "ablated", ablated)
    made = induction.silence(model, *STREAM.held_out(2, 24), draws=2)
    *drawn, nothing, found, before = silent
    assert (made.heads, nothing, found, before) == (3, [], [(1, 0), (1, 1), (1, 3)], [(0, 0)])
    assert all(len(heads) == 3 and not set(heads) & {*found, *before} for heads in drawn)


def test_the_change_is_read_off_a_curve(model, monkeypatch):
    shares = iter([0.02, 0.05, 0.1, 0.25, 0.6, 0.97])
    monkeypatch.setattr(induction, "accuracy", lambda *_: (0.0, next(shares)))
    watch = induction.Watch(model, STREAM.held_out(2, 24), every=10)
    with pytest.raises(ValueError, match="ask more often"):
        watch.change()
    for steps in range(1, 61):
        watch(SimpleNamespace(losses=[0.0] * steps))
    assert watch.steps == [10, 20, 30, 40, 50, 60]
    # half is right at 50, three quarters of which are 37 steps: the reading at 30 is the last before
    assert watch.change() == (0.1, 0.97, 50, 20)


def test_a_model_that_never_learns_has_no_change(model):
    watch = induction.Watch(model, STREAM.held_out(2, 24), every=1)
    watch.steps, watch.first, watch.again = [1, 2, 3, 4], [0.0] * 4, [0.1, 0.2, 0.3, 0.1]
    assert watch.change() == (0.3, 0.1, 4, 2)


def test_it_trains_through_slmkit(model):
    from slmkit.data.packing import TokenData, TokenRow

    held = STREAM.held_out(4, 24)
    watch = induction.Watch(model, held, every=2)
    row = TokenRow(held[0].flatten(), 96, "", 16)
    config = slmkit.TrainingConfig(4, 4, 23, compile=False, evaluate_tokens=23)
    history = slmkit.train(model, TokenData(STREAM, row), config, on_step=watch, progress=False)
    assert watch.steps == [2, 4]
    assert np.isfinite(history.losses).all()
