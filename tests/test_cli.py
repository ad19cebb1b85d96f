"""The command line: what each command prints, that its examples run, and one line for whatever is wrong."""

import io
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import slmkit
from slmkit import cli, commands, pretrained, profiling, surveycommands, textcommands
from slmkit.data import corpora, pipeline
from slmkit.data.tokenizer import Tokenizer
from slmkit.model import storage
from slmkit.paths import root

TINY = shlex.split("--vocab 300 --d-model 16 --layers 1 --heads 2 --batch 2 --context 16 --steps 4 --save-every 2")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """run("count NAME") -> (exit code, stdout, stderr)"""

    def run(*line: str):
        code = cli.main([word for part in line for word in shlex.split(part)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def text(tmp_path):
    """A folder of text, small enough to train on at once."""
    folder = tmp_path / "text"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.txt").write_text("".join(f"{i} and {j} make {i + j}. " for j in range(200)))
    return folder


@pytest.fixture
def trained(run, text, monkeypatch, tmp_path):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    code, out, _ = run(f"train --corpus '{text}' --out made --device cpu", *TINY)
    assert code == 0, out
    return tmp_path / "made"


def test_help_lists_every_command_and_imports_nothing_slow():
    import subprocess

    code = (
        "import sys; from slmkit.cli import main; main(['--help']); assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for name in (
        "doctor",
        "count",
        "compare",
        "models",
        "claims",
        "lab",
        "train",
        "generate",
        "profile",
        "bench",
        "clean",
        "grade",
    ):
        assert re.search(rf"^ +{name}\b", said, flags=re.M), name


COMMANDS = ["doctor", "count", "compare", "models", "claims", "lab list", "lab run", "train", "generate", "profile",
            "bench", "clean", "grade"]  # fmt: skip


def example_of(command: str, run) -> list[str]:
    code, said, _ = run(f"{command} --help")
    assert code == 0
    program, *words = shlex.split(re.search(r"^example: (.*)$", said, flags=re.M)[1])
    assert program == "slmkit"
    assert " ".join(words).startswith(command)
    return words


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_in_the_help_runs(command, run, monkeypatch):
    """Long ones are parsed in full and then cut short: a tiny model, or the part behind the command replaced."""
    words = example_of(command, run)
    asked = {}
    if command == "train":
        monkeypatch.setattr(corpora, "load", lambda name: corpora.Corpus(name, "-", "-", ("so it is " * 99,), ("a b",)))
        words += TINY
    elif command == "generate":
        monkeypatch.setattr(pretrained, "load", untrained)
        words += ["--max-new-tokens", "3"]
    elif command == "profile":
        monkeypatch.setattr(commands, "configuration", lambda name: untrained()[0].config)
        monkeypatch.setattr(profiling, "measure_peaks", fast_machine)
        words += ["--anyway", "--repeats", "2"]
    elif command == "lab run":
        from slmkit.course import build

        monkeypatch.setattr(build, "main", lambda given: asked.update(given=given) or 0)
    elif command == "bench":
        from slmkit.profiling import bench, bench_data, bench_evaluation, bench_runtime

        monkeypatch.setattr(bench, "run", lambda threads, **options: asked.update(options, threads=threads) or 0)
        monkeypatch.setattr(bench_data, "run", lambda workers, **options: asked.update(workers=workers) or 0)
        for part in (bench_evaluation, bench_runtime):
            monkeypatch.setattr(
                part, "run", lambda threads, **options: asked.setdefault("files", []).append(options["path"].name)
            )
    elif command == "clean":
        monkeypatch.setattr(pipeline, "clean", lambda *given, **options: asked.update(options, given=given) or REPORT)
    elif command == "grade":
        from slmkit.course import submissions

        monkeypatch.setattr(submissions, "grade_folder", lambda *given: asked.update(given=given) or [])
        Path("submitted").mkdir()
    monkeypatch.setenv("SLMKIT_BUILD", "build")
    code, out, err = run(shlex.join(words))
    assert code == 0, err
    assert out or command == "lab run"
    if command == "lab run":
        assert asked["given"][:4] == ["--profile", "smoke", "--lab", "00"]
    if command == "grade":
        assert asked["given"] == (Path("submitted"), Path("graded"), (10, 1024), None)
    if command == "clean":
        assert asked["given"] == ("texts", "cleaned", ["gopher_quality", "minhash"])
        assert asked["workers"] == 2
    if command == "bench":
        assert (asked["threads"], asked["quick"], asked["workers"]) == ([1], True, 1)
        assert asked["files"] == ["bench-evaluation.json", "bench-runtime.json"]


REPORT = {"documents": {"read": 3, "out": 2}, "bytes": {"read": 9, "out": 6}, "left_out": [], "steps": []}


def fast_machine(**_):
    """Ceilings that take no time to measure and that nothing passes."""
    threads = torch.get_num_threads()
    return profiling.Peaks("cpu", "made up", threads, {"float32": {64: 1e15}}, {1000: 1e15})


def untrained():
    tokenizer = Tokenizer.train(["user and assistant " * 9], 270)
    tokenizer.backend.add_special_tokens([pretrained.START, pretrained.END])
    torch.manual_seed(0)
    config = slmkit.ModelConfig(tokenizer.vocab_size, 16, 1, 2, max_context=200)
    return slmkit.Decoder(config), tokenizer


# -- what is wrong, in one line ---------------------------------------------------------------------------------------

NONSENSE = {
    "trian": r"no command 'trian'; did you mean train\?",
    "zzz": "it is one of doctor, count",
    "count": "NAME",
    "count SmolLM2-135": "did you mean SmolLM2-135M",
    "count SmolLM2-135M --contxt 5": r"no option --contxt; did you mean --context\?",
    "count SmolLM2-135M --context 0": "at least 1",
    "count SmolLM2-135M --context 1e3": "whole number",
    "count SmolLM2-135M more": "'more' is one argument too many",
    "count no/such/folder": "no file or folder",
    "count .": "no model was saved there",
    "count RecurrentGemma-2B": "recurrent",
    "compare SmolLM2-135M": "B",
    "compare SmolLM2-135M SmolLM2-360": "did you mean SmolLM2-360M",
    "models --where yeer=2024": "no column 'yeer'; did you mean year.* columns are year, list, .*vocab_size",
    "models --where 2024": "is no condition",
    "models --where 'name=\"x'": "cannot be read: No closing quotation",
    "models --sort size": "no column 'size'.* columns are",
    "models --columns name,vocab": "no column 'vocab'.* columns are",
    "claims --verdict wrong": "no verdict contains 'wrong'; the verdicts are reproduced, .*not measured yet",
    "claims --mark X": "--mark cannot be 'X'",
    "claims --lab 99": "labs with claims are 00",
    "lab run 99": "no lab '99'; the labs are 00",
    "lab run 00 --profile smok": r"--profile cannot be 'smok'; did you mean smoke\?",
    "lab lst": r"did you mean list\?",
    "train": "--out",
    "train --out x --corpus speechs": "there is no corpus 'speechs'",
    "train --out x --schedule cosin": r"did you mean cosine\?",
    "train --out x --learning-rate fast": "'fast' is not a number",
    "train --out x --learning-rate -1 --steps 5": "learning_rate is -1.0; it must be above 0",
    "train --out x --vocab 10": "at least 257",
    "train --out file": "--out file is a file",
    "generate": "--prompt is missing",
    "generate --prompt a --model nowhere": "there is no folder nowhere",
    "train --config nowhere.toml --out out": "there is no file nowhere.toml; a recipe is a TOML file",
    "generate --prompt a --top-k 0": "at least 1",
    "profile SmolLM2-135M --json no/such/file.json": "its folder does not exist",
    "profile SmolLM2-135M --new-tokens 1": "at least 2",
    "bench --threads 1,two": "'two' must be a whole number",
    "bench --thread 1": r"did you mean --threads\?",
}  # fmt: skip


@pytest.mark.parametrize("line", NONSENSE)
def test_nonsense_gets_one_line_and_code_2(line, run, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run(line)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("slmkit")
    assert re.search(NONSENSE[line], err), err


def test_a_damaged_configuration_gets_one_line(run, tmp_path):
    (tmp_path / "broken.json").write_text('{"vocab_size": 5')
    assert run("count broken.json")[0] == 2
    (tmp_path / "odd.json").write_text('{"vocab_size": 5, "d_model": 4, "n_layers": 1, "n_heads": 3}')
    code, _, err = run("count odd.json")
    assert code == 2
    assert "does not divide" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("error", "code"), [
    (RuntimeError("it broke\nbadly"), 1), (OSError("disk full"), 1), (ImportError("no such package"), 1),
    (ValueError("too small"), 2), (KeyboardInterrupt(), 130),
])  # fmt: skip
def test_what_fails_inside_a_command(error, code, run, monkeypatch):
    def fail(options):
        raise error

    monkeypatch.setattr(surveycommands, "models", fail)
    got, _, err = run("models")
    assert got == code
    assert err == ("" if code == 130 else f"slmkit models: {' '.join(str(error).split())}\n")


# -- what the commands print ------------------------------------------------------------------------------------------


def test_count_reads_names_files_and_folders(run, tmp_path):
    config = slmkit.ModelConfig(100, 16, 2, 2)
    slmkit.save(slmkit.Decoder(config), tmp_path / "saved")
    (tmp_path / "c.json").write_text(json.dumps(config.to_dict()))
    total = f"{slmkit.count_parameters(config).total:,}"
    for name in ("saved", "c.json"):
        code, out, _ = run(f"count {name} --context 10")
        assert code == 0
        assert re.search(rf"^ +all +{total}$", out, flags=re.M)
        assert f"{slmkit.kv_cache_bytes(config, 1):,}" in out
    assert "134,515,008" in run("count smollm2-135m")[1]


def test_tables_have_every_row(run):
    _, out, _ = run("models")
    assert len(re.findall(r"^\S+ +\d{4}-\d\d ", out, flags=re.M)) == 73
    assert re.search(r"^RecurrentGemma-2B .*2,682,862,080.* no$", out, flags=re.M)
    assert re.search(r"^SmolLM2-360M .*361,821,120.* yes$", out, flags=re.M)
    _, out, _ = run("claims")
    assert len(re.findall(r"^C\d+[a-z]? ", out, flags=re.M)) == len(slmkit.survey.claims())
    assert re.search(r"^C5 .*the survey's own data disagrees$", out, flags=re.M)
    _, out, _ = run("claims --lab 01")
    assert set(re.findall(r"^C\d+[a-z]? +[KQ!] +(\d\d)", out, flags=re.M)) == {"01"}


def names(out: str) -> list[str]:
    return [row["name"] for row in json.loads(out)]


def test_models_are_chosen_sorted_and_said_to_be_ours(run):
    _, out, _ = run("models --json --where 'year=2024 attention=GQA vocab_size>50000' --sort params_exact")
    chosen = slmkit.survey.models()
    chosen = chosen[chosen.release.str.startswith("2024") & (chosen.attention == "GQA") & (chosen.vocab_size > 50_000)]
    assert names(out) == list(chosen.sort_values("params_exact", kind="stable").name)
    _, out, _ = run("models --json --where name=Phi-2 --columns name,params_exact,ffn_ratio,training_tokens,bias")
    phi = slmkit.survey.models().set_index("name").loc["Phi-2"]
    assert json.loads(out)[0] == {"name": "Phi-2", "params_exact": phi.params_exact, "ffn_ratio": 4,
                                  "training_tokens": phi.training_tokens, "bias": phi.bias}  # fmt: skip
    _, out, _ = run("models --json --since --columns name,list")
    ours = [row["name"] for row in json.loads(out) if row["list"] == "since"]
    assert ours == [row["name"] for row in slmkit.survey.tables.rows("models_since")]
    _, out, _ = run("models --since --where name~Qwen3-0.6B")
    assert re.search(r"^Qwen3-0.6B .* since +(yes|no)$", out, flags=re.M)
    _, out, _ = run("models --where 'year>2030' --sort vocab_size")
    assert "0 models" in out


@pytest.mark.parametrize("conditions", ["year=1999", "attention=GQA1", "year=2024,attention=GQA"])
def test_a_value_that_no_model_has_is_told_with_those_that_there_are(run, conditions):
    status, out, said = run(f"models --where {conditions}")
    assert (status, out) == (2, "")
    assert "nowhere; it is" in said
    assert said.count("\n") == 1


def test_claims_are_chosen(run):
    _, out, _ = run("claims --json --verdict 'own data' --mark !")
    found = json.loads(out)
    assert {row["verdict"] for row in found} == {"the survey's own data disagrees"}
    assert {row["mark"] for row in found} == {"!"}
    assert "C83" in {row["id"] for row in found}
    _, out, _ = run("claims --json --verdict testable")
    assert {row["verdict"] for row in json.loads(out)} == {"not testable here"}


def test_count_for_programs(run):
    _, out, _ = run("count SmolLM2-135M --json --context 100")
    found, config = json.loads(out), slmkit.survey.config("SmolLM2-135M")
    parts = found["parameters"]
    assert parts["all"] == 134_515_008 == parts["token_embedding"] + parts["all but embedding and head"]
    assert found["bytes"]["cache of 100 tokens, float16"] == slmkit.kv_cache_bytes(config, 100)
    assert found["flops"]["decode"] == slmkit.flops_per_token(config, context=100)


def test_compare_marks_what_differs(run):
    _, out, _ = run("compare Qwen2-0.5B Qwen1.5-0.5B")
    assert re.search(r"^≠ +n heads +14 +16$", out, flags=re.M)
    assert re.search(r"^   vocab size +151,936 +151,936$", out, flags=re.M)
    assert re.search(r"^≠ +all +494,032,768 +463,987,712$", out, flags=re.M)
    assert re.search(r"^≠ +cache of 32,768 tokens, float16 +402,653,184 +3,221,225,472$", out, flags=re.M)
    assert "≠  " not in run("compare SmolLM2-360M SmolLM2-360M")[1]
    both = json.loads(run("compare Qwen2-0.5B Qwen1.5-0.5B --json --context 7")[1])
    config = slmkit.survey.config("Qwen2-0.5B")
    assert both["Qwen2-0.5B"]["flops"]["prefill"] == slmkit.flops_per_token(config, context=7, phase="prefill")
    assert both["Qwen2-0.5B"]["bytes"]["cache of 2,048 tokens, float16"] == slmkit.kv_cache_bytes(config, 2048)


def test_doctor_says_what_is_missing_and_how_to_get_it(run, monkeypatch, tmp_path):
    from slmkit import doctor

    monkeypatch.setattr(doctor, "root", lambda: tmp_path)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setenv("SLMKIT_BUILD", "empty")
    code, out, _ = run("doctor")
    assert code == 0
    for part in doctor.parts():
        if part.name != "GPU":
            assert not part.here
            assert f"no  {part.name}: {part.says}" in out
            assert part.remedy in out
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    assert {part.name: part.here for part in doctor.parts()}["llama.cpp engine"]


def test_doctor_names_the_command_that_brings_each_part(run, monkeypatch, tmp_path):
    from slmkit import doctor

    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in ("rensa", "llama_cpp") else object())
    in_clone = {part.name: part for part in doctor.parts()}
    monkeypatch.setattr(doctor, "root", lambda: tmp_path)  # as in an environment with the wheel alone
    alone = {part.name: part for part in doctor.parts()}
    for name, clone, pip in (("data tools", "make setup", "pip install 'slmkit[data]'"),
                             ("llama.cpp engine", "make engine", "pip install 'slmkit[engine]'")):  # fmt: skip
        assert not alone[name].here
        assert in_clone[name].remedy.startswith(clone)
        assert alone[name].remedy.startswith(pip)
    assert alone["data tools"].says.endswith("without rensa")
    assert alone["book tools"].here
    assert doctor.needed("llama_cpp").startswith("this needs llama_cpp, which is not installed; to get it: pip install")
    assert doctor.needed("antigravity") is None
    assert "compiler" in doctor.install("serving")  # its engine is not there yet
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    assert "compiler" not in doctor.install("serving")


@pytest.mark.parametrize(("processors", "threads", "percent", "told"), [
    (2, 2, 50, True), (2, 2, 10, False), (2, 1, 100, False), (4, 4, 20, True), (4, 2, 40, False),
])  # fmt: skip
def test_a_machine_that_others_use_is_named(run, monkeypatch, tmp_path, processors, threads, percent, told):
    from slmkit.profiling import machine

    monkeypatch.setattr(machine.os, "cpu_count", lambda: processors)
    monkeypatch.setattr(machine.psutil, "cpu_percent", lambda seconds: percent)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert ("OMP_NUM_THREADS=1" in run("doctor")[1]) == told
    code, _, err = run(f"train --corpus tinyworld --vocab 300 --d-model 32 --layers 1 --heads 2 --steps 1 --batch 2 "
                       f"--context 32 --out {tmp_path / 'run'}")  # fmt: skip
    assert code == 0
    assert ("OMP_NUM_THREADS=1" in err) == told


def test_a_missing_part_is_one_line_with_its_command(run, monkeypatch):
    def missing(options):
        raise ModuleNotFoundError("No module named 'jupytext.formats'", name="jupytext.formats")

    monkeypatch.setattr(commands, "grade", missing)
    assert run("grade submitted --out graded") == (
        1, "", "slmkit grade: this needs jupytext, which is not installed; to get it: make setup\n"
    )  # fmt: skip


def test_the_version_is_that_of_the_package(run):
    stated = tomllib.loads((root() / "pyproject.toml").read_text())["project"]["version"]
    assert run("--version") == (0, f"slmkit {stated}\n", "")


def test_lab_list_shows_runs_and_exercises(run, monkeypatch, tmp_path):
    folder = tmp_path / "build" / "labs" / "cpu"
    folder.mkdir(parents=True)
    measured = {"cpu_s": 61, "wall_s": 75, "peak_mb": 123, "date": "2026-01-02"}
    (folder / "00.json").write_text(json.dumps(measured))
    (folder / "00_your_machine.ipynb").write_text("{}")
    (tmp_path / "build" / "progress.json").write_text(json.dumps({"00/intensity": "2026-01-03"}))
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    _, out, _ = run("lab list")
    spent = r"1 min 01 s +1 min 15 s +123 MB +2026-01-02"
    assert re.search(rf"^00 +Your machine +1 of \d +cpu +{spent}$", out, flags=re.M)
    assert re.search(r"^05 +Feed-forward layer.* +0 of \d +not run yet +– +– +– +–$", out, flags=re.M)
    assert re.search(r"^1 of \d+ labs run, in 1 min 01 s of processor time; 1 of \d+ exercises passed\.$", out, re.M)
    _, out, _ = run("lab list --json")
    assert json.loads(out)[0]["passed"] == {"00/intensity": "2026-01-03"}
    assert json.loads(out)[0]["runs"] == [{"profile": "cpu"} | measured]


# -- text -------------------------------------------------------------------------------------------------------------


def test_training_goes_on_and_refuses_other_options(trained, run, text):
    model = slmkit.load(trained)
    assert model.config.max_context == 16
    before = (trained / "log.jsonl").read_text()
    line = f"train --corpus '{text}' --out made --device cpu"
    assert run(line, *TINY)[0] == 0
    assert (trained / "log.jsonl").read_text() == before  # nothing was left to do
    again = slmkit.load(trained)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    code, _, err = run(line, *TINY, "--steps 5")
    assert code == 2
    assert "holds a run with --steps 4, not 5" in err
    assert err.count("\n") == 1


def test_a_model_that_train_did_not_make_is_not_overwritten(run, text, tmp_path):
    slmkit.save(slmkit.Decoder(slmkit.ModelConfig(300, 16, 1, 2)), tmp_path / "mine")
    code, _, err = run(f"train --corpus '{text}' --out mine --device cpu", *TINY)
    assert code == 2
    assert "choose another --out" in err


def test_generate_is_what_the_function_gives(trained, run):
    code, out, _ = run("generate --model made --prompt '1 and 2' --temperature 0 --max-new-tokens 5")
    assert code == 0
    tokenizer = Tokenizer.load(trained / "tokenizer.json")
    ids = tokenizer.encode("1 and 2")
    model = slmkit.load(trained)
    wanted = slmkit.generate(model, [ids], 5, stop_tokens=[tokenizer.end_of_text])[0].tolist()
    assert out == "1 and 2" + tokenizer.decode([i for i in wanted[len(ids) :] if i != tokenizer.end_of_text]) + "\n"
    drawn = {
        run("generate --model made --prompt 1 --max-new-tokens 9 --seed 3 --top-k 50 --top-p 0.9")[1] for _ in "ab"
    }
    assert len(drawn) == 1
    code, _, err = run("generate --model made --prompt", "'" + "1 and 2 " * 20 + "'")
    assert code == 2
    assert "the model reads 16" in err


def test_pieces_wait_for_whole_characters():
    tokenizer = Tokenizer.train(["ab" * 9], 260)
    ids = tokenizer.encode("aé日b")
    assert list(textcommands.pieces(tokenizer, iter([*ids, 5, 5]), [5])) == ["a", "é", "日", "b"]
    assert list(textcommands.pieces(tokenizer, iter(ids[:2]), [5])) == ["a", "\N{REPLACEMENT CHARACTER}"]


def test_a_conversation_ends_with_its_input_and_forgets_the_oldest_first(run, monkeypatch):
    asked = []
    monkeypatch.setattr(pretrained, "load", untrained)
    monkeypatch.setattr(textcommands, "answer", lambda model, tokenizer, messages, options: asked.append(
        [m["content"] for m in messages]) or "fine")  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n" + "long " * 14 + "\n"))
    code, *_ = run("generate --chat --max-new-tokens 20")
    assert code == 0
    assert asked[:2] == [["one"], ["one", "fine", "two"]]
    assert asked[2] == ["two", "fine", ("long " * 14).strip()]


def test_run_options_and_command_options_agree():
    options = cli.build_parser().parse_args(["train", "--out", "x"])
    assert set(textcommands.MAKES_THE_RUN) <= set(vars(options))
    assert textcommands.run_of(SimpleNamespace(**vars(options)), recipe=None)["corpus"] == "speeches"


STAGES = """
[model]
d_model = 16
n_layers = 1
n_heads = 2
[data]
vocab_size = 300
sources = {{ one = {text}, two = {text} }}
[training]
batch_size = 2
context = 16
[[stage]]
steps = 3
weights = {{ one = 1 }}
[[stage]]
steps = 2
"""


def test_a_file_describes_a_run(run, text, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    (tmp_path / "run.toml").write_text(STAGES.format(text=json.dumps(str(text))))
    line = "train --config run.toml --out made --device cpu"
    code, out, err = run(line)
    assert code == 0, err
    assert "5 steps of 32 tokens" in out
    assert slmkit.load(tmp_path / "made").config.max_context == 16
    assert run(line)[0] == 0  # goes on with the finished run
    (tmp_path / "run.toml").write_text(STAGES.format(text=json.dumps(str(text))).replace("steps = 2", "steps = 1"))
    for words, message in (
        ("", "holds a run with training"),
        ("--d-model 32", "--d-model and --config exclude each other"),
    ):
        code, _, err = run(line, words)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1


def test_a_file_may_name_a_teacher(run, trained, text, tmp_path):
    source = STAGES.format(text=json.dumps(str(text))).replace("vocab_size = 300", 'tokenizer = "made"')
    (tmp_path / "run.toml").write_text(source + '[teacher]\nmodel = "made"\nbeta = 0.5\nhard = 0.5\n')
    code, _, err = run("train --config run.toml --out student --device cpu")
    assert code == 0, err
    assert slmkit.load(tmp_path / "student").config.vocab_size == slmkit.load(trained).config.vocab_size
    (tmp_path / "run.toml").write_text(
        source.replace('tokenizer = "made"', "vocab_size = 290") + '[teacher]\nmodel = "made"\n'
    )
    code, _, err = run("train --config run.toml --out other --device cpu")
    assert code == 2
    assert "the teacher's vocabulary" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_of_several_processes_the_first_speaks_and_writes(run, text, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("RANK", "1")
    code, out, err = run(f"train --corpus '{text}' --out made --device cpu", *TINY)
    assert (code, out) == (0, ""), err
    assert not (tmp_path / "made" / storage.WEIGHTS).exists()
    assert not (tmp_path / "made" / "run.json").exists()
