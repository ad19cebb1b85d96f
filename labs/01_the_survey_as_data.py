# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The survey as data
#
# **Question.** The survey says what a small language model of 2024 typically looks like (section 2.2, first insight)
# and how capable such models have become (section 3). Do its figures follow from its own tables, and do the tables
# agree with the models that were released?
#
# You will draw Figures 2 to 6 and Table 2 again, and find three of the survey's errors yourself.

# %%
from collections import Counter
from statistics import fmean

import matplotlib.pyplot as plt
import pandas as pd

import slmkit
from slmkit import survey
from slmkit.course import check, figures_survey, record, start
from slmkit.survey import statistics, trends
from slmkit.survey.evidence import capability, training

lab = start("01", profiles={"smoke": {}, "cpu": {}, "full": {}})  # it is quick: all profiles are the same

# %% [markdown]
# ## Predict
#
# Write down what you expect. The lab compares at its end.

# %%
guess = {
    "share of multi-head attention, %": 50,  # of the models that the survey's Figure 2 counts
    "gain of five examples, points": 5,  # mean over models and tasks, from no example in the prompt to five
    "models that the engine counts wrongly": 0,  # of those whose parameters the survey's engine reports
}

# %% [markdown]
# ## Build
#
# ### The tables
#
# Each call reads a file with one row for each model, score or claim. The column `source` says where a row comes from.

# %%
models, claims = survey.models(), survey.claims().set_index("id")
print(f"{len(models)} models, {len(survey.capability())} scores, {len(claims)} claims; the first model:")
print(models.iloc[0][["name", "release", "attention", "survey_attention", "vocab_size", "params_exact"]].to_dict())

# %% [markdown]
# The columns `survey_…` hold what the survey printed. The others hold what was published, so every figure can be
# counted twice. A share needs a rule for models that are not known: leave them out.


# %%
def shares(options):
    """A list of options, "" where unknown -> {option: percent of the known ones}."""
    ### BEGIN SOLUTION
    known = [option for option in options if option]
    return {option: 100 * count / len(known) for option, count in Counter(known).items()}
    ### END SOLUTION


# %%
check("01/shares", shares)

# %% [markdown]
# ### Figure 2: architecture
#
# `trends.option` says which option of an axis a model takes, by the survey's entry or by the published configuration.

# %% mystnb={"image": {"alt": "Bars for the options on six axes of architecture, two bars an option: the share by the survey's entries and by the published configurations. The two agree within a few points. By the published ones multi-head attention and LayerNorm are somewhat more common."}}
figured = trends.in_figures()  # the models that Figure 2 counts
found = {axis: {way: shares([trends.option(row, axis, way) for row in figured]) for way in ("survey", "published")}
         for axis in trends.AXES}  # fmt: skip
for axis in trends.AXES:
    print(f"{axis}: entries that differ from the released model: {trends.disagreements(axis) or 'none'}")
figures_survey.architecture_shares(found)
plt.show()

# %% mystnb={"image": {"alt": "Six panels of stacked bars, models released in each half-year from 2022 to 2024 by option. Grouped attention, gated feed-forward layers, SiLU and RMSNorm appear in the second half of 2023 and dominate in 2024. Small vocabularies stay the most common single class."}}
panels = {axis: trends.by_period(figured, axis) for axis in trends.AXES}  # {axis: {half-year: {option: count}}}
print("models in each half-year:", {half: sum(counts.values()) for half, counts in panels["ffn"].items()})
figures_survey.architecture_by_period(panels, "models released")
plt.show()

# %% [markdown]
# ### Figure 3: training data

# %% mystnb={"image": {"alt": "Three columns of bars, 2022 to 2024: how many models were trained on each open data set. The Pile is the most used set in 2023. In 2024 RedPajama and RefinedWeb lead, and The Pile is still used."}}
uses = survey.datasets().set_index("name")[["uses_2022", "uses_2023", "uses_2024"]].fillna(0).astype(int)
uses = uses[uses.sum(axis=1) > 0].rename(columns=lambda name: int(name[-4:]))
print("uses in each year:", uses.sum().to_dict())
figures_survey.dataset_uses(uses)
plt.show()

# %% [markdown]
# ### Figure 4 and Table 2: tokens, data and accuracy
#
# Three averages a model. *Accuracy* is the mean of commonsense and problem solving, as in Table 2.

# %% mystnb={"image": {"alt": "Left: training tokens against month of release, rising by more than a factor of ten from 2022 to 2024. Right: accuracy against tokens on a logarithmic axis, rising on the whole, with a wide spread above a trillion tokens."}}
averages = pd.DataFrame(capability.model_scores()).T.rename(columns={"commonsense reasoning": "commonsense"})
scores = models.set_index("name")[["release", "params_exact"]].join(averages, how="right")
scores["accuracy"] = scores[["commonsense", "problem solving"]].mean(axis=1)
scores["tokens"] = pd.Series({row["name"]: trends.tokens(row) for row in trends.rows("models")}).astype(float)
trained = scores.dropna(subset=["tokens", "params_exact"])
for name, part in (("up to 700B tokens", trained.tokens <= 7e11), ("above 1T tokens", trained.tokens > 1e12)):
    rank = trained[part][["tokens", "accuracy"]].corr("spearman").iloc[0, 1]
    print(f"{name}: rank correlation of tokens and accuracy {rank:+.2f} over {part.sum()} models")
figures_survey.tokens_and_accuracy(trained)
plt.show()

# %% [markdown]
# Table 2 ranks models that were trained on open data by their accuracy. It can be recomputed.

# %%
table2 = survey.capability().query("kind == 'table2'")[["model", "value", "note"]]
table2["group"] = table2.note.str.extract(r"size group (\S+);")
table2["again"] = [scores.accuracy[training.row_of(name)["name"]] / 100 for name in table2.model]
print(table2.groupby("group").head(3)[["group", "model", "value", "again"]].round(3).to_string(index=False))
off = table2[(table2.value - table2.again).abs() > 0.001].round(3)
print(f"{len(table2) - len(off)} of {len(table2)} scores agree to the third digit; the others:")
print(off[["model", "value", "again"]].to_string(index=False))

# %% [markdown]
# ## Measure
#
# ### The first error: a score that nobody measured
#
# Here are the mathematics scores as Figure 5 draws them. Look for a value that occurs suspiciously often.

# %%
missing_drawn = 100 * survey.capability().query("kind == 'note' and metric == 'mathematics'").value.item()
as_drawn = scores.mathematics.fillna(missing_drawn).round(2).sort_values()
print(as_drawn.head(25).tolist())


# %%
def split(scores):
    """Scores as drawn -> (the value that most models share, the mean of the other scores)."""
    ### BEGIN SOLUTION
    value, _ = Counter(scores).most_common(1)[0]
    return value, fmean(score for score in scores if score != value)
    ### END SOLUTION


# %%
check("01/split", split)

# %%
for year in ("2022", "2024"):
    of_year = scores[scores.release.str.startswith(year)].mathematics
    drawn = of_year.fillna(missing_drawn).tolist()
    print(f"{year}: {drawn.count(missing_drawn)} of {len(drawn)} models have no score;", end=" ")
    print(f"mean as drawn {fmean(drawn):.1f}%, as measured {of_year.mean():.1f}%")

# %% mystnb={"image": {"alt": "Three panels over time: commonsense, problem solving and mathematics. The best score so far climbs in steps and in 2024 reaches the line of the LLaMA models of 7 billion parameters. In mathematics many crosses lie on a line near zero: models without a score."}}
# No score is not a bad score: the program that graded mathematics could not run these models.
figures_survey.capability_over_time(scores, missing_drawn)
plt.show()

# %% [markdown]
# ### The second error: a mean that is not the mean
#
# Figure 6 shows what examples in the prompt do for 23 models on eight tasks. What do five gain on average, over all?


# %%
def mean_gain(none, five):
    """Two arrays of fractions of right answers, [models, tasks] -> the mean gain of five examples, percentage points."""
    ### BEGIN SOLUTION
    return 100 * float((five - none).mean())
    ### END SOLUTION


# %%
check("01/mean_gain", mean_gain)

# %%
curves = survey.capability().query("kind == 'in_context'")
curves = 100 * curves.pivot_table(index=["metric", "model"], columns="shots", values="value")
tasks = curves.drop("mean of 8 tasks", level="metric")
none, five = (tasks[shots].unstack("metric").to_numpy() / 100 for shots in (0, 5))
gain, won = mean_gain(none, five), five > none
markers = survey.capability().query("kind == 'icl_growth'")
sizes = pd.DataFrame({"billions": markers.x.str[:-1].astype(float), "points": 100 * markers.value})
print(f"the text: {claims.survey_value['C59']} points; all models and tasks: {gain:.2f}")
print(f"all sizes (6b): {sizes.points.mean():.2f}; only where examples helped: {mean_gain(none[won], five[won]):.2f}")

# %% [markdown]
# One reading comes close to the text: leave out every model and task that did not gain. Whether the authors did so is
# not known. Such a mean is never negative, so it cannot say whether examples help.

# %% mystnb={"image": {"alt": "Nine panels, accuracy with no, one and five examples: eight tasks and their mean, a thin line a model, a thick line for the mean. ARC-Challenge rises most, HellaSwag is flat."}}
figures_survey.in_context(curves)
plt.show()

# %% mystnb={"image": {"alt": "The gain of five examples against parameters, one marker a model. Most markers lie between zero and two points; the fitted line rises with size. A few small models lose."}}
figures_survey.gain_by_size(sizes)
plt.show()

# %% [markdown]
# ### The third error: a matrix counted twice
#
# The zoo builds the survey's models by name, and `slmkit.count_parameters` counts each weight once. In a tied model one
# matrix serves as embedding and as output head. A file may hold it twice. What would the engine count then?


# %%
def stored_twice(config):
    """Parameters of a model whose file stores a tied matrix twice; an untied model has nothing to store twice."""
    ### BEGIN SOLUTION
    once = slmkit.count_parameters(config).total
    return once + (config.vocab_size * config.d_model if config.tied_embeddings else 0)
    ### END SOLUTION


# %%
check("01/stored_twice", stored_twice)

# %%
print("Qwen1.5-0.5B:", slmkit.count_parameters(survey.config("Qwen1.5-0.5B")))
engine = models.dropna(subset=["params_llamacpp"]).set_index("name").params_llamacpp * 10**6
doubled = []
for name in [name for name in engine.index if name in survey.available()]:
    once, twice = slmkit.count_parameters(survey.config(name)).total, stored_twice(survey.config(name))
    if abs(engine[name] - twice) < abs(engine[name] - once):
        doubled.append(name)
        print(f"{name}: {once / 1e6:.0f} million, as stored {twice / 1e6:.0f}, the engine {engine[name] / 1e6:.0f}")
print(f"{len(doubled)} of {len(engine)} models are counted wrongly")
exact = models.set_index("name").params_exact
for name, count in (("by the engine", engine), ("in weights", exact)):
    print(f"{name}: Qwen1.5-0.5B is {count['Qwen1.5-0.5B'] / count['Qwen2-0.5B']:.3f} times Qwen2-0.5B")

# %% [markdown]
# The survey's insight on latency has the first of these two larger and faster all the same. By its weights it is smaller.
#
# ### How far the redrawn figures agree
#
# First the counts that Figures 2 and 3 print: how many equal ours from the survey's own entries, the largest difference
# from these and from the released models, and what is known of it. Then what the text reads from Figures 3 to 6.

# %%
print(pd.DataFrame(trends.agreement()).to_string(index=False))
stated = claims[claims.number.between(30, 63) & (claims.kind == "statistics") & (claims.verdict != "")]
agree = stated.verdict == "reproduced"
print(f"\n{agree.sum()} of {len(stated)} statements of sections 2.3 and 3 agree with the tables. The others:")
for claim, row in stated[~agree].iterrows():
    print(f"{claim} {row.metric}: printed {row.survey_value or '-'}, recomputed {row.value}. {row.problem}")

# %% [markdown]
# ## Verdict
#
# Four claims that you have just recomputed: pace of releases, typical recipe, gain from examples, the engine's count.

# %%
recipe = {part: share for part, share in statistics.recipe_shares(2024).items() if part != "all"}
record("C9", statistics.growth("v1"))
record("C28", min(recipe.values()), unit="%", note=f"The least common part: {min(recipe, key=recipe.get)}.")
record("C59", gain, unit="points")
record("C70", engine["Bloom-560M"] / exact["Bloom-560M"])
for (what, guessed), value in zip(guess.items(), (found["attention"]["published"]["MHA"], gain, len(doubled))):
    print(f"{what}: you guessed {guessed}, the tables give {value:.3g}")

# %% [markdown]
# ## Exercises
#
# A family of five sizes counts five times in Figure 2. Count each family once: a model of a family of five weighs 1/5.


# %%
def family_shares(options, families):
    """Two lists, one entry a model -> {option: percent}, where all families weigh the same."""
    ### BEGIN SOLUTION
    sizes, weights = Counter(families), Counter()
    for option, family in zip(options, families):
        weights[option] += 1 / sizes[family]
    return {option: 100 * weight / len(sizes) for option, weight in weights.items()}
    ### END SOLUTION


# %%
check("01/family_shares", family_shares)

# %%
once = family_shares([row["attention"] for row in figured], [statistics.family(row) for row in figured])
for name, count in (("model", found["attention"]["published"]), ("family", once)):
    print(f"each {name} once:", {option: round(share) for option, share in count.items()})

# %% [markdown]
# **To take further.** Which conclusions of section 2.2 change when each family counts once, and which when only models of
# the last twelve months count? Say before you compute which selection you would defend, and why.
