"""`slmkit bench --only evaluation`: multiple choice scored by the model `slmkit` of lm-eval beside its `hf`.

Both get the same requests, weights, batch size and threads, and take turns. That they do the same work is checked:
every log-likelihood is the same to 1e-4, and every item has the same answer.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from slmkit import interop, pretrained
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation import tasks
from slmkit.evaluation.harness import for_transformers, model_class
from slmkit.model.decoder import Decoder
from slmkit.profiling.bench import HEAD, Row, compared, in_words, write_record
from slmkit.profiling.latency import use_threads
from slmkit.profiling.timing import Timing, measure_in_turn

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

BATCH, SAME, TARGET = 8, 1e-4, 2.0
CASES = (  # task, shots, items: choices of several words, a long common beginning, a long context, one-token choices
    ("social_iqa", 0, 36), ("social_iqa", 5, 12), ("timedial", 0, 12), ("hyperbaton", 0, 36),
)  # fmt: skip


def run(threads: Sequence[int], *, quick: bool = False, path: Path, facts: dict | None = None, rounds: int = 3) -> int:
    """Measures everything, prints the table as it fills, and writes the record to `path`. `quick`: a quarter of the
    items, once.

    Raises RuntimeError when the two give other log-likelihoods or answers.
    """
    model, tokenizer = pretrained.load()
    rows, rounds = [], 1 if quick else rounds
    for count in threads:
        print(
            f"\n{pretrained.NAME}, float32, batches of {BATCH}, {count} thread{'s' * (count > 1)}\n{HEAD}", flush=True
        )
        cases = []
        for name, shots, items in CASES:
            with use_threads(count):
                cases.append(row(model, tokenizer, name, shots, items // 4 if quick else items, count, rounds))
            print(in_words(cases[-1]), flush=True)
        rows += [*cases, together(cases, sum(items // 4 if quick else items for _, _, items in CASES))]
        print(in_words(rows[-1]), flush=True)
    write_record(path, (facts or {}) | {"batch_size": BATCH, "rows": [asdict(one) for one in rows]})
    return 0


def row(model: Decoder, tokenizer: Tokenizer, name: str, shots: int, items: int, threads: int, rounds: int) -> Row:
    """One task with so many examples before each of so many items."""
    task = tasks.load(name, limit=items)
    task = tasks.few_shot(task, shots) if shots else task
    asked = requests(task)
    scorers = contestants(model, tokenizer)
    found = {who: np.array(scorer.loglikelihood(asked, disable_tqdm=True)) for who, scorer in scorers.items()}
    far = float(np.abs(found["ours"][:, 0] - found["theirs"][:, 0]).max())
    right = {who: picks(task, values[:, 0]) for who, values in found.items()}
    if far > SAME or not np.array_equal(found["ours"][:, 1], found["theirs"][:, 1]) or right["ours"] != right["theirs"]:
        raise RuntimeError(f"{name}: slmkit and lm-eval's hf differ by {far:.1e} or in an answer, so their speeds do "
                           "not compare")  # fmt: skip
    works = {who: (lambda scorer=scorer: scorer.loglikelihood(asked, disable_tqdm=True))
             for who, scorer in scorers.items()}  # fmt: skip
    times = measure_in_turn(works, repeats=rounds, warmup=0)
    correct = np.mean([pick == item.answer for pick, item in zip(right["ours"], task.items, strict=True)])
    notes = {"largest difference of a log-likelihood": f"{far:.0e}", "accuracy of both": f"{correct:.2f}"}
    what = f"lm_eval --model slmkit | hf: {name}, {shots} shots, {len(task.items[0].choices)} choices"
    return compared(what, f"{len(task.items)} items", threads, "items/s", len(task.items), times["ours"],
                    times["theirs"], TARGET, notes)  # fmt: skip


def together(cases: Sequence[Row], items: int) -> Row:
    """The row of all cases, one after the other."""

    def total(who: str) -> Timing:
        rounds = tuple(map(sum, zip(*(case.repeats[who] for case in cases), strict=True)))
        return Timing(rounds, rounds)

    return compared("lm_eval --model slmkit | hf: all of these", f"{items} items", cases[0].threads, "items/s", items,
                    total("ours"), total("theirs"), TARGET)  # fmt: skip


def requests(task: tasks.Task) -> list["Instance"]:
    """What lm-eval asks of a model for the task."""
    from lm_eval.api.instance import Instance

    return [Instance("loglikelihood", {}, (item.context, choice), idx, (task.name, place, 1))
            for place, item in enumerate(task.items) for idx, choice in enumerate(item.choices)]  # fmt: skip


def picks(task: tasks.Task, logprobs: np.ndarray) -> list[int]:
    """The likeliest choice of each item."""
    ends = np.cumsum([len(item.choices) for item in task.items])[:-1]
    return [int(values.argmax()) for values in np.split(logprobs, ends)]


def contestants(model: Decoder, tokenizer: Tokenizer) -> dict:
    from lm_eval.models.huggingface import HFLM

    model = model.float().eval()
    theirs = interop.to_transformers(model).eval()
    with torch.inference_mode():
        return {
            "theirs": HFLM(pretrained=theirs, tokenizer=for_transformers(tokenizer), batch_size=BATCH),
            "ours": model_class()(model=model, tokenizer=tokenizer, batch_size=BATCH),
        }
