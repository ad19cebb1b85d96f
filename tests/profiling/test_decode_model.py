"""The calibrated time of a decoding step: it finds constants that were put in, and shows what it misses."""

from dataclasses import replace

import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.model.counting import kv_cache_bytes
from slmkit.profiling import Peaks, decode_cost
from slmkit.profiling.decode_model import DecodeModel, fit_decode_model, measure_decoding, seconds_a_byte

PEAKS = Peaks("cpu", "made up", 1, {"float32": {64: 1e11}}, {10**6: 4e10, 10**8: 1e10})
CONTEXT = 32


def shape(d_model, n_layers, vocab_size=1000):
    return ModelConfig(vocab_size=vocab_size, d_model=d_model, n_layers=n_layers, n_heads=4, max_context=64)


FITTED = {f"{d}×{n}": shape(d, n) for d, n in ((64, 4), (64, 12), (128, 6), (256, 4), (256, 16), (512, 8))}
OTHERS = {f"{d}×{n}": shape(d, n, 4000) for d, n in ((96, 8), (160, 24), (320, 2), (448, 10), (640, 12))}
TRUTH = DecodeModel(PEAKS, 1.5, 3e-8, 2e-4, 1e-4)


def times(configs, model=TRUTH):
    return {name: model.predict(config, CONTEXT) for name, config in configs.items()}


def test_constants_that_were_put_in_come_out_and_predict_other_shapes():
    found = fit_decode_model(FITTED, times(FITTED), PEAKS, CONTEXT)
    assert (found.slowness, found.row, found.layer, found.step) == pytest.approx((1.5, 3e-8, 2e-4, 1e-4))
    assert list(found.residuals(OTHERS, times(OTHERS), CONTEXT).values()) == pytest.approx([0] * 5, abs=1e-9)


def test_a_step_is_the_sum_of_its_causes():
    config = FITTED["256×16"]
    cost = decode_cost(config, CONTEXT)
    parts = TRUTH.parts(config, CONTEXT)
    assert parts["products"] == pytest.approx(1.5 * cost.bytes * seconds_a_byte(PEAKS, cost.bytes))
    each = 4 * 256 + 2 * config.layer(0).d_ff + 256  # q, k, v, out; gate, up, down
    assert parts["rows"] == pytest.approx(3e-8 * (16 * each + 1000))
    assert parts["layers"] == pytest.approx(16 * 2e-4)
    assert TRUTH.predict(config, CONTEXT) == pytest.approx(sum(parts.values()))
    longer = TRUTH.predict(config, CONTEXT + 20) - TRUTH.predict(config, CONTEXT)
    assert longer == pytest.approx(1.5 * kv_cache_bytes(config, 20, torch.float32) / 1e10, rel=0.5)
    assert longer > 0


def test_a_layer_that_shares_its_weights_takes_its_time_all_the_same():
    own, shared = FITTED["256×16"], replace(FITTED["256×16"], sharing="block_pairs")
    assert TRUTH.parts(shared, CONTEXT)["layers"] == TRUTH.parts(own, CONTEXT)["layers"]
    assert TRUTH.parts(shared, CONTEXT)["rows"] == TRUTH.parts(own, CONTEXT)["rows"]
    assert TRUTH.parts(shared, CONTEXT)["products"] < TRUTH.parts(own, CONTEXT)["products"]


def test_where_computing_is_slower_it_decides():
    slow = replace(PEAKS, flops={"float32": {64: 1e6}, "bfloat16": {64: 1e12}})
    config = FITTED["64×4"]
    cost = decode_cost(config, CONTEXT)
    assert replace(TRUTH, peaks=slow).parts(config, CONTEXT)["products"] == pytest.approx(1.5 * cost.flops / 1e6)
    half = replace(TRUTH, peaks=slow, dtype=torch.bfloat16).parts(config, CONTEXT)["products"]
    assert half == pytest.approx(1.5 * cost.bytes / 2 * seconds_a_byte(PEAKS, cost.bytes / 2))


def test_what_fits_the_cache_is_read_faster():
    assert seconds_a_byte(PEAKS, 10**5) == seconds_a_byte(PEAKS, 10**6) == 1 / 4e10
    assert seconds_a_byte(PEAKS, 10**8) == seconds_a_byte(PEAKS, 10**9) == 1 / 1e10
    assert seconds_a_byte(PEAKS, 10**7) == pytest.approx((1 / 4e10 + 1 / 1e10) / 2)  # half way of the logarithm


def test_small_and_large_models_count_alike():
    """A quarter more time for the slowest shape leaves the predictions of the others nearly as they were."""
    off = times(FITTED)
    off["512×8"] *= 1.25
    residuals = fit_decode_model(FITTED, off, PEAKS, CONTEXT).residuals(FITTED, off, CONTEXT)
    assert 0.05 < residuals.pop("512×8") < 0.25
    assert max(map(abs, residuals.values())) < 0.1


def test_residuals_are_shares_of_the_prediction_above_it():
    slower = {name: 1.2 * seconds for name, seconds in times(OTHERS).items()}
    assert list(TRUTH.residuals(OTHERS, slower, CONTEXT).values()) == pytest.approx([0.2] * 5)


def test_no_constant_is_below_zero():
    shrinking = {name: seconds - 1.2e-4 * FITTED[name].n_layers for name, seconds in times(FITTED).items()}
    faster = {name: seconds - 2.5e-4 * config.n_layers + 4e-3 for (name, config), seconds in
              zip(FITTED.items(), times(FITTED).values())}  # fmt: skip
    assert fit_decode_model(FITTED, shrinking, PEAKS, CONTEXT).layer == pytest.approx(0.8e-4)
    assert fit_decode_model(FITTED, faster, PEAKS, CONTEXT).layer == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda configs, seconds: seconds.pop("64×4"), "times are of 64×12"),
        (lambda configs, seconds: [(configs.pop(n), seconds.pop(n)) for n in list(configs)[:2]], "4 shapes cannot fit"),
        (lambda configs, seconds: seconds.update({"64×4": 0.0}), "seconds of 64×4 are 0.0"),
        (lambda configs, seconds: seconds.update({"64×4": float("nan")}), "seconds of 64×4 are nan"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, message):
    configs, seconds = dict(FITTED), times(FITTED)
    change(configs, seconds)
    with pytest.raises(ValueError, match=message):
        fit_decode_model(configs, seconds, PEAKS, CONTEXT)
    with pytest.raises(ValueError, match="times are of other"):
        TRUTH.residuals(OTHERS, {"other": 1.0}, CONTEXT)


def test_steps_are_taken_in_a_row_and_timed_one_by_one(monkeypatch):
    seen, hidden = [], Decoder.hidden

    def watched(model, ids, cache, padding=None):
        seen.append((model.config.d_model, tuple(ids.shape), cache.length))
        return hidden(model, ids, cache, padding)

    monkeypatch.setattr(Decoder, "hidden", watched)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = measure_decoding({"a": shape(64, 1), "b": shape(32, 1)}, context=9, steps=3, repeats=2)
    assert torch.equal(torch.rand(1), expected)  # the global seed is left alone
    assert seen == ([(64, (1, 1), 8)] * 3 + [(32, (1, 1), 8)] * 3) * 3  # to warm up, and two repeats
    assert list(found) == ["a", "b"]
    assert len(found["a"].seconds) == 2


def test_the_time_of_one_step_does_not_depend_on_how_many_are_taken(monkeypatch):
    from slmkit.profiling import decode_model
    from slmkit.profiling.timing import Timing

    def measure(works, repeats):
        return {name: Timing((work.args[2] * 2.0,), (work.args[2] * 1.0,), "cpu") for name, work in works.items()}

    monkeypatch.setattr(decode_model, "measure_in_turn", measure)
    for steps in 1, 10:
        assert measure_decoding({"a": shape(32, 1)}, steps=steps)["a"].seconds == (1.0,)
