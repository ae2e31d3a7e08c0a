"""The solver itself as an entrant: at coarse settings, knowing no more than the others."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from cepkit import cell
from cepkit.bench.methods.replay import made_on
from cepkit.dataset import to_tensor
from cepkit.fields import SHEET, VARIABLES
from cepkit.pacing import Protocol, Stimulus, periodic
from cepkit.progress import processors
from cepkit.region import everywhere, mask
from cepkit.solver import final_state, simulate
from cepkit.surrogates.base import Surrogate, surrogate
from cepkit.tissue import Tissue


@surrogate("solver_coarse", "coarse solver", "#555555", "-.", version="a7202f2a8810a8e5")
class SolverCoarse(Surrogate):
    """:func:`cepkit.simulate` with a large time step.

    A history holds four of the nineteen state variables.  So it starts from a single cell that was paced for a while,
    simulates the history, then takes those four from the last frame: the others are what the stimuli have made of them.
    """

    @dataclass(frozen=True)
    class Settings:
        dt: float = 0.1  # [ms], or "adaptive"
        dtype: str = "float64"
        diffusivity: float = SHEET["diffusivity"]  # where the training runs do not say [mm2/ms]

    learnt, reads_stimulus = ("state",), True

    def _fit(self, learning):
        self.card["made on"], one = made_on(learning.runs[0]), Tissue((1, 1), 1.0, 0.0)
        kind, changes = np.ravel(self.cells.get("cell_type", "epi"))[0], self.cells.get("parameters", {})
        cells = {"cell_type": str(kind), "parameters": {name: np.ravel(v)[0] for name, v in changes.items()}}
        train = periodic(650.0, 20, everywhere(one))
        paced = simulate(one, train, 13_000.0, save_every=1000.0, progress=False, **cells)
        state = final_state(paced)
        self.state = torch.tensor([state[name].item() for name in cell.STATES], dtype=torch.float64)

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
        run = dict(dt=self.settings.dt, dtype=self.settings.dtype, save_every=self.interval, progress=False,
                   threads=None if alone else 1, **self.cells)  # fmt: skip
        tissue, given, state = self.tissue, len(X) - 1, dict(zip(cell.STATES, self.state.tolist(), strict=True))
        if given:
            before = protocol_of(stimulus[:given], tissue, self.interval)
            state = final_state(simulate(tissue, before, given * self.interval, initial=state, **run))
        last = X[-1].numpy().reshape(*tissue.shape, len(VARIABLES)).astype(float)
        state = {name: np.asarray(state[name]) for name in cell.STATES}
        state |= {name: last[..., k] for k, name in enumerate(VARIABLES)}
        after = protocol_of(stimulus[given:], tissue, self.interval)
        return to_tensor(simulate(tissue, after, steps * self.interval, initial=state, **run).isel(time=slice(1, None)))


def protocol_of(stimulus, tissue, interval):
    """The protocol whose stimulus field, a tensor (time, N) with a row every ``interval`` ms, this is."""
    rows = [(k, row.reshape(tissue.shape)) for k, row in enumerate(stimulus.numpy()) if row.any()]
    return Protocol(
        Stimulus(k * interval, mask(tissue, row == amplitude), interval, float(amplitude))
        for k, row in rows for amplitude in np.unique(row[row != 0])
    )  # fmt: skip
