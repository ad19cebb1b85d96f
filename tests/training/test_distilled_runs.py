"""Training with a teacher: the student comes nearer to it, the run is kept by what it depends on, and a NaN ends it."""

import copy
import dataclasses
import math

import pytest
import small_run as small
import torch

from slmkit import train
from slmkit.data.packing import TokenData
from slmkit.training import distillation as d
from slmkit.training.kept import run_folder
from slmkit.training.trainer import NextTokenLoss


def run(objective, train_on=None, **options):
    student = small.model(d_model=16)
    data = small.data() if train_on is None else TokenData(train_on, small.data().held_out)
    history = train(student, data, small.config(**options), objective=objective, progress=False)
    return student, history


def distance(student, teacher, row):
    ids = row.tokens[:480].view(-1, 32).long()
    with torch.no_grad():
        return d.kl(teacher(ids).log_softmax(-1), student(ids).log_softmax(-1)).mean().item()


@pytest.fixture(scope="module")
def learned():
    model = small.model(seed=5)
    train(model, small.data(), small.config(steps=120), progress=False)
    return model


@pytest.mark.parametrize("options", [{}, {"beta": 1}, {"beta": 0.5, "own": 0.5, "prompt": 4}, {"stored": 8}])
def test_the_student_comes_nearer_to_the_teacher_which_stays_as_it_is(learned, options):
    options, before = dict(options), [p.clone() for p in learned.parameters()]
    held_out, k = small.data().held_out, options.pop("stored", None)
    source = d.store(learned, small.data().train, 32, k) if k else learned
    student, history = run(d.distillation(source, **options), source if k else None)
    start = distance(small.model(d_model=16), learned, held_out)
    assert distance(student, learned, held_out) < 0.8 * start
    assert history.losses[-1] < 0.8 * history.losses[0]
    for ours, theirs in zip(before, learned.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert theirs.grad is None
    assert not learned.training
    assert not any(p.requires_grad for p in learned.parameters()), "processes would wait for its gradient"


def test_the_default_objective_is_the_next_token():
    assert run(None)[1].losses == run(NextTokenLoss)[1].losses


def test_a_kept_run_is_named_by_teacher_and_settings_too(tmp_path, monkeypatch):
    teacher = small.model(seed=5)
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    half = copy.deepcopy(teacher).bfloat16()
    objectives = [None, d.distillation(teacher), d.distillation(teacher, beta=0.5), d.distillation(small.model(seed=6)),
                  d.distillation(half), d.distillation(d.store(teacher, small.row(100, 3), 32, 3))]  # fmt: skip
    folders = [run_folder(small.model(), small.data(), small.config(), one) for one in objectives]
    assert len(set(folders)) == len(objectives)
    assert folders[1] == run_folder(small.model(), small.data(), small.config(), d.distillation(teacher))


def test_a_run_goes_on_to_the_same_bits_with_its_own_text(tmp_path):
    config, whole, resumed = small.config(steps=12), small.model(d_model=16), small.model(d_model=16)
    kept = dataclasses.replace(config, checkpoint_every=5)
    objective = d.distillation(small.model(seed=5), own=0.5, prompt=4)

    def kill(history):
        if len(history.losses) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(resumed, small.data(), kept, tmp_path, objective=objective, on_step=kill, progress=False)
    resumed = small.model(d_model=16)
    train(resumed, small.data(), kept, tmp_path, objective=objective, progress=False)
    train(whole, small.data(), config, objective=objective, progress=False)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_teacher_that_is_broken_ends_the_run():
    broken = small.model()
    with torch.no_grad():
        broken.norm.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        run(d.distillation(broken))
