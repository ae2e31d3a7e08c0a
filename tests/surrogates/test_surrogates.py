"""Surrogates on tiny synthetic trajectories: a travelling wave of known period."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

import cepkit as cep
from cepkit import forecast, runs, surrogates, training
from cepkit.dataset import VARIABLES, Drifted, Scaling, Windows, principal_components, split, to_dataset, to_tensor
from cepkit.profiles import get_profile
from cepkit.training import Training

CYCLE = 20


def wave(frames=200, cycle=CYCLE, shape=(3, 4), start=0.0):
    """A periodic travelling wave in the four variables, each in its own size."""
    time, y, x = start + np.arange(frames, dtype=float), np.arange(shape[0]) * 0.5, np.arange(shape[1]) * 0.5
    angle = 2 * np.pi * (time[:, None, None] / cycle - 0.1 * y[:, None] - 0.05 * x)
    sizes = {"Vm": (-40, 50), "Cai": (5e-4, 3e-4), "CaSR": (3.5, 0.4), "CaSS": (0.05, 0.02)}
    data = {
        v: (("time", "y", "x"), (a + b * np.sin(angle + k) * np.exp(np.cos(angle))).astype("float32"))
        for k, (v, (a, b)) in enumerate(sizes.items())
    }
    return xr.Dataset(data, {"time": time, "y": y, "x": x}, {"cycle_length": float(cycle), "data_hash": "wave"})


@pytest.fixture(scope="module")
def trajectory():
    return wave()


def small_lstm(**changes):
    recipe = Training(window=60, stride=1, epochs=30, learning_rate=1e-2, decay=True)
    return surrogates.make("lstm", "smoke", **{"components": None, "training": recipe, **changes})


def small_ode(**changes):
    recipe = Training(window=30, stride=1, epochs=20, learning_rate=5e-3, decay=True)
    settings = {"components": None, "training": recipe, "given": None, "step": 1.0, "unit": 20.0, "sigma": 0.1}
    return surrogates.make("neural_ode", "smoke", **{**settings, **changes})


@pytest.fixture(scope="module")
def lstm(trajectory):
    return small_lstm().fit(trajectory, progress=False)


@pytest.fixture(scope="module")
def neural_ode(trajectory):
    return small_ode().fit(trajectory, progress=False)


def z_mse(model, trajectory, starts, warmup, steps):
    out = forecast.forecast(model, trajectory, starts, warmup, steps)
    scores = cep.score({model.name: out}, trajectory, Scaling.fit(trajectory))
    return float(scores.z_mse.mean())


# ---- baselines: by hand --------------------------------------------------------------------------------
def test_persistence_repeats_the_last_frame(trajectory):
    model = surrogates.make("persistence").fit(trajectory)
    out = model.rollout(trajectory.isel(time=slice(10, 13)), 5)
    assert out.sizes == {"start": 1, "lead_time": 5, "y": 3, "x": 4}
    assert out.start.item() == 12 and out.lead_time.values.tolist() == [1, 2, 3, 4, 5]
    for v in VARIABLES:
        np.testing.assert_array_equal(out[v][0, -1], trajectory[v][12])


@pytest.mark.parametrize("warmup", [1, 7, CYCLE, 2 * CYCLE + 3])
def test_last_beat_is_exact_on_a_periodic_signal(trajectory, warmup):
    model = surrogates.make("last_beat").fit(trajectory.isel(time=slice(0, 93)))
    out = forecast.forecast(model, trajectory, [97.0, 101.0, 113.0], warmup, 50)
    truth = forecast.futures(trajectory, [97.0, 101.0, 113.0], 50)
    for v in VARIABLES:
        np.testing.assert_allclose(out[v], truth[v], rtol=2e-3, atol=1e-6)


def test_last_beat_copies_the_history_not_the_training(trajectory):
    model = surrogates.make("last_beat").fit(trajectory)
    louder = 2 * forecast.histories(trajectory, [97.0], CYCLE)
    out = model.rollout(louder, CYCLE)
    np.testing.assert_array_equal(out.Vm.values, louder.Vm.values)


def test_climatology_is_the_mean_beat(trajectory):
    louder = trajectory.copy()
    louder["Vm"] = trajectory.Vm + (trajectory.time // CYCLE)  # every beat 1 mV higher: the mean is 4.5 higher
    model = surrogates.make("climatology").fit(louder)
    out = forecast.forecast(model, trajectory, [99.0], 1, 30)
    truth = forecast.futures(trajectory, [99.0], 30)
    np.testing.assert_allclose(out.Vm, truth.Vm + 4.5, atol=0.05)


def test_a_rhythm_needs_a_cycle_length(trajectory):
    silent = trajectory.drop_attrs()
    with pytest.raises(ValueError, match="cycle_length"):
        surrogates.make("climatology").fit(silent)
    assert surrogates.make("climatology", cycle_length=20.0).fit(silent).frames == 20


# ---- the networks learn --------------------------------------------------------------------------------
def test_the_lstm_learns_to_run_free(lstm, trajectory):
    starts = [60.0, 71.0, 85.0]
    assert z_mse(lstm, trajectory, starts, 40, 60) < 0.02
    assert z_mse(surrogates.make("persistence").fit(trajectory), trajectory, starts, 40, 60) > 0.5


def test_the_neural_ode_reconstructs_and_forecasts(neural_ode, trajectory):
    window = trajectory.isel(time=slice(40, 70))
    again = neural_ode.reconstruct(window)
    assert again.Vm.dims == window.Vm.dims
    error = ((again.Vm - window.Vm) ** 2).mean() / trajectory.Vm.var()
    assert error < 0.1
    assert z_mse(neural_ode, trajectory, [60.0, 71.0], 20, 10) < 0.3


def test_the_solvers_agree(neural_ode, trajectory):
    """The latent ODE is smooth: a fine Euler step and dopri5 solve the same equation."""
    fine, adaptive = (small_ode(solver=s, step=d) for s, d in (("euler", 0.01), ("dopri5", 1.0)))
    out = []
    for model in (fine, adaptive):
        model.network = model.build(48)
        model.network.load_state_dict(neural_ode.network.state_dict())
        with torch.no_grad():
            out.append(model.network.solve(torch.ones(1, 50) * 0.1, 30))
    torch.testing.assert_close(*out, rtol=0.02, atol=0.02)


def test_the_neural_ode_encodes_backwards_and_integrates_like_euler_by_hand(neural_ode):
    net = neural_ode.network
    z = torch.randn(2, 50)
    with torch.no_grad():
        by_hand = [z]
        for _ in range(4):
            by_hand.append(by_hand[-1] + net.f(by_hand[-1]) / 20.0)
        torch.testing.assert_close(net.solve(z, 5), torch.stack(by_hand, 1))
        X = torch.randn(1, 6, 48)
        _, h = net.encoder.rnn(X[:, [5, 4, 3, 2, 1, 0]])
        torch.testing.assert_close(net.encoder(X)[0], net.encoder.out(h[-1])[:, :50])


def test_elbo_loss_by_hand(neural_ode):
    """Without a spread in q the loss is the squared error over 2 sigma^2 plus the KL divergence."""
    from cepkit.surrogates.neural_ode import elbo_loss

    net = neural_ode.network
    X = torch.randn(3, 10, 48)
    with torch.no_grad():
        mean, log_variance = net.encoder(X)
        q, p = torch.distributions.Normal(mean, (log_variance / 2).exp()), torch.distributions.Normal(0.0, 1.0)
        torch.manual_seed(3)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        mse = ((net.decoder(net.solve(z, 10)) - X) ** 2).sum()
        expected = (mse / (2 * 0.5**2) + torch.distributions.kl_divergence(q, p).sum()) / X.numel()
        torch.manual_seed(3)
        torch.testing.assert_close(elbo_loss(net, X, sigma=0.5), expected)


def test_a_neural_ode_of_rescaled_windows_does_not_see_scale_and_offset(trajectory):
    training = Training(window=20, stride=20, epochs=1)
    model = surrogates.NeuralODE("smoke", rescaled=True, components=None, given=None, training=training)
    model.fit(trajectory, progress=False)
    history = trajectory.isel(time=slice(-20, None))
    for forecast_of in (lambda window: model.rollout(window, 10), model.reconstruct):
        once, twice = forecast_of(history), forecast_of(2 * history + 1)
        for v in VARIABLES:
            np.testing.assert_allclose(twice[v], 2 * once[v] + 1, rtol=1e-3, atol=1e-4 * float(abs(once[v]).max()))


def test_the_named_configurations_are_the_papers():
    def weights(model):
        with torch.device("meta"):
            return sum(p.numel() for p in model.build(2304).parameters())

    assert weights(surrogates.LSTM("published_code")) == weights(surrogates.LSTM("laptop", both=False)) == 789_760
    assert weights(surrogates.LSTM("laptop")) == 789_760 + 64 * 2304  # the dense layer reads both layers
    assert 85e6 < weights(surrogates.LSTM("paper")) < 95e6
    ode = surrogates.NeuralODE("published_code").build(2304)
    assert (ode.encoder.rnn.hidden_size, ode.encoder.out.out_features, ode.solver) == (20, 100, "dopri5")
    assert [layer.out_features for layer in ode.decoder[::2]] == [50, 2304]


# ---- Algorithm 2 -----------------------------------------------------------------------------------------
def test_the_folded_loop_is_algorithm_2(lstm, trajectory):
    """The fast free run and the plain one, from a warm-up and from one frame with h_0 = 0."""
    X = to_tensor(lstm.scaling.apply(forecast.histories(trajectory, [60.0, 73.0], 10)))
    with torch.no_grad():
        for history in (X, X[:, -1:]):
            _, h_0 = lstm.network(history[:, :-1]) if history.shape[1] > 1 else (None, None)
            plain = torch.stack(forecast.free_run(lstm.network.step, history[:, -1], h_0, 30), 1)
            torch.testing.assert_close(lstm.network.run_free(history, 30), plain, rtol=1e-4, atol=1e-4)


def test_free_run_feeds_back():
    assert forecast.free_run(lambda x, h: (x + h, h + 1), 1, 1, 4) == [2, 4, 7, 11]


def test_many_starts_at_once_are_the_single_ones(lstm, trajectory):
    starts = [60.0, 71.0]
    both = forecast.forecast(lstm, trajectory, starts, 10, 5)
    for k, start in enumerate(starts):
        history = trajectory.sel(time=slice(start - 9, start))
        one = lstm.rollout(history, 5)
        assert one.start.item() == start
        np.testing.assert_allclose(one.Vm[0], both.Vm[k], rtol=1e-4, atol=1e-3)


# ---- Algorithm 1 -----------------------------------------------------------------------------------------
def test_next_frame_loss_by_hand(lstm):
    from cepkit.surrogates.lstm import next_frame

    X = torch.randn(2, 6, 48)
    with torch.no_grad():
        h, total = None, 0.0
        for t in range(5):
            x, h = lstm.network.step(X[:, t], h)
            total += ((x - X[:, t + 1]) ** 2).mean() / 5
        torch.testing.assert_close(next_frame(lstm.network, X), total)


def test_free_running_loss_is_the_error_of_algorithm_2(lstm):
    from cepkit.surrogates.lstm import free_running

    X = torch.randn(2, 9, 48)
    with torch.no_grad():
        _, h = lstm.network(X[:, :3])
        own = torch.stack(forecast.free_run(lstm.network.step, X[:, 3], h, 5), 1)
        torch.testing.assert_close(free_running(lstm.network, X, given=4), ((own - X[:, 4:]) ** 2).mean())


def test_a_second_pass_trains_the_free_run(trajectory):
    """It starts from what the first pass learnt and makes the free run much better than it was."""
    first = Training(window=60, stride=1, epochs=6, learning_rate=1e-2, decay=True)
    second = Training(window=80, stride=1, epochs=6, learning_rate=5e-3, decay=True, clip=1.0, skip=20)
    once = small_lstm(training=first).fit(trajectory, progress=False)
    twice = small_lstm(training=first, finish=second, given=(30, 41), horizons=(30, 40)).fit(trajectory, progress=False)
    assert [epoch["epoch"] for epoch in twice.card["training"]] == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]
    assert twice.card["training"][-1]["updates"] == (200 - 20 - 80 + 1) // 16
    starts = [60.0, 71.0, 85.0]
    assert z_mse(twice, trajectory, starts, 40, 60) < 0.5 * z_mse(once, trajectory, starts, 40, 60)


def test_windows_of_beats_to_come_carry_a_linear_drift_on():
    t = torch.arange(400.0)[:, None]
    beats = torch.sin(2 * torch.pi * t / 10) + torch.cat([0.01 * t, -0.02 * t], 1)  # a drift, and a beat of ten frames
    torch.manual_seed(0)
    windows = Drifted([beats], 30, 1, 50, 4.0)
    assert len(windows) == 400 - 50 - 30 + 1
    X = windows[torch.full((200,), 100)]
    moved = (X - beats[150:180]) / torch.tensor([0.01, -0.02])  # the frames that each window was moved on by
    assert moved.std((1, 2)).max() < 0.01 and 0 <= moved.min() < 10 and 190 < moved.max() <= 200.01
    with pytest.raises(ValueError, match="length=30"):
        Drifted([beats[:70]], 30, 1, 50, 4.0)


def test_training_in_components_is_training_on_frames(trajectory):
    """With as many components as frames have numbers, the absorbed network says what the inner one said."""
    model = small_lstm(components=12)
    X = [to_tensor(Scaling.fit(trajectory).apply(trajectory))]
    basis = principal_components(X, 12)
    inner = model.build(12)
    full = model._absorb(inner, basis)
    with torch.no_grad():
        seen, _ = inner(X[0][None] @ basis)
        torch.testing.assert_close(full(X[0][None])[0] @ basis, seen, rtol=1e-4, atol=1e-4)
    components = X[0] @ basis
    assert float((components**2).mean()) == pytest.approx(float((X[0] ** 2).mean()), rel=0.02)


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(trajectory, tmp_path):
    model = small_lstm(dropout=0.2)
    X = Windows(to_tensor(Scaling.fit(trajectory).apply(trajectory)), 30, 2)
    batches = training.Shuffled(X, 16, seed=7)
    settings = {"epochs": 4, "updates": batches.updates, "schedule": "cosine", "progress": False}

    def run(loss, checkpoint=None):
        torch.manual_seed(0)
        network = model.build(48)
        return network, training.tune(network, batches, loss, checkpoint=checkpoint, **settings)

    def plain(network, X_b, done):
        return next_frame(network, X_b, unit=1 - done / 2)

    from cepkit.surrogates.lstm import next_frame

    whole, history = run(plain)
    calls = 0

    def interrupted(network, X_b, done):
        nonlocal calls
        calls += 1
        if calls > 12:  # somewhere in the third epoch
            raise KeyboardInterrupt
        return plain(network, X_b, done)

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, tmp_path / "c")
    resumed, again = run(plain, tmp_path / "c")
    assert [e["loss"] for e in again] == [e["loss"] for e in history]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_no_number_stops_training():
    network = torch.nn.Linear(1, 1)
    X = Windows(torch.full((40, 1), float("nan")), 4, 1)
    with pytest.raises(FloatingPointError, match="epoch 1, update 1"):
        batches = training.Shuffled(X, 4)
        training.tune(network, batches, lambda n, x, done: n(x).mean(), epochs=1, updates=3, progress=False)


def test_training_leaves_the_callers_random_numbers(trajectory):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    small_lstm(training=Training(window=30, stride=50, epochs=1), dropout=0.1).fit(trajectory, progress=False)
    assert torch.equal(torch.rand(3), expected)


# ---- the data's doors -------------------------------------------------------------------------------------
def test_windows_and_split(trajectory):
    train, test = split(trajectory)
    assert (train.sizes["time"], test.sizes["time"]) == (160, 40)
    X = Windows(to_tensor(train), 30, 7)
    assert len(X) == 19 and X[[0, 18]].shape == (2, 30, 48)
    torch.testing.assert_close(X[[18]][0], to_tensor(train)[126:156])
    two = Windows([torch.arange(10.0)[:, None], torch.arange(100.0, 106.0)[:, None]], 5, 1)
    starts = two[range(len(two))][:, 0, 0].tolist()
    assert starts == [0, 1, 2, 3, 4, 5, 100, 101]


def test_scaling_and_tensors_go_there_and_back(trajectory):
    scaling = Scaling.fit(trajectory.isel(time=slice(0, 100)))
    scaled = scaling.apply(trajectory)
    part = scaled.isel(time=slice(0, 100))
    for v in VARIABLES:
        assert abs(float(part[v].mean())) < 1e-4 and float(part[v].std()) == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose((scaled * scaling.std + scaling.mean)[v], trajectory[v], rtol=1e-4, atol=1e-5)
    back = to_dataset(to_tensor(trajectory), {d: trajectory[d].values for d in ("time", "y", "x")}, ("time", "y", "x"))
    for v in VARIABLES:
        np.testing.assert_array_equal(back[v], trajectory[v])
    assert Scaling.from_dict(scaling.to_dict()).to_dict() == scaling.to_dict()


# ---- files -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["persistence", "last_beat", "climatology"])
def test_baselines_survive_the_disk(name, trajectory, tmp_path):
    model = surrogates.make(name).fit(trajectory)
    model.save(tmp_path / "m")
    again = cep.load(tmp_path / "m")
    history = trajectory.isel(time=slice(0, 5))
    xr.testing.assert_identical(model.rollout(history, 7), again.rollout(history, 7))


@pytest.mark.parametrize("name", ["lstm", "neural_ode"])
def test_networks_survive_the_disk(name, trajectory, tmp_path, request):
    model = request.getfixturevalue(name)
    model.save(tmp_path / "m")
    model.save(tmp_path / "m")  # over an older one
    again = cep.load(tmp_path / "m")
    history = trajectory.isel(time=slice(0, 5))
    xr.testing.assert_identical(model.rollout(history, 7), again.rollout(history, 7))
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert card["data"]["data_hash"] == "wave" and card["configuration"]["seed"] == 0
    assert len(card["training"]) == model.settings.training.epochs
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_failed_save_leaves_the_older_one(lstm, tmp_path, monkeypatch):
    lstm.save(tmp_path / "m")
    before = (tmp_path / "m" / "weights.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cepkit.surrogates.card.replace_file", full)
    with pytest.raises(ValueError, match="No space left"):
        lstm.save(tmp_path / "m")
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_damage_is_named(lstm, tmp_path):
    lstm.save(tmp_path / "m")
    weights, card = tmp_path / "m" / "weights.safetensors", tmp_path / "m" / "card.json"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="weights.safetensors is damaged"):
        cep.load(tmp_path / "m")
    weights.unlink()
    with pytest.raises(ValueError, match="weights.safetensors is missing"):
        cep.load(tmp_path / "m")
    card.write_text("{")
    with pytest.raises(ValueError, match="card.json is damaged"):
        cep.load(tmp_path / "m")
    card.unlink()
    with pytest.raises(ValueError, match="card.json is missing"):
        cep.load(tmp_path / "m")


def test_cards_of_other_editions(lstm, tmp_path):
    lstm.save(tmp_path / "m")
    file = tmp_path / "m" / "card.json"
    card = json.loads(file.read_text())
    del card["sha256"]["card.json"], card["scaling"]
    file.write_text(json.dumps(card))
    with pytest.raises(ValueError, match="another version of lstm.*fit it anew"):
        cep.load(tmp_path / "m")


def test_a_card_is_sealed_as_it_is_read(lstm, tmp_path):
    lstm.card["notes"] = {2: "a", 10: "b"}
    lstm.save(tmp_path / "m")
    del lstm.card["notes"]
    assert cep.load(tmp_path / "m").card["notes"] == {"2": "a", "10": "b"}


def test_a_gradient_of_zero_is_a_gradient():
    network, batches = torch.nn.Linear(2, 2), training.Drawn(lambda: torch.zeros(2, 2))
    settings = dict(epochs=1, updates=2, clip=1.0, progress=False)
    assert training.tune(network, batches, lambda n, x, done: (n(x) * 0).sum(), **settings)[0]["loss"] == 0


def test_what_is_kept_is_guarded(lstm, trajectory, tmp_path, monkeypatch):
    monkeypatch.setattr(surrogates, "kept_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match="no lstm is kept"):
        cep.load("lstm")
    lstm.save(tmp_path / "models" / "lstm")
    assert surrogates.kept() == ["lstm"]
    assert cep.load("lstm").summary() == lstm.summary()
    (tmp_path / "models" / "lstm" / "card.json").write_text("{}")
    with pytest.raises(ValueError, match="card.json is damaged"):
        cep.load("lstm")


def test_a_run_is_reused_only_while_nothing_changed(trajectory, tmp_path, monkeypatch, capsys):
    data = trajectory.copy()
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path))
    monkeypatch.setenv("RETRAIN", "1")
    monkeypatch.setattr("cepkit.runs.golden_standard", lambda profile, **_: data)

    def said():
        runs.trained("persistence", "smoke")
        return capsys.readouterr().out

    assert "training" in said()
    assert "nothing has changed" in said()
    assert cep.load("persistence", run="smoke").card["profile"] == "smoke"
    data.attrs["data_hash"] = "another wave"
    assert "training" in said()
    monkeypatch.setattr(surrogates.Persistence, "version", "newer")
    assert "training" in said()
    assert "nothing has changed" in said()
    monkeypatch.setenv("RETRAIN", "0")
    monkeypatch.setattr(surrogates, "kept_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match="no lstm is kept"):  # and nothing is trained instead
        runs.trained("lstm", "smoke")
    with pytest.raises(ValueError, match="run='laptop' holds no persistence"):
        cep.load("persistence", run="laptop")
    monkeypatch.setenv("RETRAIN", "perhaps")
    with pytest.raises(ValueError, match="RETRAIN='perhaps'"):
        said()


# ---- bad input ---------------------------------------------------------------------------------------------
def test_bad_input_is_refused(lstm, trajectory):
    history = trajectory.isel(time=slice(0, 5))
    refused = [
        (lambda: lstm.rollout(history, 0), "steps=0"),
        (lambda: lstm.rollout(history.isel(x=slice(0, 3)), 5), "grid"),
        (lambda: lstm.rollout(history.assign_coords(x=history.x + 1), 5), "nodes stand elsewhere"),
        (lambda: lstm.rollout(history.isel(time=[0, 1, 3]), 5), "1.0 ms apart"),
        (lambda: lstm.rollout(history.drop_vars("Cai"), 5), "variables"),
        (lambda: lstm.rollout(history * np.nan, 5), "NaN"),
        (lambda: lstm.rollout(history.Vm, 5), "xarray.Dataset"),
        (lambda: lstm.rollout(history, 5, stimulus=trajectory.Vm.isel(time=slice(0, 9))), "stimulus covers"),
        (lambda: small_lstm().rollout(history, 5), "learnt nothing"),
        (lambda: small_lstm().fit([]), "empty"),
        (lambda: small_lstm(colour=3), "colour"),
        (lambda: surrogates.make("transformer"), "no surrogate"),
        (lambda: surrogates.LSTM("enormous"), "published_code"),
        (lambda: surrogates.LSTM("smoke", device="abacus"), "device"),
        (lambda: cep.load("nothing/here"), "neither a folder"),
        (lambda: get_profile("desktop"), "smoke, laptop, paper"),
        (lambda: split(trajectory, 1.0), "fraction"),
        (lambda: Windows(to_tensor(trajectory), 500), "length=500"),
        (lambda: Scaling.fit(trajectory * 0), "standard deviation"),
        (lambda: forecast.histories(trajectory, [3.0], 10), "outside"),
        (lambda: forecast.futures(trajectory, [195.0], 10), "outside"),
        (lambda: forecast.histories(trajectory, [3.5], 1), "times of frames"),
        (lambda: forecast.draw_starts(trajectory, 20, 100, 100), "starts"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_stimulus_is_aligned_by_time(lstm, trajectory):
    history = trajectory.isel(time=slice(0, 5))
    lstm.rollout(history, 5, stimulus=trajectory.Vm)


def test_draw_starts_leaves_room(trajectory):
    starts = forecast.draw_starts(trajectory, 101, 50, 50)
    assert (starts.min(), starts.max()) == (49, 149) and len(set(starts)) == 101
    assert np.array_equal(forecast.draw_starts(trajectory, 5, 50, 50), forecast.draw_starts(trajectory, 5, 50, 50))


def test_the_clock_counts_only_rollouts(trajectory):
    model = surrogates.make("persistence").fit(trajectory)
    calls = []
    roll = model.rollout
    model.rollout = lambda history, steps, stimulus: calls.append(steps) or roll(history, steps, stimulus)
    result = forecast.clock(model, trajectory.isel(time=slice(0, 5)), 30, repeats=3)
    assert calls == [30] * 4
    assert 0 < result["fastest"] <= result["median"] <= result["slowest"]
