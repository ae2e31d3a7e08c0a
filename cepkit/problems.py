"""Problems with a name: the paper's golden standard, and a toy."""

import shutil
from functools import partial

import numpy as np
import xarray as xr

from cepkit import pacing, region
from cepkit.fields import AMPLITUDE, CYCLE_LENGTH, SHEET, UNITS
from cepkit.profiles import get_profile
from cepkit.solver import simulate
from cepkit.store import AnotherRun, data_folder
from cepkit.tissue import Tissue


def golden_standard(profile="laptop", progress=True):
    """The paper's data: 24 x 24 cells paced from a corner at 500 ms, made on first use and read lazily.

    A trajectory as of :func:`cepkit.simulate`: a few beats for ``smoke``, the paper's 109 for ``laptop`` and ``paper``.

    Examples
    --------
    >>> golden = cep.golden_standard("smoke", progress=False)  # doctest: +SKIP
    >>> golden.sizes["time"], golden.attrs["cycle_length"]  # doctest: +SKIP
    """
    beats = get_profile(profile).beats
    tissue = Tissue(**SHEET)
    protocol = pacing.periodic(CYCLE_LENGTH, beats, region.corner(tissue, fraction=0.2))
    path = data_folder() / "golden" / f"{beats}-beats.zarr"
    pace = {"cycle_length": CYCLE_LENGTH}
    make = partial(simulate, tissue, protocol, beats * CYCLE_LENGTH, 0.02, store=path, progress=progress, attrs=pace)
    try:
        golden = make()
    except AnotherRun:
        print(f"{path.name}: made by an older solver or configuration; making it again")
        for old in (path, path.with_name(path.name + ".partial")):
            shutil.rmtree(old, ignore_errors=True)
        golden = make()
    return golden.assign_attrs(pace)  # a store of the first edition lacks it


def toy(beats=3):
    """A trajectory (time, y, x) made of formulas, and its stimulus [pA/pF]: a wave each 50 ms on 4 x 4 nodes."""
    axis, t = 0.5 * np.arange(4.0), np.arange(50.0 * beats)
    since = (t[:, None, None] - 40.0) % 50.0 - axis[:, None] - axis
    shape = np.interp(since, [0.0, 2.0, 20.0, 30.0], [0.0, 1.0, 0.8, 0.0])
    data = {"Vm": 120.0 * shape - 85.0, "Cai": 1e-3 * shape, "CaSR": 3.0 - shape, "CaSS": 1e-2 * shape}
    coords = {"time": t, "y": axis, "x": axis}
    trajectory = xr.Dataset({v: (("time", "y", "x"), f, {"units": UNITS[v]}) for v, f in data.items()}, coords)
    stimulus = xr.zeros_like(trajectory.Vm).rename("stimulus")
    stimulus[40::50, :2, :2] = AMPLITUDE
    return trajectory.assign_attrs(cycle_length=50.0), stimulus
