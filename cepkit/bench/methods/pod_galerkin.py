"""Projection: the monodomain equation itself, on a few modes of the potential.  Nothing is fitted but the modes."""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

from cepkit import cell, kernel, simd
from cepkit.bench.methods.replay import OneByOne, made_on
from cepkit.dataset import leading
from cepkit.engine import State
from cepkit.fields import VARIABLES
from cepkit.surrogates.base import surrogate
from cepkit.tissue import Tissue

EVERY = 5  # frames from one snapshot to the next
DIVERGED = 1000.0  # mV; between wave fronts that ring and numbers that run away


class OnTissue(OneByOne):
    """A model of the tissue that its training runs were simulated on: a method writes ``_learn`` and ``_answer``."""

    trains = True  # even where it takes moments: its file spares reading all of the training data

    def _fit(self, learning):
        if "tissue" not in learning.runs[0].attrs:
            raise ValueError(f"trajectories: no tissue in the attributes, and {self.name} needs its diffusivity")
        self.card |= made_on(learning.runs[0])
        if any(np.ndim(v) for v in (self.card.get("cell_type"), *self.card.get("parameters", {}).values())):
            raise ValueError(f"trajectories: {self.name} needs one kind of cell in all of the tissue")
        self._learn(learning)

    def _moved(self, history):
        if "tissue" not in (made := made_on(history)):
            return self
        own = super()._moved(history)
        own.card = self.card | {"tissue": made["tissue"]}
        return own

    @property
    def tissue(self):
        return Tissue(**self.card["tissue"])


def modes(snapshots, count):
    """Mean (N,) and leading POD modes (N, K), orthonormal columns, of snapshots (frames, N); K = min(count, N)."""
    mean = snapshots.mean(0, dtype=np.float64)
    centred = snapshots - mean.astype(snapshots.dtype)
    moment = torch.from_numpy((centred.T @ centred).astype(np.float64))
    return mean, leading(moment, count).contiguous().numpy()


def clusters(snapshots, count, least):
    """Groups of snapshots (frames, N) by k-means on 32 of their coefficients, each of ``least`` frames or more."""
    mean, basis = modes(snapshots, 32)
    coefficients, count = (snapshots - mean) @ basis, min(count, len(snapshots))
    centres, labels = kmeans2(coefficients, count, minit="++", seed=0)
    sizes = np.bincount(labels, minlength=count).clip(least)
    return [snapshots[np.argsort(row)[:size]] for row, size in zip(cdist(centres, coefficients), sizes, strict=True)]


def snapshots(pieces, variable):
    """Frames of one variable, shape (frames, N), float32."""
    parts = [piece[variable].isel(time=slice(None, None, EVERY)).values for piece in pieces]
    return np.concatenate([part.reshape(len(part), -1) for part in parts]).astype(np.float32)


def interpolation_points(basis):
    """The DEIM nodes of a basis (N, m): each is where the next mode is worst interpolated by those before it.

    Algorithm 1 of Chaturantabut and Sorensen 2010, doi:10.1137/090766498.
    """
    points = [int(np.argmax(np.abs(basis[:, 0])))]
    for k in range(1, basis.shape[1]):
        weights = np.linalg.solve(basis[points, :k], basis[points, k])
        points.append(int(np.argmax(np.abs(basis[:, k] - basis[:, :k] @ weights))))
    return np.array(points)


@njit(nogil=True, cache=True, error_model="numpy")
def _free_run(
    V, change, gates, conc, kind, W, flow, g, c, root_Ko, table, rectify, dt, substeps, calcium,
    given_V, given_calcium, stimulus, pushed, linear, constant, back, mean, basis, points, made_V, made_calcium,
):  # fmt: skip
    """From the first frame given to the end of the forecast; each step takes the cells through reactions alone.

    ``calcium``, shape (blocks, 3, BLOCK), are the rows of ``conc`` that frames hold; ``stimulus`` is that at the
    nodes with a cell, ``pushed`` that of all nodes on the modes.  The first line is as in the kernel, unpadded.
    """
    given, local = given_V.shape[0], -1
    BLOCK = simd.BLOCK
    whole = given_V[0].copy()
    for frame in range(stimulus.shape[0]):
        if frame < given:
            whole[:] = given_V[frame]
            calcium[:] = given_calcium[frame]
        nearest = np.argmin(((whole - mean) ** 2).sum(1))  # the modes of the frames that are most like this one
        if frame < given or nearest != local:
            local = nearest
            a = np.dot(whole - mean[local], basis[local])
            own_mean, own_basis = mean[local][points], basis[local][points]
            V[:] = own_mean + np.dot(own_basis, a)
        for _ in range(substeps):
            for b in range(conc.shape[0]):
                first = b * BLOCK
                for i in range(BLOCK):
                    W[simd.AT * BLOCK + i] = V[first + i]
                    # Potassium carries the stimulus; the potential gets it by way of ``pushed``.
                    flow[kernel.STIM * BLOCK + i] = stimulus[frame, first + i]
                kernel.reversals(conc[b], flow, None, W, c, 0)
                kernel.look_up(gates[b], kind, first, W, table, rectify, None)
                kernel.react(conc[b], flow, None, W, g, c, 0, root_Ko, dt)
                for i in range(BLOCK):
                    change[first + i] = -dt * flow[kernel.HELD * BLOCK + i]
            a += dt * (np.dot(linear[local], a) + constant[local] - pushed[local, frame]) + np.dot(back[local], change)
            V[:] = own_mean + np.dot(own_basis, a)
        whole[:] = mean[local] + np.dot(basis[local], a)
        if frame >= given - 1:
            made_V[frame - given + 1] = whole
            made_calcium[frame - given + 1] = calcium


@surrogate("pod_galerkin", "POD-Galerkin", "#332288", "-", version="2")
class PODGalerkin(OnTissue):
    """Galerkin projection of the monodomain equation on K modes of the potential.

    With Vm = mean + Phi a, Phi orthonormal, da/dt = Phi' (L Vm - I_ion - I_stim).  Every node keeps a cell with all of
    its 18 other variables; a step is the solver's (Rush-Larsen for gates, Euler otherwise), of fixed size.  Modes are
    local: frames fall into clusters by k-means, each with a mean and modes of its own, and after every frame the
    nearest mean decides whose modes go on (Amsallem et al. 2012, doi:10.1002/nme.4371; in the heart Pagani et al. 2018,
    doi:10.1016/j.cma.2018.06.003).

    The history holds four of the 19 variables.  The cells start at ``cell.INITIAL_STATE``; then each frame given is
    inserted, and in between the reduced equations carry the other 15 along.  A run that has diverged (a frame not
    finite, or a potential beyond 1000 mV) stays at the frame before.
    """

    @dataclass(frozen=True)
    class Settings:
        bases: int = 32  # clusters of frames
        components: int = 32  # K, modes of the potential in each
        points: int = 192  # m, interpolation nodes and modes of the ionic current in PODDEIM; unused here
        dt: float = 0.1  # step [ms]

    configurations = {"smoke": {"bases": 2, "points": 48}}
    #: Means (bases, N) and modes (bases, N, K) of the potential [mV], and nodes that hold a cell (n,).
    held = ("mean", "basis", "points")

    def _learn(self, learning):
        count = self.settings.components
        groups = clusters(snapshots(learning.runs, "Vm"), self.settings.bases, 4 * count)
        self.mean, self.basis = map(np.stack, zip(*(modes(group, count) for group in groups), strict=True))
        away = [group - mean for group, mean in zip(groups, self.mean, strict=True)]
        lost = np.concatenate([V - V @ Phi @ Phi.T for V, Phi in zip(away, self.basis, strict=True)])
        self._choose_points(learning)
        self._restore(self._tensors(), self.card)  # in the precision of the file
        self.card |= {"cells": len(self.points), "training": [], "rms of Vm outside the modes [mV]": float(lost.std())}

    def _choose_points(self, learning):
        self.points = np.arange(self.nodes)

    def _answer(self, X, stimulus, steps):
        given = X.double().unflatten(1, (-1, len(VARIABLES))).numpy()
        n, substeps = len(self.points), round(self.interval / self.settings.dt)
        kind = self.card.get("cell_type", "epi"), self.card.get("parameters")
        (conductances, constants), dt = cell.parameters(*kind), self.interval / substeps
        sheet = State(Tissue((n,)), cell.INITIAL_STATE, conductances, "float64")
        at = self.points[np.minimum(np.arange(sheet.cells), n - 1)]  # the last block is filled up with the last cell
        back = np.ascontiguousarray(np.pad(self.back, ((0, 0), (0, 0), (0, sheet.cells - n))))
        stimulus = stimulus[: len(given) - 1 + steps].double().numpy()
        L, blocks = self.tissue.operator.toarray(), (sheet.blocks, -1, simd.BLOCK)
        Phi = self.basis.swapaxes(1, 2)
        known = given[:, at, 1:].transpose(0, 2, 1).reshape(len(given), 3, *blocks[::2]).swapaxes(1, 2)
        V, calcium = np.empty((steps, self.nodes)), np.empty((steps, sheet.blocks, 3, simd.BLOCK))
        _free_run(
            np.full(sheet.cells, cell.INITIAL_STATE["Vm"]), np.empty(sheet.cells), sheet.gates, sheet.conc,
            np.zeros(sheet.cells, np.int64), np.zeros(simd.N_SCRATCH * simd.BLOCK), np.zeros(6 * simd.BLOCK),
            sheet.conductances[0],
            constants, np.sqrt(constants.Ko / 5.4), simd.voltage_table(np.array([dt]), constants, kind[:1])[0],
            simd.rectifier_table(), dt, substeps, sheet.conc.reshape(blocks)[:, :3],
            np.ascontiguousarray(given[..., 0]), np.ascontiguousarray(known),
            np.ascontiguousarray(stimulus[:, at]), stimulus @ self.basis, Phi @ L @ self.basis,
            (Phi @ (L @ self.mean.T).T[..., None])[..., 0], back, self.mean, self.basis, at, V, calcium,
        )  # fmt: skip
        calcium = self._extend(calcium.swapaxes(1, 2).reshape(steps, 3, -1)[..., :n])
        fields = np.concatenate([V[:, None], calcium], axis=1)
        return torch.from_numpy(_hold(fields.astype(np.float32), given[-1].T)).transpose(1, 2).flatten(1)

    def _extend(self, calcium):
        """Concentrations at the points, (steps, 3, n), to those at all nodes, (steps, 3, N)."""
        return calcium

    def _tensors(self):
        own = {name: torch.from_numpy(getattr(self, name)) for name in self.held}
        return {name: values if name == "points" else values.float() for name, values in own.items()}

    def _restore(self, tensors, card):
        self.back = tensors["basis"].double().numpy().swapaxes(1, 2)  # from a change at the nodes to the coefficients
        for name, values in tensors.items():
            setattr(self, name, (values if name == "points" else values.double()).numpy())


@surrogate("pod_deim", "POD-DEIM", "#6699CC", "-", version="2")
class PODDEIM(PODGalerkin):
    """The same projection with cells at m nodes only: the discrete empirical interpolation method.

    Phi' I_ion = Phi' F (F at the nodes)^-1 (I_ion at the nodes), F being m modes of the ionic current: Chaturantabut
    and Sorensen 2010, doi:10.1137/090766498; its snapshots are what the training frames leave of the equation.
    The concentrations of the other nodes follow from those of the m by least squares on their own m / 2 modes (Everson
    and Sirovich 1995, doi:10.1364/JOSAA.12.001657).  All bases share the m nodes, so no cell is ever without its past.
    """

    #: And from changes at the points to those of the coefficients (bases, K, m), the means (3, N) of the
    #: concentrations, and from deviations at the points to those at all nodes (3, N, m).
    held = (*PODGalerkin.held, "back", "calcium_mean", "extension")

    def _choose_points(self, learning):
        count = min(self.settings.points, self.nodes)
        F = modes(self._ionic_currents(learning), count)[1]
        self.points = interpolation_points(F)
        self.back = self.basis.swapaxes(1, 2) @ F @ np.linalg.inv(F[self.points])
        self.calcium_mean, self.extension = np.empty((3, self.nodes)), np.empty((3, self.nodes, count))
        for k, variable in enumerate(VARIABLES[1:]):
            self.calcium_mean[k], shapes = modes(snapshots(learning.runs, variable), (count + 1) // 2)
            self.extension[k] = shapes @ np.linalg.pinv(shapes[self.points])

    def _ionic_currents(self, learning):
        """Snapshots of I_ion [mV/ms], shape (frames, N)."""
        L, out = self.tissue.operator.toarray().astype(np.float32), []
        for piece, stimulus in zip(learning.runs, learning.stimuli, strict=True):
            V = piece.Vm.values.reshape(piece.sizes["time"], -1).astype(np.float32)
            before, after = V[:-1:EVERY], V[1::EVERY]
            out.append((before + after) / 2 @ L.T - (after - before) / self.interval - stimulus[:-1:EVERY].numpy())
        return np.concatenate(out)

    def _extend(self, calcium):
        away = calcium - self.calcium_mean[:, self.points]
        return self.calcium_mean + np.einsum("tvm,vnm->tvn", away, self.extension, optimize=True)


def _hold(fields, last):
    """Frames (steps, 4, N) with all from the first diverged one on replaced by the one before it."""
    bad = ~np.isfinite(fields).all((1, 2)) | (np.abs(fields[:, 0]) > DIVERGED).any(1)
    if bad.any():
        first = int(np.argmax(bad))
        fields[first:] = fields[first - 1] if first else last
    return fields
