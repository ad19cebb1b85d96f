"""The llama.cpp engine and slmkit read the same file to the same predictions: two programs that share no code."""

import numpy as np
import pytest
import torch

from slmkit import pretrained

pytestmark = pytest.mark.engine
TEXT = "The president of the United States lives in the White House, and he"


@pytest.fixture(scope="module")
def engine():
    import llama_cpp

    return llama_cpp.Llama(str(pretrained.gguf_path()), n_ctx=64, n_threads=1, logits_all=True, verbose=False)


@pytest.mark.slow
@torch.no_grad()
def test_the_engine_and_the_decoder_agree(engine):
    model, tokenizer = pretrained.load()
    ids = tokenizer.encode(TEXT)
    assert engine.tokenize(TEXT.encode(), add_bos=False) == ids
    engine.eval(ids)
    theirs = np.asarray(engine.scores[: len(ids)])
    ours = model.float()(torch.tensor([ids]))[0].numpy()
    # The engine rounds activations to 8 bits before it multiplies, so logits agree closely and not exactly.
    for position, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        assert np.corrcoef(a, b)[0, 1] > 0.99, position
    assert (theirs.argmax(-1) == ours.argmax(-1)).mean() > 0.8
