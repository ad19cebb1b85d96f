# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quality, quantity, over-training
#
# **Question.** Section 2.3 of the survey says that the quality of the training text matters most, usually more than
# its quantity, and that small models see far more tokens than is compute-optimal, on purpose. How much does filtering
# give at equal tokens? How many tokens are optimal, and what is the price of more?

# %%
import math
import random
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas
import torch
from tqdm import tqdm

import slmkit
from slmkit.course import check, comparison, finding, record, start
from slmkit.data import corpora
from slmkit.data.dedup import minhash_clusters
from slmkit.data.filtering import FILTERS, judge
from slmkit.data.mixing import Mixture
from slmkit.data.packing import TokenData, TokenRow, pack
from slmkit.data.prepared import prepare
from slmkit.data.quality import QualityConfig, fit, threshold_for_share
from slmkit.data.rough import passages, roughen
from slmkit.evaluation.word_order import share_in_order, swapped_pairs
from slmkit.paths import build_folder
from slmkit.training.sweep import Arm, paired

# fmt: off
lab = start("08", profiles={
    "smoke": {"every": 16, "pool": 40, "epochs": 4, "width": 16, "steps": 6, "repeats": (1, 4), "batch": 16, "budgets":
              {4e8: (8, 16, 24), 8e8: (8, 16, 24)}, "factors": (1,), "small": 8, "ladder": (1, 20), "seeds": (0, 1)},
    "cpu": {"every": 2, "pool": 400, "epochs": 4, "width": 48, "steps": 70, "repeats": (1, 4, 16), "batch": 16,
            "budgets": {8e9: (8, 12, 16, 24), 3.2e10: (16, 24, 32, 48)}, "factors": (1,), "small": 8,
            "ladder": (1, 20), "seeds": range(3)},
    "full": {"every": 1, "pool": 5000, "epochs": 10, "width": 64, "steps": 600, "repeats": (1, 2, 4, 8, 16, 32),
             "batch": 8, "budgets": {5e10: (16, 24, 32, 48, 64), 2e11: (24, 32, 48, 64, 96), 8e11: (32, 48, 64, 96,
             128)}, "factors": (0.5, 1, 2), "small": 16, "ladder": (0.25, 0.5, 1, 2, 4, 8, 20), "seeds": range(5)},
})
VOCAB, CONTEXT, ROWS, PAIRS = 512, 64, 16, 200

# %% [markdown]
# ## Predict
#
# Half of a text pool is damaged, a fifth are copies. At equal tokens, how many bits per byte does filtering change?
# How many tokens a parameter are optimal here? What is lost by reading a text 16 times, in place of as much new text?

# %%
guess = {"filtered": -0.1, "tokens a parameter": 20, "16 epochs": 0.1}

# %% [markdown]
# ## Build
#
# **A mixture** whose batches follow from seed and step alone, so that a killed run goes on with the same text. Sources
# drawn at random for each row would do, but their shares waver. Evenly spread, $\lfloor i w + s \rfloor$ of the first
# $i$ rows come from the first of two sources, with its weight $w$ and a shift $s$ drawn from the seed.

# %%
def from_first(weight, shift, start, stop):
    """Which of the rows start … stop - 1 come from the first source: bool [stop - start]"""
    ### BEGIN SOLUTION
    return torch.floor(torch.arange(start, stop + 1).double() * weight + shift).diff() > 0
    ### END SOLUTION

# %%
check("08/from_first", from_first)
places = TokenRow(torch.arange(1000), 1000, "places", 1000)
batches = Mixture({"a": (places, 3), "b": (places, 1)}).batches(16, 8)
theirs = np.diff([batches.rows(step)["a"] for step in range(11)]).tolist()
assert theirs == from_first(0.75, 0.5, 0, 160).view(10, 16).sum(1).tolist()
print(f"rows of 16 from the first source: {theirs}, at random {(torch.rand(10, 16) < 0.75).sum(1).tolist()}")

# %% [markdown]
# **The law** {cite}`hoffmann2022training`: $L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$. For given exponents it is
# linear in $E$, $A$, $B$, so least squares finds them: try pairs of exponents. At equal compute, which is about $6ND$
# FLOPs {cite}`kaplan2020scaling`, the same authors put a parabola through the losses over $\log N$.

# %%
def fit_law(n, d, loss, exponents):
    """n, d, loss: arrays [runs] -> (E, A, alpha, B, beta) of the least squared error; E, A and B are 0 or more"""
    ### BEGIN SOLUTION
    best = (math.inf,)
    for alpha, beta in product(exponents, repeat=2):
        columns = np.stack([np.ones(len(n)), n**-alpha, d**-beta], 1)
        found = np.linalg.lstsq(columns, loss, rcond=None)[0]
        error = np.square(columns @ found - loss).sum()
        if error < best[0] and min(found) >= 0:
            best = error, found[0], found[1], alpha, found[2], beta
    return best[1:]
    ### END SOLUTION

# %%
def optimal_size(n, loss):
    """The size at the lowest point of the parabola through the losses over the logarithm of the size"""
    ### BEGIN SOLUTION
    a, b, _ = np.polyfit(np.log(n), loss, 2)
    return math.exp(-b / (2 * a))
    ### END SOLUTION

# %%
check("08/fit_law", fit_law)
check("08/optimal_size", optimal_size)

# %% [markdown]
# **Repetition.** $U$ different tokens, read $1 + R$ times, are worth $U + U r (1 - e^{-R / r})$ fresh ones, with $r$
# about 15.4 {cite}`muennighoff2023scaling`. **Service.** A model that shall serve $S$ tokens should be smaller than
# the compute-optimal one and train for longer {cite}`sardana2023beyond`: at equal loss, the least $6ND + 2NS$ FLOPs.

# %%
def effective_tokens(unique, read, worth=15.4):
    """How many fresh tokens `read` tokens are worth, of which `unique` are different (all, if that is more)"""
    ### BEGIN SOLUTION
    repeats = max(read / unique - 1, 0)
    return min(unique, read) + unique * worth * (1 - math.exp(-repeats / worth))
    ### END SOLUTION

# %%
def serving_optimum(law, loss, served, sizes):
    """The one of `sizes` that reaches `loss` and serves so many tokens with the fewest FLOPs; its training tokens"""
    ### BEGIN SOLUTION
    least, a, alpha, b, beta = law
    sizes = sizes[least + a * sizes**-alpha < loss]
    tokens = (b / (loss - least - a * sizes**-alpha)) ** (1 / beta)
    best = (6 * sizes * tokens + 2 * sizes * served).argmin()
    return sizes[best], tokens[best]
    ### END SOLUTION

# %%
check("08/effective_tokens", effective_tokens)
check("08/serving_optimum", serving_optimum)

# %% [markdown]
# ## Measure
#
# **Quality.** Passages of the speeches; half are damaged, and edited copies of a quarter are added ({doc}`lab 07
# <07_filtering_and_deduplication>`). The classifier learned from other speeches, and one tokenizer serves all. Then
# **repetition**: as many tokens, of ever fewer different ones, from clean passages in random order.

# %%
whole = corpora.load("speeches")
text = replace(whole, train=whole.train[:: lab.every], held_out=tuple(passages(whole.held_out)[:: 8 * lab.every]))
tokenizer, data = prepare(text, VOCAB)
taught, judged = (roughen(passages(text.train[k::8]), seed=k) for k in (0, 4))
pieces = [piece for i, one in enumerate(text.train) if i % 4 for piece in passages([one])]
pool = roughen(random.Random(0).sample(pieces, min(lab.pool, len(pieces))), 2, duplicates=0.25)
classifier = fit([one.text for one in taught], [not one.kinds for one in taught], QualityConfig(epochs=lab.epochs))
good = sum(not one.kinds for one in judged) / len(judged)
threshold = threshold_for_share(classifier.scores([one.text for one in judged]), good)
texts = [one.text for one in pool]
copies = {place for group in minhash_clusters(texts) for place in group[1:]}
keeps = {"rough": [True] * len(pool), "rules": [all(judge(one, name) is None for name in FILTERS) for one in texts],
         "model": (classifier.scores(texts) >= threshold).tolist(), "clean": [not one.kinds for one in pool],
         "deduplicated": [place not in copies for place in range(len(pool))]}
keeps["all three"] = [all(three) for three in zip(keeps["rules"], keeps["model"], keeps["deduplicated"])]

def packed(name, documents):
    return pack(documents, tokenizer, build_folder() / "data" / f"lab08-{lab.profile}-{name}.safetensors")

def kept(name, first=0, last=None):
    chosen = [one for one, keep in zip(texts[first:last], keeps[name][first:last]) if keep]
    return packed(f"{name}-{first}-{last}".replace(" ", "-"), chosen)

def shape(width):  # tied, so that each parameter works once for each token
    heads, scale = max(1, width // 16), math.sqrt(width)
    return slmkit.ModelConfig(VOCAB, width, 2, heads, d_ff=3 * width, embedding_scale=scale, max_context=CONTEXT)

def training(steps, batch, seed=0):
    return slmkit.TrainingConfig(max(4, round(steps)), batch, CONTEXT, learning_rate=1.2e-2, precision="fp32",
                                 evaluate_tokens=None, seed=seed)

def trained(name, arms_of):
    """A row for each seed and arm; arms_of(seed) -> {arm: (what to train on, steps)}"""
    runs, found = [(seed, arm, *given) for seed in lab.seeds for arm, given in arms_of(seed).items()], []
    for seed, arm, row, steps in tqdm(runs, name, unit="run", leave=False):
        torch.manual_seed(seed)
        model = slmkit.Decoder(shape(lab.width))
        history = lab.train(model, TokenData(row, data.held_out), training(steps, ROWS, seed))
        found.append((arm, seed, history.bits_per_byte, history.cpu_seconds, share_in_order(model, tokenizer, pairs)))
    table = pandas.DataFrame(found, columns=["arm", "seed", "bits_per_byte", "cpu_s", "right"])
    return table.assign(parameters=slmkit.count_parameters(shape(lab.width)).total)

def scarce(seed):
    """A pool whose rough text is an eighth of what is read, but 32 documents at least"""
    n = max(32, len(pool) * read // (8 * len(rows["rough"])))
    few = {name: kept(name, seed * n, (seed + 1) * n) for name in ("rough", "model", "clean")}
    fewer = few["model"], lab.steps * len(few["model"]) / len(few["rough"])
    return {name: (row, lab.steps) for name, row in few.items()} | {"model, fewer steps": fewer}

# %%
rows, pairs = {name: kept(name) for name in keeps}, swapped_pairs(whole.held_out, PAIRS)
read = lab.steps * ROWS * CONTEXT
finding("08-kept", "tokens", **{name: len(row) for name, row in rows.items()})
mixed = {"3 clean to 1 rough": Mixture({"clean": (rows["clean"], 3), "rough": (rows["rough"], 1)})}
plenty = trained("plenty", lambda seed: {name: (row, lab.steps) for name, row in (rows | mixed).items()})
few = trained("scarce", scarce)
comparison("08-filter", plenty, "rough", "tokens, steps")
comparison("08-scarce", few, "rough", "the pool; in all but the last arm tokens and steps")
arms = plenty.groupby("arm", sort=False).agg(list)
finding("08-task", "share of sentences preferred to the same with two words swapped; by chance 0.5", **arms.right)
made = record("C39", arms.bits_per_byte["model"], against=arms.bits_per_byte["rough"], unit="bits per byte")

fresh = packed("fresh", random.Random(0).sample(pieces := passages(text.train), len(pieces)))
starts = {seed: fresh.tokens[seed * read :][: read + CONTEXT + 1] for seed in lab.seeds}
epochs = trained("epochs", lambda seed: {
    f"{n} epochs": (replace(fresh, tokens=starts[seed][: read // n + CONTEXT + 1]), lab.steps) for n in lab.repeats})
comparison("08-epochs", epochs, "1 epochs", "tokens read, steps")

# %% [markdown]
# **Quantity.** First, sizes at equal training FLOPs. Then one small model, up to twenty times its optimal tokens. Each
# run has a schedule of its own length, and `full` tunes each learning rate within each budget.

# %%
tables, optima = {}, []
for flops, widths in lab.budgets.items():
    per_step = {w: slmkit.flops_per_token(shape(w), CONTEXT, "training") * lab.batch * CONTEXT for w in widths}
    arms = {f"width {w}": Arm(shape(w), training(flops / per_step[w], lab.batch), text) for w in widths}
    table = tables[flops] = lab.sweep(lab.tuned(arms, lab.factors, lab.seeds[:1]), lab.seeds)
    for seed, one in table.groupby("seed"):
        n = np.clip(optimal_size(one.parameters, one.bits_per_byte), one.parameters.min(), one.parameters.max())
        tokens = math.exp(np.interp(math.log(n), np.log(one.parameters), np.log(one.tokens)))
        optima.append((flops, seed, n, tokens, tokens / n))
optima = pandas.DataFrame(optima, columns=["flops", "seed", "n", "tokens", "ratio"])
comparison("08-compute", table, table.groupby("arm").bits_per_byte.mean().idxmin(), f"training FLOPs, {flops:.0e}")
best, least = (optima[optima.flops == one] for one in (flops, min(lab.budgets)))
growth = [np.polyfit(np.log(one.flops), np.log(one.n), 1)[0] for _, one in optima.groupby("seed")]
finding("08-optimum", f"tokens a parameter at {flops:.0e} and {min(lab.budgets):.0e} FLOPs; size ~ FLOPs ** growth",
        size=best.n.tolist(), ratio=best.ratio.tolist(), ratio_small=least.ratio.tolist(), growth=growth)
ratio = math.exp(np.log(least.ratio).mean())
steps = ratio * slmkit.count_parameters(shape(lab.small)).total / lab.batch / CONTEXT
arms = {f"{x:g} times": Arm(shape(lab.small), training(x * steps, lab.batch), text) for x in lab.ladder}
ladder = lab.sweep(lab.tuned(arms, lab.factors, lab.seeds[:1]), lab.seeds)
comparison("08-tokens", ladder, "1 times", "the model; its optimal tokens, times")
bits, doublings = ladder.pivot(index="seed", columns="arm", values="bits_per_byte"), math.log2(20 / lab.ladder[0])
falls = (bits[f"{lab.ladder[0]:g} times"] - bits["20 times"]) / doublings
made = record("C38", falls, unit="bits per byte", note=f"the mean of {doublings:.1f} doublings")
made = record("C40", bits["20 times"], bits["1 times"], "bits per byte", note=f"to {20 * ratio:.0f} tokens a parameter")

# %% [markdown]
# **The law**, fitted to all of a seed's runs. From it follow the price of over-training, as FLOPs in multiples of the
# fewest that reach the same loss; the loss by repetition; and the size that serves so many times its training tokens.

# %%
def law_loss(law, n, d):
    return law[0] + law[1] * n ** -law[2] + law[3] * d ** -law[4]

runs, n, sizes = pandas.concat([*tables.values(), ladder]), epochs.parameters[0], np.geomspace(1e3, 1e7, 801)
found, times = [], (0, 0.1, 1, 10, 100, 1000)
for (_, one), ours in zip(runs.groupby("seed"), best.itertuples()):
    law = fit_law(*one[["parameters", "tokens", "bits_per_byte"]].to_numpy(float).T, np.linspace(0.05, 1.5, 30))
    over, target = one[one.arm == "20 times"].iloc[0], law_loss(law, ours.n, ours.tokens)
    size, tokens = serving_optimum(law, law_loss(law, over.parameters, over.tokens), 0, sizes)
    chosen = [serving_optimum(law, target, x * ours.tokens, sizes)[0] for x in times]
    lost = [law_loss(law, n, effective_tokens(read / x, read)) - law_loss(law, n, read) for x in lab.repeats]
    found.append([*law, over.parameters * over.tokens / (size * tokens), *np.divide(chosen, chosen[0]), *lost])
heads = [f"{x:g} times" for x in times], [f"{x} epochs" for x in lab.repeats]
found = pandas.DataFrame(found, columns=["E", "A", "alpha", "B", "beta", "price", *heads[0], *heads[1]])
finding("08-law", "bits per byte; price, as multiples of FLOPs", **found.iloc[:, :6].to_dict("list"))
finding("08-serving", "size, as multiples of the compute-optimal one", **found[heads[0]].to_dict("list"))
finding("08-foretold", f"bits per byte lost, by the law; your guesses: {guess}", **found[heads[1]].to_dict("list"))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four panels. Differences in bits per byte to training on the rough pool, with intervals, for each filter, with plenty of text and with little. Loss over fresh text by number of epochs, measured with intervals, and foretold. Losses of all runs over parameters, one parabola for each compute budget. The size that serves best, by the tokens served, a line a seed."}}
figure, ((filters, again), (compute, service)) = plt.subplots(2, 2, figsize=(9, 7.5))
for marker, label, d in (("o", "plenty", paired(plenty, "rough")), ("s", "scarce", paired(few, "rough"))):
    filters.errorbar(d["mean"], [f"{label}: {arm}" for arm in d.index], xerr=d["mean"] - d.low, fmt=marker, capsize=3)
filters.axvline(0, color="black"), filters.invert_yaxis(), filters.set_xlabel("bits per byte above the rough pool's")
d = paired(epochs, "1 epochs")
again.errorbar(lab.repeats[1:], d["mean"], d["mean"] - d.low, fmt="o", capsize=3, label="measured")
again.plot(lab.repeats, found[heads[1]].mean(), "--", label="foretold")
again.set(xlabel="epochs", ylabel="bits per byte lost", xscale="log", xticks=lab.repeats, xticklabels=lab.repeats)
for marker, (flops, table) in zip("os^", tables.items()):
    (points,) = compute.plot(table.parameters, table.bits_per_byte, marker, label=f"{flops:.0e} FLOPs")
    log = np.linspace(*np.log(table.parameters.agg(["min", "max"])))
    curve = np.polyval(np.polyfit(np.log(table.parameters), table.bits_per_byte, 2), log)
    compute.plot(np.exp(log), curve, color=points.get_color())
compute.set(xscale="log", xlabel="parameters", ylabel="bits per byte"), compute.minorticks_off(), again.minorticks_off()
service.plot([f"{x:g}" for x in times], found[heads[0]].T, "o-")
service.set(xlabel="served tokens / training tokens", ylabel="size (compute-optimal = 1)", ylim=(0, None))
compute.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8, columnspacing=1), again.legend()
plt.show()

# %% [markdown]
# ## Verdict
#
# Claims 38 to 40 are judged above, for damage of known kinds, models of two layers, one kind of text. Where text is
# scarce, repetition must replace what a filter takes: look at both tables. The optimum counts training alone; who
# serves many tokens, or has little memory, trains a smaller model for longer. **To take further.** Change the
# classifier's threshold: which share is best to keep, for each amount of text? **Open.** Does it fall as models grow?
