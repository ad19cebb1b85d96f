"""The numbers of the page on LoRA: what adapters add to a model, and what training keeps in memory."""

from collections.abc import Callable
from functools import cache

from slmkit.config import ModelConfig
from slmkit.model.counting import count_parameters
from slmkit.survey import zoo

ADAPTED, LARGER, RANK, ALPHA = "SmolLM2-135M", "Phi-3-mini", 8, 16
RANKS = (1, 8, 64)
ATTENTION = ("q", "k", "v", "out")
KEPT = 16  # bytes of a trained weight in 32 bits: itself, its gradient, Adam's two means


def adapter_parameters(config: ModelConfig, rank: int, only: tuple[str, ...] = ()) -> int:
    """Parameters of adapters on all linear layers of the blocks, or those of a name: rank × (inputs + outputs) each."""
    return rank * sum(sum(shape) for name, shape in _linear(config) if not only or name in only)


@cache
def _linear(config: ModelConfig) -> list[tuple[str, tuple[int, int]]]:
    """Name and shape of each linear layer of the blocks, a shared one once; nothing is allocated."""
    import torch

    from slmkit.model.decoder import Decoder

    with torch.device("meta"):
        modules = Decoder(config).blocks.named_modules()
    return [(name.rsplit(".", 1)[-1], m.weight.shape) for name, m in modules if isinstance(m, torch.nn.Linear)]


def state_bytes(config: ModelConfig, rank: int | None = None) -> int:
    """Bytes of weights, gradients and Adam's two means in 32 bits; of LoRA with a rank, else of full fine-tuning."""
    weights = count_parameters(config).total
    return KEPT * weights if rank is None else 4 * weights + KEPT * adapter_parameters(config, rank)


def first_step(width: int, alpha: float = ALPHA) -> float:
    """The change of an output by LoRA's first step with Adam, in that of full fine-tuning at the same rate.

    |A x| has `rank` terms of deviation 1/√3 of an input's, as peft draws A; the scale alpha / rank takes the rank out.
    """
    return alpha / (3**0.5 * width)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e10 else f"{count / 1e9:.2f} GB"


def _config() -> ModelConfig:
    return zoo.config(ADAPTED)


def _share(rank: int) -> float:
    return adapter_parameters(_config(), rank) / count_parameters(_config()).total


FACTS: dict[str, Callable[[], str]] = {
    "lora.width": lambda: str(_config().d_model),
    "lora.attention": lambda: f"{adapter_parameters(_config(), RANK, ATTENTION):,}",
    "lora.first_step": lambda: f"1/{1 / first_step(_config().d_model):.0f}",
    "lora.full": lambda: _gigabytes(state_bytes(_config())),
    "lora.larger": lambda: LARGER,
    "lora.larger.full": lambda: _gigabytes(state_bytes(zoo.config(LARGER))),
    "lora.larger.state": lambda: _gigabytes(state_bytes(zoo.config(LARGER), RANK)),
    "lora.file": lambda: f"{4 * adapter_parameters(_config(), RANK) / 1e6:.0f} MB",
}
for _rank in RANKS:
    FACTS |= {
        f"lora.{_rank}.parameters": lambda rank=_rank: f"{adapter_parameters(_config(), rank):,}",
        f"lora.{_rank}.share": lambda rank=_rank: f"{100 * _share(rank):.1f}%",
        f"lora.{_rank}.state": lambda rank=_rank: _gigabytes(state_bytes(_config(), rank)),
    }  # fmt: skip
