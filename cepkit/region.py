"""Regions: which nodes of a tissue a stimulus, a scar or a measurement covers: booleans on its grid."""

import numpy as np
import xarray as xr

from cepkit.fields import number


def everywhere(tissue):
    """Every node."""
    return xr.DataArray(np.ones(tissue.shape, bool), dims=tissue.dims, coords=tissue.coords, name="region")


def mask(tissue, values):
    """A region from an array of booleans in the tissue's shape."""
    values = np.asarray(values)
    if values.shape != tissue.shape or values.dtype != bool:
        raise ValueError(f"values: expected booleans of shape {tissue.shape}, got {values.dtype} of {values.shape}")
    return everywhere(tissue).copy(data=values)


def box(tissue, **limits):
    """Nodes within limits [mm] along the named axes, ends included: ``box(tissue, x=(0, 1))``."""
    region = everywhere(tissue)
    for axis, limit in limits.items():
        if axis not in tissue.dims or np.shape(number(axis, limit, "mm")) != (2,):
            raise ValueError(f"box: {axis}={limit!r} must be (low, high) [mm] along one of the axes {tissue.dims}")
        low, high = limit
        slack = 1e-9 * max(1.0, abs(high))
        region &= (region[axis] >= low - slack) & (region[axis] <= high + slack)
    return region


def corner(tissue, fraction=0.2):
    """The far corner: the last ``fraction`` of every side, [0.8, 1] x [0.8, 1] in the paper."""
    if not 0 < number("fraction", fraction) <= 1:
        raise ValueError(f"fraction={fraction!r} must lie in (0, 1]")
    return box(tissue, **{d: ((1 - fraction) * side, side) for d, side in zip(tissue.dims, tissue.extent, strict=True)})


def disc(tissue, centre, radius):
    """Nodes within ``radius`` [mm] of ``centre`` [mm, in the order of the tissue's axes]."""
    centre = np.atleast_1d(number("centre", centre, "mm"))
    if len(centre) != len(tissue.dims):
        raise ValueError(f"centre={centre!r} must give one position for each of {tissue.dims}")
    region = everywhere(tissue)
    squared = sum((region[d] - c) ** 2 for d, c in zip(tissue.dims, centre, strict=True))
    return (squared <= number("radius", radius, "mm", positive=True) ** 2 * (1 + 1e-9)).rename("region")
