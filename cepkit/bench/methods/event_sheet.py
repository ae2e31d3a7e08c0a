"""A sheet that is run from event to event: each node on its own clock, frames read off its course."""

import numpy as np
from numba import njit

from cepkit.bench.methods.replay import onsets
from cepkit.fields import VARIABLES
from cepkit.measure import find

#: Times after activation at which a response is given [ms]: dense where it is steep, straight between.
KNOTS = np.concatenate([
    np.arange(-8, 10, 0.25), np.arange(10, 60, 1.0), np.arange(60, 400, 4.0), np.arange(400, 1000, 10.0),
    np.arange(1000, 3001, 50.0),
])  # fmt: skip
#: Knot before each quarter of a millisecond after the first knot.
LOOKUP = np.searchsorted(KNOTS[:-1], np.arange(KNOTS[0], KNOTS[-1] + 0.25, 0.25), "right") - 1
BEFORE = -KNOTS[0]  # the foot of the upstroke: a response begins so long before its activation [ms]
AFTER = KNOTS >= 0
RENEWAL = 2000.0  # a rest is continued from where it stands so often [ms]
LONGEST = 3000.0  # a rest that long is as good as any longer one [ms]
WAVE = 80.0  # a wave that has not come by then does not come [ms]
EARLIER = 20.0  # capture also sees how the box was so long ago [ms]
RECENT = 0.2  # weight of the last interval in the rhythm that a node remembers
MINUTES = 200e3  # how long a beat counts in the load that a node remembers [ms]
BEAT = 1000 / MINUTES  # what one adds to the load, which is the number of beats a second over the last minutes
FORGOTTEN = np.array([50.0, 100.0, 500.0, 20.0])  # how long an error in each variable lasts [ms]
V = len(VARIABLES)


class Sheet:
    """For each node its last activation and the course since.

    The history (time, N, 4) is z-scores, its last frame time 0; the stimulus is (time + steps, N); ``earlier`` is when
    the sheet was stimulated before the history [ms], by default as often as the training runs were.
    """

    def __init__(self, model, history, stimulus, earlier=None):
        self.model, self.stimulus, self.dt = model, stimulus, model.interval
        self.given, n, _ = history.shape
        self.first = -(self.given - 1) * self.dt  # when the history begins [ms]
        # When a node fired before the history can only be told from the state that it was in.
        self.when = self.first - model.continue_from(history[0])[1]  # last activation [ms]
        self.old = self.when - 600  # the one before
        self.memory, self.counted = np.full(n, np.nan), np.full(n, self.first)  # when the load was reckoned last
        self.load = np.full(n, model.usual if earlier is None else load_of(earlier, self.first))
        self.seen = np.zeros(n, bool)  # whether the last activation is known and not guessed
        self.course = model.continue_from(history[-1])[0]  # (N, knots, 4), counted from ``origin``
        self.origin = np.zeros(n)
        self.previous, self.begun = self.course.copy(), np.zeros(n)  # the course before, and its origin
        self.since = np.full(n, -1e9)  # until when the course before holds
        self._read(history)

    def _read(self, history):
        """Activations of the history, and a course for every node that agrees with its last frame."""
        model, now, found = self.model, history[-1], self._found(history)
        for k in onsets(self.stimulus[: self.given - 1]):
            t, boxes = self.first + k * self.dt, model.boxes(self.stimulus[k])
            reached = np.where((found > t) & (found < t + WAVE), found - t, -np.inf).max(1, initial=-np.inf)
            reached[reached < 0] = np.nan
            if t + WAVE > 0 and np.isnan(reached).any():
                # The wave may still be on its way: it comes where it has not been.
                before = history[max(k - round(EARLIER / self.dt), 0)]
                guess = self._arrivals(t, boxes, history[k], before, started=np.isfinite(reached).any())
                reached = np.where(np.isnan(reached) & (t + guess > 0), guess, reached)
            if np.isfinite(reached).mean() > 0.5:
                self._wave(t, reached, boxes, lambda at: state_at(history, at - self.first, self.dt))
        self.surprise = self._surprise(history)
        # What the last frame shows is true: the course since the last activation is shifted to it.
        fired = (self.when > self.first) & (self.when < 0)
        tau = -self.when[fired]
        offset = (now[fired] - read_at(self.course[fired], tau)).astype(now.dtype)
        # ... and an error in a fast variable is soon forgotten.
        since = np.maximum(KNOTS - tau[:, None], 0)[..., None]
        self.course[fired] += offset[:, None] * np.exp(-since / FORGOTTEN)
        coming = self.when > 0
        self.previous[coming], self.begun[coming] = model.continue_from(now[coming])[0], 0.0

    def _surprise(self, history):
        """Root mean square difference of the last beat, as foretold from its first moment, from the history."""
        fired = np.flatnonzero((self.when > self.first) & (self.when < -100))
        if not len(fired):
            return np.nan
        moments = [self.when - share * self.when for share in (np.arange(20) + 0.5) / 20]
        errors = [read_at(self.course, t - self.when) - state_at(history, t - self.first, self.dt) for t in moments]
        return float(np.sqrt(np.mean(np.square(np.stack(errors)[:, fired]))))

    def _found(self, history):
        """Activations of each node in the frames of the history, (N, beats) [ms], NaN where there are fewer."""
        if self.given < 3:
            return np.empty((history.shape[1], 0))
        scaling = self.model.scaling
        Vm = history[..., 0] * float(scaling.std.Vm) + float(scaling.mean.Vm)
        return find(np.ascontiguousarray(Vm, np.float64), np.zeros(Vm.shape), self.dt, 8)[..., 0] + self.first

    def run(self, out, mean, std):
        """Write the frames that follow into ``out``, shape (steps, N, 4), in physical units."""
        steps, done, wait = len(out), 0, round(RENEWAL / self.dt)
        mean, std = mean.astype(np.float32), std.astype(np.float32)
        for k in [*(k for k in onsets(self.stimulus[self.given - 1 :]) if k < steps), steps]:
            for end in [*range(done + wait, k, wait), k]:
                clocks = (self.origin, self.begun, self.since)
                draw(out[done:end], done, self.dt, *clocks, self.course, self.previous, KNOTS, LOOKUP, mean, std)
                done = end
                if end < k:
                    self._renew(end * self.dt)
            if k < steps:
                t, boxes = k * self.dt, self.model.boxes(self.stimulus[self.given - 1 + k])
                reached = self._arrivals(t, boxes, self._state(t), self._state(t - EARLIER))
                if not np.isnan(reached).any():
                    self._wave(t, reached, boxes, self._state)

    def _renew(self, t):
        """Nodes at rest go on from the state that they are in, since a course stays at its last knot."""
        rests = t - self.when > RENEWAL - WAVE
        if rests.any():
            self.course[rests], self.origin[rests] = self.model.continue_from(self._state(t)[rests])[0], t

    def _state(self, t):
        """All nodes at one time, or each at its own, (N, 4)."""
        new, old = read_at(self.course, t - self.origin), read_at(self.previous, t - self.begun)
        return np.where((t >= self.since)[:, None], new, old)

    def _arrivals(self, t, boxes, now, before, started=False):
        """When the wave comes to each node after the stimulus [ms], of several the first; NaN where none starts."""
        model, rest = self.model, t - self.when
        caught = model.apply("capture", "early", model.early_features(now, before, boxes))[:, 0] > 0
        if not caught.any() and not started:
            return np.full(len(now), np.nan)
        sources = [box for box, yes in zip(boxes, caught, strict=True) if yes] or boxes
        each = [model.apply("arrival", "place", model.place_features(box, now, rest))[:, 0] for box in sources]
        return np.maximum(10 * np.min(each, 0), 0.05)

    def _wave(self, t, reached, boxes, state):
        """Every node that is reached begins a new course."""
        hit, shape = ~np.isnan(reached), self.model.wave_features(reached, boxes)
        when = np.where(hit, t + reached, 0.0)
        interval, earlier = when - self.when, self.when - self.old
        self.memory = np.where(hit & self.seen, remember(self.memory, interval), self.memory)
        memory = np.where(np.isnan(self.memory), logarithm(interval), self.memory)
        load = fade(self.load, when - self.counted)
        features = self.model.before_features(state(when - BEFORE), interval, earlier, memory, load, shape)
        self.load, self.counted = np.where(hit, load + BEAT, self.load), np.where(hit, when, self.counted)
        course = self.model.apply("response", "before", features[hit]).reshape(-1, len(KNOTS), V)
        self.previous[hit], self.begun[hit], self.old[hit] = self.course[hit], self.origin[hit], self.when[hit]
        self.course[hit] = course + self.model.centre_plain
        self.when[hit], self.origin[hit], self.since[hit] = when[hit], when[hit], when[hit] - BEFORE
        self.seen |= hit


def logarithm(ms, least=100):
    """Logarithm of a time in units of 500 ms, of the shortest or the longest that counts where it lies beyond."""
    return np.log(np.clip(ms, least, LONGEST) / 500)


def remember(memory, interval):
    """The rhythm of each node: a running mean of the logarithm of its intervals; NaN while none is known."""
    new = logarithm(interval)
    return np.where(np.isnan(new), memory, np.where(np.isnan(memory), new, memory + RECENT * (new - memory)))


def fade(load, ms):
    return load * np.exp(-ms / MINUTES)


def load_of(earlier, now=0.0):
    """Load from the times of all stimuli up to now [ms]."""
    return BEAT * np.exp(-(now - np.asarray(earlier, float)) / MINUTES).sum()


def state_at(history, at, dt):
    """Frames of a history at a time for each node [ms after its first], straight between frames."""
    if len(history) == 1:
        return history[0]
    x = np.clip(at / dt, 0, len(history) - 1.001)
    return between(history.swapaxes(0, 1), x.astype(int), x % 1)


def read_at(course, tau):
    """Courses (N, knots, 4) at a time each (N,), straight between knots."""
    tau = np.clip(tau, KNOTS[0], KNOTS[-1] - 1e-6)
    k = LOOKUP[((tau - KNOTS[0]) * 4).astype(int)]
    return between(course, k, (tau - KNOTS[k]) / (KNOTS[k + 1] - KNOTS[k]))


def between(values, k, w):
    """Of values (N, knots, 4), for each node what lies a share ``w`` (N,) of the way from knot ``k`` (N,) to k + 1."""
    nodes, w = np.arange(len(k)), w[:, None]
    return (1 - w) * values[nodes, k] + w * values[nodes, k + 1]


@njit(cache=True, nogil=True, fastmath=True)
def draw(out, first, dt, when, old, since, course, previous, knots, lookup, mean, std):
    """Read frames off the courses: a node's new one from ``since`` on, the one before until then."""
    low, high = knots[0], knots[-1] - 1e-6
    for f in range(len(out)):
        t = (first + f + 1) * dt
        for n in range(len(when)):
            if t >= since[n]:
                source, tau = course[n], t - when[n]
            else:
                source, tau = previous[n], t - old[n]
            tau = min(max(tau, low), high)
            k = lookup[int((tau - low) * 4)]
            w = np.float32((tau - knots[k]) / (knots[k + 1] - knots[k]))
            for v in range(V):
                a = source[k, v]
                out[f, n, v] = mean[v] + std[v] * (a + w * (source[k + 1, v] - a))
