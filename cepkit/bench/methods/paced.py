"""A surrogate that answers the stimulus: when does each node fire, and what follows when it has fired?

Tissue that is paced does two things.  A stimulus starts a wave, which reaches every node at some
moment; and a node that has been reached runs through its action potential and calcium transient,
which depend on how long it had rested and what was left in its stores.  So three small networks
share the work:

- *capture*: does this stimulus start a wave at all?
- *arrival*: when does the wave reach a node?
- *response*: the whole course of the four variables of a node after its activation, from what it
  was just before.

A fourth, *onward*, continues any state of a node until it fires again, and says how long ago it
fired: for nodes of whose past nothing is known, and for long rests.

The first two see the stimulated squares, all see only what the surrogate itself has produced.  It
is run from event to event, not from frame to frame; frames are read off the responses.
"""

import dataclasses
import functools
import time

import numpy as np
import torch
from scipy.ndimage import find_objects, label
from torch import nn
from tqdm import tqdm

from cepkit.dataset import Scaling, to_tensor
from cepkit.events import find
from cepkit.training import fabric, finite, keep, resume
from cepkit.surrogates.base import Surrogate, surrogate
from cepkit.bench.methods.event_sheet import AFTER, BEAT, BEFORE, KNOTS, LONGEST, WAVE, Sheet, V, fade, load_of, onsets, remember

#: Least standard deviation that each network's features are divided by.
FLOOR = {"before": 0.05, "place": 0.02, "early": 0.05, "now": 0.05}
SLOWEST = 5.0  # what fires with more between neighbours is not one wave [ms]
SLACK = 0.25  # so many standard deviations beyond what was seen, features are still believed
#: Columns of what the response sees.
GROUPS = {
    "state": slice(0, V),
    "rhythm": slice(V + 1, V + 3),
    "load": slice(V + 3, V + 4),
    "wave": slice(V + 4, V + 8),
}
NETWORKS = ("response", "arrival", "capture", "onward")
UNIT = ("mean", "std", "low", "high")  # of each feature, over the training data


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes and training of the networks.

    Attributes
    ----------
    hidden : int
        Width of the hidden layers.
    rank : int
        Width of the last one of the response: every course is a sum of so many.
    updates, batch : int
    learning_rate : float
        Of Adam, falling to 0 along a half cosine.
    samples : int
        Most activations of single nodes that the response learns from.
    noise : float
        Standard deviation of the error that is put on what a node was before its activation, in
        units of its spread over the training runs: in a free run the surrogate lives with its own.
    without : sequence of str
        Groups of features that the response does not see: what they buy is in chapter 14.

    Examples
    --------
    >>> from cepkit.bench.methods import paced
    >>> paced.Settings(hidden=32).hidden
    32
    """

    hidden: int = 192
    rank: int = 48
    updates: int = 30_000
    batch: int = 512
    learning_rate: float = 3e-3
    samples: int = 240_000
    noise: float = 0.04
    without: tuple = ()
    seed: int = 0


def network(inputs, hidden, outputs, rank=None):
    """Two hidden layers; with ``rank`` a narrow linear one before the last.

    Examples
    --------
    >>> from cepkit.bench.methods import paced
    >>> tuple(paced.network(inputs=3, hidden=8, outputs=2, rank=4)(torch.zeros(5, 3)).shape)
    (5, 2)
    """
    layers = [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
    layers += [nn.Linear(hidden, rank)] if rank else []
    return nn.Sequential(*layers, nn.Linear(rank or hidden, outputs))


@surrogate("paced", "paced network", "#009E73", "-", version="327363260c60f2f2", draws=True)
class Paced(Surrogate):
    """Capture, arrival and response.

    Parameters
    ----------
    **changes
        Of :class:`Settings`.

    Attributes
    ----------
    surprise : array, shape (start,)
        After a rollout: how far the history lay from what the surrogate makes of it, a root mean
        square of z-scores over the last beat; NaN where the history shows no beat.  Tissue unlike
        that of the training data betrays itself here, before anything is forecast.

    Examples
    --------
    >>> sheet = cep.Tissue((24, 24), spacing=10 / 23)
    >>> protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(sheet))
    >>> run = cep.simulate(sheet, protocol, 40.0, progress=False)
    >>> field = cep.stimulus_field(protocol, like=run)
    >>> forecast = cep.load("paced").rollout(run.isel(time=slice(0, 21)), steps=20, stimulus=field)
    >>> bool(forecast.Vm.isel(lead_time=-1).min() > 0)  # the wave has reached every node
    True
    """

    trains = True
    reads_stimulus = True
    smoke = {"updates": 100, "hidden": 32, "rank": 16, "samples": 2000}

    def __init__(self, **changes):
        super().__init__()
        known = [field.name for field in dataclasses.fields(Settings)]
        for name in changes:
            if name not in known:
                raise ValueError(f"{name}={changes[name]!r} is no setting of {self.name}; choose from {known}")
        self.settings = Settings(**changes)
        self.configuration = dataclasses.asdict(self.settings)

    # ---- learning -------------------------------------------------------------------------------------
    def _fit(self, pieces, stimuli, earlier=None, late=None, progress=True, checkpoint=None):
        began = time.perf_counter()
        s = self.settings
        self.scaling = Scaling.fit([piece.isel(time=slice(None, None, 5)) for piece in pieces])
        earlier = earlier or [()] * len(pieces)
        self.usual = float(np.mean([load_of(times) for times in earlier]))
        told = list(zip(pieces, stimuli, earlier, strict=True))
        if late is not None:
            told += zip(*late, strict=True)
        share = s.samples / max(1, sum(len(_activations(p)[0]) for p, *_ in told))
        rng = np.random.default_rng(s.seed)
        parts = [self._examples(p, np.asarray(u).reshape(len(u), -1), e, share, rng) for p, u, e in told]
        before, course, weight, _, _, early, caught, now, then, seen, since = map(
            np.concatenate, zip(*parts, strict=True)
        )
        # Late waves run as fast as others: arrival learnt from them too was no better there, and worse at new sites.
        usual, _, _, place, arrival, *_ = map(np.concatenate, zip(*parts[: len(pieces)], strict=True))
        if not len(course) or not len(arrival):
            raise ValueError("trajectories hold no wave that was started by a stimulus and seen to its end")
        self._standardise(before=before, place=place, early=early, now=now)
        with torch.random.fork_rng():
            torch.manual_seed(s.seed)
            self._build()
            on = fabric()
            optimise = functools.partial(_optimise, s=s, on=on, progress=progress, checkpoint=checkpoint)
            history = {
                "response": self._train_response(before, usual, course, weight, optimise),
                "arrival": self._train_arrival(place, arrival, optimise),
                "capture": self._train_capture(early, caught, optimise),
                "onward": self._train_onward(now, then, seen, since, optimise),
            }
        for name in NETWORKS:
            getattr(self, name).cpu()
        self.card |= {
            "scaling": self.scaling.to_dict(),
            "training": history,
            "training seconds": round(time.perf_counter() - began, 1),
            "trained on": {"device": str(on.device), "processes": on.world_size},
            "weights": sum(t.numel() for t in self._tensors().values()),
            "examples": {
                "responses": len(course),
                "arrivals": len(arrival),
                "stimuli": len(caught),
                "states": len(now),
            },
        }
        self._compile()

    def _examples(self, piece, stimulus, earlier, share, rng):
        """What one trajectory teaches: responses, arrivals, captures."""
        t0, dt = float(piece.time[0]), self.interval
        X = to_tensor(self.scaling.apply(piece)).numpy().reshape(piece.sizes["time"], -1, V)
        when, node = _activations(piece)
        when = when - t0
        waves, arrivals, captures = [], [], []
        memory, load = np.full(X.shape[1], np.nan), np.full(X.shape[1], load_of(earlier))
        counted = np.zeros(X.shape[1])
        for k in onsets(stimulus):
            t = k * dt
            inside = (when > t) & (when < t + WAVE)
            reached = np.full(X.shape[1], np.nan)
            reached[node[inside][::-1]] = when[inside][::-1] - t
            last, before = _last_before(when, node, t, X.shape[1])
            if len(earlier) > 1 and t - earlier[-1] > LONGEST:  # the first wave after a long rest
                last, before = (
                    np.where(np.isnan(a), b, a) for a, b in zip((last, before), earlier[:-3:-1], strict=True)
                )
            boxes = self._boxes(stimulus[k])
            caught = np.mean(~np.isnan(reached)) > 0.5
            lag = max(k - round(20 / dt), 0)
            early = self._early(X[k], X[lag], boxes)
            captures.append((early, np.full(len(boxes), caught)))
            if caught:
                memory = remember(memory, t + reached - last)
                now = fade(load, np.nan_to_num(t + reached - counted))
                shape = self._shape_of(reached, boxes)
                if np.nanmax(shape[:, 1]) < SLOWEST:
                    waves.append((t, reached, shape, last, before, memory, now))
                hit = ~np.isnan(reached)
                load, counted = np.where(hit, now + BEAT, load), np.where(hit, t + reached, counted)
                if len(boxes) == 1 and not np.isnan(last).any():
                    place = self._place(boxes[0], X[k], t - last)
                    known = ~np.isnan(reached)
                    arrivals.append((place[known], reached[known]))
        responses = self._responses(X, when, node, waves, share, rng)
        place = np.concatenate([p for p, _ in arrivals]) if arrivals else np.zeros((0, 9))
        arrival = np.concatenate([a for _, a in arrivals]) if arrivals else np.zeros(0)
        early = np.concatenate([e for e, _ in captures]) if captures else np.zeros((0, 6))
        caught = np.concatenate([c for _, c in captures]) if captures else np.zeros(0)
        states = _continuations(X, dt, when, node, round(0.8 * share * len(when)), rng)
        return *responses, place.astype(np.float32), arrival.astype(np.float32), early, caught, *states

    def _responses(self, X, when, node, waves, share, rng):
        """Features before an activation, the course after it, and the weight of each knot (0 where unseen)."""
        dt, frames, nodes = self.interval, len(X), np.arange(X.shape[1])
        out = [
            (
                np.zeros((0, V + 8), np.float32),
                np.zeros((0, len(KNOTS), V), np.float16),
                np.zeros((0, len(KNOTS)), np.float16),
            )
        ]
        for t, reached, shape, last, earlier, memory, load in waves:
            fired = t + reached
            if np.isnan(last).any() or not np.nanmin(fired) > BEFORE + 2:
                continue
            state = _sample(X, nodes, np.nan_to_num(fired - BEFORE)[:, None] / dt)[:, 0]
            interval = fired - last
            earlier = np.where(np.isnan(earlier), interval, last - earlier)
            before = self._before(state, interval, earlier, memory, load, shape)
            after = _next_after(when, node, fired, frames * dt)
            length = np.minimum(after - fired - BEFORE, (frames - 3) * dt - fired)
            use = np.flatnonzero(~np.isnan(reached) & (rng.random(len(nodes)) < share))
            course = _sample(X, use, (fired[use, None] + KNOTS) / dt)
            weight = np.where(KNOTS[None] < length[use, None], _spans()[None], 0.0)
            out.append((before[use], course.astype(np.float16), weight.astype(np.float16)))
        return tuple(np.concatenate(column) for column in zip(*out, strict=True))

    def _train_response(self, before, usual, course, weight, optimise):
        inputs = torch.from_numpy(self._scaled("before", before))
        total = np.einsum("skv,sk->kv", course, weight, dtype=np.float32, casting="unsafe")
        self.centre = torch.from_numpy(total / np.maximum(weight.sum(0, dtype=np.float32), 1e-9)[:, None])
        course, weight = torch.from_numpy(course), torch.from_numpy(weight)
        # In units of the training runs alone: after a long rest a store may hold a tenth, which is not how a run errs.
        noise = torch.zeros(inputs.shape[1])
        noise[:V] = self.settings.noise * torch.from_numpy(self._spread("before", usual) / self.units["before"][1])[:V]

        def loss(network, inputs, course, weight, centre, noise):
            out = network(inputs + noise * torch.randn_like(inputs)).reshape(len(inputs), len(KNOTS), V) + centre
            error = (out - course.float()) ** 2
            return (error * weight.float()[..., None]).sum() / (500 * V * len(inputs))

        return optimise(self.response, loss, (inputs, course, weight), (self.centre, noise), what="response")

    def _train_arrival(self, place, arrival, optimise):
        inputs = torch.from_numpy(self._scaled("place", place))
        target = torch.from_numpy(arrival)[:, None] / 10
        noise = torch.tensor([0.0] * (inputs.shape[1] - 2) + [0.1, 0.1])  # on how rested the box is

        def loss(network, inputs, target, noise):
            return ((network(inputs + noise * torch.randn_like(inputs)) - target) ** 2).mean()

        return optimise(self.arrival, loss, (inputs, target), (noise,), what="arrival", share=0.3)

    def _train_capture(self, early, caught, optimise):
        inputs = torch.from_numpy(self._scaled("early", early))
        target = torch.from_numpy(caught.astype(np.float32))
        # A stimulus that fails is rare: both outcomes weigh the same.
        share = target.mean().clamp(0.02, 0.98)
        weight = torch.where(target > 0, 0.5 / share, 0.5 / (1 - share))

        def loss(network, inputs, target, weight):
            return nn.functional.binary_cross_entropy_with_logits(network(inputs)[:, 0], target, weight)

        return optimise(self.capture, loss, (inputs, target, weight), what="capture", share=0.1)

    def _train_onward(self, now, then, seen, since, optimise):
        inputs, then, seen = torch.from_numpy(self._scaled("now", now)), torch.from_numpy(then), torch.from_numpy(seen)
        now, since = torch.from_numpy(now), torch.from_numpy(since)
        known = torch.isfinite(since)
        since = torch.nan_to_num(since)

        def loss(network, inputs, now, then, seen, known, since):
            out = network(inputs)
            course = out[:, 1:].reshape(len(inputs), -1, V) + now[:, None]
            error = (course - then.float()) ** 2
            error = (error * seen.float()[..., None]).sum() / (500 * V * len(inputs))
            return error + 0.1 * (known * (out[:, 0] - since) ** 2).mean()

        return optimise(self.onward, loss, (inputs, now, then, seen, known, since), what="onward", share=0.3)

    # ---- features -------------------------------------------------------------------------------------
    def _before(self, state, interval, earlier, memory, load, shape):
        """What decides on the response: the state before the upstroke, the rhythm so far, how the wave passes."""
        rest = [np.log(np.clip(x, 100, LONGEST) / 500) for x in (interval, earlier)]
        features = np.concatenate([state, np.stack([*rest, memory, load], 1), shape], 1).astype(np.float32)
        for group in self.settings.without:
            features[:, GROUPS[group]] = 0
        return features

    @property
    def shape(self):
        """Nodes along each axis."""
        return tuple(len(c) for c in self.grid.values())

    def _boxes(self, row):
        """Stimulated rectangles of a row of the stimulus (N,), as (low, high) nodes along each axis."""
        labels, _ = label((row != 0).reshape(self.shape))
        return [[(s.start, s.stop - 1) for s in box] for box in find_objects(labels)]

    def _inside(self, box):
        mask = np.zeros(self.shape, bool)
        mask[tuple(slice(a, b + 1) for a, b in box)] = True
        return mask.ravel()

    def _early(self, now, before, boxes):
        """What decides on capture, for each box: Vm in it now and 20 ms ago (mean, highest), Cai and CaSR."""
        rows = []
        for box in boxes:
            on = self._inside(box)
            V_now, V_before = now[on, 0], before[on, 0]
            rows.append(
                [V_now.mean(), V_now.max(), V_before.mean(), V_before.max(), now[on, 1].mean(), now[on, 2].mean()]
            )
        return np.array(rows, np.float32).reshape(-1, 6)

    def _place(self, box, now, rested):
        """What decides on arrival, for each node: where it lies from the box and the walls, and how rested the box is.

        How far each node has recovered is left out: 185 waves are too few to learn it from, and what
        was learnt did not hold on the validation runs.
        """
        index = np.indices(self.shape).reshape(len(self.shape), -1)
        gaps, walls, own = [], [], []
        for axis, (low, high) in enumerate(box):
            k, n = index[axis], self.shape[axis]
            gaps.append(np.maximum(np.maximum(low - k, k - high), 0))
            walls.append(np.full(len(k), min(low, n - 1 - high)))
            own.append(np.minimum(k, n - 1 - k))
        for part in (gaps, walls, own):
            part.extend([np.zeros_like(part[0])] * (2 - len(part)))
        on = self._inside(box)
        rest = np.log(np.clip(rested[on], 50, LONGEST) / 500).mean()
        # The square and its mirror image at the diagonal are one: the axis with the longer gap comes first.
        swap = gaps[0] < gaps[1]
        pairs = [np.where(swap, [b, a], [a, b]) for a, b in (gaps, walls, own)]
        recovery = [np.full(len(swap), now[on, 0].mean()), np.full(len(swap), rest)]
        return np.stack([np.hypot(*gaps), *np.concatenate(pairs), *recovery], 1).astype(np.float32)

    def _shape_of(self, reached, boxes):
        """How the wave passes each node: arrival, slowness, bend of the front, whether it was stimulated itself."""
        when = reached.reshape(self.shape)
        filled = np.where(np.isnan(when), np.nanmean(when), when)
        padded = np.pad(filled, 1, mode="edge")
        slow, bend = np.zeros(self.shape), np.zeros(self.shape)
        middle = [slice(1, -1)] * when.ndim
        for axis in range(when.ndim):
            ahead, behind = list(middle), list(middle)
            ahead[axis], behind[axis] = slice(2, None), slice(None, -2)
            up, down = padded[tuple(ahead)] - filled, filled - padded[tuple(behind)]
            slow, bend = slow + ((up + down) / 2) ** 2, bend + up - down
        on = np.zeros(filled.size)
        for box in boxes:
            on[self._inside(box)] = 1.0
        shape = np.stack([filled.ravel(), np.sqrt(slow).ravel(), bend.ravel(), on], 1)
        shape[np.isnan(reached)] = np.nan
        return shape

    @staticmethod
    def _spread(name, values):
        # A feature that hardly varies must not turn a small error into a large one.
        return np.maximum(values.astype(np.float64).std(0), FLOOR[name])

    def _standardise(self, **features):
        self.units = {}
        for name, values in features.items():
            std, values = self._spread(name, values), values.astype(np.float64)
            self.units[name] = (values.mean(0), std, values.min(0) - SLACK * std, values.max(0) + SLACK * std)

    def _scaled(self, name, values):
        mean, std, low, high = self.units[name]
        # What lies outside of all that was seen is taken to its edge.
        return ((np.clip(values, low, high) - mean) / std).astype(np.float32)

    def _build(self):
        s = self.settings
        sizes = {name: len(mean) for name, (mean, *_) in self.units.items()}
        self.response = network(sizes["before"], s.hidden, len(KNOTS) * V, s.rank)
        self.arrival = network(sizes["place"], s.hidden, 1)
        self.capture = network(sizes["early"], 8, 1)
        self.onward = network(sizes["now"], s.hidden, 1 + AFTER.sum() * V, s.rank)

    # ---- running --------------------------------------------------------------------------------------
    @torch.inference_mode()
    def _rollout(self, X, start, steps, stimulus):
        mean, std = (v.numpy().reshape(-1, V) for v in self.scaling.vectors(self.nodes))
        out = torch.empty(len(X), steps, X.shape[2])
        self.surprise = np.full(len(X), np.nan)
        for k in range(len(X)):
            history = (X[k].numpy().reshape(X.shape[1], -1, V) - mean) / std
            sheet = Sheet(self, history, stimulus[k].numpy())
            self.surprise[k] = sheet.surprise
            sheet.run(out[k].numpy().reshape(steps, -1, V), mean[0], std[0])
        return out

    def _compile(self):
        """Weights of the networks as plain arrays: inference needs no PyTorch."""
        self.plain = {
            name: [
                (p.weight.detach().numpy().T.copy(), p.bias.detach().numpy())
                for p in getattr(self, name)
                if isinstance(p, nn.Linear)
            ]
            for name in NETWORKS
        }
        self.centre_plain = self.centre.numpy()

    def apply(self, name, unit, values):
        """One of the three networks on plain arrays."""
        x = self._scaled(unit, values)
        layers = self.plain[name]
        for k, (weight, bias) in enumerate(layers):
            x = x @ weight + bias
            if k < 2:
                with np.errstate(over="ignore"):  # far below 0 it is 0
                    x = x / (1 + np.exp(-x))
        return x

    def continue_from(self, now):
        """Courses (N, knots, 4) of nodes that are left alone, from their states (N, 4); and how long ago each fired."""
        out = self.apply("onward", "now", now)
        course = np.repeat(now[:, None], len(KNOTS), 1).astype(np.float32)
        course[:, AFTER] += out[:, 1:].reshape(len(now), AFTER.sum(), V)
        return course, np.clip(500 * np.exp(out[:, 0]), 50, LONGEST)

    # ---- files ----------------------------------------------------------------------------------------
    def _tensors(self):
        out = {"centre": self.centre, "usual": torch.tensor(self.usual, dtype=torch.float64)}
        for net in NETWORKS:
            out |= {f"{net}.{name}": tensor for name, tensor in getattr(self, net).state_dict().items()}
        for name, unit in self.units.items():
            out |= {f"{name}.{k}": torch.tensor(v, dtype=torch.float64) for k, v in zip(UNIT, unit, strict=True)}
        return out

    def _restore(self, tensors, card):
        self.settings = Settings(**card["configuration"])
        self.scaling = Scaling.from_dict(card["scaling"])
        self.units = {n: tuple(tensors[f"{n}.{k}"].numpy() for k in UNIT) for n in FLOOR}
        self._build()
        for net in NETWORKS:
            own = {k.removeprefix(f"{net}."): v for k, v in tensors.items() if k.startswith(f"{net}.")}
            getattr(self, net).load_state_dict(own)
        self.centre, self.usual = tensors["centre"], float(tensors["usual"])
        self._compile()


# ---- small pieces -------------------------------------------------------------------------------------


def _activations(piece):
    """Times [ms] and nodes of all activations: noted by the solver, or else found in the frames."""
    begin, end = float(piece.time[0]), float(piece.time[-1])
    if "activation_time" in piece.coords:
        when, node = piece.activation_time.values, piece.activation_node.values
    else:
        Vm = np.asarray(piece.Vm.values, np.float64).reshape(piece.sizes["time"], -1)
        step = float(piece.time[1] - piece.time[0])
        times = find(Vm, np.zeros_like(Vm), step, int(len(Vm) * step / 200) + 3)[..., 0]
        node, k = np.nonzero(~np.isnan(times))
        when = times[node, k] + begin
        order = np.argsort(when, kind="stable")
        when, node = when[order], node[order]
    inside = (when >= begin) & (when <= end)
    return when[inside], node[inside]


def _continuations(X, dt, when, node, count, rng):
    """States at random nodes and moments, what followed until the next activation, and how long ago the last was.

    Returns
    -------
    now, then, seen, since : array, shapes (S, 4), (S, knots, 4), (S, knots), (S,)
        ``seen`` weighs each knot, 0 where the next wave or the end of the run comes first; ``since``
        is the logarithm of the time since activation in units of 500 ms, NaN where it is unknown.
    """
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
    then = _sample(X, n, (t[:, None] + knots) / dt).astype(np.float16)
    seen = np.where(knots < length[:, None], _spans()[AFTER], 0.0).astype(np.float16)
    since = np.log(np.clip(t - last, 50, LONGEST) / 500)
    return X[k, n], then, seen, since.astype(np.float32)


def _last_before(when, node, t, count):
    """Last activation of each node before a time, and the one before that; NaN where there was none."""
    last, earlier = np.full((2, count), np.nan)
    past = when < t
    last[node[past]] = when[past]  # in the order of time: the last one stays
    past &= when < last[node]
    earlier[node[past]] = when[past]
    return last, earlier


def _next_after(when, node, fired, end):
    """For each node its first activation after ``fired``, or ``end``."""
    after = np.full(len(fired), end, float)
    later = when > fired[node] + 1e-6
    after[node[later][::-1]] = when[later][::-1]  # the first one stays
    return after


def _spans():
    """How many milliseconds each knot stands for."""
    return np.gradient(KNOTS)


def _sample(X, node, at):
    """Frames X (time, N, 4) of a node each, at fractional frames ``at`` (samples, knots): cubic (Catmull-Rom)."""
    at = np.clip(at, 1, len(X) - 3)
    k = at.astype(int)
    w = (at - k)[..., None]
    a, b, c, d = (X[k + j, node[:, None]] for j in (-1, 0, 1, 2))
    return b + 0.5 * w * (c - a + w * (2 * a - 5 * b + 4 * c - d + w * (3 * (b - c) + d - a)))


def _optimise(net, loss, data, fixed=(), *, s, on, progress, what, share=1.0, checkpoint=None, rounds=10):
    """Adam on random batches, the learning rate falling to 0 along a half cosine.

    Each tenth of it draws its own random numbers and leaves a checkpoint, so that a training that was
    killed and started again ends with the very same weights.

    Parameters
    ----------
    net : torch.nn.Module
    loss : callable
        ``loss(net, *batch, *fixed)``.
    data : sequence of torch.Tensor
        Of equal length; a batch is a random choice of their rows.
    fixed : sequence of torch.Tensor
        What every batch needs whole.
    on : lightning_fabric.Fabric
        Its processes draw batches of their own; their gradients are averaged.
    """
    updates = max(1, round(share * s.updates / rounds))
    adam = torch.optim.Adam(net.parameters(), s.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, rounds * updates)
    run = {"network": net, "adam": adam, "schedule": schedule}
    checkpoint = checkpoint and f"{checkpoint}-{what}"
    history = resume(checkpoint, run)
    network, optimiser = on.setup(net, adam)
    data, fixed = on.to_device(list(data)), on.to_device(list(fixed))
    bar = tqdm(total=rounds * updates, initial=len(history) * updates, desc=what, disable=None if progress else True)
    with bar:
        for number in range(len(history), rounds):
            torch.manual_seed(1000 * s.seed + number + 1_000_000 * on.global_rank)
            total = 0.0
            for k in range(updates):
                batch = torch.randint(len(data[0]), (min(s.batch, len(data[0])),))
                value = loss(network, *(part[batch] for part in data), *fixed)
                optimiser.zero_grad()
                on.backward(value)
                optimiser.step()
                schedule.step()
                total += finite(value, epoch=number, update=k)
                bar.update()
            history.append({"update": (number + 1) * updates, "loss": total / updates})
            if on.is_global_zero:
                keep(checkpoint, run, history)
    return history
