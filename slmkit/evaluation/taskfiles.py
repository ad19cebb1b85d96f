"""Task files of one's own, in the format of lm-eval (Gao et al. 2024): a YAML head, and the items in JSON lines.

    task: capitals
    dataset_path: json
    dataset_kwargs: {data_files: capitals.jsonl}
    output_type: multiple_choice
    doc_to_text: "Q: {{question}}\\nA:"
    doc_to_choice: choices
    doc_to_target: answer

`lm_eval --include_path FOLDER --tasks capitals` reads the same file.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slmkit.evaluation.tasks import Task, made_of

KINDS = {"multiple_choice": "choice", "generate_until": "text"}
SPLITS = ("test_split", "validation_split", "training_split")  # which is asked: the first that is named, as in lm-eval


def read(path: str | Path, limit: int | None = None, seed: int = 0) -> Task:
    """The task of a YAML file; `limit` draws that many items by `seed`, and the others become its pool.

    Of lm-eval's fields, those of the example above are read, doc_to_choice as a column, a list or a template, and
    test_split, description, target_delimiter, fewshot_delimiter, generation_kwargs (until, max_gen_toks); those that
    name Python functions are refused. An item that cannot be asked (a field is missing, a choice is empty, two are
    identical, the answer is none of the choices) is left out with a line in `left_out` and on stderr. Raises ValueError
    when the head is wrong or no item is left, FileNotFoundError when a file is not there.
    """
    path = Path(path)
    head = _head(path)
    delimiter, settings = head.get("target_delimiter", " "), head.get("generation_kwargs") or {}
    kind = KINDS[head["output_type"]]
    until = settings.get("until", ["\n\n"])  # without it, lm-eval stops at what stands between examples
    start = head.get("description", "")
    made = [(number, *_fields(head, doc, kind, start, delimiter)) for number, doc in _lines(_data(path, head))]
    return made_of(str(head.get("task", path.stem)), made, kind, limit, seed, head=start,
                   between=head.get("fewshot_delimiter", "\n\n"),
                   until=(until,) if isinstance(until, str) else tuple(until),
                   max_new_tokens=settings.get("max_gen_toks", 256))  # fmt: skip


def _head(path: Path) -> dict:
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"there is no task file {path}")
    try:
        head = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not a task file: {' '.join(str(error).split())}") from None
    if not isinstance(head, dict):
        raise ValueError(f"{path} is not a task file: its head is a table of fields, such as task: capitals")
    needed = ["output_type", "doc_to_text", "doc_to_target", "dataset_kwargs"]
    if head.get("output_type") == "multiple_choice":
        needed.append("doc_to_choice")
    if missing := [name for name in needed if name not in head]:
        raise ValueError(f"{path} lacks {missing[0]}; a task of this kind needs {', '.join(needed)}")
    if head["output_type"] not in KINDS:
        raise ValueError(f"{path}: output_type is {head['output_type']!r}; slmkit reads {' and '.join(KINDS)}")
    return head


def _data(path: Path, head: dict) -> Path:
    """The file of the split that is asked: beside the head, or where lm-eval looks, from the working folder on."""
    files = (head["dataset_kwargs"] or {}).get("data_files")
    if head.get("dataset_path", "json") != "json" or not isinstance(files, str | dict):
        raise ValueError(f"{path}: the items must be JSON lines (dataset_path: json), named in dataset_kwargs as "
                         "data_files: FILE, or data_files: {test: FILE}")  # fmt: skip
    if isinstance(files, dict):
        split = next((head[name] for name in SPLITS if name in head), "test")
        if split not in files:
            raise ValueError(f"{path}: data_files names no file for the split {split!r}; it has {', '.join(files)}")
        files = files[split]
    for data in (path.parent / files, Path(files)):
        if data.is_file():
            return data
    raise FileNotFoundError(f"{path} names the items' file {path.parent / files}, which is not there")


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Number of each item, counted from 0 as lm-eval does, and the item; a ValueError in place of what is none."""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(line for line in lines if line.strip()):
            try:
                doc = json.loads(line)
                yield str(number), doc if isinstance(doc, dict) else ValueError("it is no table of fields ({…})")
            except ValueError as error:
                yield str(number), ValueError(f"it is not JSON ({error})")


def _fields(head: dict, doc: Any, kind: str, start: str, delimiter: str) -> tuple[Any, list[str], Any]:
    """Context, choices and answer of an item; an error, as the context, if it cannot be asked."""
    try:
        if isinstance(doc, Exception):
            raise doc
        context, target = start + str(_filled(head["doc_to_text"], doc)), _filled(head["doc_to_target"], doc)
        if kind == "text":
            targets = _literal(target, list)
            return context, [f"{delimiter}{one}" for one in (targets if isinstance(targets, list) else [target])], 0
        choices = _literal(_filled(head["doc_to_choice"], doc), list)
        if not isinstance(choices, list):
            raise ValueError(f"its choices are no list: {choices!r}")
        choices = [str(choice) for choice in choices]
        target = choices.index(target) if target in choices else _literal(target, int)
        # An empty choice stays empty, whatever stands before choices.
        return context, [choice and delimiter + choice for choice in choices], target
    except ValueError as error:
        return error, [], None


def _filled(template: Any, doc: dict) -> Any:
    """A field of the head for one item, as lm-eval reads it: a column's name, a list, or a template with {{column}}."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    if isinstance(template, list):
        return [_filled(one, doc) if "{" in str(one) else one for one in template]
    if not isinstance(template, str):
        return template
    there = {name: value for name, value in doc.items() if value is not None}
    if template in there:
        return there[template]
    if template.isidentifier():  # lm-eval would take the column's name for the text
        raise ValueError(f"the field {template} is missing")
    try:
        environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        return environment.from_string(template).render(there)
    except TemplateError as error:
        raise ValueError(f"a field is missing or the template is wrong ({error})") from None


def _literal(value: Any, kind: type) -> Any:
    """What a template wrote down as a list or a number, as that; else the value itself."""
    try:
        read = ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value
    return read if type(read) is kind else value
