"""Task files: read as lm-eval reads them, and what is wrong with them said."""

import json

import pytest
import yaml

from slmkit import Decoder, ModelConfig
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.multiple_choice import score
from slmkit.evaluation.taskfiles import read

CAPITALS = """
task: capitals
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{country}}?\\nA:"
doc_to_choice: choices
doc_to_target: answer
"""
DOCS = [{"country": "France", "choices": ["Paris", "Lyon"], "answer": 0},
        {"country": "Peru", "choices": ["Cusco", "Lima", "Puno"], "answer": 1}]  # fmt: skip


def written(folder, head, docs=DOCS):
    lines = [doc if isinstance(doc, str) else json.dumps(doc) for doc in docs]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "task.yaml").write_text(head)
    return folder / "task.yaml"


def by_lm_eval(path):
    """Context, choices and answer of each item as the harness makes them."""
    from lm_eval.api.task import ConfigurableTask

    config = yaml.safe_load(path.read_text())
    files = config["dataset_kwargs"]["data_files"]
    config["dataset_kwargs"] = {"data_files": {split: str(path.parent / name) for split, name in files.items()}}
    task = ConfigurableTask(config=config)
    found = []
    for doc in task.test_docs():
        context = config.get("description", "") + task.doc_to_text(doc)
        delimiter = task.config.target_delimiter
        if config["output_type"] == "multiple_choice":
            choices, answer = task.doc_to_choice(doc), task.doc_to_target(doc)
            answer = choices.index(answer) if isinstance(answer, str) else answer
        else:
            target, answer = task.doc_to_target(doc), 0
            choices = target if isinstance(target, list) else [target]
        found.append((context, tuple(f"{delimiter}{choice}" for choice in choices), answer))
    return task, found


HEADS = {
    "columns": CAPITALS,
    "templates": CAPITALS.replace("choices\n", "'{{choices}}'\n").replace(": answer", ": '{{answer}}'"),
    "the right one by its text": CAPITALS.replace(": answer", ": '{{choices[answer]}}'"),
    "a fixed list": CAPITALS.replace(": choices", ": ['no', 'yes']").replace(": answer", ": 1"),
    "delimiters": CAPITALS + 'description: "Capitals.\\n\\n"\ntarget_delimiter: "\\n"\nfewshot_delimiter: "##"\n',
    "written": CAPITALS.replace("multiple_choice", "generate_until").replace(": answer", ": '{{choices[answer]}}'")
    .replace("doc_to_choice: choices\n", "generation_kwargs: {until: [';'], max_gen_toks: 5}\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_items_are_those_of_lm_eval(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = written(tmp_path, HEADS[kind])
    task = read(path)
    theirs, expected = by_lm_eval(path)
    assert [item[1:] for item in task.items] == expected
    assert task.name == "capitals"
    assert task.between == theirs.config.fewshot_delimiter
    if kind == "written":
        assert task.kind == "text"
        assert (task.until, task.max_new_tokens) == ((";",), 5)


BAD = {
    '{"country": "Chad", "choices": ["", "x"], "answer": 0}': "choice 1 is empty",
    '{"country": "Mali", "choices": ["a", "b", "a"], "answer": 0}': "choices 1 and 3 are identical ('a')",
    '{"choices": ["a", "b"], "answer": 0}': "a field is missing or the template is wrong ('country' is undefined)",
    '{"country": null, "choices": ["a", "b"], "answer": 0}':
        "a field is missing or the template is wrong ('country' is undefined)",
    '{"country": "Togo", "answer": 0}': "the field choices is missing",
    '{"country": "Togo", "choices": ["a", "b"]}': "the field answer is missing",
    '{"country": "Togo", "choices": ["a", "b"], "answer": 2}': "its answer 2 is none of its 2 choices",
    '{"country": "Togo", "choices": ["a", "b"], "answer": "c"}': "its answer 'c' is none of its 2 choices",
    '{"country": "Togo", "choices": ["a"], "answer": 0}': "it has less than two choices",
    '{"country": "Togo", "choices": "ab", "answer": 0}': "its choices are no list: 'ab'",
    '["Togo"]': "it is no table of fields ({…})",
    '{"country": ': "it is not JSON",
}  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_a_bad_item_is_told_by_its_number_and_the_rest_is_there(tmp_path, capsys, line):
    task = read(written(tmp_path, CAPITALS, [DOCS[0], line, DOCS[1]]))
    assert [item.id for item in task.items] == ["0", "2"]
    assert len(task.left_out) == 1
    assert task.left_out[0].startswith(f"capitals, item 1: {BAD[line]}")
    assert task.left_out[0].endswith("; left out")
    assert capsys.readouterr().err == task.left_out[0] + "\n"


def test_an_empty_choice_is_told_whatever_stands_before_choices(tmp_path):
    doc = {"country": "Chad", "choices": ["", "x"], "answer": 0}
    task = read(written(tmp_path, CAPITALS + 'target_delimiter: "->"\n', [*DOCS, doc]))
    assert task.items[0].choices == ("->Paris", "->Lyon")
    assert task.left_out == ("capitals, item 2: choice 1 is empty; left out",)


def test_bad_and_long_items_are_told_and_the_rest_is_scored(tmp_path, capsys):
    """All that can be wrong with items in one file."""
    tokenizer = Tokenizer.train(["Paris is in France and Lima in Peru"], 270)
    model = Decoder(ModelConfig(tokenizer.vocab_size, 16, 1, 2, max_context=32))
    long = {"country": "France " * 40, "choices": ["Paris", "Lima"], "answer": 0}
    longer = {"country": "France", "choices": ["Paris " * 40, "Lima"], "answer": 0}
    task = read(written(tmp_path, CAPITALS, [*DOCS, *BAD, long, longer]))
    scored = score(model, tokenizer, task)
    last = 2 + len(BAD)
    assert [item.id for item in scored.task.items] == ["0", "1", str(last)]
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == [f"capitals, item {i}" for i in [*range(2, last), last + 1, last]]
    assert len(scored.picks()) == 3


@pytest.mark.parametrize(("change", "words"), [
    (("output_type: multiple_choice\n", ""), "lacks output_type"),
    (("doc_to_choice: choices\n", ""), "lacks doc_to_choice"),
    (("multiple_choice", "loglikelihood_rolling"), "output_type is 'loglikelihood_rolling'; slmkit reads"),
    (("path: json", "path: csv"), "the items must be JSON lines"),
    (("{data_files: {test: items.jsonl}}", "{}"), "the items must be JSON lines"),
    (("test_split: test", "test_split: last"), "names no file for the split 'last'; it has test"),
    (("doc_to_target: answer", "doc_to_target: !function code.target"), "is not a task file: could not determine"),
    ((CAPITALS, "- a\n- b\n"), "its head is a table of fields"),
])  # fmt: skip
def test_a_wrong_head_is_refused(tmp_path, change, words):
    with pytest.raises(ValueError, match=words) as raised:
        read(written(tmp_path, CAPITALS.replace(*change)))
    assert "\n" not in str(raised.value)
    assert "task.yaml" in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no task file"):
        read(tmp_path / "task.yaml")
    path = written(tmp_path, CAPITALS.replace("items.jsonl", "gone.jsonl"))
    with pytest.raises(FileNotFoundError, match=r"gone\.jsonl, which is not there"):
        read(path)
    with pytest.raises(ValueError, match="capitals has no item that can be asked"):
        read(written(tmp_path, CAPITALS, []))


def test_a_template_cannot_reach_out_of_its_item(tmp_path):
    head = CAPITALS.replace("{{country}}", "{{country.__class__.__mro__}}")
    with pytest.raises(ValueError, match="no item that can be asked"):
        read(written(tmp_path, head))
