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
