"""Saving and loading a Decoder: model.safetensors, with config.json and tokenizer.json beside it. Nothing else is read.

A file is written under a temporary name and renamed when complete, so a kill leaves the old file or the new one, never
a half. The header of model.safetensors carries the configuration too, so that weights and configuration cannot come
apart.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slmkit.config import ModelConfig
from slmkit.model.decoder import Decoder

if TYPE_CHECKING:
    from slmkit.data.tokenizer import Tokenizer

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"


def save(model: Decoder, folder: str | Path, tokenizer: "Tokenizer | None" = None) -> Path:
    """Writes `model` (and `tokenizer`) into `folder`, made if missing; other files there are left alone."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(model.config.to_dict(), indent=2)
    tensors = {name: tensor.detach().contiguous() for name, tensor in unique_tensors(model).items()}
    if tokenizer is not None:
        _replace(folder / TOKENIZER, tokenizer.save)
    _replace(folder / WEIGHTS, lambda path: save_file(tensors, path, metadata={"config": config}))
    _replace(folder / CONFIG, lambda path: path.write_text(config + "\n", encoding="utf-8"))
    return folder


def load(folder: str | Path, device: str | torch.device | None = None) -> Decoder:
    """The Decoder that `save` wrote, in the type it was saved in.

    Raises FileNotFoundError, or ValueError when a file is cut short, does not fit its configuration, or holds weights
    that are not finite numbers.
    """
    folder = Path(folder)
    header, tensors = _read_weights(folder / WEIGHTS)
    config = _read_config(folder / CONFIG)
    # A kill between the two renames leaves a config.json older than the weights; theirs is the one that counts.
    if header is not None:
        config = ModelConfig.from_dict(header)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{folder / WEIGHTS} holds values in {name} that are not finite; save a sound model again")
    try:
        model = assemble(config, tensors)
    except ValueError as error:
        raise ValueError(f"{folder / WEIGHTS} is not a model of the configuration beside it: {error}") from None
    return model if device is None else model.to(device)


def unique_tensors(model: Decoder) -> dict[str, Tensor]:
    """The weights by name, each once: a block that serves twice, and a tied head, appear under their first name."""
    return dict(model.named_parameters())


def assemble(config: ModelConfig, tensors: dict[str, Tensor]) -> Decoder:
    """A Decoder made of `tensors`, which are taken as they are: nothing is drawn, converted or copied.

    Raises ValueError when a tensor is missing, left over or of another shape than `config` asks for.
    """
    with torch.device("meta"):  # shapes only, so that no time goes into weights that are replaced at once
        model = Decoder(config)
    wanted = unique_tensors(model)
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise ValueError(f"{missing[0]} is missing ({len(missing)} tensors in all)")
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise ValueError(f"{extra[0]} has no place in it ({len(extra)} tensors in all)")
    for name, parameter in wanted.items():
        if tensors[name].shape != parameter.shape:
            raise ValueError(f"{name} has shape {list(tensors[name].shape)}, not {list(parameter.shape)}")
    model.load_state_dict(tensors, strict=False, assign=True)  # strict would ask for shared tensors twice
    model.make_tables()
    return model


def _read_weights(path: Path) -> tuple[dict | None, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no model at {path.parent}: {path.name} is missing")
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("config")
            return json.loads(header) if header else None, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}); save the model again") from None


def _read_config(path: Path) -> ModelConfig:
    try:
        return ModelConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no model at {path.parent}: {path.name} is missing") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a model configuration: {error}") from None


def _replace(path: Path, write):
    """Lets `write` fill a temporary file, brings it to the disk, and gives it its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
