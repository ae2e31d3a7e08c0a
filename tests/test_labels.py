"""Dimensions are found by name: their order in what a caller hands over never matters."""

import numpy as np
import pytest
import xarray as xr

import cepkit as cep
from cepkit import measure

SHEET = cep.Tissue((6, 9), spacing=0.4)
CORNER = cep.region.corner(SHEET, 0.3)
PROTOCOL = cep.pacing.periodic(500.0, 1, CORNER)


def run(**given):
    usual = {"tissue": SHEET, "protocol": PROTOCOL, "duration": 25.0, "dt": 0.05, "progress": False}
    return cep.simulate(**usual | given)


def field(values):
    return xr.DataArray(values, dims=("y", "x"))


@pytest.mark.parametrize("turn", [lambda f: f, lambda f: f.transpose("x", "y")])
def test_regions_parameters_types_and_states(turn):
    gKr = np.linspace(0.05, 0.3, 54).reshape(6, 9)
    kinds = np.repeat(["epi", "m", "endo"], 18).reshape(6, 9)
    state = cep.final_state(run())
    plain = run(parameters={"gKr": gKr}, cell_type=kinds, initial=state)
    protocol = cep.Protocol([cep.Stimulus(0.0, turn(CORNER))])
    turned = run(protocol=protocol, parameters={"gKr": turn(field(gKr))}, cell_type=turn(field(kinds)),
                 initial=state.map(turn))  # fmt: skip
    assert turned.attrs["hash"] == plain.attrs["hash"] and turned.attrs["data_hash"] == plain.attrs["data_hash"]


def test_activations_and_fields():
    trajectory = run()
    turned = trajectory.transpose("x", "time", "y", ...)
    xr.testing.assert_identical(measure.activation_map(turned).transpose("y", "x"), measure.activation_map(trajectory))
    stimulus = cep.stimulus_field(PROTOCOL, like=turned)
    xr.testing.assert_identical(stimulus.transpose("time", "y", "x"), cep.stimulus_field(PROTOCOL, like=trajectory))


@pytest.mark.parametrize("name", ["persistence", "climatology", "nearest_beat", "dmd_control"])
def test_fit_and_rollout(name):
    trajectory, stimulus = cep.check.toy()
    first = trajectory.isel(x=slice(0, 3))  # no square, so that a wrong order cannot pass
    told = stimulus.isel(x=slice(0, 3))
    turned, other = first.transpose("x", "time", "y"), told.transpose("x", "time", "y")
    free = []
    for runs, field in ((first, told), (turned, other)):
        model = cep.surrogates.make(name).fit(runs, stimulus=field, progress=False)
        free.append(model.rollout(runs.isel(time=slice(0, 60)), 20, stimulus=field))
    xr.testing.assert_allclose(*free, rtol=1e-6)
    starts = cep.forecast.histories(first, [60.0, 80.0], 40)
    cuts = [told.sel(time=slice(t - 39, t + 20)).assign_coords(time=np.arange(-39.0, 21.0)) for t in (60, 80)]
    many = xr.concat(cuts, xr.DataArray([60.0, 80.0], dims="start", name="start"))
    turned = starts.transpose("x", "start", "y", "time"), many.transpose("x", "time", "y", "start")
    both = [model.rollout(history, 20, stimulus=field) for history, field in ((starts, many), turned)]
    xr.testing.assert_allclose(*both, rtol=1e-6)


def test_a_scar_has_no_singularity():
    y, x = np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij")
    angle = xr.DataArray(np.arctan2(y - 2.5, x - 2.5), {"y": np.arange(6.0), "x": np.arange(6.0)}, ("y", "x"))
    angle[5, 5] = np.nan
    charge = measure.phase_singularities(angle)
    assert int(charge.sum()) == 1 and set(np.unique(charge)) == {0, 1}


def test_a_store_is_a_folder_as_people_write_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run(store="~/a run.zarr")
    assert (tmp_path / "a run.zarr" / "zarr.json").exists()
    with pytest.raises(ValueError, match="memory://a"):
        run(store="memory://a")
