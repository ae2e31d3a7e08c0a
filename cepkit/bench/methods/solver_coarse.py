"""The solver itself as an entrant: at coarse settings, knowing no more than the others."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from cepkit import cell, pacing
from cepkit.dataset import VARIABLES, to_tensor
from cepkit.pacing import Protocol, Stimulus
from cepkit.region import everywhere, mask
from cepkit.solver import final_state, simulate
from cepkit.tissue import Tissue
from cepkit.surrogates.base import Surrogate, surrogate


@surrogate("solver_coarse", "coarse solver", "#555555", "-.", version="a7202f2a8810a8e5")
class SolverCoarse(Surrogate):
    """:func:`cepkit.simulate` with a large time step.

    A history holds four of the nineteen state variables.  So it starts from a single cell that was
    paced for a while, simulates the history under its stimuli, then takes Vm, Cai, CaSR and CaSS
    from the last frame given: the other fifteen are what the stimuli have made of them.

    Parameters
    ----------
    dt : float or "adaptive"
        [ms]
    dtype : str
    diffusivity : float
        [mm2/ms]

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy()
    >>> model = cep.surrogates.make("solver_coarse", dt=0.1).fit(trajectory, stimulus=stimulus)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=10, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 10, 'y': 4, 'x': 4}
    """

    reads_stimulus = True

    def __init__(self, dt=0.1, dtype="float64", diffusivity=0.125):
        super().__init__()
        self.configuration = {"dt": dt, "dtype": dtype, "diffusivity": diffusivity}

    def _fit(self, pieces, stimuli, validation=(), progress=True):
        one = Tissue((1, 1), 1.0, 0.0)
        paced = simulate(one, pacing.periodic(650.0, 20, everywhere(one)), 13_000.0, save_every=1000.0, progress=False)
        state = final_state(paced)
        self.state = {name: float(state[name].squeeze()) for name in cell.STATES}

    @property
    def tissue(self):
        """The sheet that the histories are of."""
        axes = list(self.grid.values())
        spacing = tuple(float(np.diff(c).mean()) if len(c) > 1 else 10 / 23 for c in axes)
        return Tissue(tuple(len(c) for c in axes), spacing, self.configuration["diffusivity"])

    def _rollout(self, X, start, steps, stimulus):
        tissue = self.tissue
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            jobs = [pool.submit(self._one, tissue, x, s, steps, len(X) == 1) for x, s in zip(X, stimulus, strict=True)]
            return torch.stack([job.result() for job in jobs])

    def _one(self, tissue, X, stimulus, steps, alone):
        run = {"dt": self.configuration["dt"], "dtype": self.configuration["dtype"], "save_every": self.interval}
        run |= {"progress": False, "threads": None if alone else 1}
        state, given = self.state, len(X)
        if given > 1:
            before = protocol_of(stimulus[: given - 1], tissue, self.interval)
            state = final_state(simulate(tissue, before, (given - 1) * self.interval, initial=state, **run))
            state = {name: state[name].values for name in cell.STATES}
        last = X[-1].numpy().reshape(*tissue.shape, len(VARIABLES)).astype(float)
        state = dict(state) | {name: last[..., k] for k, name in enumerate(VARIABLES)}
        after = protocol_of(stimulus[given - 1 :], tissue, self.interval)
        return to_tensor(simulate(tissue, after, steps * self.interval, initial=state, **run).isel(time=slice(1, None)))

    def _tensors(self):
        return {"state": torch.tensor([self.state[name] for name in cell.STATES], dtype=torch.float64)}

    def _restore(self, tensors, card):
        self.state = dict(zip(cell.STATES, tensors["state"].tolist(), strict=True))


def protocol_of(stimulus, tissue, interval):
    """The protocol whose stimulus field this is.

    Parameters
    ----------
    stimulus : torch.Tensor, shape (time, N)
    tissue : Tissue
    interval : float
        Between its rows [ms].

    Examples
    --------
    >>> from cepkit.bench.methods.solver_coarse import protocol_of
    >>> stimulus = torch.zeros(10, 16)
    >>> stimulus[3, :4] = -52.0
    >>> protocol_of(stimulus, cep.Tissue((4, 4)), interval=1.0).times.tolist()
    [3.0]
    """
    stimuli = []
    for k in torch.nonzero((stimulus != 0).any(1)).ravel().tolist():
        row = stimulus[k].numpy().reshape(tissue.shape)
        for amplitude in np.unique(row[row != 0]):
            stimuli.append(Stimulus(k * interval, mask(tissue, row == amplitude), interval, float(amplitude)))
    return Protocol(stimuli)
