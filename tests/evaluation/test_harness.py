"""The model `slmkit` of lm-eval beside lm-eval's own `hf`: the same weights, tasks of four kinds, item by item."""

import contextlib
import json
import logging
import shutil
import sys
import tomllib
from functools import partial

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance

import slmkit
from slmkit import Decoder, ModelConfig, interop
from slmkit.data.tokenizer import END_OF_TEXT, Tokenizer
from slmkit.evaluation import harness
from slmkit.evaluation.harness import model_class
from slmkit.paths import root

TASKS = root() / "book" / "capability" / "tasks"
KINDS = {"everyday": "multiple_choice", "last_word": "loglikelihood", "passages": "loglikelihood_rolling",
         "opposites": "generate_until"}  # fmt: skip
CONTEXT = 32  # shorter than the passages and than prompts of every task, so that all are cut


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([path.read_text() for path in sorted(TASKS.glob("*.jsonl"))], 400)


@pytest.fixture(scope="module")
def folders(tokenizer, tmp_path_factory):
    """A small Llama with random weights, as transformers writes it and as slmkit does."""
    torch.manual_seed(0)
    model = Decoder(
        ModelConfig(tokenizer.vocab_size, 48, 2, 4, n_kv_heads=2, d_ff=96, max_context=CONTEXT, tied_embeddings=False)
    ).eval()  # tied and untrained, it would repeat a token
    theirs, ours = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
    exported = interop.to_transformers(model)
    exported.generation_config.eos_token_id = tokenizer.end_of_text
    exported.save_pretrained(theirs)
    harness.for_transformers(tokenizer).save_pretrained(theirs)
    slmkit.save(model, ours, tokenizer)
    return {"theirs": theirs, "ours": ours, "model": model}


def evaluate(model, folder=TASKS, names=tuple(KINDS), limit=None, settings=None, **arguments) -> dict:
    import lm_eval
    from lm_eval.tasks import TaskManager

    model_class()
    with contextlib.chdir(root()):
        return lm_eval.simple_evaluate(
            model=model, model_args={name: str(value) for name, value in arguments.items()}, tasks=list(names),
            batch_size=4, limit=limit, bootstrap_iters=0, verbosity=None,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False), **settings or {},
        )  # fmt: skip


def answers(results: dict, name: str) -> list:
    """What the model said of every request of a task."""
    samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    return [response for sample in samples for responses in sample["resps"] for response in responses]


def assert_same(ours: dict, theirs: dict, name: str):
    mine, other = answers(ours, name), answers(theirs, name)
    if KINDS.get(name) == "generate_until":
        assert mine == other
    else:
        mine, other = (np.array(list(map(np.atleast_1d, said)), dtype=float) for said in (mine, other))
        assert np.abs(mine[:, 0] - other[:, 0]).max() <= 1e-4
        assert (mine[:, 1:] == other[:, 1:]).all()  # whether greedy decoding would write it
    for metric, value in theirs["results"][name].items():
        if isinstance(value, float):
            assert ours["results"][name][metric] == pytest.approx(value, rel=1e-5), metric


@pytest.fixture(scope="module")
def by_hf(folders):
    return evaluate("hf", pretrained=folders["theirs"], device="cpu", dtype="float32")


@pytest.fixture(scope="module", params=["theirs", "ours"])
def by_slmkit(request, folders):
    return evaluate("slmkit", path=folders[request.param])


@pytest.mark.parametrize("name", KINDS)
def test_every_item_and_score_is_that_of_hf(name, by_slmkit, by_hf):
    assert by_hf["configs"][name]["output_type"] == KINDS[name]
    assert len(answers(by_hf, name)) >= 5
    assert len({str(said) for said in answers(by_hf, name)}) > 3
    assert_same(by_slmkit, by_hf, name)


@pytest.mark.slow
def test_the_pretrained_model_scores_as_in_hf(fetched):
    from lm_eval.models.huggingface import HFLM

    from slmkit import pretrained

    model, tokenizer = fetched(pretrained.load)
    theirs = interop.to_transformers(model.float()).eval()
    theirs.generation_config.eos_token_id = pretrained.stop_tokens(tokenizer)
    hf = HFLM(pretrained=theirs, tokenizer=harness.for_transformers(tokenizer), batch_size=4)
    ours, other = evaluate("slmkit", limit=2, path="smollm2"), evaluate(hf, limit=2)
    for name in KINDS:
        assert_same(ours, other, name)
    assert ours["results"]["opposites"]["exact_match,stripped"] > 0


# -- conversations

TEMPLATE = """{% for one in messages %}{% if one.role == "system" %}{{ raise_exception("no system") }}{% endif %}
<{{ one.role }}> {{ one.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""
CHAT = {"apply_chat_template": True, "fewshot_as_multiturn": True, "num_fewshot": 1}


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_a_chat_template_is_filled_as_in_hf(system, folders, tmp_path):
    folder = shutil.copytree(folders["theirs"], tmp_path / "chat")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    settings, names = CHAT | {"system_instruction": system}, ("everyday", "opposites")
    ours = evaluate("slmkit", names=names, limit=4, settings=settings, path=folder)
    theirs = evaluate("hf", names=names, limit=4, settings=settings, pretrained=folder, device="cpu", dtype="float32")
    for name in names:
        assert_same(ours, theirs, name)
        prompts = [sample["arguments"][0][0] for sample in ours["samples"][name]]
        assert prompts == [sample["arguments"][0][0] for sample in theirs["samples"][name]]
        assert all(prompt.count("<user>") == 2 and prompt.endswith("<assistant>") for prompt in prompts)


# -- what cannot be scored


def lines(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == harness.logger.name]


@pytest.fixture
def heard(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)  # lm-eval's command switches it off
    return caplog


def test_broken_items_get_a_line_each_and_the_rest_is_scored(tmp_path, folders, tokenizer, heard):
    good = {"question": "Which?", "choices": ["a hat", "a hen"], "answer": 0}
    bad = {
        "too long": good | {"question": "ab " * 100}, "empty": good | {"choices": ["a hat", ""]},
        "twins": good | {"choices": ["a hat", "a hat", "a hen"]}, "huge": good | {"choices": ["a hat", "ab " * 100]},
        "missing": {"choices": ["a hat", "a hen"], "answer": 0},
    }  # fmt: skip
    docs = [good, *bad.values(), good | {"question": "What?"}]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    text = (TASKS / "everyday.yaml").read_text().replace("task: everyday", 'task: broken\ntarget_delimiter: ""')
    text = text.replace("book/capability/tasks/everyday.jsonl", str(tmp_path / "items.jsonl"))
    (tmp_path / "broken.yaml").write_text(text.replace("build/cache/datasets", str(tmp_path / "cache")))
    found = evaluate("slmkit", tmp_path, ["broken"], path=folders["ours"])
    said = lines(heard)
    assert len(said) == len(bad)
    wanted = (f"more than the context of {CONTEXT}", "choice 2 is empty", "choices 1 and 2 are the same",
              "choice 2 has 201 tokens", "the field question is missing")  # fmt: skip
    for place, words in enumerate(wanted, start=1):
        assert any(f"broken, item {place}: " in line and words in line for line in said), (place, said)
    plain = evaluate("slmkit", tmp_path, ["broken"], path=folders["ours"], limit=1)
    values = [value for value, _ in answers(found, "broken")]
    assert values[:2] == pytest.approx([value for value, _ in answers(plain, "broken")])
    assert values.count(float("-inf")) == 2  # the empty and the huge choice
    assert np.isfinite(values[-2:]).all()


def ask(kind: str, *arguments) -> Instance:
    return Instance(kind, {}, arguments, 0, ("made", 7, 1))


def test_a_context_without_text_is_the_token_before_all_texts(folders, tokenizer):
    lm = model_class()(model=folders["model"], tokenizer=tokenizer)
    ids = tokenizer.encode(" a hat")
    logits = folders["model"](torch.tensor([[tokenizer.end_of_text, *ids]]))[0, :-1].log_softmax(-1)
    expected = logits.gather(1, torch.tensor(ids)[:, None]).sum().item()
    (found,) = lm.loglikelihood([ask("loglikelihood", "", " a hat")])
    assert found[0] == pytest.approx(expected, abs=1e-4)
    other = model_class()(model=folders["model"], tokenizer=tokenizer, prefix_token_id=5)
    assert other.loglikelihood([ask("loglikelihood", "", " a hat")])[0][0] != pytest.approx(expected, abs=1e-2)


def test_what_is_written_ends_where_it_should(folders, tokenizer, heard):
    lm = model_class()(model=folders["model"], tokenizer=tokenizer)
    (whole,) = lm.generate_until([ask("generate_until", "A clock", {"until": ["no end"], "max_gen_toks": 12})])
    ids = tokenizer.encode("A clock")
    assert lm.stops == {tokenizer.end_of_text}
    assert whole == tokenizer.decode(slmkit.generate(folders["model"], [ids], 12)[0, len(ids) :])
    end = whole[3:5]
    (cut,) = lm.generate_until([ask("generate_until", "A clock", {"until": [end], "max_gen_toks": 12})])
    assert cut == whole.split(end)[0]
    lm.stops = {int(slmkit.generate(folders["model"], [ids], 1)[0, -1])}
    assert lm.generate_until([ask("generate_until", "A clock", {"until": ["no end"], "max_gen_toks": 12})]) == [""]
    assert not lines(heard)
    long = ask("generate_until", "ab " * 60, {"until": ["no end"], "max_gen_toks": 12})
    assert len(lm.generate_until([long])) == 1
    assert "made, item 7" in lines(heard)[0]


def test_drawn_text_depends_on_the_seed(folders, tokenizer):
    lm = model_class()(model=folders["model"], tokenizer=tokenizer)
    settings = {"until": ["no end"], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0, "top_k": 20}
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts += lm.generate_until([ask("generate_until", "A clock", settings)])
    assert texts[0] == texts[1] != texts[2]


# -- the command


def command(monkeypatch, *words: str) -> int:
    from lm_eval import tasks

    monkeypatch.setattr(tasks, "TaskManager", partial(tasks.TaskManager, include_defaults=False))  # reading all is slow
    monkeypatch.setattr(sys, "argv", ["lm_eval", *words])
    monkeypatch.chdir(root())
    return harness.main()


def test_the_command_prints_the_scores(folders, by_hf, monkeypatch, capsys):
    words = ["--model", "slmkit", "--model_args", f"path={folders['ours']}", "--include_path", str(TASKS)]
    assert command(monkeypatch, *words, "--tasks", "everyday", "--batch_size", "4") == 0
    said = capsys.readouterr().out
    assert f"{by_hf['results']['everyday']['acc,none']:.4g}" in said
    assert "acc_norm" in said


@pytest.mark.parametrize(("given", "words"), [
    ("path=nowhere", "there is no folder nowhere"), ("path=slmkit", "no model at slmkit: config.json is missing"),
    ("pth=smollm2", "there is no option pth"), ("dtype=float32", "give --model_args path=FOLDER"),
    ("path=smollm2,dtype=int8", "it is float32 or bfloat16"),
])  # fmt: skip
def test_a_model_that_cannot_be_had_gets_one_line(given, words, monkeypatch, capsys):
    arguments = ["--model", "slmkit", "--model_args", given, "--include_path", str(TASKS), "--tasks", "everyday"]
    assert command(monkeypatch, *arguments) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_model_without_a_chat_template_says_so(folders, monkeypatch, capsys):
    words = ["--model", "slmkit", "--model_args", f"path={folders['ours']}", "--include_path", str(TASKS)]
    assert command(monkeypatch, *words, "--tasks", "everyday", "--apply_chat_template") == 2
    assert "the model's tokenizer has no chat template; give" in capsys.readouterr().err.splitlines()[-1]


def test_the_shells_command_is_this_one():
    scripts = tomllib.loads((root() / "pyproject.toml").read_text())["project"]["scripts"]
    assert {scripts["lm_eval"], scripts["lm-eval"]} == {f"{harness.__name__}:{harness.main.__name__}"}


def test_text_that_looks_like_a_mark_stays_text(tokenizer):
    wrapped = harness.for_transformers(tokenizer)
    for text in ("a hat", f"a {END_OF_TEXT} hat", "  two  spaces\n", "東京 😀"):
        assert wrapped.encode(text) == tokenizer.encode(text)
