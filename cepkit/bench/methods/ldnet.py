"""Latent dynamics network as its authors build it: one small network decodes every place, told where it is."""

from dataclasses import dataclass

import torch
from torch import nn

from cepkit.bench.methods.latent_dynamics import Dynamics, LatentDynamics
from cepkit.surrogates.base import surrogate


class ByPlace(nn.Module):
    """The decoder: latents (batch, steps, latent) and places (M, 2) to (batch, steps, M, outputs)."""

    def __init__(self, latent, width, depth, outputs):
        super().__init__()
        self.told, self.place = nn.Linear(latent, width), nn.Linear(2, width, bias=False)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.out = nn.Linear(width, outputs)

    def forward(self, z, places):
        y = (self.told(z)[:, :, None] + self.place(places)).tanh()
        for layer in self.inner:
            y = layer(y).tanh()
        return self.out(y)


@surrogate("ldnet", "LDNet", "#B2182B", "-.", draws=True)
class LDNet(LatentDynamics):
    """Latent dynamics network: Regazzoni et al. 2024, doi:10.1038/s41467-024-45323-x.

    z starts at 0, wherever the tissue is, and the stimulus of the history brings it to where it has to be; of the
    frames given the model reads **none**.  It is trained at nodes and steps drawn at random.
    """

    @dataclass(frozen=True)
    class Settings(LatentDynamics.Settings):
        components: int = 0  # none: frames themselves
        latent: int = 24
        width: int = 32  # units in each of
        depth: int = 3  # so many hidden layers of the decoder
        points: int = 32  # nodes of a batch,
        times: int = 30  # and steps of a window, both drawn at random
        batch: int = 16

    configurations = {"smoke": LatentDynamics.configurations["smoke"] | {"components": 0, "width": 8, "points": 8}}

    def _build(self):
        s, (_, P) = self.settings, self.sizes
        self.network = Dynamics(s, 1, P)
        self.network.decoder = ByPlace(s.latent, s.width, s.depth, 4 * s.stride)
        net, place = self.network, self.network.decoder
        # A pulse takes z from 0, which is stable without one; z is small, and a front is narrow.
        for layer, factor in (net.rate, 0.2), (net.told, 5), (place.told, 10), (place.place, 3):
            layer.weight.data.mul_(factor)
        net.told.bias.data.zero_()
        axes = [torch.linspace(-1, 1, len(c)) if len(c) > 1 else torch.zeros(1) for c in self.grid.values()]
        self.places = torch.cartesian_prod(*axes[-2:]).reshape(self.nodes, -1)

    def _loss(self, network, batch, done):
        (_, told, wanted), s = batch, self.settings
        steps = torch.arange(s.settle, told.shape[1])
        steps, drawn = steps[torch.randperm(len(steps))[: s.times]], torch.randperm(self.nodes)[: s.points]
        wanted = wanted[:, steps].unflatten(-1, (s.stride, self.nodes, 4))[:, :, :, drawn]
        made = network.decoder(network(told)[:, steps], self.places[drawn])
        return (made.unflatten(-1, (s.stride, 4)).transpose(2, 3) - wanted).square().mean()

    def _answer(self, a, u, read):
        parts = (self.network.decoder(z, self.places) for z in self.network(u)[:, read:].split(50, dim=1))
        return torch.cat([y.unflatten(-1, (self.settings.stride, 4)).transpose(2, 3).flatten(2) for y in parts], dim=1)
