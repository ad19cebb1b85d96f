"""The numbers of the page on memory: what llama.cpp holds for the survey's models, from their dimensions alone.

"MB" are 1,048,576 bytes, as in Figure 13a, which is for 4 bits and a context of 2048 tokens. The rules are those of
llama.cpp's quantizer for Q4_K_M and of the buffers that it allocates, as of 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from statistics import median

import numpy as np

from slmkit.config import ModelConfig
from slmkit.course import quantization
from slmkit.model.counting import count_parameters
from slmkit.survey import zoo
from slmkit.survey.evidence import memory
from slmkit.survey.evidence.estimates import fit, residuals
from slmkit.survey.verdicts import digits

MIB = memory.MIB
GIB = 1024  # MB; from here on the engine's log says "1.62 GiB" in place of "1658.88 MiB"
PARTS = {"weights": "model parameters", "cache": "KV cache", "buffer": "compute buffer", "other": "other memory"}
ONE_MATRIX = ("Pythia", "Bloom", "OpenELM", "Qwen-")  # query, key and value are one matrix in the engine's file
CLOSE = 0.1  # percent


def configuration(name: str) -> ModelConfig:
    """A model by its name in the survey's figures."""
    return zoo.config(memory.row_of(name)["name"])


def wider(layer: int, layers: int) -> bool:
    """Whether a mixture takes the wider format in that layer: an eighth at each end, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def stored(rows: int, columns: int, kind: str) -> float:
    """Bytes of a matrix; where super-blocks do not divide its rows, in the format that the engine falls back to."""
    kind = kind if columns % quantization.SUPER_BLOCK == 0 else quantization.FALLBACK[kind]
    return rows * columns * _bits(kind) / 8


_bits = cache(quantization.bits)


@cache
def weights(name: str, order: Callable[[int], object] = int) -> dict[str, float]:
    """Bytes of a model's Q4_K_M file by part: attention, ffn, head, embedding (0 when it is the head), vectors.

    `order` sorts the layers as the quantizer meets them: it gives the wider format by place, not by number.
    """
    built = configuration(name)
    places = {layer: place for place, layer in enumerate(sorted(range(built.n_layers), key=order))}
    parts, numbers = {"attention": 0.0, "ffn": 0.0}, 0
    for layer, place in places.items():
        for part, matrices in _matrices(name, built, layer, wider(place, built.n_layers)).items():
            parts[part] += sum(stored(*matrix) for matrix in matrices)
            numbers += sum(rows * columns for rows, columns, _ in matrices)
    count = count_parameters(built)
    return parts | {
        "head": stored(built.vocab_size, built.d_model, "Q6_K"),
        "embedding": 0.0 if shared(name) else stored(built.vocab_size, built.d_model, "Q4_K"),
        "vectors": memory.FULL * (count.total - count.token_embedding - count.head - numbers),  # norms, biases: 32 bits
    }


def _matrices(name: str, built: ModelConfig, layer: int, fine: bool) -> dict[str, list[tuple[int, int, str]]]:
    """(rows, columns, format) of the matrices of one layer."""
    shape, width, mixed = built.layer(layer), built.d_model, "Q6_K" if fine else "Q4_K"
    query, key = shape.n_heads * built.head_dim, shape.n_kv_heads * built.head_dim
    read = [(query + key, width, "Q4_K"), (key, width, mixed)]
    if name.startswith(ONE_MATRIX):
        read = [(query + 2 * key, width, "Q5_K")]
    up = [(shape.d_ff, width, "Q4_K")] * (2 if built.ffn == "gated" else 1)
    return {"attention": [*read, (width, query, "Q4_K")], "ffn": [*up, (width, shape.d_ff, mixed)]}


def shared(name: str) -> bool:
    """Whether embedding and head are one matrix in the model's file. In memory the engine then holds it twice."""
    row = memory.row_of(name)
    return row["tied_embeddings"] == "yes" and row["name"] not in memory.stored_twice()


@cache
def predicted(name: str) -> dict[str, float]:
    """MB of each of PARTS, by the rules."""
    again = weights(name)["head"] if shared(name) else 0
    return {
        "weights": sum(weights(name).values()) / MIB,
        "cache": memory.cache_mb(name),
        "buffer": memory.buffer_mb(name, memory.CONTEXT),
        "other": memory.host_mb(name, memory.CONTEXT) + again / MIB,
    }


def as_printed(size: float) -> float:
    """What the survey makes of weights of `size` MB: from the engine's "1.62 GiB" it takes 1620 MB."""
    return size if size < GIB else 1000 * round(size / GIB, 2)


@cache
def measured(name: str, mended: bool = True) -> dict[str, float]:
    """MB of each of PARTS in Figure 13a; `mended`: gibibytes read as such, and the rest lowered by as much."""
    found = {part: memory.parts()[name, label] for part, label in PARTS.items()}
    if mended and found["weights"] > GIB:
        short = found["weights"] * (GIB / 1000 - 1)
        found |= {"weights": found["weights"] + short, "other": found["other"] - short}
    return found


def gap(name: str, part: str) -> float:
    """By how many MB the prediction of a part is above the figure."""
    return predicted(name)[part] - measured(name)[part]


def off(name: str) -> float:
    """By how many percent the predicted total is above the figure's, which the reading of weights does not touch."""
    return 100 * (sum(predicted(name).values()) / sum(measured(name).values()) - 1)


def worst(part: str) -> str:
    """The model whose part is furthest off."""
    return max(memory.measured(), key=lambda name: abs(gap(name, part)))


def furthest() -> str:
    """The model whose total is furthest off."""
    return max(memory.measured(), key=lambda name: abs(off(name)))


def in_gibibytes() -> list[str]:
    """The models whose weights the engine's log gives in GiB."""
    return [name for name in memory.measured() if measured(name, False)["weights"] > GIB]


def share_of_scatter(part: str) -> float:
    """Percent of the scatter of memory around the line in the engine's counts that a part brings in; they add to 100.

    A part's residuals around its own line add up to those of the total, so their share is their covariance with it.
    """
    names = [name for name in memory.totals() if name in memory.measured()]
    sizes = [memory.totals()[name][0] for name in names]
    found = [measured(name) for name in names]
    total = residuals(sizes, [sum(one.values()) for one in found])
    return 100 * float(total @ residuals(sizes, [one[part] for one in found]) / (total @ total))


def without_buffer() -> float:
    """R² of a line through memory without the compute buffer, in the engine's counts."""
    names = [name for name in memory.totals() if name in memory.measured()]
    rest = [sum(measured(name).values()) - measured(name)["buffer"] for name in names]
    return fit([memory.totals()[name][0] for name in names], rest)


def alive(name: str) -> float:
    """Vectors of the model's width that the figure's buffer has room for beside the scores and the mask."""
    built = configuration(name)
    heads = max(built.layer(layer).n_heads for layer in range(built.n_layers))
    numbers = measured(name)["buffer"] * MIB / (memory.FULL * memory.UBATCH)
    return (numbers - (heads + 1) * memory.CONTEXT) / built.d_model


def above_the_line(place: int) -> str:
    """The model in that place, 1 for the furthest, above the line of memory in the engine's counts."""
    names = list(memory.totals())
    return names[np.argsort(residuals(*zip(*memory.totals().values())))[-place]]


FACTS: dict[str, Callable[[], str]] = {
    "memory.models": lambda: str(len(memory.measured())),
    "memory.close": lambda: str(sum(abs(off(name)) <= CLOSE for name in memory.measured())),
    "memory.closeness": lambda: f"{CLOSE:g}%",
    "memory.typical": lambda: f"{median(abs(off(name)) for name in memory.measured()):.2f}%",
    "memory.furthest": furthest,
    "memory.furthest.off": lambda: f"{abs(off(furthest())):.1f}%",
    "memory.in_gib": lambda: str(len(in_gibibytes())),
    "memory.as_printed": lambda: str(sum(map(_as_drawn, in_gibibytes()))),
    "memory.gib.example": lambda: in_gibibytes()[-1],
    "memory.gib.ours": lambda: f"{predicted(in_gibibytes()[-1])['weights']:,.0f}",
    "memory.gib.theirs": lambda: f"{measured(in_gibibytes()[-1], False)['weights']:,.0f}",
    "memory.ubatch": lambda: str(memory.UBATCH),
    "memory.alive": lambda: str(memory.ALIVE),
    "memory.tied.copy": lambda: f"{weights('Gemma-2B')['head'] / MIB:.0f}",
    "memory.tied.other": lambda: f"{measured('Gemma-2B')['other']:.0f}",
    "memory.bits.smallest": lambda: f"{8 * sum(weights('SmolLM-135M').values()) / _parameters('SmolLM-135M'):.1f}",
    "memory.bits.largest": lambda: f"{8 * sum(weights('OpenELM-3B').values()) / _parameters('OpenELM-3B'):.1f}",
}
FACTS |= {f"memory.alive.{name}": lambda name=name: f"{alive(name):.0f}" for name in ("OpenELM-3B", "Pythia-2.8B")}
FACTS |= {"memory.without_buffer": lambda: f"{without_buffer():.2f}"}
FACTS |= {f"memory.above.{place}": partial(above_the_line, place) for place in (1, 2, 3, 4)}
for _part in PARTS:
    FACTS |= {
        f"memory.{_part}.typical": lambda part=_part: f"{median(abs(gap(n, part)) for n in memory.measured()):.1f}",
        f"memory.{_part}.worst": lambda part=_part: f"{abs(gap(worst(part), part)):.1f}",
        f"memory.{_part}.worst.name": partial(worst, _part),
        f"memory.{_part}.scatter": lambda part=_part: f"{share_of_scatter(part):.0f}%",
    }
for _name in ("OpenELM-270M", "OpenELM-450M", "OpenELM-1.1B"):
    FACTS |= {
        f"memory.{_name}.figure": lambda name=_name: digits(measured(name)["weights"]),
        f"memory.{_name}.number": lambda name=_name: f"{sum(weights(name).values()) / MIB:.1f}",
        f"memory.{_name}.text": lambda name=_name: f"{sum(weights(name, str).values()) / MIB:.1f}",
    }


def _as_drawn(name: str) -> bool:
    """Whether gibibytes, rounded as in the log and read as 1000 MB, give the figure's weights."""
    return round(as_printed(predicted(name)["weights"])) == measured(name, False)["weights"]


def _parameters(name: str) -> int:
    return count_parameters(configuration(name)).total
