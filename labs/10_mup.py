# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Maximal update parametrisation (µP)
#
# **Question.** Section 2.4 of the survey says of µP: starting weights, rates by layer and factors on activations make
# training stable at any width, and the best rate carries over to larger models, as in Cerebras-GPT. Is either true?

# %%
import math
from dataclasses import replace
from functools import partial
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas
import torch

import slmkit
from slmkit.course import check, comparison, finding, record, start
from slmkit.data.prepared import prepare
from slmkit.survey import zoo
from slmkit.training import mup
from slmkit.training.coordinates import coordinate_check, faults, slopes
from slmkit.training.sweep import Arm

rates = tuple(0.002 * 8 ** (i / 2) for i in range(6))  # a factor of 2.8 apart
lab = start("10", profiles={
    "smoke": {"corpus": "tinyworld", "vocab": 300, "widths": (16, 32), "check_widths": (16, 32, 64), "rows": 2,
              "check_steps": 3, "steps": 6, "held_out": 2048, "rates": rates[2:4], "seeds": (0, 1)},
    "cpu": {"corpus": "speeches", "vocab": 512, "widths": (32, 64, 128), "check_widths": (32, 64, 128, 256), "rows": 4,
            "check_steps": 8, "steps": 50, "held_out": 16384, "rates": rates[1:5], "seeds": (0, 1, 2)},
    "full": {"corpus": "speeches", "vocab": 512, "widths": (32, 64, 128, 256), "check_widths": (32, 64, 128, 256, 512),
             "rows": 8, "check_steps": 8, "steps": 100, "held_out": 32768, "rates": rates, "seeds": tuple(range(5))},
})  # fmt: skip

# %% [markdown]
# ## Predict
#
# When a model becomes four times as wide, by how many powers of two does its best learning rate move, in both
# parametrisations? And after a few steps at one rate, FFN outputs grow like width to the power of what?

# %%
guess = {"standard shift": -1.0, "µP shift": 0.0, "standard power": 0.5, "µP power": 0.0}

# %% [markdown]
# ## Build: why wider needs a lower rate
#
# Adam's first step moves every number of a matrix by the rate, against the sign of its gradient, whatever the
# gradient's size. For one token the matrix $W$ gives $y = W x$, and with $g$ the gradient of the loss by $y$, that of
# $W$ is $g x^\top$. By how much does $y$ change for the same $x$?


# %%
def first_step(x, g, rate):
    """x [inputs], g [outputs] -> the change of y, [outputs], by Adam's first step on W"""
    ### BEGIN SOLUTION
    return -rate * torch.sign(g) * x.abs().sum()
    ### END SOLUTION


# %%
check("10/first_step", first_step)
for width in (64, 256, 1024):
    layer, x = torch.nn.Linear(width, 4, bias=False), torch.randn(width)
    adam, before = torch.optim.Adam(layer.parameters(), lr=1e-3, eps=0), layer(x).detach()
    layer(x).square().sum().backward()  # g = 2 y
    adam.step()
    torch.testing.assert_close(layer(x) - before, first_step(x, 2 * before, 1e-3), rtol=1e-3, atol=1e-5)
    print(f"{width} inputs: one step at rate 0.001 changes outputs by {(layer(x) - before).abs().mean():.3f}")

# %% [markdown]
# All terms of the sum have one sign, so it grows with the width. Random signs at the start took a deviation of
# $1/\sqrt{\mathrm{width}}$ to bound; this takes a rate of $1/\mathrm{width}$.
#
# ### The rules
#
# µP {cite}`yang2022tensor` asks which sides of a matrix grow with the model. *Hidden* ones grow on both: divide Adam's
# rate by the growth of the inputs, start with $1/\sqrt{\mathrm{inputs}}$. All else keeps the base's rate and deviation:
# embeddings, norms and biases read a fixed number of inputs; what the head sums up, a factor on the logits divides.


# %%
def rate_factor(base_shape, shape):
    """Shapes of one parameter at the base width and now, ([outputs, inputs] or [width]) -> the factor on Adam's rate"""
    ### BEGIN SOLUTION
    grown = [now / before for before, now in zip(base_shape, shape)]
    return 1 / grown[1] if len(grown) == 2 and 1 not in grown else 1.0
    ### END SOLUTION


# %%
check("10/rate_factor", rate_factor)
base = slmkit.ModelConfig(lab.vocab, lab.widths[0], 2, 4, d_ff=3 * lab.widths[0], tied_embeddings=False, max_context=64)
wide = mup.widened(base, 4 * base.d_model, "head_dim")
narrow, model = dict(slmkit.Decoder(base).named_parameters()), mup.decoder(wide, base.d_model)
mine = {name: rate_factor(narrow[name].shape, p.shape) for name, p in model.named_parameters()}
assert mine == mup.multipliers(model, base.d_model)
for factor in sorted(set(mine.values())):
    print(f"rate × {factor}:", ", ".join(dict.fromkeys(n.split(".")[-2] for n in mine if mine[n] == factor)))
print(pandas.DataFrame(mup.RULES).to_string(index=False))  # exponents of the growth of the width

# %% [markdown]
# A score is a sum over a head's width $d$. For random queries and keys $1/\sqrt{d}$ fits; training aligns them, and the
# sum grows like $d$: µP divides by $d$. At the base width the factor is the usual one.


# %%
def score_factor(head_dim, base_head_dim):
    """The factor on query · key"""
    ### BEGIN SOLUTION
    return base_head_dim**-0.5 * base_head_dim / head_dim
    ### END SOLUTION


# %%
check("10/score_factor", score_factor)
assert math.isclose(score_factor(wide.head_dim, base.head_dim), wide.attention_scale)
print(f"factor on logits {wide.logit_scale}, on scores {wide.attention_scale:.4f} (usual: {wide.head_dim**-0.5:.4f})")

# %% [markdown]
# ### Two numbers from measurements
#
# Sizes are compared by the slope of log(size) against log(width). The best of a few rates is the lowest point of a
# parabola over log(rate), through the lowest loss and its neighbours. At an end of the list, or beside a run that
# diverged (infinite loss), it is that rate itself.


# %%
def slope(widths, sizes):
    """The least-squares slope of log(size) against log(width)"""
    ### BEGIN SOLUTION
    x, y = np.log(widths), np.log(sizes)
    return ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    ### END SOLUTION


def best_rate(rates, losses):
    """The rate of least loss; rates ascend"""
    ### BEGIN SOLUTION
    i = int(np.argmin(losses))
    near = slice(i - 1, i + 2)
    if i in (0, len(rates) - 1) or not np.isfinite(losses[near]).all():
        return rates[i]
    square, linear, _ = np.polyfit(np.log(rates[near]), losses[near], 2)
    return float(np.exp(-linear / (2 * square)))
    ### END SOLUTION


# %%
check("10/slope", slope)
check("10/best_rate", best_rate)
assert math.isclose(slope([32, 64, 256], [1.0, 3, 7]), np.polyfit(np.log([32, 64, 256]), np.log([1.0, 3, 7]), 1)[0])

# %% [markdown]
# ## Measure
#
# ### Coordinates
#
# Models of several widths train for some steps on one batch. How large is what each part puts out, and how much of it
# came by training? Under µP nothing may grow with the width; scores and logits fall like $1/\sqrt{\mathrm{width}}$ at
# the start, by design. Then one rule at a time is broken.

# %%
batch = (data := prepare(lab.corpus, lab.vocab)[1]).train.batches(lab.rows, 32)(0)


def make(width, rules):
    """A model and its optimizer by a table of rules, at a rate near the best at the base width"""
    model = mup.decoder(mup.widened(base, width, "head_dim", rules), base.d_model, rules)
    factors = mup.multipliers(model, base.d_model, rules)
    groups = [{"params": [p], "lr": 0.03 * factors[name]} for name, p in model.named_parameters()]
    return model, [torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0)]


# fmt: off
errors = {  # what is changed in the table, and where it shows: the quantity, its column, the start or the last step
    "scores by 1/√d": ("scores", {"multiplier": -1 / 2}, "scores 0", "size"),
    "no factor on logits": ("output", {"multiplier": 0}, "logits", "size"),
    "embedding as hidden": ("input", {"rate": -1}, "embedding", "change"),
    "head drawn as usual": ("output", {"deviation": -1 / 2}, "logits", "size"),
    "head drawn too wide": ("output", {"deviation": 1 / 2}, "logits", "size"),
    "hidden rates as usual": ("hidden", {"rate": 0}, "ffn 1", "change"),
}
kinds = {"standard": mup.STANDARD, "µP": mup.RULES}
tables = kinds | {name: mup.changed(mup.RULES, kind, **one) for name, (kind, one, *_) in errors.items()}
checks = {name: coordinate_check(partial(make, rules=rules), lab.check_widths, batch, lab.check_steps,
                                 lab.seeds if name in kinds else lab.seeds[:1]) for name, rules in tables.items()}
for name, table in checks.items():
    print(f"{name}: " + ("; ".join(faults(table)[:2]) or "flat, nothing grows"))
ffn = {name: [slopes(rows).trained["ffn 1"] for _, rows in checks[name].groupby("seed")] for name in kinds}
finding("10-coordinates", f"slopes of what training changes in the FFN of layer 1; your guesses: {guess}",
        mup=ffn["µP"], standard=ffn["standard"], faults=len(faults(checks["µP"])), errors=len(errors),
        seen=sum(bool(faults(checks[name])) for name in errors))
# fmt: on

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, standard and µP. Each shows the mean size of the last feed-forward layer's output against the model's width, both on logarithmic axes, with a line for the start and for later steps. A line that rises says that wider models put out larger numbers."}}
figure, panels = plt.subplots(1, 2, sharey=True, figsize=(7.2, 3.2))
for panel, (name, rows) in zip(panels, ((name, checks[name][checks[name].what == "ffn 1"]) for name in kinds)):
    for step, mark in zip(sorted({0, 1, lab.check_steps // 2, lab.check_steps}), "osD^"):
        mean = rows[rows.step == step].groupby("width")["size"].mean()
        panel.semilogy(mean.index.astype(str), mean, marker=mark, label=f"after {step} steps")
    panel.set(title=name, xlabel="width (d_model), doubling")
panels[0].set_ylabel("mean size of the\nFFN's output (layer 1)")
panels[0].legend()
plt.show()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six small panels, one for each error, with the quantity that it bends, in multiples of its value at the base width, against the width, both on logarithmic axes: a line for µP as it should be and a dashed one for µP with the error. The two part as the width grows."}}
figure, panels = plt.subplots(2, 3, sharey=True, figsize=(7.2, 5))
for panel, (name, (_, _, what, column)) in zip(panels.flat, errors.items()):
    step, seed = 0 if column == "size" else lab.check_steps, lab.seeds[0]
    for case, style, label in (("µP", "o-", "µP"), (name, "s--", "with the error")):
        value = checks[case].query("what == @what and step == @step and seed == @seed").set_index("width")[column]
        panel.semilogy(value.index.astype(str), value / value.iloc[0], style, label=label)
    panel.set(title=f"{name}:\n{column} of {what}", xlabel="width (d_model)")
panels[0, 0].legend()
figure.supylabel("times its value at the base width")
plt.show()

# %% [markdown]
# ### Learning rates
#
# Every width and rate, with the same tokens, order and schedule; at the narrowest width, the base, both
# parametrisations are one model. Losses are held-out, in nats a token.

# %%
training = slmkit.TrainingConfig(lab.steps, context=64, weight_decay=0, precision="fp32", evaluate_tokens=lab.held_out)
arms = {}
for name, mup_base, widths in (("standard", None, lab.widths), ("µP", base.d_model, lab.widths[1:])):
    for width, rate in product(widths, lab.rates):
        one = replace(training, mup_base=mup_base, learning_rate=rate)
        arms[name, width, rate] = Arm(mup.widened(base, width, "head_dim", kinds[name]), one, lab.corpus)
runs = lab.sweep(arms, lab.seeds)
nats = math.log(2) * data.held_out.text_bytes / len(data.held_out)  # in a token, of one bit a byte
losses = {(arm, seed): nats * bits for arm, seed, bits in zip(runs.arm, runs.seed, runs.bits_per_byte)}


def curve(name, width, *seeds):
    """The mean loss at each rate, over all seeds or those given"""
    name = "standard" if width == base.d_model else name
    return np.mean([[losses[(name, width, rate), seed] for rate in lab.rates] for seed in seeds or lab.seeds], axis=0)


last, chosen, lost, own = lab.widths[-1], int(np.argmin(curve("µP", base.d_model))), {}, {}
for name in kinds:
    best = {width: best_rate(lab.rates, curve(name, width)) for width in lab.widths}
    own[name] = int(np.argmin(curve(name, last)))
    ends = [curve(name, last, seed) for seed in lab.seeds]
    lost[name.replace("µP", "mup")] = [float(end[chosen] - end[own[name]]) for end in ends]
    moved = [[best_rate(lab.rates, curve(name, width, seed)) for width in lab.widths] for seed in lab.seeds]
    shift = [2 * slope(lab.widths, of_seed) for of_seed in moved]
    finding(f"10-{name.replace('µP', 'mup')}", "powers of two for a fourfold width, and the best rate by width",
            shift=shift, **{f"at_{width}": rate for width, rate in best.items()})  # fmt: skip
made = record("C41", shift, unit="powers of two")
finding("10-transfer", f"nats that width {last} loses at the best rate of width {base.d_model}, to its own best",
        **lost, growth=last // base.d_model, rate=lab.rates[chosen])  # fmt: skip
tuned = runs[[arm[2] == lab.rates[own[arm[0]]] and arm[1] == last for arm in runs.arm]]
comparison("10-tuned", tuned.assign(arm=tuned.arm.str[0]), "standard",
           "width, tokens, their order, schedule; each at its own best rate")  # fmt: skip

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, standard and µP: held-out loss in nats a token against the learning rate on a logarithmic axis, a line for each width with a band from the least to the greatest seed. A dotted line marks the best rate of the narrowest model. The lowest point of each line is the best rate of its width."}}
figure, panels = plt.subplots(1, 2, sharey=True, figsize=(7.2, 3.6))
for panel, name in zip(panels, kinds):
    for width, mark in zip(lab.widths, "osD^"):
        each = [curve(name, width, seed) for seed in lab.seeds]
        panel.plot(lab.rates, np.mean(each, axis=0), marker=mark, label=f"width {width}")
        panel.fill_between(lab.rates, np.min(each, axis=0), np.max(each, axis=0), alpha=0.2)
    panel.axvline(lab.rates[chosen], color="black", linewidth=0.8, linestyle=":")
    panel.set(xscale="log", title=name, xlabel="learning rate")
panels[0].set(ylabel="held-out loss (nats a token)", ylim=(min(losses.values()) - 0.1, min(losses.values()) + 2))
panels[1].legend()
plt.show()

# %% [markdown]
# ### Who used it
#
# A published configuration shows µP: a factor on the logits that, times the width, is one number in all sizes of a
# family. Cerebras-GPT was trained both ways {cite}`dey2023cerebras`; the model cards of those tested say *standard*.

# %%
for name, c in {name: zoo.config(name) for name in zoo.available()}.items():
    if c.logit_scale != 1 or name.startswith("Cerebras"):
        print(f"{name}: width {c.d_model} × factor on logits {c.logit_scale:.4f} = {c.logit_scale * c.d_model:.0f}")

# %% [markdown]
# ## Verdict
#
# Claim 41 is judged by how far µP's best rate moves; the standard one's is beside it. Its example is wrong: what was
# tested is the standard kind. A rate that carries over is not a lower loss than at a tuned rate: see the last table.
#
# **To take further.** Depth: keep the width, double the layers twice, sweep the rate with `residual_scale` at 1 and at
# $\sqrt{L_0 / L}$. (`Decoder` divides that factor out of its starting weights: multiply it in again.) Which of the two
# keeps the best rate? Or let heads grow in number. **Open.** Does the rate carry over ten times the steps?
