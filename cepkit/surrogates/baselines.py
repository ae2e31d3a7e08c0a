"""Three opponents that cost nothing: whoever loses to them has learnt nothing."""

from dataclasses import dataclass

import numpy as np
import torch

from cepkit.dataset import to_tensor
from cepkit.surrogates.base import Surrogate, surrogate


@surrogate("persistence", "persistence", "#999999", ":", version="151ffa34bbce6d96")
class Persistence(Surrogate):
    """Nothing changes: every frame of the forecast is the last one given."""

    anywhere = True

    def _rollout(self, X, start, steps):
        return X[:, -1:].expand(-1, steps, -1)


class Beat(Surrogate):
    """A beat kept on file by its phase = time modulo cycle length, in parts no longer than a frame."""

    @dataclass(frozen=True)
    class Settings:
        cycle_length: float | None = None  # [ms]; default: that of the trajectories

    learnt = ("beat",)

    def _fit(self, learning):
        last = learning.runs[-1]
        self.cycle_length = float(self.settings.cycle_length or learning.runs[0].attrs.get("cycle_length", 0.0))
        if not self.cycle_length:
            way = f"{self.name} needs a rhythm; give it one: {type(self).__name__}(cycle_length=500.0)"
            raise ValueError(f"trajectories: no cycle_length in the attributes, and {way}")
        self.card["cycle_length"] = self.cycle_length
        # So many cycles are a whole number of frames, or nearly so: 2500 frames for three of 833.33 ms.
        lengths = {n: n * self.cycle_length / self.interval for n in range(1, 9)}
        off = {n: abs(length - round(length)) for n, length in lengths.items()}
        self.frames = round(lengths[next((n for n in off if off[n] < 0.02), min(off, key=off.get))])
        if last.sizes["time"] < self.frames:
            said = f"{last.sizes['time']} frames are fewer than the {self.frames} of a whole number of cycles"
            raise ValueError(f"trajectories: {said}; give more, or a multiple of {self.interval} ms")

    def phase(self, time):
        """Part of the beat that belongs to a time [ms]."""
        return np.rint(np.asarray(time) / self.cycle_length * self.frames).astype(int) % self.frames

    def _rollout(self, X, start, steps):
        lead_time = self.interval * np.arange(1, steps + 1)
        return self.beat[torch.from_numpy(self.phase(start[:, None] + lead_time))]

    def _build(self):
        self.frames, self.cycle_length = len(self.beat), self.card["cycle_length"]


@surrogate("last_beat", "copy last beat", "#882255", "--", version="151ffa34bbce6d96")
class LastBeat(Beat):
    """The tape recorder: plays the last full cycle of the history again and again.

    Where the history is shorter, that of the training part is played, from the phase at which the history ends.
    """

    def _fit(self, learning):
        super()._fit(learning)
        last = learning.runs[-1].isel(time=slice(-self.frames, None))
        self.beat = to_tensor(last)[np.argsort(self.phase(last.time.values), kind="stable")]

    def _rollout(self, X, start, steps):
        if X.shape[1] < self.frames:
            return super()._rollout(X, start, steps)
        return X[:, -self.frames :][:, torch.arange(steps) % self.frames]


@surrogate("climatology", "climatology", "#117733", "-.", version="151ffa34bbce6d96")
class Climatology(Beat):
    """The mean beat of the training part, played from the phase at which the history ends."""

    def _fit(self, learning):
        super()._fit(learning)
        total = torch.zeros(self.frames, self.nodes * 4, dtype=torch.float64)
        count = torch.zeros(self.frames, 1)
        for piece in learning.runs:
            for at in range(0, piece.sizes["time"], self.frames):  # a cycle at a time: memory stays small
                part = piece.isel(time=slice(at, at + self.frames))
                phase = torch.from_numpy(self.phase(part.time.values))
                total.index_add_(0, phase, to_tensor(part).double())
                count.index_add_(0, phase, torch.ones(len(phase), 1))
        seen = np.flatnonzero(count[:, 0])  # a part that no frame fell into is as the one nearest to it
        nearest = seen[np.abs(np.arange(self.frames)[:, None] - seen).argmin(1)]
        self.beat = (total / count)[nearest].float()
