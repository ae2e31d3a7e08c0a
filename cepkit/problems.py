"""Problems with a name: the paper's golden standard, a toy, and the slab with fibres of Niederer et al. 2011.

Niederer SA et al. *Verification of cardiac tissue electrophysiology simulators using an N-version benchmark.*
Phil Trans R Soc A 369:4331-4351 (2011), doi:10.1098/rsta.2011.0139.
"""

import shutil
from functools import partial

import numpy as np
import xarray as xr

from cepkit import measure, pacing, region
from cepkit.fields import AMPLITUDE, CYCLE_LENGTH, SHEET, SPACE, UNITS
from cepkit.profiles import get_profile
from cepkit.solver import simulate
from cepkit.store import AnotherRun, data_folder
from cepkit.tissue import Tissue

EXTENT = (3.0, 7.0, 20.0)  # z, y, x [mm]; the fibres run along x
CHI, CM = 140.0, 0.01  # [1/mm], [uF/mm2]
INTRACELLULAR, EXTRACELLULAR = (0.17, 0.019), (0.62, 0.24)  # along, across the fibres [S/m]

#: The points of evaluation (z, y, x) [mm]: eight corners, then the centre.
POINTS = {
    "P1": (0.0, 0.0, 0.0), "P2": (0.0, 7.0, 0.0), "P3": (0.0, 0.0, 20.0), "P4": (0.0, 7.0, 20.0),
    "P5": (3.0, 0.0, 0.0), "P6": (3.0, 7.0, 0.0), "P7": (3.0, 0.0, 20.0), "P8": (3.0, 7.0, 20.0),
    "P9": (1.5, 3.5, 10.0),
}  # fmt: skip


def diffusivity():
    """D along and across the fibres [mm2/ms]: harmonic mean of the conductivities over chi Cm."""
    # S/m = mS/mm, and mS / uF = 1/ms.
    return tuple(i * e / (i + e) / (CHI * CM) for i, e in zip(INTRACELLULAR, EXTRACELLULAR, strict=True))


def activation(spacing, dt, duration=None, progress=True):
    """Activation times (0 mV) [ms] of the slab: at P1 to P9, and along the line from P1 to P8 over the distance [mm].

    They are interpolated between the nodes.  The paper takes a ``spacing`` of 0.5, 0.2 and 0.1 mm, and a ``dt`` of
    0.05, 0.01 and 0.005 ms.  Without a ``duration`` [ms] it waits for the wave, 200 ms at most.
    """
    along, across = diffusivity()
    tissue = Tissue(tuple(round(length / spacing) + 1 for length in EXTENT), spacing, (across, across, along))
    cube = region.box(tissue, z=(0, 1.5), y=(0, 1.5), x=(0, 1.5))
    # 50 000 uA/cm3 over chi Cm is 35.714 pA/pF.
    protocol = pacing.Protocol([pacing.Stimulus(0.0, cube, 2.0, -50.0 / (CHI * CM))])
    for wait in [duration] if duration else [60.0, 100.0, 200.0]:
        frames = 5.0 if dt == "adaptive" else wait / 4
        run = simulate(tissue, protocol, wait, dt, frames, save=("Vm",), progress=progress, activation_level=0.0)
        when = measure.activation_map(run)
        if bool(when.notnull().all()):
            break
    line = np.linspace(0.0, 1.0, 51)
    return (
        _along(when, np.array(list(POINTS.values())), point=list(POINTS)),
        _along(when, line[:, None] * EXTENT, distance=line * np.linalg.norm(EXTENT)),
    )


def _along(when, places, **coordinate):
    """Activation time, interpolated, at ``places`` (K, 3) that the ``coordinate`` names."""
    [dim] = coordinate
    places = {d: xr.DataArray(place, dims=dim) for d, place in zip(SPACE, places.T, strict=True)}
    return when.interp(places).drop_vars(SPACE).assign_coords(coordinate)


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
    run = {"dt": 0.02, "store": path, "progress": progress, "attrs": pace}
    make = partial(simulate, tissue, protocol, beats * CYCLE_LENGTH, **run)
    try:
        golden = make()
    except AnotherRun:
        print(f"{path.name}: made by an older solver or configuration; making it again")
        shutil.rmtree(path)
        golden = make()
    return golden.assign_attrs(pace)  # a store of the first edition lacks it


def toy(beats=3):
    """A trajectory (time, y, x) to try things on, and its stimulus [pA/pF]: a wave each 50 ms on 4 x 4 nodes.

    It is made of formulas in no time; the frames are 1 ms apart, the stimulus comes in a corner.
    """
    axis, t = 0.5 * np.arange(4.0), np.arange(50.0 * beats)
    since = (t[:, None, None] - 40.0) % 50.0 - axis[:, None] - axis
    shape = np.interp(since, [0.0, 2.0, 20.0, 30.0], [0.0, 1.0, 0.8, 0.0])
    data = {"Vm": 120.0 * shape - 85.0, "Cai": 1e-3 * shape, "CaSR": 3.0 - shape, "CaSS": 1e-2 * shape}
    coords = {"time": t, "y": axis, "x": axis}
    trajectory = xr.Dataset({v: (("time", "y", "x"), f, {"units": UNITS[v]}) for v, f in data.items()}, coords)
    stimulus = xr.zeros_like(trajectory.Vm).rename("stimulus")
    stimulus[40::50, :2, :2] = AMPLITUDE
    return trajectory.assign_attrs(cycle_length=50.0), stimulus
