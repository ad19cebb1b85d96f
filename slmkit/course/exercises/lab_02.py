"""Checkers of lab 02, tokenizers and vocabulary."""

import math
from itertools import pairwise

from slmkit.course.checking import Wrong, call, compare, exercise


def _same(got, right, what: str, mistakes: dict):
    """`compare` for words, pairs and counts."""
    for message, value in mistakes.items():
        if value == right:
            raise ValueError(f"these inputs cannot tell the mistake {message!r} from the right answer; choose others")
    if got == right and type(got) is not type(right) and not isinstance(right, dict):
        got = type(right)(got)
    if got != right:
        for message, value in mistakes.items():
            if got == value:
                raise Wrong(message)
        raise Wrong(f"{what} should give {right}; got {str(got)[:200]}")


@exercise("02/count_pairs")
def count_pairs(answer):
    words = {("a", "b", "a", "b"): 3, ("b", "a"): 2, ("a",): 7, ("c", "c", "c"): 1}
    right = {("a", "b"): 6, ("b", "a"): 5, ("c", "c"): 2}
    got = call(answer, words)
    if not hasattr(got, "items"):
        raise Wrong(f"a dictionary from pair to count is asked for, got {type(got).__name__}")
    _same({pair: times for pair, times in got.items() if times}, right, f"the words {words}", {
        "each word counts once in your sum; it counts as often as the text has it":
            {("a", "b"): 2, ("b", "a"): 2, ("c", "c"): 2},
        "a pair that a word has twice counts twice": {("a", "b"): 3, ("b", "a"): 5, ("c", "c"): 1},
        "pairs are counted across the ends of words; only neighbours within a word are a pair":
            {("a", "b"): 6, ("b", "a"): 5, ("c", "c"): 2, ("b", "b"): 3, ("a", "a"): 2, ("a", "c"): 7},
        "the two orders of a pair are counted as one; ('a', 'b') and ('b', 'a') make different tokens":
            {("a", "b"): 11, ("c", "c"): 2},
        "only pairs that do not overlap are counted; in ('c', 'c', 'c') there are two":
            {("a", "b"): 6, ("b", "a"): 2, ("c", "c"): 1},
        "the last pair of each word is missing": {("a", "b"): 3, ("b", "a"): 3, ("c", "c"): 1},
        "those are counts of tokens, not of pairs": {"a": 15, "b": 8, "c": 3},
    })  # fmt: skip


@exercise("02/merge")
def merge(answer):
    word, pair = ("b", "a", "n", "a", "n", "an"), ("a", "n")
    _same(call(answer, word, pair), ("b", "an", "an", "an"), f"merging {pair} in {word}", {
        "only the first pair is merged; merge all of them": ("b", "an", "a", "n", "an"),
        "the order of the pair does not matter to you; only 'a' followed by 'n' is the pair":
            ("b", "an", "an", "an", "n"),
        "nothing is merged": word,
        "the second half of the pair is still there; skip both": ("b", "an", "n", "an", "n", "an"),
        "the pair is a token of its own now, one string: 'an'": ("b", ("a", "n"), ("a", "n"), "an"),
        "what was not merged is lost": ("an", "an"),
        "the word's last token is lost": ("b", "an", "an"),
    })  # fmt: skip
    # The end of one token and the next token look like the pair to a replacement of text.
    word, pair = ("ab", "an", "b", "an"), ("b", "an")
    _same(call(answer, word, pair), ("ab", "an", "ban"), f"merging {pair} in {word}", {
        "the pair is looked for in the text, across the borders of tokens; compare whole tokens": ("aban", "ban"),
    })  # fmt: skip
    word, pair = ("c", "c", "c"), ("c", "c")
    _same(call(answer, word, pair), ("cc", "c"), f"merging {pair} in {word}", {
        "a token is merged twice; after a merge go on behind the pair": ("cc", "cc"),
        "what is merged may not be merged again in the same pass": ("ccc",),
        "go from left to right": ("c", "cc"),
    })  # fmt: skip
    return "overlaps included"


WORDS = {("l", "o", "w"): 5, ("l", "o", "w", "e", "r"): 2, ("n", "e", "w", "e", "r"): 6, ("w", "i", "d", "e", "r"): 3}
ALPHABET = ["d", "e", "i", "l", "n", "o", "r", "w"]


@exercise("02/train_bpe")
def train_bpe(answer):
    got = call(answer, dict(WORDS), list(ALPHABET), 12)
    right = [("e", "r"), ("w", "er"), ("l", "o"), ("e", "wer")]
    given = [tuple(pair) for pair in got] if isinstance(got, (list, tuple)) else got
    _same(given, right, f"training on {WORDS} up to 12 entries", {
        "the alphabet's entries count too: the vocabulary of 12 has 8 of them and 4 merges":
            _learned(WORDS, 9),
        "one merge too few: go on while the vocabulary is smaller than `size`": right[:-1],
        "one merge too many: stop when the vocabulary has `size` entries": _learned(WORDS, 5),
        "each word counts once; it counts as often as the text has it": _learned(dict.fromkeys(WORDS, 1), 4),
        "pairs are counted once, at the start; count again after each merge, or merged tokens never merge further":
            [("e", "r"), ("w", "e"), ("l", "o"), ("o", "w")],
        "the rarest pair is merged; take the most frequent": _learned(WORDS, 4, most=-1),
        "of equally frequent pairs take that which stands first in the vocabulary, not the last, nor the first one met":
            _learned(WORDS, 4, first=-1),
        "tokens are asked for as pairs, not joined": [("er",), ("wer",), ("lo",), ("ewer",)],
    })  # fmt: skip
    # Order in the vocabulary is not the order of the alphabet: a merged token stands behind all before it.
    words, alphabet = {("b", "a"): 4, ("a", "b"): 4, ("c", "a"): 4, ("a", "c"): 9}, ["c", "b", "a"]
    got = [tuple(pair) for pair in call(answer, words, alphabet, 6)]
    _same(got, [("a", "c"), ("c", "a"), ("b", "a")], f"training on {words} with the vocabulary {alphabet}", {
        "equally frequent pairs are ordered as strings; their order is that of their tokens in the vocabulary":
            [("a", "c"), ("a", "b"), ("b", "a")],
    })  # fmt: skip
    got = call(answer, {("a", "b"): 1}, ["a", "b"], 9)
    if list(map(tuple, got)) != [("a", "b")]:
        raise Wrong(f"a text that runs out of pairs ends the training; got {got}")


def _learned(words, merges, most=1, first=1):
    """The right algorithm, in other words than the lab's, and with its decisions turned round for mistakes."""
    entries, found, words = list(ALPHABET), [], dict(words)
    for _ in range(merges):
        seen = {}
        for word, times in words.items():
            for pair in pairwise(word):
                seen[pair] = seen.get(pair, 0) + times
        place = entries.index
        found.append(min(seen, key=lambda p: (-most * seen[p], first * place(p[0]), first * place(p[1]))))
        entries.append("".join(found[-1]))
        words = {joined(word, found[-1]): times for word, times in words.items()}
    return found


def joined(word, pair):
    """`word` with each `pair` from the left as one token."""
    parts, i = [], 0
    while i < len(word):
        parts.append("".join(pair) if word[i : i + 2] == pair else word[i])
        i += 2 if word[i : i + 2] == pair else 1
    return tuple(parts)


@exercise("02/encode")
def encode(answer):
    merges = [("b", "c"), ("a", "b"), ("ab", "c"), ("d", "bc"), ("b", "b")]
    _same(call(answer, "abcdbc", merges), ("a", "bc", "dbc"), f"encoding 'abcdbc' with the merges {merges}", {
        "the longest tokens are taken from the left; merges are applied in the order in which they were learned":
            ("abc", "dbc"),
        "the word's first pair is merged first; the merge learned first goes first, wherever it stands":
            ("abc", "d", "bc"),
        "each merge is applied to one place only; apply it everywhere": ("a", "bc", "d", "b", "c"),
        "nothing is merged": tuple("abcdbc"),
        "merges are applied in reverse; the one learned first goes first": ("ab", "c", "d", "bc"),
        "the merges of merged tokens are missing: ('d', 'bc') applies when 'bc' is there": ("a", "bc", "d", "bc"),
        "the word itself comes back; its tokens are asked for": "abcdbc",
    })  # fmt: skip
    _same(call(answer, "abbb", merges), ("ab", "bb"), f"encoding 'abbb' with the merges {merges}", {
        "the last merge is left out": ("ab", "b", "b"),
        "a later merge is applied before an earlier one": ("a", "bb", "b"),
    })  # fmt: skip
    _same(call(answer, "x", merges), ("x",), "a word of one letter", {"a lost letter": ()})
    return "in the order of learning"


@exercise("02/bits_per_byte")
def bits_per_byte(answer):
    nats, tokens, size = 2.5, 40, 120
    right = nats * tokens / size / math.log(2)
    compare(call(answer, nats, tokens, size), right, "2.5 nats a token, 40 tokens, 120 bytes", {
        "those are nats a byte; a bit is ln 2 nats": nats * tokens / size,
        "those are bits a token; the text has fewer tokens than bytes": nats / math.log(2),
        "you multiplied by ln 2; a nat is 1.44 bits": nats * tokens / size * math.log(2),
        "you multiplied by bytes per token; more bytes in a token make fewer bits a byte":
            nats * size / tokens / math.log(2),
        "those are bits of the whole text; divide by its bytes": nats * tokens / math.log(2),
        "the logarithm of base 2 of the loss is not the loss in bits": math.log2(nats) * tokens / size,
    })  # fmt: skip


@exercise("02/embedding_share")
def embedding_share(answer):
    entries, width, others = 1000, 8, 24_000
    right = 8 / 32
    compare(call(answer, entries, width, others, True), right, "1000 entries, width 8, 24,000 other numbers, tied", {
        "that is embedding over the rest; the share is of all parameters": 8 / 24,
        "tied is one matrix, not two": 16 / 40,
        "that is a percentage; a share lies between 0 and 1": 25.0,
        "an entry has `width` numbers": 1 / 25,
        "that is the share of the others": 24 / 32,
        "that is the number of parameters in the embedding": 8000,
    })  # fmt: skip
    compare(call(answer, entries, width, others, False), 16 / 40, "the same with a head of its own", {
        "a head of its own is a second matrix": right,
        "the head is missing in the total": 16 / 32,
        "the second matrix is missing in the share, not in the total": 8 / 40,
    })  # fmt: skip


@exercise("02/logits_bytes")
def logits_bytes(answer):
    right = 5 * 7 * 300 * 4
    compare(call(answer, 300, 5, 7), right, "300 entries, 5 texts of 7 tokens", {
        "those are numbers; each has bytes_per_number bytes": right // 4,
        "that is one text; every text of the batch has its logits": right // 5,
        "that is one token; every token has its logits": right // 7,
        "every token has one number for each vocabulary entry": right // 300,
        "the default is 4 bytes a number": right // 2,
        "these are bits": right * 8,
    })  # fmt: skip
    compare(
        call(answer, 300, 5, 7, 2), right // 2, "the same at 2 bytes a number", {"bytes_per_number is ignored": right}
    )
