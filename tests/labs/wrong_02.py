"""Plausible wrong answers to lab 02's exercises: for each, what it gets told."""

import math
from collections import Counter
from itertools import pairwise

from slmkit.course.exercises.lab_02 import joined


def counted(words, pairs=pairwise, times=lambda word, times: times, change=lambda pair: pair):
    seen = Counter()
    for word, n in words.items():
        for pair in pairs(word):
            seen[change(pair)] += times(word, n)
    return seen


def apart(word):
    """Pairs of equal kind that do not overlap."""
    found, i = [], 0
    while i + 1 < len(word):
        found.append(word[i : i + 2])
        i += 2
    return found


def across(words):
    text = [token for word in words for token in (*word, None)]
    times = [n for word, n in words.items() for _ in (*word, None)]
    seen = Counter()
    for (a, b), n in zip(pairwise([t for t in text if t]), [n for t, n in zip(text, times) if t]):
        seen[a, b] += n
    return seen


def twice(word, pair):
    """Goes on with the token that it has just merged."""
    done = [word[0]]
    for token in word[1:]:
        if (done[-1], token) == pair or (len(done[-1]) > 1 and set(done[-1]) == {token} == set("".join(pair))):
            done[-1] += token
        else:
            done.append(token)
    return tuple(done)


def overlapping(word, pair):
    done, i = [], 0
    while i < len(word):
        found = word[i : i + 2] == pair
        done.append("".join(pair) if found else word[i])
        i += 1 + (found and word[i + 1 : i + 3] != pair)
    return tuple(done)


def from_the_right(word, pair):
    return tuple(token[::-1] for token in joined(tuple(t[::-1] for t in word[::-1]), tuple(t[::-1] for t in pair[::-1]))
                 )[::-1]  # fmt: skip


def first_only(word, pair):
    for i, found in enumerate(pairwise(word)):
        if found == pair:
            return (*word[:i], "".join(pair), *word[i + 2 :])
    return word


def kept_half(word, pair):
    return tuple("".join(pair) if word[i : i + 2] == pair else token for i, token in enumerate(word))


def either_order(word, pair):
    done, i = [], 0
    while i < len(word):
        found = word[i : i + 2] in (pair, pair[::-1])
        done.append("".join(pair) if word[i : i + 2] == pair else word[i])
        i += 2 if found and word[i : i + 2] == pair else 1
    return tuple(done)


def unjoined(word, pair):
    done, i = [], 0
    while i < len(word):
        found = word[i : i + 2] == pair
        done.append(pair if found else word[i])
        i += 2 if found else 1
    return tuple(done)


def as_text(word, pair):
    """Replaces in a text with spaces between tokens, without a look at where tokens begin and end."""
    return tuple(" ".join(word).replace(" ".join(pair), "".join(pair)).split(" "))


def lossy(word, pair):
    return tuple("".join(pair) for found in pairwise(word) if found == pair)


def short(word, pair):
    merged = joined(word, pair)
    return merged[:-1]


def learned(words, vocabulary, size, key=None, again=True, count=lambda words: counted(words), least=1):
    place, merges, seen = {token: i for i, token in enumerate(vocabulary)}, [], None
    key = key or (lambda seen, place: lambda p: (-seen[p], place[p[0]], place[p[1]]))
    while len(place) < size:
        seen = count(words) if again or seen is None else seen
        if not seen:
            break
        best = min(seen, key=key(seen, place))
        if not again:
            seen = Counter({pair: n for pair, n in seen.items() if pair != best})
        merges.append(best)
        place.setdefault("".join(best), len(place))
        words = {joined(word, best): n for word, n in words.items()} if again else words
    return merges


def endless(words, vocabulary, size):
    merges = learned(words, vocabulary, size)
    return [*merges, *[merges[-1]] * (size - len(vocabulary) - len(merges))]


def rarest(seen, place):
    return lambda p: (seen[p], place[p[0]], place[p[1]])


def last_of_equals(seen, place):
    return lambda p: (-seen[p], -place[p[0]], -place[p[1]])


def as_strings(seen, place):
    return lambda p: (-seen[p], *p)


def first_met(seen, place):
    return lambda p: -seen[p]


def longest(word, merges):
    known, tokens = {"".join(pair) for pair in merges} | set(word), []
    while word:
        tokens.append(next(word[:n] for n in range(len(word), 0, -1) if word[:n] in known))
        word = word[len(tokens[-1]) :]
    return tuple(tokens)


def one_pass(word, merges, change=joined):
    tokens = tuple(word)
    for pair in merges:
        tokens = change(tokens, pair)
    return tokens


def only_letters(word, merges):
    return one_pass(word, [pair for pair in merges if max(map(len, pair)) == 1])


WRONG = {
    "02/count_pairs": [
        (lambda words: counted(words, times=lambda word, n: 1), "as often as the text has it"),
        (lambda words: counted(words, lambda word: set(pairwise(word))), "twice counts twice"),
        (lambda words: counted(words, lambda word: pairwise(word[:-1])), "last pair"),
        (lambda words: counted(words, change=lambda pair: tuple(sorted(pair))), "two orders"),
        (lambda words: counted(words, lambda word: word), "not of pairs"),
        (lambda words: counted(words, apart), "do not overlap"),
        (across, "across the ends"),
        (lambda words: list(counted(words).items()), "dictionary"),
        (lambda words: None, "return"),
    ],
    "02/merge": [
        (first_only, "only the first"),
        (kept_half, "skip both"),
        (lambda word, pair: word, "nothing is merged"),
        (as_text, "compare whole tokens"),
        (lossy, "not merged is lost"),
        (short, "last token is lost"),
        (twice, "again in the same pass"),
        (overlapping, "merged twice"),
        (from_the_right, "left to right"),
        (unjoined, "one string"),
    ],
    "02/train_bpe": [
        (lambda words, vocabulary, size: learned(dict.fromkeys(words, 1), vocabulary, size), "as often as the text"),
        (lambda words, vocabulary, size: learned(words, vocabulary, size - 1), "one merge too few"),
        (lambda words, vocabulary, size: learned(words, vocabulary, size + 1), "one merge too many"),
        (lambda words, vocabulary, size: learned(words, vocabulary, size + len(vocabulary) - 3), "entries count too"),
        (lambda words, vocabulary, size: learned(words, vocabulary, size, again=False), "count again after each merge"),
        (lambda words, vocabulary, size: learned(words, vocabulary, size, rarest), "rarest"),
        (lambda words, vocabulary, size: learned(words, vocabulary, size, last_of_equals), "not the last"),
        (lambda words, vocabulary, size: learned(words, vocabulary, size, as_strings), "ordered as strings"),
        (lambda words, vocabulary, size: learned(words, vocabulary, size, first_met), "the first one met"),
        (lambda words, vocabulary, size: [("".join(p),) for p in learned(words, vocabulary, size)], "not joined"),
        (endless, "ends the training"),
    ],
    "02/encode": [
        (longest, "longest tokens"),
        (lambda word, merges: one_pass(word, merges[::-1]), "in reverse"),
        (lambda word, merges: one_pass(word, merges, first_only), "everywhere"),
        (only_letters, "merges of merged tokens"),
        (lambda word, merges: tuple(word), "nothing is merged"),
        (lambda word, merges: one_pass(word, merges[:-1]), "last merge"),
        (lambda word, merges: word, "its tokens are asked for"),
    ],
    "02/bits_per_byte": [
        (lambda nats, tokens, size: nats * tokens / size, "nats a byte"),
        (lambda nats, tokens, size: nats / math.log(2), "bits a token"),
        (lambda nats, tokens, size: nats * tokens / size * math.log(2), "multiplied by ln 2"),
        (lambda nats, tokens, size: nats / math.log(2) * size / tokens, "multiplied by bytes per token"),
        (lambda nats, tokens, size: nats * tokens / math.log(2), "whole text"),
        (lambda nats, tokens, size: math.log2(nats) * tokens / size, "logarithm of base 2"),
    ],
    "02/embedding_share": [
        (lambda v, d, others, tied: v * d * (2 - tied) / others, "over the rest"),
        (lambda v, d, others, tied: 2 * v * d / (2 * v * d + others), "not two"),
        (lambda v, d, others, tied: v * d / (v * d + others), "second matrix"),
        (lambda v, d, others, tied: v * d / (v * d * (2 - tied) + others), "not in the total"),
        (lambda v, d, others, tied: v * d * (2 - tied) / (v * d + others), "head is missing in the total"),
        (lambda v, d, others, tied: 100 * v * d / (v * d + others), "percentage"),
        (lambda v, d, others, tied: v / (v + others), "`width` numbers"),
        (lambda v, d, others, tied: others / (v * d + others), "share of the others"),
        (lambda v, d, others, tied: v * d, "number of parameters"),
    ],
    "02/logits_bytes": [
        (lambda v, texts, tokens, width=4: v * texts * tokens, "those are numbers"),
        (lambda v, texts, tokens, width=4: v * tokens * width, "one text"),
        (lambda v, texts, tokens, width=4: v * texts * width, "one token"),
        (lambda v, texts, tokens, width=4: texts * tokens * width, "each vocabulary entry"),
        (lambda v, texts, tokens, width=2: v * texts * tokens * width, "default"),
        (lambda v, texts, tokens, width=4: v * texts * tokens * width * 8, "bits"),
        (lambda v, texts, tokens, width=4: v * texts * tokens * 4, "ignored"),
    ],
}  # fmt: skip
