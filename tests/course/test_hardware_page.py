"""The pages on hardware and on techniques since: the numbers, and the tables."""

import re

import numpy as np
import pytest

from slmkit.course import hardware as page
from slmkit.course import techniques
from slmkit.paths import root
from slmkit.survey import zoo
from slmkit.survey.evidence import devices
from slmkit.survey.evidence.devices import JETSON, MEIZU


def test_the_line_is_the_least_squares_one():
    for device in (JETSON, MEIZU):
        tokens, times = map(np.array, zip(*devices.curve("10a", device).items()))
        start, slope = page.line(device)
        rest = times - start - slope * tokens
        assert rest.sum() == pytest.approx(0, abs=1e-6)
        assert rest @ tokens == pytest.approx(0, abs=1e-4)
        assert page.knee(device) == pytest.approx(start / slope)


def test_rates_are_amounts_over_times():
    config = zoo.config(page.MODEL)
    matrices = config.n_layers * (4 * config.d_model**2 + 2 * config.d_model * config.d_ff)
    for device in (JETSON, MEIZU):
        # Two operations a weight; attention's own share of a short prompt is a few percent more.
        least = 2 * matrices / (page.line(device)[1] / 1e3)
        assert least < page.flops(device) < 1.05 * least
        read = matrices + config.vocab_size * config.d_model  # the tied matrix once, as head
        assert page.bandwidth(device) == pytest.approx(read * 4.5 / 8 / (page.step(device) / 1e3), rel=2e-3)


def test_what_the_page_says_in_words():
    assert page.line(JETSON)[0] == pytest.approx(page.step(JETSON), rel=0.1), "a is what a generated token takes"
    assert page.knee(JETSON) > 20 > 2 > page.knee(MEIZU)
    assert page.ratio(page.flops) > 10 * page.ratio(page.bandwidth) > 10
    assert devices.unsteadiness(JETSON) < devices.unsteadiness(MEIZU)
    assert devices.unsteadiness(JETSON, devices.FIRST) > devices.unsteadiness(MEIZU, devices.FIRST)
    lead = devices.speedups("10a")
    assert lead[min(lead)] == min(lead.values()), "it begins there"
    assert lead[max(lead)] > 0.9 * max(lead.values()), "and grows with the prompt"


@pytest.mark.parametrize("name", page.FIGURES)
def test_drawings(name):
    axes = page.FIGURES[name]().axes
    assert all(axis.get_ylabel() or axis is not axes[0] for axis in axes)
    if name == "hardware_phones":
        prefill, decode = (np.array([line.get_ydata() for line in axis.lines[::2]]) for axis in axes)
        assert (np.diff(prefill) < 0).all(), "all lines fall from phone to phone"
        assert (decode[:, 2] < decode[:, 1]).all()
        assert (decode[:, 3] > decode[:, 2]).all()
        assert (np.abs(decode[:, 1] - 100) < 15).all(), "level to the second phone"


def test_every_technique_has_its_source_and_its_measurement():
    references = (root() / "book" / "references.bib").read_text(encoding="utf-8")
    shown = re.findall(r"{technique-table} (\w+)", (root() / "book/runtime/techniques.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(techniques.groups())
    for row in (row for group in techniques.groups().values() for row in group):
        assert f"{{{row['key']}," in references
        assert all(row.values()), row["name"]
        assert not any("|" in value for value in row.values()), "it is a cell of a table"
