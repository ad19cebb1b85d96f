"""The page of the models: a table with a line of details under each row, and a timeline, both made from the tables.

- {model-timeline}, a directive: month of release against parameters, inline SVG that follows the page's theme.
- {model-table}, a directive: every model of the survey, and those that we added, marked as ours.
Both read well as they are. book/extra/widgets/tables.js lays filters, sorting and opening by a click over them.
"""

import math
import re
from dataclasses import asdict
from html import escape

import torch
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from slmkit.model.counting import count_parameters, kv_cache_bytes
from slmkit.survey import trends, zoo
from slmkit.survey.tables import rows

# Upper bounds of the groups of sizes that the filter offers, and their names.
SIZES = [(5e8, "below 0.5B"), (1e9, "0.5B to 1B"), (2e9, "1B to 2B"), (3e9, "2B to 3B"), (9e9, "above 3B")]
CONTEXTS = (2048, 32768)  # tokens for which the details state the cache
HEADS = ("model", "release", "parameters", "attention", "FFN", "norm", "vocabulary", "tokens per parameter")
FILTERED = HEADS[1:7]
# Shape and colour of each attention kind in the timeline, as a path around (0, 0).
MARKS = {
    "MHA": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "GQA": "M-4.5,-4.5h9v9h-9z",
    "MQA": "M0,-6l5.6,10h-11.2z",
    "MLA": "M0,-6.5l6.5,6.5l-6.5,6.5l-6.5,-6.5z",
    "": "M-4,-4l8,8m0,-8l-8,8",
}
PARTS = {"ffn": "FFN", "norm": "norms", "head": "output head", "ends": "embedding projections, head bias"}
LEFT, RIGHT, TOP, BOTTOM = 50, 512, 34, 330  # the timeline's plotting area, in a view of 520 by 370


def listed() -> list[dict]:
    """The models by release; `ours` says whether a row is not in the survey."""
    found = [row | {"ours": ours} for table, ours in (("models", False), ("models_since", True)) for row in rows(table)]
    return sorted(found, key=lambda row: (row["ours"], row["release"], parameters(row)))


def parameters(row: dict) -> float:
    """Exact where the dimensions are known, else what the name says."""
    if row["params_exact"]:
        return int(row["params_exact"])
    return float(row["params_nominal"][:-1]) * {"M": 1e6, "B": 1e9}[row["params_nominal"][-1]]


def short(count: float) -> str:
    """A count as tables print it: 61k, 135M, 1.24B."""
    return f"{count / 1e3:.0f}k" if count < 1e6 else f"{count / 1e6:.0f}M" if count < 1e9 else f"{count / 1e9:.2f}B"


def mebibytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"


def anchor(name: str) -> str:
    """The address of a model's details within the page."""
    return "model-" + re.sub(r"[^a-z0-9]+", "-", name.lower())


def size_group(size: float) -> str:
    return next(name for bound, name in SIZES if size < bound)


class ModelTable(SphinxDirective):
    def run(self):
        models = listed()
        ours = sum(row["ours"] for row in models)
        heads = "".join(f'<th scope="col"{" data-filter" * (name in FILTERED)}>{name}</th>' for name in HEADS)
        body = "\n".join(table_row(row) + details(row) for row in models)
        label = f"also the {ours} models released since, collected by us"
        table = (
            '<div class="slm-scroll"><table class="table slm-filter slm-models" data-noun="models" '
            f'data-switch="ours" data-switch-label="{label}">\n'
            f"<caption>The {len(models) - ours} models of the survey, then {ours} of ours, marked so.</caption>\n"
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )
        return [nodes.raw("", table, format="html")]


def table_row(row: dict) -> str:
    """A model's line. data-sort is what a column sorts by, data-group what its filter offers."""
    size, vocabulary, ratio = parameters(row), int(row["vocab_size"] or 0), trends.tokens_per_parameter(row)
    badge = ' <span class="slm-ours">ours</span>' if row["ours"] else ""
    about = "" if row["params_exact"] else "about "
    cells = [
        (f'<a href="#{anchor(row["name"])}">{escape(row["name"])}</a>{badge}', row["name"], None),
        (row["release"], row["release"], row["release"][:4]),
        (about + short(size), size, size_group(size)),
        (row["attention"], None, row["attention"]),
        (f"{row['ffn']} {words(row['activation']).split(' (')[0]}".strip(), None, row["ffn"]),
        (row["norm"].replace(" (pre)", "").replace("(pre, ", "("), None, trends.option(row, "norm")),
        (f"{vocabulary:,}" if vocabulary else "", vocabulary, trends.option(row, "vocabulary")),
        (f"{ratio:,.0f}" if ratio else "", ratio, None),
    ]
    made = []
    for i, (text, sort, kind) in enumerate(cells):
        attributes = f' data-sort="{escape(str(sort))}"' if sort else ""
        attributes += f' data-group="{escape(kind or "not known")}"' if kind is not None else ""
        text = (text if i == 0 else escape(text)) or '<span class="slm-blank">not known</span>'
        made.append(f'<th scope="row"{attributes}>{text}</th>' if i == 0 else f"<td{attributes}>{text}</td>")
    kind = ' class="ours"' if row["ours"] else ""
    return f'<tr{kind} data-row="{anchor(row["name"])}">{"".join(made)}</tr>\n'


def details(row: dict) -> str:
    """The line under a model's: its configuration, its parameters by part, what it costs to run and took to train."""
    terms = "".join(f"<dt>{term}</dt><dd>{escape(text)}</dd>" for term, text in described(row) if text)
    try:
        cost = parts(row["name"]) + cache(row)
    except ValueError as refused:
        count = int(row["params_exact"] or 0)  # of a model outside a decoder, by its own formula
        cost = f"<p><b>{count:,}</b> parameters</p>" * bool(count) + f"<p>{escape(str(refused))}.</p>"
    inner = f'<div class="slm-model" id="{anchor(row["name"])}"><dl>{terms}</dl><div>{cost}</div></div>'
    opened = f"<details><summary>{escape(row['name'])} in detail</summary>{inner}</details>"
    kind = "more ours" if row["ours"] else "more"
    return f'<tr class="{kind}"><td colspan="{len(HEADS)}">{opened}</td></tr>'


def described(row: dict) -> list[tuple[str, str]]:
    """(term, text) for each choice of a model; an empty text is left out."""
    ratio = trends.tokens_per_parameter(row)
    tokens = re.sub(r"(\d)B\b", r"\1 billion", row["training_tokens"]) + " tokens" * bool(row["training_tokens"])
    beside = "; attention and FFN side by side" if row["parallel_block"] == "yes" else ""
    printed = [
        f"{name} {row[f'survey_{name}']}"
        for name, ours in (("attention", "attention"), ("vocab", "vocab_size"), ("context", "max_context"))
        if row[f"survey_{name}"] and row[f"survey_{name}"].lower() != row[ours].lower()
    ]
    return [
        ("from", f"{row['organisation']}, {row['release']}"),
        ("published as", row["hf_id"]),
        ("layers", f"{row['n_layers']}, {row['d_model']} wide{beside}"),
        ("attention", heads(row)),
        ("FFN", ffn(row)),
        ("norm", row["norm"]),
        ("positions", row["pos"]),
        ("biases", {"none": "", "qkv": "queries, keys and values", "all": "everywhere"}.get(row["bias"], row["bias"])),
        ("vocabulary", f"{int(row['vocab_size']):,}" if row["vocab_size"] else ""),
        ("output head", {"yes": "tied to the embedding", "no": "its own matrix"}.get(row["tied_embeddings"], "")),
        ("sharing", row["sharing"].strip("-")),
        ("layer by layer", "heads and FFN widths differ" if row["layerwise_scaling"] == "yes" else ""),
        ("context", f"{int(row['max_context']):,} tokens" if row["max_context"] else ""),
        ("training", ", ".join(filter(None, (tokens, row["training_algorithm"].strip("-"))))),
        ("tokens per parameter", f"{ratio:,.0f}" if ratio else ""),
        ("training data", row["pretraining_datasets"].replace(";", ", ")),
        ("the survey prints", ", ".join(printed)),
        ("note", row["note"]),
        ("read from", row["source"]),
    ]


def heads(row: dict) -> str:
    if not row["n_heads"] or not row["head_dim"]:
        return row["attention"]
    shared = f", {row['n_kv_heads']} of keys and values" if row["n_kv_heads"] else ""
    return f"{row['attention']}, {row['n_heads']} query heads{shared}, {row['head_dim']} wide"


def ffn(row: dict) -> str:
    if not row["ffn"]:
        return ""
    return f"{row['ffn']}, {words(row['activation'])}, {row['d_ff']} wide: {row['ffn_ratio']} × the model's width"


def words(activation: str) -> str:
    return {"GELU_tanh": "GELU (tanh)", "ReLU^2": "squared ReLU"}.get(activation, activation)


def parts(name: str) -> str:
    """A bar and a list: where a model's parameters are. ValueError when slmkit refuses the model."""
    count = count_parameters(zoo.config(name))
    shares = {part: size for part, size in asdict(count).items() if size}
    named = {part: PARTS.get(part, part.replace("_", " ")) for part in shares}
    lines = {part: f"{named[part]} {short(size)}, {size / count.total:.1%}" for part, size in shares.items()}
    css = {part: "part-" + part.replace("_", "-") for part in shares}
    bar = "".join(f'<i class="{css[part]}" style="flex:{size}"></i>' for part, size in shares.items())
    listing = "".join(f'<li class="{css[part]}">{line}</li>' for part, line in lines.items())
    return (
        f'<p class="slm-total"><b>{count.total:,}</b> parameters</p>'
        f'<div class="slm-bar" role="img" aria-label="{"; ".join(lines.values())}">{bar}</div>'
        f'<ul class="slm-parts">{listing}</ul>'
    )


def cache(row: dict) -> str:
    """The size of the KV cache at two contexts, and the way to the calculator."""
    config, limit = zoo.config(row["name"]), int(row["max_context"])
    said = [
        f"{mebibytes(kv_cache_bytes(config, tokens, torch.float16))} at {tokens:,} tokens"
        + (" (more than it was made for)" if tokens > limit else "")
        for tokens in CONTEXTS
    ]
    link = f'<a href="calculator.html?model={escape(row["name"])}">Calculate its memory</a>'
    return f"<p>KV cache in 16 bits: {', '.join(said)}.</p><p>{link}</p>"


class ModelTimeline(SphinxDirective):
    """Two drawings: of the survey's models, which the page's script shows first, and of all."""

    def run(self):
        models = listed()
        survey = [row for row in models if not row["ours"]]
        legend = "".join(f"<li>{mark(kind, 0, 0, standalone=True)} {kind or 'not known'}</li>" for kind in MARKS)
        drawn = (
            f'<div class="slm-timeline" data-without="ours" hidden>{timeline(survey)}</div>'
            f'<div class="slm-timeline" data-with="ours">{timeline(models)}</div>'
            f'<ul class="slm-legend">{legend}<li data-with="ours">hollow: ours</li></ul>'
        )
        return [nodes.raw("", drawn, format="html")]


def timeline(models: list[dict]) -> str:
    """An inline SVG: month of release to the right, parameters upwards on a logarithmic scale."""
    years = range(2022, int(max(row["release"] for row in models)[:4]) + 1)
    low, high = math.log(8e7), math.log(5.5e9)

    def x(month: str) -> float:
        year, number = map(float, month.split("-"))
        return LEFT + (RIGHT - LEFT) * (year + (number - 0.5) / 12 - years[0]) / len(years)

    def y(size: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log(size) - low) / (high - low)

    lines = []
    for year in years:
        at = LEFT + (RIGHT - LEFT) * (year - years[0]) / len(years)
        lines.append(f'<path class="grid" d="M{at:.1f},{TOP}V{BOTTOM}"/>')
        lines.append(
            f'<text x="{at + (RIGHT - LEFT) / len(years) / 2:.1f}" y="{BOTTOM + 20}" text-anchor="middle">{year}</text>'
        )
    for size, text in {1e8: "100M", 3e8: "300M", 1e9: "1B", 3e9: "3B", 5e9: "5B"}.items():
        lines.append(f'<path class="grid" d="M{LEFT},{y(size):.1f}H{RIGHT}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y(size) + 4:.1f}" text-anchor="end">{text}</text>')
    lines.append(f'<text x="{LEFT - 40}" y="{TOP - 16}">parameters, on a logarithmic scale</text>')
    lines.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 38}" text-anchor="middle">month of release</text>')
    marks = [mark(row["attention"], x(row["release"]), y(parameters(row)), row) for row in models]
    first, last = models[0]["release"], max(row["release"] for row in models)
    said = f"{len(models)} models by release, {first} to {last}, and by size. The table below has the same in words."
    return f'<svg viewBox="0 0 520 372" role="img" aria-label="{said}">{"".join(lines)}{"".join(marks)}</svg>'


def mark(kind: str, x: float, y: float, row: dict | None = None, standalone: bool = False) -> str:
    """A model's sign in the timeline; the page's script hides and opens by data-row."""
    css = f"mark-{kind or 'none'}"
    if standalone:
        return f'<svg class="{css}" viewBox="-7 -7 14 14" aria-hidden="true"><path d="{MARKS[kind]}"/></svg>'
    title = f"{row['name']}, {row['release']}, {short(parameters(row))}" + (", ours" if row["ours"] else "")
    return (
        f'<g class="{css}{" hollow" if row["ours"] else ""}" data-mark="{anchor(row["name"])}" '
        f'transform="translate({x:.1f},{y:.1f})"><title>{escape(title)}</title><path d="{MARKS[kind]}"/></g>'
    )


def setup(app: Sphinx):
    app.add_directive("model-table", ModelTable)
    app.add_directive("model-timeline", ModelTimeline)
