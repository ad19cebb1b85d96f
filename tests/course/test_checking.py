"""check tells a reader what is wrong, in one line, whatever the answer is."""

import math
from pathlib import Path

import pytest
import torch

from slmkit.course import checking
from slmkit.course.checking import ExerciseError, Wrong, call, check, compare, exercise

EXPECTED = torch.arange(6.0).view(2, 3)


@exercise("zz/double")
def double(answer, times=1):
    compare(call(answer, EXPECTED), 2 * EXPECTED * times, "the doubled matrix", {
        "you squared": EXPECTED**2, "transposed": 2 * EXPECTED.T})  # fmt: skip


def problem(answer, **context):
    with pytest.raises(ExerciseError) as error:
        check("zz/double", answer, **context)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_right_answer_gets_a_tick(capsys):
    check("zz/double", lambda x: x + x)
    check("zz/double", lambda x: 6 * x, times=3)
    assert capsys.readouterr().out == "✓ zz/double\n✓ zz/double\n"


def stub(x):
    raise NotImplementedError("your turn")


def broken(x):
    return x @ x  # the line that the message must show


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (stub, "not written yet"),
        (None, "expected a function, got None"),
        (3, "expected a function, got 3 (int)"),
        (lambda x: None, "returned None; is a `return` missing?"),
        (lambda x: "four", "is 'four' (str); a tensor or a number is asked for"),
        (lambda x: x.ravel(), "has shape (6,); it should be (2, 3)"),
        (lambda x: 2 * x.T, "transposed"),
        (lambda x: x > 1, "is of kind bool"),
        (lambda x: x**2, "you squared"),
        (lambda x: 2 * x * math.nan, "has NaN in 6 of 6 places"),
        (lambda x: 2 * x + torch.eye(3)[:2], "wrong in 2 of 6 places, first at [0, 0]: 1; it should be 0"),
        (broken, "line"),
    ],
)
def test_a_wrong_answer_is_told_why(answer, message):
    assert message in problem(answer)


def test_an_error_in_the_answer_names_the_readers_line():
    message = problem(broken)
    assert "your code raised RuntimeError" in message
    assert "`return x @ x  # the line that the message must show`" in message


def test_an_error_of_the_checker_itself_is_not_put_on_a_line_of_the_reader():
    place = Path(checking.__file__).parent / "exercises" / "lab_zz.py"  # where checkers are
    names = {"exercise": exercise}
    code = '@exercise("zz/attribute")\ndef attribute(answer):\n    answer.missing\n'
    exec(compile(code, str(place), "exec"), names)
    with pytest.raises(ExerciseError, match="the check stopped with AttributeError"):
        check("zz/attribute", 3)


def test_numbers_strings_and_exact_kinds():
    compare(3, 3.0)
    compare(0.1 + 0.2, 0.3)
    compare([True, False], torch.tensor([True, False]))
    compare(torch.tensor([math.inf, 1.0]), [math.inf, 1.0])
    compare("yes", "yes")
    with pytest.raises(Wrong, match="is 'no'"):
        compare("no", "yes")
    with pytest.raises(Wrong, match=r"3; it should be 4"):
        compare(3, 4)
    with pytest.raises(Wrong, match="wrong"):
        compare(torch.tensor([1.0, math.inf]), [math.inf, 1.0])


def test_a_small_difference_counts_by_the_scale_of_the_answer():
    compare(torch.tensor([1000.0, 0.05]), [1000.0, 0.0])
    with pytest.raises(Wrong):
        compare(torch.tensor([1000.0, 0.05]), [1000.0, 0.0], atol=1e-3)


def test_a_mistake_that_gives_the_right_answer_is_an_error_of_the_checker():
    with pytest.raises(ValueError, match="cannot tell the mistake 'same'"):
        compare(1.0, 1.0, mistakes={"same": 1.0})


def test_an_unknown_exercise_and_a_name_taken_twice():
    with pytest.raises(ValueError, match=r"no exercise 'zz/nothing'; this lab has .*zz/double"):
        check("zz/nothing", 1)
    with pytest.raises(ValueError, match="two checkers"):
        exercise("zz/double")(lambda answer: None)


def test_in_a_notebook_the_error_is_one_line_and_graders_see_an_assertion():
    error = ExerciseError("zz/double: wrong")
    assert isinstance(error, AssertionError)
    assert error._render_traceback_() == ["✗ zz/double: wrong"]
    assert checking.STUB
