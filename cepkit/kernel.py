"""The time loop, compiled.

The equations are those of :mod:`cepkit.cell`; what is here is only what makes them fast.

- **Blocks.** Inside a block of ``BLOCK`` cells each variable is contiguous, at a distance known to the compiler.  So
  the loops over a block, which run the plain functions of ``cell``, become SIMD code without any alias checks.
- **One table row per cell.** What voltage alone decides (eleven gates, six factors of currents) is tabulated over V
  with linear interpolation.  A row holds all of it: a cell makes one look-up, and SIMD lanes run over the columns.
- **Rush-Larsen.** ``gate = inf + (gate - inf) exp(-dt / tau)``, with the decay in the table, one for each level of dt.
- **Threads meet at a spinning barrier** once a step: 24 x 24 cells are too little work for a pool's fork and join.
- **Jacobi step.** A step reads old voltages and writes new ones, so the number of threads does not change a bit.
"""

import os
from collections import namedtuple
from types import FunctionType

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from cepkit import cell

BLOCK = 32
N_GATES = 12  # eleven gates and a spare column: SIMD lanes come in fours
N_FACTORS, N_CONC = len(cell.Voltage._fields), len(cell.CONCENTRATIONS)
WIDTH = 32  # columns of a table row: 12 steady states, 12 decays, 6 factors, 2 spare
V_LOW, V_HIGH, V_STEP = -150.0, 150.0, 0.05  # [mV]
ROWS = round((V_HIGH - V_LOW) / V_STEP) + 1
DRIVE_LOW, DRIVE_HIGH, DRIVE_STEP = -100.0, 200.0, 0.05  # V - E_K [mV]
RELEASE = 40.0  # 1 mM in the subspace counts as so many mV/ms when the step is chosen
ONE = np.float32(1)
NORMAL_KO = np.float32(5.4)  # normal Ko [mM], in any precision
# Rows of a thread's scratch block: reversal potentials, factors, open fractions, stimulus, diffusion.
_NERNST, _FACTOR, _OPEN, STIM, LAP, N_SCRATCH = 0, 4, 10, 16, 17, 18

_FAST = {"contract", "nsz", "arcp"}
jit = njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
_inline = njit(error_model="numpy", fastmath=_FAST, forceinline=True)


def _both(double, single=None):
    """A function for compiled code in two precisions: ``pick(like)`` is the one of ``like``'s numbers.

    The single form has single literals: a double one would promote whatever it meets.
    """
    if single is None:
        code = double.__code__
        literals = tuple(np.float32(k) if isinstance(k, float) else k for k in code.co_consts)
        single = FunctionType(code.replace(co_consts=literals), double.__globals__)
    forms = {types.float64: _inline(double), types.float32: _inline(single)}

    def pick(like):
        raise NotImplementedError("for compiled code only")

    @overload(pick, inline="always")
    def compiled_pick(like):
        form = forms[like.dtype]
        return lambda like: form

    return pick


_reversal, _currents, _membrane_current = map(_inline, (cell.reversal, cell.currents, cell.membrane_current))
_fluxes, _calcium_gate = _both(cell.fluxes), _both(cell.calcium_gate)
_voltage_factors, _Constants = _inline(cell.voltage_factors), cell.Constants
_Voltage, _Open, _Nernst, _Conductances = cell.Voltage, cell.Open, cell.Nernst, cell.Conductances
# Hands the processor to somebody else, under the name that the system has for that.
_sched_yield = types.ExternalFunction("SwitchToThread" if os.name == "nt" else "sched_yield", types.int32())

# What the time loop is given, on any device: groups of arrays and numbers.
#: What is stepped: voltages [mV] (pad + cells + pad) and as many for the next step, gates (blocks, BLOCK * N_GATES)
#: and concentrations (blocks, N_CONC * BLOCK).  The result stands in ``new`` if the number of steps was odd.
Unknowns = namedtuple("Unknowns", "V new gates conc")
#: Entries of V before the first cell, steps from a cell to its neighbours (axes,), and how strongly these pull
#: (axes, cells) [1/ms]; see ``Tissue.weights``.
Grid = namedtuple("Grid", "pad strides ahead behind")
#: First table row of each cell's type (cells,), conductances (1 or blocks, 12 * BLOCK), the constants, a named tuple
#: or (blocks, 39 * BLOCK) where any is a field, and sqrt(Ko / 5.4).
Cells = namedtuple("Cells", "kind conductances constants root_Ko")
#: See ``voltage_table`` and ``rectifier_table``.
Tables = namedtuple("Tables", "voltage rectifier")
#: Pulses as rows (begin [ms], end [ms], amplitude [pA/pF], mask), and the masks (masks, cells).
Stimuli = namedtuple("Stimuli", "pulses masks")
#: A frame is ``per_frame`` steps of ``macro`` ms; one of these is cut into ``substeps[level]`` equal steps, where
#: ``limits[level]`` [mV/ms] is the speed that ends a level.
Clock = namedtuple("Clock", "start macro per_frame substeps limits")
#: Receives the activations, one row a thread: how many, which node, and when [ms].
Notes = namedtuple("Notes", "threshold count nodes times")
#: The threads: arrivals at the barrier (1,), largest speeds seen (2, 8 * threads), first blocks (threads + 1,), and
#: scratch (threads, N_SCRATCH * BLOCK).
Team = namedtuple("Team", "counter rates spans scratch")


def voltage_table(steps, constants, cell_types=("epi",), dtype=np.float64):
    """Tables over V of all that voltage decides: one row for each step [ms], the types' tables (ROWS, WIDTH) in it."""
    V = V_LOW + V_STEP * np.arange(ROWS)
    table = np.zeros((len(steps), len(cell_types), ROWS, WIDTH))
    for kind, cell_type in enumerate(cell_types):
        for k, (inf, tau) in enumerate(cell.voltage_gates(V, cell_type).values()):
            table[:, kind, :, k] = inf
            table[:, kind, :, N_GATES + k] = np.exp(-np.divide.outer(steps, tau))
    for k, factor in enumerate(cell.voltage_factors(V, constants)):
        table[..., 2 * N_GATES + k] = factor
    return table.reshape(len(steps), -1).astype(dtype)


def rectifier_table(dtype=np.float64):
    """Table of the open fraction of I_K1 over V - E_K."""
    drive = np.arange(DRIVE_LOW, DRIVE_HIGH + DRIVE_STEP / 2, DRIVE_STEP)
    return cell.rectifier(drive).astype(dtype)


def _item(context, builder, kind, array, index=None):
    """Pointer to an item of a contiguous array, the first by default; no wrap-around of negative indices."""
    data = context.make_array(kind)(context, builder, array).data
    return data if index is None else builder.gep(data, [index])


@intrinsic
def _fetch_add(typingctx, array, value):
    """Atomically add to ``array[0]`` and return what stood there."""

    def code(context, builder, signature, args):
        return builder.atomic_rmw("add", _item(context, builder, signature.args[0], args[0]), args[1], "seq_cst")

    return types.int64(array, types.int64), code


@intrinsic
def _fetch(typingctx, array):
    """Atomically read ``array[0]``."""

    def code(context, builder, signature, args):
        return builder.load_atomic(_item(context, builder, signature.args[0], args[0]), "seq_cst", 8)

    return types.int64(array), code


@_inline
def _get(array, index):
    """``array[index]`` without Python's negative indices, which would keep loops from vectorising."""
    return array[np.uint64(index)]


@intrinsic
def _gather(typingctx, kind, array, first, lane):
    """A named tuple of this kind: its fields stand in rows ``first``, ``first + 1``, ... of a block."""
    made = types.NamedUniTuple(array.dtype, len(kind.instance_class._fields), kind.instance_class)

    def code(context, builder, signature, args):
        _, block, row, index = args
        start = builder.add(builder.mul(row, ir.Constant(ir.IntType(64), BLOCK)), index)
        base = _item(context, builder, signature.args[1], block, start)
        items = (builder.gep(base, [ir.Constant(ir.IntType(64), k * BLOCK)]) for k in range(made.count))
        return context.make_tuple(builder, made, [builder.load(item) for item in items])

    return made(kind, array, types.int64, types.int64), code


class _Lanes:
    """Emits SIMD code over ``count`` columns of a table row at a time."""

    def __init__(self, context, builder, dtype, weight, count):
        self.builder = builder
        self.kind = ir.VectorType(context.get_value_type(dtype), count)
        self.align = dtype.bitwidth // 8
        self.weight = ir.Constant(self.kind, ir.Undefined)
        for lane in range(count):
            self.weight = builder.insert_element(self.weight, weight, ir.Constant(ir.IntType(32), lane))

    def pointer(self, base, offset):
        return self.builder.gep(base, [ir.Constant(ir.IntType(64), offset)])

    def lanes(self, base, offset):
        return self.builder.bitcast(self.pointer(base, offset), self.kind.as_pointer())

    def load(self, base, offset):
        return self.builder.load(self.lanes(base, offset), align=self.align, typ=self.kind)

    def store(self, value, base, offset):
        self.builder.store(value, self.lanes(base, offset), align=self.align)

    def fma(self, a, b, c):
        return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    def interpolate(self, row, offset):
        low = self.load(row, offset)
        rise = self.builder.fsub(self.load(row, offset + WIDTH), low)
        return self.fma(self.weight, rise, low)


@intrinsic
def _relax(typingctx, gates, first, table, row, weight, W, cell):
    """Advance the gates of one cell and write its factors: one interpolated row of the table.

    In scalar terms, for each gate ``k`` and each factor ``k``::

        gates[first + k] = inf[k] + (gates[first + k] - inf[k]) * decay[k]
        W[(_FACTOR + k) * BLOCK + cell] = factor[k]
    """

    def code(context, builder, signature, args):
        kinds = signature.args
        base = _item(context, builder, kinds[2], args[2], builder.mul(args[3], ir.Constant(ir.IntType(64), WIDTH)))
        gate = _item(context, builder, kinds[0], args[0], args[1])
        dtype = kinds[2].dtype
        wide = 256 // dtype.bitwidth  # a register holds four doubles or eight floats
        four, widest = (_Lanes(context, builder, dtype, args[4], count) for count in (4, wide))
        for lanes, k in [(widest, k) for k in range(0, 8, wide)] + [(four, 8)]:
            inf, decay = lanes.interpolate(base, k), lanes.interpolate(base, N_GATES + k)
            away = builder.fsub(lanes.load(gate, k), inf)
            lanes.store(lanes.fma(away, decay, inf), gate, k)
        scratch = _item(context, builder, kinds[5], args[5], args[6])
        for k in range(N_FACTORS):
            if k % wide == 0:
                factors = widest.interpolate(base, 2 * N_GATES + k)
            value = builder.extract_element(factors, ir.Constant(ir.IntType(32), k % wide))
            builder.store(value, widest.pointer(scratch, (_FACTOR + k) * BLOCK))
        return context.get_dummy_value()

    return types.void(gates, types.int64, table, types.int64, table.dtype, W, types.int64), code


@_inline
def log(x):
    """Natural logarithm without branches or a library call, so that loops of it vectorise.

    x = 2^e m with m in [0.71, 1.41]; log m = 2 artanh(s) with s = (m - 1) / (m + 1), whose series
    in s^2 <= 0.0295 is cut after eleven terms (relative error below 1e-15).
    """
    shifted = np.float64(x).view(np.int64) - 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
    s = np.int64((shifted & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD).view(np.float64)
    s = (s - 1.0) / (s + 1.0)
    z = s * s
    p = (((1.0 / 21 * z + 1.0 / 19) * z + 1.0 / 17) * z + 1.0 / 15) * z + 1.0 / 13
    p = (((p * z + 1.0 / 11) * z + 1.0 / 9) * z + 1.0 / 7) * z + 1.0 / 5
    p = (p * z + 1.0 / 3) * z + 1.0
    return (shifted >> 52) * 0.6931471805599453 + 2.0 * s * p


@_inline
def log_single(x):
    """Natural logarithm to single precision: four terms of the same series (relative error 2e-8)."""
    shifted = np.int64(np.float32(x).view(np.int32)) - 0x3F3504F3  # the bits of sqrt(1/2)
    e = np.float32(shifted >> 23)
    s = np.int32((shifted & 0x007FFFFF) + 0x3F3504F3).view(np.float32)
    s = (s - ONE) / (s + ONE)
    z = s * s
    p = (np.float32(1 / 9) * z + np.float32(1 / 7)) * z + np.float32(1 / 5)
    p = (p * z + np.float32(1 / 3)) * z + ONE
    return e * np.float32(0.6931471805599453) + (s + s) * p


@_inline
def small_exp(x):
    """exp(x) for -0.5 <= x <= 0 by its series; relative error below 1e-10."""
    p = (((1.0 / 362880 * x + 1.0 / 40320) * x + 1.0 / 5040) * x + 1.0 / 720) * x + 1.0 / 120
    p = (((p * x + 1.0 / 24) * x + 1.0 / 6) * x + 0.5) * x + 1.0
    return p * x + 1.0


def _by_kind_of_constants(for_fields, for_numbers):
    """A function for compiled code with one form for constants that are fields, one for those that are numbers."""

    def pick(c, *rest):
        raise NotImplementedError("for compiled code only")

    @overload(pick, inline="always", strict=False)  # the forms have the arguments of each other, not of this
    def compiled_pick(c, *rest):
        return for_fields if isinstance(c, types.Array) else for_numbers

    return pick


@_inline
def _write_factors(c, V, start, W):
    """Factors of the currents without the table, which holds them for one set of constants."""
    for i in range(BLOCK):
        v = _voltage_factors(_get(V, start + i), _gather(_Constants, c, 0, i))
        f = (v.CaL_in, v.CaL_out, v.NaCa_in, v.NaCa_out, v.NaK, v.pK)
        for k in range(N_FACTORS):
            W[(_FACTOR + k) * BLOCK + i] = f[k]


_of_block = _by_kind_of_constants(lambda c, b: c[b], lambda c, b: c)
_of_cell = _by_kind_of_constants(lambda c, i: _gather(_Constants, c, 0, i), lambda c, i: c)
_root = _by_kind_of_constants(
    lambda c, i, root: np.sqrt(_gather(_Constants, c, 0, i).Ko / NORMAL_KO), lambda c, i, root: root
)
_factors = _by_kind_of_constants(_write_factors.py_func, lambda c, V, start, W: None)
_log, _small_exp = _both(log.py_func, log_single.py_func), _both(small_exp.py_func)


@jit
def _wait(counter, target):
    """Arrive at the barrier, and spin until everybody has."""
    _fetch_add(counter, 1)
    spins = 0
    while _fetch(counter) < target:
        spins += 1
        if spins > 2000:  # somebody else has our partner's processor
            _sched_yield()


@jit
def reversals(conc, W, c):
    """Phase 1, SIMD over cells: reversal potentials."""
    real, log = W.dtype.type, _log(W)
    for i in range(BLOCK):
        Nai, Ki, Cai = real(conc[5 * BLOCK + i]), real(conc[6 * BLOCK + i]), real(conc[i])
        E = _reversal(Nai, Ki, Cai, _of_cell(c, i), log)
        W[i], W[BLOCK + i], W[2 * BLOCK + i], W[3 * BLOCK + i] = E


@jit
def look_up(V, start, gates, kind, first, W, table, rectify):
    """Phase 2, SIMD over the columns of a table row: gates, and the factors of the currents."""
    last, last_drive = ROWS - 1.001, rectify.shape[0] - 1.001
    for i in range(BLOCK):
        v = _get(V, start + i)
        x = (v - V_LOW) * (1 / V_STEP)
        x = x if x > 0.0 else 0.0  # also where x is NaN
        x = x if x < last else last
        row = np.int64(x)
        _relax(gates, i * N_GATES, table, row + _get(kind, first + i), x - row, W, i)
        x = (v - W[BLOCK + i] - DRIVE_LOW) * (1 / DRIVE_STEP)
        x = x if x > 0.0 else 0.0
        x = x if x < last_drive else last_drive
        row = np.int64(x)
        low = _get(rectify, row)
        W[(_OPEN + 5) * BLOCK + i] = low + (x - row) * (_get(rectify, row + 1) - low)
        g = i * N_GATES
        m = gates[g + 3]
        W[(_OPEN + 0) * BLOCK + i] = m * m * m * gates[g + 4] * gates[g + 5]
        W[(_OPEN + 1) * BLOCK + i] = gates[g + 6] * gates[g + 7] * gates[g + 8]
        W[(_OPEN + 2) * BLOCK + i] = gates[g + 9] * gates[g + 10]
        W[(_OPEN + 3) * BLOCK + i] = gates[g] * gates[g + 1]
        W[(_OPEN + 4) * BLOCK + i] = gates[g + 2] * gates[g + 2]


@jit
def _diffuse(V, start, W, strides, ahead, behind, first):
    """Divergence of the diffusive flux [mV/ms]; ``ahead`` and ``behind`` weigh the neighbours."""
    for i in range(BLOCK):
        W[LAP * BLOCK + i] = 0.0
    for axis in range(strides.shape[0]):
        s = strides[axis]
        forth, back = ahead[axis], behind[axis]
        for i in range(BLOCK):
            v = _get(V, start + i)
            gain = _get(forth, first + i) * (_get(V, start + i + s) - v)
            loss = _get(back, first + i) * (v - _get(V, start + i - s))
            W[LAP * BLOCK + i] += gain - loss


@jit
def react(V, new, start, conc, W, g, c, root_Ko, dt):
    """Phase 3, SIMD over cells: currents, concentrations, voltage; rates as precise as ``W``, sums as ``conc``."""
    real, calcium_gate, small_exp, fluxes = W.dtype.type, _calcium_gate(W), _small_exp(W), _fluxes(W)
    step = real(dt)
    for i in range(BLOCK):
        v = _get(V, start + i)
        Cai, CaSR, CaSS = real(conc[i]), real(conc[BLOCK + i]), real(conc[2 * BLOCK + i])
        Rbar, Nai = real(conc[3 * BLOCK + i]), real(conc[5 * BLOCK + i])
        stimulus = W[STIM * BLOCK + i]
        inf, tau = calcium_gate(CaSS)
        fCaSS = inf + (real(conc[4 * BLOCK + i]) - inf) * small_exp(-step / tau)
        o, factors = _gather(_Open, W, _OPEN, i), _gather(_Voltage, W, _FACTOR, i)
        o = _Open(o.Na, o.CaL * fCaSS, o.to, o.Kr, o.Ks, o.K1)
        E, conductances = _gather(_Nernst, W, _NERNST, i), _gather(_Conductances, g, 0, i)
        own = _of_cell(c, i)
        now = _currents(v, o, factors, E, Cai, CaSS, Nai, conductances, own, _root(c, i, root_Ko))
        flux = fluxes(now, stimulus, Cai, CaSR, CaSS, Rbar, own)
        conc[i] += step * flux.Cai
        conc[BLOCK + i] += step * flux.CaSR
        conc[2 * BLOCK + i] += step * flux.CaSS
        conc[3 * BLOCK + i] += step * flux.Rbar
        conc[4 * BLOCK + i] = fCaSS
        conc[5 * BLOCK + i] += step * flux.Nai
        conc[6 * BLOCK + i] += step * flux.Ki
        new[np.uint64(start + i)] = v + step * (W[LAP * BLOCK + i] - _membrane_current(now) - stimulus)


@jit
def _fastest(V, new, start, conc, dt):
    """How fast things happen in a block [mV/ms]: the largest abs(dV/dt), or calcium release.

    Release outlasts the upstroke; steps that ignore it lose a percent of the calcium transient, and over a hundred
    beats of sodium too.
    """
    most = 0.0
    for i in range(BLOCK):
        change, release = abs(_get(new, start + i) - _get(V, start + i)) / dt, RELEASE * conc[2 * BLOCK + i]
        most = change if change > most else most
        most = release if release > most else most
    return most


@jit
def _note_activations(V, new, start, first, t, dt, threshold, nodes, times, count):
    """Note who crossed the threshold upwards in this step, and when (linear between old and new)."""
    for i in range(BLOCK):
        before, after = _get(V, start + i), _get(new, start + i)
        if before < threshold and after >= threshold:
            if count < nodes.shape[0]:
                nodes[count] = first + i
                times[count] = t + dt * (threshold - before) / (after - before)
            count += 1
    return count


@jit
def _stimulate(W, first, t, dt, pulses, masks):
    """Mean stimulus current over [t, t + dt]: the charge is exact whatever the step."""
    for i in range(BLOCK):
        W[STIM * BLOCK + i] = 0.0
    for k in range(pulses.shape[0]):
        begin, end, amplitude = pulses[k, 0], pulses[k, 1], pulses[k, 2]
        overlap = min(t + dt, end) - max(t, begin)
        if overlap > 0.0:
            share = amplitude * overlap / dt
            mask = masks[np.int64(pulses[k, 3])]
            for i in range(BLOCK):
                W[STIM * BLOCK + i] += share * _get(mask, first + i)


@jit
def advance(thread, team, clock, unknowns, grid, cells, tables, stimuli, notes, frames):
    """Run one thread's share of the blocks through ``frames``, shape (frames, 4, cells); returns the number of steps.

    A frame receives Vm, Cai, CaSR, CaSS at its end.  With one level the step is fixed; with more, the level follows
    from the fastest event anywhere in the sheet and from the stimulus, so that every thread takes the same decision.
    """
    # Unpacked once: an array read from a tuple inside the loop would have its references counted there.
    V, new, gates, conc = unknowns
    pad, strides, ahead, behind = grid
    kind, conductances, c, root_Ko = cells
    pulses, masks = stimuli
    start, macro, per_frame, substeps, limits = clock
    counter, rates, spans, scratch = team
    threads, W = spans.shape[0] - 1, scratch[thread]
    nodes, times, threshold, rectify = notes.nodes[thread], notes.times[thread], notes.threshold, tables.rectifier
    levels, per_block = substeps.shape[0], conductances.shape[0] > 1
    done = events = 0
    for frame in range(frames.shape[0]):
        for part in range(per_frame):
            t_macro = start + (frame * per_frame + part) * macro
            level = _choose(levels, limits, rates, threads, done, pulses, t_macro, macro)
            steps, table = substeps[level], tables.voltage[level]
            dt = macro / steps
            for step in range(steps):
                t = t_macro + step * dt
                most = 0.0
                for b in range(spans[thread], spans[thread + 1]):
                    first, at, own = b * BLOCK, pad + b * BLOCK, _of_block(c, b)
                    reversals(conc[b], W, own)
                    look_up(V, at, gates[b], kind, first, W, table, rectify)
                    _factors(own, V, at, W)
                    _diffuse(V, at, W, strides, ahead, behind, first)
                    _stimulate(W, first, t, dt, pulses, masks)
                    react(V, new, at, conc[b], W, conductances[b if per_block else 0], own, root_Ko, dt)
                    events = _note_activations(V, new, at, first, t, dt, threshold, nodes, times, events)
                    if levels > 1:
                        most = max(most, _fastest(V, new, at, conc[b], dt))
                done += 1
                rates[done % 2, thread * 8] = most  # a cache line apart
                V, new = new, V
                if threads > 1:
                    _wait(counter, done * threads)
        for b in range(spans[thread], spans[thread + 1]):
            first, end = b * BLOCK, (b + 1) * BLOCK
            frames[frame, 0, first:end] = V[pad + first : pad + end]
            for k in range(3):
                frames[frame, 1 + k, first:end] = conc[b, k * BLOCK : (k + 1) * BLOCK]
    notes.count[thread] = events
    return done


@jit
def _choose(levels, limits, rates, threads, done, pulses, t, macro):
    """Level of the coming macro step: the finest that speed or stimulus asks for."""
    if levels == 1:
        return 0
    for k in range(pulses.shape[0]):
        if pulses[k, 0] < t + macro and t < pulses[k, 1]:
            return levels - 1
    most = 0.0
    for thread in range(threads):
        most = max(most, rates[done % 2, thread * 8])
    level = 0
    for k in range(levels - 1):
        if most > limits[k]:
            level = k + 1
    return level
