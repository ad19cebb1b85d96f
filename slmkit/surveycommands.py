"""What the commands about models and claims do: slmkit count, compare, models and claims.

Each prints a table, or with --json one JSON value for programs.
"""

import json
import re
import shutil
import textwrap
from dataclasses import asdict

from slmkit.commands import configuration, print_table

SHOWN = ("name", "release", "params_exact", "n_layers", "d_model", "attention", "ffn", "activation", "vocab_size")
TITLES = {"name": "model", "release": "released", "params_exact": "parameters", "n_layers": "layers",
          "d_model": "width", "ffn": "FFN", "vocab_size": "vocabulary"}  # fmt: skip
CONTEXTS = (2048, 32_768)  # tokens, for the caches that compare shows


# -- one model, two models -------------------------------------------------------------------------------------------


def measures(config, context: int, caches: tuple[int, ...]) -> dict[str, dict]:
    """What follows from a configuration: parameters by part, bytes with caches of so many tokens, FLOPs a token."""
    import torch

    from slmkit.model.counting import count_parameters, flops_by_part, kv_cache_bytes, weight_bytes

    count = count_parameters(config)
    parts = {name: n for name, n in asdict(count).items() if n}
    weights = {f"weights, {str(dtype).removeprefix('torch.')}": weight_bytes(config, dtype)
               for dtype in (torch.float32, torch.bfloat16, torch.int8)}  # fmt: skip
    cached = {"cache a token, float16" if tokens == 1 else f"cache of {tokens:,} tokens, float16":
              kv_cache_bytes(config, tokens, torch.float16) for tokens in caches}  # fmt: skip
    phases = ("training", "prefill", "decode")
    return {
        "parameters": parts | {"all": count.total, "all but embedding and head": count.non_embedding},
        "bytes": weights | cached,
        "flops": {phase: sum(flops_by_part(config, context, phase).values()) for phase in phases},
    }


def count(options):
    found = measures(configuration(options.name), options.context, (1, options.context))
    if options.json:
        return print_json({"name": options.name, "context": options.context} | found)
    total = found["parameters"]["all"]
    print(f"{options.name}\n\n{'parameters':<34}{'':>16}{'share':>9}")
    for part, n in found["parameters"].items():
        share = "" if part.startswith("all") else f"{n / total:>9.1%}"
        print(f"  {part.replace('_', ' '):<32}{n:>16,}{share}")
    print("\nbytes")
    for what, n in found["bytes"].items():
        print(f"  {what:<32}{n:>16,}" if n < 1e6 else f"  {what:<32}{n / 1e6:>16,.1f} MB")
    print(f"\nFLOPs a token, {options.context:,} tokens of context")
    for phase, n in found["flops"].items():
        print(f"  {phase:<32}{n:>16,.0f}")


def compare(options):
    """Two configurations side by side; a row that differs is marked."""
    names = (options.first, options.second)
    sides = []
    for name in names:
        config = configuration(name)
        found = measures(config, options.context, CONTEXTS)
        fields = {key.replace("_", " "): value for key, value in config.to_dict().items()}
        sides.append({"configuration": fields} | found)
    if options.json:
        return print_json(dict(zip(names, sides)))
    for part, title in (("configuration", "configuration"), ("parameters", "parameters"), ("bytes", "bytes"),
                        ("flops", f"FLOPs a token, {options.context:,} tokens of context")):  # fmt: skip
        first, second = (side[part] for side in sides)
        table = []
        for key in dict.fromkeys([*first, *second]):
            values = (first.get(key), second.get(key))
            if values != (None, None) or part != "configuration":
                table.append(["≠" if values[0] != values[1] else "", key.replace("_", " "), *map(_cell, values)])
        print_table(["", title, *names], table, right=(2, 3))
        print()
    print("≠ marks what differs.")


def _cell(value) -> str:
    """A value of a configuration or a measure for people; a value for each layer as its range."""
    if isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
        return f"{min(value):,} to {max(value):,}" if min(value) != max(value) else f"{value[0]:,}"
    if isinstance(value, bool | str) or value is None:
        return {True: "yes", False: "no", None: "–"}.get(value, value)
    if isinstance(value, float) and value < 1e6:
        return f"{value:.6g}"
    return f"{value:,.0f}" if isinstance(value, int | float) else json.dumps(value)


# -- the tables ------------------------------------------------------------------------------------------------------


def models(options):
    from slmkit.survey import zoo
    from slmkit.survey.query import check_columns, sort, where
    from slmkit.survey.tables import rows

    buildable = set(zoo.available())
    tables = {"survey": "models"} | ({"since": "models_since"} if options.since else {})
    known = [
        {"year": row["release"][:4], "list": origin, "builds": "yes" if row["name"] in buildable else "no"} | row
        for origin, table in tables.items()
        for row in rows(table)
    ]
    found = where(known, options.where)
    if options.sort:
        check_columns(known, [options.sort])
        found = sort(found, options.sort) if found else []
    columns = [name.strip() for name in options.columns.split(",")] if options.columns else list(SHOWN)
    check_columns(known, columns)
    if not options.columns:
        columns += ["list", "builds"] if options.since else ["builds"]
    if options.json:
        return print_json([{name: _plain(row[name]) for name in columns} for row in found])
    table = [[f"{int(cell):,}" if cell.isdecimal() and len(cell) > 4 else cell or "–"
              for cell in (row[name] for name in columns)] for row in found]  # fmt: skip
    right = [i for i, name in enumerate(columns) if all(row[name].isdecimal() or not row[name] for row in known)]
    print_table([TITLES.get(name, name.replace("_", " ")) for name in columns], table, right)
    ours = "; list says whose rows they are: the survey's, or ours of models released since" if options.since else ""
    print(f"\n{len(found)} models, of which slmkit builds {sum(row['builds'] == 'yes' for row in found)}{ours}. "
          "`slmkit count NAME` counts one.")  # fmt: skip


def claims(options):
    from slmkit.survey import tables
    from slmkit.survey.verdicts import OPEN, VERDICTS

    frame = tables.claims()
    frame["verdict"] = frame.verdict.replace("", OPEN)
    if options.lab is not None:
        labs = sorted(set(frame.lab))
        if options.lab not in labs:
            raise ValueError(f"no claim belongs to lab {options.lab!r}; labs with claims are {', '.join(labs)}")
        frame = frame[frame.lab == options.lab]
    if options.verdict is not None:
        chosen = [name for name in (*VERDICTS, OPEN) if options.verdict.lower() in name]
        if not chosen:
            known = ", ".join((*VERDICTS, OPEN))
            raise ValueError(f"no verdict contains {options.verdict!r}; the verdicts are {known}")
        frame = frame[frame.verdict.isin(chosen)]
    if options.mark is not None:
        frame = frame[frame.mark == options.mark]
    if options.json:
        return print_json(frame.to_dict("records"))
    width = max(shutil.get_terminal_size((120, 24)).columns - 66, 30)
    table = [
        [row.id, row.mark, row.lab, textwrap.shorten(row.statement, width, placeholder=" …"),
         textwrap.shorten(str(row.survey_value), 14, placeholder="…"), row.value, row.verdict]
        for row in frame.itertuples()
    ]  # fmt: skip
    print_table(["claim", "mark", "lab", "statement", "survey", "measured", "verdict"], table)
    stand = frame.verdict.value_counts()
    print(f"\n{len(frame)} claims: " + ", ".join(f"{verdict} {n}" for verdict, n in stand.items()))


def _plain(cell: str) -> int | float | str | None:
    """A cell for programs: a number where it is one ("600B" is text), None where it is empty."""
    return json.loads(cell) if re.fullmatch(r"-?\d+(\.\d+)?", cell) else cell or None


def print_json(value):
    print(json.dumps(value, indent=1, ensure_ascii=False))
