"""Problems with a name: the paper's golden standard, the slab of Niederer et al. 2011, and a toy.

The slab has fibres and is activated from a corner.  Niederer SA et al. *Verification of cardiac tissue
electrophysiology simulators using an N-version benchmark.* Phil Trans R Soc A 369:4331-4351 (2011),
doi:10.1098/rsta.2011.0139.
"""

import shutil

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
    f"P{1 + (x > 0) * 2 + (y > 0) + (z > 0) * 4}": (z, y, x)
    for z in (0.0, 3.0)
    for x in (0.0, 20.0)
    for y in (0.0, 7.0)
} | {"P9": (1.5, 3.5, 10.0)}


def diffusivity():
    """D along and across the fibres [mm2/ms]: harmonic mean of the conductivities over chi Cm."""
    # S/m = mS/mm, and mS / uF = 1/ms.
    pairs = zip(INTRACELLULAR, EXTRACELLULAR, strict=True)
    return tuple(i * e / (i + e) / (CHI * CM) for i, e in pairs)


def activation(spacing, dt, duration=None, progress=True):
    """Activation times of the benchmark.

    Parameters
    ----------
    spacing : float
        [mm]; 0.5, 0.2 and 0.1 in the paper.
    dt : float or "adaptive"
        [ms]; 0.05, 0.01 and 0.005 in the paper.
    duration : float, optional
        How long to wait for the wave [ms]; by default until P8 fires, 200 ms at most.

    Returns
    -------
    points : xr.DataArray
        Activation time (0 mV) [ms] at P1 to P9, interpolated where no node stands there.
    diagonal : xr.DataArray
        Activation time along the line from P1 to P8, over the distance [mm].
    """
    along, across = diffusivity()
    shape = tuple(round(length / spacing) + 1 for length in EXTENT)
    tissue = Tissue(shape, spacing, (across, across, along))
    cube = region.box(tissue, z=(0, 1.5), y=(0, 1.5), x=(0, 1.5))
    # 50 000 uA/cm3 over chi Cm is 35.714 pA/pF.
    protocol = pacing.Protocol([pacing.Stimulus(0.0, cube, 2.0, -50.0 / (CHI * CM))])
    waits = [duration] if duration else [60.0, 100.0, 200.0]
    for wait in waits:
        run = simulate(
            tissue, protocol, wait, dt=dt, save_every=wait / 4 if dt != "adaptive" else 5.0,
            save=("Vm",), progress=progress, activation_level=0.0,
        )  # fmt: skip
        when = measure.activation_map(run)
        if bool(when.notnull().all()):
            break
    corners = np.array(list(POINTS.values())).T
    points = {d: xr.DataArray(c, dims="point") for d, c in zip(SPACE, corners, strict=True)}
    line = np.linspace(0.0, 1.0, 51)
    distance = line * np.linalg.norm(EXTENT)
    diagonal = {d: xr.DataArray(line * length, dims="distance") for d, length in zip(SPACE, EXTENT, strict=True)}
    return (
        when.interp(points).drop_vars(SPACE).assign_coords(point=list(POINTS)),
        when.interp(diagonal).drop_vars(SPACE).assign_coords(distance=distance),
    )


def golden_standard(profile="laptop", progress=True):
    """The paper's data: 24 x 24 cells paced from a corner at 500 ms, made on first use.

    Parameters
    ----------
    profile : str
        ``smoke`` holds a few beats, ``laptop`` and ``paper`` share the 109 beats of the paper.

    Returns
    -------
    xr.Dataset
        The trajectory, lazily read; see :func:`cepkit.simulate`.

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

    def make():
        return simulate(tissue, protocol, beats * CYCLE_LENGTH, dt=0.02, store=path, progress=progress, attrs=pace)

    try:
        golden = make()
    except AnotherRun:
        print(f"{path.name}: made by an older solver or configuration; making it again")
        shutil.rmtree(path)
        golden = make()
    return golden.assign_attrs(pace)  # a store of the first edition lacks it


def toy(beats=3):
    """A trajectory to try things on: beats of a wave on 4 x 4 nodes, made of formulas in no time.

    Parameters
    ----------
    beats : int
        One each 50 ms.

    Returns
    -------
    trajectory : xr.Dataset
        Vm, Cai, CaSR and CaSS over (time, y, x), frames 1 ms apart.
    stimulus : xr.DataArray
        Its stimulus current [pA/pF], every 50 ms in a corner.
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
