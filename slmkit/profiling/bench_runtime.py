"""`slmkit bench --only runtime`: decoding and prefill of SmolLM2-135M beside transformers, and beside llama.cpp.

All have the same weights and the same tokens to read, and take turns. transformers is the peer at equal type of number;
llama.cpp, whose products are written for this one purpose, is the ceiling. That the peers do the same work is checked:
in fp32 they write the same tokens. Beside each speed stands its share of what the memory allows: the bytes that a token
must read, by its time, over the measured bandwidth.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from slmkit import interop, pretrained
from slmkit.data import corpora
from slmkit.data.tokenizer import Tokenizer
from slmkit.model.counting import kv_cache_bytes
from slmkit.model.decoder import Decoder
from slmkit.model.generation import generate, stream
from slmkit.paths import build_folder
from slmkit.profiling.bench import HEAD, Row, compared, in_words, write_record
from slmkit.profiling.int8 import GROUP, bytes_read, int8_model
from slmkit.profiling.latency import use_threads
from slmkit.profiling.roofline import default_array_bytes, read_bandwidth, weights_read
from slmkit.profiling.timing import AbovePeakError, Timing, measure_in_turn, throughput

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FORMATS = ("F16", "Q8_0", "Q4_0")
FASTER, SAME, SHARE = 2.0, 0.98, 0.5  # wanted: of transformers' speed, of likeliest tokens, of the bandwidth
PAIRS = (  # ours, theirs, wanted in decoding
    ("slmkit fp32, compiled", "transformers fp32", FASTER),
    ("slmkit fp32", "transformers fp32", None),
    ("slmkit bf16, compiled", "transformers bf16", FASTER),
    ("slmkit bf16", "transformers bf16", None),
    ("slmkit int8, compiled", "slmkit bf16, compiled", 1.0),
    ("slmkit bf16, compiled", "llama.cpp F16", None),
    ("slmkit int8, compiled", "llama.cpp Q8_0", None),
    ("slmkit int8, compiled", "llama.cpp Q4_0", None),
    ("slmkit bf16", "llama.cpp F16", None),
)  # fmt: skip
READING = (  # ours and theirs in prefill, which is not compiled
    ("slmkit fp32", "transformers fp32"),
    ("slmkit bf16", "transformers bf16"),
    ("slmkit bf16", "llama.cpp F16"),
    ("slmkit int8, compiled", "slmkit bf16"),
    ("slmkit int8, compiled", "llama.cpp Q8_0"),
)


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 5
    new_tokens: int = 24
    prompt: int = 64
    rows: int = 8  # of held-out text, for the likeliest tokens
    width: int = 256  # tokens of each row


QUICK = Effort(rounds=3, new_tokens=8, prompt=32, rows=1)


class Contestant(NamedTuple):
    start: Callable[[], object]  # reads the first token of the text and chooses the next
    write: Callable[[], list[int]]  # so many tokens more: all it does is decoding
    read: Callable[[], object]  # the prompt, and the token after it
    bytes: float  # that a token in decoding must read


def run(threads: Sequence[int], *, quick: bool = False, path: Path, facts: dict | None = None,
        effort: Effort | None = None) -> int:  # fmt: skip
    """Measures everything, prints the table as it fills, and writes the record to `path`.

    Without llama.cpp, or without a C++ compiler, the rows that need it are left out, with a line that says so. Raises
    RuntimeError when tokens differ, AbovePeakError when a speed passes the measured bandwidth.
    """
    effort, rows, peaks = effort or (QUICK if quick else Effort()), [], {}
    model, tokenizer = pretrained.load()
    for name, value in (said := settings(effort)).items():
        print(f"{name}: {value}")
    text = beginnings(tokenizer, effort.rows, effort.width)
    with use_threads(max(threads)):
        narrow = int8_model(model)
        same = agreement(model, narrow, text)
    print(
        f"int8: the likeliest token of fp32 at {same:.1%} of {text.numel():,} held-out positions (wanted: {SAME:.0%})"
    )
    with gguf_files(model) as files:
        for count in threads:
            print(f"\n{pretrained.NAME}, {count} thread{'s' * (count > 1)}\n{HEAD}", flush=True)
            with use_threads(count):
                for row in measured(model, narrow, text[0], files, count, effort, peaks):
                    rows.append(row)
                    print(in_words(row), flush=True)
    write_record(path, (facts or {}) | {"settings": said, "same_token": same, "bandwidth": peaks,
                                        "rows": [asdict(row) for row in rows]})  # fmt: skip
    return 0


def settings(effort: Effort) -> dict[str, str]:
    return {
        "decoding": f"greedy, {effort.new_tokens} tokens; the first of a speech was read and the next chosen before",
        "prefill": f"{effort.prompt} tokens of the speech read, not compiled, and the next token chosen",
        "transformers": "LlamaForCausalLM.generate, eager, with the cache (dynamic, static) that is faster in a trial",
        "int8": f"weights of the blocks and the head, a scale for each {GROUP}; the rest in fp32",
        "llama.cpp": "the same weights by to_gguf and its own quantizer",
        "measuring": f"{effort.rounds} rounds in turn, medians; one round of warm-up apart",
    }


def beginnings(tokenizer: Tokenizer, rows: int, width: int) -> Tensor:
    """Rows of held-out speeches, each the beginning of one: ids [rows, width]."""
    encoded = (tokenizer.encode(text[: 20 * width]) for text in corpora.load("speeches").held_out)
    return torch.tensor(list(islice((ids[:width] for ids in encoded if len(ids) >= width), rows)))


@torch.inference_mode()
def agreement(model: Decoder, other: Decoder, text: Tensor) -> float:
    """The share of positions in `text` [rows, width] at which `other` has the likeliest token of `model` in fp32."""
    exact = copy.deepcopy(model).float()
    same = [(exact(row[None]).argmax(-1) == other(row[None]).argmax(-1)).float().mean() for row in text]
    return float(torch.stack(same).mean())


@contextmanager
def gguf_files(model: Decoder) -> Iterator[dict[str, Path]]:
    """The model in each of FORMATS, in a folder that is gone afterwards; nothing where llama.cpp is missing."""
    if find_spec("llama_cpp") is None:
        print("llama.cpp is not installed (`make engine` builds it), so its rows are left out")
        yield {}
        return
    from slmkit.profiling.engine import quantize

    (scratch := build_folder() / "bench").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        whole = interop.to_gguf(copy.deepcopy(model).float(), Path(folder, "F32.gguf"))
        yield {name: quantize(whole, Path(folder, f"{name}.gguf"), name, threads=torch.get_num_threads())
               for name in FORMATS}  # fmt: skip


# -- contestants -----------------------------------------------------------------------------------------------------


def streamed(stream: Callable[[], Iterator]) -> tuple[Callable[[], object], Callable[[], list[int]]]:
    """`start` and `write` of a Contestant that gives its tokens one by one."""
    tokens = iter(())

    def start():
        nonlocal tokens
        tokens = stream()
        next(tokens)

    return start, lambda: [int(token) for token in tokens]


def ours(model: Decoder, ids: Tensor, effort: Effort, size: float) -> Contestant:
    """slmkit; `size` is the bytes of the weights that a step reads."""
    cache = kv_cache_bytes(model.config, effort.new_tokens // 2, model.embedding.weight.dtype)
    return Contestant(*streamed(lambda: stream(model, ids[None, :1], effort.new_tokens + 1)),
                      lambda: generate(model, ids[None, : effort.prompt], 1), size + cache)  # fmt: skip


def theirs(model: Decoder, ids: Tensor, effort: Effort, size: float) -> tuple[Contestant, str]:
    """generate of transformers on the same weights, and the cache that was the faster one."""
    from transformers import DynamicCache, StaticCache

    peer = interop.to_transformers(model).eval().to(model.embedding.weight.dtype)
    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None, "disable_compile": True}
    kinds = {
        "dynamic": lambda tokens: DynamicCache(config=peer.config),
        "static": lambda tokens: StaticCache(config=peer.config, max_cache_len=tokens),
    }

    def asked(tokens: Tensor, new: int, cache) -> Tensor:
        return peer.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, past_key_values=cache,
                             **options)  # fmt: skip

    def contestant(kind: str) -> Contestant:
        begun = cache = None

        def start():
            nonlocal begun, cache
            cache = kinds[kind](effort.new_tokens + 2)
            begun = asked(ids[None, :1], 1, cache)

        return Contestant(
            start,
            lambda: asked(begun, effort.new_tokens, cache)[0, 2:].tolist(),
            lambda: asked(ids[None, : effort.prompt], 1, kinds[kind](effort.prompt + 1)),
            size,
        )

    both = {kind: contestant(kind) for kind in kinds}
    trial = in_turn(both, "write", repeats=3)
    kind = min(kinds, key=lambda kind: trial[kind].median)
    return both[kind], kind


def in_turn(everyone: dict[str, Contestant], what: str, **options) -> dict[str, Timing]:
    """Times `write` or `read` of each; before a turn of `write` the start is made."""
    prepare = {name: one.start for name, one in everyone.items()} if what == "write" else None
    return measure_in_turn({name: getattr(one, what) for name, one in everyone.items()}, prepare=prepare, **options)


def team(model: Decoder, narrow: Decoder, ids: Tensor, files: dict[str, Path], threads: int, effort: Effort,
         stack: ExitStack) -> tuple[dict[str, Contestant], dict[str, str]]:  # fmt: skip
    """All that take turns, by name, and what is to be said of some."""
    everyone, said = {}, {}
    for name, dtype in DTYPES.items():
        one = copy.deepcopy(model).to(dtype).eval()
        size = weights_read(model.config, dtype)
        everyone[f"slmkit {name}"] = ours(one, ids, effort, size)
        everyone[f"transformers {name}"], said[f"transformers {name}"] = theirs(one, ids, effort, size)
        everyone |= compiled(f"slmkit {name}", one, ids, effort, size, said)
    everyone |= compiled("slmkit int8", narrow, ids, effort, bytes_read(narrow), said)
    if files:
        from slmkit.profiling.engine import Engine

        for name, file in files.items():
            engine = stack.enter_context(Engine(file, context=effort.prompt + effort.new_tokens, threads=threads))
            everyone[f"llama.cpp {name}"] = Contestant(
                *streamed(lambda engine=engine: engine.stream(ids[:1].tolist(), effort.new_tokens + 1)),
                lambda engine=engine: engine.prefill(ids[: effort.prompt].tolist()),
                engine.about()["weight_bytes"],
            )
    written = {}
    for name in filter(lambda name: "fp32" in name, everyone):
        everyone[name].start()
        written[name] = everyone[name].write()
    if len({tuple(tokens) for tokens in written.values()}) > 1:
        raise RuntimeError(f"{', '.join(written)} do not write the same tokens, so their speeds do not compare")
    return everyone, said


def compiled(name: str, model: Decoder, ids: Tensor, effort: Effort, size: float, said: dict) -> dict[str, Contestant]:
    """The same model with its step compiled; nothing where there is no compiler."""
    from slmkit.profiling.compiled import compile_decoding

    try:
        quick = ours(compile_decoding(copy.deepcopy(model)), ids, effort, size)
    except RuntimeError as error:
        print(f"{name}, compiled: left out ({error})")
        return {}
    start = time.perf_counter()
    quick.start()
    quick.write()
    said[f"{name}, compiled"] = f"the first call took {time.perf_counter() - start:.0f} s"
    return {f"{name}, compiled": quick}


# -- rows --------------------------------------------------------------------------------------------------------------


def measured(model: Decoder, narrow: Decoder, ids: Tensor, files: dict[str, Path], threads: int, effort: Effort,
             peaks: dict) -> Iterator[Row]:  # fmt: skip
    """The rows of one number of threads. Adds to `peaks` the bandwidth that was measured."""
    torch.compiler.reset()  # keeps few programs of one function, and those of other threads would count
    with ExitStack() as stack:
        everyone, said = team(model, narrow, ids, files, threads, effort, stack)
        peak = bandwidth()
        clock = "cpu" if threads == 1 else "wall"
        decoding = in_turn(everyone, "write", repeats=effort.rounds, clock=clock)
        readers = {name: one for name, one in everyone.items() if any(name in pair for pair in READING)}
        reading = in_turn(readers, "read", repeats=min(effort.rounds, 3), clock=clock)
        peak = peaks[str(threads)] = max(peak, bandwidth())
        for mine, other, target in PAIRS:
            if {mine, other} <= decoding.keys():
                shares = {name: share(name, decoding[name].each(effort.new_tokens), everyone[name].bytes, peak)
                          for name in (other, mine)}  # fmt: skip
                notes = {"share of the memory's bandwidth": f"{shares[other]:.0%} peer, {shares[mine]:.0%} ours "
                                                            f"(wanted: {SHARE:.0%})"}  # fmt: skip
                notes |= {name: said[name] for name in (other, mine) if name in said}
                yield compared(f"decoding: {mine} | {other}", "", threads, "tokens/s", effort.new_tokens,
                               decoding[mine], decoding[other], target, notes)  # fmt: skip
        for mine, other in READING:
            if {mine, other} <= reading.keys():
                name = mine.removesuffix(", compiled")
                yield compared(f"prefill: {name} | {other}", "", threads, "tokens/s", effort.prompt, reading[mine],
                               reading[other], None)  # fmt: skip


def bandwidth() -> float:
    """Bytes/s that torch's present threads read from memory, out of the caches' reach."""
    return read_bandwidth(default_array_bytes(torch.device("cpu"))[-1], repeats=5)


def share(name: str, token: Timing, size: float, peak: float) -> float:
    """Of the bandwidth `peak`, what reading `size` bytes a token comes to. The peak may have been taken in a slow spell
    of the machine, so it is measured again before this raises AbovePeakError."""
    try:
        rate = throughput(size, token.median, peak, f"{name} in bytes")
    except AbovePeakError:
        rate = throughput(size, token.median, max(peak, bandwidth()), f"{name} in bytes")
    return min(rate / peak, 1)
