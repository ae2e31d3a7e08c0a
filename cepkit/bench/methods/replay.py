"""Opponents that replay: each stimulus is answered by a beat that was seen before."""

import json

import numpy as np
import torch

from cepkit.dataset import Scaling, to_tensor
from cepkit.surrogates.base import Surrogate, surrogate

SITE_MM, INTERVAL_MS = 0.5, (30.0, 100.0, 300.0)  # differences that count as much as each other


class OneByOne(Surrogate):
    """A method writes ``_answer``, for one start: frames (time, N_in), stimulus (time + steps, N) to (steps, N_in)."""

    reads_stimulus = True

    def _rollout(self, X, start, steps, stimulus):
        return torch.stack([self._answer(x, told, steps) for x, told in zip(X, stimulus, strict=True)])


def made_on(run):
    """What a trajectory says of its tissue and cells, arguments of ``Tissue`` and ``simulate``; {} if nothing."""
    return {name: json.loads(run.attrs[name]) if run.attrs[name][:1] in '{["' else run.attrs[name]
            for name in ("tissue", "cell_type", "parameters") if name in run.attrs}  # fmt: skip


class Replay(OneByOne):
    """Keeps the training frames, cut into beats: the stretch from one stimulus to the next.

    ``shelf``, shape (frames, N_in), are z-scores in half precision, a thousandth of a standard deviation; a row of
    ``beats`` is a first frame, a length and what ``_features`` says.  A method writes ``_choose``: which beat answers.
    """

    learnt = ("shelf", "beats")

    def _fit(self, learning):
        self.scaling = Scaling.fit([piece.isel(time=slice(None, None, 5)) for piece in learning.runs])
        shelf, beats, offset = [], [], 0
        for piece, stimulus in zip(learning.runs, learning.stimuli, strict=True):
            shelf.append(to_tensor(self.scaling.apply(piece)).half())
            times = onsets(stimulus)
            for k, (begin, end) in enumerate(_beats(times, stimulus)):
                beats.append(np.concatenate([[offset + begin, end - begin], *self._features(stimulus, times, k)]))
            offset += len(stimulus)
        if not beats:
            raise ValueError("stimulus: not one in all trajectories, so there is no beat to replay")
        self.shelf, self.beats = torch.cat(shelf), torch.from_numpy(np.stack(beats))
        self._build()

    def _build(self):
        self.begin, self.length = self.beats[:, :2].long().T.numpy()

    def _features(self, stimulus, times, k):
        """Centre of the stimulated nodes [mm] and their spread, and the last three intervals [ms]."""
        where = np.stack([g.ravel() for g in np.meshgrid(*self.grid.values(), indexing="ij")])
        on = stimulus[times[k]].numpy() != 0
        site = np.concatenate([where[:, on].mean(1), where[:, on].std(1)])
        ago = [times[k - j] - times[k - j - 1] if k > j else np.nan for j in range(3)]
        return site, np.array(ago, float) * self.interval

    def _answer(self, X, stimulus, steps):
        (mean, std), given, times = self.scaling.vectors(self.nodes), len(X), onsets(stimulus)
        out = X[-1:].repeat(steps, 1)  # before any stimulus: nothing changes
        for k, (begin, end) in enumerate(_beats(times, stimulus)):
            if end < given:
                continue
            beat = self._choose(*self._features(stimulus, times, k), end - begin)
            frames = np.arange(max(begin + 1, given), end + 1)  # what was stimulated at one frame is seen at the next
            at = self.begin[beat] + np.minimum(frames - begin, self.length[beat])
            out[frames - given] = self.shelf[torch.from_numpy(at)].float() * std + mean
        return out


@surrogate("nearest_beat", "nearest beat", "#AA4499", "--", version="740b3a708b4e611a")
class NearestBeat(Replay):
    """Replays the training beat that is nearest in site (centre and spread) and last intervals, and long enough."""

    def _choose(self, site, intervals, needed):
        known = self.beats.numpy()
        away = (((known[:, 2:-3] - site) / SITE_MM) ** 2).sum(1)
        difference = (known[:, -3:] - intervals) / np.array(INTERVAL_MS)
        # An interval that one of the two does not know counts as a middling difference.
        away += np.where(np.isnan(difference), 4.0, difference**2).sum(1)
        long_enough = self.length >= min(needed, self.length.max())
        return int(np.argmin(np.where(long_enough, away, np.inf)))


@surrogate("last_response", "last response", "#BB5566", "--")
class LastResponse(Replay):
    """The tape recorder for irregular pacing: every stimulus is answered as the last one of training was."""

    def _choose(self, site, intervals, needed):
        return len(self.beats) - 1


@surrogate("mean_response", "mean response", "#4D9221", "-.")
class MeanResponse(Replay):
    """Climatology for irregular pacing: the mean of all training frames so long after a stimulus."""

    def _fit(self, learning):
        super()._fit(learning)
        longest = int(np.quantile(self.length, 0.99))
        total, count = torch.zeros(longest + 1, self.shelf.shape[1]), torch.zeros(longest + 1, 1)
        for begin, length in zip(self.begin, np.minimum(self.length, longest), strict=True):
            total[: length + 1] += self.shelf[begin : begin + length + 1]
            count[: length + 1] += 1
        self.shelf, self.beats = (total / count.clamp_min(1)).half(), torch.tensor([[0.0, longest]])
        self._build()

    def _choose(self, site, intervals, needed):
        return 0


def onsets(stimulus):
    """Frames at which a stimulus begins, of an array or tensor (time, N)."""
    on = (np.asarray(stimulus) != 0).any(1)
    return np.flatnonzero(on & ~np.concatenate([[False], on[:-1]]))


def _beats(times, stimulus):
    return zip(times, [*times[1:], len(stimulus) - 1][: len(times)], strict=True)
