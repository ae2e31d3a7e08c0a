"""Latent dynamics: a few hidden numbers driven by the stimulus, and a decoder; no encoder."""

from dataclasses import dataclass

import torch
from torch import nn

from cepkit.bench.methods.reduced import Stepped, Trained
from cepkit.surrogates.base import surrogate

LEAK, GAIN = 0.02, 0.2  # of a step; the leak keeps the untrained z bounded, and f may undo it


class Dynamics(nn.Module):
    """z' = f(z, u) in forward Euler steps, a = g(z), for K components and P patches; ``more`` layers come first."""

    def __init__(self, s, K, P, **more):
        super().__init__()
        for name, layer in more.items():
            self.add_module(name, layer)
        self.told = nn.Linear(s.stride * P, s.hidden)
        self.felt = nn.Linear(s.latent, s.hidden, bias=False)
        self.rate = nn.Linear(s.hidden, s.latent, bias=False)
        self.decoder = nn.Sequential(nn.Linear(s.latent, s.hidden), nn.ELU(), nn.Linear(s.hidden, s.stride * K))
        with torch.no_grad():
            self.told.weight.mul_(5)  # a pulse fills one frame in hundreds

    def forward(self, U):
        """Inputs (batch, steps, stride * P) to latents (batch, steps, latent), from the fixed state 0."""
        z, out = U.new_zeros(len(U), self.rate.out_features), []
        felt, rate = self.felt.weight.T, self.rate.weight.T  # z <- (1 - LEAK) z + GAIN rate(tanh(felt(z) + told(u)))
        for u in self.told(U).unbind(1):
            pulled = torch.tanh(torch.addmm(u, z, felt))
            z = torch.addmm(z, pulled, rate, beta=1 - LEAK, alpha=GAIN)
            out.append(z)
        return torch.stack(out, dim=1)


@surrogate("latent_dynamics", "latent dynamics", "#D55E00", "-", version="42c4863ead4e8d09", draws=True)
class LatentDynamics(Stepped):
    """Latent dynamics network in the manner of Regazzoni et al. 2024, doi:10.1038/s41467-024-45323-x.

    z starts at 0, wherever the tissue is, and the stimulus of the history brings it to where it has to be; of the
    frames given the model reads **none**.
    """

    @dataclass(frozen=True)
    class Settings(Trained):
        components: int = 64  # K, principal components that the decoder writes
        latent: int = 48  # numbers in z
        hidden: int = 160  # units in the one hidden layer of f and of g
        stride: int = 5  # frames in a step of z
        window: int = 300  # steps of a training window
        settle: int = 100  # of these, at its beginning, do not count in the loss
        batch: int = 32  # windows
        rounds: int = 500  # batches
        learning_rate: float = 2e-3  # highest of a one-cycle schedule

    configurations = {"smoke": dict(components=8, latent=8, hidden=16, window=60, settle=20, batch=8, rounds=10)}

    def _build(self):
        self.network = Dynamics(self.settings, *self.sizes)

    def _loss(self, network, batch, done):
        (_, told, wanted), settle = batch, self.settings.settle
        return self._mismatch(network.decoder(network(told)[:, settle:]), wanted[:, settle:])

    def _read(self, last):
        return -(-last // self.settings.stride)  # whole steps that end with the history

    def _answer(self, a, u, read):
        return self.network.decoder(self.network(u)[:, read:])
