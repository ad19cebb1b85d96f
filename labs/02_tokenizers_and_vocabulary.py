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
# **Question.** The survey counts most models at a vocabulary of up to 50k and calls more than 50k typical of the newest
# (section 2.2). What does a larger vocabulary buy, and what does it cost?

# %%
import math
from dataclasses import replace

import slmkit
from slmkit.course import comparison, start
from slmkit.data.prepared import prepare
from slmkit.training.sweep import Arm, with_parameters

lab = start("02", profiles={
    "smoke": {"corpus": "tinyworld", "vocabularies": (320, 512), "documents": 20, "rows": 4, "d_model": 32, "layers": 1,
              "parameters": 40_000, "text": 20_000, "flops": 1e9, "factors": (1.0,), "seeds": (0, 1)},
    "cpu": {"corpus": "speeches", "vocabularies": (512, 1024, 4096), "documents": 3, "rows": 16, "d_model": 64,
            "layers": 2, "parameters": 350_000, "text": 200_000, "flops": 2e11, "factors": (1.0,), "seeds": (0, 1, 2)},
    "full": {"corpus": "speeches", "vocabularies": (512, 1024, 4096, 16384), "documents": 5, "rows": 16, "d_model": 96,
             "layers": 4, "parameters": 750_000, "text": 600_000, "flops": 1e12, "factors": (0.5, 1.0, 2.0),
             "seeds": tuple(range(5))},
})  # fmt: skip
prepared = {vocabulary: prepare(lab.corpus, vocabulary) for vocabulary in lab.vocabularies}
bytes_per_token = {v: data.train.text_bytes / len(data.train) for v, (_, data) in prepared.items()}

# %% [markdown]
# ## Measure


# %%
def decoder(vocabulary, d_model=lab.d_model):
    return slmkit.ModelConfig(vocabulary, d_model, lab.layers, n_heads=4, max_context=64)


def fitted(vocabulary):
    """The widest decoder of at most lab.parameters; what is left over goes into its FFN."""
    widths = range(8, 1024, 8)
    fits = [w for w in widths if slmkit.count_parameters(decoder(vocabulary, w)).total <= lab.parameters]
    return with_parameters(decoder(vocabulary, fits[-1]), lab.parameters)


def first_documents(vocabulary):
    """Tokens of the first held-out documents: the same text for every vocabulary."""
    tokenizer, data = prepared[vocabulary]
    return 1 + int((data.held_out.tokens.long() == tokenizer.end_of_text).nonzero()[lab.documents - 1])


def arm(model, tokens):
    """Each step reads about as many bytes of text, whatever the vocabulary."""
    v = model.vocab_size
    rows = round(lab.rows * bytes_per_token[lab.vocabularies[0]] / bytes_per_token[v])
    training = slmkit.TrainingConfig(steps=round(tokens / (64 * rows)), batch_size=rows, context=64, learning_rate=1e-2,
                                     evaluate_tokens=first_documents(v))  # fmt: skip
    return Arm(model, training, lab.corpus)


def swept(arms):
    """One row a run; bits are divided by the bytes of exactly the documents read."""
    table = lab.sweep(arms, lab.seeds)
    documents = slmkit.data.corpora.load(lab.corpus).held_out[: lab.documents]
    for v in lab.vocabularies:
        row = prepared[v][1].held_out
        supposed = row.text_bytes * first_documents(v) / len(row)  # the row's mean
        table.loc[table.arm == str(v), "bits_per_byte"] *= supposed / sum(len(text.encode()) for text in documents)
    return table


base = str(lab.vocabularies[0])
arms = {str(v): arm(fitted(v), lab.text / bytes_per_token[v]) for v in lab.vocabularies}
arms = lab.tuned(arms, lab.factors, lab.seeds[:1])
by_parameters = swept(arms)
comparison("02-vocabulary-parameters", by_parameters, base, "parameters, depth, text read, text a step")

# %%
cost = {v: slmkit.flops_per_token(decoder(v), 64, "training") for v in lab.vocabularies}
short = {str(v): arm(decoder(v), lab.flops / 3 / cost[v]) for v in lab.vocabularies}
short = lab.tuned(short, lab.factors, lab.seeds[:1])
long = {v: a._replace(training=replace(a.training, steps=3 * a.training.steps, warmup=None)) for v, a in short.items()}
by_compute, shorter = swept(long), swept(short)
comparison("02-vocabulary-compute", by_compute, base, "FLOPs, width, depth, text a step")

# %%
least, most = shorter.groupby("arm").cpu_s.mean().max(), by_compute.groupby("arm").cpu_s.mean().min()
seconds = math.sqrt(least * most)
by_time = by_compute.copy()
for i, (few, many) in enumerate(zip(shorter.itertuples(), by_compute.itertuples())):
    share = math.log(seconds / few.cpu_s) / math.log(many.cpu_s / few.cpu_s)
    by_time.loc[i, "bits_per_byte"] = few.bits_per_byte + share * (many.bits_per_byte - few.bits_per_byte)
by_time["cpu_s"] = seconds
comparison("02-vocabulary-time", by_time, base, "processor time (interpolated), width, depth, text a step")
