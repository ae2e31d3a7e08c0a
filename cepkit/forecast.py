"""Algorithm 2, online simulation; cutting histories out of a trajectory; and the clock."""

import time

import numpy as np
import torch
import xarray as xr

from cepkit.fields import in_form, matching


def free_run(step, x_0, h_0, steps):
    """Algorithm 2: feed a network with its own output.

    ``step`` is one step of Equation 5, ``x, h = step(x, h)``; ``h_0`` is the hidden state, None for zero; ``steps``
    is N_q.  Returned is X_s = [x_1, ..., x_Nq].
    """
    x_in, h, X_s = x_0, h_0, []
    for _ in range(steps):
        x, h = step(x_in, h)
        X_s.append(x)
        x_in = x
    return X_s


def draw_starts(trajectory, count=20, warmup=500, steps=500, seed=0):
    """Times [ms], ascending, with room for ``warmup`` frames of history, their own included, and ``steps`` of truth."""
    first, last = warmup - 1, trajectory.sizes["time"] - steps - 1
    if last - first + 1 < count:
        needed = f"warmup={warmup} and steps={steps} need {warmup + steps + count - 1} or more"
        raise ValueError(f"trajectory has {trajectory.sizes['time']} frames; {count} starts with {needed}")
    at = np.random.default_rng(seed).choice(np.arange(first, last + 1), count, replace=False)
    return trajectory.time.values[np.sort(at)]


def histories(trajectory, starts, warmup):
    """What a model is given: the last ``warmup`` frames, dims (start, time, y, x), up to time 0, the start's own."""
    trajectory, step = _even(trajectory)
    return _cut(trajectory, starts, step * np.arange(1 - warmup, 1), "time", f"warmup={warmup} frames before")


def futures(trajectory, starts, steps):
    """What it will be judged by: the ``steps`` frames after each start, dims (start, lead_time, y, x)."""
    trajectory, step = _even(trajectory)
    return _cut(trajectory, starts, step * np.arange(1, steps + 1), "lead_time", f"steps={steps} frames after")


def at_times(trajectory, starts, lead_times):
    """Like :func:`futures`, at any ``lead_times`` [ms] for which the trajectory has frames."""
    return _cut(in_form(trajectory, "trajectory", time=True), starts, lead_times, "lead_time", "lead times after")


def _even(trajectory):
    """A trajectory in form, and the time between its frames [ms]."""
    trajectory = in_form(trajectory, "trajectory", time=True)
    steps = np.diff(trajectory.time.values)
    if not len(steps) or not np.allclose(steps, steps[0]):
        raise ValueError("trajectory: its frames must be evenly spaced, two or more; resample it first")
    return trajectory, steps[0]


def _cut(trajectory, starts, offsets, dim, what):
    starts, offsets = np.atleast_1d(np.asarray(starts, float)), np.asarray(offsets, float)
    if not starts.size or not np.isfinite(starts).all() or not offsets.size:
        raise ValueError(f"starts={starts} with {what} them must be one time [ms] or more, and one frame or more")
    times = trajectory.time.values
    tolerance = 1e-3 * np.diff(times).min(initial=1.0)
    matching(times, starts, tolerance, f"starts={starts} must be times of frames: trajectory")
    outside = f"starts={starts} with {what} them reach outside; take fewer frames or other starts: trajectory"
    frames = matching(times, starts[:, None] + offsets, tolerance, outside)
    fields = trajectory[list(trajectory.data_vars)]  # without coordinates that are of no frame
    fields = fields.drop_vars([c for c in fields.coords if c not in fields.indexes])
    # A stored trajectory reads much faster by ranges than by a scattered index, and once where ranges overlap.
    first, last = int(frames.min()), int(frames.max())
    if last - first < frames.size:
        fields, frames = fields.isel(time=slice(first, last + 1)).load(), frames - first
    cuts = [fields.isel(time=slice(row[0], row[-1] + 1)).load().isel(time=row - row[0]) for row in frames]
    cuts = [cut.assign_coords(time=offsets).rename(time=dim) for cut in cuts]
    return xr.concat(cuts, xr.DataArray(starts, dims="start", name="start", attrs={"units": "ms"}))


def forecast(model, trajectory, starts, warmup=500, steps=500):
    """Forecasts of one model, dims (start, lead_time, y, x), from times of a trajectory [ms]; see :func:`histories`."""
    return model.rollout(histories(trajectory, starts, warmup), steps)


def clock(model, history, steps, repeats=5, stimulus=None, warmups=1):
    """Time of a rollout [ms]: ``median``, ``fastest``, ``slowest`` of some ``repeats``, after uncounted ``warmups``."""
    times, wait = [], torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    for _ in range(repeats + warmups):
        wait()
        began = time.perf_counter()
        model.rollout(history, steps, stimulus=stimulus)
        wait()
        times.append(1000 * (time.perf_counter() - began))
    times, threads = times[warmups:], torch.get_num_threads()
    return {"median": float(np.median(times)), "fastest": min(times), "slowest": max(times), "threads": threads}
