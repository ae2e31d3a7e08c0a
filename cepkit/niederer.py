"""The N-version benchmark of Niederer et al. 2011: a slab with fibres, activated from a corner.

Niederer SA et al. *Verification of cardiac tissue electrophysiology simulators using an N-version
benchmark.* Phil Trans R Soc A 369:4331-4351 (2011), doi:10.1098/rsta.2011.0139.
"""

import numpy as np
import xarray as xr

from cepkit import measure, pacing, region
from cepkit.solver import simulate
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
    """D along and across the fibres [mm2/ms]: harmonic mean of the conductivities over chi Cm.

    Examples
    --------
    >>> [round(D, 7) for D in diffusivity()]
    [0.0952984, 0.0125758]
    """
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

    Examples
    --------
    >>> from cepkit import niederer
    >>> points, diagonal = niederer.activation(spacing=1.0, dt="adaptive", duration=5.0, progress=False)
    >>> list(points.point.values[:2]), bool(points.sel(point="P1") < 5.0)
    ([np.str_('P1'), np.str_('P2')], True)
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
    dims = ("z", "y", "x")
    corners = np.array(list(POINTS.values())).T
    points = {d: xr.DataArray(c, dims="point") for d, c in zip(dims, corners, strict=True)}
    line = np.linspace(0.0, 1.0, 51)
    distance = line * np.linalg.norm(EXTENT)
    diagonal = {d: xr.DataArray(line * length, dims="distance") for d, length in zip(dims, EXTENT, strict=True)}
    return (
        when.interp(points).drop_vars(dims).assign_coords(point=list(POINTS)),
        when.interp(diagonal).drop_vars(dims).assign_coords(distance=distance),
    )
