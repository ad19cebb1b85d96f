"""How rotary frequencies are stretched to reach past the context that a model was first trained on."""

from dataclasses import dataclass

from slmkit.checks import above, is_number, one_of, positive

ROPE_SCALINGS = ("linear", "ntk", "llama3", "yarn", "longrope")


@dataclass(frozen=True)
class RopeScaling:
    """`factor` says how far the context is stretched; the kinds differ in which frequencies they slow down.

    `linear` divides every frequency by `factor` (Chen et al. 2023, position interpolation). `ntk` raises the base to
    theta · factor^(d / (d - 2)), which slows pair j by factor^(2j / (d - 2)) (bloc97 2023; Hunyuan's alpha; the
    `dynamic` kind elsewhere lets the factor grow with the text). `llama3` divides only the slow ones and blends between
    `low_freq_factor` and `high_freq_factor` turns per `original_context` (Llama 3.1). `yarn` does the same with a ramp
    between `beta_slow` and `beta_fast` turns and scales the tables by `attention_factor` (Peng et al. 2023; default
    0.1 ln(factor) + 1). `longrope` divides each pair by a number of its own, found by search (Ding et al. 2024):
    `long_factors` when max_context is above original_context, else `short_factors`; its `attention_factor` is by
    default √(1 + ln(factor) / ln(original_context)). Elsewhere that choice follows the length of the text at hand; here
    it is fixed, so that what a cache holds stays true while a text grows.
    """

    kind: str
    factor: float
    original_context: int | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    short_factors: tuple[float, ...] | None = None  # one for each rotating pair
    long_factors: tuple[float, ...] | None = None

    def __post_init__(self):
        one_of("rope_scaling.kind", self.kind, ROPE_SCALINGS)
        if not (is_number(self.factor) and self.factor >= 1):
            raise ValueError(f"rope_scaling.factor is {self.factor}; it stretches the context, so it must be 1 or more")
        if self.original_context is not None:
            positive("rope_scaling.original_context", self.original_context)
        elif self.kind not in ("linear", "ntk"):
            raise ValueError(
                f"rope_scaling of kind {self.kind!r} needs original_context, the context before stretching"
            )
        for name in ("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow"):
            above("rope_scaling." + name, getattr(self, name), 0)
        if self.attention_factor is not None:
            above("rope_scaling.attention_factor", self.attention_factor, 0)
        for low, high in (("low_freq_factor", "high_freq_factor"), ("beta_slow", "beta_fast")):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"rope_scaling.{low} is {getattr(self, low)}; it must be below {high}")
        for name in ("short_factors", "long_factors"):
            self._check_factors(name, getattr(self, name))

    def _check_factors(self, name: str, factors):
        if (factors is None) == (self.kind == "longrope"):
            wanted = "needs" if factors is None else "has no place for"
            raise ValueError(f"rope_scaling of kind {self.kind!r} {wanted} {name}, a number for each rotating pair")
        if factors is None:
            return
        if not isinstance(factors, (tuple, list)):
            raise ValueError(f"rope_scaling.{name} is {factors!r}; give a tuple, a number for each rotating pair")
        for factor in factors:
            above("rope_scaling." + name, factor, 0)
        object.__setattr__(self, name, tuple(factors))
