"""What a training run is made of, validated before anything is computed."""

import json
from dataclasses import asdict, dataclass, fields

OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("cosine", "wsd", "constant")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class TrainingConfig:
    """One run: how much data in what portions, the optimizer, the schedule, the arithmetic.

    A step reads `batch_size` rows of `context` tokens, over all processes and all `accumulation` parts. Raises
    ValueError for values that cannot work.
    """

    steps: int
    batch_size: int = 16  # rows a step
    context: int = 128  # tokens a row
    accumulation: int = 1  # parts that a step's rows are computed in; the gradient is the same, the memory smaller

    optimizer: str = "adamw"  # muon: Muon for the matrices inside the blocks, AdamW for the rest
    learning_rate: float = 3e-3  # AdamW's highest, reached after warm-up
    muon_rate: float = 0.02  # Muon's highest; it follows the same schedule
    schedule: str = "cosine"
    warmup: int | None = None  # steps; default 5% of the run
    decay: float = 0.2  # wsd: share of the steps in which the rate falls
    final_rate: float = 0.1  # cosine and wsd end at this share of learning_rate
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    mup_base: int | None = None  # AdamW's rates by µP's rules for this base width (mup.py); None: one for all
    clip: float | None = 1.0  # longest gradient, in L2 norm over all parameters; None: no limit

    precision: str = "auto"  # auto: bf16 matrix products where the processor has them
    compile: bool | str = "auto"  # auto: torch.compile when the run is long enough to repay it
    shard: bool = (
        False  # several processes: each keeps its share of weights, gradients and moments (FSDP), not all (DDP)
    )
    seed: int = 0  # of the batch order; the weights come with the model

    evaluate_every: int | None = None  # steps; None: at the end only
    evaluate_tokens: int | None = 65_536  # held-out tokens read at each evaluation; None: all
    checkpoint_every: int | None = None  # steps; None: none. Needs a folder

    def __post_init__(self):
        for name in ("steps", "batch_size", "context", "accumulation"):
            _whole(name, getattr(self, name), 1)
        for name in ("evaluate_every", "evaluate_tokens", "checkpoint_every"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 1)
        if self.warmup is None:
            object.__setattr__(self, "warmup", self.steps // 20)
        _whole("warmup", self.warmup, 0)
        _whole("seed", self.seed, 0)
        if self.warmup >= self.steps:
            raise ValueError(f"warmup = {self.warmup} steps leaves nothing of the {self.steps} steps; make it shorter")
        if self.batch_size % self.accumulation:
            raise ValueError(f"accumulation = {self.accumulation} does not divide batch_size = {self.batch_size}")
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("compile", self.compile, (True, False, "auto"))
        _one_of("shard", self.shard, (True, False))
        if self.mup_base is not None:
            _whole("mup_base", self.mup_base, 1)
            if self.optimizer != "adamw":
                raise ValueError(
                    f"mup_base scales AdamW's rates; optimizer is {self.optimizer!r}, leave one of them out"
                )
        for name in ("learning_rate", "muon_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be 0 or more")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip is {self.clip}; it must be above 0, or None for no limit")
        for name, low, high in (("decay", 0, 1), ("final_rate", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share from {low} to {high}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.context

    def to_dict(self) -> dict:
        """A JSON-ready dictionary; `from_dict` reads it back to an equal configuration."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> "TrainingConfig":
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"unknown training field {unknown[0]!r}; the fields are {', '.join(known)}")
        return cls(**values)


def _whole(name: str, value, least: int):
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def _one_of(name: str, value, choices: tuple):
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(str, choices))}")
