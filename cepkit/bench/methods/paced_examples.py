"""What trajectories teach the paced network: examples of responses, arrivals, captures and continuations."""

from typing import NamedTuple

import numpy as np

from cepkit.bench.methods import event_sheet
from cepkit.bench.methods.event_sheet import AFTER, BEAT, BEFORE, EARLIER, KNOTS, LONGEST, WAVE, V, logarithm
from cepkit.bench.methods.replay import onsets
from cepkit.dataset import to_tensor
from cepkit.measure import find

SLOWEST = 5.0  # what fires with more between neighbours is not one wave [ms]
SPANS = np.gradient(KNOTS)  # how many milliseconds each knot stands for


class Examples(NamedTuple):
    """Of responses R, of arrivals A, of captures C, of continuations S: features and what is to be made of them."""

    before: np.ndarray  # (R, features)
    course: np.ndarray  # (R, knots, 4)
    weight: np.ndarray  # (R, knots), 0 where unseen
    place: np.ndarray  # (A, features)
    arrival: np.ndarray  # (A,) [ms]
    early: np.ndarray  # (C, features)
    caught: np.ndarray  # (C,)
    now: np.ndarray  # (S, 4)
    then: np.ndarray  # (S, knots, 4)
    seen: np.ndarray  # (S, knots), 0 where the next wave or the end of the run comes first
    since: np.ndarray  # (S,), logarithm of the time since activation, NaN where it is unknown


def joined(parts):
    return Examples(*map(np.concatenate, zip(*parts, strict=True)))


def examples(model, piece, stimulus, earlier, share, rng):
    """Examples of one trajectory: of all its responses a share, drawn at random."""
    X = to_tensor(model.scaling.apply(piece)).numpy().reshape(piece.sizes["time"], -1, V)
    (when, node), dt, nodes = activations(piece), model.interval, X.shape[1]
    waves, nothing = [], np.zeros((0, 9), np.float32)
    arrivals, captures = [(nothing, nothing[:, 0])], [(nothing[:, :6], nothing[:, 0])]
    memory, load, counted = np.full(nodes, np.nan), np.full(nodes, event_sheet.load_of(earlier)), np.zeros(nodes)
    for k in onsets(stimulus):
        t = k * dt
        inside = (when > t) & (when < t + WAVE)
        reached = np.full(nodes, np.nan)
        reached[node[inside][::-1]] = when[inside][::-1] - t
        hit, fired = ~np.isnan(reached), t + reached
        last, before = last_before(when, node, t, nodes)
        if len(earlier) > 1 and t - earlier[-1] > LONGEST:  # the first wave after a long rest
            last, before = (np.where(np.isnan(a), b, a) for a, b in zip((last, before), earlier[:-3:-1], strict=True))
        boxes, caught, ago = model.boxes(stimulus[k]), np.mean(hit) > 0.5, X[max(k - round(EARLIER / dt), 0)]
        captures.append((model.early_features(X[k], ago, boxes), np.full(len(boxes), caught)))
        if not caught:
            continue
        memory = event_sheet.remember(memory, fired - last)
        now = event_sheet.fade(load, np.nan_to_num(fired - counted))
        shape = model.wave_features(reached, boxes)
        if np.nanmax(shape[:, 1]) < SLOWEST:
            waves.append((fired, shape, last, before, memory, now))
        load, counted = np.where(hit, now + BEAT, load), np.where(hit, fired, counted)
        if len(boxes) == 1 and not np.isnan(last).any():
            arrivals.append((model.place_features(boxes[0], X[k], t - last)[hit], reached[hit]))
    few = [np.concatenate(c).astype(np.float32) for part in (arrivals, captures) for c in zip(*part, strict=True)]
    responses = _responses(model, X, when, node, waves, share, rng)
    return Examples(*responses, *few, *_continuations(X, dt, when, node, round(0.8 * share * len(when)), rng))


def _responses(model, X, when, node, waves, share, rng):
    """Features before an activation, the course after it, and the weight of each knot."""
    dt, nodes, empty = model.interval, np.arange(X.shape[1]), np.zeros((0, len(KNOTS), V), np.float16)
    out = [(np.zeros((0, V + 8), np.float32), empty, empty[..., 0])]
    for fired, shape, last, earlier, memory, load in waves:
        if np.isnan(last).any() or not np.nanmin(fired) > BEFORE + 2:
            continue
        state = sample(X, nodes, np.nan_to_num(fired - BEFORE)[:, None] / dt)[:, 0]
        interval = fired - last
        earlier = np.where(np.isnan(earlier), interval, last - earlier)
        before = model.before_features(state, interval, earlier, memory, load, shape)
        after = next_after(when, node, fired, len(X) * dt)
        length = np.minimum(after - fired - BEFORE, (len(X) - 3) * dt - fired)
        use = np.flatnonzero(~np.isnan(fired) & (rng.random(len(nodes)) < share))
        course = sample(X, use, (fired[use, None] + KNOTS) / dt)
        weight = np.where(KNOTS[None] < length[use, None], SPANS[None], 0.0)
        out.append((before[use], course.astype(np.float16), weight.astype(np.float16)))
    return tuple(np.concatenate(column) for column in zip(*out, strict=True))


def _continuations(X, dt, when, node, count, rng):
    """States at random nodes and moments, what followed until the next activation, and how long ago the last was."""
    knots, far = KNOTS[AFTER], 1e8
    k, n = rng.integers(1, len(X) - 30, count), rng.integers(X.shape[1], size=count)
    t = k * dt
    clock = np.sort(node * far + when)
    place = np.searchsorted(clock, n * far + t, "right")
    last, following = (np.append(clock, np.inf)[place + j] - n * far for j in (-1, 0))
    last[(last < 0) | (place == 0)] = np.nan
    following[following >= far / 2] = np.inf
    length = np.minimum(following - t - BEFORE, (len(X) - 3) * dt - t)
    use = length > 20
    k, n, t, length, last = k[use], n[use], t[use], length[use], last[use]
    then = sample(X, n, (t[:, None] + knots) / dt).astype(np.float16)
    seen = np.where(knots < length[:, None], SPANS[AFTER], 0.0).astype(np.float16)
    return X[k, n], then, seen, logarithm(t - last, 50).astype(np.float32)


def activations(piece):
    """Times [ms after the first frame] and nodes of all activations: noted by the solver, or else found in frames."""
    begin, second, end = piece.time.values[[0, 1, -1]].tolist()
    if "activation_time" in piece.coords:
        when, node = piece.activation_time.values, piece.activation_node.values
    else:
        Vm, step = np.asarray(piece.Vm.values, np.float64).reshape(piece.sizes["time"], -1), second - begin
        times = find(Vm, np.zeros_like(Vm), step, int(len(Vm) * step / 200) + 3)[..., 0]
        node, when = np.nonzero(~np.isnan(times))[0], times[~np.isnan(times)] + begin
        order = np.argsort(when, kind="stable")
        when, node = when[order], node[order]
    inside = (when >= begin) & (when <= end)
    return when[inside] - begin, node[inside]


def last_before(when, node, t, count):
    """Last activation of each node before a time, and the one before that; NaN where there was none."""
    last, earlier = np.full((2, count), np.nan)
    past = when < t
    last[node[past]] = when[past]  # in the order of time: the last one stays
    past &= when < last[node]
    earlier[node[past]] = when[past]
    return last, earlier


def next_after(when, node, fired, end):
    """For each node its first activation after ``fired``, or ``end``."""
    after = np.full(len(fired), end, float)
    later = when > fired[node] + 1e-6
    after[node[later][::-1]] = when[later][::-1]  # the first one stays
    return after


def sample(X, node, at):
    """Frames X (time, N, 4) of a node each, at fractional frames ``at`` (samples, knots): cubic (Catmull-Rom)."""
    at = np.clip(at, 1, len(X) - 3)
    k = at.astype(int)
    w = (at - k)[..., None]
    a, b, c, d = (X[k + j, node[:, None]] for j in (-1, 0, 1, 2))
    return b + 0.5 * w * (c - a + w * (2 * a - 5 * b + 4 * c - d + w * (3 * (b - c) + d - a)))
