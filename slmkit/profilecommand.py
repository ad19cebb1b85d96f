"""`slmkit profile`: the latency and memory of a model on this machine, in PyTorch or in llama.cpp."""

import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from slmkit import commands, profiling
from slmkit.config import ModelConfig
from slmkit.course import machine
from slmkit.interop import from_gguf, gguf_kind, to_gguf
from slmkit.model.counting import kv_cache_bytes, weight_bytes
from slmkit.model.decoder import Decoder
from slmkit.paths import build_folder
from slmkit.profiling import engine as llama

# Columns of the record, and what the survey calls them where it has them.
MEMORY = {"weights_mb": "model parameters", "cache_mb": "KV cache", "activations_mb": "compute buffer",
          "logits_mb": "logits", "tables_mb": "positions"}  # fmt: skip


def profile(options):
    """Measures, prints a table, and writes the record if a file was named."""
    file = Path(options.name) if options.name.endswith(".gguf") else None
    engine = options.engine or ("llama.cpp" if file else "torch")
    check(options, engine)
    if file and not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    with profiling.use_threads(options.threads):
        threads = torch.get_num_threads()
        record = (in_llama if engine == "llama.cpp" else in_torch)(options, file, threads)
    record |= {"date": machine.today(), "machine": machine.describe(), "versions": machine.versions()}
    print(in_words(record))
    if options.json:
        commands.write_json(options.json, record | {"rows": survey_rows(record)})


def check(options, engine: str):
    """Refuses what an engine cannot do, before anything is built or measured."""
    if engine == "torch" and options.quant:
        raise ValueError(f"--quant {options.quant} is a format of llama.cpp; add --engine llama.cpp, or use --dtype "
                         "float32 or bfloat16")  # fmt: skip
    if engine == "torch" and options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no GPU; use --device cpu")
    if engine == "llama.cpp":
        for name, other in (("dtype", "--quant F16 or BF16"), ("device", "--engine torch")):
            if getattr(options, name) not in (None, "cpu"):
                raise ValueError(f"--{name} {getattr(options, name)} is not for llama.cpp here; use {other}")
        if options.quant and options.quant not in llama.FORMATS:
            raise ValueError(f"--quant {options.quant} does not exist; it is one of {', '.join(llama.FORMATS)}")
        llama.require()


def in_torch(options, file: Path | None, threads: int) -> dict:
    """The record of PyTorch. Random weights take as long as trained ones, so only a GGUF file's own are read."""
    dtype, device = getattr(torch, options.dtype or "float32"), torch.device(options.device or "cpu")
    if file:
        model = from_gguf(file)[0].to(device, dtype)
        check_context(model.config, options)
    else:
        config = commands.configuration(options.name)
        check_context(config, options)
        check_memory(options.name, needed(config, options, dtype), free_memory(device))
        model = built(config, dtype, device)
    peaks = profiling.measure_peaks(device=device, dtypes=(dtype,), repeats=3)
    return profiling.profile_model(model, name=options.name, peaks=peaks, **asked(options))


def in_llama(options, file: Path | None, threads: int) -> dict:
    """The record of llama.cpp: of a GGUF file, or of a model that is written as one into a temporary folder."""
    peaks = profiling.measure_peaks(dtypes=(), repeats=3)
    with scratch() as folder:
        path = file or exported(options, folder)
        quant = options.quant or (None if file else "F16")
        if quant:
            tell(f"{options.name}: llama.cpp writes {quant}")
            path = llama.quantize(path, folder / f"{quant}.gguf", quant, threads=threads)
        return llama.profile_engine(path, name=options.name, threads=threads, peaks=peaks, **asked(options))


def asked(options) -> dict:
    names = ("prompt", "new_tokens", "repeats", "anyway")
    return {name: getattr(options, name) for name in names} | {"progress": True}


def exported(options, folder: Path) -> Path:
    """The model with random weights as a GGUF file in fp32."""
    config = commands.configuration(options.name)
    check_context(config, options)
    gguf_kind(config)  # says what the format cannot hold, before anything is built
    weights = weight_bytes(config)
    check_memory(options.name, {"weights in float32": weights}, free_memory())
    if 2 * weights > (free := shutil.disk_usage(folder).free):
        raise ValueError(f"{options.name} needs {2 * weights / 1e9:.1f} GB in {folder.parent} as files, and "
                         f"{free / 1e9:.1f} GB are free there")  # fmt: skip
    tell(f"{options.name}: {weights / 1e6:,.0f} MB of random weights, written for llama.cpp")
    return to_gguf(built(config, torch.float32, torch.device("cpu")), folder / "F32.gguf")


@contextmanager
def scratch():
    """A folder that is gone afterwards, where there is room for models: beside the other things that are built."""
    with tempfile.TemporaryDirectory(prefix="profile-", dir=build_folder()) as folder:
        yield Path(folder)


def tell(text: str):
    """One line on what takes a while, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


# -- does it fit -----------------------------------------------------------------------------------------------------


def check_context(config: ModelConfig, options):
    if (total := options.prompt + options.new_tokens - 1) > config.max_context:
        raise ValueError(f"--prompt {options.prompt} and --new-tokens {options.new_tokens} take {total} tokens, and "
                         f"{options.name} knows at most {config.max_context}")  # fmt: skip


def needed(config: ModelConfig, options, dtype: torch.dtype) -> dict[str, int]:
    """Bytes by part of the run that is asked for; without the activations where no formula gives them."""
    try:
        parts = profiling.memory_by_part(config, options.prompt, options.new_tokens, dtype)
        return {"weights": parts.weights, "cache": parts.cache, "activations": parts.activations}
    except ValueError:
        cache = kv_cache_bytes(config, options.prompt + options.new_tokens, dtype)
        return {"weights": weight_bytes(config, dtype), "cache": cache}


def check_memory(name: str, parts: Mapping[str, int], free: int):
    """Raises MemoryError with the numbers when the parts are more than the free bytes."""
    if (need := sum(parts.values())) > free:
        told = ", ".join(f"{part} {size / 1e9:.2f}" for part, size in parts.items())
        raise MemoryError(f"{name} needs {need / 1e9:.2f} GB ({told}) and {free / 1e9:.2f} GB are free; take a "
                          "smaller model, fewer tokens or --dtype bfloat16")  # fmt: skip


def free_memory(device: torch.device | None = None) -> int:
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def built(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> Decoder:
    """A decoder with random weights, made in its dtype on its device at once: no second copy is ever in memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return Decoder(config).to(dtype)  # rotary tables are made in fp32
    finally:
        torch.set_default_dtype(before)


# -- what is said ----------------------------------------------------------------------------------------------------


def in_words(record: Mapping) -> str:
    """The record as a table for people."""
    threads = f"{record['threads']} thread" + "s" * (record["threads"] > 1)
    lines = [
        f"{record['model']}: {record['parameters'] / 1e6:,.1f}M parameters in {record['dtype']}",
        f"{record['engine']} on {record['processor']} ({record['device']}), {threads}",
        f"{record['prompt_tokens']} tokens read, {record['new_tokens']} written, "
        f"{len(record['ttft_ms_repeats'])} times; {'processor' if record['clock'] == 'cpu' else 'wall'} time",
        "",
        f"{'milliseconds':<26}{'median':>10}{'90% below':>12}{'drift':>8}{'least by roofline':>20}",
    ]
    for name, what in (("ttft", "time to the first token"), ("tpot", "time per further token")):
        tail, bound = record[f"{name}_ms_p90"], record[f"roofline_{name}_ms"]
        lines.append(
            f"{what:<26}{record[f'{name}_ms']:>10,.2f}{'–' if tail is None else f'{tail:,.2f}':>12}"
            f"{record[f'{name}_drift']:>+8.0%}{'–' if bound is None else f'{bound:,.2f}':>20}"
        )
    lines += [f"{'tokens a second':<26}{record['tokens_per_second']:>10,.2f}", "", "megabytes"]
    lines += [f"{what:<26}{record[column]:>10,.2f}" for column, what in MEMORY.items()]
    lines.append(f"{'the whole process, peak':<26}{record['peak_memory_mb']:>10,.2f}")
    if record["trouble"]:
        lines += ["", f"NOT STEADY, not for comparisons: {record['trouble']}"]
        lines += ["On a shared machine one thread is the safest; several may spin while they wait, which the variable",
                  "OMP_WAIT_POLICY=passive prevents."] * (record["threads"] > 1)  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def survey_rows(record: Mapping) -> list[dict]:
    """The record as rows of the survey's table of timings, slmkit.survey.runtime(): a figure a row."""
    gpu, tokens = record["device"] != "cpu", {"prompt tokens": record["prompt_tokens"]}
    same = {"figure_v1": "-", "figure_v3": "-", "device": record["processor"],
            "processor": "GPU" if gpu else "CPU", "engine": record["engine"].partition(" ")[0],
            "model": record["model"], "quant": record["dtype"]}  # fmt: skip
    note = (f"{record['engine']}, threads: {record['threads']}, prompt length {record['prompt_tokens']}, "
            f"generation {record['new_tokens']}")  # fmt: skip
    note += f"; not steady: {record['trouble']}" * bool(record["trouble"])

    def row(phase: str, metric: str, x: Mapping, value: float, unit: str, repeats=()) -> dict:
        ((x_name, x_value),) = x.items()
        spread = f"{min(repeats):.4g} to {max(repeats):.4g} {unit} over {len(repeats)} repeats" if repeats else ""
        measured = {"phase": phase, "metric": metric, "x_name": x_name, "x_value": x_value, "value": value}
        return same | measured | {"unit": unit, "extraction": "measured by slmkit profile", "precision": spread,
                                  "note": note}  # fmt: skip

    context = {"max context": record["prompt_tokens"] + record["new_tokens"]}
    size = {"params (M; llama.cpp count)" if same["engine"] == "llama.cpp" else "params (M)":
            record["parameters"] / 1e6}  # fmt: skip
    return [
        row("prefill", "first token time", tokens, record["ttft_ms"], "ms", record["ttft_ms_repeats"]),
        row("decode", "latency per token", {"generated tokens": record["new_tokens"]}, record["tpot_ms"], "ms",
            record["tpot_ms_repeats"]),
        *(row("", f"memory: {what}", context, record[column], "MB") for column, what in MEMORY.items()),
        row("", "runtime memory", size, record["peak_memory_mb"], "MB"),
    ]  # fmt: skip
