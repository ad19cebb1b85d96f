"""slmkit: build, count, convert, train, evaluate and profile small language models.

The names below load on first use, so `import slmkit` costs what importing torch costs.
"""

from importlib import import_module

from slmkit.config import ModelConfig, RopeScaling
from slmkit.model.counting import count_parameters, flops_per_token, kv_cache_bytes
from slmkit.model.decoder import Decoder
from slmkit.model.generation import generate
from slmkit.model.storage import load, save

_LATER = {"train": "slmkit.training.trainer", "TrainingConfig": "slmkit.training.config"}
_MODULES = ("interop", "survey", "pretrained")

__all__ = [
    "ModelConfig", "RopeScaling", "Decoder", "generate", "save", "load", "count_parameters", "kv_cache_bytes",
    "flops_per_token", *_LATER, *_MODULES,
]  # fmt: skip


def __getattr__(name: str):
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name in _MODULES:
        return import_module(f"slmkit.{name}")
    raise AttributeError(f"slmkit has no attribute {name!r}")
