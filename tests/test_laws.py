"""Laws: how data are laid out, and what they are called, never changes a result beyond rounding, or is refused."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cepkit as cep
from cepkit import measure

SHEET = cep.Tissue((5, 7), spacing=0.4)
CORNER = cep.region.corner(SHEET, 0.4)
PROTOCOL = cep.pacing.periodic(300.0, 2, CORNER)
RUN = cep.simulate(SHEET, PROTOCOL, 600.0, dt=0.05, progress=False)
TOY, STIMULUS = cep.check.toy()
TOY, STIMULUS = TOY.isel(x=slice(0, 3)), STIMULUS.isel(x=slice(0, 3))  # no square, so that a wrong order cannot pass
laws = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def reordered(fields, order):
    return fields.transpose(*order, ...)


def in_seconds(fields):
    other = fields.assign_coords(time=fields.time / 1000)
    other.time.attrs["units"] = "s"
    if "activation_time" in other.coords:
        other = other.assign_coords(activation_time=other.activation_time / 1000)
        other.activation_time.attrs["units"] = "s"
    return other


def in_other_units(fields):
    out = in_seconds(fields)
    for name, factor, unit in (("Vm", 1e-3, "V"), ("Cai", 1e3, "uM"), ("CaSS", 1e-3, "M")):
        out[name] = (out[name].astype(float) * factor).assign_attrs(units=unit)
    for d in ("y", "x"):
        out = out.assign_coords({d: out[d] / 10})
        out[d].attrs["units"] = "cm"
    return out


def with_single_coordinates(fields):
    return fields.assign_coords({d: fields[d].astype(np.float32) for d in ("y", "x") if d in fields.dims})


LAYOUTS = {
    "order": lambda f: f.transpose("x", "time", "y", ...),
    "seconds": in_seconds,
    "units": in_other_units,
    "float32": with_single_coordinates,
    "chunks": lambda f: f.chunk({"time": 37}),
    "turned": lambda f: f.isel(y=slice(None, None, -1), x=slice(None, None, -1)),
    "netcdf": lambda f: f.assign_coords(time=(f.time.values * 1e6).astype("timedelta64[ns]")),
}
layout = pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS)


def same(one, other, rtol=2e-5, atol=1e-6):
    one, other = (f.to_dataset(name="f") if isinstance(f, xr.DataArray) else f for f in (one, other))
    for name in one.data_vars:
        a, b = one[name], other[name].transpose(*one[name].dims)
        scale = float(np.abs(a.values[np.isfinite(a.values)]).max(initial=0))
        np.testing.assert_allclose(b, a, rtol, max(atol * scale, 1e-12), err_msg=name)


@layout
def test_measures(change):
    other = change(RUN)
    same(measure.beats(RUN), measure.beats(other))
    same(measure.activation_map(RUN), measure.activation_map(other), atol=1e-4)
    same(measure.activation_time(RUN.Vm), measure.activation_time(other.Vm))
    same(measure.local_velocity(measure.activation_map(RUN)), measure.local_velocity(measure.activation_map(other)),
         rtol=1e-3)  # fmt: skip
    same(measure.pseudo_ecg(RUN.Vm, (2, 1, 1)), measure.pseudo_ecg(other.Vm, (2, 1, 1)), atol=1e-4)
    ends = {"y": 0.0, "x": 0.0}, {"y": 1.2, "x": 2.0}
    speeds = [measure.conduction_velocity(run.Vm, *ends) for run in (other, RUN)]
    assert speeds[0] == pytest.approx(speeds[1], rel=1e-3)
    same(measure.phase_singularities(measure.phase(RUN.Vm)), measure.phase_singularities(measure.phase(other.Vm)))


@layout
@pytest.mark.parametrize("name", ["persistence", "last_beat", "climatology", "nearest_beat", "dmd_control", "nvar"])
def test_surrogates(change, name):
    told = change(STIMULUS.to_dataset(name="Vm")).Vm.rename("stimulus") if change is not in_other_units else STIMULUS
    told.attrs.pop("units", None)
    free = []
    for runs, field in ((TOY, STIMULUS), (change(TOY), told)):
        model = cep.surrogates.make(name, "smoke").fit(runs, stimulus=field, progress=False)
        history = change(TOY.isel(time=slice(0, 60))) if runs is not TOY else TOY.isel(time=slice(0, 60))
        free.append(model.rollout(history, 20, stimulus=field))
    same(*free, rtol=1e-3, atol=1e-3)


@layout
def test_scores_splits_and_stimuli(change):
    other, forecast = change(TOY), cep.forecast.futures(TOY, [60.0, 90.0], 40) * 1.01
    scaling = cep.dataset.Scaling.fit(TOY)
    same(cep.score({"m": forecast}, TOY, scaling), cep.score({"m": forecast}, other, cep.dataset.Scaling.fit(other)),
         rtol=1e-3, atol=1e-4)  # fmt: skip
    same(cep.stimulus_field(PROTOCOL, RUN), cep.stimulus_field(PROTOCOL, change(RUN)))
    for one, two in zip(cep.dataset.split(TOY), cep.dataset.split(other), strict=True):
        assert one.sizes == two.sizes


def test_the_solver_finds_nodes_by_their_place():
    """Regions, parameters and states that are turned round, with their coordinates, are the same ones."""

    def turned(field):
        return field.isel(y=slice(None, None, -1), x=slice(None, None, -1))

    gKr = xr.DataArray(np.linspace(0.05, 0.3, 35).reshape(5, 7), SHEET.coords, ("y", "x"))
    state, other = cep.final_state(RUN), cep.Protocol([cep.Stimulus(0.0, turned(CORNER))])
    given = {"duration": 40.0, "dt": 0.05, "progress": False}
    first = cep.Protocol([cep.Stimulus(0.0, CORNER)])
    plain = cep.simulate(SHEET, first, parameters={"gKr": gKr}, initial=state, **given)
    same = cep.simulate(SHEET, other, parameters={"gKr": turned(gKr)}, initial=turned(state), **given)
    assert plain.attrs["hash"] == same.attrs["hash"] and np.array_equal(plain.Vm, same.Vm)
    D = cep.tissue.fibres(SHEET, turned(gKr), 0.2, 0.1)
    assert np.array_equal(D, cep.tissue.fibres(SHEET, gKr, 0.2, 0.1))


def test_the_charge_of_a_tip_knows_up_from_down():
    t, y, x = np.arange(0.0, 300.0, 5.0), np.arange(20) * 0.5, np.arange(30) * 0.5
    angle = np.arctan2(y[:, None] - 4.3, x - 9.1) - 2 * np.pi * t[:, None, None] / 120
    Vm = xr.DataArray(-60 + 40 * np.sin(angle), {"time": t, "y": y, "x": x}, ("time", "y", "x"))
    one, two = (measure.tips(V, 6) for V in (Vm, Vm.isel(y=slice(None, None, -1))))
    assert one.equals(two)


@pytest.mark.parametrize("when", ["datetime64[ns]", "datetime64[us]"])
def test_dates_count_from_the_first(when):
    start = np.datetime64("2024-05-01T12:00:00.000", "us")
    dated = TOY.assign_coords(time=(start + (TOY.time.values * 1000).astype("timedelta64[us]")).astype(when))
    same(measure.beats(TOY), measure.beats(dated))


@laws
@given(st.permutations(["start", "lead_time", "y", "x"]), st.integers(1, 7), st.booleans())
def test_forecasts_in_any_order_thinned_or_turned_round(order, every, turned):
    forecast = cep.forecast.futures(TOY, [60.0, 90.0], 40) * 1.01
    other = forecast.transpose(*order).isel(lead_time=slice(every - 1, None, every))
    other = other.isel(x=slice(None, None, -1), y=slice(None, None, -1)) if turned else other
    by = cep.score({"m": forecast}, TOY, by_lead_time=True).rmse.sel(lead_time=other.lead_time)
    same(by, cep.score({"m": other}, TOY, by_lead_time=True).rmse)


@laws
@given(st.floats(1.0, 2000.0))
def test_a_shift_of_time_moves_times_and_nothing_else(shift):
    later = TOY.assign_coords(time=TOY.time + shift)
    one, two = measure.beats(TOY), measure.beats(later)
    same(one.drop_vars(["activation", "repolarisation"]), two)
    same(one.activation + shift, two.activation)
    with pytest.raises(ValueError, match="do not shift its time alone"):
        measure.activation_map(RUN.assign_coords(time=RUN.time + shift))


@laws
@given(st.booleans(), st.booleans(), st.integers(0, 3), st.integers(0, 2), st.integers(5, 7), st.integers(3, 5))
def test_a_part_of_a_sheet_has_that_part_of_its_map(flip_x, flip_y, x, y, to_x, to_y):
    part = RUN.isel(x=slice(x, to_x), y=slice(y, to_y))
    part = part.isel(x=slice(None, None, -1)) if flip_x else part
    part = part.isel(y=slice(None, None, -1)) if flip_y else part
    same(measure.activation_map(RUN).sel(x=part.x, y=part.y), measure.activation_map(part).sel(x=part.x, y=part.y))
    node = measure.activation_map(RUN.isel(x=x, y=[y]))
    assert node.dims == ("y",) and float(node[0]) == float(measure.activation_map(RUN)[y, x])


@laws
@given(st.sampled_from([1.0, 2.0, 5.0, 10.0, 20.0, 50.0]))
def test_the_time_between_frames_changes_no_state_and_no_activation(save_every):
    run = cep.simulate(SHEET, PROTOCOL, 600.0, dt=0.05, save_every=save_every, progress=False)
    assert np.array_equal(run.final_state, RUN.final_state)
    np.testing.assert_allclose(np.sort(run.activation_time), np.sort(RUN.activation_time), rtol=1e-12)
    assert np.array_equal(run.Vm, RUN.Vm.sel(time=run.time))


@laws
@given(st.lists(st.floats(0.3, 40.0), min_size=2, max_size=12), st.floats(0.0, 60.0), st.floats(0.2, 30.0))
def test_a_stimulus_keeps_its_charge_on_any_frames(gaps, start, duration):
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    like = xr.DataArray(np.zeros((len(times), 5, 7)), {"time": times, **SHEET.coords}, ("time", "y", "x"))
    field = cep.stimulus_field(cep.Protocol([cep.Stimulus(start, CORNER, duration)]), like)
    widths = np.diff(times, append=2 * times[-1] - times[-2])
    inside = max(0.0, min(start + duration, times[-1] + widths[-1]) - start)
    charge = float((field.sum(("y", "x")) * widths).sum())
    assert charge == pytest.approx(-52.0 * inside * int(CORNER.sum()), rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("unit", ["furlong", "mV"])
def test_what_cannot_be_understood_is_refused(unit):
    wrong = RUN.assign_coords(time=RUN.time * 1.0)
    wrong.time.attrs["units"] = unit
    for use in (measure.beats, cep.final_state, lambda r: cep.stimulus_field(PROTOCOL, r)):
        with pytest.raises(ValueError, match=f"time is in '{unit}'"):
            use(wrong)
    with pytest.raises(ValueError, match="must increase"):
        measure.beats(RUN.isel(time=slice(None, None, -1)))
