"""One small training run that several tests share: the model, the data, and the run as a script of its own."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

from slmkit import Decoder, ModelConfig, TrainingConfig, train
from slmkit.data.packing import TokenData, TokenRow

VOCAB = 61


def row(n: int, seed: int) -> TokenRow:
    """Tokens with something to learn: each follows from the one before it, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [1]
    noise = torch.randint(0, VOCAB, (n,), generator=generator).tolist()
    for i in range(n - 1):
        tokens.append(noise[i] if i % 5 == 0 else (7 * tokens[-1] + 3) % VOCAB)
    return TokenRow(torch.tensor(tokens, dtype=torch.int32), text_bytes=2 * n, tokenizer="none", vocab_size=VOCAB)


def data() -> TokenData:
    return TokenData(row(4000, 1), row(500, 2))


def model(seed: int = 0, **options) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(ModelConfig(**dict(vocab_size=VOCAB, d_model=32, n_layers=2, n_heads=4, max_context=32) | options))


def config(**options) -> TrainingConfig:
    given = dict(steps=30, batch_size=8, context=16, learning_rate=1e-2, precision="fp32", compile=False)
    return TrainingConfig(**given | options)


def interrupted_equals_unbroken(data: TokenData, folder: Path, every: int, stop: int) -> list[float]:
    """A run with a checkpoint `every` so many steps that is stopped after `stop` steps and goes on ends in the bits of
    a run in one piece, whose losses come back."""

    def kill(history):
        if len(history.losses) == stop:
            raise KeyboardInterrupt

    kept, whole, resumed = config(checkpoint_every=every), model(), model()
    unbroken = train(whole, data, dataclasses.replace(kept, checkpoint_every=None), progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(model(), data, kept, folder, progress=False, on_step=kill)
    history = train(resumed, data, kept, folder, progress=False)
    assert history.losses == unbroken.losses
    assert history.held_out == unbroken.held_out
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    return unbroken.losses


if __name__ == "__main__":  # small_run.py FOLDER STEPS CHECKPOINT_EVERY [STOP_AFTER] [shard]
    torch.set_num_threads(1)
    folder, steps, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    stop = int(sys.argv[4]) if sys.argv[4:5] not in ([], ["shard"]) else steps

    def interrupted(history):
        if history.losses and len(history.losses) == stop < steps:
            sys.exit(0)

    options = dict(steps=steps, checkpoint_every=every, evaluate_every=every, shard="shard" in sys.argv)
    train(model(), data(), config(**options), folder, progress=False, on_step=interrupted)
