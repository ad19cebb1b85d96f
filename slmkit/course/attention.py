"""What the page on attention states and shows: who has which kind since when, what each keeps, and a drawing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.model.counting import kv_cache_bytes
from slmkit.survey import statistics, trends, zoo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = trends.AXES["attention"]
CONTEXT = 4096  # tokens, for the sizes that the page compares


def _users(kind: str, rows: list[trends.Row]) -> list[trends.Row]:
    return sorted((row for row in rows if row["attention"] == kind), key=lambda row: row["release"])


def _first(kind: str) -> str:
    """The earliest model of version 3's table with a kind, and its month."""
    row = _users(kind, statistics.listed("v3"))[0]
    return f"{row['name']} ({row['release']})"


def _cache(name: str) -> str:
    return f"{kv_cache_bytes(zoo.config(name), CONTEXT) / 1e6:.0f} MB"


def _against_full(name: str) -> str:
    """How many times smaller a model's cache is than if each query head had keys and values of its own width."""
    config = zoo.config(name)
    value_width = config.v_head_dim or config.head_dim
    full = sum(config.layer(i).n_heads for i in range(config.n_layers)) * (config.head_dim + value_width)
    return f"{2 * full / kv_cache_bytes(config, 1):.1f}"


FACTS = {f"attention.{kind}.then": lambda kind=kind: str(len(_users(kind, statistics.listed("v3")))) for kind in KINDS}
FACTS |= {f"attention.{kind}.since": lambda kind=kind: str(len(_users(kind, trends.since()))) for kind in KINDS}
FACTS |= {f"attention.{kind}.first": partial(_first, kind) for kind in KINDS}
FACTS |= {"attention.context": lambda: f"{CONTEXT:,}", "attention.models_since": lambda: str(len(trends.since()))}
for _name in ("TinyLlama-1.1B", "Gemma-2B", "MiniCPM3-4B", "StableLM-zephyr-3B"):
    FACTS |= {
        f"attention.cache.{_name}": partial(_cache, _name),
        f"attention.saves.{_name}": partial(_against_full, _name),
    }


def attention_kinds() -> Figure:
    """Eight query heads of each kind above the keys and values, or the latent, that they read from the cache."""
    import matplotlib.pyplot as plt

    style.settings()
    blue, orange, green = style.COLOURS[:3]
    figure, panels = plt.subplots(2, 2, figsize=(4.8, 3.8), sharey=True)
    for axis, kind, kept in zip(panels.flat, KINDS, (8, 2, 1, 1)):
        places = [(i + 0.5) * 8 / kept - 0.5 for i in range(kept)]
        for head in range(8):
            axis.plot([head, places[head * kept // 8]], [1, 0], color="#999999", linewidth=0.8, zorder=1)
        axis.scatter(range(8), [1] * 8, 40, blue, zorder=2)
        axis.scatter(places, [0] * kept, 70, green if kind == "MLA" else orange, marker="s", zorder=2)
        axis.set_title(kind, fontsize=10)
        axis.set_xticks([])
        axis.set_xlabel("one latent" if kind == "MLA" else f"{kept} × key, value", fontsize=8.5)
        axis.set_yticks([0, 1], ["kept", "queries"], fontsize=8.5)
        axis.set_ylim(-0.3, 1.3)
        axis.grid(visible=False)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.tick_params(length=0)
    return figure


FIGURES = {"attention_kinds": attention_kinds}
