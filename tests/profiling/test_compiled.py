"""The compiled step gives what the plain one gives, and what it is not made for goes the plain way."""

import copy

import pytest
import torch

from slmkit import Decoder, ModelConfig, generate
from slmkit.model.cache import KVCache
from slmkit.profiling import compiled
from slmkit.profiling.compiled import compile_decoding
from slmkit.profiling.int8 import int8_model
from slmkit.training import trainer


def small(**options) -> Decoder:
    torch.manual_seed(0)
    model = Decoder(ModelConfig(97, 32, 3, 4, n_kv_heads=2, max_context=64, **options)).eval()
    model.norm.weight.data = torch.linspace(-1, 1, 32)  # a norm that changes which token is the likeliest
    return model


@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.parametrize("made", [copy.copy, int8_model], ids=["fp32", "int8"])
@torch.inference_mode()
def test_one_compiled_program_serves_every_block_and_length(made):
    model, ids = made(small()), torch.arange(40)[None]
    quick = compile_decoding(copy.copy(model))

    def read(one: Decoder, start: int) -> torch.Tensor:
        cache = KVCache(one.config, 1, 50)
        one.hidden(ids[:, :start], cache)
        return torch.cat([one.hidden(ids[:, i : i + 1], cache) for i in range(start, 40)])

    torch.testing.assert_close(read(quick, 35), read(model, 35), rtol=0, atol=1e-5)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(read(quick, 2), read(model, 2), rtol=0, atol=1e-5)


@pytest.fixture
def steps(monkeypatch):
    """The step as it is, not compiled; the list grows by one for each block that it is called for."""
    called = []

    def noted(block, **_):
        return lambda *given: (called.append(1) if len(given) == 4 else None) or block(*given)

    monkeypatch.setattr(trainer, "cannot_compile", lambda device: None)
    monkeypatch.setattr(torch, "compile", noted)
    return called


@pytest.mark.parametrize("options", [{}, {"positions": "learned"}, {"positions": "alibi"}, {"window": 6}], ids=str)
def test_the_step_of_one_token_is_the_decoder_s_own(steps, options):
    model, ids = small(**options), torch.arange(5)[None]
    quick = compile_decoding(small(**options))
    assert torch.equal(generate(quick, ids, 9), generate(model, ids, 9))
    assert len(steps) == 8 * 3  # nine tokens are eight steps after the prompt


@pytest.mark.parametrize(("rows", "padding"), [(1, [2]), (2, [0, 2]), (2, None)])
def test_padding_and_several_texts_go_the_plain_way(steps, rows, padding):
    model, ids = small(), torch.arange(5 * rows).view(rows, 5)
    padding = None if padding is None else torch.tensor(padding)
    quick = compile_decoding(small())
    assert torch.equal(generate(quick, ids, 6, padding=padding), generate(model, ids, 6, padding=padding))
    assert not steps


def test_without_a_compiler_it_is_refused(monkeypatch):
    monkeypatch.setattr(trainer, "cannot_compile", lambda device: "torch.compile needs a C++ compiler")
    with pytest.raises(RuntimeError, match=r"needs a C\+\+ compiler"):
        compiled.compile_decoding(small())
