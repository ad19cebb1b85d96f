"""What README, CONTRIBUTING and the pages tell a reader to type exists, and does what they say."""

import ast
import inspect
import re
import shlex
import subprocess
import sys

import pytest

from slmkit.course.facts import FACTS
from slmkit.paths import root

PAGES = {path: path.read_text() for path in [root() / "README.md", root() / "CONTRIBUTING.md",
                                             *sorted((root() / "book").rglob("*.md"))]}  # fmt: skip


RUN = [root() / "README.md", root() / "book" / "how_to_use.md"]  # their Python runs as it stands


def blocks(language: str, pages=PAGES) -> list[str]:
    return [block for page in pages for block in re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.S)]


COMMANDS = sorted({
    line.split("  #")[0].strip()
    for block in blocks("bash")
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
})  # fmt: skip
MENTIONED = {word for text in PAGES.values() for word in re.findall(r"`(?:\w+=\S+ )?make ([a-z]+)", text)}
TARGETS = set(re.findall(r"^([a-z]+):", (root() / "Makefile").read_text(), flags=re.M))


def slmkit(*arguments: str) -> str:
    """What the command line prints."""
    return subprocess.run(
        [sys.executable, "-m", "slmkit.cli", *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def subcommands() -> str:
    return slmkit("--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists(command, subcommands):
    for part in command.split(" && "):
        program, *words = shlex.split(part)
        if program == "make":
            assert words[0] in TARGETS
            settings = dict(word.split("=") for word in words[1:])
            assert set(settings) <= {"LAB", "PROFILE"}
            assert settings.get("PROFILE", "cpu") in ("smoke", "cpu", "full")
            assert list((root() / "labs").glob(f"{settings.get('LAB', '')}*.py")), f"no such lab: {command}"
        elif program == "slmkit":
            assert re.search(rf"\b{words[0]}\b", subcommands), f"slmkit has no command {words[0]}"
        elif program == "torchrun":
            assert words[2:4] == [".venv/bin/slmkit", "train"]
            assert (root() / words[words.index("--config") + 1]).exists()
        elif program == "lm_eval" or words[:2] == ["-m", "slmkit.evaluation.harness"]:
            assert {"--model", "--model_args", "--tasks"} <= set(words)  # tests/course/test_harness_page.py runs them
        elif program == "cd":
            assert words == ["build/assignments"]  # which the command before makes
        elif program.endswith(".venv/grading/bin/nbgrader"):
            assert words  # tests/course/test_nbgrader.py runs them
        elif program == "python":  # a recipe of the book, which its page's test runs
            assert (root() / words[0]).exists()
        elif program == ".venv/bin/python":
            assert words[:2] == ["-m", "pytest"]
            assert (root() / words[2]).exists()
        else:
            assert program == ".venv/bin/ruff", f"unknown program in a command: {command}"
            assert words[0] in ("check", "format")


def test_make_targets_that_the_text_mentions_exist():
    assert {"book", "test"} <= MENTIONED
    assert not MENTIONED - TARGETS


def test_count_prints_the_published_number():
    assert "slmkit count SmolLM2-135M" in COMMANDS
    assert "134,515,008" in slmkit("count", "SmolLM2-135M")


@pytest.mark.parametrize("snippet", blocks("python", RUN), ids=lambda snippet: snippet.splitlines()[-1][:40])
def test_python_snippets_run(snippet, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where one of them saves a model
    (tmp_path / "book").symlink_to(root() / "book")
    exec(compile(snippet, "snippet", "exec"), {})
    said = capsys.readouterr().out
    assert "134,515,008" in said or (said.startswith("The model ") and len(said) > 20)


@pytest.mark.parametrize(
    "snippet",
    blocks("python", [page for page in PAGES if page not in RUN]),
    ids=lambda snippet: snippet.splitlines()[-1][:40],
)
def test_fragments_name_what_exists(snippet):
    """Fragments need a network, or texts of the reader's: their imports work, and their calls fit the functions."""
    tree, known = ast.parse(snippet), {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), "fragment", "exec"), known)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert calls
    for call in calls:
        function = ast.unparse(call.func)
        if function.split(".")[0] in known:
            given = {keyword.arg: None for keyword in call.keywords}
            inspect.signature(eval(function, known)).bind(*call.args, **given)


def test_snippets_print_what_the_text_says(capsys):
    readme, _, guide = blocks("python", RUN)
    exec(readme, {})
    for line in capsys.readouterr().out.splitlines():
        assert f"`{line}`" in PAGES[root() / "README.md"]
    exec(guide, {})
    assert FACTS["smollm2.cache_2048"]() in capsys.readouterr().out


def test_files_that_the_readme_names_are_there():
    text = PAGES[root() / "README.md"]
    for path in re.findall(r"`((?:book|slmkit|labs|tests)/[^`\s]*|LICENSE[-A-Z]*)`", text) + re.findall(
        r"\]\((book/[^)]+)\)", text
    ):
        assert (root() / path).exists(), path
    tree = re.findall(r"^([\w.]+(?:/[\w./]*)?) {2,}", text, flags=re.M)
    assert len(tree) > 10
    for path in tree:
        assert (root() / path).exists(), f"in the map of README.md and gone: {path}"


def test_licences_are_whole():
    licence = (root() / "LICENSE").read_text()
    assert licence.strip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in licence
    assert "creativecommons.org/licenses/by/4.0" in (root() / "LICENSE-PROSE").read_text()
