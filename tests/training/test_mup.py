"""µP: the authors' package rule by rule, the standard model at the base width, the coordinate check and its errors."""

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from mup_cases import CASES, RATE, batch, configuration, given_weights, losses_of
from small_run import VOCAB as RUN_VOCAB
from small_run import data

from slmkit import Decoder, ModelConfig, TrainingConfig, train
from slmkit.training import mup
from slmkit.training import sweep as sweeping
from slmkit.training.coordinates import EXPECTED, coordinate_check, faults, outputs, slopes
from slmkit.training.optimizers import optimizers

PACKAGE = json.loads(Path(__file__).with_name("mup_package.json").read_text())
BASE, CHECK_RATE = 32, 0.015


def case(tied: bool, width: int, base: int, **changes) -> tuple[ModelConfig, ModelConfig]:
    """Base and widened configuration of a case."""
    narrow = configuration(base, tied_embeddings=tied, **changes)
    return narrow, mup.widened(narrow, width, "head_dim")


def deviations(model: Decoder) -> dict[str, float]:
    return {name: p.detach().std().item() for name, p in model.named_parameters() if p.dim() > 1}


# -- the package, rule by rule -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_rates_decay_and_logits_are_the_packages(name):
    theirs = PACKAGE[name]
    _, config = case(**CASES[name])
    model = Decoder(config)
    factors = mup.multipliers(model, CASES[name]["base"])
    assert factors.keys() == theirs["parameters"].keys()
    for parameter, (rate, decay, _) in theirs["parameters"].items():
        assert factors[parameter] == pytest.approx(rate, rel=1e-12), parameter
        assert 1 / factors[parameter] == pytest.approx(decay, rel=1e-12), parameter
    assert config.logit_scale == pytest.approx(theirs["logits"], rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_start_is_the_packages(name):
    """The package multiplies what a model drew; of a head it supposes a deviation of 1/√fan_in."""
    base, config = case(**CASES[name])
    m = config.d_model / base.d_model
    torch.manual_seed(0)
    narrow = deviations(mup.decoder(base, base.d_model))
    wide = deviations(mup.decoder(config, base.d_model))
    for parameter, (_, _, factor) in PACKAGE[name]["parameters"].items():
        if parameter in wide:
            grows = "blocks" in parameter or factor != 1  # fan_in grows: hidden matrices and the head
            drawn = m**-0.5 if grows else 1.0
            assert wide[parameter] / narrow[parameter] == pytest.approx(factor * drawn, rel=0.2), parameter


@pytest.mark.parametrize("name", CASES)
def test_training_is_the_packages(name):
    """The same weights, the same steps: factors on scores, logits and rates together give the package's losses."""
    base, config = case(**CASES[name])
    model = mup.decoder(config, base.d_model)
    given_weights(model)
    decay = 0.1
    factors = mup.multipliers(model, base.d_model)
    groups = [{"params": [p], "lr": RATE * factors[n], "weight_decay": decay / factors[n]}
              for n, p in model.named_parameters()]  # fmt: skip
    assert losses_of(model, torch.optim.AdamW(groups)) == pytest.approx(PACKAGE[name]["losses"], rel=2e-5)


# -- the table of the paper, written out -------------------------------------------------------------------------------


def test_the_table_of_the_paper():
    """Table 8 for Adam at four times the width: deviation, rate, factor on the product."""
    m = 4.0
    paper = {"input": (1, 1, 1), "hidden": (1 / 2, 1 / 4, 1), "output": (1, 1, 1 / 4), "tied": (1, 1, 1 / 4),
             "vector": (1, 1, 1), "scores": (1, 1, 1 / 4)}  # fmt: skip
    ours = {rule.kind: (m**rule.deviation, m**rule.rate, m**rule.multiplier) for rule in mup.RULES}
    assert ours == paper


def test_a_base_s_own_factor_on_logits_stays():
    base = configuration(BASE, logit_scale=0.5)
    assert mup.widened(base, 4 * BASE).logit_scale == pytest.approx(0.5 / 4)


def test_the_kind_of_every_parameter():
    config = configuration(BASE, tied_embeddings=False, positions="learned", qkv_bias=True, norm="layernorm")
    model = Decoder(config)
    kinds = {name: mup.kind(name, p, tied=False) for name, p in model.named_parameters()}
    assert {name for name, k in kinds.items() if k == "input"} == {"embedding.weight", "position_embedding.weight"}
    assert {name for name, k in kinds.items() if k == "output"} == {"head.weight"}
    assert all((k == "vector") == (model.get_parameter(name).dim() < 2) for name, k in kinds.items())
    assert all((k == "hidden") == ("blocks" in name and "norm" not in name and "bias" not in name)
               for name, k in kinds.items())  # fmt: skip
    assert mup.kind("embedding.weight", model.embedding.weight, tied=True) == "tied"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("grow", mup.GROW)
def test_the_base_width_is_the_standard_parametrisation_bit_for_bit(tied, grow):
    base = ModelConfig(RUN_VOCAB, 32, 2, 4, max_context=16, tied_embeddings=tied)
    assert mup.widened(base, 32, grow) == base
    training = TrainingConfig(6, 4, 16, precision="fp32", compile=False, learning_rate=1e-2)
    ends = []
    for make, config in ((Decoder, training), (partial(mup.decoder, base=32), replace(training, mup_base=32))):
        torch.manual_seed(3)
        model = make(base)
        ends.append((train(model, data(), config, progress=False).losses, model.state_dict()))
    (losses, weights), (ours, our_weights) = ends
    assert losses == ours
    assert all(torch.equal(weights[name], our_weights[name]) for name in weights)


def test_widened_with_the_standard_rules_is_the_standard_configuration():
    base = configuration(BASE)
    wide = mup.widened(base, 128, "head_dim", mup.STANDARD)
    assert wide.layer(0).attention_scale == pytest.approx(configuration(128).layer(0).attention_scale)
    assert replace(wide, attention_scale=None) == configuration(128)
    torch.manual_seed(0)
    standard = deviations(Decoder(configuration(128)))
    torch.manual_seed(0)
    assert deviations(mup.decoder(wide, BASE, mup.STANDARD)) == pytest.approx(standard)


def test_more_heads_leave_the_factor_on_scores_alone():
    base = configuration(BASE, n_kv_heads=2)
    wide = mup.widened(base, 96)
    assert (wide.n_heads, wide.n_kv_heads, wide.head_dim, wide.d_ff) == (12, 6, base.head_dim, 3 * base.d_ff)
    assert wide.layer(0).attention_scale == base.layer(0).attention_scale
    deeper = mup.widened(replace(base, d_ff=(64, 96), head_dim=8), 64, "head_dim")
    assert deeper.d_ff == (128, 192)
    assert deeper.attention_scale == pytest.approx(0.5 * 8**-0.5)


@pytest.mark.parametrize(
    ("changes", "width", "grow", "said"),
    [
        ({}, 33, "head_dim", "not whole"),
        ({}, 64, "depth", "must be one of n_heads, head_dim"),
        ({"embedding_width": 16}, 64, "n_heads", "embedding_width"),
    ],
)
def test_what_cannot_be_widened(changes, width, grow, said):
    with pytest.raises(ValueError, match=said):
        mup.widened(configuration(BASE, **changes), width, grow)


@pytest.mark.parametrize("base", [0, 32.0, True, None])
def test_a_base_width_is_a_whole_number(base):
    with pytest.raises(ValueError, match="whole number"):
        mup.decoder(configuration(BASE), base)


def test_the_trainer_takes_only_what_it_can_scale():
    with pytest.raises(ValueError, match="mup_base"):
        TrainingConfig(10, mup_base=0)
    with pytest.raises(ValueError, match="AdamW"):
        TrainingConfig(10, mup_base=32, optimizer="muon")


@pytest.mark.parametrize("tied", [True, False])
def test_the_trainers_groups_follow_the_rules(tied):
    model = mup.decoder(case(tied, 128, BASE)[1], BASE)
    training = TrainingConfig(10, learning_rate=0.02, weight_decay=0.1, mup_base=BASE)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = {names[id(p)]: g for owner in optimizers(model, training) for g in owner.param_groups for p in g["params"]}
    assert groups.keys() == set(names.values())
    for name, factor in mup.multipliers(model, BASE).items():
        assert groups[name]["peak"] == pytest.approx(0.02 * factor)
        decays = model.get_parameter(name).dim() > 1
        assert groups[name]["weight_decay"] == pytest.approx(0.1 / factor if decays else 0)


# -- the coordinate check ----------------------------------------------------------------------------------------------


def both(rules: mup.Rules, kind: str, **exponents) -> mup.Rules:
    """With a change for the matrix named and for a tied one alike."""
    return mup.changed(mup.changed(rules, kind, **exponents), "tied", **exponents)


ERRORS = {  # the table with one error, and a line that the check must print
    "scores by 1/√d": (mup.changed(mup.RULES, "scores", multiplier=-0.5), "scores 0: at the start"),
    "no output multiplier": (both(mup.RULES, "output", multiplier=0), "logits: at the start"),
    "embedding in the hidden group": (both(mup.RULES, "input", rate=-1), "embedding: training changes it"),
    "readout drawn too wide": (both(mup.RULES, "output", deviation=0.5), "logits: at the start"),
    "readout drawn as usual": (both(mup.RULES, "output", deviation=-0.5), "logits: at the start"),
    "hidden rates not divided": (mup.changed(mup.RULES, "hidden", rate=0), "ffn 1: training changes it"),
    "hidden rates by the root": (mup.changed(mup.RULES, "hidden", rate=-0.5), "ffn 0: training changes it"),
    "standard": (mup.STANDARD, "ffn 1: training changes it"),
}


def make(width: int, tied: bool, rules: mup.Rules, grow: str = "head_dim"):
    model = mup.decoder(mup.widened(configuration(BASE, tied_embeddings=tied), width, grow, rules), BASE, rules)
    factors = mup.multipliers(model, BASE, rules)
    groups = [{"params": [p], "lr": CHECK_RATE * factors[name]} for name, p in model.named_parameters()]
    return model, [torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0)]


@cache
def checked(tied: bool, rules: mup.Rules, grow: str = "head_dim"):
    seeds = (0, 1) if rules is mup.RULES else (0,)
    return coordinate_check(partial(make, tied=tied, rules=rules, grow=grow), (32, 64, 128, 256), batch(), 8, seeds)


@pytest.mark.parametrize("tied", [True, False])
def test_the_coordinate_check_is_flat(tied):
    assert faults(checked(tied, mup.RULES)) == []


def test_it_is_flat_with_more_heads_too():
    assert faults(checked(False, mup.RULES, "n_heads"), "n_heads") == []


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("error", ERRORS)
def test_every_error_breaks_it(error, tied):
    rules, line = ERRORS[error]
    found = faults(checked(tied, rules))
    assert any(line in fault for fault in found), found


def test_the_trainers_optimizer_takes_the_steps_that_the_check_saw():
    def by_trainer(width):
        model, _ = make(width, False, mup.RULES)
        training = TrainingConfig(20, learning_rate=CHECK_RATE, weight_decay=0, mup_base=BASE, warmup=0)
        return model, optimizers(model, training)

    ours = coordinate_check(by_trainer, (64,), batch(), 3)
    theirs = coordinate_check(lambda width: make(width, False, mup.RULES), (64,), batch(), 3)
    assert ours.change.tolist() == pytest.approx(theirs.change.tolist(), rel=1e-4)


def test_what_the_check_measures():
    """Sizes and changes are those of the parts named; scores are query · key · scale."""
    model = Decoder(configuration(BASE, n_kv_heads=2, qk_norm="head"))
    inputs, _ = batch(2, 8)
    with outputs(model) as seen:
        logits = model(inputs)
    assert set(seen) == {f"{part} {i}" for part in ("scores", "attention", "ffn") for i in (0, 1)} | {
        "embedding",
        "logits",
    }
    assert {what.split()[0] for what in seen} == set(EXPECTED)
    assert torch.equal(seen["logits"], logits)
    assert torch.equal(seen["embedding"], model.embedding(inputs))
    attention = model.blocks[0].attention
    x = model.blocks[0].attention_norm(model.embedding(inputs))
    q = attention.q_norm(attention.q(x).view(2, 8, 4, 8))
    k = attention.k_norm(attention.k(x).view(2, 8, 2, 8)).repeat_interleave(2, dim=2)
    torch.testing.assert_close(seen["scores 0"], ((q * k).sum(-1) * 8**-0.5).transpose(1, 2))
    assert not model._forward_hooks
    assert not attention.q._forward_hooks


def test_slopes_of_known_sizes():
    import pandas

    rows = [(width, seed, step, what, width**start * (1 + seed), width**trained * (1 + seed))
            for what, start, trained in (("embedding", 0.0, 0.0), ("ffn 0", 0.0, 1.0), ("logits", -0.5, -0.3))
            for width in (8, 16, 64) for seed in (0, 1) for step in (0, 3)]  # fmt: skip
    table = pandas.DataFrame(rows, columns=["width", "seed", "step", "what", "size", "change"])
    found = slopes(table)
    assert found.start.tolist() == pytest.approx([0, 0, -0.5])
    assert found.trained.tolist() == pytest.approx([0, 1, -0.3])
    assert faults(table) == ["ffn 0: training changes it with slope +1.00, not flat"]


def test_an_arm_of_a_sweep_is_drawn_by_the_rules(monkeypatch, tmp_path):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    drawn = []

    def no_train(model, *_, **__):
        drawn.append({name: p.detach().clone() for name, p in model.named_parameters()})
        raise FloatingPointError

    monkeypatch.setattr(sweeping, "train", no_train)
    config = mup.widened(ModelConfig(RUN_VOCAB, 32, 1, 4, max_context=16, tied_embeddings=False), 64)
    arm = sweeping.Arm(config, TrainingConfig(5, 4, 16, mup_base=32))
    for one in (arm, arm._replace(training=replace(arm.training, mup_base=None))):
        sweeping.run_arm(one, 7, prepared=lambda *_: (None, data()))
    for made, make_model in zip(drawn, (partial(mup.decoder, base=32), Decoder)):
        torch.manual_seed(7)
        assert all(torch.equal(made[name], p) for name, p in make_model(config).named_parameters())
    assert not torch.equal(drawn[0]["head.weight"], drawn[1]["head.weight"])
