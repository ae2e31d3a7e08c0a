"""The solver itself as an entrant: at coarse settings, knowing no more than the others."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from cepkit import cell
from cepkit.bench.methods.replay import made_on
from cepkit.dataset import to_tensor
from cepkit.fields import SHEET, VARIABLES
from cepkit.pacing import Protocol, Stimulus
from cepkit.progress import processors
from cepkit.region import everywhere, mask
from cepkit.solver import final_state, simulate
from cepkit.surrogates.base import Surrogate, surrogate
from cepkit.tissue import Tissue

RHYTHMS, PHASE = (350.0, 400.0, 500.0, 650.0, 1000.0), 10.0  # cycle lengths; between kept states [ms]


@surrogate("solver_coarse", "coarse solver", "#555555", "-.", version="2")
class SolverCoarse(Surrogate):
    """:func:`cepkit.simulate` with a large time step.

    A history holds four of the nineteen state variables.  So each node starts from the state of a paced cell, up to a
    second after a stimulus, that is most like its first frame; the history is simulated, and the four are taken from
    its last.  To take them from every frame changed the error on validation runs by less than a tenth, and cost much.
    """

    @dataclass(frozen=True)
    class Settings:
        dt: float = 0.1  # [ms], or "adaptive"
        tolerance: float = 0.02  # of the adaptive step [ms]
        dtype: str = "float64"
        diffusivity: float = SHEET["diffusivity"]  # where the training runs do not say [mm2/ms]

    learnt, reads_stimulus, anywhere = ("state",), True, True

    def _fit(self, learning):
        self.card["made on"] = made_on(learning.runs[0])
        before = [-min(times, default=0.0) for times in learning.earlier]
        self.pace(float(np.median(before)) + len(learning.runs[0].time) * self.interval / 2)

    def pace(self, since=13_000.0):
        """Keep states of cells of several rhythms ``since`` [ms], one every PHASE ms after a stimulus (states, 19)."""
        tissue, since = Tissue((len(RHYTHMS), 1), 1.0, 0.0), PHASE * round(since / PHASE)
        kind, changes = np.ravel(self.cells.get("cell_type", "epi"))[0], self.cells.get("parameters", {})
        cells = {"cell_type": str(kind), "parameters": {name: np.ravel(v)[0] for name, v in changes.items()}}
        row, run = everywhere(tissue), partial(simulate, tissue, progress=False, **cells)
        beats = [(since - k * length, y) for y, length in zip(row.y, RHYTHMS, strict=True)
                 for k in range(int(since / length) + 1)]  # fmt: skip
        paced = Protocol(Stimulus(start, row & (row.y == y)) for start, y in sorted(beats, key=lambda beat: beat[0]))
        found = [final_state(run(paced, since + PHASE, save_every=PHASE))]
        while len(found) * PHASE < max(RHYTHMS):
            found.append(final_state(run(Protocol(), PHASE, save_every=PHASE, initial=found[-1])))
        states = np.concatenate([[s[name].values[:, 0] for name in cell.STATES] for s in found], axis=1)
        self.state = torch.from_numpy(states.T.copy())

    def guess(self, frame):
        """The kept states that are most alike in the four variables of a frame (N, 4), which they take over."""
        shown = self.state[:, [cell.STATES.index(name) for name in VARIABLES]]
        scaled = [torch.cat([v[:, :1] / 30, v[:, 1:].clamp_min(1e-6).log()], 1) for v in (frame, shown)]
        state = self.state[torch.cdist(*scaled).argmin(1)]
        state = {name: state[:, k].numpy() for k, name in enumerate(cell.STATES)}
        return state | {name: frame[:, k].numpy() for k, name in enumerate(VARIABLES)}

    def _moved(self, history):
        made, known = made_on(history), self.card.get("made on")
        if known is not None and "tissue" not in made:
            return self
        own = super()._moved(history)  # of cells it knows what it has learnt
        own.card = self.card | {"made on": made if known is None else known | {"tissue": made["tissue"]}}
        return own

    def simulate(self, *run, **keywords):
        """As :func:`cepkit.simulate`."""
        return simulate(*run, **keywords)

    @property
    def cells(self):
        """Kind and parameters of the cells, as the training runs say."""
        return {name: value for name, value in self.card.get("made on", {}).items() if name != "tissue"}

    @property
    def tissue(self):
        if "tissue" in (made := self.card.get("made on", {})):
            return Tissue(**made["tissue"])
        axes = list(self.grid.values())
        spacing = tuple(float(np.diff(c).mean()) if len(c) > 1 else SHEET["spacing"] for c in axes)
        return Tissue(tuple(len(c) for c in axes), spacing, self.settings.diffusivity)

    def _rollout(self, X, start, steps, stimulus):
        with ThreadPoolExecutor(processors()) as pool:
            jobs = [pool.submit(self._one, x, s, steps, len(X) == 1) for x, s in zip(X, stimulus, strict=True)]
            return torch.stack([job.result() for job in jobs])

    def _one(self, X, stimulus, steps, alone):
        s = self.settings
        run = dict(dt=s.dt, tolerance=s.tolerance, dtype=s.dtype, save_every=self.interval, progress=False,
                   threads=None if alone else 1, **self.cells)  # fmt: skip
        tissue, given, frames = self.tissue, len(X) - 1, X.double().unflatten(1, (-1, len(VARIABLES)))
        state = {name: v.reshape(tissue.shape) for name, v in self.guess(frames[0]).items()}
        if given:
            before = protocol_of(stimulus[:given], tissue, self.interval)
            state = final_state(self.simulate(tissue, before, given * self.interval, initial=state, **run))
            last = {name: frames[-1, :, k].numpy().reshape(tissue.shape) for k, name in enumerate(VARIABLES)}
            state = {name: np.asarray(state[name]) for name in cell.STATES} | last
        after = protocol_of(stimulus[given:], tissue, self.interval)
        out = self.simulate(tissue, after, steps * self.interval, initial=state, **run)
        return to_tensor(out.isel(time=slice(1, None)))


@surrogate("solver_adaptive", "adaptive solver", "#1B3A5B", ":")
class SolverAdaptive(SolverCoarse):
    """The same with the step that :func:`cepkit.simulate` takes where it is not told one."""

    @dataclass(frozen=True)
    class Settings(SolverCoarse.Settings):
        dt: float = "adaptive"


def protocol_of(stimulus, tissue, interval):
    """The protocol whose stimulus field, a tensor (time, N) with a row every ``interval`` ms, this is."""
    rows = [(k, row.reshape(tissue.shape)) for k, row in enumerate(stimulus.numpy()) if row.any()]
    return Protocol(
        Stimulus(k * interval, mask(tissue, row == amplitude), interval, float(amplitude))
        for k, row in rows for amplitude in np.unique(row[row != 0])
    )  # fmt: skip
