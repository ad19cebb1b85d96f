"""A mixture trains as a row does: to the same bits when interrupted, and kept by all that its result depends on."""

import dataclasses
from itertools import pairwise

import pytest
import small_run as small

from slmkit.data.mixing import Mixture
from slmkit.data.packing import TokenData
from slmkit.training.kept import run_folder


def mixed(weight: float = 3.0, seed: int = 4) -> TokenData:
    return TokenData(
        Mixture({"one": (small.row(3000, 1), weight), "two": (small.row(900, seed), 1)}), small.row(500, 2)
    )


def test_an_interrupted_run_on_a_mixture_ends_in_the_same_bits(tmp_path):
    losses = small.interrupted_equals_unbroken(mixed(), tmp_path, every=5, stop=17)
    assert sum(losses[-5:]) < sum(losses[:5])


def test_the_folder_of_a_run_changes_with_sources_and_weights():
    model, config = small.model(), small.config()
    folders = [run_folder(model, data, config) for data in (small.data(), mixed(), mixed(2.0), mixed(seed=5))]
    assert all(a != b for a, b in pairwise(sorted(folders)))
    assert run_folder(model, mixed(), config) == folders[1]


def test_a_mixture_of_a_larger_vocabulary_is_refused():
    source = dataclasses.replace(small.row(3000, 1), vocab_size=99)
    data = TokenData(Mixture({"one": (small.row(900, 4), 1), "two": (source, 1)}), small.row(500, 2))
    with pytest.raises(ValueError, match="vocabulary of 99"):
        small.train(small.model(), data, small.config(), progress=False)
