"""The time loop, compiled.

The equations are those of :mod:`cepkit.cell`; what is here is only what makes them fast.

- **Rush-Larsen.** ``gate = inf + (gate - inf) exp(-dt / tau)``, with the decay in the table, one for each level of dt.
- **Threads meet at a spinning barrier** once a step: 24 x 24 cells are too little work for a pool's fork and join.
- **Jacobi step.** A step reads old voltages and writes new ones, so the number of threads does not change a bit.
"""

# ruff: noqa: I001
import os
from collections import namedtuple

import numpy as np
from numba import types

from cepkit import cell
from cepkit.simd import (
    AT, BLOCK, DRIVE_LOW, DRIVE_STEP, FACTOR, LAP, N_FACTORS, N_GATES, N_SCRATCH, NERNST, ONE, OPEN, ROWS, USED, V_LOW,
    V_STEP, both, by_kind_of_constants, by_order, fetch, fetch_add, gather, get, inline, jit, log,
    log_single, relax, small_exp,
)  # fmt: skip

N_CONC, N_CONSTANTS = len(cell.CONCENTRATIONS), len(cell.Constants._fields)
RELEASE = 40.0  # 1 mM in the subspace counts as so many mV/ms when the step is chosen
NORMAL_KO = np.float32(5.4)  # normal Ko [mM], in any precision
STIFF = np.float32(0.3)  # of a rate times half a step, so much is borne without
HELD, STIM = 4, 5  # rows of a block's ``flow``

_reversal, _currents, _membrane_current = map(inline, (cell.reversal, cell.currents, cell.membrane_current))
_fluxes, _calcium_gate = both(cell.fluxes), both(cell.calcium_gate)
_voltage_factors, _Constants = inline(cell.voltage_factors), cell.Constants
_Voltage, _Open, _Nernst, _Conductances = cell.Voltage, cell.Open, cell.Nernst, cell.Conductances
# Hands the processor to somebody else, under the name that the system has for that.
_sched_yield = types.ExternalFunction("SwitchToThread" if os.name == "nt" else "sched_yield", types.int32())

# What the time loop is given, on any device: groups of arrays and numbers.
#: What is stepped: voltages [mV] now and before their last step (cells,), how long ago that was [ms] (blocks,),
#: gates (blocks, BLOCK * N_GATES), concentrations (blocks, N_CONC * BLOCK), and (blocks, or in first order threads,
#: 6 * BLOCK) how fast the first four of these change, the membrane current and the stimulus.
Unknowns = namedtuple("Unknowns", "V before gap gates conc flow")
#: The node at each place (cells,).  Along each direction, forth and back, the neighbours of a block stand ``shift``
#: places away (2 * directions, blocks) and pull so strongly (2 * directions, cells) [1/ms], see ``Tissue.weights``; in
#: their row of the scratch, entries ``first[b]`` to ``first[b + 1]`` of ``into`` come from other places, ``source``.
Grid = namedtuple("Grid", "node shift pull first into source")
#: First table row of each cell's type (cells,), conductances (1 or blocks, 12 * BLOCK), the constants, a named tuple
#: or (blocks, 39 * BLOCK) where any is a field, and sqrt(Ko / 5.4).
Cells = namedtuple("Cells", "kind conductances constants root_Ko")
#: See ``voltage_table`` and ``rectifier_table``.
Tables = namedtuple("Tables", "voltage rectifier")
#: Pulses as rows (begin [ms], end [ms], amplitude [pA/pF], mask), the masks (masks, cells), and the blocks that each
#: touches (masks, blocks).
Stimuli = namedtuple("Stimuli", "pulses masks touched")
#: A frame is ``per_frame`` macro steps of ``macro`` ms.  On a level such a step is cut into ``parts`` steps of the
#: cells, and these into ``cuts`` steps of the diffusion; ``limits[level]`` [mV/ms] is the speed that ends a level.
#: Where all are on the first level, ``calm`` macro steps are one, with the last of ``cuts``, of first order in V.
#: ``second`` asks for second order (True, or None: compiled apart), ``together`` for one level everywhere.
Clock = namedtuple("Clock", "start macro per_frame parts cuts limits calm second together")
#: Which block is on which level, and how fast it is (blocks,); the members of each level and their neighbours on other
#: levels (levels, blocks), and how many these are (2, levels); the neighbours of block b are ``near[first[b] :
#: first[b + 1]]``.  Where ``carried`` (blocks,), somebody else knows the voltage: ``course`` (4, cells) holds it as a
#: cubic of the time since ``start``.  Such a block is on level -1.
Plan = namedtuple("Plan", "level speed members halo counts near first carried course")
#: Receives the activations, one row a thread: how many, which node, and when [ms].
Notes = namedtuple("Notes", "threshold count nodes times")
#: The threads: arrivals at the barrier (1,), scratch (threads, (N_SCRATCH + 2 * directions) * BLOCK), what neighbours
#: see of V (2, cells), and V where the macro step began (cells,).
Team = namedtuple("Team", "counter scratch seen origin")


def _write_factors(c, row, W):
    """Factors of the currents without the table, which holds them for one set of constants."""
    for i in range(BLOCK):
        v = _voltage_factors(W[AT * BLOCK + i], gather(_Constants, c, row, i))
        f = (v.CaL_in, v.CaL_out, v.NaCa_in, v.NaCa_out, v.NaK, v.pK)
        for k in range(N_FACTORS):
            W[(FACTOR + k) * BLOCK + i] = f[k]


_of_cell = by_kind_of_constants(lambda c, row, i: gather(_Constants, c, row, i), lambda c, row, i: c)
_root = by_kind_of_constants(
    lambda c, row, i, root: np.sqrt(gather(_Constants, c, row, i).Ko / NORMAL_KO), lambda c, row, i, root: root
)
_factors = by_kind_of_constants(_write_factors, lambda c, row, W: None)
_half = by_order(lambda dt, second: None, lambda dt, second: 0.5 * dt)
#: How much of the last change takes a voltage to the middle of the coming step.
_middle = by_order(lambda V, dt, gap, second: None, lambda V, dt, gap, second: V.dtype.type(0.5 * dt / gap))
_led = by_order(lambda conc, drift, i, lead: conc[i], lambda conc, drift, i, lead: conc[i] + lead * drift[i])
_log, _small_exp = both(log.py_func, log_single.py_func), both(small_exp.py_func)


@jit
def _meet(counter, met, threads):
    """Arrive at the barrier, and spin until everybody has; how often the threads have met."""
    if threads > 1:
        fetch_add(counter, 1)
        spins = 0
        while fetch(counter) < (met + 1) * threads:
            spins += 1
            if spins > 2000:  # somebody else has our partner's processor
                _sched_yield()
    return met + 1


@jit
def reversals(conc, drift, lead, W, c, row):
    """Phase 1, SIMD over cells: reversal potentials, ``lead`` ms ahead in calcium."""
    real, log = W.dtype.type, _log(W)
    for i in range(BLOCK):
        Nai, Ki, Cai = real(conc[5 * BLOCK + i]), real(conc[6 * BLOCK + i]), real(_led(conc, drift, i, lead))
        E = _reversal(Nai, Ki, Cai, _of_cell(c, row, i), log)
        W[i], W[BLOCK + i], W[2 * BLOCK + i], W[3 * BLOCK + i] = E


@jit
def look_up(gates, kind, first, W, table, rectify, second):
    """Phase 2, SIMD over the columns of a table row: gates, and the factors of the currents."""
    last, last_drive = ROWS - 1.001, rectify.shape[0] - 1.001
    for i in range(BLOCK):
        v = W[AT * BLOCK + i]
        x = (v - V_LOW) * (1 / V_STEP)
        x = x if x > 0.0 else 0.0  # also where x is NaN
        x = x if x < last else last
        row = np.int64(x)
        relax(gates, i * N_GATES, table, row + get(kind, first + i), x - row, W, i, second)
        x = (v - W[BLOCK + i] - DRIVE_LOW) * (1 / DRIVE_STEP)
        x = x if x > 0.0 else 0.0
        x = x if x < last_drive else last_drive
        row = np.int64(x)
        low = get(rectify, row)
        W[(OPEN + 5) * BLOCK + i] = low + (x - row) * (get(rectify, row + 1) - low)
        used, g = (gates, i * N_GATES) if second is None else (W, USED * BLOCK)
        m = used[g + 3]
        W[(OPEN + 0) * BLOCK + i] = m * m * m * used[g + 4] * used[g + 5]
        W[(OPEN + 1) * BLOCK + i] = used[g + 6] * used[g + 7] * used[g + 8]
        W[(OPEN + 2) * BLOCK + i] = used[g + 9] * used[g + 10]
        W[(OPEN + 3) * BLOCK + i] = used[g] * used[g + 1]
        W[(OPEN + 4) * BLOCK + i] = used[g + 2] * used[g + 2]


@jit
def react(conc, drift, lead, W, g, c, row, root_Ko, step):
    """Phase 3, SIMD over cells: concentrations, and the currents that are held while charge diffuses.

    Rates are as precise as ``W``, sums as ``conc``.
    """
    real, calcium_gate, small_exp, fluxes = W.dtype.type, _calcium_gate(W), _small_exp(W), _fluxes(W)
    half = step if lead is None else real(0.5) * step
    for i in range(BLOCK):
        Cai, CaSR = real(_led(conc, drift, i, lead)), real(_led(conc, drift, BLOCK + i, lead))
        CaSS, Rbar = real(_led(conc, drift, 2 * BLOCK + i, lead)), real(_led(conc, drift, 3 * BLOCK + i, lead))
        Nai = real(conc[5 * BLOCK + i])
        stimulus = drift[STIM * BLOCK + i]
        inf, tau = calcium_gate(CaSS)
        decay = small_exp(-half / tau)
        fCaSS = inf + (real(conc[4 * BLOCK + i]) - inf) * decay
        o, factors = gather(_Open, W, OPEN, i), gather(_Voltage, W, FACTOR, i)
        o = _Open(o.Na, o.CaL * fCaSS, o.to, o.Kr, o.Ks, o.K1)
        E, conductances = gather(_Nernst, W, NERNST, i), gather(_Conductances, g, 0, i)
        own = _of_cell(c, row, i)
        now = _currents(W[AT * BLOCK + i], o, factors, E, Cai, CaSS, Nai, conductances, own, _root(c, row, i, root_Ko))
        flux = fluxes(now, stimulus, Cai, CaSR, CaSS, Rbar, own)
        filling = flux.CaSS
        if lead is not None:
            # What of the subspace is too fast for the step, by the implicit midpoint rule, which bears any.
            stiff = flux.emptying - STIFF / half
            stiff = stiff if stiff > 0 else real(0)
            filling = (filling + stiff * (CaSS - real(conc[2 * BLOCK + i]))) / (ONE + half * stiff)
            drift[i], drift[BLOCK + i], drift[2 * BLOCK + i] = flux.Cai, flux.CaSR, filling
            drift[3 * BLOCK + i] = flux.Rbar
        conc[i] += step * flux.Cai
        conc[BLOCK + i] += step * flux.CaSR
        conc[2 * BLOCK + i] += step * filling
        conc[3 * BLOCK + i] += step * flux.Rbar
        conc[4 * BLOCK + i] = fCaSS if lead is None else inf + (fCaSS - inf) * decay
        conc[5 * BLOCK + i] += step * flux.Nai
        conc[6 * BLOCK + i] += step * flux.Ki
        drift[HELD * BLOCK + i] = _membrane_current(now)


@inline
def _ahead(V, before, weight, first, out, at):
    """Voltages of a block, carried on along their last change; as they are where ``weight`` is None."""
    for i in range(BLOCK):
        v = get(V, first + i)
        if weight is not None:
            v += weight * (v - get(before, first + i))
        out[np.uint64(at + i)] = v


@inline
def _beside(V, before, origin, then, b, other, level, gap, along, macro, course, since):
    """What a level sees of a block on another ``along`` ms into the macro step: carried on, or interpolated if done.

    It then is the parabola through its ends with the slope at the second; on level -1 it is its course.
    """
    if other < 0:
        t = V.dtype.type(since + along)
        for i in range(b * BLOCK, (b + 1) * BLOCK):
            v = get(course[2], i) + t * get(course[3], i)
            then[np.uint64(i)] = get(course[0], i) + t * (get(course[1], i) + t * v)
    elif other > level:
        share, slope = V.dtype.type(along / macro), V.dtype.type(macro / gap)
        for i in range(b * BLOCK, (b + 1) * BLOCK):
            now = get(V, i)
            change = now - get(origin, i)
            then[np.uint64(i)] = now + (share - 1) * (change + share * (slope * (now - get(before, i)) - change))
    else:
        _ahead(V, before, V.dtype.type(along / gap), b * BLOCK, then, b * BLOCK)


@inline
def _used(counts):
    """The levels that have members, as bits."""
    used = 0
    for k in range(counts.shape[1]):
        used |= (counts[0, k] > 0) << k
    return used


@inline
def _neighbours(seen, b, W, shift, entries, into, source):
    """What a block sees of its neighbours, long before :func:`_diffuse` reads them: single stores, then wide loads."""
    first, there = b * BLOCK, N_SCRATCH * BLOCK
    for k in range(shift.shape[0]):
        at = first + shift[k, b]
        for i in range(BLOCK):
            W[np.uint64(there + k * BLOCK + i)] = get(seen, at + i)
    for entry in range(entries[b], entries[b + 1]):
        W[np.uint64(there + get(into, entry))] = get(seen, get(source, entry))


@inline
def _diffuse(V, seen, first, W, pulls, flow, step):
    """A step of the voltage: the divergence of the diffusive flux [mV/ms], and the currents that are held."""
    for i in range(BLOCK):
        W[LAP * BLOCK + i] = 0.0
    for k in range(0, pulls.shape[0], 2):
        pull, push, ahead = pulls[k], pulls[k + 1], (N_SCRATCH + k) * BLOCK
        for i in range(BLOCK):
            v = get(seen, first + i)
            gain = get(pull, first + i) * (get(W, ahead + i) - v)
            W[LAP * BLOCK + i] += gain - get(push, first + i) * (v - get(W, ahead + BLOCK + i))
    for i in range(BLOCK):
        at = np.uint64(first + i)
        V[at] += step * (W[LAP * BLOCK + i] - flow[HELD * BLOCK + i] - flow[STIM * BLOCK + i])


@jit
def _fastest(V, before, first, conc, dt, cap):
    """How fast things happen in a block [mV/ms]: the largest abs(dV/dt), or calcium release, at most ``cap``."""
    # Steps that ignore the release lose a percent of the calcium transient, and over a hundred beats of sodium too.
    most = 0.0
    for i in range(BLOCK):
        change, release = abs(get(V, first + i) - get(before, first + i)) / dt, RELEASE * conc[2 * BLOCK + i]
        release = release if release < cap else cap
        most = change if change > most else most
        most = release if release > most else most
    return most


@jit
def _note(V, before, first, node, t, dt, threshold, nodes, times, count):
    """Note who crossed the threshold upwards in this step, and when (linear between old and new)."""
    crossed = 0
    for i in range(BLOCK):  # SIMD
        crossed += (get(before, first + i) < threshold) & (get(V, first + i) >= threshold)
    for i in range(BLOCK if crossed else 0):
        old, new = get(before, first + i), get(V, first + i)
        if old < threshold and new >= threshold:
            if count < nodes.shape[0]:
                nodes[count] = node[first + i]
                times[count] = t + dt * (threshold - old) / (new - old)
            count += 1
    return count


@jit
def _stimulate(flow, first, t, dt, pulses, masks):
    """Mean stimulus current over [t, t + dt]: the charge is exact whatever the step."""
    for i in range(BLOCK):
        flow[STIM * BLOCK + i] = 0.0
    for k in range(pulses.shape[0]):
        begin, end, amplitude = pulses[k, 0], pulses[k, 1], pulses[k, 2]
        overlap = min(t + dt, end) - max(t, begin)
        if overlap > 0.0:
            share = amplitude * overlap / dt
            mask = masks[np.int64(pulses[k, 3])]
            for i in range(BLOCK):
                flow[STIM * BLOCK + i] += share * get(mask, first + i)


@jit
def _choose(plan, limits, together, pulses, touched, t, macro):
    """Level of every block in the coming macro step: what its speed or a stimulus asks for, or one less than next door.

    Lists the members of each level, and the blocks that these see on other levels.
    """
    level, speed, members, halo, counts, near, first, carried, _ = plan
    blocks, levels = members.shape[1], members.shape[0]
    for b in range(blocks):
        level[b] = -1 if carried[b] else 0
        for k in range(0 if carried[b] else levels - 1):
            if speed[b] > limits[k]:
                level[b] = k + 1
    for k in range(pulses.shape[0]):
        if pulses[k, 0] < t + macro and t < pulses[k, 1]:
            for b in range(blocks):
                if touched[np.int64(pulses[k, 3]), b] and not carried[b]:
                    level[b] = levels - 1
    if together:
        top = 0
        for own in level:
            top = max(top, own)
        for b in range(blocks):
            level[b] = top
    for k in range(levels - 1, 1, -1):
        for b in range(blocks):
            if level[b] == k:
                for at in range(first[b], first[b + 1]):
                    if not carried[near[at]]:
                        level[near[at]] = max(level[near[at]], k - 1)
    for k in range(levels):
        counts[0, k] = counts[1, k] = 0
    for b in range(blocks):
        own, others = level[b], 0
        for at in range(first[b], first[b + 1]):
            others |= 0 if carried[near[at]] else 1 << level[near[at]]
        if own >= 0:
            members[own, counts[0, own]] = b
            counts[0, own] += 1
        for k in range(levels):
            if k != own and others >> k & 1:
                halo[k, counts[1, k]] = b
                counts[1, k] += 1


@inline
def _step_cells(V, before, gap, gates, conc, flow, kind, g, c, row, root_Ko, first, W, table, rectify, t, dt, pulses,
                masks, second):  # fmt: skip
    """A step of the cells of a block; the change of voltage that it makes is left to the diffusion."""
    real, lead = V.dtype.type, _half(dt, second)
    _ahead(V, before, _middle(V, dt, gap, second), first, W, AT * BLOCK)
    reversals(conc, flow, lead, W, c, row)
    look_up(gates, kind, first, W, table, rectify, second)
    _factors(c, row, W)
    _stimulate(flow, first, t, dt, pulses, masks)
    react(conc, flow, lead, W, g, c, row, root_Ko, real(dt))
    _ahead(V, before, None, first, before, first)


@jit
def advance(thread, threads, team, clock, plan, unknowns, grid, cells, tables, stimuli, notes, frames):
    """Run one thread's share of the blocks through ``frames``, shape (frames, 4, cells).

    A frame receives Vm, Cai, CaSR, CaSS at its end.  In a macro step the levels follow each other, the finest first;
    what a block sees of a neighbour on another level is its voltage carried on, or interpolated where it is done.  All
    read what was written before they last met, so the number of threads does not change a bit.
    """
    # Unpacked once: an array read from a tuple inside the loop would have its references counted there.
    V, before, gap, gates, conc, flow = unknowns
    node, shift, pulls, entries, into, source = grid
    kind, conductances, c, root_Ko = cells
    pulses, masks, touched = stimuli
    start, macro, per_frame, parts, cuts, limits, calm, second, together = clock
    counter, scratch, seen, origin = team
    level, speed, members, halo, counts, _, _, carried, course = plan
    W, levels, per_block, blocks = scratch[thread], parts.shape[0], conductances.shape[0] > 1, gates.shape[0]
    nodes, times, threshold, rectify = notes.nodes[thread], notes.times[thread], notes.threshold, tables.rectifier
    real, met, events, done, solved = V.dtype.type, 0, 0, 0, len(carried) - carried.sum()
    cap = limits[-1] if second is not None and levels > 2 else np.inf
    while done < frames.shape[0] * per_frame:
        t_macro, span = start + done * macro, 1
        if levels > 1:
            if thread == 0:
                _choose(plan, limits, together, pulses, touched, t_macro, calm * macro)
            met = _meet(counter, met, threads)
            span = calm if counts[0, 0] == solved and per_frame - done % per_frame >= calm else 1
        todo = _used(counts)  # told first: the next plan may be made while others still look for more levels
        for k in range(levels - 1, -1, -1):
            if not todo >> k & 1:
                continue
            row = k if span == 1 else levels
            count, around, cut = counts[0, k], counts[1, k], cuts[row]
            steps, dt, table = parts[k] * cut, span * macro / parts[k], tables.voltage[row]
            h, lean = span * macro / steps, 0.0 if k == 0 and levels > 1 else 1.0
            low, high = count * thread // threads, count * (thread + 1) // threads
            for step in range(-1, steps):
                t, now, then = t_macro + step * h, seen[step & 1], seen[(step + 1) & 1]
                for j in range(low, high):
                    b = members[k, j]
                    first, mine, ours = b * BLOCK, flow[thread if second is None else b], conc[b]
                    if step < 0:
                        _ahead(V, before, None, first, origin, first)
                    else:
                        _neighbours(now, b, W, shift, entries, into, source)
                        if step % cut == 0:
                            g = conductances[b if per_block else 0]
                            _step_cells(V, before, gap[b], gates[b], ours, mine, kind, g, c, b * N_CONSTANTS, root_Ko,
                                        first, W, table, rectify, t, dt, pulses, masks, second)  # fmt: skip
                        _diffuse(V, now, first, W, pulls, mine, real(h))
                        gap[b] = (step % cut + 1) * h
                        if step % cut == cut - 1:
                            events = _note(V, before, first, node, t + h - dt, dt, threshold, nodes, times, events)
                        if levels > 1 and step == steps - 1:
                            speed[b] = _fastest(V, before, first, ours, dt, cap)
                    if step < steps - 1:
                        _ahead(V, before, _middle(V, lean * h, gap[b], second), first, then, first)
                if step < steps - 1:
                    for j in range(around * thread // threads, around * (thread + 1) // threads):
                        b = halo[k, j]
                        _beside(V, before, origin, then, b, level[b], k, gap[b], (step + 1.5) * h, span * macro, course,
                                t_macro - start)  # fmt: skip
                met = _meet(counter, met, threads)
        done += span
        if done % per_frame == 0:
            for b in range(blocks * thread // threads, blocks * (thread + 1) // threads):
                _record(b, node, V, conc[b], frames[done // per_frame - 1])
    notes.count[thread] = events


@jit
def _record(b, node, V, conc, frame):
    for i in range(BLOCK):
        at = node[b * BLOCK + i]
        frame[0, at] = V[b * BLOCK + i]
        for k in range(3):
            frame[1 + k, at] = conc[k * BLOCK + i]
