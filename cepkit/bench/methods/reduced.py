"""What reduced models share: principal components of the frames, and a coarse picture of the stimulus."""

import dataclasses

import torch

from cepkit.dataset import Scaling, to_tensor
from cepkit.store import digest
from cepkit.surrogates.base import Surrogate

POOL = 4  # nodes a side of a patch of the stimulus: 24 x 24 nodes become 6 x 6 patches
EVERY = 5  # frames from one that the components are computed from to the next


class Reduced(Surrogate):
    """A surrogate on the principal components of z-scored frames, told of the stimulus.

    A method writes ``_learn`` and ``_run``.

    Attributes
    ----------
    settings : dataclass
        Has ``components`` (K) and ``seed``.
    basis : torch.Tensor, shape (N_in, K)
        Orthonormal columns: ``(frame - mean) / std @ basis`` are the components.
    scale : torch.Tensor, shape (K,)
        Standard deviation of each component in training.

    Examples
    --------
    >>> from cepkit.bench.methods.reduced import Reduced
    >>> issubclass(cep.surrogates.registry["esn"], Reduced), Reduced.reads_stimulus
    (True, True)
    """

    reads_stimulus = True
    trains = True
    Settings = None  # dataclass of the settings and their defaults

    def __init__(self, **changes):
        super().__init__()
        known = [field.name for field in dataclasses.fields(self.Settings)]
        for name in changes:
            if name not in known:
                raise ValueError(f"{name}={changes[name]!r} is no setting of {self.name}; choose from {known}")
        self.settings = self.Settings(**changes)
        self.configuration = dataclasses.asdict(self.settings)

    # ---- what a method provides -----------------------------------------------------------------------
    def _learn(self, A, U, validation, progress):
        """Learn from components.

        Parameters
        ----------
        A : list of torch.Tensor, each (time, K)
            Components of each trajectory, each divided by its standard deviation.
        U : list of torch.Tensor, each (time, P)
            Stimulus in P patches, 1 where a patch is stimulated in full; U[k] acts between frames k and k + 1.
        validation : list of (A, U)
            To choose by; may be empty.
        progress : bool
        """

    def _run(self, A, U, steps):
        """Run free.

        Parameters
        ----------
        A : torch.Tensor, shape (start, time, K)
            Histories.
        U : torch.Tensor, shape (start, time + steps, P)

        Returns
        -------
        torch.Tensor, shape (start, steps, K)
        """
        raise NotImplementedError

    def _more(self):
        """Further tensors of the method, ``name -> tensor``, for its file."""
        return {}

    def _take(self, tensors):
        """Take back what ``_more`` gave."""

    # ---- the doors ------------------------------------------------------------------------------------
    def _fit(self, pieces, stimuli, validation=(), progress=True):
        """``validation`` is a pair of lists, trajectories and stimulus fields, or empty."""
        self.scaling, basis, energy = principal(pieces)
        self.basis = basis[:, : min(self.settings.components, basis.shape[1])].contiguous()
        self.scale = energy[: self.basis.shape[1]].sqrt()
        A = [self._encode(to_tensor(piece)) for piece in pieces]
        U = [self._patches(stimulus) for stimulus in stimuli]
        others = []
        if validation:
            fields = self._stimuli(*validation)
            others = [
                (self._encode(to_tensor(v)), self._patches(s)) for v, s in zip(validation[0], fields, strict=True)
            ]
        self.card["scaling"] = self.scaling.to_dict()
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.seed)
            self._learn(A, U, others, progress)
        self.card["weights"] = sum(t.numel() for t in self._more().values())

    def _encode(self, X):
        """Frames (..., N_in) in physical units to components (..., K), each of variance 1."""
        mean, std = self.scaling.vectors(self.nodes)
        return ((X - mean) / std) @ self.basis / self.scale

    def _decode(self, A):
        mean, std = self.scaling.vectors(self.nodes)
        return (A * self.scale) @ self.basis.T * std + mean

    def _patches(self, stimulus):
        """Stimulus current (..., N) as the stimulated share of each patch, (..., P)."""
        shape = [len(c) for c in self.grid.values()]
        field = stimulus.reshape(-1, 1, *shape) / -52.0
        if min(shape) >= POOL and len(shape) == 2:
            field = torch.nn.functional.avg_pool2d(field, POOL)
        return field.reshape(*stimulus.shape[:-1], -1)

    @torch.inference_mode()
    def _rollout(self, X, start, steps, stimulus):
        return self._decode(self._run(self._encode(X), self._patches(stimulus), steps))

    def _tensors(self):
        return {"basis": self.basis, "scale": self.scale, **self._more()}

    def _restore(self, tensors, card):
        self.settings = self.Settings(**card["configuration"])
        self.scaling = Scaling.from_dict(card["scaling"])
        self.basis, self.scale = tensors.pop("basis"), tensors.pop("scale")
        self._take(tensors)


_known = {}


def principal(pieces, count=256):
    """Scaling and principal components of some trajectories, computed once for the same data.

    Returns
    -------
    scaling : Scaling
    basis : torch.Tensor, shape (N_in, K)
        Orthonormal; K is ``count``, or N_in if that is less.
    energy : torch.Tensor, shape (K,)
        Mean square of each component.

    Examples
    --------
    >>> from cepkit.bench.methods.reduced import principal
    >>> scaling, basis, energy = principal([cep.check.toy()[0]], count=5)
    >>> tuple(basis.shape), bool((energy[:-1] >= energy[1:]).all())
    ((64, 5), True)
    """
    key = digest(*(str(p.attrs.get("data_hash", id(p))).encode() + str(p.sizes).encode() + bytes(p.time.values[[0, -1]])
                   for p in pieces))  # fmt: skip
    if key not in _known:
        frames = [piece.isel(time=slice(None, None, EVERY)).load() for piece in pieces]
        scaling = Scaling.fit(frames)
        moment = 0.0
        for piece in frames:
            X = to_tensor(scaling.apply(piece)).double()
            moment = moment + X.T @ X
        moment = moment / sum(piece.sizes["time"] for piece in frames)
        count = min(count, len(moment))
        basis = _leading(moment, count)
        energy = torch.einsum("ik,ij,jk->k", basis, moment, basis).clamp_min(1e-12)
        _known.clear()  # the last data only
        _known[key] = scaling, basis.float(), energy.float()
    return _known[key]


def _leading(moment, count):
    """Leading eigenvectors of a symmetric matrix, by subspace iteration where few of many are wanted."""
    n = len(moment)
    if n < 4 * count:
        return torch.linalg.eigh(moment)[1].flip(1)[:, :count]
    generator = torch.Generator().manual_seed(0)
    Q = torch.randn(n, count + 32, generator=generator, dtype=moment.dtype)
    for _ in range(12):
        Q = torch.linalg.qr(moment @ Q)[0]
    values, vectors = torch.linalg.eigh(Q.T @ moment @ Q)
    return (Q @ vectors.flip(1))[:, :count]
