"""Latent dynamics: a few hidden numbers driven by the stimulus, and a decoder; no encoder."""

import time
from dataclasses import dataclass

import torch
from torch import nn
from tqdm.auto import tqdm

from cepkit.bench.methods.reduced import Reduced
from cepkit.surrogates.base import surrogate

LEAK, GAIN = 0.02, 0.2  # of a step; the leak keeps the untrained z bounded, and f may undo it


@dataclass(frozen=True)
class Settings:
    """Of :class:`LatentDynamics`.

    Parameters
    ----------
    components : int
        K, principal components that the decoder writes.
    latent, hidden : int
        Numbers in z, and units in the one hidden layer of f and of g.
    stride : int
        Frames in a step of z.
    window, settle : int
        Steps of a training window, and how many at its beginning do not count in the loss.
    batch, rounds : int
        Windows in a batch, and number of batches.
    learning_rate : float
        Highest of a one-cycle schedule.
    seed : int

    Examples
    --------
    >>> from cepkit.bench.methods import latent_dynamics
    >>> latent_dynamics.Settings(latent=8).latent
    8
    """

    components: int = 64
    latent: int = 48
    hidden: int = 160
    stride: int = 5
    window: int = 300
    settle: int = 100
    batch: int = 32
    rounds: int = 500
    learning_rate: float = 2e-3
    seed: int = 0


class Dynamics(nn.Module):
    """z' = f(z, u) in forward Euler steps, a = g(z).

    Parameters
    ----------
    settings : Settings
    n_out, n_in : int
        Numbers that a step decodes (stride * K) and is told (stride * P).

    Examples
    --------
    >>> from cepkit.bench.methods.latent_dynamics import Dynamics, Settings
    >>> dynamics = Dynamics(Settings(latent=3, hidden=5), n_out=4, n_in=2)
    >>> tuple(dynamics(torch.zeros(1, 6, 2)).shape)
    (1, 6, 3)
    """

    def __init__(self, settings, n_out, n_in):
        super().__init__()
        s = settings
        self.told = nn.Linear(n_in, s.hidden)
        self.felt = nn.Linear(s.latent, s.hidden, bias=False)
        self.rate = nn.Linear(s.hidden, s.latent, bias=False)
        self.decoder = nn.Sequential(nn.Linear(s.latent, s.hidden), nn.ELU(), nn.Linear(s.hidden, n_out))
        with torch.no_grad():
            self.told.weight.mul_(5)  # a pulse fills one frame in hundreds

    def forward(self, U, z=None):
        """Inputs (batch, steps, n_in) to latents (batch, steps, latent), from z or the fixed state 0."""
        told = self.told(U).unbind(1)
        z = U.new_zeros(len(U), self.rate.out_features) if z is None else z
        felt, rate = self.felt.weight.T, self.rate.weight.T  # z <- (1 - LEAK) z + GAIN rate(tanh(felt(z) + told(u)))
        out = []
        for u in told:
            pulled = torch.tanh(torch.addmm(u, z, felt))
            z = torch.addmm(z, pulled, rate, beta=1 - LEAK, alpha=GAIN)
            out.append(z)
        return torch.stack(out, dim=1)


@surrogate("latent_dynamics", "latent dynamics", "#D55E00", "-", version="42c4863ead4e8d09", draws=True)
class LatentDynamics(Reduced):
    """Latent dynamics network in the manner of Regazzoni et al. 2024, doi:10.1038/s41467-024-45323-x.

    f and g are trained together, by the error of the decoded frames, and nothing else tells them what z is to
    mean.  z starts at 0, wherever the tissue is, and the stimulus of the history brings it to where it has to
    be; of the frames given the model reads **none**.  Where the step of z does not end with the history, z starts
    as many frames earlier, in unstimulated tissue.  The components are decoded ``stride`` frames at a time.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy(beats=12)
    >>> small = dict(components=4, latent=4, hidden=8, window=60, settle=20, batch=2, rounds=2)
    >>> model = cep.surrogates.make("latent_dynamics", **small)
    >>> _ = model.fit(trajectory, stimulus=stimulus, progress=False)
    >>> dict(model.rollout(trajectory.isel(time=slice(0, 60)), steps=10, stimulus=stimulus).sizes)
    {'start': 1, 'lead_time': 10, 'y': 4, 'x': 4}
    """

    Settings = Settings
    smoke = {"components": 8, "latent": 8, "hidden": 16, "window": 60, "settle": 20, "batch": 8, "rounds": 10}

    def _build(self, K, P):
        s = self.settings
        return Dynamics(s, s.stride * K, s.stride * P)

    def _learn(self, A, U, validation, progress):
        s, began = self.settings, time.perf_counter()
        K, P = A[0].shape[1], U[0].shape[1]
        self.network = self._build(K, P)
        weight = self.scale / self.scale.square().mean().sqrt()
        optimiser = torch.optim.Adam(self.network.parameters(), lr=s.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, s.learning_rate, total_steps=s.rounds)
        self.card["training"] = []
        for k in tqdm(range(s.rounds), disable=not progress):
            told, wanted = self._batch(A, U)
            made = self.network.decoder(self.network(told)[:, s.settle :])
            miss = (made - wanted[:, s.settle :]).unflatten(-1, (s.stride, K)) * weight
            loss = miss.square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if k % 20 == 0 or k == s.rounds - 1:
                self.card["training"].append({"round": k, "loss": loss.item()})
        self.card["training seconds"] = time.perf_counter() - began

    def _batch(self, A, U):
        """Windows at random: inputs (batch, window, stride * P) and frames (batch, window, stride * K).

        The input of a step is the stimulus of the frame before its first and of all but its last.
        """
        s = self.settings
        length = s.stride * s.window
        told, wanted = [], []
        for piece in torch.randint(len(A), (s.batch,)).tolist():
            first = int(torch.randint(1, len(A[piece]) - length + 1, ()))
            told.append(U[piece][first - 1 : first - 1 + length].reshape(s.window, -1))
            wanted.append(A[piece][first : first + length].reshape(s.window, -1))
        return torch.stack(told), torch.stack(wanted)

    def _run(self, A, U, steps):
        s, given = self.settings, A.shape[1]
        blocks = -(-steps // s.stride)
        lead = -(-(given - 1) // s.stride)  # whole steps that end with the history
        quiet = lambda n: U.new_zeros(len(U), n, U.shape[2])  # noqa: E731
        before = quiet(lead * s.stride - (given - 1))
        after = U[:, given - 1 : given - 1 + steps]
        told = torch.cat([before, U[:, : given - 1], after, quiet(blocks * s.stride - steps)], dim=1)
        z = self.network(told.reshape(len(U), lead + blocks, -1))[:, lead:]
        return self.network.decoder(z).reshape(len(U), blocks * s.stride, -1)[:, :steps]

    def _more(self):
        return {f"network.{k}": v for k, v in self.network.state_dict().items()}

    def _take(self, tensors):
        tensors = {k.removeprefix("network."): v for k, v in tensors.items()}
        K, P = (n // self.settings.stride for n in (len(tensors["decoder.2.bias"]), tensors["told.weight"].shape[1]))
        self.network = self._build(K, P)
        self.network.load_state_dict(tensors)
