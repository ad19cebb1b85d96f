"""The workflow that publishes: its commands exist, and its push, run here, brings the whole site to the branch."""

import os
import re
import subprocess

import pytest
import yaml

from slmkit.paths import root

FOLDER = root() / ".github" / "workflows"
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}
CONFIG = yaml.safe_load((root() / "_config.yml").read_text())


def steps(name):
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_workflow_makes_is_a_target(name):
    makefile = (root() / "Makefile").read_text()
    for step in steps(name):
        for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
            assert re.search(rf"^{target}:", makefile, flags=re.M), f"{name}: make {target}"
        assert ("run" in step) != ("uses" in step)
        assert "@v" in step.get("uses", "@v"), "an action has a version"


def test_the_push_brings_the_site_to_the_published_branch(tmp_path):
    build, push = steps("publish.yml")[-2:]
    assert build["run"] == "make book"
    assert push["working-directory"] == "_build/html"
    site, remote, seen = tmp_path / "site", tmp_path / "remote.git", tmp_path / "seen"
    files = ["index.html", ".nojekyll", "_static/a.css", "labs/00.ipynb", "labs/slmkit-0-py3-none-any.whl"]
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(file)
    subprocess.run(["git", "init", "-q", "--bare", remote], check=True)
    settings = {"TOKEN": "t", "GITHUB_REPOSITORY": "o/r", "GITHUB_SHA": "0123abc"}
    # Git takes the repository here for the one on GitHub.
    settings |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{remote}.insteadOf",
                 "GIT_CONFIG_VALUE_0": "https://x-access-token:t@github.com/o/r"}  # fmt: skip
    branch = CONFIG["sphinx"]["config"]["slmkit_published_branch"]
    for round in ("first", "second"):  # the site of a later commit takes the place of the first
        (site / "index.html").write_text(round)
        subprocess.run(["bash", "-e", "-c", push["run"]], cwd=site, env=os.environ | settings, check=True)
    subprocess.run(["git", "clone", "-q", "-b", branch, remote, seen], check=True)
    there = [path.relative_to(seen) for path in seen.rglob("*") if path.is_file()]
    assert sorted(str(path) for path in there if path.parts[0] != ".git") == sorted(files)
    assert (seen / "index.html").read_text() == "second"
