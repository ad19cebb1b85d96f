# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Latency and memory
#
# **Question.** Besides its size, says section 4.1 of the survey, a model's shape sets how fast it answers, more so in
# prefill than in decode. Section 4.3: matrix products take most of the time, cache and logits much of the memory. How
# much of this follows from bytes and FLOPs alone?

# %%
import math
from dataclasses import asdict, replace

import matplotlib.pyplot as plt
import numpy as np
import torch

import slmkit
from slmkit.course import check, figures_latency, finding, record, start
from slmkit.data.prepared import prepare
from slmkit.profiling import decode_cost, measure_peaks, prefill_cost, shapes
from slmkit.profiling.decode_model import fit_decode_model, measure_decoding
from slmkit.profiling.memory import measure_memory, memory_by_part
from slmkit.profiling.speculative import measure_speculation
from slmkit.training.sweep import with_parameters

# fmt: off
six = ("Pythia-160M", "Qwen1.5-0.5B", "Qwen2-0.5B", "Bloom-560M", "Pythia-1.4B", "Qwen1.5-1.8B")
unseen = {"OPT-125M": 12, "Cerebras-GPT-111M": 5, "SmolLM-360M": 8, "TinyLlama-1.1B": 11, "SmolLM-135M": 1}
text = ("speeches", 1024)
lab = start("14", profiles={
    "smoke": {"base": (512, 128, 4, 2), "prompts": (1, 8, 64), "contexts": (16, 64), "models": (six[1], *six[4:]),
              "share": 24, "pair": 24, "new_tokens": 4, "repeats": 1, "arrays": (2**22,), "unknown": {"OPT-125M": 12},
              "text": ("tinyworld", 512), "draft": ((64, 2, 2), (8, 1, 2)), "steps": 10, "written": 8, "seeds": (0, 1)},
    "cpu": {"base": (8192, 512, 12, 8), "prompts": tuple(2**n for n in range(9)), "contexts": (64, 1024, 2048, 4096),
            "models": six, "share": 12, "pair": 6, "new_tokens": 8, "repeats": 4, "arrays": None, "unknown": unseen,
            "text": text, "draft": ((128, 8, 4), (64, 1, 2)), "steps": 120, "written": 48, "seeds": (0, 1, 2)},
    "full": {"base": (8192, 768, 16, 12), "prompts": tuple(2**n for n in range(11)), "contexts": (64, 1024, 4096, 8192),
             "models": (*six[:5], "Bloom-1.1B", "Phi-1.5", "SmolLM-1.7B", six[5]), "share": 6, "pair": 1, "repeats": 9,
             "new_tokens": 16, "arrays": None, "unknown": unseen, "text": text, "draft": ((256, 8, 8), (64, 1, 2)),
             "steps": 600, "written": 128, "seeds": tuple(range(5))},
})

# %% [markdown]
# ## Predict
# From how many tokens on does a longer prompt take longer? How many times as long as a wide and shallow model does a
# narrow and deep one of its size take? What percent of decoding does the head take, in a model of half a billion
# parameters and 151,936 tokens? How much does a tiny draft gain?

# %%
guess = {"tokens": 8, "deep, prefill": 1.2, "deep, decode": 1.0, "head": 30, "draft": 1.5}

# %% [markdown]
# ## Build
# ### Bytes of a token
# A step of decoding reads each weight of its products once for all sequences of the batch, and each one's keys and
# values. Of an embedding that is not also the head, a token reads one row: next to nothing. `slmkit.count_parameters`
# has `non_embedding`, `token_embedding`, and `head`, 0 when tied.

# %%
def bytes_per_token(config, context, batch=1, bytes_per_number=4):
    """Bytes read for each token written when `batch` sequences decode at once, each with `context` tokens cached."""
    ### BEGIN SOLUTION
    count = slmkit.count_parameters(config)
    weights = count.non_embedding + (count.head or count.token_embedding)
    cache = 2 * config.n_layers * config.n_kv_heads * config.head_dim * context
    return bytes_per_number * (weights / batch + cache)
    ### END SOLUTION

# %% [markdown]
# ### The prompt at which the limits meet
# A prompt of $n$ tokens takes $2nW$ FLOPs with $W$ weights. It moves $b(W + nA)$ bytes: the weights once, $A$ numbers
# more for each token, $b$ bytes each. A short prompt waits for memory, and one token more costs almost nothing. From
# which $n$ on does its arithmetic take longer? There the roofline {cite}`williams2009roofline` turns.

# %%
def turning_prompt(weights, activations, bytes_per_number, flops, bandwidth):
    """The prompt length, not rounded, from which arithmetic is the limit; infinite if from none on. weights: numbers;
    activations: numbers moved for each token; flops: FLOP/s; bandwidth: bytes/s"""
    ### BEGIN SOLUTION
    each = 2 * weights / flops - bytes_per_number * activations / bandwidth
    return bytes_per_number * weights / bandwidth / each if each > 0 else math.inf
    ### END SOLUTION

# %%
check("14/bytes_per_token", bytes_per_token)
check("14/turning_prompt", turning_prompt)

# %% [markdown]
# ### Parts of the memory
# Weights are stored once, also those that layers or ends of the model share. Each layer keeps keys and values. Where
# the logits of many positions are held at once they count too: the survey's engine takes 512 rows (insight 98).

# %%
def memory_parts(config, tokens, rows, bytes_per_number=4):
    """Bytes of (the weights, a cache with room for `tokens` tokens, the logits of `rows` positions)"""
    ### BEGIN SOLUTION
    cache = 2 * config.n_layers * config.n_kv_heads * config.head_dim * tokens
    numbers = slmkit.count_parameters(config).total, cache, rows * config.vocab_size
    return tuple(bytes_per_number * number for number in numbers)
    ### END SOLUTION

# %% [markdown]
# ### A time that can be relied on
# Of raw repeats, report the median and the spread: third quartile minus first (as `np.percentile` has them), as a share
# of the median. If that is above `widest`, report nothing: raise a ValueError.

# %%
def steady(seconds, widest=0.25):
    """Repeats [n] -> (median, spread as a share of the median)"""
    ### BEGIN SOLUTION
    low, middle, high = np.percentile(seconds, (25, 50, 75))
    if (high - low) / middle > widest:
        raise ValueError(f"the middle half spreads over {(high - low) / middle:.0%} of the median")
    return middle, (high - low) / middle
    ### END SOLUTION

# %%
check("14/memory_parts", memory_parts)
check("14/steady", steady)

# %% [markdown]
# ### Guess and verify
# A small draft model proposes tokens, and the large one reads them all in one pass {cite}`leviathan2023speculative`. A
# token $x$, drawn from the draft's $q$, is kept if a uniform number is below $p(x)/q(x)$. If not, one is drawn from
# what $q$ gave too little of: $\max(0, p - q)$, made to sum to 1. Then what is written follows $p$ exactly.
# If each of $\gamma$ drafts is kept with chance $\alpha$, independently, the first refusal ends the run, and the target
# adds one token of its own. A draft costs `cost` steps of the target, its pass over all of them `verify` steps.

# %%
def accept(target, draft, token, uniform):
    """target, draft: probabilities [vocab]; token: id; uniform in [0, 1) -> (kept?, to draw from if not [vocab])"""
    ### BEGIN SOLUTION
    left = (target - draft).clamp(min=0)
    return bool(uniform < target[token] / draft[token]), left / left.sum()
    ### END SOLUTION

# %%
def speed_up(acceptance, drafted, cost, verify=1.0):
    """-> (expected tokens of a pass, times as fast as without drafts); drafted: γ"""
    ### BEGIN SOLUTION
    tokens = sum(acceptance**n for n in range(drafted + 1))
    return tokens, tokens / (drafted * cost + verify)
    ### END SOLUTION

# %%
check("14/accept", accept)
check("14/speed_up", speed_up)
p, q = torch.randn(2, 1000, dtype=torch.float64).softmax(-1)
assert torch.allclose((kept := torch.minimum(p, q)) + (1 - kept.sum()) * accept(p, q, int((q - p).argmax()), 0.9)[1], p)

# %% [markdown]
# ## Measure
# ### Longer prompts, longer contexts
# Weights are drawn at random: time does not depend on what they say. What is compared runs in turn, a seed's time is
# the median of its repeats. On one thread the clock is processor time.

# %%
peaks = measure_peaks(lab.device, (torch.float32,), array_bytes=lab.arrays)
(vocab, d, n, h), limit = lab.base, max(*lab.prompts, *lab.contexts)
base = slmkit.ModelConfig(vocab, d, n, h, max_context=limit + 16)
model = slmkit.Decoder(base).to(lab.device)
reads, steps = shapes.measure_lengths(model, lab.prompts, lab.contexts, lab.seeds, lab.repeats)
count = slmkit.count_parameters(base)
turn = turning_prompt(count.non_embedding, 2 * n * d, 4, peaks.peak_flops(), peaks.peak_bandwidth())
for name, runs, cost, more in (("prefill", reads, prefill_cost, {"turn": turn}), ("decode", steps, decode_cost, {})):
    medians = {f"ms_{size}": [1e3 * run[size].median for run in runs] for size in runs[0]}
    bounds = {f"roofline_{size}": 1e3 * cost(base, size).seconds(peaks) for size in runs[0]}
    widest = max(steady(timing.seconds, math.inf)[1] for run in runs for timing in run.values())
    finding(f"14-{name}", "ms; spread: the widest; turn: in tokens", **medians, **bounds, spread=widest, **more)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels with the measured times as points and the roofline's least times as a line. Left, prefill against the prompt's length, both axes logarithmic: flat for few tokens, then rising in proportion. Right, a step of decoding against the tokens of context: a straight line that begins at the time that the weights take."}}
figures_latency.lengths(reads, steps, base, peaks)
plt.show()

# %% [markdown]
# ### Published shapes
# Models of the survey, layers and vocabulary divided by one number: each layer keeps its shape, each part its share.
# Equal are the 50 tokens to read, 32 bits and the thread. Claims 72a and 73d compare shapes of about one size.

# %%
def timed(name, configs):
    found = shapes.measure_shapes(configs, lab.seeds, lab.repeats, device=lab.device)
    sizes = {f"parameters_{one}": slmkit.count_parameters(config).total for one, config in configs.items()}
    finding(f"14-{name}", "ms", **found, **sizes)
    return found, [*sizes.values()]

published, pair, unknown = (shapes.of_survey(shares, limit + 16) for shares in (
    dict.fromkeys(lab.models, lab.share), dict.fromkeys(six[1:3], lab.pair), lab.unknown))
times, sizes = timed("published", published)
fits = [np.corrcoef(sizes, row)[0, 1] ** 2 for row in zip(*shapes.of_phase("decode", times).values())]
note = f"shapes of the survey with 1/{lab.share} of layers and vocabulary"
record("C71a", shapes.ratio(times, lab.models[-1], lab.models[0]), unit="times", note=f"{note}, Qwen1.5-1.8B largest")
record("C73d", shapes.ratio(times, "Pythia-1.4B", "Qwen1.5-1.8B"), unit="times", note=note)
record("C75b", fits, note=note)
record("C72a", shapes.ratio(timed("pair", pair)[0], *six[2:0:-1]), unit="times", note=f"1/{lab.pair} of both")

# %% [markdown]
# ### One size, many shapes
# All have the base's unique parameters; the width of the FFN makes up for what else changes. For claim 78b, the other
# seeds pick the slowest and the fastest shape, so that noise alone gives no ratio above 1.

# %%
half, twice = ({"n_heads": heads, "n_kv_heads": heads} for heads in (h // 2, 2 * h))
changes = {"base": {}, "deep": {"d_model": d // 2, "n_layers": 4 * n} | half, "wide_ffn": half,
           "wide": {"d_model": 2 * d, "n_layers": n // 4} | twice, "large_vocabulary": {"vocab_size": 4 * vocab},
           "untied": {"tied_embeddings": False}}
one_size = {name: with_parameters(replace(base, **change), count.total) for name, change in changes.items()}
times, _ = timed("shapes", one_size)
prefill, decode = (shapes.of_phase(phase, times) for phase in shapes.PHASES)
held = "depth, heads against FFN, vocabulary, tied or not, at equal parameters"
record("C78b", shapes.slowest_over_fastest(prefill), unit="times", note=held)
record("C79a", np.divide(shapes.spread(prefill), shapes.spread(decode)), unit="times", note=f"of logarithms; {held}")
ratios = {f"{phase}_{name}": shapes.ratio(times, name, "base", phase) for phase in shapes.PHASES for name in one_size}
ratios |= {f"bytes_{name}": decode_cost(one_size[name], 75).bytes / decode_cost(base, 75).bytes for name in one_size}
finding("14-ratios", "times the base's time, or bytes of a step", **ratios,
        **{f"deep_over_wide_{phase}": shapes.ratio(times, "deep", "wide", phase) for phase in shapes.PHASES})

# %% tags=["hide-input"] mystnb={"image": {"alt": "Time of prefill and of a step of decoding as a multiple of the base's, a row for each shape of one size: base, deep, wide, wide FFN, large vocabulary, untied; a marker for each seed, and a bar for the bytes that a step reads."}}
figures_latency.shapes(ratios)
plt.show()

# %% [markdown]
# ### The time of a step, predicted
# Four constants are fitted to the published, the deep and the wide shapes: a factor on the roofline, seconds a row of a
# matrix, seconds a layer, seconds a step. They then predict models that the fit has not seen.

# %%
known = published | {name: one_size[name] for name in ("deep", "wide")}
ceilings = measure_peaks("cpu", (torch.float32,), array_bytes=lab.arrays)
known_s, unknown_s = ({name: timing.median for name, timing in measure_decoding(configs, 75, 8, lab.repeats).items()}
                      for configs in (known, unknown))
fitted = fit_decode_model(known, known_s, ceilings, 75)
finding("14-model", "ms; residual: percent of the prediction, on models not fitted to", constants=str(fitted),
        **{f"predicted_{name}": 1e3 * fitted.predict(config, 75) for name, config in unknown.items()},
        **{f"measured_{name}": 1e3 * seconds for name, seconds in unknown_s.items()},
        **{f"residual_{name}": 100 * part for name, part in fitted.residuals(unknown, unknown_s, 75).items()})

# %% [markdown]
# ### By module and by operator
# The profiler opens a range around each part. For claim 100, over reading 50 tokens and writing 50, products with
# weights count; what attention's own kernel multiplies does not.

# %%
built = {name: slmkit.Decoder(config).to(lab.device) for name, config in pair.items()}
cuts = shapes.measure_breakdowns(built, lab.seeds, prompt=50, new_tokens=lab.new_tokens, repeats=2)
for (phase, name), runs in cuts.items():
    for kind in ("module", "operator"):
        shares = [getattr(run, f"{kind}_shares") for run in runs]
        rows = {part: [100 * share.get(part, 0.0) for share in shares] for part in [*shares[0]][:7]}
        finding(f"14-{kind}s-{phase}-{name}", "percent", **rows)
record("C94", [100 * run.module_shares["head"] for run in cuts["decode", six[1]]], unit="percent", note="in 32 bits")
shares = [shapes.products_share(cuts, name, 49) for name in built]
record("C100", 100 * np.mean(shares, axis=0), unit="percent", note="mean of the Qwen1.5-0.5B and Qwen2-0.5B shapes")

# %% [markdown]
# ### Memory by part
# Predicted from the configuration, then measured, with the logits of the whole prompt.

# %%
for name, one in (built | {"base": model}).items():
    asked = (lab.prompts[-1], 16)
    told, found = memory_by_part(one.config, *asked, all_logits=True), measure_memory(one, *asked, all_logits=True)
    assert memory_parts(one.config, sum(asked) - 1, asked[0]) == (found.weights, found.cache, found.logits)
    errors = [100 * abs(a / b - 1) for a, b in zip(asdict(told).values(), asdict(found).values()) if b]
    finding(f"14-memory-{name}", "MB; largest error of a part in percent", **found.columns(), error=max(errors))

# %% [markdown]
# ### Does the draft pay?
# Two decoders learn the same text. What the small one costs and how often it is right tell the gain beforehand.

# %%
tokenizer, data = prepare(*lab.text)
training = slmkit.TrainingConfig(lab.steps, 16, 64, learning_rate=4e-3, precision="fp32", evaluate_tokens=4096)
target, draft = (slmkit.Decoder(slmkit.ModelConfig(lab.text[1], *size, max_context=256)).to(lab.device)
                 for size in lab.draft)
for one in (target, draft):
    lab.train(one, data, training)
prompts = [data.held_out.tokens[None, 500 * i : 500 * i + 64].long().to(lab.device) for i in range(len(lab.seeds))]
gains = {k: measure_speculation(target, draft, prompts, k, lab.written, lab.repeats) for k in (1, 2, 4, 8)}
for k, made in gains.items():
    made["predicted"] = [speed_up(a, k, c, v)[1] for a, c, v in zip(made["acceptance"], made["cost"], made["verify"])]
    finding(f"14-speculative-{k}", "gain: times as fast as the target alone", **made)

# %% tags=["hide-input"] mystnb={"image": {"alt": "How many times as fast as the target alone, against the number of drafted tokens: the gain predicted from acceptance and costs, and the gain measured, a marker for each prompt, beside a line at one, where nothing is won."}}
figures_latency.gains(gains)
plt.show()
print("your guesses:", guess)

# %% [markdown]
# ## Verdict
# Judged on one thread at 32 bits; the survey's engine has 4 bits and a GPU. In PyTorch a layer costs its calls too,
# whatever its width: a short step of a deep model feels them most, and claim 79a with it. **To take further.** Give the
# draft half its width: does the gain rise? **Open.** Which operator would you make faster for eight tokens, and why?
