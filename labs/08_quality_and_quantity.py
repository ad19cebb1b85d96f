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
# its quantity, and that small models are trained far beyond the compute-optimal number of tokens, on purpose. How much
# does filtering give at equal tokens? How many tokens are optimal, and what does it cost to use more?

# %%
import math
import random
from dataclasses import replace
from itertools import product

import numpy as np
import pandas
import torch
import torch.nn.functional as F
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
from slmkit.model.counting import flops_by_part
from slmkit.paths import build_folder
from slmkit.training.sweep import Arm

lab = start("08", profiles={
    "smoke": {"every": 16, "pool": 60, "epochs": 4, "width": 16, "steps": 6, "repeats": (1, 4), "pairs": 10, "batch": 16,
              "budgets": {4e8: (8, 16, 24), 8e8: (8, 16, 24)}, "factors": (1.0,), "small": 8, "ladder": (1, 20),
              "seeds": (0, 1)},
    "cpu": {"every": 2, "pool": 600, "epochs": 4, "width": 48, "steps": 150, "repeats": (1, 4, 16), "pairs": 100, "batch": 16,
            "budgets": {1e10: (12, 16, 24, 32), 4e10: (16, 24, 32, 48)}, "factors": (1.0,), "small": 8,
            "ladder": (1, 4, 20), "seeds": (0, 1, 2)},
    "full": {"every": 1, "pool": 5000, "epochs": 10, "width": 64, "steps": 600, "repeats": (1, 2, 4, 8, 16, 32), "pairs": 200,
             "budgets": {5e10: (16, 24, 32, 48, 64), 2e11: (24, 32, 48, 64, 96), 8e11: (32, 48, 64, 96, 128)},
             "batch": 8, "factors": (0.5, 1.0, 2.0), "small": 16, "ladder": (0.25, 0.5, 1, 2, 4, 8, 20),
             "seeds": tuple(range(5))},
})  # fmt: skip
VOCAB, CONTEXT, ROWS = 512, 64, 16

# %% [markdown]
# ## Predict
#
# Half of a pool of text is damaged and a fifth of it copied. At equal tokens, how many bits per byte does filtering
# save? How many tokens a parameter are optimal here? What does it cost to read a text 16 times instead of as much new
# text?

# %%
guess = {"model": -0.1, "tokens a parameter": 20, "16 epochs": 0.1}

# %% [markdown]
# ## Build
#
# ### A mixture
#
# Batches shall follow from seed and step alone, so that a killed run goes on with the same text. A source drawn at
# random for each row could do so too, but its share wavers. Spread evenly, $\lfloor i w + s \rfloor$ of the first $i$
# rows come from the first of two sources: $w$ is its weight, $s$ a shift drawn from the seed.


# %%
def from_first(weight, shift, start, stop):
    """Which of the rows start … stop - 1 come from the first source: bool [stop - start]"""
    ### BEGIN SOLUTION
    return torch.floor(torch.arange(start, stop + 1).double() * weight + shift).diff() > 0
    ### END SOLUTION


# %%
check("08/from_first", from_first)
places = TokenRow(torch.arange(1000), 1000, "places", 2000)
batches = Mixture({"a": (places, 3), "b": (replace(places, tokens=places.tokens + 1000), 1)}).batches(16, 8)
evenly, atrandom = from_first(0.75, 0.5, 0, 160).view(10, 16).sum(1), (torch.rand(10, 16) < 0.75).sum(1)
theirs = torch.stack([(batches(step)[0][:, 0] < 1000).sum() for step in range(10)])
print(f"rows from the first in ten batches: evenly {evenly.tolist()}, slmkit {theirs.tolist()}, at random "
      f"{atrandom.tolist()}")  # fmt: skip

# %% [markdown]
# ### Compute
#
# A weight costs a multiplication and an addition for each token in the forward pass, and twice that in the backward
# pass. So $N$ weights and $D$ tokens take $6ND$ FLOPs {cite}`kaplan2020scaling`. Ours are tied: a layer has four square
# matrices of attention and the three of a gated feed-forward layer, the head is the embedding table.


# %%
def training_flops(width, layers, d_ff, vocab, tokens):
    """FLOPs of the matrices, without attention's scores"""
    ### BEGIN SOLUTION
    return 6 * tokens * (layers * (4 * width**2 + 3 * width * d_ff) + vocab * width)
    ### END SOLUTION


# %%
check("08/training_flops", training_flops)
parts = flops_by_part(slmkit.ModelConfig(512, 32, 2, 2, d_ff=96), 64, "training")
assert training_flops(32, 2, 96, 512, tokens=1) == sum(parts.values()) - parts["scores"]
print(f"scores add {parts['scores'] / sum(parts.values()):.0%}")

# %% [markdown]
# ### The law
#
# Hoffmann and others {cite}`hoffmann2022training` describe losses by $L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$.
# With both exponents given, the law is linear in $E$, $A$ and $B$: least squares finds them. So try pairs of exponents.


# %%
def fit_law(n, d, loss, exponents):
    """n, d, loss: arrays [runs] -> (E, A, alpha, B, beta) of the least squared error; E, A and B are 0 or more"""
    ### BEGIN SOLUTION
    best = (math.inf,)
    for alpha, beta in product(exponents, repeat=2):
        columns = np.stack([np.ones(len(n)), n**-alpha, d**-beta], 1)
        least, a, b = found = np.linalg.lstsq(columns, loss, rcond=None)[0]
        error = np.square(columns @ found - loss).sum()
        if error < best[0] and min(found) >= 0:
            best = error, least, a, alpha, b, beta
    return best[1:]
    ### END SOLUTION


# %%
check("08/fit_law", fit_law)


# %%
def optimal_size(n, loss):
    """The size at the lowest point of the parabola through the losses, in the logarithm of the size"""
    ### BEGIN SOLUTION
    a, b, _ = np.polyfit(np.log(n), loss, 2)
    return math.exp(-b / (2 * a))
    ### END SOLUTION


# %%
check("08/optimal_size", optimal_size)
chinchilla = 1.69, 406.4, 0.34, 410.7, 0.28  # as published, in nats a token
n = np.geomspace(1e9, 1e12, 13)
gained = chinchilla[0] + chinchilla[1] * n**-0.34 + chinchilla[3] * (5.76e23 / 6 / n) ** -0.28
print(f"by its own law, Gopher's compute had its best size at {optimal_size(n, gained) / 1e9:.0f} billion parameters")

# %% [markdown]
# ### Repetition and service
#
# A token read again teaches less. Muennighoff and others {cite}`muennighoff2023scaling` count $U$ unique tokens, read
# $1 + R$ times, as $U + U r (1 - e^{-R / r})$ fresh ones, with $r \approx 15.4$. And a model that is to serve many
# tokens should be smaller than the compute-optimal one, and trained for longer {cite}`sardana2023beyond`: at equal loss
# $6ND + 2N D_\mathrm{served}$ shall be least.


# %%
def effective_tokens(unique, read, worth=15.4):
    """How many fresh tokens `read` tokens are worth, of which `unique` are different (all, if that is more)"""
    ### BEGIN SOLUTION
    repeats = max(read / unique - 1, 0)
    return min(unique, read) + unique * worth * (1 - math.exp(-repeats / worth))
    ### END SOLUTION


# %%
check("08/effective_tokens", effective_tokens)


# %%
def serving_optimum(law, loss, served, sizes):
    """The one of `sizes` that reaches `loss` and serves so many tokens with the fewest FLOPs, and its training tokens"""
    ### BEGIN SOLUTION
    least, a, alpha, b, beta = law
    sizes = sizes[least + a * sizes**-alpha < loss]
    tokens = (b / (loss - least - a * sizes**-alpha)) ** (1 / beta)
    best = (6 * sizes * tokens + 2 * sizes * served).argmin()
    return sizes[best], tokens[best]
    ### END SOLUTION


# %%
check("08/serving_optimum", serving_optimum)

# %% [markdown]
# ## Measure
#
# ### Quality

# %%
text = corpora.load("speeches")
text = replace(text, train=text.train[:: lab.every], held_out=tuple(passages(text.held_out)[::8]))
tokenizer, data = prepare(text, VOCAB)
taught, judged = (roughen(passages(text.train[k::8]), seed=k) for k in (0, 4))
pieces = [piece for i, one in enumerate(text.train) if i % 4 for piece in passages([one])]
pool = roughen(random.Random(0).sample(pieces, min(lab.pool, len(pieces))), 2, duplicates=0.25)
classifier = fit([one.text for one in taught], [not one.kinds for one in taught], QualityConfig(epochs=lab.epochs))
scores, good = classifier.scores([one.text for one in judged]), torch.tensor([not one.kinds for one in judged])
threshold = threshold_for_share(scores, good.float().mean().item())
texts = [one.text for one in pool]
copies = {place for group in minhash_clusters(texts) for place in group[1:]}
keeps = {
    "rough": [True] * len(pool),
    "rules": [all(judge(one, name) is None for name in FILTERS) for one in texts],
    "model": (classifier.scores(texts) >= threshold).tolist(),
    "deduplicated": [place not in copies for place in range(len(pool))],
    "clean": [not one.kinds for one in pool],
}
keeps["all three"] = [all(kept) for kept in zip(keeps["rules"], keeps["model"], keeps["deduplicated"])]


def packed(name, documents):
    return pack(documents, tokenizer, build_folder() / "data" / f"lab08-{lab.profile}-{name}.safetensors")


def kept(name, start=0, stop=None):
    """The tokens of what a filter keeps of the pool's documents start … stop - 1"""
    chosen = [one for one, keep in zip(texts[start:stop], keeps[name][start:stop]) if keep]
    return packed(f"{name}-{start}-{stop}".replace(" ", "-"), chosen)


rows = {name: kept(name) for name in keeps}
print({name: len(row) for name, row in rows.items()})


# %%
def shape(width):
    """Two layers of that width; tied, so that each parameter works once for each token"""
    return slmkit.ModelConfig(VOCAB, width, 2, max(1, width // 16), d_ff=3 * width, embedding_scale=math.sqrt(width),
                              max_context=CONTEXT)  # fmt: skip


def training(steps, batch, seed=0):
    return slmkit.TrainingConfig(max(4, round(steps)), batch, CONTEXT, learning_rate=1.2e-2, precision="fp32",
                                 evaluate_tokens=None, seed=seed)  # fmt: skip


def trained(name, arms_of):
    """A row for each seed and arm; arms_of(seed) -> {arm: (what to train on, steps)}"""
    runs, found = [(seed, arm, *given) for seed in lab.seeds for arm, given in arms_of(seed).items()], []
    for seed, arm, row, steps in tqdm(runs, name, unit="run", leave=False):
        torch.manual_seed(seed)
        model = slmkit.Decoder(shape(lab.width))
        history = lab.train(model, TokenData(row, data.held_out), training(steps, ROWS, seed))
        size = slmkit.count_parameters(model.config).total
        found.append((arm, seed, size, history.bits_per_byte, history.cpu_seconds, word_order(model)))
    return pandas.DataFrame(found, columns=["arm", "seed", "parameters", "bits_per_byte", "cpu_s", "right"])


def swapped(sentences, rng):
    """Each sentence, and the same with two neighbouring words in each other's place"""
    for sentence in sentences:
        words = sentence.split()
        i = rng.choice([i for i in range(1, len(words) - 2) if words[i] != words[i + 1]])
        yield sentence, " ".join([*words[:i], words[i + 1], words[i], *words[i + 2 :]])


@torch.no_grad()
def word_order(model):
    """The share of sentences that the model finds likelier than with two words swapped"""
    likely = []
    for sentence in pairs:
        ids = [[tokenizer.end_of_text, *one][: CONTEXT + 1] for one in tokenizer.encode_documents(sentence)]
        logs = [F.cross_entropy(model(torch.tensor([i[:-1]]))[0], torch.tensor(i[1:]), reduction="sum") for i in ids]
        likely.append(logs[0] < logs[1])
    return torch.stack(likely).float().mean().item()


# %%
sentences = [" ".join(one.split()) for piece in text.held_out for one in piece.split(". ") if 8 <= len(one.split()) <= 24]
pairs = list(swapped(random.Random(0).sample(sentences, lab.pairs), random.Random(1)))
arms = {name: (row, lab.steps) for name, row in rows.items()}
arms["clean 3, rough 1"] = Mixture({"clean": (rows["clean"], 3), "rough": (rows["rough"], 1)}), lab.steps
table = trained("filters", lambda seed: arms)
comparison("08-filter", table, "rough", "tokens, steps")
finding("08-task", "share of sentences", **{arm: one.right.tolist() for arm, one in table.groupby("arm", sort=False)})
bits = dict(list(table.groupby("arm").bits_per_byte))
made = record("C39", bits["model"], against=bits["rough"], unit="bits per byte")


# %%
def scarce(seed):
    """A pool whose rough text is an eighth of what is read"""
    n = max(24, len(pool) * lab.steps * ROWS * CONTEXT // (8 * len(rows["rough"])))
    few = {name: kept(name, seed * n, (seed + 1) * n) for name in ("rough", "model", "clean")}
    share = len(few["model"]) / len(few["rough"])
    return {"rough": (few["rough"], lab.steps), "model, as many tokens": (few["model"], lab.steps),
            "model, as many epochs": (few["model"], lab.steps * share), "clean, as many tokens": (few["clean"], lab.steps)}


table = trained("few tokens", scarce)
comparison("08-scarce", table, "rough", "the pool")

# %% [markdown]
# ### Repeated

# %%
fresh, read = packed("fresh", random.Random(0).sample(passages(text.train), len(passages(text.train)))), lab.steps * ROWS * CONTEXT


def repeated(seed):
    """As many tokens read, of fewer and fewer unique ones"""
    parts = {times: fresh.tokens[seed * read :][: read // times + CONTEXT + 1] for times in lab.repeats}
    return {f"{times} epochs": (replace(fresh, tokens=part), lab.steps) for times, part in parts.items()}


epochs = trained("epochs", repeated)
comparison("08-epochs", epochs, f"{lab.repeats[0]} epochs", "tokens read, steps")

# %% [markdown]
# ### Quantity

# %%
tables = {}
for flops, widths in lab.budgets.items():
    arms = {}
    for width in widths:
        tokens = flops / slmkit.flops_per_token(shape(width), CONTEXT, "training")
        arms[f"width {width}"] = Arm(shape(width), training(tokens / lab.batch / CONTEXT, lab.batch), text)
    tables[flops] = lab.sweep(lab.tuned(arms, lab.factors, lab.seeds[:1]), lab.seeds)
best = tables[flops].groupby("arm").bits_per_byte.mean().idxmin()
comparison("08-compute", tables[flops], best, f"training FLOPs, {flops:.0e}")


optima = pandas.DataFrame([
    {"flops": flops, "seed": seed, "n": (n := np.clip(optimal_size(runs.parameters, runs.bits_per_byte),
                                                      runs.parameters.min(), runs.parameters.max())),
     "tokens": math.exp(np.interp(math.log(n), np.log(runs.parameters), np.log(runs.tokens)))}
    for flops, table in tables.items() for seed, runs in table.groupby("seed")])  # fmt: skip
optima["ratio"] = optima.tokens / optima.n
per_budget = optima.groupby("flops").agg(list)
for flops, found in per_budget.iterrows():
    print(f"{flops:.0e} FLOPs: optimal sizes {np.round(found.n).tolist()}, tokens a parameter {found.ratio}")
growth = [np.polyfit(np.log(one.flops), np.log(one.n), 1)[0] for _, one in optima.groupby("seed")]
found = per_budget.loc[flops]
finding("08-optimum", f"at {flops:.0e} FLOPs; growth: the exponent of the size", size=found.n,
        tokens_per_parameter=found.ratio, growth=growth)  # fmt: skip
ratio = math.exp(np.log(per_budget.ratio.loc[min(lab.budgets)]).mean())
small = shape(lab.small)
tokens = ratio * slmkit.count_parameters(small).total
arms = {f"{x:g} times": Arm(small, training(x * tokens / lab.batch / CONTEXT, lab.batch), text) for x in lab.ladder}
ladder = lab.sweep(lab.tuned(arms, lab.factors, lab.seeds[:1]), lab.seeds)
comparison("08-tokens", ladder, "1 times", "the model")
bits = ladder.pivot(index="seed", columns="arm", values="bits_per_byte")
first, last = (f"{x:g} times" for x in (lab.ladder[0], lab.ladder[-1]))
made = record("C38", (bits[first] - bits[last]) / math.log2(lab.ladder[-1] / lab.ladder[0]), unit="bits per byte")
made = record("C40", bits["20 times"], against=bits["1 times"], unit="bits per byte")
