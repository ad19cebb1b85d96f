"""slmkit: build, count, convert, train, evaluate and profile small language models.

The names below load on first use. Even torch does, so that a command's help is there at once.
"""

from importlib import import_module

_PLACES = {
    "ModelConfig": "config",
    "RopeScaling": "config",
    "Decoder": "model.decoder",
    "generate": "model.generation",
    "save": "model.storage",
    "load": "model.storage",
    "count_parameters": "model.counting",
    "kv_cache_bytes": "model.counting",
    "flops_per_token": "model.counting",
    "train": "training.trainer",
    "TrainingConfig": "training.config",
}
_MODULES = ("interop", "survey", "pretrained")

__all__ = [*_PLACES, *_MODULES]


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(f"slmkit.{_PLACES[name]}"), name)
    if name in _MODULES:
        return import_module(f"slmkit.{name}")
    raise AttributeError(f"slmkit has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
