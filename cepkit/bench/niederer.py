"""The slab with fibres of Niederer et al. 2011, on which simulators of cardiac tissue are compared.

Niederer SA et al. *Verification of cardiac tissue electrophysiology simulators using an N-version benchmark.*
Phil Trans R Soc A 369:4331-4351 (2011), doi:10.1098/rsta.2011.0139.
"""

import numpy as np
import xarray as xr

from cepkit import measure, pacing, region
from cepkit.fields import SPACE
from cepkit.solver import simulate
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


def activation(spacing, dt, progress=True):
    """Activation times (0 mV) [ms] of the slab: at P1 to P9, and along the line from P1 to P8 over the distance [mm].

    They are interpolated between the nodes.  The paper takes a ``spacing`` of 0.5, 0.2 and 0.1 mm, and a ``dt`` of
    0.05, 0.01 and 0.005 ms.  It waits for the wave, 200 ms at most.
    """
    along, across = diffusivity()
    tissue = Tissue(tuple(round(length / spacing) + 1 for length in EXTENT), spacing, (across, across, along))
    cube = region.box(tissue, z=(0, 1.5), y=(0, 1.5), x=(0, 1.5))
    # 50 000 uA/cm3 over chi Cm is 35.714 pA/pF.
    protocol = pacing.Protocol([pacing.Stimulus(0.0, cube, 2.0, -50.0 / (CHI * CM))])
    for wait in (60.0, 100.0, 200.0):
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
