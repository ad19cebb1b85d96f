"""Rough documents out of clean ones, by damage of known kinds, so that a filter's precision and recall can be measured.

The kinds are what the filters of large web corpora were written against: boilerplate (Raffel et al. 2020, C4),
repetition and machine noise (Rae et al. 2021, Gopher), text that was decoded wrongly, other languages, near-duplicates
(Lee et al. 2022). Each is a function of a text and a random.Random; how much is damaged is drawn anew each time.
"""

import base64
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from slmkit.checks import is_number

MENU = ("Home", "About us", "Contact", "Login", "Register", "Sitemap", "Archive", "Search", "FAQ", "Shop", "Newsletter")
LINES = (
    "Click here to read more...", "This site uses cookies. By continuing to browse you accept our use of cookies.",
    "Share on Facebook | Share on Twitter | Email this page", "Please enable JavaScript to view the comments.",
    "Subscribe to our newsletter!", "Read our privacy policy and terms of use.", "© All rights reserved.",
    "You must be logged in to post a comment.", "Sponsored content", "Back to top ↑", "Next page »", "« Previous page",
    "0 comments", "Posted in Uncategorized", "Sign up now and get 20% off your first order!", "Advertisement",
)  # fmt: skip
LANGUAGES = ("fr", "es", "pt_BR", "ca", "gl", "sq")  # in Latin letters, and with enough sentences in the catalogues


class Rough(NamedTuple):
    """A document, what was done to it (nothing: ()), and which of the clean documents it was made from."""

    text: str
    kinds: tuple[str, ...]
    source: int


def passages(documents: Sequence[str], words: int = 250) -> list[str]:
    """Each document cut between paragraphs into pieces of at least `words` words; a shorter rest is left out."""
    pieces = []
    for document in documents:
        piece: list[str] = []
        for paragraph in document.split("\n\n"):
            piece.append(paragraph.strip())
            if sum(len(one.split()) for one in piece) >= words:
                pieces.append("\n\n".join(piece))
                piece = []
    return pieces


def boilerplate(text: str, rng: random.Random) -> str:
    """The menus, notes and links of a web page between the paragraphs: as many lines as 0.5 to 2 for each of them."""
    made = ["\n".join(rng.sample(MENU, rng.randint(4, 8)))]
    for paragraph in text.split("\n\n"):
        made.append(paragraph)
        made += rng.sample(LINES, rng.choice((0, 1, 1, 2)))
    return "\n\n".join([*made, "\n".join(rng.sample(LINES, rng.randint(4, 8)))])


def encoding(text: str, rng: random.Random) -> str:
    """Letters that were lost on the way: typographic quotes and accents in UTF-8 read as Latin-1, or as unknown bytes.

    English text has few letters outside ASCII, so 1% to 8% of its letters get an accent first, as if it had them.
    """
    share, accented = rng.uniform(0.01, 0.08), dict(zip("aceiounyAEIOU", "àçéïôüñÿÀÉÎÖÛ"))
    text = text.replace("'", "’").replace(' "', " “").replace('"', "”")
    text = "".join(accented[c] if c in accented and rng.random() < share else c for c in text)
    if rng.random() < 0.5:
        return text.encode().decode("latin-1")
    return text.encode("cp1252", "replace").decode("ascii", "replace")


def repetition(text: str, rng: random.Random) -> str:
    """One paragraph, or one sentence on a line of its own, repeated until it makes up 30% to 80% of the text."""
    share, parts = rng.uniform(0.3, 0.8), [part for part in text.split("\n\n") if part.strip()] or [text]
    again = rng.choice(parts)
    sentences = [sentence for sentence in again.split(". ") if len(sentence) > 20]
    if sentences and rng.random() < 0.5:
        again = rng.choice(sentences)
    times = max(2, round(share / (1 - share) * len(text) / max(len(again), 1)))
    place = rng.randrange(len(parts) + 1)
    return "\n\n".join([*parts[:place], *[again] * times, *parts[place:]])


def noise(text: str, rng: random.Random) -> str:
    """What machines write, for 30% to 80% of the paragraphs: hex dumps, base64, log lines, numbers in columns."""
    share, write = rng.uniform(0.3, 0.8), rng.choice((_hex_dump, _base64, _log, _numbers))
    parts = text.split("\n\n")
    lost = set(rng.sample(range(len(parts)), max(1, round(share * len(parts)))))
    return "\n\n".join(write(len(part), rng) if i in lost else part for i, part in enumerate(parts))


def language(text: str, rng: random.Random) -> str:
    """Another language in its place, about as long: sentences of real translators, from Sphinx's message catalogues.

    Real French, Spanish, Portuguese, Catalan, Galician or Albanian, but short sentences on one subject, in no order.
    """
    sentences, made = _catalogue(rng.choice(LANGUAGES)), []
    while sum(map(len, made)) < len(text):
        made.append(" ".join(rng.sample(sentences, min(4, len(sentences)))))
    return "\n\n".join(made)


def edited(text: str, rng: random.Random, share: float | None = None) -> str:
    """A near-duplicate: that share of the words (2% to 20% if not given) left out, or replaced by others."""
    share = rng.uniform(0.02, 0.2) if share is None else share
    words = text.split(" ")
    for i in rng.sample(range(len(words)), round(share * len(words))):
        words[i] = rng.choice(words) if rng.random() < 0.5 else ""
    return " ".join(word for word in words if word)


def alike(one: str, other: str, similarity: float, n: int = 5) -> str:
    """A text whose runs of n words have about that Jaccard similarity with those of `one`: its beginning, then `other`.

    Of the m runs of two texts of one length k are shared when k / (2m - k) is the similarity. `other` needs as many
    words as `one` for that.
    """
    words = one.split()
    runs = len(words) - n + 1
    kept = round(2 * similarity * runs / (1 + similarity)) + n - 1
    return " ".join([*words[:kept], *other.split()[: len(words) - kept]])


KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "boilerplate": boilerplate, "encoding": encoding, "repetition": repetition, "noise": noise, "language": language,
}  # fmt: skip
CLEAN, DUPLICATE = "clean", "duplicate"


def roughen(
    documents: Sequence[str], seed: int = 0, shares: Mapping[str, float] | None = None, duplicates: float = 0.0
) -> list[Rough]:
    """Damages a share of the documents in each way of KINDS, adds near-duplicates, and puts all into random order.

    `shares`: the share of the documents for each kind (0.1 each if not given); a document gets one kind at most, what
    is left stays clean. `duplicates`: how many edited copies are added, as a share of the documents; a copy bears the
    kinds of its document and "duplicate". The same seed gives the same documents. Raises ValueError for an unknown
    kind or shares that do not fit.
    """
    shares = dict.fromkeys(KINDS, 0.1) if shares is None else shares
    for kind in shares.keys() - KINDS.keys():
        raise ValueError(f"there is no damage {kind!r}; it is one of {', '.join(KINDS)}")
    for name, share in (*shares.items(), ("duplicates", duplicates)):
        if not (is_number(share) and share >= 0):
            raise ValueError(f"the share of {name} is {share!r}; it must be a number of at least 0")
    if sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"the shares sum to {sum(shares.values()):.2f}; a document is damaged in one way at most")
    rng = random.Random(seed)
    order = rng.sample(range(len(documents)), len(documents))
    made, start = {i: Rough(documents[i], (), i) for i in order}, 0.0
    for kind, share in shares.items():
        for i in order[round(start * len(order)) : round((start + share) * len(order))]:
            made[i] = Rough(KINDS[kind](documents[i], rng), (kind,), i)
        start += share
    rough = list(made.values())
    for _ in range(round(duplicates * len(documents))):
        text, kinds, source = made[rng.choice(order)]
        rough.append(Rough(edited(text, rng), (*kinds, DUPLICATE), source))
    rng.shuffle(rough)
    return rough


def found(documents: Sequence[Rough], gone: Sequence[bool]) -> dict[str, float]:
    """What a filter that throws away the documents that are `gone` finds: its precision and recall, taking every
    damaged document as one to throw away, and the share thrown away of the clean ones and of each kind."""
    rows: dict[str, list[bool]] = {}
    for document, away in zip(documents, gone, strict=True):
        for kind in document.kinds or (CLEAN,):
            rows.setdefault(kind, []).append(bool(away))
    damaged = [bool(document.kinds) for document, away in zip(documents, gone) if away]
    shares = {kind: sum(away) / len(away) for kind, away in rows.items()}
    return shares | {"precision": sum(damaged) / max(len(damaged), 1),
                     "recall": sum(damaged) / max(sum(bool(document.kinds) for document in documents), 1)}  # fmt: skip


# -- what machines write, of about `length` characters


def _hex_dump(length: int, rng: random.Random) -> str:
    rows = [f"{16 * i:08x}  {rng.randbytes(16).hex(' ')}" for i in range(1 + length // 57)]
    return "\n".join(rows)


def _base64(length: int, rng: random.Random) -> str:
    return base64.encodebytes(rng.randbytes(3 * length // 4 + 1)).decode().strip()


def _log(length: int, rng: random.Random) -> str:
    rows = []
    for _ in range(1 + length // 70):
        time = f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}Z"
        source, code = f"[{rng.choice(('INFO', 'WARN'))}] worker-{rng.randint(1, 32)}", rng.choice((200, 304, 404))
        rows.append(f"{time} {source} GET /{rng.randbytes(4).hex()} {code} {rng.randint(1, 900)}ms")
    return "\n".join(rows)


def _numbers(length: int, rng: random.Random) -> str:
    rows = ["\t".join(f"{rng.uniform(0, 1e4):.2f}" for _ in range(6)) for _ in range(1 + length // 47)]
    return "\n".join(rows)


@cache
def _catalogue(name: str) -> list[str]:
    """The sentences of Sphinx's messages in a language; those with a place to fill in are left out."""
    import gettext
    from importlib.util import find_spec

    found = find_spec("sphinx")
    path = Path(found.origin).parent / "locale" / name / "LC_MESSAGES" / "sphinx.mo" if found else None
    if not (path and path.is_file()):
        raise OSError("text in other languages comes from Sphinx's message catalogues; install the package sphinx")
    with open(path, "rb") as file:
        messages = gettext.GNUTranslations(file)._catalog
    texts = (" ".join(text.split()) for key, text in messages.items() if key and text != key)
    return sorted({text for text in texts if "%" not in text and "{" not in text and len(text.split()) >= 6})
