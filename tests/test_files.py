"""Files: what is stored opens elsewhere, goes on, comes back; recordings of one's own; machines that lack something."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import cepkit as cep
from cepkit import measure, store

SHEET = cep.Tissue((6, 7), spacing=0.4)
PACE = cep.pacing.periodic(300.0, 3, cep.region.corner(SHEET, 0.4))


def run(duration, path=None, **given):
    return cep.simulate(SHEET, PACE, duration, store=path, progress=False, **given)


@pytest.fixture(scope="module")
def whole():
    return run(900.0)


def test_plain_xarray_opens_a_store_without_a_word(tmp_path, whole):
    run(900.0, tmp_path / "a b.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(tmp_path / "a b.zarr")
    assert np.array_equal(plain.Vm, whole.Vm) and {"activation_time", "final_state"} <= set(plain.coords)


@pytest.mark.parametrize("stored", [True, False])
def test_netcdf_and_back(tmp_path, whole, stored):
    given = run(900.0, tmp_path / "r.zarr") if stored else whole
    given.to_netcdf(tmp_path / "r.nc")
    back = xr.open_dataset(tmp_path / "r.nc")
    xr.testing.assert_allclose(measure.activation_map(back), measure.activation_map(whole))
    xr.testing.assert_allclose(measure.beats(back), measure.beats(whole))
    assert np.array_equal(cep.final_state(back).Ki, cep.final_state(whole).Ki)
    assert np.array_equal(cep.recording(tmp_path / "r.nc").Vm, whole.Vm)


def test_what_xarray_wrote_is_opened_again(tmp_path, whole):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on names of states as text
        run(900.0, tmp_path / "a.zarr").to_zarr(tmp_path / "b.zarr")
    again = cep.open_trajectory(tmp_path / "b.zarr")
    assert np.array_equal(again.Vm, whole.Vm) and np.array_equal(cep.final_state(again).Ki, cep.final_state(whole).Ki)


@pytest.mark.parametrize("dt", [0.05, "adaptive"])
def test_a_longer_duration_goes_on(tmp_path, dt):
    path = tmp_path / "a.zarr"
    run(400.0, path, dt=dt)
    longer, whole = run(900.0, path, dt=dt), run(900.0, dt=dt)
    assert np.array_equal(longer.time, whole.time)
    assert longer.attrs["data_hash"] == run(900.0, tmp_path / "b", dt=dt).attrs["data_hash"]
    for name in whole.data_vars:
        assert np.array_equal(longer[name], whole[name])
    assert np.array_equal(longer.final_state, whole.final_state)
    assert np.array_equal(longer.activation_time, whole.activation_time)
    with pytest.raises(ValueError, match="holds 900 ms of this run, and 400 ms are asked for"):
        run(400.0, path, dt=dt)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


class Stopped(Exception):
    pass


def test_an_interrupted_run_goes_on_to_another_duration(tmp_path, monkeypatch):
    path, checkpoint = tmp_path / "a.zarr", store.TrajectoryStore.checkpoint

    def stop(self, *given):
        checkpoint(self, *given)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(store.TrajectoryStore, "checkpoint", stop)
        with pytest.raises(Stopped):
            run(1200.0, path)
    with pytest.raises(ValueError, match="asked for"):
        run(100.0, path)
    with pytest.raises(ValueError, match="another configuration"):
        run(1200.0, path, dt=0.01)
    longer = run(1500.0, path)
    assert np.array_equal(longer.Vm, run(1500.0).Vm)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "a.zarr.partial").mkdir()
    (tmp_path / "a.zarr.partial" / "checkpoint.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match="checkpoint is damaged.*delete"):
        run(100.0, tmp_path / "a.zarr")


def test_two_runs_are_joined(whole):
    first = run(400.0)
    late = cep.Protocol(cep.Stimulus(s.start - 400, s.region) for s in PACE.stimuli if s.start >= 400)
    second = cep.simulate(SHEET, late, 500.0, initial=cep.final_state(first), progress=False)
    both = cep.join(first, second)
    for name in whole.data_vars:
        np.testing.assert_allclose(both[name], whole[name], rtol=1e-3, atol=1e-3)
    xr.testing.assert_allclose(measure.activation_map(both, 500), measure.activation_map(whole, 500), atol=0.02)
    assert float(both.time[-1]) == 900 and np.array_equal(cep.final_state(both).Vm, cep.final_state(second).Vm)
    with pytest.raises(ValueError, match="does not begin where first ends"):
        cep.join(first, whole)


def test_joined_parts_hold_what_happens_in_them_alone(whole):
    one, two = whole.sel(time=slice(0, 320)), whole.sel(time=slice(320, 600))
    both = cep.join(one, two)
    for start in (0, 290, 310, 500):
        expected = measure.activation_map(whole.sel(time=both.time), start)
        xr.testing.assert_equal(measure.activation_map(both, start), expected)
    assert "final_state" not in both.coords and not {"duration", "protocol"} & set(both.attrs)
    with pytest.raises(ValueError, match="no full state"):
        cep.final_state(both)
    single = two.assign_coords(x=two.x.astype(np.float32), y=two.y.astype(np.float32)).isel(x=slice(None, None, -1))
    xr.testing.assert_equal(cep.join(one, single).Vm, both.Vm)
    with pytest.raises(ValueError, match="does not begin"):
        cep.join(one, two * np.nan)


def test_a_refined_run_is_not_continued_from_its_coarse_nodes(tmp_path):
    run(20.0, tmp_path / "a", refine=2)
    with pytest.raises(ValueError, match="40 ms are asked for"):
        run(40.0, tmp_path / "a", refine=2)


def test_an_ensemble_is_one_dataset_of_whole_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    protocols = [PACE, cep.Protocol(PACE.stimuli[:1])]
    made = cep.ensemble(protocols, SHEET, 700.0, "~/größe e", progress=False)
    again = cep.open_ensemble(tmp_path / "größe e")
    xr.testing.assert_equal(made, again)
    for k, protocol in enumerate(protocols):
        alone = cep.simulate(SHEET, protocol, 700.0, progress=False)
        xr.testing.assert_equal(measure.activation_map(again.isel(run=k), 200), measure.activation_map(alone, 200))
        assert np.array_equal(cep.final_state(again.isel(run=k)).Ki, cep.final_state(alone).Ki)
    shutil.rmtree(tmp_path / "größe e" / "run-0000")
    assert cep.open_ensemble(tmp_path / "größe e").run.values.tolist() == [1]
    with pytest.raises(ValueError, match="open_ensemble"):
        cep.open_trajectory("~/größe e")
    with pytest.raises(ValueError, match="holds no runs"):
        cep.open_ensemble(tmp_path)


def test_names_as_people_write_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("run é", Path("sub") / "run", str(tmp_path / "full")):
        run(20.0, path)
        assert cep.open_trajectory(path).sizes["time"] == 21


# ---- recordings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "nodes", "netcdf", "array"])
def test_a_recording_of_ones_own(tmp_path, form, whole):
    Vm = whole.Vm.isel(y=2)
    table = pd.DataFrame({"t": whole.time.values / 1000, "v": Vm[:, 3].values / 1000, "Cai": whole.Cai[:, 2, 3] * 1e3})
    if form == "csv":
        table.to_csv(tmp_path / "mine.csv", index=False)
        units = {"time": "s", "Vm": "V", "Cai": "uM"}
        mine = cep.recording(tmp_path / "mine.csv", names={"t": "time", "v": "Vm"}, units=units)
        np.testing.assert_allclose(mine.Cai[:, 0, 0], whole.Cai[:, 2, 3], rtol=1e-6)
    elif form == "nodes":
        many = pd.DataFrame(Vm.values, columns=[f"electrode {k}" for k in range(7)]).assign(time=whole.time.values)
        mine = cep.recording(many, spacing=0.4).isel(x=[3])
    elif form == "netcdf":
        file = xr.Dataset({"voltage": (("t", "column"), Vm.values / 1000, {"units": "V"})}, {"t": whole.time.values})
        file.to_netcdf(tmp_path / "mine.nc")
        mine = cep.recording(tmp_path / "mine.nc", names={"voltage": "Vm", "t": "time", "column": "x"}, spacing=0.4)
        mine = mine.isel(x=[3])
    else:
        mine = cep.recording(Vm.isel(x=3, drop=True).rename("voltage"))
    assert mine.Vm.dims == ("time", "y", "x")
    want = measure.beats(whole.Vm.isel(y=[2], x=[3]))
    np.testing.assert_allclose(measure.beats(mine).APD, want.APD, rtol=1e-5)


@pytest.mark.parametrize(
    ("table", "names", "says"),
    [
        ({"t": [0, 1], "Vm": [0, 1]}, {}, "no time; say which with names="),
        ({"time": [0, 1], "Vm": [0, np.nan]}, {}, "NaN or infinite numbers in Vm"),
        ({"time": [1, 0], "Vm": [0.0, 1]}, {}, "must increase"),
        ({"time": [0, np.nan], "Vm": [0.0, 1]}, {}, "must increase"),
        ({"time": [0, 1], "Voltage": [0.0, 1], "Calcium": [0.0, 1]}, {}, "Voltage, Calcium; say which is Vm"),
        ({"Unnamed: 0": [0, 1], "time": [0, 1], "V": [0.0, 1]}, {}, "say which is Vm"),
        ({"time": [0, 1], "Vm": ["mV", 1]}, {}, "Vm must be there, and numbers"),
    ],
)
def test_recordings_that_cannot_be(table, names, says):
    with pytest.raises(ValueError, match=says):
        cep.recording(pd.DataFrame(table), names)
    with pytest.raises(ValueError, match="does not exist"):
        cep.recording("none.csv")
    with pytest.raises(ValueError, match="'stone'"):
        cep.recording(pd.DataFrame({"time": [0.0, 1], "Vm": [0.0, 1]}), units={"Vm": "stone"})


# ---- other machines -----------------------------------------------------------------------------------------

ONE = "import cepkit as cep; c = cep.Tissue((1, 1)); print(cep.simulate(c, cep.Protocol(), 2.0).sizes['time'])"


def other_machine(code, cwd, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "NUMBA_CACHE_DIR")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=kept | environment)
    assert done.returncode == 0, done.stderr
    return done


def test_what_only_linux_has_is_not_needed(tmp_path):
    gone = "import os, sys; sys.modules['fcntl'] = None; del os.sched_getaffinity; "
    other_machine(gone + ONE.replace("2.0)", f"2.0, store={str(tmp_path / 'a')!r})"), tmp_path)
    assert (tmp_path / "a" / "zarr.json").exists()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    import fcntl

    def unknown(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unknown)
    assert run(20.0, tmp_path / "a").sizes["time"] == 21


def test_no_home_a_package_that_is_read_only_and_no_terminal(tmp_path):
    """Nothing may be written beside the package or at home: Numba's cache goes elsewhere."""
    closed = "import os; access = os.access; os.access = lambda p, mode: mode != os.W_OK and access(p, mode); "
    done = other_machine(closed + ONE, tmp_path, HOME="/nonexistent", TMPDIR=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    assert done.stdout.strip() == "3" and list(tmp_path.glob("cepkit-*"))


def test_a_silent_bar_is_silent_everywhere(tmp_path):
    each = "for n in ('lstm', 'nvar', 'dmd_control', 'conv_lstm'): cep.surrogates.make(n, 'smoke').fit(t, stimulus=s)"
    code = f"import cepkit as cep\nt, s = cep.check.toy()\n{each}"
    assert "it/s" not in other_machine(code, tmp_path, TQDM_DISABLE="1", HOME=str(tmp_path)).stderr
