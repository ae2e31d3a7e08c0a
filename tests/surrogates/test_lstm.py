"""What trains the LSTM: the compiled free run and its gradient, averaged weights, least squares, validation."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_surrogates import small_lstm, wave

from cepkit import training
from cepkit.dataset import Scaling, Windows, principal_components, to_tensor
from cepkit.forecast import draw_starts, forecast, free_run
from cepkit.surrogates import lstm, unrolled
from cepkit.training import Training


@pytest.mark.parametrize(("layers", "batch", "threads"), [(1, 3, 1), (2, 5, 2), (3, 1, 2)])
@pytest.mark.parametrize("both", [False, True])
def test_the_compiled_free_run_is_that_of_pytorch(layers, batch, threads, both, monkeypatch):
    torch.manual_seed(0)
    network, x = lstm.LSTMNetwork(6, 8, layers, both=both), torch.randn(batch, 9, 6, requires_grad=True)
    weights, before = torch.arange(20.0)[:, None], torch.get_num_threads()

    def run(compiled):
        monkeypatch.setattr(unrolled, "can_run", lambda h: compiled)
        network.zero_grad()
        x.grad = None
        out = network.run_free(x, 20)
        (weights * out**2).sum().backward()
        then, h = network(x)
        plain = torch.stack([then[:, -1], *free_run(network.step, then[:, -1], h, 19)], 1)
        torch.testing.assert_close(out, plain, rtol=1e-4, atol=1e-4)
        return [out.detach(), x.grad, *[p.grad for p in network.parameters()]]

    torch.set_num_threads(threads)
    try:
        for mine, theirs in zip(run(True), run(False), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    finally:
        torch.set_num_threads(before)


def test_what_the_compiled_free_run_cannot_do_is_left_to_pytorch():
    for hidden, kind, can in ((8, torch.float32, True), (8, torch.float64, False), (6, torch.float32, False)):
        h = torch.zeros(1, 1, hidden, dtype=kind)
        assert unrolled.can_run(h) == can
        network = lstm.LSTMNetwork(6, hidden).to(kind)
        assert torch.isfinite(network.run_free(torch.randn(2, 5, 6, dtype=kind), 7)).all()


def test_the_sigmoid_is_one_everywhere():
    x = np.concatenate([np.linspace(-100, 100, 4001), [0.0, 1e-20, 1e30, -1e30]]).astype(np.float32)
    mine = np.array([unrolled.sigmoid.py_func(v) for v in x])
    np.testing.assert_allclose(mine, torch.sigmoid(torch.from_numpy(x)), rtol=1e-5, atol=1e-34)


def test_a_refit_writes_better_and_is_read_as_before():
    """Of a network whose frames were spoilt by a linear map, whatever is read and written undoes the map."""
    torch.manual_seed(1)
    network, X = lstm.LSTMNetwork(6, 16), torch.randn(12, 10, 6)
    with torch.no_grad():
        network.NN_LSTM.weight_ih_l0.mul_(3)
        true = torch.cat([X, network.run_free(X, 40)], 1)
        before = network.outputs(X, 40)
        network.g.weight.add_(0.05 * torch.randn_like(network.g.weight))
    spoilt = ((network.run_free(X, 40) - true[:, 10:]) ** 2).mean().item()
    lstm.refit(network, true, given=10, ridge=(1e-9, 1e-9))
    assert ((network.run_free(X, 40) - true[:, 10:]) ** 2).mean().item() < 0.1 * spoilt
    assert torch.corrcoef(torch.stack([network.outputs(X, 40).flatten(), before.flatten()]))[0, 1] > 0.99


def test_least_squares_is_least_and_is_drawn_to_where_it_starts():
    torch.manual_seed(0)
    A, start = torch.randn(50, 4), torch.randn(3, 4)
    W, b = torch.randn(3, 4), torch.randn(3)
    B = A @ W.T + b
    for found, right in zip(lstm.least_squares(A, B, 0.0), (W, b), strict=True):
        torch.testing.assert_close(found, right)
    for ridge, near in ((1e-9, W), (1e9, start)):
        found, bias = lstm.least_squares(A, B, ridge, start)
        torch.testing.assert_close(found, near, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(bias, (B - A @ near.T).mean(0), rtol=1e-4, atol=1e-4)


def test_a_network_of_whitened_components_is_one_of_frames():
    trajectory = wave()
    model = small_lstm(components=8, whitened=True)
    X = to_tensor(Scaling.fit(trajectory).apply(trajectory))
    basis = principal_components([X], 8) / torch.tensor([0.1, 1, 3, 4, 2, 7, 30, 0.01])
    inner = model.build(8)
    full = model._absorb(inner, basis)
    with torch.no_grad():
        torch.testing.assert_close(full(X[None])[0] @ basis, inner(X[None] @ basis)[0], rtol=1e-3, atol=1e-3)


def test_averaged_weights_are_the_mean_that_decays():
    network, seen = torch.nn.Linear(1, 1, bias=False), []
    X = Windows(torch.randn(60, 1, generator=torch.Generator().manual_seed(0)), 4, 1)

    def loss(network, X_b, done):
        seen.append(network.weight.item())
        return ((network(X_b) - 3 * X_b) ** 2).mean()

    batches = training.Shuffled(X, 8, seed=0)
    training.tune(network, batches, loss, epochs=3, updates=batches.updates, learning_rate=0.1, average=0.2,
                  progress=False)  # fmt: skip
    later = seen[1:]  # the weight after each update but the last, which nobody has seen
    mean = later[0]
    for value in later[1:]:
        mean += 0.2 * (value - mean)
    last = (network.weight.item() - 0.8 * mean) / 0.2
    assert abs(last - later[-1]) < 0.15  # one step of Adam


def test_weights_are_chosen_by_free_runs_on_what_is_held_back():
    trajectory = wave(400)
    learn, held = trajectory.isel(time=slice(None, 300)), trajectory.isel(time=slice(300, None))
    recipe = Training(window=60, stride=2, epochs=12, learning_rate=1e-2, average=0.1)
    model = small_lstm(training=recipe, finish=recipe, given=(20, 30), horizons=(5, 30), bounded=True, chosen=True)
    model.fit(learn, validation=([held],), progress=False)
    errors = [epoch["validation error"] for epoch in model.card["training"] if epoch["epoch"] > 0][12:]
    windows = Windows([to_tensor(model.scaling.apply(held))], 66)
    X_b = windows[torch.linspace(0, len(windows) - 1, 24).long()]
    with torch.inference_mode():
        found = ((model.network.run_free(X_b[:, :33], 33) - X_b[:, 33:]) ** 2).mean((1, 2)).median()
    assert float(found) == pytest.approx(min(errors), rel=1e-3)

    own = forecast(model, held, draw_starts(held, 5, 20, 40), 20, 40)
    for name in ("Vm", "Cai", "CaSR", "CaSS"):
        assert learn[name].min() <= own[name].min() and own[name].max() <= learn[name].max()


def test_an_eighth_of_the_gates_can_start_with_long_memories():
    torch.manual_seed(0)
    network = small_lstm(hidden=1600, memory=500).build(6).NN_LSTM
    for k in range(2):
        i, f, *_ = (network.get_parameter(f"bias_ih_l{k}") + network.get_parameter(f"bias_hh_l{k}")).view(4, -1)
        memory = 1 / (1 - f.sigmoid())
        assert (memory[200:] < 4).all()
        few = memory[:200]
        assert torch.allclose(i.sigmoid()[:200], 1 / few, rtol=1e-3)
        assert 2 <= few.min() < 20 and 480 < few.max() <= 500
        assert torch.allclose(few.quantile(torch.tensor([0.25, 0.75])), torch.tensor([126.0, 376.0]), rtol=0.2)


def test_the_error_of_the_mean_has_a_weight_of_its_own():
    torch.manual_seed(0)
    network, X, unit = lstm.LSTMNetwork(6, 8), torch.randn(3, 30, 6), torch.rand(6)
    error = unit * (X[:, 10:] - network.run_free(X[:, :10], 20))
    alone, both = (lstm.free_running(network, X, 10, unit, level) for level in (0.0, 3.0))
    torch.testing.assert_close(alone, (error**2).mean())
    torch.testing.assert_close(both - alone, 3 * (error.mean(1) ** 2).mean())


def test_some_free_runs_begin_with_a_single_frame(monkeypatch):
    seen = []
    note = lambda network, X_b, given, *_: seen.append((given, X_b.shape[1] - given))  # noqa: E731
    monkeypatch.setattr(lstm, "free_running", note)
    model = small_lstm(given=(20, 30), cold=0.25, horizons=(5, 40, 80))
    model.unit = 1.0
    torch.manual_seed(0)
    for stage, done, horizon in ((0, 0.0, 5), (0, 1.0, 40), (1, 1.0, 80)):
        seen.clear()
        for _ in range(400):
            model._free(None, torch.zeros(1, 200, 2), done, stage)
        given = np.array([g for g, _ in seen])
        assert {h for _, h in seen} == {horizon} and 0.18 < np.mean(given == 1) < 0.32
        assert set(given[given > 1]) == set(range(20, 30))


def test_a_training_ends_after_its_time(monkeypatch):
    clock = SimpleNamespace(perf_counter=itertools.count().__next__)  # an epoch takes 1 s
    monkeypatch.setattr(training, "time", clock)
    batches = training.Shuffled(Windows(torch.randn(60, 1), 4, 1), 8, seed=0)
    given = dict(epochs=50, updates=batches.updates, progress=False)
    loss = lambda network, X_b, done: (network(X_b) ** 2).mean()  # noqa: E731
    assert len(training.tune(torch.nn.Linear(1, 1), batches, loss, seconds=2.5, **given)) == 3
