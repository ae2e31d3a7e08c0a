"""What users of simulators ask for, each against an answer that is known without it."""

import numpy as np
import pytest
import xarray as xr

import cepkit as cep
from cepkit import measure
from cepkit.cell import STATES

CELL = cep.Tissue((1, 1))
EVERY = cep.region.everywhere(CELL)
MOVING = xr.DataArray(
    np.tanh((np.arange(60.0)[:, None, None] - 9 - 4.0 * np.arange(6)[:, None] - 2.0 * np.arange(7)) / 3) * 60 - 25,
    {"time": np.arange(60.0), "y": np.arange(6.0), "x": np.arange(7.0)}, ("time", "y", "x"),
)  # fmt: skip


@pytest.fixture(scope="module")
def three_beats():
    protocol = cep.Protocol([cep.Stimulus(t, EVERY) for t in (0.0, 400.0, 900.0)])
    return cep.simulate(CELL, protocol, 1500.0, progress=False)


def test_every_beat_is_that_of_its_own_cut(three_beats):
    """Three beats in one trace have the values of three cuts that hold one each."""
    all_of_them = measure.beats(three_beats).isel(y=0, x=0)
    spans = (0, 400), (400, 900), (900, 1500)
    cuts = [measure.action_potential(three_beats.Vm.sel(time=slice(*span))) for span in spans]
    for name in ("APD", "peak", "repolarisation"):
        np.testing.assert_allclose(all_of_them[name], [float(cut[name].squeeze()) for cut in cuts], rtol=1e-6)
    DI = [float(b.activation.squeeze() - a.repolarisation.squeeze()) for a, b in zip(cuts, cuts[1:], strict=False)]
    np.testing.assert_allclose(all_of_them.DI[1:], DI, atol=0.5)  # from -40 mV here, from the level of APD90 there
    np.testing.assert_allclose(all_of_them.alternans[1:], np.diff(all_of_them.APD))
    assert np.all(all_of_them.decay > 20) and np.all(all_of_them.systolic > 3 * all_of_them.diastolic)


def test_what_the_trace_cuts_off_is_nan(three_beats):
    begun = measure.beats(three_beats.sel(time=slice(150, None)))
    np.testing.assert_allclose(begun.APD, measure.beats(three_beats).APD[1:], rtol=1e-6)
    ends = measure.beats(three_beats.sel(time=slice(None, 1000)))
    assert np.isnan(ends.APD[-1]) and np.isnan(ends.decay[-1]) and not np.isnan(ends.APD[:-1]).any()
    plateau = measure.action_potential(three_beats.Vm.sel(time=slice(150, 390)))
    assert np.isnan(plateau.APD) and np.isnan(plateau.activation)
    with pytest.raises(ValueError, match="holds 3 action potentials"):
        measure.action_potential(three_beats.Vm)


def test_forecasts_are_measured_as_trajectories_are(three_beats):
    forecast = cep.forecast.futures(three_beats, [350.0, 850.0], 500)
    found = measure.beats(forecast)
    np.testing.assert_allclose(found.APD[0, :, 0, 0], measure.beats(three_beats).APD[1:, 0, 0], rtol=1e-6)
    assert measure.activation_time(forecast.Vm).dims == ("start", "y", "x")


def test_upstrokes_are_told_by_fine_frames_alone():
    runs = [cep.simulate(CELL, cep.pacing.periodic(500.0, 1, EVERY), 10.0, dt=0.01, save_every=s, progress=False)
            for s in (0.01, 0.02, 1.0)]  # fmt: skip
    fine, coarse, hidden = (float(measure.action_potential(run.Vm).max_upstroke.squeeze()) for run in runs)
    assert fine == pytest.approx(coarse, rel=0.02) and fine > 250 and np.isnan(hidden)


def test_restitution_after_a_long_train():
    few, many = (measure.restitution(500.0, beats, [330.0, 400.0]) for beats in (60, 80))
    assert abs(many.APD - few.APD).max() < 3


def test_restitution_between_frames():
    """No hole where a premature stimulus falls between two frames; the value at 333.33 ms is that of finer frames."""
    curve = measure.restitution(600.0, 4, np.linspace(320, 400, 7))
    assert not np.isnan(curve.APD).any() and np.all(np.diff(curve.APD) > 0)
    fine = measure.restitution(600.0, 4, [333.33], save_every=0.02, dt=0.01)
    assert float(curve.APD[1]) == pytest.approx(float(fine.APD[0]), abs=0.1)
    assert float(curve.APD[1]) == pytest.approx(182.1, abs=0.1)  # as measured by hand


def test_pacing_until_steady_repeats_itself():
    state = measure.steady_state(600.0, tolerance=2e-3)
    assert 20 <= state.attrs["beats"] < 2000 and state.attrs["change"] < 2e-3
    again = cep.final_state(
        cep.simulate(CELL, cep.pacing.periodic(600.0, 10, EVERY), 6000.0, initial=state, progress=False)
    )
    for name in ("Nai", "Ki", "CaSR"):
        assert float(abs(again[name] / state[name] - 1).max()) < 2e-3
    assert set(state.data_vars) == set(STATES)
    with pytest.raises(RuntimeError, match="most=20 beats were not enough"):
        measure.steady_state(600.0, tolerance=1e-9, most=20)


def test_the_threshold_captures_and_a_weaker_one_does_not():
    threshold = measure.capture_threshold(1.0)
    peaks = [
        float(cep.simulate(CELL, cep.Protocol([cep.Stimulus(0.0, EVERY, 1.0, -share * threshold)]), 60.0,
                           progress=False).Vm.max()) for share in (1.001, 0.99)
    ]  # fmt: skip
    assert peaks[0] > 0 > peaks[1]
    with pytest.raises(ValueError, match="not captured by most=5 pA/pF"):
        measure.capture_threshold(1.0, most=5)


def test_a_cell_that_fires_by_itself_has_no_threshold():
    state = {**cep.cell.INITIAL_STATE, "Vm": -50.0}
    with pytest.raises(ValueError, match="fires by itself"):
        measure.capture_threshold(initial=state)
    passive = {"parameters": {"gNa": 0.3, "gCaL": 0.0}}  # no action potential however it is pushed to -40 mV
    threshold = measure.capture_threshold(0.5, most=400.0, **passive)
    pulse = cep.Protocol([cep.Stimulus(0.0, EVERY, 0.5, -threshold)])
    assert float(cep.simulate(CELL, pulse, 60.0, progress=False, **passive).Vm.max()) >= 0


def test_a_train_that_is_not_followed_has_no_restitution():
    with pytest.raises(ValueError, match="s1=220.0 ms"):
        measure.restitution(220.0, 4, [300.0, 400.0])
    with pytest.raises(ValueError, match="beats=2.5 must be a whole number"):
        measure.restitution(500.0, 2.5, [300.0])


def test_one_frame_has_no_beat(three_beats):
    for name, value in measure.beats(three_beats.isel(time=[5])).items():
        assert np.isnan(value).all(), name


def test_calcium_belongs_to_its_own_node():
    sheet = cep.Tissue((3, 4), spacing=0.5)
    run = cep.simulate(sheet, cep.pacing.periodic(500.0, 1, cep.region.corner(sheet, 0.5)), 450.0, progress=False)
    turned = xr.Dataset({"Vm": run.Vm, "Cai": run.Cai.transpose("x", "time", "y")})
    xr.testing.assert_allclose(measure.beats(run).systolic, measure.beats(turned).systolic)


def test_velocity_is_one_of_space_alone():
    maps = [measure.activation_time(Vm) for Vm in (MOVING, MOVING.assign_coords(time=MOVING.time + 30))]
    many = xr.concat(maps, "run")
    np.testing.assert_allclose(measure.local_velocity(many)[0], measure.local_velocity(maps[0]), rtol=1e-9)
    with pytest.raises(ValueError, match="no positions along"):
        measure.local_velocity(maps[0].drop_vars("x"))


def test_short_stimuli_need_the_same_charge():
    """A membrane is a capacitor: far below the chronaxie the charge at threshold is constant."""
    curve = measure.strength_duration([0.1, 0.2, 1.0, 2.0, 4.0])
    charge = curve * curve.duration
    assert float(charge[0]) == pytest.approx(float(charge[1]), rel=0.05)
    assert np.all(np.diff(curve) < 0) and curve.attrs["rheobase"] < float(curve[-1])
    assert 1 < curve.attrs["chronaxie"] < 50


def test_a_threshold_in_tissue_is_higher_for_a_smaller_site():
    cable = cep.Tissue((40,), spacing=0.2)
    sites = [cep.region.box(cable, x=(0, mm)) for mm in (0.4, 2.0)]
    small, large = (measure.capture_threshold(1.0, cable, site, wait=40.0) for site in sites)
    assert small > 1.3 * large > measure.capture_threshold(1.0)


def test_a_diffusivity_for_a_velocity():
    D = measure.diffusivity_for(0.5)
    cable = cep.Tissue((301,), 0.1, D)
    start = cep.Protocol([cep.Stimulus(0.0, cep.region.box(cable, x=(0, 1.0)), 2.0)])
    when = measure.activation_map(cep.simulate(cable, start, 80.0, dt=0.01, progress=False))
    a, b = when.sel(x=[8, 22], method="nearest")
    assert 14 / float(b - a) == pytest.approx(0.5, rel=5e-3)
    with pytest.raises(ValueError, match="velocity=0.01"):
        measure.diffusivity_for(0.01, spacing=1.0)


def test_local_velocity_of_a_plane_and_a_round_wave():
    y, x = np.arange(20) * 0.3, np.arange(25) * 0.5
    plane = xr.DataArray(5 + (0.6 * y[:, None] + 0.8 * x) / 0.7, {"y": y, "x": x}, ("y", "x"))
    np.testing.assert_allclose(measure.local_velocity(plane), 0.7, rtol=1e-9)
    round_wave = np.hypot(y[:, None] - 2, x - 5) / 0.4
    away = xr.DataArray(round_wave, {"y": y, "x": x}, ("y", "x"))
    far = measure.local_velocity(away).where(away > 5).isel(y=slice(1, -1), x=slice(1, -1))
    assert abs(far / 0.4 - 1).max() < 0.05


def test_tips_of_a_turning_phase():
    """A spiral that is put at (4.3, 9.1) stays there in every frame."""
    t, y, x = np.arange(0.0, 600.0, 5.0), np.arange(20) * 0.5, np.arange(30) * 0.5
    angle = np.arctan2(y[:, None] - 4.3, x - 9.1) - 2 * np.pi * t[:, None, None] / 120
    Vm = xr.DataArray(-60 + 40 * np.sin(angle), {"time": t, "y": y, "x": x}, ("time", "y", "x"))
    tips = measure.tips(Vm, delay=6)
    assert np.array_equal(np.unique(tips.time), t[6:]) and tips.sizes["tip"] == len(t) - 6
    assert float(abs(tips.y - 4.3).max()) < 0.3 and float(abs(tips.x - 9.1).max()) < 0.3
    assert len(np.unique(tips.charge)) == 1


def test_pseudo_ecg_of_a_linear_potential():
    """A constant gradient g from -L to L, seen from the height h over its point a, has a closed form."""
    x, g, h, a, L = np.linspace(-10.0, 10.0, 4001), 2.0, 3.0, 4.0, 10.0
    Vm = xr.DataArray(g * x[None], {"time": [0.0], "x": x}, ("time", "x"))
    potential = measure.pseudo_ecg(Vm, (h, 0.0, a))
    exact = -g * (1 / np.hypot(L - a, h) - 1 / np.hypot(-L - a, h))
    assert float(potential[0]) == pytest.approx(exact, rel=1e-5)
    flat = cep.simulate(cep.Tissue((6, 6)), cep.Protocol(), 3.0, progress=False).Vm
    assert float(abs(measure.pseudo_ecg(flat, (1, 1, 1))).max()) < 1e-6
    with pytest.raises(ValueError, match="touches a node"):
        measure.pseudo_ecg(Vm, (0.0, 0.0, float(x[17])))


def test_constants_as_fields_are_cells_of_their_own():
    row, values = cep.Tissue((40,), diffusivity=0.0), np.linspace(4.0, 9.0, 40)
    protocol = cep.pacing.periodic(500.0, 2, cep.region.everywhere(row))
    field = cep.simulate(row, protocol, 900.0, dt=0.02, parameters={"Ko": values, "T": 309.0}, progress=False)
    for k in (0, 17, 39):
        one = cep.pacing.periodic(500.0, 2, EVERY)
        alone = cep.simulate(CELL, one, 900.0, dt=0.02, parameters={"Ko": values[k], "T": 309.0}, progress=False)
        assert float(abs(field.Vm[:, k] - alone.Vm[:, 0, 0]).max()) < 1e-3
