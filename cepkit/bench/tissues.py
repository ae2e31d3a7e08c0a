"""The track of tissue: sheets with scars, slow zones and gates, what paces them, and how waves on them are compared."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from cepkit import measure, pacing
from cepkit.bench.protocols import square, stimulated
from cepkit.cell import Conductances
from cepkit.fields import VARIABLES
from cepkit.tissue import Tissue

WAVES = "propagated", "blocked", "missed waves", "invented waves", "tips_error", "period_error"
SPACING, NORMAL = 0.5, 0.125  # mm between nodes; diffusivity [mm2/ms]
#: Cells of a short action potential, so that a wave fits on a sheet, as in the book's re-entry.
SHORT = {name: k * getattr(Conductances(), name) for name, k in {"gCaL": 0.2, "gKr": 4.0, "gKs": 4.0}.items()}


@dataclass(frozen=True)
class Sizes:
    """How much of the track of tissue a profile makes: numbers of runs and nodes, times [ms]."""

    train: int
    train_ms: float
    validation: int
    runs: int  # of each question
    nodes: int
    test_nodes: int
    warmup: int
    steps: int
    prelude: float


SIZES = {"smoke": Sizes(4, 400.0, 1, 2, 12, 16, 100, 300, 200.0)}
SIZES["laptop"] = SIZES["paper"] = Sizes(16, 2000.0, 4, 8, 48, 64, 500, 1500, 1000.0)


def patchy(shape, rng, scars=3, zones=2):
    """A sheet with up to so many round scars, without conduction, and slow zones, of a tenth to a half of it."""
    D, at = np.full(shape, NORMAL), np.indices(shape)

    def disc(least, most):
        centre = [rng.uniform(0, n) for n in shape]
        return np.hypot(at[0] - centre[0], at[1] - centre[1]) < rng.uniform(least, most)

    for _ in range(rng.integers(zones + 1)):
        D[disc(6, 16)] *= rng.uniform(0.1, 0.5)
    for _ in range(rng.integers(scars + 1)):
        D[disc(2, 8)] = 0.0
    return Tissue(shape, SPACING, D)


def gate(shape, rng):
    """A wall across the sheet with one gate of 1 to 6 nodes, behind which conduction is normal."""
    D, wide = np.full(shape, NORMAL), int(rng.integers(1, 7))
    row, column = int(rng.integers(shape[0] // 3, 2 * shape[0] // 3)), int(rng.integers(2, shape[1] - 8))
    D[row : row + 3] = 0.0
    D[row : row + 3, column : column + wide] = NORMAL
    return Tissue(shape, SPACING, D)


def ring(shape, rng):
    """A slow sheet round a hole, where a wave is short enough to circle."""
    at = np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2
    D = np.full(shape, NORMAL * rng.uniform(0.15, 0.3))
    D[np.hypot(*at) < rng.uniform(0.15, 0.25) * min(shape)] = 0.0
    return Tissue(shape, SPACING, D)


def site(tissue, rng):
    """A square of nodes, most of which conduct."""
    while True:
        row, column = (int(rng.integers(2, n - 2)) for n in tissue.shape)
        if tissue.diffusivity[row, column] > 0:
            return square(tissue, row, column)


def paced(tissue, duration, rng):
    """Intervals of 180 to 500 ms at two sites, between which every third stimulus or so changes."""
    sites, t, out = [site(tissue, rng) for _ in range(2)], float(np.round(rng.uniform(0, 100))), pacing.Protocol()
    while t < duration:
        out = out + stimulated([t], sites[int(rng.random() < 0.3)])
        t += float(np.round(rng.uniform(180, 500)))
    return out


def collide(tissue, duration, rng):
    """Two sites every 300 ms, the second up to 40 ms later."""
    lag, beats = float(np.round(rng.uniform(0, 40))), np.arange(50.0, duration, 300.0)
    return stimulated(beats, site(tissue, rng)) + stimulated(beats + lag, site(tissue, rng))


def cross(tissue, duration, rng):
    """A plane wave after three tenths of the time, and one stimulus of a quadrant into its tail: it circles or not."""
    return pacing.cross_field(tissue, float(np.round(rng.uniform(190, 250))), start=float(np.round(0.3 * duration)))


#: Question -> (words, sheet, pacing).
QUESTIONS = {
    "patches": ("scars and slow zones, irregular pacing from two sites", patchy, paced),
    "gate": ("a wall with a gate of 1 to 6 nodes, irregular pacing", gate, paced),
    "collision": ("waves that collide among scars", patchy, collide),
    "re-entry": ("a slow sheet round a hole, stimulated across", ring, cross),
}


def drawn(kinds, count, shape, duration, rng):
    """Sheets and protocols of so many runs, whose questions take turns."""
    kinds = [QUESTIONS[name][1:] for name in kinds]
    sheets = [kinds[k % len(kinds)][0](shape, rng) for k in range(count)]
    return sheets, [kinds[k % len(kinds)][1](sheet, duration, rng) for k, sheet in enumerate(sheets)]


def wave_scores(pair, stimulus):
    """Waves of a forecast and its truth, tensors (time, N_in) 1 ms apart, under a stimulus (time, y, x).

    Of all pairs of a node and a stimulus, per cent that fire before the next stimulus, 200 ms at most, in both
    (``propagated``), in none (``blocked``), in the truth alone (``missed waves``), in the forecast alone (``invented
    waves``); ``tips_error``, difference of the mean number of tips; ``period_error``, of the median interval [ms].
    All are infinite without a finite forecast.
    """
    if not pair or not bool(pair[0].isfinite().all()):
        return {("", name): np.inf for name in WAVES}
    F, T = (x.numpy().reshape(len(x), -1, len(VARIABLES))[..., 0] for x in pair)
    onsets = np.flatnonzero(stimulus.any(stimulus.dims[1:]).values)
    onsets = onsets[np.diff(onsets, prepend=-100) > 1]
    ends = np.minimum(np.append(onsets[1:], len(T)), onsets + 200)
    fires, wanted = (np.array([_ups(Vm)[a:b].any(0) for a, b in zip(onsets, ends, strict=True)], bool) for Vm in (F, T))
    cells = [wanted & fires, ~wanted & ~fires, wanted & ~fires, ~wanted & fires]
    shares = [100 * float(where.mean()) if where.size else np.nan for where in cells]
    tips, periods = ([abs(f(F) - f(T))] for f in (partial(_tips, shape=stimulus.shape[1:]), _period))
    return dict(zip([("", name) for name in WAVES], shares + tips + periods, strict=True))


def _ups(Vm, level=-40.0):
    return np.pad((Vm[:-1] < level) & (Vm[1:] >= level), ((1, 0), (0, 0)))


def _tips(Vm, shape, every=5):
    at = {"time": np.arange(0, len(Vm), every, float)}
    at |= {d: np.arange(n) * SPACING for d, n in zip("yx", shape, strict=True)}
    frames = xr.DataArray(Vm[::every].reshape(-1, *shape).astype(float), at, name="Vm")
    tips = measure.phase_singularities(measure.phase(frames, delay=1)).values
    return float(np.abs(tips).sum() / frames.sizes["time"])


def _period(Vm):
    """Median interval [ms] between activations of a node; 0 if no node fires twice."""
    node, when = np.nonzero(_ups(Vm).T)
    gaps = np.diff(when)[np.diff(node) == 0]
    return float(np.median(gaps)) if len(gaps) else 0.0
