"""A folder of documents, cleaned in the order of FineWeb: python pipeline.py SOURCE TARGET [local|slurm|ray]"""

import sys

from slmkit.data.dedup import MinHash
from slmkit.data.filtering import Filter
from slmkit.data.pipeline import clean

STEPS = [
    Filter("language", languages=("en",), threshold=0.65),
    Filter("gopher_repetition"),
    Filter("gopher_quality", min_doc_words=50),
    Filter("c4"),
    Filter("fineweb"),
    MinHash(n_grams=5, buckets=14, hashes_per_bucket=8),
]
CLUSTER = {
    "slurm": {"partition": "cpu", "time": "02:00:00", "mem_per_cpu_gb": 4},
    "ray": {"mem_per_cpu_gb": 4},
}

if __name__ == "__main__":
    source, target, executor = [*sys.argv[1:], "local"][:3]
    clean(source, target, STEPS, workers=2, tasks=8, executor=executor, cluster=CLUSTER.get(executor))
