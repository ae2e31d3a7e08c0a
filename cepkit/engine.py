"""The state of a tissue in the layout of the compiled kernel, and the engine that steps it."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.sparse import coo_array

from cepkit import cell, kernel, simd
from cepkit.fields import VARIABLES

#: Of gates and voltage, and of concentrations.
PRECISIONS = {"float64": (np.float64,) * 2, "mixed": (np.float32, np.float64), "float32": (np.float32,) * 2}
TILES = {1: (simd.BLOCK,), 2: (4, 8), 3: (2, 4, 4)}  # nodes of a block along the axes


def tiles(shape):
    """Nodes in the order in which they are kept: compact tiles, of a block each where the shape allows."""
    index, sides = np.indices(shape).reshape(len(shape), -1), np.array(TILES[len(shape)])[:, None]
    return np.lexsort((*(index % sides)[::-1], *(index // sides)[::-1]))


class State:
    """All state of a tissue in blocks of cells; ``state["Cai"]`` is a field on the tissue's grid."""

    def __init__(self, tissue, initial, conductances, dtype):
        real, fine = PRECISIONS[dtype]
        self.tissue, self.n, self.blocks = tissue, tissue.size, -(-tissue.size // simd.BLOCK)
        self.cells = self.blocks * simd.BLOCK
        node = np.arange(self.cells)
        node[: self.n] = tiles(tissue.shape)
        self.order = node[: self.n]
        self.V = np.full(self.cells, cell.INITIAL_STATE["Vm"], real)
        self.gates = np.zeros((self.blocks, simd.BLOCK * simd.N_GATES), real)
        self.conc = np.zeros((self.blocks, kernel.N_CONC * simd.BLOCK), fine)
        for name in cell.STATES:
            self[name] = initial[name]
        self.before, self.gap, self.speed = self.V.copy(), np.ones(self.blocks), np.zeros(self.blocks)
        kept = vars(tissue).setdefault("_layouts", {})  # its setting up takes as long as many steps
        if self.V.dtype not in kept:
            kept[self.V.dtype] = self._neighbours(node)
        self.grid, self.near = kept[self.V.dtype]
        self.conductances, self.more = self.rows(conductances), {}

    def places(self):
        """Forth and back along each direction: where the neighbours stand (cells,), and how strongly they pull."""
        number, place = np.arange(self.n).reshape(self.tissue.shape), np.empty(self.n, np.int32)
        place[self.order] = np.arange(self.n)
        for step, *weights in zip(self.tissue.directions, *self.tissue.weights, strict=True):
            for sign, weight in zip((-1, 1), weights, strict=True):
                at, pull = np.arange(self.cells, dtype=np.int32), np.zeros(self.cells, self.V.dtype)
                there = np.roll(number, sign * step, range(len(step)))  # weighs 0 where the roll leaves the grid
                at[: self.n], pull[: self.n] = place[there.reshape(-1)[self.order]], weight.reshape(-1)[self.order]
                yield at, pull

    def _neighbours(self, node):
        """The grid as the kernel takes it, and which blocks touch each other (blocks, blocks), sparse."""
        begin = simd.BLOCK * np.arange(self.blocks)
        shifts, pulls, apart, pairs = [], [], [], []
        for row, (at, pull) in enumerate(self.places()):
            away = (at - np.arange(self.cells, dtype=np.int32)).reshape(self.blocks, -1)
            shift = np.clip(np.sort(away)[:, simd.BLOCK // 2], -begin, self.cells - simd.BLOCK - begin)
            other = np.flatnonzero((away != shift[:, None]).reshape(-1) & (pull > 0))
            apart.append(np.stack([other, row * simd.BLOCK + other % simd.BLOCK, at[other]]))
            pairs.append(np.unique(np.stack([np.arange(self.cells), at])[:, pull > 0] // simd.BLOCK, axis=1))
            shifts.append(shift)
            pulls.append(pull)
        other, into, source = np.concatenate(apart, axis=1)
        order = np.argsort(other // simd.BLOCK, kind="stable")
        first = np.searchsorted(other[order] // simd.BLOCK, np.arange(self.blocks + 1))
        rows, columns = np.concatenate(pairs, axis=1)
        near = coo_array((rows != columns, (rows, columns)), shape=(self.blocks,) * 2).tocsr()
        near.eliminate_zeros()
        return kernel.Grid(node, np.stack(shifts), np.stack(pulls), first, into[order], source[order]), near

    def rows(self, values):
        """Numbers, or fields among them, as the kernel gathers them: a row a block, one row where there is no field."""
        if any(map(np.ndim, values)):
            rows = np.stack([self.padded(v) for v in values], axis=1).reshape(self.blocks, -1)
        else:
            rows = np.repeat(np.array(values, float), simd.BLOCK)[None]
        return np.ascontiguousarray(rows, self.V.dtype)

    def padded(self, values):
        """A field as blocks; the last block is filled up with copies of the last node."""
        flat = np.broadcast_to(values, self.tissue.shape).reshape(-1)[self.order]
        return np.pad(flat, (0, self.cells - self.n), mode="edge").reshape(self.blocks, -1)

    def block_view(self, name):
        """A variable of all blocks, (blocks, BLOCK), to read and write."""
        if name == "Vm":
            return self.V.reshape(self.blocks, -1)
        if name in cell.VOLTAGE_GATES:
            return self.gates[:, cell.VOLTAGE_GATES.index(name) :: simd.N_GATES]
        first = cell.CONCENTRATIONS.index(name) * simd.BLOCK
        return self.conc[:, first : first + simd.BLOCK]

    def __getitem__(self, name):
        values = np.empty(self.n, self.block_view(name).dtype)
        values[self.order] = self.block_view(name).reshape(-1)[: self.n]
        return values.reshape(self.tissue.shape)

    def __setitem__(self, name, values):
        self.block_view(name)[:] = self.padded(values)

    def arrays(self):
        """What a checkpoint must hold."""
        names = ("V", "before", "gap", "gates", "conc", "speed", *(["flow"] if self.second else []))
        return {name: getattr(self, name) for name in names} | self.more

    def restore(self, arrays):
        for name, values in self.arrays().items():
            values[:] = arrays[name][:]


@functools.lru_cache(maxsize=8)
def _tables(steps, constants, cell_types, dtype):
    """Tables of the kernel: a tenth of the time of a beat of 24 x 24 cells, and the same for every run like it."""
    return kernel.Tables(simd.voltage_table(steps, constants, cell_types, dtype), simd.rectifier_table(dtype))


class Engine:
    """Steps a state by calls of the compiled loop, one Python thread a processor."""

    def __init__(self, state, constants, cell_type, save_every, levels, stimuli, threshold, threads):
        macro, parts, limits, second, together, calm = levels
        self.state, self.stimuli, self.threshold, self.save_every = state, stimuli, float(threshold), save_every
        parts, limits = np.array(parts, np.int64), np.array(limits, float)
        state.speed[:] = np.inf if second else 0.0  # until it is known
        self.threads = max(1, min(threads, state.blocks))
        state.second, rows = second, state.blocks if second else self.threads
        state.flow = np.zeros((rows, 6 * simd.BLOCK), state.V.dtype)
        calm = max(int(calm / macro + 1e-9), 1) if second and len(parts) > 1 else 1
        steps = np.array([*macro / parts, calm * macro])
        # Of first order on the level where nothing happens, of second elsewhere, which bears half as much.
        share = np.array([0.8, *[0.45] * (len(parts) - 1), 0.9] if len(parts) > 1 else [0.45] * 2)
        largest = share * state.tissue.max_dt
        cuts = np.maximum(np.ceil(steps / (largest if second else np.inf) - 1e-9), 1).astype(np.int64)
        steps = tuple(steps / (2 if second else 1))[: len(parts) + (calm > 1)]
        self.clock = kernel.Clock(0.0, macro, round(save_every / macro), parts, cuts, limits, calm, second, together)
        real = state.V.dtype.type
        kinds, kind = np.unique(cell_type, return_inverse=True)
        kind = state.padded(kind.reshape(np.shape(cell_type)) * simd.ROWS).reshape(-1)
        if any(map(np.ndim, constants)):  # the tables' factors are then not used
            own, root_Ko, constants = state.rows(constants), real(1), cell.NORMAL
        else:
            own, root_Ko = cell.Constants(*map(real, constants)), real(np.sqrt(constants.Ko / 5.4))
        self.cells = kernel.Cells(kind, state.conductances, own, root_Ko)
        self.tables = _tables(steps, constants, tuple(kinds), state.V.dtype)
        self.plan = self._plan(len(parts))
        seen = np.zeros((3, state.cells), real)  # zeros that are never touched take no memory
        scratch = self.threads, (simd.N_SCRATCH + len(state.grid.shift)) * simd.BLOCK
        self.team = kernel.Team(np.zeros(1, np.int64), np.zeros(scratch, real), seen[:2], seen[2])
        self.pool = ThreadPoolExecutor(self.threads)

    def _plan(self, levels):
        """All blocks on the first level, where there is no other."""
        blocks, near = self.state.blocks, self.state.near
        members, halo = np.zeros((2, levels, blocks), np.int64)
        members[:], counts = np.arange(blocks), np.zeros((2, levels), np.int64)
        counts[0, 0] = blocks
        first, near = near.indptr.astype(np.int64), near.indices.astype(np.int64)
        carried, course = np.zeros(blocks, np.int8), np.zeros((4, self.state.cells), self.state.V.dtype)
        level, speed = np.zeros(blocks, np.int64), self.state.speed
        return kernel.Plan(level, speed, members, halo, counts, near, first, carried, course)

    def settle(self, frame):
        """See to it that the state is that of a frame."""

    def report(self):
        """Attributes for the trajectory."""
        return {}

    def run(self, first, count):
        """Go on from frame ``first``: ``(count, 4, *tissue.shape)``, activations (events, 2): time [ms] and node."""
        s, rows, start = self.state, self.stimuli.pulses, float(first * self.save_every)
        near = rows[(rows[:, 0] < start + count * self.save_every) & (rows[:, 1] > start)]
        unknowns = kernel.Unknowns(s.V, s.before, s.gap, s.gates, s.conc, s.flow)
        clock, stimuli = self.clock._replace(start=start), self.stimuli._replace(pulses=near)
        frames, notes = self._call(clock, unknowns, stimuli, count)
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
        # With several levels, threads share the blocks anew in each step, and each may meet all the cells.
        most = -(-self.state.blocks // (threads if len(self.clock.parts) == 1 else 1)) * simd.BLOCK
        nodes = np.zeros((threads, each * most + 64), np.int64)
        return kernel.Notes(self.threshold, np.zeros(threads, np.int64), nodes, np.zeros(nodes.shape))

    def _call(self, clock, unknowns, stimuli, count):
        """Frames and notes."""
        s, notes = self.state, self._notes(self.threads, count)
        frames = np.empty((count, len(VARIABLES), s.cells), np.float32)
        self.team.counter[0] = 0
        given = self.threads, self.team, clock, self.plan, unknowns, s.grid, self.cells, self.tables, stimuli, notes
        jobs = [self.pool.submit(kernel.advance, k, *given, frames) for k in range(1, self.threads)]
        kernel.advance(0, *given, frames)  # by this thread: to wake another takes as long as many steps
        for job in jobs:
            job.result()
        return frames, notes
