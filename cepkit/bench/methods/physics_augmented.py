"""Physics augmented: a sheet of two variables a node, and a small network that says what is missing."""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from scipy.optimize import minimize
from torch import nn

from cepkit.bench.methods.pod_galerkin import OnTissue
from cepkit.bench.methods.reduced import train
from cepkit.dataset import Scaling, to_tensor
from cepkit.fields import VARIABLES
from cepkit.surrogates.base import surrogate

SPAN = 100.0  # mV for one unit of v, for the stimulus
MEMORY = (5.0, 20.0, 60.0, 200.0, 600.0, 2000.0)  # time constants of the averages of v that the network sees [ms]
CHUNK = 1000  # frames decoded at a time
FIRST_GUESS = {"t_in": 0.25, "t_out": 6.0, "t_open": 120.0, "t_close": 180.0, "v_gate": 0.13}


@njit(nogil=True, cache=True, error_model="numpy")
def _advance(v, h, memory, stimulus, ahead, behind, p, dt, substeps, decay, out):
    """Mitchell and Schaeffer's equations with parameters p, frame after frame: v, h and memory advance in place.

    The stimulus is a rate of change of v [1/ms]; decay is what a frame leaves of each average of v in memory.
    """
    ny, nx = v.shape
    change, flat_v, flat_h = np.empty_like(v), v.reshape(-1), h.reshape(-1)
    for frame in range(stimulus.shape[0]):
        for _ in range(substeps):
            for i in range(ny):
                for j in range(nx):
                    x = v[i, j]
                    flow = h[i, j] * x * x * (1 - x) / p[0] - x / p[1] + stimulus[frame, i, j]
                    down, up = v[min(i + 1, ny - 1), j] - x, v[max(i - 1, 0), j] - x
                    flow += ahead[0, i, j] * down + behind[0, i, j] * up
                    right, left = v[i, min(j + 1, nx - 1)] - x, v[i, max(j - 1, 0)] - x
                    flow += ahead[1, i, j] * right + behind[1, i, j] * left
                    change[i, j] = flow
                    h[i, j] += dt * ((1 - h[i, j]) / p[2] if x < p[4] else -h[i, j] / p[3])
            for i in range(ny):
                for j in range(nx):
                    v[i, j] = min(max(v[i, j] + dt * change[i, j], -0.5), 1.5)
        for n in range(v.size):
            out[frame, n, 0], out[frame, n, 1] = flat_v[n], flat_h[n]
            for k in range(decay.shape[0]):
                memory[n, k] = flat_v[n] + (memory[n, k] - flat_v[n]) * decay[k]
                out[frame, n, 2 + k] = memory[n, k]


class MitchellSchaeffer:
    """A Mitchell-Schaeffer sheet of one or two axes at rest, to be driven by a stimulus.

    dv/dt = div(D grad v) + h v^2 (1 - v) / t_in - v / t_out + stimulus; dh/dt = (1 - h) / t_open below v_gate,
    -h / t_close above: Mitchell and Schaeffer 2003, doi:10.1016/S0092-8240(03)00041-7; parameters as in FIRST_GUESS.
    """

    def __init__(self, tissue, parameters, interval, dt):
        self.shape, self.weights, self.parameters = tissue.shape, tissue.weights, np.asarray(parameters, float)
        self.substeps, self.decay = round(interval / dt), np.exp(-interval / np.array(MEMORY))
        self.dt = interval / self.substeps
        self.v, self.h = np.zeros(self.shape), np.ones(self.shape)
        self.memory = np.zeros((tissue.size, len(MEMORY)))

    def run(self, stimulus):
        """Stimulus current (frames, N) [pA/pF] to features (frames, N, 2 + M): v, h and averages of v."""
        out = np.empty((len(stimulus), self.v.size, 2 + len(MEMORY)), np.float32)
        pushed = np.ascontiguousarray(stimulus, float).reshape(-1, *self.shape) / -SPAN
        _advance(self.v, self.h, self.memory, pushed, *self.weights, self.parameters, self.dt, self.substeps,
                 self.decay, out)  # fmt: skip
        return out


@surrogate("physics_augmented", "physics plus correction", "#999933", "-", version="441caa29b2ed6a18", draws=True)
class PhysicsAugmented(OnTissue):
    """A Mitchell-Schaeffer sheet whose five parameters are fitted, and a network a node that corrects it.

    In the manner of Kashtanova et al. 2022 (Medical Imaging with Deep Learning).  The physics says where and when a
    node fires and recovers; the network, the same at every node, makes the four variables of that node's v, h and
    running averages of v.  The stimulus of the history drives the sheet from rest to the start; of the frames given
    the model reads **none**.
    """

    @dataclass(frozen=True)
    class Settings:
        dt: float = 0.1  # step of the sheet [ms]
        evaluations: int = 60  # runs of the sheet that the search for its parameters may make
        runs: int = 3  # training runs that the search compares with,
        frames: int = 3000  # and frames of each
        hidden: int = 40  # units in each of the two hidden layers of the correction
        samples: int = 30_000  # pairs of a node and a frame drawn from each training run
        batch: int = 2048  # pairs
        rounds: int = 3000  # batches
        learning_rate: float = 5e-3
        validations: int = 0  # how often in training the validation part is asked, for the best weights to stay
        seed: int = 0

    Sheet, first_guess, inputs = MitchellSchaeffer, FIRST_GUESS, 2  # numbers a node besides the averages
    sheets_only, learnt = True, ("line", "centre", "width", "parameters")
    configurations = {"smoke": dict(evaluations=8, runs=1, frames=600, samples=4000, rounds=60, hidden=16)}

    def _learn(self, learning):
        self.scaling = Scaling.fit([piece.isel(time=slice(None, None, 10)) for piece in learning.runs])
        found = self._fit_sheet(learning)
        self.card["training"] = self._fit_network(*self._samples(learning), learning)
        self.card["unexplained by the sheet"] = float(found)
        self.card["parameters"] = dict(zip(self.first_guess, self.parameters.tolist(), strict=True))

    def _sheet(self, parameters):
        return self.Sheet(self.tissue, parameters, self.interval, self.settings.dt)

    def _fit_sheet(self, learning):
        """Parameters by Nelder and Mead's search: how little of Vm is a straight line in v."""
        s, cases = self.settings, []
        for piece, stimulus in list(zip(learning.runs, learning.stimuli, strict=True))[: s.runs]:
            n = min(s.frames, piece.sizes["time"])
            settled = (n - 1) // 3  # from rest to where the run was
            cases.append((stimulus[: n - 1].numpy(), settled, piece.Vm.values[1 + settled : n].ravel()))
        wanted = np.concatenate([Vm for *_, Vm in cases])

        def unexplained(logarithms):
            made = [self._sheet(np.exp(logarithms)).run(u)[settled:, :, 0].ravel() for u, settled, _ in cases]
            r = np.corrcoef(np.concatenate(made), wanted)[0, 1]
            return 1 - r**2 if r > 0 else 1.0

        guess = np.log(list(self.first_guess.values()))
        simplex = np.vstack([guess, guess + 0.2 * np.eye(len(guess))])
        options = {"maxfev": s.evaluations, "initial_simplex": simplex}
        found = minimize(unexplained, guess, method="Nelder-Mead", options=options)
        self.parameters = torch.from_numpy(np.exp(found.x)).float()
        return found.fun

    def _samples(self, learning):
        """Features (samples, F) and z-scored frames (samples, 4) at nodes and times drawn at random."""
        rng, parts = np.random.default_rng(self.settings.seed), []
        for piece, stimulus in zip(learning.runs, learning.stimuli, strict=True):
            n = min(piece.sizes["time"], 10_000)
            made = self._sheet(self.parameters).run(stimulus[: n - 1].numpy())
            truth = to_tensor(self.scaling.apply(piece.isel(time=slice(1, n)))).unflatten(-1, (-1, len(VARIABLES)))
            frame = rng.integers(min(1000, n // 3), n - 1, self.settings.samples)
            node = rng.integers(0, self.nodes, self.settings.samples)
            parts.append((torch.from_numpy(made[frame, node]), truth[frame, node]))
        return map(torch.cat, zip(*parts, strict=True))

    def _build(self):
        n = self.settings.hidden
        layers = nn.Linear(self.inputs + len(MEMORY), n), nn.ELU(), nn.Linear(n, n), nn.ELU(), nn.Linear(n, 4)
        self.network = nn.Sequential(*layers)

    def _fit_network(self, features, wanted, learning):
        s = self.settings
        torch.manual_seed(s.seed)
        v = torch.stack([torch.ones(len(features)), features[:, 0]], dim=1)
        self.line = torch.linalg.lstsq(v, wanted[:, :1]).solution[:, 0]  # z-scored potential at v = 0, and for 1 of v
        self.centre, self.width = features.mean(0), features.std(0).clamp_min(1e-3)
        self._build()

        def draw():
            drawn = torch.randint(len(features), (s.batch,))
            return features[drawn], wanted[drawn]

        def loss(network, batch, done):
            return (self._decode(batch[0]) - batch[1]).square().mean()

        return train(self, draw, loss, learning, s.rounds, s.learning_rate, "correction", "cosine", None)

    def _decode(self, features):
        """Features (..., F) to z-scored variables (..., 4)."""
        correction = self.network((features - self.centre) / self.width)
        physics = self.line[0] + self.line[1] * features[..., :1]
        return torch.cat([correction[..., :1] + physics, correction[..., 1:]], dim=-1)

    @torch.inference_mode()
    def _answer(self, X, stimulus, steps):
        sheet, before = self._sheet(self.parameters), len(X) - 1
        if before:
            sheet.run(stimulus[:before].numpy())
        parts = stimulus[before : before + steps].split(CHUNK)
        out = torch.cat([self._decode(torch.from_numpy(sheet.run(part.numpy()))).flatten(1) for part in parts])
        mean, std = self.scaling.vectors(self.nodes)
        return out * std + mean
