"""Every model of the survey that can be built has exactly its published number of parameters."""

import pytest

from slmkit import Decoder, ModelConfig, count_parameters
from slmkit.survey import available, config, models, zoo

TABLE = models().set_index("name")


@pytest.mark.parametrize("name", [name for name in available() if name in TABLE.index])
def test_parameters_to_the_unit(name):
    count = count_parameters(config(name))
    assert count.total == TABLE.params_exact[name]
    # The table's "non-embedding" leaves out every vocabulary matrix and position table, as `count_parameters` does.
    assert count.non_embedding == TABLE.params_non_embedding[name]


def test_the_model_that_the_labs_run():
    assert "SmolLM2-135M" in available()
    assert count_parameters(config("SmolLM2-135M")).total == 134_515_008


@pytest.mark.parametrize("name", ["SmolLM-135M", "Pythia-160M", "Qwen1.5-0.5B", "MobiLlama-0.5B", "OLMo-1B"])
def test_one_of_each_kind_builds(name):
    import torch

    with torch.device("meta"):
        model = Decoder(config(name))
    assert sum(p.numel() for p in model.parameters()) == TABLE.params_exact[name]


def test_what_the_columns_say_reaches_the_configuration():
    pythia, qwen, gemma = config("Pythia-410M"), config("Qwen2-0.5B"), config("Gemma-2B")
    assert (pythia.block, pythia.rope_dim, pythia.tied_embeddings, pythia.norm) == ("parallel", 16, False, "layernorm")
    assert (qwen.qkv_bias, qwen.out_bias, qwen.n_kv_heads, qwen.rope_theta) == (True, False, 2, 1e6)
    assert (gemma.n_kv_heads, gemma.head_dim, gemma.activation, gemma.norm_unit_offset) == (1, 256, "gelu_tanh", True)
    assert config("Llama-3.2-1B").rope_scaling.kind == "llama3"
    assert config("Qwen1.5-4B").rope_theta == 5e6, "the longest prefix counts"


def test_models_that_need_a_missing_option_name_it():
    refused = [name for name in TABLE.index if name not in available()]
    assert len(refused) + len(available()) - len(zoo.BESIDE) == len(TABLE)
    for name in refused:
        with pytest.raises(ValueError, match=r"cannot be built yet: (ModelConfig has no|its published)"):
            config(name)
    with pytest.raises(ValueError, match="norms on queries and keys"):
        config("OpenELM-270M")
    with pytest.raises(ValueError, match="d_ff is not known"):
        config("MiniMA-2-1B")


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean .*SmolLM2-135M"):
        config("SmolLM2-135")
    with pytest.raises(ValueError, match="lists them"):
        config("???")
    assert config("smollm2-360m") == config("SmolLM2-360M")


def test_every_setting_is_used():
    names = [*TABLE.index, *zoo.BESIDE]
    for prefix in zoo.SETTINGS:
        assert any(name.startswith(prefix) for name in names), prefix
    assert isinstance(config("SmolLM2-135M"), ModelConfig)
