"""The reduced-order entrants: what each must get exactly right, and that each fits, runs and survives its file."""

import json
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import solve_ivp

import cepkit as cep
from cepkit.bench.methods import dmd_control, latent_dynamics, physics_augmented, pod_galerkin, pod_regression
from cepkit.bench.tracks import make_track
from cepkit.dataset import VARIABLES
from cepkit.pacing import Protocol, Stimulus, stimulus_field
from cepkit.surrogates import Learning

KINDS = {
    kind.name: kind
    for kind in (
        dmd_control.DMDControl,
        latent_dynamics.LatentDynamics,
        physics_augmented.MinimalModel,
        physics_augmented.PhysicsAugmented,
        pod_galerkin.PODDEIM,
        pod_galerkin.PODGalerkin,
        pod_regression.PODRegression,
    )
}


@pytest.fixture(scope="module")
def tracks():
    return {name: make_track(name, "smoke", progress=False) for name in ("paced", "cell")}


@pytest.fixture(scope="module")
def fitted(tracks):
    """(entrant, track) -> a fitted model, made once."""
    known = {}

    def get(kind, track):
        if (kind, track) not in known:
            runs, stimuli = tracks[track].learning("train")
            model = KINDS[kind]("smoke")
            validation = tracks[track].learning("validation")
            known[kind, track] = model.fit(runs, stimuli, validation=validation, progress=False)
        return known[kind, track]

    return get


@pytest.fixture(scope="module")
def beat():
    """Two beats of a small sheet, and their protocol."""
    tissue = cep.Tissue((6, 6), 10 / 23, 0.125)
    protocol = cep.pacing.periodic(300.0, 2, cep.region.corner(tissue), start=10.0)
    return cep.simulate(tissue, protocol, 500.0, dt=0.05, progress=False), protocol


# ---- every entrant ------------------------------------------------------------------------------------
@pytest.mark.parametrize("track", ["paced", "cell"])
@pytest.mark.parametrize("kind", KINDS)
def test_fits_and_forecasts(kind, track, fitted, tracks, tmp_path):
    model, test = fitted(kind, track), tracks[track].tests["cl500"]
    history, stimulus = test.given()
    forecast = model.rollout(history, 150, stimulus)
    assert forecast.Vm.shape == (history.sizes["start"], 150, *history.Vm.shape[2:])
    for v in VARIABLES:
        assert np.isfinite(forecast[v]).all()
    assert model.card["training seconds"] > 0 and isinstance(model.card["training"], list)

    model.save(tmp_path / "kept")
    loaded = KINDS[kind].load(tmp_path / "kept")
    for key, tensor in model._tensors().items():
        assert torch.equal(loaded._tensors()[key], tensor), key
    again = loaded.rollout(history, 150, stimulus)
    for v in VARIABLES:  # the same weights at another address may be summed in another order, in single precision
        near = 1e-4 * float(abs(forecast[v]).max())
        np.testing.assert_allclose(again[v], forecast[v], rtol=0, atol=near)


@pytest.mark.parametrize("kind", KINDS)
def test_stimulus_is_asked_for(kind, fitted, tracks):
    runs, _ = tracks["cell"].learning("train")
    with pytest.raises(ValueError, match="stimulus is missing"):
        KINDS[kind]("smoke").fit(runs)
    history, _ = tracks["cell"].tests["cl500"].given()
    with pytest.raises(ValueError, match="stimulus is missing"):
        fitted(kind, "cell").rollout(history, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_future_stimulus_does_not_reach_back(kind, fitted, tracks):
    """What happens after frame 60 must not change the frames before it (5 frames are decoded together)."""
    history, stimulus = tracks["paced"].tests["rest"].given()
    other = stimulus.copy(deep=True)
    other[:, history.sizes["time"] + 59] = -52.0
    model = fitted(kind, "paced")
    calm, paced = (model.rollout(history, 100, s).Vm.values for s in (stimulus, other))
    np.testing.assert_array_equal(calm[:, :55], paced[:, :55])
    assert np.abs(calm[:, 65:] - paced[:, 65:]).max() > 1e-3  # and afterwards it must


@pytest.mark.parametrize("kind", KINDS)
def test_starts_do_not_mix(kind, fitted, tracks):
    history, stimulus = tracks["paced"].tests["cl500"].given()
    model = fitted(kind, "paced")
    both = model.rollout(history, 40, stimulus)
    alone = model.rollout(history.isel(start=[1]), 40, stimulus.isel(start=[1]))
    np.testing.assert_allclose(alone.Vm.values[0], both.Vm.values[1], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_setting_is_refused(kind):
    with pytest.raises(ValueError, match="colour"):
        KINDS[kind](colour=3)


# ---- dynamic mode decomposition -----------------------------------------------------------------------
def linear_system(seed=0, K=4, P=2, frames=400):
    rng = np.random.default_rng(seed)
    A = np.linalg.qr(rng.normal(size=(K, K)))[0] * 0.97
    B, c = rng.normal(size=(K, P)), rng.normal(size=K)
    u, a = rng.normal(size=(frames, P)), np.zeros((frames, K))
    for k in range(frames - 1):
        a[k + 1] = A @ a[k] + B @ u[k] + c
    return A, B, c, torch.tensor(a, dtype=torch.float32), torch.tensor(u, dtype=torch.float32)


def learnt(a, u, **changes):
    model = dmd_control.DMDControl(**changes)
    model.scale = torch.ones(a.shape[1])
    model._learn([a], [u], Learning([], [], []))
    return model


def test_dmd_recovers_a_linear_system_with_input():
    A, B, c, a, u = linear_system()
    model = learnt(a, u, ridges=(0.0,))
    np.testing.assert_allclose(model.map.numpy(), np.vstack([A.T, B.T, c]), atol=1e-4)
    np.testing.assert_allclose(model.eigenvalues().abs().numpy(), 0.97, atol=1e-4)
    forecast = model._run(a[None, :101], u[None], 100)
    np.testing.assert_allclose(forecast[0].numpy(), a[101:201].numpy(), atol=1e-2)


def test_dmd_keeps_a_fixed_point():
    A, _, c, a, u = linear_system()
    model = learnt(a, u, ridges=(0.0,))
    still = torch.tensor(np.linalg.solve(np.eye(4) - A, c), dtype=torch.float32)
    forecast = model._run(still[None, None], torch.zeros(1, 301, 2), 300)
    np.testing.assert_allclose(forecast[0, -1].numpy(), still.numpy(), atol=2e-3)


def test_dmd_that_explodes_stays_finite():
    model = dmd_control.DMDControl()
    model.map = torch.tensor([[1e10], [0.0], [0.0]])
    forecast = model._run(torch.ones(1, 1, 1), torch.zeros(1, 51, 1), 50)
    assert torch.isfinite(forecast).all() and forecast[0, -1] > 1e20


# ---- projection ---------------------------------------------------------------------------------------
def test_deim_interpolates():
    """Exact for functions in its span, and at its nodes for any function."""
    x = np.linspace(0, 1, 60)[:, None]
    basis = np.linalg.qr(np.exp(-((x - np.linspace(0, 1, 8)) ** 2) / 0.02))[0]
    points = pod_galerkin.interpolation_points(basis)
    assert len(set(points.tolist())) == 8
    interpolate = basis @ np.linalg.inv(basis[points])
    inside = basis @ np.arange(8.0)
    np.testing.assert_allclose(interpolate @ inside[points], inside, atol=1e-10)
    anything = np.sin(9 * x[:, 0])
    np.testing.assert_allclose((interpolate @ anything[points])[points], anything[points], atol=1e-10)
    # The nodes are worth choosing: eight neighbours make a far worse interpolation.
    assert np.linalg.norm(interpolate, 2) < 0.01 * np.linalg.norm(basis @ np.linalg.inv(basis[:8]), 2)


def test_the_diffusion_operator_is_that_of_the_solver():
    tissue = cep.Tissue((5, 4), 0.5, 0.125)
    L = tissue.operator.toarray()
    V = np.random.default_rng(0).normal(size=tissue.shape)
    ahead, behind = tissue.weights
    expected = np.zeros(tissue.shape)
    expected[:-1] += ahead[0][:-1] * np.diff(V, axis=0)
    expected[1:] -= behind[0][1:] * np.diff(V, axis=0)
    expected[:, :-1] += ahead[1][:, :-1] * np.diff(V, axis=1)
    expected[:, 1:] -= behind[1][:, 1:] * np.diff(V, axis=1)
    np.testing.assert_allclose(L @ V.ravel(), expected.ravel(), atol=1e-12)
    np.testing.assert_allclose(L.sum(1), 0, atol=1e-12)  # a constant does not diffuse


@pytest.mark.parametrize("kind", [pod_galerkin.PODGalerkin, pod_galerkin.PODDEIM])
def test_all_modes_are_the_full_model(kind, beat):
    """From the first frame on, where the 15 hidden variables are known, the same numbers to 0.01 mV."""
    run, protocol = beat
    stimulus = stimulus_field(protocol, like=run)
    model = kind(components=36, points=36, dt=0.05).fit(run, stimulus, progress=False)
    forecast = model.rollout(run.isel(time=[0]), 150, stimulus)
    truth = run.isel(time=slice(1, 151))
    np.testing.assert_allclose(forecast.Vm.values[0], truth.Vm.values, atol=1e-2)
    if kind is pod_galerkin.PODGalerkin:  # DEIM keeps half as many modes of the concentrations as it has points
        np.testing.assert_allclose(forecast.CaSR.values[0], truth.CaSR.values, atol=1e-4)
    assert truth.Vm.max() > 10  # a beat, and no rest
    rng = np.random.default_rng(0)  # so are all modes of any bases, about any means, and however often they take turns
    turned = np.stack([np.linalg.qr(rng.normal(size=(36, 36)))[0] for _ in range(2)])
    model.back = turned.swapaxes(1, 2) @ model.basis[0] @ model.back[0]
    model.basis, model.mean = turned, np.stack([np.full(36, -80.0), np.full(36, 10.0)])
    again = model.rollout(run.isel(time=[0]), 150, stimulus)
    np.testing.assert_allclose(again.Vm.values, forecast.Vm.values, atol=1e-2)
    few = kind(components=3, points=36, dt=0.05).fit(run, stimulus, progress=False)
    assert np.abs(few.rollout(run.isel(time=[0]), 150, stimulus).Vm.values[0] - truth.Vm.values).max() > 1


def test_local_bases_hold_what_one_basis_loses(beat):
    run, protocol = beat
    model = partial(pod_galerkin.PODGalerkin, components=3, dt=0.05)
    fitted = [model(bases=k).fit(run, stimulus_field(protocol, like=run), progress=False) for k in (1, 4)]
    lost = [one.card["rms of Vm outside the modes [mV]"] for one in fitted]
    assert lost[1] < lost[0] / 2
    rng, where = np.random.default_rng(0), np.repeat([0, 1, 2], 50)
    apart = (np.eye(3, 40)[where] * 9 + rng.normal(size=(150, 40)) / 9).astype(np.float32)
    groups = pod_galerkin.clusters(apart, 3, 20)
    assert sorted(int(group.mean(0).argmax()) for group in groups) == [0, 1, 2] and {len(g) for g in groups} == {50}
    assert {len(g) for g in pod_galerkin.clusters(apart, 3, 60)} == {60}


def test_galerkin_rests_where_nothing_happens(beat):
    run, protocol = beat
    stimulus = stimulus_field(protocol, like=run)
    model = pod_galerkin.PODGalerkin(components=36, dt=0.1).fit(run, stimulus, progress=False)
    forecast = model.rollout(run.isel(time=[0]), 300, xr.zeros_like(stimulus))
    assert np.abs(forecast.Vm - run.Vm[0]).max() < 1.0


def test_a_diverged_forecast_is_held():
    fields = np.zeros((5, 4, 2), np.float32)
    fields[:, 0, 0] = [1, 2, 5000, 3, np.nan]
    held = pod_galerkin._hold(fields.copy(), np.full((4, 2), 7.0))
    assert held[:, 0, 0].tolist() == [1, 2, 2, 2, 2]
    fields[0, 3, 1] = np.inf
    assert (pod_galerkin._hold(fields, np.full((4, 2), 7.0)) == 7).all()


# ---- regression ---------------------------------------------------------------------------------------
def test_pacing_features_by_hand():
    U = torch.zeros(1, 900, 4)
    U[0, 100, 0] = U[0, 500, 3] = 1.0
    theta = pod_regression.pacing_features(U)[0]
    since, last, _ = (theta[:, :3].exp() - 30).T
    np.testing.assert_allclose(since[[101, 500, 501, 899]], [1, 400, 1, 399], atol=0.05)
    np.testing.assert_allclose(last[[501, 899]], 400, atol=0.05)
    np.testing.assert_allclose(theta[600, 3:], [0.5, 0.5, -0.5, -0.5])


def test_regression_reproduces_what_it_was_fitted_to():
    """Components that are a smooth function of the pacing are found again."""
    U = torch.zeros(3000, 1)
    U[np.random.default_rng(1).choice(3000, 12, replace=False), 0] = 1.0
    since = pod_regression.pacing_features(U[None])[0, :, 0]
    a = torch.stack([torch.sin(since), torch.cos(2 * since)], 1)
    model = pod_regression.PODRegression(components=2, samples=150, centres=300, frames=3000, skip=0)
    model._learn([a], [U], Learning([], [], []))
    made = model._run(a[None, :1000], U[None], 2000)
    assert (made[0] - a[1000:]).square().mean() < 1e-2 * a.var()


# ---- latent dynamics ----------------------------------------------------------------------------------
def test_latent_dynamics_does_not_read_the_frames(fitted, tracks):
    history, stimulus = tracks["paced"].tests["cl500"].given()
    model = fitted("latent_dynamics", "paced")
    a, b = (model.rollout(h, 20, stimulus).Vm.values for h in (history, history + 1))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("given", [100, 98, 97])
def test_latent_steps_end_with_the_history(given, fitted):
    """A history that is no whole number of steps starts earlier in quiet tissue: the same forecast."""
    model = fitted("latent_dynamics", "paced")
    P = model.network.told.in_features // model.settings.stride
    U = torch.zeros(1, 200, P)
    U[0, 120, 0] = 1.0
    K = model.basis.shape[1]
    with torch.no_grad():
        whole = model._run(torch.zeros(1, 101, K), torch.cat([torch.zeros(1, 101 - given, P), U], 1), 50)
        cut = model._run(torch.zeros(1, given, K), U, 50)
    np.testing.assert_allclose(cut, whole, atol=1e-5)


# ---- physics and a network ----------------------------------------------------------------------------
def run_of(tissue, p, pushed, dt, begin=(0.0, 1.0, 1.0, 0.0)):
    """States (frames, 4, rows, columns) of one sheet of the model with parameters p, u pushed [1/ms] frame by frame."""
    sheets = physics_augmented.Sheets([tissue], p, 1.0, dt, *np.zeros((2, 1, *tissue.shape)))
    sheets.state[0] = np.reshape(begin, (4, 1, 1))
    made = []
    for push in pushed:
        sheets.run(push[None])
        made.append(sheets.state[0].copy())
    return np.array(made)


def test_mitchell_schaeffer_sheet():
    """Rests at rest, conducts a wave, and diffuses without loss."""
    tissue, p = cep.Tissue((24, 24), 10 / 23, 0.125), np.array(list(physics_augmented.MITCHELL_SCHAEFFER.values()))
    corner = np.zeros((100, 24, 24))
    assert np.abs(run_of(tissue, p, corner[:50], 0.1)[:, 0]).max() == 0.0
    corner[0, :5, :5] = 0.52
    u = run_of(tissue, p, corner, 0.1)[:, 0]
    assert (u.max(0) > 0.7).all()
    arrival = (u > 0.5).argmax(0)
    assert arrival[23, 23] > arrival[12, 12] > arrival[5, 5] >= 0
    np.testing.assert_allclose(u, u.transpose(0, 2, 1), atol=1e-6)


def test_mitchell_schaeffer_duration():
    """A long beat of one node lasts t_close log(t_out / (4 t_in)) and some t_out for its end."""
    pulse = np.zeros((900, 1, 1))
    pulse[0] = 0.52
    u = run_of(cep.Tissue((1, 1), 1.0), np.array([0.1, 6.0, 120.0, 150.0, 0.13]), pulse, 0.02)[:, 0]
    assert 0 < (u > 0.13).sum() - 150 * np.log(6 / 0.4) < 10 * 6.0


def test_the_minimal_model_is_its_equations():
    """Against another integrator, and against what its source says of the set TNNP: one upstroke, APD as in TP06."""
    p, begin, one = np.array(list(physics_augmented.TNNP.values())), [0.35, 1.0, 1.0, 0.0], cep.Tissue((1, 1))
    wanted = solve_ivp(lambda t, y: physics_augmented.rates(*y, p), (0, 400), begin, "LSODA", max_step=0.5,
                       t_eval=np.arange(0, 401.0, 50), rtol=1e-8)  # fmt: skip
    made = run_of(one, p, np.zeros((400, 1, 1)), 0.005, begin)[..., 0, 0]
    np.testing.assert_allclose(made[49::50], wanted.y[:, 1:].T, atol=5e-3)
    assert 250 < np.flatnonzero(run_of(one, p, np.zeros((400, 1, 1)), 0.1, begin)[:, 0] > 0.1).max() < 330


@pytest.mark.parametrize("kind", [physics_augmented.PhysicsAugmented, physics_augmented.MinimalModel])
def test_the_residual_makes_up_for_what_the_physics_lack(kind):
    """A sheet of other times, of which only the front's is fitted: with its residual it repolarises like the other."""
    times = {"t_close": 130.0} if "t_close" in kind.physics else {"t_so1": 35.0}
    tissue = cep.Tissue((6, 6), 1.0, 0.1)
    starts = 20 + np.cumsum(np.random.default_rng(0).uniform(300, 600, 16)).round()
    protocol = Protocol([Stimulus(t, cep.region.corner(tissue)) for t in starts])
    run = xr.Dataset({"Vm": (("time", "y", "x"), np.zeros((7000, 6, 6)))}, {"time": np.arange(7000.0), **tissue.coords})
    field = stimulus_field(protocol, like=run)
    made = run_of(tissue, np.array(list((kind.physics | times).values())), field.values / -kind.span, 0.2)
    u = np.concatenate([np.zeros((1, 6, 6)), made[:-1, 0]])
    run = run.assign({name: (run.Vm.dims, u) for name in VARIABLES})
    run = run.assign(Vm=physics_augmented.REST + kind.span * run.Vm).assign_attrs(tissue=json.dumps(tissue.describe()))
    learnt, given, told = run.isel(time=slice(6000)), run.isel(time=slice(5500, 6000)), field.isel(time=slice(6000))

    def error(limit):
        wrong = type("Wrong", (kind,), {"fitted": kind.fitted[:1]})
        model = wrong(limit=limit, evaluations=20, shown=6000, rounds=1500).fit(learnt, told, progress=False)
        free = model.rollout(given, 900, stimulus=field).Vm.squeeze().values
        return float(((free - run.Vm.values[6000:6900]) ** 2).mean() / run.Vm.var())

    assert error(0.3) < error(1e-9) / 8


def test_protocol_of_one_stimulus_is_seen():
    """The patches of the stimulus hold its whole area."""
    tissue = cep.Tissue((24, 24), 10 / 23, 0.125)
    protocol = Protocol([Stimulus(3.0, cep.region.corner(tissue))])
    like = xr.Dataset(coords={"time": np.arange(10.0), **tissue.coords})
    like = like.assign(Vm=(("time", "y", "x"), np.zeros((10, 24, 24))))
    field = torch.from_numpy(stimulus_field(protocol, like).values).flatten(1)
    model = dmd_control.DMDControl()
    model.grid = {d: like[d].values for d in ("y", "x")}
    patches = model._patches(field)
    assert patches.shape == (10, 36) and patches[4:].abs().max() == 0
    assert float(patches[3].sum() * 16) == pytest.approx(float((field[3] != 0).sum()))
