"""A tiny world whose stories have a known entropy: the floor that no model's loss can pass on average.

Each story has two friends, two things and a few places. Choices are drawn from fixed distributions; the rest follows:
who holds a thing, where it was left and what colour it had must be copied from the text before. A model that keeps
track of the world pays only for the choices.

A choice is written down where it is made, and no option of a choice begins like another. So a text can be read back
into its choices in one way only, and the entropy of the text is the entropy of the choices.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

NAMES = (
    "Ada", "Ben", "Cleo", "Dora", "Emil", "Finn", "Greta", "Hugo", "Ines", "Jonas", "Karla", "Leo",
    "Mira", "Nils", "Olga", "Paul", "Quinn", "Rosa", "Sami", "Tilda", "Uma", "Vito", "Wanda", "Yara",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "pink")
COLOUR_SHARES = (8, 6, 5, 4, 3, 2, 2, 2)
THINGS = (
    "kite", "lamp", "ball", "drum", "cup", "book", "coat", "rope", "flute", "mask", "basket", "violin",
    "spade", "wagon", "pillow", "teapot",
)  # fmt: skip
PLACES = ("harbour", "market", "mill", "well", "school", "bridge", "lake", "station", "tower", "farm", "bakery", "park")
SOUNDS = ("a dog barks", "a bell rings", "a horn blows", "a door slams", "a crow calls")
SOUND_SHARES = (5, 4, 3, 2, 2)

WALK, HEAR, TALK, END = " Then they walk to the ", " Somewhere ", " They talk about the ", " In the evening "
TURNS = (WALK, HEAR, TALK, END)  # what may come next, again and again until END
TURN_SHARES = (3, 2, 4, 3)

Pick = Callable[[str, Sequence[str], Sequence[float] | None], str]


class Story(NamedTuple):
    text: str
    bits: float  # −log2 of the probability that the generator tells this story


def stories(n: int, seed: int = 0) -> list[Story]:
    """`n` independent stories; the first ones stay the same when n grows."""
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least 1 story")
    rng = random.Random(seed)
    return [_drawn(rng) for _ in range(n)]


def bits_per_byte(told: Sequence[Story]) -> float:
    """The floor for these stories: bits of their choices for each byte of their text."""
    return sum(story.bits for story in told) / sum(len(story.text.encode()) for story in told)


def entropy_per_story() -> float:
    """The expected bits of a story, exact: the sum over its choices, of which only the number of turns varies."""
    turn = dict(zip(TURNS, _normalized(TURN_SHARES)))
    start = _pair(NAMES) + _pair(THINGS) + 2 * _entropy(COLOUR_SHARES) + math.log2(len(PLACES))
    # A walk goes anywhere but here. A talk picks one of two things, then one of two things to do with it.
    cost = {WALK: math.log2(len(PLACES) - 1), HEAR: _entropy(SOUND_SHARES), TALK: 2.0, END: 0.0}
    turns = 1 / turn[END]  # each turn ends the story with this probability, so this many are expected (END included)
    return start + turns * (_entropy(TURN_SHARES) + sum(turn[kind] * cost[kind] for kind in TURNS))


def tell(pick: Pick) -> str:
    """One story. `pick(text so far, options, shares)` makes each choice; shares None means that all are as likely."""
    text = ""

    def say(words: str):
        nonlocal text
        text += words

    def choose(options: Sequence[str], shares: Sequence[float] | None = None) -> str:
        option = pick(text, options, shares)
        say(option)
        return option

    one = choose(NAMES)
    say(" and ")
    two = choose(_others(NAMES, one))
    say(f" are friends. {one} has a ")
    colours = [choose(COLOURS, COLOUR_SHARES)]
    say(" ")
    things = [choose(THINGS)]
    say(f". {two} has a ")
    colours.append(choose(COLOURS, COLOUR_SHARES))
    say(" ")
    things.append(choose(_others(THINGS, things[0])))
    say(". They meet at the ")
    here = choose(PLACES)
    say(".")
    keeper = dict(zip(things, (one, two)))  # who has each thing, or the place where it was left
    while (turn := choose(TURNS, TURN_SHARES)) != END:
        if turn == WALK:
            here = choose(_others(PLACES, here))
        elif turn == HEAR:
            choose(SOUNDS, SOUND_SHARES)
        else:
            thing = choose(things)
            keeper[thing] = _talk(say, choose, (one, two), keeper[thing], here)
        say(".")
    ends = [f"the {colour} {thing} is {_whereabouts(keeper[thing])}" for colour, thing in zip(colours, things)]
    say(" and ".join(ends) + ".")
    return text


def _talk(say, choose, friends: tuple[str, str], keeper: str, here: str) -> str:
    """What the friends do with the thing that they talk about; returns who or where keeps it now."""
    say(". ")
    if keeper not in friends:
        friend = choose(friends)
        say(f" fetches it from the {keeper}")
        return friend
    say(keeper)
    other = friends[1] if keeper == friends[0] else friends[0]
    give = f" gives it to {other}"
    return other if choose((give, f" leaves it at the {here}")) == give else here


def _whereabouts(keeper: str) -> str:
    return f"at the {keeper}" if keeper in PLACES else f"with {keeper}"


def _drawn(rng: random.Random) -> Story:
    bits = 0.0

    def pick(text: str, options: Sequence[str], shares: Sequence[float] | None) -> str:
        nonlocal bits
        shares = shares or (1,) * len(options)
        option = rng.choices(options, shares)[0]
        bits -= math.log2(shares[options.index(option)] / sum(shares))
        return option

    return Story(tell(pick), bits)


def _others(words: Sequence[str], word: str) -> tuple[str, ...]:
    return tuple(other for other in words if other != word)


def _normalized(shares: Sequence[float]) -> list[float]:
    return [share / sum(shares) for share in shares]


def _entropy(shares: Sequence[float]) -> float:
    return -sum(p * math.log2(p) for p in _normalized(shares))


def _pair(words: Sequence[str]) -> float:
    """Bits to draw two different words, one after the other."""
    return math.log2(len(words)) + math.log2(len(words) - 1)
