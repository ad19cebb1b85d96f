"""A run as a file: what it says is what runs, and what is wrong in it is one line."""

from dataclasses import replace
from pathlib import Path

import pytest

from slmkit.data.corpora import Corpus
from slmkit.training.recipe import Recipe
from slmkit.training.stages import Stage

EXAMPLE = Path(__file__).parents[2] / "book" / "training" / "two_stages.toml"


def test_the_example_in_the_book():
    recipe = Recipe.read(EXAMPLE)
    assert recipe.stages == (Stage(320, {"speeches": 1, "code": 1}), Stage(80, {"speeches": 1}))
    assert recipe.training.steps == 400
    assert recipe.training.decay * recipe.training.steps == 80
    assert (recipe.vocab_size, recipe.held_out) == (1024, "speeches")


def test_what_a_recipe_prepares(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    texts = {
        name: Corpus(name, "-", "-", (f"the {name} of the world " * 200,), (f"a {name}",)) for name in ("sea", "hill")
    }
    recipe = replace(Recipe.read(EXAMPLE), sources={"sea": "sea", "hill": "hill"}, held_out="hill", vocab_size=300,
                     stages=(Stage(2, {"sea": 1}), Stage(1, {"hill": 1})))  # fmt: skip
    config, tokenizer, data = recipe.prepare(texts)
    assert config.vocab_size == tokenizer.vocab_size == data.train.vocab_size
    assert (config.max_context, config.n_kv_heads) == (64, 2)
    assert tokenizer.decode(data.held_out.tokens[:-1].tolist()) == "a hill"
    first = tokenizer.decode(data.train.batches(1, 16)(0)[0][0].tolist())
    last = tokenizer.decode(data.train.batches(1, 16)(2)[0][0].tolist())
    assert "sea" in first
    assert "hill" in last


WRONG = {
    "[[stage]]\nsteps = 320": ("[[stage]]\nstep = 320", "unknown key 'step' in [stage]; did you mean steps?"),
    "d_model = 96": ("d_modell = 96", "unknown key 'd_modell' in [model]; did you mean d_model?"),
    "[data]": ("[date]", "unknown key 'date'; did you mean data?"),
    "weights = { speeches = 1 }": ("weights = { speeches = -1 }", "the weight of 'speeches' is -1"),
    "weights = { speeches = 1, code = 1 }": ("weights = { speech = 1 }", "stage 1 draws from 'speech'"),
    "steps = 80": ("steps = 0", "a stage has 0 steps"),
    'held_out = "speeches"': ('held_out = "speech"', "held_out is 'speech'; it must be one of the sources"),
    "learning_rate = 0.01": ("steps = 100", "unknown key 'steps' in [training]"),
    "context = 64": ("context = 0", "context is 0"),
    'schedule = "wsd"': ('schedule = "wsdd"', "schedule is 'wsdd'"),
    "held_out": ("tokenizer = 'x'\nheld_out", "the tokenizer has its own, leave one of them out"),
    "[training]": ("[teacher]\nbeta = 0.5\n[training]", "[teacher] has no model"),
    "decay": ("mup_base = 32\noptimizer = 'muon'\ndecay", "mup_base scales AdamW's rates"),
    "[[stage]]\nsteps = 80": ("[stage]\nsteps = 80", "not a TOML file"),
    "vocab_size = 1024": ("vocab_size = ", "not a TOML file"),
}


@pytest.mark.parametrize("right", WRONG)
def test_what_is_wrong_is_one_line(right, tmp_path):
    wrong, message = WRONG[right]
    text = EXAMPLE.read_text()
    assert right in text
    path = tmp_path / "run.toml"
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Recipe.read(path).prepare({})
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_parts_and_files(tmp_path):
    with pytest.raises(ValueError, match=r"\[model\] is missing"):
        Recipe.of({})
    with pytest.raises(ValueError, match=r"there is no \[\[stage\]\]"):
        Recipe.of({"model": {"d_model": 8}, "data": {"sources": {"a": "b"}}})
    with pytest.raises(ValueError, match=r"data.sources"):
        Recipe.of({"model": {"d_model": 8}, "data": {"vocab_size": 300}, "stage": [{"steps": 1}]})
    with pytest.raises(FileNotFoundError):
        Recipe.read(tmp_path / "none.toml")
