"""The time loop on an NVIDIA GPU: the same equations, groups of arguments and memory layout as on the CPU.

A block of cells in :mod:`cepkit.kernel` is as wide as a warp, whose lanes so read neighbouring numbers.  A sheet of at
most ``SMALL`` cells runs in one persistent thread block, which meets at its own barrier after each step and whose
threads take several cells each: one step wants some 250 registers, and a block has 65 536.  A larger sheet takes a
kernel launch a step.  The step is fixed: choosing it would bring the sheet's largest dV/dt back to the host each time.

This module needs numba's CUDA target; ``NUMBA_ENABLE_CUDASIM=1`` runs it without a GPU, slowly.
"""

import math

import numpy as np
from numba import cuda

from cepkit import cell
from cepkit.engine import Engine
from cepkit.fields import VARIABLES
from cepkit.kernel import BLOCK, DRIVE_LOW, DRIVE_STEP, N_GATES, ROWS, V_LOW, V_STEP, WIDTH

SMALL = 1024  # cells
THREADS = 192  # of the one block

_device = cuda.jit(device=True, fastmath=False)
_reversal, _currents, _fluxes = (_device(f) for f in (cell.reversal, cell.currents, cell.fluxes))
_membrane_current, _calcium_gate = _device(cell.membrane_current), _device(cell.calcium_gate)
_log = _device(lambda x: math.log(x))
_Voltage, _Open, _Conductances = cell.Voltage, cell.Open, cell.Conductances


@_device
def _clip(x, high):
    """x in [0, high], and 0 where x is NaN (numba's min and max do not compile for CUDA here)."""
    x = x if x > 0.0 else 0.0
    return x if x < high else high


@_device
def _between(table, at, rise, w):
    return table[at] + w * (table[at + rise] - table[at])


@_device
def _conductances(p, lane):
    """The twelve conductances of one cell of a block."""
    return _Conductances(
        p[lane], p[BLOCK + lane], p[2 * BLOCK + lane], p[3 * BLOCK + lane], p[4 * BLOCK + lane], p[5 * BLOCK + lane],
        p[6 * BLOCK + lane], p[7 * BLOCK + lane], p[8 * BLOCK + lane], p[9 * BLOCK + lane], p[10 * BLOCK + lane],
        p[11 * BLOCK + lane],
    )  # fmt: skip


@_device
def _step(i, V, new, unknowns, grid, cells, tables, stimuli, notes, t, dt):
    """One step of one cell; in scalar form what the three phases of the CPU kernel do to a block."""
    b, lane = i // BLOCK, i % BLOCK
    y, pad, c, table, rectify = unknowns.conc[b], grid.pad, cells.constants, tables.voltage, tables.rectifier
    Cai, CaSR, CaSS, Rbar = y[lane], y[BLOCK + lane], y[2 * BLOCK + lane], y[3 * BLOCK + lane]
    fCaSS, Nai, Ki = y[4 * BLOCK + lane], y[5 * BLOCK + lane], y[6 * BLOCK + lane]
    v, E = V[pad + i], _reversal(Nai, Ki, Cai, c, _log)
    x = _clip((v - V_LOW) / V_STEP, ROWS - 1.001)
    row = int(x)
    w = x - row
    row = (row + cells.kind[i]) * WIDTH
    gate, first = unknowns.gates[b], lane * N_GATES
    for k in range(N_GATES):
        inf, decay = _between(table, row + k, WIDTH, w), _between(table, row + N_GATES + k, WIDTH, w)
        gate[first + k] = inf + (gate[first + k] - inf) * decay
    f = row + 2 * N_GATES
    CaL_in, CaL_out = _between(table, f, WIDTH, w), _between(table, f + 1, WIDTH, w)
    NaCa_in, NaCa_out = _between(table, f + 2, WIDTH, w), _between(table, f + 3, WIDTH, w)
    NaK, pK = _between(table, f + 4, WIDTH, w), _between(table, f + 5, WIDTH, w)
    factors = _Voltage(CaL_in, CaL_out, NaCa_in, NaCa_out, NaK, pK)
    x = _clip((v - E.K - DRIVE_LOW) / DRIVE_STEP, rectify.shape[0] - 1.001)
    K1 = _between(rectify, int(x), 1, x - int(x))
    inf, tau = _calcium_gate(CaSS)
    fCaSS = inf + (fCaSS - inf) * math.exp(-dt / tau)
    Xr1, Xr2, Xs = gate[first], gate[first + 1], gate[first + 2]
    m, h, j = gate[first + 3], gate[first + 4], gate[first + 5]
    d, ff, f2, s, r = gate[first + 6], gate[first + 7], gate[first + 8], gate[first + 9], gate[first + 10]
    opened = _Open(m * m * m * h * j, d * ff * f2 * fCaSS, r * s, Xr1 * Xr2, Xs * Xs, K1)
    g = _conductances(cells.conductances[b % cells.conductances.shape[0]], lane)
    stimulus = 0.0
    for k in range(stimuli.pulses.shape[0]):
        begin, end, amplitude = stimuli.pulses[k, 0], stimuli.pulses[k, 1], stimuli.pulses[k, 2]
        overlap = (t + dt if t + dt < end else end) - (t if t > begin else begin)
        if overlap > 0.0:
            stimulus += amplitude * overlap / dt * stimuli.masks[int(stimuli.pulses[k, 3]), i]
    spread = 0.0
    for axis in range(grid.strides.shape[0]):
        s = grid.strides[axis]
        spread += grid.ahead[axis, i] * (V[pad + i + s] - v) + grid.behind[axis, i] * (V[pad + i - s] - v)
    now = _currents(v, opened, factors, E, Cai, CaSS, Nai, g, c, cells.root_Ko)
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
    if v < notes.threshold and after >= notes.threshold:
        at = cuda.atomic.add(notes.count, 0, 1)
        if at < notes.nodes.shape[1]:
            notes.nodes[0, at] = i
            notes.times[0, at] = t + dt * (notes.threshold - v) / (after - v)


@_device
def _record(i, frame, frames, V, pad, conc):
    frames[frame, 0, i] = V[pad + i]
    for k in range(3):
        frames[frame, 1 + k, i] = conc[i // BLOCK, k * BLOCK + i % BLOCK]


@cuda.jit
def _run_small(steps, count, unknowns, grid, cells, tables, stimuli, notes, t, dt, frames):
    """Every step of every frame of ``count`` cells, in one thread block."""
    V, new = unknowns.V, unknowns.new
    first, width = cuda.threadIdx.x, cuda.blockDim.x
    for frame in range(frames.shape[0]):
        for step in range(steps):
            now = t + (frame * steps + step) * dt
            for i in range(first, count, width):
                _step(i, V, new, unknowns, grid, cells, tables, stimuli, notes, now, dt)
            cuda.syncthreads()
            V, new = new, V
        for i in range(first, count, width):
            _record(i, frame, frames, V, grid.pad, unknowns.conc)


@cuda.jit
def _run_step(count, unknowns, grid, cells, tables, stimuli, notes, t, dt):
    i = cuda.grid(1)
    if i < count:
        _step(i, unknowns.V, unknowns.new, unknowns, grid, cells, tables, stimuli, notes, t, dt)


@cuda.jit
def _run_record(count, frame, frames, V, pad, conc):
    i = cuda.grid(1)
    if i < count:
        _record(i, frame, frames, V, pad, conc)


def _on_device(group):
    return type(group)(*(cuda.to_device(x) if isinstance(x, np.ndarray) else x for x in group))


class CudaEngine(Engine):
    """The same engine on a GPU, with a fixed step."""

    def __init__(self, state, constants, cell_type, save_every, levels, *rest):
        if len(levels[1]) > 1:
            raise ValueError('dt="adaptive" is chosen on the CPU; give a fixed dt with device="cuda", for example 0.02')
        if not cuda.is_available():
            raise ValueError('device="cuda": no CUDA device was found; use device="cpu"')
        if fields := [name for name, value in constants._asdict().items() if np.ndim(value)]:
            raise ValueError(f'parameters: {", ".join(fields)} must be one number with device="cuda"; use device="cpu"')
        super().__init__(state, constants, cell_type, save_every, levels, *rest)
        # Here the constants stay in double precision.
        cells = self.cells._replace(constants=constants, root_Ko=math.sqrt(constants.Ko / 5.4))
        tables = self.tables._replace(voltage=self.tables.voltage[0])
        self.fixed = [_on_device(group) for group in (state.grid, cells, tables)]
        self.stimuli = self.stimuli._replace(masks=cuda.to_device(self.stimuli.masks))

    def _call(self, clock, unknowns, stimuli, count):
        cells, steps, notes = self.state.cells, clock.per_frame * int(clock.substeps[0]), self._notes(1, count)
        dt, pad, there = clock.macro / clock.substeps[0], self.state.pad, _on_device(unknowns)
        given = *self.fixed, _on_device(stimuli), (notes := _on_device(notes))
        frames = cuda.device_array((count, len(VARIABLES), cells))
        if cells <= SMALL:
            _run_small[1, min(cells, THREADS)](steps, cells, there, *given, clock.start, dt, frames)
        else:
            grid, now = (-(-cells // 128), 128), there
            # Once compiled for these arguments it need not look at their types before each step.
            step = _run_step.specialize(cells, now, *given, clock.start, dt)[grid]
            for k in range(count * steps):
                step(cells, now, *given, clock.start + k * dt, dt)
                now = now._replace(V=now.new, new=now.V)
                if (k + 1) % steps == 0:
                    _run_record[grid](cells, k // steps, frames, now.V, pad, now.conc)
        for host, device in zip(unknowns, there, strict=True):
            device.copy_to_host(host)
        notes = notes._replace(**{name: getattr(notes, name).copy_to_host() for name in ("count", "nodes", "times")})
        return frames.copy_to_host(), notes, count * steps
