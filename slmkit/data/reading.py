"""Documents out of files: .txt, .md, .jsonl, .jsonl.gz and .parquet. What cannot be read is left out, with a reason.

Nothing of more than `limit` bytes is ever held: not a file that is one document, and not a line.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NO_PERMISSION, TOO_LONG, NOT_UTF8 = "no permission", "longer than the limit", "not UTF-8"
NO_COLUMN, NO_TEXT, DAMAGED = "no text column", "no text in it", "damaged file"


class Unreadable(ValueError):
    """Why something is left out: a reason that can be counted, and what exactly is wrong."""

    def __init__(self, reason: str, says: str = ""):
        super().__init__(says or reason)
        self.reason = reason


class Raw(NamedTuple):
    """A document as its file has it, and the share of the file that is read by then."""

    content: bytes | dict | None  # a line of JSON, a row, or None for what is longer than the limit
    done: float


def listing(source: Path) -> tuple[list[tuple[str, int, int]], list[tuple[str, str, str]]]:
    """The files of `source` and below that READERS knows: name, bytes, time; and what is left out: where, why, says.

    Sorted, hidden ones left out; a time is in nanoseconds. `source` may be one file. Raises FileNotFoundError when
    there is none, and ValueError for a file of another kind.
    """
    if source.is_file():
        if not reader(source.name):
            raise ValueError(f"{source} cannot be read; a document lies in a file that ends with {', '.join(READERS)}")
        return [entry(source, source.parent)], []
    if not source.is_dir():
        raise FileNotFoundError(f"there is no folder or file {source}; give one that holds {', '.join(READERS)} files")
    found, closed = [], []

    def refuse(error: OSError):
        reason = NO_PERMISSION if isinstance(error, PermissionError) else DAMAGED
        closed.append((os.path.relpath(error.filename, source), reason, error.strerror))

    for folder, folders, names in os.walk(source, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(folder, name) for name in names if reader(name) and not name.startswith(".")):
            try:
                found.append(entry(path, source))
            except OSError as error:  # a folder whose names can be read and nothing else, a link to nowhere
                refuse(error)
    return sorted(found), sorted(closed)


def entry(path: Path, source: Path) -> tuple[str, int, int]:
    """Name below `source`, bytes, time of the last change in nanoseconds. Raises OSError as `stat` does."""
    about = path.stat()
    return path.relative_to(source).as_posix(), about.st_size, about.st_mtime_ns


def reader(name: str):
    """What reads a file of this name, or None."""
    return next((read for ending, read in READERS.items() if name.lower().endswith(ending)), None)


def raw_documents(path: Path, column: str, limit: int) -> Iterator[Raw]:
    """The documents of a file, not looked into; `column` has the text, and `limit` is in bytes a document.

    Raises Unreadable for the file, or for the rest of it.
    """
    import pyarrow

    try:
        if path.stat().st_size == 0:
            raise Unreadable("empty file")
        yield from reader(path.name)(path, column, limit)
    except PermissionError as error:
        raise Unreadable(NO_PERMISSION, error.strerror) from None
    except (EOFError, zlib.error, pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise Unreadable(DAMAGED, " ".join(str(error).split())[:200]) from None


def text_and_rest(raw: Raw, column: str, limit: int) -> tuple[str, dict]:
    """The text, of `limit` bytes at most, and what else its row holds. Raises Unreadable for this document alone."""
    row = raw.content
    if row is None:
        raise Unreadable(TOO_LONG, f"more than {limit:,} bytes")
    if isinstance(row, bytes):
        row = _json(row)
    if column not in row:
        raise Unreadable(NO_COLUMN, f"there is no {column!r} among {', '.join(row) or 'no columns'}")
    text = row.pop(column)
    text = _decoded(text) if isinstance(text, bytes) else text
    if not isinstance(text, str | None):
        raise Unreadable(NO_COLUMN, f"{column!r} holds {type(text).__name__}, not text")
    if not text or not text.strip():
        raise Unreadable(NO_TEXT)
    if len(text.encode()) > limit:
        raise Unreadable(TOO_LONG, f"more than {limit:,} bytes")
    return text, row


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(NOT_UTF8, f"byte {error.start} is {data[error.start]:#04x}") from None
    if "\0" in text:  # decodes, but is UTF-16 or no text at all
        raise Unreadable(NOT_UTF8, "it has zero bytes")
    return text


def _json(line: bytes) -> dict:
    try:
        row = json.loads(_decoded(line))
        json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is JSON, but no text
    except UnicodeEncodeError:
        raise Unreadable(NOT_UTF8, "it has half a surrogate pair") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise Unreadable("not JSON", str(error)) from None
    if not isinstance(row, dict):
        raise Unreadable("not JSON", f"the line is {type(row).__name__}, not an object with columns")
    return row


# -- one function a kind of file


def _whole(path: Path, column: str, limit: int) -> Iterator[Raw]:
    """A text file is one document."""
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    yield Raw({column: data} if len(data) <= limit else None, 1.0)


def _lines(path: Path, column: str, limit: int) -> Iterator[Raw]:
    """A document a line; the name says whether the file is compressed. Blank lines are none."""
    size = path.stat().st_size
    with open(path, "rb") as plain:
        file = gzip.GzipFile(fileobj=plain) if path.name.lower().endswith(".gz") else plain
        while line := file.readline(limit + 2):
            if len(line) > limit + 1:
                while line and not line.endswith(b"\n"):  # the rest of the long line, piece by piece
                    line = file.readline(2**20)
                yield Raw(None, plain.tell() / size)
            elif line.strip():
                yield Raw(line, plain.tell() / size)


def _rows(path: Path, column: str, limit: int) -> Iterator[Raw]:
    """A document a row. Beside the text, columns of plain values are kept."""
    from pyarrow import large_binary, parquet, types

    with open(path, "rb") as file, parquet.ParquetFile(file) as table:
        schema = table.schema_arrow
        if column not in schema.names:
            raise Unreadable(NO_COLUMN, f"there is no {column!r} among {', '.join(schema.names)}")
        plain = [
            field.name
            for field in schema
            if types.is_string(field.type)
            or types.is_large_string(field.type)
            or types.is_integer(field.type)
            or types.is_floating(field.type)
            or types.is_boolean(field.type)
        ]
        if column not in plain:
            raise Unreadable(NO_COLUMN, f"{column!r} holds {schema.field(column).type}, not text")
        rows = 0
        for batch in table.iter_batches(batch_size=256, columns=plain):
            rows += len(batch)
            place = batch.schema.get_field_index(column)  # as bytes, since nothing has checked that they are UTF-8
            batch = batch.set_column(place, column, batch.column(place).cast(large_binary()))
            for row in batch.to_pylist():
                yield Raw(row, rows / table.metadata.num_rows)


READERS = {".txt": _whole, ".md": _whole, ".jsonl": _lines, ".jsonl.gz": _lines, ".parquet": _rows}
