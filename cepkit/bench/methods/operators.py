"""Networks that know the last few frames and no hidden state: a U-Net, and a Fourier neural operator."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.functional import gelu, interpolate, max_pool2d

from cepkit.bench.methods.conv_lstm import ConvLSTM, Pictures
from cepkit.surrogates.base import surrogate


class Remembering(nn.Module):
    """A network of the picture that a step begins from, of what it is told, and of ``more`` pictures before that one.

    Before the history the sheet was as its first picture shows it.
    """

    def __init__(self, network, channels, more):
        super().__init__()
        self.inner, self.channels, self.more = network, channels, more

    def begin(self, x):
        return x.repeat(1, self.more, 1, 1)

    def step(self, x, past):
        now = torch.cat([x[:, : self.channels], past], dim=1)
        return self.inner(torch.cat([x, past], dim=1)), now[:, : past.shape[1]]


class UNet(nn.Module):
    """Ronneberger et al. 2015, arXiv:1505.04597: down twice by halves and up again, with a shortcut at each size."""

    def __init__(self, inputs, outputs, width):
        super().__init__()

        def pair(a, b):
            sizes = (a, b), (b, b)
            return nn.ModuleList(nn.Conv2d(*size, 3, padding=1, padding_mode="replicate") for size in sizes)

        self.down = nn.ModuleList([pair(inputs, width), pair(width, 2 * width), pair(2 * width, 2 * width)])
        self.up = nn.ModuleList([pair(4 * width, width), pair(2 * width, width)])
        self.out = nn.Conv2d(width, outputs, 1)
        for start in self.out.parameters():
            nn.init.zeros_(start)  # at first nothing changes

    def forward(self, x):
        levels = []
        for pair in self.down:
            for layer in pair:
                x = gelu(layer(x))
            levels.append(x)
            x = max_pool2d(x, 2) if min(x.shape[2:]) > 1 else x
        x = levels.pop()
        for pair in self.up:
            side = levels.pop()
            x = torch.cat([interpolate(x, side.shape[2:]), side], dim=1)
            for layer in pair:
                x = gelu(layer(x))
        return self.out(x)


@surrogate("unet", "U-Net", "#1B7837", "-.", draws=True)
class UNetStepper(Pictures):
    """U-Net as it steps fields in Gupta and Brandstetter 2023, arXiv:2209.15616: from some frames to the next."""

    @dataclass(frozen=True)
    class Settings(ConvLSTM.Settings):
        patch: int = 2  # nodes a side of the squares folded into channels
        hidden: int = 24  # channels at the full size
        frames: int = 4  # pictures that a step sees: its own and those of the steps before
        learning_rate: float = 2e-3

    configurations = ConvLSTM.configurations

    def _network(self, channels, inputs, outputs):
        s, more = self.settings, self.settings.frames - 1
        return Remembering(UNet(inputs + more * channels, outputs, s.hidden), channels, more)


@surrogate("fno", "Fourier neural operator", "#35978F", "-.", draws=True)
class FNOStepper(Pictures):
    """Fourier neural operator of Li et al. 2021, arXiv:2010.08895, as the library neuraloperator builds it."""

    @dataclass(frozen=True)
    class Settings(UNetStepper.Settings):
        modes: int = 8  # of Fourier, along each axis
        layers: int = 4

    configurations = {"smoke": ConvLSTM.configurations["smoke"] | {"modes": 2, "layers": 1}}
    needs = ("neuralop",)

    def _network(self, channels, inputs, outputs):
        try:
            from neuralop.models import FNO
        except ImportError as error:
            raise ImportError("fno is built by neuraloperator: pip install neuraloperator") from error
        s, more = self.settings, self.settings.frames - 1
        operator = FNO(n_modes=(s.modes, s.modes), in_channels=inputs + more * channels, out_channels=outputs,
                       hidden_channels=s.hidden, n_layers=s.layers, domain_padding=0.25)  # fmt: skip
        operator.state_dict = partial(nn.Module.state_dict, operator)  # the library's own holds more than tensors
        return Remembering(operator, channels, more)
