"""What the variables are: names, units, labels, bounds; and the sheet of the paper.  Said here and nowhere else."""

from typing import NamedTuple

import numpy as np


class Variable(NamedTuple):
    """One variable of a trajectory."""

    units: str  # as stored
    long_name: str
    low: float  # physical bounds, in the stored unit
    high: float
    label: str  # in a figure
    drawn_units: str
    factor: float  # from the stored to the drawn unit
    colour: str  # Okabe and Ito's


TABLE = {
    "Vm": Variable("mV", "membrane potential", -200.0, 200.0, "$V_m$", "mV", 1.0, "#0072B2"),
    "Cai": Variable("mM", "cytosolic calcium", 0.0, 1.0, "$Ca_i$", "µM", 1e3, "#D55E00"),
    "CaSR": Variable("mM", "calcium in the sarcoplasmic reticulum", 0.0, 20.0, "$Ca_{SR}$", "mM", 1.0, "#009E73"),
    "CaSS": Variable("mM", "calcium in the subspace", 0.0, 20.0, "$Ca_{SS}$", "mM", 1.0, "#CC79A7"),
}
VARIABLES = tuple(TABLE)
UNITS = {name: variable.units for name, variable in TABLE.items()}
LONG_NAMES = {name: variable.long_name for name, variable in TABLE.items()}
SPACE = ("z", "y", "x")

#: The sheet of the paper, as arguments of ``Tissue``: a square of 10 mm.
SHEET = {"shape": (24, 24), "spacing": 10 / 23, "diffusivity": 0.125}
CYCLE_LENGTH = 500.0  # of its pacing [ms]
AMPLITUDE, DURATION = -52.0, 1.0  # of every stimulus by default [pA/pF], [ms]
THRESHOLD = -40.0  # an upward crossing is an activation [mV]


def in_order(field):
    """A labelled field with its axes of space in the order of SPACE, whatever the caller's; others as they are."""
    return field.transpose(..., *(d for d in SPACE if d in field.dims)) if hasattr(field, "dims") else field


def one_of(argument, value, known):
    """The value, if it is among those known; else an error that names them."""
    if value not in known:
        raise ValueError(f"{argument}={value!r} is not known; choose from {', '.join(map(str, known))}")
    return value


def number(name, value, unit="", positive=False):
    """``value`` itself, a number or an array of them; a ValueError if any is not finite (or not above 0)."""
    if not np.all(np.isfinite(value)) or (positive and np.any(np.asarray(value) <= 0)):
        kind = "a finite number above 0" if positive else "a finite number"
        raise ValueError(f"{name}={value!r} must be {kind}" + (f" [{unit}]" if unit else ""))
    return value
