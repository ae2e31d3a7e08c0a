"""The paper's LSTM (Equations 4 to 6)."""

import torch
from torch import nn

from cepkit.forecast import free_run
from cepkit.surrogates.base import surrogate
from cepkit.surrogates.network import Network


class LSTMNetwork(nn.Module):
    """Equation 5: LSTM layers NN_LSTM, then a dense layer g.

    Parameters
    ----------
    n_in : int
        N_in, numbers in a frame.
    hidden : int
        Numbers in the hidden state of a layer.
    layers : int
    dropout : float
        Between the layers, in training only.

    Examples
    --------
    >>> from cepkit.surrogates.lstm import LSTMNetwork
    >>> network = LSTMNetwork(n_in=6, hidden=4)
    >>> next_frames, h = network(torch.zeros(1, 10, 6))
    >>> tuple(next_frames.shape), tuple(network.run_free(torch.zeros(1, 10, 6), steps=3).shape)
    ((1, 10, 6), (1, 3, 6))
    """

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
    """Equation 6 for a batch, lines 7 to 15 of Algorithm 1: each frame forecast from the true ones before it.

    Examples
    --------
    >>> from cepkit.surrogates import lstm
    >>> float(lstm.next_frame(lambda X: (X, None), torch.ones(1, 5, 2)))  # a copy of a frame that stays
    0.0
    """
    X_in, X_out = X_b[:, :-1], X_b[:, 1:]
    X_tilde, _ = network(blur(X_in, noise, jitter))  # h_0 = 0; x_tilde for all t at once
    return ((X_out - X_tilde) ** 2).mean()


def blur(X_in, noise, jitter, hold=100, share=0.7):
    """Inputs a little wrong in value and in time, as a network's own output will be.

    Trained on the truth alone a network learns to trust its input, and at rest, where each frame
    resembles the one before, it then waits for ever.  So the input runs early or late by a few
    frames, anew every ``hold`` frames and in a ``share`` of the cases, while the target keeps time:
    the network has to keep time itself.

    Examples
    --------
    >>> from cepkit.surrogates import lstm
    >>> X = torch.zeros(1, 5, 2)
    >>> lstm.blur(X, noise=0.0, jitter=0.0).equal(X)
    True
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
    """The same error of Algorithm 2: after ``given`` true frames the network is fed with its own output.

    Examples
    --------
    >>> from cepkit.surrogates import lstm
    >>> network = lstm.LSTMNetwork(n_in=2, hidden=3)
    >>> bool(lstm.free_running(network, torch.ones(1, 6, 2), given=3) > 0)
    True
    """
    X_in, X_out = X_b[:, :given], X_b[:, given:]
    return ((X_out - network.run_free(X_in, X_out.shape[1])) ** 2).mean()


@surrogate("lstm", "LSTM", "#E69F00", "-", version="089d6605ea181ba8", draws=True)
class LSTM(Network):
    """The paper's LSTM as a surrogate.

    Parameters
    ----------
    configuration : str
        "published_code", "paper", "laptop" or "smoke"; see ``cepkit.profiles``.
    device : str
        "auto" takes CUDA where there is one.
    **changes
        Settings to change, for example ``hidden=32``.

    Examples
    --------
    >>> from cepkit.profiles import Training
    >>> trajectory, _ = cep.check.toy()
    >>> recipe = Training(window=20, stride=10, epochs=1)
    >>> model = cep.surrogates.make("lstm", "smoke", hidden=4, components=None, training=recipe, finish=None)
    >>> _ = model.fit(trajectory, progress=False)
    >>> dict(model.rollout(trajectory, steps=5).sizes)
    {'start': 1, 'lead_time': 5, 'y': 4, 'x': 4}
    """

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
