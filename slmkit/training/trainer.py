"""The trainer: next-token prediction, one loop for one process or several, on CPU, CUDA or MPS."""

import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from slmkit.data.packing import TokenData
from slmkit.evaluation.bits import bits_per_byte
from slmkit.model.counting import flops_per_token
from slmkit.model.decoder import Decoder
from slmkit.paths import build_folder
from slmkit.training import checkpoint
from slmkit.training.config import TrainingConfig
from slmkit.training.history import History
from slmkit.training.optimizers import optimizers
from slmkit.training.processes import Processes
from slmkit.training.schedules import learning_rate, share

WORTH_COMPILING = 1e13  # FLOPs of a run; below, compiling (20 to 30 seconds on a CPU) takes longer than it saves

BAR_DELAY = 3  # seconds; a shorter run shows no bar


def train(model: Decoder, data: TokenData, config: TrainingConfig, folder: str | Path | None = None, *,
          objective: Callable[..., nn.Module] | None = None, progress: bool = True,
          on_step: Callable[[History], None] | None = None) -> History:  # fmt: skip
    """Trains `model` in place, on its own device, and returns losses and held-out bits per byte.

    With a `folder`, each step adds a line to `log.jsonl` there, a checkpoint is written every `checkpoint_every` steps
    and at the end, and calling again goes on from the newest one: an interrupted run ends in the same bits as an
    unbroken one. `on_step` gets the history after each step; what it raises ends the run. Under torchrun or
    `accelerate launch` each process computes its share of every batch. `objective` makes another loss
    than NextTokenLoss, and is called as that is: (model, bf16=…); see distillation.py. Raises ValueError for data or a
    folder that does not fit, FloatingPointError when the loss stops being a number.
    """
    _check(model, data, config, folder)
    team = Processes.join(model, config)
    folder = Path(folder) if folder is not None else None
    batches = data.train.batches(config.batch_size, config.context, config.seed)
    trained = team.split(model, config)
    owners = optimizers(trained, config)
    done = checkpoint.resume(folder, trained, owners, config) if folder else 0
    team.wait()  # nobody writes before everybody has read
    history = History.begin(folder if team.is_main else None, done)
    loss_of = team.share(_module(trained, config, objective or NextTokenLoss))
    trained.train()
    bar = tqdm(range(done, config.steps), "training", initial=done, total=config.steps, unit="step", delay=BAR_DELAY,
               disable=not (progress and team.is_main), leave=False)  # fmt: skip
    for step in bar:
        started = time.perf_counter(), time.process_time()
        loss, norm = _step(loss_of, owners, batches, config, step, team)
        history.add(step, loss, norm, learning_rate(config, step), config.tokens_per_step, started)
        bar.set_postfix_str(history.summary(), refresh=False)
        if on_step is not None:
            on_step(history)
        if _due(config.evaluate_every, step, config):
            team.joined(trained, model)
            if team.is_main:
                held_out = bits_per_byte(model, data.held_out, config.context, max_tokens=config.evaluate_tokens)
                history.evaluated(step + 1, held_out)
        if folder and _due(config.checkpoint_every, step, config) and (team.is_main or trained is not model):
            checkpoint.save(folder, step + 1, trained, owners, config, write=team.is_main)
    team.joined(trained, model)
    team.wait()
    return history


def _step(loss_of, owners: list, batches: Callable, config: TrainingConfig, step: int, team: Processes):
    """Gradient over all rows of the batch, clipping, update; returns (loss in nats a token, gradient norm)."""
    groups = [group for owner in owners for group in owner.param_groups]
    parameters = [p for group in groups for p in group["params"]]
    device = parameters[0].device
    parts = team.rows(config)
    total = torch.zeros((), device=device)
    for i, rows in enumerate(parts):
        inputs, targets = (x.to(device, non_blocking=True) for x in batches(step, rows))
        with team.local(loss_of) if i + 1 < len(parts) else nullcontext():
            loss = loss_of(inputs, targets) / len(parts)  # parts are equally long, so their mean is the mean
            loss.backward()
        total += loss.detach()
    norm = checkpoint.whole(nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)).item()
    loss = team.mean(total)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"the loss is {loss} and the gradient's norm {norm} at step {step}, with learning rate "
            f"{learning_rate(config, step):.2e}; try a lower learning_rate, a longer warmup or clip = 1.0. "
            "The weights are as before this step"
        )
    for group in groups:
        group["lr"] = group["peak"] * share(config, step)
    for owner in owners:
        owner.step()
        owner.zero_grad(set_to_none=True)
    return loss, norm


class NextTokenLoss(nn.Module):
    """Mean cross-entropy of the next token, in nats: (inputs, targets), each [batch, time] -> scalar.

    A module of its own so that torch.compile sees logits and loss together and never stores both in fp32.
    """

    def __init__(self, model: Decoder, bf16: bool = False):
        super().__init__()
        self.model, self.bf16 = model, bf16

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.model(inputs)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def _module(model: Decoder, config: TrainingConfig, objective: Callable[..., nn.Module]) -> nn.Module:
    """The loss, in the precision and compiled as the configuration says."""
    device = model.embedding.weight.device
    bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16(device))
    loss_of = objective(model, bf16=bf16)
    obstacle = cannot_compile(device)
    if config.compile is True and obstacle:
        raise RuntimeError(obstacle)
    if not config.compile or (config.compile == "auto" and (obstacle or not _worth_compiling(model, config))):
        return loss_of
    # The compiler's own cache would lie in the system's temporary folder.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(build_folder() / "inductor"))
    return torch.compile(loss_of)


def has_bf16(device: torch.device) -> bool:
    """Whether `device` trains faster in bf16 than in fp32: CUDA since Ampere, and processors with matrix tiles (AMX).

    AVX512-BF16 alone does not pay: its gain on products is less than what converting and small kernels cost.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def cannot_compile(device: torch.device) -> str | None:
    """Why torch.compile would fail on `device`, or None where it works."""
    if device.type != "cpu":
        return None
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return "torch.compile needs a C++ compiler on a CPU; install g++ or set CXX"
    if " " in torch.__file__ or " " in str(build_folder()):
        return "torch.compile cannot work in a folder with a space in its name; move the clone or use compile = False"
    return None


def _worth_compiling(model: Decoder, config: TrainingConfig) -> bool:
    tokens = config.steps * config.tokens_per_step
    return tokens * flops_per_token(model.config, config.context, "training") >= WORTH_COMPILING


def _due(every: int | None, step: int, config: TrainingConfig) -> bool:
    return step + 1 == config.steps or (every is not None and (step + 1) % every == 0)


def _check(model: Decoder, data: TokenData, config: TrainingConfig, folder):
    if config.context > model.config.max_context:
        raise ValueError(
            f"context = {config.context} is longer than the model's max_context of {model.config.max_context}"
        )
    for row in (data.train, data.held_out):
        if row.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the tokens come from a vocabulary of {row.vocab_size}, the model knows {model.config.vocab_size}; "
                "build the model with the tokenizer's vocab_size"
            )
    if (steps := getattr(data.train, "steps", config.steps)) != config.steps:
        raise ValueError(f"the stages have {steps} steps together, the run has {config.steps}; make the two equal")
    if config.checkpoint_every and folder is None:
        raise ValueError("checkpoint_every needs a folder to write to: train(…, folder=…)")
