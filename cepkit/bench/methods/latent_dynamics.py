"""Latent dynamics: a few hidden numbers driven by the stimulus, and a decoder; no encoder."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from cepkit.bench.methods.reduced import Stepped, train
from cepkit.surrogates.base import surrogate

LEAK, GAIN = 0.02, 0.2  # of a step; the leak keeps the untrained z bounded, and f may undo it


class Dynamics(nn.Module):
    """z' = f(z, u) in forward Euler steps, a = g(z); a step is told n_in numbers and decodes n_out."""

    def __init__(self, settings, n_out, n_in):
        super().__init__()
        s = settings
        self.told = nn.Linear(n_in, s.hidden)
        self.felt = nn.Linear(s.latent, s.hidden, bias=False)
        self.rate = nn.Linear(s.hidden, s.latent, bias=False)
        self.decoder = nn.Sequential(nn.Linear(s.latent, s.hidden), nn.ELU(), nn.Linear(s.hidden, n_out))
        with torch.no_grad():
            self.told.weight.mul_(5)  # a pulse fills one frame in hundreds

    def forward(self, U):
        """Inputs (batch, steps, n_in) to latents (batch, steps, latent), from the fixed state 0."""
        told = self.told(U).unbind(1)
        z = U.new_zeros(len(U), self.rate.out_features)
        felt, rate = self.felt.weight.T, self.rate.weight.T  # z <- (1 - LEAK) z + GAIN rate(tanh(felt(z) + told(u)))
        out = []
        for u in told:
            pulled = torch.tanh(torch.addmm(u, z, felt))
            z = torch.addmm(z, pulled, rate, beta=1 - LEAK, alpha=GAIN)
            out.append(z)
        return torch.stack(out, dim=1)


@surrogate("latent_dynamics", "latent dynamics", "#D55E00", "-", version="42c4863ead4e8d09", draws=True)
class LatentDynamics(Stepped):
    """Latent dynamics network in the manner of Regazzoni et al. 2024, doi:10.1038/s41467-024-45323-x.

    f and g are trained together, by the error of the decoded frames, and nothing else tells them what z is to
    mean.  z starts at 0, wherever the tissue is, and the stimulus of the history brings it to where it has to
    be; of the frames given the model reads **none**.  Where the step of z does not end with the history, z starts
    as many frames earlier, in unstimulated tissue.  The components are decoded ``stride`` frames at a time.
    """

    @dataclass(frozen=True)
    class Settings:
        components: int = 64  # K, principal components that the decoder writes
        latent: int = 48  # numbers in z
        hidden: int = 160  # units in the one hidden layer of f and of g
        stride: int = 5  # frames in a step of z
        window: int = 300  # steps of a training window
        settle: int = 100  # of these, at its beginning, do not count in the loss
        batch: int = 32  # windows
        rounds: int = 500  # batches
        learning_rate: float = 2e-3  # highest of a one-cycle schedule
        seed: int = 0

    configurations = {"smoke": {"components": 8, "latent": 8, "hidden": 16, "window": 60, "settle": 20, "batch": 8,
                                "rounds": 10}}  # fmt: skip

    def _build(self, K, P):
        s = self.settings
        self.network = Dynamics(s, s.stride * K, s.stride * P)

    def _learn(self, A, U, validation, learning):
        s = self.settings
        draw = partial(self._batch, A, U, s.window)
        self.card["training"] = train(self.network, draw, self._loss, learning, s.rounds, s.learning_rate)

    def _loss(self, network, batch, done):
        _, told, wanted = batch
        settle = self.settings.settle
        return self._mismatch(network.decoder(network(told)[:, settle:]), wanted[:, settle:])

    def _read(self, last):
        return -(-last // self.settings.stride)  # whole steps that end with the history

    def _answer(self, a, u, read):
        return self.network.decoder(self.network(u)[:, read:])
