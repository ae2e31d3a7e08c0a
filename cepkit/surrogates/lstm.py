"""The paper's LSTM (Equations 4 to 6)."""

from dataclasses import dataclass

import torch
from torch import nn

from cepkit.forecast import free_run
from cepkit.surrogates.base import surrogate
from cepkit.surrogates.network import CHOSEN, SMALL, Network
from cepkit.training import Training


@dataclass(frozen=True)
class Settings:
    """Of :class:`LSTM`."""

    hidden: int = 64  # H, numbers in the hidden state of a layer
    layers: int = 2
    dropout: float = 0.0  # between the layers
    components: int | None = None  # train on so many principal components instead of whole frames
    forget_bias: float = 0.0  # added to the forget gates' bias at the start
    noise: float = 0.0  # standard deviation of noise on the input, in units of the components; fades to 0
    jitter: float = 0.0  # standard deviation of the error in time of the input [frames]; fades to 0
    training: Training = Training()
    finish: Training | None = None  # a second, short training on the network's own output after ``given`` frames
    given: int = 500
    seed: int = 0
    departures: tuple[str, ...] = ()  # from the paper, with reasons


CONFIGURATIONS = {
    "published_code": Settings(hidden=64, dropout=0.2),
    "paper": Settings(hidden=2304, departures=("N_t = 1000: the paper gives none; this is its code's",)),
    "laptop": Settings(
        components=64, forget_bias=1.0, noise=0.1, jitter=20.0,
        training=Training(window=750, stride=4, epochs=4, learning_rate=3e-3, decay=True, clip=1.0),
        finish=Training(window=1000, stride=8, epochs=5, learning_rate=3e-4, decay=True, clip=0.3, skip=20_000),
        departures=(
            "input blurred in time (20 ms) and value (0.1), fading to nothing: without it the free run waits for a "
            "stimulus that never comes",
            "at the end 880 updates on the free run itself, 500 frames after 500 given ones: without them the "
            "forecast's error at the upstroke was several times larger",
            "those leave out the first 20 s: their transient never returns, and a network that also fits it is "
            "drawn back to it in calcium",
            "64 principal components instead of 2304 numbers a frame, absorbed into the first and last layer "
            "afterwards: the same network, trained many times faster",
            "windows of 750 frames, so that many hold two beats; stride 4, 4 epochs: 2 676 updates, not 8 000",
            "learning rate 3e-3 falling to 0, gradient norm at most 1, forget gates biased to remember",
            "no dropout (its effect was not measured by itself)",
            CHOSEN,
        ),
    ),
    "smoke": Settings(
        hidden=16, components=16, forget_bias=1.0, departures=(SMALL,),
        training=Training(window=100, stride=50, epochs=2, learning_rate=3e-3, decay=True),
    ),
}  # fmt: skip


class LSTMNetwork(nn.Module):
    """Equation 5 for frames of ``n_in`` numbers: LSTM layers NN_LSTM, then a dense layer g."""

    def __init__(self, n_in, hidden, layers=2, dropout=0.0):
        super().__init__()
        self.NN_LSTM = nn.LSTM(n_in, hidden, layers, batch_first=True, dropout=dropout)
        self.g = nn.Linear(hidden, n_in)

    def forward(self, x, h=None):
        """Frames x of shape (batch, time, N_in) to the frames that follow each, and the last hidden state."""
        out, h = self.NN_LSTM(x, h)
        return self.g(out), h

    def step(self, x, h):
        """One step of Equation 5: (x_t, h_t) to (x_t+1, h_t+1); x has the shape (batch, N_in)."""
        x, h = self(x[:, None], h)
        return x[:, 0], h

    def run_free(self, x, steps):
        """Algorithm 2 after a warm-up: ``steps`` frames that follow the frames x, shape (batch, time, N_in).

        g and the input weights of the first layer are two linear maps in a row.  Multiplied once,
        W_ih (g u + b) becomes (W_ih g) u + W_ih b, and the loop carries the few numbers u = h_t of
        the last layer instead of a whole frame: the same numbers, many times faster.
        """
        out, (h, c) = self.NN_LSTM(x)
        first, *rest = self.NN_LSTM.all_weights
        folded = [first[0] @ self.g.weight, first[1], first[0] @ self.g.bias + first[2], first[3]]

        def step(u, state):
            new = []
            for weights, (h, c) in zip([folded, *rest], state, strict=True):
                h, c = torch.lstm_cell(u, (h, c), *weights)
                new.append((h, c))
                u = h
            return u, new

        u_1 = out[:, -1]
        u = [u_1, *free_run(step, u_1, list(zip(h, c, strict=True)), steps - 1)]
        return self.g(torch.stack(u, 1))


def next_frame(network, X_b, noise=0.0, jitter=0.0):
    """Equation 6 for a batch, lines 7 to 15 of Algorithm 1: each frame forecast from the true ones before it."""
    X_in, X_out = X_b[:, :-1], X_b[:, 1:]
    X_tilde, _ = network(blur(X_in, noise, jitter))  # h_0 = 0; x_tilde for all t at once
    return ((X_out - X_tilde) ** 2).mean()


def blur(X_in, noise, jitter, hold=100, share=0.7):
    """Inputs a little wrong in value and in time, as a network's own output will be.

    Trained on the truth alone a network learns to trust its input, and at rest, where each frame
    resembles the one before, it then waits for ever.  So the input runs early or late by a few
    frames, anew every ``hold`` frames and in a ``share`` of the cases, while the target keeps time:
    the network has to keep time itself.
    """
    batch, frames, n_in = X_in.shape
    if jitter:
        pieces = frames // hold + 2
        late = (jitter * torch.randn(batch, pieces)).round() * (torch.rand(batch, pieces) < share)
        first = int(torch.randint(hold, ()))
        late = late.repeat_interleave(hold, 1)[:, first : first + frames]
        at = (torch.arange(frames) - late).clamp(0, frames - 1).long().to(X_in.device)
        X_in = X_in.gather(1, at[:, :, None].expand(-1, -1, n_in))
    if noise:
        X_in = X_in + noise * torch.randn_like(X_in)
    return X_in


def free_running(network, X_b, given):
    """The same error of Algorithm 2: after ``given`` true frames the network is fed with its own output."""
    X_in, X_out = X_b[:, :given], X_b[:, given:]
    return ((X_out - network.run_free(X_in, X_out.shape[1])) ** 2).mean()


@surrogate("lstm", "LSTM", "#E69F00", "-", version="089d6605ea181ba8", draws=True)
class LSTM(Network):
    """The paper's LSTM as a surrogate."""

    Settings, configurations = Settings, CONFIGURATIONS
    reads = ("NN_LSTM.weight_ih_l0",)
    writes = ("g",)

    def build(self, n_in):
        s = self.settings
        network = LSTMNetwork(n_in, s.hidden, s.layers, s.dropout)
        for k in range(s.layers):  # the second quarter of a bias belongs to the forget gate
            getattr(network.NN_LSTM, f"bias_ih_l{k}").data[s.hidden : 2 * s.hidden] += s.forget_bias
        return network

    def loss(self, network, X_b, done):
        # The blur fades to nothing: first to keep time at all, then to keep it exactly.
        return next_frame(network, X_b, (1 - done) * self.settings.noise, (1 - done) * self.settings.jitter)

    def passes(self):
        finish, given = self.settings.finish, self.settings.given
        second = [(finish, lambda network, X_b, done: free_running(network, X_b, given))] if finish else []
        return super().passes() + second

    def _forecast(self, X, steps):
        return self.network.run_free(X, steps)
