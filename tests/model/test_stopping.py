"""When generation ends, with the drawn tokens prescribed so that nothing depends on a random model."""

import pytest
import torch

from slmkit import Decoder, ModelConfig, generate

CONFIG = ModelConfig(vocab_size=10, d_model=8, n_layers=1, n_heads=1, max_context=16)


@pytest.fixture
def drawn(monkeypatch):
    """Row 0 draws 3, 9, 4, 4, …; row 1 draws 5, 6, 7, 9, 8, 8, …; 9 is the stop token."""
    steps = iter(zip([3, 9, 4, 4, 4, 4, 4], [5, 6, 7, 9, 8, 8, 8]))
    monkeypatch.setattr("slmkit.model.generation.sample", lambda *_: torch.tensor(next(steps)))


def test_all_ends_when_the_last_row_has_stopped(drawn):
    out = generate(Decoder(CONFIG), [[1], [2]], 7, stop_tokens=[9])
    assert out.tolist() == [[1, 3, 9, 9, 9], [2, 5, 6, 7, 9]]


def test_without_stop_tokens_nothing_ends_early(drawn):
    out = generate(Decoder(CONFIG), [[1], [2]], 7)
    assert out.tolist() == [[1, 3, 9, 4, 4, 4, 4, 4], [2, 5, 6, 7, 9, 8, 8, 8]]
