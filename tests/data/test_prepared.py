"""Prepared corpora: made once, made anew when the text changes, never half."""

import multiprocessing
import os

import pytest
import torch

from slmkit.data import prepared
from slmkit.data.corpora import Corpus
from slmkit.data.prepared import prepare, prepare_together


def corpus(*train):
    return Corpus("c", "none", "here", train, ("a quiet sea",))


@pytest.fixture(autouse=True)
def _own_build(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))


def test_made_once_and_read_after(monkeypatch, tmp_path):
    tokenizer, data = prepare(corpus("the sea the sea", "the hill"), 270)
    monkeypatch.setattr(prepared, "pack_corpus", None)  # a second making would fail
    again, same = prepare(corpus("the sea the sea", "the hill"), 270)
    assert again.digest == tokenizer.digest == data.train.tokenizer
    assert torch.equal(same.train.tokens, data.train.tokens)
    assert tokenizer.decode(data.held_out.tokens[:-1].tolist()) == "a quiet sea"
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_other_text_other_split_other_vocabulary_are_made_anew(tmp_path):
    prepare(corpus("the sea", "the hill"), 270)
    prepare(corpus("the sea", "the hills"), 270)
    prepare(corpus("the sea", "the hill"), 269)
    prepare(Corpus("c", "none", "here", ("the sea",), ("the hill", "a quiet sea")), 270)
    assert len(list((tmp_path / "data").iterdir())) == 4


def test_what_a_kill_left_is_not_used(monkeypatch, tmp_path):
    def killed(corpus, tokenizer, folder):
        folder.mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "pack_corpus", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(corpus("the sea the sea"), 270)
    cut_short = next((tmp_path / "data").glob("*.partial"))
    of_the_dead = cut_short.rename(cut_short.with_name(cut_short.name.replace(str(os.getpid()), "4194305")))
    of_the_living = of_the_dead.with_name(of_the_dead.name.replace("4194305", "1"))
    of_the_living.mkdir()
    _, data = prepare(corpus("the sea the sea"), 270)
    assert len(data.train) > 1
    assert list((tmp_path / "data").glob("*.partial")) == [of_the_living], "what nobody works on is cleared away"


def test_two_processes_may_prepare_at_once(tmp_path):
    text = corpus(*(f"the sea {i} " * 300 for i in range(300)))
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=prepare, args=(text, 300)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list((tmp_path / "data").iterdir())) == 1
    assert len(prepare(text, 300)[1].train) > 1000


def test_several_corpora_share_a_tokenizer(tmp_path):
    hills = Corpus("hills", "none", "here", ("the hill the hill",), ("a steep hill",))
    tokenizer, data = prepare_together({"one": corpus("the sea the sea"), "two": hills}, 300)
    assert {row.tokenizer for one in data.values() for row in (one.train, one.held_out)} == {tokenizer.digest}
    assert tokenizer.decode(data["one"].held_out.tokens[:-1].tolist()) == "a quiet sea"
    assert tokenizer.decode(data["two"].train.tokens[:-1].tolist()) == "the hill the hill"
    assert len(tokenizer.encode(" sea")) == len(tokenizer.encode(" hill")) == 1
    assert len(list((tmp_path / "data").iterdir())) == 1
