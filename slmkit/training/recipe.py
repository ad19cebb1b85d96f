"""A training run as a TOML file: model, corpora, stages, schedule, teacher. `slmkit train --config FILE` runs it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path

from slmkit.config import ModelConfig
from slmkit.data.corpora import Corpus
from slmkit.data.packing import TokenData
from slmkit.data.prepared import prepare_together
from slmkit.data.tokenizer import Tokenizer
from slmkit.model.storage import TOKENIZER
from slmkit.training.config import TrainingConfig
from slmkit.training.stages import Stage, Staged, check_stages

SECTIONS = {
    "model": {field.name for field in fields(ModelConfig)} - {"vocab_size"},
    "data": {"vocab_size", "tokenizer", "sources", "held_out"},
    "stage": {"steps", "weights"},
    "training": {field.name for field in fields(TrainingConfig)} - {"steps"},
    "teacher": {"model", "beta", "temperature", "hard", "own", "prompt"},
}


@dataclass(frozen=True)
class Recipe:
    """What a file says, checked: nothing is read or computed yet.

    The vocabulary and the number of steps are not stated twice: the first is the tokenizer's, the second the sum of
    the stages.
    """

    model: Mapping
    training: TrainingConfig
    vocab_size: int
    tokenizer: str | None  # a folder with one, such as the teacher's; None: trained on the sources
    teacher: Mapping | None  # its folder as "model", and options of DistillationLoss
    sources: Mapping[str, str]  # corpora by name, as `corpora.load` takes them
    held_out: str  # the source whose held-out part measures the run
    stages: tuple[Stage, ...]

    @classmethod
    def read(cls, path: str | Path) -> "Recipe":
        """Raises FileNotFoundError, or ValueError in one line that names the file and what is wrong in it."""
        try:
            said = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            return cls.of(said)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a TOML file: {error}") from None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def of(cls, said: Mapping) -> "Recipe":
        """Of what tomllib read. Raises ValueError in one line, or TypeError for a value of the wrong kind."""
        _known(said, set(SECTIONS), "")
        for name in ("model", "data", "stage"):
            if not said.get(name):
                raise ValueError(
                    f"[{name}] is missing" if name != "stage" else "there is no [[stage]]; give one or more"
                )
        if not isinstance(said["stage"], list):
            raise ValueError("[stage] is one table; stages are written with two brackets, [[stage]]")
        for name in ("model", "data", "training", "teacher"):
            _known(said.get(name, {}), SECTIONS[name], name)
        data = said["data"]
        sources = data.get("sources")
        if not isinstance(sources, dict) or not sources:
            raise ValueError('[data.sources] is missing: a name for each corpus, such as speeches = "speeches"')
        stages = []
        for stage in said["stage"]:
            _known(stage, SECTIONS["stage"], "stage")
            stages.append(Stage(stage.get("steps", 0), stage.get("weights") or dict.fromkeys(sources, 1)))
        check_stages(stages, sources)
        training = said.get("training", {})
        held_out = data.get("held_out", next(iter(sources)))
        if held_out not in sources:
            raise ValueError(f"held_out is {held_out!r}; it must be one of the sources, {', '.join(sources)}")
        if "tokenizer" in data and "vocab_size" in data:
            raise ValueError(
                "[data] has a tokenizer and a vocab_size; the tokenizer has its own, leave one of them out"
            )
        if "model" not in said.get("teacher", {"model": ""}):
            raise ValueError("[teacher] has no model; give the folder that it is in")
        config = TrainingConfig(sum(stage.steps for stage in stages), **training)
        return cls(
            said["model"], config, data.get("vocab_size", 2048), data.get("tokenizer"), said.get("teacher"),
            sources, held_out, tuple(stages),
        )  # fmt: skip

    def prepare(self, corpora: Mapping[str, Corpus]) -> tuple[ModelConfig, Tokenizer, TokenData]:
        """Of the sources' texts, by name: the model's configuration, the tokenizer, the staged data.

        The configuration has the tokenizer's vocabulary. Texts are packed once and kept under `build/data`. Raises
        OSError when the tokenizer's folder has none, and ValueError for a model that cannot be.
        """
        vocabulary = Tokenizer.load(Path(self.tokenizer) / TOKENIZER) if self.tokenizer else self.vocab_size
        tokenizer, data = prepare_together(corpora, vocabulary)
        rows = {name: one.train for name, one in data.items()}
        # Rotary positions beyond the longest training row are ones that the model has never seen.
        options = {"max_context": self.training.context} | dict(self.model)
        if self.training.mup_base:  # [model] has the widths that are trained, so what µP adds is the factor on logits
            options.setdefault("logit_scale", self.training.mup_base / options["d_model"])
        return (
            ModelConfig(tokenizer.vocab_size, **options), tokenizer,
            TokenData(Staged(rows, self.stages), data[self.held_out].held_out),
        )  # fmt: skip


def _known(said: Mapping, known: set[str], section: str):
    if not isinstance(said, dict):
        raise ValueError(f"[{section}] is not a table of names and values")
    for name in said:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            where = f" in [{section}]" if section else ""
            raise ValueError(f"unknown key {name!r}{where}; " + (f"did you mean {near[0]}?" if near else
                             f"it is one of {', '.join(sorted(known))}"))  # fmt: skip
