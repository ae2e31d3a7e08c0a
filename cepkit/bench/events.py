"""Activations in forecasts: matched with those of the truth, and what follows from them.

Both are read in the same way, from frames a millisecond apart: what frames cannot tell counts for neither.
"""

import numpy as np
from numba import njit

from cepkit.measure import find, rises

NEAR = 50.0  # activations further apart than this are not the same [ms]
#: What :func:`compare` finds, and its units.
UNITS = {
    "activation_error": "ms", "apd90_error": "ms", "apd90_bias": "ms", "missed": "% of the true activations",
    "spurious": "% of the true activations", "cv_error": "%", "phase_drift": "ms a beat", "systolic_error": "µM",
}  # fmt: skip


@njit(cache=True, nogil=True)
def match(truth, forecast):
    """Pair each true activation with the nearest forecast one within NEAR; both are as ``find`` returns them.

    The index of the latter (N, room), -1 where missed and -2 where there is no true one; and how many are left over.
    """
    nodes, room = truth.shape[:2]
    partner = np.full((nodes, room), -2)
    spurious = 0
    for n in range(nodes):
        taken = np.zeros(forecast.shape[1], np.bool_)
        for k in range(room):
            if np.isnan(truth[n, k, 0]):
                break
            best, away = -1, NEAR
            for j in range(forecast.shape[1]):
                distance = abs(forecast[n, j, 0] - truth[n, k, 0])
                if not taken[j] and distance <= away:
                    best, away = j, distance
            partner[n, k] = best
            if best >= 0:
                taken[best] = True
        for j in range(forecast.shape[1]):
            if not np.isnan(forecast[n, j, 0]) and not taken[j]:
                spurious += 1
    return partner, spurious


def compare(truth, forecast, interval=1.0):
    """What a cardiac modeller asks of a forecast; both are Vm [mV] and Cai [mM], each (time, N), ``interval`` ms apart.

    By name in UNITS, NaN where there is nothing to compare.  Errors are means of absolute differences over matched
    activations, but ``cv_error`` is that of the time a wave takes from the first node to the last.  ``spurious`` is a
    number a node where there are no true activations.
    """
    pairs = [[np.ascontiguousarray(x, np.float64) for x in pair] for pair in (truth, forecast)]
    room = 1 + max(rises(Vm) for Vm, _ in pairs)
    T, F = (find(*pair, interval, room) for pair in pairs)
    partner, spurious = match(T, F)
    true = int((partner > -2).sum())
    node, k = np.nonzero(partner >= 0)
    a, b = T[node, k], F[node, partner[node, k]]
    shift, apd, systolic, _ = (b - a).T
    wave = _waves(T)[node, k]
    return {
        "activation_error": _mean(np.abs(shift)),
        "apd90_error": _mean(np.abs(apd)),
        "apd90_bias": _mean(apd),
        "missed": 100 * float((partner == -1).sum()) / true if true else np.nan,
        "spurious": 100 * spurious / true if true else spurious / len(T),
        "cv_error": _velocity_error(a[:, 0], b[:, 0], wave, len(T)),
        "phase_drift": _drift(shift, wave),
        "systolic_error": 1e3 * _mean(np.abs(systolic)),
    }


def _mean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan


def _waves(events):
    """Number of the wave that each activation belongs to: waves are 100 ms apart or more."""
    times = events[..., 0]
    known = ~np.isnan(times)
    order = np.argsort(times[known])
    wave = np.concatenate([[0], np.cumsum(np.diff(times[known][order]) > 100)]) if known.any() else np.zeros(0)
    out = np.full(times.shape, -1)
    out[known] = wave[np.argsort(order)]
    return out


def _velocity_error(true, forecast, wave, nodes):
    """Median over the waves that reach nine nodes in ten."""
    errors = []
    for w in np.unique(wave):
        inside = wave == w
        if inside.sum() >= 0.9 * nodes and nodes > 1:
            a, b = np.ptp(true[inside]), np.ptp(forecast[inside])
            errors.append(100 * abs(a / b - 1) if b > 0 else np.inf)
    return float(np.median(errors)) if errors else np.nan


def _drift(shift, wave):
    """Slope of the mean shift of each wave against its number."""
    waves = np.unique(wave)
    if len(waves) < 2:
        return np.nan
    return float(np.polyfit(waves, [shift[wave == w].mean() for w in waves], 1)[0])
