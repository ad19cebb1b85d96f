"""A trained model with fewer key/value heads: multi-head attention made grouped (Ainslie et al. 2023, section 2.1).

The merged model predicts worse at once; the authors train it on for a twentieth of the original steps.
"""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from slmkit.model.decoder import Decoder


def mean_of_heads(weight: Tensor, kv_heads: int, head_dim: int) -> Tensor:
    """[heads × head_dim, …] -> [kv_heads × head_dim, …]: the mean over each group of neighbouring heads."""
    return weight.unflatten(0, (kv_heads, -1, head_dim)).mean(1).flatten(0, 1)


def regrouped(model: Decoder, kv_heads: int, merge: Callable[[Tensor, int, int], Tensor] = mean_of_heads) -> Decoder:
    """A copy of `model` with `kv_heads` key/value heads in every layer, merged by `merge`; all else is as it was.

    Raises ValueError for latent attention, norms over the full width of the keys, and heads that do not group evenly.
    """
    config = model.config
    if config.attention != "full" or config.qk_norm == "full":
        raise ValueError("only heads of full attention, without norms over all of them, can be merged")
    for heads in {config.layer(i).n_kv_heads for i in range(config.n_layers)}:
        if heads % kv_heads:
            raise ValueError(f"{heads} key/value heads cannot be merged into {kv_heads}; choose a divisor")
    copy = Decoder(replace(config, n_kv_heads=kv_heads)).to(model.embedding.weight)
    weights = model.state_dict()
    for name, weight in weights.items():
        if ".attention.k." in name or ".attention.v." in name:
            weights[name] = merge(weight, kv_heads, config.head_dim)
    copy.load_state_dict(weights)
    return copy
