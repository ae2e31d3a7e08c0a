"""Regions: which nodes of a tissue a stimulus, a scar or a measurement covers.

Every function returns a boolean DataArray on the tissue's grid.
"""

import numpy as np
import xarray as xr


def _grid(tissue):
    return xr.DataArray(np.zeros(tissue.shape, bool), dims=tissue.dims, coords=tissue.coords, name="region")


def everywhere(tissue):
    """Every node.

    Examples
    --------
    >>> int(cep.region.everywhere(cep.Tissue((4, 4))).sum())
    16
    """
    return ~_grid(tissue)


def mask(tissue, values):
    """A region from an array of booleans in the tissue's shape.

    Examples
    --------
    >>> cable = cep.Tissue((5,), spacing=1.0)
    >>> cep.region.mask(cable, np.arange(5) > 2).values.tolist()
    [False, False, False, True, True]
    """
    values = np.asarray(values)
    if values.shape != tissue.shape or values.dtype != bool:
        raise ValueError(
            f"values: expected booleans of shape {tissue.shape}, got {values.dtype} of shape {values.shape}"
        )
    return _grid(tissue).copy(data=values)


def box(tissue, **limits):
    """Nodes within limits [mm] along the named axes, ends included.

    Examples
    --------
    >>> import cepkit as cep
    >>> strip = cep.region.box(cep.Tissue((5, 5), spacing=1.0), x=(0, 1))
    >>> int(strip.sum())
    10
    """
    region = everywhere(tissue)
    for axis, (low, high) in limits.items():
        if axis not in tissue.dims:
            raise ValueError(f"box: {axis!r} is not an axis of this tissue; it has {tissue.dims}")
        slack = 1e-9 * max(1.0, abs(high))
        region &= (region[axis] >= low - slack) & (region[axis] <= high + slack)
    return region


def corner(tissue, fraction=0.2):
    """The far corner: the last ``fraction`` of every side, [0.8, 1] x [0.8, 1] in the paper.

    Raises
    ------
    ValueError
        If ``fraction`` is not in (0, 1].

    Examples
    --------
    >>> int(cep.region.corner(cep.Tissue((24, 24), spacing=10 / 23), fraction=0.2).sum())
    25
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction!r} must lie in (0, 1]")
    limits = {dim: ((1 - fraction) * length, length) for dim, length in zip(tissue.dims, tissue.extent, strict=True)}
    return box(tissue, **limits)


def disc(tissue, centre, radius):
    """Nodes within ``radius`` [mm] of ``centre`` [mm, in the order of the tissue's axes].

    Examples
    --------
    >>> sheet = cep.Tissue((5, 5), spacing=1.0)
    >>> int(cep.region.disc(sheet, centre=(2.0, 2.0), radius=1.0).sum())
    5
    """
    if len(np.atleast_1d(centre)) != len(tissue.dims):
        raise ValueError(f"centre={centre!r} must give one position for each of {tissue.dims}")
    region = everywhere(tissue)
    squared = sum((region[d] - c) ** 2 for d, c in zip(tissue.dims, np.atleast_1d(centre), strict=True))
    return (squared <= radius**2 * (1 + 1e-9)).rename("region")
