# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quantization and hardware
#
# **Question.** With fewer bits a weight, says section 4.2.1 of the survey, writing gains more than reading the prompt,
# four bits beat three, and five or six are no better than eight. It ran one model on one board. Is it so on the machine
# in front of you, and what does it cost in quality?

# %%
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read with torch: a thread that waits sleeps, and does not spin

import gguf
import matplotlib.pyplot as plt
import numpy as np
import torch

import slmkit
from slmkit.course import check, finding, record, start
from slmkit.data import corpora
from slmkit.data.packing import TokenRow
from slmkit.data.prepared import prepare
from slmkit.profiling import calibrated, energy, forms, measure_latency, measure_peaks, prefill_cost
from slmkit.profiling.engine import Engine
from slmkit.profiling.quantization import quantize
from slmkit.survey.verdicts import interval

# fmt: off
wide, real = slmkit.ModelConfig(16384, 768, 20, 12, 4, d_ff=2048), ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K")
lab = start("15", profiles={
    "smoke": {"shapes": {"wide": slmkit.ModelConfig(512, 256, 1, 4, d_ff=512)}, "forms": (*real[:2], *real[4:]),
              "prompts": (8, 50), "new": 3, "array": 2**24, "corpus": "tinyworld", "vocab": 300, "steps": 3,
              "real": real[:2], "windows": 2, "seeds": (0, 1)},
    "cpu": {"shapes": {"wide": wide}, "forms": real, "prompts": (8, 22, 50), "new": 8, "array": 2**28,
            "corpus": "speeches", "vocab": 1024, "steps": 80, "real": real, "windows": 12, "seeds": (0, 1, 2, 3, 4)},
    "full": {"shapes": {"wide": wide, "qwen": slmkit.survey.config("Qwen1.5-0.5B")}, "forms": (*real, "Q4_0"),
             "prompts": (8, 22, 36, 50, 128), "new": 8, "array": 2**28, "corpus": "speeches", "vocab": 1024,
             "steps": 400, "real": (*real, "Q4_0"), "windows": 40, "seeds": (0, 1, 2, 3, 4)},
})
SHORT, LONG, FOUR, CONTEXT = 8, 50, "Q4_K_M", 64  # the survey's shortest and longest prompts, and its best form

# %% [markdown]
# ## Predict
# How many times as fast as with 16 bits does a model write with four, and read a prompt of 50 tokens? Four bits take
# how many times as long as three? By how many percent do the bits per byte of a small model grow with three?

# %%
guess = {"write": 3.5, "read": 1.5, "four over three": 1.2, "percent worse with three": 5}

# %% [markdown]
# ## Build
# **A block by hand.** Q8_0 is the plainest form: 32 weights share a *step*, the largest size over 127, and each gets a
# whole number, its *code*, the nearest to weight over step. The step is then stored as a float of 16 bits.

# %%
def quantize_block(weights):
    """weights [32] float32 -> step (a float of 16 bits), codes [32] (whole numbers from -127 to 127)"""
    ### BEGIN SOLUTION
    step = np.abs(weights).max() / np.float32(127)
    codes = np.rint(weights / step) if step else np.zeros(32)
    return np.float16(step), codes.astype(np.int8)
    ### END SOLUTION

# %%
check("15/quantize_block", quantize_block)
weights = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
yours = b"".join(step.tobytes() + codes.tobytes() for step, codes in map(quantize_block, weights))
theirs = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
assert yours == quantize(weights, "Q8_0").tobytes() == theirs.tobytes()

# %% [markdown]
# **Two codes in a byte.** Codes of four bits lie in pairs, but not neighbours. Byte $i$ of a group holds code $i$ in
# its low half and code $i + r$ in its high half: first a *run* of $r$ low halves, then the run of high halves.

# %%
def nibbles(packed, run):
    """packed [n, bytes] uint8 -> codes [n, 2 × bytes], 0 to 15: `run` low halves, `run` high halves, and so on"""
    ### BEGIN SOLUTION
    groups = packed.reshape(len(packed), -1, run)
    return np.stack((groups & 15, groups >> 4), axis=2).reshape(len(packed), -1)
    ### END SOLUTION

# %% [markdown]
# **Numbers of six bits.** Q4_K has eight blocks of 32, each with a scale and an offset of six bits, in twelve bytes.
# Bytes 0 to 3 hold scales 0 to 3 in their low six bits, bytes 4 to 7 offsets 0 to 3. The two bits above are the *high*
# bits of scale, or offset, 4 to 7. Their four low bits are in bytes 8 to 11, in the low half the scale's.

# %%
def six_bits(packed):
    """packed [12] uint8 -> scales [8], offsets [8], each 0 to 63"""
    ### BEGIN SOLUTION
    first, low = packed[:8].reshape(2, 4), np.stack((packed[8:] & 15, packed[8:] >> 4))
    return tuple(np.concatenate((first & 63, low | first >> 6 << 4), axis=1))
    ### END SOLUTION

# %%
check("15/nibbles", nibbles)
check("15/six_bits", six_bits)
packed = quantize(weights.reshape(-1, 256), "Q4_K")
for block, theirs in zip(packed, gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_K)):
    (d, dmin), (scales, offsets) = block[:4].view(np.float16).astype(np.float32), six_bits(block[4:16])
    codes = nibbles(block[None, 16:], 32).reshape(8, 32).astype(np.float32)
    read = codes * (d * scales)[:, None] - (dmin * offsets)[:, None]
    assert read.tobytes() == theirs.tobytes()
print(f"{len(weights)} blocks of Q8_0 written and {len(packed)} of Q4_K read, each bit as in llama.cpp's own package")

# %% [markdown]
# **What a file takes.** A block never crosses the end of a row. Where it does not divide the row, llama.cpp stores the
# *whole matrix* in another format, and the file keeps its name.

# %%
def file_bytes(matrices, block, fallback):
    """matrices: [(rows, width)]; block, fallback: (weights, bytes) of a block -> bytes of all matrices"""
    ### BEGIN SOLUTION
    kinds = [block if width % block[0] == 0 else fallback for _, width in matrices]
    return sum(rows * width // size * stored for (rows, width), (size, stored) in zip(matrices, kinds))
    ### END SOLUTION

# %% [markdown]
# **What fewer bytes can give.** A pass reads every weight once and computes with it once for each token. Both go on at
# the same time, so that the longer one decides ({doc}`lab 00 <00_your_machine>`). The operations stay as many.

# %%
def speed_up(tokens, many, few, flops, peak, bandwidth):
    """How many times as fast a pass over `tokens` is with `few` bytes of weights as with `many`; flops: of one token"""
    ### BEGIN SOLUTION
    computing = tokens * flops / peak
    return max(many / bandwidth, computing) / max(few / bandwidth, computing)
    ### END SOLUTION

# %% [markdown]
# **What no other beats.** A form is *beaten* by another that is at least as fast and as good, and better in one of
# the two. What none beats is the Pareto front.

# %%
def front(points):
    """points: name -> (milliseconds, bits per byte), less is better -> the names that none beats, the fastest first"""
    ### BEGIN SOLUTION
    order = sorted(points, key=points.get)
    return [name for i, name in enumerate(order) if all(points[name][1] < points[other][1] for other in order[:i])]
    ### END SOLUTION

# %%
check("15/file_bytes", file_bytes)
check("15/speed_up", speed_up)
check("15/front", front)

# %% [markdown]
# ## Measure: speed
# Random weights take as long as trained ones. The shape is like SmolLM2's and 768 wide, so that all rows fit all
# blocks. The forms are llama.cpp's own; Q3_K and the K_M are mixtures: look. They read and write in turn, in rounds; a
# seed is a round and draws the prompt. One thread, processor time. *Times as fast* is F16's time over the form's, round
# by round. Your `speed_up` predicts it from bytes and this machine's ceilings, and leaves unpacking out.

# %%
print(missing := forms.why_not())
files, sizes, runs = {}, {}, {}
PHASES = {"prefill": "ttft", "decode": "tpot"}  # to the first token; one further token

def written(name, decoder, names):
    """Stores the decoder in these forms, in none without the engine, and shows what lies in the files."""
    files[name], sizes[name] = forms.stored(decoder, () if missing else names), {}
    for form, path in files[name].items():
        sizes[name][form] = sum(file_bytes([(one.rows, one.width)], one.block, (1, 2)) for one in forms.matrices(path))
        print(f"{name}, {form}: {sizes[name][form]:,} bytes by your sum;", forms.contents(path))

for name, shape in lab.shapes.items():
    torch.manual_seed(0)
    written(name, slmkit.Decoder(shape), lab.forms)
    runs[name] = forms.in_turn(files[name], lab.prompts, lab.new, lab.seeds)

def spent(name, phase, form, n=50, threads=1, clock="seconds"):  # of each round
    return np.array([getattr(getattr(one, PHASES[phase]), clock)[0] for one in runs[name][form, threads, n]])

def times(name, phase, form, n=50):
    return spent(name, phase, "F16", n) / spent(name, phase, form, n)

peaks = measure_peaks(dtypes=(torch.float32,), sides=(512,), array_bytes=(2**22, lab.array))
for key, phase, form in ((k, p, f) for k in lab.shapes for p in PHASES for f in files[k]):
    numbers = {f"ms_{n}": (1e3 * spent(key, phase, form, n)).tolist() for n in lab.prompts}
    numbers |= {f"times_{n}": times(key, phase, form, n).tolist() for n in lab.prompts}
    limits = prefill_cost(lab.shapes[key], LONG).flops / LONG, peaks.peak_flops(), peaks.peak_bandwidth()
    numbers["predicted"] = speed_up(LONG if phase == "prefill" else 1, sizes[key]["F16"], sizes[key][form], *limits)
    finding(f"15-{phase}-{form}" + f"-{key}" * (key != "wide"), "times as fast as F16, by tokens", **numbers)
gain = None if missing else {(phase, n): times("wide", phase, FOUR, n) for phase in PHASES for n in (SHORT, LONG)}
record("C84", gain and gain["decode", LONG] / gain["prefill", LONG], note=f"{FOUR}, {LONG} tokens", reason=missing)
record("C85", gain and gain["prefill", LONG] / gain["prefill", SHORT], note=f"{LONG} over {SHORT}", reason=missing)
record("C86", gain and spent("wide", "decode", FOUR) / spent("wide", "decode", "Q3_K"), reason=missing)
for a, b in ((FOUR, "Q3_K"), ("Q5_K_M", "Q8_0"), ("Q6_K", "Q8_0")):
    for phase in PHASES if {a, b} <= files["wide"].keys() else ():
        ratio = (spent("wide", phase, a) / spent("wide", phase, b)).tolist()
        finding(f"15-{phase}-{a}-over-{b}", "time", ratio=ratio, interval="{:.2f} to {:.2f}".format(*interval(ratio)))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels. Left, milliseconds to the first token against tokens of the prompt, a line for each form. Middle, milliseconds for one more token against the tokens before it, a line for each form. Right, times as fast as F16 against times fewer bytes, for each form a square for writing and a circle for reading, and a dotted line where both are equal."}}
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.6))
for i, form in enumerate(files["wide"]):
    for axes, phase, mark in ((left, "prefill", "o"), (middle, "decode", "s")):
        rounds = [1e3 * spent("wide", phase, form, n) for n in lab.prompts]
        low, half, high = np.quantile(rounds, (0.25, 0.5, 0.75), axis=1)
        axes.errorbar(lab.prompts, half, (half - low, high - half), marker=mark, color=f"C{i}", capsize=2, label=form)
        fewer = sizes["wide"]["F16"] / sizes["wide"][form]
        right.plot(fewer, times("wide", phase, form).mean(), mark, color=f"C{i}", label=phase if i == 0 else None)
left.set(xlabel="prompt (tokens)", ylabel="to the first token (ms)", ylim=(0, None))
middle.set(xlabel="tokens before", ylabel="one more token (ms)", ylim=(0, None))
right.axline((1, 1), slope=1, color="black", linestyle=":")
right.set(xlabel="times fewer bytes", ylabel=f"times as fast, {LONG} tokens")
_ = [axes.legend(fontsize=8) for axes in (left, right) if gain]
plt.show()

# %% [markdown]
# ### Threads, bandwidth, energy, a GPU
# With several threads only the clock on the wall is honest. More bytes a second than the machine can read would be an
# error, and stops the lab, after more looks at what it can. A GPU's advantage, says the survey, is larger in prefill.

# %%
some = {form: files["wide"][form] for form in ("F16", FOUR) if not missing}
runs["threads"] = forms.in_turn(some, (LONG,), lab.new, lab.seeds[:3], (1, 2))
for form in some:
    wall = {(phase, n): spent("threads", phase, form, LONG, n, "wall") for phase in PHASES for n in (1, 2)}
    rate, peaks = forms.reading_rate(sizes["wide"][form], np.median(spent("wide", "decode", form)), peaks)
    finding(f"15-threads-{form}", "two threads over one by the clock; bytes that one reads in decode",
            **{phase: (wall[phase, 1] / wall[phase, 2]).tolist() for phase in PHASES},
            gigabytes_a_second=rate / 1e9, share_of_memory=rate / peaks.peak_bandwidth())
print("energy:", no_counters := energy.why_not())
for form, path in {} if no_counters else files["wide"].items():
    with Engine(path, context=2 * LONG) as engine, energy.Energy() as used:
        engine.latency(LONG, LONG, repeats=1, warmup=0)
    finding(f"15-energy-{form}", f"joules of the processor, {LONG} tokens read and {LONG} written", joules=used.joules)

def advantage(model, slow, quick):  # the speed-up in prefill over that in decode, a number a seed
    a, b = ([measure_latency(model.to(device), LONG, seed=seed) for seed in lab.seeds] for device in (slow, quick))
    return [(x.ttft.median / y.ttft.median) / (x.tpot.median / y.tpot.median) for x, y in zip(a, b)]

gpu = slmkit.Decoder(wide) if torch.cuda.is_available() else None
record("C91", gpu and advantage(gpu, "cpu", "cuda"), reason="PyTorch finds no GPU here")

# %% [markdown]
# ## Measure: quality
# A model trained here is 256 wide, so its files hold what their names say. The engine reads held-out text; differences
# are from F16, paired by seed. Without engine: plain rounding, AWQ {cite}`lin2023awq`, GPTQ {cite}`frantar2022gptq`.

# %%
_, data = prepare(lab.corpus, lab.vocab)
shape = slmkit.ModelConfig(data.held_out.vocab_size, 256, 1, 4, d_ff=512, max_context=CONTEXT)
training = slmkit.TrainingConfig(lab.steps, 16, CONTEXT, learning_rate=2e-3, evaluate_tokens=CONTEXT)
arms = {"16-bit": {}, "Q8_0": {"name": "Q8_0"}, "Q4_K": {"name": "Q4_K"}}
arms |= {f"Q4_0-{method}": {"name": "Q4_0", "method": method} for method in ("rtn", "awq", "gptq")}
ids, bits = data.train.tokens[: 32 * CONTEXT].long().view(32, CONTEXT), {}  # bits: name -> one number a seed
for seed in lab.seeds[:3]:
    torch.manual_seed(seed)
    model = slmkit.Decoder(shape)
    lab.train(model, data, training)
    written(f"trained {seed}", model, lab.forms)
    for form, found in forms.quality(files[f"trained {seed}"], data.held_out, CONTEXT, lab.windows).items():
        bits.setdefault(f"quality-{form}", []).append(found.mean())
    for point in calibrated.trade_off(model.eval(), arms, data.held_out, CONTEXT, calibrated.calibrate(model, ids),
                                      max_tokens=512 * lab.windows):
        bits.setdefault(f"method-{point.name}", []).append(point.bits_per_byte)
for name, values in bits.items():
    base = bits["method-16-bit" if "method" in name else "quality-F16"]
    finding(f"15-{name}", "bits per byte, trained here", bits=values, worse=np.subtract(values, base).tolist())

# %% [markdown]
# ### The front of a real model
# SmolLM2-135M is 576 wide: see what its files hold. Its weights came rounded to Q4_1, so a form here is a *second*
# rounding. The text is the held-out speeches, read in pieces; differences are paired by piece.

# %%
model, tokenizer = slmkit.pretrained.load()
text = "\n".join(speech[:2000] for speech in corpora.load("speeches").held_out)
row = TokenRow(torch.tensor(tokenizer.encode(text)), len(text.encode()), tokenizer.digest, model.config.vocab_size)
written("real", model, lab.real)
pieces = forms.quality(files["real"], row, CONTEXT, lab.windows)
runs["real"] = forms.in_turn(files["real"], (LONG,), lab.new, lab.seeds)
points = {form: (1e3 * np.median(spent("real", "decode", form)), bits.mean()) for form, bits in pieces.items()}
for form, (ms, mean) in points.items():
    finding(f"15-front-{form}", "SmolLM2-135M-Instruct", ms=ms, bits=mean, megabytes=sizes["real"][form] / 1e6,
            worse=(pieces[form] - pieces["F16"]).tolist(), beaten="no" if form in front(points) else "yes")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Bits per byte of SmolLM2 against milliseconds for one token, a point for each form with its name; a line joins the forms that no other beats in both."}}
plt.step(*zip(*[points[form] for form in front(points)] or [(0, 0)]), where="post", color="black")  # the front
for form, point in points.items():
    plt.plot(*point, "o", color="C0")
    plt.annotate(form, point, xytext=(5, 4), textcoords="offset points", fontsize=9)
plt.gca().set(xlabel="one more token (ms)", ylabel="bits per byte (less is better)")
plt.show()
print("your guesses:", guess)

# %% [markdown]
# ## Verdict
# Claims 84 to 86 are judged on this processor and one thread. **To take further.** Run it on another machine. **Open.**
# Which weights need their eighth bit, and can training tell?
