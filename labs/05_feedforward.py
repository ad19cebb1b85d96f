# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Feed-forward layer, activation, normalization, ratio
#
# **Question.** The survey's typical recipe (end of section 2.2) has a gated feed-forward layer with SiLU, at a ratio of 2 to
# 8, and RMSNorm. It adds that these choices are empirical, and that no strict proof shows them to make a model better.
# What does each cost, and what does each do to the loss at equal parameters?

# %%
import math
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaMLP, LlamaRMSNorm

import slmkit
from slmkit.course import check, comparison, finding, record, start
from slmkit.data.prepared import prepare
from slmkit.evaluation import bits_per_byte
from slmkit.model.feedforward import ACTIVATION
from slmkit.profiling import decode_cost, measure_in_turn, measure_peaks, measure_steps, order_agreement, prefill_cost
from slmkit.training.sweep import Arm, with_parameters

lab = start("05", profiles={
    "smoke": {"corpus": "tinyworld", "vocab": 512, "d_model": 32, "layers": 1, "steps": 6, "factors": (1.0,), "gated":
              ("silu",), "activations": ("silu", "relu", "gelu_tanh"), "placements": ("pre", "after_residual"), "ratios":
              (8,), "depths": (2,), "wide": 128, "prompt": 32, "repeats": 3, "seeds": (0, 1)},
    "cpu": {"corpus": "speeches", "vocab": 1024, "d_model": 64, "layers": 2, "steps": 140, "factors": (1.0,), "gated":
            ("silu",), "activations": ("silu", "relu", "gelu_tanh"), "placements": ("pre", "after_residual"), "ratios":
            (1, 8), "depths": (1, 4), "wide": 512, "prompt": 128, "repeats": 7, "seeds": (0, 1, 2)},
    "full": {"corpus": "speeches", "vocab": 1024, "d_model": 64, "layers": 4, "steps": 400, "factors": (0.5, 1.0, 2.0),
             "gated": ("silu", "gelu", "relu"), "activations": ("silu", "relu", "gelu_tanh", "gelu", "relu2"),
             "placements": ("pre", "after_residual", "post"), "ratios": (1, 2, 4, 6, 8), "depths": (1, 2, 8),
             "wide": 768, "prompt": 256, "repeats": 15, "seeds": tuple(range(5))},
})  # fmt: skip

# %% [markdown]
# ## Loss
#
# One block is the base: grouped attention, gated SiLU at ratio 3, RMSNorm before each branch, rotary positions, weights
# for the head of its own. Every arm changes what its name says and gets an inner width that keeps the parameters equal.

# %%
base = slmkit.ModelConfig(lab.vocab, lab.d_model, lab.layers, n_heads=4, n_kv_heads=2, d_ff=3 * lab.d_model,
                          tied_embeddings=False, max_context=64)  # fmt: skip
size = slmkit.count_parameters(base).total
training = slmkit.TrainingConfig(lab.steps, context=64, learning_rate=1.2e-2, precision="fp32", evaluate_tokens=32768)


def measured(name, configs, against, equal="parameters, depth, tokens, their order and schedule"):
    """Trains the configurations at the base's parameters, keeps the comparison; returns the arms and the table."""
    arms = {arm: Arm(with_parameters(config, size), training, lab.corpus) for arm, config in configs.items()}
    arms = lab.tuned(arms, lab.factors, lab.seeds[:1])
    table = lab.sweep(arms, lab.seeds)
    comparison(name, table, against, equal)
    return arms, table


# %%
kinds = {f"{ffn} {a}": replace(base, ffn=ffn, activation=a) for a in lab.gated for ffn in ("gated", "standard")}
measured("05-ffn", kinds, "gated silu")

# %%
plain = {activation: replace(base, ffn="standard", activation=activation) for activation in lab.activations}
standard, _ = measured("05-activation", plain, "silu")

# %%
norms = {f"{norm} {place}": replace(base, norm=norm, norm_bias=None, norm_placement=place)
         for norm in ("rmsnorm", "layernorm") for place in lab.placements}  # fmt: skip
measured("05-norm", norms, "rmsnorm pre")


# %%
def shaped(layers, ratio):
    """The base with that depth, and the width at which its parameters leave a ratio nearest to the one asked for."""
    widths = range(16, 257, 4)
    tried = [with_parameters(replace(base, n_layers=layers, d_model=d), size) for d in widths]
    return min(tried, key=lambda config: abs(math.log(config.d_ff / config.d_model / ratio)))


ratios = {"ratio 3": base} | {f"ratio {ratio}": shaped(lab.layers, ratio) for ratio in lab.ratios}
measured("05-ratio", ratios, "ratio 3")

# %%
depths = {f"depth {n}": shaped(n, 3) for n in lab.depths} | {f"depth {lab.layers}": base}
measured("05-depth", depths, f"depth {lab.layers}", "parameters, ratio, tokens, their order and schedule")

# %%
gpt2 = replace(base, n_kv_heads=4, ffn="standard", activation="gelu_tanh", norm="layernorm", norm_bias=None,
               positions="learned", qkv_bias=True, out_bias=True, ffn_bias=True)  # fmt: skip
blocks = {"GPT-2 block": gpt2, "recipe": base, "GPT-2 block, rotary": replace(gpt2, positions="rope")}
_, table = measured("05-recipe", blocks, "GPT-2 block")
made = table.pivot(index="seed", columns="arm", values="bits_per_byte")
made = record("C28a", made["recipe"], against=made["GPT-2 block"], unit="bits per byte")
