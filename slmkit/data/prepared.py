"""A corpus, or several, with a tokenizer and packed tokens, made on first use and kept under `build/`."""

import hashlib
import os
import shutil
from collections.abc import Mapping

import psutil
import tokenizers

from slmkit.data.corpora import Corpus, load
from slmkit.data.packing import TokenData, open_row, pack_corpus
from slmkit.data.tokenizer import Tokenizer
from slmkit.paths import build_folder


def prepare(corpus: str | Corpus, vocab_size: int) -> tuple[Tokenizer, TokenData]:
    """A byte-level BPE tokenizer of `vocab_size` trained on the corpus's training part, and both parts in its tokens.

    `corpus` is a Corpus, or what `corpora.load` takes.
    """
    tokenizer, data = prepare_together({"": corpus}, vocab_size)
    return tokenizer, data[""]


def prepare_together(
    corpora: Mapping[str, str | Corpus], vocab_size: int | Tokenizer
) -> tuple[Tokenizer, dict[str, TokenData]]:
    """The same for several corpora by name, with one tokenizer: trained on all of them, or one that is given.

    Kept in a folder named by a digest of texts, vocabulary size and the tokenizer library's version, so that a changed
    text is never answered with old tokens.
    """
    loaded = {name: load(corpus) if isinstance(corpus, str) else corpus for name, corpus in corpora.items()}
    given = vocab_size if isinstance(vocab_size, Tokenizer) else None
    wanted = given.digest if given else vocab_size
    digest = hashlib.sha256(f"{wanted} {tokenizers.__version__} by corpus".encode())
    for corpus in loaded.values():
        for part in (corpus.train, corpus.held_out):
            for text in (*part, ""):
                digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    names = "+".join(corpus.name for corpus in loaded.values())
    folder = build_folder() / "data" / f"{names}-{given.vocab_size if given else vocab_size}-{digest.hexdigest()[:12]}"
    if not folder.exists():
        # Each process prepares in a folder of its own; the first one to finish gives it the name.
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        for left in folder.parent.glob(f"{folder.name}.*.partial"):  # by a process that was killed
            if left == partial or not psutil.pid_exists(int(left.suffixes[-2][1:])):
                shutil.rmtree(left, ignore_errors=True)
        tokenizer = given or Tokenizer.train((text for corpus in loaded.values() for text in corpus.train), vocab_size)
        for i, corpus in enumerate(loaded.values()):
            pack_corpus(corpus, tokenizer, partial / str(i))
        tokenizer.save(partial / "tokenizer.json")
        try:
            partial.replace(folder)
        except OSError:
            if not folder.exists():
                raise
            shutil.rmtree(partial)
    data = {
        name: TokenData(*(open_row(folder / str(i) / f"{part}.safetensors") for part in ("train", "held_out")))
        for i, name in enumerate(loaded)
    }
    return Tokenizer.load(folder / "tokenizer.json"), data
