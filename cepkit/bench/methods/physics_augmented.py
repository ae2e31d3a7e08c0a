"""Physics augmented: a simple model of the cell on the sheet, and a small network that says what is missing in it."""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from scipy.optimize import minimize
from torch import nn

from cepkit.bench.methods.pod_galerkin import OnTissue
from cepkit.bench.methods.reduced import Trained, train
from cepkit.bench.methods.replay import made_on
from cepkit.dataset import Scaling, to_tensor
from cepkit.fields import VARIABLES
from cepkit.surrogates.base import surrogate
from cepkit.tissue import Tissue

MEMORY = (5.0, 20.0, 60.0, 200.0, 600.0)  # time constants of the averages of u that the network sees [ms]
REST, BOUNDS = -85.5, (-0.5, 2.0)  # Vm at u = 0 [mV]; within which u is held
QUIET = 0.05  # u below which there is no residual, so that a small error at rest does not grow into a beat
#: Mitchell and Schaeffer 2003, doi:10.1016/S0092-8240(03)00041-7: times [ms], all fitted, and v_gate.
MITCHELL_SCHAEFFER = {"t_in": 0.25, "t_out": 6.0, "t_open": 120.0, "t_close": 180.0, "v_gate": 0.13}
#: The set TNNP of Bueno-Orovio et al. 2008, doi:10.1016/j.jtbi.2008.03.029: times [ms], else without a unit.
TNNP = {
    "u_o": 0.0, "u_u": 1.58, "theta_v": 0.3, "theta_w": 0.015, "theta_vm": 0.015, "theta_o": 0.006, "t_v1m": 60.0,
    "t_v2m": 1150.0, "t_vp": 1.4506, "t_w1m": 70.0, "t_w2m": 20.0, "k_wm": 65.0, "u_wm": 0.03, "t_wp": 280.0,
    "t_fi": 0.11, "t_o1": 6.0, "t_o2": 6.0, "t_so1": 43.0, "t_so2": 0.2, "k_so": 2.0, "u_so": 0.65, "t_s1": 2.7342,
    "t_s2": 3.0, "k_s": 2.0994, "u_s": 0.9087, "t_si": 2.8723, "t_winf": 0.07, "w_inf": 0.94,
}  # fmt: skip


@njit(nogil=True, cache=True, error_model="numpy")
def rates(u, v, w, s, p):
    """Rates [1/ms] of up to four variables, without diffusion and stimulus, p as the values of one of the two sets."""
    if len(p) == 5:
        return v * u * u * (1 - u) / p[0] - u / p[1], ((1 - v) / p[2] if u < p[4] else -v / p[3]), 0.0, 0.0
    fast, slow, low = u >= p[2], u >= p[3], u < p[5]
    t_so = p[17] + (p[18] - p[17]) / (1 + np.exp(-2 * p[19] * (u - p[20])))
    out = 1.0 / t_so if slow else (u - p[0]) / (p[15] if low else p[16])
    out -= w * s / p[25] if slow else 0.0
    if fast:
        out -= v * (u - p[2]) * (p[1] - u) / p[14]
    dv = -v / p[8] if fast else ((1.0 - v) / p[6] if u < p[4] else -v / p[7])
    t_w = p[9] + (p[10] - p[9]) / (1 + np.exp(-2 * p[11] * (u - p[12])))
    dw = -w / p[13] if slow else ((1 - u / p[26] if low else p[27]) - w) / t_w
    ds = (1 / (1 + np.exp(-2 * p[23] * (u - p[24]))) - s) / (p[22] if slow else p[21])
    return -out, dv, dw, ds


@njit(nogil=True, cache=True, error_model="numpy")
def advance(state, memory, push, ahead, behind, p, dt, substeps, decay):
    """One frame of sheets side by side, by forward Euler steps.

    ``state`` (sheets, 4, rows, columns) and the averages ``memory`` (sheets, rows, columns, M) advance in place.
    ``push`` (sheets, rows, columns) is what else changes u [1/ms], ``ahead`` and ``behind`` (sheets, 2, rows, columns)
    are what the neighbours are worth [1/ms]; ``decay`` is what a frame leaves of an average.
    """
    ny, nx = state.shape[2:]
    change = np.empty((ny, nx))
    for sheet in range(len(state)):
        u, v, w, s = state[sheet]
        for _ in range(substeps):
            for i in range(ny):
                for j in range(nx):
                    x = u[i, j]
                    flow, dv, dw, ds = rates(x, v[i, j], w[i, j], s[i, j], p)
                    flow += ahead[sheet, 0, i, j] * (u[min(i + 1, ny - 1), j] - x)
                    flow += behind[sheet, 0, i, j] * (u[max(i - 1, 0), j] - x)
                    flow += ahead[sheet, 1, i, j] * (u[i, min(j + 1, nx - 1)] - x)
                    flow += behind[sheet, 1, i, j] * (u[i, max(j - 1, 0)] - x)
                    change[i, j] = flow + push[sheet, i, j]
                    v[i, j] += dt * dv
                    w[i, j] += dt * dw
                    s[i, j] += dt * ds
            for i in range(ny):
                for j in range(nx):
                    u[i, j] = min(max(u[i, j] + dt * change[i, j], BOUNDS[0]), BOUNDS[1])
        for i in range(ny):
            for j in range(nx):
                for k in range(len(decay)):
                    memory[sheet, i, j, k] = u[i, j] + (memory[sheet, i, j, k] - u[i, j]) * decay[k]


class Sheets:
    """Sheets side by side, each of its tissue, that begin with u (sheets, rows, columns) and averages of it."""

    def __init__(self, tissues, parameters, interval, dt, u, mean):
        self.weights = [np.stack(side) for side in zip(*(tissue.weights for tissue in tissues), strict=True)]
        self.p, self.interval = parameters, interval
        self.substeps, self.decay = max(round(interval / dt), 1), np.exp(-interval / np.array(MEMORY))
        self.state = np.zeros((len(u), 4, *u.shape[1:]))
        self.state[:, 0], self.state[:, 1:3] = u, 1.0
        self.memory = np.repeat(np.asarray(mean, float)[..., None], len(MEMORY), axis=-1)

    @property
    def u(self):
        return self.state[:, 0]

    def run(self, push):
        """One frame on, with ``push`` (sheets, rows, columns) besides the model's own rates [1/ms]."""
        dt = self.interval / self.substeps
        advance(self.state, self.memory, push, *self.weights, self.p, dt, self.substeps, self.decay)

    def features(self, variables):
        """What the network sees of each node, float32 (sheets, rows, columns, variables + M)."""
        return np.concatenate([np.moveaxis(self.state[:, :variables], 1, -1), self.memory], -1, dtype=np.float32)


@surrogate("physics_augmented", "physics plus residual", "#999933", "-", version="2", draws=True)
class PhysicsAugmented(OnTissue):
    """A Mitchell-Schaeffer sheet whose parameters are fitted, and a network a node that learns what is missing in it.

    In the manner of Yin et al. 2021, doi:10.1088/1742-5468/ac3ae5 (APHYNITY), and Kashtanova et al. 2022 (Medical
    Imaging with Deep Learning): du/dt = physics + residual, u being Vm from rest on in units of ``span`` mV.  The
    physics carries the wave; the network, the same at every node, sees the sheet's variables and running averages of
    u, and makes the residual, held for a frame, and the three concentrations.

    It learns frame by frame.  A sheet is led through the training runs, u set to the truth and a small error before
    each frame; the residual is the rate that would have ended the frame at the truth and ``kept`` of the error.
    A history leads the sheet likewise, and then it runs free.
    """

    @dataclass(frozen=True)
    class Settings(Trained):
        dt: float = 0.2  # step of the sheet [ms]
        beat: float = 0.0  # first guess of the time constant that ends a beat [ms]; 0: that of the source
        evaluations: int = 60  # runs of the sheet that the search for its parameters may make
        runs: int = 1  # training runs that the search compares with,
        frames: int = 1500  # and frames of each
        shown: int = 4000  # frames of each training run that the network learns from, and
        nodes: int = 24  # nodes of each
        error: float = 0.02  # standard deviation of the error that u is led with
        kept: float = 0.9  # share of it that a frame leaves
        limit: float = 0.1  # of the residual [1/ms]
        hidden: int = 40  # units in each of the two hidden layers
        batch: int = 2048  # pairs of a node and a frame
        rounds: int = 3000  # batches
        learning_rate: float = 5e-3

    physics, fitted, ends = MITCHELL_SCHAEFFER, tuple(MITCHELL_SCHAEFFER), "t_close"
    span, variables = 110.0, 2  # mV for one unit of u; numbers a node, u included
    sheets_only, anywhere, learnt = True, True, ("centre", "width", "parameters")
    configurations = {"smoke": dict(evaluations=8, runs=1, frames=600, nodes=4, rounds=60, hidden=16)}

    def _learn(self, learning):
        self.scaling = Scaling.fit([piece.isel(time=slice(None, None, 10)) for piece in learning.runs])
        tissues = [Tissue(**made_on(run)["tissue"]) for run in learning.runs]
        found = self._fit_sheet(learning, tissues)
        self.card["training"] = self._fit_network(*self._samples(learning, tissues), learning)
        self.card["mean square that the sheet misses"] = float(found)
        self.card["parameters"] = dict(zip(self.fitted, self.parameters.tolist(), strict=True))

    def _sheets(self, parameters, tissues, u, mean=None):
        p = self.physics | dict(zip(self.fitted, np.asarray(parameters, float), strict=True))
        values = np.array(list(p.values()))
        return Sheets(tissues, values, self.interval, self.settings.dt, u, u if mean is None else mean)

    def _u(self, Vm):
        """Potential (..., N) [mV] as the sheet has it, (..., rows, columns)."""
        return (np.asarray(Vm, float).reshape(*Vm.shape[:-1], *self.tissue.shape) - REST) / self.span

    def _truth(self, pieces, frames):
        """u of trajectories side by side, (frames, sheets, rows, columns)."""
        parts = (piece.Vm.isel(time=slice(frames)).values for piece in pieces)
        return np.stack([self._u(Vm.reshape(len(Vm), -1)) for Vm in parts], 1)

    def _pushes(self, stimuli):
        """Stimulus currents, each (frames, N) [pA/pF], frame by frame as rates of u (sheets, rows, columns)."""
        shape = self.tissue.shape
        for currents in zip(*stimuli, strict=True):
            yield torch.stack(currents).double().numpy().reshape(-1, *shape) / -self.span

    def _fit_sheet(self, learning, tissues):
        """Parameters by Nelder and Mead's search for the least mean square of u in free runs."""
        s = self.settings
        n = min(s.frames, *(piece.sizes["time"] for piece in learning.runs))
        wanted = self._truth(learning.runs[: s.runs], n)
        pushes = list(self._pushes([u[: n - 1] for u in learning.stimuli[: s.runs]]))

        def missed(logarithms):
            sheets, total = self._sheets(np.exp(logarithms), tissues[: s.runs], wanted[0]), 0.0
            for push, u in zip(pushes, wanted[1:], strict=True):
                sheets.run(push)
                total += ((sheets.u - u) ** 2).mean()
            return total / len(pushes)

        guess = np.log([s.beat if s.beat and name == self.ends else self.physics[name] for name in self.fitted])
        simplex = np.vstack([guess, guess + 0.2 * np.eye(len(guess))])
        options = {"maxfev": s.evaluations, "initial_simplex": simplex}
        found = minimize(missed, guess, method="Nelder-Mead", options=options)
        self.parameters = torch.from_numpy(np.exp(found.x)).float()
        return found.fun

    def _samples(self, learning, tissues):
        """Features (samples, F), and residual and z-scored concentrations (samples, 4), of nodes drawn at random."""
        s, rng, features, wanted = self.settings, np.random.default_rng(self.settings.seed), [], []
        n, off = min(s.shown, *(piece.sizes["time"] for piece in learning.runs)), 0.0
        truth = self._truth(learning.runs, n)
        where = rng.integers(0, self.nodes, (len(learning.runs), s.nodes))
        at = np.arange(len(where))[:, None], *np.unravel_index(where, self.tissue.shape)
        sheets = self._sheets(self.parameters, tissues, truth[0], truth[: n // 3].mean(0))
        for k, push in enumerate(self._pushes([u[: n - 1] for u in learning.stimuli])):
            off = s.kept * off + (1 - s.kept**2) ** 0.5 * s.error * rng.standard_normal((len(where), 1, 1))
            sheets.u[:] = truth[k] + off
            features.append(sheets.features(self.variables)[at])
            sheets.run(push)
            wanted.append(((truth[k + 1] + s.kept * off - sheets.u) / self.interval)[at])
        X, residual = (torch.from_numpy(np.stack(parts[n // 6 :])) for parts in (features, wanted))
        told = [to_tensor(self.scaling.apply(piece.isel(time=slice(n // 6, n - 1)))) for piece in learning.runs]
        whole = torch.stack([z.unflatten(-1, (-1, len(VARIABLES))) for z in told], 1)
        conc = whole[:, torch.arange(len(where))[:, None], torch.from_numpy(where), 1:]
        residual = residual.float().clamp(-s.limit, s.limit) / s.limit
        return X.flatten(0, 2), torch.cat([residual[..., None], conc], -1).flatten(0, 2)

    def _build(self):
        n = self.settings.hidden
        layers = nn.Linear(self.variables + len(MEMORY), n), nn.ELU(), nn.Linear(n, n), nn.ELU(), nn.Linear(n, 4)
        self.network = nn.Sequential(*layers)

    def _fit_network(self, features, wanted, learning):
        s = self.settings
        torch.manual_seed(s.seed)
        self.centre, self.width = features.mean(0), features.std(0).clamp_min(1e-3)
        self._build()

        def draw():
            drawn = torch.randint(len(features), (s.batch,))
            return features[drawn], wanted[drawn]

        def loss(network, batch, done):
            return (network((batch[0] - self.centre) / self.width) - batch[1]).square().mean()

        return train(self, draw, loss, learning, s.rounds, s.learning_rate, "residual", "cosine", None)

    def _says(self, sheets):
        """Residual of each node, 1 being its limit, and z-scored concentrations (sheets, rows, columns, 4)."""
        return self.network((torch.from_numpy(sheets.features(self.variables)) - self.centre) / self.width)

    @torch.inference_mode()
    def _rollout(self, X, start, steps, stimulus):
        given = self._u(X[..., :: len(VARIABLES)])
        sheets = self._sheets(self.parameters, [self.tissue] * len(given), given[:, 0], given.mean(1))
        out, pushes = [], self._pushes(stimulus[:, : given.shape[1] - 1 + steps])
        for u, push in zip(given.swapaxes(0, 1)[:-1], pushes, strict=False):
            sheets.u[:] = u  # led by the history
            sheets.run(push)
        sheets.u[:] = given[:, -1]
        said = self._says(sheets)
        for push in pushes:
            residual = self.settings.limit * said[..., 0].clamp(-1, 1).numpy() * (sheets.u > QUIET)
            sheets.run(push + residual)
            said = self._says(sheets)
            u = torch.from_numpy(sheets.u[..., None]).float()
            out.append(torch.cat([u, said[..., 1:]], -1).flatten(1))
        mean, std = (v.clone() for v in self.scaling.vectors(self.nodes))
        mean[:: len(VARIABLES)], std[:: len(VARIABLES)] = REST, self.span
        return torch.stack(out, 1) * std + mean


@surrogate("minimal_model", "minimal model", "#4D4D4D", "-", version="2", draws=True)
class MinimalModel(PhysicsAugmented):
    """The same with the minimal model of Bueno-Orovio et al. 2008, four variables a node, some of its times fitted."""

    physics, ends = TNNP, "t_wp"
    fitted = "t_fi", "t_so1", "t_so2", "t_si", "t_wp", "t_w1m", "t_v2m", "t_v1m"
    span, variables = 85.7, 4
