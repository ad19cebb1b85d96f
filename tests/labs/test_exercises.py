"""Every exercise of every lab: the solution passes, the stub fails, wrong answers are told what is wrong, and right
ones pass however they are written. The answers are in tried.py and the files that it reads.
"""

import csv

import pytest
from tried import CELLS, FUNCTIONS, RIGHT, WHOLE, WRONG, off, solution, told, turned, wrong, zero

from slmkit.course.grading import definitions
from slmkit.course.killtable import COLUMNS, TABLE
from slmkit.course.source import without_solutions

EXERCISES = list(FUNCTIONS)


def test_every_exercise_has_three_wrong_answers_and_two_right_ones_at_the_least():
    assert sorted(WRONG) == sorted(RIGHT) == sorted(EXERCISES)
    assert all(len(answers) >= 3 for answers in WRONG.values())
    assert all(len(set(answers)) >= 2 for answers in RIGHT.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name, capsys):
    assert told(name, solution(name)) is None
    assert f"✓ {name}" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name in sorted(RIGHT) for answer in RIGHT[name]])
def test_another_right_answer_passes(name, answer):
    assert told(name, answer) is None


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_fails(name):
    stubs = definitions([without_solutions(cell) for cell in CELLS[name[:2]]])
    assert "not written yet" in told(name, stubs[FUNCTIONS[name]])


@pytest.mark.parametrize("name", EXERCISES)
def test_zeros_fail(name):
    assert told(name, turned(name, zero))


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_that_is_one_percent_off_fails(name):
    """So no tolerance is above one percent of the answer's own scale."""
    seen = []

    def watched(value):
        changed = off(value)
        seen.append(changed is not value)
        return changed

    said = told(name, turned(name, watched))
    assert bool(said) == any(seen) == (name not in WHOLE)


@pytest.mark.parametrize("name", [name for name in EXERCISES if name not in WHOLE])
def test_each_part_of_an_answer_of_several_is_held_as_closely(name):
    seen = {}  # part -> whether it has numbers that need not be whole

    def one_off(part):
        def answer(*args, **options):
            made = solution(name)(*args, **options)
            if not isinstance(made, tuple):
                return made
            seen.update((i, False) for i in range(len(made)) if i not in seen)
            changed = off(made[part])
            seen[part] |= changed is not made[part]
            return (*made[:part], changed, *made[part + 1 :])

        return answer

    refused = [bool(told(name, one_off(0)))]
    refused += [bool(told(name, one_off(part))) for part in range(1, len(seen))]
    assert refused == (list(seen.values()) or [False])


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [(name, *answer) for name, answers in sorted(WRONG.items()) for answer in answers],
    ids=[f"{name}-{i}" for name, answers in sorted(WRONG.items()) for i in range(len(answers))],
)
def test_a_wrong_answer_is_told_its_mistake(name, answer, message):
    assert message in told(name, answer)


def test_the_published_table_counts_these_answers_and_no_check_is_mistaken():
    """That each of them is refused or accepted is what the tests above hold; here, that the table says so."""
    with open(TABLE, newline="") as file:
        published = list(csv.reader(file))
    expected = [[name, *2 * [str(len(wrong(name)))], *2 * [str(len(RIGHT[name]))]] for name in EXERCISES]
    assert published == [list(COLUMNS), *expected], "run tools/kill_table.py"
