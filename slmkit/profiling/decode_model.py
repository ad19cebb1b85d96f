"""The time of a decoding step from a configuration: the roofline, calibrated on a few shapes of the same machine.

The roofline is a lower bound. What a step really takes is put down to four causes, each with one constant:

    seconds = slowness · roofline + row · rows + layer · layers + step

`slowness` is how many times longer the products take than the measured ceilings allow (below one, if the ceilings were
taken in a slower spell of a shared machine: then it corrects them); `row` is what a product of a matrix with one token
takes for each row of the matrix, however short: the start and the end of a dot product; `layer` and `step` are what
Python and the small operators cost, whatever the widths. On a batch of one, bytes and FLOPs rise together, each weight
being read once for one multiply-add, so no fit can tell the two apart; the roofline takes the slower of them.

Caches: a model that fits the last-level cache is read from there at every step but the first. So bytes are read at the
rate that was measured for an array of as many bytes, between two measured sizes at a rate in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from slmkit.config import ModelConfig
from slmkit.model.cache import KVCache
from slmkit.model.decoder import Decoder
from slmkit.profiling.roofline import Peaks, decode_cost
from slmkit.profiling.timing import Timing, measure_in_turn

CONSTANTS = 4


@dataclass(frozen=True)
class DecodeModel:
    """The calibrated model, for one machine, number of threads, dtype and engine: those of the times it was fitted to.

    `str(model)` is a line with its constants.
    """

    peaks: Peaks
    slowness: float  # times the roofline's seconds
    row: float  # seconds a row of a matrix
    layer: float  # seconds a layer
    step: float  # seconds a step
    dtype: torch.dtype = torch.float32

    def predict(self, config: ModelConfig, context: int) -> float:
        """Seconds of a step that sees `context` tokens, on a batch of one."""
        return sum(self.parts(config, context).values())

    def parts(self, config: ModelConfig, context: int) -> dict[str, float]:
        """Those seconds by cause: products, rows, layers, step."""
        causes = causes_of(config, self.peaks, context, self.dtype)
        constants = {"products": self.slowness, "rows": self.row, "layers": self.layer, "step": self.step}
        return {name: one * cause for (name, one), cause in zip(constants.items(), causes, strict=True)}

    def residuals(self, configs: Mapping[str, ModelConfig], seconds: Mapping[str, float], context: int):
        """By name, how much longer a step took than predicted, as a share of the prediction: {"a": 0.1} is 10% more."""
        check_names(configs, seconds)
        return {name: seconds[name] / self.predict(config, context) - 1 for name, config in configs.items()}

    def __str__(self):
        return (
            f"{self.slowness:.2f} × roofline + {1e9 * self.row:.0f} ns a row + {1e6 * self.layer:.0f} µs a layer + "
            f"{1e6 * self.step:.0f} µs a step ({self.peaks.processor}, threads: {self.peaks.threads})"
        )


def fit_decode_model(configs: Mapping[str, ModelConfig], seconds: Mapping[str, float], peaks: Peaks, context: int,
                     dtype: torch.dtype = torch.float32) -> DecodeModel:  # fmt: skip
    """The model whose four constants, none negative, fit the measured `seconds` a step best.

    Least squares of the relative errors, so that a small model counts as much as a large one. `peaks` are those of the
    same machine and threads, measured with arrays as large as the models. Raises ValueError for fewer shapes than are
    needed to leave a residual.
    """
    from scipy.optimize import nnls

    check_names(configs, seconds)
    if len(configs) <= CONSTANTS:
        raise ValueError(f"{len(configs)} shapes cannot fit {CONSTANTS} constants and show an error; measure 6 or more")
    if bad := [name for name, value in seconds.items() if not value > 0]:
        raise ValueError(f"seconds of {bad[0]} are {seconds[bad[0]]}; they must be above 0")
    causes = np.array([causes_of(config, peaks, context, dtype) for config in configs.values()])
    measured = np.array([seconds[name] for name in configs])
    return DecodeModel(peaks, *map(float, nnls(causes / measured[:, None], np.ones(len(measured)))[0]), dtype)


def causes_of(config: ModelConfig, peaks: Peaks, context: int, dtype: torch.dtype) -> tuple[float, int, int, int]:
    """What each constant is multiplied by: the roofline's seconds, the rows of all matrices, the layers, one."""
    cost = decode_cost(config, context, dtype)
    roofline = max(cost.flops / peaks.peak_flops(dtype), cost.bytes * seconds_a_byte(peaks, cost.bytes))
    with torch.device("meta"):  # shapes without numbers
        blocks = Decoder(config).blocks
    matrices = [module for block in blocks for module in block.modules() if isinstance(module, nn.Linear)]
    return roofline, sum(matrix.out_features for matrix in matrices) + config.vocab_size, config.n_layers, 1


def seconds_a_byte(peaks: Peaks, size: float) -> float:
    """To read `size` bytes again and again; between two measured sizes on the line over the logarithm of the size."""
    sizes = sorted(peaks.bandwidth)
    return float(np.interp(np.log(size), np.log(sizes), [1 / peaks.bandwidth[one] for one in sizes]))


def measure_decoding(configs: Mapping[str, ModelConfig], context: int = 64, steps: int = 16, repeats: int = 7,
                     seed: int = 0) -> dict[str, Timing]:  # fmt: skip
    """Seconds a decoding step of each shape, in fp32 on this processor with torch's threads, the shapes in turn.

    All are built at once, with random weights, which take as long as trained ones. `steps` in a row, so that a model
    that fits the caches is read from there, as in generation. CPU time on one thread, else wall time.
    """
    works = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, config in configs.items():
            works[name] = partial(take_steps, Decoder(config), KVCache(config, 1, context), steps)
    return {name: timing.each(steps) for name, timing in measure_in_turn(works, repeats=repeats).items()}


@torch.inference_mode()
def take_steps(model: Decoder, cache: KVCache, steps: int):
    token = torch.zeros(1, 1, dtype=torch.long)
    for _ in range(steps):
        cache.length = cache.capacity - 1
        model(token, cache)


def check_names(configs: Mapping[str, ModelConfig], seconds: Mapping[str, float]):
    if configs.keys() != seconds.keys():
        raise ValueError(f"shapes are {', '.join(configs)}; times are of {', '.join(seconds)}")
