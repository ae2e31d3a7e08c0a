"""From a trajectory to what a network eats: the split in time, the scaling, the windows.

The last axis of a tensor has N_in = N * 4 numbers, the four variables of each of N nodes; see :func:`to_tensor`.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from cepkit.fields import SPACE, UNITS, VARIABLES, in_form, in_order


def split(trajectory, fraction=0.8):
    """Cut a trajectory in two in time: a ``fraction`` to learn from, with what was noted by then, and its future."""
    trajectory = in_form(trajectory, "trajectory", time=True)
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction!r} must lie between 0 and 1; the paper takes 0.8")
    cut = int(fraction * trajectory.sizes["time"])
    if cut == 0:
        raise ValueError(f"trajectory has {trajectory.sizes['time']} frames: too few to split by fraction={fraction!r}")
    past, future = trajectory.isel(time=slice(None, cut)), trajectory.isel(time=slice(cut, None))
    if "activation_time" in past.coords:
        past = past.isel(activation=(past.activation_time <= past.time[-1]).values)
    return past.drop_vars(("final_state", "state"), errors="ignore"), future


@dataclass(frozen=True)
class Scaling:
    """z-scores: one mean and one standard deviation per variable, over time and nodes, in its physical unit."""

    mean: xr.Dataset
    std: xr.Dataset

    @classmethod
    def fit(cls, train):
        """Statistics of the training part, one trajectory or a list.  Never show it the test part."""
        pieces = [train] if isinstance(train, xr.Dataset) else list(train)
        pieces = [checked(piece, "train")[list(VARIABLES)] for piece in pieces]
        train = pieces[0] if len(pieces) == 1 else xr.concat(pieces, "time", join="override")
        # Sums over tens of millions of numbers need float64.
        mean, std = train.mean(dtype=np.float64).compute(), train.std(dtype=np.float64).compute()
        for name in VARIABLES:
            if not std[name] > 0:
                said = f"{name} has standard deviation {float(std[name])!r} in the training part and cannot be scaled"
                raise ValueError(f"trajectory: {said}; give a trajectory in which it varies and is never NaN")
        return cls(mean, std)

    def apply(self, fields):
        """Physical units to z-scores."""
        return ((fields - self.mean) / self.std).astype(np.float32)

    def vectors(self, nodes):
        """Mean and standard deviation repeated for each node, as two tensors of shape (N_in,)."""
        numbers = ([float(s[v]) for v in VARIABLES] for s in (self.mean, self.std))
        return tuple(torch.tensor(row, dtype=torch.float32).repeat(nodes) for row in numbers)

    def to_dict(self):
        """Plain numbers, for a card."""
        return {v: {"mean": float(self.mean[v]), "std": float(self.std[v])} for v in VARIABLES}

    @classmethod
    def from_dict(cls, numbers):
        """The scaling that :meth:`to_dict` wrote down."""
        return cls(*(xr.Dataset({v: numbers[v][s] for v in VARIABLES}) for s in ("mean", "std")))


def to_tensor(fields):
    """A labelled field, dims (..., y, x) with the four variables, as a float32 tensor (..., N_in), N_in = N * 4."""
    if missing := [v for v in VARIABLES if v not in fields]:
        raise ValueError(f"fields: no {', '.join(missing)}; a trajectory has the variables {', '.join(VARIABLES)}")
    first = in_order(fields[VARIABLES[0]])
    out = np.empty((*first.shape, len(VARIABLES)), np.float32)
    for k, v in enumerate(VARIABLES):
        out[..., k] = fields[v].transpose(*first.dims).values
    return torch.from_numpy(out.reshape(*(n for d, n in first.sizes.items() if d not in SPACE), -1))


def to_dataset(X, coords, dims):
    """The way back: a tensor (..., N_in) as a labelled field with ``coords`` of ``dims``, those of space last."""
    fields = np.asarray(X, np.float32)
    space = tuple(len(coords[d]) for d in dims[fields.ndim - 1 :])
    fields = fields.reshape(*fields.shape[:-1], *space, len(VARIABLES))
    data = {v: (dims, fields[..., k], {"units": UNITS[v]}) for k, v in enumerate(VARIABLES)}
    return xr.Dataset(data, coords)


def principal_components(X, count):
    """A basis (N_in, K) of the directions with most variance in X, a list of frames (time, N_in).

    Its columns are orthogonal, of the length sqrt(K / N_in): the mean square of ``X @ basis`` is that of the frames.
    """
    n_in = X[0].shape[1]
    if not 1 <= count <= n_in:
        raise ValueError(f"components={count!r} must be 1 to the {n_in} numbers of a frame, or None for whole frames")
    moment = sum(piece.T @ piece for piece in X) / sum(len(piece) for piece in X)
    return (leading(moment.double(), count) * (count / n_in) ** 0.5).float().contiguous()


def leading(moment, count, exact=True):
    """Leading eigenvectors of a symmetric matrix (n, n) as columns (n, count), ``exact`` or by subspace iteration."""
    if exact:
        return torch.linalg.eigh(moment)[1].flip(1)[:, :count]
    Q = torch.randn(len(moment), count + 32, generator=torch.Generator().manual_seed(0), dtype=moment.dtype)
    for _ in range(12):
        Q = torch.linalg.qr(moment @ Q)[0]
    values, vectors = torch.linalg.eigh(Q.T @ moment @ Q)
    return (Q @ vectors.flip(1))[:, :count]


class Windows:
    """Training sequences X_i = {x_t, ..., x_(t + N_t - 1)} of Section 3.1, cut out only when asked for.

    Of a tensor X (time, N_in), or of each in a list: ``length`` (N_t) frames, with starts ``stride`` frames apart.
    42 000 windows of 1000 frames would be 400 GB; their starts are 42 000 integers.
    """

    def __init__(self, X, length, stride=1):
        pieces = [X] if isinstance(X, torch.Tensor) else list(X)
        sizes = [len(piece) for piece in pieces]
        if not 2 <= length <= min(sizes) or stride < 1:
            said = f"length={length!r} must be at least 2 and at most the {min(sizes)} frames there are"
            raise ValueError(f"{said}, and stride={stride!r} 1 or more")
        ends = np.cumsum(sizes)
        starts = [np.arange(e - n, e - length + 1, stride) for n, e in zip(sizes, ends, strict=True)]
        self.X, self.length = pieces[0] if len(pieces) == 1 else torch.cat(pieces), length
        self.starts = torch.from_numpy(np.concatenate(starts))

    def __len__(self):
        return len(self.starts)

    def __getitem__(self, indices):
        """Shape (batch, N_t, N_in) for a sequence of indices."""
        frames = self.starts[torch.as_tensor(indices)][:, None] + torch.arange(self.length)
        return self.X[frames]


class Drifted(Windows):
    """Windows of beats to come: to each is added its change in the last ``frames``, up to ``share`` times.

    A slow drift is nearly linear, and the windows that are judged lie beyond those that are learnt from (extrapolation
    between samples: DeVries and Taylor, arXiv:1702.05538).  ``frames`` is a whole number of beats.
    """

    def __init__(self, X, length, stride, frames, share):
        super().__init__([piece[frames:] for piece in X], length, stride)
        self.change, self.share = self.X - torch.cat([piece[:-frames] for piece in X]), share

    def __getitem__(self, indices):
        at = self.starts[torch.as_tensor(indices)][:, None] + torch.arange(self.length)
        return self.X[at] + self.share * torch.rand(len(at), 1, 1).to(self.X) * self.change[at]


def checked(fields, argument):
    """A trajectory, or histories, in form; a ValueError in the caller's words for what is neither."""
    fields = in_form(fields, argument)
    missing = [v for v in VARIABLES if v not in getattr(fields, "data_vars", ())]
    if missing or fields.sizes.get("time", 0) < 1 or "time" not in fields.coords:
        said = f"{argument} has dims {dict(fields.sizes)} and lacks {', '.join(missing) or 'time'}"
        wanted = f"the dims (time, y, x), one frame or more, and the variables {', '.join(VARIABLES)}"
        raise ValueError(f"{said}; it must be an xarray.Dataset with {wanted}")
    if more := set(fields[VARIABLES[0]].dims) - {"time", "start", *SPACE}:
        one = f"[{argument}.isel({(other := sorted(more)[0])}=k) for k in range({fields.sizes[other]})]"
        raise ValueError(f"{argument} has the dim {other!r} as well; hand over a list: {one}")
    return fields
