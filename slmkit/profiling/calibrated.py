"""Three ways to choose the codes of a block format, as lessons, and a Decoder whose weights are such.

`rtn` rounds each weight to the nearest value of the grid. `awq` and `gptq` look at what a layer reads, on a few texts:
its output, not its weights, should change little. With inputs X [n, inputs] and an error E in the weights [outputs,
inputs] the output changes by ||X Eᵀ||² = trace(E H Eᵀ), where H = XᵀX. So H is all that is kept of the texts.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slmkit.data.packing import TokenRow
from slmkit.evaluation.bits import bits_per_byte
from slmkit.model.decoder import Decoder
from slmkit.profiling.quantization import Blocks, Format, dequantize, format_named, grid, quantize


@dataclass
class Inputs:
    """What is kept of a layer's inputs x, seen so far."""

    hessian: NDArray  # [inputs, inputs] float64: Σ x xᵀ
    magnitude: NDArray  # [inputs] float64: Σ |x|
    count: int = 0

    @classmethod
    def of(cls, x: NDArray) -> "Inputs":
        """Of the rows of x [n, inputs]."""
        inputs = cls(np.zeros((x.shape[-1], x.shape[-1])), np.zeros(x.shape[-1]))
        inputs.add(x)
        return inputs

    def add(self, x: NDArray):
        x = x.reshape(-1, x.shape[-1]).astype(np.float64)
        self.hessian += x.T @ x
        self.magnitude += np.abs(x).sum(axis=0)
        self.count += len(x)


def output_error(weight: NDArray, approximate: NDArray, inputs: Inputs) -> float:
    """||X (W' - W)ᵀ||² / ||X Wᵀ||²: the share of the output's energy that is wrong, on the calibration inputs."""
    error = (approximate - weight).astype(np.float64)
    exact = weight.astype(np.float64)
    energy = ((exact @ inputs.hessian) * exact).sum()
    return float(((error @ inputs.hessian) * error).sum() / energy) if energy else 0.0


# -- three methods -----------------------------------------------------------------------------------------------------


def rtn(weight: NDArray, name: str) -> NDArray:
    """Round to nearest: weight [outputs, inputs] -> packed bytes [outputs, ·] in the format `name`.

    The step is the engine's. The engine finds its codes before the step is rounded to 16 bits, here they are the
    nearest on the grid as it is stored: seldom different, and never further from the weight.
    """
    kind = format_named(name)
    blocks = kind.unpack(quantize(weight, name).reshape(-1, kind.bytes))
    flat = weight.reshape(-1, kind.size)
    codes = np.stack([_nearest(flat[:, i], blocks, i, kind) for i in range(kind.size)], axis=1)
    return kind.pack(blocks._replace(codes=codes)).reshape(len(weight), -1)


def awq(weight: NDArray, name: str, inputs: Inputs, trials: int = 20) -> tuple[NDArray, NDArray]:
    """Activation-aware scaling (Lin et al. 2023, arXiv 2306.00978): packed bytes of W diag(s), and s [inputs].

    Columns that meet large inputs are multiplied by s > 1 before they are rounded, so that they fall on a finer grid
    after division; at run time the layer reads x / s. s = (mean |x|)^α, with the α of 0, 1/trials, …, 1 - 1/trials that
    errs least on the calibration inputs. α = 0 is plain rounding, so it is never worse there than `rtn`.
    """
    if len(inputs.magnitude) != weight.shape[-1]:
        raise ValueError(f"the inputs are {len(inputs.magnitude)} wide and the weights {weight.shape[-1]}")
    mean = inputs.magnitude / max(inputs.count, 1)
    mean = np.maximum(mean, 1e-4 * mean.max()) if mean.max() > 0 else np.ones_like(mean)
    best = (float("inf"), None, None)
    for i in range(trials):
        scale = mean ** (i / trials)
        scale = (scale / np.sqrt(scale.max() * scale.min())).astype(np.float32)
        packed = rtn(weight * scale, name)
        error = output_error(weight, dequantize(packed, name) / scale, inputs)
        if error < best[0]:
            best = (error, packed, scale)
    return best[1:]


def gptq(weight: NDArray, name: str, inputs: Inputs, damping: float = 0.01) -> NDArray:
    """Column by column, each one's error made good by those after it (Frantar et al. 2022, arXiv 2210.17323): bytes.

    When column j is rounded, the best change of the columns behind it is -(error / U[j, j]) U[j, j+1:], where U is
    upper triangular with Uᵀ U = H⁻¹: row j of U is, up to a factor, what inverting H again without the first j columns
    would give (their section 3.3). Steps and offsets of a block are chosen when its first column is reached. `damping`
    times the mean of H's diagonal is added to it, so that H can be inverted. When H is diagonal nothing is made good:
    the codes are those of `rtn`. Raises ValueError when H cannot be inverted.
    """
    kind, width = format_named(name), weight.shape[-1]
    quantize(weight, name)  # for what it refuses
    upper, current = inverse_factor(inputs, width, damping), weight.astype(np.float64)
    packed = []
    for start in range(0, width, kind.size):
        blocks = kind.fit(current[:, start : start + kind.size].astype(np.float32))
        codes = np.empty_like(blocks.codes)
        for i in range(kind.size):
            column = start + i
            codes[:, i] = _nearest(current[:, column], blocks, i, kind)
            error = current[:, column] - _column(codes[:, i], blocks, i, kind)
            current[:, column:] -= np.outer(error / upper[column, column], upper[column, column:])
        packed.append(kind.pack(blocks._replace(codes=codes)))
    return np.concatenate(packed, axis=1)


def inverse_factor(inputs: Inputs, width: int, damping: float) -> NDArray:
    """The upper triangular U with Uᵀ U = (H + damping)⁻¹, float64 [width, width]."""
    hessian = inputs.hessian.copy()
    if hessian.shape != (width, width):
        raise ValueError(f"the inputs are {len(hessian)} wide and the weights {width}")
    if damping < 0:
        raise ValueError(f"damping is {damping}; it must not be negative")
    diagonal = np.diagonal(hessian)
    never = diagonal == 0  # an input that was always zero says nothing; its column is rounded by itself
    hessian[np.diag_indices(width)] += damping * diagonal.mean() + never
    try:
        return np.linalg.cholesky(np.linalg.inv(hessian)).T
    except np.linalg.LinAlgError:
        raise ValueError(
            f"{inputs.count} inputs do not determine {width} columns with damping = {damping}; give more, or damp more"
        ) from None


def _nearest(column: NDArray, blocks: Blocks, i: int, kind: Format) -> NDArray:
    """Codes int8 [n] of the grid values nearest to the i-th weight of each block; 0 where the step is zero."""
    step, offset = _grid(blocks, i, kind)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.where(step != 0, np.rint((column - offset) / step), 0)
    return np.clip(codes, kind.lowest, kind.highest).astype(np.int8)


def _column(codes: NDArray, blocks: Blocks, i: int, kind: Format) -> NDArray:
    step, offset = _grid(blocks, i, kind)
    return codes * step + offset


def _grid(blocks: Blocks, i: int, kind: Format) -> tuple[NDArray, NDArray | float]:
    """Step and offset that the i-th weight of each block has, float64 [n]."""
    step, offset = grid(blocks)
    part = i // (kind.size // step.shape[1])
    return step[:, part].astype(np.float64), 0.0 if offset is None else offset[:, part].astype(np.float64)


# -- a whole model -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def calibrate(model: Decoder, ids: Tensor) -> dict[str, Inputs]:
    """What each linear layer of `model` reads, by the layer's name, when the model reads `ids` [batch, time].

    All layers in one pass over the unquantized model. The authors of both methods go block by block and let the later
    blocks see what the quantized earlier ones give.
    """
    seen, hooks = {}, []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            seen[name] = Inputs.of(np.zeros((0, module.in_features)))
            add = seen[name].add
            hooks.append(module.register_forward_pre_hook(lambda _, args, add=add: add(args[0].float().cpu().numpy())))
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@torch.no_grad()
def quantize_model(model: Decoder, name: str, method: str = "rtn", inputs: Mapping[str, Inputs] | None = None,
                   fallback: str | None = None) -> dict[str, str]:  # fmt: skip
    """Puts each matrix of `model`, in place, at the values that it would be read as from the format `name`.

    Quality is then that of the format; speed is not, as the products stay in 32 bits. Linear layers go by `method`
    ("rtn", or "awq" and "gptq" with the `inputs` of `calibrate`), the table of embeddings always by "rtn"; vectors and
    learned positions stay. Matrices whose width is no multiple of the block go into `fallback`. With "awq" the s of
    each layer belongs into what comes before it, a norm or a matrix, and takes no room. Returns format by weight name.
    Raises ValueError for weights in less than 32 bits, which could not hold the values; for a width that no format
    given can hold; for an unknown method, or one without its inputs. These are checked before anything is changed.
    """
    if method not in ("rtn", "awq", "gptq"):
        raise ValueError(f"there is no method {method!r}; there are rtn, awq, gptq")
    if method != "rtn" and inputs is None:
        raise ValueError(f"{method} needs inputs; make them with calibrate(model, ids)")
    chosen = {}
    for layer, module in model.named_modules():
        if isinstance(module, nn.Linear) or module is model.embedding:
            if module.weight.dtype != torch.float32:
                raise ValueError(f"{layer} is in {module.weight.dtype}, too coarse for the values; use model.float()")
            chosen[layer] = _that_fits(layer, module.weight.shape[1], name, fallback)
    if method != "rtn" and (unseen := sorted(chosen.keys() - inputs.keys() - {"embedding"})):
        raise ValueError(f"there are no inputs of {unseen[0]}; make them with calibrate on a model of this shape")
    for layer, kind in chosen.items():
        weight = model.get_submodule(layer).weight
        array, by = weight.cpu().numpy(), "rtn" if layer == "embedding" else method
        if by == "awq":
            packed, scale = awq(array, kind, inputs[layer])
            values = dequantize(packed, kind) / scale
        else:
            values = dequantize(rtn(array, kind) if by == "rtn" else gptq(array, kind, inputs[layer]), kind)
        weight.copy_(torch.from_numpy(values))
    return {f"{layer}.weight": kind for layer, kind in chosen.items()}


def _that_fits(layer: str, width: int, name: str, fallback: str | None) -> str:
    sizes = {kind: format_named(kind).size for kind in filter(None, (name, fallback))}
    for kind, size in sizes.items():
        if width % size == 0:
            return kind
    raise ValueError(
        f"{layer} has rows of {width}, no whole number of {name}'s blocks of {sizes[name]}; name a fallback"
    )


def stored_bytes(model: Decoder, formats: Mapping[str, str]) -> int:
    """Bytes of the weights in a file: matrices in their format, others in 16 bits, vectors in 32, as llama.cpp does.

    `formats` is what `quantize_model` returned; without any, {}, the size is that of a 16-bit file.
    """
    total = 0
    for name, weight in model.named_parameters():
        if name in formats:
            kind = format_named(formats[name])
            total += weight.numel() // kind.size * kind.bytes
        else:
            total += weight.numel() * (2 if weight.ndim > 1 else 4)
    return total


class Point(NamedTuple):
    """One way to store a model: how large it is and how well it predicts."""

    name: str
    bytes: int
    bits_per_weight: float  # all weights, vectors included
    bits_per_byte: float  # of held-out text; lower is better


def trade_off(model: Decoder, arms: Mapping[str, Mapping], row: TokenRow, context: int,
              inputs: Mapping[str, Inputs] | None = None, **reading) -> list[Point]:  # fmt: skip
    """Size and quality of `model` (left as it is) stored in several ways; an arm is the arguments of quantize_model.

    An empty arm is the model in 16 bits, with the quality of its own weights. `reading` goes to bits_per_byte.
    """
    weights, points = sum(parameter.numel() for parameter in model.parameters()), []
    for label, arguments in arms.items():
        one = copy.deepcopy(model)
        formats = quantize_model(one, **arguments, inputs=inputs) if arguments else {}
        size = stored_bytes(one, formats)
        points.append(Point(label, size, 8 * size / weights, bits_per_byte(one, row, context, **reading)))
    return points


def front(points: Iterable[Point]) -> list[Point]:
    """The Pareto front: the points, by size, that no other equals or beats in both size and quality."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.bytes, point.bits_per_byte)):
        if not kept or point.bits_per_byte < kept[-1].bits_per_byte:
            kept.append(point)
    return kept
