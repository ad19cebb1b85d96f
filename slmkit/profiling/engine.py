"""llama.cpp, the survey's engine, on a GGUF file: logits, greedy tokens, latency, and its own quantizer.

`slmkit.interop.to_gguf` writes such a file from a Decoder. All through the C functions of llama-cpp-python, whose
Python class gives the logits of every token or of none.
"""

import ctypes
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import torch

from slmkit.checks import one_of, positive
from slmkit.model.decoder import Decoder
from slmkit.profiling.latency import Latency, check_reading, record, steady_latency, time_tokens
from slmkit.profiling.memory import PeakMemory
from slmkit.profiling.roofline import Peaks

# The quantizer's formats by the survey's names (section 4.2.1) and llama.cpp's. Q3_K and Q5_K are their M mixtures.
FORMATS = {name: f"LLAMA_FTYPE_MOSTLY_{name}" for name in
           ("F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0",
            "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K")}  # fmt: skip
FORMATS |= {"Q3_K": FORMATS["Q3_K_M"], "Q5_K": FORMATS["Q5_K_M"]}
CACHES = {"f16": (1, 2), "f32": (0, 4)}  # ggml's number of the type, and bytes
BATCH = 512  # tokens that are read in one call
DEBUG = 1  # ggml's level of messages that name every tensor
BUFFERS = {"KV": "cache", "compute": "activations", "output": "logits"}  # its names of what it sets aside, and ours

_said: deque[str] = deque(maxlen=200)  # what the engine said last


class Engine:
    """A GGUF file in llama.cpp on the processor, with room for `context` tokens. `with Engine(path) as engine: …`

    `cache` is the type of the stored keys and values: "f16", llama.cpp's default, or "f32" to compare with a Decoder.
    Raises FileNotFoundError; ValueError for a file that is damaged or of an architecture that llama.cpp lacks, and for
    a context longer than the model's; MemoryError, before loading, for what does not fit into the free memory.
    """

    def __init__(self, path: str | Path, *, context: int | None = None, threads: int = 1, cache: str = "f16"):
        for name, value in (("threads", threads), ("context", context)):
            if value is not None or name == "threads":
                positive(name, value)
        one_of("cache", cache, tuple(CACHES))
        self.path, self.threads, self._model, self._context = Path(path), threads, None, None
        engine = _engine()
        described = self._load(vocab_only=True)  # the header alone
        try:
            trained = _field(described, "{}.context_length")
            self.context = context or trained
            if self.context > trained:
                raise ValueError(f"context is {context}; {self.path.name} knows at most {trained} tokens")
            self._check_memory(described, cache)
        finally:
            engine.llama_model_free(described)
        self._model = self._load(vocab_only=False)
        self.vocab_size = engine.llama_vocab_n_tokens(engine.llama_model_get_vocab(self._model))
        self._start(cache)

    def _load(self, vocab_only: bool):
        engine = _engine()
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no file {self.path}")
        options = engine.llama_model_default_params()
        options.n_gpu_layers, options.vocab_only = 0, vocab_only
        _said.clear()
        if model := engine.llama_model_load_from_file(str(self.path).encode(), options):
            return model
        reason = next((line for line in _said if "error" in line), "llama.cpp does not say why")
        raise ValueError(f"{self.path} cannot be loaded; is it cut short? ({reason.rpartition('loading model: ')[2]})")

    def _check_memory(self, model, cache: str):
        """The weights, the cache and the logits of a batch against the memory that is free."""
        heads, vocab = _field(model, "{}.attention.head_count"), _field(model, "{}.vocab_size")
        width = _field(model, "{}.attention.key_length", _field(model, "{}.embedding_length") // max(heads, 1))
        rows = 2 * _field(model, "{}.block_count") * _field(model, "{}.attention.head_count_kv", heads)  # keys, values
        kept = rows * width * self.context * CACHES[cache][1]
        logits = 4 * vocab * min(self.context, BATCH)
        weights, free = self.path.stat().st_size, psutil.virtual_memory().available
        if (need := weights + kept + logits) > free:
            raise MemoryError(
                f"{self.path.name} needs {need / 1e6:,.0f} MB with a context of {self.context} (weights "
                f"{weights / 1e6:,.0f}, cache {kept / 1e6:,.0f}, logits {logits / 1e6:,.0f}) and {free / 1e6:,.0f} MB "
                "are free; take a smaller context or a smaller format"
            )

    def _start(self, cache: str):
        engine = _engine()
        options = engine.llama_context_default_params()
        options.n_ctx, options.n_batch = self.context, min(self.context, BATCH)
        options.n_threads = options.n_threads_batch = self.threads
        options.type_k = options.type_v = CACHES[cache][0]
        if cache == "f32":  # fused attention would round to half precision inside
            options.flash_attn_type = engine.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.no_perf = True
        self._context = engine.llama_init_from_model(self._model, options)
        if not self._context:
            self.close()
            raise MemoryError(f"llama.cpp cannot make a context of {self.context} tokens for {self.path.name}")
        self.buffers = dict.fromkeys(BUFFERS.values(), 0.0)  # bytes that the engine set aside
        for line in _said:
            if size := re.search(r"(KV|compute|output) buffer size = +([\d.]+) MiB", line):
                self.buffers[BUFFERS[size[1]]] += float(size[2]) * 2**20
        self._batch = engine.llama_batch_init(options.n_batch, 0, 1)
        self._room, self.length = options.n_batch, 0

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Gives the memory back; the engine is of no use after."""
        engine = _engine()
        if self._context:
            engine.llama_batch_free(self._batch)
            engine.llama_free(self._context)
        if self._model:
            engine.llama_model_free(self._model)
        self._model = self._context = None

    # -- reading tokens

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text by the file's tokenizer; the names of marks in it are text, as for slmkit's Tokenizer."""
        engine, data = _engine(), text.encode()
        vocabulary, ids = engine.llama_model_get_vocab(self._model), (ctypes.c_int32 * (len(data) + 1))()
        count = engine.llama_tokenize(vocabulary, data, len(data), ids, len(ids), False, False)
        if count < 0:
            raise ValueError(f"{self.path.name} has no tokenizer")
        return list(ids[:count])

    def logits(self, ids: Sequence[int], behind: int = 0) -> np.ndarray:
        """Logits [time, vocab_size] for the token after each of `ids` [time], read behind the first `behind` tokens of
        the cache. Raises ValueError when the cache holds fewer."""
        self.forget(behind)
        return np.concatenate([self._read(part, every=True) for part in self._parts(ids, 0)])

    def generate(self, ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """`ids` and the `max_new_tokens` likeliest tokens after them, one by one (greedy)."""
        positive("max_new_tokens", max_new_tokens)
        return [*map(int, ids), *self.stream(ids, max_new_tokens)]

    def stream(self, ids: Sequence[int], max_new_tokens: int) -> Iterator[int]:
        """The tokens of `generate`, as they come."""
        yield (token := self.prefill(ids, max_new_tokens))
        for _ in range(max_new_tokens - 1):
            yield (token := self.step(token))

    def prefill(self, ids: Sequence[int], max_new_tokens: int = 1) -> int:
        """Reads `ids` into an empty cache; the likeliest token after them."""
        self.forget()
        for part in self._parts(ids, max_new_tokens - 1):
            last = self._read(part, every=False)
        return int(last[-1].argmax())

    def step(self, token: int) -> int:
        """Reads one more token; the likeliest after it."""
        return int(self._read(self._parts([token], 0)[0], every=False)[-1].argmax())

    def forget(self, after: int = 0):
        """Empties the cache, all but its first `after` tokens. Raises ValueError when it holds fewer."""
        if not 0 <= after <= self.length:
            raise ValueError(f"the cache has {self.length} tokens; {after} of them cannot be kept")
        engine = _engine()
        engine.llama_memory_seq_rm(engine.llama_get_memory(self._context), 0, after, -1)
        self.length = after

    def _parts(self, ids: Sequence[int], more: int) -> list[list[int]]:
        """`ids` in batches, checked: `more` tokens are to follow them."""
        ids = [*map(int, ids)]
        if not ids:
            raise ValueError("the prompt is empty; give at least one token")
        if (total := self.length + len(ids) + more) > self.context:
            what = f"{len(ids)} tokens and {more} more" if more else f"{total} tokens"
            raise ValueError(f"{what} are more than the context of {self.context}; shorten the prompt or ask for a "
                             "longer context")  # fmt: skip
        if not 0 <= min(ids) <= max(ids) < self.vocab_size:
            raise ValueError(f"token ids run from {min(ids)} to {max(ids)}; the model has 0 to {self.vocab_size - 1}")
        return [ids[i : i + self._room] for i in range(0, len(ids), self._room)]

    def _read(self, ids: list[int], every: bool) -> np.ndarray:
        """One call of the engine; logits [len(ids) or 1, vocab_size]."""
        engine, batch = _engine(), self._batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, self.length + i, 1, 0
            batch.logits[i] = every or i == len(ids) - 1
        if code := engine.llama_decode(self._context, batch):
            raise RuntimeError(f"llama.cpp could not read {len(ids)} tokens (code {code})")
        self.length += len(ids)
        rows = len(ids) if every else 1
        found = engine.llama_get_logits(self._context)
        return np.ctypeslib.as_array(ctypes.cast(found, ctypes.POINTER(ctypes.c_float)), (rows, self.vocab_size)).copy()

    # -- measuring

    def latency(self, prompt: int, new_tokens: int = 16, *, repeats: int = 5, warmup: int = 1, seed: int = 0,
                progress: bool = False) -> Latency:  # fmt: skip
        """As `slmkit.profiling.latency.measure_latency`: greedy tokens after a random prompt, `repeats` times."""
        ids = np.random.default_rng(seed).integers(self.vocab_size, size=prompt)
        return time_tokens(lambda: self.stream(ids, new_tokens), prompt, new_tokens, repeats=repeats, warmup=warmup,
                           clock="cpu" if self.threads == 1 else "wall", progress=progress)  # fmt: skip

    def weights_read(self) -> int:
        """Bytes of the weights that one token reads: all but the tables of positions, and of tokens if not the head."""
        from gguf import GGUFReader

        sizes = {tensor.name: int(tensor.n_bytes) for tensor in GGUFReader(self.path).tensors}
        looked_up = sizes["token_embd.weight"] if "output.weight" in sizes else 0
        return sum(sizes.values()) - looked_up - sizes.get("position_embd.weight", 0)

    def about(self) -> dict:
        """What the engine says of the file: format, parameters (a tied matrix that is stored twice counts twice, as in
        the survey), bytes of the weights."""
        engine = _engine()
        stored = _field(self._model, "general.file_type", 0)
        names = {getattr(engine, theirs): ours for ours, theirs in reversed(FORMATS.items())}
        return {"format": names.get(stored, "F32" if stored == 0 else f"file type {stored}"),
                "parameters": engine.llama_model_n_params(self._model),
                "weight_bytes": engine.llama_model_size(self._model)}  # fmt: skip


def compare_logits(decoder: Decoder, engine: Engine, ids: Sequence[int]) -> tuple[float, float]:
    """The largest distance between the two's logits after each of `ids`, and the share of equal likeliest tokens."""
    with torch.no_grad():
        ours = (
            decoder(torch.tensor([[*map(int, ids)]], device=decoder.embedding.weight.device))[0].float().cpu().numpy()
        )
    theirs = engine.logits(ids)
    return float(np.abs(ours - theirs).max()), float((ours.argmax(-1) == theirs.argmax(-1)).mean())


def profile_engine(path: str | Path, *, name: str = "", threads: int = 1, prompt: int = 50, new_tokens: int = 50,
                   repeats: int = 5, seed: int = 0, peaks: Peaks | None = None, anyway: bool = False,
                   progress: bool = False) -> dict:  # fmt: skip
    """The record of `slmkit.profiling.latency.profile_model`, of a GGUF file in llama.cpp.

    Peak memory is the whole process's, weights included: they are mapped from the file, and resident once read. Its
    activations are the engine's buffer for computing, which it sets aside whole. With `peaks`, AbovePeakError when the
    weights would be read faster than memory allows; how fast its integer products may be is not known.
    """
    context = prompt + new_tokens - 1  # the last token is never read
    with PeakMemory() as memory, Engine(path, context=context, threads=threads) as engine:
        engine.latency(prompt, new_tokens, repeats=1, warmup=0, seed=seed)
    with Engine(path, context=context, threads=threads) as engine:
        measure = partial(engine.latency, prompt, new_tokens, repeats=repeats, seed=seed, progress=progress)
        latency, about, read = steady_latency(measure, threads, anyway), engine.about(), engine.weights_read()
    bound = {}
    if peaks is not None:
        check_reading(latency, read, peaks)
        bound["tpot"] = read / peaks.peak_bandwidth(read)
    parts = {f"{part}_mb": engine.buffers[part] / 1e6 for part in ("cache", "activations", "logits")}
    return record(
        latency, name or Path(path).stem, torch.device("cpu"), threads, dtype=about["format"],
        engine=f"llama.cpp (llama-cpp-python {version('llama-cpp-python')})", parameters=about["parameters"],
        memory={"weights_mb": about["weight_bytes"] / 1e6, "tables_mb": 0.0} | parts, peak_memory=memory.peak,
        bound=bound,
    )  # fmt: skip


def quantize(source: str | Path, target: str | Path, format: str, *, threads: int = 1) -> Path:
    """Writes `source`, a GGUF file in fp32 or fp16, in one of FORMATS by llama.cpp's own quantizer.

    Rows that a format's blocks do not divide (256 numbers in the K formats, 32 in the others) go into a wider one.
    """
    engine = _engine()
    one_of("format", format, tuple(FORMATS))
    positive("threads", threads)
    source, target = Path(source), Path(target)
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    options = engine.llama_model_quantize_default_params()
    options.nthread, options.ftype = threads, getattr(engine, FORMATS[format])
    temporary = target.with_name(f".{target.name}.part")
    _said.clear()
    try:
        if engine.llama_model_quantize(str(source).encode(), str(temporary).encode(), ctypes.byref(options)):
            reason = next((line for line in _said if "fail" in line), "llama.cpp does not say why")
            raise ValueError(f"{source} cannot be quantized to {format}: {reason}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def require():
    """Raises ImportError, with the remedy, where the engine is not installed."""
    _engine()


@cache
def _engine():
    """llama_cpp, told to speak to us and not to the terminal. Raises ImportError that says how to get it."""
    try:
        import llama_cpp
    except ImportError:
        raise ImportError("the llama.cpp engine is not installed; in a clone `make engine` builds it, elsewhere "
                          "pip install 'slmkit[engine]' (it needs a C++ compiler)") from None  # fmt: skip
    llama_cpp.llama_log_set(_listener(llama_cpp), ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


@cache
def _listener(llama_cpp):
    """Kept by the cache, because C holds no reference to it."""
    return llama_cpp.llama_log_callback(
        lambda level, text, _: level == DEBUG or _said.append(text.decode(errors="replace").strip())
    )


def _field(model, key: str, default: int = 0) -> int:
    """A whole number of the file's header, of several (one for each layer) the largest. {} is the architecture."""

    def read(key: str) -> str | None:
        buffer = ctypes.create_string_buffer(1 << 16)
        found = _engine().llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
        return buffer.value.decode() if found >= 0 else None

    value = read(key.replace("{}", read("general.architecture") or ""))
    return default if value is None else max(np.atleast_1d(json.loads(value)).tolist())
