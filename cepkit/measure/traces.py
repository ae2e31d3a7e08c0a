"""What an electrophysiologist reads off a trajectory: activation, repolarisation, APD, velocity.

Times are interpolated between frames.  Nodes that never activate get NaN.
"""

import json

import numpy as np
import xarray as xr
from numba import njit

from cepkit.fields import CYCLE_LENGTH, SPACE, THRESHOLD, in_form, matching, placed, time_of
from cepkit.fields import number as finite

UP, RESET = THRESHOLD, -60.0  # an activation crosses UP [mV]; the next one counts after a stay below RESET


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
def action_potentials(V, back, room, fraction, given=np.nan):
    """Action potentials in V (time, N), ``room`` at most of a node: (N, room, 5), in frames, NaN where there is none.

    Upward crossing of UP, crossings of the level at ``fraction`` (or ``given`` [mV]) before and after, rest (the lowest
    of ``back`` frames before) and peak.
    """
    frames, nodes = V.shape
    out = np.full((nodes, room, 5), np.nan)
    for n in range(nodes):
        v, ready, count = np.ascontiguousarray(V[:, n]), False, 0
        for k in range(frames - 1):
            if v[k] < RESET:
                ready = True
            if ready and count < room and v[k] < UP and v[k + 1] >= UP:
                # The action potential ends before the next one: a premature beat is often followed by a taller one.
                one, end = out[n, count], k + 1
                while end < frames and v[end] >= RESET:
                    end += 1
                top = k + v[k:end].argmax()
                one[3], one[4] = v[max(0, k - back) : k + 1].min(), v[top]
                level = v[top] - fraction * (v[top] - one[3]) if np.isnan(given) else given
                one[0] = k + (UP - v[k]) / (v[k + 1] - v[k])
                one[1], one[2] = span(v, k, top, end, level)
                ready, count = False, count + 1
    return out


@njit(cache=True, nogil=True)
def find(Vm, Cai, interval, room):
    """Activations of every node in Vm [mV] and Cai [mM] (time, N), ``interval`` ms apart; ``room`` of each at most.

    (N, room, 4), NaN where there is none: time, APD90 [ms], largest Cai within 250 ms, Cai at the activation [mM].
    """
    frames, nodes = Vm.shape
    out, reach = np.full((nodes, room, 4), np.nan), round(250 / interval)
    spans = action_potentials(Vm, 10, room, 0.9)
    for n in range(nodes):
        for j in range(room):
            if np.isnan(spans[n, j, 0]):
                break
            k = int(np.ceil(spans[n, j, 0])) - 1
            out[n, j, 0], out[n, j, 1] = spans[n, j, 0] * interval, (spans[n, j, 2] - spans[n, j, 1]) * interval
            if k + reach < frames:
                out[n, j, 2] = Cai[k : k + reach, n].max()
            out[n, j, 3] = Cai[k, n]
    return out


def rises(values):
    """The most upward crossings of UP in any column of ``values`` (time, ...)."""
    return int(((values[:-1] < UP) & (values[1:] >= UP)).sum(0).max(initial=0))


def _frames(field, argument):
    """A field in form, its values with time first (contiguous, double precision), and its times [ms]."""
    if isinstance(field, xr.Dataset):
        raise ValueError(f"{argument} is a Dataset; hand over one variable of it, such as run.Vm")
    field = in_form(field, argument, time=True)
    field = field.transpose(time_of(field), ...)
    return field, np.ascontiguousarray(field.values, float), field[field.dims[0]].values


def _like(field, values, name, units, text, more=()):
    """``values`` on the grid of a field (time, ...), with ``more`` dims in front."""
    grid = field.dims[1:]
    coords = {d: field[d] for d in grid if d in field.coords}
    return xr.DataArray(values, coords, (*more, *grid), name, {"units": units, "long_name": text})


def activation_time(Vm, level=THRESHOLD):
    """First upward crossing of ``level`` [mV] at each node of (time, ...): [ms], NaN where there is none."""
    Vm, values, time = _frames(Vm, "Vm")
    above = values > level
    crossed = ~above[:-1] & above[1:]
    k = crossed.argmax(axis=0)
    low, high = (np.take_along_axis(values, j[None], 0)[0] for j in (k, k + 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        when = time[k] + (level - low) / (high - low) * (time[k + 1] - time[k])
    return _like(Vm, np.where(crossed.any(axis=0), when, np.nan), "activation_time", "ms", "activation time")


def activation_map(trajectory, start=None, end=np.inf):
    """First activation of each node in [start, end) of a trajectory: [ms] after ``start``, NaN where there is none.

    As the solver noted it: finer than the frames.  ``start`` is the first frame by default.
    """
    trajectory = in_form(trajectory, "trajectory", time=True)
    if trajectory.get("activation_time", trajectory.time[0]).ndim != 1 or "tissue" not in trajectory.attrs:
        way = "hand over what simulate() returned, or use activation_time(Vm), which reads frames"
        raise ValueError(f"trajectory lacks the activations of one run, or its attributes; {way}")
    first, last = trajectory.time.values[[0, -1]].tolist()
    if first < 0 or last > trajectory.attrs.get("final_time", np.inf):
        raise ValueError(f"trajectory: {first:g} to {last:g} ms are no times of its run; do not shift its time alone")
    start = first if start is None else start
    when, node = trajectory["activation_time"].values, trajectory["activation_node"].values
    inside = (when >= max(start, first)) & (when < end) & (when <= last)
    tissue = json.loads(trajectory.attrs["tissue"])
    found = np.full(np.prod(tissue["shape"]), np.nan)
    # Activations stand in the order of time: written backwards, the first of each node stays.
    found[node[inside][::-1]] = when[inside][::-1] - start
    dims = SPACE[-len(tissue["shape"]) :]
    places = zip(dims, tissue["shape"], tissue["spacing"], strict=True)
    part = {d: matching(np.arange(n) * h, trajectory[d], 1e-3, f"trajectory: {d}") for d, n, h in places}
    values = xr.DataArray(found.reshape(tissue["shape"]), dims=dims).isel(part).values
    return _like(trajectory[next(iter(trajectory.data_vars))], values, "activation_time", "ms", "activation time")


def beats(trajectory, fraction=0.9):
    """What every beat of every node is like, in a trajectory or a forecast: dims ``(beat, *grid)``, NaN if cut off.

    Of Vm [mV], a DataArray or in a Dataset: ``activation`` (of -40 mV), ``repolarisation``, ``APD`` between crossings
    of the level at ``fraction`` of the repolarisation (0.9: APD90), ``DI`` before it, ``alternans``, the change of APD
    [ms]; ``rest``, ``peak`` [mV].  Of Cai, where there is any: ``diastolic``, ``systolic`` [mM], ``time_to_peak``,
    ``decay`` until 1/e of the transient is left [ms].
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction!r} must lie between 0 and 1; 0.9 gives APD90")
    whole = trajectory.to_dataset(name="Vm") if isinstance(trajectory, xr.DataArray) else trajectory
    if "Vm" not in getattr(whole, "data_vars", ()):
        raise ValueError(f"trajectory must hold Vm as an xarray object, and is a {type(trajectory).__name__}")
    Vm, values, time = _frames(whole["Vm"], "trajectory")
    columns, number = values.reshape(len(time), -1), np.arange(len(time))
    back = max(1, round(10 / np.median(np.diff(time)))) if len(time) > 1 else 1  # frames in 10 ms
    spans = action_potentials(columns, back, max(1, rises(columns)), fraction)
    spans = spans[:, : max(1, int((~np.isnan(spans[..., 0])).sum(1).max(initial=0)))]
    up, began, ended = (np.where(np.isnan(f), f, np.interp(f, number, time)) for f in np.moveaxis(spans, -1, 0)[:3])
    APD, first = ended - began, np.full((len(up), 1), np.nan)
    found = {
        "activation": (up, "ms", "activation time"), "repolarisation": (ended, "ms", "repolarisation time"),
        "APD": (APD, "ms", f"APD{round(100 * fraction)}"),
        "DI": (np.hstack([first, began[:, 1:] - ended[:, :-1]]), "ms", "diastolic interval before"),
        "alternans": (np.hstack([first, np.diff(APD)]), "ms", "change of APD from the beat before"),
        "rest": (spans[..., 3], "mV", "resting potential"), "peak": (spans[..., 4], "mV", "peak potential"),
    }  # fmt: skip
    if "Cai" in whole:
        calcium = _frames(whole["Cai"].transpose(*whole["Vm"].dims), "trajectory")[1]
        out = _transients(calcium.reshape(len(time), -1), time, spans[..., 0])
        units = {"diastolic": "mM", "systolic": "mM", "time_to_peak": "ms", "decay": "ms"}
        found |= {n: (out[k], unit, f"{n.replace('_', ' ')} of calcium") for k, (n, unit) in enumerate(units.items())}
    shape = (-1, *values.shape[1:])
    return xr.Dataset({n: _like(Vm, v.T.reshape(shape), n, *text, ("beat",)) for n, (v, *text) in found.items()})


@njit(cache=True, nogil=True)
def _transients(Cai, time, onsets):
    """The calcium transient of each beat, (4, N, beats): see :func:`beats`; ``onsets`` (N, beats) are in frames."""
    out = np.full((4, *onsets.shape), np.nan)
    for n in range(onsets.shape[0]):
        for j in range(onsets.shape[1]):
            if np.isnan(onsets[n, j]):
                break
            last = j + 1 == onsets.shape[1] or np.isnan(onsets[n, j + 1])
            k, end = int(onsets[n, j]), len(time) if last else int(onsets[n, j + 1]) + 1
            top = k + Cai[k:end, n].argmax()
            if last and top == end - 1:
                break  # the trace ends before calcium falls
            out[0, n, j], out[1, n, j], out[2, n, j] = Cai[k, n], Cai[top, n], time[top] - time[k]
            level = Cai[k, n] + (Cai[top, n] - Cai[k, n]) / np.e
            for i in range(top + 1, end):
                if Cai[i, n] <= level:
                    share = (Cai[i - 1, n] - level) / (Cai[i - 1, n] - Cai[i, n])
                    out[3, n, j] = time[i - 1] + share * (time[i] - time[i - 1]) - time[top]
                    break
    return out


def action_potential(Vm, fraction=0.9):
    """The one action potential in Vm (time, ...) at each node: :func:`beats` without the dim ``beat``.

    And ``max_upstroke`` [mV/ms], NaN if frames over 0.02 ms apart hide it.  What begins before the trace has no times;
    where nothing fires, ``rest`` is the first potential, ``peak`` the highest.  A ValueError if a node has two.
    """
    found, (Vm, values, time) = beats(Vm, fraction), _frames(Vm, "Vm")
    if found.sizes["beat"] > 1:
        way = "measure.beats measures each of them, measure.beat cuts one out"
        raise ValueError(f"Vm holds {found.sizes['beat']} action potentials at a node, and one is asked for; {way}")
    found, begun, steps = found.isel(beat=0), values[0] > UP, np.diff(time)
    rates = np.diff(values, axis=0) / steps.reshape(-1, *[1] * (values.ndim - 1))
    rise = rates.max(0) if len(steps) and steps.max() < 0.0201 else np.full(values[0].shape, np.nan)
    found["max_upstroke"] = _like(Vm, rise, "max_upstroke", "mV/ms", "fastest upstroke")
    found = found.assign({name: found[name].where(~begun) for name in ("activation", "repolarisation", "APD")})
    rest = found.rest.fillna(values[0]).where(~begun, values[0])
    return found.assign(rest=rest, peak=found.peak.fillna(values.max(0)))


def beat(trajectory, number, cycle_length=CYCLE_LENGTH):
    """Frames of one beat of a paced trajectory, from its stimulus to the next; ``number`` counts from 1."""
    start, trajectory = (number - 1) * cycle_length, in_form(trajectory, "trajectory", time=True)
    there = max(1, round(float(trajectory.time[-1]) / finite("cycle_length", cycle_length, "ms", positive=True)))
    if not 1 <= number <= there:
        raise ValueError(f"number={number!r} must be 1 to {there}, the beats of {cycle_length:g} ms that there are")
    return trajectory.sel(time=slice(start - 1e-6, start + cycle_length + 1e-6))


def conduction_velocity(Vm, start, end, level=THRESHOLD):
    """Mean speed of the front between two places [m/s], ``{"y": 5, "x": 2}`` [mm]; negative if ``end`` is first."""
    when = activation_time(Vm, level)
    places = [(when[d], place[d]) for place in (start, end) for d in place if d in when.dims]
    inside = all(axis.min() - 1 <= x <= axis.max() + 1 for axis, x in places)
    if not set(start) == set(end) == set(when.dims) or not inside:
        raise ValueError(f"start={start!r}, end={end!r}: give positions [mm] on the tissue, along {when.dims}")
    a, b = when.sel(start, method="nearest"), when.sel(end, method="nearest")
    distance = np.sqrt(sum(float(b[d] - a[d]) ** 2 for d in start))
    return distance / float(b - a)


def phase(Vm, delay=5, centre=-60.0):
    """Phase [rad] in (-pi, pi] of each node in its cycle, for the frames that have one ``delay`` frames before them.

    The angle of (V(t - delay) - centre, V(t) - centre), as by Gray, Pertsov and Jalife 1998, doi:10.1038/32164.
    """
    Vm = in_form(Vm, "Vm", time=True)
    axis = time_of(Vm)
    if not 0 < finite("delay", delay) < Vm.sizes[axis] or delay != int(delay):
        raise ValueError(f"delay={delay!r} must be 1 or more frames, and fewer than the {Vm.sizes[axis]} of Vm")
    now, earlier = Vm.isel({axis: slice(delay, None)}), Vm.isel({axis: slice(None, -delay)}).values
    angle = now.copy(data=np.arctan2(now.values - centre, earlier - centre)).rename("phase")
    return angle.assign_attrs(units="rad", long_name="phase")


def phase_singularities(angle):
    """How the phase [rad] winds around each square of four nodes: the topological charge -1, 0 or +1 at its centre.

    It is positive where phase grows counter-clockwise (x towards y).
    """
    if min(angle.sizes.get("y", 0), angle.sizes.get("x", 0)) < 2:
        raise ValueError(f"angle has the dims {dict(angle.sizes)}; a singularity needs two nodes or more along y and x")
    angle = placed(angle, "angle").transpose(..., "y", "x")
    p = angle.values
    corners = [p[..., :-1, :-1], p[..., :-1, 1:], p[..., 1:, 1:], p[..., 1:, :-1]]
    turn = 0.0
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        turn = turn + (b - a + np.pi) % (2 * np.pi) - np.pi
    charge = np.rint(np.nan_to_num(turn / (2 * np.pi))).astype(int)  # 0 beside a node without a phase
    dims = [d for d in angle.dims if d not in ("y", "x")]
    coords = {d: angle[d] for d in dims} | {d: (angle[d].values[1:] + angle[d].values[:-1]) / 2 for d in ("y", "x")}
    return xr.DataArray(charge, coords, (*dims, "y", "x"), "charge", {"long_name": "topological charge"})


def tips(Vm, delay=5, centre=-60.0):
    """Tips of spiral waves, from the singularities of the :func:`phase`: ``time``, ``y``, ``x``, ``charge`` of each."""
    charge = phase_singularities(phase(Vm, delay, centre))
    found = charge.rename("charge").stack(tip=charge.dims)
    return found[found.values != 0].reset_index("tip").reset_coords()


def local_velocity(when):
    """Speed of the front at each node [mm/ms] = [m/s], from an activation map [ms]: one over its gradient."""
    when = placed(when, "when")
    axes = [d for d in SPACE if when.sizes.get(d, 1) > 1]
    if not axes:
        raise ValueError("when holds one node; a velocity needs two or more")
    squared = sum(when.differentiate(d) ** 2 for d in axes)
    speed = (1 / np.sqrt(squared)).rename("velocity")
    return speed.where(np.isfinite(speed)).assign_attrs(units="m/s", long_name="local conduction velocity")


def pseudo_ecg(Vm, electrode):
    """The potential that Vm (time, ...) makes at an ``electrode`` (z, y, x) [mm] in a large bath, up to a factor.

    The integral of ``-grad Vm . grad(1/r)``, as by Gima and Rudy 2002, doi:10.1161/01.RES.0000016960.61087.86.
    """
    Vm = placed(Vm, "Vm")
    axes = [d for d in SPACE if Vm.sizes.get(d, 1) > 1]
    if np.shape(electrode) != (3,) or not axes:
        raise ValueError(f"electrode={electrode!r} must be (z, y, x) [mm], and Vm must have two nodes or more")
    away = {d: Vm.coords.get(d, xr.DataArray(0.0)) - place for d, place in zip(SPACE, electrode, strict=True)}
    distance = np.sqrt(sum(a**2 for a in away.values()))
    if float(distance.min()) == 0:
        raise ValueError(f"electrode={electrode!r} touches a node, where its potential has no bound; move it off")
    field = sum(Vm.differentiate(d) * away[d] / distance**3 for d in axes)  # -grad(1/r) = away / r^3
    for d in axes:
        field = field.integrate(d)
    field = field.squeeze([d for d in SPACE if d in field.dims], drop=True)
    return field.rename("phi").assign_attrs(units="1", long_name="pseudo-ECG, up to a factor")
