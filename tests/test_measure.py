"""Measurements on signals whose answers are known."""

import numpy as np
import pytest
import xarray as xr

from cepkit import measure


def pulse(onset, length, rest=-80.0, peak=20.0):
    """Trapezoids of known timing: up in 1 ms, down in 100 ms."""
    time = np.arange(0.0, 500.0)
    onset, length = np.asarray(onset, float), np.asarray(length, float)
    t = time.reshape(-1, *[1] * onset.ndim) - onset
    up = np.clip(t, 0, 1)
    down = np.clip((t - length) / 100, 0, 1)
    dims = ("time", "y", "x")[: 1 + onset.ndim]
    coords = {"time": time} | {d: np.arange(n) * 2.0 for d, n in zip(dims[1:], onset.shape, strict=True)}
    return xr.DataArray(rest + (peak - rest) * (up - down), dims=dims, coords=coords)


def test_action_potential_of_a_trapezoid():
    onset = np.array([[10.0, 20.0], [30.0, 45.5]])
    ap = measure.action_potential(pulse(onset, 200.0), fraction=0.9)
    # Level -70: reached 0.1 ms into the upstroke and 90 ms into the fall; an onset between two
    # frames hides the true upstroke, so that the interpolated one is up to 0.4 ms off.
    assert np.allclose(ap.APD, 290 - 0.1, atol=0.41)
    assert np.allclose(ap.APD[0], 290 - 0.1, atol=1e-3)
    assert np.allclose(ap.rest, -80) and np.allclose(ap.peak, 20)
    assert np.allclose(ap.activation, onset + 0.1, atol=0.5)


def test_nodes_that_never_fire_are_nan():
    Vm = pulse(np.array([10.0, 20.0]), 200.0)
    Vm[:, 1] = -80.0
    when = measure.activation_time(Vm)
    assert when[0] == pytest.approx(10.4) and np.isnan(when[1])
    assert np.isnan(measure.action_potential(Vm).APD[1])


def test_conduction_velocity_of_a_travelling_pulse():
    Vm = pulse(10.0 + 4.0 * np.arange(6), 200.0).rename({"y": "x"})
    assert measure.conduction_velocity(Vm, {"x": 2.0}, {"x": 8.0}) == pytest.approx(0.5)
    assert measure.conduction_velocity(Vm, {"x": 8.0}, {"x": 2.0}) == pytest.approx(-0.5)


def test_beats_are_counted_from_one():
    trace = xr.DataArray(np.arange(1501.0), dims="time", coords={"time": np.arange(1501.0)})
    second = measure.beat(trace, 2)
    assert second.time.values[[0, -1]].tolist() == [500.0, 1000.0]
