# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Measuring capability
#
# **Question.** Section 3 of the survey ranks small models by their accuracy on twelve tests. The Phi family leads, and
# part of that may come from fitting the benchmarks. How is such a score made, what moves it beside ability, and which
# differences between the survey's models are more than noise?

# %%
import math
import random
from dataclasses import replace
from importlib import import_module
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import pandas
import torch

import slmkit
from slmkit.course import check, finding, record, start
from slmkit.data.mixing import Mixture
from slmkit.data.packing import TokenData, TokenRow
from slmkit.data.prepared import prepare
from slmkit.evaluation import comparing, multiple_choice, tasks
from slmkit.evaluation.harness import for_transformers
from slmkit.evaluation.rewording import lettered, question, renamed, reworded
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import interval

# fmt: off
same = {"corpus": "speeches", "tiny": (512, 64, 2, 96)}
lab = start("12", profiles={
    "smoke": {"limit": 2, "compared": 1, "items": 2, "planted": 3, "copies": (0, 2), "seeds": (0, 1),
              "corpus": "tinyworld", "tiny": (300, 16, 1, 32), "steps": 4},
    "cpu": same | {"limit": 25, "compared": 4, "items": 30, "planted": 50, "copies": (0, 12), "seeds": (0, 1, 2),
                   "steps": 100},
    "full": same | {"limit": 300, "compared": 20, "items": 380, "planted": 100, "copies": (0, 1, 4, 16, 32),
                    "seeds": tuple(range(5)), "steps": 300},
})
TASKS, BY = ("social_iqa", "goal_inference", "step_inference"), multiple_choice.NORMALISATIONS

# %% [markdown]
# ## Predict
#
# In points: what do another normalisation and another order of the answers change? How wide is the 95% interval of a
# score on 300 items? What gains who read the test 16 times? What share of neighbours in the ranking can be told apart?

# %%
guess = {"normalisation": 5, "order": 5, "interval": 4, "contamination": 20, "told apart": 0.5}

# %% [markdown]
# ## Build
#
# Each choice is put behind the question, and the likeliest one is the model's answer. Both are encoded *together*, as a
# byte-level vocabulary joins a space to the word behind it, and split where the question would end without spaces. At
# each token the model predicts the *next*, so that the question's last token predicts the choice's first:
# $\log p(c \mid q) = \sum_t \log p(c_t \mid q, c_{<t})$.

# %%
def encode_pair(encode, context, continuation):
    """`encode` maps a text to a list of ids -> (ids of the context, ids of the continuation)"""
    ### BEGIN SOLUTION
    ids = encode(context.rstrip())
    return ids, encode(context + continuation)[len(ids) :]
    ### END SOLUTION

# %%
def log_likelihood(logits, context, continuation):
    """logits [time, vocab] of the ids context + continuation, read as one row -> log p(continuation | context)"""
    ### BEGIN SOLUTION
    log_probs = logits.log_softmax(-1)[len(context) - 1 : -1]
    return log_probs.gather(-1, torch.tensor(continuation)[:, None]).sum()
    ### END SOLUTION

# %%
check("12/encode_pair", encode_pair)
check("12/log_likelihood", log_likelihood)

# %% [markdown]
# Long choices are improbable. One compares the *sum*, or the sum per character (without the space in front, `acc_norm`
# of lm-eval {cite}`gao2021harness`), UTF-8 byte or token; or takes off $\log p(c)$ without the question
# {cite}`brown2020gpt3`. An accuracy is a mean of zeros and ones. Its *standard error* is their deviation (with $n - 1$)
# over $\sqrt n$. Since tests differ in their number of choices, scores are also told as the part of the way *from
# guessing to perfect*. McNemar's test {cite}`mcnemar1947sampling` asks which of two models is better by the items that
# *one* of them has right: were both equally good, each would fall to either with probability ½. How likely is a split
# at least as uneven? (slmkit's paired bootstrap, for intervals, draws items with both answers at a time.)

# %%
def normalised(sums, choices, tokens, alone, by):
    """Lists, an entry a choice: log p(choice | question), text with its space, tokens, log p(choice); and one of BY"""
    ### BEGIN SOLUTION
    if by == "unconditional":
        return [value - other for value, other in zip(sums, alone)]
    length = {"sum": lambda text: 1, "character": len, "byte": lambda text: len(text.encode())}
    lengths = tokens if by == "token" else [length[by](text.removeprefix(" ")) for text in choices]
    return [value / size for value, size in zip(sums, lengths)]
    ### END SOLUTION

# %%
def standard_error(right):
    """right [items], 0 or 1 -> the standard error of their mean"""
    ### BEGIN SOLUTION
    return np.std(right, ddof=1) / math.sqrt(len(right))
    ### END SOLUTION

# %%
def above_chance(right, choices):
    """right [items], 0 or 1, and the number of choices of each item -> 0 for guessing, 1 for all right"""
    ### BEGIN SOLUTION
    chance = np.mean([1 / k for k in choices])
    return (np.mean(right) - chance) / (1 - chance)
    ### END SOLUTION

# %%
def mcnemar(first, second):
    """Right answers [items] of two models, 0 or 1 -> the exact two-sided p"""
    ### BEGIN SOLUTION
    one, other = int(np.sum(np.greater(first, second))), int(np.sum(np.less(first, second)))
    tail = sum(math.comb(one + other, k) for k in range(min(one, other) + 1)) / 2 ** (one + other)
    return min(1.0, 2 * tail)
    ### END SOLUTION

# %%
check("12/normalised", normalised)
check("12/standard_error", standard_error)
check("12/above_chance", above_chance)
check("12/mcnemar", mcnemar)

# %% [markdown]
# ## Measure
# SmolLM2-135M-Instruct {cite}`allal2025smollm2` on BIG-bench {cite}`srivastava2022bigbench`, by three scorers.

# %%
model, tokenizer = slmkit.pretrained.load()
model = model.float()
pairs = [(one.context, choice) for t in TASKS for one in tasks.load(t, lab.compared).items for choice in one.choices]
with torch.inference_mode():
    ids = [encode_pair(tokenizer.encode, *pair) for pair in pairs]
    hand = [log_likelihood(model(torch.tensor([[*a, *b]]))[0], a, b).item() for a, b in ids]
ours = [found.logprob for found in multiple_choice.loglikelihoods(model, tokenizer, pairs)]  # shared texts read once
instance, huggingface = (import_module(f"lm_eval.{name}") for name in ("api.instance", "models.huggingface"))
hf = huggingface.HFLM(slmkit.interop.to_transformers(model), tokenizer=for_transformers(tokenizer), batch_size=8)
asked = [instance.Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
theirs, _ = zip(*hf.loglikelihood(asked, disable_tqdm=True))
apart = {"slmkit": np.abs(np.subtract(hand, ours)).max(), "lm_eval": np.abs(np.subtract(hand, theirs)).max()}
assert max(apart.values()) < 1e-3, apart
finding("12-same", "largest difference of a log-likelihood, nats", pairs=len(pairs), **apart)
for task in (tasks.load(name, lab.limit) for name in TASKS):
    scored = multiple_choice.score(model, tokenizer, task, unconditional=True)
    picks = np.stack([scored.picks(by) for by in BY])
    for i, item in enumerate(scored.task.items):
        given = scored.logprobs[i], item.choices, scored.tokens[i], scored.unconditional[i]
        assert picks[:, i].tolist() == [np.argmax(normalised(*given, by)) for by in BY]
    shown = {by: 100 * scored.accuracy(by) for by in BY} | {"error": 100 * standard_error(scored.right())}
    finding(f"12-normalisations-{task.name}", "percent; disagree: not all of them pick the same choice", **shown,
            disagree=100 * (picks != picks[0]).any(0).mean(), chance=100 * tasks.chance(task), items=picks.shape[1])

# %% [markdown]
# ### Other names
#
# The people of Social IQa {cite}`sap2019socialiqa` have one of 24 names, put in at random. With another of them
# {cite}`mirzadeh2024gsmsymbolic`, a model that never read the test loses nothing. Claim 55b is judged by this, chosen
# before the first run, if ten answers a seed change, a condition added after a trial in which three answers made a
# verdict. Other words may be harder by themselves. Each seed has its own items.

# %%
def right(items, *reader):
    """[items], bool; of SmolLM2, or of another (model, tokenizer)"""
    task = replace(social, items=tuple(items))
    return multiple_choice.score(*(reader or (model, tokenizer)), task).right("character")

def differ(name, note, first, second):
    """Keeps the difference of two accuracies on the same items, with its interval as a pair and as if it were none"""
    difference, low, high = (100 * value for value in comparing.paired_bootstrap(first, second))
    unpaired = 392 * math.hypot(standard_error(first), standard_error(second))
    finding(f"12-{name}", f"{note}; points but for p", first=100 * first.mean(), second=100 * second.mean(),
            difference=difference, low=low, high=high, width=high - low, unpaired_width=unpaired,
            p=mcnemar(first, second), changed=100 * (first != second).mean())

social = tasks.load("social_iqa")
drawn = random.Random(0).sample(social.items, len(lab.seeds) * lab.items)
print(*(question(item) for item in (drawn[0], renamed(drawn[0]), reworded(drawn[0]))), sep="\n")
plain, other, words = (right(items) for items in (drawn, map(renamed, drawn), map(reworded, drawn)))
differ("renamed", "published minus other names", plain, other)
differ("reworded", "published minus other names and words", plain, words)
changed, scores = (plain != other).sum(), [100 * one.reshape(len(lab.seeds), -1).mean(1) for one in (plain, other)]
record("C55b", *(scores if changed >= 10 * len(lab.seeds) else (None,)), unit="points",
       reason=f"other names changed {changed} of {len(drawn)} answers, too few to judge",
       note="SmolLM2-135M-Instruct on Social IQa; other names for its people")

# %% [markdown]
# ### Three points; prompt, order, letters
#
# How often does *one* model differ from itself by three points on other items, and what difference is found in four
# cases of five? Then: the same items in another frame; and all choices listed, a letter to be picked, in three orders.

# %%
size = min(300, len(drawn) // 2)
orders = np.random.default_rng(0).permuted(np.tile(plain.astype(float), (10_000, 1)), axis=1)
gaps = np.abs(orders[:, :size].mean(1) - orders[:, size : 2 * size].mean(1))
finding("12-noise", "items against others; points but for shares", accuracy=100 * plain.mean(), items=size,
        above_chance=above_chance(plain, [len(item.choices) for item in drawn]), share=(gaps > 0.0299).mean(),
        width=392 * math.sqrt(plain.var() / size), detectable=100 * comparing.detectable(size, plain.mean()))
torch.testing.assert_close([standard_error(plain), mcnemar(plain, words)],
                           [comparing.standard_error(plain), comparing.mcnemar(plain, words).p])
for name, frame in {"bare": "{}", "instruction": "Choose the answer that fits best.\n{}\nThe answer is:"}.items():
    framed = [item._replace(context=frame.format(question(item))) for item in drawn]
    differ(f"frame-{name}", f"published minus {frame!r}", plain, right(framed))
asked = [item for item in drawn[::4] if len(item.choices) == 3]
turned = [replace(social, items=tuple(lettered(item, turn) for item in asked)) for turn in range(3)]
picked = np.stack([multiple_choice.score(model, tokenizer, task).picks() for task in turned])  # [turns, items], places
chosen, places = (picked + np.c_[:3]) % 3, np.array([[item.answer for item in task.items] for task in turned])
shares = {f"right_at_{'ABC'[i]}": 100 * (picked == places)[places == i].mean() for i in range(3)}
shares |= {f"picked_{'ABC'[i]}": 100 * (picked == i).mean() for i in range(3)}
finding("12-letters", "percent; same: the same choice in all three orders", items=len(asked), **shares,
        accuracy=100 * (picked == places).mean(), same=100 * (chosen == chosen[0]).all(0).mean())

# %% [markdown]
# ### A planted leak
#
# A tiny model is trained on speeches. Into its text go items with their right answers, each a number of times; steps
# and tokens stay the same. As many items are kept out. The lift is what the planted ones gain beyond them.

# %%
(vocab, width, layers, context), steps = lab.tiny, lab.steps
small, speech = prepare(lab.corpus, vocab)

def leaked(items, copies, seed):
    """A model that has read each item about so many times"""
    texts = [item.context + item.choices[item.answer] for item in items]
    ids = torch.tensor([i for text in small.encode_documents(texts) for i in (*text, small.end_of_text)])
    row, share = TokenRow(ids, len("".join(texts)), small.digest, vocab), copies * len(ids) / (steps * 16 * context)
    mixture = Mixture({"text": (speech.train, 1 - share), "items": (row, share)}) if copies else speech.train
    torch.manual_seed(seed)
    tiny = slmkit.Decoder(slmkit.ModelConfig(vocab, width, layers, 4, tied_embeddings=False, max_context=512))
    settings = slmkit.TrainingConfig(steps, 16, context, learning_rate=0.01, precision="fp32", seed=seed)
    lab.train(tiny, TokenData(mixture, speech.held_out), settings)
    return tiny.eval()

made = []
for seed in lab.seeds:
    both, n = random.Random(seed).sample(social.items, 2 * lab.planted), lab.planted
    sets = {"planted": both[:n], "kept_out": both[n:]}
    sets |= {change.__name__: [*map(change, sets["planted"])] for change in (renamed, reworded)}
    for copies in lab.copies:
        tiny = leaked(sets["planted"], copies, seed)
        made.append({name: 100 * right(items, tiny, small).mean() for name, items in sets.items()})
table = pandas.DataFrame(made, pandas.MultiIndex.from_product([lab.seeds, lab.copies], names=["seed", "copies"]))
table["lift"] = (gap := table.planted - table.kept_out) - gap.xs(0, level="copies").reindex(table.index, level="seed")
mean, half = (grouped := table.groupby("copies")).mean(), grouped.agg(lambda x: interval(x.tolist())[1] - x.mean())
for copies, one in grouped:
    low, high = interval(one.lift.tolist())
    finding(f"12-leak-{copies}", "percent right", **one.to_dict("list"), low=low, high=high)
finding("12-detected", "share of the largest lift that other names, and other words, take away",
        **{name: (mean.planted - mean[name]).iloc[-1] / mean.lift.iloc[-1] for name in ("renamed", "reworded")})

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy in percent against the number of times that each planted item was read, with 95% intervals: the planted items, the same with other names, the same in other words, and the items kept out, beside the line of chance."}}
for mark, name in zip("os^D", sets):
    plt.errorbar(range(len(mean)), mean[name], half[name], marker=mark, capsize=3, label=name.replace("_", " "))
plt.axhline(100 * tasks.chance(social), color="black", linestyle=":", label="chance")
plt.xticks(range(len(mean)), mean.index)
plt.gca().set(xlabel="times that each planted item was read", ylabel="accuracy (%)", ylim=(0, 105))
plt.legend()
plt.show()

# %% [markdown]
# ### The survey's ranking
#
# The plain mean of seven tests of common sense, as the survey has it. Single answers are not published: the intervals
# are for independent draws of items. Then with Bonferroni's correction for all pairs; then with the *tests* drawn.

# %%
SIZES = {row["name"]: int(row["size"]) for row in rows("benchmarks") if row["domain"] == "commonsense reasoning"}
survey = slmkit.survey.capability().query("kind == 'task'").pivot(index="model", columns="metric", values="value")
survey = 100 * survey[[*SIZES]].loc[survey[[*SIZES]].mean(axis=1).sort_values(ascending=False).index]
means, errors = survey.mean(axis=1), np.sqrt((survey * (100 - survey) / pandas.Series(SIZES)).sum(axis=1)) / len(SIZES)
above, below = np.triu_indices(len(means), 1)
z = (means.values[above] - means.values[below]) / np.hypot(errors.values[above], errors.values[below])
corrected, next_to = z > NormalDist().inv_cdf(1 - 0.025 / len(z)), below == above + 1
by_tests = [interval((survey.values[i] - survey.values[j]).tolist())[0] > 0 for i, j in zip(above, below)]
finding("12-ranking", "shares of pairs; error in points", models=len(means), pairs=len(z), error=errors.mean(),
        told_apart=(z > 1.96).mean(), corrected=corrected.mean(), by_tests=np.mean(by_tests),
        neighbours=(z > 1.96)[next_to].mean(), not_told_from_first=int((z <= 1.96)[above == 0].sum()))
print(pandas.DataFrame({"mean": means, "± (95%)": 1.96 * errors}).head(12).round(1), "your guesses:", guess, sep="\n")

# %% [markdown]
# ## Verdict
#
# Claim 55b is judged above for one model and one test, and only as far as other names can show a leak: the planted one
# tells how far {cite}`yang2023rephrased`. **To take further.** Reword the answers of fifty planted items by hand: does
# the lift go? **Open.** How would you find a leak in a model whose training text is not public?
