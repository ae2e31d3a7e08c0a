"""A convolutional LSTM: the same small rule at every place of the sheet."""

import dataclasses
import time

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, pad, pixel_shuffle, pixel_unshuffle
from tqdm.auto import tqdm

from cepkit.dataset import Scaling, to_tensor
from cepkit.surrogates.base import Surrogate, surrogate
from cepkit.bench.methods.reduced import EVERY

KEEP = 0.8  # of the frame that a step begins from; the rest is written anew


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of :class:`ConvLSTM`.

    Parameters
    ----------
    patch : int
        Nodes a side of the squares that are folded into channels; 1 where the sheet is not a multiple of it.
    hidden : int
        Channels of the hidden state.
    kernel : int
        Places a side that a place sees in a step; 1 where there is one place only.
    stride : int
        Frames in a step.
    seen : int
        Steps of the history that are read, its last.
    given, free : int
        Steps of a training window with the truth as input, and steps after them.  Of the latter none is run
        free at first, all after two thirds of the batches.
    batch, rounds : int
        Windows in a batch, and number of batches.
    learning_rate : float
        Highest of a one-cycle schedule.
    seed : int

    Examples
    --------
    >>> from cepkit.bench.methods import conv_lstm
    >>> conv_lstm.Settings(hidden=8).kernel
    5
    """

    patch: int = 4
    hidden: int = 24
    kernel: int = 5
    stride: int = 5
    seen: int = 40
    given: int = 10
    free: int = 50
    batch: int = 8
    rounds: int = 110
    learning_rate: float = 6e-3
    seed: int = 0


class ConvCell(nn.Module):
    """Shi et al. 2015, arXiv:1506.04214, without their peepholes: the products of an LSTM become convolutions.

    Parameters
    ----------
    inputs, hidden, outputs, kernel : int
        Channels in, of the state and out; width of the kernel.
    told : slice
        The channels of the stimulus.

    Examples
    --------
    >>> from cepkit.bench.methods.conv_lstm import ConvCell
    >>> cell = ConvCell(inputs=3, hidden=4, outputs=2, kernel=3)
    >>> h, c = cell(torch.zeros(1, 3, 6, 6), torch.zeros(1, 4, 6, 6), torch.zeros(1, 4, 6, 6))
    >>> tuple(h.shape), tuple(c.shape)
    ((1, 4, 6, 6), (1, 4, 6, 6))
    """

    def __init__(self, inputs, hidden, outputs, kernel, told=slice(0)):
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=kernel // 2, padding_mode="replicate")
        self.g = nn.Conv2d(hidden, outputs, 1)
        with torch.no_grad():
            self.gates.weight[:, told] *= 5  # a pulse fills one frame in hundreds
            self.gates.bias[hidden : 2 * hidden] += 1  # the forget gate remembers at first

    def forward(self, x, h, c):
        """Pictures x (batch, inputs, rows, columns) and the state to the new state, h and c."""
        i, f, o, g = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


@surrogate("conv_lstm", "ConvLSTM", "#661100", "-", version="5800921a370f67a4", draws=True)
class ConvLSTM(Surrogate):
    """Convolutional LSTM on z-scored frames, told of the stimulus, run on its own output.

    Frames are pictures of four channels; squares of ``patch`` nodes are folded into channels first, and of
    the stimulus each square is told its stimulated share.  A step is told a frame and the stimulus of the
    ``stride`` frames from it on, and writes the frames that follow.  Training turns and mirrors each window in
    one of the eight ways that leave the square as it is.  At the edge the picture is continued by its last
    row, as no current flows there.  What is written is ``KEEP`` times the frame before and a linear map of h,
    which lies between -1 and 1: a forecast can be wrong, but not without bound.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy()
    >>> model = cep.surrogates.make("conv_lstm", hidden=4, seen=10, given=5, free=5, batch=2, rounds=2)
    >>> _ = model.fit(trajectory, stimulus=stimulus, progress=False)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=10, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 10, 'y': 4, 'x': 4}
    """

    reads_stimulus = True
    trains = True
    Settings = Settings
    smoke = {"hidden": 8, "seen": 10, "given": 5, "free": 5, "batch": 2, "rounds": 6}

    def __init__(self, **changes):
        super().__init__()
        known = [field.name for field in dataclasses.fields(Settings)]
        for name in changes:
            if name not in known:
                raise ValueError(f"{name}={changes[name]!r} is no setting of {self.name}; choose from {known}")
        self.settings = Settings(**changes)
        self.configuration = dataclasses.asdict(self.settings)

    def _fit(self, pieces, stimuli, validation=(), progress=True):
        """``validation`` is not used: nothing is chosen."""
        s, began = self.settings, time.perf_counter()
        self.scaling = Scaling.fit([piece.isel(time=slice(None, None, EVERY)).load() for piece in pieces])
        self.card["scaling"] = self.scaling.to_dict()
        with torch.random.fork_rng():
            torch.manual_seed(s.seed)
            self._build()
            self._train(pieces, stimuli, progress)
        self.card["weights"] = sum(p.numel() for p in self.network.parameters())
        self.card["training seconds"] = time.perf_counter() - began

    def _build(self):
        s, shape = self.settings, [len(c) for c in self.grid.values()]
        if len(shape) != 2:
            raise ValueError(f"trajectories: {self.name} reads sheets with axes y and x, got {tuple(self.grid)}")
        self.patch = s.patch if all(n % s.patch == 0 for n in shape) else 1
        self.places = tuple(n // self.patch for n in shape)
        area = self.patch**2
        told = slice(4 * area, 4 * area + s.stride)
        kernel = s.kernel if max(self.places) > 1 else 1
        self.network = ConvCell(4 * area + s.stride, s.hidden, 4 * s.stride * area, kernel, told)

    def _pictures(self, X):
        """Frames in physical units (..., N_in) to z-scored pictures (..., 4, y, x)."""
        mean, std = self.scaling.vectors(self.nodes)
        shape = [len(c) for c in self.grid.values()]
        return ((X - mean) / std).unflatten(-1, (*shape, 4)).movedim(-1, -3)

    def _pushes(self, U):
        """Stimulus current (..., N) as pictures (..., y, x), 1 where a node is stimulated."""
        return U.unflatten(-1, [len(c) for c in self.grid.values()]) / -52.0

    def _train(self, pieces, stimuli, progress):
        s = self.settings
        X, U = [self._pictures(to_tensor(p)) for p in pieces], [self._pushes(u) for u in stimuli]
        optimiser = torch.optim.Adam(self.network.parameters(), lr=s.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, s.learning_rate, total_steps=s.rounds)
        self.card["training"] = []
        for k in tqdm(range(s.rounds), disable=not progress):
            frames, pushes = self._batch(X, U)
            free = round(min(1.0, 1.5 * k / s.rounds) * s.free)
            made, _ = self.step_through(frames[:, : (s.given + s.free - free) * s.stride + 1], pushes)
            loss = (made - frames[:, 1:]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if k % 10 == 0 or k == s.rounds - 1:
                self.card["training"].append({"round": k, "loss": loss.item()})

    def _batch(self, X, U):
        """Windows at random, turned and mirrored: frames (batch, time + 1, 4, y, x), pushes (batch, time, y, x)."""
        s, frames, pushes = self.settings, [], []
        length = (s.given + s.free) * s.stride
        for piece in torch.randint(len(X), (s.batch,)).tolist():
            k = int(torch.randint(len(X[piece]) - length, ()))
            turn, mirror = torch.randint(4, ()).item(), torch.randint(2, ()).item()
            for part, out in ((X[piece][k : k + length + 1], frames), (U[piece][k : k + length], pushes)):
                part = part.rot90(turn, (-2, -1))
                out.append(part.flip(-1) if mirror else part)
        return torch.stack(frames), torch.stack(pushes)

    def step_through(self, frames, pushes):
        """Read frames as long as there are any, then run free as long as the stimulus is known.

        Parameters
        ----------
        frames : torch.Tensor, shape (batch, n * stride + 1, 4, y, x)
            z-scores; every ``stride``-th is read, the first and the last among them.
        pushes : torch.Tensor, shape (batch, steps * stride, y, x)

        Returns
        -------
        made : torch.Tensor, shape (batch, steps * stride, 4, y, x)
            What follows the first frame.
        x : torch.Tensor
            The last of them.
        """
        s, cell, p = self.settings, self.network, self.patch
        h = c = frames.new_zeros(len(frames), s.hidden, *self.places)
        made = []
        for k, push in enumerate(pushes.unflatten(1, (-1, s.stride)).unbind(1)):
            if k * s.stride < frames.shape[1]:
                x = frames[:, k * s.stride]
            h, c = cell(torch.cat([pixel_unshuffle(x, p), avg_pool2d(push, p)], dim=1), h, c)
            written = KEEP * x[:, None] + pixel_shuffle(cell.g(h), p).unflatten(1, (s.stride, 4))
            x = written[:, -1]
            made.append(written)
        return torch.cat(made, dim=1), x

    @torch.inference_mode()
    def _rollout(self, X, start, steps, stimulus):
        s, last = self.settings, X.shape[1] - 1
        read = min(s.seen, last // s.stride) * s.stride
        spare = -steps % s.stride
        frames, pushes = self._pictures(X[:, last - read :]), self._pushes(stimulus[:, last - read : last + steps])
        made, _ = self.step_through(frames, pad(pushes, (0, 0, 0, 0, 0, spare)))
        made = made[:, read : read + steps].movedim(-3, -1).flatten(-3)
        mean, std = self.scaling.vectors(self.nodes)
        return made * std + mean

    def _tensors(self):
        return dict(self.network.state_dict())

    def _restore(self, tensors, card):
        self.settings = Settings(**card["configuration"])
        self.scaling = Scaling.from_dict(card["scaling"])
        self._build()
        self.network.load_state_dict(tensors)
