# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Attention and the KV cache
#
# **Question.** The survey finds four kinds of attention in small models (section 2.2): multi-head (MHA), grouped (GQA),
# multi-query (MQA) and latent (MLA). It says that in the shared kinds heads share *queries*. Is that so? And what does
# each kind cost in memory, in time, and in loss?

# %%
import math
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import pandas
import torch

import slmkit
from slmkit.course import check, comparison, finding, record, start
from slmkit.data.prepared import prepare
from slmkit.evaluation import bits_per_byte
from slmkit.model.attention import Reading, split_heads
from slmkit.model.cache import KVCache
from slmkit.model.positions import apply_rope, rope_tables
from slmkit.profiling import decode_cost, measure_in_turn, measure_peaks, measure_steps, order_agreement, tensor_bytes
from slmkit.training.grouping import regrouped
from slmkit.training.sweep import Arm, with_parameters

lab = start("04", profiles={
    "smoke": {"corpus": "tinyworld", "vocab": 512, "d_model": 64, "layers": 1, "steps": 10, "healing": 3,
              "factors": (1.0,), "wide": 128, "contexts": (64, 128), "repeats": 3, "seeds": (0, 1)},
    "cpu": {"corpus": "speeches", "vocab": 1024, "d_model": 128, "layers": 2, "steps": 200, "healing": 30,
            "factors": (1.0,), "wide": 512, "contexts": (128, 512, 2048, 8192), "repeats": 7, "seeds": (0, 1, 2)},
    "full": {"corpus": "speeches", "vocab": 1024, "d_model": 128, "layers": 4, "steps": 1000, "healing": 100, "factors":
             (0.5, 1.0, 2.0), "wide": 1024, "contexts": (128, 512, 2048, 8192), "repeats": 15, "seeds": tuple(range(5))},
})  # fmt: skip


def kinds(base):
    """The four kinds at the width and depth of `base`, by name."""
    head = base.d_model // 8
    latent = dict(head_dim=3 * head // 2, kv_lora_rank=2 * head, qk_rope_head_dim=head // 2, v_head_dim=head)
    changes = {"MHA": {}, "GQA": {"n_kv_heads": 2}, "MQA": {"n_kv_heads": 1}, "MLA": {"attention": "mla"} | latent}
    return {name: replace(base, **changed) for name, changed in changes.items()}


wide = kinds(slmkit.ModelConfig(256, lab.wide, 2, 8, 8, lab.wide // 8, lab.wide, max_context=lab.contexts[-1]))

# %% [markdown]
# ## Predict
#
# How many times faster than MHA does each kind write after the longest context? How much worse is its loss?

# %%
guess = {"GQA": (4, 0.01), "MQA": (8, 0.03), "MLA": (4, 0.01)}  # times faster; bits per byte above MHA

# %% [markdown]
# ## Build
#
# ### Groups of heads
#
# Each of the $H$ query heads keeps its own queries. Keys and values have $K \le H$ heads, and query head $h$ reads head
# $\lfloor hK/H \rfloor$ of them: neighbours share. $K = H$ is MHA {cite}`vaswani2017attention`, $K = 1$ is MQA
# {cite}`shazeer2019mqa`, between lies GQA {cite}`ainslie2023gqa`. With a cache, the queries are the *last* of the tokens.


# %%
def grouped_attention(q, k, v):
    """q [batch, H, T, d], k and v [batch, K, S, d], the queries being the last T of S tokens -> [batch, H, T, d]"""
    ### BEGIN SOLUTION
    time, tokens, groups = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    visible = torch.ones(time, tokens, dtype=torch.bool).tril(tokens - time)
    return scores.masked_fill(~visible, -math.inf).softmax(-1) @ v
    ### END SOLUTION


# %%
check("04/grouped_attention", grouped_attention)
x, tables = torch.randn(1, 16, lab.wide), [table[:16] for table in rope_tables(wide["MHA"])]
for kind in ("MHA", "GQA", "MQA"):
    layer = slmkit.Decoder(wide[kind]).blocks[0].attention
    q, k, v = (split_heads(project(x), layer.head_dim) for project in (layer.q, layer.k, layer.v))
    yours = layer.out(grouped_attention(apply_rope(q, tables), apply_rope(k, tables), v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(yours, layer(x, Reading(tables, None, None), 0), rtol=0, atol=1e-5)
    print(f"{kind}: with {wide[kind].n_kv_heads} key/value heads, yours equals slmkit's layer")

# %% [markdown]
# ### Who shares what?
#
# If heads shared queries, there would be fewer query heads than key/value heads, and all of the latter in the cache.
# TinyLlama's released configuration {cite}`zhang2024tinyllama` tells, and so does the cache, which sharing makes smaller.

# %%
tiny = slmkit.survey.config("TinyLlama-1.1B")
for shared, kept in (("keys and values", tiny), ("queries", replace(tiny, n_kv_heads=tiny.n_heads))):
    print(f"{shared} shared: {kept.n_kv_heads} heads kept, {slmkit.kv_cache_bytes(kept, 1):,} bytes a token")
made = record("C13", tiny.n_heads / tiny.n_kv_heads, unit="query heads for each key-value head")

# %% [markdown]
# ### The cache
#
# Keys and values of earlier tokens do not change, so they are kept. Grown by concatenation, the cache is copied for each
# token. Allocated once, it is only written to; what is read is a *slice*, a view that copies nothing.


# %%
def write(store, length, new):
    """Writes new [batch, K, T, d] behind the first `length` tokens of store [batch, K, capacity, d], in place. -> all
    tokens so far [batch, K, length + T, d], a view of store"""
    ### BEGIN SOLUTION
    end = length + new.shape[2]
    store[:, :, length:end] = new
    return store[:, :, :end]
    ### END SOLUTION


# %%
check("04/write", write)
for n in lab.contexts:
    store, new = torch.zeros(1, 8, n, lab.wide // 8), torch.randn(1, 8, 1, lab.wide // 8)
    works = {"grown": partial(torch.cat, (store[:, :, 1:], new), 2), "allocated": partial(write, store, n - 1, new)}
    times = measure_in_turn(works, repeats=10 * lab.repeats)
    print(f"one more token after {n}:", ", ".join(f"{name} {t}" for name, t in times.items()))


# %%
def cache_bytes(config, tokens, bytes_per_number=2):
    """Bytes of a cache for `tokens` tokens. Latent attention (config.attention == "mla") keeps, in each layer, a latent
    of width config.kv_lora_rank and one rotated key part of width config.qk_rope_head_dim."""
    ### BEGIN SOLUTION
    latent = config.attention == "mla" and config.kv_lora_rank + config.qk_rope_head_dim
    return bytes_per_number * config.n_layers * (latent or 2 * config.n_kv_heads * config.head_dim) * tokens
    ### END SOLUTION


# %%
check("04/cache_bytes", cache_bytes)
for kind, config in wide.items():
    allocated = [tensor for layer in KVCache(config, 1, config.max_context).layers for tensor in layer]
    yours = cache_bytes(config, config.max_context, 4)
    print(f"{kind}: {yours:>11,} bytes by your formula, {tensor_bytes(allocated):>11,} measured")
    assert yours == tensor_bytes(allocated) == slmkit.kv_cache_bytes(config, config.max_context, torch.float32)

# %% [markdown]
# ### Latent attention
#
# MLA {cite}`deepseek2024v2` keeps one latent $c$ a token and rebuilds every head from it: $k = U_K c$, $v = U_V c$. The
# latent knows no position, so queries and keys have a second, rotated part; the keys' is one for all heads, kept too.


# %%
def rebuilt(q_plain, q_rope, latent, k_rope, up_k, up_v):
    """One new token's queries: q_plain [batch, H, 1, p], q_rope [batch, H, 1, r]. Kept of all S tokens: latent
    [batch, S, c], k_rope [batch, S, r]. Weights: up_k [H, p, c], up_v [H, d, c]. -> [batch, H, 1, d]"""
    ### BEGIN SOLUTION
    k, v = (torch.einsum("bsc,hpc->bhsp", latent, up) for up in (up_k, up_v))
    k_rope = k_rope[:, None].expand(-1, k.shape[1], -1, -1)
    q, k = torch.cat((q_plain, q_rope), -1), torch.cat((k, k_rope), -1)
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v
    ### END SOLUTION


# %%
check("04/rebuilt", rebuilt)

# %% [markdown]
# But $q^\top (U_K c) = (U_K^\top q)^\top c$: instead of every key, turn the one query. And
# $\sum_s w_s U_V c_s = U_V \sum_s w_s c_s$: average the latents, then turn the mean once. The matrices are
# *absorbed*. Both ways are then checked against slmkit's layer, and a dense DeepSeek-V3 layer of `transformers`.


# %%
def absorbed(q_plain, q_rope, latent, k_rope, up_k, up_v):
    """The same as `rebuilt`, without keys or values of the S tokens."""
    ### BEGIN SOLUTION
    q = torch.einsum("bhtp,hpc->bhtc", q_plain, up_k)
    scores = torch.einsum("bhtc,bsc->bhts", q, latent) + torch.einsum("bhtr,bsr->bhts", q_rope, k_rope)
    weights = (scores / math.sqrt(q_plain.shape[-1] + q_rope.shape[-1])).softmax(-1)
    return torch.einsum("bhtc,hdc->bhtd", torch.einsum("bhts,bsc->bhtc", weights, latent), up_v)
    ### END SOLUTION


# %%
check("04/absorbed", absorbed)
decoder = slmkit.Decoder(replace(wide["MLA"], latent_norm_eps=1e-6, n_layers=1))  # DeepSeek-V3's own epsilon
theirs = slmkit.interop.to_transformers(decoder, "deepseek_v3").model
layer, reading = decoder.blocks[0].attention, Reading([t[:16] for t in rope_tables(decoder.config)], None, None)
with torch.no_grad():
    future, positions = torch.ones(1, 1, 16, 16).triu(1) * -1e9, theirs.rotary_emb(x, torch.arange(16)[None])
    deepseek = theirs.layers[0].self_attn(x, position_embeddings=positions, attention_mask=future)[0][:, -1:]
    ours, (q_plain, q_rope, latent, k_rope) = layer(x, reading, 0)[:, -1:], layer.read(x, reading, 0)
    last, up = (q_plain[:, :, -1:], q_rope[:, :, -1:]), [weight.detach() for weight in layer.up_weights()]
    for attend in (rebuilt, absorbed):
        yours = layer.out(attend(*last, latent[:, 0], k_rope[:, 0], *up).transpose(1, 2).flatten(2))
        torch.testing.assert_close([yours, yours], [deepseek, ours], rtol=0, atol=1e-5)
        print(f"{attend.__name__}: at most {(yours - deepseek).abs().max():.0e} from {type(theirs).__name__}")

# %% [markdown]
# ## Measure
#
# **Time.** Decoders of two layers, then MLA alone, both ways: processor time, ± half of the middle half's spread.

# %%
models, steps, two_ways = {kind: slmkit.Decoder(config) for kind, config in wide.items()}, {}, {}
for n in lab.contexts:
    steps[n] = measure_steps(models, n, lab.repeats)
    given = [*last, torch.randn(1, n, layer.rank), torch.randn(1, n, layer.rope_width), *up]
    two_ways[n] = measure_in_turn({f.__name__: partial(f, *given) for f in (rebuilt, absorbed)}, repeats=lab.repeats)
    print(f"{n:>6} tokens:", ", ".join(f"{name} {t}" for name, t in (steps[n] | two_ways[n]).items()))
faster = {kind: steps[n]["MHA"].median / steps[n][kind].median for kind in guess}
faster["absorbed"] = two_ways[n]["rebuilt"].median / two_ways[n]["absorbed"].median
finding("04-time", f"times as fast as MHA, or as rebuilt; guessed {guess}", context=n, **faster)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, time against tokens of context on a logarithmic scale. Left, a step of four decoders: all are near each other in short contexts, then the line of multi-head attention rises first and highest. Right, one step of latent attention: rebuilding keys and values rises in proportion to the context and lies far above the absorbed form."}}
figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.8))
for axes, measured, title in zip(panels, (steps, two_ways), ("a decoder's step", "a step of latent attention")):
    for name in measured[n]:
        times = [measured[context][name] for context in lab.contexts]
        middle, half = [1e3 * t.median for t in times], [500 * t.median * t.spread for t in times]
        axes.errorbar(lab.contexts, middle, half, fmt="o-", capsize=3, label=name)
    axes.set(xscale="log", xlabel="context (tokens)", ylabel="processor time (ms)", title=title)
    axes.legend()
plt.show()

# %% [markdown]
# The roofline ({doc}`lab 00 <00_your_machine>`) predicts each step from bytes and FLOPs alone. Is the order right? Short
# contexts differ by less than the calls cost that it does not know, and absorbed MLA computes in shapes that fit badly.

# %%
peaks = measure_peaks(dtypes=(torch.float32,), sides=(256,), array_bytes=(2**22, 2**26))
predicted = {f"{kind} at {n}": decode_cost(wide[kind], n, torch.float32).seconds(peaks) for n in steps for kind in wide}
order = order_agreement(predicted, {f"{kind} at {n}": steps[n][kind].median for n in steps for kind in wide})
finding("04-order", **order._asdict())

# %% [markdown]
# ### Loss
#
# What attention saves in parameters goes into a wider FFN. `full` tunes the learning rate of each kind. Not equal: the
# cache, and query heads half as wide again in MLA. Differences are paired by seed.

# %%
base = slmkit.ModelConfig(vocab_size=lab.vocab, d_model=lab.d_model, n_layers=lab.layers, n_heads=8, max_context=64)
training = slmkit.TrainingConfig(steps=lab.steps, batch_size=16, context=64, learning_rate=4e-3, evaluate_tokens=16384)
size = slmkit.count_parameters(base).total
arms = {kind: Arm(with_parameters(config, size), training, lab.corpus) for kind, config in kinds(base).items()}
arms = lab.tuned(arms, lab.factors, lab.seeds[:1])
table = lab.sweep(arms, lab.seeds)
comparison("04-attention", table, "MHA", "parameters, depth, width, query heads, tokens, their order and schedule")
print("cache, bytes a token:", {kind: slmkit.kv_cache_bytes(arm.model, 1) for kind, arm in arms.items()})

# %% [markdown]
# ### A multi-head model made into a grouped one
#
# The key heads of a group are replaced by their mean, so are the value heads, and a short run heals the cut
# {cite}`ainslie2023gqa`. The control is MHA, trained on for as long on the same batches. transformers loads the result.


# %%
def merged_heads(weight, kv_heads, head_dim):
    """weight [H × head_dim, d_model] -> [kv_heads × head_dim, d_model], the mean over each group of neighbours"""
    ### BEGIN SOLUTION
    return weight.view(kv_heads, -1, head_dim, weight.shape[1]).mean(1).flatten(0, 1)
    ### END SOLUTION


# %%
check("04/merged_heads", merged_heads)
(_, data), healing = prepare(lab.corpus, lab.vocab), replace(training, steps=lab.healing, learning_rate=1e-3, seed=99)
held_out, rows = {"row": data.held_out, "context": 64, "max_tokens": training.evaluate_tokens}, []
for seed in lab.seeds:
    torch.manual_seed(seed)
    model = slmkit.Decoder(arms["MHA"].model)
    lab.train(model, data, replace(arms["MHA"].training, seed=seed))  # read back from the sweep
    grouped, measured = regrouped(model, 2, merged_heads), partial(bits_per_byte, **held_out)
    bits = {"before": measured(model), "merged": measured(grouped)}
    lab.train(grouped, data, healing)
    lab.train(model, data, healing)
    bits |= {"healed": measured(grouped), "trained on": measured(model)}
    rows += [dict(arm=arm, seed=seed, parameters=size, bits_per_byte=bits[arm]) for arm in bits]
    theirs, ids = slmkit.interop.to_transformers(grouped), data.held_out.tokens[None, :32].long()
    torch.testing.assert_close(theirs(ids).logits, grouped(ids), rtol=0, atol=1e-3)
    assert slmkit.interop.from_transformers(theirs)(ids).equal(grouped(ids))  # and back, to the bit
comparison("04-healing", pandas.DataFrame(rows), "trained on", "the model at the start, batches, steps and rate")

# %% [markdown]
# ## Verdict
#
# Claim 13 is judged above. Of the loss the survey claims nothing. An interval that holds zero: no difference is seen.
#
# **To take further.** Group heads whose keys are most alike instead of neighbours (permute queries and output too), and
# compare the loss before healing. **Open.** How small may the latent be before the loss shows it?
