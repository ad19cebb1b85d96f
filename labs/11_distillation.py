# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Distillation
#
# **Question.** In knowledge distillation, says section 2.4 of the survey, a student learns to approximate its teacher:
# the difference of their outputs is made small. Its examples are LaMini-GPT and Gemma-2. Does the student come nearer
# to its teacher, and does it become a better model of the *text*, with few tokens and with plenty?

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas
import torch
import torch.nn.functional as F

import slmkit
from slmkit.course import check, comparison, finding, record, start
from slmkit.data import corpora
from slmkit.data.packing import TokenData, TokenRow
from slmkit.data.prepared import prepare
from slmkit.training import distillation as ours
from slmkit.training.sweep import paired

# fmt: off
less = {"losses": ("forward",), "online": ("forward",), "ks": (8,), "temperatures": (1.0,)}
more = {"losses": ("forward", "reverse", "JSD", "T = 2", "T = 4", "half real"), "ks": (2, 8, 32),
        "online": ("forward", "half real", "on-policy"), "temperatures": (1.0, 0.7)}
same = {"corpus": "speeches", "context": 64, "student": (64, 2)}
lab = start("11", profiles={
    "smoke": less | {"corpus": "tinyworld", "vocab": 300, "context": 16, "student": (16, 1), "teacher": (32, 1, 8),
                     "others": {"early": (32, 1, 2)}, "few": 1000, "steps": 4, "plenty": 4, "real": (300, 4, 2, 8),
                     "seeds": (0, 1)},
    "cpu": less | same | {"vocab": 512, "teacher": (128, 3, 360), "others": {"early": (128, 3, 40)}, "few": 16384,
                          "steps": 90, "plenty": 80, "real": (600, 32, 10, 64), "seeds": (0, 1, 2)},
    "full": more | same | {"vocab": 1024, "teacher": (192, 4, 1200), "few": 32768, "steps": 320, "plenty": 400,
                           "others": {"early": (192, 4, 120), "middle": (96, 3, 1200), "as small": (64, 2, 1200)},
                           "real": (16000, 64, 120, 64), "seeds": tuple(range(5))},
})

# %% [markdown]
# ## Predict
#
# Bits per byte that a student gains from its teacher when it reads few tokens again and again, and when each token is
# new. And if, in the second case, the plain student trains on for as long as the distilled one computes?

# %%
guess = {"few": 0.1, "plenty": 0.1, "compute": 0.0}

# %% [markdown]
# ## Build
#
# ### The loss and its gradient
#
# Let $p$ and $q$ be the softmaxes of the teacher's and the student's logits, divided by a temperature $T$. The loss
# {cite}`hinton2015distilling` is $T^2 \,\mathrm{KL}(p \,\|\, q) = T^2 \sum_i p_i \log(p_i / q_i)$, the mean over
# tokens. By the student's logits its gradient is $T\,(q - p)$ over the number of tokens.

# %%
def forward_kl(student, teacher, temperature=1.0):
    """Logits [tokens, vocab] of both -> T² KL(teacher ‖ student), the mean over tokens"""
    ### BEGIN SOLUTION
    p, q = ((logits / temperature).log_softmax(-1) for logits in (teacher, student))
    return temperature**2 * (p.exp() * (p - q)).sum(-1).mean()
    ### END SOLUTION

# %%
check("11/forward_kl", forward_kl)

# %%
def gradient(student, teacher, temperature=1.0):
    """Of forward_kl by the student's logits [tokens, vocab], without autograd"""
    ### BEGIN SOLUTION
    p, q = ((logits / temperature).softmax(-1) for logits in (teacher, student))
    return temperature * (q - p) / len(student)
    ### END SOLUTION

# %%
check("11/gradient", gradient)
student, teacher = 2 * torch.randn(2, 7, 40, dtype=torch.float64)
for T in (1, 4, 16):
    z = student.clone().requires_grad_()
    forward_kl(z, teacher, T).backward()
    theirs = F.kl_div(F.log_softmax(student / T, -1), F.softmax(teacher / T, -1), reduction="batchmean")
    torch.testing.assert_close(gradient(student, teacher, T), z.grad)
    torch.testing.assert_close(forward_kl(student, teacher, T), T**2 * theirs)
    print(f"T = {T:g}: size of the gradient {z.grad.norm():.3f}, without T² {z.grad.norm() / T**2:.4f}")

# %% [markdown]
# ### Which way round
#
# $\mathrm{KL}(p \,\|\, q)$ is large where the teacher sees what the student does not: the student must *cover*. The
# *reverse* $\mathrm{KL}(q \,\|\, p)$ is large where the student says what the teacher would not: it *seeks* one peak.
# Between them lies the generalized Jensen-Shannon divergence {cite}`agarwal2023gkd`, with the mixture $m = \beta p +
# (1 - \beta) q$: $\;\beta\,\mathrm{KL}(p \,\|\, m) + (1 - \beta)\,\mathrm{KL}(q \,\|\, m)$. Let $\beta = 0$ and 1 give
# the forward and the reverse KL, to which it tends when it is divided by $\beta$ or $1 - \beta$.

# %%
def jensen_shannon(student, teacher, beta):
    """Log-probabilities [..., vocab] of both -> [...]; beta = 0 is the forward KL, 1 the reverse"""
    ### BEGIN SOLUTION
    p, q = teacher.exp(), student.exp()
    if beta in (0, 1):
        return (q * (student - teacher)).sum(-1) if beta else (p * (teacher - student)).sum(-1)
    m = (beta * p + (1 - beta) * q).log()
    return (beta * p * (teacher - m) + (1 - beta) * q * (student - m)).sum(-1)
    ### END SOLUTION

# %%
check("11/jensen_shannon", jensen_shannon)
q, p = student.log_softmax(-1), teacher.log_softmax(-1)
for beta in (0, 0.1, 0.5, 1):
    torch.testing.assert_close(jensen_shannon(q, p, beta), ours.jensen_shannon(q, p, beta))

# %% [markdown]
# ### Asked once, stored
#
# Asking the teacher at every step costs more than the student. Its answers can be stored: all, with 16 bits for each
# entry of the vocabulary, or the $k$ likeliest, and one number more for *all other tokens together*. Joining tokens
# hides differences and invents none, so that this loss is at most the whole one. Inside the bucket nothing is taught.

# %%
def bucketed(log_probs, ids):
    """log_probs [..., vocab], ids [..., k] -> [..., k + 1]: those of the ids, and last that of all other tokens"""
    ### BEGIN SOLUTION
    rest = log_probs.scatter(-1, ids, float("-inf")).logsumexp(-1, keepdim=True)
    return torch.cat((log_probs.gather(-1, ids), rest), -1)
    ### END SOLUTION

# %%
check("11/bucketed", bucketed)
torch.testing.assert_close(bucketed(p, top := p.topk(8).indices), ours.bucketed(p, top))

# %%
def stored_bytes(tokens, vocab, k=None):
    """2 bytes for each log-probability, all or k and the rest's; 2 for each id, or 4 in a vocabulary above 65536"""
    ### BEGIN SOLUTION
    return 2 * tokens * vocab if k is None else tokens * (2 * (k + 1) + (2 if vocab <= 65536 else 4) * k)
    ### END SOLUTION

# %%
check("11/stored_bytes", stored_bytes)
assert stored_bytes(100, 10**5, 8) == ours.stored_bytes(100, 10**5, 8)

# %% [markdown]
# ## Measure
#
# The teachers have read the whole training text, the students' part included. All runs have one schedule, and a rate
# that depends on the width alone. Held-out bits are the lowest of five readings during a run, for every arm.

# %%
tokenizer, data = prepare(lab.corpus, lab.vocab)
tables, sizes = {}, {"teacher": lab.teacher} | lab.others
OPTIONS = {"forward": {}, "reverse": {"beta": 1}, "JSD": {"beta": 0.5}, "T = 2": {"temperature": 2.0},
           "T = 4": {"temperature": 4.0}, "half real": {"hard": 0.5}, "on-policy": {"own": 0.5}}

def shape(d_model, layers):
    return slmkit.ModelConfig(lab.vocab, d_model, layers, 4, tied_embeddings=False, max_context=lab.context)

def packed(documents, tokenizer):
    ids = [i for document in tokenizer.encode_documents(documents) for i in (*document, tokenizer.end_of_text)]
    return TokenRow(torch.tensor(ids), len("".join(documents).encode()), tokenizer.digest, tokenizer.vocab_size)

def run(config, row, steps, objective=None, seed=0, held_out=None, batch=16):
    """Trains a model, once; returns it with what a comparison needs"""
    torch.manual_seed(seed)
    model, rate = slmkit.Decoder(config), min(1.2e-2, 0.75 / config.d_model)
    training = slmkit.TrainingConfig(steps, batch, config.max_context, learning_rate=rate, precision="fp32", seed=seed,
                                     evaluate_every=max(1, steps // 5), evaluate_tokens=min(16384, lab.few // 2))
    history = lab.train(model, TokenData(row, held_out or data.held_out), training, objective)
    return model, {"seed": seed, "parameters": slmkit.count_parameters(config).total, "cpu_s": history.cpu_seconds,
                   "bits_per_byte": min(bits for _, bits in history.held_out)}

def trial(name, base, equal, arms, config=None, **options):
    """Runs arms, {name: (row, steps, objective)}, on each seed and compares them with the base; returns the models"""
    made = {(arm, seed): run(config or shape(*lab.student), *given, seed=seed, **options)
            for arm, given in arms.items() for seed in lab.seeds}
    tables[name] = pandas.DataFrame([measured | {"arm": arm} for (arm, _), (_, measured) in made.items()]), base
    comparison(f"11-{name}", *tables[name], f"parameters, schedule, {equal}")
    return {arm: [made[arm, seed][0] for seed in lab.seeds] for arm in arms}

@torch.no_grad()
def apart(models, outputs):
    """KL from the stored teacher to each model, in nats a token"""
    context = models[0].config.max_context
    batch = outputs.batches(min(64, len(outputs.row) // context - 2), context)(0)
    return [ours.DistillationLoss(model, outputs)(*batch).item() for model in models]

teachers = {name: run(shape(*size), data.train, steps) for name, (*size, steps) in sizes.items()}
for part in ("parameters", "bits_per_byte"):
    finding(f"11-teachers-{part}", **{name: made[part] for name, (_, made) in teachers.items()})
teacher, _ = teachers.pop("teacher")

# %% [markdown]
# ### Few tokens
#
# Pieces from all over the text, read for many epochs: alone, with stored answers in each form, and with those of other
# teachers, less trained or smaller. (The time of training leaves out that of asking.)

# %%
starts = torch.linspace(0, len(data.train.tokens) - 513, lab.few // 512 + 1).long()
few = replace(data.train, tokens=torch.cat([data.train.tokens[s : s + 512] for s in starts]))
asked = {name: dict(teacher=teacher, temperature=OPTIONS[name].get("temperature", 1.0)) for name in lab.losses}
asked |= {f"top {k}": dict(teacher=teacher, k=k) for k in lab.ks}
asked |= {f"{name} teacher": dict(teacher=other) for name, (other, _) in teachers.items()}
stores = {name: ours.store(row=few, context=lab.context, **given) for name, given in asked.items()}
losses = {name: ours.distillation(stored, **OPTIONS.get(name, {})) for name, stored in stores.items()}
arms = {"alone": (few, lab.steps)} | {name: (stores[name], lab.steps, loss) for name, loss in losses.items()}
for k, top in ((k, stores[f"top {k}"]) for k in lab.ks):
    arms[f"top {k}, half real"] = top, lab.steps, ours.distillation(top, hard=0.5)
trial("few", "alone", f"{len(few.tokens):,} tokens, {lab.steps} steps", arms)
mass = {f"mass_{k}": 1 - stores[f"top {k}"].log_probs[:, -1].float().exp().mean().item() for k in lab.ks}
memory = {"bytes_all": stored_bytes(1, lab.vocab)} | {f"bytes_{k}": stored_bytes(1, lab.vocab, k) for k in lab.ks}
finding("11-memory", "bytes a token, and the probability that the teacher gives to the k likeliest", **memory, **mass)

# %% [markdown]
# ### Plenty of tokens
#
# Every token is new, and the teacher answers at each step. "alone, longer" is the plain student, trained for as many
# steps as cost the FLOPs of the distilled one. The teacher's own training is not counted.

# %%
flops = slmkit.flops_per_token(shape(*lab.student), lab.context, "training")
longer = round(lab.plenty * (1 + slmkit.flops_per_token(teacher.config, lab.context, "prefill") / flops))
arms = {name: (data.train, lab.plenty, ours.distillation(teacher, **OPTIONS[name])) for name in lab.online}
students = trial("plenty", "alone", f"tokens, {lab.plenty} steps", {"alone": (data.train, lab.plenty)} | arms)
arms = {"alone, longer": (data.train, longer), "forward": arms["forward"]}  # the second is read back
students |= trial("compute", "alone, longer", f"FLOPs: {longer} steps, or {lab.plenty} with the teacher", arms)
judge = ours.store(teacher, replace(data.held_out, tokens=data.held_out.tokens[:4096]), lab.context)
distances = {name: apart(models, judge) for name, models in students.items()}
finding("11-distance", "KL from the teacher, nats a token, held out", **distances)
made = record("C42", distances["forward"], against=distances["alone"], unit="nats a token")

# %% [markdown]
# ### Text that the teacher wrote
#
# LaMini's way {cite}`wu2023lamini`: no probabilities, only text, which a student with any tokenizer can read. The
# control has the same beginnings, of 8 tokens, with the real text after them.

# %%
begins = torch.linspace(0, len(data.train.tokens) - lab.context - 1, lab.few // lab.context).long()
passages = [data.train.tokens[s : s + lab.context].tolist() for s in begins]
passages = [ids for ids in passages if tokenizer.end_of_text not in ids]
prompts, texts = [tokenizer.decode(ids[:8]) for ids in passages], {"real": [tokenizer.decode(ids) for ids in passages]}
for T in lab.temperatures:
    texts[f"teacher's, T = {T:g}"] = ours.written(teacher, tokenizer, prompts, lab.context - 8, temperature=T)
print(*(f"{name}: {documents[1]!r}" for name, documents in texts.items()), sep="\n")
arms = {name: (packed(documents, tokenizer), lab.steps) for name, documents in texts.items()}
trial("text", "real", f"beginnings, about {lab.few:,} tokens, {lab.steps} steps", arms)

# %% [markdown]
# ### A real teacher
#
# SmolLM2-135M-Instruct has another vocabulary than our students: the *i*-th probability of one says nothing on the
# *i*-th of the other, and slmkit refuses. So this student takes the teacher's vocabulary, which is most of it.

# %%
real, theirs = slmkit.pretrained.load()
try:
    ours.same_vocabulary(tokenizer, theirs)
except ValueError as error:
    print(error)
tokens, k, steps, width = lab.real
corpus = corpora.load(lab.corpus)
parts = corpus.train[:: max(1, 100 * len(corpus.train) // tokens)], corpus.held_out[: 1 + tokens // 300]
learn, held = (packed([text[:500] for text in part], theirs) for part in parts)
stored, judge = (ours.store(real.float(), row, 64, k) for row in (learn, held))
config = slmkit.ModelConfig(real.config.vocab_size, width, 2, 4, max_context=32)  # with tied embeddings
arms = {"alone": (learn, steps), "distilled": (stored, steps, ours.distillation(stored))}
students = trial("real", "alone", f"{len(learn.tokens):,} tokens, {steps} steps", arms, config, held_out=held, batch=4)
finding("11-real", f"KL from SmolLM2 on its {k} likeliest tokens and the rest, nats a token",
        **{name: apart(models, judge) for name, models in students.items()})

# %% tags=["hide-input"] mystnb={"image": {"alt": "A row for each arm of the tables above, named by table and arm: its difference in bits per byte to the table's base, with the 95% interval and a line at zero. Left of the line is better."}}
drawn = [(f"{name}: {arm}", low, mean, high) for name, (table, base) in tables.items()
         for arm, mean, low, high, _ in paired(table, base).itertuples()]
names, low, mean, high = zip(*drawn)
plt.figure(figsize=(6, 1.2 + 0.24 * len(drawn)))
plt.axvline(0, color="black", linewidth=0.8)
plt.hlines(names, low, high)
plt.plot(mean, names, "o")
plt.gca().set(ylim=(len(names) - 0.5, -0.5), xlabel="difference to the base (bits per byte)")
plt.show()
print("your guesses:", guess)

# %% [markdown]
# ## Verdict
#
# Claim 42 is judged above, by the distance to the teacher. Whether it makes a better model of the text is another
# question, and your guesses were on that. One teacher of each kind was trained; the intervals say nothing on others.
#
# **To take further.** Train the same student on mixtures of real text and the teacher's. **Open.** How large may the
# gap between teacher and student be before a middle one helps?
