"""Checkpoints: all that a killed run needs to go on to the same bits, in safetensors and JSON.

A checkpoint is a folder `step_00000120` with the model's tensors, the optimizers' tensors and `state.json`. It is
written under a temporary name and renamed, so a folder with its final name is whole. The two newest are kept.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from slmkit.model.decoder import Decoder
from slmkit.training.config import TrainingConfig

KEPT = 2
RUNTIME_FIELDS = {"evaluate_every", "evaluate_tokens", "checkpoint_every", "shard"}  # may change when a run goes on


class BadCheckpoint(ValueError):
    """This checkpoint cannot be used; the message says why in one line."""


def save(folder: Path, step: int, model: Decoder, owners: list[torch.optim.Optimizer], config: TrainingConfig,
         write: bool = True):  # fmt: skip
    """Writes the state after `step` steps below `folder`.

    With weights spread over processes all of them call it, to put the tensors together, and one does `write`. Raises
    OSError with the remedy when the disk is full; earlier checkpoints stay as they are.
    """
    files = {
        "model.safetensors": {name: whole(tensor) for name, tensor in model.named_parameters()},
        "optimizer.safetensors": {name: whole(tensor) for name, tensor in _moments(model, owners).items()},
    }
    if not write:
        return
    final = folder / f"step_{step:08d}"
    partial = folder / f"{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name, tensors in files.items():
            save_file(tensors, partial / name)
        state = {
            "step": step,
            "model": model.config.to_dict(),
            "training": config.to_dict(),
            "sha256": {name: _sha256(partial / name) for name in files},
        }
        (partial / "state.json").write_text(json.dumps(state, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(
            f"could not write the checkpoint of step {step} to {folder} ({error}); make room and run the same command "
            "again: it goes on from the last whole checkpoint"
        ) from None
    for old in found(folder)[KEPT:]:
        shutil.rmtree(old)


def found(folder: Path) -> list[Path]:
    """The checkpoints below `folder`, newest first."""
    return sorted((p for p in folder.glob("step_*") if p.suffix != ".partial"), reverse=True)


def resume(folder: Path, model: Decoder, owners: list[torch.optim.Optimizer], config: TrainingConfig) -> int:
    """Loads the newest usable checkpoint into model and optimizers; returns the steps done, 0 without any.

    One that cannot be used is named in a line on stderr, and the one before it is taken. Raises BadCheckpoint when
    there are checkpoints and none can be used.
    """
    for cut_short in folder.glob("step_*.partial"):  # by a kill; nobody writes while runs are resumed
        shutil.rmtree(cut_short, ignore_errors=True)
    reason = None
    for path in found(folder):
        try:
            state, tensors, moments = _read(path, model, config)
        except BadCheckpoint as error:
            reason = reason or error
            print(f"slmkit: {error}", file=sys.stderr)
            continue
        _restore(model, owners, tensors, moments)
        return state["step"]
    if reason:
        raise BadCheckpoint(f"no checkpoint in {folder} can be used ({reason}); delete it or choose another folder")
    return 0


def _read(path: Path, model: Decoder, config: TrainingConfig) -> tuple[dict, dict, dict]:
    """State, parameters and moments of one checkpoint, all checked before anything is changed."""
    try:
        state = json.loads((path / "state.json").read_text())
        for name, digest in state["sha256"].items():
            if _sha256(path / name) != digest:
                raise BadCheckpoint(f"checkpoint {path.name}: {name} is cut short or changed")
        tensors, moments = (load_file(path / name) for name in state["sha256"])
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise BadCheckpoint(f"checkpoint {path.name} is not whole ({type(error).__name__}: {error})") from None
    for what, saved, ours in (("model", state["model"], model.config), ("training", state["training"], config)):
        ours = ours.to_dict()
        for field in sorted(ours):
            if field not in RUNTIME_FIELDS and saved.get(field) != ours[field]:
                raise BadCheckpoint(
                    f"checkpoint {path.name} is of another {what} configuration: "
                    f"{field} = {saved.get(field)!r}, not {ours[field]!r}"
                )
    for name, tensor in {**tensors, **moments}.items():
        if not torch.isfinite(tensor).all():
            raise BadCheckpoint(f"checkpoint {path.name}: {name} holds a NaN or an infinity")
    return state, tensors, moments


def _restore(model: Decoder, owners: list[torch.optim.Optimizer], tensors: dict, moments: dict):
    owner_of = _owners(owners)
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.copy_(split_like(parameter, tensors[name]))
        owner_of[parameter].state[parameter] = {
            # Step counts stay where the optimizer keeps them, moments beside their parameter.
            key.removeprefix(name + "/"): tensor if tensor.dim() == 0 else split_like(parameter, tensor)
            for key, tensor in moments.items()
            if key.startswith(name + "/")
        }


def _moments(model: Decoder, owners: list[torch.optim.Optimizer]) -> dict:
    """The optimizers' tensors as {"parameter name/state name": tensor}."""
    owner_of = _owners(owners)
    return {
        f"{name}/{key}": tensor
        for name, parameter in model.named_parameters()
        for key, tensor in owner_of[parameter].state[parameter].items()
    }


def _owners(owners: list[torch.optim.Optimizer]) -> dict:
    """Which optimizer steps a parameter."""
    return {p: owner for owner in owners for group in owner.param_groups for p in group["params"]}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in one piece, without its gradient; one that is spread over processes is put together by all."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if is_spread(tensor) else tensor).contiguous()


def is_spread(tensor: torch.Tensor) -> bool:
    """Whether this is a DTensor, of which each process holds a part; asked so that its slow module stays unimported."""
    return hasattr(tensor, "full_tensor")


def split_like(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A whole `tensor` on the device of `parameter`, and spread over processes as `parameter` is."""
    tensor = tensor.to(parameter.device)
    if not is_spread(parameter):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
