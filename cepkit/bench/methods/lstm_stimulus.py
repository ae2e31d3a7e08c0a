"""The LSTM that is told of the stimulus: it reads its own last output and the stimulus, and writes what follows."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from cepkit.bench.methods.reduced import Stepped, Trained, train
from cepkit.surrogates.base import surrogate


class Cell(nn.Module):
    """One LSTM layer and a dense one: Equation 5 of the paper with a second input; K components, P patches."""

    def __init__(self, K, P, hidden, stride):
        super().__init__()
        self.lstm = nn.LSTM(K + stride * P, hidden, batch_first=True)
        self.g = nn.Linear(hidden, stride * K)
        self.K = K
        with torch.no_grad():
            self.lstm.weight_ih_l0[:, K:] *= 3  # a pulse fills one frame in hundreds
            self.lstm.bias_ih_l0[hidden : 2 * hidden] += 2  # the forget gate remembers at first

    def forward(self, a, u, state=None):
        """True frames a (batch, steps, K), inputs u (batch, steps, stride * P) to (batch, steps, stride * K), state."""
        out, state = self.lstm(torch.cat([a, u], dim=-1), state)
        return self.g(out), state

    def run_free(self, a, u, state):
        """From the frame a (batch, K) on: its own last frame and u (batch, steps, stride * P) are all it reads."""
        w_a, w_u = self.lstm.weight_ih_l0.split([self.K, u.shape[-1]], dim=1)
        told = u @ w_u.T + self.lstm.bias_ih_l0 + self.lstm.bias_hh_l0
        (h, c), out = state, []
        for felt in told.unbind(1):
            i, f, g, o = torch.addmm(torch.addmm(felt, a, w_a.T), h, self.lstm.weight_hh_l0.T).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            out.append(self.g(h))
            a = out[-1][:, -self.K :]
        return torch.stack(out, dim=1)


@surrogate("lstm_stimulus", "LSTM with stimulus", "#CC6600", "--", version="29e039e6258caadc", draws=True)
class LSTMStimulus(Stepped):
    """The paper's kind of LSTM, after Shahi et al. 2021, doi:10.3389/fphys.2021.734178, with the stimulus as input.

    It is trained twice: first every step is given the true frame, with some noise; then, as in a forecast, the
    network's own.  Its gates and the tanh keep every output finite.
    """

    @dataclass(frozen=True)
    class Settings(Trained):
        components: int = 48  # K, principal components
        hidden: int = 160  # numbers in the hidden state
        stride: int = 5  # frames that a step writes
        window: int = 260  # steps of a training window
        settle: int = 60  # of these, its first, do not count in the loss; in the finish only they are given the truth
        batch: int = 16  # windows
        rounds: int = 120  # batches with the truth as input
        finish: int = 200  # batches that run free
        noise: float = 0.3  # standard deviation, on the inputs of the first part
        learning_rate: float = 6e-3  # highest of the one-cycle schedule of the first part,
        last_rate: float = 3e-3  # and of the finish

    configurations = {"smoke": dict(components=6, hidden=16, window=40, settle=10, batch=4, rounds=10, finish=5)}

    def _build(self):
        self.network = Cell(*self.sizes, self.settings.hidden, self.settings.stride)

    def _learn(self, A, U, learning):
        s, draw = self.settings, partial(self._batch, A, U)
        given = train(self, draw, self._given, learning, s.rounds, s.learning_rate, "given", judged=False)
        free = train(self, draw, self._free, learning, s.finish, s.last_rate, "free")
        self.card["training"] = [{"part": "given", **e} for e in given] + [{"part": "free", **e} for e in free]

    def _given(self, network, batch, done):
        """Error of every step from the true frame, with some noise on it."""
        s, (a, u, y) = self.settings, batch
        a = a[:, :-1]
        made, _ = network(a + s.noise * torch.rand(len(a), 1, 1) * torch.randn_like(a), u)
        return self._mismatch(made[:, s.settle :], y[:, s.settle :])

    def _free(self, network, batch, done):
        """Error of free runs, which grow from a few steps to the whole window as ``done`` goes to 1."""
        s, (a, u, y) = self.settings, batch
        n = s.settle
        _, state = network(a[:, :n], u[:, :n])
        done = (round(done * s.finish) + 1) / s.finish
        end = n + max(1, round(done * (s.window - n)))
        made = network.run_free(a[:, n], u[:, n:end], [h[0] for h in state])
        return self._mismatch(made, y[:, n:end])

    def _answer(self, a, u, read):
        state = [a.new_zeros(1, len(a), self.settings.hidden)] * 2
        if read:
            _, state = self.network(a[:, :-1], u[:, :read])
        return self.network.run_free(a[:, -1], u[:, read:], [h[0] for h in state])
