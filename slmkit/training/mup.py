"""Maximal update parametrisation (µP): one learning rate for every width (Yang et al. 2022, Tensor Programs V).

The method: tune a narrow model, the base, and widen it by these rules; the best learning rate stays about where it was.
At the base width the rules change nothing, so model and training are the standard ones, bit for bit.

    wide = mup.widened(base, 1024)                    # configuration: widths, factor on scores, factor on logits
    model = mup.decoder(wide, base.d_model)           # weights drawn as the rules say
    train(model, data, TrainingConfig(…, mup_base=base.d_model))   # rates by parameter, see `multipliers`

Whether all this is right on a given model, coordinates.py measures.
"""

from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from slmkit.config import ModelConfig
from slmkit.model.decoder import Decoder


class Rule(NamedTuple):
    """How one kind of parameter changes when every width is m times the base's: each value is an exponent of m."""

    kind: str
    deviation: float  # of the weights at the start
    rate: float  # of Adam's learning rate
    multiplier: float  # of the factor on what the product gives


# Table 8 of the paper for Adam. In its words: input weights have one side that grows, the output's, output weights the
# other, hidden weights both. A tied matrix is allowed because input and output weights want the same in this form.
RULES = (
    Rule("input", deviation=0, rate=0, multiplier=0),  # token embedding, learned positions
    Rule("hidden", deviation=-1 / 2, rate=-1, multiplier=0),  # every matrix inside the blocks
    Rule("output", deviation=0, rate=0, multiplier=-1),  # the head
    Rule("tied", deviation=0, rate=0, multiplier=-1),  # embedding and head in one matrix
    Rule("vector", deviation=0, rate=0, multiplier=0),  # biases, weights of norms
    Rule("scores", deviation=0, rate=0, multiplier=-1),  # query · key, by the growth of the head's width: 1/d, not 1/√d
)
# What `Decoder` and the trainer do without µP, in the same form.
STANDARD = (
    Rule("input", deviation=0, rate=0, multiplier=0),
    Rule("hidden", deviation=-1 / 2, rate=0, multiplier=0),
    Rule("output", deviation=-1 / 2, rate=0, multiplier=0),
    Rule("tied", deviation=-1 / 4, rate=0, multiplier=0),
    Rule("vector", deviation=0, rate=0, multiplier=0),
    Rule("scores", deviation=0, rate=0, multiplier=-1 / 2),
)
Rules = tuple[Rule, ...]
GROW = ("n_heads", "head_dim")


def changed(rules: Rules, kind: str, **exponents: float) -> Rules:
    """The table with some exponents of one kind replaced: for comparisons, and for errors made on purpose."""
    return tuple(rule._replace(**exponents) if rule.kind == kind else rule for rule in rules)


def kind(name: str, parameter: Tensor, tied: bool) -> str:
    """Which rule a decoder's parameter follows, by its name and its number of axes: the `kind` of a Rule."""
    if parameter.dim() < 2:
        return "vector"
    if name == "embedding.weight":
        return "tied" if tied else "input"
    return {"position_embedding.weight": "input", "head.weight": "output"}.get(name, "hidden")


def widened(base: ModelConfig, width: int, grow: str = "n_heads", rules: Rules = RULES) -> ModelConfig:
    """The base's configuration with d_model = `width` and all other widths in proportion.

    Attention grows by the number of heads or by their width, `grow` = "head_dim"; then the factor on scores falls. The
    factor on logits falls with the width. Raises ValueError where a width would not come out whole, for latent
    attention and for an embedding of another width.
    """
    if grow not in GROW:
        raise ValueError(f"grow is {grow!r}; it must be one of {', '.join(GROW)}")
    if base.attention == "mla" or base.embedding_width is not None:
        raise ValueError(
            "these rules are for full attention and an embedding as wide as the model (no embedding_width)"
        )
    m = Fraction(width, base.d_model)
    widths = ("d_ff", "head_dim") if grow == "head_dim" else ("d_ff", "n_heads", "n_kv_heads")
    values = {name: _times(name, getattr(base, name), m) for name in widths} | {"d_model": width}
    values["head_dim"] = values.get("head_dim", base.head_dim)
    exponent = _of(rules, "tied" if base.tied_embeddings else "output").multiplier
    values["logit_scale"] = base.logit_scale * float(m) ** exponent
    if grow == "head_dim" and m != 1:
        scales = [base.layer(i).attention_scale * float(m) ** _of(rules, "scores").multiplier
                  for i in range(base.n_layers)]  # fmt: skip
        values["attention_scale"] = scales[0] if len(set(scales)) == 1 else tuple(scales)
    return replace(base, **values)


def decoder(config: ModelConfig, base: int, rules: Rules = RULES) -> Decoder:
    """A Decoder whose weights are drawn as the rules say for a base width of `base`; seed torch before, as always.

    `Decoder` draws as STANDARD says; here the weights are multiplied by what the two tables differ in. Raises
    ValueError for a base that is no whole number of at least 1.
    """
    model, m = Decoder(config), _growth(config, base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rule, drawn = (_of(table, kind(name, parameter, config.tied_embeddings)) for table in (rules, STANDARD))
            exponent = rule.deviation - drawn.deviation
            if rule.kind == "tied":  # Decoder divides by the root of logit_scale, which the rules have changed
                exponent += rule.multiplier / 2
            parameter.mul_(m**exponent)
    return model


def multipliers(model: Decoder, base: int, rules: Rules = RULES) -> dict[str, float]:
    """The factor on Adam's learning rate for each parameter, by name.

    Decoupled weight decay goes through the rate; to keep rate × decay, divide the decay by the same factor, as the
    authors' package does. Raises ValueError as `decoder` does.
    """
    m, tied = _growth(model.config, base), model.config.tied_embeddings
    return {name: m ** _of(rules, kind(name, p, tied)).rate for name, p in model.named_parameters()}


def _of(rules: Rules, kind: str) -> Rule:
    return next(rule for rule in rules if rule.kind == kind)


def _growth(config: ModelConfig, base: int) -> float:
    if not isinstance(base, int) or isinstance(base, bool) or base < 1:
        raise ValueError(f"the base width is {base!r}; it must be a whole number of at least 1")
    return config.d_model / base


def _times(name: str, value: int | tuple[int, ...], m: Fraction) -> int | tuple[int, ...]:
    if isinstance(value, tuple):
        return tuple(_times(name, one, m) for one in value)
    if (value * m).denominator != 1:
        raise ValueError(f"{name} = {value} times {m} is not whole; choose another width, or a base that divides it")
    return int(value * m)
