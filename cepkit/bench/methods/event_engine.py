"""An event engine: two restitution curves say how fast a wave is and how long a beat lasts."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cepkit.bench.methods.reduced import thinned
from cepkit.bench.methods.replay import OneByOne
from cepkit.dataset import Scaling, to_tensor
from cepkit.fields import VARIABLES
from cepkit.measure import beats, local_velocity
from cepkit.surrogates.base import surrogate

USUAL, BEFORE = 280.0, 5  # ms: the APD that the course of a beat is kept for; how long before its activation it begins
_known = {}  # curves -> their number: the engine keeps the first that a process gives it under a number
FASTEST, LATEST = 2.0, 10  # mm/ms; above, two waves have met.  Frames; later, a stimulus has not fired the node


@surrogate("event_engine", "event engine", "#E7298A", "-.")
class EventEngine(OneByOne):
    """arritmic3D, fed with the curves of the training runs: Serra et al. 2022, doi:10.3390/math10081293.

    The engine knows when a node fires and how long its beat lasts, both functions of the diastolic interval before, and
    fires at any stimulus.  What a node shows is the mean course of the training beats, stretched to that duration; the
    frames given are not read.  ``curves`` (3, M) are diastolic intervals, APD90 [ms] and velocity [mm/ms]; ``course``
    (ms, 4) is in z-scores; ``latency`` are the frames from a stimulus to the activation that it causes.
    """

    @dataclass(frozen=True)
    class Settings:
        points: int = 40  # of the curves, at quantiles of the diastolic intervals
        drawn: int = 300  # beats of each run that the course is the mean of
        length: int = 1200  # ms of the course

    trains = sheets_only = True
    learnt, needs = ("curves", "course", "latency"), ("arritmic3d",)

    def _fit(self, learning):
        self.scaling = Scaling.fit(thinned(learning.runs))
        rng, found, late, sums = np.random.default_rng(0), [], [], 0.0
        for run, stimulus in zip(learning.runs, learning.stimuli, strict=True):
            seen = beats(run.Vm)
            speed = np.stack([local_velocity(when).values for when in seen.activation])
            of = seen.activation.values, seen.DI.values, seen.APD.values, speed
            up, DI, APD, speed = (part.reshape(len(part), -1) for part in of)
            found.append([part.ravel() for part in (DI, APD, speed)])
            up = (up - float(run.time[0])) / self.interval
            late += [up[:, n] - k for k, n in torch.nonzero(stimulus < 0).tolist()]
            frames = to_tensor(self.scaling.apply(run)).unflatten(1, (-1, len(VARIABLES))).numpy()
            sums = sums + self._course(frames, up, APD / self.interval, rng)
        late = np.concatenate(late)
        self.latency = torch.tensor(np.median(late[(late >= 0) & (late < LATEST)]))
        last = np.maximum.accumulate(np.arange(len(sums)) * (sums[:, 0] > 0))  # after the longest beat all is as before
        self.course = torch.from_numpy(sums[last, 1:] / np.maximum(sums[last, :1], 1)).float()
        self.curves = torch.from_numpy(self._curves(*(np.concatenate(part) for part in zip(*found, strict=True))))

    def _course(self, frames, up, APD, rng):
        """Sums over beats drawn at random, each up to the next: how many there are, and z-scores (length, 5)."""
        s, sums = self.settings, np.zeros((self.settings.length, 1 + frames.shape[-1]))
        beat, node = np.nonzero(np.isfinite(APD[:-1]))
        some = rng.permutation(len(beat))[: s.drawn]
        for b, n in zip(beat[some], node[some], strict=True):
            at = np.rint(up[b, n] + (np.arange(s.length) - BEFORE) * APD[b, n] / USUAL)
            end = up[b + 1, n] - BEFORE / self.interval if np.isfinite(up[b + 1, n]) else len(frames)
            ok = (at >= 0) & (at < end)
            sums[ok, 0] += 1
            sums[ok, 1:] += frames[at[ok].astype(int), n]
        return sums

    def _curves(self, DI, APD, speed):
        """Medians between quantiles of the diastolic interval."""
        fine = np.isfinite(DI) & np.isfinite(APD) & np.isfinite(speed) & (speed < FASTEST)
        order = np.argsort(DI[fine])
        pieces = [np.array_split(values[fine][order], self.settings.points) for values in (DI, APD, speed)]
        return np.array([[np.median(piece) for piece in part] for part in pieces])

    def _answer(self, X, stimulus, steps):
        last = len(X) - 1
        fired, APD = self._run_engine(stimulus[: last + steps].numpy(), last + 1)
        now = np.arange(last + 1, last + 1 + steps)[:, None] - float(self.latency)
        phase = np.where(fired < 0, self.settings.length, (now * self.interval - fired) * USUAL / APD + BEFORE)
        at = torch.from_numpy(np.clip(np.rint(phase), 0, len(self.course) - 1).astype(int))
        mean, std = self.scaling.vectors(self.nodes)
        return self.course[at].flatten(1) * std + mean

    def _run_engine(self, stimulus, first):
        """Last activation of each node [ms], negative if there is none, and APD, from frame ``first`` on: (time, N)."""
        try:
            from arritmic3d import CardiacTissue, SystemEventType
        except ImportError as error:
            raise ImportError("event_engine runs on arritmic3D: pip install arritmic3d") from error
        (y, x), N, out, pushed = self.grid.values(), self.nodes, [], stimulus < 0
        engine = CardiacTissue(len(x), len(y), 1, x[1] - x[0], y[1] - y[0], x[1] - x[0])
        DI, *curves = self.curves.numpy()
        kind = _known.setdefault(self.curves.numpy().tobytes(), len(_known) + 1)
        with tempfile.TemporaryDirectory() as folder:
            engine.InitModels(*(_table(Path(folder), k, kind, DI, curve) for k, curve in enumerate(curves)))
        engine.SetInitialAPD(USUAL)
        same = {"COND_VELOC_TRANSVERSAL_REDUCTION": 1.0, "CORRECTION_FACTOR_APD": 1.0, "CORRECTION_FACTOR_CV": 1.0,
                "ELECTROTONIC_EFFECT": 0.0, "MIN_POTENTIAL": 0.0, "SAFETY_FACTOR": 1.0,
                "CV_MEMORY_COEFF": 0.0, "APD_MEMORY_COEFF": 0.0}  # fmt: skip
        engine.InitPy([kind] * N, {name: [value] * N for name, value in same.items()}, [[0, 0, 0]] * N)
        engine.SetTimer(SystemEventType.FILE_WRITE, self.interval)
        for k in np.flatnonzero(pushed.any(1)):  # its clock is one frame ahead: at 0 it has not begun
            engine.SetSystemEvent(SystemEventType.EXT_ACTIVATION, (k + 1) * self.interval)
        for frame in range(len(stimulus) + 2):
            while (event := engine.update(0)) != SystemEventType.FILE_WRITE:
                if event == SystemEventType.EXT_ACTIVATION:
                    k = round(engine.GetTime() / self.interval) - 1
                    engine.ExternalActivation(np.flatnonzero(pushed[k]).tolist(), engine.GetTime(), int(k) + 1)
            if frame > first:
                out.append([engine.GetLATIndexed(), engine.GetAPDIndexed()])
        fired, APD = np.array(out).swapaxes(0, 1)
        return fired - self.interval, APD


def _table(folder, k, kind, DI, curve):
    """A curve in the files that the engine reads; where the first is."""
    row, names = [[0.0, *DI], [400.0, *curve]], (folder / f"curve{k}.csv", folder / f"models{k}.csv")
    names[0].write_text("".join(",".join(f"{v:.6f}" for v in line) + "\n" for line in row))
    names[1].write_text(f"{kind},{names[0].name}\n")
    return str(names[1])
