"""Two models that are trained by one linear regression: the echo state network and its short cut, NVAR.

The functions work on plain tensors, so that they forecast the textbook systems as well; the classes
put them behind the interface of the benchmark.
"""

import dataclasses
import time
from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from cepkit.bench.methods.reduced import Reduced
from cepkit.surrogates.base import surrogate

# ---- the cores --------------------------------------------------------------------------------------


class Reservoir(NamedTuple):
    """Weights that are drawn once and never trained: (size, size), (inputs, size) and (size,).

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> reservoirs.Reservoir._fields
    ('W', 'W_in', 'bias')
    """

    W: torch.Tensor
    W_in: torch.Tensor
    bias: torch.Tensor


def draw_reservoir(size, gains, radius, generator):
    """A random reservoir.

    The entries of W are Gaussian of variance radius^2 / size.  By the circular law its eigenvalues
    then fill a disc of that radius, closely so from some hundred units on.

    Parameters
    ----------
    size : int
        Units.
    gains : torch.Tensor, shape (inputs,)
        How strongly each input is felt; standard deviation of its weights.
    radius : float
        Spectral radius of W.
    generator : numpy.random.Generator

    Returns
    -------
    Reservoir
        In the precision of ``gains``.

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> reservoir = reservoirs.draw_reservoir(50, torch.ones(2), 0.9, np.random.default_rng(0))
    >>> tuple(reservoir.W.shape), tuple(reservoir.W_in.shape)
    ((50, 50), (2, 50))
    """

    def normal(*shape):
        return torch.from_numpy(generator.standard_normal(shape)).to(gains.dtype)

    return Reservoir(radius / size**0.5 * normal(size, size), gains[:, None] * normal(len(gains), size), normal(size))


def listen(reservoir, r, x, leak):
    """One update of a leaky reservoir: r <- (1 - leak) r + leak tanh(W r + W_in x + bias).

    Jaeger and Haas 2004, doi:10.1126/science.1091277; the leak as in Shahi et al. 2022,
    doi:10.1016/j.mlwa.2022.100300.

    Parameters
    ----------
    reservoir : Reservoir
    r : torch.Tensor, shape (batch, size)
    x : torch.Tensor, shape (batch, inputs)
    leak : float
        1 forgets the old state but for what W brings back; near 0 the reservoir is slow.

    Returns
    -------
    torch.Tensor, shape (batch, size)

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> reservoir = reservoirs.draw_reservoir(50, torch.ones(2), 0.9, np.random.default_rng(0))
    >>> r = reservoirs.listen(reservoir, torch.zeros(1, 50), torch.ones(1, 2), leak=1.0)
    >>> tuple(r.shape), bool(abs(r).max() <= 1)
    ((1, 50), True)
    """
    felt = torch.addmm(reservoir.bias, x, reservoir.W_in).addmm_(r, reservoir.W)
    return torch.lerp(r, felt.tanh_(), leak)


def delays(x, taps, spacing):
    """Each frame beside earlier ones.

    Parameters
    ----------
    x : torch.Tensor, shape (..., time, d)
    taps, spacing : int
        How many frames, and how many frames from one to the next.

    Returns
    -------
    torch.Tensor, shape (..., time - (taps - 1) * spacing, taps * d)
        The newest frame comes first.

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> x = torch.arange(5.0)[:, None]
    >>> reservoirs.delays(x, taps=2, spacing=1).tolist()
    [[1.0, 0.0], [2.0, 1.0], [3.0, 2.0], [4.0, 3.0]]
    """
    last = x.shape[-2] - (taps - 1) * spacing
    return torch.cat([x[..., (taps - 1 - k) * spacing :, :][..., :last, :] for k in range(taps)], dim=-1)


def products(v):
    """All products of two entries, each pair once: shape (..., m) to (..., m (m + 1) / 2).

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> reservoirs.products(torch.tensor([2.0, 3.0])).tolist()
    [4.0, 6.0, 9.0]
    """
    first, second = torch.triu_indices(v.shape[-1], v.shape[-1])
    return v[..., first] * v[..., second]


def nvar_features(linear, quadratic=None):
    """Features of the next-generation reservoir: 1, the linear ones, and products of two.

    Gauthier et al. 2021, doi:10.1038/s41467-021-25801-2.

    Parameters
    ----------
    linear : torch.Tensor, shape (..., m)
        Frames beside earlier ones, see :func:`delays`.
    quadratic : torch.Tensor, shape (..., q), optional
        What is multiplied; default: all the linear ones.

    Returns
    -------
    torch.Tensor, shape (..., 1 + m + q (q + 1) / 2)

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> reservoirs.nvar_features(torch.tensor([2.0, 3.0])).tolist()
    [1.0, 2.0, 3.0, 4.0, 6.0, 9.0]
    """
    quadratic = linear if quadratic is None else quadratic
    return torch.cat([torch.ones_like(linear[..., :1]), linear, products(quadratic)], dim=-1)


def ridge(gram, cross, penalty):
    """Ridge regression: the readout W that makes the mean square of X W - Y plus ``penalty`` times that of W least.

    It is computed from X'X and X'Y, each a mean over samples.

    Parameters
    ----------
    gram : torch.Tensor, shape (features, features)
    cross : torch.Tensor, shape (features, outputs)
    penalty : float

    Returns
    -------
    torch.Tensor, shape (features, outputs)

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> X = torch.eye(2, dtype=torch.float64)
    >>> reservoirs.ridge(X.T @ X, X.T @ X, penalty=1.0).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    return torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), cross)


# ---- what the two entrants share ----------------------------------------------------------------------


class Readout(Reduced):
    """Steps of ``stride`` frames, written by one linear map that ridge regression finds.

    A step from frame k is told a(k) and the stimulus of frames k to k + stride - 1, and writes frames
    k + 1 to k + stride; from the last of them it goes on.  Components are held within ``LIMIT`` standard
    deviations, and what is not a number becomes 0: a run that fails stays on its row, with its failure.

    A method writes ``_draw``, ``_moments``, ``_begin`` and ``_features``.

    Examples
    --------
    >>> from cepkit.bench.methods.reservoirs import Readout
    >>> issubclass(cep.surrogates.registry["esn"], Readout), issubclass(cep.surrogates.registry["nvar"], Readout)
    (True, True)
    """

    LIMIT = 8.0

    def _draw(self, K, P):
        """Whatever is random or fixed, for K components and P patches."""

    def _moments(self, A, U, choice):
        """Yield features (samples, F) and targets (samples, stride * K), chunk after chunk."""
        raise NotImplementedError

    def _begin(self, A, U):
        """Memory at the last frame of histories A (start, time, K) with their stimulus U (start, time - 1, P)."""
        raise NotImplementedError

    def _features(self, memory, a, u):
        """Features (start, F) of frame a (start, K) and the step's stimulus u (start, stride * P); new memory."""
        raise NotImplementedError

    @torch.inference_mode()
    def _learn(self, A, U, validation, progress):
        s, began, trials = self.settings, time.perf_counter(), []
        self._draw(A[0].shape[1], U[0].shape[1])
        for choice in tqdm(s.choices if validation else s.choices[:1], disable=not progress):
            self.choice = choice
            gram, cross, samples = 0.0, 0.0, 0
            for X, Y in self._moments(A, U):
                gram, cross, samples = gram + (X.T @ X).double(), cross + (X.T @ Y).double(), samples + len(X)
            for penalty in s.ridges if validation else s.ridges[:1]:
                self.W_out = ridge(gram / samples, cross / samples, penalty).float().contiguous()
                trials.append((self._error(validation), choice, penalty, self.W_out))
        error, self.choice, penalty, self.W_out = min(trials, key=lambda trial: trial[0])
        self.card["training"] = [{"choice": c, "ridge": p, "validation error": e} for e, c, p, _ in trials]
        self.card |= {"choice": self.choice, "ridge": penalty, "training seconds": time.perf_counter() - began}

    def _error(self, validation):
        """Mean squared error of free runs over the validation part, in z-scores; 2 at most for each run."""
        s, errors = self.settings, []
        for a, u in validation:
            given = min(s.given, len(a) // 2)
            n = min(s.horizon, len(a) - given)
            cuts = [(a[k : k + given + n], u[k : k + given + n]) for k in range(0, len(a) - given - n + 1, n)]
            a, u = (torch.stack(parts) for parts in zip(*cuts, strict=True))
            miss = ((self._run(a[:, :given], u, n) - a[:, given:]) * self.scale).square().mean((1, 2))
            errors.append((miss / self.scale.square().mean()).clamp_max(2.0))
        return float(torch.cat(errors).mean()) if errors else 0.0

    def _run(self, A, U, steps):
        stride, last = self.settings.stride, A.shape[1] - 1
        blocks = -(-steps // stride)
        told = U[:, last : last + steps]
        told = torch.nn.functional.pad(told, (0, 0, 0, blocks * stride - steps)).reshape(len(U), blocks, -1)
        memory, a, out = self._begin(A, U[:, :last]), A[:, -1], []
        for u in told.unbind(1):
            X, memory = self._features(memory, a, u)
            written = torch.nan_to_num(X @ self.W_out).clamp(-self.LIMIT, self.LIMIT).unflatten(1, (stride, -1))
            a = written[:, -1]
            out.append(written)
        return torch.cat(out, dim=1)[:, :steps]

    def _more(self):
        return {"W_out": self.W_out}

    def _take(self, tensors):
        self.W_out = tensors["W_out"]

    def _restore(self, tensors, card):
        super()._restore(tensors, card)
        self.choice = card["choice"]
        K = len(self.scale)
        self._draw(K, self._patches(torch.zeros(1, self.nodes)).shape[-1])


def blocks_of(A, U, stride, phase=0):
    """Trajectories side by side, cut into steps; all are cut to the length of the shortest.

    Parameters
    ----------
    A : list of torch.Tensor, each (time, K)
    U : list of torch.Tensor, each (time, P)
    stride, phase : int
        Frames in a step; frame at which the first step begins.

    Returns
    -------
    a : torch.Tensor, shape (run, steps, K)
        The frame each step begins from.
    u : torch.Tensor, shape (run, steps, stride * P)
    y : torch.Tensor, shape (run, steps, stride * K)
        The frames it has to write.

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> a, u, y = reservoirs.blocks_of([torch.arange(7.0)[:, None]], [torch.zeros(7, 1)], stride=2)
    >>> a.squeeze().tolist(), y.squeeze().tolist()
    ([0.0, 2.0, 4.0], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    """
    steps = (min(map(len, A)) - 1 - phase) // stride
    end = phase + steps * stride
    a = torch.stack([x[phase:end:stride] for x in A])
    u = torch.stack([x[phase:end].reshape(steps, -1) for x in U])
    y = torch.stack([x[phase + 1 : end + 1].reshape(steps, -1) for x in A])
    return a, u, y


# ---- echo state network -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ESNSettings:
    """Of :class:`ESN`.

    Parameters
    ----------
    components : int
        K, principal components.
    size : int
        Units of the reservoir.
    stride : int
        Frames that a step writes.
    choices : sequence of (radius, leak, gain)
        To choose from on the validation part: spectral radius, leak, gain of the components.
    push : float
        Gain of the stimulus.
    noise : float
        Standard deviation of noise on the components in training.
    ridges : sequence of float
        Penalties to choose from.
    settle : int
        Steps before the state has forgotten its beginning; they are not learnt from.
    given, horizon : int
        Frames given and forecast on the validation part.
    seed : int

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> reservoirs.ESNSettings(size=60).size
    60
    """

    components: int = 32
    size: int = 1200
    stride: int = 5
    choices: tuple = ((0.95, 0.1, 0.0), (0.95, 0.1, 0.01), (0.95, 0.1, 0.03), (0.95, 0.3, 0.1))
    push: float = 4.0
    noise: float = 0.3
    ridges: tuple = (1e-5, 3e-5, 1e-4, 1e-3)
    settle: int = 100
    given: int = 1000
    horizon: int = 2000
    seed: int = 0


@surrogate("esn", "echo state network", "#CC79A7", "-", version="6ac3cde6191e3c3b", draws=True)
class ESN(Readout):
    """Echo state network: Jaeger and Haas 2004, doi:10.1126/science.1091277; on cardiac series Shahi et al. 2022.

    A random recurrent network listens to the components and to the stimulus; only the linear map from
    its state, and from its input, to the next frames is learnt.  Small noise on the components in
    training stands for the errors that the model will meet when it feeds on itself.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy()
    >>> small = dict(components=4, size=30, choices=((0.9, 0.3, 0.3),), ridges=(1e-4,), settle=5)
    >>> model = cep.surrogates.make("esn", **small).fit(trajectory, stimulus=stimulus, progress=False)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=10, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 10, 'y': 4, 'x': 4}
    """

    Settings = ESNSettings
    smoke = {"components": 6, "size": 60, "choices": ((0.9, 0.3, 0.3),), "ridges": (1e-4,), "settle": 10}

    def _draw(self, K, P):
        s = self.settings
        gains = torch.cat([torch.ones(K), torch.full((s.stride * P,), s.push)])
        self.unit = draw_reservoir(s.size, gains, 1.0, np.random.default_rng(s.seed))

    @property
    def reservoir(self):
        """The reservoir of the chosen radius and gain: the same random numbers for every choice."""
        radius, _, gain = self.choice
        K = len(self.scale)
        W_in = torch.cat([gain * self.unit.W_in[:K], self.unit.W_in[K:]])
        return Reservoir(radius * self.unit.W, W_in, 0.3 * self.unit.bias)

    def _moments(self, A, U, chunk=100):
        s, reservoir = self.settings, self.reservoir
        a, u, y = blocks_of(A, U, s.stride)
        noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(s.seed))
        x = torch.cat([a + s.noise * noise, u], dim=-1)
        r, kept = torch.zeros(len(x), s.size), []
        for k in range(x.shape[1]):
            r = listen(reservoir, r, x[:, k], self.choice[1])
            if k >= s.settle:
                kept.append(self._seen(r, x[:, k]))
            if len(kept) == chunk or (kept and k == x.shape[1] - 1):
                yield torch.cat(kept), y[:, k + 1 - len(kept) : k + 1].transpose(0, 1).flatten(0, 1)
                kept = []

    @staticmethod
    def _seen(r, x):
        return torch.cat([torch.ones_like(r[:, :1]), x, r], dim=-1)

    def _begin(self, A, U):
        s, reservoir = self.settings, self.reservoir
        phase = (A.shape[1] - 1) % s.stride  # so that the last step ends with the history
        a, u, _ = blocks_of(list(A), list(torch.nn.functional.pad(U, (0, 0, 0, 1))), s.stride, phase)
        r = A.new_zeros(len(A), s.size)
        for k in range(a.shape[1]):
            r = listen(reservoir, r, torch.cat([a[:, k], u[:, k]], dim=-1), self.choice[1])
        return reservoir, r

    def _features(self, memory, a, u):
        reservoir, r = memory
        x = torch.cat([a, u], dim=-1)
        r = listen(reservoir, r, x, self.choice[1])
        return self._seen(r, x), (reservoir, r)


# ---- NVAR ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class NVARSettings:
    """Of :class:`NVAR`.

    Parameters
    ----------
    components : int
        K, principal components.
    multiplied : int
        Of how many leading components products are taken.
    stride : int
        Frames that a step writes.
    choices : sequence of (taps, spacing)
        To choose from on the validation part: frames that are seen at once, and steps between them.
    noise : float
        Standard deviation of noise on the components in training.
    ridges : sequence of float
        Penalties to choose from.
    given, horizon : int
        Frames given and forecast on the validation part.
    seed : int

    Examples
    --------
    >>> from cepkit.bench.methods import reservoirs
    >>> reservoirs.NVARSettings(multiplied=3).multiplied
    3
    """

    components: int = 32
    multiplied: int = 10
    stride: int = 5
    choices: tuple = ((2, 2), (3, 6))
    noise: float = 0.3
    ridges: tuple = (1e-4, 1e-2, 1e-1, 1.0)
    given: int = 1000
    horizon: int = 2000
    seed: int = 0


@surrogate("nvar", "NVAR", "#AA7744", "-", version="6ac3cde6191e3c3b", draws=True)
class NVAR(Readout):
    """Nonlinear vector autoregression: Gauthier et al. 2021, doi:10.1038/s41467-021-25801-2.

    No reservoir and nothing random: the next frames are a linear map of some frames, of the stimulus
    and of products of two of the leading components.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy()
    >>> small = dict(components=4, multiplied=2, choices=((2, 1),), ridges=(1e-3,))
    >>> model = cep.surrogates.make("nvar", **small).fit(trajectory, stimulus=stimulus, progress=False)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=10, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 10, 'y': 4, 'x': 4}
    """

    Settings = NVARSettings
    smoke = {"components": 6, "multiplied": 3, "choices": ((2, 2),), "ridges": (1e-3,)}

    def _moments(self, A, U, chunk=400):
        s = self.settings
        taps, spacing = self.choice
        a, u, y = blocks_of(A, U, s.stride)
        a = a + s.noise * torch.randn(a.shape, generator=torch.Generator().manual_seed(s.seed))
        lost = (taps - 1) * spacing
        a, u, y = delays(a, taps, spacing), u[:, lost:], y[:, lost:]
        for k in range(0, a.shape[1], chunk):
            part = slice(k, k + chunk)
            yield self._seen(a[:, part], u[:, part]).flatten(0, 1), y[:, part].flatten(0, 1)

    def _seen(self, a, u):
        """Features of delayed frames a (..., taps * K) and of the step's stimulus u (..., stride * P)."""
        taps, K = self.choice[0], len(self.scale)
        leading = a.unflatten(-1, (taps, K))[..., : self.settings.multiplied].flatten(-2)
        return nvar_features(torch.cat([a, u], dim=-1), leading)

    def _begin(self, A, U):
        taps, spacing = self.choice
        stride = self.settings.stride
        lost = (taps - 1) * spacing * stride
        if A.shape[1] <= lost:
            raise ValueError(f"history has {A.shape[1]} frames; {self.name} looks back {lost} and needs {lost + 1}")
        return A[:, A.shape[1] - 1 - lost : -1 : stride]  # all but the last frame, which comes with the step

    def _features(self, memory, a, u):
        taps, spacing = self.choice
        window = torch.cat([memory, a[:, None]], dim=1)
        return self._seen(delays(window, taps, spacing)[:, 0], u), window[:, 1:]
