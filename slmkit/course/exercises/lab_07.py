"""Checkers of lab 07, filtering and deduplication."""

import re

import numpy as np

from slmkit.course.checking import Wrong, call, compare, exercise

POOL = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "theta", "iota", "kappa", "lambda", "sigma", "omega")


@exercise("07/repeated_runs")
def repeated_runs(answer):
    run = ["to", "be", "or", "not"]
    words = [*run, "that", "is", *run, *run, "so"]
    size = sum(map(len, run))
    compare(call(answer, list(words), 4), 2 * size, "a run of four words that comes twice more", {
        "the first occurrence counts too; only those that came before are repetitions": 3 * size,
        "those are runs; their characters are asked for": 2,
        "those are words; their characters are asked for": 8,
        "spaces between the words are counted; leave them out": 2 * (size + 3),
        "a repeated run counts once only; each time that it comes again counts": size,
        "that is a share of all characters; return their number": 2 * size / sum(map(len, words)),
        "after a run that is new go on one word later, not n words": 0,
    })  # fmt: skip
    compare(call(answer, ["ha"] * 7, 2), 12, "seven times the same word of two letters, in runs of two", {
        "behind a repeated run go on after its last word, else its words count more than once": 20,
        "the last run is left out; it starts at len(words) - n": 8,
    })  # fmt: skip
    compare(call(answer, ["a", "b", "x", "a", "b"], 2), 2, "a run of two words at the end", {
        "the last run is left out; it starts at len(words) - n": 0,
        "the first occurrence counts too; only those that came before are repetitions": 4,
    })  # fmt: skip
    compare(call(answer, ["x", "a", "b", "b", "a"], 2), 0, "the runs (a, b) and (b, a)", {
        "a run is the same in the same order only": 2})  # fmt: skip
    compare(call(answer, ["ab", "c", "a", "bc"], 2), 0, "the runs (ab, c) and (a, bc)", {
        "two runs are the same when their words are, not when their letters are": 3})  # fmt: skip
    compare(call(answer, ["short"], 3), 0, "fewer words than n")


REASONS = {
    "short_doc": "fewer than 50 words; punctuation is no word",
    "below_avg_threshold": "a mean length below 3",
    "above_avg_threshold": "a mean length above 10",
    "below_alpha_threshold": "a letter in fewer than 80% of the tokens",
    "enough_stop_words": "fewer than two different stop words",
}
FIRST = "two reasons hold; the first in the order is asked for"


@exercise("07/heuristics")
def heuristics(answer):
    plain, stops = [POOL[i % len(POOL)] for i in range(60)], ["the", "of"]
    cases = [
        ([*plain, *stops], None, "62 words of a text", {}),
        ([*plain[:38], *stops], "short_doc", "40 words", {}),
        ([*plain[:38], *stops, *["."] * 6, *["—"] * 4], "short_doc", "40 words and 10 of punctuation", {
            None: "punctuation is counted as words; a document needs 50 words besides"}),
        ([*plain[:48], *stops], None, "50 words", {"short_doc": "50 words are enough; fewer are too short"}),
        ([*["a", "an", "it"] * 20, *stops], "below_avg_threshold", "words of one or two letters", {
            "above_avg_threshold": "those words are short, not long: the two reasons have changed places"}),
        ([*["the", "of"] * 40, *["........"] * 12], "below_avg_threshold", "words of 2.5 letters, and signs of eight", {
            None: "punctuation is counted in the mean length; only words are"}),
        ([*["incomprehensible"] * 60, *stops], "above_avg_threshold", "words of 16 letters", {
            "below_avg_threshold": "those words are long, not short: the two reasons have changed places"}),
        ([*plain, *stops, *["1848"] * 20], "below_alpha_threshold", "82 tokens, 20 of them numbers", {
            None: "a token without a letter is no word of a language: fewer than 80% of these have one"}),
        ([*plain, *stops, *[","] * 20], "below_alpha_threshold", "82 tokens, 20 of them commas", {
            None: "the share is of all tokens, punctuation included"}),
        ([*plain, *stops, *["b2"] * 20], None, "20 of 82 tokens with a letter and a digit", {
            "below_alpha_threshold": "one letter in a token is enough"}),
        ([*plain, "the", "the"], "enough_stop_words", "one stop word, twice", {
            None: "a stop word that comes twice is one; two different ones are needed"}),
        ([*plain, *stops, "to"], None, "three stop words", {"enough_stop_words": "two different ones are enough"}),
        (["!", *["1"] * 50, *POOL], "below_avg_threshold", "numbers of one digit, no stop word", {
            "below_alpha_threshold": FIRST, "enough_stop_words": FIRST}),
        ([*["1848"] * 30, *plain], "below_alpha_threshold", "many numbers and no stop word", {
            "enough_stop_words": FIRST}),
    ]  # fmt: skip
    for tokens, right, what, mistakes in cases:
        got = answer(list(tokens))
        if got == right:
            continue
        if isinstance(got, bool):
            raise Wrong(f"the result is {got}; the reason is asked for, or None when the text stays")
        if isinstance(got, str) and got.startswith("gopher_"):
            raise Wrong("leave out gopher_; the lab puts it before your reasons")
        if got is not None and got not in REASONS:
            raise Wrong(f"{got!r} is none of the reasons {', '.join(REASONS)}")
        told = mistakes.get(got) or (
            f"{right} asks for {REASONS[right]}" if right else f"{got} asks for {REASONS[got]}"
        )
        raise Wrong(f"{what} give {got}; it should be {right}: {told}")


@exercise("07/shingles")
def shingles(answer):
    text = "The king, the KING is dead; the king's dead"
    words = ["the", "king", "the", "king", "is", "dead", "the", "king", "s", "dead"]

    def runs(words=words, n=2, step=1, last=0):
        return {tuple(words[i : i + n]) for i in range(0, len(words) - n + 1 + last, step)}

    right, got = runs(), call(answer, text, 2)
    if isinstance(got, list | tuple):
        raise Wrong("that is a list; a set is asked for, in which a run that comes twice is there once")
    if not isinstance(got, set | frozenset):
        raise Wrong(f"the result is of type {type(got).__name__}; a set of tuples is asked for")
    if got and not all(isinstance(run, tuple) for run in got):
        raise Wrong("the runs are not tuples of words; do not join them")
    mistakes = {
        "The and the are two words for it; take the text in lower case": runs(re.findall(r"\w+", text)),
        "commas and semicolons stick to the words; take what \\w+ finds": runs(text.lower().split()),
        "the last run is missing; it starts at len(words) - n": runs(last=-1),
        "behind the last whole run come shorter ones; they are no shingles": runs(last=1),
        "each run begins one word after the last one, not n words": runs(step=2),
        "those are runs of characters; words are asked for": {tuple(text.lower()[i : i + 2]) for i in range(42)},
        "those are single words; runs of n words are asked for": runs(n=1),
        "those are runs of n + 1 words": runs(n=3),
        "the words of a run are sorted; their order counts": {tuple(sorted(run)) for run in right},
    }
    for message, value in mistakes.items():
        if got == value:
            raise Wrong(message)
    if got != right:
        raise Wrong(
            f"the runs of two words of {text!r} are {len(right)}; missing {right - got}, too many {got - right}"
        )
    if call(answer, text, 3) != runs(n=3):
        raise Wrong("runs of three words are wrong; is n used?")
    if call(answer, "one two", 3) != set():
        raise Wrong("a text of fewer than n words has no shingle; the set is empty")


@exercise("07/jaccard")
def jaccard(answer):
    one, other = set("abcdefg"), set("efghijklm")
    compare(call(answer, set(one), set(other)), 3 / 13, "7 and 9 elements, 3 of them shared", {
        "that is what they share over the smaller set (overlap); divide by all that they have": 3 / 7,
        "that is what they share over the larger set; divide by all that they have": 3 / 9,
        "shared elements count twice in your total; all that they have are 13, not 16": 3 / 16,
        "that is Dice's coefficient, twice the shared over the sum; divide the shared by all that they have": 6 / 16,
        "that is the distance, one minus the similarity": 10 / 13,
        "that is the number of shared elements; divide by all that they have": 3,
        "you divided by what they do not share; divide by all that they have": 3 / 10,
    })  # fmt: skip
    compare(call(answer, set(one), set(one)), 1.0, "a set and itself")
    compare(call(answer, set(), set()), 0.0, "two empty sets")
    compare(call(answer, set(one), set()), 0.0, "a set and an empty one")


@exercise("07/signature")
def signature(answer):
    rng = np.random.default_rng(0)
    prime = np.uint64(10007)
    h, (a, b) = rng.integers(0, prime, (7, 1), np.uint64), rng.integers(1, prime, (2, 5), np.uint64)
    table = (h * a + b) % prime
    mistakes = {
        "that is the greatest number of each order; the least is asked for": table.max(0),
        "that is the least of each shingle; for each order the least over all shingles is asked for": table.min(1),
        "the remainder comes before the least; else every order is that of h": (h * a + b).min(0) % prime,
        "the remainder by the prime is missing; without it every order is that of h": (h * a + b).min(0),
        "b is missing": (h * a % prime).min(0),
        "b is added before the product; it comes after": ((h + b) * a % prime).min(0),
        "a is missing; without it every order is nearly that of h": ((h + b) % prime).min(0),
        "a and b have changed places": ((h * b + a) % prime).min(0),
        "that is the place of the least; the number itself is asked for": table.argmin(0),
        "that is one number; each order has its own least": table.min(),
    }
    got = call(answer, h[:, 0].copy(), a.copy(), b.copy(), prime)
    compare(np.asarray(got).astype(np.int64), table.min(0).astype(np.int64), "the signature of 7 shingles in 5 orders",
            {message: value.astype(np.int64) for message, value in mistakes.items()})  # fmt: skip


@exercise("07/candidates")
def candidates(answer):
    rows = np.array([[1, 2, 3, 4, 5, 6], [1, 2, 9, 8, 7, 9], [7, 2, 3, 8, 5, 8], [9, 9, 3, 4, 8, 7],
                     [3, 4, 1, 2, 8, 8], [1, 2, 8, 9, 0, 0], [6, 4, 2, 1, 5, 7], [6, 4, 2, 3, 9, 6],
                     [3, 0, 1, 0, 8, 1]], np.uint64)  # fmt: skip
    got = call(answer, rows.copy(), 3)
    right = {(0, 1), (0, 3), (0, 5), (1, 5), (6, 7)}
    try:
        got = {tuple(int(i) for i in pair) for pair in got}
    except TypeError:
        raise Wrong(f"the result is of type {type(got).__name__}; a set of pairs (i, j) is asked for") from None
    if got == right:
        return _no_pair(answer)

    def agree(rule, parts=3):
        return _pairs(rows, lambda x, y: any(rule(p, q) for p, q in zip(np.split(x, parts), np.split(y, parts))))

    mistakes = {
        "pairs that share a single number are there; all numbers of a band must agree":
            agree(lambda p, q: (p == q).any()),
        "only pairs that agree in all bands are there; one band is enough": _pairs(rows, np.array_equal),
        "a band is compared with other bands too; keep its place in the signature with it":
            _pairs(rows, lambda x, y: any((p == q).all() for p in np.split(x, 3) for q in np.split(y, 3))),
        "bands are taken as numbers that lie 3 apart; a band is a run of neighbours":
            _pairs(rows, lambda x, y: any((x[i::3] == y[i::3]).all() for i in range(3))),
        "that is with bands of 3 numbers; `bands` is how many bands there are": agree(np.array_equal, 2),
        "the order of the numbers in a band does not count for you; it does":
            agree(lambda p, q: (np.sort(p) == np.sort(q)).all()),
        "each pair is there twice; i < j": right | {(j, i) for i, j in right},
        "the pairs are the wrong way round; i < j": {(j, i) for i, j in right},
        "a document is a pair with itself; i < j": right | {(i, i) for i in range(len(rows))},
        "of a group that agrees only neighbours are paired; every two are a pair": right - {(0, 5)},
        "of a group that agrees only the first is paired with the others; every two are a pair": right - {(1, 5)},
        "those are pairs that agree in half of the numbers or more; bands are asked for":
            _pairs(rows, lambda x, y: (x == y).mean() >= 0.5),
        "only the first band is compared": right - {(0, 3)},
    }  # fmt: skip
    for message, value in mistakes.items():
        if got == value:
            raise Wrong(message)
    raise Wrong(f"the pairs are {sorted(got)}; they should be {sorted(right)}")


def _no_pair(answer):
    if call(answer, np.arange(12, dtype=np.uint64).reshape(2, 6), 2):
        raise Wrong("signatures without a common number make a pair")


def _pairs(rows, agree):
    return {(i, j) for j in range(len(rows)) for i in range(j) if agree(rows[i], rows[j])}


@exercise("07/overlap")
def overlap(answer):
    words, seen = list("abcdefghijklmn"), {tuple(run) for run in ("bcd", "cde", "def", "lmn", "axh")}
    compare(call(answer, list(words), set(seen), 3), 8 / 14, "14 words of which b c d e f and l m n lie in seen runs", {
        "that is the share of runs that were seen; the share of words in them is asked for": 4 / 12,
        "a word that lies in two seen runs is counted twice": 12 / 14,
        "only the first word of each seen run is counted; all n of them are covered": 4 / 14,
        "the last run is left out; it starts at len(words) - n": 5 / 14,
        "that is the number of words; divide by len(words)": 8,
        "that is whether any run was seen; the share of the words is asked for": 1.0,
        "single words are looked for in the runs; whole runs must be seen": 10 / 14,
        "runs are taken n words apart; each begins one word after the last": 3 / 14,
        "that is the share of words that lie in no seen run": 6 / 14,
    })  # fmt: skip
    compare(call(answer, list("abcd"), {("a", "b")}, 2), 0.5, "four words, in runs of two")
    compare(call(answer, list("ab"), set(seen), 3), 0.0, "fewer words than n")
    compare(call(answer, [], set(seen), 3), 0.0, "no words")
