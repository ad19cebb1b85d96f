"""A mixture keeps its proportions, reads each source in epochs, and depends on nothing but (seed, step)."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slmkit.data.mixing import Mixture
from slmkit.data.packing import Batches, TokenRow

APART = 10_000  # tokens of source k lie from k * APART on, each its own place


def row_of(source: int, length: int, tokenizer: str = "digest") -> TokenRow:
    return TokenRow(source * APART + torch.arange(length, dtype=torch.int32), length, tokenizer, 10 * APART)


def mixture_of(weights, length: int = 400) -> Mixture:
    return Mixture({f"source {k}": (row_of(k, length + 37 * k), weight) for k, weight in enumerate(weights)})


def drawn(batches, steps: int) -> list[int]:
    """The first token of every row of the first steps."""
    return [int(first) for step in range(steps) for first in batches(step)[0][:, 0]]


WEIGHTS = st.lists(st.one_of(st.floats(0.01, 10), st.integers(1, 5)), min_size=1, max_size=5)


@given(WEIGHTS, st.integers(1, 9), st.integers(0, 5))
def test_proportions_hold_after_every_batch(weights, batch_size, seed):
    batches, counts = mixture_of(weights).batches(batch_size, 8, seed), [0] * len(weights)
    for step in range(30):
        for first in batches(step)[0][:, 0]:
            counts[int(first) // APART] += 1
        rows = (step + 1) * batch_size
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count - rows * weight / sum(weights)) <= len(weights)
        assert [rows * share for share in batches.proportions(step + 1).values()] == pytest.approx(counts)
    far = batches.proportions(10**7)
    assert list(far.values()) == pytest.approx([weight / sum(weights) for weight in weights], abs=1e-6)


def test_proportions_within_a_batch():
    """A half of the weight is half of the rows of each batch, not of the batches."""
    batches = mixture_of((2, 1, 1)).batches(16, 8)
    for step in range(20):
        sources = [int(first) // APART for first in batches(step)[0][:, 0]]
        assert abs(sources.count(0) - 8) <= 1
        assert abs(sources.count(1) - 4) <= 2


@given(WEIGHTS, st.integers(0, 5))
def test_each_source_is_read_in_epochs(weights, seed):
    batches = mixture_of(weights).batches(7, 8, seed)
    places = drawn(batches, 60)
    for k in range(len(weights)):
        own, windows = [place for place in places if place // APART == k], batches.sources[k].windows
        assert batches.epochs(60)[f"source {k}"] == pytest.approx(len(own) / windows)
        for first in range(0, len(own) - windows + 1, windows):
            assert len(set(own[first : first + windows])) == windows, "a window came twice in one epoch"


@given(WEIGHTS, st.lists(st.integers(0, 90), max_size=4), st.integers(0, 90))
def test_a_batch_depends_on_seed_and_step_alone(weights, asked_before, step):
    used, fresh = (mixture_of(weights).batches(4, 8, 3) for _ in range(2))
    for other in asked_before:
        used(other)
    inputs, targets = used(step)
    assert torch.equal(inputs + 1, targets)
    assert inputs.shape == (4, 8)
    assert inputs.dtype == torch.int64
    for a, b in zip((inputs, targets), fresh(step), strict=True):
        assert torch.equal(a, b)
    parts = [used(step, slice(0, 1)), used(step, slice(1, None))]
    assert torch.equal(inputs, torch.cat([part[0] for part in parts]))


def test_one_source_is_read_as_a_row_is():
    row = row_of(0, 500)
    for step in range(40):
        ours, plain = Mixture({"all": (row, 3.0)}).batches(4, 8, 5)(step), Batches(row, 4, 8, 5)(step)
        assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


def test_a_weight_of_zero_draws_nothing_and_seeds_differ():
    mixture = mixture_of((1, 0, 3))
    assert {place // APART for place in drawn(mixture.batches(4, 8), 30)} == {0, 2}
    unread = Mixture({"a": (row_of(0, 400), 1), "empty": (row_of(1, 1), 0)}).batches(4, 8)
    assert unread.proportions(5) == {"a": 1.0}
    assert len({tuple(drawn(mixture.batches(4, 8, seed), 2)) for seed in range(6)}) == 6
    turns = {tuple(place // APART for place in drawn(mixture.batches(4, 8, seed), 2)) for seed in range(9)}
    assert len(turns) > 1, "the seed moves the sources' turns too"
    twins = Mixture({"a": (row_of(0, 400), 1), "b": (row_of(1, 400), 1)}).batches(4, 8)
    places = drawn(twins, 10)
    assert [p for p in places if p < APART] != [p - APART for p in places if p >= APART]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"a": (row_of(0, 99), 1), "b": (row_of(1, 99), -0.5)}, "weight of 'b' is -0.5; it must be 0 or more"),
        ({"a": (row_of(0, 99), float("nan"))}, "weight of 'a' is nan"),
        ({"a": (row_of(0, 99), float("inf"))}, "weight of 'a' is inf"),
        ({"a": (row_of(0, 99), 0), "b": (row_of(1, 99), 0.0)}, r"a source with a weight above 0; it has \['a', 'b'\]"),
        ({}, "it has none"),
        ({"a": (row_of(0, 99), 1), "b": (row_of(1, 99, "other"), 1)}, "different tokenizers .*pack them all with one"),
    ],
)
def test_bad_mixtures_are_named(sources, message):
    with pytest.raises(ValueError, match=message):
        Mixture(sources)


def test_bad_shapes_are_named():
    mixture = Mixture({"long": (row_of(0, 400), 1), "short": (row_of(1, 20), 1)})
    with pytest.raises(ValueError, match=r"source 'short' of the mixture: 20 tokens are too few"):
        mixture.batches(4, 16)
    for batch_size, context in ((0, 4), (4, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            mixture.batches(batch_size, context)


def test_the_content_tells_mixtures_apart():
    row, other = row_of(0, 90), row_of(1, 90)

    def bits(sources):
        return b"".join(part.numpy().tobytes() for part in Mixture(sources).content)

    base = {"a": (row, 1.0), "b": (other, 2.0)}
    cut = {"a": (replace(row, tokens=row.tokens[:-9]), 1.0),
           "b": (replace(other, tokens=torch.cat((row.tokens[-9:], other.tokens))), 2.0)}  # fmt: skip
    others = [base | {"b": (other, 3.0)}, base | {"a": (replace(row, tokens=row.tokens + 1), 1.0)}, cut]
    assert len({bits(sources) for sources in (base, *others)}) == 4
    assert bits(base) == bits({"x": base["a"], "y": base["b"]}), "names change no batch"
