"""The book's style: one typeface, one colour for each variable and each model, units on every axis."""

from collections.abc import Mapping
from types import SimpleNamespace

import matplotlib.pyplot as plt

import cepkit
from cepkit.fields import TABLE

VERSION = "3"  # bump when pictures are meant to change, so that chapters run again
#: What is drawn for each variable: label, unit, factor from stored to drawn unit, colour (Okabe and Ito's).
VARIABLES = {name: (v.label, v.drawn_units, v.factor, v.colour) for name, v in TABLE.items()}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # of what has none of its own
WIDTH = 7.0  # inches: the text column
_corner = SimpleNamespace(profile=None)  # what is named in the corner of every figure


class _Models(Mapping):
    # ``cepkit.surrogates`` is looked up late: it brings PyTorch, and most figures need none of its methods.
    def __getitem__(self, name):
        if not name:  # a field without a name is no model
            raise KeyError(name)
        return ("golden standard", "#000000", "-") if name == "truth" else cepkit.surrogates.everyone()[name].look

    def __iter__(self):
        return iter(["truth", *cepkit.surrogates.everyone()])

    def __len__(self):
        return 1 + len(cepkit.surrogates.everyone())


#: Label, colour and line style of each model; the truth is black and the opponents that cost nothing are dashed.
MODELS = _Models()


def style(profile=None):
    """Set the book's style; ``profile`` is then named in the corner of every figure."""
    _corner.profile = profile
    plt.rcParams.update({
        "font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "font.size": 9, "axes.titlesize": 9,
        "legend.fontsize": 8, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "lines.linewidth": 1.6, "figure.dpi": 160, "savefig.dpi": 160, "figure.facecolor": "white",
        "image.origin": "lower", "image.interpolation": "nearest", "axes.prop_cycle": plt.cycler(color=COLOURS),
    })  # fmt: skip


def new(rows=1, columns=1, height=2.4, width=WIDTH, **kwargs):
    """A figure and its array of axes (rows, columns); ``height`` is in inches a row, ``width`` that of the figure."""
    return plt.subplots(rows, columns, figsize=(width, height * rows), layout="constrained", squeeze=False, **kwargs)


def done(fig):
    """Name the profile on the figure and close it, so that a notebook shows it once."""
    if _corner.profile:
        fig.supxlabel(f"profile: {_corner.profile}", x=0.995, ha="right", fontsize=6, color="#888888")
    plt.close(fig)
    return fig


def label_of(field, name=None):
    """Axis label of a DataArray, such as ``$V_m$ [mV]``; ``name`` stands in for its own."""
    name = name or field.name
    if name in VARIABLES:
        return "{} [{}]".format(*VARIABLES[name][:2])
    text, unit = str(field.attrs.get("long_name", name or "")).replace("_", " "), field.attrs.get("units")
    return f"{text} [{unit}]" if unit else text


def unit_of(field):
    """Unit of a DataArray as it is drawn: µM for calcium in the cytosol, which is stored in mM."""
    return VARIABLES[field.name][1] if field.name in VARIABLES else field.attrs.get("units", "")


def drawn(field):
    """Values of a DataArray in the unit they are drawn in."""
    return field.values.astype(float) * (VARIABLES[field.name][2] if field.name in VARIABLES else 1.0)


def look(key):
    """Label, colour and line style of what is named after a model or a variable; of anything else the label alone."""
    if key in VARIABLES:
        return {"label": key, "color": VARIABLES[key][3]}
    if key not in MODELS:
        return {"label": key}
    label, colour, line = MODELS[key]
    # The truth is a broad line below: what agrees with it lies inside it.
    under = {"linewidth": 3.0, "zorder": 1.9} if key == "truth" else {"linewidth": 1.4}
    return {"label": label, "color": colour, "linestyle": line, **under}
