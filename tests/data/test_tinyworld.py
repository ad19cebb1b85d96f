"""The tiny world's entropy is exact only if texts and choices are one to one, so that is tested from several sides."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest

from slmkit.data import tinyworld
from slmkit.data.tinyworld import COLOURS, NAMES, PLACES, THINGS, entropy_per_story, stories, tell


def read(text: str) -> float:
    """Bits of a story found from its text alone: at each choice, the one option that the text goes on with."""
    bits = 0.0

    def pick(so_far, options, shares):
        nonlocal bits
        assert text.startswith(so_far)
        fitting = [option for option in options if text.startswith(option, len(so_far))]
        assert len(fitting) == 1, f"{fitting} all fit behind {so_far!r}"
        shares = shares or [1] * len(options)
        bits -= math.log2(shares[options.index(fitting[0])] / sum(shares))
        return fitting[0]

    assert tell(pick) == text
    return bits


def every_story(turns: int) -> dict[tuple[str, ...], tuple[float, str]]:
    """Choices -> (probability, text) of every story with at most `turns` turns, END included."""
    found, waiting = {}, [((), 1.0)]

    class TooLong(Exception):
        pass

    while waiting:
        path, p = waiting.pop()
        made = []

        def pick(so_far, options, shares, path=path, p=p, made=made):
            if len(made) == len(path):  # a new choice: take the first option now, come back for the others
                shares = shares or [1] * len(options)
                waiting.extend(((*path, o), p * s / sum(shares)) for o, s in zip(options, shares))
                raise TooLong
            made.append(path[len(made)])
            if sum(choice in tinyworld.TURNS for choice in made) > turns:
                raise TooLong
            return made[-1]

        try:
            text = tell(pick)
        except TooLong:
            continue
        found[path] = (p, text)
    return found


@pytest.fixture(scope="module")
def small_world():
    """All stories of a world small enough to write them all down, most of them short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tinyworld, "NAMES", ("Ada", "Ben"))
        patch.setattr(tinyworld, "THINGS", ("kite", "lamp"))
        patch.setattr(tinyworld, "PLACES", ("mill", "well"))
        patch.setattr(tinyworld, "COLOURS", ("red", "blue"))
        patch.setattr(tinyworld, "COLOUR_SHARES", (3, 1))
        patch.setattr(tinyworld, "SOUNDS", ("a dog barks", "a bell rings"))
        patch.setattr(tinyworld, "SOUND_SHARES", (2, 1))
        patch.setattr(tinyworld, "TURN_SHARES", (1, 2, 3, 54))
        return every_story(3), entropy_per_story(), 6 / 60


def test_no_two_stories_of_a_whole_world_share_a_text(small_world):
    told, _, _ = small_world
    assert len({text for _, text in told.values()}) == len(told) > 1000


def test_probabilities_of_a_whole_world_sum_to_one(small_world):
    told, _, go_on = small_world
    assert sum(p for p, _ in told.values()) == pytest.approx(1 - go_on**3, abs=1e-9)


def test_entropy_of_a_whole_world_is_the_formula(small_world):
    told, entropy, go_on = small_world
    written_out = -sum(p * math.log2(p) for p, _ in told.values())
    assert written_out < entropy  # the stories with more turns are missing,
    assert written_out == pytest.approx(entropy, abs=go_on**3 * 60)  # and each of them has less than 60 bits or so


def test_a_text_gives_back_its_bits():
    for story in stories(300, seed=3):
        assert read(story.text) == pytest.approx(story.bits, abs=1e-9)


def test_no_option_begins_another():
    """Else a text could be read in two ways."""
    for words in (NAMES, COLOURS, THINGS, PLACES, tinyworld.SOUNDS, tinyworld.TURNS):
        assert len(set(words)) == len(words)
        assert not [(a, b) for a in words for b in words if a != b and b.startswith(a)]
    assert len(tinyworld.COLOURS) == len(tinyworld.COLOUR_SHARES)
    assert len(tinyworld.SOUNDS) == len(tinyworld.SOUND_SHARES)
    assert len(tinyworld.TURNS) == len(tinyworld.TURN_SHARES)


def test_mean_bits_reach_the_entropy():
    bits = np.array([story.bits for story in stories(5000, seed=1)])
    assert abs(bits.mean() - entropy_per_story()) < 4 * bits.std() / len(bits) ** 0.5
    assert bits.std() / len(bits) ** 0.5 < 0.01 * entropy_per_story()


def test_floor_is_bits_over_bytes():
    told = stories(50)
    expected = sum(s.bits for s in told) / len("".join(s.text for s in told))
    assert tinyworld.bits_per_byte(told) == pytest.approx(expected)


def test_stories_are_consistent():
    """Followed here by other means than the generator's: the last sentence says where each thing came to rest."""
    for story in stories(500, seed=2):
        one, two = re.match(r"(\w+) and (\w+) are friends", story.text).groups()
        assert one != two
        owned = dict(re.findall(r"(\w+) has a (\w+ \w+)\.", story.text))
        assert set(owned) == {one, two}
        where = {thing.split()[1]: f"with {friend}" for friend, thing in owned.items()}
        places = re.findall(r"(?:meet at|walk to) the (\w+)", story.text)
        assert all(a != b for a, b in pairwise(places))
        here, topic = None, None
        for sentence in story.text.split(". "):
            if found := re.search(r"(?:meet at|walk to) the (\w+)", sentence):
                here = found[1]
            elif found := re.search(r"talk about the (\w+)", sentence):
                topic = found[1]
            elif found := re.match(r"(\w+) gives it to (\w+)", sentence):
                assert where[topic] == f"with {found[1]}" != f"with {found[2]}"
                where[topic] = f"with {found[2]}"
            elif found := re.match(r"(\w+) leaves it at the (\w+)", sentence):
                assert (where[topic], here) == (f"with {found[1]}", found[2])
                where[topic] = f"at the {found[2]}"
            elif found := re.match(r"(\w+) fetches it from the (\w+)", sentence):
                assert where[topic] == f"at the {found[2]}"
                where[topic] = f"with {found[1]}"
        end = story.text.split("In the evening ")[1]
        assert end == " and ".join(f"the {thing} is {where[thing.split()[1]]}" for thing in owned.values()) + "."


def test_stories_are_the_same_each_time_and_keep_their_order():
    assert stories(20, seed=5) == stories(40, seed=5)[:20]
    assert stories(20, seed=5) != stories(20, seed=6)
    assert stories(1)[0].text.startswith("Uma and Rosa are friends. Uma has a blue cup.")


def test_no_stories_is_named():
    with pytest.raises(ValueError, match="n is 0"):
        stories(0)
