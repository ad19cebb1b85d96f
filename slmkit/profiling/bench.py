"""`slmkit bench`: training, decoding and start-up beside transformers, on the machine at hand.

All that is compared takes turns: a few steps of one, a few of the next, round after round, so that a slow spell of the
machine hits all alike. A ratio is the median of the rounds' own ratios, with the middle half of them beside it. On one
thread the clock is processor time, with several it is wall time.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import quantiles

import torch

from slmkit.model.counting import count_parameters, flops_per_token
from slmkit.paths import build_folder
from slmkit.profiling import contestants
from slmkit.profiling.contestants import BATCH, CONTEXT
from slmkit.profiling.latency import use_threads
from slmkit.profiling.roofline import gemm_flops
from slmkit.profiling.timing import Timing, measure_in_turn, throughput, timing

PEERS = (  # ours, theirs, what the row is called
    ("slmkit", "trainer", "slmkit.train | Trainer, both in their defaults"),
    ("slmkit", "trainer_fast", "slmkit.train | Trainer with bf16 and torch_compile"),
    ("slmkit_eager", "bare_loop", "slmkit.train, fp32, not compiled | bare loop over LlamaForCausalLM"),
)
# What this project wants to reach on one thread; printed for reference.
TARGETS = {
    ("trainer", "small"): 1.3, ("trainer", "large"): 1.7, ("trainer_fast", "small"): 1.05,
    ("trainer_fast", "large"): 1.05, ("bare_loop", "small"): 1.0, ("bare_loop", "large"): 1.0,
    ("generate", "small"): 2.0, ("generate", "large"): 1.6, ("import torch", ""): 1 / 1.3,
}  # fmt: skip
SAME_LOSS = 0.02  # bits per byte; in bf16 a run ends this close to its fp32 twin
HEAD = f"{'':<68}{'peer':>10}{'ours':>10}  ratio  middle half  target"
SIDES = (256, 512, 1024)  # of the square products whose fastest is the machine's peak


@dataclass
class Row:
    """One comparison. Amounts are a second of the clock, so more is better; a ratio above 1 means ours is faster."""

    what: str
    size: str
    threads: int
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float  # the middle half of the ratios
    high: float
    target: float | None
    repeats: dict[str, list[float]]  # seconds of each turn
    notes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    sizes: tuple[str, ...] = ("small", "large")
    rounds: int = 9
    turn_flops: float = 1.5e11  # of training in one turn: a second or two
    new_tokens: int = 100
    starts: int = 7

    def steps(self, size: str) -> int:
        config = contestants.decoder(size).config
        return max(1, round(self.turn_flops / (flops_per_token(config, CONTEXT, "training") * BATCH * CONTEXT)))


QUICK = Effort(sizes=("small",), rounds=5, turn_flops=3e10, new_tokens=50, starts=3)


def run(threads: list[int], *, quick: bool = False, path: Path, facts: dict | None = None) -> int:
    """Measures everything, prints the table as it fills, and writes the record with all repeats to `path`.

    `facts` about machine and versions go into the record. Raises RuntimeError when a contestant fails, when losses or
    tokens differ, or when a speed passes the machine's peak.
    """
    effort, rows, peaks = QUICK if quick else Effort(), [], {}
    contestants.prepare(contestants.CORPUS, contestants.VOCAB)
    for name, value in settings(effort).items():
        print(f"{name}: {value}")
    for count in threads:
        for size in effort.sizes:
            parameters = count_parameters(contestants.decoder(size).config).total
            title = f"{parameters / 1e6:.1f}M parameters, {count} thread{'s' * (count > 1)}"
            print(f"\n{title}\n{HEAD}", flush=True)
            with use_threads(count):
                for row in [*training_rows(size, count, effort, peaks), decoding_row(size, count, effort)]:
                    rows.append(row)
                    print(in_words(row), flush=True)
    print()
    rows.append(start_row(effort))
    print(in_words(rows[-1]))
    record = (facts or {}) | {"settings": settings(effort), "rows": [asdict(row) for row in rows], "peak_flops": peaks}
    write_record(path, record)
    return 0


def write_record(path: Path, record: dict):
    """Writes all that was measured as JSON, whole or not at all, and says where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
    print(f"\nrecord with all repeats: {path}")


def settings(effort: Effort) -> dict[str, str]:
    c = contestants
    return {
        "training": f"{BATCH} rows of {CONTEXT} tokens of the {c.CORPUS}, vocabulary {c.VOCAB}; the same weights, "
        f"batches and AdamW (rate {c.RATE} constant, decay {c.DECAY}, beta2 {c.BETA2}, gradients clipped at {c.CLIP})",
        "slmkit.train": "precision and compile 'auto', as in a run long enough to repay compiling",
        "Trainer": "per_device_train_batch_size, rates and AdamW as above, order of rows as given; else its defaults",
        "decoding": f"greedy, {effort.new_tokens} tokens after a prompt of 32, fp32",
        "measuring": f"{effort.rounds} rounds in turn, medians; the first step and one turn of warm-up apart",
    }


def in_words(row: Row) -> str:
    target = "" if row.target is None else f"≥ {row.target:.2f}"
    line = f"{row.what:<68}{row.theirs:>10,.2f}{row.ours:>10,.2f}" if row.ours < 100 else (
        f"{row.what:<68}{row.theirs:>10,.0f}{row.ours:>10,.0f}")  # fmt: skip
    line += f"  {row.ratio:>5.2f}  {f'{row.low:.2f}–{row.high:.2f}':>11}  {target:>6}  {row.unit}"
    return "\n".join([line.rstrip(), *(f"    {name}: {text}" for name, text in row.notes.items())])


def compared(what: str, size: str, threads: int, unit: str, amount: float, ours: Timing, theirs: Timing,
             target: float | None, notes: dict | None = None) -> Row:  # fmt: skip
    """The row of two timings taken in turn, each of `amount` units a repeat."""
    ratios = [their / our for their, our in zip(theirs.seconds, ours.seconds, strict=True)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    repeats = {"ours": list(ours.seconds), "theirs": list(theirs.seconds)}
    return Row(what, size, threads, unit, amount / ours.median, amount / theirs.median, middle, low, high, target,
               repeats, notes or {})  # fmt: skip


# -- training --------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What one contestant did."""

    first: float  # wall seconds of its first step, compiling included
    turns: Timing
    bits: float  # bits per byte of held-out text at the end


def training_rows(size: str, threads: int, effort: Effort, peaks: dict) -> list[Row]:
    """Our loops beside theirs, and our share of the machine's peak. Adds to `peaks` what was measured of it."""
    clock, steps, config = "cpu" if threads == 1 else "wall", effort.steps(size), contestants.decoder(size).config
    before = [gemm_flops(side) for side in SIDES]
    results = contest(size, threads, effort.rounds, steps, clock)
    tokens, rows = steps * BATCH * CONTEXT, []
    for ours, theirs, what in PEERS:
        mine, other = results[ours], results[theirs]
        if abs(mine.bits - other.bits) > SAME_LOSS:
            raise RuntimeError(
                f"{what}: the held-out losses are {mine.bits:.4f} and {other.bits:.4f} bits a byte, more than "
                f"{SAME_LOSS} apart, so the two do not do the same work and their speeds do not compare"
            )
        notes = {"held-out bits a byte after the same steps": f"{other.bits:.4f} peer, {mine.bits:.4f} ours"}
        rows.append(compared(what, size, threads, "tokens/s", tokens, mine.turns, other.turns,
                             TARGETS.get((theirs, size)), notes))  # fmt: skip
    rows[0].notes["compiling"] = repaid(results["slmkit"], results["slmkit_eager"], tokens)
    peak = max(*before, *(gemm_flops(side) for side in SIDES))
    peaks[f"{size}, {threads}"] = peak
    flops = tokens * flops_per_token(config, CONTEXT, "training")
    rate = throughput(flops, results["slmkit_eager"].turns.median, peak, "training in FLOPs")
    wanted = "; wanted: 80%" if size == "large" else ""
    rows[-1].notes["share of the machine's peak"] = (
        f"{min(rate / peak, 1):.0%} ({rate / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s in fp32 products{wanted})"
    )
    return rows


def repaid(compiled: Result, eager: Result, tokens: int) -> str:
    """After how many tokens the first step's delay is made up for. A turn is `tokens` tokens."""
    delay = compiled.first - eager.first
    gain = (eager.turns.median - compiled.turns.median) / tokens  # seconds a token
    if gain <= 0:
        return f"the first step took {delay:.1f} s longer than without, and nothing was gained by it"
    return f"the first step took {delay:.1f} s longer than without, repaid after {delay / gain / 1e6:.2f}M tokens"


def contest(size: str, threads: int, rounds: int, steps: int, clock: str, names=None) -> dict[str, Result]:
    """Runs the contestants in turn, `steps` training steps each in each of `rounds` rounds."""
    names = names or list(contestants.CONTESTANTS)
    with ExitStack() as stack:
        scratch = build_folder() / "bench"
        scratch.mkdir(exist_ok=True)
        folder = tempfile.mkdtemp(dir=scratch)  # an empty compiler cache, so that compiling is timed as it is at first
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        team = {name: stack.enter_context(Contestant(name, size, threads, folder)) for name in names}
        for one in team.values():
            one.hear()  # it is ready
        first = {name: one.take(1)[0] for name, one in team.items()}
        laps = {name: [] for name in names}
        for _ in range(1 + rounds):
            for name, one in team.items():
                laps[name].append(one.take(steps))
        return {
            name: Result(first[name], timing([tuple(lap) for lap in laps[name][1:]], clock), one.finish())
            for name, one in team.items()
        }


class Contestant:
    """A training loop in a process of its own; see slmkit.profiling.contestants."""

    def __init__(self, name: str, size: str, threads: int, folder: str):
        self.name, self.log = name, Path(folder, f"{name}.log")
        (cache := Path(folder, name)).mkdir()
        self.errors = open(self.log, "w")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", contestants.__name__, name, size, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_CACHE_DIR": str(cache),
                              "SLMKIT_BUILD": str(build_folder())},
        )  # fmt: skip

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with suppress(BrokenPipeError):
                stream.close()

    def take(self, steps: int) -> list[float]:
        """[wall, CPU] seconds of so many training steps."""
        self.tell(str(steps))
        return self.hear()

    def finish(self) -> float:
        """Ends the run; returns its held-out bits per byte."""
        self.tell("")
        return self.hear()

    def tell(self, line: str):
        with suppress(BrokenPipeError):  # when it has died, hear says why
            print(line, file=self.process.stdin, flush=True)

    def hear(self):
        if line := self.process.stdout.readline():
            return json.loads(line)
        said = self.log.read_text().strip().splitlines() or ["it said nothing"]
        raise RuntimeError(f"the training loop {self.name!r} ended early: {said[-1]}")


# -- decoding and start-up -------------------------------------------------------------------------------------------


def decoding_row(size: str, threads: int, effort: Effort) -> Row:
    """Greedy decoding of the same weights. Raises RuntimeError when the tokens differ."""
    from slmkit import interop
    from slmkit.model.generation import generate

    model = contestants.decoder(size).eval()
    theirs = interop.to_transformers(model).eval()
    ids = torch.randint(contestants.VOCAB, (1, 32), generator=torch.Generator().manual_seed(1))
    options = dict(max_new_tokens=effort.new_tokens, do_sample=False, pad_token_id=0, eos_token_id=None)
    works = {
        "theirs": lambda: theirs.generate(ids, attention_mask=torch.ones_like(ids), **options),
        "ours": lambda: generate(model, ids, effort.new_tokens),
    }
    if not torch.equal(works["theirs"](), works["ours"]()):
        raise RuntimeError(
            "greedy decoding and transformers' generate give different tokens, so their speeds do not compare"
        )
    times = measure_in_turn(works, repeats=effort.rounds)
    return compared("slmkit.generate | generate of transformers, identical tokens", size, threads, "tokens/s",
                    effort.new_tokens, times["ours"], times["theirs"], TARGETS.get(("generate", size)))  # fmt: skip


def start_row(effort: Effort) -> Row:
    """A fresh interpreter that imports our names beside one that imports torch, in processor time."""
    commands = {"theirs": "import torch", "ours": "from slmkit import Decoder, generate, train"}
    laps = {name: [] for name in commands}
    for _ in range(1 + effort.starts):
        for name, command in commands.items():
            spent = os.times()
            subprocess.run([sys.executable, "-c", command], check=True)
            now = os.times()
            cpu = now.children_user + now.children_system - spent.children_user - spent.children_system
            laps[name].append((now.elapsed - spent.elapsed, cpu))
    ours, theirs = (timing(laps[name][1:], "cpu") for name in ("ours", "theirs"))
    notes = {"seconds": f"{theirs.median:.2f} peer, {ours.median:.2f} ours"}
    return compared("from slmkit import Decoder, generate, train | import torch", "", 1, "starts/s", 1, ours, theirs,
                    TARGETS["import torch", ""], notes)  # fmt: skip
