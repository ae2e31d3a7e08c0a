"""Dynamic mode decomposition with control: the best linear model of the frames, told of the stimulus."""

import time
from dataclasses import dataclass

import torch

from cepkit.bench.methods.reduced import Reduced
from cepkit.surrogates.base import surrogate


@dataclass(frozen=True)
class Settings:
    """Of :class:`DMDControl`.

    Parameters
    ----------
    components : int
        K, principal components kept.
    ridges : sequence of float
        Penalties to choose from, as shares of the mean square of each input.
    horizon : int
        Frames of the free runs on the validation part by which the penalty is chosen.
    seed : int
        Unused: nothing is drawn.

    Examples
    --------
    >>> from cepkit.bench.methods import dmd_control
    >>> dmd_control.Settings(components=8).components
    8
    """

    components: int = 64
    ridges: tuple = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    horizon: int = 1000
    seed: int = 0


@surrogate("dmd_control", "DMD with control", "#777777", "-", version="283424cf4fed0eee")
class DMDControl(Reduced):
    """a(k + 1) = A a(k) + B u(k) + c, by least squares over all pairs of frames.

    Proctor, Brunton and Kutz 2016, doi:10.1137/15M1013857; the constant input that gives c lets the linear
    map rest somewhere else than at the mean of the training frames.  A linear map answers to a stimulus of
    half the strength by half an action potential: it has no threshold.  A run that leaves the finite
    numbers stays at its last finite frame.

    Attributes
    ----------
    map : torch.Tensor, shape (K + P + 1, K)
        A, B and c, stacked and transposed: ``cat(a, u, 1) @ map`` is the next frame.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy()
    >>> model = cep.surrogates.make("dmd_control", components=8, horizon=50)
    >>> _ = model.fit(trajectory, stimulus=stimulus, progress=False)
    >>> bool(abs(model.eigenvalues()).max() < 1.1)
    True
    """

    Settings = Settings
    smoke = {"components": 8, "horizon": 100}

    def _learn(self, A, U, validation, progress):
        began = time.perf_counter()
        gram, target = 0.0, 0.0
        for a, u in zip(A, U, strict=True):
            inputs = self._inputs(a[:-1], u[:-1]).double()
            gram = gram + inputs.T @ inputs
            target = target + inputs.T @ a[1:].double()
        trials = []
        for ridge in self.settings.ridges if validation else self.settings.ridges[:1]:
            penalty = ridge * gram.diagonal().clamp_min(1e-12).diag()
            self.map = torch.linalg.solve(gram + penalty, target).float()
            trials.append((self._error(validation), ridge, self.map))
        error, ridge, self.map = min(trials, key=lambda trial: trial[0])
        self.card["training"] = [{"ridge": r, "validation error": e} for e, r, _ in trials]
        self.card |= {"ridge": ridge, "spectral radius": float(self.eigenvalues().abs().max())}
        self.card["training seconds"] = time.perf_counter() - began

    def _error(self, validation):
        """Mean squared error of free runs over the validation part, components weighed by their variance."""
        n, errors = self.settings.horizon, []
        for a, u in validation:
            cuts = [(a[k : k + n + 1], u[k : k + n + 1]) for k in range(0, len(a) - n, n)]
            if cuts:
                a, u = (torch.stack(parts) for parts in zip(*cuts, strict=True))
                miss = self._run(a[:, :1], u, n) - a[:, 1:]
                errors.append(float(((miss * self.scale) ** 2).sum(-1).mean()))
        return sum(errors) / max(len(errors), 1)

    def eigenvalues(self):
        """Eigenvalues of A, shape (K,), complex; one outside the unit circle grows without bound."""
        K = self.map.shape[1]
        return torch.linalg.eigvals(self.map[:K].T.double())

    @staticmethod
    def _inputs(a, u):
        return torch.cat([a, u, torch.ones_like(a[..., :1])], dim=-1)

    def _run(self, A, U, steps):
        out, a, first = [], A[:, -1], A.shape[1] - 1
        for k in range(first, first + steps):
            new = self._inputs(a, U[:, k]) @ self.map
            a = torch.where(new.isfinite().all(-1, keepdim=True), new, a)
            out.append(a)
        return torch.stack(out, dim=1)

    def _more(self):
        return {"map": self.map}

    def _take(self, tensors):
        self.map = tensors["map"]
