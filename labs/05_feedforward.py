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
# **Question.** The survey's typical recipe (end of section 2.2) has a gated feed-forward layer with SiLU at a ratio of
# 2 to 8, and RMSNorm. It adds that no strict proof shows such choices to make a model better. What does each cost, and
# what does it do to the loss at equal parameters?

# %% tags=["remove-stderr"]
import math
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch.nn import TransformerEncoderLayer
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaMLP, LlamaRMSNorm

import slmkit
from slmkit.course import check, comparison, finding, record, start
from slmkit.data.prepared import prepare
from slmkit.evaluation import bits_per_byte
from slmkit.model.attention import Reading
from slmkit.model.feedforward import ACTIVATION
from slmkit.profiling import decode_cost, measure_in_turn, measure_peaks, measure_steps, order_agreement, prefill_cost
from slmkit.training.sweep import Arm, paired, with_parameters

few = {"gated": ("silu",), "activations": ("silu", "relu", "gelu_tanh"), "placements": ("pre", "after_residual")}
lab = start("05", profiles={
    "smoke": few | {"corpus": "tinyworld", "vocab": 512, "d_model": 32, "layers": 1, "steps": 6, "factors": (1.0,),
                    "ratios": (8,), "depths": (2,), "wide": 128, "prompt": 32, "repeats": 3, "seeds": (0, 1)},
    "cpu": few | {"corpus": "speeches", "vocab": 1024, "d_model": 64, "layers": 2, "steps": 110, "factors": (1.0,),
                  "ratios": (1, 8), "depths": (1, 4), "wide": 512, "prompt": 128, "repeats": 7, "seeds": (0, 1, 2)},
    "full": {"corpus": "speeches", "vocab": 1024, "d_model": 64, "layers": 4, "steps": 400, "factors": (0.5, 1.0, 2.0),
             "gated": ("silu", "gelu", "relu"), "activations": ("silu", "relu", "gelu_tanh", "gelu", "relu2"),
             "placements": ("pre", "after_residual", "post"), "ratios": (1, 2, 4, 6, 8), "depths": (1, 2, 8),
             "wide": 768, "prompt": 256, "repeats": 15, "seeds": tuple(range(5))},
})  # fmt: skip

# %% [markdown]
# ## Predict
#
# At equal parameters, how many bits per byte are lost by a standard layer in place of the gated one, by LayerNorm in
# place of RMSNorm, by ratio 8 in place of 3? What share of the numbers inside a trained ReLU layer is zero?

# %%
guess = {"standard silu": 0.02, "layernorm pre": 0.0, "ratio 8": 0.05, "zeros": 0.5}

# %% [markdown]
# ## Build
#
# ### The activation
#
# GELU is $x\,\Phi(x)$, with $\Phi$ the distribution function of a standard normal number. Its tanh form is
# $\frac12 x\,(1 + \tanh(\sqrt{2/\pi}\,(x + c\,x^3)))$ {cite}`hendrycks2016gelu`. The survey's Figure 2a prints $c$ as
# 0.04715, and SiLU, which is $x\,\sigma(x)$, with one $x$ more. Which $c$ comes nearest to GELU?


# %%
def tanh_gelu(x, constant=0.044715):
    """The tanh form of GELU with that constant before the cube"""
    ### BEGIN SOLUTION
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + constant * x**3)))
    ### END SOLUTION


# %%
check("05/tanh_gelu", tanh_gelu)
x = torch.linspace(-5, 5, 2001, dtype=torch.float64)
torch.testing.assert_close([tanh_gelu(x)] * 2, [ACTIVATION["gelu_tanh"](x), ACT2FN["gelu_new"](x)])  # transformers' too
away = {
    c / 2e5: (tanh_gelu(x, c / 2e5) - F.gelu(x)).abs().max().item() for c in range(8800, 9600)
}  # where it is largest
made = record("C19", nearest := min(away, key=away.get))
print("furthest from GELU:", ", ".join(f"with {c:.6f} {away[c]:.1e}" for c in (nearest, 0.044715, 0.04715)))
print(f"SiLU of -4 and 4: {F.silu(x[[200, 1800]]).tolist()}; as printed: {(x * F.silu(x))[[200, 1800]].tolist()}")

# %% [markdown]
# ### The layer
#
# The standard layer {cite}`vaswani2017attention` has two matrices: $W_\mathrm{down}\,a(W_\mathrm{up}\,x)$. The gated
# one {cite}`shazeer2020glu` has three: $W_\mathrm{down}\,(a(W_\mathrm{gate}\,x) \odot W_\mathrm{up}\,x)$. So, at equal
# parameters, it is narrower. Widths are rounded up to what processors like.


# %%
def feed_forward(x, up, down, activation, gate=None):
    """x [..., D], up and gate [F, D], down [D, F] -> [..., D]; standard without a gate"""
    ### BEGIN SOLUTION
    inner = activation(x @ up.T) if gate is None else activation(x @ gate.T) * (x @ up.T)
    return inner @ down.T
    ### END SOLUTION


# %%
check("05/feed_forward", feed_forward)


# %%
def matched_width(d_model, ratio, multiple):
    """The least multiple of `multiple` at which a gated layer has no fewer parameters than a standard one at `ratio`"""
    ### BEGIN SOLUTION
    return multiple * math.ceil(2 * ratio * d_model / (3 * multiple))
    ### END SOLUTION


# %%
check("05/matched_width", matched_width)
llama, small = LlamaConfig(), slmkit.ModelConfig(256, 96, 2, 4, positions="none")
assert [matched_width(4096, 4, 256), matched_width(96, 4, 8)] == [llama.intermediate_size, small.d_ff]  # LLaMA-7B
theirs, h = LlamaMLP(LlamaConfig(hidden_size=96, intermediate_size=small.d_ff)), torch.randn(2, 5, 96)
up, down, gate = theirs.up_proj.weight, theirs.down_proj.weight, theirs.gate_proj.weight
torch.testing.assert_close(feed_forward(h, up, down, F.silu, gate), theirs(h))

# %% [markdown]
# ### The norm and its place
#
# LayerNorm {cite}`ba2016layernorm` subtracts the mean of a vector and divides by $\sqrt{\mathrm{variance} + \epsilon}$.
# RMSNorm {cite}`zhang2019rmsnorm` only divides, by $\sqrt{\mathrm{mean\ of\ squares} + \epsilon}$. Weights come after.
# Around a branch $f$ the norm stands before it, `pre`: $x + f(\mathrm{norm}(x))$; behind it, `post`: $x +
# \mathrm{norm}(f(x))$; or on the sum, `after_residual`: $\mathrm{norm}(x + f(x))$, as in the first transformer.


# %%
def normalized(x, centred, eps=1e-5):
    """x [..., D] -> [..., D], without weights: centred, as LayerNorm does; else as RMSNorm does"""
    ### BEGIN SOLUTION
    x = x - x.mean(-1, keepdim=True) if centred else x
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    ### END SOLUTION


# %%
check("05/normalized", normalized)
torch.testing.assert_close(normalized(h + 1, False), LlamaRMSNorm(96, 1e-5)(h + 1))


# %%
def placed(x, branch, norm, place):
    """The stream behind `branch`; place is "pre", "post" or "after_residual" """
    ### BEGIN SOLUTION
    if place == "after_residual":
        return norm(x + branch(x))
    return x + (branch(norm(x)) if place == "pre" else norm(branch(x)))
    ### END SOLUTION


# %%
check("05/placed", placed)
norm, none = partial(normalized, centred=True), Reading(None, None, None)
for place, first in (("pre", True), ("after_residual", False)):
    theirs = TransformerEncoderLayer(96, 4, 384, 0, F.silu, batch_first=True, norm_first=first, bias=False)
    ours = slmkit.Decoder(replace(small, norm="layernorm", norm_bias=False, norm_placement=place)).blocks[0]
    feed = partial(feed_forward, up=theirs.linear1.weight, down=theirs.linear2.weight, activation=F.silu)
    mixed = placed(h, lambda x, attend=theirs.self_attn: attend(x, x, x)[0], norm, place)
    torch.testing.assert_close(placed(mixed, feed, norm, place), theirs(h))
    mixed, feed = placed(h, partial(ours.attention, reading=none, layer=0), norm, place), ours.ffn
    feed = partial(feed_forward, up=feed.up.weight, down=feed.down.weight, activation=F.silu, gate=feed.gate.weight)
    torch.testing.assert_close(placed(mixed, feed, norm, place), ours(h, none, 0))

# %% [markdown]
# ## Measure
#
# **Time** of one token after a context, and of a prompt, in decoders of two layers that differ in the kind and ratio of
# their feed-forward layers. Do they come in the roofline's order ({doc}`lab 00 <00_your_machine>`)?

# %%
wide = {f"{ffn} {n}": slmkit.ModelConfig(256, lab.wide, 2, 8, d_ff=n * lab.wide, ffn=ffn, max_context=lab.prompt)
        for ffn in ("standard", "gated") for n in (1, 2, 4, 8)}  # fmt: skip
models, ids = {name: slmkit.Decoder(config) for name, config in wide.items()}, torch.zeros(1, lab.prompt).long()
peaks = measure_peaks(dtypes=(torch.float32,), sides=(256,), array_bytes=(2**22, 2**26))
reading = {name: torch.no_grad()(lambda m=m: m.logits(m.hidden(ids)[:, -1:])) for name, m in models.items()}
times = measure_steps(models, lab.prompt, lab.repeats), measure_in_turn(reading, repeats=lab.repeats)
orders = []
for phase, cost, measured in zip(("a token", "a prompt"), (decode_cost, prefill_cost), times):
    print(f"{phase}:", ", ".join(f"{name} {time}" for name, time in measured.items()))
    predicted = {name: cost(config, lab.prompt, torch.float32).seconds(peaks) for name, config in wide.items()}
    orders.append(order_agreement(predicted, {name: time.median for name, time in measured.items()}))
pairs, held, exceptions = zip(*orders)
finding("05-order", pairs=sum(pairs), held=sum(held), exceptions=[one for many in exceptions for one in many])
inner, stream = torch.randn(lab.prompt, 4 * lab.wide), torch.randn(lab.prompt, lab.wide)
works = {name: partial(activation, inner) for name, activation in ACTIVATION.items()}
works |= {"layernorm": partial(F.layer_norm, stream, (lab.wide,)), "rmsnorm": partial(F.rms_norm, stream, (lab.wide,))}
works["matrix"] = partial(F.linear, stream, torch.randn(4 * lab.wide, lab.wide))
times = {name: 1e6 * time.median for name, time in measure_in_turn(works, repeats=10 * lab.repeats).items()}
finding("05-time", f"µs for {lab.prompt} tokens, {lab.wide} wide, inside 4 times that", **times)

# %% [markdown]
# Exceptions differ by less than what the roofline leaves out: calls, most of a token's time in a small model; caches,
# which hold one model and not the other; and what stands between matrices, timed last, of which gated layers have more.
#
# ### Loss
#
# The base: grouped attention, gated SiLU at ratio 3, RMSNorm before each branch, rotary positions, a head of its own.
# Each arm changes what its name says, and its inner width keeps the parameters equal. `full` tunes each rate. The
# recipe meets a block as in GPT-2, and, to be judged, that block with rotary positions: the recipe names no positions.

# %%
# fmt: off
base = slmkit.ModelConfig(lab.vocab, lab.d_model, lab.layers, n_heads=4, n_kv_heads=2, d_ff=3 * lab.d_model,
                          tied_embeddings=False, max_context=64)
size = slmkit.count_parameters(base).total
training = slmkit.TrainingConfig(lab.steps, context=64, learning_rate=1.2e-2, precision="fp32", evaluate_tokens=32768)


def shaped(layers, ratio):
    """The base with that depth, and the width at which its parameters leave a ratio nearest to the one asked for"""
    tried = [with_parameters(replace(base, n_layers=layers, d_model=d), size) for d in range(16, 257, 4)]
    return min(tried, key=lambda config: abs(math.log(config.d_ff / config.d_model / ratio)))


gpt2, rotary = (replace(base, n_kv_heads=4, ffn="standard", activation="gelu_tanh", norm="layernorm", norm_bias=None,
                        qkv_bias=True, out_bias=True, ffn_bias=True, positions=one) for one in ("learned", "rope"))
comparisons = {
    "05-ffn": ("gated silu", {f"{ffn} {activation}": replace(base, ffn=ffn, activation=activation)
                              for activation in lab.gated for ffn in ("gated", "standard")}),
    "05-activation": ("silu", {one: replace(base, ffn="standard", activation=one) for one in lab.activations}),
    "05-norm": ("rmsnorm pre", {f"{norm} {place}": replace(base, norm=norm, norm_bias=None, norm_placement=place)
                                for norm in ("rmsnorm", "layernorm") for place in lab.placements}),
    "05-ratio": ("ratio 3", {f"ratio {ratio}": shaped(lab.layers, ratio) for ratio in (3, *lab.ratios)}),
    "05-depth": (f"depth {lab.layers}", {f"depth {n}": shaped(n, 3) for n in (lab.layers, *lab.depths)}),
    "05-recipe": ("GPT-2 block", {"GPT-2 block": gpt2, "recipe": base, "GPT-2 block, rotary": rotary}),
}
arms = {f"{name} {arm}": Arm(with_parameters(config, size), training, lab.corpus)
        for name, (_, configs) in comparisons.items() for arm, config in configs.items()}
# fmt: on
arms = lab.tuned(arms, lab.factors, lab.seeds[:1])
table, drawn = lab.sweep(arms, lab.seeds), []
for name, (against, _) in comparisons.items():
    rows = table[table.arm.str.startswith(name)]
    rows = rows.assign(arm=rows.arm.str[len(name) + 1 :])
    comparison(name, rows, against, "parameters, tokens, their order, schedule; what the names of the arms do not say")
    time = rows.groupby("arm").cpu_s.mean() / rows.cpu_s[rows.arm == against].mean()
    for arm, mean, low, high, _ in paired(rows, against).itertuples():
        drawn.append((f"{name[3:]}: {arm}", low, mean, high, time[arm]))
bits = dict(list(rows.groupby("arm").bits_per_byte))
made = record("C28a", bits["recipe"], against=bits["GPT-2 block, rotary"], unit="bits per byte")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels with a row for each trained arm, grouped as in the tables above. Left, its difference in bits per byte to the group's base with the 95% interval, and a line at zero. Right, the processor time of its training in multiples of the base's."}}
figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(7.2, 1.2 + 0.24 * len(drawn)), width_ratios=(2, 1))
names, low, mean, high, time = zip(*drawn)
left.axvline(0, color="black", linewidth=0.8)
left.hlines(names, low, high)
left.plot(mean, names, "o")
left.set(ylim=(len(names) - 0.5, -0.5), xlabel="difference to the base\n(bits per byte)")
right.plot(time, names, "s", color="#D55E00")
right.set(xlim=(0, 1.1 * max(time)), xlabel="training time\n(times the base's)")
plt.show()

# %% [markdown]
# ### Zeros, and the misprinted constant
#
# ReLU leaves zeros, which need no column of $W_\mathrm{down}$. How many, for one token and for 16 neighbours at once?
# Does it save time to fetch only needed rows? And what if a model trained with the tanh form runs with 0.04715?

# %%
_, data = prepare(lab.corpus, lab.vocab)
ids, shares, change = data.held_out.tokens[: 64 * 32].view(-1, 64).long(), {"share": [], "for_16_tokens": []}, []
for seed in lab.seeds:
    models, zeros = [], []
    for arm in (arms["05-activation relu"], arms["05-activation gelu_tanh"]):
        torch.manual_seed(seed)
        models.append(slmkit.Decoder(arm.model))
        lab.train(models[-1], data, replace(arm.training, seed=seed))  # read back from the sweep
    for block in models[0].blocks:
        block.ffn.down.register_forward_pre_hook(lambda _, given, zeros=zeros: zeros.append(given[0] == 0))
    models[0](ids)
    zero = torch.stack(zeros)  # [layers, rows, tokens, d_ff]
    shares["share"].append(zero.float().mean().item())
    shares["for_16_tokens"].append(zero.unflatten(2, (-1, 16)).all(3).float().mean().item())
    right = bits_per_byte(models[1], data.held_out, 64, max_tokens=32768)
    for block in models[1].blocks:
        block.ffn.activation = partial(tanh_gelu, constant=0.04715)
    change.append(bits_per_byte(models[1], data.held_out, 64, max_tokens=32768) - right)
finding("05-sparsity", f"shares of zeros; your guesses: {guess}", **shares)
finding("05-constant", "bits per byte with 0.04715 minus with 0.044715, as it was trained", change=change)

rows, hidden = torch.randn(8 * lab.wide, lab.wide), torch.rand(8 * lab.wide)
sparse = {f"zeros {percent}%": hidden * (torch.rand_like(hidden) > percent / 100) for percent in (50, 90, 99)}
works = {name: lambda h=h: h[h > 0] @ rows[h > 0] for name, h in sparse.items()} | {"all": lambda: hidden @ rows}
times = measure_in_turn(works, repeats=10 * lab.repeats)
finding("05-needed", "times as fast as with all rows", **{n: times["all"].median / times[n].median for n in sparse})

# %% [markdown]
# ## Verdict
#
# Claims 19 and 28a are judged above. An interval that holds zero: no difference is seen at this scale. Short runs
# favour what learns fast, such as shallow models and rotary positions.
#
# **To take further.** Put ReLU into the gate and count zeros again; set the smallest numbers to zero too, and draw bits
# per byte against the share kept. **Open.** Does the order of ratios and depths hold with ten times the tokens?
