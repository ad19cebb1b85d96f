"""The llama.cpp engine and slmkit read the same file to the same predictions: two programs that share no code."""

import warnings
from types import SimpleNamespace

import gguf_cases as cases
import numpy as np
import psutil
import pytest
import torch

from slmkit import Decoder, ModelConfig, generate, pretrained
from slmkit.data.tokenizer import Tokenizer
from slmkit.interop import from_gguf, to_gguf
from slmkit.profiling import AbovePeakError, Peaks, profile_model
from slmkit.profiling.engine import FORMATS, Engine, compare_logits, profile_engine, quantize

pytestmark = pytest.mark.engine
TEXT = "The president of the United States lives in the White House, and he"
IDS = [(7 * i * i + 3 * i + 1) % 300 for i in range(40)]


def exported(model: Decoder, path, *options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exact GELU
        return to_gguf(model, path, *options)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A model wide enough for the K formats, whose blocks have 256 numbers."""
    config = ModelConfig(vocab_size=300, d_model=256, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=512, max_context=96)
    torch.manual_seed(1)
    return exported(Decoder(config), tmp_path_factory.mktemp("engine") / "model.gguf")


@pytest.fixture(scope="module")
def engine(path):
    with Engine(path, context=64, cache="f32") as engine:
        yield engine


@pytest.mark.slow
@torch.no_grad()
def test_the_engine_and_the_decoder_agree_on_a_real_model():
    model, tokenizer = pretrained.load()
    ids = tokenizer.encode(TEXT)
    with Engine(pretrained.gguf_path(), context=64) as engine:
        theirs = engine.logits(ids)
    ours = model.float()(torch.tensor([ids]))[0].numpy()
    # The engine rounds activations to 8 bits before it multiplies, so logits agree closely and not exactly.
    for position, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        assert np.corrcoef(a, b)[0, 1] > 0.99, position
    assert (theirs.argmax(-1) == ours.argmax(-1)).mean() > 0.8


@pytest.mark.parametrize("name", cases.OPTIONS)
def test_an_exported_decoder_gives_the_same_logits_and_tokens(tmp_path, name):
    model = cases.decoder(name)
    with Engine(exported(model, tmp_path / "model.gguf", None, cases.OPTIONS[name][0]), cache="f32") as engine:
        distance, same = compare_logits(model, engine, IDS)
        # GELU comes from a table in half precision there; without it, nothing but the order of sums differs.
        assert distance < (1e-2 if "gelu" in model.config.activation else 2e-5)
        assert same == 1
        assert engine.generate(IDS, 40) == generate(model, [IDS], 40)[0].tolist()


@pytest.mark.parametrize("name", ["llama", "gemma", "gpt2", "gpt_neox", "stablelm", "phi", "qwen2"])
def test_a_trained_model_with_its_tokenizer(tmp_path, name):
    text = "One two three, four five six; 7, 8 and 9.\nWhat comes then? Ten, of course — “10”. 東京 😀\t\n\n  " * 20
    tokenizer = Tokenizer.train([text], 290)
    model = cases.decoder(name).train()
    ids = torch.tensor(tokenizer.encode(text))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(30):
        rows = torch.stack([ids[i : i + 33] for i in range(step, step + 160, 20)])
        loss = torch.nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path = exported(model.eval(), tmp_path / "model.gguf", tokenizer)
    prompt = ids[:40].tolist()
    with Engine(path, cache="f32") as engine:
        assert compare_logits(model, engine, prompt)[0] < 1e-2
        assert engine.generate(prompt, 40) == generate(model, [prompt], 40)[0].tolist()
        assert engine.tokenize(text + "<|endoftext|>") == tokenizer.encode(text + "<|endoftext|>")


def test_the_cache_can_be_cut_back_and_read_on_from_there(engine):
    whole = engine.logits(IDS)
    engine.generate(IDS[:10], 5)
    np.testing.assert_allclose(engine.logits(IDS[10:], behind=10), whole[10:], atol=2e-3)
    with pytest.raises(ValueError, match="the cache has 40 tokens; 41 of them cannot be kept"):
        engine.forget(41)


def test_logits_over_several_batches(tmp_path):
    model = cases.decoder("llama", max_context=700)
    ids = [i % 300 for i in range(600)]
    with Engine(exported(model, tmp_path / "model.gguf"), cache="f32") as engine:
        assert engine.logits(ids).shape == (600, 300)
        assert compare_logits(model, engine, ids)[0] < 5e-5
        assert engine.generate(ids, 5) == generate(model, [ids], 5)[0].tolist()


# -- quantization


@pytest.mark.parametrize("format", ["F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K_M", "Q3_K"])
def test_the_engines_quantizer_writes_what_the_decoder_reads(path, tmp_path, format):
    small = quantize(path, tmp_path / "small.gguf", format)
    assert small.stat().st_size < path.stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == ["small.gguf"]
    with Engine(small, cache="f32") as engine:
        assert FORMATS[engine.about()["format"]] == FORMATS[format]
        theirs, ours = engine.logits(IDS), from_gguf(small)[0](torch.tensor([IDS]))[0].detach().numpy()
    assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] > 0.999


def test_fewer_bits_lie_further_away(path, tmp_path):
    whole = from_gguf(path)[0]
    distances, sizes = [], []
    for format in ("F16", "Q8_0", "Q5_K_M", "Q3_K_M"):
        with Engine(quantize(path, tmp_path / f"{format}.gguf", format), cache="f32") as engine:
            distances.append(compare_logits(whole, engine, IDS)[0])
            sizes.append(engine.about()["weight_bytes"])
    assert distances == sorted(distances)
    assert sizes == sorted(sizes, reverse=True)


def test_what_the_quantizer_cannot_do_is_one_line(path, tmp_path):
    small = quantize(path, tmp_path / "small.gguf", "Q4_0")
    with pytest.raises(ValueError, match=r"cannot be quantized to Q8_0: .*requantizing from type"):
        quantize(small, tmp_path / "again.gguf", "Q8_0")
    with pytest.raises(ValueError, match="format is 'Q7'; it must be one of F16"):
        quantize(path, tmp_path / "again.gguf", "Q7")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        quantize(tmp_path / "none.gguf", tmp_path / "again.gguf", "Q8_0")
    with pytest.raises(ValueError, match="threads is 0"):
        quantize(path, tmp_path / "again.gguf", "Q8_0", threads=0)
    assert [p.name for p in tmp_path.iterdir()] == ["small.gguf"]


# -- measuring


def test_the_record_says_what_ran(path):
    record = profile_engine(path, prompt=20, new_tokens=10, repeats=3, anyway=True)
    assert record["engine"].startswith("llama.cpp")
    assert record["threads"] == 1
    assert record["dtype"] == "F32"
    assert record["parameters"] == sum(p.numel() for p in from_gguf(path)[0].parameters())
    assert record["weights_mb"] == pytest.approx(4 * record["parameters"] / 1e6)
    assert len(record["tpot_ms_repeats"]) in (3, 6, 9)
    assert min(record["tpot_ms"], record["ttft_ms"]) > 0
    assert record["logits_mb"] == pytest.approx(4 * 300 / 1e6, abs=0.01)  # the engine says it to a hundredth of a MiB
    # 2 layers, keys and values of 2 heads of 64 numbers, 2 bytes, for 30 tokens rounded up to 256.
    assert record["cache_mb"] == pytest.approx(2 * 2 * 2 * 64 * 2 * 256 / 1e6, abs=0.01)
    assert record["activations_mb"] > 0
    ours = profile_model(from_gguf(path)[0], threads=1, prompt=5, new_tokens=3, repeats=1, anyway=True)
    assert list(record) == list(ours)  # the columns are those of the other engine


def test_weights_read_faster_than_memory_gives_them_are_refused(path, monkeypatch):
    with Engine(path) as engine:
        read = engine.weights_read()
    decoder = from_gguf(path)[0]
    assert read == 4 * sum(p.numel() for p in decoder.parameters())  # tied: the table of tokens is the head
    options = dict(prompt=5, new_tokens=3, repeats=1, anyway=True)
    slow, fast = (Peaks("cpu", "made up", 1, {}, {1000: rate}) for rate in (1.0, 1e15))
    monkeypatch.setattr("slmkit.profiling.latency.measure_again", lambda peaks: peaks)
    with pytest.raises(AbovePeakError, match="decode in bytes"):
        profile_engine(path, peaks=slow, **options)
    record = profile_engine(path, peaks=fast, **options)
    assert record["roofline_tpot_ms"] == pytest.approx(1e3 * read / 1e15)
    assert record["roofline_ttft_ms"] is None
    monkeypatch.setattr("slmkit.profiling.latency.measure_again", lambda peaks: fast)
    profile_engine(path, peaks=slow, **options)  # the first look was in a slow spell


@pytest.mark.parametrize("name", ["llama-wide", "gpt2-untied"])
def test_tables_that_are_looked_up_are_not_read(tmp_path, name):
    model = cases.decoder(name)
    tables = model.embedding.weight.numel() + (96 * 64 if name == "gpt2-untied" else 0)  # tokens; positions
    with Engine(exported(model, tmp_path / "model.gguf")) as engine:
        assert engine.weights_read() == 4 * (sum(p.numel() for p in model.parameters()) - tables)


def test_threads_change_the_clock_and_not_the_tokens(path):
    found = {}
    for threads in (1, 2):
        with Engine(path, threads=threads) as engine:
            found[threads] = engine.generate(IDS, 3)
            latency = engine.latency(5, 3, repeats=2, warmup=0)
        assert (latency.prompt, latency.new_tokens, latency.batch) == (5, 3, 1)
        assert len(latency.ttft.wall) == len(latency.tpot.wall) == 2
        assert latency.ttft.clock == latency.tpot.clock == ("cpu" if threads == 1 else "wall")
    assert found[1] == found[2]


def test_a_latency_is_made_of_the_prompt_and_an_equal_part_for_each_further_token(engine, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("slmkit.profiling.latency.now", lambda device: (next(clock), 0))
    latency = engine.latency(5, 5, repeats=3)
    assert latency.ttft.wall == (1, 1, 1)
    assert latency.tpot.wall == (0.25, 0.25, 0.25)


# -- what it refuses


@pytest.mark.parametrize(("options", "message"), [
    (dict(threads=0), "threads is 0; it must be a whole number of at least 1"),
    (dict(threads=1.5), "threads is 1.5"),
    (dict(context=0), "context is 0"),
    (dict(context=97), "context is 97; model.gguf knows at most 96 tokens"),
    (dict(cache="q4"), "cache is 'q4'; it must be one of f16, f32"),
])  # fmt: skip
def test_options_are_refused_by_name(path, options, message):
    with pytest.raises(ValueError, match=message):
        Engine(path, **options)


def test_a_file_cut_short_is_refused_in_one_line(path, tmp_path):
    whole, short = path.read_bytes(), tmp_path / "short.gguf"
    for length in (0, 3, 20, 700, len(whole) // 2, len(whole) - 1):
        short.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"short.gguf cannot be loaded; is it cut short\?") as error:
            Engine(short)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Engine(tmp_path / "none.gguf")


def test_too_little_memory_is_refused_before_loading(path, monkeypatch):
    loaded = []
    load = Engine._load
    monkeypatch.setattr(Engine, "_load", lambda self, vocab_only: loaded.append(vocab_only) or load(self, vocab_only))
    # Keys and values of 2 layers, 2 heads of 64 numbers, 96 tokens, 2 bytes; logits of 96 tokens.
    cache, logits, weights = 2 * 2 * 2 * 64 * 96 * 2, 4 * 300 * 96, path.stat().st_size
    need = cache + logits + weights
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=need - 1))
    message = rf"needs {need / 1e6:.0f} MB with a context of 96 \(weights {weights / 1e6:.0f}, cache 0, logits 0"
    with pytest.raises(MemoryError, match=message + r"\) and \d MB are free; take a smaller context"):
        Engine(path)
    assert loaded == [True]  # the header alone
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=need))
    Engine(path).close()
    with pytest.raises(MemoryError, match="needs"):
        Engine(path, cache="f32")


def test_a_prompt_longer_than_the_context_is_refused(engine):
    engine.logits([1] * 64)
    with pytest.raises(ValueError, match="65 tokens are more than the context of 64; shorten the prompt"):
        engine.logits([1] * 65)
    assert len(engine.generate([1] * 60, 5)) == 65  # the last token is never read
    with pytest.raises(ValueError, match="60 tokens and 5 more are more than the context of 64"):
        engine.generate([1] * 60, 6)
    with pytest.raises(ValueError, match="the prompt is empty"):
        engine.logits([])
    with pytest.raises(ValueError, match="token ids run from 2 to 300; the model has 0 to 299"):
        engine.logits([2, 300])
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        engine.generate([1], 0)
    with pytest.raises(ValueError, match="new_tokens is 1; at least 2"):
        engine.latency(4, 1)
