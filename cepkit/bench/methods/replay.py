"""Opponents that replay: each stimulus is answered by a beat that was seen before."""

import numpy as np
import torch

from cepkit.dataset import Scaling, to_tensor
from cepkit.surrogates.base import Surrogate, surrogate

SITE_MM, INTERVAL_MS = 0.5, (30.0, 100.0, 300.0)  # differences that count as much as each other


class _Replay(Surrogate):
    """Keeps the training frames, cut into beats: the stretch from one stimulus to the next.

    A method writes ``_choose``.  The library is held in memory in half precision, a thousandth of a
    standard deviation; it is no model to be saved.
    """

    reads_stimulus = True

    def _fit(self, pieces, stimuli, validation=(), progress=True):
        self.scaling = Scaling.fit([piece.isel(time=slice(None, None, 5)) for piece in pieces])
        self.shelf, self.beats, offset = [], [], 0
        for piece, stimulus in zip(pieces, stimuli, strict=True):
            self.shelf.append(to_tensor(self.scaling.apply(piece)).half())
            times = onsets(stimulus)
            ends = [*times[1:], len(stimulus) - 1]
            for k, (begin, end) in enumerate(zip(times, ends, strict=True)):
                features = self._features(stimulus, times, k)
                self.beats.append((offset + begin, end - begin, *features))
            offset += len(stimulus)
        self.shelf = torch.cat(self.shelf)
        if not self.beats:
            raise ValueError("stimulus: not one in all trajectories, so there is no beat to replay")
        self.begin, self.length = (np.array([b[k] for b in self.beats]) for k in (0, 1))
        self.sites, self.intervals = (np.stack([b[k] for b in self.beats]) for k in (2, 3))

    def _features(self, stimulus, times, k):
        """Centre of the stimulated nodes [mm] and their spread, and the last three intervals [ms]."""
        axes = [np.asarray(c) for c in self.grid.values()]
        where = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")])
        on = stimulus[times[k]].numpy() != 0
        site = np.concatenate([where[:, on].mean(1), where[:, on].std(1)])
        ago = [times[k - j] - times[k - j - 1] if k > j else np.nan for j in range(3)]
        return site, np.array(ago, float) * self.interval

    def _choose(self, site, intervals, needed):
        """Which beat answers: an index."""
        raise NotImplementedError

    def _rollout(self, X, start, steps, stimulus):
        return torch.stack([self._replay(x, s, steps) for x, s in zip(X, stimulus, strict=True)])

    def _replay(self, X, stimulus, steps):
        mean, std = self.scaling.vectors(self.nodes)
        given, times = len(X), onsets(stimulus)
        out = X[-1:].repeat(steps, 1)  # before any stimulus: nothing changes
        for k, begin in enumerate(times):
            end = times[k + 1] if k + 1 < len(times) else len(stimulus) - 1
            if end < given:
                continue
            beat = self._choose(*self._features(stimulus, times, k), end - begin)
            # What was stimulated at one frame is seen at the next.
            frames = np.arange(max(begin + 1, given), end + 1)
            at = self.begin[beat] + np.minimum(frames - begin, self.length[beat])
            out[frames - given] = self.shelf[torch.from_numpy(at)].float() * std + mean
        return out


@surrogate("nearest_beat", "nearest beat", "#AA4499", "--", version="740b3a708b4e611a")
class NearestBeat(_Replay):
    """Replays the training beat that is nearest in site and in the last three intervals, and long enough.

    Sites differ by the distance of their centres and of their spreads; the scales between
    millimetres and milliseconds are ``SITE_MM`` and ``INTERVAL_MS``.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy()
    >>> model = cep.surrogates.make("nearest_beat").fit(trajectory, stimulus=stimulus)
    >>> forecast = model.rollout(trajectory.isel(time=slice(0, 60)), steps=40, stimulus=stimulus)
    >>> len(model.beats), round(float(forecast.Vm.max()))
    (3, 35)
    """


    def _choose(self, site, intervals, needed):
        away = (((self.sites - site) / SITE_MM) ** 2).sum(1)
        difference = (self.intervals - intervals) / np.array(INTERVAL_MS)
        # An interval that one of the two does not know counts as a middling difference.
        away += np.where(np.isnan(difference), 4.0, difference**2).sum(1)
        long_enough = self.length >= min(needed, self.length.max())
        return int(np.argmin(np.where(long_enough, away, np.inf)))


class LastResponse(_Replay):
    """The tape recorder for irregular pacing: every stimulus is answered as the last one of training was.

    Examples
    --------
    >>> from cepkit.surrogates import LastResponse
    >>> trajectory, stimulus = cep.check.toy()
    >>> model = LastResponse().fit(trajectory, stimulus=stimulus)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=40, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 40, 'y': 4, 'x': 4}
    """

    name = "last_beat"

    def _choose(self, site, intervals, needed):
        return len(self.beats) - 1


class MeanResponse(_Replay):
    """Climatology for irregular pacing: the mean of all training frames so long after a stimulus.

    Examples
    --------
    >>> from cepkit.surrogates import MeanResponse
    >>> trajectory, stimulus = cep.check.toy()
    >>> model = MeanResponse().fit(trajectory, stimulus=stimulus)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=40, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 40, 'y': 4, 'x': 4}
    """

    name = "climatology"

    def _fit(self, pieces, stimuli, validation=(), progress=True):
        super()._fit(pieces, stimuli)
        longest = int(np.quantile(self.length, 0.99))
        total = torch.zeros(longest + 1, self.shelf.shape[1])
        count = torch.zeros(longest + 1, 1)
        for begin, length in zip(self.begin, np.minimum(self.length, longest), strict=True):
            total[: length + 1] += self.shelf[begin : begin + length + 1]
            count[: length + 1] += 1
        self.shelf = (total / count.clamp_min(1)).half()
        self.begin, self.length = np.zeros(1, int), np.array([longest])

    def _choose(self, site, intervals, needed):
        return 0


def onsets(stimulus):
    """Frames at which a stimulus begins, of a tensor (time, N).

    Examples
    --------
    >>> from cepkit.bench.methods.replay import onsets
    >>> stimulus = torch.zeros(10, 4)
    >>> stimulus[3:5, 0] = stimulus[8, 1] = -52.0
    >>> onsets(stimulus).tolist()
    [3, 8]
    """
    on = (stimulus != 0).any(1).numpy()
    return np.flatnonzero(on & ~np.concatenate([[False], on[:-1]]))
