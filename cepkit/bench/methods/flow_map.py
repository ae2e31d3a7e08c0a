"""The flow map of the membrane: a learnt course of all state variables, where the solver need not look.

The state of a cell is Markov: left alone, its nineteen numbers decide what follows.  So the course of an action
potential after its upstroke, and of the rest after it, is learnt as a function of the full state; stimulus, front,
collision and block are left to the solver, which takes steps of its own in each block of cells anyway.
"""

from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import BSpline, make_interp_spline
from scipy.sparse import eye_array
from scipy.special import expit, ive
from torch import nn

from cepkit import cell, simd
from cepkit.bench.methods.solver_coarse import SolverCoarse
from cepkit.engine import TILES, Engine
from cepkit.fields import VARIABLES
from cepkit.solver import simulate
from cepkit.store import digest, kept_folder
from cepkit.surrogates.base import surrogate
from cepkit.surrogates.card import read_card, read_weights

CONDUCTANCES = ("gNa", "gCaL", "gKr", "gKs", "gto", "gK1")
SLOW = ("CaSR", "Nai", "Ki")  # their course is told as a change, so that a start is never forgotten
FADE = 30.0  # within so many ms the course forgets how the net would have had it start
SMOOTH = (4.0, 20.0)  # for so long the tissue's diffusion smooths what the net is told of the neighbours [ms],
NEAR = ("Vm", "Xr1", "Xs", "f", "f2", "Cai")  # of these variables
WINDOW, REACH = 8.0, 0.8  # the solver looks after so long who can be carried [ms]; a front runs so fast at most [mm/ms]
DOUBT = 2.5  # a course whose voltage is expected to be wrong by more is left to the solver [mV, root mean square]
LONG, OVER = 400.0, -60.0  # so is one whose voltage is still above this [mV] after so long [ms]: it may yet turn up
NORMAL = cell.Conductances()
#: Kept with the weights: of the states mean, spread and bounds; the features' bounds, mean and spread; by how much the
#: slow ones change in 100 ms [their spread]; how far from its start a course may begin.
SCALES = ("mean", "std", "floor", "roof", "low", "high", "x_mean", "x_std", "step", "far")
_OWN = [cell.STATES.index(name) for name in ("Cai", "CaSS")]
_SLOW = [cell.STATES.index(name) for name in SLOW]
_NEAR = [cell.STATES.index(name) for name in NEAR]
N_IN = len(cell.STATES) + len(SMOOTH) * len(NEAR) + len(_OWN) + len(CONDUCTANCES) + 1
_SHOWN = [cell.STATES.index(name) for name in VARIABLES]


@dataclass(frozen=True)
class Settings(SolverCoarse.Settings):
    dt: str = "adaptive"
    tolerance: float = 0.06  # of the solver [ms]
    hidden: int = 256
    rank: int = 96  # numbers from which a course is written
    horizon: float = 1000.0  # of a course [ms]; longer ones are composed


def knots(horizon):
    """Times at which a course is written [ms]: dense at first, and until long action potentials end."""
    pieces = (0, 40, 4), (40, 560, 8), (560, horizon + 1, 40)
    return np.concatenate([np.arange(*piece, dtype=float) for piece in pieces])


class Course(nn.Module):
    """Features of a cell to the coefficients of its course, and these to z-scores at the knots (batch, knots, 19)."""

    def __init__(self, n_in, hidden, rank, knots):
        super().__init__()
        widths = n_in, hidden, hidden, hidden
        layers = [part for pair in zip(widths, widths[1:], strict=False) for part in (nn.Linear(*pair), nn.SiLU())]
        self.code = nn.Sequential(*layers, nn.Linear(hidden, rank))
        self.write = nn.Linear(rank, knots * len(cell.STATES))
        self.doubt = nn.Sequential(nn.Linear(n_in, 64), nn.SiLU(), nn.Linear(64, 1))  # log10 of the error to expect

    def forward(self, x):
        return self.write(self.code(x)).unflatten(1, (-1, len(cell.STATES)))


class Smoothing:
    """A tissue's diffusion over each of some times [ms]: ``exp(time * operator)`` by Chebyshev polynomials."""

    def __init__(self, tissue, order, times=SMOOTH):
        self.times, self.bound = times, tissue.max_dt
        if np.isfinite(self.bound):
            matrix = self.bound * tissue.operator[order][:, order] + eye_array(tissue.size)
            self.matrix = matrix.tocsr().astype(np.float32)  # its spectrum is -1 to 1

    def __call__(self, fields):
        """Of fields (nodes, variables): one such array for each time."""
        if not np.isfinite(self.bound):
            return [fields] * len(self.times)
        strength = np.array(self.times) / self.bound
        terms = int(np.ceil(np.sqrt(12 * strength.max()))) + 3
        share = np.stack([ive(k, strength) * (2 if k else 1) for k in range(terms)]).astype(np.float32)
        before, now = fields, self.matrix @ fields
        out = [a * before + b * now for a, b in zip(*share[:2], strict=True)]
        for row in share[2:]:
            before, now = now, 2 * (self.matrix @ now) - before
            out = [o + c * now for o, c in zip(out, row, strict=True)]
        return out


def told(S, z, parts, factors):
    """What the net is told: (cells, N_IN) from states and their z-scores (cells, 19)."""
    return np.concatenate([z, np.log(np.maximum(S[:, _OWN], 1e-7)), *parts, factors], 1).astype(np.float32)


class Carrying(Engine):
    """An engine that hands blocks of cells over to a flow map, and takes them back when something comes near.

    It goes by ticks of at most WINDOW ms, of which a frame is a whole number.  ``since`` is when a block was handed
    over, ``code`` and ``rest`` are what its course is written from.
    """

    def __init__(self, state, constants, cell_type, save_every, levels, *given, flow):
        super().__init__(state, constants, cell_type, save_every, levels, *given)
        if not self.clock.second or len(self.clock.parts) < 2:
            raise ValueError('dt: a flow map carries blocks of cells, which needs dt="adaptive"')
        macros, macro = self.clock.per_frame, self.clock.macro
        per_tick = max(n for n in range(1, macros + 1) if macros % n == 0 and (n * macro <= WINDOW or n == 1))
        self.flow, self.ticks, self.save_every = flow, macros // per_tick, per_tick * macro
        self.clock, self.window = self.clock._replace(per_frame=per_tick), max(1, int(WINDOW / self.save_every + 1e-9))
        self.factors, self.known = self._told(constants, cell_type)
        self.smooth, self.carried = Smoothing(state.tissue, state.order), self.plan.carried
        side = min(n * h for n, h in zip(TILES[len(state.tissue.shape)], state.tissue.spacing, strict=True))
        self.reach = eye_array(state.blocks, dtype=bool, format="csr")
        for _ in range(int(np.ceil(REACH * self.window * self.save_every / side)) + 1):
            self.reach = (state.near @ self.reach + self.reach).astype(bool)
        self.code = np.zeros((state.cells, flow.settings.rank), np.float32)
        self.rest = np.zeros((state.cells, len(cell.STATES)), np.float32)
        self.since, self.share = np.zeros(state.blocks), np.zeros(2)
        names = ("carried", "code", "rest", "since", "share")
        state.more = {name: getattr(self, name) for name in names}

    def _told(self, constants, cell_type):
        """What the net is told of each cell (cells, 7), and in which blocks all else is normal."""
        state, normal = self.state, np.array(NORMAL)[:, None]
        rows = np.broadcast_to(state.conductances.reshape(-1, *normal.shape[:1], simd.BLOCK) / normal,
                               (state.blocks, len(normal), simd.BLOCK))  # fmt: skip
        other = [k for k, name in enumerate(NORMAL._fields) if name not in CONDUCTANCES]
        usual = (np.abs(rows[:, other] - 1) < 1e-5).all((1, 2))
        usual &= not any(map(np.ndim, constants)) and constants == cell.NORMAL
        parts = [rows[:, NORMAL._fields.index(name)] for name in CONDUCTANCES]
        parts.append(state.padded(np.asarray(cell_type) == "endo"))
        return np.stack([part.reshape(-1) for part in parts], 1).astype(np.float32), usual

    def run(self, first, count):
        begin, end = first * self.ticks, (first + count) * self.ticks
        frames = np.empty((count, len(VARIABLES), self.state.cells), np.float32)
        noted, tick = [np.zeros((0, 2))], begin
        while tick < end:
            self._wake(self._busy(tick), tick)
            self._renew(tick)
            if self.carried.all():
                ticks = self._quiet(tick, end)
                self._show(frames, tick, ticks, begin)
            else:
                ticks = min(self.window, end - tick)
                noted.append(self._solve(frames, tick, ticks, begin))
                self._give(tick + ticks)
            self.share += ticks * np.array([self.carried.mean(), 1.0])
            tick += ticks
        return frames[:, :, : self.state.n].reshape(count, -1, *self.state.tissue.shape), np.concatenate(noted)

    def settle(self, frame):
        self._settle(self.carried > 0, frame * self.ticks)

    def report(self):
        return {"carried": float(self.share[0] / max(self.share[1], 1.0))}

    def _busy(self, tick):
        """Blocks that the solver must look after in the coming window: something is near, or will be."""
        begin, p = tick * self.save_every, self.stimuli.pulses
        blocks = (self.carried == 0) & (self.state.speed > self.clock.limits[0])
        for row in p[(p[:, 0] < begin + self.window * self.save_every - 1e-9) & (p[:, 1] > begin + 1e-9)]:
            blocks |= self.stimuli.touched[int(row[3])]
        return self.reach @ blocks > 0 if blocks.any() else blocks

    def _quiet(self, tick, end):
        """Ticks until a stimulus or the end of a course."""
        now, begins = tick * self.save_every, self.stimuli.pulses[:, 0]
        until = min(begins[begins > now + 1e-9].min(initial=np.inf), self.since.min() + self.flow.settings.horizon)
        return int(np.clip((until - now) / self.save_every + 1e-9, 1, end - tick))

    def _groups(self, blocks):
        """Cells and start of those blocks that were handed over together."""
        for since in np.unique(self.since[blocks]):
            of = np.flatnonzero(blocks & (self.since == since))
            yield (of[:, None] * simd.BLOCK + np.arange(simd.BLOCK)).reshape(-1), since

    def _course(self, cells, since, times, shown=False):
        return self.flow.at(self.code[cells], self.rest[cells], times - since, shown)

    def _states(self, tick):
        """Of all cells (cells, 19)."""
        S = np.stack([self.state.block_view(name).reshape(-1) for name in cell.STATES], 1).astype(np.float32)
        for cells, since in self._groups(self.carried > 0):
            S[cells] = self._course(cells, since, np.array([tick * self.save_every]))[0].T
        return S

    def _wake(self, busy, tick):
        self._settle(busy & (self.carried > 0), tick)
        self.carried[busy] = 0

    def _settle(self, blocks, tick):
        """Write the state of carried blocks where the solver finds it."""
        state, now = self.state, tick * self.save_every
        for cells, since in self._groups(blocks):
            own = cells[:: simd.BLOCK] // simd.BLOCK
            S = self._course(cells, since, np.array([now, now - 0.5]))
            for k, name in enumerate(cell.STATES):
                state.block_view(name)[own] = S[0, k].reshape(-1, simd.BLOCK)
            state.before[cells] = S[1, 0]
            state.gap[own], state.speed[own], state.flow[own] = 0.5, 0.0, 0.0

    def _show(self, frames, tick, ticks, begin):
        """Fill in what is carried."""
        at = np.arange(tick + 1, tick + ticks + 1)
        at = at[(at - begin) % self.ticks == 0]
        for cells, since in self._groups(self.carried > 0) if len(at) else ():
            nodes, first = self.state.grid.node[cells], (at[0] - begin) // self.ticks - 1
            order = np.argsort(nodes)
            where = slice(None) if len(cells) == self.state.cells else nodes[order]
            frames[first : first + len(at), :, where] = self._course(cells[order], since, at * self.save_every, True)

    def _solve(self, frames, tick, ticks, begin):
        """A window: the solver among carried neighbours, whose voltages it is told as cubics."""
        at = ticks * self.save_every * np.arange(4) / 3
        for cells, since in self._groups(self.carried > 0):
            V = self._course(cells, since, tick * self.save_every + at, True)[:, 0]
            self.plan.course[:, cells] = np.linalg.inv(np.vander(at, increasing=True)) @ V
        out, noted = super().run(tick, ticks)
        rows = np.arange(tick + 1, tick + ticks + 1) - begin
        keep = rows % self.ticks == 0
        out = out.reshape(ticks, len(VARIABLES), self.state.n)
        frames[rows[keep] // self.ticks - 1, :, : self.state.n] = out[keep]
        self._show(frames, tick, ticks, begin)
        return noted

    def _features(self, S):
        z, n = (S - self.flow.scale["mean"]) / self.flow.scale["std"], self.state.n
        near = z[:n, _NEAR]
        parts = [np.pad(wide - near, ((0, len(z) - n), (0, 0)), mode="edge") for wide in self.smooth(near)]
        return told(S, z, parts, self.factors)

    def _give(self, tick):
        """Hand over blocks where nothing will happen soon, once these are half of those that are solved."""
        free = (self.carried == 0) & self.known & ~self._busy(tick)
        if free.sum() >= 0.5 * (self.carried == 0).sum():
            self._take(free, tick)

    def _renew(self, tick):
        """A new course for blocks whose own ends soon; the solver takes those that have no further one."""
        now = (tick + self.window) * self.save_every
        if (old := (self.carried > 0) & (now > self.since + self.flow.settings.horizon)).any():
            self._settle(old, tick)
            self.carried[old] = 0
            self._take(old, tick)

    def _take(self, blocks, tick):
        """Begin a course for each of some blocks, if all its cells are in states that the net knows."""
        S = self._states(tick)
        cells = (np.flatnonzero(blocks)[:, None] * simd.BLOCK + np.arange(simd.BLOCK)).reshape(-1)
        self.code[cells], self.rest[cells], known = self.flow.encode(self._features(S)[cells], S[cells])
        blocks = np.flatnonzero(blocks)[known.reshape(-1, simd.BLOCK).all(1)]
        self.since[blocks], self.carried[blocks] = tick * self.save_every, 1


@surrogate("flow_map", "flow map", "#4B0092", "-", version="3")
class FlowMap(SolverCoarse):
    """Runs tissue by itself: the solver where it must look, learnt courses elsewhere.  Its weights come with the book;
    ``fit`` takes tissue and cells from the runs, as the solver does."""

    Settings = Settings
    learnt = ("state", *SCALES)

    def _fit(self, learning):
        card = read_card(path := kept_folder() / "models" / self.name)
        if self.network is None:
            self._restore(read_weights(path, card), {})
        super()._fit(learning)
        self.card["weights"] = card["weights"]

    def _build(self):
        s = self.settings
        self.knots = knots(s.horizon)
        self.network = Course(N_IN, s.hidden, s.rank, len(self.knots))

    def _restore(self, tensors, card):
        super()._restore(tensors, card)
        self.scale = {name: getattr(self, name).numpy() for name in SCALES}
        self._tabulate()
        self.hash = digest(*(np.asarray(v) for v in self._tensors().values()))

    def _tabulate(self):
        """What is written at the knots as coefficients of B-splines (knots, 19, rank + 1), the bias in the last column:
        these are local, so that some frames cost a few products of coefficients each."""
        weights = [p.detach().numpy() for p in self.network.code.parameters()]
        self.layers = [(w.T, b) for w, b in zip(weights[::2], weights[1::2], strict=True)]
        rows = np.concatenate([p.detach().numpy().reshape(p.shape[0], -1) for p in self.network.write.parameters()], 1)
        spline = make_interp_spline(self.knots, rows.reshape(len(self.knots), len(cell.STATES), -1).astype(float))
        each = np.arange(self.knots[-1] + 1)
        self.share = BSpline.design_matrix(each, spline.t, 3).toarray().astype(np.float32)  # of coefficients, each ms
        table = spline.c * self.scale["std"][:, None]
        table[:, _SLOW] = (table[:, _SLOW] - table[:1, _SLOW]) * self.scale["step"][None, :, None]
        table[..., -1] += np.where(np.isin(np.arange(len(cell.STATES)), _SLOW), 0.0, self.scale["mean"])
        self.table = table.astype(np.float32)
        self.shown, self.late = np.ascontiguousarray(self.table[:, _SHOWN]), self.share[int(LONG)] @ self.table[:, 0]

    def encode(self, X, S):
        """Coefficients (cells, rank) of the courses from features X and states S, and what the course fades from.

        And whether the net knows such cells: they are within what it was shown, it recognises their state, it expects
        a small error, and their action potential ends in time.
        """
        code = x = (X - self.scale["x_mean"]) / self.scale["x_std"]
        for W, b in self.layers[:-1]:
            code = code @ W + b
            code *= expit(code)
        code = code @ self.layers[-1][0] + self.layers[-1][1]
        with torch.inference_mode():
            doubt = self.network.doubt(torch.from_numpy(x))[:, 0].numpy()
        rest = S - code @ self.table[0, :, :-1].T - self.table[0, :, -1]
        inside = ((self.scale["low"] <= X) & (self.scale["high"] >= X)).all(1)
        sure = inside & (doubt < 2 * np.log10(DOUBT / self.scale["std"][0]))
        sure &= code @ self.late[:-1] + self.late[-1] < OVER
        return code, rest, sure & (np.abs(rest) <= self.scale["far"]).all(1)

    def at(self, code, rest, age, shown=False):
        """States at some ages [ms] of courses, (ages, 19 or the shown 4, cells), within their bounds."""
        which, table = (np.array(_SHOWN), self.shown) if shown else (np.arange(len(cell.STATES)), self.table)
        age = np.clip(age, 0.0, len(self.share) - 1.0)
        low = np.minimum(age.astype(int), len(self.share) - 2)
        share = self.share[low] + (age - low).astype(np.float32)[:, None] * (self.share[low + 1] - self.share[low])
        used = np.flatnonzero(share.any(0))
        rows = table[used].reshape(-1, table.shape[-1])
        out = share[:, used] @ (rows[:, :-1] @ code.T + rows[:, -1:]).reshape(len(used), -1)
        out, near = out.reshape(len(age), len(which), -1), int((age < 8 * FADE).sum())
        fade = np.exp(-age[:near] / FADE).astype(np.float32)
        for k, name in enumerate(which):
            if name in _SLOW:
                out[:, k] += rest[:, name]
            elif near:
                out[:near, k] += np.multiply.outer(fade, rest[:, name])
            np.clip(out[:, k], self.scale["floor"][name], self.scale["roof"][name], out=out[:, k])
        return out

    def engine(self, *given):
        return Carrying(*given, flow=self)

    def simulate(self, tissue, protocol, duration, **keywords):
        """As :func:`cepkit.simulate`, by whose keywords."""
        return simulate(tissue, protocol, duration, carry=self, **keywords)

    def rollout(self, history, steps, stimulus=None):
        """As every surrogate's, on the tissue of the history."""
        if self.interval is None and stimulus is not None:
            self = copy(self)  # noqa: PLW0642
            self.interval = float(stimulus.time[1] - stimulus.time[0])
        return super().rollout(history, steps, stimulus)
