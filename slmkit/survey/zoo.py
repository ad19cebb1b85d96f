"""The survey's models as configurations, by name.

Dimensions come from models.csv. What its columns do not hold (the base of the rotary frequencies, the norm's epsilon)
comes from SETTINGS below. A model that needs an option ModelConfig does not have is refused with the option's name,
never approximated.
"""

import re
from difflib import get_close_matches

from slmkit.config import ModelConfig, RopeScaling
from slmkit.survey.tables import rows

ACTIVATIONS = {"ReLU": "relu", "GELU": "gelu", "GELU_tanh": "gelu_tanh", "SiLU": "silu"}
SIZES = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "max_context")
POSITIONS = {"learned": "learned", "ALiBi": "alibi"}  # everything else in the table is a form of RoPE

# What a family's layers have beyond the columns of the table, and how each is written in a ModelConfig.
FAMILIES = {
    "llama": {},
    "gpt2": {},
    "neox": {"block": "parallel"},
    "stablelm": {},
    "olmo": {"norm_weight": False},
    "mobillama_shared": {"sharing": "ffn_all"},
}

# The option that is missing for the others.
MISSING = {
    "opt": "a position table with two spare rows in front",
    "galactica": "a position table with two spare rows in front",
    "bloom": "a norm on the token embedding",
    "phi": "a bias on the output head",
    "dclm": "norms on queries and keys",
    "openelm": "norms on queries and keys",
    "gemma2": "norms after attention and FFN, and soft caps on scores and logits",
    "minicpm3": "scaled residuals and LongRoPE",
    "recurrentgemma": "recurrent blocks, which a plain decoder does not have",
}

# From the published configuration files; the longest prefix of the name counts. Defaults: theta 10,000, epsilon 1e-5.
SETTINGS = {
    "Danube3": {"rope_theta": 1e5},
    "Gemma-2B": {"embedding_scale": 2048**0.5, "norm_unit_offset": True, "norm_eps": 1e-6},
    "Llama-3.2": {"rope_theta": 5e5, "rope_scaling": RopeScaling("llama3", 32.0, 8192, 1.0, 4.0)},
    "MobileLLaMA": {"norm_eps": 1e-6},
    "Phi-3-mini": {"window": 2047},
    "Qwen": {"rope_theta": 1e6, "norm_eps": 1e-6},
    "Qwen1.5-4B": {"rope_theta": 5e6, "norm_eps": 1e-6},
    "SmolLM2": {"rope_theta": 1e5},
    "SmolLM2-1.7B": {"rope_theta": 1.3e5},
}

# Not in the survey's table, but the model that the labs run.
BESIDE = {
    "SmolLM2-135M": ModelConfig(
        vocab_size=49152, d_model=576, n_layers=30, n_heads=9, n_kv_heads=3, d_ff=1536, max_context=8192, rope_theta=1e5
    )
}


def config(name: str) -> ModelConfig:
    """The configuration of a model by its name in the survey, for example `config("SmolLM2-360M")`.

    ValueError when the name is unknown (with the nearest names) or when the model needs an option that is missing.
    """
    table = {row["name"]: row for row in rows("models")}
    known = {key.lower(): key for key in [*table, *BESIDE]}
    exact = known.get(name.lower())
    if exact is None:
        near = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(known[key] for key in near)}?" if near else "`slmkit models` lists them"
        raise ValueError(f"no model is called {name!r}; {hint}")
    if exact in BESIDE:
        return BESIDE[exact]
    row = table[exact]
    if missing := _missing(row):
        raise ValueError(f"{exact} cannot be built yet: {missing}")
    return _from_row(row)


def available() -> list[str]:
    """The names that `config` accepts now, in the table's order."""
    return [row["name"] for row in rows("models") if not _missing(row)] + list(BESIDE)


def _missing(row: dict[str, str]) -> str | None:
    """What keeps this row from being built, in one phrase."""
    if blank := [name for name in ("n_heads", "d_ff", "tied_embeddings") if not row[name]]:
        return f"its published {blank[0]} is not known to the table"
    if row["family"] in MISSING:
        return f"ModelConfig has no option for {MISSING[row['family']]}"
    if row["activation"] not in ACTIVATIONS:
        return f"ModelConfig has no activation {row['activation']}"
    if row["name"].startswith("MiniCPM"):
        return "ModelConfig has no option for scaled residuals"
    if kind := re.search(r"LongRoPE|dynamic NTK", row["pos"]):
        return f"ModelConfig has no rope_scaling of kind {kind[0]}"
    return None


def _from_row(row: dict[str, str]) -> ModelConfig:
    share = re.search(r"(\d+)% of dims", row["pos"])
    prefix = max((p for p in SETTINGS if row["name"].startswith(p)), key=len, default=None)
    return ModelConfig(
        **{name: int(row[name]) for name in SIZES},
        ffn=row["ffn"],
        activation=ACTIVATIONS[row["activation"]],
        norm="rmsnorm" if row["norm"] == "RMSNorm" else "layernorm",
        positions=POSITIONS.get(row["pos"], "rope"),
        tied_embeddings=row["tied_embeddings"] == "yes",
        qkv_bias=row["bias"] in ("all", "qkv"),
        out_bias=row["bias"] == "all",
        ffn_bias=row["bias"] == "all",
        rope_fraction=int(share[1]) / 100 if share else 1.0,
        **FAMILIES[row["family"]],
        **SETTINGS.get(prefix, {}),
    )
