"""A gradient that is no number stops the run, even when the loss is sound."""

import pytest
import small_run as small
import torch

from slmkit import train


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_that_is_no_number_stops_the_run_before_the_update(value, clip):
    model = small.model()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    model.norm.weight.register_hook(lambda gradient: torch.full_like(gradient, value))
    with pytest.raises(FloatingPointError, match=r"the loss is \d.* and the gradient's norm (inf|nan) at step 0"):
        train(model, small.data(), small.config(clip=clip), progress=False)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
