"""One model in several forms: files, types, quality, times in turn."""

import sys

import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.data.packing import TokenRow
from slmkit.evaluation import bits_per_byte
from slmkit.interop import from_gguf
from slmkit.profiling import Peaks, engine, forms
from slmkit.profiling.timing import AbovePeakError

FORMS = ("F16", "Q8_0", "Q4_K_M", "Q3_K")


@pytest.fixture
def decoder():
    torch.manual_seed(3)
    return Decoder(ModelConfig(vocab_size=260, d_model=256, n_layers=1, n_heads=4, d_ff=288, max_context=64)).eval()


@pytest.fixture
def row():
    tokens = torch.randint(260, (400,), generator=torch.Generator().manual_seed(1))
    return TokenRow(tokens, 1500, "", 260)


@pytest.mark.engine
def test_files_are_made_once_and_depend_on_the_weights(decoder, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    files = forms.stored(decoder, FORMS)
    assert sorted(path.name for path in files["F16"].parent.glob("*.gguf")) == sorted(f"{form}.gguf" for form in FORMS)
    before = {form: path.stat().st_mtime_ns for form, path in files.items()}
    assert forms.stored(decoder, FORMS) == files
    assert {form: path.stat().st_mtime_ns for form, path in files.items()} == before
    with torch.no_grad():
        decoder.norm.weight[0] += 1
    assert forms.stored(decoder, ("F16",))["F16"].parent != files["F16"].parent


@pytest.mark.engine
def test_what_lies_in_a_file(decoder, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    files = forms.stored(decoder, ("Q8_0", "Q3_K"))
    found = {(one.rows, one.width): one for one in forms.matrices(files["Q3_K"])}
    assert found[288, 256].type == "Q3_K"
    assert found[288, 256].block == (256, 110)
    assert found[288, 256].bytes == 288 * 110
    assert found[256, 288].type != "Q3_K", "rows of 288 are no whole number of super-blocks"
    total = sum(one.bytes for one in forms.matrices(files["Q8_0"]))
    assert forms.contents(files["Q8_0"]) == f"{total / 1e6:.1f} MB: 100% Q8_0"
    assert total == sum(w.numel() for w in decoder.parameters() if w.ndim > 1) * 34 // 32
    shares = [int(part.split("%")[0]) for part in forms.contents(files["Q3_K"]).split(": ")[1].split(", ")]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=2)


@pytest.mark.engine
def test_quality_is_that_of_bits_per_byte(decoder, row, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    files = forms.stored(decoder, ("F16", "Q3_K"))
    pieces = forms.quality(files, row, 57, 7)  # 7 pieces of 57 tokens are the whole row but its first
    assert {len(found) for found in pieces.values()} == {7}
    for form, path in files.items():
        # Theirs predicts the first token too, from the separator; the difference is one token in 400.
        assert pieces[form].mean() == pytest.approx(bits_per_byte(from_gguf(path)[0], row, 57, stride=57), rel=0.01)
    few = forms.quality(files, row, 57, 2)["F16"]
    assert few == pytest.approx([pieces["F16"][0], pieces["F16"][-1]]), "evenly spread"
    with pytest.raises(ValueError, match="windows is 8; the row has room for 1 to 7 of 57"):
        forms.quality(files, row, 57, 8)


def test_forms_run_in_turn_and_the_first_round_is_thrown_away(monkeypatch):
    calls = []

    class Fake:
        def __init__(self, path, *, context, threads):
            self.name, self.room = (path, threads), context

        def __enter__(self):
            return self

        def __exit__(self, *_):
            calls.append("closed")

        def latency(self, prompt, new_tokens, *, repeats, warmup, seed):
            assert (repeats, warmup) == (1, 0)
            assert self.room == 9 + 2
            calls.append((*self.name, prompt, seed))
            return len(calls)

    monkeypatch.setattr(forms, "Engine", Fake)
    runs = forms.in_turn({"a": "a", "b": "b"}, (4, 9), 2, (7, 8), threads=(1, 2))
    one = [(name, n, prompt) for prompt in (4, 9) for name in "ab" for n in (1, 2)]
    assert calls == [(*key, seed) for seed in (7, 7, 8) for key in one] + ["closed"] * 4
    assert runs["a", 1, 4] == [9, 17]
    assert runs["b", 2, 9] == [16, 24]
    assert forms.in_turn({}, (4,), 2, (0,)) == {}


def test_without_the_engine_there_is_one_line(decoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)  # importing it then fails
    engine._engine.cache_clear()
    assert "`make engine` builds it" in forms.why_not()
    assert forms.stored(decoder, ()) == {}
    with pytest.raises(ImportError, match="make engine"):
        forms.stored(decoder, ("F16",))
    engine._engine.cache_clear()


def test_a_rate_above_the_ceiling_stands_only_if_the_ceiling_proves_higher(monkeypatch):
    looks = []

    def again(peaks):
        looks.append(peaks)
        return Peaks("cpu", "made up", 1, {}, {10**6: 2e9 if len(looks) == 3 else 1.1e9})

    monkeypatch.setattr(forms, "measure_again", again)
    monkeypatch.setattr(forms.time, "sleep", lambda seconds: None)
    low = Peaks("cpu", "made up", 1, {}, {10**6: 1e9})
    assert forms.reading_rate(10**6, 2e-3, low) == (5e8, low)
    assert not looks
    rate, found = forms.reading_rate(15 * 10**5, 1e-3, low)
    assert (rate, found.peak_bandwidth(), len(looks)) == (1.5e9, 2e9, 3)
    with pytest.raises(AbovePeakError):
        forms.reading_rate(30 * 10**5, 1e-3, low, looks=5)
    assert len(looks) == 8
