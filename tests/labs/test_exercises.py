"""Every exercise of every lab: the solution passes, the stub fails, and wrong answers are told what is wrong.

Solutions are taken from the lab's own source, the only copy. Wrong answers are in wrong_NN.py, beside this file:
WRONG = {"NN/name": [(answer, part of the message), …]}. So are answers that are right in another way, where there are
any: RIGHT = {"NN/name": [answer, …]}.
"""

import ast
import contextlib
from importlib import import_module
from pathlib import Path

import pytest

from slmkit.course.checking import ExerciseError, check
from slmkit.course.source import code_cells, without_solutions
from slmkit.paths import root

LABS = {path.name[:2]: path for path in sorted((root() / "labs").glob("[0-9][0-9]_*.py"))}
WRONG, RIGHT = {}, {}
for path in sorted(Path(__file__).parent.glob("wrong_*.py")):
    answers = import_module(path.stem)
    WRONG |= answers.WRONG
    RIGHT |= getattr(answers, "RIGHT", {})


def checks(number):
    """The calls of `check` in a lab, by exercise."""
    calls = [node for cell in code_cells(LABS[number].read_text()) for node in ast.walk(ast.parse(cell))]
    calls = [node for node in calls if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "check"]
    return {node.args[0].value: node for node in calls}


def definitions(number, change=lambda cell: cell):
    """What the lab's imports, functions, classes and exercise cells define, without running the rest of it."""
    names = {}
    for cell in code_cells(LABS[number].read_text()):
        exercise = "### BEGIN SOLUTION" in cell
        tree = ast.parse(change(cell))
        kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
        tree.body = [node for node in tree.body if exercise or isinstance(node, kept)]
        with contextlib.suppress(NotImplementedError):  # a stub at the top level of its cell
            exec(compile(tree, LABS[number].name, "exec"), names)
    return names


def run_check(name, names, answer=None):
    """Calls `check` as the lab does, with another answer if one is given."""
    call = checks(name[:2])[name]
    given, *rest = (eval(compile(ast.Expression(node), "lab", "eval"), names) for node in call.args[1:])
    context = {kw.arg: eval(compile(ast.Expression(kw.value), "lab", "eval"), names) for kw in call.keywords}
    check(name, answer or given, *rest, **context)


EXERCISES = [name for number in LABS for name in checks(number)]


def test_every_exercise_has_at_least_three_wrong_answers():
    assert sorted(WRONG) == sorted(EXERCISES)
    assert all(len(answers) >= 3 for answers in WRONG.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name, capsys):
    run_check(name, definitions(name[:2]))
    assert f"✓ {name}" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name in sorted(RIGHT) for answer in RIGHT[name]])
def test_another_right_answer_passes(name, answer, capsys):
    run_check(name, definitions(name[:2]), answer)
    assert f"✓ {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_fails(name):
    with pytest.raises(ExerciseError, match="not written yet"):
        run_check(name, definitions(name[:2], without_solutions))


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [(name, *wrong) for name, answers in sorted(WRONG.items()) for wrong in answers],
    ids=[f"{name}-{i}" for name, answers in sorted(WRONG.items()) for i in range(len(answers))],
)
def test_a_wrong_answer_is_told_its_mistake(name, answer, message):
    with pytest.raises(ExerciseError) as error:
        run_check(name, definitions(name[:2]), answer)
    assert message in str(error.value)
