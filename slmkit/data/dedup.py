"""Deduplication: near-duplicate documents by MinHash, and lines that the documents share, with datatrove's blocks.

Both are steps of a pipeline (slmkit.data.pipeline) that need all documents at once, so they cut it in two: what lies
before writes the documents and their signatures, what lies behind leaves out what the signatures gave away.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmkit.checks import is_number, positive

if TYPE_CHECKING:
    from datatrove.data import Document

NUMBERED_LINES = 2**16 - 1  # datatrove counts the lines of a document in two bytes


def collision_probability(similarity: float, buckets: int = 14, hashes_per_bucket: int = 8) -> float:
    """How likely two documents of that Jaccard similarity share a bucket: 1 − (1 − s^r)^b.

    One MinHash agrees with probability s (Broder 1997); all r of a bucket with s^r; none of b buckets with (1 − s^r)^b
    (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, Section 3.4).
    """
    if not (is_number(similarity) and 0 <= similarity <= 1):
        raise ValueError(f"similarity is {similarity!r}; it must be a number from 0 to 1")
    positive("buckets", buckets)
    positive("hashes_per_bucket", hashes_per_bucket)
    return 1 - (1 - similarity**hashes_per_bucket) ** buckets


@dataclass(frozen=True)
class MinHash:
    """Of near-duplicate documents, those whose word n-grams agree in a bucket of MinHashes, one is kept.

    The defaults are FineWeb's (Penedo et al. 2024, Section 3.4): 14 buckets of 8 hashes over 5-grams, which find half
    of the pairs of similarity 0.69. A document of fewer than `n_grams` words has no n-gram and is always kept.
    """

    n_grams: int = 5
    buckets: int = 14
    hashes_per_bucket: int = 8
    seed: int = 1

    name = "minhash"

    def __post_init__(self):
        for field in ("n_grams", "buckets", "hashes_per_bucket", "seed"):
            positive(field, getattr(self, field))

    def config(self):
        from datatrove.pipeline.dedup.minhash import MinhashConfig

        return MinhashConfig(
            n_grams=self.n_grams, num_buckets=self.buckets, hashes_per_bucket=self.hashes_per_bucket, seed=self.seed
        )

    def signature(self, folder: Path | str) -> list:
        """The blocks that end the pass before: datatrove's stage 1."""
        return [signer(self, f"{folder}/signatures")]

    def between(self, folder: Path | str) -> list[tuple[str, int, list]]:
        """Passes of their own, each a title, its number of tasks, its blocks: a task a bucket, then one that joins."""
        from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster

        config, signatures = self.config(), f"{folder}/signatures"
        pairs, drop = f"{folder}/pairs", f"{folder}/drop"
        return [
            ("buckets", self.buckets, [MinhashDedupBuckets(signatures, pairs, config=config, lines_to_buffer=1000)]),
            ("clusters", 1, [MinhashDedupCluster(pairs, drop, config=config, lines_to_buffer=1000)]),
        ]

    def block(self, folder: Path | str, exclusion_writer=None):
        """The block that begins the pass behind: datatrove's stage 4."""
        from datatrove.pipeline.dedup import MinhashDedupFilter

        return MinhashDedupFilter(f"{folder}/drop", exclusion_writer=exclusion_writer)


@dataclass(frozen=True)
class Lines:
    """Of lines that are the same in several places, all but the first are cut; a document with none left is dropped.

    Same means: same words, after datatrove's normalization of case, punctuation and numbers. A run of repeated lines
    with fewer than `min_words` words stays, so that code keeps its brackets and a play its speakers.
    """

    min_words: int = 5

    name = "lines"

    def __post_init__(self):
        positive("min_words", self.min_words)

    def config(self):
        from datatrove.pipeline.dedup import SentDedupConfig

        return SentDedupConfig(
            n_sentences=1, split_sentences=False, min_doc_words=0, min_num_sentences=0,
            min_words_to_remove_span=self.min_words,
        )  # fmt: skip

    def signature(self, folder: Path | str) -> list:
        from datatrove.pipeline.dedup import SentenceDedupSignature

        block = SentenceDedupSignature(f"{folder}/signatures", config=self.config())
        block.tokenizer = English()
        return [numbered_lines, block]

    def between(self, folder: Path | str) -> list[tuple[str, int, list]]:
        from datatrove.pipeline.dedup import SentenceFindDedups

        blocks = [SentenceFindDedups(f"{folder}/signatures", f"{folder}/drop", config=self.config(),
                                     lines_to_buffer=1000)]  # fmt: skip
        return [("lines", 1, blocks)]

    def block(self, folder: Path | str, exclusion_writer=None):
        from datatrove.pipeline.dedup import SentenceDedupFilter

        block = SentenceDedupFilter(f"{folder}/drop", config=self.config(), exclusion_writer=exclusion_writer)
        block.tokenizer = English()
        return block


def numbered_lines(data: Iterator["Document"], rank: int = 0, world_size: int = 1) -> Iterator["Document"]:
    """The documents with as many lines as can be numbered: what lies behind is not compared, and stays."""
    from dataclasses import replace

    for document in data:
        lines = document.text.splitlines()
        yield document if len(lines) <= NUMBERED_LINES else replace(document, text="\n".join(lines[:NUMBERED_LINES]))


class English:
    """datatrove's tokenizer, looked up where it is used: blocks travel without it, and a process loads it once."""

    def word_tokenize(self, text: str) -> list[str]:
        from datatrove.utils.word_tokenizers import load_word_tokenizer

        return load_word_tokenizer("en").word_tokenize(text)


def signer(settings: MinHash, folder: Path | str):
    """The block that makes signatures."""
    from datatrove.pipeline.dedup import MinhashDedupSignature

    block = MinhashDedupSignature(str(folder), config=settings.config())
    block.word_tokenizer = English()
    return block


# -- a few documents, in this process


def minhash_clusters(texts: Sequence[str], **options) -> list[list[int]]:
    """The groups of two or more near-duplicates, as places in `texts`; the options are those of MinHash.

    datatrove's signatures and its rule (a pair is found when a bucket agrees, pairs join into groups), without files.
    """
    block, root = signer(MinHash(**options), "unused"), list(range(len(texts)))
    first_with = [{} for _ in range(block.config.num_buckets)]

    def top(place: int) -> int:
        while root[place] != place:
            root[place] = place = root[root[place]]
        return place

    for place, text in enumerate(texts):
        hashed = block.get_shingles(text)
        for known, bucket in zip(first_with, block.get_signature(hashed) if len(hashed) else ()):
            a, b = sorted((top(known.setdefault(tuple(bucket), place)), top(place)))
            root[b] = a
    groups = defaultdict(list)
    for place in range(len(texts)):
        groups[top(place)].append(place)
    return [group for group in groups.values() if len(group) > 1]


def shingles(text: str, n_grams: int = 5) -> set[int]:
    """The hashed word n-grams of a text, as datatrove takes them: their overlap is what MinHash estimates."""
    return set(signer(MinHash(n_grams), "unused").get_shingles(text).ravel().tolist())
