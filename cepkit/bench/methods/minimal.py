"""A minimal ventricular model on the sheet, some times fitted to the data: four variables in place of nineteen."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from cepkit.bench.methods.physics_augmented import MEMORY, MitchellSchaeffer, PhysicsAugmented
from cepkit.surrogates.base import surrogate

#: The set TNNP of Bueno-Orovio et al. 2008, doi:10.1016/j.jtbi.2008.03.029: times [ms], else without a unit.
TNNP = {
    "u_o": 0.0, "u_u": 1.58, "theta_v": 0.3, "theta_w": 0.015, "theta_vm": 0.015, "theta_o": 0.006, "t_v1m": 60.0,
    "t_v2m": 1150.0, "t_vp": 1.4506, "t_w1m": 70.0, "t_w2m": 20.0, "k_wm": 65.0, "u_wm": 0.03, "t_wp": 280.0,
    "t_fi": 0.11, "t_o1": 6.0, "t_o2": 6.0, "t_so1": 43.0, "t_so2": 0.2, "k_so": 2.0, "u_so": 0.65, "t_s1": 2.7342,
    "t_s2": 3.0, "k_s": 2.0994, "u_s": 0.9087, "t_si": 2.8723, "t_winf": 0.07, "w_inf": 0.94,
}  # fmt: skip
FITTED = ("t_fi", "t_so1", "t_so2", "t_si", "t_wp", "t_w1m", "t_v2m", "t_v1m")
SPAN = 85.7  # mV for one unit of u


@njit(nogil=True, cache=True, error_model="numpy")
def rates(u, v, w, s, p):
    """Rates of the four variables without diffusion and stimulus [1/ms], p as the values of TNNP."""
    fast, slow, low = u >= p[2], u >= p[3], u < p[5]
    out = (u - p[0]) / (p[15] if low else p[16])
    if slow:
        out = 1 / (p[17] + (p[18] - p[17]) * (1 + np.tanh(p[19] * (u - p[20]))) / 2) - w * s / p[25]
    if fast:
        out -= v * (u - p[2]) * (p[1] - u) / p[14]
    dv = -v / p[8] if fast else ((1.0 - v) / p[6] if u < p[4] else -v / p[7])
    t_w = p[9] + (p[10] - p[9]) * (1 + np.tanh(p[11] * (u - p[12]))) / 2
    dw = -w / p[13] if slow else ((1 - u / p[26] if low else p[27]) - w) / t_w
    ds = ((1 + np.tanh(p[23] * (u - p[24]))) / 2 - s) / (p[22] if slow else p[21])
    return -out, dv, dw, ds


@njit(nogil=True, cache=True, error_model="numpy")
def _advance(state, memory, stimulus, ahead, behind, p, dt, substeps, decay, out):
    """Frame after frame by forward Euler steps: ``state`` (4, rows, columns) and memory advance in place."""
    u, (_, ny, nx) = state[0], state.shape
    change, flat = np.empty_like(u), state.reshape(4, -1)
    for frame in range(stimulus.shape[0]):
        for _ in range(substeps):
            for i in range(ny):
                for j in range(nx):
                    x = u[i, j]
                    flow, dv, dw, ds = rates(x, state[1, i, j], state[2, i, j], state[3, i, j], p)
                    flow += ahead[0, i, j] * (u[min(i + 1, ny - 1), j] - x) + behind[0, i, j] * (
                        u[max(i - 1, 0), j] - x
                    )
                    flow += ahead[1, i, j] * (u[i, min(j + 1, nx - 1)] - x) + behind[1, i, j] * (
                        u[i, max(j - 1, 0)] - x
                    )
                    change[i, j] = flow + stimulus[frame, i, j]
                    state[1, i, j] += dt * dv
                    state[2, i, j] += dt * dw
                    state[3, i, j] += dt * ds
            for i in range(ny):
                for j in range(nx):
                    u[i, j] = min(max(u[i, j] + dt * change[i, j], -0.5), 2.0)
        for n in range(ny * nx):
            out[frame, n, :4] = flat[:, n]
            for k in range(decay.shape[0]):
                memory[n, k] = flat[0, n] + (memory[n, k] - flat[0, n]) * decay[k]
                out[frame, n, 4 + k] = memory[n, k]


class MinimalSheet(MitchellSchaeffer):
    """A sheet of the minimal model at rest; ``parameters`` are those of FITTED."""

    def __init__(self, tissue, parameters, interval, dt):
        super().__init__(tissue, parameters, interval, dt)
        self.p = np.array(list((TNNP | dict(zip(FITTED, self.parameters, strict=True))).values()))
        self.state = np.zeros((4, *self.shape))
        self.state[1:3] = 1.0

    def run(self, stimulus):
        """Stimulus current (frames, N) [pA/pF] to features (frames, N, 4 + M): u, v, w, s and averages of u."""
        out = np.empty((len(stimulus), self.v.size, 4 + len(MEMORY)), np.float32)
        pushed = np.ascontiguousarray(stimulus, float).reshape(-1, *self.shape) / -SPAN
        _advance(self.state, self.memory, pushed, *self.weights, self.p, self.dt, self.substeps, self.decay, out)
        return out


@surrogate("minimal_model", "minimal model", "#4D4D4D", "-", draws=True)
class MinimalModel(PhysicsAugmented):
    """The minimal model of Bueno-Orovio et al. 2008, some of its times fitted, and a network a node that corrects it.

    The network makes the four variables of a node's u, v, w, s and running averages of u.
    """

    @dataclass(frozen=True)
    class Settings(PhysicsAugmented.Settings):
        evaluations: int = 80
        frames: int = 1500

    Sheet, first_guess, inputs = MinimalSheet, {name: TNNP[name] for name in FITTED}, 4
