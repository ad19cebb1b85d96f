"""The page of the memory calculator: its form, the numbers of the models it knows, and a table of examples.

- {memory-calculator}, a directive: a form that book/extra/widgets/calculator.js computes from, in the browser.
- {memory-examples}, a directive: our numbers beside the survey's measured ones, which also stand without JavaScript.
`memory` is the rule in Python; the browser's is held against it by tests/site/test_calculator.py.
"""

import json
import math
import re
from functools import cache
from html import escape

import torch
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from slmkit.config import ModelConfig
from slmkit.course.modelpages import listed
from slmkit.model.counting import count_parameters, kv_cache_bytes
from slmkit.survey import zoo
from slmkit.survey.tables import rows

LOGITS_ROWS = 512  # tokens of a prompt that llama.cpp takes at once, and for which it holds logits
SAME = {"Bloom-1B1": "Bloom-1.1B"}  # a model's name in the survey's figures and in its table
START = "SmolLM2-360M"

# name, label, value at the start, least, most, step
SETTINGS = (
    ("context", "context, tokens", 2048, 1, 10_000_000, 1),
    ("batch", "sequences at once", 1, 1, 4096, 1),
    ("bits", "bits per weight", 4, 1, 32, "any"),
    ("cache_bits", "bits per cached number", 16, 1, 32, "any"),
    ("logits_rows", "tokens with logits", LOGITS_ROWS, 1, 1_000_000, 1),
)
DIMENSIONS = (
    ("vocab_size", "vocabulary"),
    ("d_model", "model width"),
    ("n_layers", "layers"),
    ("n_heads", "query heads"),
    ("n_kv_heads", "key-value heads"),
    ("head_dim", "head width"),
    ("d_ff", "FFN width"),
)


def memory(config: ModelConfig, context: int, batch: int, bits: float, cache_bits: float, logits_rows: int) -> dict:
    """Bytes of the weights, of the KV cache, of the logits (32 bits each), and their sum.

    `logits_rows` tokens have their logits in memory at once. Activations, and what a program takes, are not counted.
    """
    found = {
        "weights": math.ceil(count_parameters(config).total * bits / 8),
        "cache": math.ceil(kv_cache_bytes(config, context, torch.int8, batch) * cache_bits / 8),
        "logits": 4 * logits_rows * config.vocab_size,
    }
    return found | {"total": sum(found.values())}


@cache
def models() -> dict[str, dict]:
    """What the browser needs of each model that slmkit can build, by name."""
    found = {}
    for row in listed():
        try:
            config = zoo.config(row["name"])
        except ValueError:
            continue
        widths = {name: _mean(getattr(config, name)) for name, _ in DIMENSIONS}
        found[row["name"]] = widths | {
            "gated": config.ffn == "gated",
            "tied": config.tied_embeddings,
            "max_context": config.max_context,
            "parameters": count_parameters(config).total,
            "cached": kv_cache_bytes(config, 1, torch.int8),  # numbers in the cache for one token
            "ours": row["ours"],
        }
    return found


def _mean(value: int | tuple[int, ...]) -> int:
    """A per-layer choice as one number, to start from when a reader changes it."""
    return round(sum(value) / len(value)) if isinstance(value, tuple) else value


def devices() -> list[dict]:
    """The survey's devices with their memory in GiB, as its table of devices prints it."""
    found = []
    for row in rows("runtime"):
        if row["metric"] == "device specification":
            size = re.search(r"(\d+) GB", row["value"])
            found.append({"name": row["device"].removesuffix(" 16GB"), "what": row["value"], "gib": int(size[1])})
    return found


class Calculator(SphinxDirective):
    def run(self):
        data = json.dumps({"models": models(), "devices": devices()}, separators=(",", ":")).replace("<", "\\u003c")
        use = "".join(_number(*setting) for setting in SETTINGS)
        sizes = "".join(_number(name, label, "", 1, 10_000_000, 1) for name, label in DIMENSIONS)
        lines = (("weights", "weights"), ("cache", "KV cache"), ("logits", "logits buffer"), ("total", "together"))
        results = "".join(
            f'<tr id="calc-row-{name}"><th scope="row">{label}</th><td><data id="calc-{name}-bytes"></data></td>'
            f'<td id="calc-{name}-how"></td></tr>'
            for name, label in lines
        )
        fits = "".join(
            f'<tr><th scope="row">{escape(device["name"])}</th><td>{escape(device["what"])}</td>'
            f'<td id="calc-device-{i}"></td></tr>'
            for i, device in enumerate(devices())
        )
        html = f"""<form class="slm-calculator" id="calc" hidden>
<fieldset><legend>Model</legend>
<label><span>take the dimensions of</span><select id="calc-model">{_options()}</select></label>
<div class="fields" id="calc-dimensions">{sizes}
<label class="slm-switch"><input type="checkbox" id="calc-gated"> gated FFN</label>
<label class="slm-switch"><input type="checkbox" id="calc-tied"> head tied to the embedding</label>
</div></fieldset>
<fieldset><legend>Use</legend><div class="fields">{use}</div></fieldset>
<p id="calc-problem" class="slm-problem" role="status"></p>
<div class="slm-bar" id="calc-bar" aria-hidden="true">
<i class="part-ffn"></i><i class="part-attention"></i><i class="part-head"></i></div>
{_table("Memory, in MiB of 1,048,576 bytes", ("part", "MiB", "how"), results)}
{_table("Does it fit the survey’s devices?", ("device", "as the survey lists it", "answer"), fits)}
<p id="calc-said" class="visually-hidden" role="status"></p>
</form>
<script type="application/json" id="calc-data">{data}</script>
<noscript><p>The calculator needs JavaScript. The examples below do not.</p></noscript>"""
        return [nodes.raw("", html, format="html")]


def _number(name: str, label: str, value, low: int, high: int, step) -> str:
    return (
        f'<label><span>{label}</span><input type="number" id="calc-{name}" value="{value}" '
        f'min="{low}" max="{high}" step="{step}" required></label>'
    )


def _table(caption: str, heads: tuple[str, ...], body: str) -> str:
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f'<table class="table"><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def _options() -> str:
    """The select's entries: dimensions of one's own, the survey's models, and ours."""
    groups = {False: "models of the survey", True: "released since, ours"}
    listing = "".join(
        f'<optgroup label="{label}">'
        + "".join(
            f"<option{' selected' * (name == START)}>{escape(name)}</option>"
            for name, model in models().items()
            if model["ours"] == ours
        )
        + "</optgroup>"
        for ours, label in groups.items()
        if any(model["ours"] == ours for model in models().values())
    )
    return f'<option value="">my own dimensions</option>{listing}'


class Examples(SphinxDirective):
    """Each model whose memory the survey broke down: its figures, read from the drawing, and ours."""

    def run(self):
        heads = ("model", "weights, survey", "that is, bits per weight", "KV cache, survey", "KV cache, ours",
                 "compute buffer, survey", "logits, ours")  # fmt: skip
        body = "\n".join(
            f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td>{value:,.1f}</td>" for value in values) + "</tr>"
            for name, *values in (row.values() for row in examples())
        )
        caption = "In MiB. The survey’s numbers are read from its Figure 13a (version 3): 4-bit weights, context 2,048."
        return [nodes.raw("", f'<div class="slm-numbers">{_table(caption, heads, body)}</div>', format="html")]


def examples() -> list[dict]:
    """The survey's measured parts [MiB] beside what `memory` says, for every model of its figure that can be built."""
    measured: dict[str, dict] = {}
    for row in rows("runtime"):
        if row["figure_v3"] == "13a":
            about = measured.setdefault(row["model"], {"context": int(row["x_value"])})
            about[row["metric"].removeprefix("memory: ")] = float(row["value"])
    found = []
    for name, parts in measured.items():
        if SAME.get(name, name) not in models():
            continue
        config = zoo.config(SAME.get(name, name))
        ours = memory(config, parts["context"], batch=1, bits=4, cache_bits=16, logits_rows=LOGITS_ROWS)
        found.append({
            "model": name,
            "weights": parts["model parameters"],
            "bits": parts["model parameters"] * 2**20 * 8 / count_parameters(config).total,
            "cache": parts["KV cache"],
            "cache_ours": ours["cache"] / 2**20,
            "buffer": parts["compute buffer"],
            "logits_ours": ours["logits"] / 2**20,
        })  # fmt: skip
    return found


def setup(app: Sphinx):
    app.add_directive("memory-calculator", Calculator)
    app.add_directive("memory-examples", Examples)
