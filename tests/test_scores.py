"""Every metric on constructed signals with known answers."""

import numpy as np
import pytest
import xarray as xr

import cepkit as cep
from cepkit.dataset import VARIABLES, Scaling
from cepkit.forecast import futures


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    data = {v: (("time", "y", "x"), rng.normal(k, k + 1, (60, 3, 4))) for k, v in enumerate(VARIABLES)}
    return xr.Dataset(data, {"time": np.arange(60.0), "y": np.arange(3.0), "x": np.arange(4.0)})


@pytest.fixture(scope="module")
def scaling(truth):
    return Scaling.fit(truth)


@pytest.fixture(scope="module")
def future(truth):
    return futures(truth, [5.0, 20.0], 30)


def test_a_perfect_model_scores_zero(truth, scaling, future):
    table = cep.score({"perfect": future}, truth, scaling)
    assert table.z_mse.dims == ("model", "variable", "start")
    for metric in ("mse_published", "mse_truth_range", "z_mse", "rmse"):
        assert float(abs(table[metric]).max()) == 0


def test_a_constant_offset(truth, scaling, future):
    """Three standard deviations too high: z-MSE 9, RMSE 3 std, and not a trace of it in the published metric."""
    table = cep.score({"offset": future + 3 * scaling.std}, truth, scaling)
    np.testing.assert_allclose(table.z_mse, 9, rtol=1e-5)
    for v in VARIABLES:
        np.testing.assert_allclose(table.rmse.sel(variable=v), 3 * float(scaling.std[v]), rtol=1e-5)
    assert float(table.mse_published.max()) < 1e-9


def test_a_gain_leaves_no_trace_either(truth, scaling, future):
    table = cep.score({"gain": 0.01 * future}, truth, scaling)
    assert float(table.mse_published.max()) < 1e-9 and float(table.z_mse.min()) > 0.5


def test_the_published_metric_by_hand(truth, future):
    wrong = future.copy()
    wrong["Vm"] = future.Vm.isel(lead_time=slice(None, None, -1)).assign_coords(lead_time=future.lead_time)
    got = cep.score({"m": wrong}, truth).mse_published.sel(model="m", variable="Vm")

    def remap(x):
        return (x - x.min()) * 2 / (x.max() - x.min()) - 1

    expected = [np.mean((remap(a) - remap(b)) ** 2) for a, b in zip(wrong.Vm.values, future.Vm.values, strict=True)]
    np.testing.assert_allclose(got, expected)


def test_by_the_range_of_the_truth(truth, future):
    """An offset of a tenth of the truth's range is 0.2 of [-1, 1]; where the truth is flat any error is a failure."""
    span = future.max(("lead_time", "y", "x")) - future.min(("lead_time", "y", "x"))
    got = cep.score({"m": future + 0.1 * span}, truth).mse_truth_range
    np.testing.assert_allclose(got, 0.04, rtol=1e-4)
    flat = xr.zeros_like(future)
    assert cep.score({"m": flat}, flat).mse_truth_range.max() == 0
    assert cep.score({"m": flat + 1e-9}, flat).mse_truth_range.min() > 1e100


def test_persistence_by_hand(truth, scaling):
    model = cep.surrogates.make("persistence").fit(truth)
    history = truth.isel(time=slice(0, 11))
    table = cep.score({"persistence": model.rollout(history, 4)}, truth, scaling)
    for v in VARIABLES:
        expected = np.mean((truth[v].values[11:15] - truth[v].values[10]) ** 2)
        np.testing.assert_allclose(table.rmse.sel(variable=v), np.sqrt(expected), rtol=1e-5)
        np.testing.assert_allclose(table.z_mse.sel(variable=v), expected / float(scaling.std[v]) ** 2, rtol=1e-5)


def test_by_lead_time_averages_to_the_score(truth, scaling, future):
    wrong = future + future.lead_time
    whole, by = (cep.score({"m": wrong}, truth, scaling, by_lead_time=b) for b in (False, True))
    np.testing.assert_allclose(by.rmse.sel(variable="Vm", model="m")[0], np.arange(1.0, 31.0))
    np.testing.assert_allclose(by.z_mse.mean("lead_time"), whole.z_mse)
    np.testing.assert_allclose(by.mse_published.mean("lead_time"), whole.mse_published)


def test_a_series_that_never_changes_becomes_zero(truth, future):
    """Against a truth in [-1, 1], a constant forecast has the error of 0, whatever the constant is."""
    flat = cep.score({"m": xr.full_like(future, 7.0)}, truth).mse_published
    low, high = (f(future.Vm[0].values) for f in (np.min, np.max))
    scaled = 2 * (future.Vm[0].values - low) / (high - low) - 1
    np.testing.assert_allclose(flat.sel(variable="Vm", model="m")[0], np.mean(scaled**2))


def test_models_from_different_starts_are_refused(truth, future):
    with pytest.raises(ValueError, match="same starts"):
        cep.score({"a": future, "b": future.isel(start=[0])}, truth)
    with pytest.raises(ValueError, match="empty"):
        cep.score({}, truth)
    with pytest.raises(ValueError, match="start and lead_time"):
        cep.score({"a": truth}, truth)
