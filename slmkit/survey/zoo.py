"""The survey's models, and those that came after, as configurations, by name.

Dimensions come from models.csv and models_since.csv, each row with its source. What their columns do not hold (the base
of the rotary frequencies, the norm's epsilon, factors) stands in settings.json, each entry with its source too, or with
"not verified": such an entry changes no count, but may differ from what was published. What a family's layers have
beyond both is in FAMILIES. A model that a decoder cannot be is refused with the reason; `counted` still gives its
parameters where a formula is known.
"""

import json
import re
from difflib import get_close_matches

from slmkit.config import ModelConfig
from slmkit.survey.tables import FOLDER, rows

ACTIVATIONS = {"ReLU": "relu", "ReLU^2": "relu2", "GELU": "gelu", "GELU_tanh": "gelu_tanh", "SiLU": "silu"}
SIZES = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "max_context")
POSITIONS = {"learned": "learned", "ALiBi": "alibi"}  # everything else in the tables is a form of RoPE

# What a family's layers have beyond the columns, from the width and the number of layers.
FAMILIES = {
    "llama": lambda d, n: {},
    "gpt2": lambda d, n: {},
    "opt": lambda d, n: {"position_offset": 2},
    "galactica": lambda d, n: {"position_offset": 2, "norm_weight": False},
    "bloom": lambda d, n: {"embedding_norm": True},
    "neox": lambda d, n: {"block": "parallel"},
    "phi": lambda d, n: {"block": "parallel_shared_norm", "head_bias": True},
    "stablelm": lambda d, n: {},
    "olmo": lambda d, n: {"norm_weight": False},
    "mobillama_shared": lambda d, n: {"sharing": "ffn_all"},
    "dclm": lambda d, n: {"qk_norm": "full", "norm_bias": False},
    "nemotron": lambda d, n: {"norm_unit_offset": True},
    "minicpm": lambda d, n: minicpm(d, n),
    "minicpm3": lambda d, n: minicpm(d, n) | latent(256, 768, rope=32, value=64),
    "youtu": lambda d, n: latent(512, 1536, rope=64, value=128),
    "openelm": lambda d, n: {"qk_norm": "head"} | openelm(d, n),
    "gemma2": lambda d, n: gemma(d) | {"window": cycle((4096, None), n)},
    "gemma3": lambda d, n: gemma(d) | gemma3(n, small=d < 2560),
    "qwen3": lambda d, n: {"qk_norm": "head"},
    "hunyuan": lambda d, n: {"qk_norm": "head_rotated"},
    "mobilellm_r1": lambda d, n: {"qk_norm": "head_plain"},
    "mobilellm_pro": lambda d, n: {"window": cycle((512, 512, 512, None), n)},
    "instella": lambda d, n: {"qk_norm": "full"},
    "olmo2": lambda d, n: {"qk_norm": "full", "norm_placement": "post"},
    "exaone4": lambda d, n: {"qk_norm": "head", "norm_placement": "post"},
    "smollm3": lambda d, n: {"rope_theta": cycle((5e6, 5e6, 5e6, None), n)},
    "nanochat": lambda d, n: {"norm_weight": False, "qk_norm": "head_plain", "embedding_norm": True, "logit_cap": 15.0},
    "cohere2": lambda d, n: {
        "block": "parallel_shared_norm", "norm_bias": False, "window": cycle((4096, 4096, 4096, None), n),
        "rope_theta": cycle((5e4, 5e4, 5e4, None), n),
    },
}  # fmt: skip

# What no option of a plain decoder gives.
REFUSED = {
    "recurrentgemma": "two of three of its blocks are recurrent, and a decoder has attention in every block",
    "bitnet": "it has norms inside attention and FFN, and weights of three values",
}


def config(name: str) -> ModelConfig:
    """The configuration of a model by its name in either table, for example `config("SmolLM2-360M")`.

    ValueError when the name is unknown (the nearest are named) or when a decoder cannot be this model (the reason is).
    """
    row = _row(name)
    if reason := refusal(row):
        raise ValueError(f"{row['name']} cannot be built: {reason}")
    return _from_row(row)


def available(since: bool = True) -> list[str]:
    """The names that `config` accepts, in the tables' order; without `since`, those of the survey alone."""
    return [row["name"] for row in _rows(since) if not refusal(row)]


def refusal(row: dict[str, str]) -> str | None:
    """Why the model of this row cannot be built, in one phrase; None when it can."""
    if blank := [name for name in ("n_heads", "d_ff", "tied_embeddings") if not row[name]]:
        return f"its published {blank[0]} is not known to the table"
    return REFUSED.get(row["family"])


def settings(name: str) -> tuple[str, dict]:
    """A model's entry in settings.json, that of the longest prefix of its name: the prefix and what stands there."""
    entries = all_settings()
    prefix = max((prefix for prefix in entries if name.startswith(prefix)), key=len)
    return prefix, entries[prefix]


def all_settings() -> dict[str, dict]:
    return json.loads((FOLDER / "settings.json").read_text(encoding="utf-8"))


def _from_row(row: dict[str, str]) -> ModelConfig:
    share = re.search(r"(\d+)% of dims", row["pos"])
    options = dict(
        {name: int(row[name]) for name in SIZES if row[name].isdigit()},  # OpenELM's are ranges; its family says more
        ffn=row["ffn"],
        activation=ACTIVATIONS[row["activation"]],
        norm="rmsnorm" if row["norm"].startswith("RMSNorm") else "layernorm",
        positions=POSITIONS.get(row["pos"], "rope"),
        tied_embeddings=row["tied_embeddings"] == "yes",
        qkv_bias=row["bias"] in ("all", "qkv"),
        out_bias=row["bias"] == "all",
        ffn_bias=row["bias"] == "all",
        rope_fraction=int(share[1]) / 100 if share else 1.0,
    )
    options |= FAMILIES[row["family"]](options["d_model"], options["n_layers"])
    options |= {name: value for name, value in settings(row["name"])[1].items() if name != "source"}
    return ModelConfig.from_dict(options)


def _rows(since: bool = True) -> list[dict[str, str]]:
    return rows("models") + (rows("models_since") if since else [])


def _row(name: str) -> dict[str, str]:
    known = {row["name"].lower(): row for row in _rows()}
    if row := known.get(name.lower()):
        return row
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(known[key]['name'] for key in near)}?" if near else "`slmkit models` lists them"
    raise ValueError(f"no model is called {name!r}; {hint}")


# -- families with more to say ---------------------------------------------------------------------------------------


def cycle(kinds: tuple, n_layers: int) -> tuple:
    """One entry for each layer, the kinds in turn."""
    return tuple(kinds[i % len(kinds)] for i in range(n_layers))


def minicpm(d_model: int, n_layers: int) -> dict:
    """µP as MiniCPM writes it: scale_emb 12, scale_depth 1.4 over √depth, dim_model_base 256 (arXiv 2404.06395)."""
    return {"embedding_scale": 12.0, "residual_scale": 1.4 / n_layers**0.5, "logit_scale": 256 / d_model}


def latent(rank: int, q_rank: int, *, rope: int, value: int) -> dict:
    return {
        "attention": "mla", "kv_lora_rank": rank, "q_lora_rank": q_rank, "qk_rope_head_dim": rope, "v_head_dim": value,
    }  # fmt: skip


def gemma(d_model: int) -> dict:
    """What Gemma-2 and 3 share."""
    return {"norm_placement": "both", "norm_unit_offset": True, "embedding_scale": d_model**0.5}


def gemma3(n_layers: int, small: bool) -> dict:
    """Five layers that see a window, then one that sees all; only the latter turn slowly and, from 4B on, stretched."""
    window, far = (512, None) if small else (1024, {"kind": "linear", "factor": 8.0})
    return {
        "qk_norm": "head", "window": cycle((window,) * 5 + (None,), n_layers), "attention_scale": 256**-0.5,
        "rope_theta": cycle((1e4,) * 5 + (1e6,), n_layers), "rope_scaling": cycle((None,) * 5 + (far,), n_layers),
    }  # fmt: skip


def openelm(d_model: int, n_layers: int) -> dict:
    """Layer-wise scaling (arXiv 2404.14619, section 2.1; rounding as in the authors' code).

    From the first layer to the last, queries grow from half the model's width to all of it, and the FFN from half to
    four times. Query heads come in groups of four, which share keys and values.
    """
    head_dim = 128 if d_model == 3072 else 64
    n_heads, d_ff = [], []
    for i in range(n_layers):
        done = i / (n_layers - 1)
        n_heads.append(divisible(d_model * round(0.5 + 0.5 * done, 2), 4 * head_dim) // head_dim)
        d_ff.append(divisible(d_model * round(0.5 + 3.5 * done, 2), 256))
    return {"n_heads": tuple(n_heads), "n_kv_heads": tuple(n // 4 for n in n_heads), "d_ff": tuple(d_ff)}


def divisible(value: float, divisor: int) -> int:
    """The nearest multiple of `divisor`, but never more than a tenth below `value` (MobileNet's rounding)."""
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest


# -- counted by formula ----------------------------------------------------------------------------------------------


def counted(name: str) -> tuple[int, int]:
    """(parameters, those without the embedding) of a model that is refused, after transformers' model code."""
    row = _row(name)
    d, n, heads, kv_heads, width, d_ff = (int(row[key]) for key in ("d_model", "n_layers", *SIZES[3:7]))
    attention = d * width * (2 * heads + 2 * kv_heads)
    if row["family"] == "recurrentgemma":
        # Blocks come in threes, two recurrent and one with attention; what is left over at the end is recurrent.
        # Recurrent: projections x, y and out, a convolution over 4 tokens, two gates with a block for each head, and a
        # decay for each channel (Griffin, arXiv 2402.19427). The FFN has a bias on all three matrices.
        with_attention = n // 3
        recurrent = 3 * (d * d + d) + 5 * d + 2 * (heads * (d // heads) ** 2 + d) + d
        body = with_attention * (attention + d) + (n - with_attention) * recurrent
        body += n * (3 * d * d_ff + 2 * d_ff + d + 2 * d) + d
    elif row["family"] == "bitnet":
        # Llama with two more norms in a block: on what attention mixed, and on what the FFN widened.
        body = n * (attention + 3 * d * d_ff + 2 * d + heads * width + d_ff) + d
    else:
        raise ValueError(
            f"{row['name']} has no formula here: {refusal(row) or 'count_parameters(config(name)) does it'}"
        )
    return int(row["vocab_size"]) * d + body, body
