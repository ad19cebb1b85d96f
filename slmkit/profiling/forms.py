"""One model in several of llama.cpp's forms: files made once, what lies in them, their quality, their speed in turn.

A form is a name of `engine.FORMATS`. The file that bears it may hold other types than the name says: look.
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from slmkit.data.packing import TokenRow
from slmkit.interop.gguf import to_gguf
from slmkit.model.decoder import Decoder
from slmkit.paths import build_folder
from slmkit.profiling import engine
from slmkit.profiling.engine import Engine
from slmkit.profiling.latency import Latency
from slmkit.profiling.roofline import Peaks, measure_again
from slmkit.profiling.timing import throughput

CODE = ("interop/gguf.py", "interop/layouts.py")  # what decides how a decoder is written


def stored(decoder: Decoder, forms: Sequence[str]) -> dict[str, Path]:
    """`decoder` as a file in each of `forms`, by llama.cpp's own quantizer, from weights in 32 bits.

    Kept under `build/models`, in a folder named by the weights, the configuration and the engine's version. Raises
    ImportError with the remedy where the engine is missing, ValueError for what a file cannot hold.
    """
    if forms and (reason := why_not()):
        raise ImportError(reason)
    if not forms:
        return {}
    folder = _folder(decoder)
    files = {form: folder / f"{form}.gguf" for form in forms}
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if missing := [form for form in forms if not files[form].is_file()]:
            whole = to_gguf(decoder, folder / "F32.gguf")
            try:
                for form in missing:
                    engine.quantize(whole, files[form], form)
            finally:
                whole.unlink()
    return files


def _folder(decoder: Decoder) -> Path:
    digest = hashlib.sha256(json.dumps([decoder.config.to_dict(), version("llama-cpp-python")]).encode())
    for tensor in decoder.parameters():
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    for name in CODE:
        digest.update((Path(__file__).resolve().parents[1] / name).read_bytes())
    return build_folder() / "models" / f"forms-{digest.hexdigest()[:16]}"


class Matrix(NamedTuple):
    """A matrix in a file."""

    rows: int
    width: int
    type: str  # llama.cpp's name: F16, Q8_0, Q4_K …
    bytes: int
    block: tuple[int, int]  # weights and bytes of one of the type's blocks


def matrices(path: Path) -> list[Matrix]:
    """The matrices in a GGUF file; vectors are left out."""
    import gguf

    found = []
    for tensor in gguf.GGUFReader(path).tensors:
        if len(tensor.shape) > 1:
            width, rows = map(int, tensor.shape)
            block = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
            found.append(Matrix(rows, width, tensor.tensor_type.name, int(tensor.n_bytes), block))
    return found


def contents(path: Path) -> str:
    """The bytes of the matrices in a GGUF file and their types, the most first: "124.0 MB: 80% Q4_K, 20% Q6_K"."""
    found, shares = matrices(path), {}
    total = sum(one.bytes for one in found)
    for one in found:
        shares[one.type] = shares.get(one.type, 0) + one.bytes / total
    listed = sorted(shares.items(), key=lambda pair: -pair[1])
    return f"{total / 1e6:.1f} MB: " + ", ".join(f"{share:.0%} {kind}" for kind, share in listed)


def quality(files: Mapping[str, Path], row: TokenRow, context: int, windows: int) -> dict[str, NDArray]:
    """Form -> bits per byte of each of `windows` pieces of `row`, `context` tokens long and evenly spread over it.

    By the engine's own arithmetic, which rounds the numbers between layers too. A token counts as the row's mean bytes,
    so that the mean over all pieces of a row is `bits_per_byte` with stride = context. The pieces are the same for all
    forms, which then compare piece by piece.
    """
    if not 0 < windows <= (len(row) - 1) // context:
        raise ValueError(f"windows is {windows}; the row has room for 1 to {(len(row) - 1) // context} of {context}")
    starts, found = np.linspace(0, len(row) - 1 - context, windows).astype(int), {}
    for form, path in files.items():
        with Engine(path, context=context) as opened:
            found[form] = np.array([_bits(opened, row.tokens[start : start + context + 1]) for start in starts])
        found[form] /= context * row.text_bytes / len(row)
    return found


def _bits(opened: Engine, ids: Tensor) -> float:
    """Bits of all of `ids` but the first."""
    logits = torch.from_numpy(opened.logits(ids[:-1].tolist())).double()
    return F.cross_entropy(logits, ids[1:].long(), reduction="sum").item() / math.log(2)


def in_turn(files: Mapping[str, Path], prompts: Sequence[int], new_tokens: int, seeds: Sequence[int],
            threads: Sequence[int] = (1,)) -> dict[tuple[str, int, int], list[Latency]]:  # fmt: skip
    """Every file reads a prompt of each length and writes after it, once in each round; a seed is a round.

    -> (form, threads, prompt) -> a Latency a round. Files stand next to each other within a length, so that a slow
    spell of the machine hits all alike and a ratio within a round is fair. The round before the first is thrown away.
    """
    with ExitStack() as opened:
        engines = {(form, n): opened.enter_context(Engine(path, context=max(prompts) + new_tokens, threads=n))
                   for form, path in files.items() for n in threads}  # fmt: skip
        runs = {(*key, prompt): [] for key in engines for prompt in prompts}
        for i, seed in enumerate((seeds[0], *seeds)):
            for prompt in prompts:
                for key, one in engines.items():
                    latency = one.latency(prompt, new_tokens, repeats=1, warmup=0, seed=seed)
                    runs[*key, prompt] += [latency] if i else []
    return runs


def why_not() -> str:
    """What is missing for all this, and how to get it; empty where the engine is there."""
    try:
        engine._engine()
    except ImportError as error:
        return str(error)
    return ""


def reading_rate(size: int, seconds: float, peaks: Peaks, looks: int = 20) -> tuple[float, Peaks]:
    """Bytes/s of a step that reads `size` bytes in `seconds`, and the ceilings, as high as they had to be found.

    A busy neighbour can only lower a measured ceiling. So before a rate above it raises AbovePeakError, the ceilings
    are measured again, up to `looks` times, two seconds apart.
    """
    for _ in range(looks):
        if size / seconds <= peaks.peak_bandwidth(size):
            break
        time.sleep(2)
        peaks = measure_again(peaks)
    return throughput(size, seconds, peaks.peak_bandwidth(size), "reading"), peaks
