"""Our own blocks of a datatrove pipeline: reading and writing that lose nothing silently, examples, the report.

A block is called with the documents so far, the task's number and how many tasks there are; datatrove asks no more of
it. `stats` is what it counts: datatrove keeps them with the task, so the counts survive a run that is killed.
"""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from slmkit.data.reading import Unreadable, raw_documents, text_and_rest

if TYPE_CHECKING:
    from datatrove.data import Document

RUN = "run.json"  # in the work folder: the source's files, and the settings
SHOWN, EXCERPT = 3, 160  # examples kept for a reason, and their characters
LEFT_OUT_SHOWN = 10  # of what could not be read


class Block:
    """A block that counts."""

    def __init__(self, work: Path | str):
        from datatrove.utils.stats import Stats

        self.work, self.stats = str(work), Stats(type(self).__name__)

    def count(self, what: str, amount: int = 1):
        self.stats[what].update(amount)

    def __repr__(self):
        return type(self).__name__


class Read(Block):
    """Begins the first pass. A task reads every n-th file; of fewer files than tasks, every n-th document of each."""

    def __call__(self, data=None, rank: int = 0, world_size: int = 1) -> Iterator["Document"]:
        from datatrove.data import Document

        run = json.loads(Path(self.work, RUN).read_text(encoding="utf-8"))
        column, limit, files = run["settings"]["column"], run["settings"]["limit"], [name for name, *_ in run["files"]]
        source, left, seen = Path(run["folder"]), Kept(LEFT_OUT_SHOWN), -1
        shared = len(files) < world_size
        mine = files if shared else files[rank::world_size]
        progress = Progress(self.work, rank, len(mine))
        if rank == 0:
            for where, reason, says in run["closed"]:
                self.leave_out(left, "files", reason, {"where": where, "says": says})
        for place, name in enumerate(mine):
            try:
                for number, raw in enumerate(raw_documents(source / name, column, limit)):
                    progress(place + raw.done)
                    seen += 1
                    if shared and seen % world_size != rank:
                        continue
                    try:
                        text, rest = text_and_rest(raw, column, limit)
                    except Unreadable as error:
                        where = {"where": f"{name}, document {number + 1}", "says": str(error)}
                        self.leave_out(left, "documents", error.reason, where)
                        continue
                    self.count("documents")
                    self.count("bytes", len(text.encode()))
                    given = rest.pop("metadata", {})
                    given = given if isinstance(given, dict) else {"metadata": given}
                    yield Document(text, str(rest.pop("id", f"{name}/{number}")), metadata=given | rest)
            except Unreadable as error:
                if not shared or rank == 0:
                    self.leave_out(left, "files", error.reason, {"where": name, "says": str(error)})
        left.save(Path(self.work, "examples", "left_out", f"{rank:05d}.json"))

    def leave_out(self, left: "Kept", what: str, reason: str, example: dict):
        self.count(f"{what} left out: {reason}")
        left.add(f"{what} {reason}", example)


class Reread(Block):
    """Begins a later pass with what the same task wrote at the end of the pass before, in the same order."""

    def __init__(self, work: Path | str, folder: Path | str):
        super().__init__(work)
        self.folder = str(folder)

    def __call__(self, data=None, rank: int = 0, world_size: int = 1) -> Iterator["Document"]:
        from datatrove.data import Document

        path = Path(self.folder, f"{rank:05d}.jsonl")
        if not path.exists():  # that task kept no document
            return
        size, progress = path.stat().st_size, Progress(self.work, rank, 1)
        with open(path, "rb") as file:
            for line in file:
                progress(file.tell() / size)
                row = json.loads(line)
                yield Document(row["text"], row["id"], metadata=row["metadata"])


class Write(Block):
    """Writes the documents to FOLDER/00000.jsonl and so on, one file a task, and hands them on.

    Ending: jsonl, jsonl.gz or parquet. The same documents give the same bytes: no time stands in a gzip file.
    """

    def __init__(self, work: Path | str, folder: Path | str, ending: str = "jsonl"):
        super().__init__(work)
        self.folder, self.ending = str(folder), ending

    def __call__(self, data, rank: int = 0, world_size: int = 1) -> Iterator["Document"]:
        path, file = Path(self.folder, f"{rank:05d}.{self.ending}"), None
        try:
            for document in data:
                if file is None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    file = _Table(path) if self.ending == "parquet" else _Lines(path)
                file.write({"id": document.id, "text": document.text, "metadata": document.metadata})
                self.count("documents")
                self.count("bytes", len(document.text.encode()))
                self.count("words", len(document.text.split()))
                yield document
        finally:
            if file:
                file.close()


class _Lines:
    def __init__(self, path: Path):
        self.plain = self.file = open(path, "wb")  # noqa: SIM115
        if path.suffix == ".gz":
            self.file = gzip.GzipFile("", "wb", 6, self.plain, mtime=0)

    def write(self, row: dict):
        self.file.write(as_json(row).encode() + b"\n")

    def close(self):
        self.file.close()
        self.plain.close()


class _Table:
    """Parquet, of columns that never change: what else a document has is JSON in `metadata`."""

    def __init__(self, path: Path):
        import pyarrow
        from pyarrow import parquet

        self.schema = pyarrow.schema([(name, pyarrow.string()) for name in ("id", "text", "metadata")])
        self.file, self.rows = parquet.ParquetWriter(path, self.schema, compression="zstd"), []

    def write(self, row: dict):
        self.rows.append(row | {"metadata": as_json(row["metadata"])})
        if len(self.rows) == 1000:
            self.flush()

    def flush(self):
        import pyarrow

        self.file.write_table(pyarrow.Table.from_pylist(self.rows, schema=self.schema))
        self.rows = []

    def close(self):
        self.flush()
        self.file.close()


def as_json(value) -> str:
    """JSON in UTF-8; numbers that JSON has no word for, such as NaN, become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None), ensure_ascii=False)


class Kept:
    """The first few examples of each reason."""

    def __init__(self, most: int):
        self.most, self.examples = most, {}

    def add(self, reason: str, example: dict):
        if len(examples := self.examples.setdefault(reason, [])) < self.most:
            examples.append(example)

    def save(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.examples), encoding="utf-8")

    def load(self, folder: Path) -> "Kept":
        """Adds those of all tasks, in their order."""
        for path in sorted(folder.glob("*.json")):
            for reason, examples in json.loads(path.read_text(encoding="utf-8")).items():
                for example in examples:
                    self.add(reason, example)
        return self


class Examples:
    """Stands in for datatrove's exclusion writer: of what a step drops, keeps a few examples a reason.

    `reason`: for the steps that give none of their own.
    """

    def __init__(self, folder: Path | str, reason: str | None = None):
        self.folder, self.reason, self.kept, self.rank = str(folder), reason, Kept(SHOWN), None

    def __enter__(self) -> "Examples":
        return self

    def write(self, document: "Document", rank: int = 0):
        text, self.rank = " ".join(document.text.split()), rank
        start = max(text.find(">>>"), 0)  # where datatrove marks a line that it cut out
        reason = self.reason or document.metadata.get("filter_reason", "dropped")
        self.kept.add(reason, {"id": document.id, "text": text[start : start + EXCERPT]})

    def __exit__(self, *_):
        if self.rank is not None:
            self.kept.save(Path(self.folder, f"{self.rank:05d}.json"))


class Progress:
    """Tells how far a task is, in a file that whoever draws the bar looks at."""

    def __init__(self, work: str, rank: int, whole: float):
        self.path, self.whole, self.next = Path(work, "progress", f"{rank:05d}"), max(whole, 1), 0.0
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, done: float):
        if (now := time.monotonic()) >= self.next:
            self.next = now + 0.3
            self.path.write_text(f"{done / self.whole:.4f}")
