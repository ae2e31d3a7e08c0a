"""Projection: the monodomain equation itself, on a few modes of the potential.

The equations are those of :mod:`cepkit.cell`, stepped by the pieces of :mod:`cepkit.kernel`; nothing is
fitted but the modes.
"""

import json
import time
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch

from cepkit import cell, kernel
from cepkit.dataset import VARIABLES
from cepkit.engine import State
from cepkit.tissue import Tissue
from cepkit.surrogates.base import Surrogate, surrogate

EVERY = 5  # frames from one snapshot to the next
DIVERGED = 1000.0  # mV; between wave fronts that ring and numbers that run away


@dataclass(frozen=True)
class Settings:
    """Of :class:`PODGalerkin`.

    Parameters
    ----------
    components : int
        K, modes of the potential.
    points : int
        m, interpolation nodes and modes of the ionic current in :class:`PODDEIM`; unused here.
    dt : float
        Step [ms].
    seed : int
        Unused: nothing is drawn.

    Examples
    --------
    >>> from cepkit.bench.methods import pod_galerkin
    >>> pod_galerkin.Settings(components=32).components
    32
    """

    components: int = 64
    points: int = 192
    dt: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class DEIMSettings(Settings):
    """Of :class:`PODDEIM`: fewer modes than points, for with as many of either some validation runs lose waves.

    Examples
    --------
    >>> from cepkit.bench.methods import pod_galerkin
    >>> pod_galerkin.DEIMSettings(points=48).points
    48
    """

    components: int = 32


def modes(snapshots, count):
    """Mean and leading POD modes of some snapshots.

    Parameters
    ----------
    snapshots : array, shape (frames, N)
    count : int

    Returns
    -------
    mean : array, shape (N,)
    basis : array, shape (N, K)
        Orthonormal columns, the most energetic first; K = min(count, N).

    Examples
    --------
    >>> from cepkit.bench.methods import pod_galerkin
    >>> snapshots = np.outer(np.sin(np.arange(20.0)), np.arange(6.0))
    >>> mean, basis = pod_galerkin.modes(snapshots, 2)
    >>> mean.shape, basis.shape, bool(abs(basis.T @ basis - np.eye(2)).max() < 1e-6)
    ((6,), (6, 2), True)
    """
    mean = snapshots.mean(0, dtype=np.float64)
    centred = snapshots - mean.astype(snapshots.dtype)
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return mean, np.ascontiguousarray(vectors[:, ::-1][:, :count])


def interpolation_points(basis):
    """The DEIM nodes: each is where the next mode is worst interpolated by those before it.

    Algorithm 1 of Chaturantabut and Sorensen 2010, doi:10.1137/090766498.

    Parameters
    ----------
    basis : array, shape (N, m)

    Returns
    -------
    array of int, shape (m,)

    Examples
    --------
    >>> from cepkit.bench.methods import pod_galerkin
    >>> pod_galerkin.interpolation_points(np.eye(5)[:, :3]).tolist()
    [0, 1, 2]
    """
    points = [int(np.argmax(np.abs(basis[:, 0])))]
    for k in range(1, basis.shape[1]):
        weights = np.linalg.solve(basis[points, :k], basis[points, k])
        points.append(int(np.argmax(np.abs(basis[:, k] - basis[:, :k] @ weights))))
    return np.array(points)


def diffusion_matrix(tissue):
    """The discrete diffusion operator of ``Tissue.weights`` as a matrix, shape (N, N) [1/ms].

    Examples
    --------
    >>> from cepkit.bench.methods import pod_galerkin
    >>> L = pod_galerkin.diffusion_matrix(cep.Tissue((3, 3), spacing=0.5))
    >>> L.shape, bool(abs(L.sum(1)).max() < 1e-12)  # a flat sheet stays flat
    ((9, 9), True)
    """
    number = np.arange(tissue.size).reshape(tissue.shape)
    L = np.zeros((tissue.size, tissue.size))
    for axis, (ahead, behind) in enumerate(zip(*tissue.weights, strict=True)):
        for weight, shift in ((ahead, -1), (behind, 1)):
            L[number, np.roll(number, shift, axis)] += weight  # zero where the roll leaves the sheet
            L[number, number] -= weight
    return L


@kernel.jit
def _free_run(
    V, new, gates, conc, kind, W, g, c, root_Ko, table, rectify, dt, substeps,
    given_a, given_calcium, stimulus, pushed, linear, constant, back, mean, basis, made_a, made_calcium,
):  # fmt: skip
    """Run the reduced equations from the first frame given to the end of the forecast.

    Each step takes the cells at the nodes through reactions alone, and then the coefficients by
    ``a += dt (linear a + constant - pushed) + back (new - V)``.

    Parameters
    ----------
    V, new, gates, conc, kind, g, c, root_Ko, table, rectify
        As in :func:`cepkit.kernel.advance`, of the nodes that hold a cell, without diffusion or padding.
    given_a, given_calcium : arrays, shape (given, K) and (given, 3, nodes)
        Inserted frame after frame.
    stimulus, pushed : arrays, shape (given - 1 + steps, nodes) and (given - 1 + steps, K)
        The stimulus at the nodes, and projected on the modes.
    linear, constant, back : arrays, shape (K, K), (K,) and (K, nodes)
    mean, basis : arrays, shape (nodes,) and (nodes, K)
    made_a, made_calcium : arrays, shape (steps, K) and (steps, 3, nodes)
        Receive the forecast.
    """
    a = given_a[0].copy()
    given = given_a.shape[0]
    BLOCK = kernel.BLOCK
    for frame in range(stimulus.shape[0]):
        if frame < given:
            a[:] = given_a[frame]
            V[:] = mean + np.dot(basis, a)
            for b in range(conc.shape[0]):
                for k in range(3):
                    conc[b, k * BLOCK : (k + 1) * BLOCK] = given_calcium[frame, k, b * BLOCK : (b + 1) * BLOCK]
        for _ in range(substeps):
            for b in range(conc.shape[0]):
                first = b * BLOCK
                kernel.reversals(conc[b], W, c)
                kernel.look_up(V, first, gates[b], kind, first, W, table, rectify)
                for i in range(BLOCK):  # potassium carries the stimulus; the potential gets it by way of ``pushed``
                    W[kernel.STIM * BLOCK + i] = stimulus[frame, first + i]
                    W[kernel.LAP * BLOCK + i] = stimulus[frame, first + i]
                kernel.react(V, new, first, conc[b], W, g, c, root_Ko, dt)
            a += dt * (np.dot(linear, a) + constant - pushed[frame]) + np.dot(back, new - V)
            V[:] = mean + np.dot(basis, a)
        if frame >= given - 1:
            made_a[frame - given + 1] = a
            for b in range(conc.shape[0]):
                for k in range(3):
                    made_calcium[frame - given + 1, k, b * BLOCK : (b + 1) * BLOCK] = conc[
                        b, k * BLOCK : (k + 1) * BLOCK
                    ]


@surrogate("pod_galerkin", "POD-Galerkin", "#332288", "-", version="b20af4f3407289d4")
class PODGalerkin(Surrogate):
    """Galerkin projection of the monodomain equation on K modes of the potential.

    With Vm = mean + Phi a, Phi orthonormal, da/dt = Phi' (L Vm - I_ion - I_stim).  Every node keeps a cell of its own
    with all of its 18 other variables, and Phi' I_ion takes all of them: K numbers are stepped in place of N, and the
    work stays that of the full model.  A step is the solver's (Rush-Larsen for gates, Euler otherwise), of fixed size.

    The history holds four of the 19 variables.  The cells start at ``cell.INITIAL_STATE``; then each frame given is
    inserted, and in between the reduced equations carry the other 15 along under the known stimulus.

    A run counts as diverged at the first frame that is not finite or that has a potential beyond 1000 mV; the forecast
    stays at the frame before.

    Attributes
    ----------
    mean, basis : arrays, shape (N,) and (N, K)
        Of the potential [mV].
    points : array of int, shape (n,)
        The nodes that hold a cell.
    back : array, shape (K, n)
        From a change at those nodes to one of the coefficients.

    Examples
    --------
    >>> sheet = cep.Tissue((24, 24), spacing=10 / 23)
    >>> run = cep.simulate(sheet, cep.Protocol(), 20.0, progress=False)
    >>> field = cep.stimulus_field(cep.Protocol(), like=run)
    >>> forecast = cep.load("paced-pod_galerkin").rollout(run.isel(time=slice(0, 11)), steps=10, stimulus=field)
    >>> bool(forecast.Vm.max() < -60)  # nobody stimulates
    True
    """

    Settings = Settings
    reads_stimulus = True
    trains = True  # so that its file spares reading all of the training data
    smoke = {"components": 32, "points": 48, "dt": 0.1}

    def __init__(self, **changes):
        super().__init__()
        for name in changes:
            if name not in (known := [field.name for field in fields(self.Settings)]):
                raise ValueError(f"{name}={changes[name]!r} is no setting of {self.name}; choose from {known}")
        self.settings = self.Settings(**changes)
        self.configuration = asdict(self.settings)

    # ---- learning -------------------------------------------------------------------------------------
    def _fit(self, pieces, stimuli, validation=(), progress=True):
        began = time.perf_counter()
        if "tissue" not in pieces[0].attrs:
            raise ValueError(f"trajectories: no tissue in the attributes, and {self.name} needs its diffusivity")
        self.tissue = Tissue(**json.loads(pieces[0].attrs["tissue"]))
        V = _snapshots(pieces, "Vm")
        self.mean, self.basis = modes(V, self.settings.components)
        lost = ((V - self.mean) - (V - self.mean) @ self.basis @ self.basis.T).std()
        self._choose_points(pieces)
        self._take(self._tensors())  # in the precision of the file
        self.card |= {"tissue": self.tissue.describe(), "cells": len(self.points), "training": []}
        self.card |= {"rms of Vm outside the modes [mV]": float(lost)}
        self.card |= {"weights": sum(t.numel() for t in self._tensors().values())}
        self.card["training seconds"] = time.perf_counter() - began

    def _choose_points(self, pieces):
        """Every node holds a cell, and the projection is plain."""
        self.points = np.arange(self.nodes)
        self.back = np.ascontiguousarray(self.basis.T)

    # ---- running --------------------------------------------------------------------------------------
    def _rollout(self, X, start, steps, stimulus):
        out = torch.empty(len(X), steps, X.shape[2])
        for k in range(len(X)):
            given = X[k].double().numpy().reshape(X.shape[1], -1, len(VARIABLES))
            out[k] = torch.from_numpy(self._run(given, stimulus[k].double().numpy(), steps)).flatten(1)
        return out

    def _run(self, given, stimulus, steps):
        """One start: frames (time, N, 4) and stimulus (time + steps, N) to frames (steps, N, 4)."""
        n, s = len(self.points), self.settings
        substeps = round(self.interval / s.dt)
        conductances, constants = cell.parameters()
        sheet = State(Tissue((n,)), cell.INITIAL_STATE, conductances, "float64")
        fill = np.minimum(np.arange(sheet.cells), n - 1)  # the last block is filled up with copies of the last cell
        at = self.points[fill]
        back = np.zeros((len(self.back), sheet.cells))
        back[:, :n] = self.back
        stimulus = stimulus[: len(given) - 1 + steps]
        L, dt = diffusion_matrix(self.tissue), self.interval / substeps
        a, calcium = np.empty((steps, len(back))), np.empty((steps, 3, sheet.cells))
        _free_run(
            np.full(sheet.cells, cell.INITIAL_STATE["Vm"]), np.empty(sheet.cells), sheet.gates, sheet.conc,
            np.zeros(sheet.cells, np.int64), np.zeros(kernel.N_SCRATCH * kernel.BLOCK), sheet.conductances[0],
            constants, np.sqrt(constants.Ko / 5.4), kernel.voltage_table(np.array([dt]), constants)[0],
            kernel.rectifier_table(), dt, substeps,
            (given[..., 0] - self.mean) @ self.basis, np.ascontiguousarray(given[:, at, 1:].transpose(0, 2, 1)),
            np.ascontiguousarray(stimulus[:, at]), stimulus @ self.basis,
            np.ascontiguousarray(self.basis.T @ L @ self.basis), self.basis.T @ (L @ self.mean), back,
            np.ascontiguousarray(self.mean[at]), np.ascontiguousarray(self.basis[at]), a, calcium,
        )  # fmt: skip
        fields = np.concatenate([(self.mean + a @ self.basis.T)[:, None], self._extend(calcium[..., :n])], axis=1)
        return _hold(fields.astype(np.float32), given[-1].T).transpose(0, 2, 1)

    def _extend(self, calcium):
        """Concentrations at the points, (steps, 3, n), to those at all nodes, (steps, 3, N)."""
        return calcium

    # ---- files ----------------------------------------------------------------------------------------
    def _tensors(self):
        arrays = {"mean": self.mean, "basis": self.basis, "points": self.points, "back": self.back, **self._more()}
        kinds = {"points": np.int64}
        return {k: torch.from_numpy(np.asarray(v, kinds.get(k, np.float32))) for k, v in arrays.items()}

    def _restore(self, tensors, card):
        self.settings = self.Settings(**card["configuration"])
        self.tissue = Tissue(**card["tissue"])
        self._take(tensors)

    def _take(self, tensors):
        for name, values in tensors.items():
            setattr(self, name, (values if name == "points" else values.double()).numpy())

    def _more(self):
        return {}


@surrogate("pod_deim", "POD-DEIM", "#6699CC", "-", version="b20af4f3407289d4")
class PODDEIM(PODGalerkin):
    """The same projection with cells at m nodes only: the discrete empirical interpolation method.

    I_ion = F b, where F are m modes of the ionic current and b is such that it is right at the m nodes, so that
    Phi' I_ion = Phi' F (F at the nodes)^-1 (I_ion at the nodes): Chaturantabut and Sorensen 2010,
    doi:10.1137/090766498.  Snapshots of the current are what the training frames leave of the monodomain equation,
    I_ion = L Vm - dVm/dt - I_stim, with differences over one frame.  The concentrations of the other nodes follow
    from those of the m by least squares on their own m / 2 modes (Everson and Sirovich 1995,
    doi:10.1364/JOSAA.12.001657).

    Attributes
    ----------
    calcium_mean : array, shape (3, N)
    extension : array, shape (3, N, m)
        From deviations at the points to those at all nodes.

    Examples
    --------
    >>> model = cep.load("paced-pod_deim")
    >>> model.settings.points, model.nodes
    (192, 576)
    """

    Settings = DEIMSettings

    def _fit(self, pieces, stimuli, **options):
        self._stimulus = stimuli
        super()._fit(pieces, stimuli, **options)
        del self._stimulus

    def _choose_points(self, pieces):
        count = min(self.settings.points, self.nodes)
        _, F = modes(self._ionic_currents(pieces), count)
        self.points = interpolation_points(F)
        self.back = self.basis.T @ F @ np.linalg.inv(F[self.points])
        self.calcium_mean, self.extension = np.empty((3, self.nodes)), np.empty((3, self.nodes, count))
        for k, variable in enumerate(VARIABLES[1:]):
            self.calcium_mean[k], shapes = modes(_snapshots(pieces, variable), (count + 1) // 2)
            self.extension[k] = shapes @ np.linalg.pinv(shapes[self.points])

    def _ionic_currents(self, pieces):
        """Snapshots of I_ion [mV/ms], shape (frames, N)."""
        L, out = diffusion_matrix(self.tissue).astype(np.float32), []
        for piece, stimulus in zip(pieces, self._stimulus, strict=True):
            V = piece.Vm.values.reshape(piece.sizes["time"], -1).astype(np.float32)
            before, after = V[:-1:EVERY], V[1::EVERY]
            rate = (after - before) / self.interval
            out.append((before + after) / 2 @ L.T - rate - stimulus[:-1:EVERY].numpy())
        return np.concatenate(out)

    def _extend(self, calcium):
        away = calcium - self.calcium_mean[:, self.points]
        return self.calcium_mean + np.einsum("tvm,vnm->tvn", away, self.extension, optimize=True)

    def _more(self):
        return {"calcium_mean": self.calcium_mean, "extension": self.extension}


def _snapshots(pieces, variable):
    """Frames of one variable, shape (frames, N), float32."""
    parts = [piece[variable].isel(time=slice(None, None, EVERY)).values for piece in pieces]
    return np.concatenate([part.reshape(len(part), -1) for part in parts]).astype(np.float32)


def _hold(fields, last):
    """Frames (steps, 4, N) with all from the first diverged one on replaced by the one before it."""
    bad = ~np.isfinite(fields).all((1, 2)) | (np.abs(fields[:, 0]) > DIVERGED).any(1)
    if bad.any():
        first = int(np.argmax(bad))
        fields[first:] = fields[first - 1] if first else last
    return fields
