"""Dynamic mode decomposition with control: the best linear model of the frames, told of the stimulus."""

from dataclasses import dataclass

import torch

from cepkit.bench.methods.reduced import Reduced, judge
from cepkit.surrogates.base import surrogate


@surrogate("dmd_control", "DMD with control", "#777777", "-", version="2")
class DMDControl(Reduced):
    """a(k + 1) = A a(k) + B u(k) + c, by least squares over all pairs of frames.

    Proctor, Brunton and Kutz 2016, doi:10.1137/15M1013857; c lets it rest elsewhere than at the mean of the training.
    A run that leaves the finite numbers stays at its last finite frame.  ``map`` (K + P + 1, K) is A, B, c, transposed.
    """

    @dataclass(frozen=True)
    class Settings:
        components: int = 64  # K, principal components kept
        ridges: tuple = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # to choose from; shares of an input's square

    configurations = {"smoke": {"components": 8}}
    learnt = (*Reduced.learnt, "map")

    def _learn(self, A, U, learning):
        gram, target, error = 0.0, 0.0, judge(self, learning)
        for a, u in zip(A, U, strict=True):
            inputs = self._inputs(a[:-1], u[:-1]).double()
            gram, target = gram + inputs.T @ inputs, target + inputs.T @ a[1:].double()
        trials = []
        for ridge in self.settings.ridges if error else self.settings.ridges[:1]:
            penalty = ridge * gram.diagonal().clamp_min(1e-12).diag()
            self.map = torch.linalg.solve(gram + penalty, target).float()
            trials.append((error() if error else 0.0, ridge, self.map))
        _, ridge, self.map = min(trials, key=lambda trial: trial[0])
        self.card["training"] = [{"ridge": r, "validation error": e} for e, r, _ in trials]
        self.card |= {"ridge": ridge, "spectral radius": float(self.eigenvalues().abs().max())}

    def eigenvalues(self):
        """Eigenvalues of A, shape (K,), complex; one outside the unit circle grows without bound."""
        return torch.linalg.eigvals(self.map[: self.map.shape[1]].T.double())

    @staticmethod
    def _inputs(a, u):
        return torch.cat([a, u, torch.ones_like(a[..., :1])], dim=-1)

    def _run(self, A, U, steps):
        out, a, first = [], A[:, -1], A.shape[1] - 1
        for u in U[:, first : first + steps].unbind(1):
            new = self._inputs(a, u) @ self.map
            a = torch.where(new.isfinite().all(-1, keepdim=True), new, a)
            out.append(a)
        return torch.stack(out, dim=1)
