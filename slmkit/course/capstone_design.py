"""A design of the capstone: one file, and the budget that it plays for.

It is a recipe (training/recipe.py) as JSON with three keys more: its name, its budget, the format of its weights.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from slmkit.config import ModelConfig
from slmkit.data import corpora
from slmkit.data.packing import TokenData
from slmkit.data.tokenizer import Tokenizer
from slmkit.model import storage
from slmkit.model.counting import flops_per_token
from slmkit.model.decoder import Decoder
from slmkit.profiling.quantization import FORMATS
from slmkit.training import mup
from slmkit.training.config import TrainingConfig
from slmkit.training.distillation import distillation, same_vocabulary
from slmkit.training.recipe import Recipe

DESIGN = "design.json"
READS, COMPUTES = 2e8, 5e8  # bytes and FLOPs a second of the device that the task imagines, so slow that both count


class Budget(NamedTuple):
    """What a design may take. The first four are limits, at most."""

    parameters: int  # unique ones
    memory: int  # bytes: weights as stored, and the cache of `context` tokens in 16 bits
    training: float  # FLOPs, a teacher's answers and its own training included
    latency: float  # seconds a token, at `context` tokens, on the imagined device
    context: int
    corpus: str  # every second document of its held-out part is the public evaluation
    pieces: int  # of PIECE characters, that are read of a text

    @property
    def limits(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("parameters", "memory", "training", "latency")}


# Scoring with a hidden text trains the design again: the largest compute takes a minute and a half on a slow processor.
BUDGETS = {
    "tiny": Budget(50_000, 30_000, 4e8, 2.5e-4, 32, "tinyworld", 20),
    "small": Budget(250_000, 160_000, 8e10, 1.2e-3, 64, "speeches", 40),
    "large": Budget(1_800_000, 1_150_000, 1.5e12, 8e-3, 128, "speeches", 120),
}


def _reference(budget: str, vocab: int, batch: int, steps: int, rate: float, **model) -> dict:
    rules = BUDGETS[budget]
    training = {"batch_size": batch, "context": rules.context, "learning_rate": rate, "precision": "fp32",
                "evaluate_tokens": 4096, "seed": 0}  # fmt: skip
    return {"name": f"reference, {budget}", "budget": budget, "format": "Q8_0", "model": model,
            "data": {"vocab_size": vocab, "sources": {"text": rules.corpus}}, "stage": [{"steps": steps}],
            "training": training}  # fmt: skip


REFERENCES = {
    "tiny": _reference("tiny", 300, 8, 12, 1e-2, d_model=32, n_layers=1, n_heads=2, d_ff=64),
    "small": _reference("small", 512, 16, 93, 1.2e-2, d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=192),
    "large": _reference("large", 1024, 16, 124, 6e-3, d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_ff=384),
}


class Prepared(NamedTuple):
    """What `slmkit.train` takes, and the tokenizer."""

    model: Decoder
    data: TokenData
    training: TrainingConfig
    objective: Any
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Design:
    """What design.json says, checked; nothing is read or computed yet. `folder` is where a teacher's folder lies."""

    said: Mapping
    folder: Path = Path()
    recipe: Recipe = field(init=False)

    def __post_init__(self):
        if not isinstance(self.said, dict):
            raise ValueError("a design is an object of names and values")
        said = dict(self.said)
        for name, known in (("budget", list(BUDGETS)), ("format", ["F16", *FORMATS])):
            if said.pop(name, None) not in known:
                raise ValueError(f"{name} is {self.said.get(name)!r}; it must be one of {', '.join(known)}")
        name = said.pop("name", "")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 40:
            raise ValueError(f"name is {name!r}; give the design one of 1 to 40 printable characters")
        recipe = Recipe.of(said)
        for source in recipe.sources.values():
            if source not in corpora.BUILT_IN:
                raise ValueError(
                    f"source {source!r} is not at hand where the design is scored; take {', '.join(corpora.BUILT_IN)}"
                )
        for inner in (recipe.tokenizer, (recipe.teacher or {}).get("model")):
            if inner is not None and (not isinstance(inner, str) or Path(inner).name != inner or inner == ".."):
                raise ValueError(f"the teacher is in {inner!r}; it must be a folder inside the design's own")
        object.__setattr__(self, "recipe", recipe)

    @classmethod
    def read(cls, path: str | Path) -> "Design":
        """Of a folder with design.json, or of such a file. Raises FileNotFoundError, or ValueError in one line."""
        path = Path(path)
        file = path / DESIGN if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"there is no design at {file}; give a hand-in's folder or a design.json")
        try:
            return cls(json.loads(file.read_text(encoding="utf-8")), file.parent)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{file} is not a design: {error}") from None

    @property
    def budget(self) -> Budget:
        return BUDGETS[self.said["budget"]]

    @property
    def teacher(self) -> Path | None:
        """The folder of the teacher, which is a hand-in of its own."""
        return self.folder / self.recipe.teacher["model"] if self.recipe.teacher else None

    def prepare(self) -> Prepared:
        """Model, data and all else that the training takes, the weights drawn with the design's seed."""
        recipe, objective = self.recipe, None
        if recipe.tokenizer:
            recipe = replace(recipe, tokenizer=str(self.folder / recipe.tokenizer))
        config, tokenizer, data = recipe.prepare({name: corpus(source) for name, source in recipe.sources.items()})
        if self.teacher:
            same_vocabulary(tokenizer, Tokenizer.load(self.teacher / storage.TOKENIZER))
            options = {name: value for name, value in recipe.teacher.items() if name != "model"}
            objective = distillation(storage.load(self.teacher), **options)
        training = recipe.training
        torch.manual_seed(training.seed)
        model = mup.decoder(config, training.mup_base) if training.mup_base else Decoder(config)
        return Prepared(model, data, training, objective, tokenizer)

    def training_flops(self, config: ModelConfig) -> float:
        """FLOPs of the training of such a model, with what its teacher computes and what that one's training took."""
        training = self.recipe.training
        tokens = training.steps * training.tokens_per_step
        forward = flops_per_token(config, training.context, "prefill")
        flops = 3 * tokens * forward
        if self.teacher:
            taught = storage.load(self.teacher).config
            flops += tokens * flops_per_token(taught, training.context, "prefill")
            flops += self.recipe.teacher.get("own", 0) * tokens * forward  # the text that the student writes itself
            flops += Design.read(self.teacher).training_flops(taught)
        return flops


corpus = cache(corpora.load)  # a built-in one, loaded once in a process
