"""Cleaning a folder: the report adds up, workers and kills change nothing, bad input is left out and counted."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from slmkit.data import executors, pipeline
from slmkit.data.dedup import minhash_clusters
from slmkit.data.filtering import judge
from slmkit.data.pipeline import clean
from slmkit.data.report import in_words
from slmkit.paths import root

RECIPE = root() / "book" / "data" / "pipeline.py"
WORDS = [f"{a}{b}{c}{d}" for a in "bdfgklmnprst" for b in "aeiou" for c in "dgklmnrt" for d in ("", "en", "ing")]
STEPS = ("gopher_quality", "minhash", "lines")


def prose(rng: random.Random, lines: int = 8) -> str:
    """Text that Gopher's rules keep and that resembles nothing else."""
    return "\n".join(f"The {' '.join(rng.choices(WORDS, k=10))} and the {rng.choice(WORDS)}." for _ in range(lines))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """40 good documents, 4 near-copies, 3 short ones, and a line that five of them share."""
    rng = random.Random(0)
    good = [prose(rng) for _ in range(40)]
    for i in (1, 5, 9, 13, 17):
        good[i] += "\nSubscribe to the letter that we send you every week."
    copies = [good[i].replace(good[i].split()[3], "house") for i in (2, 4, 6, 8)]
    return [*good, *copies, "Too short.", "Too short as well.", "Short again."]


@pytest.fixture(scope="module")
def source(texts, tmp_path_factory) -> Path:
    """The documents in files of all kinds."""
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("source")
    (folder / "below").mkdir()
    lines = [json.dumps({"text": text, "id": f"n{i}", "url": f"at {i}"}) + "\n" for i, text in enumerate(texts)]
    (folder / "a.jsonl").write_text("".join(lines[:15]), encoding="utf-8")
    with gzip.open(folder / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("".join(lines[15:30]))
    parquet.write_table(pyarrow.table({"text": texts[30:44], "n": range(14)}), folder / "below" / "c.parquet")
    for i, text in enumerate(texts[44:]):
        (folder / f"d{i}.{'md' if i else 'txt'}").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def cleaned(source, tmp_path_factory) -> Path:
    """The folder that one worker made."""
    target = tmp_path_factory.mktemp("one") / "target"
    clean(source, target, STEPS, tasks=3, progress=False)
    return target


def rows(target: Path) -> list[dict]:
    return [
        json.loads(line) for path in sorted(target.glob("*.gz")) for line in gzip.open(path, "rt", encoding="utf-8")
    ]


def files(target: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in target.iterdir()}


def test_the_report_says_what_each_step_dropped_and_why(source, texts, cleaned):
    report = json.loads((cleaned / "report.json").read_text(encoding="utf-8"))
    assert report["files"] == {"found": 6, "left_out": 0}
    assert report["documents"] == {"read": 47, "left_out": 0, "dropped": 7, "out": 40}
    quality, minhash, lines = report["steps"]
    assert {name: why["count"] for name, why in quality["reasons"].items()} == {"gopher_short_doc": 3}
    assert {one["text"] for one in quality["reasons"]["gopher_short_doc"]["examples"]} == set(texts[44:])
    expected = sum(len(group) - 1 for group in minhash_clusters([t for t in texts if not judge(t, "gopher_quality")]))
    assert (minhash["in"], minhash["dropped"], minhash["out"]) == (44, expected, 40)
    assert minhash["reasons"]["minhash"]["count"] == expected == 4
    assert (lines["dropped"], lines["lines"]["cut"]) == (0, 4)
    assert "Subscribe" in lines["examples"][0]["text"]
    kept = rows(cleaned)
    assert len(kept) == 40
    assert sum("Subscribe" in row["text"] for row in kept) == 1
    assert report["bytes"]["out"] == sum(len(row["text"].encode()) for row in kept)
    assert report["words"]["out"] == sum(len(row["text"].split()) for row in kept)
    assert {row["id"]: row["metadata"] for row in kept}["n0"] == {"url": "at 0"}
    assert {"below/c.parquet/0"} <= {row["id"] for row in kept}
    assert report["settings"]["steps"][1] == {"step": "minhash", "n_grams": 5, "buckets": 14, "hashes_per_bucket": 8,
                                              "seed": 1}  # fmt: skip
    assert "datatrove" in report["settings"]["versions"]
    assert "(gopher_short_doc 3)\n    gopher_short_doc: too few words\n" in in_words(report)
    assert not (cleaned / ".unfinished").exists()


def test_four_workers_make_the_same_bytes_and_a_second_run_does_nothing(source, cleaned, tmp_path, monkeypatch):
    clean(source, tmp_path / "four", STEPS, tasks=3, workers=4, progress=False)
    assert files(tmp_path / "four") == files(cleaned)
    monkeypatch.setitem(executors.RUNNERS, "local", None)
    assert clean(source, tmp_path / "four", STEPS, tasks=3)["documents"]["out"] == 40
    with pytest.raises(ValueError, match="holds a run with other steps"):
        clean(source, tmp_path / "four", ["minhash"], tasks=3)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(workers, source, cleaned, tmp_path):
    """SIGKILL when some tasks are done and others are not; then the same command again."""
    target = tmp_path / "killed"
    code = (  # without a main guard: the workers do not import it
        "from slmkit.data.pipeline import clean\n"
        f"clean({str(source)!r}, {str(target)!r}, {STEPS!r}, tasks=3, workers={workers}, progress=False)"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, script])
    done = target / ".unfinished" / "logs" / "01" / "completions"
    while not (done.is_dir() and len(list(done.iterdir())) > 3):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = target / ".unfinished" / "logs"
    finished = sum(len(list(one.glob("completions/*"))) for one in left.iterdir())
    assert not (target / "report.json").exists()
    assert 3 < finished < 3 + 14 + 1 + 3 + 1 + 3 + 1
    clean(source, target, STEPS, tasks=3, progress=False)
    assert files(target) == files(cleaned)


def test_parquet_and_few_files_for_many_tasks(texts, tmp_path):
    """Of fewer files than tasks each task takes some documents: none twice, none lost."""
    from pyarrow import parquet

    (tmp_path / "all.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    report = clean(tmp_path / "all.jsonl", tmp_path / "out", [], tasks=5, ending="parquet", progress=False)
    tables = [parquet.read_table(path).to_pylist() for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert len(tables) == 5
    assert sorted(row["text"] for table in tables for row in table) == sorted(texts)
    assert report["documents"] == {"read": 47, "left_out": 0, "dropped": 0, "out": 47}


# -- bad input -------------------------------------------------------------------------------------------------------


def test_bad_input_is_left_out_with_a_line_each_and_the_rest_is_processed(tmp_path):
    import pyarrow
    from pyarrow import parquet

    folder, good = tmp_path / "source", "A good document."
    folder.mkdir()
    (folder / "good.txt").write_text(good)
    (folder / "empty.txt").touch()
    (folder / "blank.md").write_text(" \n")
    (folder / "latin.txt").write_bytes("Käse".encode("latin-1"))
    (folder / "wide.txt").write_text("wide", encoding="utf-16-le")
    with open(folder / "long.txt", "wb") as file:
        file.truncate(100_000_000)
    with open(folder / "line.jsonl", "wb") as file:
        file.write(b'{"text": "' + b"a" * 100_000_000 + b'"}\n{"text": "behind"}\n')
    (folder / "rows.jsonl").write_bytes(
        b'{"text": "first"}\n{"text": "cut\n\xff\n[1]\n{"body": "x"}\n{"text": 5}\n{"text": "half \\ud800"}\n'
        b'{"text": null}\n\n{"text": "nan", "score": NaN}'
    )
    whole = gzip.compress(b"".join(b'{"text": "row %d of the file"}\n' % i for i in range(20_000)), mtime=0)
    (folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "no.jsonl.gz").write_bytes(b"no gzip at all")
    parquet.write_table(pyarrow.table({"body": ["x"], "n": [1]}), folder / "other.parquet")
    (folder / "broken.parquet").write_bytes(b"PAR1 and no more")
    (folder / "notes.csv").write_text("not read")
    report = clean(folder, tmp_path / "out", [], tasks=2, progress=False)
    found = {(left["what"], left["reason"]): left["count"] for left in report["left_out"]}
    assert found == {
        ("files", "damaged file"): 3, ("files", "empty file"): 1, ("files", "no text column"): 1,
        ("documents", "longer than the limit"): 2, ("documents", "no text column"): 2,
        ("documents", "no text in it"): 2, ("documents", "not JSON"): 2, ("documents", "not UTF-8"): 4,
    }  # fmt: skip
    kept = [row["text"] for row in rows(tmp_path / "out")]
    assert {good, "first", "behind", "nan"} < set(kept)
    cut = sum(text.startswith("row ") for text in kept)
    assert 5_000 < cut < 20_000  # those before the cut
    assert len(kept) == 4 + cut == report["documents"]["out"]
    said = in_words(report).splitlines()
    for line in ("latin.txt, document 1: not UTF-8 (byte 1 is 0xe4)", "long.txt, document 1: longer than the limit",
                 "other.parquet: no text column (there is no 'text' among body, n)", "cut.jsonl.gz: damaged file",
                 "line.jsonl, document 1: longer than the limit (more than 10,000,000 bytes)"):  # fmt: skip
        assert sum(one.startswith(f"left out: {line}") for one in said) == 1, line


def test_what_may_not_be_read_is_left_out():
    """As another user, where the tests run as root: root may read everything."""
    folder = Path(tempfile.mkdtemp())
    source = folder / "source"
    (source / "closed").mkdir(parents=True)
    for name in ("good.txt", "secret.txt", "closed/more.txt"):
        (source / name).write_text(f"The text of {name}.")
    for path in (folder, source):
        path.chmod(0o777)
    (source / "closed").chmod(0)
    (source / "secret.txt").chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(PermissionError):
            (source / "secret.txt").read_text()
        report = clean(source, folder / "out", [], tasks=1, progress=False)
    finally:
        if root:
            os.seteuid(0)
        (source / "closed").chmod(0o700)
        shutil.rmtree(folder)
    assert report["documents"]["out"] == 1
    assert {(left["reason"], left["count"]) for left in report["left_out"]} == {("no permission", 2)}
    assert {one["where"] for left in report["left_out"] for one in left["examples"]} == {"closed", "secret.txt"}


@pytest.mark.parametrize(("options", "says"), [
    ({"steps": ["gopher"]}, "no step 'gopher'; it is one of language"),
    ({"steps": ["minhash:bukets=2"]}, "no option 'bukets'; it has n_grams"),
    ({"steps": ["minhash:5"]}, "'5' of the step minhash must be an option and its value"),
    ({"steps": ["minhash:buckets=0"]}, "buckets is 0"),
    ({"workers": 0}, "workers is 0"),
    ({"executor": "sulrm"}, "executor is 'sulrm'"),
    ({"executor": "slurm"}, "slurm needs partition and time"),
    ({"cluster": {"partition": "a"}}, "for slurm and ray"),
    ({"target": "below"}, "lies in the source"),
    ({"target": "../full"}, "is not empty"),
    ({"source": "none"}, "no folder or file"),
    ({"source": "below"}, "holds nothing that can be read"),
])  # fmt: skip
def test_what_cannot_be_is_one_clear_line(options, says, tmp_path):
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "a.txt").write_text("text")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other").touch()
    given = {"source": source / options.pop("source", ""), "target": source / options.pop("target", "../new")}
    with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
        clean(**given, **({"steps": []} | options))
    assert "\n" not in str(error.value)


# -- the recipe, here and on a cluster -------------------------------------------------------------------------------


def test_the_recipe_of_the_book_runs_here(texts, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    subprocess.run([sys.executable, RECIPE, source, tmp_path / "out"], check=True, stdout=subprocess.DEVNULL)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [step["step"] for step in report["steps"]][-1] == "minhash"
    assert report["documents"]["read"] == 47


def test_the_recipe_submits_a_job_for_each_pass_in_its_order(source, tmp_path, monkeypatch):
    """With an `sbatch` that only writes down what it is given."""
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(
        '#!/bin/sh\nn=$(ls "$JOBS" | wc -l)\n'
        '(echo "$@"; for last; do :; done; cat "$last") > "$JOBS/$n"\necho Submitted batch job 70$n\n'
    )
    sbatch.chmod(0o755)
    (tmp_path / "jobs").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(tmp_path / "jobs"))
    subprocess.run([sys.executable, RECIPE, source, tmp_path / "out", "slurm"], check=True, capture_output=True)
    jobs = [path.read_text() for path in sorted((tmp_path / "jobs").iterdir(), key=lambda path: int(path.name))]
    arrays = [job for job in jobs if "launch_pickled_pipeline" in job]  # the others add up counts
    assert ["clean-0" in arrays[0], "array=0-13" in arrays[1], "array=0-0" in arrays[-1]] == [True] * 3
    assert len(arrays) == 5  # signatures, buckets, clusters, documents, report
    assert "dependency" not in arrays[0].splitlines()[0]
    assert all("--dependency=afterok:70" in job.splitlines()[0] for job in arrays[1:])
    assert all("#SBATCH --partition=cpu" in job for job in arrays)


def test_ray_is_asked_for_by_name_where_it_is_missing(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="pip install"):
        clean(source, tmp_path / "out", [], executor="ray")


def test_a_second_run_at_the_same_time_is_refused(source, tmp_path, monkeypatch):
    work = tmp_path / "out" / pipeline.WORK
    work.mkdir(parents=True)
    code = f"import time; from pathlib import Path; from slmkit.data import executors\n" \
           f"with executors.only_run(Path({str(work)!r}), True): print('held', flush=True); time.sleep(60)"  # fmt: skip
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        monkeypatch.setattr(executors, "PATIENCE", 0.1)
        with pytest.raises(RuntimeError, match="another run is at work"):
            clean(source, tmp_path / "out", [], progress=False)
    finally:
        other.kill()
        other.wait()
