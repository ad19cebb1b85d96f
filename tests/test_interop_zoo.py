"""Every model of the zoo in transformers' terms: the right family, and its own count of parameters equal to ours."""

import pytest
import torch

from slmkit import count_parameters, interop, survey
from slmkit.survey import zoo

# The first family that can express it, by the zoo's family or else by the beginning of the model's name.
FIRST = {
    "opt": "opt", "galactica": "opt", "bloom": "bloom", "gpt2": "gpt2", "neox": "gpt_neox", "phi": "phi",
    "stablelm": "stablelm", "olmo": "olmo", "nemotron": "nemotron", "minicpm": "granite", "minicpm3": "minicpm3",
    "gemma2": "gemma2", "gemma3": "gemma3_text", "qwen3": "qwen3", "olmo2": "olmo2", "exaone4": "exaone4",
    "smollm3": "smollm3", "nanochat": "nanochat", "cohere2": "cohere2", "hunyuan": "hunyuan_v1_dense",
    "mobilellm_pro": "ministral", "youtu": "minicpm3", "mobilellm_r1": "llama4_text",
    "Qwen": "qwen2", "YuLan": "qwen2", "Gemma-2B": "gemma", "Granite": "granite", "AFM": "arcee",
    "Phi-3-": "mistral", "Phi-4": "phi3", "Kanana": "mistral",
}  # fmt: skip
# The family that it was published in, where another that stands before it can express it too.
PUBLISHED = {
    "Phi-3": "phi3", "Danube": "mistral", "Helium": "helium", "ERNIE": "ernie4_5", "Youtu": "youtu",
}  # fmt: skip
# What no family of transformers has.
UNIQUE = {
    "mobillama_shared": "sharing = 'ffn_all'", "openelm": r"n_heads = \(", "dclm": "norm = 'layernorm'",
    "instella": "qk_norm = 'full'",
}  # fmt: skip
ROWS = {row["name"]: row for row in zoo._rows() if zoo.refusal(row) is None}
COVERED = [name for name, row in ROWS.items() if row["family"] not in UNIQUE]


def named(table: dict[str, str], name: str) -> str | None:
    return table.get(ROWS[name]["family"]) or next((table[key] for key in table if name.startswith(key)), None)


@pytest.mark.parametrize("name", COVERED)
def test_the_family_is_right_and_counts_the_same(name):
    from transformers import AutoModelForCausalLM

    config = survey.config(name)
    found = interop.config_to_transformers(config).model_type
    assert found == (named(FIRST, name) or "llama")
    for family in {found, named(PUBLISHED, name) or found}:
        theirs = interop.config_to_transformers(config, family)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(theirs)
        assert sum(parameter.numel() for parameter in model.parameters()) == count_parameters(config).total
    assert count_parameters(config).total == int(ROWS[name]["params_exact"])


@pytest.mark.parametrize("name", sorted(ROWS.keys() - COVERED))
def test_what_makes_a_model_unique_is_named(name):
    with pytest.raises(ValueError, match=UNIQUE[ROWS[name]["family"]]) as caught:
        interop.config_to_transformers(survey.config(name))
    assert "\n" not in str(caught.value)


# Configurations in the form of the publishers' files: older names of fields, and rotations outside of rope_parameters.
FILES = {
    "OPT-350M": dict(model_type="opt", do_layer_norm_before=False, ffn_dim=4096, hidden_size=1024, num_hidden_layers=24,
                     num_attention_heads=16, vocab_size=50272, word_embed_proj_dim=512),
    "Bloom-560M": dict(model_type="bloom", n_embed=1024, n_layer=24, num_attention_heads=16, seq_length=2048,
                       offset_alibi=100, vocab_size=250880),
    "Pythia-160M": dict(model_type="gpt_neox", hidden_size=768, intermediate_size=3072, num_attention_heads=12,
                        num_hidden_layers=12, rotary_emb_base=10000, rotary_pct=0.25, vocab_size=50304),
    "Phi-2": dict(model_type="phi", hidden_size=2560, intermediate_size=10240, num_attention_heads=32,
                  num_hidden_layers=32, partial_rotary_factor=0.4, rope_theta=10000.0, vocab_size=51200),
    "Phi-3-mini": dict(model_type="phi3", hidden_size=3072, intermediate_size=8192, num_attention_heads=32,
                       num_hidden_layers=32, rope_scaling=None, rope_theta=10000.0, sliding_window=2047),
    "Llama-3.2-1B": dict(model_type="llama", head_dim=64, hidden_size=2048, intermediate_size=8192, rms_norm_eps=1e-5,
                         max_position_embeddings=131072, num_attention_heads=32, num_hidden_layers=16,
                         num_key_value_heads=8, rope_theta=500000.0, tie_word_embeddings=True, vocab_size=128256,
                         rope_scaling={"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                                       "original_max_position_embeddings": 8192, "rope_type": "llama3"}),
    "Qwen2.5-0.5B": dict(model_type="qwen2", hidden_size=896, intermediate_size=4864, max_window_layers=24,
                         num_attention_heads=14, num_hidden_layers=24, num_key_value_heads=2, rope_theta=1000000.0,
                         sliding_window=32768, tie_word_embeddings=True, use_sliding_window=False),
    "Gemma-2-2B": dict(model_type="gemma2", hidden_act="gelu_pytorch_tanh", rope_theta=10000.0),
    "Gemma-3-1B": dict(model_type="gemma3_text", hidden_size=1152, intermediate_size=6912, num_attention_heads=4,
                       max_position_embeddings=32768, num_key_value_heads=1, rope_local_base_freq=10000,
                       rope_theta=1000000, sliding_window=512, sliding_window_pattern=6, vocab_size=262144),
    "Hunyuan-0.5B": dict(model_type="hunyuan_v1_dense", hidden_size=1024, head_dim=128, intermediate_size=3584,
                         max_position_embeddings=262144, num_attention_heads=16, num_hidden_layers=24,
                         num_key_value_heads=8, tie_word_embeddings=True, vocab_size=120818, rope_theta=10000.0,
                         rope_scaling={"alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0,
                                       "mscale_all_dim": 1.0, "type": "dynamic"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_as_publishers_write_it_is_the_zoos_configuration(name):
    from transformers import AutoConfig

    theirs = AutoConfig.for_model(**FILES[name])
    read = interop.config_from_transformers(theirs)
    ours = interop.config_to_transformers(survey.config(name), theirs.model_type)
    assert read == interop.config_from_transformers(ours)
