"""Packing: documents joined into one long row of tokens on disk, and batches cut from it.

A packed file is a safetensors file of one tensor, memory-mapped when read, so that a corpus larger than memory trains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slmkit.data.corpora import Corpus
from slmkit.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenRow:
    """Tokens of several documents in a row, each document followed by the separator."""

    tokens: Tensor  # [n], integers; on disk, read only where used
    text_bytes: int  # UTF-8 bytes of the documents: what bits per byte divides by
    tokenizer: str  # digest of the tokenizer that made the tokens
    vocab_size: int

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def content(self) -> tuple[Tensor, ...]:
        """All that a batch depends on beside its seed and step; see training/kept.py."""
        return (self.tokens,)

    def batches(self, batch_size: int, context: int, seed: int = 0) -> "Batches":
        return Batches(self, batch_size, context, seed)


class ToTrainOn(Protocol):
    """What batches can be drawn from: a TokenRow, a mixture (mixing.py), or stages of mixtures (training/stages.py)."""

    vocab_size: int
    content: tuple[Tensor, ...]

    def batches(self, batch_size: int, context: int, seed: int = 0): ...


@dataclass(frozen=True)
class TokenData:
    """What `slmkit.train` takes: what to train on, and tokens held out."""

    train: ToTrainOn
    held_out: TokenRow


def pack(documents: Sequence[str], tokenizer: Tokenizer, path: str | Path) -> TokenRow:
    """Encodes `documents`, joins them with the separator, writes `path` (safetensors) and returns it memory-mapped."""
    if not any(documents):
        raise ValueError("there is no text to pack: every document is empty")
    ids = tokenizer.encode_documents(documents)
    row = np.fromiter((i for doc in ids for i in (*doc, tokenizer.end_of_text)), dtype=np.int64)
    tokens = torch.from_numpy(row).to(torch.uint16 if tokenizer.vocab_size <= 2**16 else torch.int32)
    facts = {
        "text_bytes": str(sum(len(text.encode()) for text in documents)),
        "tokenizer": tokenizer.digest,
        "vocab_size": str(tokenizer.vocab_size),
    }
    partial = Path(f"{path}.partial")
    try:
        save_file({"tokens": tokens}, partial, metadata=facts)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"cannot write {path} ({error}); free some space or choose another folder") from None
    return open_row(path)


def open_row(path: str | Path) -> TokenRow:
    """Opens a packed file without reading its tokens into memory."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            return TokenRow(
                file.get_tensor("tokens"), int(facts["text_bytes"]), facts["tokenizer"], int(facts["vocab_size"])
            )
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is not a whole packed token file ({error}); delete it and pack again") from None


def pack_corpus(corpus: Corpus, tokenizer: Tokenizer, folder: str | Path) -> TokenData:
    """Packs both parts of `corpus` into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return TokenData(
        pack(corpus.train, tokenizer, folder / "train.safetensors"),
        pack(corpus.held_out, tokenizer, folder / "held_out.safetensors"),
    )


class Batches:
    """Batches as a function of (seed, step) alone: no state to save, so a resumed run sees what an unbroken one would.

    The row is cut into windows of `context` + 1 tokens that overlap by one. Each epoch visits every window once, in an
    order and from an offset drawn from (seed, epoch).
    """

    def __init__(self, row: TokenRow, batch_size: int, context: int, seed: int = 0):
        if batch_size < 1 or context < 1:
            raise ValueError(f"batch_size = {batch_size} and context = {context} must be at least 1")
        self.row, self.batch_size, self.context, self.seed = row, batch_size, context, seed
        # A window less than fit, so that the offset has room to move.
        self.windows = (len(row) - 1) // context - 1
        if self.windows < batch_size:
            raise ValueError(
                f"{len(row)} tokens are too few for a batch of {batch_size} × {context}; "
                "use more text, a smaller batch or a shorter context"
            )
        self._epoch = None

    def __call__(self, step: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Inputs and targets of `step` (from 0), each [batch_size, context], int64; `part` selects rows."""
        first = step * self.batch_size
        starts = [self._start(i) for i in range(first, first + self.batch_size)[part]]
        windows = torch.stack([self.row.tokens[s : s + self.context + 1] for s in starts]).long()
        return windows[:, :-1], windows[:, 1:]

    def _start(self, i: int) -> int:
        """The first token of the i-th window ever drawn."""
        epoch, place = divmod(i, self.windows)
        if epoch != self._epoch:
            generator = np.random.default_rng((self.seed, epoch))
            self._offset = int(generator.integers(self.context))
            self._order = generator.permutation(self.windows)
            self._epoch = epoch
        return self._offset + int(self._order[place]) * self.context
