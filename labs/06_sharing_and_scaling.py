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
from functools import partial

import matplotlib.pyplot as plt
import pandas
import torch
from torch import nn

import slmkit
from slmkit.course import check, comparison, finding, record, start
from slmkit.data.prepared import prepare
from slmkit.model.counting import flops_by_part
from slmkit.profiling import decode_cost, measure_peaks, measure_steps, order_agreement
from slmkit.survey.zoo import divisible
from slmkit.training.sweep import Arm, paired, with_parameters

lab = start("06", profiles={
    "smoke": {"data": ("tinyworld", 512), "layers": 2, "steps": 5, "factors": (1.0,), "wide": 128, "seeds": (0, 1)},
    "cpu": {"data": ("speeches", 512), "layers": 2, "steps": 120, "factors": (1.0,), "wide": 512, "seeds": (0, 1, 2)},
    "full": {"data": ("speeches", 1024), "layers": 4, "steps": 600, "factors": (0.5, 1.0, 2.0), "wide": 1024,
             "seeds": tuple(range(5))},
})  # fmt: skip
corpus, vocab = lab.data
base = slmkit.ModelConfig(vocab, 64, lab.layers, 4, max_context=64)

# %% [markdown]
# ## Predict
#
# One FFN for all blocks against a plain decoder: bits per byte better (−) or worse (+), at equal what?

# %%
guess = {"parameters": -0.02, "depth": 0.05, "compute": 0.02}

# %% [markdown]
# ## Build
#
# **Tied** {cite}`press2017tying`, embedding and output head are one parameter, not two with equal values. **MobiLlama**
# {cite}`thawakar2024mobillama` has one FFN for all blocks; attention and norms stay each block's own. **MobileLLM-LS**
# {cite}`liu2024mobilellm` passes through each block twice, and at once: the second time it may still lie in a cache.
# A matrix used twice moves the loss in two ways, so its gradient is the sum over its uses: find it by hand for
# $L = \frac{1}{2} \lVert y \rVert^2$ with $y = \mathrm{relu}(xW)\,W$.


# %%
def tie(embedding, head):
    """Makes the matrix of embedding (nn.Embedding) that of head (nn.Linear) too. -> the parameters that this saves"""
    ### BEGIN SOLUTION
    head.weight = embedding.weight
    return embedding.weight.numel()
    ### END SOLUTION


def share(blocks, kind):
    """blocks: an nn.ModuleList, each block with a module `ffn`. kind "ffn_all": the first block's FFN serves all.
    kind "block_pairs": of each two neighbours, the first stands in the second's place too. -> nn.ModuleList, as long"""
    ### BEGIN SOLUTION
    if kind == "block_pairs":
        return nn.ModuleList(blocks[i - i % 2] for i in range(len(blocks)))
    for block in blocks:
        block.ffn = blocks[0].ffn
    return blocks
    ### END SOLUTION


def shared_gradient(x, w):
    """x [n, d], w [d, d] -> the gradient [d, d] of L with respect to w, without autograd."""
    ### BEGIN SOLUTION
    before = x @ w
    y = before.relu() @ w  # which is the gradient with respect to y, too
    return before.relu().T @ y + x.T @ (y @ w.T * (before > 0))
    ### END SOLUTION


# %%
check("06/tie", tie)
ids, yours = torch.randint(vocab, (2, 64)), slmkit.Decoder(replace(base, tied_embeddings=False))
saved, tied = tie(yours.embedding, yours.head), slmkit.Decoder(base)
tied.load_state_dict({name: weight for name, weight in yours.state_dict().items() if name != "head.weight"})
theirs = slmkit.interop.to_transformers(tied)
torch.testing.assert_close([yours(ids), theirs(ids).logits], [tied(ids)] * 2, rtol=0, atol=1e-3)
counts = {sum(weight.numel() for weight in model.parameters()) for model in (yours, tied, theirs)}
print(f"yours, slmkit's and {type(theirs).__name__} have {counts} parameters; the tie saves {saved:,}")
check("06/share", share)
for kind in ("block_pairs", "ffn_all"):
    yours, shared, apart = (slmkit.Decoder(config) for config in (base, replace(base, sharing=kind), base))
    yours.blocks = share(yours.blocks, kind)
    shared.load_state_dict(yours.state_dict())  # which lists a shared weight once for each of its names
    torch.testing.assert_close(yours(ids), shared(ids), rtol=0, atol=0)
    assert sum(weight.numel() for weight in yours.parameters()) == slmkit.count_parameters(shared.config).total
check("06/shared_gradient", shared_gradient)
x, w = torch.randn(8, 16), torch.randn(16, 16, requires_grad=True)
((torch.relu(x @ w) @ w).square().sum() / 2).backward()
torch.testing.assert_close(shared_gradient(x, w.detach()), w.grad)
apart.load_state_dict(shared.state_dict())  # equal values, but each block's own
(shared(ids).logsumexp(-1).mean() + apart(ids).logsumexp(-1).mean()).backward()
summed = sum(block.ffn.up.weight.grad for block in apart.blocks)
torch.testing.assert_close(shared.blocks[0].ffn.up.weight.grad, summed, rtol=1e-3, atol=1e-6)

# %% [markdown]
# Sharing saves weights that are *held*; a token still works with each as often as it is used. Count both, for full
# attention and gated FFNs: layer `i` has `config.layer(i).n_heads`, `.n_kv_heads` and `.d_ff`. **OpenELM**
# {cite}`mehta2024openelm` shares nothing. Its late layers are wider than its early ones, by one rule for all its sizes.
# The survey says that Qwen ties, and that MobiLlama shares, of which its table has the 1B model too. Is it so?


# %%
def block_weights(config):
    """-> (numbers in the blocks' matrices, how many a token is multiplied with), for config.sharing as in `share`"""
    ### BEGIN SOLUTION
    layers = [config.layer(i) for i in range(config.n_layers)]
    attention = [2 * config.d_model * config.head_dim * (layer.n_heads + layer.n_kv_heads) for layer in layers]
    ffn = [3 * config.d_model * layer.d_ff for layer in layers]
    step = 2 if config.sharing == "block_pairs" else 1
    return sum(attention[::step]) + sum(ffn[:1] if config.sharing == "ffn_all" else ffn[::step]), sum(attention + ffn)
    ### END SOLUTION


def layer_widths(d_model, n_layers, head_dim, groups, alpha=(0.5, 1.0), beta=(0.5, 4.0), divisor=256):
    """Query heads of each layer, and FFN widths: two tuples. From the first layer to the last, a goes from alpha[0] to
    alpha[1] and b from beta[0] to beta[1] in equal steps, rounded to 2 digits. Queries are a × d_model wide in all,
    FFNs b × d_model, after divisible(width, by): queries by groups × head_dim, FFNs by divisor."""
    ### BEGIN SOLUTION
    done = [i / (n_layers - 1) for i in range(n_layers)]
    a, b = ([round(low + (high - low) * share, 2) for share in done] for low, high in (alpha, beta))
    heads = tuple(divisible(value * d_model, groups * head_dim) // head_dim for value in a)
    return heads, tuple(divisible(value * d_model, divisor) for value in b)
    ### END SOLUTION


# %%
check("06/block_weights", block_weights)
config, models = slmkit.survey.config("MobiLlama-0.5B"), slmkit.survey.models()
(held, used), count, flops = block_weights(config), slmkit.count_parameters(config), flops_by_part(config, 1)
assert (held, 2 * used) == (count.attention + count.ffn, flops["attention"] + flops["ffn"])
print(f"MobiLlama-0.5B: {held / 1e6:.0f} million numbers in the blocks, a token works with {used / 1e6:.0f} million")
check("06/layer_widths", layer_widths)
published = dict(zip(models.name, models.params_exact))
for name in models.name[models.family == "openelm"]:
    config = slmkit.survey.config(name)
    heads, d_ff = layer_widths(config.d_model, config.n_layers, config.head_dim, groups=4)
    count = slmkit.count_parameters(config).total
    assert (heads, d_ff, count) == (config.n_heads, config.d_ff, published[name])
    print(f"{name}: {heads[0]} to {heads[-1]} heads, FFN {d_ff[0]} to {d_ff[-1]}, {count:,} parameters as published")
qwen = models[models.name.str.startswith("Qwen") & (models.in_v3_table == "yes")]
told = f"not tied: {', '.join(qwen.name[qwen.tied_embeddings == 'no'])}"
made = record("C24", 100 * (qwen.tied_embeddings == "yes").mean(), unit="percent", note=told)
for name in ("MobiLlama-0.5B", "MobiLlama-1B"):
    one_ffn = slmkit.count_parameters(replace(slmkit.survey.config(name), sharing="ffn_all")).total
    print(f"{name}: {one_ffn:,} parameters with one FFN, published {published[name]:,.0f}")
made = record("C25", one_ffn / 1e9, unit="billion parameters")

# %% [markdown]
# ## Measure
#
# At equal **parameters**, sharing pays for a wider FFN, or for twice the depth, and each token takes more FLOPs. At
# equal **depth** and widths, parameters are fewer. At equal parameters *and* training **compute**, the shared model
# sees fewer tokens. Uneven layers escape the question: all stays about equal. `full` tunes each arm's rate.


# %%
def variants(plain):
    """{what is equal: {arm: configuration}}, plain first"""
    size = slmkit.count_parameters(plain).total
    narrow = {kind: replace(plain, sharing=kind) for kind in ("ffn_all", "block_pairs")}

    def scaled(alpha, *beta):  # FFNs all stretched so that the parameters match
        shape = plain.d_model, plain.n_layers, plain.head_dim, 1, alpha
        widths = [layer_widths(*shape, [b * stretch / 100 for b in beta], 8) for stretch in range(50, 250)]
        made = [replace(plain, n_heads=heads, n_kv_heads=heads, d_ff=d_ff) for heads, d_ff in widths]
        return min(made, key=lambda config: abs(slmkit.count_parameters(config).total - size))

    shared = {"plain": plain, "ffn_all": with_parameters(narrow["ffn_all"], size),
              "block_pairs": replace(narrow["block_pairs"], n_layers=2 * plain.n_layers)}  # fmt: skip
    uneven = {"scaled up": scaled((0.5, 1.0), 0.5, 4.0), "scaled down": scaled((1.0, 0.5), 4.0, 0.5)}
    tying = {"tied": plain, "untied": with_parameters(replace(plain, tied_embeddings=False), size)}
    return {"parameters": shared | uneven, "depth": {"plain": plain} | narrow, "compute": shared, "tying": tying}


order, read, tuned, tables = "tokens, their order, schedule", min(16384, 1024 * lab.steps), {}, {}
training = slmkit.TrainingConfig(lab.steps, context=64, learning_rate=1.2e-2, evaluate_tokens=read)
equals = {"parameters": f"unique parameters, width, {order}", "depth": f"depth, all widths, FLOPs, {order}",
          "compute": "unique parameters, width, training FLOPs", "tying": f"parameters, width, {order}"}  # fmt: skip
flops = partial(slmkit.flops_per_token, context=64, phase="training")
for equal, configs in variants(base).items():
    length = {n: flops(base) / flops(config) if equal == "compute" else 1 for n, config in configs.items()}
    arms = {n: Arm(configs[n], replace(training, steps=round(lab.steps * length[n])), corpus) for n in configs}
    tuned |= lab.tuned(arms, lab.factors, lab.seeds[:1])
    tables[equal] = lab.sweep({name: tuned[name] for name in configs}, lab.seeds)
    comparison(f"06-{equal}", tables[equal], next(iter(configs)), equals[equal])

# %% [markdown]
# ### Time
#
# The roofline takes shared weights as read once a token, as if a cache kept them. Or does each use read them again?

# %%
plain = slmkit.ModelConfig(256, lab.wide, 8, lab.wide // 64, max_context=1024)
sizes, kinds = variants(plain), {"plain": plain}
kinds |= {f"{arm}, equal {what}": sizes[what][arm] for what in ("depth", "parameters") for arm in [*sizes[what]][1:]}
peaks = measure_peaks(dtypes=(torch.float32,), sides=(256,), array_bytes=(2**20, 2**22, 2**24, 2**27))
times, decoders = {}, {name: slmkit.Decoder(config) for name, config in kinds.items()}
for n in (128, 1024):
    for name, timing in measure_steps(decoders, n, repeats=9).items():
        cost, (held, used) = decode_cost(kinds[name], n, torch.float32), block_weights(kinds[name])
        again = replace(cost, bytes=cost.bytes + 4 * (used - held))
        times[f"{name} at {n}"] = cost.seconds(peaks), again.seconds(peaks), timing.median
times = pandas.DataFrame(times, index=["06-order", "06-order-again", "measured"]).T
print("milliseconds, predicted with shared weights read once, or again at each use:", times.mul(1e3).round(3), sep="\n")
for name in ("06-order", "06-order-again"):
    finding(name, **order_agreement(times[name].to_dict(), times.measured.to_dict())._asdict())

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: differences in bits per byte to a plain decoder, with intervals, of one FFN for all blocks and of blocks in pairs, at equal parameters, depth and compute; an arm's three points lie at different heights. Right: for decoders with and without sharing, the measured time of a step beside the two predictions of the roofline."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for shift, marker, arm in ((-0.1, "o", "ffn_all"), (0.1, "s", "block_pairs")):
    found = pandas.DataFrame([paired(tables[equal], "plain").loc[arm] for equal in guess])
    left.errorbar(torch.arange(3) + shift, found["mean"], found["mean"] - found.low, fmt=marker, capsize=3, label=arm)
left.axhline(0, color="black", linewidth=0.8)
left.set(ylabel="bits per byte above plain", xticks=range(len(guess)), xticklabels=[f"equal\n{what}" for what in guess])
for marker, label, kept in zip("|Do", ("read once", "read again", "measured"), times.columns):
    right.plot(1e3 * times[kept].tail(len(kinds)), list(kinds), marker, markersize=8, label=label)
right.set(xlabel=f"time of a step at {n} tokens (ms)", xlim=(0, None))
left.legend(), right.legend()
plt.show()

# %% [markdown]
# Pairs out of order come mostly from sharing: the shared model is predicted to read less, but multiplies as often, and
# what no cache holds between two uses is read again. Deeper models also make more calls, which no roofline counts.
#
# ## Verdict
#
# Claim 29 speaks of innovations as a group: judged is their mean, at equal parameters.

# %%
bits = tables["parameters"].pivot(index="seed", columns="arm", values="bits_per_byte")
innovations = ["ffn_all", "block_pairs", "scaled up"]
told = f"the mean over {', '.join(innovations)} in each seed; not held equal: FLOPs"
made = record("C29", bits[innovations].mean(axis=1), against=bits.plain, unit="bits per byte", note=told)
kinds_of, listed = ("sharing", "layerwise_scaling"), models[models.in_v3_table == "yes"]
users = {kind: set(listed.organisation[~listed[kind].fillna("-").isin(["-", "no"])]) for kind in kinds_of}
made = record("C29a", max(map(len, users.values())), unit="organisations", note=f"in the table: {users}")

# %% [markdown]
# A report that holds one thing equal answers one question. At equal parameters the shared model has more FLOPs, at
# equal depth fewer parameters, at equal compute fewer tokens. Ask what is scarce: memory, device time, training.
#
# ## Further exercise: nonlinearity compensation
#
# PanGu-π {cite}`wang2023pangu` bends more often. The FFN's activation becomes a **series**,
# $\sum_i a_i\, \mathrm{SiLU}(x + b_i)$. Beside the identity, attention gets an **augmented shortcut** from its input
# $z$ to its output: $\mathrm{GELU}(z\,\Theta)$, here a hook. What both take is saved on the FFN's width.


# %%
def series(x, a, b):
    """x of any shape, a and b [n] -> as x"""
    ### BEGIN SOLUTION
    return sum(scale * nn.functional.silu(x + shift) for scale, shift in zip(a, b))
    ### END SOLUTION


# %%
check("06/series", series)
torch.testing.assert_close(series(x, [1.0], [0.0]), nn.functional.silu(x))
(_, data), rows = prepare(corpus, vocab), tables["tying"].query("arm == 'tied'").to_dict("records")
narrower = with_parameters(base, slmkit.count_parameters(base).total - base.n_layers * (base.d_model**2 + 4))
for seed in lab.seeds:
    torch.manual_seed(seed)
    model = slmkit.Decoder(narrower)
    for block in model.blocks:
        ffn, attention = block.ffn, block.attention
        ffn.a, ffn.b = nn.Parameter(torch.tensor([0.5, 0.5])), nn.Parameter(torch.tensor([-1.0, 1.0]))
        ffn.activation = partial(lambda ffn, x: series(x, ffn.a, ffn.b), ffn)
        attention.theta = nn.Parameter(torch.zeros(base.d_model, base.d_model))  # no shortcut at first
        attention.register_forward_hook(lambda layer, given, out: out + nn.functional.gelu(given[0] @ layer.theta))
    history = slmkit.train(model, data, replace(tuned["tied"].training, seed=seed), progress=False)
    rows.append({"arm": "PanGu-π", "seed": seed, "parameters": sum(weight.numel() for weight in model.parameters()),
                 "bits_per_byte": history.bits_per_byte, "cpu_s": history.cpu_seconds})  # fmt: skip
comparison(
    "06-pangu", pandas.DataFrame(rows), "tied", f"parameters, depth, width, {order}, and the plain decoder's rate"
)

# %% [markdown]
# **To take further.** Repeat the whole stack (blocks 1, 2, 1, 2) instead of each block: is it better? Is it slower?
# **Open.** Which direction of uneven layers helps in long training?
