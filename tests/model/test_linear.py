"""The product of a step that is compiled is the library's."""

import pytest
import torch
import torch.nn.functional as F

from slmkit.model.linear import product


@pytest.mark.parametrize("compiling", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 1, 5), (2, 3, 5)], ids=str)
def test_one_token_is_multiplied_as_many_are(compiling, biased, shape, monkeypatch):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(7, 5), torch.randn(7) if biased else None
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    for dtype, near in ((torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        given = [one if one is None else one.to(dtype) for one in (x, weight, bias)]
        found = product(*given)
        assert (found.dtype, found.shape) == (dtype, (*shape[:-1], 7))
        torch.testing.assert_close(found, F.linear(*given), rtol=0, atol=near)
