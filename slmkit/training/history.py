"""What happened in a run: in memory for the caller, and as one JSON line a step on disk."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

LOG = "log.jsonl"


@dataclass
class History:
    """Losses and measurements of a run. `losses[i]` belongs to step i; `held_out` has (steps done, bits per byte)."""

    losses: list[float] = field(default_factory=list)  # nats a token
    gradient_norms: list[float] = field(default_factory=list)  # before clipping
    rates: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    tokens: int = 0  # trained on, all processes together
    seconds: float = 0.0  # in training steps, evaluation and checkpoints not counted
    cpu_seconds: float = 0.0  # the same, processor time of all this process's threads
    earlier_cpu_seconds: float = 0.0  # the part of cpu_seconds that a run before this one has spent
    path: Path | None = None

    @property
    def bits_per_byte(self) -> float | None:
        """The last held-out measurement."""
        return self.held_out[-1][1] if self.held_out else None

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    @classmethod
    def begin(cls, folder: Path | None, done: int) -> "History":
        """A history that goes on after `done` steps: what the log in `folder` says of them is read back, what it says
        of later ones (written, but lost to a kill before the next checkpoint) is taken out."""
        history = cls()
        if folder is None:
            return history
        folder.mkdir(parents=True, exist_ok=True)
        history.path = folder / LOG
        kept = [
            line
            for line in _lines(history.path)
            if line["step"] < done or ("bits_per_byte" in line and line["step"] == done)
        ]
        partial = history.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        partial.replace(history.path)
        for line in kept:
            history._note(**line)
        history.earlier_cpu_seconds = history.cpu_seconds
        return history

    def add(self, step: int, loss: float, norm: float, rate: float, tokens: int, started: tuple[float, float]):
        """Notes one step. `started` is (time.perf_counter(), time.process_time()) at its beginning."""
        seconds, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
        self._write(dict(step=step, loss=loss, norm=norm, rate=rate, tokens=tokens, seconds=seconds, cpu=cpu))

    def evaluated(self, steps: int, bits: float):
        """Notes held-out bits per byte after `steps` steps."""
        self._write(dict(step=steps, bits_per_byte=bits))

    def summary(self) -> str:
        """One line for the progress bar."""
        recent = self.losses[-20:]
        held_out = f", held out {self.bits_per_byte:.3f} bits/byte" if self.held_out else ""
        return f"loss {sum(recent) / len(recent):.3f}{held_out}, {self.tokens_per_second:,.0f} tokens/s"

    def _write(self, line: dict):
        self._note(**line)
        if self.path:
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")

    def _note(self, step, bits_per_byte=None, loss=None, norm=None, rate=None, tokens=0, seconds=0.0, cpu=0.0):
        if bits_per_byte is not None:
            self.held_out.append((step, bits_per_byte))
            return
        self.losses.append(loss)
        self.gradient_norms.append(norm)
        self.rates.append(rate)
        self.tokens += tokens
        self.seconds += seconds
        self.cpu_seconds += cpu


def _lines(path: Path):
    """The whole JSON lines of a log; a line cut short by a kill is passed over."""
    if not path.exists():
        return
    for text in path.read_text().splitlines():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            continue
