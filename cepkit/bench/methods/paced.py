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

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.ndimage import find_objects, label
from torch import nn

from cepkit.bench.methods.event_sheet import AFTER, KNOTS, LONGEST, Sheet, V, load_of, logarithm
from cepkit.bench.methods.paced_examples import activations, examples, joined
from cepkit.dataset import Scaling
from cepkit.surrogates.base import Surrogate, surrogate
from cepkit.training import Drawn, launched, tune

#: Least standard deviation that each network's features are divided by.
FLOOR = {"before": 0.05, "place": 0.02, "early": 0.05, "now": 0.05}
SLACK = 0.25  # so many standard deviations beyond what was seen, features are still believed
#: Columns of what the response sees.
GROUPS = {
    "state": slice(0, V), "rhythm": slice(V + 1, V + 3), "load": slice(V + 3, V + 4), "wave": slice(V + 4, V + 8),
}  # fmt: skip
NETWORKS = ("response", "arrival", "capture", "onward")
UNIT = ("mean", "std", "low", "high")  # of each feature, over the training data
TENTHS = 10  # a network is trained in so many parts, each with random numbers and a checkpoint of its own


@dataclass(frozen=True)
class Settings:
    """Sizes and training of the networks."""

    hidden: int = 192  # width of the hidden layers
    rank: int = 48  # width of the last one of the response: every course is a sum of so many
    updates: int = 30_000  # of the response; the others take a share
    batch: int = 512
    learning_rate: float = 3e-3  # of Adam, falling to 0 along a half cosine
    samples: int = 240_000  # most activations of single nodes that the response learns from
    # Standard deviation of the error that is put on what a node was before its activation, in units of
    # its spread over the training runs: in a free run the surrogate lives with its own.
    noise: float = 0.04
    without: tuple = ()  # GROUPS of features that the response does not see: what they buy is in chapter 14
    seed: int = 0


def network(inputs, hidden, outputs, rank=None):
    """Two hidden layers; with ``rank`` a narrow linear one before the last."""
    layers = [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
    layers += [nn.Linear(hidden, rank)] if rank else []
    return nn.Sequential(*layers, nn.Linear(rank or hidden, outputs))


@surrogate("paced", "paced network", "#009E73", "-", version="327363260c60f2f2", draws=True)
class Paced(Surrogate):
    """Capture, arrival and response.

    Attributes
    ----------
    surprise : array, shape (start,)
        After a rollout: how far the history lay from what the surrogate makes of it, a root mean
        square of z-scores over the last beat; NaN where the history shows no beat.  Tissue unlike
        that of the training data betrays itself here, before anything is forecast.
    """

    trains = reads_stimulus = True
    Settings = Settings
    configurations = {"smoke": {"updates": 100, "hidden": 32, "rank": 16, "samples": 2000}}

    # ---- learning -------------------------------------------------------------------------------------
    def _fit(self, learning):
        s = self.settings
        self.scaling = Scaling.fit([piece.isel(time=slice(None, None, 5)) for piece in learning.runs])
        self.usual = float(np.mean([load_of(times) for times in learning.earlier]))
        told = [one for part in (learning, learning.part("late")) if part
                for one in zip(part.runs, part.stimuli, part.earlier, strict=True)]  # fmt: skip
        share = s.samples / max(1, sum(len(activations(piece)[0]) for piece, *_ in told))
        rng = np.random.default_rng(s.seed)
        parts = [examples(self, piece, u.numpy(), earlier, share, rng) for piece, u, earlier in told]
        every = joined(parts)
        # Late waves run as fast as others: arrival learnt from them too was no better there, and worse at new sites.
        early = joined(parts[: len(learning.runs)])
        if not len(every.course) or not len(early.arrival):
            raise ValueError("trajectories hold no wave that was started by a stimulus and seen to its end")
        self._standardise(before=every.before, place=early.place, early=every.early, now=every.now)
        torch.manual_seed(s.seed)
        self._build()
        on = launched()
        train = partial(self._train, learning=learning, on=on)
        self.card |= {
            "scaling": self.scaling.to_dict(),
            "training": {
                "response": train("response", *self._response_task(every, early.before)),
                "arrival": train("arrival", *self._arrival_task(early), share=0.3),
                "capture": train("capture", *self._capture_task(every), share=0.1),
                "onward": train("onward", *self._onward_task(every), share=0.3),
            },
            "trained on": {"device": str(on.device), "processes": on.world_size},
            "examples": {
                "responses": len(every.course), "arrivals": len(early.arrival), "stimuli": len(every.caught),
                "states": len(every.now),
            },
        }  # fmt: skip
        self._compile()

    def _train(self, name, loss, data, fixed=(), *, learning, on, share=1.0):
        """Tune one network on random rows of ``data``; every batch needs what is ``fixed`` whole."""
        s, net = self.settings, getattr(self, name)
        updates = max(1, round(share * s.updates / TENTHS))
        data, fixed = on.to_device(list(data)), on.to_device(list(fixed))

        def draw():
            rows = torch.randint(len(data[0]), (min(s.batch, len(data[0])),))
            return [part[rows] for part in data]

        history = tune(
            net, Drawn(draw, seed=1000 * s.seed + 1_000_000 * on.global_rank),
            lambda net, batch, done: loss(net, *batch, *fixed), epochs=TENTHS, updates=updates,
            learning_rate=s.learning_rate, schedule="cosine", progress=learning.progress, what=name, on=on,
            checkpoint=learning.checkpoint and f"{learning.checkpoint}-{name}",
        )  # fmt: skip
        net.cpu()
        return [{"update": entry["epoch"] * updates, "loss": entry["loss"]} for entry in history]

    def _response_task(self, every, usual):
        inputs, course, weight = self._scaled("before", every.before), every.course, every.weight
        total = np.einsum("skv,sk->kv", course, weight, dtype=np.float32, casting="unsafe")
        self.centre = torch.from_numpy(total / np.maximum(weight.sum(0, dtype=np.float32), 1e-9)[:, None])
        # In units of the training runs alone: after a long rest a store may hold a tenth, which is not how a run errs.
        noise = torch.zeros(inputs.shape[1])
        noise[:V] = self.settings.noise * torch.from_numpy(_spread("before", usual) / self.units["before"][1])[:V]

        def loss(net, inputs, course, weight, centre, noise):
            out = net(inputs + noise * torch.randn_like(inputs)).reshape(len(inputs), len(KNOTS), V) + centre
            return _error_of_courses(out, course, weight)

        return loss, map(torch.from_numpy, (inputs, course, weight)), (self.centre, noise)

    def _arrival_task(self, early):
        inputs = torch.from_numpy(self._scaled("place", early.place))
        noise = torch.tensor([0.0] * (inputs.shape[1] - 2) + [0.1, 0.1])  # on how rested the box is

        def loss(net, inputs, target, noise):
            return ((net(inputs + noise * torch.randn_like(inputs)) - target) ** 2).mean()

        return loss, (inputs, torch.from_numpy(early.arrival)[:, None] / 10), (noise,)

    def _capture_task(self, every):
        target = torch.from_numpy(every.caught)
        # A stimulus that fails is rare: both outcomes weigh the same.
        share = target.mean().clamp(0.02, 0.98)
        weight = torch.where(target > 0, 0.5 / share, 0.5 / (1 - share))

        def loss(net, inputs, target, weight):
            return nn.functional.binary_cross_entropy_with_logits(net(inputs)[:, 0], target, weight)

        return loss, (torch.from_numpy(self._scaled("early", every.early)), target, weight)

    def _onward_task(self, every):
        inputs = self._scaled("now", every.now), every.now, every.then, every.seen, every.since

        def loss(net, inputs, now, then, seen, since):
            out, known = net(inputs), torch.isfinite(since)
            course = out[:, 1:].reshape(len(inputs), -1, V) + now[:, None]
            wrong = known * (out[:, 0] - torch.nan_to_num(since)) ** 2
            return _error_of_courses(course, then, seen) + 0.1 * wrong.mean()

        return loss, map(torch.from_numpy, inputs)

    # ---- features -------------------------------------------------------------------------------------
    def before_features(self, state, interval, earlier, memory, load, shape):
        """What decides on the response: the state before the upstroke, the rhythm so far, how the wave passes."""
        rhythm = np.stack([logarithm(interval), logarithm(earlier), memory, load], 1)
        features = np.concatenate([state, rhythm, shape], 1).astype(np.float32)
        for group in self.settings.without:
            features[:, GROUPS[group]] = 0
        return features

    @property
    def shape(self):
        """Nodes along each axis."""
        return tuple(len(c) for c in self.grid.values())

    def boxes(self, row):
        """Stimulated rectangles of a row of the stimulus (N,), as (low, high) nodes along each axis."""
        labels, _ = label((row != 0).reshape(self.shape))
        return [[(s.start, s.stop - 1) for s in box] for box in find_objects(labels)]

    def _inside(self, box):
        mask = np.zeros(self.shape, bool)
        mask[tuple(slice(a, b + 1) for a, b in box)] = True
        return mask.ravel()

    def early_features(self, now, before, boxes):
        """What decides on capture, for each box: Vm in it now and 20 ms ago (mean, highest), Cai and CaSR."""
        rows = []
        for on in map(self._inside, boxes):
            Vm, Vm_before = now[on, 0], before[on, 0]
            calcium = now[on, 1].mean(), now[on, 2].mean()
            rows.append([Vm.mean(), Vm.max(), Vm_before.mean(), Vm_before.max(), *calcium])
        return np.array(rows, np.float32).reshape(-1, 6)

    def place_features(self, box, now, rested):
        """What decides on arrival, for each node: where it lies from the box and the walls, and how rested the box is.

        How far each node has recovered is left out: 185 waves are too few to learn it from, and what
        was learnt did not hold on the validation runs.
        """
        index = np.indices(self.shape).reshape(len(self.shape), -1)
        gaps, walls, own = [], [], []
        for k, n, (low, high) in zip(index, self.shape, box, strict=True):
            gaps.append(np.maximum(np.maximum(low - k, k - high), 0))
            walls.append(np.full(len(k), min(low, n - 1 - high)))
            own.append(np.minimum(k, n - 1 - k))
        for part in (gaps, walls, own):
            part.extend([np.zeros_like(part[0])] * (2 - len(part)))
        on = self._inside(box)
        # The square and its mirror image at the diagonal are one: the axis with the longer gap comes first.
        swap = gaps[0] < gaps[1]
        pairs = [np.where(swap, [b, a], [a, b]) for a, b in (gaps, walls, own)]
        recovery = [np.full(len(swap), mean) for mean in (now[on, 0].mean(), logarithm(rested[on], 50).mean())]
        return np.stack([np.hypot(*gaps), *np.concatenate(pairs), *recovery], 1).astype(np.float32)

    def wave_features(self, reached, boxes):
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

    def _standardise(self, **features):
        self.units = {}
        for name, values in features.items():
            std, values = _spread(name, values), values.astype(np.float64)
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
            name: [(p.weight.detach().numpy().T.copy(), p.bias.detach().numpy())
                   for p in getattr(self, name) if isinstance(p, nn.Linear)]
            for name in NETWORKS
        }  # fmt: skip
        self.centre_plain = self.centre.numpy()

    def apply(self, name, unit, values):
        """One of the networks on plain arrays."""
        x = self._scaled(unit, values)
        for k, (weight, bias) in enumerate(self.plain[name]):
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
        self.scaling = Scaling.from_dict(card["scaling"])
        self.units = {n: tuple(tensors[f"{n}.{k}"].numpy() for k in UNIT) for n in FLOOR}
        self._build()
        for net in NETWORKS:
            own = {k.removeprefix(f"{net}."): v for k, v in tensors.items() if k.startswith(f"{net}.")}
            getattr(self, net).load_state_dict(own)
        self.centre, self.usual = tensors["centre"], float(tensors["usual"])
        self._compile()


def _spread(name, values):
    # A feature that hardly varies must not turn a small error into a large one.
    return np.maximum(values.astype(np.float64).std(0), FLOOR[name])


def _error_of_courses(course, truth, weight):
    return (((course - truth.float()) ** 2) * weight.float()[..., None]).sum() / (500 * V * len(course))
