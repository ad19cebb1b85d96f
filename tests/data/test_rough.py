"""Damage of known kinds: what it does, and that a seed decides it."""

import random

import pytest

from slmkit.data import rough

TEXT = "\n\n".join(
    f"Paragraph {i} speaks of the people's affairs. It has a second sentence, which is longer than the first one. "
    f'"And a third," it says, with the number {i}.'
    for i in range(12)
)
DOCUMENTS = [TEXT.replace("people", f"people of county {i}") for i in range(40)]


@pytest.mark.parametrize("kind", rough.KINDS)
def test_a_seed_decides_what_becomes_of_a_text(kind):
    made = [rough.KINDS[kind](TEXT, random.Random(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert made[0] != TEXT


def test_boilerplate_keeps_every_paragraph_and_adds_lines():
    made = rough.boilerplate(TEXT, random.Random(0)).split("\n\n")
    assert [part for part in made if part.startswith("Paragraph")] == TEXT.split("\n\n")
    added = [line for part in made if not part.startswith("Paragraph") for line in part.splitlines()]
    assert set(added) <= {*rough.LINES, *rough.MENU}
    assert len(added) >= 14


def test_encoding_damage_is_of_both_kinds_and_can_be_told_by_its_marks():
    made = [rough.encoding(TEXT, random.Random(seed)) for seed in range(12)]
    latin = [text for text in made if "Ã" in text]
    lost = [text for text in made if "\ufffd" in text]
    assert latin
    assert lost
    assert len(latin) + len(lost) == 12
    assert latin[0].encode("latin-1").decode().replace("’", "'").startswith("P")  # it can be undone


def test_repetition_makes_up_the_share_that_it_says():
    for seed in range(8):
        parts = rough.repetition(TEXT, random.Random(seed)).split("\n\n")
        repeated = sum(len(part) for part in parts if parts.count(part) > 1) / sum(map(len, parts))
        assert 0.25 < repeated < 0.85


def test_noise_takes_the_place_of_some_paragraphs_and_leaves_the_others():
    for seed in range(8):
        parts = rough.noise(TEXT, random.Random(seed)).split("\n\n")
        left = [part for part in parts if part in TEXT.split("\n\n")]
        assert 2 <= len(left) <= 9


def test_another_language_shares_few_words_and_is_about_as_long():
    made = rough.language(TEXT, random.Random(0))
    words = set(made.split())
    assert len(words & set(TEXT.split())) / len(words) < 0.1
    assert len(TEXT) <= len(made) < 2 * len(TEXT)


def test_edited_changes_the_share_of_words_that_is_asked_for():
    words = TEXT.split(" ")
    made = rough.edited(TEXT, random.Random(0), 0.1).split(" ")
    assert len(words) - round(0.1 * len(words)) <= len(made) < len(words)
    assert rough.edited(TEXT, random.Random(0), 0.0) == TEXT


def test_shares_kinds_and_sources_of_a_rough_corpus():
    made = rough.roughen(DOCUMENTS, seed=3, duplicates=0.25)
    assert made == rough.roughen(DOCUMENTS, seed=3, duplicates=0.25)
    assert made != rough.roughen(DOCUMENTS, seed=4, duplicates=0.25)
    own = [one for one in made if rough.DUPLICATE not in one.kinds]
    assert sorted(one.source for one in own) == list(range(40))
    for kind in rough.KINDS:
        assert sum(one.kinds == (kind,) for one in own) == 4
    for one in own:
        assert (one.text == DOCUMENTS[one.source]) == (one.kinds == ())
    copies = [one for one in made if rough.DUPLICATE in one.kinds]
    assert len(copies) == 10
    for copy in copies:
        original = next(one for one in own if one.source == copy.source)
        assert copy.kinds == (*original.kinds, rough.DUPLICATE)
        assert copy.text != original.text
        assert len(set(copy.text.split()) - set(original.text.split())) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(shares={"mould": 0.1}), "no damage 'mould'"),
        (dict(shares={"noise": 0.7, "language": 0.7}), "sum to 1.40"),
        (dict(shares={"noise": -0.1}), "share of noise is -0.1"),
        (dict(duplicates=float("nan")), "share of duplicates is nan"),
    ],
)
def test_shares_that_cannot_be_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        rough.roughen(DOCUMENTS, **arguments)


def test_passages_end_between_paragraphs_and_leave_out_what_is_too_short():
    pieces = rough.passages([TEXT, "too short"], 60)
    assert "\n\n".join(pieces) == "\n\n".join(TEXT.split("\n\n")[: sum(p.count("\n\n") + 1 for p in pieces)])
    assert all(len(piece.split()) >= 60 for piece in pieces)
    assert all(len(piece.rsplit("\n\n", 1)[0].split()) < 60 for piece in pieces)


def test_what_a_filter_finds_is_counted_by_kind():
    documents = [rough.Rough("", kinds, 0) for kinds in ((), (), (), ("noise",), ("noise", "duplicate"), ("language",))]
    told = rough.found(documents, [True, False, False, True, False, True])
    assert told == pytest.approx({"clean": 1 / 3, "noise": 1 / 2, "duplicate": 0, "language": 1,
                                  "precision": 2 / 3, "recall": 2 / 3})  # fmt: skip
    assert rough.found(documents[:2], [False, False]) == {"clean": 0, "precision": 0, "recall": 0}
    with pytest.raises(ValueError, match="shorter"):
        rough.found(documents, [True])


def test_a_text_can_be_made_alike_to_a_given_degree():
    one, other = (" ".join(f"{letter}{i}" for i in range(200)) for letter in "ab")

    def runs(text):
        words = text.split()
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    for similarity in (0.1, 0.3, 0.55, 0.8, 1.0):
        a, b = runs(one), runs(rough.alike(one, other, similarity))
        assert len(a & b) / len(a | b) == pytest.approx(similarity, abs=0.01)
