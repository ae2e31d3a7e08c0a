"""What an electrophysiologist reads off a trajectory: activation, repolarisation, APD, velocity.

Times are interpolated between frames.  Everything is vectorised over the grid; nodes that never
activate get NaN.
"""

import numpy as np
import xarray as xr

from cepkit.pacing import Protocol, Stimulus, periodic
from cepkit.region import everywhere
from cepkit.tissue import Tissue


def _first_crossing(values, time, level, rising):
    """First time at which ``values`` (time, ...) crosses ``level`` (...): linear interpolation."""
    above = values > level
    crossed = (~above[:-1] & above[1:]) if rising else (above[:-1] & ~above[1:])
    k = crossed.argmax(axis=0)
    low = np.take_along_axis(values, k[None], 0)[0]
    high = np.take_along_axis(values, k[None] + 1, 0)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        when = time[k] + (level - low) / (high - low) * (time[k + 1] - time[k])
    return np.where(crossed.any(axis=0), when, np.nan)


def _like(Vm, values, name, units, text):
    grid = [d for d in Vm.dims if d != "time"]
    coords = {d: Vm[d] for d in grid if d in Vm.coords}
    return xr.DataArray(values, dims=grid, coords=coords, name=name, attrs={"units": units, "long_name": text})


def activation_time(Vm, level=-40.0):
    """First upward crossing of ``level`` [mV] at each node.

    Parameters
    ----------
    Vm : xr.DataArray
        Membrane potential, dims (time, ...).

    Returns
    -------
    xr.DataArray
        [ms]; NaN where the node is not activated.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> ramp = xr.DataArray(np.linspace(-80, 20, 11)[:, None], dims=("time", "x"),
    ...                     coords={"time": np.arange(11.0)})
    >>> activation_time(ramp, level=-45).values
    array([3.5])
    """
    when = _first_crossing(Vm.transpose("time", ...).values, Vm["time"].values, level, rising=True)
    return _like(Vm, when, "activation_time", "ms", "activation time")


def activation_map(trajectory, start=0.0, end=np.inf):
    """First activation of each node in [start, end), as the solver noted it inside its time loop.

    Finer than the frames: the crossing of -40 mV is interpolated within one time step.

    Parameters
    ----------
    trajectory : xr.Dataset
        As :func:`cepkit.simulate` returns it.
    start, end : float
        [ms]

    Returns
    -------
    xr.DataArray
        [ms] after ``start``; NaN where the node was not activated.

    Examples
    --------
    >>> sheet = cep.Tissue((4, 4), spacing=0.4)
    >>> protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(sheet, fraction=0.5))
    >>> when = cep.measure.activation_map(cep.simulate(sheet, protocol, 20.0, progress=False))
    >>> bool(when[-1, -1] < when[0, 0])  # the far corner comes last
    True
    """
    when, node = trajectory["activation_time"].values, trajectory["activation_node"].values
    inside = (when >= start) & (when < end)
    Vm = trajectory["Vm"].isel(time=0, drop=True)
    first = np.full(Vm.size, np.nan)
    # Activations stand in the order of time: written backwards, the first of each node stays.
    first[node[inside][::-1]] = when[inside][::-1] - start
    return _like(Vm, first.reshape(Vm.shape), "activation_time", "ms", "activation time")


def action_potential(Vm, fraction=0.9):
    """The action potential of one beat at each node.

    Parameters
    ----------
    Vm : xr.DataArray
        One beat, starting at rest before the upstroke; dims (time, ...).
    fraction : float
        Part of the repolarisation that ends the action potential: 0.9 gives APD90.

    Returns
    -------
    xr.Dataset
        ``rest``, ``peak`` [mV], ``max_upstroke`` [mV/ms], ``activation``, ``repolarisation`` and
        ``APD`` [ms].  The APD runs from the upward to the downward crossing of the level at
        ``fraction`` repolarisation.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> ap = cep.measure.action_potential(trajectory.Vm.sel(time=slice(38, 85)))
    >>> round(float(ap.APD[0, 0]), 1), float(ap.peak[0, 0])
    (28.5, 35.0)
    """
    values, time = Vm.transpose("time", ...).values.astype(float), Vm["time"].values
    rest, peak = values[0], values.max(axis=0)
    level = peak - fraction * (peak - rest)
    up = _first_crossing(values, time, level, rising=True)
    after_peak = np.arange(len(time)).reshape(-1, *[1] * rest.ndim) >= values.argmax(axis=0)
    down = _first_crossing(np.where(after_peak, values, np.inf), time, level, rising=False)
    steps = np.diff(time).reshape(-1, *[1] * rest.ndim)
    parts = {
        "rest": (rest, "mV", "resting potential"),
        "peak": (peak, "mV", "peak potential"),
        "max_upstroke": ((np.diff(values, axis=0) / steps).max(axis=0), "mV/ms", "fastest upstroke"),
        "activation": (up, "ms", "activation time"),
        "repolarisation": (down, "ms", "repolarisation time"),
        "APD": (down - up, "ms", f"APD{round(100 * fraction)}"),
    }
    return xr.Dataset({name: _like(Vm, *[v[0], name, *v[1:]]) for name, v in parts.items()})


def beat(trajectory, number, cycle_length=500.0):
    """Frames of one beat of a periodically paced trajectory; ``number`` counts from 1.

    The beat starts with the frame at its stimulus and ends with the frame at the next.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> cep.measure.beat(trajectory, number=2, cycle_length=50.0).time.values[[0, -1]].tolist()
    [50.0, 100.0]
    """
    start = (number - 1) * cycle_length
    return trajectory.sel(time=slice(start - 1e-6, start + cycle_length + 1e-6))


def conduction_velocity(Vm, start, end, level=-40.0):
    """Mean speed of the front between two nodes.

    Parameters
    ----------
    Vm : xr.DataArray
        One beat, dims (time, ...).
    start, end : dict
        Positions [mm] by axis, for example ``{"y": 5, "x": 2}``; the nearest nodes are taken.

    Returns
    -------
    float
        [m/s] = [mm/ms]; negative if ``end`` is activated first.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> first = trajectory.Vm.sel(time=slice(38, 85))
    >>> round(float(cep.measure.conduction_velocity(first, {"y": 0.0, "x": 0.0}, {"y": 0.0, "x": 1.5})), 2)  # m/s
    1.0
    """
    when = activation_time(Vm, level)
    a, b = when.sel(start, method="nearest"), when.sel(end, method="nearest")
    distance = np.sqrt(sum(float(b[d] - a[d]) ** 2 for d in start))
    return distance / float(b - a)


def calcium_transient(Cai):
    """The calcium transient of one beat at each node.

    Parameters
    ----------
    Cai : xr.DataArray
        One beat of cytosolic calcium [mM], dims (time, ...).

    Returns
    -------
    xr.Dataset
        ``diastolic``, ``systolic``, ``amplitude`` [mM] and ``time_to_peak`` [ms] from the first frame.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> calcium = cep.measure.calcium_transient(trajectory.Cai.sel(time=slice(40, 89)))
    >>> float(calcium.amplitude[0, 0]), float(calcium.time_to_peak[0, 0])
    (0.001, 2.0)
    """
    values, time = Cai.transpose("time", ...).values.astype(float), Cai["time"].values
    low, high = values.min(axis=0), values.max(axis=0)
    parts = {
        "diastolic": (low, "mM", "diastolic calcium"),
        "systolic": (high, "mM", "systolic calcium"),
        "amplitude": (high - low, "mM", "amplitude of the calcium transient"),
        "time_to_peak": (time[values.argmax(axis=0)] - time[0], "ms", "time to peak calcium"),
    }
    return xr.Dataset({name: _like(Cai, v[0], name, *v[1:]) for name, v in parts.items()})


def phase(Vm, delay=5, centre=-60.0):
    """Phase of each node in its cycle, from the potential and the potential ``delay`` frames earlier.

    The pair (V(t - delay) - centre, V(t) - centre) circles the origin once a beat; its angle is the
    phase (Gray, Pertsov and Jalife 1998, doi:10.1038/32164).

    Returns
    -------
    xr.DataArray
        [rad] in (-pi, pi], for the frames that have one ``delay`` frames before them.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> angle = cep.measure.phase(trajectory.Vm, delay=5)
    >>> angle.sizes["time"], bool(abs(angle).max() <= np.pi)
    (145, True)
    """
    earlier = Vm.isel(time=slice(None, -delay)).values - centre
    now = Vm.isel(time=slice(delay, None))
    angle = now.copy(data=np.arctan2(now.values - centre, earlier)).rename("phase")
    return angle.assign_attrs(units="rad", long_name="phase")


def phase_singularities(angle):
    """Where the phase winds around a point: the tips of spiral waves.

    Parameters
    ----------
    angle : xr.DataArray
        Phase [rad], dims (..., y, x).

    Returns
    -------
    xr.DataArray
        Topological charge (-1, 0 or +1) of each square of four neighbouring nodes, at its centre:
        positive where the phase grows counter-clockwise (from x towards y).

    Examples
    --------
    >>> y, x = np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij")
    >>> axes = {"y": np.arange(4.0), "x": np.arange(4.0)}
    >>> angle = xr.DataArray(np.arctan2(y - 1.5, x - 1.5), axes, ("y", "x"))
    >>> charge = cep.measure.phase_singularities(angle)
    >>> int(charge.sum()), float(charge.where(charge != 0, drop=True).y[0])
    (1, 1.5)
    """
    p = angle.transpose(..., "y", "x").values
    corners = [p[..., :-1, :-1], p[..., :-1, 1:], p[..., 1:, 1:], p[..., 1:, :-1]]
    turn = 0.0
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        turn = turn + (b - a + np.pi) % (2 * np.pi) - np.pi
    middle = {d: (angle[d].values[1:] + angle[d].values[:-1]) / 2 for d in ("y", "x")}
    dims = [d for d in angle.dims if d not in ("y", "x")]
    coords = {d: angle[d] for d in dims} | middle
    return xr.DataArray(
        np.rint(turn / (2 * np.pi)).astype(int), dims=(*dims, "y", "x"), coords=coords,
        name="charge", attrs={"long_name": "topological charge"},
    )  # fmt: skip


def restitution(s1, beats, intervals, fraction=0.9, **cell):
    """S1-S2 restitution of the single cell: APD of a premature beat against the rest before it.

    All intervals run at once, as a row of cells that are not coupled.

    Parameters
    ----------
    s1 : float
        Cycle length of the train [ms].
    beats : int
        Beats of the train.
    intervals : sequence of float
        Coupling intervals of the premature stimulus [ms].
    **cell
        Arguments of :func:`cepkit.simulate`, for example ``cell_type`` or ``parameters``.

    Returns
    -------
    xr.Dataset
        Over ``interval``: ``APD`` of the premature beat, ``DI`` the diastolic interval before it
        [ms]; NaN where the cell was not captured.

    Examples
    --------
    >>> curve = cep.measure.restitution(s1=500.0, beats=2, intervals=[250.0, 350.0, 450.0])
    >>> curve.APD.notnull().values.tolist()
    [False, True, True]
    >>> bool(curve.APD[1] < curve.APD[2])
    True
    """
    from cepkit.solver import simulate  # here: the measurements themselves need no compiler

    intervals = np.asarray(intervals, float)
    row = Tissue((len(intervals),), spacing=1.0, diffusivity=0.0)
    each = everywhere(row)
    last = (beats - 1) * s1
    protocol = periodic(s1, beats, each) + Protocol(
        Stimulus(last + interval, each & (each["x"] == k)) for k, interval in enumerate(intervals)
    )
    end = last + np.ceil(intervals.max()) + 600.0
    Vm = simulate(row, protocol, end, progress=False, **cell)["Vm"]
    # The cell whose premature stimulus comes last shows the train undisturbed.
    train = Vm[:, intervals.argmax()].sel(time=slice(last, last + intervals.max()))
    before = action_potential(train, fraction)
    level = float(before.peak - fraction * (before.peak - before.rest))
    APD = np.full(len(intervals), np.nan)
    for k, interval in enumerate(intervals):
        after = Vm[:, k].sel(time=slice(last + interval, None))
        up = _first_crossing(after.values, after.time.values, level, rising=True)
        down = _first_crossing(after.values, after.time.values, level, rising=False)
        if float(after.max()) > 0 and down > up:
            APD[k] = down - up
    DI = intervals - (float(before.repolarisation) - last)
    text = {"units": "ms"}
    return xr.Dataset(
        {"APD": ("interval", APD, text), "DI": ("interval", DI, text)},
        coords={"interval": ("interval", intervals, {**text, "long_name": "coupling interval"})},
    )
