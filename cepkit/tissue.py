"""Tissue: a grid of cells and how charge diffuses between them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from scipy.sparse import coo_array

from cepkit.fields import SPACE, in_order, number


def _per_axis(name, value, ndim):
    if np.ndim(value) > 1 or np.size(value) not in (1, ndim):
        raise ValueError(f"{name}={value!r} must be a number, or one per axis ({ndim})")
    return tuple(np.broadcast_to(np.asarray(number(name, value), float), (ndim,)).tolist())


@dataclass(frozen=True, eq=False)
class Tissue:
    """A cable, sheet or slab of heart tissue with sealed edges.

    Nodes stand on the edges of the domain, so ``n`` nodes span ``(n - 1) * spacing`` mm.

    Examples
    --------
    >>> Tissue(shape=(24, 24), spacing=10 / 23, diffusivity=0.125).extent
    (10.0, 10.0)
    """

    shape: tuple  # nodes along (x,), (y, x) or (z, y, x); (1, 1) is a single cell
    spacing: float = 0.25  # distance between nodes, one number or one per axis [mm]
    #: D = conductivity / (chi Cm) [mm2/ms]: one number, one per axis, an isotropic value for every node, an array of
    #: ``shape``, or a tensor for every node, ``(*shape, axes, axes)``, see :func:`fibres`; a scar has 0.
    diffusivity: float = 0.125

    def __post_init__(self):
        shape = tuple(np.atleast_1d(self.shape).tolist())
        if not 1 <= len(shape) <= len(SPACE) or any(not isinstance(n, int) or n < 1 for n in shape):
            raise ValueError(f"shape={self.shape!r} must be one to three whole numbers of at least 1")
        spacing = number("spacing", _per_axis("spacing", self.spacing, len(shape)), "mm", positive=True)
        given, axes = in_order(self.diffusivity), (len(shape),) * 2
        if (np.shape(given) == shape and shape != (len(shape),)) or np.shape(given) == shape + axes:
            diffusivity = number("diffusivity", np.array(given, float))
        else:
            diffusivity = _per_axis("diffusivity", given, len(shape))
        tensor = np.ndim(diffusivity) > len(shape)
        if (np.linalg.eigvalsh(diffusivity) if tensor else np.asarray(diffusivity)).min() < -1e-12:
            raise ValueError(f"diffusivity={self.diffusivity!r} must not be negative [mm2/ms]")
        scaled = diffusivity / np.outer(spacing, spacing) if tensor else np.zeros((1, 1))
        lean = np.abs(scaled).sum((-2, -1)) - 2 * np.trace(scaled, axis1=-2, axis2=-1)
        if not np.allclose(scaled, np.swapaxes(scaled, -1, -2)) or np.any(lean > 1e-9):
            raise ValueError("diffusivity: tensors must be symmetric, and 3-D fibres oblique to the axes milder")
        self.__dict__.update(shape=shape, spacing=spacing, diffusivity=diffusivity)

    @property
    def dims(self):
        return SPACE[-len(self.shape) :]

    @property
    def size(self):
        return int(np.prod(self.shape))

    @property
    def extent(self):
        """Length of each side [mm]."""
        return tuple(round((n - 1) * h, 12) for n, h in zip(self.shape, self.spacing, strict=True))

    @property
    def coords(self):
        """Positions of the nodes [mm] as coordinates for a DataArray."""
        return {
            dim: xr.Variable(dim, np.arange(n) * h, {"units": "mm", "long_name": f"position in {dim}"})
            for dim, n, h in zip(self.dims, self.shape, self.spacing, strict=True)
        }

    @property
    def has_fibres(self):
        return np.ndim(self.diffusivity) > len(self.shape)

    @property
    def directions(self):
        """Steps from a node to its neighbours, one number an axis: along the axes, and with fibres along diagonals."""
        axes = np.eye(len(self.shape), dtype=int)
        pairs = [(i, j) for i in range(len(axes)) for j in range(i + 1, len(axes))] if self.has_fibres else []
        return [*axes, *(axes[i] + sign * axes[j] for i, j in pairs for sign in (1, -1))]

    @cached_property
    def weights(self):
        """How strongly each node pulls on the next: the discrete diffusion operator.

        The divergence of the flux at node ``i`` is the sum over :attr:`directions` of ``ahead[i] (V[i + 1] - V[i]) +
        behind[i] (V[i - 1] - V[i])``, weights [1/ms] (``directions, *shape``).  Finite volumes: fluxes through faces
        half way between nodes, with the harmonic mean of D, divided by the node's volume, half a cell on an edge.
        """
        if self.has_fibres:
            return self._weights_along_fibres()
        ahead, behind = np.zeros((2, len(self.shape), *self.shape))
        for axis, (n, h) in enumerate(zip(self.shape, self.spacing, strict=True)):
            D = self.diffusivity
            D = np.moveaxis(np.full(self.shape, D[axis]) if isinstance(D, tuple) else D, axis, -1)
            total = D[..., :-1] + D[..., 1:]
            face = 2 * np.divide(D[..., :-1] * D[..., 1:], total, out=0 * total, where=total > 0)
            volume = np.full(n, h)
            volume[[0, -1]] = h / 2
            np.moveaxis(ahead[axis], axis, -1)[..., :-1] = face / h / volume[:-1]
            np.moveaxis(behind[axis], axis, -1)[..., 1:] = face / h / volume[1:]
        return ahead, behind

    def _weights_along_fibres(self):
        """Bonds of each cell between nodes: axes carry ``D_ii - abs(D_ij)``, the diagonal on D_ij's side the rest.

        So second differences add up to ``div(D grad V)``; D of a cell is the mean of its corners' (0 where any is 0).
        """
        ndim, h, volume = len(self.shape), np.array(self.spacing), np.ones(self.shape)
        ahead, behind = np.zeros((2, len(self.directions), *self.shape))
        corners = list(np.ndindex(*[min(2, n) for n in self.shape]))
        cells = tuple(max(n - 1, 1) for n in self.shape)

        def at(corner):
            return tuple(slice(c, c + n) for c, n in zip(corner, cells, strict=True))

        each = np.stack([self.diffusivity[at(c)] for c in corners])
        whole = (np.trace(each, axis1=-2, axis2=-1) > 0).all(0)
        D = np.where(whole[..., None, None], each.mean(0), 0.0) / np.outer(h, h)
        for axis, n in enumerate(self.shape):
            np.moveaxis(volume, axis, 0)[[0, -1]] /= 2 if n > 1 else 1
        for k, step in enumerate(self.directions):
            along = np.flatnonzero(step)
            if any(self.shape[a] == 1 for a in along):
                continue
            if len(along) == 1:
                a = along[0]
                bond = D[..., a, a] - sum(np.abs(D[..., a, b]) for b in range(ndim) if b != a and self.shape[b] > 1)
            else:
                bond = np.maximum(step[along].prod() * D[..., along[0], along[1]], 0.0)
            begins = [c for c in corners if all(c[a] == (step[a] < 0) for a in along)]
            share = bond / len(begins)  # the cell has so many bonds in this direction
            for corner in begins:
                end = tuple(np.array(corner) + step)
                ahead[k][at(corner)] += share
                behind[k][at(end)] += share
        return ahead / volume, behind / volume

    @property
    def operator(self):
        """The discrete diffusion operator of :attr:`weights` as a sparse matrix over the nodes [1/ms]."""
        number, entries = np.arange(self.size).reshape(self.shape), []
        for step, ahead, behind in zip(self.directions, *self.weights, strict=True):
            for weight, sign in ((ahead, -1), (behind, 1)):
                there = np.roll(number, sign * step, range(len(step)))  # weighs 0 where the roll leaves the grid
                entries += [(weight, number, there), (-weight, number, number)]
        weight, row, column = np.array(entries).swapaxes(0, 1).reshape(3, -1)
        return coo_array((weight, (row.astype(int), column.astype(int))), shape=(self.size,) * 2).tocsr()

    @property
    def max_dt(self):
        """Largest stable explicit time step of the diffusion [ms] (Gershgorin's bound)."""
        ahead, behind = self.weights
        most = float(np.abs(ahead + behind).sum(axis=0).max())
        return 1.0 / most if most > 0 else np.inf

    def refined(self, factor):
        """The same tissue on a grid ``factor`` times as fine, which contains this one's nodes."""
        if factor == 1:
            return self
        if not isinstance(self.diffusivity, tuple):
            raise ValueError("refine: give a tissue of uniform diffusivity, or refine its map yourself")
        shape = tuple((n - 1) * factor + 1 for n in self.shape)
        return Tissue(shape, tuple(h / factor for h in self.spacing), self.diffusivity)

    def interpolate(self, values, coarse):
        """Values on the nodes of ``coarse``, linearly interpolated to this finer grid."""
        for axis, (n, fine) in enumerate(zip(coarse.shape, self.shape, strict=True)):
            if n != fine:
                x = np.linspace(0, n - 1, fine)
                k = np.minimum(x.astype(int), n - 2)
                w = (x - k).reshape([-1 if a == axis else 1 for a in range(len(self.shape))])
                values = (1 - w) * values.take(k, axis) + w * values.take(k + 1, axis)
        return values

    def share(self, region, factor):
        """How much of each node's volume a region of a grid ``factor`` times as coarse covers."""
        share = np.asarray(region, float)
        for axis, n in enumerate(self.shape):
            k = np.arange(n)
            up, down = (k + factor // 2) // factor, (k + (factor - 1) // 2) // factor  # half way is half in either
            share = (share.take(up, axis) + share.take(down, axis)) / 2
        return share

    def coarse_nodes(self, activations, coarse, factor):
        """Of (time, node) pairs on this grid, those at the nodes of ``coarse``, renumbered."""
        index = np.array(np.unravel_index(activations[:, 1].astype(int), self.shape))
        keep = (index % factor == 0).all(axis=0)
        node = np.ravel_multi_index(tuple(index[:, keep] // factor), coarse.shape)
        return np.stack([activations[keep, 0], node], axis=1)

    def describe(self):
        """The tissue as plain data, for provenance."""
        return {name: np.asarray(getattr(self, name)).tolist() for name in ("shape", "spacing", "diffusivity")}


def fibres(tissue, angle, along, across):
    """Diffusivity tensors [mm2/ms] of a 2-D tissue, ``(*shape, 2, 2)``: ``along`` the fibres and ``across`` them.

    ``angle`` [rad] is that from the x axis towards y; all three may be fields on the grid.
    """
    if len(tissue.shape) != 2:
        raise ValueError(f"tissue has {len(tissue.shape)} axes; fibres are for sheets with y and x")
    given = {"angle": angle, "along": along, "across": across}
    fields = {name: np.asarray(number(name, in_order(v)), float) for name, v in given.items()}
    if wrong := [name for name, v in fields.items() if v.shape not in ((), tissue.shape)]:
        raise ValueError(f"{', '.join(wrong)}: give one number, or a field of the tissue's shape {tissue.shape}")
    angle, along, across = (np.broadcast_to(v, tissue.shape) for v in fields.values())
    direction = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    outer = direction[..., None] * direction[..., None, :]
    return across[..., None, None] * np.eye(2) + (along - across)[..., None, None] * outer
