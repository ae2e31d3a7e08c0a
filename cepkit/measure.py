"""What an electrophysiologist reads off a trajectory: activation, repolarisation, APD, velocity.

Times are interpolated between frames.  Everything is vectorised over the grid; nodes that never
activate get NaN.
"""

import numpy as np
import xarray as xr


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
    """
    when = activation_time(Vm, level)
    a, b = when.sel(start, method="nearest"), when.sel(end, method="nearest")
    distance = np.sqrt(sum(float(b[d] - a[d]) ** 2 for d in start))
    return distance / float(b - a)
