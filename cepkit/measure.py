"""What an electrophysiologist reads off a trajectory: activation, repolarisation, APD, velocity.

Times are interpolated between frames.  Nodes that never activate get NaN.
"""

import numpy as np
import xarray as xr
from numba import njit

from cepkit.fields import CYCLE_LENGTH, THRESHOLD, in_order
from cepkit.pacing import Protocol, Stimulus, periodic
from cepkit.region import everywhere
from cepkit.solver import simulate
from cepkit.tissue import Tissue

UP, RESET = THRESHOLD, -60.0  # an activation crosses UP [mV]; the next one counts after a stay below RESET


@njit(cache=True, nogil=True)
def level_of(peak, rest, fraction):
    """Potential at ``fraction`` of the repolarisation: 0.9 is that of APD90."""
    return peak - fraction * (peak - rest)


@njit(cache=True, nogil=True)
def span(V, onset, top, end, level):
    """Where the action potential of one trace crosses ``level``: upwards near frame ``onset``, downwards after ``top``.

    In frames, interpolated.  The second is NaN if the trace ends first, or, after frame ``end``, the next one begins.
    """
    up = onset
    while up > 0 and V[up] > level:
        up -= 1
    began = up + (level - V[up]) / (V[up + 1] - V[up])
    for k in range(top, len(V) - 1):
        if V[k] > level and V[k + 1] <= level:
            return began, k + (V[k] - level) / (V[k] - V[k + 1])
        if k > end and V[k] >= UP:
            break
    return began, np.nan


@njit(cache=True, nogil=True)
def find(Vm, Cai, interval, room):
    """Activations of every node, ``room`` of each at most; Vm [mV] and Cai [mM] are (time, N), ``interval`` ms apart.

    Of shape (N, room, 4), NaN where there is none: time [ms after the first frame], APD90 [ms], largest Cai within
    250 ms, and Cai at the activation [mM].
    """
    frames, nodes = Vm.shape
    out = np.full((nodes, room, 4), np.nan)
    reach = round(250 / interval)
    for n in range(nodes):
        V = Vm[:, n]
        ready, count = False, 0
        for k in range(frames - 1):
            if V[k] < RESET:
                ready = True
            if ready and count < room and V[k] < UP and V[k + 1] >= UP:
                out[n, count, 0] = (k + (UP - V[k]) / (V[k + 1] - V[k])) * interval
                # The action potential ends before the next one: a premature beat is often followed by a taller one.
                end = k + 1
                while end < frames and V[end] >= RESET:
                    end += 1
                top = k + V[k:end].argmax()
                began, ended = span(V, k, top, end, level_of(V[top], V[max(0, k - 10) : k + 1].min(), 0.9))
                out[n, count, 1] = (ended - began) * interval
                if k + reach < frames:
                    out[n, count, 2] = Cai[k : k + reach, n].max()
                out[n, count, 3] = Cai[k, n]
                ready, count = False, count + 1
    return out


@njit(cache=True, nogil=True)
def _first_spans(Vm, peak, rest, fraction):
    """``span`` of the first action potential in every column of ``Vm`` (time, N), whose peak is the highest point."""
    frames, nodes = Vm.shape
    out = np.full((2, nodes), np.nan)
    for n in range(nodes):
        V = Vm[:, n]
        level = level_of(peak[n], rest[n], fraction)
        for k in range(frames - 1):
            if V[k] <= level and V[k + 1] > level:
                out[0, n], out[1, n] = span(V, k, V.argmax(), frames, level)
                break
    return out


def _crossings(values, time, peak, rest, fraction):
    """Times at which ``values`` (time, ...) rise above the level at ``fraction``, and fall below it."""
    frames = _first_spans(values.reshape(len(time), -1), np.ravel(peak), np.ravel(rest), fraction)
    return np.interp(frames, np.arange(len(time)), time).reshape(2, *values.shape[1:])


def _like(Vm, values, name, units, text):
    grid = [d for d in Vm.dims if d != "time"]
    coords = {d: Vm[d] for d in grid if d in Vm.coords}
    return xr.DataArray(values, dims=grid, coords=coords, name=name, attrs={"units": units, "long_name": text})


def activation_time(Vm, level=THRESHOLD):
    """First upward crossing of ``level`` [mV] at each node of (time, ...): [ms], NaN where there is none."""
    values, time = Vm.transpose("time", ...).values, Vm["time"].values
    above = values > level
    crossed = ~above[:-1] & above[1:]
    k = crossed.argmax(axis=0)
    low, high = (np.take_along_axis(values, j[None], 0)[0] for j in (k, k + 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        when = time[k] + (level - low) / (high - low) * (time[k + 1] - time[k])
    return _like(Vm, np.where(crossed.any(axis=0), when, np.nan), "activation_time", "ms", "activation time")


def activation_map(trajectory, start=0.0, end=np.inf):
    """First activation of each node in [start, end) of a trajectory: [ms] after ``start``, NaN where there is none.

    As the solver noted it inside its time loop: finer than the frames.
    """
    when, node = trajectory["activation_time"].values, trajectory["activation_node"].values
    inside = (when >= start) & (when < end)
    Vm = in_order(trajectory["Vm"].isel(time=0, drop=True))
    first = np.full(Vm.size, np.nan)
    # Activations stand in the order of time: written backwards, the first of each node stays.
    first[node[inside][::-1]] = when[inside][::-1] - start
    return _like(Vm, first.reshape(Vm.shape), "activation_time", "ms", "activation time")


def action_potential(Vm, fraction=0.9):
    """The action potential of one beat (time, ...) that starts at rest, at each node; ``fraction=0.9`` gives APD90.

    ``rest``, ``peak`` [mV], ``max_upstroke`` [mV/ms], ``activation``, ``repolarisation`` and ``APD`` [ms], from the
    upward to the downward crossing of the level at ``fraction`` of the repolarisation.
    """
    values, time = Vm.transpose("time", ...).values.astype(float, order="C"), Vm["time"].values
    rest, peak = values[0], values.max(axis=0)
    up, down = _crossings(values, time, peak, rest, fraction)
    steps = np.diff(time).reshape(-1, *[1] * rest.ndim)
    parts = {
        "rest": (rest, "mV", "resting potential"),
        "peak": (peak, "mV", "peak potential"),
        "max_upstroke": ((np.diff(values, axis=0) / steps).max(axis=0), "mV/ms", "fastest upstroke"),
        "activation": (up, "ms", "activation time"),
        "repolarisation": (down, "ms", "repolarisation time"),
        "APD": (down - up, "ms", f"APD{round(100 * fraction)}"),
    }
    return xr.Dataset({name: _like(Vm, v, name, units, text) for name, (v, units, text) in parts.items()})


def beat(trajectory, number, cycle_length=CYCLE_LENGTH):
    """Frames of one beat of a paced trajectory, from its stimulus to the next; ``number`` counts from 1."""
    start = (number - 1) * cycle_length
    return trajectory.sel(time=slice(start - 1e-6, start + cycle_length + 1e-6))


def conduction_velocity(Vm, start, end, level=THRESHOLD):
    """Mean speed of the front between two nodes [m/s] = [mm/ms]; negative if ``end`` is activated first.

    ``start`` and ``end`` are positions [mm] by axis, such as ``{"y": 5, "x": 2}``; the nearest nodes are taken.
    """
    when = activation_time(Vm, level)
    a, b = when.sel(start, method="nearest"), when.sel(end, method="nearest")
    distance = np.sqrt(sum(float(b[d] - a[d]) ** 2 for d in start))
    return distance / float(b - a)


def calcium_transient(Cai):
    """Of one beat (time, ...): ``diastolic``, ``systolic``, ``amplitude`` [mM] and ``time_to_peak`` [ms]."""
    values, time = Cai.transpose("time", ...).values.astype(float), Cai["time"].values
    low, high = values.min(axis=0), values.max(axis=0)
    parts = {
        "diastolic": (low, "mM", "diastolic calcium"),
        "systolic": (high, "mM", "systolic calcium"),
        "amplitude": (high - low, "mM", "amplitude of the calcium transient"),
        "time_to_peak": (time[values.argmax(axis=0)] - time[0], "ms", "time to peak calcium"),
    }
    return xr.Dataset({name: _like(Cai, v, name, units, text) for name, (v, units, text) in parts.items()})


def phase(Vm, delay=5, centre=-60.0):
    """Phase [rad] in (-pi, pi] of each node in its cycle, for the frames that have one ``delay`` frames before them.

    The pair (V(t - delay) - centre, V(t) - centre) circles the origin once a beat, and this is its angle (Gray, Pertsov
    and Jalife 1998, doi:10.1038/32164).
    """
    now, earlier = Vm.isel(time=slice(delay, None)), Vm.isel(time=slice(None, -delay)).values
    angle = now.copy(data=np.arctan2(now.values - centre, earlier - centre)).rename("phase")
    return angle.assign_attrs(units="rad", long_name="phase")


def phase_singularities(angle):
    """Where the phase [rad] winds around a point, as at the tips of spiral waves: the topological charge -1, 0 or +1.

    It is that of each square of four nodes, at its centre; positive where phase grows counter-clockwise (x towards y).
    """
    p = angle.transpose(..., "y", "x").values
    corners = [p[..., :-1, :-1], p[..., :-1, 1:], p[..., 1:, 1:], p[..., 1:, :-1]]
    turn = 0.0
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        turn = turn + (b - a + np.pi) % (2 * np.pi) - np.pi
    charge = np.rint(np.nan_to_num(turn / (2 * np.pi))).astype(int)  # 0 beside a node without a phase
    dims = [d for d in angle.dims if d not in ("y", "x")]
    coords = {d: angle[d] for d in dims} | {d: (angle[d].values[1:] + angle[d].values[:-1]) / 2 for d in ("y", "x")}
    return xr.DataArray(charge, coords, (*dims, "y", "x"), "charge", {"long_name": "topological charge"})


def restitution(s1, beats, intervals, fraction=0.9, **cell):
    """S1-S2 restitution of the single cell: ``APD`` of a premature beat against the rest ``DI`` before it [ms].

    The premature stimulus comes at each of the ``intervals`` after ``beats`` of a train with cycle length ``s1`` [ms];
    APD is NaN where it did not capture the cell.  ``cell`` are arguments of :func:`cepkit.simulate`, such as
    ``parameters``.
    """
    intervals = np.asarray(intervals, float)
    row = Tissue((len(intervals),), spacing=1.0, diffusivity=0.0)  # all at once, in cells that are not coupled
    each = everywhere(row)
    last = (beats - 1) * s1
    protocol = periodic(s1, beats, each) + Protocol(
        Stimulus(last + interval, each & (each["x"] == k)) for k, interval in enumerate(intervals)
    )
    Vm = simulate(row, protocol, last + np.ceil(intervals.max()) + 600.0, progress=False, **cell)["Vm"]
    # The cell whose premature stimulus comes last shows the train undisturbed.
    train = Vm[:, intervals.argmax()].sel(time=slice(last, last + intervals.max()))
    before = action_potential(train, fraction)
    APD = np.full(len(intervals), np.nan)
    for k, interval in enumerate(intervals):
        after = Vm[:, k].sel(time=slice(last + interval, None))
        if after.max() > 0:
            began, ended = _crossings(after.values.astype(float), after.time.values, before.peak, before.rest, fraction)
            APD[k] = ended - began
    DI = intervals - (float(before.repolarisation) - last)
    text = {"units": "ms"}
    coords = {"interval": ("interval", intervals, {**text, "long_name": "coupling interval"})}
    return xr.Dataset({"APD": ("interval", APD, text), "DI": ("interval", DI, text)}, coords)
