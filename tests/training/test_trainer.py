"""The training loop against plain arithmetic: gradient, update, accumulation, precision, and what it refuses."""

import dataclasses
import json
import math

import pytest
import small_run as small
import torch
import torch.nn.functional as F

from slmkit import train
from slmkit.data.packing import Batches, TokenData
from slmkit.training.optimizers import Muon, optimizers
from slmkit.training.schedules import learning_rate


def plain_run(model, data, config):
    """What `train` should do, as a loop over the textbook's AdamW, in float64 where it adds up."""
    losses, batches = [], Batches(data.train, config.batch_size, config.context, config.seed)
    state = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()}
    for step in range(config.steps):
        inputs, targets = batches(step)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        norm = math.sqrt(sum(p.grad.double().square().sum().item() for p in model.parameters()))
        rate = learning_rate(config, step)
        with torch.no_grad():
            for p, (mean, square) in state.items():
                grad = p.grad * min(1.0, (config.clip or math.inf) / norm)
                mean.lerp_(grad, 1 - config.beta1)
                square.lerp_(grad * grad, 1 - config.beta2)
                if p.dim() >= 2:
                    p.mul_(1 - rate * config.weight_decay)
                corrected = square / (1 - config.beta2 ** (step + 1))
                p.sub_(rate * mean / (1 - config.beta1 ** (step + 1)) / (corrected.sqrt() + 1e-8))
    return losses


@pytest.mark.parametrize("clip", [1.0, 0.05, None])
def test_train_is_the_textbook_loop(clip):
    config = small.config(steps=12, clip=clip, weight_decay=0.5)
    ours, plain = small.model(), small.model()
    history = train(ours, small.data(), config, progress=False)
    assert history.losses == pytest.approx(plain_run(plain, small.data(), config), rel=2e-5)
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5), name


def test_it_learns():
    history = train(small.model(), small.data(), small.config(steps=80), progress=False)
    assert history.losses[0] > 3.5
    assert sum(history.losses[-5:]) / 5 < 2.2
    assert history.tokens == 80 * 8 * 16
    assert history.held_out[-1][0] == 80
    assert history.cpu_seconds > 0 < history.seconds


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_weight_has_one_owner_and_vectors_do_not_decay(optimizer):
    model = small.model(norm="layernorm", qkv_bias=True, tied_embeddings=False)
    owners = optimizers(model, small.config(weight_decay=0.3, optimizer=optimizer))
    groups = [group for owner in owners for group in owner.param_groups]
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(decay)
    assert len(decay) == len(list(model.parameters()))
    for name, p in model.named_parameters():
        assert decay[id(p)] == (0.3 if p.dim() == 2 else 0.0), name


def test_a_muon_step_turns_every_direction_alike():
    """The defining property: all singular values of the update are about equal, whatever those of the gradient."""
    model = small.model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = small.config(steps=1, warmup=0, optimizer="muon", weight_decay=0.0, muon_rate=0.5, schedule="constant")
    train(model, small.data(), config, progress=False)
    for name, p in model.named_parameters():
        step = before[name] - p.detach()
        if "blocks" in name and p.dim() == 2:
            values = torch.linalg.svdvals(step)
            assert values.max() / values.quantile(0.1) < 2, name
            assert 0.25 < values.median() / (0.5 * max(1, p.shape[0] / p.shape[1]) ** 0.5) < 1.5, name
        elif p.dim() == 2:  # AdamW's first step moves each entry that has a gradient by the rate
            assert step.abs().max().item() == pytest.approx(config.learning_rate, rel=1e-2), name


@pytest.mark.parametrize("has_bf16", [True, False])
def test_muon_is_torch_s_and_multiplies_in_fp32_where_bf16_is_slow(monkeypatch, has_bf16):
    monkeypatch.setattr("slmkit.training.optimizers.multiplies_bf16", lambda device: has_bf16)
    torch.manual_seed(0)
    start, gradients = torch.randn(24, 40), torch.randn(3, 24, 40)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    steps = [one([weight], lr=0.1, weight_decay=0.1, momentum=0.95)
             for one, weight in ((Muon, ours), (torch.optim.Muon, theirs))]  # fmt: skip
    for gradient in gradients:
        for weight, owner in zip((ours, theirs), steps, strict=True):
            weight.grad = gradient.clone()
            owner.step()
    assert torch.equal(ours, theirs) == has_bf16
    assert torch.allclose(ours, theirs, atol=0.02)
    # The update in fp64, by the iteration's coefficients (Jordan 2024): fp32 is as near as its rounding.
    step = gradients.double()[0]
    step = step.lerp(0.05 * step, 0.95)
    step = step / step.norm()
    for _ in range(5):
        gram = step @ step.T
        step = 3.4445 * step + (-4.775 * gram + 2.0315 * gram @ gram) @ step
    first = torch.nn.Parameter(start.clone())
    first.grad = gradients[0].clone()
    Muon([first], lr=0.1, weight_decay=0.1, momentum=0.95).step()
    off = (first - (start * 0.99 - 0.1 * step)).abs().max()
    assert (off < 1e-5) != has_bf16


def test_muon_learns():
    history = train(small.model(), small.data(), small.config(steps=80, optimizer="muon"), progress=False)
    assert sum(history.losses[-5:]) / 5 < 2.2


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulation_changes_nothing(parts):
    whole, parted = small.model(), small.model()
    a = train(whole, small.data(), small.config(steps=5), progress=False)
    b = train(parted, small.data(), small.config(steps=5, accumulation=parts), progress=False)
    assert a.losses == pytest.approx(b.losses, rel=1e-5)
    assert a.gradient_norms == pytest.approx(b.gradient_norms, rel=1e-4)


def test_same_seed_same_bits_other_seed_other_batches():
    def losses(seed):
        return train(small.model(), small.data(), small.config(steps=6, seed=seed), progress=False).losses

    assert losses(0) == losses(0)
    assert losses(0) != losses(1)


def test_bf16_stays_near_fp32():
    fp32 = train(small.model(), small.data(), small.config(steps=20), progress=False)
    bf16 = train(small.model(), small.data(), small.config(steps=20, precision="bf16"), progress=False)
    assert fp32.losses != bf16.losses
    assert fp32.losses == pytest.approx(bf16.losses, rel=0.03)


@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_equals_eager(precision):
    eager = train(small.model(n_layers=1), small.data(), small.config(steps=8, precision=precision), progress=False)
    config = small.config(steps=8, precision=precision, compile=True)
    compiled = train(small.model(n_layers=1), small.data(), config, progress=False)
    assert compiled.losses == pytest.approx(eager.losses, rel=1e-4 if precision == "fp32" else 2e-2)


def test_a_compiler_that_cannot_work_is_named_and_never_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "a folder"))
    monkeypatch.setattr("slmkit.training.trainer.WORTH_COMPILING", 0)
    train(small.model(), small.data(), small.config(steps=1, warmup=0, compile="auto"), progress=False)
    with pytest.raises(RuntimeError, match=r"folder with a space|C\+\+ compiler"):
        train(small.model(), small.data(), small.config(steps=1, warmup=0, compile=True), progress=False)


def test_evaluations_come_when_asked():
    history = train(small.model(), small.data(), small.config(steps=10, evaluate_every=4), progress=False)
    assert [step for step, _ in history.held_out] == [4, 8, 10]
    assert history.bits_per_byte == history.held_out[-1][1]


def test_the_log_has_a_line_a_step(tmp_path):
    history = train(small.model(), small.data(), small.config(steps=5, evaluate_every=2), tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines if "loss" in line] == history.losses
    assert [line["bits_per_byte"] for line in lines if "bits_per_byte" in line] == [b for _, b in history.held_out]


def test_a_loss_that_is_no_number_stops_the_run_before_it_spoils_the_weights(tmp_path):
    model = small.model()
    config = small.config(steps=60, learning_rate=1e30, clip=None, warmup=0, checkpoint_every=1)
    with pytest.raises(FloatingPointError, match=r"at step \d+, with learning rate .*; try a lower learning_rate"):
        train(model, small.data(), config, tmp_path, progress=False)


def test_data_that_does_not_fit_is_refused():
    data = small.data()
    with pytest.raises(ValueError, match=r"context = 64 is longer than the model's max_context of 32"):
        train(small.model(), data, small.config(context=64), progress=False)
    with pytest.raises(ValueError, match=r"vocabulary of 61, the model knows 60"):
        train(small.model(vocab_size=60), data, small.config(), progress=False)
    with pytest.raises(ValueError, match=r"checkpoint_every needs a folder"):
        train(small.model(), data, small.config(checkpoint_every=5), progress=False)
    short = TokenData(dataclasses.replace(data.train, tokens=data.train.tokens[:100]), data.held_out)
    with pytest.raises(ValueError, match=r"100 tokens are too few for a batch of 8 × 16"):
        train(small.model(), short, small.config(), progress=False)


def test_progress_shows_loss_speed_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr("slmkit.training.trainer.BAR_DELAY", 0)
    train(small.model(), small.data(), small.config(steps=40))
    shown = capsys.readouterr().err
    assert "loss" in shown
    assert "tokens/s" in shown
    assert "<" in shown  # elapsed<left
