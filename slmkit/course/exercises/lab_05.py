"""Checkers of lab 05, feed-forward layer, activation, normalization, ratio."""

import math

import torch
import torch.nn.functional as F

from slmkit.course.checking import Wrong, call, compare, exercise


def _draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@exercise("05/tanh_gelu")
def tanh_gelu(answer):
    x, root = torch.tensor([-3.0, -1.0, -0.3, 0.5, 1.0, 2.0]), math.sqrt(2 / math.pi)

    def form(constant=0.044715, scale=root, power=3, half=0.5, factor=x, one=1):
        return half * factor * (one + torch.tanh(scale * (x + constant * x**power)))

    mistakes = {
        "√(2/π) is missing inside the tanh": dict(scale=1.0),
        "the factor inside is √(2/π), not √(π/2)": dict(scale=math.sqrt(math.pi / 2)),
        "you multiplied by 2/π; take its root": dict(scale=2 / math.pi),
        "the constant belongs to x³, not x²": dict(power=2),
        "the factor ½ is missing": dict(half=1.0),
        "the factor x in front is missing: that is Φ(x) alone": dict(factor=1.0),
        "there is an x too many in front": dict(factor=x * x),
        "the 1 is missing: it is 1 + tanh(…)": dict(one=0),
        "the default constant is 0.044715, not the misprinted 0.04715": dict(constant=0.04715),
        "the term with x³ is missing": dict(constant=0.0),
    }
    mistakes = {message: form(**changed) for message, changed in mistakes.items()}
    mistakes["that is the exact GELU; the tanh form differs from it by some ten-thousandths"] = F.gelu(x)
    mistakes["that is SiLU, with the logistic function"] = F.silu(x)
    compare(call(answer, x), form(), "tanh_gelu of six numbers", mistakes, atol=1e-6)
    compare(call(answer, x, 0.1), form(0.1), "with the constant 0.1", {
        "the constant is not used": form(), "the constant stands before x + x³, not before x³ alone":
            0.5 * x * (1 + torch.tanh(root * 0.1 * (x + x**3)))}, atol=1e-6)  # fmt: skip


@exercise("05/feed_forward")
def feed_forward(answer):
    x, up, gate, down = _draw(2, 3, 4), _draw(7, 4), _draw(7, 4) + 0.5, _draw(4, 7)
    wide, act = x @ up.T, F.silu
    compare(call(answer, x, up, down, act), act(wide) @ down.T, "the standard layer", {
        "the activation is missing": wide @ down.T,
        "the activation comes after the last matrix; it belongs between the two": act(wide @ down.T),
        "the activation comes before the first matrix; it belongs between the two": act(x) @ up.T @ down.T,
        "the activation is fixed; use the one that is given": F.relu(wide) @ down.T,
        "without a gate the layer has one wide product, not its square": (act(wide) * wide) @ down.T,
        "the input is added; the residual stream is the block's work": x + act(wide) @ down.T,
    })  # fmt: skip
    compare(call(answer, x, up, down, act, gate), (act(x @ gate.T) * wide) @ down.T, "the gated layer", {
        "the activation sits on up; it belongs on the gate": (act(wide) * (x @ gate.T)) @ down.T,
        "the activation is applied to the product; it belongs on the gate alone": act(wide * (x @ gate.T)) @ down.T,
        "the activation is missing on the gate": (wide * (x @ gate.T)) @ down.T,
        "the activation is applied to both; it belongs on the gate alone": (act(x @ gate.T) * act(wide)) @ down.T,
        "gate and up are added; multiply them": (act(x @ gate.T) + wide) @ down.T,
        "the gate is not used": act(wide) @ down.T,
        "up is not used": act(x @ gate.T) @ down.T,
    })  # fmt: skip
    compare(call(answer, x, up, down, F.gelu, gate=gate), (F.gelu(x @ gate.T) * wide) @ down.T, "gated, with GELU", {
        "the gate's activation is fixed; use the one that is given": (act(x @ gate.T) * wide) @ down.T,
    })  # fmt: skip


@exercise("05/matched_width")
def matched_width(answer):
    for d_model, ratio, multiple in ((576, 4, 64), (100, 4, 1), (96, 2, 32), (90, 3.5, 16)):
        exact = 2 * ratio * d_model / 3

        def rounded(width, how=math.ceil, multiple=multiple):
            return multiple * how(width / multiple)

        right = rounded(exact)
        mistakes = {
            "a gated layer has three matrices and a standard one two: two thirds of the standard width":
                rounded(ratio * d_model),
            "it has three matrices for two: the width shrinks by 2/3, it does not grow by 3/2":
                rounded(1.5 * ratio * d_model),
            "that is half the standard width; three matrices for two make two thirds": rounded(ratio * d_model / 2),
            "that is rounded to the nearest multiple; round up": rounded(exact, round),
            "that is rounded down; the layer then has fewer parameters than the standard one":
                rounded(exact, math.floor),
            "that is not a multiple of `multiple`": math.ceil(exact),
            "that is one multiple too many": right + multiple,
            "that is the ratio; multiply by d_model": rounded(2 * ratio / 3),
            "that is the number of multiples; multiply by `multiple`": right // multiple,
            "the ratio is given; it need not be 4": rounded(8 * d_model / 3),
            "a width is a whole number; round up": exact,
        }  # fmt: skip
        mistakes = {message: value for message, value in mistakes.items() if value != right}
        got = call(answer, d_model, ratio, multiple)
        compare(got, right, f"the width for d_model = {d_model}, ratio {ratio}, multiples of {multiple}", mistakes)


@exercise("05/normalized")
def normalized(answer):
    x, eps = _draw(2, 3, 6) * torch.tensor([0.2, 1.0, 3.0])[:, None] + 1, 0.1

    def form(centred, axis=-1, unbiased=False, inside=eps, outside=0.0, power=0.5, shift=True, square=True):
        moved = x - x.mean(axis, keepdim=True) if centred else x
        mean = moved.square().sum(axis, keepdim=True) / (x.shape[axis] - unbiased)
        mean = mean if square else moved.abs().mean(axis, keepdim=True) ** 2
        return (moved if shift else x) / ((mean + inside) ** power + outside)

    both = {
        "eps is missing: it is added below the root": dict(inside=0.0),
        "eps is added to the root; add it to what the root is taken of": dict(inside=0.0, outside=eps),
        "the root is missing: divide by the root, not by the mean of squares": dict(power=1.0),
        "divide by the root; you multiplied": dict(power=-0.5),
        "the mean runs over the tokens; each vector has its own, over the last axis": dict(axis=1),
        "that divides by D - 1, as torch.std does by default; divide by D": dict(unbiased=True),
    }
    cases = {
        True: ("LayerNorm of six vectors", "the mean is not subtracted: that is RMSNorm", {
            "the mean is subtracted below the root alone; subtract it from x too": dict(shift=False)}),
        False: ("RMSNorm of six vectors", "the mean is subtracted; only centred=True asks for that", {
            "that divides by the mean size; it is the root of the mean of squares": dict(square=False)}),
    }  # fmt: skip
    for centred, (what, confused, own) in cases.items():
        mistakes = {message: form(centred, **changed) for message, changed in (both | own).items()}
        mistakes[confused] = form(not centred)
        moved = x - x.mean() * centred
        mistakes["one mean is taken of all numbers; each vector has its own, over the last axis"] = (
            moved / (moved.square().mean() + eps).sqrt()
        )
        compare(call(answer, x, centred, eps=eps), form(centred), what, mistakes)
    small = torch.tensor([[1e-3, -1e-3]])
    default = small / (small.square().mean() + 1e-5).sqrt()
    compare(call(answer, small, False), default, "RMSNorm with the default eps of 1e-5")


@exercise("05/placed")
def placed(answer):
    x, matrix = _draw(2, 3, 4), _draw(4, 4)

    def branch(y):
        return torch.tanh(y @ matrix) + 0.3

    def norm(y):
        return 2 * y / y.square().mean(-1, keepdim=True).sqrt()

    forms = {
        "pre": x + branch(norm(x)),
        "post": x + norm(branch(x)),
        "after_residual": norm(x + branch(x)),
    }
    mistakes = {
        "the stream is missing: x is added to what the branch gives": (branch(norm(x)), norm(branch(x)), branch(x)),
        "the norm is missing": (x + branch(x),) * 3,
        "the normalized x is added; the stream itself goes on":
            (norm(x) + branch(norm(x)), norm(x) + norm(branch(x)), norm(x) + branch(x)),
        "the norm stands on both sides of the branch": (x + norm(branch(norm(x))),) * 3,
        "the norm is applied to the sum as well": (norm(x + branch(norm(x))), norm(x + norm(branch(x))), x),
    }  # fmt: skip
    for i, (place, right) in enumerate(forms.items()):
        given = {message: values[i] for message, values in mistakes.items()}
        given |= {f'that is "{other}"': value for other, value in forms.items() if other != place}
        compare(call(answer, x.clone(), branch, norm, place), right, f'"{place}"', given)
    kept = x.clone()
    call(answer, kept, branch, norm, "pre")
    if not torch.equal(kept, x):
        raise Wrong("x itself was changed; make a new tensor, since the gradient needs the old one")
