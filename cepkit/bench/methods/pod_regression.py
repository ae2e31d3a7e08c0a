"""POD with regression: the components as a function of when and where the last stimuli were."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from cepkit.bench.methods.reduced import Reduced
from cepkit.surrogates.base import surrogate

FAR = 3000  # frames; longer ago is all the same
USUAL = 650  # frames; the interval supposed where the history does not reach


@surrogate("pod_regression", "POD regression", "#44AA99", "-", version="44f945a9ab74a6ba", draws=True)
class PODRegression(Reduced):
    """a(k) = r(theta(k)): Gaussian process regression from the parameters of the pacing to the components.

    In the manner of Guo and Hesthaven 2018, doi:10.1016/j.cma.2018.07.017, on :func:`pacing_features`; the mean is that
    of the subset of regressors, a sum over ``centres`` (Quinonero-Candela and Rasmussen 2005, JMLR 6:1939).  Of the
    frames given the model reads **none**.
    """

    @dataclass(frozen=True)
    class Settings:
        components: int = 64  # K, principal components
        samples: int = 400  # frames that the length scales of the kernel are chosen by
        centres: int = 1800  # frames that the regression is a sum of kernels around
        frames: int = 20_000  # frames that it is fitted to
        skip: int = 1000  # frames at the beginning of each run left out, for want of a known past
        seed: int = 0

    configurations = {"smoke": {"components": 8, "samples": 60, "centres": 100, "frames": 400, "skip": 200}}
    # Of shape (7,), (M, 7) and (M, K); centres are divided by the scales.
    learnt = (*Reduced.learnt, "scales", "centres", "weights")

    def _learn(self, A, U, learning):
        s = self.settings
        theta = torch.cat([pacing_features(u[None])[0, s.skip :] for u in U])
        a = torch.cat([piece[s.skip :] for piece in A])
        chosen = torch.from_numpy(np.random.default_rng(s.seed).permutation(len(a))[: s.frames])
        theta, a = theta[chosen], a[chosen]
        self.scales, noise = self._length_scales(theta[: s.samples].numpy(), a[: s.samples, :8].numpy())
        theta = theta / self.scales
        self.centres = theta[: s.centres].clone()
        gram, target = 0.0, 0.0
        for part in torch.arange(len(a)).split(2000):
            values = kernel(theta[part], self.centres).double()
            gram, target = gram + values.T @ values, target + values.T @ a[part].double()
        prior = kernel(self.centres, self.centres).double()
        jitter = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        self.weights = torch.linalg.solve(gram + noise * prior + jitter, target).float()
        self.card["training"] = [{"length scales": self.scales.tolist(), "noise": noise}]

    @staticmethod
    def _length_scales(theta, a):
        """Length scales and share of noise by marginal likelihood, one for all components."""
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.gaussian_process import GaussianProcessRegressor
            from sklearn.gaussian_process.kernels import RBF, WhiteKernel
        except ImportError as error:
            raise ImportError("pod_regression is fitted by scikit-learn: pip install cepkit[bench]") from error
        prior = RBF(np.ones(theta.shape[1]), (0.05, 50)) + WhiteKernel(0.1, (1e-3, 1.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: that parameter hardly matters
            fitted = GaussianProcessRegressor(prior).fit(theta, a).kernel_
        return torch.tensor(np.atleast_1d(fitted.k1.length_scale), dtype=torch.float32), float(fitted.k2.noise_level)

    def _run(self, A, U, steps):
        theta = pacing_features(U)[:, A.shape[1] : A.shape[1] + steps] / self.scales
        parts = theta.split(1000, dim=1)  # memory: start x 1000 x centres
        return torch.cat([kernel(part, self.centres) @ self.weights for part in parts], dim=1)


def kernel(x, y):
    """exp(-abs(x - y)^2 / 2) for all pairs, (..., D) and (M, D) to (..., M)."""
    squares = x.square().sum(-1, keepdim=True) + y.square().sum(-1) - 2 * x @ y.T
    return torch.exp(-0.5 * squares.clamp_min(0))


def pacing_features(U):
    """What the pacing says at each frame: stimulus in patches (start, time, P) to (start, time, 7)."""
    return torch.from_numpy(np.stack([_features_of_one(u) for u in U.numpy()]))


def _features_of_one(u):
    """Logarithm of the time since the last stimulus and of the two intervals before; row, column of the last two."""
    side = max(round(u.shape[1] ** 0.5), 1)
    rows, columns = np.divmod(np.arange(u.shape[1]), side)
    strength = u.sum(1)
    at = np.flatnonzero(strength > 0)
    sites = np.stack([u[at] @ rows, u[at] @ columns], 1) / strength[at, None] - (side - 1) / 2
    # Before the first frame a middling rhythm in the middle of the sheet, so that there always is a past.
    times = np.concatenate([-USUAL * np.array([3, 2, 1]), at])
    sites = np.concatenate([np.zeros((3, 2)), sites])
    frame = np.arange(len(u))
    last = np.searchsorted(times, frame) - 1  # strictly before the frame
    ages = [frame - times[last], *(times[last - k] - times[last - k - 1] for k in (0, 1))]
    logs = [np.log(np.minimum(age, FAR) + 30.0) for age in ages]
    return np.column_stack([*logs, sites[last], sites[last - 1]]).astype(np.float32)
