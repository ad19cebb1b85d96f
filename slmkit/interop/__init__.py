"""To and from transformers: Llama, GPT-2, GPT-NeoX (Pythia), Qwen2 and Gemma. One decoder, five ways to spell it.

A family is two tables (its names for our modules, its names for our options), what it holds fixed, and how it packs
its matrices. What a family cannot say is found by writing a configuration in its terms and reading it back.
Weights are copied bit for bit. Dropout is not carried over: a Decoder has none.
"""

from slmkit.interop.convert import (
    config_from_transformers,
    config_to_transformers,
    from_transformers,
    tensors_from_transformers,
    tensors_to_transformers,
    to_transformers,
)
from slmkit.interop.families import FAMILIES

__all__ = ["FAMILIES", "config_from_transformers", "config_to_transformers", "from_transformers",
           "tensors_from_transformers", "tensors_to_transformers", "to_transformers"]  # fmt: skip
