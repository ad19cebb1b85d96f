"""Right answers to lab 02's exercises, written otherwise than the lab's."""

import math
from itertools import pairwise

import torch


def pairs_by_index(words):
    counts = {}
    for word in words:
        for i in range(len(word) - 1):
            counts[word[i], word[i + 1]] = counts.get((word[i], word[i + 1]), 0) + words[word]
    return counts


def pairs_by_sum(words):
    all_pairs = [(pair, times) for word, times in words.items() for pair in pairwise(word)]
    return {pair: sum(times for other, times in all_pairs if other == pair) for pair, _ in all_pairs}


def merge_by_recursion(word, pair):
    if len(word) < 2:
        return word
    if word[:2] == pair:
        return (pair[0] + pair[1], *merge_by_recursion(word[2:], pair))
    return (word[0], *merge_by_recursion(word[1:], pair))


def merge_by_stack(word, pair):
    kept = []
    for token in word:
        if kept and (kept[-1], token) == pair:
            kept[-1] += token
        else:
            kept.append(token)
    return tuple(kept)


def bpe_by_sorting(words, vocabulary, size):
    entries, merges, texts = list(vocabulary), [], [(word, times) for word, times in words.items()]
    while len(entries) < size:
        counts = {}
        for word, times in texts:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + times
        if not counts:
            break
        order = sorted(counts, key=lambda pair: (entries.index(pair[0]), entries.index(pair[1])))
        best = max(order, key=counts.get)  # the first of the most frequent
        merges.append(best)
        if best[0] + best[1] not in entries:
            entries.append(best[0] + best[1])
        texts = [(merge_by_stack(word, best), times) for word, times in texts]
    return merges


def bpe_by_recursion(words, vocabulary, size):
    counts = pairs_by_index(words)
    if len(vocabulary) >= size or not counts:
        return []
    best = min(counts, key=lambda pair: [-counts[pair], *map(vocabulary.index, pair)])
    text = "".join(best)
    grown = vocabulary if text in vocabulary else [*vocabulary, text]
    merged = {}
    for word, times in words.items():
        made = merge_by_recursion(word, best)
        merged[made] = merged.get(made, 0) + times
    return [best, *bpe_by_recursion(merged, grown, size)]


def encode_in_order(word, merges):
    tokens = tuple(word)
    for pair in merges:
        tokens = merge_by_stack(tokens, pair)
    return tokens


def encode_by_rank(word, merges):
    tokens = list(word)
    while True:
        ranks = [merges.index(pair) if pair in merges else math.inf for pair in pairwise(tokens)]
        if not ranks or min(ranks) == math.inf:
            return tuple(tokens)
        i = ranks.index(min(ranks))
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def bits_in_one_fraction(nats, tokens, text_bytes):
    return nats * tokens / (text_bytes * math.log(2))


def bits_by_probability(nats, tokens, text_bytes):
    return -math.log2(math.exp(-nats)) * (tokens / text_bytes)


def share_of_the_rest(entries, width, others, tied):
    return 1 - others / (others + entries * width * (2 - tied))


def share_by_tables(entries, width, others, tied):
    tables = [entries * width] if tied else [entries * width, width * entries]
    return sum(tables) / sum([*tables, others])


def logits_by_product(entries, texts, tokens, bytes_per_number=4):
    return math.prod((texts, tokens, entries, bytes_per_number))


def logits_by_tensor(entries, texts, tokens, bytes_per_number=4):
    return torch.empty(texts, tokens, entries, device="meta").numel() * bytes_per_number


RIGHT = {
    "02/count_pairs": [pairs_by_index, pairs_by_sum],
    "02/merge": [merge_by_recursion, merge_by_stack],
    "02/train_bpe": [bpe_by_sorting, bpe_by_recursion],
    "02/encode": [encode_in_order, encode_by_rank],
    "02/bits_per_byte": [bits_in_one_fraction, bits_by_probability],
    "02/embedding_share": [share_of_the_rest, share_by_tables],
    "02/logits_bytes": [logits_by_product, logits_by_tensor],
}
