"""Right answers to lab 07's exercises, written otherwise than the lab's."""

import re
from itertools import combinations

import numpy as np
from datatrove.pipeline.filters.gopher_quality_filter import STOP_WORDS
from datatrove.utils.text import PUNCTUATION_SET


def runs_by_counting_down(words, n):
    seen, total, skip = set(), 0, 0
    for run in zip(*(words[i:] for i in range(n))):
        if skip:
            skip -= 1
        elif run in seen:
            total, skip = total + len("".join(run)), n - 1
        else:
            seen.add(run)
    return total


def runs_by_recursion(words, n, seen=frozenset()):
    for i in range(len(words) - n + 1):
        run = tuple(words[i : i + n])
        if run in seen:
            return sum(len(word) for word in run) + runs_by_recursion(words[i + n :], n, seen)
        seen = seen | {run}
    return 0


def heuristics_by_list(tokens):
    words = [token for token in tokens if set(token) - set(PUNCTUATION_SET)]
    letters = [token for token in tokens if re.search(r"[^\W\d_]", token)]
    rules = [
        ("short_doc", lambda: len(words) < 50),
        ("below_avg_threshold", lambda: len("".join(words)) < 3 * len(words)),
        ("above_avg_threshold", lambda: len("".join(words)) > 10 * len(words)),
        ("below_alpha_threshold", lambda: len(letters) / len(tokens) < 0.8),
        ("enough_stop_words", lambda: len(set(tokens).intersection(STOP_WORDS)) < 2),
    ]
    return next((name for name, holds in rules if holds()), None)


def heuristics_by_loop(tokens):
    words = characters = letters = 0
    stops = []
    for token in tokens:
        if any(character not in PUNCTUATION_SET for character in token):
            words, characters = words + 1, characters + len(token)
        letters += any(map(str.isalpha, token))
        if token in STOP_WORDS and token not in stops:
            stops.append(token)
    if words < 50:
        return "short_doc"
    if characters / words < 3:
        return "below_avg_threshold"
    if characters / words > 10:
        return "above_avg_threshold"
    if letters / len(tokens) < 0.8:
        return "below_alpha_threshold"
    if len(stops) < 2:
        return "enough_stop_words"


def shingles_by_zip(text, n):
    words = re.findall(r"\w+", text.lower())
    return set(zip(*(words[i:] for i in range(n))))


def shingles_by_loop(text, n):
    found, last = set(), []
    for match in re.finditer(r"\w+", text):
        last = [*last, match[0].lower()][-n:]
        if len(last) == n:
            found.add(tuple(last))
    return found


def jaccard_by_sizes(one, other):
    shared = sum(element in other for element in one)
    return shared / (len(one) + len(other) - shared) if one or other else 0.0


def jaccard_by_difference(one, other):
    together = one.union(other)
    if not together:
        return 0
    return 1 - len(one ^ other) / len(together)


def signature_by_loop(hashes, a, b, prime):
    orders = zip(a.tolist(), b.tolist())
    return np.array([min((h * by + plus) % int(prime) for h in hashes.tolist()) for by, plus in orders], np.uint64)


def signature_by_rows(hashes, a, b, prime):
    table = np.add(np.multiply.outer(a, hashes), b[:, None])
    return np.remainder(table, prime).min(axis=1)


def candidates_by_pair(signatures, bands):
    found = set()
    for i, j in combinations(range(len(signatures)), 2):
        same = np.split(signatures[i] == signatures[j], bands)
        if any(band.all() for band in same):
            found.add((i, j))
    return found


def candidates_at_once(signatures, bands):
    cut = signatures.reshape(len(signatures), bands, -1)
    agree = (cut[:, None] == cut[None]).all(-1).any(-1)
    return {(int(i), int(j)) for i, j in np.argwhere(np.triu(agree, 1))}


def overlap_by_word(words, seen, n):
    def lies_in_a_run(place):
        starts = range(max(0, place - n + 1), min(place, len(words) - n) + 1)
        return any(tuple(words[i : i + n]) in seen for i in starts)

    return np.mean([lies_in_a_run(place) for place in range(len(words))]) if words else 0.0


def overlap_by_set(words, seen, n):
    runs = enumerate(zip(*(words[i:] for i in range(n))))
    covered = {place for i, run in runs if run in seen for place in range(i, i + n)}
    return len(covered) / len(words) if words else 0


RIGHT = {
    "07/repeated_runs": [runs_by_counting_down, runs_by_recursion],
    "07/heuristics": [heuristics_by_list, heuristics_by_loop],
    "07/shingles": [shingles_by_zip, shingles_by_loop],
    "07/jaccard": [jaccard_by_sizes, jaccard_by_difference],
    "07/signature": [signature_by_loop, signature_by_rows],
    "07/candidates": [candidates_by_pair, candidates_at_once],
    "07/overlap": [overlap_by_word, overlap_by_set],
}
