# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Capstone: a small model within a budget
#
# **Question.** Everything at once: a device has so much memory and computes so fast, and training may cost so much.
# Which model predicts held-out text best within these limits? There is a reference to beat, and a way to tell a good
# model from one that has seen the test. Fewer bits a weight make room for more weights, more weights make each token of
# the training dearer, and what is shared is computed with again. No claim of the survey is judged here.

# %%
import copy
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas
import torch

import slmkit
from slmkit.course import capstone, check, comparison, finding, start
from slmkit.course.capstone_design import BUDGETS, COMPUTES, READS, REFERENCES, Design, corpus
from slmkit.data.packing import TokenData, TokenRow
from slmkit.paths import build_folder
from slmkit.profiling import decode_cost, measure_peaks, measure_steps
from slmkit.profiling.quantization import format_named
from slmkit.training.stages import Stage, Staged
from slmkit.training.sweep import paired

# fmt: off
lab = start("16", profiles={
    "smoke": {"budget": "tiny", "wide": {"d_model": 64, "n_kv_heads": 1}, "deep": {"n_layers": 2, "n_kv_heads": 1},
              "rate": 0.01, "pieces": 2, "splits": 20, "shares": (1.0,), "seeds": (0, 1)},
    "cpu": {"budget": "small", "wide": {"d_model": 96, "n_kv_heads": 1, "d_ff": 256}, "rate": 0.008, "pieces": 4,
            "deep": {"n_layers": 4, "n_kv_heads": 1}, "splits": 1000, "shares": (1.0, 0.5, 0.1), "seeds": (0, 1, 2)},
    "full": {"budget": "large", "wide": {"d_model": 192, "n_heads": 6, "n_kv_heads": 1, "d_ff": 512}, "rate": 0.004,
             "deep": {"n_layers": 8, "n_kv_heads": 1}, "pieces": 8, "splits": 1000, "shares": (1.0, 0.5, 0.1),
             "seeds": (0, 1, 2, 3, 4)},
})
rules, reference = BUDGETS[lab.budget], REFERENCES[lab.budget]
print(f"budget {lab.budget}: at most", {name: f"{limit:,}" for name, limit in rules.limits.items()})
print(f"the imagined device reads {READS:,.0f} bytes and computes {COMPUTES:,.0f} FLOPs a second")

# %% [markdown]
# ## Predict
#
# The reference has 8 bits a weight. Beside it stand half as many bits with a wider model, twice the depth by sharing
# blocks in pairs, and another schedule. Which is best, by how many bits per byte? And how many bits per byte does a
# model gain that was trained on the test itself?

# %%
guess = {"best": "wide-4bit", "gain": 0.05, "cheating": 0.5}

# %% [markdown]
# ## Build
#
# **The limits.** A design that exceeds one is refused, however good. Parameters are counted once where they are shared.

# %%
def over_budget(used, budget):
    """used, budget: name -> number. -> the limits that are exceeded, name -> how many times the limit is used"""
    ### BEGIN SOLUTION
    return {name: used[name] / limit for name, limit in budget.items() if used[name] > limit}
    ### END SOLUTION

# %%
check("16/over_budget", over_budget)

# %% [markdown]
# **Training.** A pass backward takes twice the FLOPs of the pass forward. A teacher ({doc}`lab 11 <11_distillation>`)
# reads each token once, and its own training counts, too.

# %%
def steps_affordable(budget, step_tokens, forward, teacher=0.0, spent=0.0):
    """budget: FLOPs; step_tokens: of a step; forward, teacher: FLOPs a token of a pass forward, of the model and of its
    teacher; spent: FLOPs of the teacher's own training. -> (whole steps, share of the budget that is left)"""
    ### BEGIN SOLUTION
    step = step_tokens * (3 * forward + teacher)
    steps = int((budget - spent) // step)
    return steps, (budget - spent - steps * step) / budget
    ### END SOLUTION

# %%
check("16/steps_affordable", steps_affordable)

# %% [markdown]
# **One token more.** All weights are read, as they are stored, and the cache of all tokens before. Computing goes on at
# the same time ({doc}`lab 00 <00_your_machine>`). With tied weights the embeddings are read whole, as the head.

# %%
def token_cost(matrices, vectors, block, cache, flops, peak, bandwidth):
    """matrices: numbers in matrices, in blocks of block[0] that take block[1] bytes; vectors: other numbers, 32 bits
    each; cache: numbers in the cache, 16 bits each; flops: of the token. -> (bytes read, seconds)"""
    ### BEGIN SOLUTION
    total = matrices // block[0] * block[1] + 4 * vectors + 2 * cache
    return total, max(total / bandwidth, flops / peak)
    ### END SOLUTION

# %%
check("16/token_cost", token_cost)

# %% [markdown]
# **The score** is bits per byte of the whole text, here from pieces of it: a model's losses are in nats.

# %%
def text_score(nats, sizes):
    """nats: loss of each piece, summed over its tokens; sizes: bytes of each piece. -> bits per byte of the whole"""
    ### BEGIN SOLUTION
    return sum(nats) / math.log(2) / sum(sizes)
    ### END SOLUTION

# %%
check("16/text_score", text_score)

# %% [markdown]
# **Who has seen the test?** An instructor keeps a text back, the *suspect* if it may have leaked. A model knows it too
# well when it takes fewer bits for it than for a *control* from the same source. But one text may be easier for anyone.
# So the bits per byte of a *baseline*, counts of up to three bytes in a row, are taken from those of each piece. That
# leaves two samples. Welch's statistic is the difference of their means over its standard error, which is the root of
# the sum of both samples' variances, each over its number of pieces.

# %%
def known_too_well(suspect, control, suspect_baseline, control_baseline):
    """Arrays, bits per byte of pieces: the model's on both texts, [n] and [m], and the baseline's. -> standard errors
    by which the suspect takes fewer bits above the baseline's than the control; below 0 when it takes more"""
    ### BEGIN SOLUTION
    a, b = suspect - suspect_baseline, control - control_baseline
    return (b.mean() - a.mean()) / math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    ### END SOLUTION

# %%
check("16/known_too_well", known_too_well)

# %% [markdown]
# ## Measure
#
# A design is one file: a recipe as for {doc}`two-stage training </book/training/two_stage>` (model, sources and their
# mixture in stages, schedule, teacher), the budget that it plays for, and the format of its weights, one of those of
# {doc}`lab 15 <15_quantization_and_hardware>`. Each design here trains for as many steps as it affords by your count.

# %%
def design(name, model=(), form="Q8_0", **training):
    """The reference with other options."""
    said = copy.deepcopy(reference) | {"name": name, "format": form}
    said["model"] |= dict(model)
    said["training"] |= training
    config = slmkit.ModelConfig(said["data"]["vocab_size"], max_context=rules.context, **said["model"])
    forward, tokens = slmkit.flops_per_token(config, rules.context, "prefill"), training_tokens(said)
    return said | {"stage": [{"steps": steps_affordable(rules.training, tokens, forward)[0]}]}

def training_tokens(said):
    return said["training"]["batch_size"] * said["training"]["context"]

designs = {
    "reference": design("reference"),
    "wide-4bit": design("wide-4bit", lab.wide, "Q4_0", learning_rate=lab.rate),
    "deep-shared": design("deep-shared", lab.deep | {"sharing": "block_pairs"}),
    "wsd": design("wsd", schedule="wsd", final_rate=0.0),
}
assert designs["reference"]["stage"] == reference["stage"]
print(designs["reference"])

# %% [markdown]
# The text is the held-out part of the corpus, its documents in twenty groups. Every second group is public; the others
# play the instructor's text. (What a package carries is hidden from nobody; an instructor takes a text of their own.)
# A model is read at the values that its format stores.

# %%
held = corpus(rules.corpus).held_out
texts = [capstone.pieces(held[i::20], lab.pieces) for i in range(20)]
withheld = [piece for group in texts[1::2] for piece in group]
sizes = np.stack([capstone.byte_counts(group) for group in texts])
hard = np.stack([capstone.hardness(group, rules.corpus) for group in texts])

def trial(said, seed, leaked=0.0):
    """Trains a design; `leaked` is the share of its rows that come from the withheld text. -> a row of a table"""
    planned = Design(said | {"training": said["training"] | {"seed": seed}})
    model, data, training, objective, tokenizer = planned.prepare()
    if leaked:
        ids = [i for piece in withheld for i in (*tokenizer.encode(piece), tokenizer.end_of_text)]
        row = TokenRow(torch.tensor(ids), int(sizes[1::2].sum()), tokenizer.digest, tokenizer.vocab_size)
        stage = Stage(training.steps, {"text": 1 - leaked, "withheld": leaked})
        data = TokenData(Staged(data.train.sources | {"withheld": row}, [stage]), data.held_out)
    history = lab.train(model, data, training, objective)
    used = capstone.measured(planned, stored := copy.deepcopy(model))  # rounds the copy
    bits = np.stack([capstone.bits_of(stored, tokenizer, group, rules.context) for group in texts])
    public, kept = (text_score(math.log(2) * bits[i::2].ravel(), sizes[i::2].ravel()) for i in (0, 1))
    return {"seed": seed, "arm": said["name"], "parameters": used["parameters"], "cpu_s": history.cpu_seconds,
            "bits_per_byte": public, "withheld": kept, "each": bits / sizes, "used": used,
            "made": (planned, model, tokenizer)}

honest = pandas.DataFrame([trial(said, seed) for said in designs.values() for seed in lab.seeds])
for name, used in honest.drop_duplicates("arm").set_index("arm").used.items():
    print(f"{name}:", {what: f"{used[what] / limit:.0%}" for what, limit in rules.limits.items()})
    assert over_budget(used, rules.limits) == {}
comparison("16-designs", honest, "reference", f"limits of the budget {lab.budget}; training FLOPs to within a step")

# %% [markdown]
# Does your `token_cost` find the bytes and the seconds that the score counts? And how far is this machine from what its
# ceilings allow for such small models? (In PyTorch with 32 bits, one token at a time: mostly calls.)

# %%
decoders = {}
for name, one in honest.drop_duplicates("arm").set_index("arm").iterrows():
    model = decoders[name] = one.made[1]
    flat, matrices = (sum(w.numel() for w in model.parameters() if (w.ndim > 1) == wide) for wide in (False, True))
    kind, cache = format_named(designs[name]["format"]), slmkit.kv_cache_bytes(model.config, rules.context) // 2
    flops = slmkit.flops_per_token(model.config, rules.context)
    yours = token_cost(matrices, flat, (kind.size, kind.bytes), cache, flops, COMPUTES, READS)
    np.testing.assert_allclose(yours, (one.used["memory"], one.used["latency"]))
peaks = measure_peaks(dtypes=(torch.float32,), sides=(256,), array_bytes=(2**20, 2**24))
for name, timing in measure_steps(decoders, rules.context, repeats=5).items():
    finding(f"16-latency-{name}", "milliseconds a token: on the imagined device; here; by the ceilings measured here",
            imagined=1e3 * honest[honest.arm == name].used.iloc[0]["latency"], here=1e3 * timing.median,
            ceilings=1e3 * decode_cost(decoders[name].config, rules.context).seconds(peaks))

# %% [markdown]
# ### Handing in
#
# A hand-in is a folder with the design, the weights and the tokenizer. Its record is for people: the score counts
# parameters and bytes in the weights themselves. How they were trained, weights do not tell. So the design is trained
# again, and must end in the same bits.

# %%
place = build_folder() / "capstone"
print(capstone.hand_in(place / f"reference-{lab.budget}", *honest.made[0]))
differs = capstone.reproduces(place / f"reference-{lab.budget}")
print("trained again:", differs or "the same bits")
assert differs is None

# %% [markdown]
# ### Trained on the test
#
# The same design, with a share of its rows from the withheld text. How often does the test accuse an honest model? Take
# each honest run, and any ten of the twenty groups as if they were the suspect text: it has seen none of them.

# %%
leaks = {f"{share:.0%} leaked": pandas.DataFrame([trial(designs["reference"], seed, share) for seed in lab.seeds])
         for share in lab.shares}

def errors(each, suspect, control):
    return known_too_well(*(part[groups].ravel() for part in (each, hard) for groups in (suspect, control)))

odd, even, draw = np.arange(1, 20, 2), np.arange(0, 20, 2), np.random.default_rng(0)
halves = [np.split(draw.permutation(20), 2) for _ in range(lab.splits)]
chance = np.array([[errors(each, *half) for half in halves] for each in honest.each])
told = {"honest": [errors(each, odd, even) for each in honest.each]}
finding("16-honest", "standard errors, of all honest runs", errors=told["honest"], splits=chance.size,
        largest=float(np.abs(chance).max()), deviation=float(chance.std()), limit=capstone.LIMIT,
        accused=float((np.abs(chance) > capstone.LIMIT).mean()))
base = honest[honest.arm == "reference"].withheld.to_numpy()
for name, runs in leaks.items():
    told[name] = [errors(each, odd, even) for each in runs.each]
    finding(f"16-{name.replace('% ', '-')}", "standard errors; bits per byte gained on the withheld text",
            errors=told[name], gain=(base - runs.withheld.to_numpy()).tolist())

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: for each design the difference to the reference in bits per byte, with its interval and a line at zero. Right: standard errors by which the withheld text is known too well, as points for honest runs near zero and for runs trained on the withheld text in several shares, with dashed lines at both limits."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
found = paired(honest, "reference")
left.errorbar(found["mean"], list(found.index), xerr=found["mean"] - found.low, fmt="o", capsize=3)
left.axvline(0, color="black", linewidth=0.8)
left.set(xlabel="difference to the reference (bits per byte)")
for name, values in told.items():
    right.plot(values, [name] * len(values), "o")
for side in (-capstone.LIMIT, capstone.LIMIT):
    right.axvline(side, color="black", linestyle="--", linewidth=0.8)
right.set(xlabel="known too well (standard errors)", ylim=(-0.5, len(told) - 0.5))
plt.show()

# %% [markdown]
# The reference and the smallest leak go the way that a class's do. Scoring on a hidden text trains the design again.

# %%
capstone.hand_in(place / f"leaked-{lab.budget}", *list(leaks.values())[-1].made[0])
scores = {name: capstone.score(place / f"{name}-{lab.budget}", "".join(withheld)) for name in ("reference", "leaked")}
for name, scored in scores.items():
    print(f"{name}: {scored.bits_per_byte:.3f} bits per byte, {scored.text}:", scored.refused or "accepted")
finding("16-apart", "bits per byte", limit=capstone.APART, **{name: scored.apart for name, scored in scores.items()})
print("your guesses:", guess)

# %% [markdown]
# ## Verdict
#
# The test sees a leak that gains much and may miss one that gains little. On a text of another kind it says nothing.
# Training again tells more: whatever else a model has seen gains no more than the difference. But it takes longer.
#
# **Your turn.** Write a `design.json`, beginning with the one in `build/capstone`, and beat the reference. The score
# comes with your place on a leaderboard of your own. An instructor adds `--hidden FILE`.
#
#     slmkit capstone train design.json --out build/capstone/mine
#     slmkit capstone score build/capstone/mine --again
#
# **Open.** Where does the next byte of memory help most: in bits a weight, in width, in depth, or in the vocabulary?
# Does the answer change with ten times the training?
