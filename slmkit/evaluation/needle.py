"""Needles in a haystack: facts put at chosen depths of a long text, and asked for at its end (Kamradt 2023).

Three kinds, as in NeedleBench (Li et al. 2024): one fact alone (single); one of several (multiple); two facts, at two
places, that give the answer only together (reasoning).
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.multiple_choice import token_loglikelihoods
from slmkit.model import storage
from slmkit.model.decoder import Decoder
from slmkit.rope_scaling import RopeScaling

KINDS = ("single", "multiple", "reasoning")
CITIES = ("Lisbon", "Oslo", "Cairo", "Lima", "Delhi", "Seoul", "Rome", "Quito", "Boston", "Vienna")
PEOPLE = ("Anna", "David", "Maria", "Peter", "Laura", "Simon", "Clara", "Henry", "Emma", "Victor")


class Question(NamedTuple):
    """A haystack with a question at its end, and the answer, in tokens."""

    context: tuple[int, ...]
    answer: tuple[int, ...]
    depth: float  # of the fact that is asked for; of two facts, the first's


def placed(filler: Sequence[int], needles: Sequence[Sequence[int]], depths: Sequence[float], length: int) -> list[int]:
    """`length` tokens: the filler's first ones with each needle put in at its depth.

    At depth d a needle stands behind round(d · n) of the n tokens of filler that have room: 0 is the front, 1 the end.
    Needles of one depth keep their order. Raises ValueError for a depth outside 0 to 1, and when the filler is too
    short or the needles too long.
    """
    room = length - sum(map(len, needles))
    if room < 0 or len(filler) < room:
        raise ValueError(f"{length} tokens with needles of {length - room} need {max(room, 0)} tokens of filler; there "
                         f"are {len(filler)}")  # fmt: skip
    if not all(0 <= depth <= 1 for depth in depths):
        raise ValueError(f"depths are shares from 0 (the front) to 1 (the end); got {list(depths)}")
    ids, done = [], 0
    for depth, needle in sorted(zip(depths, needles, strict=True), key=lambda pair: pair[0]):
        ids += [*filler[done : (done := round(depth * room))], *needle]
    return [*ids, *filler[done:room]]


def questions(tokenizer: Tokenizer, filler: Sequence[int], kind: str, length: int, depths: Sequence[float],
              seed: int = 0) -> list[Question]:  # fmt: skip
    """One question for each depth, the longest with `length` tokens before its answer.

    `single` puts one fact at the depth; `multiple` has a fact at every depth and asks for one; `reasoning` has besides,
    at the depths in another order, the facts that lead on. All haystacks have one length. Those of the two last kinds
    are one text, which a model reads once for all questions. Raises ValueError for another kind, more depths than there
    are names (10), or a text too short.
    """
    if kind not in KINDS or not 0 < len(depths) <= len(CITIES):
        raise ValueError(f"kind is {kind!r} and there are {len(depths)} depths; kinds are {', '.join(KINDS)}, depths 1 "
                         f"to {len(CITIES)}")  # fmt: skip
    rng = random.Random(seed)
    cities, people = (rng.sample(names, len(depths)) for names in (CITIES, PEOPLE))
    numbers = [str(number) for number in rng.sample(range(1000, 10_000), len(depths))]
    subjects = people if kind == "reasoning" else cities
    facts = [f"\nThe secret number of {who} is {number}.\n" for who, number in zip(subjects, numbers)]
    asked = [f"\nQuestion: What is the secret number of {city}?\nAnswer: The secret number of {city} is"
             for city in cities]  # fmt: skip
    leads, places = [], list(depths)
    if kind == "reasoning":
        leads = [f"\nThe guest of {city} is {who}.\n" for city, who in zip(cities, people)]
        asked = [f"\nQuestion: What is the secret number of the guest of {city}?\n"
                 f"Answer: The secret number of the guest of {city} is" for city in cities]  # fmt: skip
        rng.shuffle(places)  # where the numbers stand; the leads stand at the depths given
    ends = [tokenizer.encode(text) for text in asked]
    hay_length = length - max(map(len, ends))
    made = []
    for i, depth in enumerate(depths):
        texts = [facts[i]] if kind == "single" else leads + facts
        where = [depth] if kind == "single" else [*depths, *places] if leads else places
        hay = placed(filler, [tokenizer.encode(text) for text in texts], where, hay_length)
        made.append(Question((*hay, *ends[i]), tuple(tokenizer.encode(" " + numbers[i])), depth))
    return made


def found(model: Decoder, asked: Sequence[Question], batch_size: int = 8) -> np.ndarray:
    """Whether `model`, decoding greedily, would answer each question, [questions], bool."""
    pairs = [(question.context, question.answer) for question in asked]
    return np.array([one.greedy for one in token_loglikelihoods(model, pairs, batch_size=batch_size)])


def tokens(rng: np.random.Generator, vocab_size: int, length: int, depth: float, count: int) -> tuple[Tensor, Tensor]:
    """The same without language: rows [count, length] of random tokens, whose last one stood once before, and what
    stood behind it there [count]. At depth 0 that place is the first, at depth 1 the last possible."""
    if length < 4 or not 0 <= depth <= 1:
        raise ValueError(f"length is {length} and depth {depth}; at least 4 tokens, and a share from 0 to 1")
    keys = rng.integers(vocab_size, size=(count, 1))
    rows = (keys + rng.integers(1, vocab_size, size=(count, length))) % vocab_size  # no token is the key
    place = round(depth * (length - 3))
    rows[:, place], rows[:, -1] = keys[:, 0], keys[:, 0]
    return torch.from_numpy(rows), torch.from_numpy(rows[:, place + 1].copy())


@torch.no_grad()
def recalled(model: Decoder, length: int, depths: Sequence[float], count: int, kind: str | None = None,
             seed: int = 0) -> np.ndarray:  # fmt: skip
    """Share of `count` rows of `tokens` at each depth whose answer `model` ranks first, [depths]; see `reaching` for a
    length beyond its context."""
    model, rng, shares = reaching(model, max(length, model.config.max_context), kind), np.random.default_rng(seed), []
    for depth in depths:
        rows, answers = tokens(rng, model.config.vocab_size, length, depth, count)
        shares.append((model(rows)[:, -1].argmax(-1) == answers).float().mean().item())
    return np.array(shares)


def reaching(model: Decoder, context: int, kind: str | None = None) -> Decoder:
    """The same weights with room for `context` tokens, the rotation stretched to it ("linear" or "ntk") or not."""
    factor = context / model.config.max_context
    scaling = RopeScaling(kind, factor) if kind and factor > 1 else model.config.rope_scaling
    config = replace(model.config, max_context=context, rope_scaling=scaling)
    return storage.assemble(config, storage.unique_tensors(model)).eval()
