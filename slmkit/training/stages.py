"""Stages: a run whose mixture changes at given steps, and several decays branched from one stable run.

Two-stage pre-training (MiniCPM, Hu et al. 2024, sections 4 and 5): a long stage at a constant rate on plentiful text,
then a short one in which the rate falls and better text is mixed in.
"""

import json
import shutil
from bisect import bisect
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from slmkit.data.mixing import MixedBatches, Mixture, check_weights
from slmkit.data.packing import TokenRow
from slmkit.training.checkpoint import RUNTIME_FIELDS, BadCheckpoint
from slmkit.training.config import TrainingConfig
from slmkit.training.schedules import share

OF_THE_SCHEDULE = {"steps", "schedule", "decay", "final_rate"}  # may differ where the rates so far are the same


@dataclass(frozen=True)
class Stage:
    """So many steps that draw from the sources by these weights; a source that is not named is not read."""

    steps: int
    weights: Mapping[str, float]

    def __post_init__(self):
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"a stage has {self.steps} steps; it must be a whole number of at least 1")
        check_weights(self.weights)


@dataclass(frozen=True)
class Staged:
    """Token rows by name, read in stages. Takes the place of a row to train on.

    A source goes on in a later stage where it was left: no window of it comes again before all have come. Raises
    ValueError for a stage that names an unknown source.
    """

    sources: Mapping[str, TokenRow]
    stages: Sequence[Stage]

    def __post_init__(self):
        check_stages(self.stages, self.sources)
        self.mixture(self.stages[0])  # sources of different tokenizers

    @property
    def steps(self) -> int:
        """Of all stages together; a run on them has just so many."""
        return sum(stage.steps for stage in self.stages)

    @property
    def vocab_size(self) -> int:
        return self.mixture(self.stages[0]).vocab_size

    @property
    def content(self) -> tuple[Tensor, ...]:
        """All that a batch depends on beside its seed and step; see training/kept.py."""
        steps = torch.tensor([stage.steps for stage in self.stages])
        return (steps, *(tensor for stage in self.stages for tensor in self.mixture(stage).content))

    def mixture(self, stage: Stage) -> Mixture:
        """All sources, by the stage's weights; 0 for one that it does not name."""
        return Mixture({name: (row, stage.weights.get(name, 0)) for name, row in self.sources.items()})

    def batches(self, batch_size: int, context: int, seed: int = 0) -> "StagedBatches":
        """`context` tokens a row. Raises ValueError for a source that is shorter than a row."""
        return StagedBatches(self, batch_size, context, seed)


def check_stages(stages: Sequence[Stage], sources: Collection[str]):
    """Raises ValueError when there is no stage, or one draws from what is not among `sources`."""
    if not stages:
        raise ValueError("there is no stage; give at least one")
    for i, stage in enumerate(stages, start=1):
        if unknown := set(stage.weights) - set(sources):
            raise ValueError(f"stage {i} draws from {min(unknown)!r}; the sources are {', '.join(sources) or 'none'}")


class StagedBatches:
    """Batches of a run in stages, called as `packing.Batches` are: still a function of (seed, step) alone."""

    def __init__(self, staged: Staged, batch_size: int, context: int, seed: int = 0):
        self.ends = list(accumulate(stage.steps for stage in staged.stages))
        self.parts, read = [], Counter()
        for stage in staged.stages:
            part = MixedBatches(staged.mixture(stage), batch_size, context, seed, read.copy())
            read.update(part.rows(stage.steps))
            self.parts.append(part)

    def __call__(self, step: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Inputs and targets of `step` (from 0), each [batch_size, context], int64; `part` selects rows."""
        if not 0 <= step < self.ends[-1]:
            raise IndexError(f"step {step} is in no stage; they have {self.ends[-1]} steps together")
        stage = bisect(self.ends, step)
        return self.parts[stage](step - (self.ends[stage - 1] if stage else 0), part)


def decay_from(stable: TrainingConfig, step: int, steps: int, **changes) -> TrainingConfig:
    """The configuration of a run that does as `stable` for `step` steps and lets the rate fall over `steps` more.

    `stable` keeps its rate after the warm-up (schedule constant or wsd). `changes` are other fields of the decay, such
    as final_rate. Raises ValueError for a cosine, for a step within the warm-up and for a decay of no steps.
    """
    if stable.schedule == "cosine":
        raise ValueError(
            "a cosine's rate depends on the end of its run, so nothing branches off it; use wsd or constant"
        )
    if not stable.warmup <= step or steps < 1:
        raise ValueError(
            f"a decay of {steps} steps from step {step} cannot be: it needs 1 step or more, and a warm-up "
            f"({stable.warmup} steps) that is over"
        )
    return replace(stable, steps=step + steps, schedule="wsd", decay=steps / (step + steps), **changes)


def branch(stable: Path, step: int, folder: Path, config: TrainingConfig):
    """Starts the run `folder` with the checkpoint that the run in `stable` wrote after `step` steps.

    `slmkit.train` then goes on from there with `config`, as `decay_from` makes it. The stable run stays as it is, so
    that several decays can start from one. Raises BadCheckpoint when there is no such checkpoint or the two runs would
    have differed before it.
    """
    source, target = Path(stable) / f"step_{step:08d}", Path(folder) / f"step_{step:08d}"
    try:
        state = json.loads((source / "state.json").read_text())
    except (OSError, json.JSONDecodeError):
        have = ", ".join(path.name for path in sorted(Path(stable).glob("step_*"))) or "none"
        raise BadCheckpoint(f"{stable} has no whole checkpoint of step {step}; it has {have}") from None
    before = TrainingConfig.from_dict(state["training"])
    for name in sorted({field.name for field in fields(config)} - RUNTIME_FIELDS - OF_THE_SCHEDULE):
        if getattr(before, name) != getattr(config, name):
            raise BadCheckpoint(
                f"the stable run has {name} = {getattr(before, name)!r}, the branch {getattr(config, name)!r}; "
                "a branch changes the schedule and the data alone"
            )
    if any(share(before, i) != share(config, i) for i in range(step)):
        raise BadCheckpoint(f"the branch would have had other learning rates before step {step}; see decay_from")
    Path(folder).mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    (partial / "state.json").write_text(json.dumps(state | {"training": config.to_dict()}, indent=1))
    partial.replace(target)
