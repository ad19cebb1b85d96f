"""Several processes: each computes the gradient of its rows, all average them, all take the same step."""

import copy
import os
from contextlib import nullcontext

import torch
from torch import nn

from slmkit.model.decoder import Decoder
from slmkit.training.checkpoint import is_spread, whole
from slmkit.training.config import TrainingConfig


class Processes:
    """This process among those that torchrun or `accelerate launch` started; alone without them."""

    def __init__(self, rank: int = 0, count: int = 1, state=None):
        self.rank, self.count, self.state = rank, count, state
        self.is_main = rank == 0

    @classmethod
    def join(cls, model: Decoder, config: TrainingConfig) -> "Processes":
        """Joins the group that the launcher's environment describes. Raises ValueError when the rows do not divide."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=model.embedding.weight.device.type == "cpu")  # gloo on CPU, NCCL on CUDA
        if config.batch_size % (state.num_processes * config.accumulation):
            raise ValueError(
                f"batch_size = {config.batch_size} rows do not divide into {state.num_processes} processes × "
                f"{config.accumulation} parts"
            )
        return cls(state.process_index, state.num_processes, state)

    def split(self, model: Decoder, config: TrainingConfig) -> Decoder:
        """What to train: the model itself, or a copy whose weights are spread over the processes, block by block.

        The copy shards gradients and the optimizer's moments too, which are most of what training keeps (ZeRO,
        Rajbhandari et al. 2020; PyTorch's fully_shard). `joined` writes its weights back.
        """
        if not (config.shard and self.count > 1):
            return model
        from torch.distributed.fsdp import fully_shard

        spread = copy.deepcopy(model)
        if model.config.sharing == "none":  # else blocks have parts in common, and the model is one unit
            for block in spread.blocks:
                fully_shard(block)
        return fully_shard(spread)

    def joined(self, spread: Decoder, model: Decoder) -> Decoder:
        """`model` with the weights of `spread`, which `split` made of it; all processes take part."""
        if spread is not model:
            with torch.no_grad():
                for ours, theirs in zip(model.parameters(), spread.parameters(), strict=True):
                    ours.copy_(whole(theirs))
        return model

    def share(self, loss_of: nn.Module) -> nn.Module:
        """Wraps a module so that its backward pass averages gradients over the processes, as a split model does."""
        if self.count == 1 or any(map(is_spread, loss_of.parameters())):
            return loss_of
        return nn.parallel.DistributedDataParallel(loss_of)

    def local(self, loss_of: nn.Module):
        """A context in which backward passes only add up here: all but the last part of an accumulated step."""
        return loss_of.no_sync() if hasattr(loss_of, "no_sync") else nullcontext()

    def rows(self, config: TrainingConfig) -> list[slice]:
        """The rows of a batch that are this process's, in `accumulation` parts."""
        size = config.batch_size // (self.count * config.accumulation)
        first = self.rank * config.accumulation
        return [slice(size * i, size * (i + 1)) for i in range(first, first + config.accumulation)]

    def mean(self, value: torch.Tensor) -> float:
        """The mean of a scalar over the processes."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value.item() / self.count

    def wait(self):
        """Returns when all processes are here."""
        if self.state:
            self.state.wait_for_everyone()
