"""A surrogate that answers the stimulus, run from event to event; it sees only what it has produced itself.

A stimulus starts a wave, which reaches every node at some moment; a node that has been reached runs through a course
that depends on how long it had rested and what was left in its stores.  So small networks share the work:

- *capture*: does this stimulus start a wave at all?  *arrival*: when does the wave reach a node?
- *response*: the whole course of the four variables of a node after its activation, from what it was just before.
- *onward*: the course of any state until the node fires again, and how long ago it fired: for nodes of whose past
  nothing is known, and for long rests.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.ndimage import find_objects, label
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from cepkit.bench.methods.event_sheet import AFTER, KNOTS, LONGEST, Sheet, V, load_of, logarithm
from cepkit.bench.methods.paced_examples import activations, examples, joined
from cepkit.dataset import Scaling
from cepkit.surrogates.base import Surrogate, surrogate
from cepkit.training import Drawn, launched, tune

#: Least standard deviation that each network's features are divided by.
FLOOR = {"before": 0.05, "place": 0.02, "early": 0.05, "now": 0.05}
SLACK = 0.25  # so many standard deviations beyond what was seen, features are still believed
#: Columns of what the response sees.
GROUPS = dict(state=slice(0, V), rhythm=slice(V + 1, V + 3), load=slice(V + 3, V + 4), wave=slice(V + 4, V + 8))
UNIT = ("mean", "std", "low", "high")  # of each feature, over the training data
TENTHS = 10  # a network is trained in so many parts, each with random numbers and a checkpoint of its own


@dataclass(frozen=True)
class Settings:
    hidden: int = 192  # width of the hidden layers
    rank: int = 48  # width of the last one of the response: every course is a sum of so many
    updates: int = 30_000  # of the response; the others take a share
    batch: int = 512
    learning_rate: float = 3e-3  # of Adam, falling to 0 along a half cosine
    samples: int = 240_000  # most activations of single nodes that the response learns from
    noise: float = 0.04  # error put on the state before an activation [its spread], as a free run has its own
    without: tuple = ()  # GROUPS of features that the response does not see: the book shows what they buy
    seed: int = 0


def network(inputs, hidden, outputs, rank=None):
    """Two hidden layers; with ``rank`` a narrow linear one before the last."""
    layers = [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
    layers += [nn.Linear(hidden, rank)] if rank else []
    return nn.Sequential(*layers, nn.Linear(rank or hidden, outputs))


@surrogate("paced", "paced network", "#009E73", "-", version="327363260c60f2f2", draws=True)
class Paced(Surrogate):
    """After a rollout ``surprise`` (start,) says how far the history lay from what the surrogate makes of it.

    It is a root mean square of z-scores over the last beat, NaN where the history shows none.  Tissue unlike that of
    the training data betrays itself here, before anything is forecast.
    """

    trains = reads_stimulus = sheets_only = True
    Settings = Settings
    configurations = {"smoke": {"updates": 100, "hidden": 32, "rank": 16, "samples": 2000}}

    def _fit(self, learning):
        s, rng, on = self.settings, np.random.default_rng(self.settings.seed), launched()
        self.scaling = Scaling.fit([piece.isel(time=slice(None, None, 5)) for piece in learning.runs])
        self.usual = float(np.mean([load_of(times) for times in learning.earlier]))
        told = [one for part in (learning, learning.part("late")) if part
                for one in zip(part.runs, part.stimuli, part.earlier, strict=True)]  # fmt: skip
        share = s.samples / max(1, sum(len(activations(piece)[0]) for piece, *_ in told))
        parts = [examples(self, piece, u.numpy(), earlier, share, rng) for piece, u, earlier in told]
        # Late waves run as fast as others: arrival learnt from them too was no better there, and worse at new sites.
        early = [(part.before, part.place, part.arrival) for part in parts[: len(learning.runs)]]
        usual, place, arrival = map(np.concatenate, zip(*early, strict=True))
        shown = joined(parts)._replace(place=place, arrival=arrival)
        if not len(shown.course) or not len(arrival):
            raise ValueError("trajectories hold no wave that was started by a stimulus and seen to its end")
        self._standardise(before=shown.before, place=place, early=shown.early, now=shown.now)
        torch.manual_seed(s.seed)
        self._build()
        history = self._train_all(shown, usual, partial(self._train, learning, on), on)
        self.card |= {"scaling": self.scaling.to_dict(), "training": history}
        self.card["trained on"] = {"device": str(on.device), "processes": on.world_size}
        counted = {"responses": shown.course, "arrivals": arrival, "stimuli": shown.caught, "states": shown.now}
        self.card["examples"] = {name: len(rows) for name, rows in counted.items()}
        self.networks.cpu()
        self._compile()

    def _train_all(self, shown, usual, train, on):
        """Train the four networks, one after the other; their histories."""
        before, place = self._scaled("before", shown.before), self._scaled("place", shown.place)
        total = np.einsum("skv,sk->kv", shown.course, shown.weight, dtype=np.float32, casting="unsafe")
        weight = shown.weight.sum(0, dtype=np.float32)
        self.centre = torch.from_numpy(total / np.maximum(weight, 1e-9)[:, None])
        # In units of the training runs alone: after a long rest a store may hold a tenth, which is not how a run errs.
        noise = torch.zeros(before.shape[1])
        noise[:V] = self.settings.noise * torch.from_numpy(_spread("before", usual) / self.units["before"][1])[:V]
        rest_noise = torch.tensor([0.0] * (place.shape[1] - 2) + [0.1, 0.1])  # on how rested the box is
        centre, noise, rest_noise = on.to_device([self.centre, noise, rest_noise])
        often, caught = shown.caught.mean().clip(0.02, 0.98), shown.caught[:, None]
        # A stimulus that fails is rare: both outcomes weigh the same.
        balance = np.where(caught > 0, 0.5 / often, 0.5 / (1 - often)).astype(np.float32)
        entropy, states = binary_cross_entropy_with_logits, (shown.now, shown.then, shown.seen, shown.since)

        def response(out, course, weight):
            return _error_of_courses(out.reshape(len(out), len(KNOTS), V) + centre, course, weight)

        return {
            "response": train("response", response, 1.0, before, shown.course, shown.weight, noise=noise),
            "arrival": train("arrival", mse_loss, 0.3, place, shown.arrival[:, None] / 10, noise=rest_noise),
            "capture": train("capture", entropy, 0.1, self._scaled("early", shown.early), caught, balance),
            "onward": train("onward", _error_of_rests, 0.3, self._scaled("now", shown.now), *states),
        }

    def _train(self, learning, on, name, error, share, *data, noise=None):
        """Tune one network on random rows of its inputs, with noise on them, and of what its ``error`` asks for."""
        s = self.settings
        updates = max(1, round(share * s.updates / TENTHS))
        data = on.to_device([torch.from_numpy(part) for part in data])

        def draw():
            rows = torch.randint(len(data[0]), (min(s.batch, len(data[0])),))
            return [part[rows] for part in data]

        def loss(net, batch, done):
            inputs = batch[0] if noise is None else batch[0] + noise * torch.randn_like(batch[0])
            return error(net(inputs), *batch[1:])

        history = tune(
            self.networks[name], Drawn(draw, seed=1000 * s.seed + 1_000_000 * on.global_rank), loss, epochs=TENTHS,
            updates=updates, learning_rate=s.learning_rate, schedule="cosine", progress=learning.progress, what=name,
            on=on, checkpoint=learning.checkpoint and f"{learning.checkpoint}-{name}",
        )  # fmt: skip
        return [{"update": entry["epoch"] * updates, "loss": entry["loss"]} for entry in history]

    def before_features(self, state, interval, earlier, memory, load, shape):
        """What decides on the response: the state before the upstroke, the rhythm so far, how the wave passes."""
        rhythm = np.stack([logarithm(interval), logarithm(earlier), memory, load], 1)
        features = np.concatenate([state, rhythm, shape], 1).astype(np.float32)
        for group in self.settings.without:
            features[:, GROUPS[group]] = 0
        return features

    @property
    def shape(self):
        return tuple(len(c) for c in self.grid.values())

    def boxes(self, row):
        """Stimulated rectangles of a row of the stimulus (N,), as slices along each axis."""
        return find_objects(label((row != 0).reshape(self.shape))[0])

    def _inside(self, box):
        mask = np.zeros(self.shape, bool)
        mask[box] = True
        return mask.ravel()

    def early_features(self, now, before, boxes):
        """What decides on capture, for each box: Vm in it now and 20 ms ago (mean, highest), Cai and CaSR."""
        rows = [[*(f(state[on, 0]) for state in (now, before) for f in (np.mean, np.max)),
                 now[on, 1].mean(), now[on, 2].mean()] for on in map(self._inside, boxes)]  # fmt: skip
        return np.array(rows, np.float32).reshape(-1, 6)

    def place_features(self, box, now, rested):
        """What decides on arrival, for each node: where it lies from the box and the walls, and how rested the box is.

        How far each node has recovered is left out: 185 waves are too few to learn it from.
        """
        gaps, walls, own = np.zeros((3, 2, self.nodes))
        for axis, (k, n, side) in enumerate(zip(np.indices(self.shape), self.shape, box, strict=True)):
            k, low, high = k.ravel(), side.start, side.stop - 1
            gaps[axis] = np.maximum(np.maximum(low - k, k - high), 0)
            walls[axis] = min(low, n - 1 - high)
            own[axis] = np.minimum(k, n - 1 - k)
        on = self._inside(box)
        # The square and its mirror image at the diagonal are one: the axis with the longer gap comes first.
        pairs = [np.where(gaps[0] < gaps[1], part[::-1], part) for part in (gaps, walls, own)]
        recovery = [np.full(self.nodes, mean) for mean in (now[on, 0].mean(), logarithm(rested[on], 50).mean())]
        return np.stack([np.hypot(*gaps), *np.concatenate(pairs), *recovery], 1).astype(np.float32)

    def wave_features(self, reached, boxes):
        """How the wave passes each node: arrival, slowness, bend of the front, whether it was stimulated itself."""
        when = reached.reshape(self.shape)
        filled = np.where(np.isnan(when), np.nanmean(when), when)
        slow, bend = np.zeros((2, *self.shape))
        for axis, size in enumerate(self.shape):
            edges = {"prepend": filled.take([0], axis), "append": filled.take([-1], axis)}
            down, up = (np.diff(filled, axis=axis, **edges).take(np.arange(size) + k, axis) for k in (0, 1))
            slow, bend = slow + ((up + down) / 2) ** 2, bend + up - down
        on = np.any([self._inside(box) for box in boxes], axis=0)
        shape = np.stack([filled.ravel(), np.sqrt(slow).ravel(), bend.ravel(), on], 1)
        return np.where(np.isnan(reached)[:, None], np.nan, shape)

    def _standardise(self, **features):
        self.units = {}
        for name, values in features.items():
            std, values = _spread(name, values), values.astype(np.float64)
            self.units[name] = (values.mean(0), std, values.min(0) - SLACK * std, values.max(0) + SLACK * std)

    def _scaled(self, name, values):
        mean, std, low, high = self.units[name]  # what lies outside of all that was seen is taken to its edge
        return ((np.clip(values, low, high) - mean) / std).astype(np.float32)

    def _build(self):
        hidden, rank = self.settings.hidden, self.settings.rank
        before, place, early, now = (len(self.units[name][0]) for name in FLOOR)
        self.networks = nn.ModuleDict({
            "response": network(before, hidden, len(KNOTS) * V, rank), "arrival": network(place, hidden, 1),
            "capture": network(early, 8, 1), "onward": network(now, hidden, 1 + AFTER.sum() * V, rank),
        })  # fmt: skip

    @torch.inference_mode()
    def _rollout(self, X, start, steps, stimulus):
        mean, std = (v.numpy().reshape(-1, V) for v in self.scaling.vectors(self.nodes))
        out = torch.empty(len(X), steps, X.shape[2])
        self.surprise = np.full(len(X), np.nan)
        for k in range(len(X)):
            sheet = Sheet(self, (X[k].numpy().reshape(X.shape[1], -1, V) - mean) / std, stimulus[k].numpy())
            self.surprise[k] = sheet.surprise
            sheet.run(out[k].numpy().reshape(steps, -1, V), mean[0], std[0])
        return out

    def _compile(self):
        """Weights of the networks as plain arrays: inference needs no PyTorch."""
        self.plain = {
            name: [(p.weight.detach().numpy().T.copy(), p.bias.detach().numpy()) for p in net if hasattr(p, "weight")]
            for name, net in self.networks.items()
        }
        self.centre_plain = self.centre.numpy()

    def apply(self, name, unit, values):
        """One of the networks on plain arrays."""
        x = self._scaled(unit, values)
        with np.errstate(over="ignore"):  # far below 0 the activation is 0
            for k, (weight, bias) in enumerate(self.plain[name]):
                x = x @ weight + bias
                x = x / (1 + np.exp(-x)) if k < 2 else x
        return x

    def continue_from(self, now):
        """Courses (N, knots, 4) of nodes that are left alone, from their states (N, 4); and how long ago each fired."""
        out = self.apply("onward", "now", now)
        course = np.repeat(now[:, None], len(KNOTS), 1).astype(np.float32)
        course[:, AFTER] += out[:, 1:].reshape(len(now), AFTER.sum(), V)
        return course, np.clip(500 * np.exp(out[:, 0]), 50, LONGEST)

    def _tensors(self):
        out = {"centre": self.centre, "usual": torch.tensor(self.usual, dtype=torch.float64)}
        for name, unit in self.units.items():
            out |= {f"{name}.{k}": torch.tensor(v, dtype=torch.float64) for k, v in zip(UNIT, unit, strict=True)}
        return out | self.networks.state_dict()

    def _restore(self, tensors, card):
        self.scaling = Scaling.from_dict(card["scaling"])
        self.units = {n: tuple(tensors.pop(f"{n}.{k}").numpy() for k in UNIT) for n in FLOOR}
        self.centre, self.usual = tensors.pop("centre"), float(tensors.pop("usual"))
        self._build()
        self.networks.load_state_dict(tensors)
        self._compile()


def _spread(name, values):
    """Standard deviations; a feature that hardly varies must not turn a small error into a large one."""
    return np.maximum(values.astype(np.float64).std(0), FLOOR[name])


def _error_of_courses(course, truth, weight):
    return (((course - truth.float()) ** 2) * weight.float()[..., None]).sum() / (500 * V * len(course))


def _error_of_rests(out, now, then, seen, since):
    wrong = torch.isfinite(since) * (out[:, 0] - torch.nan_to_num(since)) ** 2
    course = out[:, 1:].reshape(len(out), -1, V) + now[:, None]
    return _error_of_courses(course, then, seen) + 0.1 * wrong.mean()
