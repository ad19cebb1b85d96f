"""Sweeps: several configurations trained on several seeds, each run kept, and compared seed by seed.

Two arms with the same seed see the same batches in the same order, so their difference spreads less than each alone;
`paired` gives it with an interval. A shape compared at another shape's learning rate measures the rate: `tuned` first.
"""

import json
import math
import queue
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import torch
from tqdm import tqdm

from slmkit.config import ModelConfig
from slmkit.data.prepared import prepare
from slmkit.model.counting import count_parameters
from slmkit.model.decoder import Decoder
from slmkit.survey.verdicts import interval
from slmkit.training import mup
from slmkit.training.config import TrainingConfig
from slmkit.training.kept import run_folder
from slmkit.training.trainer import BAR_DELAY, train

if TYPE_CHECKING:
    import pandas


class Arm(NamedTuple):
    """One configuration of a comparison. Its tokenizer has the model's vocabulary size and is trained on the corpus."""

    model: ModelConfig
    training: TrainingConfig
    corpus: str = "speeches"


def with_parameters(config: ModelConfig, total: int) -> ModelConfig:
    """The configuration with an FFN width, a multiple of 8, that brings its parameters nearest to `total`."""
    one, two = (count_parameters(replace(config, d_ff=width)).total for width in (8, 16))
    return replace(config, d_ff=8 * max(1, 1 + round((total - one) / (two - one))))


def sweep(arms: Mapping[str, Arm], seeds: Sequence[int], workers: int = 1) -> "pandas.DataFrame":
    """Trains each arm on each seed; a row for each run, in the order of arms, then seeds.

    Columns: arm, seed, parameters, non_embedding, tokens, loss (nats a token, mean of the last tenth of the steps),
    bits_per_byte (held out; infinite when the run diverged), cpu_s (of training), kept_s (the part of it that an
    earlier call has spent), run (its folder's name). The seed draws the weights and the order of the batches. With
    `workers` above 1 the runs are spread over as many processes of one thread each. Runs that were made before are
    read back from `build/models`, interrupted ones go on.
    """
    if not arms or not seeds:
        raise ValueError("a sweep needs at least one arm and one seed")
    runs = [(name, seed) for seed in seeds for name in arms]
    bar = tqdm(total=len(runs), desc="sweep", unit="run", delay=BAR_DELAY, leave=False)

    here = partial(run_arm, prepared=cache(prepare))

    def one(run):
        name, seed = run
        measured = (here if workers == 1 else pool.run)(arms[name], seed)
        bar.update()
        return {"arm": name, "seed": seed} | measured

    with bar, Workers(workers if workers > 1 else 0) as pool, ThreadPoolExecutor(workers) as threads:
        rows = list(threads.map(one, runs)) if workers > 1 else [one(run) for run in runs]
    import pandas

    table = pandas.DataFrame(rows)
    place = {name: i for i, name in enumerate(arms)}
    return table.sort_values("arm", key=lambda column: column.map(place), kind="stable", ignore_index=True)


def run_arm(arm: Arm, seed: int, prepared=prepare) -> dict:
    """One run of a sweep, in this process."""
    _, data = prepared(arm.corpus, arm.model.vocab_size)
    torch.manual_seed(seed)
    training = replace(arm.training, seed=seed)
    model = mup.decoder(arm.model, training.mup_base) if training.mup_base else Decoder(arm.model)
    counted = count_parameters(arm.model)
    measured = {"parameters": counted.total, "non_embedding": counted.non_embedding,
                "tokens": training.steps * training.tokens_per_step}  # fmt: skip
    folder = run_folder(model, data, training)
    measured |= {"loss": math.inf, "bits_per_byte": math.inf, "cpu_s": math.nan, "kept_s": 0.0, "run": folder.name}
    try:
        history = train(model, data, training, folder, progress=False)
    except FloatingPointError:
        return measured
    last = history.losses[-max(1, len(history.losses) // 10) :]
    measured |= {"loss": fmean(last), "bits_per_byte": history.bits_per_byte}
    return measured | {"cpu_s": history.cpu_seconds, "kept_s": history.earlier_cpu_seconds}


def tuned(
    arms: Mapping[str, Arm], factors: Sequence[float], seeds: Sequence[int], workers: int = 1, sweep=sweep
) -> dict[str, Arm]:
    """The same arms, each with its learning rates multiplied by the factor that ends lowest in the mean over `seeds`.

    The best factor at an end of the list says that the list is too short: a line on stderr names the arm.
    """
    trials = {(name, factor): _scaled(arm, factor) for name, arm in arms.items() for factor in sorted(factors)}
    ends = sweep(trials, seeds, workers).groupby("arm", sort=False).bits_per_byte.mean()
    best = {name: min(factors, key=lambda factor, name=name: ends[name, factor]) for name in arms}
    for name, factor in best.items():
        if len(factors) > 2 and factor in (min(factors), max(factors)):
            print(f"slmkit: {name} is best at {factor:g}, an end of the factors tried; try further", file=sys.stderr)
    return {name: trials[name, factor] for name, factor in best.items()}


def paired(table: "pandas.DataFrame", base: str, column: str = "bits_per_byte") -> "pandas.DataFrame":
    """How each arm of a sweep differs from the arm `base`, seed by seed: mean, low and high of the 95% interval, seeds.

    Raises ValueError when `base` is not in the table or an arm lacks one of its seeds.
    """
    import pandas

    by_arm = table.pivot(index="arm", columns="seed", values=column).reindex(table.arm.unique())
    if base not in by_arm.index:
        raise ValueError(f"there is no arm {base!r}; the arms are {', '.join(map(str, by_arm.index))}")
    if by_arm.isna().any(axis=None):
        raise ValueError(f"{by_arm.isna().any(axis=1).idxmax()!r} was not run on every seed; pairs need the same seeds")
    found = []
    for arm, values in by_arm.drop(base).iterrows():
        differences = (values - by_arm.loc[base]).tolist()
        low, high = interval(differences)
        found.append({"arm": arm, "mean": fmean(differences), "low": low, "high": high, "seeds": len(differences)})
    return pandas.DataFrame(found, columns=["arm", "mean", "low", "high", "seeds"]).set_index("arm")


def _scaled(arm: Arm, factor: float) -> Arm:
    rates = {name: getattr(arm.training, name) * factor for name in ("learning_rate", "muon_rate")}
    return arm._replace(training=replace(arm.training, **rates))


# -- processes: a run goes out as a JSON line, its measurements come back as one ---------------------------------------


class Workers:
    """`count` processes of one thread, each started once; `run` hands a run to one that is free.

    Each is a program of its own (`python -m slmkit.training.sweep`), so that a sweep can be called from a script or a
    notebook without a guard around it.
    """

    def __init__(self, count: int):
        command, pipe = [sys.executable, "-m", "slmkit.training.sweep"], subprocess.PIPE
        self.processes = [subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) for _ in range(count)]
        self.free = queue.SimpleQueue()
        for process in self.processes:
            self.free.put(process)

    def run(self, arm: Arm, seed: int) -> dict:
        process = self.free.get()
        said = {"model": arm.model.to_dict(), "training": arm.training.to_dict(), "corpus": arm.corpus, "seed": seed}
        process.stdin.write(json.dumps(said) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:  # its traceback is on stderr
            raise RuntimeError(f"a process of the sweep stopped (exit code {process.wait()}) at seed {seed}")
        self.free.put(process)
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            process.wait()


def main():
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed must not look like an answer
    prepared = cache(prepare)
    for line in sys.stdin:
        run = json.loads(line)
        arm = Arm(ModelConfig.from_dict(run["model"]), TrainingConfig.from_dict(run["training"]), run["corpus"])
        print(json.dumps(run_arm(arm, run["seed"], prepared)), file=answers, flush=True)


if __name__ == "__main__":
    main()
