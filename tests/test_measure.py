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


def test_calcium_transient():
    time = np.arange(0.0, 500.0)
    Cai = xr.DataArray(1e-4 + 9e-4 * np.exp(-(((time - 140) / 30) ** 2)), dims="time", coords={"time": time})
    Vm = xr.DataArray(np.where((time > 5) & (time < 250), 20.0, -80.0), Cai.coords)
    transient = measure.beats(xr.Dataset({"Vm": Vm, "Cai": Cai})).isel(beat=0)
    assert float(transient.systolic) == pytest.approx(1e-3)
    assert float(transient.diastolic) == pytest.approx(1e-4, rel=1e-6)
    assert float(transient.time_to_peak) == 135
    assert float(transient.decay) == pytest.approx(30, abs=0.3)  # of exp(-(t / 30)^2)


@pytest.mark.parametrize("charge", [1, -1])
def test_a_phase_singularity_is_found_where_it_was_put(charge):
    y, x = np.arange(20) * 0.5, np.arange(30) * 0.5
    angle = np.arctan2(charge * (y[:, None] - 4.3), x[None] - 9.1)
    found = measure.phase_singularities(xr.DataArray(angle, dims=("y", "x"), coords={"y": y, "x": x}))
    (k,) = np.argwhere(found.values)
    assert found.values[tuple(k)] == charge
    assert abs(float(found.y[k[0]]) - 4.3) <= 0.25 and abs(float(found.x[k[1]]) - 9.1) <= 0.25


def test_a_plane_wave_has_no_singularity():
    x = np.arange(30) * 0.5
    angle = np.broadcast_to((x * 1.3 + np.pi) % (2 * np.pi) - np.pi, (12, 30))
    field = xr.DataArray(angle, dims=("y", "x"), coords={"y": np.arange(12.0), "x": x})
    assert not measure.phase_singularities(field).values.any()


def test_phase_turns_once_a_cycle():
    time = np.arange(0.0, 1000.0)
    Vm = xr.DataArray(-60 + 40 * np.sin(2 * np.pi * time / 100)[:, None], dims=("time", "x"),
                      coords={"time": time})  # fmt: skip
    turns = np.unwrap(measure.phase(Vm, delay=25).values[:, 0])
    assert abs(turns[-1] - turns[0]) == pytest.approx(2 * np.pi * 974 / 100, rel=0.01)


def test_restitution_of_the_cell():
    """Premature beats are shorter, the shortest coupling is not captured."""
    curve = measure.restitution(1000.0, 3, [260.0, 340.0, 400.0, 600.0, 1000.0], dt=0.02)
    assert np.isnan(curve.APD[0])
    assert np.all(np.diff(curve.APD[1:]) > 0)
    assert np.allclose(np.diff(curve.DI), np.diff(curve.interval))
