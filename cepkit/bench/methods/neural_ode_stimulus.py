"""The latent ODE that is told of the stimulus: what drives the heart drives the equation."""

import dataclasses
import time

import torch
from torch import nn
from tqdm.auto import tqdm

from cepkit.bench.methods.reduced import Reduced
from cepkit.surrogates.base import surrogate


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of :class:`NeuralODEStimulus`.

    Parameters
    ----------
    components : int
        K, principal components.
    latent, hidden, recurrent : int
        Numbers in z; units in the hidden layers of f and of the decoder; units of the encoder.
    stride : int
        Frames in a step of the solver.
    seen : int
        Steps that the encoder reads, the last of the history.
    window, batch, rounds : int
        Steps of a training window after those, windows in a batch, number of batches.
    leak, gain : float
        Of a step; see :class:`ForcedODE`.
    learning_rate : float
        Highest of a one-cycle schedule.
    seed : int

    Examples
    --------
    >>> from cepkit.bench.methods import neural_ode_stimulus
    >>> neural_ode_stimulus.Settings(latent=6).latent
    6
    """

    components: int = 48
    latent: int = 40
    hidden: int = 128
    recurrent: int = 64
    stride: int = 5
    seen: int = 60
    window: int = 200
    batch: int = 16
    rounds: int = 220
    leak: float = 0.02
    gain: float = 0.2
    learning_rate: float = 4e-3
    seed: int = 0


class ForcedODE(nn.Module):
    """z' = -leak z + gain f(z, u), with u constant in a step; time in steps.

    Parameters
    ----------
    settings : Settings
    K, P : int
        Components and patches.

    Examples
    --------
    >>> from cepkit.bench.methods.neural_ode_stimulus import ForcedODE, Settings
    >>> network = ForcedODE(Settings(latent=3, hidden=5, recurrent=4), K=2, P=1)
    >>> tuple(network.f(torch.zeros(1, 3), torch.zeros(1, 5)).shape)
    (1, 3)
    """

    def __init__(self, settings, K, P):
        super().__init__()
        s = self.settings = settings
        self.encoder = nn.GRU(K + s.stride * P, s.recurrent, batch_first=True)
        self.begin = nn.Linear(s.recurrent, s.latent)
        self.told = nn.Linear(s.stride * P, s.hidden)
        self.felt = nn.Linear(s.latent, s.hidden, bias=False)
        self.rate = nn.Linear(s.hidden, s.latent, bias=False)
        self.decoder = nn.Sequential(nn.Linear(s.latent, s.hidden), nn.ELU(), nn.Linear(s.hidden, s.stride * K))
        with torch.no_grad():
            self.told.weight.mul_(5)  # a pulse fills one frame in hundreds

    def f(self, z, told):
        """Right-hand side at z (batch, latent), forced by ``told`` (batch, hidden)."""
        pushed = torch.tanh(torch.addmm(told, z, self.felt.weight.T))
        return torch.addmm(z, pushed, self.rate.weight.T, beta=-self.settings.leak, alpha=self.settings.gain)

    def forward(self, a, u, told):
        """From frames a (batch, seen, K) with inputs u (batch, seen, stride * P), on with ``told``.

        Returns
        -------
        torch.Tensor, shape (batch, steps, stride * K)
        """
        z = self.begin(self.encoder(torch.cat([a, u], dim=-1))[1][-1])
        out = []
        for push in self.told(told).unbind(1):
            z = z + self.f(z + self.f(z, push) / 2, push)  # the midpoint rule
            out.append(z)
        return self.decoder(torch.stack(out, dim=1))


@surrogate("neural_ode_stimulus", "Neural ODE with stimulus", "#0072B2", "-", version="72871628fb57c381", draws=True)
class NeuralODEStimulus(Reduced):
    """Latent ODE in the manner of Rubanova et al. 2019, arXiv:1907.03907, forced by the stimulus.

    A recurrent encoder reads the last frames of the history forwards and gives z at their end; from
    there the ODE is solved by the midpoint rule in steps of ``stride`` frames, and each z is decoded to the
    frames of its step.  There is no noise on z and no Kullback-Leibler term: it is trained by the error
    of its forecast.  The tanh in f and the leak keep z bounded.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy(beats=12)
    >>> small = dict(components=4, latent=4, hidden=8, recurrent=4, seen=10, window=30, batch=2, rounds=2)
    >>> model = cep.surrogates.make("neural_ode_stimulus", **small)
    >>> _ = model.fit(trajectory, stimulus=stimulus, progress=False)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=10, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 10, 'y': 4, 'x': 4}
    """

    Settings = Settings
    smoke = {"components": 6, "latent": 6, "hidden": 16, "recurrent": 8, "seen": 10, "window": 30, "batch": 4,
             "rounds": 10}  # fmt: skip

    def _learn(self, A, U, validation, progress):
        s, began = self.settings, time.perf_counter()
        self.network = ForcedODE(s, A[0].shape[1], U[0].shape[1])
        weight = self.scale / self.scale.square().mean().sqrt()
        optimiser = torch.optim.Adam(self.network.parameters(), lr=s.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, s.learning_rate, total_steps=s.rounds)
        self.card["training"] = []
        for k in tqdm(range(s.rounds), disable=not progress):
            a, u, y = self._batch(A, U)
            made = self.network(a[:, : s.seen], u[:, : s.seen], u[:, s.seen :])
            loss = ((made - y[:, s.seen :]).unflatten(-1, (s.stride, -1)) * weight).square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if k % 10 == 0 or k == s.rounds - 1:
                self.card["training"].append({"round": k, "loss": loss.item()})
        self.card["training seconds"] = time.perf_counter() - began

    def _batch(self, A, U):
        """Windows at random: the last frame of each step, the stimulus in it, all its frames."""
        s, parts = self.settings, []
        steps = s.seen + s.window
        length = s.stride * steps
        for piece in torch.randint(len(A), (s.batch,)).tolist():
            k = int(torch.randint(len(A[piece]) - length, ()))
            a, u = A[piece][k + 1 : k + length + 1], U[piece][k : k + length]
            parts.append((a[s.stride - 1 :: s.stride], u.reshape(steps, -1), a.reshape(steps, -1)))
        return (torch.stack(part) for part in zip(*parts, strict=True))

    def _run(self, A, U, steps):
        s, last = self.settings, A.shape[1] - 1
        blocks, before = -(-steps // s.stride), min(s.seen, last // s.stride)
        if before == 0:
            raise ValueError(f"history has {last + 1} frames; {self.name} needs {s.stride + 1} or more")
        first = last - before * s.stride
        told = nn.functional.pad(U[:, first : last + steps], (0, 0, 0, blocks * s.stride - steps))
        told = told.reshape(len(U), before + blocks, -1)
        made = self.network(A[:, first + s.stride :: s.stride], told[:, :before], told[:, before:])
        return made.reshape(len(A), blocks * s.stride, -1)[:, :steps]

    def _more(self):
        return {f"network.{k}": v for k, v in self.network.state_dict().items()}

    def _take(self, tensors):
        tensors = {k.removeprefix("network."): v for k, v in tensors.items()}
        P = tensors["told.weight"].shape[1] // self.settings.stride
        self.network = ForcedODE(self.settings, len(self.scale), P)
        self.network.load_state_dict(tensors)
