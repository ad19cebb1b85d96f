# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Sharing weights, and scaling layers unevenly
#
# **Question.** Small models save parameters by using them twice. The survey (section 2.2) names tied embeddings, one
# feed-forward network (FFN) for all blocks, blocks shared by neighbours, and layers of growing width. It finds that,
# tying apart, none was shown to beat the plain transformer, and that none spread. But beat it at equal *what*?

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

import slmkit
from slmkit.course import check, comparison, finding, record, start
from slmkit.data.prepared import prepare
from slmkit.profiling import decode_cost, measure_peaks, measure_steps, order_agreement
from slmkit.survey.zoo import divisible
from slmkit.training.sweep import Arm, with_parameters

lab = start("06", profiles={
    "smoke": {"corpus": "tinyworld", "vocab": 512, "d_model": 64, "layers": 2, "steps": 5, "factors": (1.0,),
              "wide": 128, "contexts": (64, 128), "repeats": 3, "seeds": (0, 1)},
    "cpu": {"corpus": "speeches", "vocab": 512, "d_model": 64, "layers": 2, "steps": 120, "factors": (1.0,),
            "wide": 512, "contexts": (128, 1024), "repeats": 7, "seeds": (0, 1, 2)},
    "full": {"corpus": "speeches", "vocab": 1024, "d_model": 64, "layers": 4, "steps": 600, "factors": (0.5, 1.0, 2.0),
             "wide": 1024, "contexts": (128, 1024), "repeats": 15, "seeds": tuple(range(5))},
})  # fmt: skip

# %%
# -- layer widths


def layer_widths(d_model, n_layers, head_dim, groups, alpha=(0.5, 1.0), beta=(0.5, 4.0), divisor=256):
    """(query heads, FFN width) of each layer, two tuples. From the first layer to the last, alpha and beta go in equal
    steps, rounded to two digits. Queries are alpha × d_model wide, made divisible by groups × head_dim; the FFN is
    beta × d_model wide, made divisible by `divisor`."""
    ### BEGIN SOLUTION
    shares = [i / (n_layers - 1) for i in range(n_layers)]
    a, b = ([round(low + (high - low) * share, 2) for share in shares] for low, high in (alpha, beta))
    heads = tuple(divisible(d_model * value, groups * head_dim) // head_dim for value in a)
    return heads, tuple(divisible(d_model * value, divisor) for value in b)
    ### END SOLUTION


# %%
base = slmkit.ModelConfig(lab.vocab, lab.d_model, lab.layers, lab.d_model // 16, max_context=64)
training = slmkit.TrainingConfig(
    steps=lab.steps, batch_size=16, context=64, learning_rate=1.2e-2, evaluate_tokens=16384
)
size, flops = slmkit.count_parameters(base).total, slmkit.flops_per_token(base, 64, "training")


def scaled(alpha, beta):
    """`base` with layers from alpha[0], beta[0] to alpha[1], beta[1], FFNs all stretched to match its parameters."""
    made = []
    for stretch in range(50, 250):
        widths = layer_widths(base.d_model, base.n_layers, 16, 1, alpha, [b * stretch / 100 for b in beta], 8)
        made.append(replace(base, n_heads=widths[0], n_kv_heads=widths[0], head_dim=16, d_ff=widths[1]))
    return min(made, key=lambda config: abs(slmkit.count_parameters(config).total - size))


narrow = {"ffn_all": replace(base, sharing="ffn_all"), "block_pairs": replace(base, sharing="block_pairs")}
full = {"ffn_all": with_parameters(narrow["ffn_all"], size),
        "block_pairs": replace(narrow["block_pairs"], n_layers=2 * base.n_layers)}  # fmt: skip
layerwise = {"scaled up": scaled((0.5, 1.0), (0.5, 4.0)), "scaled down": scaled((1.0, 0.5), (4.0, 0.5))}


def shorter(config):
    """Training for as many FLOPs as `base` takes in all steps."""
    return replace(training, steps=round(lab.steps * flops / slmkit.flops_per_token(config, 64, "training")))


def arms(configs, plain="plain", trained=lambda config: training):
    return {name: Arm(config, trained(config), lab.corpus) for name, config in ({plain: base} | configs).items()}


experiments = {
    "parameters": ("unique parameters, width, tokens, their order, schedule", arms(full | layerwise)),
    "depth": ("depth, all widths, FLOPs, tokens, their order, schedule", arms(narrow)),
    "compute": ("unique parameters, width, training FLOPs", arms(full, trained=shorter)),
    "tying": ("parameters, depth, width, tokens, their order, schedule",
              arms({"untied": with_parameters(replace(base, tied_embeddings=False), size)}, "tied")),
}  # fmt: skip
tables = {}
for name, (equal, compared) in experiments.items():
    compared = lab.tuned(compared, lab.factors, lab.seeds[:1])
    tables[name] = lab.sweep(compared, lab.seeds)
    comparison(f"06-{name}", tables[name], next(iter(compared)), equal)
