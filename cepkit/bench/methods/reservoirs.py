"""Two models that are trained by one linear regression: the echo state network and its short cut, NVAR."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from cepkit.bench.methods.reduced import Stepped, judge, steps_of
from cepkit.progress import bar
from cepkit.surrogates.base import surrogate

LIMIT = 8.0  # standard deviations; within these the components of a free run are held


class Reservoir(NamedTuple):
    """Weights that are drawn once and never trained."""

    W: torch.Tensor  # (size, size)
    W_in: torch.Tensor  # (inputs, size)
    bias: torch.Tensor  # (size,)


def draw_reservoir(size, gains, radius, generator):
    """A random reservoir of a spectral radius; ``gains`` (inputs,) say how strongly each input is felt.

    By the circular law the eigenvalues of W fill a disc of that radius, closely so from some hundred units on.
    """
    shapes = (size, size), (len(gains), size), (size,)
    W, W_in, bias = (torch.from_numpy(generator.standard_normal(shape)).to(gains.dtype) for shape in shapes)
    return Reservoir(radius / size**0.5 * W, gains[:, None] * W_in, bias)


def listen(reservoir, r, x, leak):
    """One update of a leaky reservoir: r <- (1 - leak) r + leak tanh(W r + W_in x + bias).

    Jaeger and Haas 2004, doi:10.1126/science.1091277; the leak as in Shahi et al. 2022, doi:10.1016/j.mlwa.2022.100300.
    A leak of 1 forgets r (batch, size) but for what W brings back; near 0 the reservoir is slow.
    """
    felt = torch.addmm(reservoir.bias, x, reservoir.W_in).addmm_(r, reservoir.W)
    return torch.lerp(r, felt.tanh_(), leak)


def delays(x, taps, spacing):
    """Each frame of x (..., time, d) beside taps - 1 earlier ones, the newest first: (..., fewer times, taps * d)."""
    last = x.shape[-2] - (taps - 1) * spacing
    return torch.cat([x[..., (taps - 1 - k) * spacing :, :][..., :last, :] for k in range(taps)], dim=-1)


def nvar_features(linear, quadratic=None):
    """Features of the next-generation reservoir: 1, the linear ones, and products of two.

    Gauthier et al. 2021, doi:10.1038/s41467-021-25801-2.  The linear ones (..., m) come from :func:`delays`; what is
    multiplied, each pair once, are the ``quadratic`` (..., q), or else all of them.
    """
    quadratic = linear if quadratic is None else quadratic
    first, second = torch.triu_indices(quadratic.shape[-1], quadratic.shape[-1])
    products = quadratic[..., first] * quadratic[..., second]
    return torch.cat([torch.ones_like(linear[..., :1]), linear, products], dim=-1)


def ridge(gram, cross, penalty):
    """The readout W of least mean square of X W - Y plus ``penalty`` times that of W, from the means of X'X and X'Y."""
    return torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), cross)


class Readout(Stepped):
    """Steps that one linear map writes, which ridge regression finds.

    A method writes ``_samples(a, u, y)``, which yields features (samples, F) and targets (samples, stride * K);
    ``_begin(a, u)``, its memory after a history; and ``_features(memory, a, u)`` of a step, with the new memory.
    """

    @dataclass(frozen=True)
    class Settings:
        components: int = 32  # K, principal components
        stride: int = 5  # frames that a step writes
        noise: float = 0.3  # standard deviation, on the components in training
        seed: int = 0

    learnt = (*Stepped.learnt, "W_out")

    @torch.inference_mode()
    def _learn(self, A, U, learning):
        s, trials, shown, error = self.settings, [], self._shown_in_steps(A, U), judge(self, learning)
        choices, ridges = (s.choices, s.ridges) if error else (s.choices[:1], s.ridges[:1])
        for choice in bar(choices, self.name, "choice", learning.progress):
            self.choice, gram, cross, count = choice, 0.0, 0.0, 0
            for X, Y in self._samples(*shown):
                gram, cross, count = gram + (X.T @ X).double(), cross + (X.T @ Y).double(), count + len(X)
            for penalty in ridges:
                self.W_out = ridge(gram / count, cross / count, penalty).float().contiguous()
                trials.append((error() if error else 0.0, choice, penalty, self.W_out))
        _, self.choice, penalty, self.W_out = min(trials, key=lambda trial: trial[0])
        self.card["training"] = [{"choice": c, "ridge": p, "validation error": e} for e, c, p, _ in trials]
        self.card |= {"choice": self.choice, "ridge": penalty}

    def _shown_in_steps(self, A, U):
        """What ``_samples`` is handed: frames, with some noise, stimulus and targets in steps."""
        a, u, y = blocks_of(A, U, self.settings.stride)
        noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(self.settings.seed))
        return a + self.settings.noise * noise, u, y

    def _answer(self, a, u, read):
        memory, a, out = self._begin(a[:, :-1], u[:, :read]), a[:, -1], []
        for told in u[:, read:].unbind(1):
            X, memory = self._features(memory, a, told)
            out.append(torch.nan_to_num(X @ self.W_out).clamp(-LIMIT, LIMIT))
            a = out[-1][:, -a.shape[1] :]
        return torch.stack(out, dim=1)

    def _restore(self, tensors, card):
        super()._restore(tensors, card)
        self.choice = card["choice"]


def blocks_of(A, U, stride):
    """Trajectories side by side, all cut to the length of the shortest, in steps: see ``steps_of``."""
    end = (min(map(len, A)) - 1) // stride * stride
    a, u, y = steps_of(torch.stack([x[: end + 1] for x in A]), torch.stack([x[:end] for x in U]), stride)
    return a[:, :-1], u, y


@surrogate("esn", "echo state network", "#CC79A7", "-", version="2", draws=True)
class ESN(Readout):
    """Echo state network: Jaeger and Haas 2004, doi:10.1126/science.1091277; on cardiac series Shahi et al. 2022.

    A random recurrent network listens to components and stimulus; only the map from both to the next frames is learnt.
    """

    @dataclass(frozen=True)
    class Settings(Readout.Settings):
        size: int = 1200  # units of the reservoir
        # Spectral radius, leak and gain of the components, to choose from on the validation part:
        choices: tuple = ((0.95, 0.1, 0.0), (0.95, 0.1, 0.01), (0.95, 0.1, 0.03), (0.95, 0.3, 0.1))
        push: float = 4.0  # gain of the stimulus
        ridges: tuple = (1e-5, 3e-5, 1e-4, 1e-3)  # penalties to choose from
        settle: int = 100  # steps before the state has forgotten its beginning; they are not learnt from

    configurations = {"smoke": dict(components=6, size=60, choices=((0.9, 0.3, 0.3),), ridges=(1e-4,), settle=10)}

    def _build(self):
        s, (K, P) = self.settings, self.sizes
        gains = torch.cat([torch.ones(K), torch.full((s.stride * P,), s.push)])
        self.unit = draw_reservoir(s.size, gains, 1.0, np.random.default_rng(s.seed))

    @property
    def reservoir(self):
        """The reservoir of the chosen radius and gain: the same random numbers for every choice."""
        (radius, _, gain), K = self.choice, len(self.scale)
        W_in = torch.cat([gain * self.unit.W_in[:K], self.unit.W_in[K:]])
        return Reservoir(radius * self.unit.W, W_in, 0.3 * self.unit.bias)

    def _samples(self, a, u, y):
        settle = self.settings.settle
        _, r = self._begin(a[:, :settle], u[:, :settle])
        later = (part[:, settle:].transpose(0, 1).split(100) for part in (torch.cat([a, u], dim=-1), y))
        for x, target in zip(*later, strict=True):
            states = self._states(r, x)
            r = states[-1]
            yield self._seen(torch.stack(states[1:]), x).flatten(0, 1), target.flatten(0, 1)

    def _states(self, r, x):
        """States of the reservoir: r (batch, size) before the inputs x (steps, batch, d), and after each of them."""
        states, reservoir = [r], self.reservoir
        for told in x:
            states.append(listen(reservoir, states[-1], told, self.choice[1]))
        return states

    @staticmethod
    def _seen(r, x):
        return torch.cat([torch.ones_like(r[..., :1]), x, r], dim=-1)

    def _begin(self, a, u):
        r = a.new_zeros(len(a), self.settings.size)
        return self.reservoir, self._states(r, torch.cat([a, u], dim=-1).transpose(0, 1))[-1]

    def _features(self, memory, a, u):
        (reservoir, r), x = memory, torch.cat([a, u], dim=-1)
        r = listen(reservoir, r, x, self.choice[1])
        return self._seen(r, x), (reservoir, r)


@surrogate("nvar", "NVAR", "#AA7744", "-", version="2", draws=True)
class NVAR(Readout):
    """Nonlinear vector autoregression: Gauthier et al. 2021, doi:10.1038/s41467-021-25801-2.

    The next frames are a linear map of some frames, of the stimulus and of products of two leading components.
    """

    @dataclass(frozen=True)
    class Settings(Readout.Settings):
        multiplied: int = 10  # of how many leading components products are taken
        choices: tuple = ((2, 2), (3, 6))  # to choose from: frames that are seen at once, and steps between them
        ridges: tuple = (1e-4, 1e-2, 1e-1, 1.0)  # penalties to choose from

    configurations = {"smoke": {"components": 6, "multiplied": 3, "choices": ((2, 2),), "ridges": (1e-3,)}}

    @property
    def least(self):  # steps that it looks back
        return (self.choice[0] - 1) * self.choice[1]

    def _samples(self, a, u, y):
        parts = (x.split(400, dim=1) for x in (delays(a, *self.choice), u[:, self.least :], y[:, self.least :]))
        for seen, told, target in zip(*parts, strict=True):
            yield self._seen(seen, told).flatten(0, 1), target.flatten(0, 1)

    def _seen(self, a, u):
        """Features of delayed frames a (..., taps * K) and of the step's stimulus u (..., stride * P)."""
        leading = a.unflatten(-1, (self.choice[0], -1))[..., : self.settings.multiplied].flatten(-2)
        return nvar_features(torch.cat([a, u], dim=-1), leading)

    def _begin(self, a, u):
        return a[:, a.shape[1] - self.least :]  # the frame of the history's end comes with the step

    def _features(self, memory, a, u):
        window = torch.cat([memory, a[:, None]], dim=1)
        return self._seen(delays(window, *self.choice)[:, 0], u), window[:, 1:]
