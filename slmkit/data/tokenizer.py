"""Byte-level BPE: any text to token ids and back, exactly. The `tokenizers` library does the work."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
BYTES = 256


class Tokenizer:
    """Text to ids and back. Every Unicode string survives the round trip, because the smallest tokens are bytes.

    `end_of_text` is the id that separates documents. No text can produce it: "<|endoftext|>" written inside a document
    is encoded as ordinary characters.
    """

    def __init__(self, backend: tokenizers.Tokenizer, end_of_text: int):
        self.backend, self.end_of_text = backend, end_of_text
        backend.encode_special_tokens = True  # treat the names of special tokens in a text as text

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Byte-pair encoding (Sennrich et al. 2016) on `texts`: merges the most frequent pair until the vocabulary,
        256 bytes and one separator included, has `vocab_size` entries, or fewer when a small text runs out of pairs."""
        if vocab_size <= BYTES:
            raise ValueError(f"vocab_size is {vocab_size}; 256 bytes and one separator need at least {BYTES + 1}")
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(map(_encodable, texts), trainer)
        if backend.get_vocab_size() == BYTES + 1 < vocab_size:
            raise ValueError("there is no text to train a tokenizer on: not one pair of characters to merge")
        return cls(backend, backend.token_to_id(END_OF_TEXT))

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size()

    @property
    def digest(self) -> str:
        """Names this vocabulary and its merges: two tokenizers with one digest encode alike."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()[:16]

    def encode(self, text: str) -> list[int]:
        return self.backend.encode(_encodable(text), add_special_tokens=False).ids

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, encoded in parallel."""
        texts = [_encodable(text) for text in texts]
        return [encoded.ids for encoded in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`. A sequence cut inside a character shows the replacement character there."""
        ids = [int(i) for i in ids]
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            raise ValueError(
                f"token ids run from {min(ids)} to {max(ids)}; the tokenizer has 0 to {self.vocab_size - 1}"
            )
        return self.backend.decode(ids, skip_special_tokens=False)

    def save(self, path: str | Path):
        Path(path).write_text(self.backend.to_str(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Reads what `save` wrote (the JSON format of the `tokenizers` library)."""
        try:
            backend = tokenizers.Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no tokenizer at {path}") from None
        except Exception as error:
            raise ValueError(f"{path} is not a tokenizer file: {error}") from None
        if (end := backend.token_to_id(END_OF_TEXT)) is None:
            raise ValueError(f"the tokenizer at {path} has no {END_OF_TEXT} token to separate documents")
        return cls(backend, end)


def _encodable(text: str) -> str:
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} is a lone surrogate (U+{ord(text[error.start]):04X}), half of a character; "
            "read the file as UTF-8 with errors='replace'"
        ) from None
