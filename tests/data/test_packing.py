"""Packed rows hold the documents whole; batches depend on nothing but (seed, step)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from slmkit.data.corpora import Corpus
from slmkit.data.packing import Batches, TokenRow, open_row, pack, pack_corpus
from slmkit.data.tokenizer import Tokenizer

TRAIN, HELD_OUT = ("the cat sat", "", "on the mat 東京", "that is that " * 40), ("a hat ÿ", "the end")


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TRAIN, 280)


def row_of(length: int) -> TokenRow:
    """Each token is its own place, so a batch shows where it was cut."""
    return TokenRow(torch.arange(length, dtype=torch.int32), length, "digest", length)


def documents_in(row: TokenRow, tokenizer: Tokenizer) -> list[str]:
    documents, start = [], 0
    for i, token in enumerate(row.tokens.tolist()):
        if token == tokenizer.end_of_text:
            documents.append(tokenizer.decode(row.tokens[start:i].tolist()))
            start = i + 1
    assert start == len(row), "the row ends with a separator"
    return documents


# -- packing ---------------------------------------------------------------------------------------------------------


def test_each_part_holds_its_documents_and_no_others(tokenizer, tmp_path):
    data = pack_corpus(Corpus("c", "none", "here", TRAIN, HELD_OUT), tokenizer, tmp_path / "made" / "here")
    assert documents_in(data.train, tokenizer) == list(TRAIN)
    assert documents_in(data.held_out, tokenizer) == list(HELD_OUT)
    assert data.train.text_bytes == sum(len(text.encode()) for text in TRAIN)
    assert data.held_out.text_bytes == 8 + 7  # ÿ is two bytes
    for row in (data.train, data.held_out):
        assert (row.tokenizer, row.vocab_size) == (tokenizer.digest, tokenizer.vocab_size)


def test_the_file_reads_back_equal(tokenizer, tmp_path):
    row = pack(TRAIN, tokenizer, tmp_path / "row")
    again = open_row(tmp_path / "row")
    assert torch.equal(row.tokens, again.tokens)
    assert (again.text_bytes, again.tokenizer, again.vocab_size) == (row.text_bytes, row.tokenizer, row.vocab_size)
    assert [p.name for p in tmp_path.iterdir()] == ["row"]  # no half-written file stays behind


def test_tokens_stay_on_disk(tokenizer, tmp_path):
    """What is written into the file after opening shows in the row, so the row was not copied into memory."""
    path = tmp_path / "row"
    row = pack(TRAIN, tokenizer, path)
    before, size = row.tokens.tolist(), path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size - 2)
        file.write(b"\x07\x00")
    assert row.tokens.tolist() == [*before[:-1], 7]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, torch.uint16), (2**16 + 1, torch.int32)])
def test_tokens_take_the_fewest_bytes_that_hold_them(vocab_size, dtype, tmp_path):
    class Large:
        end_of_text, digest = vocab_size - 1, "x"

        def encode_documents(self, documents):
            return [[0, 65535] for _ in documents]

    Large.vocab_size = vocab_size
    row = pack(["a"], Large(), tmp_path / "row")
    assert row.tokens.dtype == dtype
    assert row.tokens.tolist() == [0, 65535, vocab_size - 1]


def test_large_ids_survive_a_batch():
    tokens = torch.from_numpy(np.full(200, 65535, dtype=np.uint16))
    inputs, targets = Batches(TokenRow(tokens, 200, "x", 2**16), 2, 8)(0)
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.min() == targets.min() == 65535


def test_bad_files_are_named(tokenizer, tmp_path):
    path = tmp_path / "row"
    pack(TRAIN, tokenizer, path)
    whole = path.read_bytes()
    for cut in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"row is not a whole packed token file .*pack again"):
            open_row(path)
    for other, facts in (({"tokens": torch.zeros(3)}, None), ({"weight": torch.zeros(3)}, {"text_bytes": "1"})):
        save_file(other, path, metadata=facts)
        with pytest.raises(ValueError, match="not a whole packed token file"):
            open_row(path)
    with pytest.raises(FileNotFoundError):
        open_row(tmp_path / "nothing")


def test_what_cannot_be_packed_is_named(tokenizer, tmp_path):
    for empty in ([], ["", ""]):
        with pytest.raises(ValueError, match="no text to pack"):
            pack(empty, tokenizer, tmp_path / "row")
    with pytest.raises(OSError, match=r"cannot write .*row .*another folder"):
        pack(TRAIN, tokenizer, tmp_path / "no folder" / "row")


def test_a_full_disk_leaves_nothing_behind(tokenizer, tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slmkit.data.packing.save_file", full)
    with pytest.raises(OSError, match=r"cannot write .*No space left.*free some space"):
        pack(TRAIN, tokenizer, tmp_path / "row")
    assert list(tmp_path.iterdir()) == []


# -- batches ---------------------------------------------------------------------------------------------------------

SHAPES = st.tuples(st.integers(60, 400), st.integers(1, 4), st.integers(1, 12), st.integers(0, 5)).filter(
    lambda shape: (shape[0] - 1) // shape[2] - 1 >= shape[1]
)


@given(SHAPES, st.integers(0, 50))
def test_targets_are_the_next_tokens(shape, step):
    length, batch_size, context, seed = shape
    inputs, targets = Batches(row_of(length), batch_size, context, seed)(step)
    assert inputs.shape == targets.shape == (batch_size, context)
    assert torch.equal(inputs + 1, targets)  # in a row of places, the next token is the next place
    assert torch.equal(inputs[:, 1:], inputs[:, :-1] + 1)
    assert targets.max() < length


@given(SHAPES)
def test_an_epoch_visits_every_window_once(shape):
    length, batch_size, context, seed = shape
    batches = Batches(row_of(length), batch_size, context, seed)
    orders = []
    for epoch in range(3):
        drawn = range(epoch * batches.windows, (epoch + 1) * batches.windows)
        starts = [int(batches(i // batch_size)[0][i % batch_size, 0]) for i in drawn]
        offset = min(starts)
        assert 0 <= offset < context
        assert sorted(starts) == [offset + i * context for i in range(batches.windows)]
        # All but the ends is covered: less than a window before the first, less than two behind the last.
        assert length - (max(starts) + context + 1) < 2 * context
        orders.append(starts)
    if batches.windows > 20:
        assert orders[0] != sorted(orders[0])
        assert [s - min(orders[0]) for s in orders[0]] != [s - min(orders[1]) for s in orders[1]]


@given(SHAPES, st.lists(st.integers(0, 60), max_size=6), st.integers(0, 60))
def test_a_batch_depends_on_seed_and_step_alone(shape, asked_before, step):
    length, batch_size, context, seed = shape
    used = Batches(row_of(length), batch_size, context, seed)
    for other in asked_before:
        used(other)
    fresh = Batches(row_of(length), batch_size, context, seed)
    for a, b in zip(used(step), fresh(step), strict=True):
        assert torch.equal(a, b)


@given(SHAPES, st.integers(0, 30))
def test_parts_make_up_the_whole(shape, step):
    """Two processes that each take a part of the batch see, together, what one process sees."""
    length, batch_size, context, seed = shape
    batches = Batches(row_of(length), batch_size, context, seed)
    whole, cut = batches(step), batch_size // 2
    parts = [batches(step, part) for part in (slice(0, cut), slice(cut, None)) if len(range(batch_size)[part])]
    for i in (0, 1):
        assert torch.equal(whole[i], torch.cat([part[i] for part in parts]))


def test_seeds_differ_and_offsets_move():
    firsts = [Batches(row_of(2000), 4, 16, seed)(0)[0] for seed in range(8)]
    assert len({tuple(first.flatten().tolist()) for first in firsts}) == 8
    assert len({int(first[0, 0]) % 16 for first in firsts}) > 3


def test_bad_shapes_are_named():
    for batch_size, context in ((0, 4), (4, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            Batches(row_of(100), batch_size, context)
    with pytest.raises(ValueError, match="100 tokens are too few for a batch of 4 × 30"):
        Batches(row_of(100), 4, 30)
