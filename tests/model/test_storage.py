"""Saving and loading: the same bits come back, damage is named, and a kill leaves no half."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from mixtures import MIXTURES
from safetensors.torch import load_file, save_file

from slmkit import Decoder, ModelConfig, RopeScaling
from slmkit.data.tokenizer import Tokenizer
from slmkit.model import storage

BASE = dict(vocab_size=40, d_model=24, n_layers=4, n_heads=4, max_context=32)
KINDS = {
    "tied": {}, "untied": dict(tied_embeddings=False), "alibi": dict(positions="alibi"),
    "learned": dict(positions="learned", norm="layernorm"), "shared blocks": dict(sharing="block_pairs"),
    "shared FFN": dict(sharing="ffn_all", tied_embeddings=False), "layer-wise": dict(d_ff=(8, 16, 24, 32)),
    "mla": dict(attention="mla", head_dim=8, kv_lora_rank=6, qk_rope_head_dim=4),
    "scaled": dict(rope_scaling=RopeScaling("yarn", 2.0, 8)),
    "gemma2": dict(norm_placement="both", norm_unit_offset=True, score_cap=5.0, logit_cap=9.0, window=(4, None) * 2),
    "gemma3": dict(norm_placement="both", qk_norm="head", rope_theta=(100.0, 1e4, None, 1e4),
                   rope_scaling=(None, RopeScaling("linear", 2.0)) * 2),
} | MIXTURES  # fmt: skip


def made(**options):
    torch.manual_seed(0)
    return Decoder(ModelConfig(**BASE | options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", KINDS)
def test_the_same_bits_come_back(tmp_path, name, dtype):
    model = made(**KINDS[name]).to(dtype)
    again = storage.load(storage.save(model, tmp_path / "new" / "folder"))
    assert again.config == model.config
    weights, loaded = model.state_dict(), again.state_dict()
    assert weights.keys() == loaded.keys()
    assert all(torch.equal(weights[key], loaded[key]) and loaded[key].dtype == dtype for key in weights)
    ids = torch.randint(0, 40, (2, 7))
    assert torch.equal(model(ids), again(ids))


def test_shared_weights_are_stored_once_and_stay_shared(tmp_path):
    for options in (dict(sharing="block_pairs"), dict(sharing="ffn_all"), {}):
        model = made(**options)
        stored = load_file(storage.save(model, tmp_path) / storage.WEIGHTS)
        assert sum(tensor.numel() for tensor in stored.values()) == sum(p.numel() for p in model.parameters())
        again = storage.load(tmp_path)
        assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in model.parameters())


def test_a_loaded_model_trains(tmp_path):
    model = storage.load(storage.save(made(), tmp_path))
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.add_(1.0)
    assert torch.equal(storage.load(tmp_path).embedding.weight, made().embedding.weight)  # the file did not change


def test_a_tokenizer_and_other_files_stay_beside_it(tmp_path):
    tokenizer = Tokenizer.train(["some words and some more words"], 270)
    (tmp_path / "log.jsonl").write_text("kept")
    storage.save(made(), tmp_path, tokenizer)
    storage.save(made(), tmp_path)
    assert Tokenizer.load(tmp_path / storage.TOKENIZER).digest == tokenizer.digest
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", *(storage.WEIGHTS, storage.CONFIG),
                                                          storage.TOKENIZER}  # fmt: skip
    assert json.loads((tmp_path / storage.CONFIG).read_text())["d_model"] == 24


def rewritten(tmp_path, change, header=True):
    """A stored model whose tensors went through `change`."""
    storage.save(made(), tmp_path)
    tensors = load_file(tmp_path / storage.WEIGHTS)
    change(tensors)
    metadata = {"config": (tmp_path / storage.CONFIG).read_text()} if header else None
    save_file(tensors, tmp_path / storage.WEIGHTS, metadata=metadata)
    return tmp_path


def one_line(error):
    assert "\n" not in str(error.value)
    assert storage.WEIGHTS in str(error.value) or storage.CONFIG in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("norm.weight"), "norm.weight is missing"),
        (lambda t: t.update(extra=torch.zeros(2)), "extra has no place in it"),
        (lambda t: t.update({"norm.weight": torch.ones(25)}), r"norm.weight has shape \[25\], not \[24\]"),
        (
            lambda t: t["blocks.1.ffn.up.weight"][3, 4:5].fill_(float("nan")),
            "blocks.1.ffn.up.weight that are not finite",
        ),
        (lambda t: t["norm.weight"][:1].fill_(float("inf")), "norm.weight that are not finite"),
    ],
)
def test_weights_that_do_not_fit_or_are_not_numbers(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        storage.load(rewritten(tmp_path, change))
    one_line(error)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_short(tmp_path, share):
    path = storage.save(made(), tmp_path) / storage.WEIGHTS
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(ValueError, match="cut short or damaged") as error:
        storage.load(tmp_path)
    one_line(error)


@pytest.mark.parametrize("name", [storage.WEIGHTS, storage.CONFIG])
def test_a_missing_file(tmp_path, name):
    (storage.save(made(), tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing") as error:
        storage.load(tmp_path)
    one_line(error)


@pytest.mark.parametrize("text", ["{", "[]", '{"vocab_size": 0}', '{"colour": 1}', "null"])
def test_a_broken_configuration(tmp_path, text):
    (storage.save(made(), tmp_path) / storage.CONFIG).write_text(text)
    with pytest.raises(ValueError, match="is not a model configuration") as error:
        storage.load(tmp_path)
    one_line(error)


def test_a_configuration_of_another_model(tmp_path):
    rewritten(tmp_path, lambda t: None, header=False)
    other = ModelConfig(**BASE | dict(d_model=32)).to_dict()
    (tmp_path / storage.CONFIG).write_text(json.dumps(other))
    with pytest.raises(ValueError, match="not a model of the configuration beside it") as error:
        storage.load(tmp_path)
    one_line(error)


def test_weights_written_elsewhere_load_by_config_json_alone(tmp_path):
    rewritten(tmp_path, lambda t: None, header=False)
    assert torch.equal(storage.load(tmp_path).embedding.weight, made().embedding.weight)


def test_the_weights_know_their_own_configuration(tmp_path):
    """A kill between the two renames leaves new weights beside an old config.json."""
    old = (storage.save(made(), tmp_path) / storage.CONFIG).read_text()
    storage.save(made(d_ff=48), tmp_path)
    (tmp_path / storage.CONFIG).write_text(old)
    assert storage.load(tmp_path).config.d_ff == 48


def test_a_failed_write_leaves_the_old_model(tmp_path, monkeypatch):
    storage.save(made(), tmp_path)

    def full(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        storage.save(made(d_ff=48), tmp_path)
    assert storage.load(tmp_path).config == made().config
    assert {path.name for path in tmp_path.iterdir()} == {storage.WEIGHTS, storage.CONFIG}


def test_a_kill_at_any_moment_leaves_a_whole_model(tmp_path):
    """A process that saves two models in turn is killed while it does."""
    code = f"""if True:
        from slmkit import Decoder, ModelConfig
        from slmkit.model import storage
        models = [Decoder(ModelConfig(vocab_size=64, d_model=64, n_layers=4, n_heads=4, d_ff=d)) for d in (64, 2048)]
        while True:
            for model in models:
                storage.save(model, {str(tmp_path)!r})
                print("saved", flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    for line_count in (1, 2, 1):
        for _ in range(line_count):
            process.stdout.readline()
        assert storage.load(tmp_path).config.d_ff in (64, 2048)  # also while it is being written
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert storage.load(tmp_path).config.d_ff in (64, 2048)
