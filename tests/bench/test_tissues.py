"""The track of tissue: what it draws, how waves are compared, and who runs on sheets that it has not seen."""

import numpy as np
import pytest
import torch
import xarray as xr

import cepkit as cep
from cepkit import bench
from cepkit.bench import tissues
from cepkit.bench.scorecard import fit


@pytest.fixture(scope="module")
def track():
    return bench.make_track("tissue", "smoke", progress=False)


def waves(table):
    names = "propagated", "blocked", "missed waves", "invented waves"
    return table[table.metric.isin(names)].pivot_table(index="test", columns="metric", values="value")


def test_sheets_are_what_they_say():
    rng = np.random.default_rng(1)
    gates = [tissues.gate((30, 30), rng).diffusivity for _ in range(40)]
    for D in gates:
        walls = np.flatnonzero((D == 0).any(1))
        assert len(walls) == 3 and len({tuple(D[row] > 0) for row in walls}) == 1
    assert {int((D[np.flatnonzero((D == 0).any(1))[0]] > 0).sum()) for D in gates} == set(range(1, 7))
    for _ in range(10):
        D = tissues.ring((30, 31), rng).diffusivity
        assert D[15, 15] == 0 and len(np.unique(D[D > 0])) == 1 and 0.15 <= D.max() / tissues.NORMAL <= 0.3
    D = [tissues.patchy((40, 40), rng).diffusivity for _ in range(30)]
    assert any((d == 0).any() for d in D) and any((d == tissues.NORMAL).all() | (d > 0).all() for d in D)
    assert all(tissues.site(cep.Tissue(d.shape, tissues.SPACING, d), rng).any() for d in D)


def test_waves_as_counted_by_hand():
    """Two nodes and two stimuli: both fire; then the truth fires in one and the forecast in the other."""

    def course(*fired):
        Vm = np.full((600, 2, 2), -85.0)
        for node, at in fired:
            Vm.reshape(600, 4)[at : at + 100, node] = 20.0
        return torch.from_numpy(np.stack([Vm.reshape(600, 4)] + 3 * [np.zeros((600, 4))], -1).reshape(600, -1))

    told = np.zeros((600, 2, 2))
    told[[50, 350], 0, 0] = -52.0
    told = xr.DataArray(told, dims=("time", "y", "x"))
    truth = course((0, 52), (1, 60), (2, 65), (3, 70), (0, 352), (1, 360))
    forecast = course((0, 53), (1, 60), (2, 66), (3, 71), (0, 352), (2, 361))
    found = {name: value for (_, name), value in tissues.wave_scores((forecast, truth), told).items()}
    assert found["propagated"] == 100 * 5 / 8 and found["blocked"] == 100 / 8
    assert found["missed waves"] == found["invented waves"] == 100 / 8
    assert found["period_error"] == pytest.approx(abs(np.median([299, 295]) - 300))
    assert found["tips_error"] >= 0 and np.isinf(list(tissues.wave_scores((), told).values())).all()


def test_the_solver_is_right_on_sheets_of_its_own(track):
    """Each run says its own tissue; cells of another kind or another run's scars would not do."""
    model = fit(cep.surrogates.make("solver_coarse", dt="adaptive"), track, progress=False)
    found = waves(bench.evaluate(model, track, progress=False))
    assert set(found.index) == set(tissues.QUESTIONS)
    assert (found["missed waves"] < 0.5).all() and (found["invented waves"] < 0.5).all()  # of the window's last frame
    assert np.allclose(found.sum(1), 100) and (found["propagated"] > 20).all()


@pytest.mark.parametrize("name", ["solver_coarse", "flow_map"])
def test_cells_of_a_history_are_not_told(track, name):
    """The tissue is given with a history; that its cells are others a model has to find out."""
    model = fit(cep.surrogates.make(name), track, progress=False)
    history, stimulus = track.tests["patches"].given([0])
    parameters = '{"gKr": ' + str(2 * cep.cell.Conductances().gKr) + "}"
    told = history.assign_attrs(parameters=parameters)
    one, two = (model.rollout(h, 60, stimulus=stimulus) for h in (history, told))
    np.testing.assert_array_equal(one.Vm, two.Vm)


def test_a_network_of_pictures_reads_the_tissue(track):
    settings = {"tissue": True, "validations": 2, "rounds": 4}
    model = fit(cep.surrogates.make("conv_lstm", "smoke", **settings), track, progress=False)
    assert all("validation error" in entry for entry in model.card["training"])
    test = track.tests["patches"]
    history, stimulus = test.given([0])
    one = model.rollout(history, 20, stimulus=stimulus)
    assert one.sizes["y"] == 16 and tuple(model.grid["y"].shape) == (12,), "the model stays where it was"
    plain = cep.Tissue((16, 16), tissues.SPACING, tissues.NORMAL)
    other = history.assign_attrs(tissue=cep.simulate(plain, cep.Protocol(), 1.0, progress=False).attrs["tissue"])
    assert not np.allclose(one.Vm, model.rollout(other, 20, stimulus=stimulus).Vm)
    with pytest.raises(ValueError, match="no tissue in its attributes"):
        model.rollout(history.drop_attrs(), 20, stimulus=stimulus)
    with pytest.raises(ValueError, match="multiple"):
        model.rollout(history.isel(y=slice(0, 13)), 20, stimulus=stimulus.isel(y=slice(0, 13)))


@pytest.mark.parametrize("name", ["physics_augmented", "minimal_model"])
def test_physics_run_on_the_tissue_of_a_history(track, name):
    """A wall that is known stops the wave; the sheets of training are all of them led on their own tissue."""
    model = fit(cep.surrogates.make(name, "smoke"), track, progress=False)
    plain = np.full((16, 16), tissues.NORMAL)
    walled = plain.copy()
    walled[:, 8:10] = 0.0
    runs = {}
    for what, D in {"plain": plain, "wall": walled}.items():
        tissue = cep.Tissue((16, 16), tissues.SPACING, D)
        here = cep.region.everywhere(tissue) & False
        here[:, :3] = True
        protocol = cep.Protocol([cep.Stimulus(20.0, here)])
        run = cep.simulate(tissue, protocol, 80.0, progress=False, parameters=tissues.SHORT)
        history, stimulus = cep.forecast.histories(run, [10.0], 11), cep.stimulus_field(protocol, like=run)
        runs[what] = model.rollout(history, 60, stimulus=stimulus).Vm.values[0].max(0)
    assert (
        (runs["plain"][:, 12:] > -40).all() and (runs["wall"][:, 12:] < -70).all() and (runs["wall"][:, :3] > -40).all()
    )


def test_a_model_of_one_sheet_is_refused(track):
    rows = set(track.rows)
    assert {"persistence", "solver_coarse", "flow_map", "conv_lstm", "unet", "minimal_model"} <= rows
    assert "lstm" not in rows
    model = fit(cep.surrogates.make("latent_dynamics", "smoke"), track, progress=False)
    with pytest.raises(ValueError, match="was made for"):
        bench.evaluate(model, track, ["patches"], progress=False)
