"""The numbers of the pages on vocabulary, on sharing parameters, and on layer-wise scaling.

`then` is version 3's table of the survey, `since` our rows. The drawings are in figures_sharing.py.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

from slmkit.config import ModelConfig
from slmkit.model.counting import count_parameters, flops_by_part, flops_per_token, kv_cache_bytes
from slmkit.survey import statistics, trends, zoo
from slmkit.survey.evidence import memory

GROUPS = {"then": partial(statistics.listed, "v3"), "since": trends.since}
CONTEXT = 2048  # tokens, where a size depends on them
LONG = 32_768  # tokens, where windows are compared
TRAINED = 16_384  # tokens of a training step on one device: eight texts of 2048
FACTS: dict[str, Callable[[], str]] = {}


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def million(count: float) -> str:
    return f"{count / 1e6:,.0f} million"


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def _known(group: str) -> list[trends.Row]:
    """Rows of which it is known whether they tie, and how large they are."""
    return [row for row in GROUPS[group]() if row["tied_embeddings"] and row["params_exact"]]


# -- vocabulary --------------------------------------------------------------------------------------------------------

CLASSES = dict(zip(("50k", "100k", "150k", "200k", "above"), trends.AXES["vocabulary"]))


def embedding_share(row: trends.Row) -> float:
    """The embedding's part of the parameters, an untied head included."""
    return 1 - float(row["params_non_embedding"]) / float(row["params_exact"])


def counted_rows() -> dict[str, list[trends.Row]]:
    """The rows of each group with both counts, which the share needs."""
    return {group: [row for row in rows() if row["params_exact"] and row["params_non_embedding"]]
            for group, rows in GROUPS.items()}  # fmt: skip


def _median_share(low: float, high: float) -> str:
    rows = [row for group in counted_rows().values() for row in group if low <= float(row["params_exact"]) < high]
    return percent(median(map(embedding_share, rows)))


def _users(name: str, group: str) -> list[trends.Row]:
    rows = (row for row in GROUPS[group]() if trends.option(row, "vocabulary") == CLASSES[name])
    return sorted(rows, key=lambda row: row["release"])


def _first(name: str) -> str:
    """The first model of a class in version 3's table, and its month."""
    row = _users(name, "then")[0]
    return f"{row['name']} ({row['release']})"


def _named(name: str) -> trends.Row:
    return next(row for rows in counted_rows().values() for row in rows if row["name"] == name)


def _head_share(name: str) -> str:
    """The output head's part of the FLOPs of one token after a context of 2048."""
    parts = flops_by_part(zoo.config(name), CONTEXT)
    return percent(parts["head"] / sum(parts.values()))


def _part_of_memory(name: str) -> str:
    """The compute buffer's part of the memory in the survey's Figure 13a."""
    parts = {part: value for (model, part), value in memory.parts().items() if model == name}
    return percent(parts["compute buffer"] / sum(parts.values()))


for _name in CLASSES:
    FACTS[f"vocabulary.{_name}.first"] = partial(_first, _name)
    for _group in GROUPS:
        FACTS[f"vocabulary.{_name}.{_group}"] = lambda which=(_name, _group): str(len(_users(*which)))
for _name in ("Gemma-3-270M", "OpenELM-3B"):
    FACTS[f"vocabulary.share.{_name}"] = lambda name=_name: percent(embedding_share(_named(name)))
for _name in ("Gemma-3-270M", "Bloom-560M", "SmolLM2-1.7B"):
    FACTS[f"vocabulary.head.{_name}"] = partial(_head_share, _name)
FACTS |= {
    "vocabulary.share.below_half": lambda: _median_share(0, 5e8),
    "vocabulary.share.above_two": lambda: _median_share(2e9, 1e10),
    "vocabulary.logits.Bloom-560M": lambda: f"{memory.logits_mb('Bloom-560M'):.0f} MiB",
    "vocabulary.buffer_share.Bloom-560M": partial(_part_of_memory, "Bloom-560M"),
    "vocabulary.batch": lambda: str(memory.UBATCH),
    "vocabulary.trained": lambda: f"{TRAINED:,}",
    "vocabulary.training": lambda: f"{4 * TRAINED * zoo.config('Qwen3-0.6B').vocab_size / 1e9:.1f} GB",
    "vocabulary.weights": lambda: f"{4 * count_parameters(zoo.config('Qwen3-0.6B')).total / 1e9:.1f} GB",
}


# -- tied embeddings ---------------------------------------------------------------------------------------------------


def _tied(group: str, low: float, high: float) -> str:
    """Of the models of that size, how many tie: "12 of 15"."""
    rows = [row for row in _known(group) if low <= float(row["params_exact"]) < high]
    return f"{sum(row['tied_embeddings'] == 'yes' for row in rows)} of {len(rows)}"


def _tied_matrix(name: str) -> int:
    return count_parameters(zoo.config(name)).token_embedding


for _group in GROUPS:
    FACTS |= {f"tied.{_group}.below": partial(_tied, _group, 0, 1e9),
              f"tied.{_group}.middle": partial(_tied, _group, 1e9, 2e9),
              f"tied.{_group}.above": partial(_tied, _group, 2e9, 1e10)}  # fmt: skip
FACTS["tied.matrix.Qwen2-0.5B"] = lambda: million(_tied_matrix("Qwen2-0.5B"))
for _name in ("Qwen2-0.5B", "SmolLM2-1.7B"):
    FACTS[f"tied.more.{_name}"] = lambda name=_name: percent(
        _tied_matrix(name) / count_parameters(zoo.config(name)).total
    )


# -- sharing between layers --------------------------------------------------------------------------------------------

SHARED = "MobileLLM-125M"  # the shape on which MobileLLM's report compares sharing


def variants() -> dict[str, ModelConfig]:
    """A real shape, and what sharing makes of it at equal depth and at equal parameters."""
    plain = zoo.config(SHARED)
    return {
        "plain": plain,
        "pairs": replace(plain, sharing="block_pairs"),
        "twice": replace(plain, sharing="block_pairs", n_layers=2 * plain.n_layers),
        "one": replace(plain, sharing="ffn_all"),
        "wide": wide(plain),
    }


def wide(plain: ModelConfig) -> ModelConfig:
    """One FFN for all blocks, as wide as all of theirs together: the parameters of the plain model."""
    return replace(plain, sharing="ffn_all", d_ff=plain.n_layers * plain.d_ff)


def passed(config: ModelConfig) -> int:
    """Weights that one token is multiplied with: those of a shared block as often as it passes, and the head."""
    apart = count_parameters(replace(config, sharing="none"))
    return apart.non_embedding + config.vocab_size * config.d_model


def _block_bytes(config: ModelConfig) -> int:
    """One block at 16 bits a weight."""
    return 2 * count_parameters(config).non_embedding // len(config.unique_layers)


def _ffn_bytes(name: str) -> int:
    """The FFN that all blocks of a model share, at 16 bits a weight."""
    return 2 * count_parameters(zoo.config(name)).ffn


SIZES = {
    "held": lambda config: million(count_parameters(config).total),
    "passed": lambda config: million(passed(config)),
    "flops": lambda config: f"{flops_per_token(config, CONTEXT) / 1e6:,.0f} million",
    "cache": lambda config: megabytes(kv_cache_bytes(config, CONTEXT)),
    "layers": lambda config: str(config.n_layers),
}
for _name in variants():
    FACTS |= {f"sharing.{_name}.{_size}": lambda name=_name, say=_say: say(variants()[name])
              for _size, _say in SIZES.items()}  # fmt: skip
FACTS |= {
    "sharing.context": lambda: f"{CONTEXT:,}",
    "sharing.block": lambda: megabytes(_block_bytes(zoo.config(SHARED))),
    "sharing.mobillama.ffn": lambda: megabytes(_ffn_bytes("MobiLlama-0.5B")),
    "sharing.mobillama.release": lambda: _named("MobiLlama-0.5B")["release"],
    "sharing.mobillama.layers": lambda: str(zoo.config("MobiLlama-0.5B").n_layers),
    "sharing.mobillama.held": lambda: million(count_parameters(zoo.config("MobiLlama-0.5B")).total),
    "sharing.mobillama.passed": lambda: million(passed(zoo.config("MobiLlama-0.5B"))),
}


# -- layer by layer ----------------------------------------------------------------------------------------------------


def layer_parameters(config: ModelConfig, i: int) -> int:
    """The weights of layer `i`: a model of that layer alone, without embedding and final norm."""
    shape = config.layer(i)
    alone = replace(config, n_layers=1, n_heads=shape.n_heads, n_kv_heads=shape.n_kv_heads, d_ff=shape.d_ff)
    counted = count_parameters(alone)
    return counted.attention + counted.ffn


def level(config: ModelConfig) -> ModelConfig:
    """The same depth and width with all layers alike, of about the same parameters."""
    n = config.n_layers
    key_heads = round(sum(config.n_kv_heads) / n)
    group = config.n_heads[0] // config.n_kv_heads[0]
    return replace(config, n_heads=key_heads * group, n_kv_heads=key_heads, d_ff=round(sum(config.d_ff) / n))


def varies(config: ModelConfig, field: str) -> bool:
    """Whether the layers of a model differ in a field of the configuration."""
    value = getattr(config, field)
    return isinstance(value, tuple) and len(set(value)) > 1


def by_layer(field: str, since: bool) -> list[str]:
    """The models whose layers differ in that field: of the survey's, or of ours."""
    before = set(zoo.available(since=False))
    return [name for name in zoo.available() if (name not in before) == since and varies(zoo.config(name), field)]


def windowed_cache(config: ModelConfig, tokens: int) -> int:
    """Bytes of a 16-bit cache in which a layer with a window keeps no more than its window."""
    return sum(2 * 2 * config.layer(i).n_kv_heads * config.head_dim * min(tokens, config.layer(i).window or tokens)
               for i in range(config.n_layers))  # fmt: skip


ELM = "OpenELM-1.1B"


def _elm(field: str, i: int) -> str:
    return str(getattr(zoo.config(ELM), field)[i])


def _elm_ratio(i: int) -> str:
    return f"{zoo.config(ELM).d_ff[i] / zoo.config(ELM).d_model:.2g}"


def _elm_growth() -> str:
    """How many times the weights of the first layer the last one has."""
    config = zoo.config(ELM)
    return f"{layer_parameters(config, config.n_layers - 1) / layer_parameters(config, 0):.1f}"


def _later_half() -> str:
    """The part of the layers' weights that the deeper half of the layers holds."""
    config = zoo.config(ELM)
    weights = [layer_parameters(config, i) for i in range(config.n_layers)]
    return percent(sum(weights[config.n_layers // 2 :]) / sum(weights))


FACTS |= {
    "layerwise.release": lambda: _named(ELM)["release"],
    "layerwise.layers": lambda: str(zoo.config(ELM).n_layers),
    "layerwise.growth": _elm_growth,
    "layerwise.later_half": _later_half,
    "layerwise.parameters": lambda: million(count_parameters(zoo.config(ELM)).total),
    "layerwise.level.parameters": lambda: million(count_parameters(level(zoo.config(ELM))).total),
    "layerwise.level.heads": lambda: str(level(zoo.config(ELM)).n_heads),
    "layerwise.level.ratio": lambda: f"{level(zoo.config(ELM)).d_ff / zoo.config(ELM).d_model:.2g}",
    "layerwise.flops": lambda: f"{flops_per_token(zoo.config(ELM), CONTEXT) / 1e9:.2f} billion",
    "layerwise.level.flops": lambda: f"{flops_per_token(level(zoo.config(ELM)), CONTEXT) / 1e9:.2f} billion",
    "layerwise.cache": lambda: megabytes(kv_cache_bytes(zoo.config(ELM), CONTEXT)),
    "layerwise.level.cache": lambda: megabytes(kv_cache_bytes(level(zoo.config(ELM)), CONTEXT)),
    "layerwise.then": lambda: str(len(by_layer("d_ff", since=False))),
    "layerwise.since": lambda: str(len(by_layer("d_ff", since=True))),
    "layerwise.windows.then": lambda: str(len(by_layer("window", since=False))),
    "layerwise.windows.since": lambda: str(len(by_layer("window", since=True))),
    "layerwise.long": lambda: f"{LONG:,}",
}
for _end, _i in (("first", 0), ("last", -1)):
    FACTS |= {f"layerwise.heads.{_end}": partial(_elm, "n_heads", _i),
              f"layerwise.kv_heads.{_end}": partial(_elm, "n_kv_heads", _i),
              f"layerwise.ratio.{_end}": partial(_elm_ratio, _i)}  # fmt: skip
CACHES = {"full_cache": partial(kv_cache_bytes, tokens=LONG), "windowed": partial(windowed_cache, tokens=LONG)}
for _name in ("Gemma-2-2B", "Gemma-3-1B", "MobileLLM-Pro-1B"):
    for _way, _bytes in CACHES.items():
        FACTS[f"layerwise.{_way}.{_name}"] = lambda name=_name, size=_bytes: megabytes(size(zoo.config(name)))
