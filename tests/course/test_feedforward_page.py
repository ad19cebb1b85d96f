"""The pages on the feed-forward layer, ratio, activation and normalization: counts, sizes, errors, drawings."""

from collections import Counter

import matplotlib.pyplot as plt
import pytest

from slmkit.course import figures_feedforward
from slmkit.course.feedforward import CUBIC, FACTS, PRINTED_CUBIC, USED, gelu, ratios, tanh_gelu, wrong_ratios
from slmkit.paths import root
from slmkit.survey import statistics, trends, zoo
from slmkit.survey.tables import rows

TABLE, SINCE = statistics.listed("v3"), trends.since()
PAGES = root() / "book" / "architecture"


@pytest.fixture
def drawn():
    """Draws a figure by name and closes what was drawn when the test is over."""
    yield lambda name: figures_feedforward.FIGURES[name]()
    plt.close("all")


def test_every_model_is_counted_once_on_each_axis():
    for group, models in (("then", TABLE), ("since", SINCE)):
        for axis in ("ffn", "activation"):
            found = Counter(row[axis] for row in models)
            counted = {option: int(FACTS[f"{axis}.{option.replace('^', '')}.{group}"]()) for option in USED[axis]}
            assert counted == {option: found[option] for option in USED[axis]}
        norms = sum(int(FACTS[f"norm.{kind}.{group}"]()) for kind in USED["norm"])
        assert norms == sum(row["norm"] != "" for row in models)


def test_the_first_is_the_earliest():
    assert (FACTS["ffn.gated.first"](), FACTS["ffn.gated.month"]()) == ("StableLM-zephyr-3B and 4 others", "2023-11")
    assert FACTS["activation.ReLU2.first"]() == "Minitron-4B"
    assert FACTS["activation.GELU.first"]() == "Galactica-125M and 1 other"
    assert FACTS["norm.RMSNorm.month"]() == "2023-11"


def test_models_that_the_pages_name_are_those_of_the_data():
    def says(page, models):
        text = " ".join((PAGES / page).read_text(encoding="utf-8").split())
        assert models
        assert [row["name"] for row in models if row["name"] not in text] == []

    standard = [row for row in SINCE if row["ffn"] == "standard"]
    says("feedforward.md", [*standard, *(row for row in TABLE if row["ffn"] == "standard" and row["release"] > "2024")])
    says("activation.md", [row for row in SINCE if row["activation"] in ("ReLU^2", "xIELU")])
    says("normalization.md", [row for row in SINCE if trends.option(row, "norm") == "LayerNorm"])
    says("ratio.md", wrong_ratios())


def test_ratios_leave_out_what_differs_by_layer_and_what_is_unknown():
    assert len(ratios(TABLE, "gated")) == sum(row["ffn"] == "gated" for row in TABLE) - 4  # OpenELM
    assert int(FACTS["ratio.standard_at_4"]()) == sum(
        row["ffn_ratio"] == "4.0" for row in TABLE if row["ffn"] != "gated"
    )
    assert FACTS["ratio.most"]() == "Gemma-2B with 8"
    assert {row["name"] for row in wrong_ratios()} >= {"Qwen-1.8B", "RecurrentGemma-2B", "Gemma-2-2B"}
    assert (FACTS["ratio.survey.Qwen-1.8B"](), FACTS["ratio.published.Qwen-1.8B"]()) == ("5", "2.69")


def test_sizes_are_those_of_the_published_shapes():
    # SmolLM2-135M: 30 layers of width 576 with a gated FFN of 1536; two norms a layer and one at the end
    assert FACTS["ffn.flops"]() == f"{2 * 30 * 3 * 576 * 1536 / 1e6:.0f} million"
    assert FACTS["ffn.flops_scores"]() == f"{4 * 30 * 576 * 8192 / 1e6:.0f} million"
    assert FACTS["norm.parameters"]() == f"{61 * 576:,}"
    # Gemma-2B: a ratio of 8, and one key/value head of 256 for eight of queries; norms are too small to show
    assert FACTS["ffn.share.most"]() == f"{100 * 24 / (24 + 2 + 2 / 8):.0f}%"


def test_placements_add_up_and_the_outliers_are_known():
    then = {where: int(FACTS[f"norm.{where}.then"]()) for where in ("pre", "post", "both", "after_residual")}
    assert sum(then.values()) == len(zoo.available(since=False))
    assert (then["post"], then["both"], then["after_residual"]) == (0, 1, 1)  # Gemma-2-2B and OPT-350M
    assert FACTS["norm.post.since"]() == str(sum("(post" in row["norm"] for row in SINCE))
    assert FACTS["norm.both.since"]() == str(sum("pre and post" in row["norm"] for row in SINCE))
    assert FACTS["norm.weightless.then"]() == "3"  # Galactica twice, OLMo-1B


def test_the_tanh_form_is_pytorchs_with_the_right_constant_and_further_off_with_the_printed_one():
    import torch
    import torch.nn.functional as F

    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    ours = torch.tensor([[gelu(value), tanh_gelu(value, CUBIC)] for value in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(ours, torch.stack([F.gelu(x), F.gelu(x, approximate="tanh")], dim=1))
    assert float(FACTS["activation.error"]()) == pytest.approx(4.7e-4)
    assert float(FACTS["activation.error_printed"]()) == pytest.approx(1.5e-3)
    assert str(PRINTED_CUBIC) == next(row["survey_value"] for row in rows("claims") if row["id"] == "C19")


def test_both_layers_are_drawn_with_equal_area(drawn):
    for axis in drawn("ffn_blocks").axes:
        matrices = [box for box in axis.patches if box.get_height() == pytest.approx(1)]
        assert len(matrices) == {"standard, 2 matrices": 2, "gated, 3 matrices": 3}[axis.get_title()]
        assert sum(box.get_width() for box in matrices) == pytest.approx(8)


def test_every_ratio_is_in_a_bar(drawn):
    for axis, models in zip(drawn("ratio_counts").axes, (TABLE, SINCE)):
        bars = sum(round(bar.get_height()) for kind in axis.containers for bar in kind)
        assert bars == sum(len(ratios(models, kind)) for kind in ("standard", "gated"))


def test_curves_have_their_known_points(drawn):
    curves, slopes, errors, silu = drawn("activation_curves").axes

    def at(axis, line, x):
        xs, ys = axis.lines[line].get_data()
        return float(ys[min(range(len(xs)), key=lambda i: abs(float(xs[i]) - x))])

    assert [round(at(curves, line, 2), 2) for line in range(4)] == [2, 4, 1.95, 1.76]  # ReLU, its square, GELU, SiLU
    assert [round(at(slopes, line, 2), 2) for line in range(4)] == [1, 4, 1.09, 1.09]
    assert at(errors, 1, 2) > 3 * abs(at(errors, 0, 2))
    assert at(silu, 1, 2) == pytest.approx(2 * at(silu, 0, 2))


def test_norms_stand_where_the_decoder_puts_them(drawn):
    from slmkit import Decoder, ModelConfig

    names = {"pre": "pre", "post": "post", "both": "both", "after the sum": "after_residual"}
    for axis in drawn("norm_placements").axes:
        config = ModelConfig(32, 16, 1, 2, norm_placement=names[axis.get_title()])
        block = Decoder(config).blocks[0]
        boxes = Counter(text.get_text() for text in axis.texts)
        assert boxes["norm"] == sum(norm is not None for norm in (block.ffn_norm, block.ffn_post_norm))
        on_stream = [text for text in axis.texts if text.get_text() == "norm" and text.get_position()[0] == 0]
        assert bool(on_stream) == block.after_residual
        branch = sorted(
            (text.get_position()[1], text.get_text()) for text in axis.texts if text.get_position()[0] == 1.2
        )
        assert (branch[0][1] == "norm") == (block.ffn_norm is not None)


def test_layernorm_centres_and_rmsnorm_keeps_proportions(drawn):
    before, layer, rms = ([bar.get_height() for bar in axis.patches] for axis in drawn("norm_effect").axes)
    assert sum(layer) == pytest.approx(0, abs=1e-5)
    assert sum(value**2 for value in rms) == pytest.approx(8, rel=1e-4)
    assert [a / b for a, b in zip(rms, before)] == pytest.approx([rms[0] / before[0]] * 8)
