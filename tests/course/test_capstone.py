"""The capstone's score: what is counted, what is refused, and that nothing is believed that the files do not show."""

import copy
import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import slmkit
from slmkit.course import capstone
from slmkit.course.capstone import Score, score
from slmkit.course.capstone_design import BUDGETS, REFERENCES, Design, corpus
from slmkit.data.packing import TokenData
from slmkit.data.tokenizer import Tokenizer
from slmkit.training import stages

TINY = REFERENCES["tiny"]


def changed(**sections) -> dict:
    """The tiny reference with other options; a table is merged, all else replaced."""
    said = copy.deepcopy(TINY)
    for name, value in sections.items():
        said[name] = said[name] | value if isinstance(value, dict) and name in said else value
    return said


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLMKIT_BUILD", str(tmp_path_factory.mktemp("build")))
        yield patch


@pytest.fixture(scope="module")
def handed_in(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("capstone") / "reference"
    made = capstone.train(Design(TINY))
    capstone.hand_in(folder, Design(TINY), made.model, made.tokenizer)
    return folder


@pytest.fixture
def folder(handed_in, tmp_path):
    """A copy of the reference's hand-in, to be tampered with."""
    return shutil.copytree(handed_in, tmp_path / "copy")


def rewrite(folder, **sections):
    (folder / "design.json").write_text(json.dumps(changed(**sections)))


# -- designs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sections", "message"), [
    ({"budget": "huge"}, "budget is 'huge'; it must be one of tiny, small, large"),
    ({"format": "Q3_K"}, "format is 'Q3_K'"),
    ({"name": ""}, "1 to 40 printable"),
    ({"name": "\x1b[31mred"}, "1 to 40 printable"),
    ({"colour": 1}, "unknown key 'colour'"),
    ({"model": {"d_modle": 3}}, "did you mean d_model?"),
    ({"data": {"sources": {"text": "/etc"}}}, "not at hand where the design is scored"),
    ({"teacher": {"model": "../other"}}, "inside the design's own"),
    ({"teacher": {"model": ".."}}, "inside the design's own"),
    ({"teacher": {"model": 3}}, "inside the design's own"),
])  # fmt: skip
def test_a_design_that_cannot_be_is_told_why(sections, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Design(changed(**sections))


def test_what_is_no_design_gets_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no design"):
        Design.read(tmp_path)
    for text in ("[1]", "{", "[" * 100_000, '{"model": 3}'):
        (tmp_path / "design.json").write_text(text)
        with pytest.raises(ValueError, match="is not a design"):
            Design.read(tmp_path)


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_references_use_their_budgets_and_keep_to_them(budget):
    said = REFERENCES[budget]
    config = slmkit.ModelConfig(said["data"]["vocab_size"], max_context=BUDGETS[budget].context, **said["model"])
    design = Design(said)
    used = capstone.measured(design, slmkit.Decoder(config))
    made = Score("", budget, used, 1.0, "public", "", None)
    assert made.refused is None
    assert used["training"] + used["training"] / said["stage"][0]["steps"] > BUDGETS[budget].training
    assert used["parameters"] == slmkit.count_parameters(config).total
    assert used["memory"] > 0.8 * BUDGETS[budget].memory


def test_what_a_format_takes():
    config = slmkit.ModelConfig(320, 32, 1, 2, d_ff=64, max_context=32)
    matrices, vectors = 320 * 32 + 4 * 32 * 32 + 3 * 32 * 64, 3 * 32
    cache = 32 * 2 * 32 * 2
    for form, size in (("F16", 2 * matrices), ("Q8_0", matrices * 34 // 32), ("Q4_0", matrices * 18 // 32)):
        model = slmkit.Decoder(config)
        before = model.embedding.weight.detach().clone()
        used = capstone.measured(Design(changed(format=form)), model)
        assert used["memory"] == size + 4 * vectors + cache
        error = (model.embedding.weight - before).abs().max() / before.abs().max()
        assert 0 < error < {"F16": 1e-3, "Q8_0": 0.01, "Q4_0": 0.13}[form]  # it is read as it is stored
    flops = slmkit.flops_per_token(config, 32)
    assert used["latency"] == max(used["memory"] / 2e8, flops / 5e8)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_the_score_is_that_of_the_text_and_the_record_says_the_same(handed_in):
    found = score(handed_in)
    assert found.refused is None
    assert (found.text, found.errors) == ("public", None)
    kept = json.loads((handed_in / "record.json").read_text())
    assert kept["bits_per_byte"] == found.bits_per_byte
    assert kept["used"] == found.used
    assert 3 < found.bits_per_byte < 8
    model, tokenizer = slmkit.load(handed_in), Tokenizer.load(handed_in / "tokenizer.json")
    capstone.measured(Design(TINY), model)
    short = corpus("tinyworld").held_out[0][:12]
    ids = tokenizer.encode(short)
    inputs, targets = torch.tensor([[tokenizer.end_of_text, *ids]]), torch.tensor([*ids, tokenizer.end_of_text])
    nats = torch.nn.functional.cross_entropy(model(inputs)[0], targets, reduction="sum").item()
    assert capstone.bits_of(model, tokenizer, [short], 32)[0] == pytest.approx(nats / np.log(2), rel=1e-4)


def test_the_record_is_not_believed(folder):
    before = score(folder)
    (folder / "record.json").write_text(json.dumps({"bits_per_byte": 0.1, "used": {"parameters": 1}}))
    assert score(folder) == before
    (folder / "record.json").unlink()
    assert score(folder) == before


def test_parameters_are_counted_in_the_weights(folder):
    big = slmkit.Decoder(slmkit.ModelConfig(300, 96, 1, 2, d_ff=64, max_context=32))
    slmkit.save(big, folder)
    with pytest.raises(ValueError, match="the design says d_model = 32, the model has 96"):
        score(folder)
    rewrite(folder, model={"d_model": 96})
    refused = score(folder).refused
    assert refused.startswith("over the budget tiny: parameters 1.69 times, memory 3.43 times, training ")


def test_more_steps_than_the_budget_are_refused(folder):
    rewrite(folder, stage=[{"steps": 13}])
    assert score(folder).refused == "over the budget tiny: training 1.04 times"


def test_files_that_do_not_fit_get_one_line(folder):
    (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    with pytest.raises(ValueError, match="which no model within the budget takes"):
        score(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cut short or damaged"):
        score(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        score(folder)


def test_a_model_that_reads_too_little_or_knows_too_few_tokens_is_refused(folder):
    slmkit.save(slmkit.Decoder(slmkit.ModelConfig(300, 32, 1, 2, d_ff=64, max_context=16)), folder)
    with pytest.raises(ValueError, match="reads 16 tokens; the budget asks for 32"):
        score(folder)
    slmkit.save(slmkit.Decoder(slmkit.ModelConfig(299, 32, 1, 2, d_ff=64, max_context=32)), folder)
    with pytest.raises(ValueError, match="the tokenizer has 300 entries, the model knows 299"):
        score(folder)


def test_a_tokenizer_that_loses_text_is_refused(folder):
    """Else it could make any text as short as it likes."""
    path = folder / "tokenizer.json"
    said = json.loads(path.read_text())
    path.write_text(
        json.dumps(said | {"normalizer": {"type": "Replace", "pattern": {"Regex": "[a-z]"}, "content": ""}})
    )
    with pytest.raises(ValueError, match="does not give back the text"):
        score(folder)


# -- trained again, and trained on the test ----------------------------------------------------------------------------


def test_the_reference_reproduces_and_other_weights_do_not(folder):
    assert capstone.reproduces(folder) is None
    weights = load_file(folder / "model.safetensors")
    weights["blocks.0.ffn.up.weight"][0, 0] += 1e-6
    save_file(weights, folder / "model.safetensors")
    assert capstone.reproduces(folder) == "blocks.0.ffn.up.weight"
    rewrite(folder, training={"seed": 1})
    assert capstone.reproduces(folder) == "embedding.weight"
    Tokenizer.train(["other text"] * 9, 300).save(folder / "tokenizer.json")
    assert capstone.reproduces(folder) == "tokenizer"


def leaked(folder, text: list[str], steps: int = 150):
    """A hand-in whose model was trained on `text` and on nothing else; its design says otherwise."""
    planned = Design(changed(stage=[{"steps": steps}], training={"learning_rate": 2e-2}))
    model, data, training, _, tokenizer = planned.prepare()
    ids = [i for one in text for i in (*tokenizer.encode(one), tokenizer.end_of_text)]
    row = capstone.TokenRow(torch.tensor(ids), len("".join(text)), tokenizer.digest, tokenizer.vocab_size)
    staged = stages.Staged({"leak": row}, [stages.Stage(steps, {"leak": 1})])
    slmkit.train(model, TokenData(staged, data.held_out), training, progress=False)
    capstone.hand_in(folder, Design(TINY), model, tokenizer)


@pytest.mark.slow
def test_who_trained_on_the_hidden_or_the_public_text_is_told_and_an_honest_model_is_not(handed_in, tmp_path):
    hidden = capstone.pieces(corpus("tinyworld").held_out[1::2], 20)
    public = capstone.pieces(corpus("tinyworld").held_out[::2], 20)
    honest = score(handed_in, "".join(hidden))
    assert honest.text.startswith("hidden ")
    assert honest.refused is None
    assert abs(honest.errors) < capstone.LIMIT / 2
    assert honest.apart == 0, "the same bits"
    for name, text, sign in (("hidden text", hidden, 1), ("public evaluation", public, -1)):
        leaked(tmp_path / name, text)
        found = score(tmp_path / name, "".join(hidden))
        assert sign * found.errors > 2 * abs(honest.errors) + 1
        accused = found._replace(errors=sign * (capstone.LIMIT + 0.1)).refused
        assert f"it knows the {name} too well" in accused
        assert found.apart > 0.1
        assert "these weights were trained otherwise" in found._replace(errors=0.0).refused
        assert capstone.reproduces(tmp_path / name) is not None


def test_what_is_trained_otherwise_is_refused_and_another_rounding_is_not(folder):
    hidden = "".join(capstone.pieces(corpus("tinyworld").held_out[1::2], 20))
    weights = load_file(folder / "model.safetensors")
    for scale, refused in ((1e-6, False), (0.1, True)):
        draw = torch.Generator().manual_seed(0)
        other = {name: w * (1 + scale * torch.randn(w.shape, generator=draw)) for name, w in weights.items()}
        save_file(other, folder / "model.safetensors")
        found = score(folder, hidden)
        assert found.apart != 0
        assert (abs(found.apart) > capstone.APART) == refused == ("trained otherwise" in (found.refused or ""))


def test_what_is_over_budget_is_not_trained_again(folder, monkeypatch):
    monkeypatch.setattr(capstone, "train", None)
    rewrite(folder, stage=[{"steps": 10**9}])
    assert "over the budget" in score(folder, "".join(capstone.pieces(corpus("tinyworld").held_out[1::2], 20))).refused


def test_the_hidden_score_is_on_the_hidden_text_and_a_short_one_is_refused(handed_in):
    text = "".join(capstone.pieces(corpus("tinyworld").held_out[1::2], 20))
    one, other = score(handed_in, text), score(handed_in, text.upper())
    assert other.bits_per_byte > 1.3 * one.bits_per_byte
    assert other.text != one.text
    with pytest.raises(ValueError, match="has 19 pieces of 1000 characters; 20 are needed"):
        score(handed_in, text[:-1])


def test_pieces_come_from_all_over_and_none_twice():
    documents = [letter * 1500 for letter in "abcdefgh"]
    found = capstone.pieces(documents, 6)
    assert [len(piece) for piece in found] == [1000] * 6
    assert found[0] == "a" * 1000
    assert len({piece[0] for piece in found}) == 6
    assert len(capstone.pieces(documents, 99)) == 12
    assert capstone.pieces(["short"], 5) == []


def test_standard_errors_are_welchs():
    from scipy.stats import ttest_ind

    draw = np.random.default_rng(0)
    suspect, control = draw.standard_normal(9), draw.standard_normal(30) + 0.2
    wanted = ttest_ind(control, suspect, equal_var=False).statistic
    assert capstone.known_too_well(suspect, control) == pytest.approx(wanted)


def test_the_baseline_takes_out_that_a_text_is_harder(build):
    text = capstone.pieces(corpus("tinyworld").held_out, 4)
    plain, backwards = capstone.hardness([text[0], text[0][::-1]], "tinyworld")
    assert plain + 1 < backwards
    bits = capstone.byte_counts(text) * 4.0
    assert capstone.excess(bits, text, "tinyworld") == pytest.approx(4 - capstone.hardness(text, "tinyworld"))


# -- a teacher ---------------------------------------------------------------------------------------------------------


def test_a_teacher_counts_and_is_trained_again(build, handed_in, tmp_path):
    shutil.copytree(handed_in, tmp_path / "teacher")
    small = {"d_model": 32, "d_ff": 32}
    said = changed(model=small, stage=[{"steps": 3}], teacher={"model": "teacher", "beta": 0.5})
    said["data"] = {"tokenizer": "teacher", "sources": {"text": "tinyworld"}}
    design = Design(said, tmp_path)
    made = capstone.train(design)
    alone = capstone.train(Design({name: part for name, part in said.items() if name != "teacher"}, tmp_path))
    assert not torch.equal(made.model.embedding.weight, alone.model.embedding.weight)
    found = capstone.hand_in(tmp_path, design, made.model, made.tokenizer)
    student, teacher = made.model.config, slmkit.load(handed_in).config
    tokens = 3 * 8 * 32
    answers = tokens * slmkit.flops_per_token(teacher, 32, "prefill")
    spent = 12 * 8 * 32 * slmkit.flops_per_token(teacher, 32, "training")
    own = tokens * slmkit.flops_per_token(student, 32, "training")
    assert found.used["training"] == pytest.approx(own + answers + spent)
    assert capstone.reproduces(tmp_path) is None
    texts = [capstone.pieces(corpus("tinyworld").held_out, 2)]
    assert capstone.apart(tmp_path, texts, 32) == 0
    torch.manual_seed(7)
    slmkit.save(slmkit.Decoder(teacher), tmp_path / "teacher")
    assert capstone.apart(tmp_path, texts, 32) < -0.5, "the teacher was not trained as its design says"
    shutil.copytree(handed_in, tmp_path / "teacher", dirs_exist_ok=True)
    rewritten = json.loads((tmp_path / "teacher" / "design.json").read_text())
    (tmp_path / "teacher" / "design.json").write_text(json.dumps(rewritten | {"stage": [{"steps": 11}]}))
    assert capstone.reproduces(tmp_path).startswith("its teacher's ")
