"""The numbers of the page on maximal update parametrisation: what published configurations show of it."""

from collections.abc import Callable

from slmkit.config import ModelConfig
from slmkit.survey import zoo

FAMILIES = {"minicpm": "MiniCPM", "granite": "Granite", "cerebras": "Cerebras-GPT"}


def members(family: str) -> dict[str, ModelConfig]:
    """The configurations of a family's models, by name."""
    return {name: zoo.config(name) for name in zoo.available() if name.startswith(FAMILIES[family])}


def with_factor(family: str = "") -> dict[str, ModelConfig]:
    """Those of a family, or of all models, that multiply their logits by a factor."""
    known = members(family) if family else {name: zoo.config(name) for name in zoo.available()}
    return {name: config for name, config in known.items() if config.logit_scale != 1}


def base_width(config: ModelConfig) -> float:
    """The width at which the factor on the logits would be one: µP divides logits by width / base width."""
    return config.logit_scale * config.d_model


def divides_by_width(config: ModelConfig) -> bool:
    """Whether scores are divided by the head's width, and not by its root."""
    return abs(config.layer(0).attention_scale * config.head_dim - 1) < 1e-6


FACTS: dict[str, Callable[[], str]] = {"mup.models": lambda: str(len(with_factor())),
                                       "mup.of": lambda: str(len(zoo.available()))}  # fmt: skip
for _one in FAMILIES:
    FACTS |= {
        f"mup.{_one}.models": lambda one=_one: str(len(members(one))),
        f"mup.{_one}.with_factor": lambda one=_one: str(len(with_factor(one)) or "none"),
        f"mup.{_one}.bases": lambda one=_one: ", ".join(
            sorted({f"{base_width(config):.0f}" for config in with_factor(one).values()})) or "none",
        f"mup.{_one}.by_width": lambda one=_one: str(sum(map(divides_by_width, members(one).values())) or "none"),
    }  # fmt: skip
