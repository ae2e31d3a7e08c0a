"""Activations in forecasts: found in frames, matched with those of the truth, and what follows from them.

Truth and forecast are read in the same way, from frames a millisecond apart, so that what frames
cannot tell counts for neither.
"""

import numpy as np
from numba import njit

UP, RESET = -40.0, -60.0  # an activation crosses UP [mV]; the next one counts after a stay below RESET
NEAR = 50.0  # activations further apart than this are not the same [ms]
#: What :func:`compare` finds, and its units.
UNITS = {
    "activation_error": "ms",
    "apd90_error": "ms",
    "apd90_bias": "ms",
    "missed": "% of the true activations",
    "spurious": "% of the true activations",
    "cv_error": "%",
    "phase_drift": "ms a beat",
    "systolic_error": "µM",
    "diastolic_error": "µM",
    "restitution_error": "ms",
}


@njit(cache=True, nogil=True)
def find(Vm, Cai, interval, room):
    """Activations of every node.

    Parameters
    ----------
    Vm, Cai : array, shape (time, N)
        [mV], [mM]
    interval : float
        Between frames [ms].
    room : int
        Most activations of a node that are kept.

    Returns
    -------
    array, shape (N, room, 4)
        Time of activation [ms after the first frame], APD90 [ms], largest Cai within 250 ms, and Cai
        at the activation [mM]; NaN where there is none.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> Vm, Cai = (trajectory[v].values.reshape(150, -1) for v in ("Vm", "Cai"))
    >>> found = cep.events.find(Vm, Cai, 1.0, 4)
    >>> found.shape, found[0, :, 0].round(1).tolist()  # the first node's activations
    ((16, 4, 4), [40.8, 90.8, 140.8, nan])
    """
    frames, nodes = Vm.shape
    out = np.full((nodes, room, 4), np.nan)
    span = round(250 / interval)
    for n in range(nodes):
        ready, k, count = Vm[0, n] < RESET, 0, 0
        while k < frames - 1 and count < room:
            if Vm[k, n] < RESET:
                ready = True
            if ready and Vm[k, n] < UP and Vm[k + 1, n] >= UP:
                share = (UP - Vm[k, n]) / (Vm[k + 1, n] - Vm[k, n])
                out[n, count, 0] = (k + share) * interval
                out[n, count, 1] = _apd90(Vm[:, n], k, interval)
                if k + span < frames:
                    out[n, count, 2] = Cai[k : k + span, n].max()
                out[n, count, 3] = Cai[k, n]
                count += 1
                ready = False
            k += 1
    return out


@njit(cache=True, nogil=True)
def _apd90(V, k, interval):
    """Time above the level of 90 % repolarisation, of the action potential that crosses UP after frame k."""
    first = max(0, k - 10)
    rest = V[first : k + 1].min()
    # The action potential ends before the next one: a premature beat is often followed by a taller one.
    end = k + 1
    while end < len(V) and V[end] >= RESET:
        end += 1
    top = k + V[k:end].argmax()
    level = V[top] - 0.9 * (V[top] - rest)
    up = k
    while up > first and V[up] > level:
        up -= 1
    began = up + (level - V[up]) / (V[up + 1] - V[up]) if V[up + 1] > V[up] else float(up)
    for j in range(top, len(V) - 1):
        if V[j] >= level and V[j + 1] < level:
            return (j + (V[j] - level) / (V[j] - V[j + 1]) - began) * interval
        if j > end and V[j] >= UP:  # the next one came before this one had ended
            break
    return np.nan


@njit(cache=True, nogil=True)
def match(truth, forecast):
    """Pair each true activation with the nearest forecast one within NEAR.

    Parameters
    ----------
    truth, forecast : array, shape (N, room, 4)
        As :func:`find` returns them.

    Returns
    -------
    partner : array of int, shape (N, room)
        Index of the forecast activation; -1 for a missed one; -2 where there is no true one.
    spurious : int
        Forecast activations without a true one.

    Examples
    --------
    >>> truth, forecast = np.full((1, 2, 4), np.nan), np.full((1, 2, 4), np.nan)
    >>> truth[0, 0, 0], forecast[0, 0, 0], forecast[0, 1, 0] = 100.0, 103.0, 400.0
    >>> partner, spurious = cep.events.match(truth, forecast)
    >>> partner.tolist(), spurious
    ([[0, -2]], 1)
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
    """What a cardiac modeller asks of a forecast.

    Parameters
    ----------
    truth, forecast : tuple of array
        Vm [mV] and Cai [mM], each (time, N).
    interval : float
        [ms]

    Returns
    -------
    dict
        ``activation_error``, ``apd90_error`` [ms] (means of absolute differences over matched
        activations); ``apd90_bias`` [ms]; ``missed`` [% of the true ones]; ``spurious`` [% of the
        true ones, or number a node where there are none]; ``cv_error`` [%], of the time that a wave
        takes from the first node to the last; ``phase_drift`` [ms a beat]; ``systolic_error``,
        ``diastolic_error`` [µM]; ``restitution_error`` [ms], the root mean square APD error of
        beats that follow the last repolarisation by less than 200 ms.  NaN where there is nothing
        to compare.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> truth = tuple(trajectory[v].values.reshape(150, -1) for v in ("Vm", "Cai"))
    >>> late = tuple(np.roll(field, 3, axis=0) for field in truth)
    >>> found = cep.events.compare(truth, late)
    >>> round(found["activation_error"], 1), found["missed"], found["spurious"]
    (3.0, 0.0, 0.0)
    """
    room = int(len(truth[0]) * interval / 200) + 3
    T, F = (find(*(np.ascontiguousarray(x, np.float64) for x in pair), interval, room) for pair in (truth, forecast))
    partner, spurious = match(T, F)
    true = int((partner > -2).sum())
    node, k = np.nonzero(partner >= 0)
    a, b = T[node, k], F[node, partner[node, k]]
    shift = b[:, 0] - a[:, 0]
    apd = b[:, 1] - a[:, 1]
    wave = _waves(T)[node, k]
    out = {
        "activation_error": _mean(np.abs(shift)),
        "apd90_error": _mean(np.abs(apd)),
        "apd90_bias": _mean(apd),
        "missed": 100 * float((partner == -1).sum()) / true if true else np.nan,
        "spurious": 100 * spurious / true if true else spurious / len(T),
        "cv_error": _velocity_error(a[:, 0], b[:, 0], wave, len(T)),
        "phase_drift": _drift(shift, wave),
        "systolic_error": 1e3 * _mean(np.abs(b[:, 2] - a[:, 2])),
        "diastolic_error": 1e3 * _mean(np.abs(b[:, 3] - a[:, 3])),
    }
    gap = np.full(len(node), np.nan)
    later = k > 0
    before = T[node[later], k[later] - 1]
    gap[later] = a[later, 0] - before[:, 0] - before[:, 1]
    early = gap < 200
    out["restitution_error"] = float(np.sqrt(_mean(apd[early] ** 2)))
    return out


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
    mean = [shift[wave == w].mean() for w in waves]
    return float(np.polyfit(waves, mean, 1)[0])
