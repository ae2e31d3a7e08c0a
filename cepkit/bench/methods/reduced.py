"""What reduced models share: principal components of the frames, a coarse picture of the stimulus, windows, steps."""

import math
import time
from dataclasses import dataclass
from functools import partial

import torch

from cepkit.dataset import Scaling, leading, to_tensor
from cepkit.fields import AMPLITUDE
from cepkit.surrogates.base import Surrogate
from cepkit.training import Drawn, tune

POOL = 4  # nodes a side of a patch of the stimulus: 24 x 24 nodes become 6 x 6 patches
EVERY = 5  # frames from one that scaling and components are computed from to the next
COUNT = 256  # components that are computed, or all if there are fewer; each method takes its first of them


@dataclass(frozen=True)
class Trained:
    """Settings of whatever :func:`train` trains."""

    validations: int = 0  # how often in training the validation part is asked, for the best weights to stay
    seed: int = 0


class Reduced(Surrogate):
    """A surrogate on the principal components of z-scored frames, told of the stimulus.

    A method writes ``_learn(A, U, learning)``, from each trajectory's components A[j] (time, K), of variance 1 (0
    components: the z-scored frames), and stimulated shares of patches U[j] (time, P), row k between frames k and k + 1.
    And ``_run(A, U, steps)``, free runs: histories (start, time, K), stimulus (start, time + steps, P) to
    (start, steps, K).  ``basis`` (N_in, K) is orthonormal, ``scale`` (K,) the components' spread.
    """

    reads_stimulus = trains = True
    learnt = ("basis", "scale")  # and further tensors that ``_learn`` finds

    @property
    def sizes(self):
        """K and P, numbers of components and of patches."""
        return len(self.scale), self._patches(torch.zeros(1, self.nodes)).shape[-1]

    def _fit(self, learning):
        self.scaling, basis, energy = principal(learning.runs)
        self.basis = basis[:, : self.settings.components].contiguous()
        self.scale = energy[: self.basis.shape[1]].sqrt() if self.settings.components else torch.ones(len(basis))
        A = [self._encode(to_tensor(run)) for run in learning.runs]
        U = [self._patches(stimulus) for stimulus in learning.stimuli]
        began = time.perf_counter()  # the components are the same for all methods, so they do not count
        if self.draws:
            torch.manual_seed(self.settings.seed)
        self._build()
        self._learn(A, U, learning)
        self.card["training seconds"] = time.perf_counter() - began
        self.card["weights"] = sum(t.numel() for name, t in self._tensors().items() if name not in ("basis", "scale"))

    def _encode(self, X):
        """Frames (..., N_in) in physical units to components (..., K), each of variance 1."""
        mean, std = self.scaling.vectors(self.nodes)
        z = (X - mean) / std
        return z @ self.basis / self.scale if self.settings.components else z

    def _patches(self, stimulus):
        """Stimulus current (..., N) as the stimulated share of each patch, (..., P)."""
        shape = [len(c) for c in self.grid.values()]
        field = stimulus.reshape(-1, 1, *shape) / AMPLITUDE
        if min(shape) >= POOL and len(shape) == 2:
            field = torch.nn.functional.avg_pool2d(field, POOL)
        return field.reshape(*stimulus.shape[:-1], -1)

    @torch.inference_mode()
    def _rollout(self, X, start, steps, stimulus):
        A = self._run(self._encode(X), self._patches(stimulus), steps)
        mean, std = self.scaling.vectors(self.nodes)
        return ((A * self.scale) @ self.basis.T if self.settings.components else A) * std + mean


class Stepped(Reduced):
    """A reduced model whose step writes the ``stride`` frames that follow, told the stimulus between them.

    A method writes ``_loss`` or ``_learn``, and ``_answer(a, u, read)``, free runs (start, steps, stride * K) from the
    frames that ``read`` steps begin from and the last, a (start, read + 1, K); u is (start, read + steps, stride * P).
    """

    least = 0  # steps of a history that it cannot do without

    def _span(self):
        """Steps of a training window."""
        return self.settings.window

    def _learn(self, A, U, learning):
        s, draw = self.settings, partial(self._batch, A, U)
        self.card["training"] = train(self, draw, self._loss, learning, s.rounds, s.learning_rate)

    def _read(self, last):
        """How many steps it reads of a history that ends with the frame of this number."""
        return last // self.settings.stride

    def _run(self, A, U, steps):
        stride, last = self.settings.stride, A.shape[1] - 1
        read = self._read(last)
        if read < self.least:
            raise ValueError(f"history has {last + 1} frames; {self.name} needs {self.least * stride + 1} or more")
        u = padded(U, last - read * stride, last + steps, stride)
        a = A[:, last % stride :: stride][:, -read - 1 :]
        return self._answer(a, in_steps(u, stride), read).unflatten(-1, (stride, -1)).flatten(1, 2)[:, :steps]

    def _batch(self, A, U):
        """Windows at random as :func:`steps_of` has them."""
        s = self.settings
        frames, pushes, _ = zip(*windows(A, U, s.stride * self._span(), s.batch), strict=True)
        return steps_of(torch.stack(frames), torch.stack(pushes), s.stride)

    def _mismatch(self, made, wanted):
        """Mean squared error of (batch, steps, stride * K), each component weighed by its share of the variance."""
        weight = self.scale / self.scale.square().mean().sqrt()
        return ((made - wanted).unflatten(-1, (self.settings.stride, -1)) * weight).square().mean()


def padded(U, first, stop, stride):
    """Stimulus (start, time, ...) from frame ``first`` on in whole steps, quiet before its begin and after ``stop``."""
    before, after = (U.new_zeros(len(U), n, *U.shape[2:]) for n in (max(-first, 0), (first - stop) % stride))
    return torch.cat([before, U[:, max(first, 0) : stop], after], dim=1)


def in_steps(x, stride):
    """Frames (batch, steps * stride, d) side by side: (batch, steps, stride * d)."""
    return x.unflatten(1, (-1, stride)).flatten(2)


def steps_of(frames, pushes, stride):
    """Of frames (batch, steps * stride + 1, K) those that steps begin from, and the last; what they are told and write.

    Shapes (batch, steps + 1, K), (batch, steps, stride * P) and (batch, steps, stride * K).
    """
    return frames[:, ::stride], in_steps(pushes, stride), in_steps(frames[:, 1:], stride)


def windows(A, U, length, batch):
    """Yield windows drawn at random: frames (length + 1, ...), stimulus between (length, ...), number of the run."""
    if (shortest := min(map(len, A))) <= length:
        raise ValueError(f"trajectories: {shortest} frames are too few for windows of {length + 1}; give longer ones")
    for piece in torch.randint(len(A), (batch,)).tolist():
        k = int(torch.randint(len(A[piece]) - length, ()))
        yield A[piece][k : k + length + 1], U[piece][k : k + length], piece


def train(model, draw, loss, learning, rounds, learning_rate, part=0, schedule="one-cycle", clip=1.0, judged=True):
    """Train ``model.network`` on batches that ``draw`` draws; ``part`` names the checkpoint.

    The validation part is asked as often as ``settings.validations`` says, and the weights with the least error stay.
    Returned are the mean losses since the last time, or of every ten batches or fewer.
    """
    times = judged and getattr(model.settings, "validations", 0)
    updates = max(rounds // times, 1) if times else math.gcd(rounds, 10)
    history = tune(model.network, Drawn(draw), loss, epochs=rounds // updates, updates=updates, schedule=schedule,
                   learning_rate=learning_rate, clip=clip, progress=learning.progress,
                   checkpoint=learning.checkpoint and f"{learning.checkpoint}-{part}",
                   validate=judge(model, learning) if times else None)  # fmt: skip
    kept = "loss", "validation error", "seconds"
    return [{"round": e["epoch"] * updates, **{k: e[k] for k in kept if k in e}} for e in history]


def judge(model, learning, given=1000, steps=2000):
    """A function that says how well ``model`` runs free on the validation part; None where there is no such part.

    What it returns is the mean squared error in z-scores over all histories of ``given`` frames, with the ``steps``
    frames after each, that the runs hold side by side; shorter runs give shorter ones.
    """
    if (shown := learning.part("validation")) is None:
        return None
    length = min(run.sizes["time"] for run in shown.runs) - 1
    given = min(given, length // 3)
    span = given + min(steps, length - given)

    def cut(parts):
        return torch.cat([x.unfold(0, span, span).movedim(-1, 1) for x in parts])

    pairs = [[run, to_tensor(run), told] for run, told in zip(shown.runs, shown.stimuli, strict=True)]
    if model.anywhere:  # each run on a tissue of its own
        parts = [(model._moved(run), cut([x]), cut([u])) for run, x, u in pairs]
    else:
        parts = [(model, cut(x for _, x, _ in pairs), cut(u for *_, u in pairs))]
    std = model.scaling.vectors(model.nodes)[1]

    def error(network=None):
        starts = (torch.zeros(len(X)) for _, X, _ in parts)
        made = [own._rollout(X[:, :given], next(starts), span - given, U) for own, X, U in parts]
        away = torch.cat([(free - X[:, given:]) / std for free, (_, X, _) in zip(made, parts, strict=True)])
        return float(away.square().mean().nan_to_num(nan=math.inf))

    return error


#: What :func:`principal` found last: the data it was asked for, by words, themselves, and what it returned.
_last = [None, None, None]


def principal(pieces):
    """Scaling, orthonormal basis (N_in, K) and mean square of each component (K,), computed once for the same data."""
    key = [f"{p.attrs.get('data_hash', id(p))} {p.sizes} {p.time.values[[0, -1]]}" for p in pieces]
    if key != _last[0]:
        frames = thinned(pieces)
        scaling, moment = Scaling.fit(frames), 0.0
        for piece in frames:
            X = to_tensor(scaling.apply(piece)).double()
            moment = moment + X.T @ X
        moment = moment / sum(piece.sizes["time"] for piece in frames)
        basis = leading(moment, min(COUNT, len(moment)), exact=len(moment) < 4 * COUNT)
        energy = torch.einsum("ik,ij,jk->k", basis, moment, basis).clamp_min(1e-12)
        _last[:] = key, pieces, (scaling, basis.float(), energy.float())
    return _last[2]


def thinned(pieces):
    """Every ``EVERY``-th frame of each trajectory, in memory."""
    return [piece.isel(time=slice(None, None, EVERY)).load() for piece in pieces]
