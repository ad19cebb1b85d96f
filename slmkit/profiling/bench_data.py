"""`slmkit bench --only data`: cleaning documents beside datatrove called directly, MinHash beside datasketch and rensa.

The documents are real text, with planted copies. Whoever is compared does the same work, and that is checked: the two
pipelines keep the same documents. Memory is what the processes hold together, with shared pages counted once.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from slmkit.data import corpora
from slmkit.data.dedup import MinHash, collision_probability, minhash_clusters, shingles
from slmkit.data.filtering import Filter
from slmkit.data.rough import edited, passages
from slmkit.data.tinyworld import stories
from slmkit.paths import build_folder
from slmkit.profiling.bench import HEAD, Row, compared, in_words, write_record
from slmkit.profiling.timing import Timing, measure_in_turn

DOCUMENTS, TASKS, COPIES = 10_000, 8, 0.1
STEPS = ("language", "gopher_repetition", "gopher_quality", "c4", "fineweb", "minhash")
SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
SETTINGS = MinHash()


def run(workers: int, *, quick: bool = False, path: Path, facts: dict | None = None, rounds: int = 3) -> int:
    """Measures everything, prints it, and writes the record to `path`. `quick`: a tenth of the documents, once.

    Raises RuntimeError when a contestant fails or keeps other documents.
    """
    count, rounds = (DOCUMENTS // 10, 1) if quick else (DOCUMENTS, rounds)
    print(f"\n{count:,} documents, steps {', '.join(STEPS)}, {workers} workers, {TASKS} tasks\n{HEAD}", flush=True)
    spent, report = pipelines(count, workers, rounds)
    rows = pipeline_rows(spent, count, workers) + minhash_rows(documents(count // 5), rounds)
    print("\n".join(map(in_words, rows)), flush=True)
    found = recall(100 if quick else 400)
    print(f"\n{'similarity':>12}{'found':>10}{'theory':>10}{'precision':>11}   of {found[0]['pairs']} pairs each")
    for one in found:
        precision = "–" if one["precision"] is None else f"{one['precision']:.3f}"
        print(f"{one['similarity']:>12.2f}{one['recall']:>10.3f}{one['theory']:>10.3f}{precision:>11}")
    record = (facts or {}) | {
        "documents": count, "workers": workers, "rows": [asdict(row) for row in rows],
        "spent": {who: [one._asdict() for one in turns] for who, turns in spent.items()}, "recall": found,
        "report": {"documents": report["documents"], "steps": [
            {name: one[name] for name in ("step", "in", "dropped", "out")}
            | {"reasons": {reason: why["count"] for reason, why in one["reasons"].items()}} for one in report["steps"]
        ]},
    }  # fmt: skip
    write_record(path, record)
    return 0


def pipeline_rows(spent: dict[str, list["Spent"]], count: int, workers: int) -> list[Row]:
    """One row by the clock on the wall, one in processor time, which a busy machine disturbs less."""
    rows, peaks = [], {who: max(one.peak for one in turns) / 1e6 for who, turns in spent.items()}
    notes = {"peak memory": f"{peaks['theirs']:,.0f} MB peer, {peaks['ours']:,.0f} MB ours"}
    for clock, unit in (("wall", "documents/s"), ("cpu", "documents/s of processor time")):
        times = {who: Timing(tuple(one.wall for one in turns), tuple(one.cpu for one in turns), clock)
                 for who, turns in spent.items()}  # fmt: skip
        rows.append(compared("slmkit clean | datatrove called directly, the same blocks", f"{count} documents", workers,
                             unit, count, times["ours"], times["theirs"], None, notes))  # fmt: skip
        notes = None
    return rows


def minhash_rows(texts: Sequence[str], rounds: int) -> list[Row]:
    """Signatures and groups in one process, in processor time."""
    found = {name: loop(texts) for name, loop in MINHASH.items()}
    works = {name: (lambda loop=loop: loop(texts)) for name, loop in MINHASH.items()}
    times = measure_in_turn(works, repeats=rounds, warmup=0, clock="cpu")
    return [
        compared(f"minhash_clusters | a loop over {peer}", f"{len(texts)} documents", 1, "documents/s", len(texts),
                 times["slmkit"], times[peer], None, {"copies found": f"{found[peer]} peer, {found['slmkit']} ours"})
        for peer in MINHASH if peer != "slmkit"
    ]  # fmt: skip


class Spent(NamedTuple):
    """What a command and all its processes took."""

    wall: float  # seconds
    cpu: float  # seconds of processor time
    peak: int  # bytes


def documents(count: int, seed: int = 0, copies: float = COPIES) -> list[str]:
    """That many documents of real text in random order: speeches, code, Python's help, generated stories, and among
    them a share of `copies`, in which up to 3% of the words are changed.
    """
    from pydoc_data.topics import topics

    rng = random.Random(seed)
    wanted = round(count * (1 - copies))
    told = [story.text for story in stories(wanted // 10 + 1, seed)]
    pools = [passages(corpora.speeches().train, words=120), _blocks(corpora.code().train), list(topics.values()), told]
    shares = zip(pools, (0.6, 0.2, 0.1, 0.1))
    parts = [rng.sample(pool, min(round(share * wanted), len(pool))) for pool, share in shares]
    found = [text for part in parts for text in part]
    found += rng.sample(pools[0], wanted - len(found))
    found += [edited(rng.choice(found[:wanted]), rng, rng.uniform(0, 0.03)) for _ in range(count - wanted)]
    rng.shuffle(found)
    return found


def _blocks(files: Sequence[str], lines: int = 40) -> list[str]:
    cut = (file.splitlines() for file in files)
    return ["\n".join(one[i : i + lines]) for one in cut for i in range(0, len(one) - lines, lines)]


def pair_of_similarity(
    similarity: float, words: int, vocabulary: Sequence[str], rng: random.Random, n_grams: int = 5
) -> tuple[str, str]:
    """Two texts of that many words whose n-grams have this Jaccard similarity, as near as whole n-grams allow.

    They begin alike and go on with words of their own. Of m n-grams each they share s, and s / (2m − s) is the
    similarity, so s = 2m J / (1 + J).
    """
    each = words - n_grams + 1
    shared = round(2 * each * similarity / (1 + similarity))
    alike = rng.choices(vocabulary, k=shared + n_grams - 1 if shared else 0)
    return tuple(" ".join(alike + rng.choices(vocabulary, k=words - len(alike))) for _ in range(2))


# -- pipelines, each in a process of its own


def direct(source: Path, target: Path, workers: int):
    """The same steps as datatrove's own examples write them, with its readers, writers and local executor."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )  # fmt: skip
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    work, config = target / "work", SETTINGS.config()
    passes = [
        (TASKS, [ParquetReader(str(source)), *(Filter(name).block() for name in STEPS[:-1]),
                 ParquetWriter(f"{work}/kept"), MinhashDedupSignature(f"{work}/signatures", config=config)]),
        (SETTINGS.buckets, [MinhashDedupBuckets(f"{work}/signatures", f"{work}/pairs", config=config)]),
        (1, [MinhashDedupCluster(f"{work}/pairs", f"{work}/drop", config=config)]),
        (TASKS, [ParquetReader(f"{work}/kept"), MinhashDedupFilter(f"{work}/drop"), ParquetWriter(f"{target}/out")]),
    ]  # fmt: skip
    last = None
    for place, (tasks, blocks) in enumerate(passes):
        last = LocalPipelineExecutor(blocks, tasks=tasks, workers=workers, logging_dir=f"{work}/{place}", depends=last)
    last.run()


def ours(source: Path, target: Path, workers: int):
    from slmkit.data.pipeline import clean

    clean(source, target / "out", STEPS, workers=workers, tasks=TASKS, ending="parquet")


def watched(command: list[str], interval: float = 0.2) -> Spent:
    """Runs a command to its end. Raises RuntimeError with its last words when it fails."""
    import psutil

    start, seen, peak = time.perf_counter(), {}, 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        top = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                peak = max(peak, _look([top, *_children(top)], seen))
                time.sleep(interval)
        finally:  # when it is interrupted, nothing goes on
            for one in (*_children(top), process):
                with suppress(psutil.Error):
                    one.kill()
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command[2:4])} failed: {said.read().strip().splitlines()[-1]}")
    return Spent(time.perf_counter() - start, sum(seen.values()), peak)


def _look(processes: list, seen: dict[int, float]) -> int:
    """Notes the processor time of each, and gives the bytes that they hold together."""
    import psutil

    held = 0
    for one in processes:
        try:
            seen[one.pid] = sum(one.cpu_times()[:2])
            memory = one.memory_full_info()
            held += getattr(memory, "pss", memory.uss)
        except psutil.Error:  # it has ended meanwhile
            continue
    return held


def _children(process) -> list:
    import psutil

    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def pipelines(count: int, workers: int, rounds: int) -> tuple[dict[str, list[Spent]], dict]:
    """Both pipelines over the same documents, in turn, and our report.

    Raises RuntimeError when they keep other documents.
    """
    import pyarrow
    from pyarrow import parquet

    with tempfile.TemporaryDirectory(dir=build_folder()) as folder:
        source, texts = Path(folder, "source"), documents(count)
        source.mkdir()
        for task in range(TASKS):
            rows = {"text": texts[task::TASKS], "id": [str(i) for i in range(task, count, TASKS)]}
            parquet.write_table(pyarrow.table(rows), source / f"{task:05d}.parquet")
        spent, kept = {"theirs": [], "ours": []}, {}
        for turn in range(rounds):
            for who in spent:
                target = Path(folder, f"{who}{turn}")
                command = [sys.executable, "-m", __name__, who, str(source), str(target), str(workers)]
                spent[who].append(watched(command))
                tables = [parquet.read_table(path) for path in sorted((target / "out").glob("*.parquet"))]
                kept[who] = sorted(text for table in tables for text in table.column("text").to_pylist())
        if kept["ours"] != kept["theirs"]:
            raise RuntimeError(f"slmkit clean keeps {len(kept['ours'])} documents and datatrove {len(kept['theirs'])}, "
                               "or others, so the two do not do the same work")  # fmt: skip
        report = json.loads(Path(folder, f"ours{rounds - 1}", "out", "report.json").read_text(encoding="utf-8"))
    return spent, report


# -- MinHash in one process


def datasketch_loop(texts: Sequence[str]) -> int:
    """The plain loop of datasketch's own documentation; returns how many documents resemble one before them."""
    from datasketch import MinHash as Sketch
    from datasketch import MinHashLSH

    buckets, rows = SETTINGS.buckets, SETTINGS.hashes_per_bucket
    index, found = MinHashLSH(num_perm=buckets * rows, params=(buckets, rows)), 0
    for place, text in enumerate(texts):
        sketch = Sketch(num_perm=buckets * rows, seed=1)
        sketch.update_batch([gram.encode() for gram in word_grams(text)])
        found += bool(index.query(sketch))
        index.insert(place, sketch)
    return found


def rensa_loop(texts: Sequence[str]) -> int:
    """The same with rensa, which is written in Rust."""
    from rensa import RMinHash, RMinHashLSH

    hashes = SETTINGS.buckets * SETTINGS.hashes_per_bucket
    index, found = RMinHashLSH(threshold=0.7, num_perm=hashes, num_bands=SETTINGS.buckets), 0
    for place, text in enumerate(texts):
        sketch = RMinHash(num_perm=hashes, seed=1)
        sketch.update(list(word_grams(text)))
        found += bool(index.query(sketch))
        index.insert(place, sketch)
    return found


def word_grams(text: str) -> set[str]:
    words = text.lower().split()
    return {" ".join(words[i : i + SETTINGS.n_grams]) for i in range(len(words) - SETTINGS.n_grams + 1)}


def clusters(texts: Sequence[str]) -> int:
    return sum(len(group) - 1 for group in minhash_clusters(texts))


MINHASH: dict[str, Callable[[Sequence[str]], int]] = {
    "slmkit": clusters, "datasketch": datasketch_loop, "rensa": rensa_loop,
}  # fmt: skip


def recall(pairs: int, seed: int = 0, words: int = 200) -> list[dict]:
    """Pairs of each similarity among documents that resemble nothing: what share is found, what share the theory
    expects, and how many of all found pairs are planted ones.
    """
    rng, rows = random.Random(seed), []
    vocabulary = sorted(set(" ".join(corpora.speeches().held_out).lower().split()))
    vocabulary = [word for word in vocabulary if word.isalpha()]
    for similarity in SIMILARITIES:
        texts = [text for _ in range(pairs) for text in pair_of_similarity(similarity, words, vocabulary, rng)]
        texts += [" ".join(rng.choices(vocabulary, k=words)) for _ in range(pairs)]
        groups = minhash_clusters(texts)
        right = sum(group == [2 * i, 2 * i + 1] for group in groups for i in [group[0] // 2])
        said = sum(len(group) * (len(group) - 1) // 2 for group in groups)
        reached = []
        for i in range(min(pairs, 20)):
            first, second = shingles(texts[2 * i]), shingles(texts[2 * i + 1])
            reached.append(len(first & second) / len(first | second))
        rows.append({"similarity": similarity, "reached": sum(reached) / len(reached), "pairs": pairs,
                     "recall": right / pairs, "theory": collision_probability(similarity),
                     "precision": right / said if said else None})  # fmt: skip
    return rows


if __name__ == "__main__":
    {"theirs": direct, "ours": ours}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
