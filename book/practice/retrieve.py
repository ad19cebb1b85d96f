"""Answers out of this book's own pages, found by a small embedding model: python book/practice/retrieve.py"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas
import torch
from transformers import AutoModel, AutoTokenizer

from slmkit import pretrained
from slmkit.course import finding
from slmkit.course.facts import FACTS
from slmkit.data.tokenizer import Tokenizer
from slmkit.paths import root
from slmkit.profiling.engine import Engine

BOOK = root() / "book"
QUESTIONS = BOOK / "practice" / "questions.csv"
LEFT_OUT = ("practice/", "records/", "reference/glossary")  # these pages, the log, and what repeats the others
WORDS, PASSAGES, ANSWER, CONTEXT = 70, 2, 24, 1024  # words of a passage; passages in a prompt; tokens written, at most
FIRST = 10  # passages of a search that are looked at
PROMPT = "Answer in one short sentence."


class Passage(NamedTuple):
    page: str
    text: str


def pages() -> dict[str, str]:
    """The prose of each page of the book, by its name."""
    names = re.findall(r"book/(\S+)", (root() / "_toc.yml").read_text())
    return {name: plain((BOOK / f"{name}.md").read_text()) for name in names if not name.startswith(LEFT_OUT)}


def plain(markdown: str) -> str:
    """Without blocks of code and figures, tables, formulas on lines of their own and marks; facts as they stand now."""
    text = re.sub(r"^(`{3,}).*?^\1`*$|^\$\$.*?\$\$$|^\|.*?$", "", markdown, flags=re.M | re.S)
    text = re.sub(r"\{fact\}`([^`]+)`", lambda found: FACTS[found[1]](), text)
    text = re.sub(r"\{cite\}`[^`]+`", "", text)
    text = re.sub(r"\{\w+\}`([^<`]+?)\s*(<[^>]+>)?`|\[([^]]+)\]\([^)]+\)", lambda found: found[1] or found[3], text)
    return text.replace("**", "").replace("*", "").replace("`", "")


def passages(texts: dict[str, str], words: int = WORDS) -> list[Passage]:
    """Each section in pieces of `words` words, its heading before each; a piece is of one page."""
    found = []
    for page, text in texts.items():
        for section in re.split(r"^#+ ", text, flags=re.M)[1:]:
            heading, _, body = section.partition("\n")
            said = body.split()
            found += [Passage(page, f"{heading}: {' '.join(said[i : i + words])}") for i in range(0, len(said), words)]
    return found


class Embedder:
    """all-MiniLM-L6-v2: the mean of its vectors over a text's tokens, at length one. Reads 256 tokens at most."""

    def __init__(self):
        folder = pretrained.embedder_path()
        self.tokenizer, self.model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [texts, 384]."""
        found = []
        for start in range(0, len(texts), 16):
            part = list(texts[start : start + 16])
            ids = self.tokenizer(part, padding=True, truncation=True, max_length=256, return_tensors="pt")
            hidden, real = self.model(**ids).last_hidden_state, ids["attention_mask"][..., None]
            found.append(torch.nn.functional.normalize((hidden * real).sum(1) / real.sum(1)).numpy())
        return np.concatenate(found)


def by_meaning(known: list[Passage], embed: Callable) -> Callable[[str], np.ndarray]:
    """A search: question -> places of the passages, the nearest first."""
    vectors = embed([passage.text for passage in known])
    return lambda question: np.argsort(-(vectors @ embed([question])[0]), kind="stable")


def by_words(known: list[Passage], k: float = 1.2, b: float = 0.75) -> Callable[[str], np.ndarray]:
    """The same by BM25: words that both have, the more the rarer, with diminishing returns, less in long passages."""
    counts = [Counter(_words(passage.text)) for passage in known]
    lengths = np.array([count.total() for count in counts])
    within = Counter(word for count in counts for word in count)
    short = k * (1 - b + b * lengths / lengths.mean())

    def search(question: str) -> np.ndarray:
        score = np.zeros(len(known))
        for word in set(_words(question)):
            often = np.array([count[word] for count in counts])
            rare = math.log(1 + (len(known) - within[word] + 0.5) / (within[word] + 0.5))
            score += rare * often * (k + 1) / (often + short)
        return np.argsort(-score, kind="stable")

    return search


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def rank_of_page(search: Callable, asked: pandas.DataFrame, known: list[Passage]) -> list[int]:
    """For each question, how many passages come before the first one of its page."""
    return [next(place for place, i in enumerate(search(one.question)) if known[i].page == one.page)
            for one in asked.itertuples()]  # fmt: skip


def by_chance(asked: pandas.DataFrame, known: list[Passage], first: int) -> float:
    """The share of questions whose page is among `first` passages drawn at random, exactly."""
    of_page = Counter(passage.page for passage in known)
    total = math.comb(len(known), first)
    return 1 - float(np.mean([math.comb(len(known) - of_page[page], first) / total for page in asked.page]))


def prompt(question: str, texts: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Ids of a conversation that asks the question, with what was found above it."""
    found = "".join(f"{text}\n\n" for text in texts)
    return pretrained.chat_prompt([{"role": "user", "content": f"{found}{PROMPT} {question}"}], tokenizer)


def answer(engine: Engine, ids: list[int], key: str, tokenizer: Tokenizer) -> tuple[str, float]:
    """The model's answer, and the log-likelihood of the words in `key` in its place."""
    stops, token, written = pretrained.stop_tokens(tokenizer), engine.prefill(ids, ANSWER), []
    while token not in stops and len(written) < ANSWER:
        written.append(token)
        token = engine.step(token)
    wanted = tokenizer.encode(key[0].upper() + key[1:])
    rows = torch.from_numpy(engine.logits([ids[-1], *wanted[:-1]], behind=len(ids) - 1)).log_softmax(-1)
    return tokenizer.decode(written), rows[range(len(wanted)), wanted].sum().item()


def texts_for(asked: pandas.DataFrame, known: list[Passage], search: Callable) -> dict[str, list[list[str]]]:
    """What stands above each question: nothing, what was found, what was found for another page's question, and
    the first of the page's own passages that hold the answer, had the search found them."""
    found = [[known[i].text for i in search(question)[:PASSAGES]] for question in asked.question]
    others = [next(j for j in np.roll(range(len(asked)), -i - len(asked) // 2) if asked.page[j] != asked.page[i])
              for i in range(len(asked))]  # fmt: skip
    right = []
    for one in asked.itertuples():
        own = [known[i].text for i in search(one.question) if known[i].page == one.page]
        right.append([text for text in own if one.answer.lower() in text.lower()][:1] or own[:1])
    return {"none": [[] for _ in found], "found": found, "wrong": [found[j] for j in others], "right": right}


def retrieval(asked: pandas.DataFrame, known: list[Passage], searches: dict[str, Callable]):
    """Keeps the place of each question's page in both searches, and what chance gives."""
    ranks = {name: rank_of_page(search, asked, known) for name, search in searches.items()}
    chance = [by_chance(asked, known, first) for first in range(1, FIRST + 1)]
    held = {"questions": len(asked), "pages": len({passage.page for passage in known}), "passages": len(known)}
    note = "passages before the first of the right page, a question each; chance by passages looked at"
    finding("practice-retrieval", note, **ranks, chance=chance, **held)


def answers(asked: pandas.DataFrame, above: dict[str, list[list[str]]], engine: Engine, tokenizer: Tokenizer):
    """Keeps for each question whether the answer holds the key, and its log-likelihood, by what stood above it."""
    values, shown = {}, {}
    for name, texts in above.items():
        told = [answer(engine, prompt(one.question, text, tokenizer), one.answer, tokenizer)
                for one, text in zip(asked.itertuples(), texts, strict=True)]  # fmt: skip
        values[f"{name} right"] = [int(key.lower() in text.lower()) for key, (text, _) in zip(asked.answer, told)]
        values[f"{name} log"] = [likelihood for _, likelihood in told]
        shown[f"{name} answers"] = [text for text, _ in told]
        print(name, np.mean(values[f"{name} right"]), np.mean(values[f"{name} log"]), flush=True)
    note = "a question each: key in the answer; log-likelihood of the key"
    finding("practice-answers", note, **values, **shown, written=ANSWER)


if __name__ == "__main__":
    torch.set_num_threads(1)
    questions, everything = pandas.read_csv(QUESTIONS), passages(pages())
    meaning = by_meaning(everything, Embedder())
    retrieval(questions, everything, {"meaning": meaning, "words": by_words(everything)})
    _, its_tokenizer = pretrained.load()
    with Engine(pretrained.gguf_path(), context=CONTEXT) as opened:
        answers(questions, texts_for(questions, everything, meaning), opened, its_tokenizer)
