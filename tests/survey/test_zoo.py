"""Every model of both tables that a decoder can be has exactly its published number of parameters."""

import pytest
import torch

from slmkit import Decoder, ModelConfig, count_parameters
from slmkit.survey import available, config, models, zoo

TABLE = models(since=True).set_index("name")

# The others, and why.
REFUSALS = {
    "MiniMA-2-1B": "its published d_ff is not known to the table",
    "CT-LLM-2B": "its published tied_embeddings is not known to the table",
    "GLM-Edge-1.5B": "its published tied_embeddings is not known to the table",
    "Apertus-v1.1-1.5B": "its published d_ff is not known to the table",
    "RecurrentGemma-2B": "two of three of its blocks are recurrent, and a decoder has attention in every block",
    "BitNet-b1.58-2B": "it has norms inside attention and FFN, and weights of three values",
}


def test_all_but_six_can_be_built():
    assert set(available()) == set(TABLE.index) - set(REFUSALS)
    assert len(available(since=False)) == 73 - 3
    assert len(available()) == 73 + 55 - 6


@pytest.mark.parametrize("name", [name for name in TABLE.index if name not in REFUSALS])
def test_parameters_to_the_unit(name):
    """Counted from the configuration, and built without memory on torch's meta device."""
    count = count_parameters(config(name))
    assert count.total == TABLE.params_exact[name]
    # The table's "non-embedding" leaves out every vocabulary matrix and position table, as `count_parameters` does.
    assert count.non_embedding == TABLE.params_non_embedding[name]
    with torch.device("meta"):
        model = Decoder(config(name))
    assert sum(p.numel() for p in model.parameters()) == TABLE.params_exact[name]


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_with_the_reason(name):
    with pytest.raises(ValueError, match=f"{name} cannot be built: ") as caught:
        config(name)
    assert str(caught.value).endswith(REFUSALS[name])


@pytest.mark.parametrize("name", ["RecurrentGemma-2B", "BitNet-b1.58-2B"])
def test_refused_models_with_a_formula_are_counted(name):
    assert zoo.counted(name) == (TABLE.params_exact[name], TABLE.params_non_embedding[name])


def test_a_model_without_a_formula_says_so():
    with pytest.raises(ValueError, match=r"count_parameters\(config\(name\)\) does it"):
        zoo.counted("SmolLM2-135M")


def test_the_model_that_the_labs_run():
    assert count_parameters(config("SmolLM2-135M")) == count_parameters(
        ModelConfig(vocab_size=49152, d_model=576, n_layers=30, n_heads=9, n_kv_heads=3, d_ff=1536)
    )
    assert (config("SmolLM2-135M").rope_theta, config("SmolLM2-135M").max_context) == (1e5, 8192)


def test_what_the_columns_say_reaches_the_configuration():
    pythia, qwen, gemma = config("Pythia-410M"), config("Qwen2-0.5B"), config("Gemma-2B")
    assert (pythia.block, pythia.rope_dim, pythia.tied_embeddings, pythia.norm) == ("parallel", 16, False, "layernorm")
    assert (qwen.qkv_bias, qwen.out_bias, qwen.n_kv_heads, qwen.rope_theta) == (True, False, 2, 1e6)
    assert (gemma.n_kv_heads, gemma.head_dim, gemma.activation, gemma.norm_unit_offset) == (1, 256, "gelu_tanh", True)
    assert config("Llama-3.2-1B").rope_scaling.kind == "llama3"
    assert config("Qwen1.5-4B").rope_theta == 5e6, "the longest prefix counts"


def test_two_kinds_of_layers():
    gemma2, gemma3, smollm3, aya = (config(n) for n in ("Gemma-2-2B", "Gemma-3-4B", "SmolLM3-3B", "Tiny-Aya-3.35B"))
    assert gemma2.window[:3] == (4096, None, 4096)
    assert [gemma3.rotation(i).theta for i in (4, 5, 6)] == [1e4, 1e6, 1e4]
    assert gemma3.rotation(4).scaling is None
    assert gemma3.rotation(5).scaling.factor == 8
    assert [gemma3.layer(i).window for i in (4, 5, 6)] == [1024, None, 1024]
    assert [smollm3.rotation(i) is None for i in range(36)] == [False, False, False, True] * 9
    assert [(aya.layer(i).window, aya.rotation(i) is None) for i in (2, 3)] == [(4096, False), (None, True)]


def test_openelm_s_layers_are_those_of_the_published_configuration():
    """Apple's configuration of the 270M lists multipliers; these are the widths that its code makes of them."""
    openelm = config("OpenELM-270M")
    assert openelm.n_heads == (12, 12, 12, 12, 12, 16, 16, 16, 16, 16, 16, 16, 20, 20, 20, 20)
    assert openelm.n_kv_heads == tuple(n // 4 for n in openelm.n_heads)
    assert (openelm.d_ff[0], openelm.d_ff[1], openelm.d_ff[-1]) == (768, 1024, 5120)


def test_scaled_residuals_and_logits():
    minicpm, granite = config("MiniCPM-1B"), config("Granite-3.0-2B")
    assert (minicpm.embedding_scale, minicpm.logit_scale) == (12, 256 / 1536)
    assert minicpm.residual_scale == pytest.approx(1.4 / 52**0.5)
    assert (granite.residual_scale, granite.logit_scale, granite.layer(0).attention_scale) == (0.22, 0.125, 1 / 64)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean .*SmolLM2-135M"):
        config("SmolLM2-135")
    with pytest.raises(ValueError, match="lists them"):
        config("???")
    assert config("smollm2-360m") == config("SmolLM2-360M")


def test_every_model_has_its_settings_with_their_source_and_every_entry_is_used():
    entries = zoo.all_settings()
    assert {zoo.settings(name)[0] for name in available()} == set(entries)
    for name, entry in entries.items():
        assert entry["source"], name
        assert set(entry) - {"source"} <= set(ModelConfig.__dataclass_fields__), name
