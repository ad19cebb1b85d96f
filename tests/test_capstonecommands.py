"""`slmkit capstone`: train, score, and the leaderboard, from the command line."""

import contextlib
import io
import json
import re
import shlex

import pytest

from slmkit import cli
from slmkit.course import capstone
from slmkit.course.capstone_design import REFERENCES, corpus


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build folder for this file, and the tiny reference handed in, by the command of the help."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("clone")
        patch.chdir(folder)
        patch.setenv("SLMKIT_BUILD", str(folder / "build"))
        yield folder


def example(name: str) -> list[str]:
    """The example of `slmkit capstone NAME --help`, as arguments."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main(["capstone", name, "--help"]) == 0
    program, *words = shlex.split(re.search(r"^example: (.*)$", said.getvalue(), flags=re.M)[1])
    assert program == "slmkit"
    return words


@pytest.fixture(scope="module")
def reference(build):
    assert cli.main([word.replace("small", "tiny") for word in example("train")]) == 0
    return build / "build" / "capstone" / "reference"


def test_help_names_both_commands(capsys):
    assert cli.main(["capstone"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^ +train\b", said, flags=re.M)
    assert re.search(r"^ +score\b", said, flags=re.M)


def test_scoring_gives_a_place_once(build, reference, capsys):
    for _ in range(2):
        assert cli.main(example("score")) == 0
    said = capsys.readouterr().out
    assert said.count("place 1 of 1 for tiny, public") == 2
    assert re.search(r"^parameters +19,936 +50,000 +0\.40$", said, flags=re.M)
    assert re.search(r"^memory, bytes +.*^training, FLOPs +.*^latency, s a token ", said, flags=re.M | re.S)
    board = json.loads((build / "build" / "capstone" / "leaderboard.json").read_text())
    assert [one["name"] for one in board] == ["reference, tiny"]


def test_another_design_takes_its_place_and_the_same_bits_are_asked_for(build, reference, capsys, tmp_path):
    said = REFERENCES["tiny"] | {"name": "short", "stage": [{"steps": 2}]}
    (tmp_path / "design.json").write_text(json.dumps(said))
    assert cli.main(["capstone", "train", str(tmp_path / "design.json"), "--out", str(tmp_path / "mine")]) == 0
    assert cli.main(["capstone", "score", str(reference)]) == 0
    capsys.readouterr()
    assert cli.main(["capstone", "score", str(tmp_path / "mine"), "--again"]) == 0
    told = capsys.readouterr().out
    assert "trained again: the same bits" in told
    assert "place 2 of 2 for tiny, public" in told
    (tmp_path / "mine" / "design.json").write_text(json.dumps(said | {"stage": [{"steps": 3}]}))
    assert cli.main(["capstone", "score", str(tmp_path / "mine"), "--again"]) == 1
    assert "refused: trained again, its " in capsys.readouterr().out


def test_a_hidden_text_has_a_board_of_its_own(build, reference, capsys, tmp_path):
    (tmp_path / "hidden.txt").write_text("".join(capstone.pieces(corpus("tinyworld").held_out[1::2], 20)))
    assert cli.main(["capstone", "score", str(reference), "--hidden", str(tmp_path / "hidden.txt")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"place 1 of 1 for tiny, hidden \w{8}", said)
    assert re.search(r"known better than the public evaluation by [+-]\d+\.\d standard errors, limit", said)
    assert "its design, trained again here, differs by +0.000000 bits per byte, limit 0.001" in said


def test_a_refused_one_gets_no_place(reference, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "other"))
    (reference / "design.json").write_text(json.dumps(REFERENCES["tiny"] | {"stage": [{"steps": 99}]}))
    assert cli.main(["capstone", "score", str(reference)]) == 1
    assert "refused: over the budget tiny: training 7.94 times" in capsys.readouterr().out
    assert not (tmp_path / "other" / "capstone" / "leaderboard.json").exists()
    (reference / "design.json").write_text(json.dumps(REFERENCES["tiny"]))


@pytest.mark.parametrize("line", [
    "capstone score nowhere", "capstone train nowhere.json --out new", "capstone train tiny --out .",
    "capstone score . --hidden image.bin", "capstone score . --hidden nowhere.txt",
])  # fmt: skip
def test_nonsense_gets_one_line_and_code_2(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "design.json").write_text("{}")
    (tmp_path / "image.bin").write_bytes(b"\xff\xfe\x00")
    assert cli.main(shlex.split(line)) == 2
    said = capsys.readouterr().err
    assert said.startswith("slmkit capstone ")
    assert said.count("\n") == 1


def test_a_name_that_is_no_budget_gets_the_budgets(capsys):
    assert cli.main(["capstone", "train", "medium", "--out", "new"]) == 2
    assert "the budgets are tiny, small, large" in capsys.readouterr().err


def test_a_damaged_leaderboard_gets_one_line(reference, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    (tmp_path / "capstone").mkdir()
    (tmp_path / "capstone" / "leaderboard.json").write_text("{")
    assert cli.main(["capstone", "score", str(reference)]) == 2
    assert "is damaged; delete it and score again" in capsys.readouterr().err
