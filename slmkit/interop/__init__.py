"""To and from transformers, and GGUF (gguf.py). One decoder, many ways to spell it: FAMILIES lists them.

A family is a row of tables: its names for our modules (names.py) and options (options.py, rotary.py, parts.py), what it
holds fixed (families.py) and how it lays out matrices (layouts.py). A field of theirs that is neither read nor known to
be harmless is refused by name. What a family cannot say is found by writing a configuration in its terms and reading it
back. Weights are copied bit for bit. Dropout is not carried over: a Decoder has none.
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
from slmkit.interop.gguf import KINDS, from_gguf, gguf_kind, to_gguf

__all__ = ["FAMILIES", "KINDS", "config_from_transformers", "config_to_transformers", "from_gguf", "from_transformers",
           "gguf_kind", "tensors_from_transformers", "tensors_to_transformers", "to_gguf",
           "to_transformers"]  # fmt: skip
