"""The state of a tissue in the layout of the compiled kernel, and the engine that steps it."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cepkit import cell, kernel
from cepkit.fields import VARIABLES

#: Of gates and voltage, and of concentrations.
PRECISIONS = {"float64": (np.float64,) * 2, "mixed": (np.float32, np.float64), "float32": (np.float32,) * 2}


class State:
    """All state of a tissue in blocks of cells; ``state["Cai"]`` is a field on the tissue's grid."""

    def __init__(self, tissue, initial, conductances, dtype):
        real, fine = PRECISIONS[dtype]
        self.tissue, self.n, self.blocks = tissue, tissue.size, -(-tissue.size // kernel.BLOCK)
        self.cells = self.blocks * kernel.BLOCK
        strides = tissue.directions @ np.cumprod((1, *tissue.shape[:0:-1]))[::-1].astype(np.int64)
        self.pad = int(np.abs(strides).max())
        self.V = np.full(self.cells + 2 * self.pad, cell.INITIAL_STATE["Vm"], real)
        self.new, self.rates = self.V.copy(), np.zeros(1)
        self.gates = np.zeros((self.blocks, kernel.BLOCK * kernel.N_GATES), real)
        self.conc = np.zeros((self.blocks, kernel.N_CONC * kernel.BLOCK), fine)
        for name in cell.STATES:
            self[name] = initial[name]
        ahead, behind = np.zeros((2, len(strides), self.cells), real)
        for ours, weights in zip((ahead, behind), tissue.weights, strict=True):
            ours[:, : self.n] = weights.reshape(len(strides), -1)
        self.grid = kernel.Grid(self.pad, strides, ahead, behind)
        self.conductances = self.rows(conductances)

    def rows(self, values):
        """Numbers, or fields among them, as the kernel gathers them: a row a block, one row where there is no field."""
        if any(map(np.ndim, values)):
            rows = np.stack([self.padded(v) for v in values], axis=1).reshape(self.blocks, -1)
        else:
            rows = np.repeat(np.array(values, float), kernel.BLOCK)[None]
        return np.ascontiguousarray(rows, self.V.dtype)

    def padded(self, values):
        """A field as blocks; the last block is filled up with copies of the last node."""
        flat = np.broadcast_to(values, self.tissue.shape).reshape(-1)
        return np.pad(flat, (0, self.cells - self.n), mode="edge").reshape(self.blocks, -1)

    def _view(self, name):
        if name == "Vm":
            return self.V[self.pad : self.pad + self.cells].reshape(self.blocks, -1)
        if name in cell.VOLTAGE_GATES:
            return self.gates[:, cell.VOLTAGE_GATES.index(name) :: kernel.N_GATES]
        first = cell.CONCENTRATIONS.index(name) * kernel.BLOCK
        return self.conc[:, first : first + kernel.BLOCK]

    def __getitem__(self, name):
        return self._view(name).reshape(-1)[: self.n].reshape(self.tissue.shape).copy()

    def __setitem__(self, name, values):
        self._view(name)[:] = self.padded(values)

    def arrays(self):
        """What a checkpoint must hold."""
        return {"V": self.V, "gates": self.gates, "conc": self.conc, "rates": self.rates}

    def restore(self, arrays):
        for name, values in self.arrays().items():
            values[:] = arrays[name]
        self.new[:] = self.V


@functools.lru_cache(maxsize=8)
def _tables(steps, constants, cell_types, dtype):
    """Tables of the kernel: a tenth of the time of a beat of 24 x 24 cells, and the same for every run like it."""
    return kernel.Tables(kernel.voltage_table(steps, constants, cell_types, dtype), kernel.rectifier_table(dtype))


class Engine:
    """Steps a state by calls of the compiled loop, one Python thread a processor."""

    def __init__(self, state, constants, cell_type, save_every, levels, stimuli, threshold, threads):
        macro, parts, limits = levels
        self.state, self.stimuli, self.threshold, self.save_every = state, stimuli, float(threshold), save_every
        self.clock = kernel.Clock(0.0, macro, round(save_every / macro), np.array(parts, np.int64), np.array(limits))
        real = state.V.dtype.type
        kinds, kind = np.unique(cell_type, return_inverse=True)
        kind = state.padded(kind.reshape(np.shape(cell_type)) * kernel.ROWS).reshape(-1)
        if any(map(np.ndim, constants)):  # the tables' factors are then not used
            own, root_Ko, constants = state.rows(constants), real(1), cell.NORMAL
        else:
            own, root_Ko = cell.Constants(*map(real, constants)), real(np.sqrt(constants.Ko / 5.4))
        self.cells = kernel.Cells(kind, state.conductances, own, root_Ko)
        self.tables = _tables(tuple(macro / self.clock.substeps), constants, tuple(kinds), state.V.dtype)
        self.threads = max(1, min(threads, state.blocks))
        self.spans = np.linspace(0, state.blocks, self.threads + 1).astype(np.int64)
        self.scratch = np.zeros((self.threads, kernel.N_SCRATCH * kernel.BLOCK), real)
        self.pool = ThreadPoolExecutor(self.threads)

    def run(self, first, count):
        """Go on from frame ``first``: ``(count, 4, *tissue.shape)``, activations (events, 2): time [ms] and node."""
        s, rows, start = self.state, self.stimuli.pulses, float(first * self.save_every)
        near = rows[(rows[:, 0] < start + count * self.save_every) & (rows[:, 1] > start)]
        unknowns = kernel.Unknowns(s.V, s.new, s.gates, s.conc)
        clock, stimuli = self.clock._replace(start=start), self.stimuli._replace(pulses=near)
        frames, notes, steps = self._call(clock, unknowns, stimuli, count)
        if steps % 2:
            s.V, s.new = s.new, s.V
        if notes.count.max() > notes.nodes.shape[1]:
            raise RuntimeError(f"more activations than {notes.nodes.shape[1]} in one call; give a smaller save_every")
        each = zip(notes.count, notes.times, notes.nodes, strict=True)
        noted = np.concatenate([np.stack([times[:n], nodes[:n]], 1) for n, times, nodes in each])
        noted = noted[noted[:, 1] < s.n]  # without the cells that fill up the last block
        noted = noted[np.lexsort((noted[:, 1], noted[:, 0]))]
        return frames[:, :, : s.n].reshape(count, -1, *s.tissue.shape), noted

    def _notes(self, threads, count):
        """Room for two activations of every cell in ``count`` frames, and one more for each tenth of a second."""
        each = 2 + int(count * self.save_every / 100)
        nodes = np.zeros((threads, each * -(-self.state.cells // threads) + 64), np.int64)
        return kernel.Notes(self.threshold, np.zeros(threads, np.int64), nodes, np.zeros(nodes.shape))

    def _call(self, clock, unknowns, stimuli, count):
        """Frames, notes, and the number of steps taken."""
        s, notes = self.state, self._notes(self.threads, count)
        frames, rates = np.empty((count, len(VARIABLES), s.cells)), np.zeros((2, 8 * self.threads))
        rates[0, 0] = s.rates[0]
        team = kernel.Team(np.zeros(1, np.int64), rates, self.spans, self.scratch)
        given = team, clock, unknowns, s.grid, self.cells, self.tables, stimuli, notes, frames
        jobs = [self.pool.submit(kernel.advance, k, *given) for k in range(self.threads)]
        steps = [job.result() for job in jobs][0]
        s.rates[0] = rates[steps % 2].max()
        return frames, notes, steps
