"""What steps pictures of the sheet, the same small rule at every place, and the first of such: a convolutional LSTM."""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle

from cepkit.bench.methods.reduced import Trained, padded, thinned, train, windows
from cepkit.bench.methods.replay import made_on
from cepkit.dataset import Scaling, to_tensor
from cepkit.fields import AMPLITUDE, SHEET
from cepkit.surrogates.base import Surrogate, surrogate


class ConvCell(nn.Module):
    """Shi et al. 2015, arXiv:1506.04214, without peepholes; the input channels ``told`` are those of the stimulus."""

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

    def begin(self, x):
        """State before the first picture x."""
        return (x.new_zeros(len(x), self.g.in_channels, *x.shape[2:]),) * 2

    def step(self, x, state):
        """Pictures with what they are told to what is written, and the state."""
        state = self(x, *state)
        return self.g(state[0]), state


class Pictures(Surrogate):
    """A surrogate that steps z-scored frames as pictures, told of the stimulus, and is trained on its own output.

    Frames are pictures of four channels; squares of ``patch`` nodes are folded into channels, and each is told its
    stimulated share.  A step is told a frame and the stimulus of the ``stride`` frames from it on, and writes the
    frames that follow: ``keep`` times the frame before and what the network adds.  Training turns and mirrors each
    window.  A method writes ``_network(channels, inputs, outputs)``, a module with ``begin`` and ``step`` as those of
    :class:`ConvCell`.
    """

    reads_stimulus = trains = sheets_only = anywhere = True
    ground = None  # diffusivity (y, x), where it is told: that of a history, 1 for the usual one

    def _fit(self, learning):
        s = self.settings
        self.scaling = Scaling.fit(thinned(learning.runs))
        torch.manual_seed(s.seed)
        self._build()
        X, U = [self._pictures(to_tensor(run)) for run in learning.runs], [self._pushes(u) for u in learning.stimuli]
        grounds = [ground_of(run, self.shape) for run in learning.runs] if s.tissue else None
        draw, began = partial(self._batch, X, U, grounds), time.perf_counter()
        self.card["training"] = train(self, draw, self._error, learning, s.rounds, s.learning_rate)
        self.card["training seconds"] = time.perf_counter() - began

    def _build(self):
        s = self.settings
        self.patch = s.patch if all(len(c) % s.patch == 0 for c in self.grid.values()) else 1
        self._stand()
        channels = 4 * self.patch**2
        told = s.stride + (self.patch**2 if s.tissue else 0)
        self.network = self._network(channels, channels + told, s.stride * channels)

    def _stand(self):
        self.shape = [len(c) for c in self.grid.values()]
        self.places = tuple(n // self.patch for n in self.shape)

    def _moved(self, history):
        own = super()._moved(history)
        if any(len(c) % self.patch for c in own.grid.values()):
            shape = tuple(map(len, own.grid.values()))
            raise ValueError(f"history: {self.name} folds squares of {self.patch} nodes; {shape} is no multiple")
        own._stand()
        own.ground = ground_of(history, own.shape) if self.settings.tissue else None
        return own

    def _pictures(self, X):
        """Frames in physical units (..., N_in) to z-scored pictures (..., 4, y, x)."""
        mean, std = self.scaling.vectors(self.nodes)
        return ((X - mean) / std).unflatten(-1, (*self.shape, 4)).movedim(-1, -3)

    def _pushes(self, U):
        """Stimulus current (..., N) as pictures (..., y, x), 1 where a node is stimulated."""
        return U.unflatten(-1, self.shape) / AMPLITUDE

    def _error(self, network, batch, done):
        """Mean squared error of what follows the frames given, of which there are fewer as ``done`` grows."""
        s, (frames, pushes, *ground) = self.settings, batch
        free = round(min(1.0, 1.5 * round(done * s.rounds) / s.rounds) * s.free)
        made, _ = self.step_through(frames[:, : (s.given + s.free - free) * s.stride + 1], pushes, *ground)
        return (made - frames[:, 1:]).square().mean()

    def _batch(self, X, U, grounds):
        """Windows at random, turned and mirrored, (batch, time + 1, 4, y, x), pushes, ground: ``step_through``."""
        s, turned = self.settings, []
        for *window, whose in windows(X, U, (s.given + s.free) * s.stride, s.batch):
            window += [grounds[whose]] if grounds else []
            turn, mirror = torch.randint(4, ()).item(), torch.randint(2, ()).item()
            window = [part.rot90(turn, (-2, -1)) for part in window]
            turned.append([part.flip(-1) for part in window] if mirror else window)
        return [torch.stack(parts) for parts in zip(*turned, strict=True)]

    def step_through(self, frames, pushes, ground=None):
        """Read frames as long as there are any, then run free as long as the stimulus is known.

        Every ``stride``-th of the frames (batch, n * stride + 1, 4, y, x) is read, from the first to the last; pushes
        are (batch, steps * stride, y, x), ``ground`` is (batch, y, x) where it is told.  Returns the frames that follow
        the first, and the last of them.
        """
        s, net, p, made, state = self.settings, self.network, self.patch, [], None
        told = [] if ground is None else [pixel_unshuffle(ground[:, None], p)]
        for k, push in enumerate(pushes.unflatten(1, (-1, s.stride)).unbind(1)):
            if k * s.stride < frames.shape[1]:
                x = frames[:, k * s.stride]
            folded = pixel_unshuffle(x, p)
            state = net.begin(folded) if state is None else state
            change, state = net.step(torch.cat([folded, avg_pool2d(push, p), *told], dim=1), state)
            made.append(s.keep * x[:, None] + pixel_shuffle(change, p).unflatten(1, (s.stride, 4)))
            x = made[-1][:, -1]
        return torch.cat(made, dim=1), x

    @torch.inference_mode()
    def _rollout(self, X, start, steps, stimulus):
        stride, last = self.settings.stride, X.shape[1] - 1
        read = min(self.settings.seen, last // stride) * stride
        pushes = self._pushes(padded(stimulus, last - read, last + steps, stride))
        ground = self.ground if self.ground is None else self.ground.expand(len(X), *self.shape)
        made, _ = self.step_through(self._pictures(X[:, last - read :]), pushes, ground)
        mean, std = self.scaling.vectors(self.nodes)
        return made[:, read : read + steps].movedim(-3, -1).flatten(-3) * std + mean


def ground_of(run, shape):
    """Diffusivity of each node (y, x) as a run says, 1 where it is the usual one."""
    if "tissue" not in (made := made_on(run)):
        raise ValueError("history: no tissue in its attributes, and the model is told it; cut it from a simulated run")
    D = np.asarray(made["tissue"]["diffusivity"], float)
    D = D if D.ndim == 2 else np.full(shape, D.mean())
    return torch.from_numpy(D / SHEET["diffusivity"]).float()


@surrogate("conv_lstm", "ConvLSTM", "#661100", "-", version="5800921a370f67a4", draws=True)
class ConvLSTM(Pictures):
    """Convolutional LSTM: what it adds is a linear map of h, which lies between -1 and 1.

    So a forecast can be wrong, but not without bound.
    """

    @dataclass(frozen=True)
    class Settings(Trained):
        patch: int = 4  # nodes a side of the squares folded into channels; 1 where the sheet is not a multiple of it
        hidden: int = 24  # channels of the hidden state
        kernel: int = 5  # places a side that a place sees in a step; 1 where there is one place only
        stride: int = 5  # frames in a step
        seen: int = 40  # steps of the history that are read, its last
        keep: float = 0.8  # of the frame that a step begins from; the rest is written anew
        given: int = 10  # steps of a training window with the truth as input
        free: int = 50  # steps after them: none of these is run free at first, all after two thirds of the batches
        batch: int = 8  # windows
        rounds: int = 110  # batches
        learning_rate: float = 6e-3  # highest of a one-cycle schedule
        tissue: bool = False  # whether it is told the diffusivity of each node

    configurations = {"smoke": {"hidden": 8, "seen": 10, "given": 5, "free": 5, "batch": 2, "rounds": 6}}

    def _network(self, channels, inputs, outputs):
        s, kernel = self.settings, self.settings.kernel if max(self.places) > 1 else 1
        return ConvCell(inputs, s.hidden, outputs, kernel, slice(channels, channels + s.stride))
