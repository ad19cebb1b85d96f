# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your machine
#
# **Question.** The survey says that reading a prompt is limited by arithmetic and writing the answer by memory
# (section 4.1, the insight on latency). Is that so on the machine in front of you, and can two numbers foretell
# how fast a language model will write on it?
#
# You will measure the two numbers, predict the speed of a model of 135 million parameters, and then measure the model.

# %%
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

import slmkit
from slmkit.course import check, record, start
from slmkit.course.records import interval
from slmkit.profiling import check_latency, decode_cost, measure_latency, measure_peaks, prefill_cost

lab = start("00", profiles={
    "smoke": {"layers": 2, "vocabulary": 4096, "prompts": (8, 16, 32), "new_tokens": 4, "repeats": 1,
              "sides": (128, 256), "arrays": (2**20, 2**22, 2**24), "seeds": (0, 1)},
    "cpu": {"layers": 30, "vocabulary": 49152, "prompts": (8, 16, 32, 64, 128, 256), "new_tokens": 8, "repeats": 3,
            "sides": (64, 128, 256, 512, 1024), "arrays": None, "seeds": (0, 1, 2, 3, 4)},
    "full": {"layers": 30, "vocabulary": 49152, "prompts": (8, 16, 32, 64, 128, 256, 512, 1024), "new_tokens": 32,
             "repeats": 5, "sides": (64, 128, 256, 512, 1024, 2048), "arrays": None, "seeds": tuple(range(10))},
})  # fmt: skip

# %% [markdown]
# ## Predict
#
# Write down what you expect before anything is measured. The lab compares at its end.

# %%
guess = {
    "GFLOP/s": 50,  # billions of additions and multiplications a second that one thread can do
    "GB/s": 20,  # billions of bytes a second that it can read from memory
    "tokens/s": 50,  # that a model of 135M parameters then writes
}

# %% [markdown]
# ## Build
#
# ### Two ceilings
#
# A processor computes, and it fetches the numbers to compute with. Each has its limit. The first is counted in
# floating-point operations a second (FLOP/s). A matrix product comes closest to it, for every number fetched is used
# many times. The second is counted in bytes a second. It shows when a large array is read and each number used once.
#
# We measure both. What counts is the fastest of several repeats, since other programs can only slow it. On one thread
# the clock is processor time, which does not run while others use the core.

# %%
peaks = measure_peaks(lab.device, sides=lab.sides, array_bytes=lab.arrays)
print(peaks)

# %% [markdown]
# Small arrays are read faster, for they stay in a cache, a small fast memory on the chip. The weights of most models
# do not fit there, so the ceiling that matters is the rate of the largest array.
# Is `bfloat16`, with 16 bits a number, faster than 32 bits here? Only if the processor and the library have the means.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bytes read per second against the size of the array. Arrays that fit in a cache are read faster than those that do not; the last point, past every cache, is the speed of main memory."}}
figure, axes = plt.subplots()
axes.semilogx(*zip(*[(size / 2**20, rate / 1e9) for size, rate in sorted(peaks.bandwidth.items())]), "o-")
axes.axvline((peaks.cache_bytes or math.nan) / 2**20, color="black", linestyle=":", label="last-level cache")
axes.set(xlabel="size of the array (MiB)", ylabel="read bandwidth (GB/s)", ylim=(0, None))
axes.legend()
plt.show()

# %% [markdown]
# ### Arithmetic intensity
#
# Which ceiling does a piece of work meet? That depends on how much it computes with each byte. The product of
# $X$ [m, k] and $W$ [k, n] takes a multiplication and an addition for each of its $m\,k\,n$ terms. At the least,
# it moves $X$ and $W$ in and the result out. FLOPs divided by bytes is its *arithmetic intensity*.


# %%
def intensity(m, k, n, bytes_per_number=4):
    """FLOPs a byte of a product [m, k] @ [k, n], every matrix moved once."""
    ### BEGIN SOLUTION
    flops = 2 * m * k * n
    numbers = m * k + k * n + m * n
    return flops / (bytes_per_number * numbers)
    ### END SOLUTION


# %%
check("00/intensity", intensity)

# %% [markdown]
# With m = 1, one token passes through a matrix. With m = 256, a whole prompt passes and shares the weights fetched.

# %%
for m in (1, 8, 64, 256):
    print(f"{m:>4} token(s) through a matrix of 576 × 1536: {intensity(m, 576, 1536):6.2f} FLOPs a byte")

# %% [markdown]
# ### The roofline
#
# Work of intensity $I$ runs no faster than the processor computes, and no faster than $I$ times the rate at which
# bytes arrive {cite}`williams2009roofline`. Drawn against $I$, the two limits look like a roof. The corner is called
# the ridge. Left of it, work is *memory-bound*; right of it, *compute-bound*.


# %%
def attainable(intensity, peak_flops, bandwidth):
    """The most FLOP/s that work of this intensity [FLOPs a byte] can reach; bandwidth in bytes/s."""
    ### BEGIN SOLUTION
    return min(peak_flops, intensity * bandwidth)
    ### END SOLUTION


# %%
check("00/attainable", attainable)

# %% [markdown]
# ### What one token costs
#
# A decoder writes one token at a time. For each it reads all its weights, and the keys and values that it has kept of
# the tokens before (the *cache*: in each of `config.n_layers` layers, for each token and each of `config.n_kv_heads`
# heads, a key and a value of width `config.head_dim`). `slmkit.count_parameters(config).total` counts the weights.


# %%
def decode_bytes(config, context, bytes_per_number=4):
    """Bytes read to write one token when the cache then holds `context` tokens (tied embeddings)."""
    ### BEGIN SOLUTION
    weights = slmkit.count_parameters(config).total
    cache = 2 * config.n_layers * config.n_kv_heads * config.head_dim * context
    return bytes_per_number * (weights + cache)
    ### END SOLUTION


# %%
check("00/decode_bytes", decode_bytes)

# %% [markdown]
# ### The prediction
#
# Our model has the shape of SmolLM2-135M {cite}`allal2025smollm2`. Its weights are drawn at random: the time does not
# depend on what they say, only on how many there are. By the roofline, a pass takes as long as its arithmetic at the
# peak or its bytes at the full bandwidth, whichever is longer.

# %%
config = slmkit.ModelConfig(
    vocab_size=lab.vocabulary, d_model=576, n_layers=lab.layers, n_heads=9, n_kv_heads=3, d_ff=1536, rope_theta=100000.0
)
prompt = lab.prompts[-1]
for name, cost in (("prefill", prefill_cost(config, prompt)), ("decode", decode_cost(config, prompt))):
    print(f"{name}, {prompt} tokens: {cost.flops / 1e9:.2f} GFLOP, {cost.bytes / 1e6:.0f} MB, so")
    print(
        f"    {cost.intensity:.2f} FLOPs a byte: {cost.bound(peaks)}-bound, at least {1e3 * cost.seconds(peaks):.1f} ms"
    )
predicted = 1 / decode_cost(config, prompt).seconds(peaks)
print(f"ridge of this machine: {peaks.ridge():.1f} FLOPs a byte; the model writes at most {predicted:.1f} tokens/s")

# %% [markdown]
# ## Measure
#
# For each prompt length we take the time to the first token, which is the prefill, and the time per further token. We
# also let two sequences decode side by side: twice the arithmetic, the same weights. Each seed draws another prompt.
# The lengths come in turn within a seed, so that a slow spell of the machine hits them all. `check_latency` stops the
# lab if a result is faster than the measured ceilings allow. Means over seeds have a 95% interval.

# %%
torch.manual_seed(0)
model = slmkit.Decoder(config).to(lab.device)
options = {"new_tokens": lab.new_tokens, "repeats": lab.repeats}
single, double = [], []  # one entry a seed
for seed in lab.seeds:
    double.append(measure_latency(model, lab.prompts[0], batch=2, seed=seed, **options))
    single.append({n: measure_latency(model, n, seed=seed, **options) for n in lab.prompts})
    for latency in (*single[-1].values(), double[-1]):
        check_latency(latency, config, peaks)


def centre(values):
    """The mean over seeds, and half the width of its 95% interval."""
    low, high = interval(values)
    return (low + high) / 2, (high - low) / 2


ttft = {n: [run[n].ttft.median for run in single] for n in lab.prompts}
tpot = {n: [run[n].tpot.median for run in single] for n in lab.prompts}
print(f"{'prompt':>8}{'first token (ms)':>20}{'roofline':>10}{'further token (ms)':>22}{'roofline':>10}")
for n in lab.prompts:
    bounds = [1e3 * cost(config, n).seconds(peaks) for cost in (prefill_cost, decode_cost)]
    first, further = ("{:.1f} ± {:.1f}".format(*1e3 * np.array(centre(times[n]))) for times in (ttft, tpot))
    print(f"{n:>8}{first:>20}{bounds[0]:>10.1f}{further:>22}{bounds[1]:>10.1f}")

# %% [markdown]
# Both phases on the roofline. How far a point stays below the roof is what the simple picture leaves out.

# %% tags=["hide-input"] mystnb={"image": {"alt": "The machine's roofline on logarithmic axes. Decoding sits low on the slope, where memory is the limit. Prefill of longer and longer prompts moves right, past the ridge, and up towards the flat ceiling of arithmetic."}}
figure, axes = plt.subplots()
axes.loglog(
    reach := np.geomspace(0.1, 1000, 200), [peaks.attainable(i) / 1e9 for i in reach], color="black", label="roof"
)
axes.axvline(peaks.ridge(), color="black", linestyle=":", linewidth=1)
points = [("prefill", "o", prefill_cost, ttft, lab.prompts), ("decode", "s", decode_cost, tpot, lab.prompts[-1:])]
for name, marker, cost_of, times, shown in points:
    costs = [cost_of(config, n) for n in shown]
    rates = np.array([centre([cost.flops / t / 1e9 for t in times[n]]) for n, cost in zip(shown, costs)])
    axes.errorbar([cost.intensity for cost in costs], *rates.T, fmt=marker, capsize=3, label=name)
    for n, cost, rate in zip(shown, costs, rates):
        axes.annotate(f"{n}", (cost.intensity, rate[0]), xytext=(5, -11), textcoords="offset points", fontsize=8)
axes.set(xlabel="arithmetic intensity (FLOPs a byte)", ylabel="arithmetic (GFLOP/s)", ylim=(1, None))
axes.legend(title="with tokens of context", loc="lower right")
plt.show()

# %% [markdown]
# The same seen as time. By the roofline, a few tokens in one pass cost no more than one, for the weights must be read
# anyway; past the bend, every token costs the same. It is a bound, and a library may stay above it: where the measured
# curve jumps between one token and a few, the library has changed its method.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Time of one pass against the number of tokens in it, on logarithmic axes. The roofline is flat for few tokens and then rises in proportion. The measured times lie above it and turn from a gentle rise into the same steep one."}}
figure, axes = plt.subplots()
counts = np.unique(np.geomspace(1, lab.prompts[-1], 100).astype(int))
bounds = np.array([1e3 * prefill_cost(config, int(n)).seconds(peaks) for n in counts])
axes.loglog(counts, bounds, color="black", label="roofline, the least possible")
times = 1e3 * np.array([centre(values) for values in (tpot[lab.prompts[0]], *ttft.values())])
axes.errorbar([1, *ttft], *times.T, fmt="o-", capsize=3, label="measured")
axes.set(xlabel="tokens in the pass", ylabel="time of the pass (ms)", ylim=(bounds[0] / 10, None))
axes.legend()
plt.show()

# %% [markdown]
# ### What the roofline leaves out
#
# A pass is hundreds of operations, and starting each takes time even when there is nothing to compute. A twin of
# equal depth and very narrow layers shows that part: it runs the same operations on almost no numbers.

# %%
twin = slmkit.Decoder(replace(config, vocab_size=64, d_model=36, head_dim=4, d_ff=32)).to(lab.device)
starting = measure_latency(twin, lab.prompts[0], **options).tpot.median
measured, half = centre([run[prompt].tokens_per_second for run in single])
print(f"starting the operations of one pass: {1e3 * starting:.1f} ms")
print(f"tokens/s: at most {predicted:.1f} by the roofline, {1 / (1 / predicted + starting):.1f} with the starting time")
print(f"tokens/s measured: {measured:.1f} ± {half:.1f}, {measured / predicted:.0%} of the roofline")
for (unit, guessed), found in zip(guess.items(), (peaks.peak_flops() / 1e9, peaks.peak_bandwidth() / 1e9, measured)):
    print(f"you guessed {guessed} {unit}; measured {found:.1f}")

# %% [markdown]
# ## Verdict
#
# Double the work, and see what it costs. Where arithmetic is the limit, twice the tokens take twice the time: one
# doubling. Where memory is the limit, a second sequence shares the weights of the first and costs little: no doubling.
# We compare prefill, from the second longest prompt to the longest, with decoding, from one sequence to two. Starting
# the operations costs little more for two either; the lines above say how large a part of the time that is.

# %%
lengths = short, middle, long = lab.prompts[-3:]
prefill_growth = [math.log2(run[long].ttft.median / run[middle].ttft.median) for run in single]
decode_growth = [math.log2(two.tpot.median / run[lab.prompts[0]].tpot.median) for run, two in zip(single, double)]
note = "This tests the two bounds; whether a model's shape matters more in prefill is a claim of its own, C79a."
bound = record("C79", prefill_growth, against=decode_growth, unit="doublings of time", note=note)

# %% [markdown]
# The survey also finds that the time to the first token grows linearly with the prompt (section 4.2.2). If so,
# a further token costs as much between the longer prompts as between the shorter ones, and the ratio is 1. Attention
# adds a part that grows with the square of the length, small at these lengths.

# %%
per_token = [np.diff([run[n].ttft.median for n in lengths]) / np.diff(lengths) for run in single]
linear = record("C89", [late / early for early, late in per_token], unit="ratio of times")

# %% [markdown]
# ## Exercises
#
# A server decodes many sequences at once. Each pass reads the weights once, and every sequence computes two FLOPs with
# each weight. Leave the cache aside: from how many sequences on is the pass no longer memory-bound?


# %%
def turning_batch(ridge, bytes_per_weight=4):
    """The smallest number of sequences whose decoding reaches the ridge [FLOPs a byte]."""
    ### BEGIN SOLUTION
    return math.ceil(ridge * bytes_per_weight / 2)
    ### END SOLUTION


# %%
check("00/turning_batch", turning_batch)

# %% [markdown]
# **To take further.** In `bfloat16` the weights take half the bytes, so the roofline allows twice the tokens a second.
# Convert the model with `model.to(torch.bfloat16)` and measure again. If it is not twice as fast, find the operation
# that holds it back: time `torch.nn.functional.linear` with one row in both types.
