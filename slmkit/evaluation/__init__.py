"""Measuring what a model can do."""

from slmkit.evaluation.bits import bits_per_byte

__all__ = ["bits_per_byte"]
