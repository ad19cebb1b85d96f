"""Deduplication: MinHash keeps its statistical promise, groups are right, numbers are checked."""

import random
from itertools import combinations
from math import sqrt

import pytest

from slmkit.data.dedup import Lines, MinHash, collision_probability, minhash_clusters, numbered_lines, shingles
from slmkit.profiling.bench_data import pair_of_similarity

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


def similarity(a: str, b: str, n_grams: int = 5) -> float:
    first, second = shingles(a, n_grams), shingles(b, n_grams)
    return len(first & second) / len(first | second)


def test_the_collision_probability_is_that_of_the_formula():
    assert collision_probability(0.8) == pytest.approx(0.924, abs=5e-4)  # the figure in datatrove's source
    assert collision_probability(0) == 0
    assert collision_probability(1, 3, 2) == 1
    assert collision_probability(0.5, 1, 1) == 0.5
    assert collision_probability(0.5, 2, 1) == 0.75
    assert collision_probability(0.5, 1, 2) == 0.25


def test_as_many_pairs_are_found_as_the_theory_says():
    """Of pairs of one similarity, the share found is the formula's, to within four standard errors."""
    rng, pairs, options = random.Random(0), 60, dict(buckets=6, hashes_per_bucket=3)
    for wanted in (0.3, 0.55, 0.8):
        texts = [text for _ in range(pairs) for text in pair_of_similarity(wanted, 60, WORDS, rng, n_grams=2)]
        reached = [similarity(*texts[2 * i : 2 * i + 2], 2) for i in range(pairs)]
        assert sum(reached) / pairs == pytest.approx(wanted, abs=0.02)
        expected = sum(collision_probability(one, **options) for one in reached) / pairs
        groups = [set(group) for group in minhash_clusters(texts, n_grams=2, **options)]
        found = sum(any({2 * i, 2 * i + 1} <= group for group in groups) for i in range(pairs))
        assert abs(found / pairs - expected) < 4 * sqrt(expected * (1 - expected) / pairs) + 0.01, wanted


def test_unrelated_documents_are_not_grouped_and_copies_are():
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=60)) for _ in range(40)]
    copies = [texts[3].upper() + "!", texts[3], texts[7].replace(" ", "\n")]
    assert sorted(map(sorted, minhash_clusters([*texts, *copies]))) == [[3, 40, 41], [7, 42]]
    assert minhash_clusters(["two words", "two words"]) == []  # no 5-gram, so nothing to compare


def test_what_is_alike_through_a_third_is_one_group():
    rng = random.Random(2)
    words = [rng.choice(WORDS) for _ in range(300)]
    chain = [" ".join(words[start : start + 200]) for start in (0, 8, 16)]
    assert minhash_clusters(chain, buckets=40, hashes_per_bucket=2) == [[0, 1, 2]]
    assert all(similarity(a, b) < 1 for a, b in combinations(chain, 2))


def test_documents_of_more_lines_than_can_be_numbered_are_compared_in_part():
    from datatrove.data import Document

    long, short = Document("a\n" * 70_000, "1"), Document("a\nb", "2")
    cut = list(numbered_lines(iter([long, short])))
    assert [len(one.text.splitlines()) for one in cut] == [2**16 - 1, 2]
    assert len(long.text.splitlines()) == 70_000  # the document itself is left alone


@pytest.mark.parametrize(("make", "says"), [
    (lambda: MinHash(buckets=0), "buckets is 0"),
    (lambda: MinHash(n_grams=1.5), "n_grams is 1.5"),
    (lambda: Lines(min_words=0), "min_words is 0"),
    (lambda: collision_probability(1.2), "similarity is 1.2"),
    (lambda: collision_probability(0.5, hashes_per_bucket=0), "hashes_per_bucket is 0"),
])  # fmt: skip
def test_numbers_that_cannot_be(make, says):
    with pytest.raises(ValueError, match=says):
        make()
