"""The time loop on an NVIDIA GPU: the same equations, tables and memory layout as on the CPU.

A block of cells in :mod:`cepkit.kernel` is as wide as a warp, so that the
lanes of a warp read neighbouring numbers of its state.  A sheet of at most ``SMALL`` cells runs in
one persistent thread block, which meets at its own barrier after each step and whose threads take
several cells each: one step wants some 250 registers, and a block has 65 536.  A larger sheet takes
a kernel launch a step.  The step is fixed: choosing it adaptively would bring the largest dV/dt of
the whole sheet back to the host each time.

This module needs numba's CUDA target; ``NUMBA_ENABLE_CUDASIM=1`` runs it without a GPU, slowly.
"""

import math

import numpy as np
from numba import cuda

from cepkit import cell, kernel
from cepkit.kernel import BLOCK, DRIVE_LOW, DRIVE_STEP, N_GATES, ROWS, V_LOW, V_STEP, WIDTH

SMALL = 1024  # cells
THREADS = 192  # of the one block

_device = cuda.jit(device=True, fastmath=False)
_reversal, _currents, _fluxes = (_device(f) for f in (cell.reversal, cell.currents, cell.fluxes))
_membrane_current, _calcium_gate = _device(cell.membrane_current), _device(cell.calcium_gate)
_Voltage, _Open, _Conductances = cell.Voltage, cell.Open, cell.Conductances


@_device
def _log(x):
    return math.log(x)


@_device
def _clip(x, high):
    """x in [0, high], and 0 where x is NaN (numba's min and max do not compile for CUDA here)."""
    x = x if x > 0.0 else 0.0
    return x if x < high else high


@_device
def _between(table, at, rise, w):
    """Linear interpolation between two entries of a table."""
    return table[at] + w * (table[at + rise] - table[at])


@_device
def _step(i, V, new, pad, gates, conc, kind, conductances, c, root_Ko, table, rectify, strides, ahead,
          behind, stimuli, masks, t, dt, threshold, count, nodes, times):  # fmt: skip
    """One step of one cell; in scalar form what the three phases of the CPU kernel do to a block."""
    b, lane = i // BLOCK, i % BLOCK
    y = conc[b]
    Cai, CaSR, CaSS, Rbar = y[lane], y[BLOCK + lane], y[2 * BLOCK + lane], y[3 * BLOCK + lane]
    fCaSS, Nai, Ki = y[4 * BLOCK + lane], y[5 * BLOCK + lane], y[6 * BLOCK + lane]
    v = V[pad + i]
    E = _reversal(Nai, Ki, Cai, c, _log)

    x = _clip((v - V_LOW) / V_STEP, ROWS - 1.001)
    row = int(x)
    w = x - row
    row = (row + kind[i]) * WIDTH
    gate = gates[b]
    first = lane * N_GATES
    for k in range(N_GATES):
        inf = _between(table, row + k, WIDTH, w)
        decay = _between(table, row + N_GATES + k, WIDTH, w)
        gate[first + k] = inf + (gate[first + k] - inf) * decay
    f = row + 2 * N_GATES
    factors = _Voltage(
        _between(table, f, WIDTH, w), _between(table, f + 1, WIDTH, w), _between(table, f + 2, WIDTH, w),
        _between(table, f + 3, WIDTH, w), _between(table, f + 4, WIDTH, w), _between(table, f + 5, WIDTH, w),
    )  # fmt: skip
    x = _clip((v - E.K - DRIVE_LOW) / DRIVE_STEP, rectify.shape[0] - 1.001)
    K1 = _between(rectify, int(x), 1, x - int(x))
    inf, tau = _calcium_gate(CaSS)
    fCaSS = inf + (fCaSS - inf) * math.exp(-dt / tau)
    Xr1, Xr2, Xs, m, h, j = (
        gate[first],
        gate[first + 1],
        gate[first + 2],
        gate[first + 3],
        gate[first + 4],
        gate[first + 5],
    )
    d, ff, f2, s, r = gate[first + 6], gate[first + 7], gate[first + 8], gate[first + 9], gate[first + 10]
    opened = _Open(m * m * m * h * j, d * ff * f2 * fCaSS, r * s, Xr1 * Xr2, Xs * Xs, K1)

    p = conductances[b % conductances.shape[0]]
    g = _Conductances(
        p[lane], p[BLOCK + lane], p[2 * BLOCK + lane], p[3 * BLOCK + lane], p[4 * BLOCK + lane], p[5 * BLOCK + lane],
        p[6 * BLOCK + lane], p[7 * BLOCK + lane], p[8 * BLOCK + lane], p[9 * BLOCK + lane], p[10 * BLOCK + lane],
        p[11 * BLOCK + lane],
    )  # fmt: skip
    stimulus = 0.0
    for k in range(stimuli.shape[0]):
        begin, end = stimuli[k, 0], stimuli[k, 1]
        overlap = (t + dt if t + dt < end else end) - (t if t > begin else begin)
        if overlap > 0.0:
            stimulus += stimuli[k, 2] * overlap / dt * masks[int(stimuli[k, 3]), i]
    spread = 0.0
    for axis in range(strides.shape[0]):
        stride = strides[axis]
        spread += ahead[axis, i] * (V[pad + i + stride] - v) + behind[axis, i] * (V[pad + i - stride] - v)

    now = _currents(v, opened, factors, E, Cai, CaSS, Nai, g, c, root_Ko)
    flux = _fluxes(now, stimulus, Cai, CaSR, CaSS, Rbar, c)
    y[lane] = Cai + dt * flux.Cai
    y[BLOCK + lane] = CaSR + dt * flux.CaSR
    y[2 * BLOCK + lane] = CaSS + dt * flux.CaSS
    y[3 * BLOCK + lane] = Rbar + dt * flux.Rbar
    y[4 * BLOCK + lane] = fCaSS
    y[5 * BLOCK + lane] = Nai + dt * flux.Nai
    y[6 * BLOCK + lane] = Ki + dt * flux.Ki
    after = v + dt * (spread - _membrane_current(now) - stimulus)
    new[pad + i] = after
    if v < threshold and after >= threshold:
        at = cuda.atomic.add(count, 0, 1)
        if at < nodes.shape[0]:
            nodes[at] = i
            times[at] = t + dt * (threshold - v) / (after - v)


@_device
def _record(i, frame, frames, V, pad, conc):
    frames[frame, 0, i] = V[pad + i]
    for k in range(3):
        frames[frame, 1 + k, i] = conc[i // BLOCK, k * BLOCK + i % BLOCK]


@cuda.jit
def _run_small(steps, cells, V, new, pad, gates, conc, kind, conductances, c, root_Ko, table, rectify, strides, ahead,
               behind, stimuli, masks, t, dt, threshold, count, nodes, times, frames):  # fmt: skip
    """Every step of every frame, in one thread block."""
    first, width = cuda.threadIdx.x, cuda.blockDim.x
    for frame in range(frames.shape[0]):
        for step in range(steps):
            now = t + (frame * steps + step) * dt
            for i in range(first, cells, width):
                _step(i, V, new, pad, gates, conc, kind, conductances, c, root_Ko, table, rectify, strides, ahead,
                      behind, stimuli, masks, now, dt, threshold, count, nodes, times)  # fmt: skip
            cuda.syncthreads()
            V, new = new, V
        for i in range(first, cells, width):
            _record(i, frame, frames, V, pad, conc)


@cuda.jit
def _run_step(cells, V, new, pad, gates, conc, kind, conductances, c, root_Ko, table, rectify, strides, ahead, behind,
              stimuli, masks, t, dt, threshold, count, nodes, times):  # fmt: skip
    """One step of every cell."""
    i = cuda.grid(1)
    if i < cells:
        _step(i, V, new, pad, gates, conc, kind, conductances, c, root_Ko, table, rectify, strides, ahead, behind,
              stimuli, masks, t, dt, threshold, count, nodes, times)  # fmt: skip


@cuda.jit
def _run_record(cells, frame, frames, V, pad, conc):
    i = cuda.grid(1)
    if i < cells:
        _record(i, frame, frames, V, pad, conc)


class CudaEngine:
    """Drop-in for the solver's CPU engine: state lives in the sheet between calls.

    Examples
    --------
    >>> sheet = cep.Tissue((24, 24), spacing=10 / 23)
    >>> protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(sheet))
    >>> run = cep.simulate(sheet, protocol, 500.0, dt=0.02, device="cuda")  # doctest: +SKIP
    """

    def __init__(self, sheet, constants, cell_type, save_every, levels, stimuli, threshold, threads=None):
        macro, parts, _ = levels
        if len(parts) > 1:
            raise ValueError('dt="adaptive" is chosen on the CPU; give a fixed dt with device="cuda", for example 0.02')
        if not cuda.is_available():
            raise ValueError('device="cuda": no CUDA device was found; use device="cpu"')
        self.sheet, self.save_every, self.steps = sheet, save_every, parts[0]
        self.dt = macro / self.steps
        kinds, kind = np.unique(cell_type, return_inverse=True)
        kind = sheet.padded(kind.reshape(np.shape(cell_type)) * ROWS).reshape(-1)
        real = sheet.V.dtype
        self.stimuli, masks = stimuli
        self.threshold = float(threshold)
        self.fixed = (
            cuda.to_device(kind), cuda.to_device(sheet.conductances), constants, math.sqrt(constants.Ko / 5.4),
            cuda.to_device(kernel.voltage_table(macro / np.array(parts), constants, kinds, real)[0]),
            cuda.to_device(kernel.rectifier_table(real)), cuda.to_device(sheet.strides),
            cuda.to_device(sheet.ahead), cuda.to_device(sheet.behind),
        )  # fmt: skip
        self.masks = cuda.to_device(masks)

    def run(self, first, count):
        """Advance by ``count`` frames after frame ``first``; see the CPU engine."""
        s, t0 = self.sheet, first * self.save_every
        near = (self.stimuli[:, 0] < t0 + count * self.save_every) & (self.stimuli[:, 1] > t0)
        state = V, new, gates, conc = [cuda.to_device(a) for a in (s.V, s.new, s.gates, s.conc)]
        noted = np.zeros(1, np.int64), np.zeros(2 * s.cells + 64, np.int64), np.zeros(2 * s.cells + 64)
        noted = [cuda.to_device(a) for a in noted]
        frames = cuda.device_array((count, 4, s.cells))
        common = (s.pad, gates, conc, *self.fixed, cuda.to_device(self.stimuli[near]), self.masks)
        if s.cells <= SMALL:
            _run_small[1, min(s.cells, THREADS)](
                self.steps, s.cells, V, new, *common, t0, self.dt, self.threshold, *noted, frames
            )  # fmt: skip
            total = count * self.steps
        else:
            grid, total = (-(-s.cells // 128), 128), 0
            for frame in range(count):
                for step in range(self.steps):
                    now = t0 + (frame * self.steps + step) * self.dt
                    _run_step[grid](s.cells, V, new, *common, now, self.dt, self.threshold, *noted)
                    V, new, total = new, V, total + 1
                _run_record[grid](s.cells, frame, frames, V, s.pad, conc)
        for host, device in zip((s.V, s.new, s.gates, s.conc), state, strict=True):
            device.copy_to_host(host)
        if total % 2:
            s.V, s.new = s.new, s.V
        found, nodes, times = (a.copy_to_host() for a in noted)
        activations = np.stack([times, nodes], 1)[: int(found[0])]
        activations = activations[np.lexsort((activations[:, 1], activations[:, 0]))]
        return frames.copy_to_host()[:, :, : s.n].reshape(count, -1, *s.tissue.shape), activations
