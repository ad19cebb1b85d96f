"""The chapter on practice: its recipes run, the endpoint says what the model says, the search is the formulas'."""

import importlib.util
import json
import re
import socket
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import pandas
import pytest
import torch

import slmkit
from slmkit import Decoder, ModelConfig, pretrained
from slmkit.course import facts, findings, practice_page
from slmkit.data.tokenizer import Tokenizer
from slmkit.interop import to_gguf
from slmkit.paths import root
from slmkit.profiling.engine import Engine

FOLDER = root() / "book" / "practice"
TEXT = "The people of the United States have the power to make the law, and the law is for the people. " * 9


def recipe(name: str):
    spec = importlib.util.spec_from_file_location(f"practice_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def retrieve():
    return recipe("retrieve")


@pytest.fixture(scope="module")
def serve():
    return recipe("serve")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small model that knows TEXT, so that its likeliest token is clearly the likeliest."""
    folder = tmp_path_factory.mktemp("practice")
    tokenizer = Tokenizer.train([TEXT], 300)
    torch.manual_seed(0)
    model = Decoder(ModelConfig(vocab_size=300, d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, max_context=128))
    ids, optimizer = torch.tensor([tokenizer.encode(TEXT)[:128]]), torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    slmkit.save(model.eval(), folder, tokenizer)
    to_gguf(model, folder / "model.gguf", tokenizer)
    return folder


# -- serving


@pytest.mark.engine
def test_the_endpoint_continues_as_slmkit_does(serve, trained):
    ours, theirs = serve.own(trained, "The people of the", new=12)
    assert ours == theirs
    assert ours.startswith(" United States have")


@pytest.mark.engine
def test_what_is_asked_and_what_is_refused(serve, trained, monkeypatch):
    monkeypatch.setattr(serve, "CONTEXT", 128)
    with serve.served(trained / "model.gguf", context=128, logits_all=True) as client:
        host = client.base_url
        assert host.host == "127.0.0.1"
        assert isinstance(serve.asked(client, "Who?", max_tokens=3), str)
        tokens = serve.likelihoods(client, TEXT[:60], 5)
        statuses = serve.refusals(client)
    model, tokenizer = slmkit.load(trained), Tokenizer.load(trained / "tokenizer.json")
    with torch.no_grad():
        wanted = model(torch.tensor([tokenizer.encode(TEXT[:60])]))[0, -1].log_softmax(-1).max().item()
    assert tokens[0][1] == pytest.approx(wanted, abs=0.02)
    assert statuses.pop("prompt longer than the context") == 400
    kept = findings.kept()["practice-refusals"]["values"]
    assert statuses == {name: status for name, status in kept.items() if name in statuses}
    with socket.socket() as gone, pytest.raises(ConnectionRefusedError):
        gone.connect((host.host, host.port))


@pytest.mark.engine
def test_a_server_that_cannot_begin_is_told(serve, tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"no model")
    with pytest.raises(RuntimeError, match=r"did not begin.*exit code [1-9-]"), serve.served(tmp_path / "no.gguf"):
        pass


@pytest.mark.engine
def test_the_costs_are_kept_for_each_way(serve, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    monkeypatch.setattr(serve, "CONTEXT", 128)
    serve.costs(trained / "model.gguf", [TEXT[i : i + 40] for i in (0, 7, 14)], new=6)
    kept = json.loads((tmp_path / "records/cpu/findings/practice-serve.json").read_text())["values"]
    for way in practice_page.WAYS:
        assert len(kept[f"{way} first"]) == len(kept[f"{way} further"]) == 2
        assert min(kept[f"{way} further"]) > 0
        assert len(kept[f"{way} processor"]) == 2
    assert kept["pieces"] == [6]


@pytest.mark.engine
def test_a_stopwatch_of_pieces(serve, monkeypatch):
    clock = iter([10.0, 10.5, 10.6, 10.7, 10.8])
    monkeypatch.setattr(serve.time, "perf_counter", lambda: next(clock))
    first, further, count = serve.timed(iter("abcd"))
    assert (first, further, count) == (0.5, pytest.approx(0.1), 4)


@pytest.mark.engine
def test_processor_time_is_that_of_the_servers_too(serve):
    before = serve.processor_time()
    with subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass\ninput()"],
                          stdin=subprocess.PIPE) as child:  # fmt: skip
        while (spent := serve.processor_time() - before) < 0.4:
            time.sleep(0.05)
        child.communicate(b"\n")
    assert spent < 2


# -- retrieval


def test_prose_without_marks(retrieve):
    page = """# Heads *and* tails

```{drawn} figure
:alt: unseen
```

The cache of {fact}`smollm2.parameters` weights {cite}`lu2024survey` holds {term}`tokens <token>`, see [there](mup.md).

| table | unseen |
|---|---|

$$
unseen
$$
"""
    assert "unseen" not in retrieve.plain(page)
    words = "Heads and tails The cache of 134,515,008 weights  holds tokens, see there."
    assert " ".join(retrieve.plain(page).replace("# ", "").split()) == " ".join(words.split())


def test_passages_keep_all_words_of_a_section_and_its_heading(retrieve):
    found = retrieve.passages({"a": "# One\n" + "word " * 7 + "\n## Two\nlast", "b": "no section"}, words=3)
    assert [passage.text for passage in found] == ["One: word word word"] * 2 + ["One: word", "Two: last"]
    assert {passage.page for passage in found} == {"a"}


def test_bm25_by_hand(retrieve):
    """Three passages, one question of two words, the formula of Robertson and others written out."""
    known = [retrieve.Passage("p", text) for text in ("cat sat", "cat cat dog dog", "fish")]
    mean = 7 / 3
    rare = [np.log(1 + (3 - n + 0.5) / (n + 0.5)) for n in (2, 1)]  # cat, dog
    score = [rare[0] * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / mean)),
             sum(w * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 4 / mean)) for w in rare), 0]  # fmt: skip
    assert retrieve.by_words(known)("Cat, dog?").tolist() == np.argsort(-np.array(score)).tolist() == [1, 0, 2]
    assert retrieve.by_words(known)("sat")[0] == 0
    long = [retrieve.Passage("p", text) for text in ("cat " + "x " * 50, "cat")]
    assert retrieve.by_words(long)("cat").tolist() == [1, 0], "a short passage says it with more weight"


def test_meaning_finds_what_shares_no_word(retrieve, fetched):
    fetched(pretrained.embedder_path)
    embed = retrieve.Embedder()
    texts = ["A kitten slept on the sofa.", "Interest rates fell in March.", "The engine of the car is broken."]
    vectors = embed(texts)
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    known = [retrieve.Passage("p", text) for text in texts]
    search = retrieve.by_meaning(known, embed)
    assert search("Where did a young cat nap?")[0] == 0
    assert search("What did the central bank decide?")[0] == 1
    short, long = embed(["Hi."]), embed(["Hi.", texts[0] * 9])
    assert long[0] == pytest.approx(short[0], abs=1e-5), "padding is left out of the mean"


def test_chance_is_that_of_random_orders(retrieve):
    known = [retrieve.Passage(page, "") for page in "aaabbcdddd"]
    asked = pandas.DataFrame({"question": ["", ""], "page": ["a", "c"]})
    draw = np.random.default_rng(0)
    ranks = [retrieve.rank_of_page(lambda _: draw.permutation(10), asked, known) for _ in range(4000)]
    assert retrieve.by_chance(asked, known, 3) == pytest.approx((np.array(ranks) < 3).mean(), abs=0.02)


def test_what_stands_above_a_question(retrieve):
    known = [retrieve.Passage(page, text) for page, text in
             [("a", "one"), ("a", "the key"), ("b", "two"), ("c", "three")]]  # fmt: skip
    asked = pandas.DataFrame({"question": ["a", "b", "c"], "page": ["a", "b", "c"], "answer": ["KEY", "two", "three"]})
    orders = {"a": [2, 0, 1, 3], "b": [2, 3, 0, 1], "c": [3, 2, 1, 0]}
    above = retrieve.texts_for(asked, known, orders.get)
    assert above["none"] == [[], [], []]
    assert above["found"] == [["two", "one"], ["two", "three"], ["three", "two"]]
    assert above["right"] == [["the key"], ["two"], ["three"]]
    assert all(wrong in above["found"] and wrong != own for wrong, own in zip(above["wrong"], above["found"]))


@pytest.mark.engine
def test_the_likelihood_is_that_of_the_whole_text_read_at_once(retrieve, trained, monkeypatch):
    tokenizer = Tokenizer.load(trained / "tokenizer.json")
    monkeypatch.setattr(retrieve.pretrained, "stop_tokens", lambda tokenizer: [])
    ids, key = tokenizer.encode(TEXT[:80]), tokenizer.encode("Power")
    with Engine(trained / "model.gguf", cache="f32") as engine:
        text, likelihood = retrieve.answer(engine, ids, "power", tokenizer)
        rows = torch.from_numpy(engine.logits([*ids, *key])).log_softmax(-1)
        written = engine.generate(ids, retrieve.ANSWER)[len(ids) :]
    wanted = sum(rows[len(ids) - 1 + i, token].item() for i, token in enumerate(key))
    assert likelihood == pytest.approx(wanted, abs=0.01)
    assert text == tokenizer.decode(written)


@pytest.mark.engine
def test_answers_end_at_the_mark_and_both_records_are_kept(retrieve, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    tokenizer = Tokenizer.load(trained / "tokenizer.json")
    known = [retrieve.Passage(page, f"{page} the law of the people") for page in "abc"] * 5
    asked = pandas.DataFrame({"question": ["law?", "who?"], "page": ["a", "b"], "answer": ["law", "people"]})
    search = retrieve.by_words(known)
    retrieve.retrieval(asked, known, {"meaning": search, "words": search})
    monkeypatch.setattr(retrieve, "prompt", lambda question, texts, _: tokenizer.encode(" ".join([*texts, question])))
    with Engine(trained / "model.gguf") as engine:
        first = engine.prefill(tokenizer.encode("law?"))
        monkeypatch.setattr(retrieve.pretrained, "stop_tokens", lambda _: [first])
        retrieve.answers(asked, retrieve.texts_for(asked, known, search), engine, tokenizer)
    kept = {path.stem: json.loads(path.read_text())["values"] for path in tmp_path.rglob("practice-*.json")}
    assert len(kept["practice-retrieval"]["chance"]) == retrieve.FIRST
    assert kept["practice-answers"]["none answers"][0] == ""
    assert {len(kept["practice-answers"][f"{name} log"]) for name in practice_page.ABOVE} == {2}


# -- the pages


def test_the_questions_can_be_answered_from_their_pages(retrieve, monkeypatch):
    monkeypatch.setattr(retrieve, "FACTS", defaultdict(lambda: str))  # a key is no number that may change
    asked, pages = pandas.read_csv(retrieve.QUESTIONS), retrieve.pages()
    assert len(asked) >= 30
    assert not [page for page in pages if page.startswith(("practice", "records"))]
    assert asked.question.is_unique
    for one in asked.itertuples():
        assert one.answer.lower() in " ".join(pages[one.page].split()).lower(), one.question


def test_the_pages_quote_what_there_is():
    for path in FOLDER.glob("*.md"):
        quoted = set(re.findall(r"\{fact\}`([^`]+)`", path.read_text()))
        assert not quoted - facts.FACTS.keys()
        assert all(0 < len(facts.FACTS[name]()) <= 40 for name in quoted)


def test_the_records_are_of_these_recipes(retrieve):
    kept = {name: findings.kept()[f"practice-{name}"] for name in ("serve", "refusals", "retrieval", "answers")}
    commands = {"python book/practice/serve.py", "python book/practice/retrieve.py"}
    assert {one["command"] for one in kept.values()} == commands
    asked = pandas.read_csv(retrieve.QUESTIONS)
    assert len(kept["retrieval"]["values"]["meaning"]) == len(kept["answers"]["values"]["found log"]) == len(asked)
    assert len(kept["serve"]["values"]["endpoint first"]) >= 3
    assert kept["serve"]["values"]["pieces"] == [kept["serve"]["values"]["new"]], "every way wrote as many pieces"


def test_what_the_page_on_retrieval_says_of_its_tables():
    for first in practice_page.LOOKED:
        assert facts.FACTS[f"practice.difference.{first}.clear"]() == "not clear of zero"
    assert (
        practice_page.recall("meaning", 1).low
        > practice_page.findings.kept()["practice-retrieval"]["values"]["chance"][0]
    )


def test_what_the_page_on_serving_says_of_its_table():
    for way in ("class", "endpoint", "defaults"):
        assert facts.FACTS[f"practice.{way}.added.first.clear"]() == "below zero"
        assert facts.FACTS[f"practice.{way}.added.further.clear"]() == "above zero"
