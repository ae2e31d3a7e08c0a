"""Reservoirs of sheets as their authors build them: every node forecasts itself from its surroundings, by one law."""

from dataclasses import dataclass

import numpy as np
import torch

from cepkit.bench.methods.reduced import steps_of
from cepkit.bench.methods.reservoirs import LIMIT, Readout, draw_reservoir, listen, nvar_features
from cepkit.fields import AMPLITUDE
from cepkit.surrogates.base import surrogate


class Local(Readout):
    """A linear readout that all nodes share; a node sees Vm of the nodes around it, its own variables and its stimulus.

    A method writes ``_begin(x)``, its memory after inputs x (steps, rows, d), rows being nodes of runs, and
    ``_features(memory, x)`` of inputs (rows, d) with the new memory.
    """

    @dataclass(frozen=True)
    class Settings(Readout.Settings):
        components: int = 0  # none: frames themselves
        stride: int = 2
        nodes: int = 24  # that are learnt from in each run, drawn at random
        settle: int = 100  # steps at the begin of a run that are not learnt from
        seen: int = 200  # steps of a history that are read, its last

    def _patches(self, stimulus):
        return stimulus / AMPLITUDE

    def _around(self, radius, spacing):
        """Nodes around each node (N, M); beyond an edge stands the edge itself."""
        ny, nx = (len(c) for c in self.grid.values())
        away = spacing * torch.arange(-radius, radius + 1)
        rows, columns = ((torch.arange(n)[:, None] + away).clamp(0, n - 1) for n in (ny, nx))
        return (rows[:, None, :, None] * nx + columns[None, :, None, :]).reshape(ny * nx, -1)

    def _inputs(self, a, u, nodes=slice(None)):
        """Of frames a (..., N * 4) and stimulus u (..., stride * N) what each node sees: (..., nodes, d)."""
        around = self._around(*self.choice[:2])[nodes]
        fields, told = a.unflatten(-1, (-1, 4)), u.unflatten(-1, (self.settings.stride, -1)).movedim(-2, -1)
        near = told.mean(-1)[..., around].mean(-1, keepdim=True)
        return torch.cat([fields[..., 0][..., around], fields[..., nodes, 1:], told[..., nodes, :], near], dim=-1)

    def _rows(self, A, U):
        """Inputs and targets (steps, rows, ...) of nodes drawn at random in each run, the same for every choice."""
        s, rng, parts = self.settings, np.random.default_rng(self.settings.seed), []
        end = (min(map(len, A)) - 1) // s.stride * s.stride
        for frames, told in zip(A, U, strict=True):
            nodes = torch.from_numpy(rng.choice(self.nodes, min(s.nodes, self.nodes), replace=False))
            a, u, y = (part[0] for part in steps_of(frames[None, : end + 1], told[None, :end], s.stride))
            x = [self._inputs(*pair, nodes) for pair in zip(a[:-1].split(500), u.split(500), strict=True)]
            wanted = y.unflatten(-1, (s.stride, -1, 4))[:, :, nodes].transpose(1, 2).flatten(2)
            parts.append((torch.cat(x), wanted))
        return [torch.cat(part, dim=1) for part in zip(*parts, strict=True)]

    def _shown_in_steps(self, *shown):
        return shown

    def _samples(self, A, U):
        x, wanted = self._rows(A, U)
        x = x + self.choice[2] * torch.randn(x.shape, generator=torch.Generator().manual_seed(self.settings.seed))
        settle, memory = self.settings.settle, self._begin(x[: self.settings.settle])
        for told, target in zip(x[settle:], wanted[settle:], strict=True):
            X, memory = self._features(memory, told)
            yield X, target

    def _read(self, last):
        return min(self.settings.seen, last // self.settings.stride)

    def _answer(self, a, u, read):
        B, out, a_now = len(a), [], a[:, -1]
        memory = self._begin(self._inputs(a[:, :-1], u[:, :read]).transpose(0, 1).flatten(1, 2))
        for told in u[:, read:].unbind(1):
            X, memory = self._features(memory, self._inputs(a_now, told).flatten(0, 1))
            made = torch.nan_to_num(X @ self.W_out).clamp(-LIMIT, LIMIT)
            out.append(made.unflatten(-1, (self.settings.stride, 4)).unflatten(0, (B, -1)).transpose(1, 2).flatten(1))
            a_now = out[-1][:, -a_now.shape[1] :]
        return torch.stack(out, dim=1)


@surrogate("esn_local", "local echo states", "#9970AB", "-.", draws=True)
class LocalESN(Local):
    """An echo state network at every node, all with the same weights.

    Zimmermann and Parlitz 2018, doi:10.1063/1.5022276.
    """

    @dataclass(frozen=True)
    class Settings(Local.Settings):
        size: int = 150  # units at a node
        # Radius and spacing of the nodes seen, noise on what is seen, spectral radius, leak and gain to choose from:
        choices: tuple = ((3, 1, 0.1, 0.9, 0.3, 0.5), (3, 1, 0.3, 0.9, 0.3, 0.5), (3, 1, 0.3, 0.9, 0.1, 0.5),
                          (2, 2, 0.3, 0.9, 0.3, 0.5), (3, 1, 0.3, 0.9, 0.3, 1.0))  # fmt: skip
        ridges: tuple = (1e-4, 1e-2)

    configurations = {"smoke": dict(size=20, nodes=3, settle=10, seen=20, choices=((1, 1, 0.1, 0.9, 0.3, 0.3),),
                                    ridges=(1e-4,))}  # fmt: skip

    def _reservoir(self, inputs):
        (radius, _, gain), s = self.choice[3:], self.settings
        rng = np.random.default_rng(s.seed)
        return draw_reservoir(s.size, torch.full((inputs,), gain / inputs**0.5), radius, rng)

    def _begin(self, x):
        reservoir, r = self._reservoir(x.shape[-1]), x.new_zeros(x.shape[1], self.settings.size)
        for told in x:
            r = listen(reservoir, r, told, self.choice[4])
        return reservoir, r

    def _features(self, memory, x):
        reservoir, r = memory
        r = listen(reservoir, r, x, self.choice[4])
        return torch.cat([torch.ones_like(r[:, :1]), x, r], dim=1), (reservoir, r)


@surrogate("nvar_local", "local NVAR", "#8C510A", "-.", draws=True)
class LocalNVAR(Local):
    """Nonlinear vector autoregression at every node, one law for all: Barbosa and Gauthier 2022, 10.1063/5.0098707."""

    @dataclass(frozen=True)
    class Settings(Local.Settings):
        # Radius and spacing of the nodes seen, noise on what is seen, frames seen and steps between them:
        choices: tuple = ((3, 1, 0.1, 2, 2), (3, 1, 0.3, 2, 2), (3, 1, 0.3, 3, 5), (3, 1, 0.3, 3, 20))
        ridges: tuple = (1e-4, 1e-2)

    configurations = {"smoke": dict(nodes=3, settle=10, seen=20, choices=((1, 1, 0.1, 2, 2),), ridges=(1e-4,))}

    @property
    def least(self):  # steps that it looks back
        return (self.choice[3] - 1) * self.choice[4]

    def _begin(self, x):
        return list(x[len(x) - self.least :])  # the newest last

    def _features(self, memory, x):
        taps, spacing, M = *self.choice[3:], (2 * self.choice[0] + 1) ** 2
        seen = [*memory, x][::-spacing][:taps]  # the newest first
        own = torch.cat([torch.cat([z[:, M // 2 : M // 2 + 1], z[:, M : M + 3]], dim=1) for z in seen], dim=1)
        around = x[:, :M].mean(1, keepdim=True)
        return nvar_features(torch.cat([x, *seen[1:]], dim=1), torch.cat([own, around], dim=1)), [*memory[1:], x]
