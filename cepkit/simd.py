"""What makes loops over cells fast in compiled code: blocks, tables, SIMD lanes, two precisions.

- **Blocks.** Inside a block of ``BLOCK`` cells each variable is contiguous, at a distance known to the compiler.  So
  the loops over a block, which run the plain functions of :mod:`cepkit.cell`, become SIMD code without alias checks.
- **One table row per cell.** What voltage alone decides (eleven gates, six factors of currents) is tabulated over V
  with linear interpolation.  A row holds all of it: a cell makes one look-up, and SIMD lanes run over the columns.
"""

from types import FunctionType

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from cepkit import cell

BLOCK = 32
N_GATES = 12  # eleven gates and a spare column: SIMD lanes come in fours
N_FACTORS = len(cell.Voltage._fields)
WIDTH = 32  # columns of a table row: 12 steady states, 12 decays, 6 factors, 2 spare
V_LOW, V_HIGH, V_STEP = -150.0, 150.0, 0.05  # [mV]
ROWS = round((V_HIGH - V_LOW) / V_STEP) + 1
DRIVE_LOW, DRIVE_HIGH, DRIVE_STEP = -100.0, 200.0, 0.05  # V - E_K [mV]
ONE = np.float32(1)
# Rows of a thread's scratch block: reversal potentials, factors, open fractions, voltage, diffusion, a cell's gates;
# the neighbours follow.
NERNST, FACTOR, OPEN, AT, LAP, USED, N_SCRATCH = 0, 4, 10, 16, 17, 18, 19

_FAST = {"contract", "nsz", "arcp"}
# No reference counts, whose atomic additions two threads would fight for; so nothing is allocated in these functions.
jit = njit(nogil=True, cache=True, _nrt=False, error_model="numpy", fastmath=_FAST)
inline = njit(_nrt=False, error_model="numpy", fastmath=_FAST, forceinline=True)


def _chosen(choose):
    """A function for compiled code that has several forms: ``choose`` hands back one, given the arguments' types."""

    def pick(*arguments):
        raise NotImplementedError("for compiled code only")

    overload(pick, inline="always", strict=False)(choose)  # the forms have the arguments of each other, not of pick
    return pick


def by_kind_of_constants(for_fields, for_numbers):
    """A function of two forms: for constants, its first argument, that are fields, and for those that are numbers."""
    return _chosen(lambda c, *rest: for_fields if isinstance(c, types.Array) else for_numbers)


def by_order(for_first, for_second):
    """A function of two forms: for first order, where its last argument is None, and for second."""
    return _chosen(lambda *arguments: for_first if arguments[-1] == types.none else for_second)


def both(double, single=None):
    """A function for compiled code in two precisions: ``pick(like)`` is the one of ``like``'s numbers."""
    if single is None:  # a double literal would promote whatever it meets
        code = double.__code__
        literals = tuple(np.float32(k) if isinstance(k, float) else k for k in code.co_consts)
        single = FunctionType(code.replace(co_consts=literals), double.__globals__)
    forms = {types.float64: inline(double), types.float32: inline(single)}

    def choose(like):
        form = forms[like.dtype]
        return lambda like: form

    return _chosen(choose)


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
def fetch_add(typingctx, array, value):
    """Atomically add to ``array[0]`` and return what stood there."""

    def code(context, builder, signature, args):
        return builder.atomic_rmw("add", _item(context, builder, signature.args[0], args[0]), args[1], "seq_cst")

    return types.int64(array, types.int64), code


@intrinsic
def fetch(typingctx, array):
    """Atomically read ``array[0]``."""

    def code(context, builder, signature, args):
        return builder.load_atomic(_item(context, builder, signature.args[0], args[0]), "seq_cst", 8)

    return types.int64(array), code


@inline
def get(array, index):
    """``array[index]`` without Python's negative indices, which would keep loops from vectorising."""
    return array[np.uint64(index)]


@intrinsic
def gather(typingctx, kind, array, first, lane):
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

    def lanes(self, base, offset):
        first = self.builder.gep(base, [ir.Constant(ir.IntType(64), offset)])
        return self.builder.bitcast(first, self.kind.as_pointer())

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
def relax(typingctx, gates, first, table, row, weight, W, cell, second):
    """Advance the gates of one cell and write its factors from one interpolated row, for each gate and factor ``k``::

        gates[first + k] = inf[k] + (gates[first + k] - inf[k]) * decay[k]
        W[(FACTOR + k) * BLOCK + cell] = factor[k]

    In second order decays are those of half a step: the gates go to W[USED * BLOCK + k] and another half a step on.
    """

    def code(context, builder, signature, args):
        kinds = signature.args
        base = _item(context, builder, kinds[2], args[2], builder.mul(args[3], ir.Constant(ir.IntType(64), WIDTH)))
        gate = _item(context, builder, kinds[0], args[0], args[1])
        scratch = _item(context, builder, kinds[5], args[5])
        dtype = kinds[2].dtype
        wide = 256 // dtype.bitwidth  # a register holds four doubles or eight floats
        four, widest = (_Lanes(context, builder, dtype, args[4], count) for count in (4, wide))
        for lanes, k in [(widest, k) for k in range(0, 8, wide)] + [(four, 8)]:
            inf, decay = lanes.interpolate(base, k), lanes.interpolate(base, N_GATES + k)
            used = lanes.fma(builder.fsub(lanes.load(gate, k), inf), decay, inf)
            if second != types.none:
                lanes.store(used, scratch, USED * BLOCK + k)
                used = lanes.fma(builder.fsub(used, inf), decay, inf)
            lanes.store(used, gate, k)
        for k in range(N_FACTORS):
            if k % wide == 0:
                factors = widest.interpolate(base, 2 * N_GATES + k)
            value = builder.extract_element(factors, ir.Constant(ir.IntType(32), k % wide))
            at = builder.add(args[6], ir.Constant(ir.IntType(64), (FACTOR + k) * BLOCK))
            builder.store(value, builder.gep(scratch, [at]))
        return context.get_dummy_value()

    return types.void(gates, types.int64, table, types.int64, table.dtype, W, types.int64, second), code


@inline
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


@inline
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


@inline
def small_exp(x):
    """exp(x) for -0.5 <= x <= 0 by its series; relative error below 1e-10."""
    p = (((1.0 / 362880 * x + 1.0 / 40320) * x + 1.0 / 5040) * x + 1.0 / 720) * x + 1.0 / 120
    p = (((p * x + 1.0 / 24) * x + 1.0 / 6) * x + 0.5) * x + 1.0
    return p * x + 1.0
