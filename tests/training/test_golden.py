"""A hundred losses, kept: the whole chain from text to update, to the bit where the arithmetic is the same.

When a change is meant to alter them: python tests/training/test_golden.py writes them anew, and the commit says why.
"""

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slmkit import Decoder, ModelConfig, TrainingConfig, train
from slmkit.data.corpora import Corpus
from slmkit.data.packing import pack_corpus
from slmkit.data.tinyworld import stories
from slmkit.data.tokenizer import Tokenizer

GOLDEN = Path(__file__).with_name("golden_losses.json")


def arithmetic() -> dict:
    """What the last bits of a sum depend on: the library's version, and the processor, down to its caches."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    fixed = ("vendor_id", "cpu family", "model", "stepping", "cache size", "flags", "Features", "CPU part")
    kind = sorted({line for line in lines if line.startswith(fixed)})
    return {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "processor": hashlib.sha256("\n".join(kind).encode()).hexdigest()[:16],
    }


def losses(folder: Path) -> list[float]:
    torch.set_num_threads(1)
    texts = [story.text for story in stories(600, seed=0)]
    corpus = Corpus("golden", "generated", "tinyworld", tuple(texts[50:]), tuple(texts[:50]))
    tokenizer = Tokenizer.train(corpus.train, 400)
    data = pack_corpus(corpus, tokenizer, folder)
    torch.manual_seed(0)
    model = Decoder(ModelConfig(400, 64, 2, 4, n_kv_heads=2, max_context=64))
    config = TrainingConfig(100, batch_size=8, context=64, learning_rate=5e-3, precision="fp32", compile=False)
    return train(model, data, config, progress=False).losses


def test_the_hundred_losses_are_those_kept(tmp_path):
    kept, found = json.loads(GOLDEN.read_text()), losses(tmp_path)
    assert len(found) == 100
    if kept["arithmetic"] == arithmetic():
        assert found == kept["losses"]
    else:  # another processor or library sums in another order; the curve stays, the last digits do not
        assert found == pytest.approx(kept["losses"], rel=2e-3)


def test_two_processes_find_the_same_bits(tmp_path):
    command = [sys.executable, __file__, "--print", str(tmp_path / "other")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert json.loads(other) == losses(tmp_path / "here")


if __name__ == "__main__":
    import tempfile

    found = losses(Path(sys.argv[2] if "--print" in sys.argv else tempfile.mkdtemp()))
    if "--print" in sys.argv:
        print(json.dumps(found))
    else:
        GOLDEN.write_text(json.dumps({"arithmetic": arithmetic(), "losses": found}, indent=0) + "\n")
