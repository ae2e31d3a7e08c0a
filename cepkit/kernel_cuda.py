"""The time loop on an NVIDIA GPU: the same equations, groups of arguments and memory layout as on the CPU.

A block of cells in :mod:`cepkit.kernel` is as wide as a warp, whose lanes so read neighbouring numbers.  A sheet of at
most ``SMALL`` cells runs in one persistent thread block, which meets at its own barrier after each step and whose
threads take several cells each: one step wants some 250 registers, and a block has 65 536.  A larger sheet takes a
kernel launch a step, and so does the step that is one for all: the sheet's largest dV/dt comes back to the host once a
macro step.  Blocks with steps of their own are the CPU's.

This module needs numba's CUDA target; ``NUMBA_ENABLE_CUDASIM=1`` runs it without a GPU, slowly.
"""

import math

import numpy as np
from numba import cuda

from cepkit import cell
from cepkit.engine import Engine
from cepkit.fields import VARIABLES
from cepkit.kernel import RELEASE
from cepkit.simd import BLOCK, DRIVE_LOW, DRIVE_STEP, N_GATES, ROWS, V_LOW, V_STEP, WIDTH

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
def _step(i, V, new, unknowns, grid, cells, tables, stimuli, notes, t, dt):
    """One step of one cell; in scalar form what the three phases of the CPU kernel do to a block."""
    b, lane = i // BLOCK, i % BLOCK
    y, c, table, rectify = unknowns.conc[b], cells.constants, tables.voltage, tables.rectifier
    Cai, CaSR, CaSS, Rbar = y[lane], y[BLOCK + lane], y[2 * BLOCK + lane], y[3 * BLOCK + lane]
    fCaSS, Nai, Ki = y[4 * BLOCK + lane], y[5 * BLOCK + lane], y[6 * BLOCK + lane]
    v, E = V[i], _reversal(Nai, Ki, Cai, c, _log)
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
    p = cells.conductances[b % cells.conductances.shape[0]]
    g = _Conductances(
        p[lane], p[BLOCK + lane], p[2 * BLOCK + lane], p[3 * BLOCK + lane], p[4 * BLOCK + lane], p[5 * BLOCK + lane],
        p[6 * BLOCK + lane], p[7 * BLOCK + lane], p[8 * BLOCK + lane], p[9 * BLOCK + lane], p[10 * BLOCK + lane],
        p[11 * BLOCK + lane],
    )  # fmt: skip
    stimulus = 0.0
    for k in range(stimuli.pulses.shape[0]):
        begin, end, amplitude = stimuli.pulses[k, 0], stimuli.pulses[k, 1], stimuli.pulses[k, 2]
        overlap = (t + dt if t + dt < end else end) - (t if t > begin else begin)
        if overlap > 0.0:
            stimulus += amplitude * overlap / dt * stimuli.masks[int(stimuli.pulses[k, 3]), i]
    spread = 0.0
    for k in range(grid.shift.shape[0]):
        spread += grid.pull[k, i] * (V[grid.shift[k, i]] - v)
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
    new[i] = after
    if v < notes.threshold and after >= notes.threshold:
        at = cuda.atomic.add(notes.count, 0, 1)
        if at < notes.nodes.shape[1]:
            notes.nodes[0, at] = grid.node[i]
            notes.times[0, at] = t + dt * (notes.threshold - v) / (after - v)


@_device
def _record(i, frame, frames, V, node, conc):
    frames[frame, 0, node[i]] = V[i]
    for k in range(3):
        frames[frame, 1 + k, node[i]] = conc[i // BLOCK, k * BLOCK + i % BLOCK]


@cuda.jit
def _run_small(steps, count, unknowns, grid, cells, tables, stimuli, notes, t, dt, frames):
    """Every step of every frame of ``count`` cells, in one thread block."""
    V, new = unknowns.V, unknowns.before
    first, width = cuda.threadIdx.x, cuda.blockDim.x
    for frame in range(frames.shape[0]):
        for step in range(steps):
            now = t + (frame * steps + step) * dt
            for i in range(first, count, width):
                _step(i, V, new, unknowns, grid, cells, tables, stimuli, notes, now, dt)
            cuda.syncthreads()
            V, new = new, V
        for i in range(first, count, width):
            _record(i, frame, frames, V, grid.node, unknowns.conc)


@cuda.jit
def _run_step(count, unknowns, grid, cells, tables, stimuli, notes, t, dt):
    i = cuda.grid(1)
    if i < count:
        _step(i, unknowns.V, unknowns.before, unknowns, grid, cells, tables, stimuli, notes, t, dt)


@cuda.jit
def _run_record(count, frame, frames, V, node, conc):
    i = cuda.grid(1)
    if i < count:
        _record(i, frame, frames, V, node, conc)


@cuda.jit
def _run_fastest(count, V, before, conc, dt, fastest):
    i = cuda.grid(1)
    if i < count:
        cuda.atomic.max(fastest, 0, abs(V[i] - before[i]) / dt)
        cuda.atomic.max(fastest, 0, RELEASE * conc[i // BLOCK, 2 * BLOCK + i % BLOCK])


def _on_device(group):
    return type(group)(*(cuda.to_device(x) if isinstance(x, np.ndarray) else x for x in group))


class CudaEngine(Engine):
    """The same engine on a GPU, with a fixed step."""

    def __init__(self, state, constants, cell_type, save_every, levels, *rest):
        if levels[3]:
            raise ValueError('dt="adaptive" is chosen on the CPU; with device="cuda" give a fixed dt or dt="global"')
        if not cuda.is_available():
            raise ValueError('device="cuda": no CUDA device was found; use device="cpu"')
        if fields := [name for name, value in constants._asdict().items() if np.ndim(value)]:
            raise ValueError(f'parameters: {", ".join(fields)} must be one number with device="cuda"; use device="cpu"')
        super().__init__(state, constants, cell_type, save_every, levels, *rest)
        # Here the constants stay in double precision.
        cells = self.cells._replace(constants=constants, root_Ko=math.sqrt(constants.Ko / 5.4))
        grid = state.grid._replace(shift=np.stack([at for at, _ in state.places()]))  # a lane looks up each neighbour
        self.fixed = [_on_device(group) for group in (grid, cells)]
        self.levels = [_on_device(self.tables._replace(voltage=rows)) for rows in self.tables.voltage]
        self.stimuli = self.stimuli._replace(masks=cuda.to_device(self.stimuli.masks))

    def _call(self, clock, unknowns, stimuli, count):
        cells, grid, notes = self.state.cells, (-(-self.state.cells // 128), 128), _on_device(self._notes(1, count))
        now, pulses, rest = _on_device(unknowns), stimuli.pulses, (_on_device(stimuli), notes)
        frames = cuda.device_array((count, len(VARIABLES), cells))
        macro, steps = clock.macro, clock.parts
        if cells <= SMALL and len(steps) == 1:
            each = clock.per_frame * steps[0]
            given = each, cells, now, *self.fixed, self.levels[0], *rest, clock.start, macro / steps[0], frames
            _run_small[1, min(cells, THREADS)](*given)
            now = now._replace(V=now.before) if count * each % 2 else now
        else:
            for part in range(count * clock.per_frame):
                begin, level = clock.start + part * macro, self._level(clock, pulses, clock.start + part * macro)
                for k in range(steps[level]):
                    dt = macro / steps[level]
                    _run_step[grid](cells, now, *self.fixed, self.levels[level], *rest, begin + k * dt, dt)
                    now = now._replace(V=now.before, before=now.V)
                self._measure(grid, now, macro / steps[level])
                if (part + 1) % clock.per_frame == 0:
                    _run_record[grid](cells, part // clock.per_frame, frames, now.V, self.fixed[0].node, now.conc)
        for host, device in zip(unknowns, now, strict=True):
            device.copy_to_host(host)
        notes = notes._replace(**{name: getattr(notes, name).copy_to_host() for name in ("count", "nodes", "times")})
        return frames.copy_to_host(), notes

    def _level(self, clock, pulses, t):
        """The level of all in the coming macro step, as ``kernel.advance`` chooses it."""
        if len(clock.parts) == 1 or np.any((pulses[:, 0] < t + clock.macro) & (t < pulses[:, 1])):
            return len(clock.parts) - 1
        return int(np.sum(self.state.speed.max() > clock.limits))

    def _measure(self, grid, now, dt):
        if len(self.levels) > 1:
            fastest = cuda.to_device(np.zeros(1))
            _run_fastest[grid](self.state.cells, now.V, now.before, now.conc, dt, fastest)
            self.state.speed[:] = fastest.copy_to_host()
