"""The latent ODE that is told of the stimulus: what drives the heart drives the equation."""

from dataclasses import dataclass

import torch
from torch import nn

from cepkit.bench.methods.latent_dynamics import Dynamics
from cepkit.bench.methods.reduced import Stepped, Trained
from cepkit.surrogates.base import surrogate


class ForcedODE(Dynamics):
    """z' = -leak z + gain f(z, u), with u constant in a step; time in steps; an encoder finds where z begins."""

    def __init__(self, s, K, P):
        encoder = nn.GRU(K + s.stride * P, s.recurrent, batch_first=True)
        super().__init__(s, K, P, encoder=encoder, begin=nn.Linear(s.recurrent, s.latent))
        self.settings = s

    def f(self, z, told):
        """Right-hand side at z (batch, latent), forced by ``told`` (batch, hidden)."""
        pushed = torch.tanh(torch.addmm(told, z, self.felt.weight.T))
        return torch.addmm(z, pushed, self.rate.weight.T, beta=-self.settings.leak, alpha=self.settings.gain)

    def forward(self, a, u, told):
        """From frames a (batch, seen, K) with inputs u, on with ``told``: (batch, steps, stride * K)."""
        z, out = self.begin(self.encoder(torch.cat([a, u], dim=-1))[1][-1]), []
        for push in self.told(told).unbind(1):
            z = z + self.f(z + self.f(z, push) / 2, push)  # the midpoint rule
            out.append(z)
        return self.decoder(torch.stack(out, dim=1))


@surrogate("neural_ode_stimulus", "Neural ODE with stimulus", "#0072B2", "-", version="72871628fb57c381", draws=True)
class NeuralODEStimulus(Stepped):
    """Latent ODE in the manner of Rubanova et al. 2019, arXiv:1907.03907, forced by the stimulus.

    A recurrent encoder reads the last frames of the history and gives z at their end.  It is trained by the error of
    its forecast alone; the tanh in f and the leak keep z bounded.
    """

    @dataclass(frozen=True)
    class Settings(Trained):
        components: int = 48  # K, principal components
        latent: int = 40  # numbers in z
        hidden: int = 128  # units in the hidden layers of f and of the decoder
        recurrent: int = 64  # units of the encoder
        stride: int = 5  # frames in a step of the solver
        seen: int = 60  # steps that the encoder reads, the last of the history
        window: int = 200  # steps of a training window after those
        batch: int = 16  # windows
        rounds: int = 220  # batches
        leak: float = 0.02  # of a step; see ForcedODE
        gain: float = 0.2
        learning_rate: float = 4e-3  # highest of a one-cycle schedule

    configurations = {"smoke": {"components": 6, "latent": 6, "hidden": 16, "recurrent": 8, "seen": 10, "window": 30,
                                "batch": 4, "rounds": 10}}  # fmt: skip
    least = 1

    def _build(self):
        self.network = ForcedODE(self.settings, *self.sizes)

    def _span(self):
        return self.settings.seen + self.settings.window

    def _loss(self, network, batch, done):
        (a, u, y), seen = batch, self.settings.seen
        return self._mismatch(network(a[:, 1 : seen + 1], u[:, :seen], u[:, seen:]), y[:, seen:])

    def _read(self, last):
        return min(self.settings.seen, last // self.settings.stride)

    def _answer(self, a, u, read):
        return self.network(a[:, 1:], u[:, :read], u[:, read:])
