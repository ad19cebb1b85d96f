"""What speculative decoding gains: a draft that is the target is always right, and one number comes for each prompt."""

import torch

from slmkit.config import ModelConfig
from slmkit.model.decoder import Decoder
from slmkit.profiling import speculative
from slmkit.profiling.speculative import _pass, measure_speculation
from slmkit.profiling.timing import Timing

TINY = ModelConfig(vocab_size=32, d_model=16, n_layers=2, n_heads=2, max_context=32)


def test_the_target_as_its_own_draft_is_kept_throughout():
    torch.manual_seed(0)
    target = Decoder(TINY)
    prompts = [torch.randint(32, (1, 5)) for _ in range(3)]
    found = measure_speculation(target, target, prompts, k=3, new_tokens=8, repeats=1)
    assert found["acceptance"] == [1.0] * 3
    assert found["tokens"] == [4.0] * 3  # 8 tokens by two passes of three kept ones and one more
    assert found["same"] == [1.0] * 3
    assert all(len(values) == 3 and min(values) > 0 for values in found.values())


def test_another_draft_is_refused_now_and_then_and_the_greedy_text_stays():
    torch.manual_seed(0)
    target, draft = Decoder(TINY), Decoder(TINY)
    found = measure_speculation(target, draft, [torch.randint(32, (1, 5))], k=2, new_tokens=16, repeats=1)
    assert 0 < found["acceptance"][0] < 1
    assert 1 < found["tokens"][0] < 3
    assert found["same"] == [1.0]


def test_the_check_reads_the_drafted_tokens_and_one_more(monkeypatch):
    asked = []
    monkeypatch.setattr(speculative, "_pass", lambda model, context, tokens: asked.append((context, tokens)) or int)
    monkeypatch.setattr(speculative, "measure_in_turn", lambda works, **_: dict.fromkeys(works, Timing((1.0,), (1.0,))))
    found = measure_speculation(Decoder(TINY), Decoder(TINY), [torch.tensor([[1, 2, 3]])], k=4, new_tokens=6)
    assert asked == [(9, 1), (9, 1), (9, 5)]
    assert (found["cost"], found["verify"], found["gain"]) == ([1.0], [1.0], [1.0])


def test_a_pass_reads_its_tokens_at_the_end_of_the_context():
    model, seen = Decoder(TINY), []
    model.forward = lambda ids, cache: seen.append((ids.shape[1], cache.length, cache.capacity))
    _pass(model, 20, 4)()
    assert seen == [(4, 16, 20)]
