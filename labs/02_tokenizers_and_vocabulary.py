# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tokenizers and vocabulary
#
# **Question.** The survey counts 68% of its models at a vocabulary of up to 50k, and calls more than 50k typical of the
# newest (section 2.2). It finds that the models with the largest ones need the most memory for their size (section
# 4.1). What does a larger vocabulary buy, and what does it cost?

# %%
import json
import math
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas
import torch
from tokenizers.pre_tokenizers import ByteLevel

import slmkit
from slmkit.course import check, comparison, finding, start
from slmkit.data.corpora import load
from slmkit.data.prepared import prepare
from slmkit.data.tokenizer import END_OF_TEXT, Tokenizer
from slmkit.profiling import decode_cost, measure_peaks, measure_steps, order_agreement
from slmkit.survey.evidence import memory
from slmkit.survey.evidence.estimates import fit
from slmkit.training.sweep import Arm, paired, with_parameters

lab = start("02", profiles={
    "smoke": {"corpus": "tinyworld", "learned": 100, "entries": 400, "vocabularies": (320, 512), "beyond": (2048,),
              "wide": 64, "repeats": 3, "documents": 20, "rows": 4, "d_model": 32, "layers": 1, "parameters": 40_000,
              "text": 20_000, "flops": 1e9, "factors": (1.0,), "seeds": (0, 1)},
    "cpu": {"corpus": "speeches", "learned": 4, "entries": 1024, "vocabularies": (512, 1024, 4096), "beyond":
            (32768, 131072), "wide": 256, "repeats": 15, "documents": 3, "rows": 16, "d_model": 64, "layers": 2,
            "parameters": 350_000, "text": 200_000, "flops": 2e11, "factors": (1.0,), "seeds": (0, 1, 2)},
    "full": {"corpus": "speeches", "learned": 12, "entries": 2048, "vocabularies": (512, 1024, 4096, 16384), "beyond":
             (65536, 262144), "wide": 256, "repeats": 31, "documents": 5, "rows": 16, "d_model": 96, "layers": 4,
             "parameters": 750_000, "text": 600_000, "flops": 1e12, "factors": (0.5, 1.0, 2.0),
             "seeds": tuple(range(5))},
})  # fmt: skip

# %% [markdown]
# ## Predict
#
# Which vocabulary ends with the fewest bits a byte at equal parameters? At equal FLOPs? After equal time?

# %%
guess = {"parameters": 1024, "compute": 1024, "time": 1024}

# %% [markdown]
# ## Build: byte-pair encoding
#
# Text is cut into words, each with the space before it, and words into bytes; GPT-2 writes each byte as one visible
# character, the space as Ġ. Then the most frequent pair of neighbours becomes a new token, again and again
# {cite}`sennrich2015bpe`. Of equally frequent pairs, take the one whose left token stands first in the vocabulary, then
# the one whose right token does: so does `tokenizers`, with which yours is compared, merge by merge.


# %%
def count_pairs(words):
    """words: {tuple of tokens: how often the text has this word} -> {(left, right): how often these are neighbours}"""
    ### BEGIN SOLUTION
    pairs = Counter()
    for word, times in words.items():
        for pair in pairwise(word):
            pairs[pair] += times
    return pairs
    ### END SOLUTION


def merge(word, pair):
    """The word, a tuple of tokens, with each `pair` from the left as one token, the two strings joined."""
    ### BEGIN SOLUTION
    merged, i = [], 0
    while i < len(word):
        found = word[i : i + 2] == pair
        merged.append("".join(pair) if found else word[i])
        i += 2 if found else 1
    return tuple(merged)
    ### END SOLUTION


def train_bpe(words, vocabulary, size):
    """The pairs merged, in order, until `vocabulary` (a list of tokens) has grown to `size`, or no pair is left."""
    ### BEGIN SOLUTION
    place, merges = {token: i for i, token in enumerate(vocabulary)}, []
    while len(place) < size and (pairs := count_pairs(words)):
        best = min(pairs, key=lambda pair: (-pairs[pair], place[pair[0]], place[pair[1]]))
        merges.append(best)
        place.setdefault("".join(best), len(place))
        words = {merge(word, best): times for word, times in words.items()}
    return merges
    ### END SOLUTION


# %%
check("02/count_pairs", count_pairs)
check("02/merge", merge)
check("02/train_bpe", train_bpe)
corpus = load(lab.corpus)
theirs = Tokenizer.train(texts := corpus.train[: lab.learned], lab.entries)
split = theirs.backend.pre_tokenizer.pre_tokenize_str
words = Counter(tuple(word) for text in texts for word, _ in split(text))
merges = train_bpe(words, [END_OF_TEXT, *sorted(ByteLevel.alphabet())], lab.entries)
assert merges == [tuple(pair) for pair in json.loads(theirs.backend.to_str())["model"]["merges"]]
print(f"{len(merges)} merges from {len(words):,} words, equal to those of `tokenizers`, one by one")
print("the first:", *map("".join, merges[:12]), "· the last:", *map("".join, merges[-8:]))

# %% [markdown]
# **Encoding.** A new text is not searched for the longest tokens: merges are replayed in the order of learning.


# %%
def encode(word, merges):
    """The tokens of a string, as a tuple: every merge of the list that applies, in the order of the list."""
    ### BEGIN SOLUTION
    tokens, order = tuple(word), {pair: i for i, pair in enumerate(merges)}
    while known := [pair for pair in pairwise(tokens) if pair in order]:
        tokens = merge(tokens, min(known, key=order.get))
    return tokens
    ### END SOLUTION


# %%
check("02/encode", encode)
unseen = corpus.held_out[0]
yours = [theirs.backend.token_to_id(token) for word, _ in split(unseen) for token in encode(word, merges)]
assert yours == theirs.encode(unseen)
print(f"{len(unseen.encode()):,} bytes of unseen text: {len(yours):,} tokens, the same as those of `tokenizers`")

# %% [markdown]
# ### What it buys, what it costs
#
# Fewer tokens write the same text; each says more, so the loss of a *token* grows and only that a *byte* compares. Each
# entry is a row of the embedding, and of the head unless they are tied. The head gives each token a number an entry.


# %%
def bits_per_byte(nats, tokens, text_bytes):
    """From a mean loss in nats a token, over `tokens` tokens that write `text_bytes` bytes."""
    ### BEGIN SOLUTION
    return nats / math.log(2) * tokens / text_bytes
    ### END SOLUTION


def embedding_share(entries, width, others, tied):
    """The share of embedding and head in all parameters; `others` counts those of everything else."""
    ### BEGIN SOLUTION
    embedding = entries * width * (1 if tied else 2)
    return embedding / (embedding + others)
    ### END SOLUTION


def logits_bytes(entries, texts, tokens, bytes_per_number=4):
    """Bytes of the logits of `texts` texts, each of `tokens` tokens."""
    ### BEGIN SOLUTION
    return entries * texts * tokens * bytes_per_number
    ### END SOLUTION


# %%
check("02/bits_per_byte", bits_per_byte)
check("02/embedding_share", embedding_share)
check("02/logits_bytes", logits_bytes)
prepared, smallest = {size: prepare(lab.corpus, size) for size in lab.vocabularies}, lab.vocabularies[0]
bytes_per_token = {v: data.train.text_bytes / len(data.train) for v, (_, data) in prepared.items()}
finding("02-bytes-per-token", "training text", **{str(v): size for v, size in bytes_per_token.items()})
row, model = prepared[smallest][1].held_out, slmkit.Decoder(slmkit.ModelConfig(smallest, 32, 1, 4))
ids = torch.cat((row.tokens[-1:], row.tokens[:64])).long()
nats = torch.nn.functional.cross_entropy((logits := model(ids[None, :-1]))[0], ids[1:]).item()
yours = bits_per_byte(nats, 64, row.text_bytes * 64 / len(row))
ours = slmkit.evaluation.bits_per_byte(model, row, context=64, max_tokens=64)
print(f"an untrained decoder: {yours:.4f} bits a byte by your formula, {ours:.4f} by slmkit's")
torch.testing.assert_close(yours, ours, rtol=1e-4, atol=0)
assert logits.nbytes == logits_bytes(smallest, 1, 64)

# %% [markdown]
# At real size, the embedding grows with width, the layers with width squared times depth. So a vocabulary of 150k is a
# large part of a small model and a small part of a large one {cite}`tao2024vocabulary`. And memory at 2048 tokens?

# %%
shares, claims = {}, slmkit.survey.claims().set_index("id")
for name in ("SmolLM-135M", "Qwen2-0.5B", "Bloom-560M", "TinyLlama-1.1B", "Gemma-2B", "MiniCPM-2B"):
    real, counted = slmkit.survey.config(name), slmkit.count_parameters(slmkit.survey.config(name))
    yours = partial(embedding_share, width=real.d_model, others=counted.non_embedding, tied=real.tied_embeddings)
    assert math.isclose(yours(real.vocab_size), counted.embedding / counted.total)
    shares[name] = {"own": yours(real.vocab_size)} | {n: yours(n) for n in (32_000, 50_257, 151_936, 256_000)}
print("Share of embedding and head, own vocabulary or another:", pandas.DataFrame(shares).T.round(2), sep="\n")
for name in ("C22", "C22a", "C23", "C76", "C80", "C80a"):
    print(f"{name}: {claims.statement[name]} Found {claims.value[name]}: {claims.verdict[name]}")
engine, total = zip(*memory.totals().values())
logits = {n: logits_bytes(int(memory.row_of(n)["vocab_size"]), 1, memory.UBATCH) / memory.MIB for n in memory.totals()}
for name in ("Bloom-560M", "Bloom-1B1", "Gemma-2B", "Qwen2-0.5B", "Pythia-1.4B", "OpenELM-1.1B"):
    print(f"{name}: {logits[name]:.0f} MiB of logits, by formula; of buffer", memory.parts()[name, "compute buffer"])
rest = [whole - part for whole, part in zip(total, logits.values())]
finding("02-memory", "R² of a line by parameters", measured=fit(engine, total), without_logits=fit(engine, rest))

# %% [markdown]
# The engine reads a prompt in portions of 512 tokens and keeps the logits of them all. That, and not the size of the
# embedding, puts Bloom above the line: without the logits, a line through all models fits better.
#
# ## Measure
#
# **Decode time.** One more token, on layers of equal size: every row of the head is read. Is the roofline's order right
# ({doc}`lab 00 <00_your_machine>`)? What it puts wrong are small models, where calls cost more than bytes.

# %%
sizes, contexts = (*lab.vocabularies, *lab.beyond), (64, 512)
configs = {v: slmkit.ModelConfig(v, lab.wide, 4, 4, max_context=contexts[-1]) for v in sizes}
decoders = {v: slmkit.Decoder(config) for v, config in configs.items()}
steps = {(v, n): time for n in contexts for v, time in measure_steps(decoders, n, lab.repeats).items()}
del decoders
peaks = measure_peaks(dtypes=(torch.float32,), sides=(256,), array_bytes=(2**22, 2**25, 2**27))
predicted = {f"{v} at {n}": decode_cost(configs[v], n, torch.float32).seconds(peaks) for v, n in steps}
order = order_agreement(predicted, {f"{v} at {n}": time.median for (v, n), time in steps.items()})
finding("02-order", **order._asdict())
finding("02-decode", "ms a token after 64", **{str(v): 1e3 * steps[v, 64].median for v in sizes})
finding("02-decode-byte", "µs a byte", **{str(v): 1e6 * steps[v, 64].median / bytes_per_token[v] for v in prepared})

# %% [markdown]
# ### Loss: three kinds of equal
#
# *Equal parameters*: a larger embedding leaves narrower layers; all read the same text. *Equal compute*: the layers
# stay, the embedding comes on top, and a costlier head leaves fewer steps. *Equal time*: the same decoders after equal
# processor time, between a run of a third of the FLOPs and the full one. `full` tunes the rate of each.


# %%
def arm(model, tokens):
    """Each step reads about as many bytes of text, whatever the vocabulary; at the end, all read the same documents."""
    rows = round(lab.rows * bytes_per_token[smallest] / bytes_per_token[model.vocab_size])
    return Arm(model, slmkit.TrainingConfig(
        steps=round(tokens / (64 * rows)), batch_size=rows, context=64, learning_rate=1e-2,
        evaluate_tokens=ends[model.vocab_size]), lab.corpus)  # fmt: skip


decoder = partial(slmkit.ModelConfig, n_layers=lab.layers, n_heads=4, max_context=64)
ends = {v: 1 + (data.held_out.tokens.long() == tokenizer.end_of_text).nonzero()[lab.documents - 1].item()
        for v, (tokenizer, data) in prepared.items()}  # fmt: skip
arms = {}
for v in lab.vocabularies:
    fits = [d for d in range(8, 512, 8) if slmkit.count_parameters(decoder(v, d)).total <= lab.parameters]
    fitted, body = with_parameters(decoder(v, fits[-1]), lab.parameters), decoder(v, lab.d_model)
    arms["parameters", str(v)] = arm(fitted, lab.text / bytes_per_token[v])
    arms["short", str(v)] = arm(body, lab.flops / 3 / slmkit.flops_per_token(body, 64, "training"))
arms = lab.tuned(arms, lab.factors, lab.seeds[:1])
for v in map(str, lab.vocabularies):
    longer = replace(arms["short", v].training, steps=3 * arms["short", v].training.steps, warmup=None)
    arms["compute", v] = arms["short", v]._replace(training=longer)
table = lab.sweep({" ".join(name): arm for name, arm in arms.items()}, lab.seeds)
table[["kind", "arm"]] = table.arm.str.split(expand=True)
size = sum(len(text.encode()) for text in corpus.held_out[: lab.documents])
for v, (_, data) in prepared.items():  # the sweep divides by the mean bytes of so many tokens, not by those read
    table.loc[table.arm == str(v), "bits_per_byte"] *= data.held_out.text_bytes * ends[v] / len(data.held_out) / size
runs, base = {kind: some.reset_index(drop=True) for kind, some in table.groupby("kind")}, str(smallest)
comparison("02-vocabulary-parameters", runs["parameters"], base, "parameters, depth, text read, text a step")
comparison("02-vocabulary-compute", runs["compute"], base, "training FLOPs, width, depth, text a step")
short, long = runs.pop("short"), runs["compute"]
seconds = math.sqrt(short.groupby("arm").cpu_s.mean().max() * long.groupby("arm").cpu_s.mean().min())
share = (math.log(seconds) - short.cpu_s.map(math.log)) / (long.cpu_s / short.cpu_s).map(math.log)
between = short.bits_per_byte + share * (long.bits_per_byte - short.bits_per_byte)
runs["time"] = long.assign(bits_per_byte=between, cpu_s=seconds)
comparison("02-vocabulary-time", runs["time"], base, "processor time of training, width, depth, text a step")
best = {kind: int(some.groupby("arm").bits_per_byte.mean().idxmin()) for kind, some in runs.items()}
finding("02-best", f"the vocabulary of fewest bits per byte; guessed {guess}", **best)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels against the vocabulary. Left, the difference in bits per byte to the smallest vocabulary with 95% intervals, a line each for equal parameters, equal compute and equal time. Right, the time to decode one token stays level for small vocabularies and then rises steeply; the line of the roofline lies below."}}
figure, (loss, time) = plt.subplots(1, 2, figsize=(8.4, 3.8))
for (kind, some), marker in zip(runs.items(), "os^"):
    found = paired(some, base)
    spread = found[["low", "high"]].sub(found["mean"], axis=0).abs().T
    loss.errorbar(found.index, found["mean"], spread, fmt=f"{marker}-", capsize=3, label=f"equal {kind}")
loss.axhline(0, color="black", linewidth=1)
loss.set_ylabel(f"bits per byte, difference to {base} entries")
time.plot(sizes, [1e3 * steps[v, 64].median for v in sizes], "o-", label="measured")
time.plot(sizes, [1e3 * predicted[f"{v} at 64"] for v in sizes], "s--", label="roofline")
time.set(ylabel="processor time a token (ms)", yscale="log", xscale="log")
for axes in (loss, time):
    axes.set_xlabel("vocabulary (entries)")
    axes.legend()
plt.show()

# %% [markdown]
# ## Verdict
#
# Claims 22, 23, 76 and 80 are judged above. The losses are of small decoders and short runs. Text in *sight* is equal
# nowhere: 64 tokens of a larger vocabulary are more bytes. A report of one kind of equal tells a third of the story.
#
# **To take further.** Yours counts all pairs after each merge. Count only what a merge changes, and train on ten times
# the text. **Open.** At equal parameters, does a wider model move the best vocabulary up, as the table of shares says?
