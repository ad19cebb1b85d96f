"""compare_builds.py SITE OTHER: what differs between two built sites, by kind, and whether each kind has a reason.

Two clones of one commit give the same pages, apart from what was measured while the labs ran. A line that differs is
taken apart: each kind below is a pattern, and a kind explains a line when both sides are equal once it is blanked out.
A difference that no kind explains is printed, and the exit status is 1.
"""

import json
import re
import sys
import zlib
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from pathlib import Path

NUMBER = r"(?<![\w.])[-+−]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[-+]?\d+)?"
KINDS = {  # in this order: the narrow ones first
    "pair of times not as predicted": rf"[^\n<>]*was to take {NUMBER} times as long as [^\n<>]*, took {NUMBER}\n?",
    "operators by the time that they took": r"\b14-operators-[^\n]*\(percent\)",
    # With a minute that a run just took or just did not.
    "number in the search index": r"(?m)^(?:title)?terms (?:\S*\d\S*|min): .*\n?",
    "settings, paths among them, as one number": r"^config: [0-9a-f]{32}$",
    "day": r"\b20\d\d-\d\d-\d\d\b",
    "commit": r"\bcommit [0-9a-f]{12}(?:-dirty)?",
    "figure of a measurement, named by its bytes": r"\b[0-9a-f]{64}\.(?:svg|png)",
    "memory": rf"{NUMBER} ?(?:kB|MB|GB|bytes)\b",
    "time": rf"(?:{NUMBER} min )?{NUMBER} ?(?:ns|µs|ms|s|min|h|seconds?|minutes?)\b",
    "rate": rf"{NUMBER} ?(?:[kMGT]?B/s|[GT]?FLOP/s|tokens? (?:per second|a second)|tokens?/s|J/token)",
    "other number that a lab measured": NUMBER,
}
GOES = ("pair of times not as predicted", "number in the search index")  # of these, one side may have more
PATTERNS = {name: re.compile(pattern) for name, pattern in KINDS.items()}
UNEXPLAINED = "no reason known"
NAMED_BY_BYTES = re.compile(r"^_images/[0-9a-f]{64}\.(svg|png)$")


def read(path: Path) -> list[str] | bytes:
    """A text file's lines, else its bytes. The search index gives a line an entry."""
    raw = path.read_bytes()
    if path.name == "objects.inv":
        header, _, body = raw.rpartition(b"zlib.\n")
        raw = header + zlib.decompress(body)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
    if path.name == "searchindex.js":
        index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
        return [f"{part} {entry}" for part in index for entry in _entries(index[part])]
    return text.splitlines()


def _entries(part) -> list[str]:
    return [f"{key}: {value}" for key, value in part.items()] if isinstance(part, dict) else [str(part)]


def kinds(one: str, other: str, measured: bool) -> list[str]:
    """The kinds that together make two lines equal; numbers of no other kind count where a lab measures."""
    used = []
    if measured:  # columns are as wide as their numbers
        one, other = (re.sub(" +", " ", text) for text in (one, other))
    for name, pattern in PATTERNS.items():
        if name.startswith("other number") and not measured:
            continue
        if pattern.findall(one) != pattern.findall(other):
            used.append(name)
        one, other = (pattern.sub("" if name in GOES else "□", text) for text in (one, other))
        if one.strip() == other.strip():
            return used
    return [UNEXPLAINED]


def blanked(line: str) -> str:
    """What is left of a line without all that may differ: lines that say the same, so that they meet."""
    for pattern in PATTERNS.values():
        line = pattern.sub("□", line)
    return re.sub(" +", " ", line)


def differences(one: Path, other: Path, name: str):
    """(kinds, the two texts) for each place in which two files differ."""
    mine, theirs = read(one / name), read(other / name)
    if mine == theirs:
        return
    if isinstance(mine, bytes) or isinstance(theirs, bytes):
        yield [UNEXPLAINED], f"{len(mine)} bytes", f"{len(theirs)} bytes"
        return
    same = SequenceMatcher(None, *([blanked(line) for line in lines] for lines in (mine, theirs)), autojunk=False)
    for tag, a, b, c, d in same.get_opcodes():
        left, right = mine[a:b], theirs[c:d]
        for pair in zip(left, right) if tag == "equal" else [("\n".join(left), "\n".join(right))]:
            if pair[0] != pair[1]:
                yield kinds(*pair, measured=name.startswith("labs/")), *pair


def compare(one: Path, other: Path) -> tuple[dict[str, Counter], list[str]]:
    """kind -> file -> places, and a line for each difference without a reason."""
    names = [{p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()} for site in (one, other)]
    found, unexplained = defaultdict(Counter), []
    for name in sorted(names[0] ^ names[1]):
        if NAMED_BY_BYTES.match(name):
            found["figure of a measurement, named by its bytes"][name] += 1
        else:
            found[UNEXPLAINED][name] += 1
            unexplained.append(f"{name}: only in {one if name in names[0] else other}")
    for name in sorted(names[0] & names[1]):
        for why, left, right in differences(one, other, name):
            for kind in why:
                found[kind][name] += 1
            if UNEXPLAINED in why:
                unexplained.append(f"{name}\n  - {left[:300]}\n  + {right[:300]}")
    return found, unexplained


def main(one: Path, other: Path) -> int:
    found, unexplained = compare(one, other)
    for line in unexplained:
        print(line)
    differ = {name for files in found.values() for name in files}
    print(f"== {sum(1 for path in one.rglob('*') if path.is_file()) - len(differ)} files are equal, byte for byte")
    for kind in [*KINDS, UNEXPLAINED]:
        if files := found.get(kind):
            print(f"{kind}: {files.total()} places in {len(files)} files, most in {files.most_common(1)[0][0]}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
