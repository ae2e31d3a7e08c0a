"""Reservoirs, recurrences and convolutions that are told of the stimulus, and the textbook systems."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import solve_ivp

from cepkit.bench.methods import conv_lstm, lstm_stimulus, neural_ode_stimulus
from cepkit.bench.methods import reservoirs as res
from cepkit.bench.tracks import make_track

sys.path.insert(0, str(Path(__file__).parents[2] / "book"))
import textbook  # noqa: E402 - beside its chapter

ENTRANTS = (
    res.ESN, res.NVAR, lstm_stimulus.LSTMStimulus, neural_ode_stimulus.NeuralODEStimulus, conv_lstm.ConvLSTM,
)  # fmt: skip


# ---- textbook systems ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lorenz():
    return [textbook.lorenz63(1200, seed=seed).values for seed in range(3)]


def test_lorenz_rests_at_its_fixed_points():
    c = np.sqrt(8 / 3 * 27)
    for point in ([0, 0, 0], [c, c, 27], [-c, -c, 27]):
        np.testing.assert_allclose(textbook.lorenz_rate(point), 0, atol=1e-12)


def test_lorenz_exponent(lorenz):
    exponent = textbook.largest_exponent(textbook.lorenz_rate, lorenz[0][0], 0.01, 20_000)
    assert exponent == pytest.approx(textbook.LORENZ_EXPONENT, rel=0.05)


def test_runge_kutta_is_of_fourth_order():
    errors = []
    for steps in (10, 20):
        x = np.array([1.0])
        for _ in range(steps):
            x = textbook.rk4(lambda x: -x, x, 1 / steps)
        errors.append(abs(x[0] - np.exp(-1)))
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)


def test_mackey_glass_obeys_its_equation():
    fine = textbook.mackey_glass(2000, interval=0.1, substeps=1).values[:, 0]
    middle, late = fine[171:-1], fine[1:-171]
    slope = (fine[172:] - fine[170:-2]) / 0.2
    np.testing.assert_allclose(slope, 0.2 * late / (1 + late**10) - 0.1 * middle, atol=2e-4)
    with pytest.raises(ValueError, match="tau"):
        textbook.mackey_glass(10, tau=17.03)


def test_mackey_glass_settles_to_its_fixed_point_without_delay_enough():
    x = textbook.mackey_glass(50, tau=2.0, settle=600.0).values
    np.testing.assert_allclose(x, 1.0, atol=1e-3)  # 0.2 / (1 + 1) = 0.1


def test_valid_time():
    truth = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert textbook.valid_time(truth + [[0.1], [0.3], [0.5], [0.0]], truth, 0.5) == 1.0
    assert textbook.valid_time(truth, truth, 0.5) == 2.0
    assert textbook.valid_time(truth * np.nan, truth, 0.5) == 0.0


def test_both_reservoirs_forecast_lorenz_for_some_lyapunov_times(lorenz):
    for forecast in (textbook.forecast_nvar, textbook.forecast_esn):
        times = [textbook.valid_time(forecast(x[:400], 800), x[400:], 0.025) for x in lorenz]
        assert np.median(times) * textbook.LORENZ_EXPONENT > 3.0


def test_esn_forecasts_mackey_glass():
    x = textbook.mackey_glass(2800).values
    assert (
        textbook.valid_time(textbook.forecast_esn(x[:2000], 800, radius=0.9, leak=0.3, gain=0.3), x[2000:], 1.0) > 200
    )


def test_nvar_has_the_error_of_its_source():
    """Gauthier et al. 2021: 2.4e-3 over one Lyapunov time after 400 points, from data of SciPy's RK23 as it comes."""
    dt, steps, errors = 0.025, 44, []
    run = solve_ivp(
        lambda t, x: textbook.lorenz_rate(x), (0, 120), [17.67716, 12.93138, 43.91404], "RK23", np.arange(0, 120, dt)
    )
    x = torch.from_numpy(run.y.T.copy())
    for first in (np.arange(5, 105, 10) / dt).astype(int):
        train, truth = x[first - 2 : first + 401], x[first + 401 : first + 401 + steps]
        free = textbook.forecast_nvar(train.numpy(), steps, noise=0.0)
        errors.append(float((truth - torch.from_numpy(free)).square().sum(1).mean() / x.var(0).sum()) ** 0.5)
    assert 1e-3 < np.median(errors) < 4e-3


def test_esn_misses_the_error_of_its_source():
    """Jaeger and Haas 2004: 6e-5 standard deviations after 84 units of time; here some thousandths."""
    errors = []
    for seed in range(4):
        x = textbook.mackey_glass(3084, seed=seed).values
        free = textbook.forecast_esn(x[:3000], 84, size=1000, radius=0.9, leak=0.7, gain=0.2, penalty=1e-13,
                                     settle=1000)  # fmt: skip
        errors.append(float(free[-1, 0] - x[-1, 0]) / x.std())
    assert 6e-5 < np.sqrt(np.mean(np.square(errors))) < 1e-2


# ---- cores --------------------------------------------------------------------------------------------


def states_after(radius, steps, start):
    reservoir = res.draw_reservoir(300, torch.full((2,), 0.3), radius, np.random.default_rng(0))
    reservoir = reservoir._replace(bias=0 * reservoir.bias)
    r = torch.full((1, 300), start)
    for x in 0.1 * torch.from_numpy(np.random.default_rng(1).standard_normal((steps, 1, 2))).float():
        r = res.listen(reservoir, r, x, 1.0)
    return r


def test_echo_state_property_holds_below_a_radius_of_one_and_fails_far_above():
    assert (states_after(0.9, 400, 0.5) - states_after(0.9, 400, -0.5)).abs().max() < 1e-5
    assert (states_after(3.0, 400, 0.5) - states_after(3.0, 400, -0.5)).abs().max() > 0.1


def test_spectral_radius():
    W = res.draw_reservoir(600, torch.ones(1), 0.8, np.random.default_rng(0)).W
    assert torch.linalg.eigvals(W).abs().max().item() == pytest.approx(0.8, rel=0.08)


def test_leak_is_a_weighted_mean():
    reservoir = res.Reservoir(torch.zeros(1, 1), torch.tensor([[2.0]]), torch.tensor([0.5]))
    got = res.listen(reservoir, torch.tensor([[0.4]]), torch.tensor([[1.0]]), 0.25)
    assert got.item() == pytest.approx(0.75 * 0.4 + 0.25 * np.tanh(2.5))


def test_ridge_is_the_closed_form():
    rng = torch.Generator().manual_seed(0)
    X, Y = torch.randn(50, 4, generator=rng).double(), torch.randn(50, 2, generator=rng).double()
    W = res.ridge(X.T @ X / 50, X.T @ Y / 50, 0.1)
    longer = torch.cat([X, (50 * 0.1) ** 0.5 * torch.eye(4).double()])
    torch.testing.assert_close(W, torch.linalg.lstsq(longer, torch.cat([Y, torch.zeros(4, 2).double()])).solution)


def test_nvar_features_by_hand():
    x = torch.tensor([[1.0], [2.0], [3.0], [5.0]])
    assert res.delays(x, taps=2, spacing=2).tolist() == [[3.0, 1.0], [5.0, 2.0]]
    assert res.nvar_features(torch.tensor([3.0, 2.0])).tolist() == [1, 3, 2, 9, 6, 4]
    assert res.nvar_features(torch.ones(7, 6)).shape == (7, 28)  # Lorenz with two taps


def test_blocks_meet():
    A, U = [torch.arange(12.0)[:, None]], [100 + torch.arange(12.0)[:, None]]
    a, u, y = res.blocks_of([A[0][1:]], [U[0][1:]], stride=5)
    assert a[0].ravel().tolist() == [1, 6]
    assert u[0, 0].tolist() == [101, 102, 103, 104, 105] and y[0, 1].tolist() == [7, 8, 9, 10, 11]


# ---- the entrants -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=("paced", "cell"))
def track(request):
    return make_track(request.param, "smoke", progress=False)


@pytest.fixture(scope="module", params=ENTRANTS, ids=lambda kind: kind.name)
def model(request, track):
    runs, stimuli = track.learning("train")
    return request.param("smoke").fit(runs, stimulus=stimuli, validation=track.learning("validation"), progress=False)


def test_forecasts_are_finite_and_read_the_stimulus(model, track):
    test = track.tests["cl500"]
    history, stimulus = test.given()
    forecast = model.rollout(history, 103, stimulus=stimulus)
    assert forecast.sizes["lead_time"] == 103 and forecast.sizes["start"] == history.sizes["start"]
    assert all(np.isfinite(forecast[v]).all() for v in forecast.data_vars)
    other = model.rollout(history, 103, stimulus=stimulus.where(stimulus.time < 0, -52.0))
    assert not np.allclose(forecast.Vm, other.Vm)
    assert model.card["training"] and model.card["training seconds"] > 0


def test_no_forecast_depends_on_a_later_stimulus(model, track):
    """Step k is told of the stimulus of its own frames; what comes after them must not matter."""
    history, stimulus = track.tests["cl500"].given()
    later = stimulus.where(stimulus.time < 60, -52.0)
    one, two = (model.rollout(history, 100, stimulus=s) for s in (stimulus, later))
    xr.testing.assert_equal(one.isel(lead_time=slice(60)), two.isel(lead_time=slice(60)))


def test_a_longer_run_begins_like_a_shorter_one(model, track):
    history, stimulus = track.tests["cl500"].given()
    short, long = (model.rollout(history, n, stimulus=stimulus) for n in (7, 30))
    for v in short.data_vars:
        np.testing.assert_allclose(short[v], long[v].isel(lead_time=slice(7)), rtol=1e-4, atol=1e-6)


def test_saved_and_loaded_it_forecasts_the_same(model, track, tmp_path):
    model.save(tmp_path / "model")
    history, stimulus = track.tests["s1s2"].given()
    again = type(model).load(tmp_path / "model")
    one, two = (m.rollout(history, 52, stimulus=stimulus) for m in (model, again))
    for v in one.data_vars:  # up to rounding: a stored matrix may lie otherwise in memory
        np.testing.assert_allclose(one[v], two[v], rtol=1e-5, atol=1e-6 * float(abs(one[v]).max()))


def test_without_a_stimulus_nothing_is_fitted_or_forecast(model, track):
    runs, _ = track.learning("train")
    with pytest.raises(ValueError, match="stimulus is missing"):
        type(model)("smoke").fit(runs)
    with pytest.raises(ValueError, match="stimulus is missing"):
        model.rollout(track.tests["cl500"].given()[0], 5)
    with pytest.raises(ValueError, match="no setting"):
        type(model)(colour=1)


# ---- what a convolution promises ----------------------------------------------------------------------


def conv_on(nodes):
    model = conv_lstm.ConvLSTM(hidden=6)
    model.grid = {"y": np.arange(float(nodes)), "x": np.arange(float(nodes))}
    torch.manual_seed(0)
    model._build()
    return model


@torch.inference_mode()
def test_away_from_the_edge_a_shift_of_the_input_shifts_the_output():
    """By whole patches, and as far as the edge has not been felt."""
    model = conv_on(48)
    rng = torch.Generator().manual_seed(1)
    frames, pushes = torch.randn(1, 6, 4, 48, 48, generator=rng), torch.rand(1, 10, 48, 48, generator=rng)
    one, _ = model.step_through(frames, pushes)
    two, _ = model.step_through(frames.roll(4, -1), pushes.roll(4, -1))
    inner = slice(20, 28)
    torch.testing.assert_close(one.roll(4, -1)[..., inner, inner], two[..., inner, inner], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one.roll(1, -1)[..., inner, inner],
                              model.step_through(frames.roll(1, -1), pushes.roll(1, -1))[0][..., inner, inner],
                              atol=1e-3)  # fmt: skip


@torch.inference_mode()
def test_nothing_travels_faster_than_the_kernel():
    model = conv_on(40)
    frames, pushes = torch.zeros(1, 1, 4, 40, 40), torch.zeros(1, 15, 40, 40)
    poked = frames.clone()
    poked[..., 1, 1] = 1.0
    change = (model.step_through(poked, pushes)[0] - model.step_through(frames, pushes)[0]).abs()
    reach = [int(change[0, 5 * k : 5 * k + 5].amax((0, 1, 2)).nonzero().max()) for k in range(3)]
    assert reach == [11, 19, 27]  # two patches of four nodes further with each step
