"""The survey's thirteen open pre-training sets, streamed through the `datasets` library.

hub.csv says for each what it is called there, which column holds the text, on what terms, how large it is, and what
became of it. Only parquet and JSON lines are read; `datasets` 4 and later run no code that comes with a data set.
"""

import csv
import os
import socket
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from gzip import BadGzipFile
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from slmkit.data.corpora import Corpus, by_text
from slmkit.paths import build_folder

# What a folder of the reader's own may hold, by the end of a name: the reader of `datasets` for it.
READERS = {".parquet": "parquet", ".jsonl": "json", ".jsonl.gz": "json"}


@dataclass(frozen=True)
class Entry:
    """A row of hub.csv. Of a set that is "elsewhere", `hub_id` and all that follows describe the nearest edition."""

    name: str
    title: str  # as in the survey's table
    status: str  # open, gated (log in and accept terms), or elsewhere (only another edition can be had)
    happened: str
    hub_id: str
    config: str
    folder: str
    split: str
    column: str  # the one that holds the text
    licence: str
    size: str
    nearest_is: str
    verified: str
    source: str

    def part(self, subset: str) -> "Entry":
        """Another part of the same set: a language, a sample, a kind of text."""
        if not (self.config or self.folder):
            raise ValueError(f"{self.name} has one part only; leave out subset={subset!r}")
        return replace(self, **{"config" if self.config else "folder": subset})


@dataclass(frozen=True)
class Stream:
    """Documents of a set one after the other, from its beginning each time. Blank ones are left out, none is kept."""

    name: str
    licence: str
    source: str
    open_rows: Callable[[], Iterable[dict]]
    column: str

    def __iter__(self) -> Iterator[str]:
        """ValueError when a row lacks the column or has no text in it, OSError when the network fails."""
        with _in_one_line(self.name, self.source, self.column):
            for row in self.open_rows():
                if self.column not in row:
                    raise ValueError(
                        f"{self.source} has no column {self.column!r}, where {self.name} has its text; "
                        f"its columns are {', '.join(row)}. Rename the one with the text"
                    )
                text = row[self.column]
                if not isinstance(text, str | None):
                    raise ValueError(f"{self.source}: column {self.column!r} holds {type(text).__name__}, not text")
                if text and text.strip():
                    yield text

    def take(self, documents: int | None) -> Corpus:
        """The first documents (None: all) in memory, one in twelve held out.

        A document's part follows from its text, so it is the same however many are taken, and copies stay together.
        """
        if documents is not None and (not isinstance(documents, int) or documents < 2):
            raise ValueError(f"take({documents!r}): a corpus needs two documents or more, one of them to hold out")
        return by_text(self.name, self.licence, self.source, islice(self, documents))


def entries() -> dict[str, Entry]:
    """The thirteen by name, in the survey's order."""
    with open(Path(__file__).with_name("hub.csv"), encoding="utf-8", newline="") as file:
        return {row["name"]: Entry(**row) for row in csv.DictReader(file)}


def stream(name: str, path: str | Path | None = None, subset: str | None = None, nearest: bool = False) -> Stream:
    """The documents of one of the thirteen sets, from the hub, or from a folder of files with the same columns.

    `subset` picks another part, `nearest` accepts the nearest edition of a set that is gone.
    Raises ValueError, OSError, or PermissionError for a gated set, each with one line that says what to do.
    """
    entry = entries()[name]
    if path is not None:
        if subset or nearest:
            raise ValueError("a folder is read as it is; leave out subset and nearest")
        return Stream(name, entry.licence, str(path), lambda: _from_folder(Path(path)), entry.column)
    if entry.status == "elsewhere" and not nearest:
        raise ValueError(
            f"{entry.title} cannot be had: {entry.happened}. The nearest is {entry.nearest_is}, {entry.hub_id}: "
            f'corpora.load("{name}", streaming=True, nearest=True)'
        )
    if subset:
        entry = entry.part(subset)
    print(announcement(entry), file=sys.stderr, flush=True)
    with _in_one_line(name, entry.hub_id, entry.column):
        rows = _from_hub(entry)
    return Stream(name, entry.licence, entry.hub_id, lambda: rows, entry.column)


def announcement(entry: Entry) -> str:
    """What a reader should know before anything is fetched: what, how much, on what terms."""
    which = " ".join(filter(None, (entry.hub_id, entry.config, entry.folder)))
    what = f"{entry.title}: {entry.nearest_is}, {which}" if entry.nearest_is else f"{entry.title}: {which}"
    gate = "; gated, so log in and accept its terms first" if entry.status == "gated" else ""
    return f"{what}; {entry.size}; licence: {entry.licence}{gate}. Only what is read is fetched."


def _library():
    """`datasets`, told to keep what little it writes inside the build folder."""
    kept = build_folder() / "hub"
    os.environ.setdefault("HF_XET_CACHE", str(kept / "xet"))
    import datasets
    import huggingface_hub

    huggingface_hub.constants.HF_HUB_CACHE = str(kept / "files")
    datasets.config.HF_DATASETS_CACHE = kept / "datasets"
    return datasets


def _from_hub(entry: Entry) -> Iterable[dict]:
    datasets = _library()
    if not getproxies():  # a name that cannot be looked up fails at once; the library would try for half a minute
        socket.getaddrinfo(urlsplit(datasets.config.HF_ENDPOINT).hostname, 443)
    return datasets.load_dataset(
        entry.hub_id, entry.config or None, data_dir=entry.folder or None, split=entry.split, streaming=True
    )


def _from_folder(folder: Path) -> Iterable[dict]:
    if not folder.is_dir():
        raise NotADirectoryError(f"there is no folder {folder}; give one that holds {_endings()} files")
    found = {reader: [] for reader in READERS.values()}
    for file in sorted(folder.rglob("*")):
        for ending, reader in READERS.items():
            if file.name.lower().endswith(ending):
                found[reader].append(str(file))
    kinds = [reader for reader, files in found.items() if files]
    if len(kinds) != 1:
        held = "both parquet and JSON lines" if kinds else f"no {_endings()} file"
        raise ValueError(f"{folder} holds {held}; give a folder with files of one kind")
    return _library().load_dataset(kinds[0], data_files=found[kinds[0]], split="train", streaming=True)


def _endings() -> str:
    return " or ".join(READERS)


@contextmanager
def _in_one_line(name: str, source: str, column: str):
    """Whatever the library, the network or a file says, as one line with the remedy."""
    from datasets import exceptions
    from httpx import HTTPError
    from pyarrow import ArrowException

    own = f'or give a folder of files with the column {column!r}: corpora.load("{name}", path=…)'
    try:
        yield
    except exceptions.DatasetNotFoundError as error:
        if "gated" in str(error):
            raise PermissionError(
                f"{source} is gated: open its page on the hub, accept the terms, run `hf auth login`, try again, {own}"
            ) from None
        raise FileNotFoundError(
            f"{source} is on the hub no longer, or was never there; look for another copy, {own}"
        ) from None
    except (ConnectionError, TimeoutError, HTTPError, socket.gaierror) as error:
        raise ConnectionError(
            f"{source} cannot be reached ({type(error).__name__}): connect to the network and try again, {own}"
        ) from None
    except (exceptions.DatasetsError, ArrowException, UnicodeDecodeError, EOFError, BadGzipFile, zlib.error) as error:
        said = " ".join(str(error.__cause__ or error).split())[:200]
        raise ValueError(f"{source} cannot be read as {name}: {said}; take the file out or make it anew") from None
