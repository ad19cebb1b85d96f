"""Lab 15 where llama.cpp was not built: it runs what it can, and says what is missing."""

import os
import subprocess
import sys

import pytest

from slmkit import pretrained
from slmkit.paths import root


@pytest.mark.slow
def test_without_the_engine(tmp_path, fetched):
    fetched(pretrained.load)
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('as if it were not installed')")
    ran = subprocess.run(
        [sys.executable, str(root() / "labs" / "15_quantization_and_hardware.py")],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "SLMKIT_PROFILE": "smoke", "MPLBACKEND": "agg"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "the llama.cpp engine is not installed; in a clone `make engine` builds it" in ran.stdout
    for claim in ("C84", "C85", "C86"):
        told = ran.stdout.split(f"Claim {claim}:")[1].split("Claim ")[0]
        assert "Verdict: not testable here (the llama.cpp engine is not installed" in told
    for method in ("rtn", "awq", "gptq"):
        assert f"15-method-Q4_0-{method}: bits" in ran.stdout
    assert "15-front" not in ran.stdout
    assert "Warning" not in ran.stderr
