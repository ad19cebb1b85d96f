"""Checkers of lab 15, quantization and hardware."""

import numpy as np
import torch

from slmkit.course.checking import Wrong, call, compare, exercise
from slmkit.profiling.quantization import pack_nibbles, pack_six_bits, quantize


def _pair(got, what: str) -> tuple:
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"return two things, {what}")
    return tuple(got)


def _numbers(value) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(value))


def _stored(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step and codes as slmkit, and so llama.cpp, stores them."""
    block = quantize(weights, "Q8_0")
    return block[:2].view("<f2")[0], block[2:].view(np.int8)


@exercise("15/quantize_block")
def quantize_block(answer):
    for seed in range(12):  # so many that a step rounded too early shows in a code
        weights = np.random.default_rng(seed).uniform(-3, 3.4, 32).astype(np.float32)
        weights[7] = -3.5 if seed % 2 else 3.75
        step, codes = _stored(weights)
        exact = np.abs(weights).max() / np.float32(127)
        got_step, got_codes = _pair(call(answer, weights.copy()), "the step and the codes")
        if abs(float(got_step) * float(exact) - 1) < 1e-2:
            raise Wrong("upside down: the step is what one code is worth, the largest size over 127")
        compare(float(got_step), float(step), "the step", {
            "the largest weight gets 127, not 128: -128 is not used": float(np.abs(weights).max() / 128),
            "the step is made for negative weights too: take the largest size, not the largest weight":
                float(weights.max() / 127) if weights.max() < 3.5 else -1.0,
            "codes run on both sides of zero: the largest size over 127, not the whole range over 255":
                float(np.ptp(weights) / 255),
            "that is the largest weight itself; its code is to be 127": float(np.abs(weights).max()),
        }, rtol=2e-4)  # fmt: skip
        if np.float16(got_step) != step or float(got_step) != float(step):
            raise Wrong(f"the step is {float(got_step)!r}; a float of 16 bits is stored, {float(step)!r}")
        scaled = weights / exact
        mistakes = {
            "the codes are cut off; round to the nearest": np.trunc(scaled),
            "the codes are rounded down; round to the nearest": np.floor(scaled),
            "the codes lost their sign": np.abs(codes),
            "the codes are off by 128; they are signed": codes.astype(int) + 128,
            "those are the values read back; a code is a whole number": codes * np.float32(step),
            "the codes were found with the rounded step; llama.cpp rounds the step only to store it":
                np.rint(weights / np.float32(step)),
            "these fill 4 bits; there are 8": np.rint(weights / np.abs(weights).max() * 7),
        }  # fmt: skip
        wrong = {message: _numbers(v).double() for message, v in mistakes.items() if not np.array_equal(v, codes)}
        compare(_numbers(got_codes).double(), _numbers(codes).double(), "the codes", wrong, atol=1e-9)
    got_step, got_codes = _pair(call(answer, np.zeros(32, np.float32)), "the step and the codes")
    if not np.isfinite(np.float64(got_codes)).all():
        raise Wrong("a block of zeros has step 0: do not divide by it, its codes are 0")
    compare(float(got_step), 0.0, "the step of a block of zeros", atol=0.0)
    compare(_numbers(got_codes).double(), torch.zeros(32).double(), "the codes of a block of zeros", atol=0.0)


@exercise("15/nibbles")
def nibbles(answer):
    for size, run in ((32, 16), (256, 32)):
        codes = np.random.default_rng(size).integers(0, 16, (3, size)).astype(np.uint8)
        packed = pack_nibbles(codes, run)
        wide, right = packed.astype(int), codes.astype(int)
        low, high = wide & 15, wide >> 4

        def runs(first, second, run=run):
            return np.stack((first.reshape(3, -1, run), second.reshape(3, -1, run)), axis=2).reshape(3, -1)

        mistakes = {
            "neighbours do not share a byte: a run of low halves comes first, then a run of high ones":
                runs(low, high, 1),
            "low and high are exchanged: the low half of a byte belongs to the first run": runs(high, low),
            "the high halves are not moved down by four bits": runs(low, wide & 240),
            "the low halves still carry the high ones; mask them": runs(wide, high),
            "all low halves come first there; after each run of low halves comes its run of high ones":
                runs(low, high, size // 2),
            "the high halves are missing": low,
            "the low halves are missing": high,
            "these are codes of 8 less; Q4_0 takes 8 off, and not every format": right - 8,
        }  # fmt: skip
        wrong = {message: torch.from_numpy(value) for message, value in mistakes.items()
                 if not np.array_equal(value, right)}  # fmt: skip
        got = np.asarray(call(answer, packed.copy(), run))
        if got.size == right.size and got.shape != right.shape:
            raise Wrong(f"the codes have shape {got.shape}; each block keeps its row: {right.shape}")
        compare(_numbers(got.astype(int)), torch.from_numpy(right), f"the codes in runs of {run}", wrong)


@exercise("15/six_bits")
def six_bits(answer):
    for seed in (6, 7):
        parts = np.random.default_rng(seed).integers(0, 64, (2, 8)).astype(np.uint8)
        packed = pack_six_bits(parts[None])[0]
        got = _pair(call(answer, packed.copy()), "the scales and the offsets")
        bits, whole = torch.from_numpy(packed.astype(int)), torch.from_numpy(parts.astype(int))
        halves = (bits[8:] & 15, bits[8:] >> 4)
        for i, name in enumerate(("scales", "offsets")):
            first, above, nibble = bits[4 * i : 4 * i + 4], bits[4 * i : 4 * i + 4] >> 6, halves[i]
            early, late = whole[i, :4], whole[i, 4:]

            def eight(a, b):
                return torch.cat((a, b))

            compare(_numbers(np.asarray(got[i])).long(), whole[i], f"the {name}", {
                "scales and offsets are exchanged; the scales lie first": whole[1 - i],
                f"{name} 0 to 3 have 6 bits; the two above them belong to {name} 4 to 7": eight(first, late),
                f"the two high bits of {name} 4 to 7 are missing; they lie above {name} 0 to 3": eight(early, nibble),
                f"the two high bits of {name} 4 to 7 come to bits 4 and 5, above their four low ones":
                    eight(early, nibble | above),
                f"the two high bits of {name} 4 to 7 are still at 6 and 7; shift them down by two":
                    eight(early, nibble | first & 192),
                f"the halves of bytes 8 to 11 are exchanged in {name} 4 to 7":
                    eight(early, halves[1 - i] | above << 4),
                f"{name} 4 to 7 have the high bits of the other kind":
                    eight(early, nibble | bits[4 - 4 * i : 8 - 4 * i] >> 6 << 4),
                f"those are {name} 0 to 3 alone; there are eight": early,
                f"{name} 4 to 7 stand before 0 to 3": eight(late, early),
            })  # fmt: skip


@exercise("15/file_bytes")
def file_bytes(answer):
    matrices, block, fallback = [(1000, 576), (7, 768), (256, 96), (3, 96), (64, 1536)], (256, 110), (32, 18)

    def total(fits=lambda rows, width: width % 256 == 0, of=lambda n, kind: n // kind[0] * kind[1]):
        return sum(of(rows * width, block if fits(rows, width) else fallback) for rows, width in matrices)

    padded = sum(rows * -(-width // 256) * 110 for rows, width in matrices)
    compare(call(answer, list(matrices), block, fallback), total(), "the bytes of five matrices", {
        "rows of 576 are no whole number of blocks of 256; such a matrix goes into the fallback":
            sum(rows * width // 256 * 110 for rows, width in matrices),
        "a short block is not filled up; the whole matrix goes into the fallback": padded,
        "only whole blocks are counted and the rest of each row is lost": sum(
            rows * (width // 256) * 110 for rows, width in matrices),
        "a block never crosses the end of a row: the width decides, not all weights of the matrix":
            total(lambda rows, width: rows * width % 256 == 0),
        "one matrix that does not fit does not send the others into the fallback": total(lambda *_: False),
        "only the rest of a row that does not fill a block goes into the fallback there; the whole matrix does": sum(
            rows * (width // 256 * 110 + width % 256 // 32 * 18) for rows, width in matrices),
        "those are bits; a block's size is in bytes": 8 * total(),
        "that is the number of blocks; each has its bytes": total(of=lambda n, kind: n // kind[0]),
        "fit and fallback are exchanged": total(lambda rows, width: width % 256 != 0),
        "the rows are the outer count; the width is the second number of a pair":
            total(lambda rows, width: rows % 256 == 0),
    })  # fmt: skip
    compare(call(answer, [(3, 64)], (32, 34), (1, 2)), 3 * 68, "the bytes of [3, 64] in Q8_0")
    compare(call(answer, [(3, 40)], (32, 34), (1, 2)), 3 * 80, "the bytes of [3, 40], which goes into 16 bits")


POINTS = {"a": (9.0, 1.00), "b": (5.0, 1.02), "c": (6.0, 1.02), "d": (4.0, 1.30), "e": (3.0, 1.25), "f": (5.0, 1.40),
          "g": (7.0, 1.01), "h": (3.5, 1.10)}  # fmt: skip


def _unbeaten(beats) -> list[str]:
    """By time, those of POINTS that no other one beats."""
    kept = [name for name, point in POINTS.items() if not any(beats(other, point) for other in POINTS.values())]
    return sorted(kept, key=lambda name: (POINTS[name][0], POINTS[name][1]))


@exercise("15/front")
def front(answer):
    got = call(answer, dict(POINTS))
    if isinstance(got, dict) or not all(isinstance(name, str) for name in got):
        raise Wrong("return the names, a list of texts")
    right = _unbeaten(lambda a, b: a != b and a[0] <= b[0] and a[1] <= b[1])
    mistakes = {
        "those are all points; leave out what another beats": list(POINTS),
        "those are the points that another beats; keep the others": [name for name in POINTS if name not in right],
        "the fastest and the best are on the front, and so is what lies between and is beaten by none":
            [right[0], right[-1]],
        "c takes longer than b and is no better: to equal in one number and beat in the other is enough":
            _unbeaten(lambda a, b: a[0] < b[0] and a[1] < b[1]),
        "that is the other end: less is better in both numbers":
            _unbeaten(lambda a, b: a != b and a[0] >= b[0] and a[1] >= b[1]),
    }  # fmt: skip
    for message, names in mistakes.items():
        if sorted(got) == sorted(names):
            raise Wrong(message)
    if missing := [name for name in right if name not in got]:
        raise Wrong(f"{missing[0]} is missing: no other is at least as fast and as good")
    if extra := [name for name in got if name not in right]:
        raise Wrong(f"{extra[0]} is beaten: another is at least as good in both numbers, and better in one")
    if list(got) != right:
        raise Wrong("the names are right and not in order; begin with the fastest, each once")
    if list(call(answer, {"only": (1.0, 1.0)})) != ["only"]:
        raise Wrong("a single point is on the front")


@exercise("15/speed_up")
def speed_up(answer):
    """In turn: arithmetic decides with the fewer bytes alone, memory in both, arithmetic in both."""
    many, few, peak, bandwidth = 4e8, 1e8, 1e11, 1e10  # 40 and 10 ms to read
    for tokens, flops, right in ((3, 1.2e9, 40 / 36), (1, 2e8, 4.0), (50, 2e8, 1.0)):
        slow, quick, computed, one = many / bandwidth, few / bandwidth, tokens * flops / peak, flops / peak
        mistakes = {
            "that is how many times fewer bytes; the arithmetic stays as it is, and may take longer than reading":
                many / few,
            "reading and computing overlap, the longer one decides; you added them":
                (slow + computed) / (quick + computed),
            "the weights are read once for all tokens, and the arithmetic grows with them":
                max(slow, one) / max(quick, one),
            "upside down: how many times as *fast*, so the longer time is on top": 1 / right,
            "the shorter of the two times is taken; the longer one decides": min(slow, computed) / min(quick, computed),
            "that is a difference of times; a ratio is asked for": max(slow, computed) - max(quick, computed),
            "that is the time of one pass; how many times as fast is it?": max(quick, computed),
        }  # fmt: skip
        wrong = {message: value for message, value in mistakes.items() if abs(value - right) > 1e-3}
        got = call(answer, tokens, many, few, flops, peak, bandwidth)
        compare(got, right, f"the speed-up of a pass over {tokens} token(s)", wrong)
