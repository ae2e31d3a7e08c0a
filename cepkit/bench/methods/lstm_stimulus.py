"""The LSTM that is told of the stimulus: it reads its own last output and the stimulus, and writes what follows."""

import dataclasses
import time

import torch
from torch import nn
from tqdm.auto import tqdm

from cepkit.bench.methods.reduced import Reduced
from cepkit.surrogates.base import surrogate


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of :class:`LSTMStimulus`.

    Parameters
    ----------
    components : int
        K, principal components.
    hidden : int
        Numbers in the hidden state.
    stride : int
        Frames that a step writes.
    window, settle : int
        Steps in a training window, and how many at its beginning do not count in the loss; in the finish
        they are those in which the truth is still given, and the free run after them grows to the whole window.
    batch : int
        Windows in a batch.
    rounds, finish : int
        Batches with the truth as input, and batches that run free.
    noise : float
        Standard deviation of noise on the inputs of the first part.
    learning_rate, last_rate : float
        Highest of the one-cycle schedule of either part.
    seed : int

    Examples
    --------
    >>> from cepkit.bench.methods import lstm_stimulus
    >>> lstm_stimulus.Settings(hidden=16).hidden
    16
    """

    components: int = 48
    hidden: int = 160
    stride: int = 5
    window: int = 260
    settle: int = 60
    batch: int = 16
    rounds: int = 120
    finish: int = 200
    noise: float = 0.3
    learning_rate: float = 6e-3
    last_rate: float = 3e-3
    seed: int = 0


class Cell(nn.Module):
    """One LSTM layer and a dense one: Equation 5 of the paper with a second input.

    Parameters
    ----------
    K, P, hidden, stride : int
        Components, patches, size of the state, frames in a step.

    Examples
    --------
    >>> from cepkit.bench.methods.lstm_stimulus import Cell
    >>> network = Cell(K=3, P=1, hidden=4, stride=2)
    >>> frames, state = network(torch.zeros(1, 5, 3), torch.zeros(1, 5, 2))
    >>> tuple(frames.shape)
    (1, 5, 6)
    """

    def __init__(self, K, P, hidden, stride):
        super().__init__()
        self.lstm = nn.LSTM(K + stride * P, hidden, batch_first=True)
        self.g = nn.Linear(hidden, stride * K)
        self.K = K
        with torch.no_grad():
            self.lstm.weight_ih_l0[:, K:] *= 3  # a pulse fills one frame in hundreds
            self.lstm.bias_ih_l0[hidden : 2 * hidden] += 2  # the forget gate remembers at first

    def forward(self, a, u, state=None):
        """True frames a (batch, steps, K), inputs u (batch, steps, stride * P) to (batch, steps, stride * K)."""
        out, state = self.lstm(torch.cat([a, u], dim=-1), state)
        return self.g(out), state

    def run_free(self, a, u, state):
        """From the frame a (batch, K) on: its own last frame and u (batch, steps, stride * P) are all it reads."""
        w_a, w_u = self.lstm.weight_ih_l0.split([self.K, u.shape[-1]], dim=1)
        told = (u @ w_u.T + self.lstm.bias_ih_l0 + self.lstm.bias_hh_l0).unbind(1)
        h, c = state
        out = []
        for felt in told:
            i, f, g, o = torch.addmm(torch.addmm(felt, a, w_a.T), h, self.lstm.weight_hh_l0.T).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            out.append(self.g(h))
            a = out[-1][:, -self.K :]
        return torch.stack(out, dim=1)


@surrogate("lstm_stimulus", "LSTM with stimulus", "#CC6600", "--", version="29e039e6258caadc", draws=True)
class LSTMStimulus(Reduced):
    """The paper's kind of LSTM, after Shahi et al. 2021, doi:10.3389/fphys.2021.734178, with the stimulus as input.

    A step is told frame k and the stimulus of frames k to k + stride - 1, and writes frames k + 1 to
    k + stride.  It is trained twice: first every step is given the true frame, with some noise; then, as
    in a forecast, the network's own.  Its gates and the tanh keep every output finite.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy(beats=12)
    >>> small = dict(components=4, hidden=6, window=40, settle=10, batch=2, rounds=2, finish=2)
    >>> model = cep.surrogates.make("lstm_stimulus", **small)
    >>> _ = model.fit(trajectory, stimulus=stimulus, progress=False)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=10, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 10, 'y': 4, 'x': 4}
    """

    Settings = Settings
    smoke = {"components": 6, "hidden": 16, "window": 40, "settle": 10, "batch": 4, "rounds": 10, "finish": 5}

    def _build(self, K, P):
        return Cell(K, P, self.settings.hidden, self.settings.stride)

    def _learn(self, A, U, validation, progress):
        s, began = self.settings, time.perf_counter()
        self.network = self._build(A[0].shape[1], U[0].shape[1])
        self.card["training"] = []
        bar = tqdm(total=s.rounds + s.finish, disable=not progress)
        for part, rounds, rate in (("given", s.rounds, s.learning_rate), ("free", s.finish, s.last_rate)):
            optimiser = torch.optim.Adam(self.network.parameters(), lr=rate)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(rounds, 1))
            for k in range(rounds):
                loss = self._loss(part, (k + 1) / rounds, *self._batch(A, U))
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                bar.update()
                if k % 10 == 0 or k == rounds - 1:
                    self.card["training"].append({"part": part, "round": k, "loss": loss.item()})
        self.card["training seconds"] = time.perf_counter() - began

    def _loss(self, part, done, a, u, y):
        """Squared error of a batch, each component weighed by its share of the variance.

        Free runs grow from a few steps to the whole window while the share ``done`` of the finish goes to 1.
        """
        s, n = self.settings, self.settings.settle
        if part == "given":
            made, _ = self.network(a + s.noise * torch.rand(len(a), 1, 1) * torch.randn_like(a), u)
            made = made[:, n:]
        else:
            _, state = self.network(a[:, :n], u[:, :n])
            end = n + max(1, round(done * (s.window - n)))
            made = self.network.run_free(a[:, n], u[:, n:end], [h[0] for h in state])
        weight = self.scale / self.scale.square().mean().sqrt()
        return ((made - y[:, n : n + made.shape[1]]).unflatten(-1, (s.stride, -1)) * weight).square().mean()

    def _batch(self, A, U):
        """Windows at random: the frame before each step, the stimulus in it, the frames to write."""
        s, parts = self.settings, []
        length = s.stride * s.window
        for piece in torch.randint(len(A), (s.batch,)).tolist():
            k = int(torch.randint(len(A[piece]) - length, ()))
            a, u = A[piece][k : k + length + 1], U[piece][k : k + length]
            parts.append((a[: -1 : s.stride], u.reshape(s.window, -1), a[1:].reshape(s.window, -1)))
        return (torch.stack(part) for part in zip(*parts, strict=True))

    def _run(self, A, U, steps):
        s, last = self.settings, A.shape[1] - 1
        blocks, before = -(-steps // s.stride), last // s.stride
        first = last - before * s.stride  # so that the last step of the history ends with it
        told = nn.functional.pad(U[:, first : last + steps], (0, 0, 0, blocks * s.stride - steps))
        told = told.reshape(len(U), before + blocks, -1)
        state = [A.new_zeros(1, len(A), s.hidden)] * 2
        if before:
            _, state = self.network(A[:, first : last : s.stride], told[:, :before])
        made = self.network.run_free(A[:, -1], told[:, before:], [h[0] for h in state])
        return made.reshape(len(A), blocks * s.stride, -1)[:, :steps]

    def _more(self):
        return {f"network.{k}": v for k, v in self.network.state_dict().items()}

    def _take(self, tensors):
        tensors = {k.removeprefix("network."): v for k, v in tensors.items()}
        K, stride = len(self.scale), self.settings.stride
        self.network = self._build(K, (tensors["lstm.weight_ih_l0"].shape[1] - K) // stride)
        self.network.load_state_dict(tensors)
