"""The numbers of the page on quantization: formats, what rounding costs, and Figure 9 of the survey."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch

from slmkit.model.decoder import Decoder
from slmkit.profiling.calibrated import stored_bytes
from slmkit.profiling.quantization import FORMATS, dequantize, quantize
from slmkit.survey import zoo
from slmkit.survey.evidence import devices

REAL, TESTED, SUPER_BLOCK = "SmolLM2-135M", "Phi-1.5", 256
# Where the width is no multiple of 256, the engine's quantizer takes these instead (seen in its files; a test looks).
FALLBACK = {"Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
OUTLIER = 20  # standard deviations: the one large weight in 256 of the second kind of tensor


def bits(name: str) -> float:
    """Bits a weight of any format of llama.cpp. Of a mixture (Q4_K_M) it is those of the format in its name."""
    import gguf

    size, stored = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name.removesuffix("_M")]]
    return 8 * stored / size


@cache
def noise(name: str, outlier: bool = False) -> float:
    """Root mean square error over that of the weights, percent: 2^18 normal weights, or with one outlier in 256.

    The outliers themselves count neither as weights nor as errors: what they do to the others is the question.
    """
    weights = np.random.default_rng(0).standard_normal((1024, SUPER_BLOCK)).astype(np.float32)
    ordinary = np.ones(SUPER_BLOCK, bool)
    if outlier:
        weights[:, 100], ordinary[100] = OUTLIER, False
    error = dequantize(quantize(weights, name), name) - weights
    return 100 * float(np.sqrt((error[:, ordinary] ** 2).mean() / (weights[:, ordinary] ** 2).mean()))


@cache
def shapes(name: str = REAL) -> Decoder:
    """A published model without its weights."""
    with torch.device("meta"):
        return Decoder(zoo.config(name))


def megabytes(name: str | None) -> float:
    """SmolLM2-135M with all matrices in one format; None: in 16 bits."""
    matrices = {key for key, weight in shapes().named_parameters() if weight.ndim > 1}
    return stored_bytes(shapes(), dict.fromkeys(matrices, name) if name else {}) / 1e6


def even_share() -> float:
    """Of SmolLM2-135M's weights in matrices, those in rows that super-blocks divide, percent."""
    matrices = [weight for weight in shapes().parameters() if weight.ndim > 1]
    even = sum(weight.numel() for weight in matrices if weight.shape[1] % SUPER_BLOCK == 0)
    return 100 * even / sum(weight.numel() for weight in matrices)


@cache
def uneven() -> tuple[int, int]:
    """Of the survey's models that can be built: those whose width is no multiple of 256, and all."""
    widths = [zoo.config(name).d_model for name in zoo.available(since=False)]
    return sum(width % SUPER_BLOCK != 0 for width in widths), len(widths)


def fewer_bytes(name: str) -> float:
    """By how many percent a weight takes fewer bytes than in FP16."""
    return 100 * (1 - bits(name) / 16)


FACTS: dict[str, Callable[[], str]] = {
    "quant.width": lambda: str(zoo.config(REAL).d_model),
    "quant.tested_width": lambda: f"{zoo.config(TESTED).d_model:,}",
    "quant.even": lambda: f"{even_share():.0f}%",
    "quant.uneven": lambda: str(uneven()[0]),
    "quant.buildable": lambda: str(uneven()[1]),
    "quant.outlier": lambda: str(OUTLIER),
    "quant.size.16": lambda: f"{megabytes(None):.0f} MB",
}
for _name, _format in FORMATS.items():
    FACTS |= {
        f"quant.{_name}.weights": partial(str, _format.size),
        f"quant.{_name}.bytes": partial(str, _format.bytes),
        f"quant.{_name}.bits": partial("{:g}".format, _format.bits_per_weight),
        f"quant.{_name}.noise": lambda name=_name: f"{noise(name):.1f}%",
        f"quant.{_name}.outlier": lambda name=_name: f"{noise(name, True):.1f}%",
    }
    if _format.size == 32:
        FACTS[f"quant.{_name}.size"] = lambda name=_name: f"{megabytes(name):.0f} MB"
for _name in devices.QUANTS:
    FACTS |= {
        f"quant.survey.{_name}.bits": lambda name=_name: f"{bits(name):.2f}",
        f"quant.survey.{_name}.bytes": lambda name=_name: f"{fewer_bytes(name):.0f}%",
        f"quant.survey.{_name}.prefill": lambda name=_name: f"{devices.reduction(devices.PREFILL, name):.0f}%",
        f"quant.survey.{_name}.decode": lambda name=_name: f"{devices.reduction(devices.DECODE, name):.0f}%",
    }
