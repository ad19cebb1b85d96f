"""Weights in few bits: four block formats of llama.cpp, written out. Dequantizing equals the engine's to the last bit.

A row of weights is cut into blocks. A block stores one small whole number (a code) for each weight, and what all its
weights share: a step, and in some formats an offset. A weight is then read as code × step + offset.

format  weights  bytes  bits/weight  stored, in this order
Q8_0         32     34        8.5    step d (16-bit float), 32 codes of 8 bits
Q4_0         32     18        4.5    d, 32 codes of 4 bits
Q4_1         32     20        5.0    d, smallest weight m (16-bit float), 32 codes of 4 bits
Q4_K        256    144        4.5    d, dmin, 8 scales and 8 offsets of 6 bits (12 bytes), 256 codes of 4 bits

Q4_K is a super-block of eight blocks of 32. Block j has step d × scale[j] and offset -dmin × offset[j]: the two floats
are paid once for 256 weights. That gives Q4_0's size with Q4_1's freedom.

Why bits can be equal on any machine: a 16-bit float has 11 significant bits, a scale 6, a code at most 8. Each product
here fits the 24 bits of a 32-bit float and is exact, so only the addition of the offset rounds, once. The sources are
ggml-quants.c of llama.cpp (MIT), and the package gguf for the first three.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Blocks(NamedTuple):
    """n blocks, each number that is stored by itself; `pack` makes bytes of them."""

    codes: NDArray  # [n, weights] int8; Q4_0's from -8 to 7 (stored with 8 added), Q4_1's and Q4_K's from 0 to 15
    step: NDArray  # [n] float16: d
    offset: NDArray | None = None  # [n] float16: Q4_1's m, Q4_K's dmin
    parts: NDArray | None = None  # [n, 2, 8] uint8: Q4_K's scales and offsets, 0 to 63


@dataclass(frozen=True)
class Format:
    """How one block is chosen, laid out and read. `fit` takes float32 [n, size], `pack` gives uint8 [n, bytes]."""

    name: str
    size: int  # weights in a block
    bytes: int
    lowest: int  # code
    highest: int
    fit: Callable[[NDArray], Blocks]
    pack: Callable[[Blocks], NDArray]
    unpack: Callable[[NDArray], Blocks]

    @property
    def bits_per_weight(self) -> float:
        """All bits of a block over its weights: steps and offsets count."""
        return 8 * self.bytes / self.size


def quantize(weights: ArrayLike, name: str) -> NDArray:
    """Weights [..., width] as bytes [..., width / size × bytes] (uint8) in the format `name`.

    The bytes equal the engine's, with two exceptions. In a block whose largest weight is below 1e-36 the engine
    divides by nearly zero and casts what comes out, here all codes are that of zero; both are read as zeros. And on a
    processor whose compiler fuses multiplication and addition, the engine may round a tie the other way.
    Raises ValueError for an unknown format, a width that is no multiple of the block, NaN or infinity, and weights
    whose step would be beyond 65504, the largest 16-bit float.
    """
    kind = format_named(name)
    given = np.asarray(weights)
    if given.ndim == 0 or given.size == 0:
        raise ValueError(f"weights of shape {given.shape} have no row to quantize")
    if given.shape[-1] % kind.size:
        smaller = "; formats with blocks of 32: Q8_0, Q4_0, Q4_1" if kind.size > 32 else ""
        raise ValueError(
            f"a row of width {given.shape[-1]} is no whole number of {name}'s blocks of {kind.size}{smaller}"
        )
    with np.errstate(over="ignore"):  # a 64-bit float may become infinite, and is refused as such
        weights = np.ascontiguousarray(given, dtype=np.float32)
    if not np.isfinite(weights).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(weights))[0])
        raise ValueError(f"the weight at {place} is {given[place]}; only finite 32-bit numbers can be quantized")
    with np.errstate(over="ignore", invalid="ignore"):  # steps that overflow are refused below
        blocks = kind.fit(weights.reshape(-1, kind.size))
    if not _finite(blocks):
        largest = np.abs(weights).max()
        raise ValueError(f"weights up to {largest:.4g} need a step or offset beyond 65504 in {name}; scale them down")
    return kind.pack(blocks).reshape(*weights.shape[:-1], -1)


def dequantize(packed: NDArray, name: str) -> NDArray:
    """Bytes [..., blocks × bytes] (uint8) in the format `name` -> weights [..., width] in float32.

    Raises ValueError for another type than uint8, bytes that are no whole number of blocks (a file cut short), and a
    step or offset that is not finite.
    """
    kind, packed = format_named(name), np.asarray(packed)
    if packed.dtype != np.uint8:
        raise ValueError(f"packed weights are bytes (uint8), not {packed.dtype}")
    if packed.ndim == 0 or packed.size == 0:
        raise ValueError(f"bytes of shape {packed.shape} have no block to read")
    if packed.shape[-1] % kind.bytes:
        raise ValueError(
            f"{packed.shape[-1]} bytes in a row are no whole number of {name}'s blocks of {kind.bytes}; cut short?"
        )
    blocks = kind.unpack(np.ascontiguousarray(packed).reshape(-1, kind.bytes))
    if not _finite(blocks):
        raise ValueError(f"a block of {name} has a step or offset that is not finite; the bytes are damaged")
    return read(blocks).reshape(*packed.shape[:-1], -1)


def format_named(name: str) -> Format:
    """The Format of a name. Raises ValueError for one that is not written here."""
    if name not in FORMATS:
        raise ValueError(f"there is no format {name!r} here; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def grid(blocks: Blocks) -> tuple[NDArray, NDArray | None]:
    """Step and offset of each block of 32, float32 [n, 1], or [n, 8] in a super-block; no offset: None."""
    step = blocks.step.astype(np.float32)[:, None]
    if blocks.offset is None:
        return step, None
    offset = blocks.offset.astype(np.float32)[:, None]
    if blocks.parts is None:
        return step, offset
    return step * blocks.parts[:, 0], -(offset * blocks.parts[:, 1])


def read(blocks: Blocks) -> NDArray:
    """The weights, float32 [n, size]: code × step + offset."""
    step, offset = grid(blocks)
    products = blocks.codes.reshape(*step.shape, -1).astype(np.float32) * step[..., None]
    # Without an offset nothing is added, not even zero: with a negative step, code 0 is read as -0.0.
    return (products if offset is None else products + offset[..., None]).reshape(blocks.codes.shape)


def _finite(blocks: Blocks) -> bool:
    return bool(np.isfinite(blocks.step).all() and (blocks.offset is None or np.isfinite(blocks.offset).all()))


def _inverse(step: NDArray, over: float = 1) -> NDArray:
    """over / step in float32; zero where that is infinite, as for a step of zero."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(over) / step
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


# -- how codes lie in bytes --------------------------------------------------------------------------------------------


def _bytes(numbers: NDArray) -> NDArray:
    """[n] or [n, k] of any type -> uint8 [n, k × bytes of one], the low byte first."""
    numbers = np.ascontiguousarray(numbers.reshape(len(numbers), -1), numbers.dtype.newbyteorder("<"))
    return numbers.view(np.uint8)


def _half(packed: NDArray) -> NDArray:
    """Two bytes of each block, [n, 2] -> float16 [n]."""
    return np.ascontiguousarray(packed).view("<f2")[:, 0]


def pack_nibbles(codes: NDArray, run: int) -> NDArray:
    """Codes 0 to 15 [n, size] -> bytes [n, size / 2]: of each 2 × run codes, the first run low, the second high.

    So neighbours do not share a byte: code i and code i + run do. A vector unit then unpacks with one mask, one shift.
    """
    low, high = np.moveaxis(codes.astype(np.uint8).reshape(len(codes), -1, 2, run), 2, 0)
    return (low | high << 4).reshape(len(codes), -1)


def unpack_nibbles(packed: NDArray, run: int) -> NDArray:
    """The inverse, int8."""
    packed = packed.reshape(len(packed), -1, run)
    return np.stack((packed & 15, packed >> 4), axis=2).reshape(len(packed), -1).astype(np.int8)


def pack_six_bits(parts: NDArray) -> NDArray:
    """Eight scales s and eight offsets o of 6 bits, uint8 [n, 2, 8] -> 12 bytes [n, 12].

    Bytes 0-3: s0-s3, above them the two high bits of s4-s7. Bytes 4-7: the same of o. Bytes 8-11: the four low bits of
    s4-s7, above them those of o4-o7. The first four of each kind cost one mask to read.
    """
    first, second = parts[..., :4], parts[..., 4:]
    with_high = first | second >> 4 << 6
    return np.concatenate((with_high[:, 0], with_high[:, 1], second[:, 0] & 15 | second[:, 1] << 4), axis=1)


def unpack_six_bits(packed: NDArray) -> NDArray:
    """The inverse: [n, 12] -> [n, 2, 8]."""
    with_high, low = packed[:, :8].reshape(-1, 2, 4), packed[:, 8:]
    low = np.stack((low & 15, low >> 4), axis=1)
    return np.concatenate((with_high & 63, low | with_high >> 6 << 4), axis=2)


# -- the formats -------------------------------------------------------------------------------------------------------


def _fit_q8_0(x: NDArray) -> Blocks:
    """The largest weight gets code 127 or -127; -128 is not used."""
    step = np.abs(x).max(axis=1) / np.float32(127)
    scaled = x * _inverse(step)[:, None]
    away = np.abs(scaled)
    away = np.floor(away) + np.floor(2 * (away - np.floor(away)))  # halves away from zero, as C's roundf
    return Blocks(np.copysign(away, scaled).astype(np.int8), step.astype(np.float16))


def _fit_q4_0(x: NDArray) -> Blocks:
    """The weight of largest size gets code -8, so the step has the opposite sign. At the other end 8 becomes 7."""
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
    step = (extreme + np.float32(0)) / np.float32(-8)  # no -0.0: the engine's search for the largest begins at 0
    codes = np.minimum(np.trunc(x * _inverse(step) + np.float32(8.5)), 15)
    return Blocks(codes.astype(np.int8) - np.int8(8), step[:, 0].astype(np.float16))


def _fit_q4_1(x: NDArray) -> Blocks:
    """The smallest weight gets code 0, the largest 15."""
    # The first of equals, as the engine's search finds it: 0.0 and -0.0 are equal and not the same bits.
    low, high = np.take_along_axis(x, x.argmin(axis=1)[:, None], axis=1), x.max(axis=1, keepdims=True)
    step = (high - low) / np.float32(15)
    codes = np.clip(np.trunc((x - low) * _inverse(step) + np.float32(0.5)), 0, 15)
    return Blocks(codes.astype(np.int8), step[:, 0].astype(np.float16), low[:, 0].astype(np.float16))


def _fit_q4_k(x: NDArray) -> Blocks:
    """Best step and offset for each 32 by least squares, these rounded to 6 bits, then the codes once more."""
    x = x.reshape(-1, 8, 32)
    step, below, codes = least_squares(x)  # block j is read as code × step - below
    largest = np.stack((step.max(axis=1), below.max(axis=1)), axis=1)  # [n, 2]
    wanted = np.stack((step, below), axis=1) * _inverse(largest, 63)[..., None]
    parts = np.minimum(np.rint(wanted), 63).astype(np.uint8)
    d, dmin = (largest / np.float32(63)).astype(np.float16).T
    step, offset = grid(Blocks(codes, d, dmin, parts))
    with np.errstate(divide="ignore", invalid="ignore"):
        again = np.clip(np.rint((x - offset[..., None]) / step[..., None]), 0, 15)
    codes = np.where(step[..., None] != 0, again, codes)
    return Blocks(codes.astype(np.int8).reshape(-1, 256), d, dmin, parts)


def least_squares(x: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Step, minus offset and codes 0 to 15 of blocks [..., 32], with little Σ w (code × step + offset - x)².

    The weights w grow with |x|. An offset is never positive: a block of positive weights gets none. Codes are made with
    the range widened or narrowed in 21 ways; for each, the line through (code, x) is the weighted regression's. The
    steps of `make_qkx2_quants` in ggml-quants.c, sums in its order.
    """
    weight = np.sqrt(_sum(x * x) / np.float32(32))[..., None] + np.abs(x)
    sum_w, sum_x = _sum(weight), _sum(weight * x)
    low, high = np.minimum(x.min(axis=-1), 0), x.max(axis=-1)
    flat = _inverse(high - low, 15) == 0  # all weights equal and not positive, or a range too small to divide by
    step, best = _inverse(_inverse(high - low, 15)), None
    with np.errstate(all="ignore"):  # flat blocks are set right at the end
        codes = _codes(x, low, high, 0)
        best = _sum(weight * (step[..., None] * codes + low[..., None] - x) ** 2)
        for i in range(21):
            trial = _codes(x, low, high, np.float32(0.1) * np.float32(i) - np.float32(1))
            sum_l, sum_ll, sum_xl = _sum(weight * trial), _sum(weight * trial * trial), _sum(weight * trial * x)
            determinant = sum_w * sum_ll - sum_l * sum_l
            slope = (sum_w * sum_xl - sum_x * sum_l) / determinant
            start = (sum_ll * sum_x - sum_l * sum_xl) / determinant
            slope, start = np.where(start > 0, sum_xl / sum_ll, slope), np.minimum(start, 0)
            error = _sum(weight * (slope[..., None] * trial + start[..., None] - x) ** 2)
            better = (determinant > 0) & (error < best)
            # The next range begins at the offset found; the engine does so too.
            step, low, best = (np.where(better, *pair) for pair in ((slope, step), (start, low), (error, best)))
            codes = np.where(better[..., None], trial, codes)
    # 0 - low, as -low would make -0.0 of a low of zero.
    return np.where(flat, np.float32(0), step), 0 - low, np.where(flat[..., None], np.float32(0), codes)


def _codes(x: NDArray, low: NDArray, high: NDArray, wider: float) -> NDArray:
    inverse = np.float32(15 + wider) / (high - low)
    return np.clip(np.rint(inverse[..., None] * (x - low[..., None])), 0, 15)


def _sum(x: NDArray) -> NDArray:
    """Over the last axis, one after the other as a loop in C does; np.sum adds in pairs and rounds differently."""
    return np.cumsum(x, axis=-1, dtype=np.float32)[..., -1]


FORMATS = {
    kind.name: kind
    for kind in (
        Format("Q8_0", 32, 34, -127, 127, _fit_q8_0,
               lambda b: np.concatenate((_bytes(b.step), _bytes(b.codes)), axis=1),
               lambda p: Blocks(p[:, 2:].view(np.int8), _half(p[:, :2]))),
        Format("Q4_0", 32, 18, -8, 7, _fit_q4_0,
               lambda b: np.concatenate((_bytes(b.step), pack_nibbles(b.codes + 8, 16)), axis=1),
               lambda p: Blocks(unpack_nibbles(p[:, 2:], 16) - np.int8(8), _half(p[:, :2]))),
        Format("Q4_1", 32, 20, 0, 15, _fit_q4_1,
               lambda b: np.concatenate((_bytes(b.step), _bytes(b.offset), pack_nibbles(b.codes, 16)), axis=1),
               lambda p: Blocks(unpack_nibbles(p[:, 4:], 16), _half(p[:, :2]), _half(p[:, 2:4]))),
        Format("Q4_K", 256, 144, 0, 15, _fit_q4_k,
               lambda b: np.concatenate(
                   (_bytes(b.step), _bytes(b.offset), pack_six_bits(b.parts), pack_nibbles(b.codes, 32)), axis=1),
               lambda p: Blocks(
                   unpack_nibbles(p[:, 16:], 32), _half(p[:, :2]), _half(p[:, 2:4]), unpack_six_bits(p[:, 4:16]))),
    )
}  # fmt: skip
