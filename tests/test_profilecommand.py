"""slmkit profile: the table, the record and its rows, and one line for what cannot be measured."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from slmkit import Decoder, ModelConfig, cli, profilecommand, profiling, survey
from slmkit.interop import to_gguf
from slmkit.model.storage import save
from slmkit.profiling import engine as llama
from slmkit.profiling import latency

SMALL = ModelConfig(vocab_size=300, d_model=64, n_layers=2, n_heads=2, d_ff=128, max_context=96)
QUICK = "--threads 1 --prompt 5 --new-tokens 3 --repeats 2"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a small model in each form; a machine with endless ceilings, and always steady."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(profiling, "measure_peaks", endless)
    monkeypatch.setattr(latency, "now", ticking())
    (tmp_path / "c.json").write_text(json.dumps(SMALL.to_dict()))
    save(Decoder(SMALL), tmp_path / "folder")
    to_gguf(Decoder(SMALL), tmp_path / "m.gguf")


def endless(**_):
    flops = {name: {64: 1e18} for name in ("float32", "bfloat16")}
    return profiling.Peaks("cpu", "made up", torch.get_num_threads(), flops, {1000: 1e18})


def ticking(steps=(1.0,)):
    """A clock that goes on by the next of `steps` at each look, wall and processor alike."""
    state = {"looks": 0, "now": 0.0}

    def look(device="cpu"):
        state["now"] += steps[state["looks"] % len(steps)]
        state["looks"] += 1
        return state["now"], state["now"]

    return look


@pytest.fixture
def run(capsys):
    """run("MODEL …") -> (exit code, stdout, stderr)"""

    def run(line: str):
        return cli.main(["profile", *shlex.split(line)]), *capsys.readouterr()

    return run


@pytest.mark.parametrize("model", ["c.json", "folder", "SmolLM2-135M"])
def test_torch_measures_a_model_in_any_form(model, run, monkeypatch):
    if model == "SmolLM2-135M":
        monkeypatch.setattr(profilecommand.commands, "configuration", lambda name: SMALL)
    code, out, err = run(f"{model} {QUICK} --dtype bfloat16 --json out.json")
    assert code == 0, err
    record = json.loads(Path("out.json").read_text())
    assert (record["model"], record["dtype"], record["threads"]) == (model, "bfloat16", 1)
    assert (record["ttft_ms"], record["tpot_ms"], record["steady"]) == (1000, 500, True)
    assert len(record["tpot_ms_repeats"]) == 2
    assert record["weights_mb"] == 2 * record["parameters"] / 1e6
    assert record["machine"]["cores"] >= 1
    assert re.search(r"^time to the first token +1,000.00 +– +\+0% +0.00$", out, flags=re.M)
    assert re.search(rf"^model parameters +{record['weights_mb']:.2f}$", out, flags=re.M)
    assert "NOT STEADY" not in out


@pytest.mark.engine
@pytest.mark.parametrize(("line", "format"), [
    ("c.json --engine llama.cpp", "F16"), ("c.json --engine llama.cpp --quant Q8_0", "Q8_0"), ("m.gguf", "F32"),
    ("m.gguf --quant Q4_0", "Q4_0"),
])  # fmt: skip
def test_llama_measures_a_model_in_any_format_and_leaves_nothing_behind(line, format, run, tmp_path):
    code, _, err = run(f"{line} {QUICK} --json out.json")
    assert code == 0, err
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["engine"].startswith("llama.cpp")
    assert (record["dtype"], record["ttft_ms"], record["tpot_ms"]) == (format, 1000, 500)
    assert record["roofline_tpot_ms"] > 0
    assert list((tmp_path / "build").iterdir()) == []
    code, _, err = run(f"c.json {QUICK} --json torch.json")
    ours = json.loads((tmp_path / "torch.json").read_text())
    assert list(ours) == list(record)
    assert [list(row) for row in ours["rows"]] == [list(row) for row in record["rows"]]


def test_a_gguf_file_in_torch(run, tmp_path):
    code, out, err = run(f"m.gguf --engine torch {QUICK}")
    assert code == 0, err
    assert out.startswith("m.gguf: 0.1M parameters in float32\ntorch ")


def test_the_rows_are_the_surveys(run, tmp_path):
    assert run(f"c.json {QUICK} --json out.json")[0] == 0
    record, table = json.loads((tmp_path / "out.json").read_text()), survey.runtime()
    for row in record["rows"]:
        assert list(row) == list(table.columns)
    known = set(zip(table["phase"].fillna(""), table["metric"], table["unit"]))
    first, each, weights, cache, buffer, *_, whole = (tuple(row[key] for key in ("phase", "metric", "unit"))
                                                      for row in record["rows"])  # fmt: skip
    assert {first, each, weights, cache, buffer, whole} <= known
    values = [row["value"] for row in record["rows"]]
    assert values[:3] == [record["ttft_ms"], record["tpot_ms"], record["weights_mb"]]
    assert values[-1] == record["peak_memory_mb"]
    assert (record["rows"][0]["x_value"], record["rows"][1]["x_value"], record["rows"][2]["x_value"]) == (5, 3, 8)


def test_an_unsteady_machine_is_refused_and_reported_with_a_mark_only_when_asked(run, tmp_path, monkeypatch):
    # A repeat looks three times: these first tokens take 1, 1, 9 and 9 seconds, whatever comes after.
    monkeypatch.setattr(latency, "now", ticking((1, 1, 1, 1, 1, 1, 1, 9, 1, 1, 9, 1)))
    line = "c.json --threads 1 --prompt 5 --new-tokens 3 --repeats 4"
    code, out, err = run(f"{line} --json out.json")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"slmkit profile: the machine is not steady enough to measure; time to the first token: "
                        r"the 12 repeats spread over \d+% of their median .*\(--anyway\)\n", err)  # fmt: skip
    assert not (tmp_path / "out.json").exists()
    code, out, _ = run(f"{line} --json out.json --anyway")
    assert code == 0
    assert "NOT STEADY, not for comparisons: time to the first token: the 12 repeats" in out
    assert all("not steady: time to" in row["note"] for row in json.loads((tmp_path / "out.json").read_text())["rows"])


@pytest.mark.parametrize(("line", "message"), [
    ("c.json --threads 0", "'0' must be a whole number of at least 1"),
    ("c.json --prompt 95 --new-tokens 3", "--prompt 95 and --new-tokens 3 take 97 tokens, and c.json knows at most 96"),
    ("c.json --engine llama.cpp --prompt 95 --new-tokens 3", "take 97 tokens, and c.json knows at most 96"),
    ("m.gguf --engine torch --prompt 95 --new-tokens 3", "take 97 tokens, and m.gguf knows at most 96"),
    ("m.gguf --prompt 95 --new-tokens 3", "context is 97; m.gguf knows at most 96 tokens"),
    ("c.json --engine llama.cpp --quant Q7", "--quant Q7 does not exist; it is one of F16, BF16, Q8_0"),
    ("c.json --quant Q8_0", "--quant Q8_0 is a format of llama.cpp; add --engine llama.cpp"),
    ("c.json --engine llama.cp", r"did you mean llama.cpp\?"),
    ("c.json --engine llama.cpp --dtype bfloat16", "--dtype bfloat16 is not for llama.cpp here; use --quant F16"),
    ("c.json --engine llama.cpp --device cuda", "--device cuda is not for llama.cpp here; use --engine torch"),
    ("none.gguf", "there is no file none.gguf"),
    ("short.gguf", r"short.gguf cannot be loaded; is it cut short\?"),
    ("short.gguf --engine torch", "short.gguf is not a GGUF file, or is cut short"),
    ("odd.json --engine llama.cpp --prompt 9", "GGUF's .* cannot hold logit_cap = 30.0"),
])  # fmt: skip
def test_what_cannot_be_measured_gets_one_line_and_code_2(line, message, run, tmp_path, monkeypatch):
    pytest.importorskip("llama_cpp") if "llama.cpp" in line or line.endswith(".gguf") else None
    (tmp_path / "short.gguf").write_bytes((tmp_path / "m.gguf").read_bytes()[:-1])
    (tmp_path / "odd.json").write_text(json.dumps(SMALL.to_dict() | {"logit_cap": 30.0}))
    monkeypatch.setattr(profilecommand, "built", None)  # nothing is built first
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert re.search(message, err), err


@pytest.mark.engine
@pytest.mark.parametrize("line", ["c.json", "c.json --engine llama.cpp", "m.gguf"])
def test_too_little_memory_is_refused_with_the_numbers_before_loading(line, run, monkeypatch):
    monkeypatch.setattr(profilecommand, "built", None)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    code, out, err = run(f"{line} {QUICK}")
    assert (code, out) == (1, "")
    assert re.search(r"needs \d.* [MG]B .*weights.* and 0(.00)? [MG]B are free", err), err
    assert err.count("\n") == 1


def test_what_a_run_needs_is_told_by_part():
    options = SimpleNamespace(prompt=5, new_tokens=3)
    parts = profiling.memory_by_part(SMALL, 5, 3, torch.bfloat16)
    needed = profilecommand.needed(SMALL, options, torch.bfloat16)
    assert needed == {"weights": parts.weights, "cache": parts.cache, "activations": parts.activations}
    capped = ModelConfig(**SMALL.to_dict() | {"score_cap": 50.0})
    assert set(profilecommand.needed(capped, options, torch.float32)) == {"weights", "cache"}
    profilecommand.check_memory("m", {"weights": 600, "cache": 400}, 1000)
    with pytest.raises(MemoryError, match=r"m needs 2.00 GB \(weights 1.50, cache 0.50\) and 1.90 GB are free"):
        profilecommand.check_memory("m", {"weights": int(1.5e9), "cache": int(5e8)}, int(1.9e9))


@pytest.mark.engine
def test_too_little_disk_is_refused_with_the_numbers(run, monkeypatch):
    monkeypatch.setattr(profilecommand, "built", None)
    monkeypatch.setattr(profilecommand.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    code, _, err = run(f"c.json --engine llama.cpp {QUICK}")
    assert code == 2
    assert re.search(r"c.json needs \d.\d GB in .*build as files, and 0.0 GB are free there", err), err


def test_a_missing_engine_is_one_line_with_the_remedy(run, monkeypatch):
    def missing():
        raise ImportError("the llama.cpp engine is not installed; `make engine` builds it")

    monkeypatch.setattr(llama, "_engine", missing)
    monkeypatch.setattr(profilecommand, "built", None)
    code, out, err = run(f"c.json --engine llama.cpp {QUICK}")
    assert (code, out) == (1, "")
    assert err == "slmkit profile: the llama.cpp engine is not installed; `make engine` builds it\n"


def test_a_gpu_that_is_not_there(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = run(f"c.json --device cuda {QUICK}")
    assert (code, err) == (2, "slmkit profile: --device cuda: PyTorch finds no GPU; use --device cpu\n")


@pytest.mark.parametrize("options", [{}, {"sharing": "ffn_all"}, {"positions": "alibi"}], ids=str)
def test_a_model_built_in_place_is_a_decoder_of_its_dtype(options):
    config = ModelConfig(**SMALL.to_dict() | options)
    model = profilecommand.built(config, torch.bfloat16, torch.device("cpu"))
    assert torch.get_default_dtype() == torch.float32
    usual = Decoder(config).to(torch.bfloat16)
    names = [name for name, _ in usual.named_parameters()]
    assert [name for name, _ in model.named_parameters()] == names
    for (name, ours), (_, theirs) in zip(model.named_buffers(), usual.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    assert all(tensor.dtype == torch.bfloat16 for tensor in (*model.parameters(), *model.buffers()))
    for (name, ours), (_, theirs) in zip(model.named_parameters(), usual.named_parameters(), strict=True):
        spread, usual_spread = (tensor.detach().float().std() for tensor in (ours, theirs))
        assert spread == pytest.approx(float(usual_spread), rel=0.1), name
        if "norm" in name:
            assert torch.equal(ours, theirs), name
