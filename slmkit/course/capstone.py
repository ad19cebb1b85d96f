"""The capstone: a hand-in, scored from its files alone.

A hand-in is a folder with design.json, the model and tokenizer as `slmkit.save` writes them, and record.json. The
record is for people: parameters and bytes are counted in the weights, and nothing that it says is believed.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from slmkit.config import ModelConfig
from slmkit.course import machine, records
from slmkit.course.capstone_design import BUDGETS, COMPUTES, DESIGN, READS, Design, Prepared, corpus
from slmkit.data.packing import TokenRow
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation.bits import bits_per_byte
from slmkit.evaluation.ngram import NGram
from slmkit.model import storage
from slmkit.model.counting import flops_per_token, kv_cache_bytes
from slmkit.model.decoder import Decoder
from slmkit.profiling.calibrated import quantize_model, stored_bytes
from slmkit.training import train as run_training

RECORD = "record.json"
PIECE = 1000  # characters
FEWEST = 20  # pieces of a hidden text
LIMIT = 5.0  # standard errors by which a text may be known better than another of its source; lab 16 measures it
APART = 1e-3  # bits per byte between a hand-in and its design trained again, on another processor perhaps


# -- handing in --------------------------------------------------------------------------------------------------------


def train(design: Design) -> Prepared:
    """Trains a design from its beginning; returns it with the trained model."""
    made = design.prepare()
    run_training(made.model, made.data, made.training, objective=made.objective)
    return made


def hand_in(folder: Path, design: Design, model: Decoder, tokenizer: Tokenizer) -> "Score":
    """Writes a hand-in, with the record of its score, into `folder`; a teacher's folder must lie there already."""
    storage.save(model, folder, tokenizer)
    records.write(folder / DESIGN, dict(design.said))
    made = score(folder)
    known = {"machine": machine.describe(), "versions": machine.versions(), "threads": torch.get_num_threads()}
    records.write(folder / RECORD, made._asdict() | known | {"date": machine.today()})
    return made


def reproduces(folder: str | Path) -> str | None:
    """Trains the hand-in's design again, its teacher's too; what comes out otherwise, None when all bits are the same.

    Only the same machine, libraries and number of threads must give the same bits.
    """
    design = Design.read(folder)
    if design.teacher and (differs := reproduces(design.teacher)):
        return f"its teacher's {differs}"
    made = train(design)
    if made.tokenizer.digest != Tokenizer.load(Path(folder) / storage.TOKENIZER).digest:
        return "tokenizer"
    weights, again = (storage.unique_tensors(one) for one in (storage.load(folder), made.model))
    differ = [name for name in again if name not in weights or not torch.equal(weights[name], again[name])]
    if differ:
        return differ[0]
    return None if weights.keys() == again.keys() else "list of weights"


# -- scoring -----------------------------------------------------------------------------------------------------------


class Score(NamedTuple):
    """What became of a hand-in."""

    name: str
    budget: str
    used: dict[str, float]  # by the names of Budget.limits
    bits_per_byte: float  # of the weights as stored, on the text below
    text: str  # "public", or "hidden" with a digest of the text
    weights: str  # digest of the file
    errors: float | None  # standard errors by which it knows the hidden text too well; below 0, the public one
    apart: float | None = None  # bits per byte that its design, trained again, takes more for the hidden or public text

    @property
    def over(self) -> dict[str, float]:
        """The limits that are exceeded, with how many times they are used."""
        limits = BUDGETS[self.budget].limits
        return {name: self.used[name] / limit for name, limit in limits.items() if self.used[name] > limit}

    @property
    def refused(self) -> str | None:
        """Why it has no place on the leaderboard."""
        if self.over:
            return f"over the budget {self.budget}: " + ", ".join(
                f"{name} {times:.2f} times" for name, times in self.over.items()
            )
        if self.errors is not None and abs(self.errors) > LIMIT:
            known = "hidden text" if self.errors > 0 else "public evaluation"
            return (f"it knows the {known} too well, by {abs(self.errors):.1f} standard errors (limit {LIMIT:g}): "
                    "it was trained on it")  # fmt: skip
        if self.apart is not None and abs(self.apart) > APART:
            return (f"its design, trained again here, differs by {self.apart:+.4f} bits per byte (limit {APART:g}): "
                    "these weights were trained otherwise")  # fmt: skip
        return None


def score(folder: str | Path, hidden: str | None = None) -> Score:
    """Scores a hand-in; with `hidden`, an instructor's text from the corpus's source, on that text, and against its
    design trained again.

    Raises FileNotFoundError and ValueError, one line, for files that are missing, damaged, too large or do not fit
    each other, and for a tokenizer that does not give back the text.
    """
    folder, design = Path(folder), Design.read(folder)
    budget, path = design.budget, folder / storage.WEIGHTS
    if path.is_file() and path.stat().st_size > (most := 4 * budget.parameters + 10**6):
        raise ValueError(f"{path} has more than {most:,} bytes, which no model within the budget takes")
    model, tokenizer = storage.load(folder).float(), Tokenizer.load(folder / storage.TOKENIZER)
    _check(design, model.config, tokenizer)
    used = measured(design, model)  # leaves the model at the values that are stored
    public = pieces(corpus(budget.corpus).held_out[::2], budget.pieces)
    text, errors = "public", None
    bits = bits_of(model, tokenizer, public, budget.context)
    sizes = byte_counts(public)
    if hidden is not None:
        withheld = pieces([hidden], budget.pieces)
        if len(withheld) < FEWEST:
            raise ValueError(f"the hidden text has {len(withheld)} pieces of {PIECE} characters; {FEWEST} are needed")
        control = excess(bits, public, budget.corpus)
        bits, sizes = bits_of(model, tokenizer, withheld, budget.context), byte_counts(withheld)
        errors = known_too_well(excess(bits, withheld, budget.corpus), control)
        text = f"hidden {hashlib.sha256(hidden.encode()).hexdigest()[:8]}"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    value = float(bits.sum() / sizes.sum())
    made = Score(design.said["name"], design.said["budget"], used, value, text, digest, errors)
    if hidden is None or made.over:  # what is over budget may take forever
        return made
    return made._replace(apart=apart(folder, [public, withheld], budget.context))


def _check(design: Design, config: ModelConfig, tokenizer: Tokenizer):
    has = config.to_dict()
    for name, value in json.loads(json.dumps(design.said["model"])).items():
        if has.get(name) != value:
            raise ValueError(f"the design says {name} = {value!r}, the model has {has.get(name)!r}")
    if (entries := max(tokenizer.vocab_size, tokenizer.end_of_text + 1)) > config.vocab_size:
        raise ValueError(f"the tokenizer has {entries} entries, the model knows {config.vocab_size}")
    if config.max_context < design.budget.context:
        raise ValueError(f"the model reads {config.max_context} tokens; the budget asks for {design.budget.context}")


def measured(design: Design, model: Decoder) -> dict[str, float]:
    """What the model takes of its design's budget. Puts its weights, in place, at the values that the format stores."""
    budget, config, formats = design.budget, model.config, {}
    if design.said["format"] == "F16":
        with torch.no_grad():
            for weight in model.parameters():
                weight.copy_(weight.half() if weight.ndim > 1 else weight)
    else:
        formats = quantize_model(model, design.said["format"])
    memory = stored_bytes(model, formats) + kv_cache_bytes(config, budget.context)
    seconds = max(memory / READS, flops_per_token(config, budget.context, "decode") / COMPUTES)
    return {"parameters": sum(weight.numel() for weight in model.parameters()), "memory": memory,
            "training": design.training_flops(config), "latency": seconds}  # fmt: skip


def pieces(documents: Sequence[str], count: int) -> list[str]:
    """At most `count` pieces of PIECE characters, from all over the documents."""
    text = "\n\n".join(documents)
    whole = len(text) // PIECE
    chosen = [i * whole // min(count, whole) for i in range(min(count, whole))]
    return [text[i * PIECE : (i + 1) * PIECE] for i in chosen]


def byte_counts(texts: Sequence[str]) -> NDArray:
    return np.array([len(text.encode()) for text in texts])


def bits_of(model: Decoder, tokenizer: Tokenizer, texts: Sequence[str], context: int) -> NDArray:
    """Bits that each text takes, [texts]. Raises ValueError for a tokenizer that loses text, or bits without number."""
    bits = []
    for text in texts:
        ids = tokenizer.encode(text)
        if tokenizer.decode(ids) != text:
            raise ValueError("the tokenizer does not give back the text that it encoded, so bits per byte say nothing")
        tokens = torch.tensor([*ids, tokenizer.end_of_text])
        row = TokenRow(tokens, len(text.encode()), tokenizer.digest, tokenizer.vocab_size)
        bits.append(bits_per_byte(model, row, context) * row.text_bytes)
    if not all(map(math.isfinite, bits)):
        raise ValueError("the model gives a text no finite number of bits")
    return np.array(bits)


def apart(folder: Path, texts: Sequence[Sequence[str]], context: int) -> float:
    """Bits per byte that a hand-in's design, trained again here, takes more than the hand-in does: of the text on which
    they differ most, its teacher included. Seeing or spending more than the design says gains no more than that.
    """
    design = Design.read(folder)
    made, model = train(design), storage.load(folder).float()
    tokenizers = made.tokenizer, Tokenizer.load(folder / storage.TOKENIZER)
    for one in (made.model, model):
        measured(design, one)
    found = [apart(design.teacher, texts, context)] if design.teacher else []
    for text in texts:
        again, handed = (bits_of(*one, text, context).sum() for one in zip((made.model, model), tokenizers))
        found.append(float((again - handed) / byte_counts(text).sum()))
    return max(found, key=abs)


# -- what was seen before ----------------------------------------------------------------------------------------------


@cache
def baseline(name: str) -> NGram:
    """Counts of up to three bytes in a row in a corpus's training text: how hard a text is for anyone.

    A better model of the text explains less of what a small one finds hard: with five times the text the errors of
    honest models were larger.
    """
    sample = "".join(pieces(corpus(name).train, 200)).encode()
    return NGram(np.frombuffer(sample, np.uint8), 3, 256)


def hardness(texts: Sequence[str], name: str) -> NDArray:
    """Bits per byte that the baseline of a corpus takes for each text."""
    counted = [baseline(name).bits(np.frombuffer(text.encode(), np.uint8)) for text in texts]
    return np.array(counted) / byte_counts(texts)


def excess(bits: NDArray, texts: Sequence[str], name: str) -> NDArray:
    """Bits per byte of each text above the baseline's, so that a text that is hard for anyone does not stand out."""
    return bits / byte_counts(texts) - hardness(texts, name)


def known_too_well(suspect: NDArray, control: NDArray) -> float:
    """Standard errors by which the mean excess of `suspect` lies below that of `control` (Welch's t)."""
    error = math.sqrt(suspect.var(ddof=1) / len(suspect) + control.var(ddof=1) / len(control))
    return float((control.mean() - suspect.mean()) / error)
