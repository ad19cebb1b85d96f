"""How every figure of the book looks: colours that colour-blind readers can tell apart, on white, as SVG."""

import sys

# Okabe and Ito 2008, "Color universal design"; the yellow is left out, it is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SETTINGS = {
    "figure.figsize": (6.4, 3.8),
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "font.size": 11,
    "legend.frameon": False,
    "svg.hashsalt": "slmkit",  # element ids: the same figure is the same file
    "svg.fonttype": "path",  # looks alike on a machine without the font
}


def use():
    """Sets matplotlib up for a lab: SVG in a notebook, no window in plain Python. Without matplotlib, nothing."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return
    ipython = sys.modules.get("IPython")
    if ipython and ipython.get_ipython():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})
    else:
        matplotlib.use("agg")
    settings()


def settings():
    """Applies the book's colours and layout to the figures made from now on."""
    import matplotlib

    matplotlib.rcParams.update(SETTINGS, **{"axes.prop_cycle": matplotlib.cycler(color=COLOURS)})


def axes(width: float, height: float):
    """A figure of the book's style and its one pair of axes, sizes in inches."""
    import matplotlib.pyplot as plt

    settings()
    return plt.subplots(figsize=(width, height))


def rows(axis, names):
    """A row a name, the first one on top."""
    axis.set_yticks(range(len(names)), names, fontsize=8.5)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
