"""GGUF files: what is written reads back, and what cannot be held is refused. tests/test_engine.py runs them."""

import re

import gguf_cases as cases
import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.config import RopeScaling
from slmkit.data.tokenizer import Tokenizer
from slmkit.interop import KINDS, from_gguf, gguf_kind, to_gguf

IDS = torch.arange(1, 61).view(2, 30)
TEXT = "Do you know? In 1848 it was 12 °C, “fine” and  dry;\n\tmost unlike 東京 <|endoftext|> 😀."


@pytest.mark.parametrize("name", [name for name in cases.OPTIONS if name != "gpt_neox"])
@torch.no_grad()
def test_what_is_written_reads_back(tmp_path, name):
    model = cases.decoder(name)
    back, tokenizer = from_gguf(to_gguf(model, tmp_path / "model.gguf", kind=cases.OPTIONS[name][0]))
    assert tokenizer is None
    assert torch.allclose(back(IDS), model(IDS), rtol=0, atol=1e-4 if "rope_scaling" in cases.OPTIONS[name][1] else 0)
    assert back.config.tied_embeddings == model.config.tied_embeddings
    assert back.config.max_context == model.config.max_context
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


@torch.no_grad()
def test_the_exact_gelu_is_written_with_a_warning_and_reads_back_as_the_engine_computes_it(tmp_path):
    model = cases.decoder("gpt_neox")
    with pytest.warns(UserWarning, match="activation = 'gelu': llama.cpp computes its tanh form"):
        path = to_gguf(model, tmp_path / "model.gguf")
    back = from_gguf(path)[0]
    assert back.config.activation == "gelu_tanh"
    assert torch.allclose(back(IDS), model(IDS), rtol=0, atol=3e-3)


@pytest.mark.parametrize("name", cases.OPTIONS)
def test_the_kind_is_found(name):
    kind = cases.OPTIONS[name][0]
    assert gguf_kind(cases.config(name)) == kind or name == "llama-bias"
    assert gguf_kind(cases.config(name), kind) == kind


def test_every_kind_has_a_case():
    assert {kind for kind, _ in cases.OPTIONS.values()} == set(KINDS)


def test_half_precision_is_written_in_full(tmp_path):
    model = cases.decoder("llama").bfloat16()
    back = from_gguf(to_gguf(model, tmp_path / "model.gguf"))[0]
    for (name, ours), theirs in zip(model.named_parameters(), back.parameters(), strict=True):
        assert torch.equal(ours.float(), theirs), name


REFUSED = [
    ("llama", dict(activation="relu"), "llama cannot hold activation = 'relu' (it has 'silu')"),
    ("llama", dict(ffn="standard"), "llama cannot hold ffn = 'standard'"),
    ("llama", dict(norm_placement="post"), "llama cannot hold norm_placement = 'post'"),
    ("llama", dict(positions="alibi"), "llama cannot hold positions = 'alibi'"),
    ("llama", dict(qk_norm="head"), "llama cannot hold qk_norm = 'head'"),
    ("llama", dict(window=8), "llama cannot hold window = 8"),
    ("llama", dict(window=(8, None, None)), "llama cannot hold window = (8, None, None) (it has one value for all"),
    ("llama", dict(d_ff=(64, 64, 128)), "llama cannot hold d_ff = (64, 64, 128) (it has one value for all layers)"),
    ("llama", dict(rope_theta=(1e4, 1e4, None)), "llama cannot hold rope_theta = (10000.0, 10000.0, None)"),
    ("llama", dict(rope_fraction=0.5), "llama cannot hold rope_fraction = 0.5"),
    ("llama", dict(attention_scale=0.1), "llama cannot hold attention_scale = 0.1"),
    ("llama", dict(embedding_scale=2.0), "llama cannot hold embedding_scale = 2.0"),
    ("llama", dict(residual_scale=0.5), "llama cannot hold residual_scale = 0.5"),
    ("llama", dict(logit_scale=0.5), "llama cannot hold logit_scale = 0.5"),
    ("llama", dict(logit_cap=30.0), "llama cannot hold logit_cap = 30.0"),
    ("llama", dict(norm_weight=False), "llama cannot hold norm_weight = False"),
    ("llama", dict(attention="mla", kv_lora_rank=8, qk_rope_head_dim=4, n_kv_heads=4), "attention = 'mla'"),
    ("qwen2", dict(qkv_bias=False), "qwen2 cannot hold qkv_bias = False"),
    ("qwen2", dict(head_dim=8), "qwen2 cannot hold head_dim = 8 (it has d_model / n_heads)"),
    ("qwen2", dict(rope_scaling=RopeScaling("linear", 2.0)), "qwen2 cannot hold rope_scaling = RopeScaling("),
    ("gemma", dict(tied_embeddings=False), "gemma cannot hold tied_embeddings = False"),
    ("gemma", dict(embedding_scale=2.0), "gemma cannot hold embedding_scale = 2.0 (it has √d_model = 8.0)"),
    ("gpt2", dict(activation="gelu"), "gpt2 cannot hold activation = 'gelu' (it has 'gelu_tanh')"),
    ("gpt2", dict(out_bias=False), "gpt2 cannot hold out_bias = False"),
    ("gpt2", dict(position_offset=2), "gpt2 cannot hold position_offset = 2"),
    ("gpt_neox", dict(block="parallel_shared_norm"), "gpt_neox cannot hold block = 'parallel_shared_norm'"),
    ("gpt_neox", dict(norm="rmsnorm"), "gpt_neox cannot hold norm = 'rmsnorm' (it has 'layernorm')"),
    ("stablelm", dict(block="parallel"), "stablelm cannot hold block = 'parallel'"),
    ("stablelm", dict(norm_bias=False), "stablelm cannot hold norm_bias = False (it has True)"),
    ("phi", dict(head_bias=False), "phi cannot hold head_bias = False (it has True)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_a_kind_cannot_hold_is_refused_by_name(name, changes, message):
    config = cases.config(name, **changes)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        gguf_kind(config, cases.OPTIONS[name][0])
    assert "\n" not in str(error.value)


def test_without_a_kind_the_nearest_are_named():
    with pytest.raises(ValueError, match=r"GGUF's llama cannot hold logit_cap = 30.0 .*; GGUF's "):
        gguf_kind(cases.config("llama", logit_cap=30.0))
    with pytest.raises(ValueError, match="the kind 'lama' is not one of qwen2, llama"):
        gguf_kind(cases.config("llama"), "lama")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = cases.decoder("llama")
    with torch.no_grad():
        model.blocks[1].ffn.up.weight[3, 4] = float("inf")
    with pytest.raises(ValueError, match=r"blocks.1.ffn.up.weight holds values that are not finite"):
        to_gguf(model, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


# -- the tokenizer


def model_for(tokenizer: Tokenizer, more: int = 0) -> Decoder:
    return Decoder(ModelConfig(vocab_size=tokenizer.vocab_size + more, d_model=32, n_layers=1, n_heads=2))


@pytest.mark.parametrize("more", [0, 5])
@pytest.mark.parametrize("vocab_size", [257, 300])
def test_the_tokenizer_comes_along(tmp_path, vocab_size, more):
    tokenizer = Tokenizer.train([TEXT * 3], vocab_size)
    back = from_gguf(to_gguf(model_for(tokenizer, more), tmp_path / "model.gguf", tokenizer))[1]
    assert back.digest == tokenizer.digest
    assert back.end_of_text == tokenizer.end_of_text
    assert back.encode(TEXT) == tokenizer.encode(TEXT)


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path):
    from tokenizers import normalizers, pre_tokenizers

    tokenizer = Tokenizer.train([TEXT], 280)
    with pytest.raises(ValueError, match="the tokenizer has 280 tokens and the model's vocab_size is 279"):
        to_gguf(model_for(tokenizer, -1), tmp_path / "model.gguf", tokenizer)
    usual, other = tokenizer.backend.normalizer, [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)]
    for normalizer, splitting in (normalizers.Lowercase(), None), (usual, pre_tokenizers.Sequence(other)):
        tokenizer.backend.normalizer = normalizer
        tokenizer.backend.pre_tokenizer = splitting or tokenizer.backend.pre_tokenizer
        with pytest.raises(ValueError, match="not byte-level BPE that splits as GPT-2's or SmolLM's"):
            to_gguf(model_for(tokenizer), tmp_path / "model.gguf", tokenizer)
    assert not list(tmp_path.iterdir())


# -- files that cannot be read


def test_a_file_cut_short_is_refused_in_one_line(tmp_path):
    whole = to_gguf(cases.decoder("llama"), tmp_path / "model.gguf").read_bytes()
    short = tmp_path / "short.gguf"
    for length in (0, 3, 20, 700, len(whole) // 2, len(whole) - 1):
        short.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"short.gguf is not a GGUF file, or is cut short") as error:
            from_gguf(short)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        from_gguf(tmp_path / "none.gguf")


@pytest.mark.parametrize(("add", "message"), [
    (lambda writer: writer.add_sliding_window(8), "has llama.attention.sliding_window = 8, which is not read here"),
    (lambda writer: writer.add_rope_scaling_factor(2.0), "has llama.rope.scaling.factor = 2.0"),
])  # fmt: skip
def test_a_field_that_is_not_read_is_refused_by_name(tmp_path, monkeypatch, add, message):
    from slmkit.interop import gguf

    write = gguf._write_options
    monkeypatch.setattr(gguf, "_write_options", lambda writer, config: (write(writer, config), add(writer)))
    path = to_gguf(cases.decoder("llama"), tmp_path / "model.gguf")
    with pytest.raises(ValueError, match=message):
        from_gguf(path)


def test_an_unknown_architecture_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "llama", KINDS["llama"]._replace(architecture="mamba"))
    path = to_gguf(cases.decoder("llama"), tmp_path / "model.gguf")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"general.architecture = 'mamba'; what is read here is qwen2, llama"):
        from_gguf(path)
