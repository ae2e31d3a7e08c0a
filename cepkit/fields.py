"""What the variables are: names, units, labels, bounds; and the sheet of the paper.  Said here and nowhere else."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr


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
SPACE = ("z", "y", "x")

#: The sheet of the paper, as arguments of ``Tissue``: a square of 10 mm.
SHEET = {"shape": (24, 24), "spacing": 10 / 23, "diffusivity": 0.125}
CYCLE_LENGTH = 500.0  # of its pacing [ms]
AMPLITUDE, DURATION = -52.0, 1.0  # of every stimulus by default [pA/pF], [ms]
THRESHOLD = -40.0  # an upward crossing is an activation [mV]

#: Units that are understood, by the unit that they are taken to, and what they are worth in it.
WORTH = {
    "ms": {"ms": 1.0, "millisecond": 1.0, "milliseconds": 1.0, "s": 1e3, "seconds": 1e3, "us": 1e-3, "µs": 1e-3},
    "mm": {"mm": 1.0, "m": 1e3, "cm": 10.0, "um": 1e-3, "µm": 1e-3},
    "mV": {"mV": 1.0, "V": 1e3, "uV": 1e-3, "µV": 1e-3},
    "mM": {"mM": 1.0, "M": 1e3, "uM": 1e-3, "µM": 1e-3, "nM": 1e-6, "mmol/L": 1.0, "mol/m3": 1.0},
}
TIMES = ("time", "lead_time")
_KNOWN = {**dict.fromkeys((*TIMES, "start", "activation_time"), "ms"), **dict.fromkeys(SPACE, "mm"), **UNITS}


def in_form(fields, argument="fields", time=False):
    """Labelled fields as every room takes them: the door at which data enter.

    Dims in the order (start, time or lead_time, ..., z, y, x); times in ms, positions in mm, variables in their units
    of TABLE, by their ``units``.  A ValueError names the ``argument`` whose form, unit or time cannot be.
    """
    if not isinstance(fields, xr.Dataset | xr.DataArray):
        raise ValueError(f"{argument} is a {type(fields).__name__}; it must be an xarray object with named dims")
    fields = fields.assign_coords({n: _in_unit(fields[n], n, argument) for n in _KNOWN if n in fields.coords})
    if isinstance(fields, xr.DataArray):
        fields = _in_unit(fields, fields.name, argument) if fields.name in UNITS else fields
    else:
        fields = fields.assign({n: _in_unit(fields[n], n, argument) for n in UNITS if n in fields.data_vars})
    axes = [d for d in TIMES if d in fields.dims]
    if any(d in fields.coords and not np.all(np.diff(fields[d].values) > 0) for d in axes):
        raise ValueError(f"{argument}: {axes[0]} must increase from frame to frame; sort it, or turn it round")
    if time and not (axes and axes[0] in fields.coords):
        raise ValueError(f"{argument} has the dims {tuple(fields.dims)}; it needs time, with a coordinate in ms")
    return in_order(fields.transpose("start", *TIMES, ..., missing_dims="ignore"))


def _in_unit(field, name, argument):
    """A coordinate or variable in its own unit; coordinates in double precision."""
    unit = field.attrs.get("units", _KNOWN[name])
    if field.dtype.kind in "mM":  # what xarray makes of a time in a NetCDF file; a date counts from the first
        since = field.values - field.values.flat[0] if field.dtype.kind == "M" else field.values
        return field.copy(data=since / np.timedelta64(1, "ns") * 1e-6).assign_attrs(units="ms")
    if unit not in (worth := WORTH[_KNOWN[name]]):
        raise ValueError(f"{argument}: {name} is in {unit!r}; convert it to {_KNOWN[name]}, or to one of {list(worth)}")
    if worth[unit] != 1:
        return (field * worth[unit]).assign_attrs(field.attrs | {"units": _KNOWN[name]})
    return field if name in UNITS or field.dtype == np.float64 else field.astype(np.float64)


def in_order(field):
    """A labelled field with its axes of space in the order of SPACE, ascending; others as they are."""
    if not hasattr(field, "dims"):
        return field
    axes = [d for d in SPACE if d in field.dims]
    turned = [d for d in axes if d in field.coords and np.any(np.diff(field[d].values) < 0)]
    return (field.sortby(turned) if turned else field).transpose(..., *axes)


def placed(field, argument):
    """A field in form whose nodes all have a position; else a ValueError."""
    field = in_form(field, argument)
    if bare := [d for d in SPACE if d in field.dims and d not in field.coords]:
        raise ValueError(f"{argument} has no positions along {', '.join(bare)}; give coordinates in mm")
    return field


def time_of(field):
    """The name of its axis of time: ``time`` in a trajectory, ``lead_time`` in a forecast."""
    return next(d for d in TIMES if d in field.dims)


def matching(have, want, tolerance, argument):
    """Positions in ``have`` of the numbers ``want``, to a ``tolerance``; a ValueError names the first without one."""
    have, want = np.asarray(have, float), np.asarray(want, float)
    order = np.argsort(have)
    at = pd.Index(have[order]).get_indexer(want.ravel(), "nearest", tolerance=tolerance)
    if (at < 0).any():
        near = f"the nearest to {want.ravel()[at < 0][0]:g} is more than {tolerance:g} away"
        raise ValueError(f"{argument} has {have.min():g} to {have.max():g}, and {near}")
    return order[at].reshape(want.shape)


def one_of(argument, value, known):
    """The value, if it is among those known; else an error that names them."""
    if value not in known:
        raise ValueError(f"{argument}={value!r} is not known; choose from {', '.join(map(str, known))}")
    return value


def number(name, value, unit="", positive=False):
    """``value`` itself, a number or an array of them; a ValueError if any is not finite (or not above 0)."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "biuf" or not np.all(np.isfinite(numbers)) or (positive and np.any(numbers <= 0)):
        kind = "a finite number above 0" if positive else "a finite number"
        raise ValueError(f"{name}={value!r} must be {kind}" + (f" [{unit}]" if unit else ""))
    return value
