"""What makes the benchmark fair: one judge on the validation part for all, and an exam that nobody sees before."""

import numpy as np
import pytest
import torch

import cepkit as cep
from cepkit import bench
from cepkit.bench.methods.ldnet import LDNet
from cepkit.bench.methods.local import LocalESN, LocalNVAR
from cepkit.bench.methods.operators import Remembering, UNet, UNetStepper
from cepkit.bench.methods.reduced import judge
from cepkit.bench.scorecard import _extremes, fit
from cepkit.surrogates import Learning


@pytest.fixture(scope="module")
def track():
    return bench.make_track("paced", "smoke", progress=False)


def shown(track, model):
    """The validation part as a model is shown it while it learns."""
    part = model._shown("validation", track.learning("validation"))
    return Learning([], [], [], {"validation": lambda: part})


@pytest.mark.parametrize("name", ["latent_dynamics", "conv_lstm", "lstm_stimulus", "physics_augmented"])
def test_the_weights_that_the_judge_likes_best_stay(track, name):
    model = fit(cep.surrogates.make(name, "smoke", validations=3), track, progress=False)
    errors = [entry["validation error"] for entry in model.card["training"] if "validation error" in entry]
    assert len(errors) >= 3 and len(set(errors)) > 1
    assert judge(model, shown(track, model))() == pytest.approx(min(errors), rel=1e-4)


def test_the_judge_is_the_mean_square_of_free_runs(track):
    model = fit(cep.surrogates.make("latent_dynamics", "smoke"), track, progress=False)
    (run,), (field,) = track.learning("validation")
    given, steps = 333, 667
    free = model.rollout(run.isel(time=slice(0, given)), steps, stimulus=field)
    error = 0.0
    for v in cep.dataset.VARIABLES:
        away = free[v].values[0] - run[v].values[given : given + steps]
        error += ((away / float(model.scaling.std[v])) ** 2).mean() / 4
    assert judge(model, shown(track, model))() == pytest.approx(error, rel=1e-3)
    assert judge(model, Learning([], [], [])) is None


def test_the_exam_is_sealed(track):
    question = track.exam["steady"]
    for look in (question.given, question.truth, lambda: bench.showcase(track, ["persistence"], "steady")):
        with pytest.raises((ValueError, KeyError), match="sealed exam|steady"):
            look()
    opened = track.sitting()["steady"]
    assert opened.given()[0].sizes["start"] == len(question.starts) == 2
    assert question.sealed, "it stays sealed for everybody else"
    each = {}
    table = bench.evaluate(cep.surrogates.make("persistence").fit(track.train.runs[0]), track,
                           {"steady": opened}, progress=False, each=each)  # fmt: skip
    assert {"z_mse_mean", "z_mse_worst", "wrong starts", "failed starts"} <= set(table.metric)
    z = table[table.variable == "Vm"].set_index("metric").value
    assert z["z_mse"] <= z["z_mse_worst"] and z["z_mse_mean"] <= z["z_mse_worst"]
    values, runs, seeds = zip(*each["steady"], strict=True)
    assert z["z_mse_worst"] == max(values) and runs == (0, 1) and seeds == (0, 0)


def test_what_a_median_hides():
    pairs = [(0.5, 0.4, 0.0), (0.1, 0.7, 0.4), (0.2, np.nan, 2.0), (np.inf, np.inf, np.inf)]
    cases = [{("Vm", "z_mse"): z, ("Vm", "rmse"): z, ("", "missed"): m, ("", "spurious"): s} for z, m, s in pairs]
    found = {metric: value for _, metric, value in _extremes(cases)}
    assert found["z_mse_worst"] == found["z_mse_mean"] == np.inf
    assert found["wrong starts"] == 75.0 and found["failed starts"] == 25.0
    found = {metric: value for _, metric, value in _extremes(cases[:3])}
    assert found["z_mse_mean"] == pytest.approx(0.8 / 3) and found["z_mse_worst"] == 0.5


def test_the_exam_asks_what_it_says():
    track = bench.make_track("paced", "laptop", progress=False)  # nothing is simulated
    asked = {name: [run for _, run in test.part.pairs] for name, test in track.exam.items()}
    assert {len(runs) for name, runs in asked.items() if name != "minute"} == {20} and len(asked["minute"]) == 5
    cycle_lengths = [np.diff(run.times)[0] for run in asked["steady"]]
    assert 350 <= min(cycle_lengths) < 420 and 720 < max(cycle_lengths) <= 800
    for name in ("early", "early_elsewhere"):
        for run in asked[name]:
            gaps = np.diff(run.times)
            assert 300 <= gaps.min() <= 360 and (gaps != 500).sum() == 1
    strengths = np.array([s.amplitude for run in asked["strength"] for s in run.stimuli])
    assert strengths.max() > -0.3 * 28 and strengths.min() < -2.8 * 28
    assert all(s.region.sum() == 1 for run in asked["one_node"] for s in run.stimuli)
    lags = [np.diff(run.times).min() for run in asked["lags"]]
    assert min(lags) >= 0 and max(lags) <= 500
    assert not any(run.stimuli for run in asked["rest"])
    assert all(start[0] < 1500 for test in track.exam.values() for start in test.starts), "S2 comes after the start"
    open_keys = {test.part.key.split("-")[-1] for test in track.tests.values()}
    assert not open_keys & {test.part.key.split("-")[-1] for test in track.exam.values()}


def test_a_network_without_state_remembers_its_pictures():
    seen = []

    def network(x):
        seen.append(x)
        return x[:, :2] * 0

    net = Remembering(network, channels=2, more=2)
    frames = [torch.full((1, 2, 3, 3), float(k)) for k in range(4)]
    state = net.begin(frames[0])
    for frame in frames:
        _, state = net.step(torch.cat([frame, torch.ones(1, 1, 3, 3)], dim=1), state)
    assert [seen[3][0, k, 0, 0].item() for k in range(7)] == [3, 3, 1, 2, 2, 1, 1]
    assert [seen[0][0, k, 0, 0].item() for k in (0, 3, 5)] == [0, 0, 0]


@pytest.mark.parametrize("shape", [(24, 24), (6, 6), (3, 5), (1, 1)])
def test_a_unet_keeps_the_shape_and_sees_far(shape):
    torch.manual_seed(0)
    net = UNet(3, 2, 4)
    x = torch.zeros(1, 3, *shape)
    assert net(x).shape == (1, 2, *shape) and not net(x).any(), "at first nothing changes"
    torch.nn.init.ones_(net.out.weight)
    poked = x.clone()
    poked[..., 0, 0] = 5.0
    assert (net(poked) - net(x))[..., min(shape[0] - 1, 8), min(shape[1] - 1, 8)].abs().max() > 0


def test_an_ldnet_decodes_every_place_by_itself(track):
    model = fit(LDNet("smoke"), track, progress=False)
    z = torch.randn(1, 2, model.settings.latent)
    whole = model.network.decoder(z, model.places)
    some = torch.tensor([5, 77, 500])
    assert torch.allclose(whole[:, :, some], model.network.decoder(z, model.places[some]), atol=1e-6)
    assert model.places[0].tolist() == [-1, -1] and model.places[23].tolist() == [-1, 1]  # y first, as nodes are


@pytest.mark.parametrize("kind", [UNetStepper, LDNet, LocalESN, LocalNVAR])
def test_the_new_rows_come_back_from_disk_as_they_were(track, kind, tmp_path):
    model = fit(kind("smoke"), track, progress=False)
    model.save(tmp_path)
    (run,), (field,) = track.learning("validation")
    one, two = (m.rollout(run.isel(time=slice(0, 100)), 60, stimulus=field) for m in (model, kind.load(tmp_path)))
    assert np.isfinite(one.Vm).all() and one.identical(two)


def test_a_node_sees_its_surroundings_in_order(track):
    model = fit(LocalNVAR("smoke"), track, progress=False)
    model.choice = (1, 2, 0.0, 2, 2)
    frame = torch.arange(576 * 4.0).reshape(576, 4).flatten()
    told = torch.zeros(2, 576)
    told[:, 24 * 3 + 4] = torch.tensor([1.0, 2.0])
    seen = model._inputs(frame, told.flatten())
    assert seen.shape == (576, 9 + 3 + 2 + 1)
    node = 24 * 3 + 4
    around = [24 * row + column for row in (1, 3, 5) for column in (2, 4, 6)]
    own = [4 * node + 1, 4 * node + 2, 4 * node + 3, 1, 2, pytest.approx(1.5 / 9)]
    assert seen[node].tolist() == [*(4.0 * n for n in around), *own]
    corner = [24 * row + column for row in (0, 0, 2) for column in (0, 0, 2)]
    assert seen[0, :9].tolist() == [4.0 * n for n in corner], "beyond an edge stands the edge"


@pytest.mark.parametrize(("kind", "choice"), [(LocalESN, (0.9, 0.3, 0.5)), (LocalNVAR, (3, 4))])
def test_local_rows_learn_a_wave(kind, choice):
    """A travelling wave of formulas, for ten frames: one law for all nodes."""
    runs, stimulus = cep.check.toy(beats=10)
    learnt, rest = runs.isel(time=slice(0, 400)), runs.isel(time=slice(350, None))
    settings = {"choices": ((1, 1, 0.1, *choice),), "ridges": (1e-4,), "nodes": 16, "settle": 20, "seen": 20}
    model = kind(**settings).fit(learnt, stimulus=stimulus, progress=False)
    free = model.rollout(rest.isel(time=slice(0, 60)), 10, stimulus=stimulus)
    truth = cep.forecast.futures(rest, [float(rest.time[59])], 10)
    z = cep.score({"local": free}, truth, cep.dataset.Scaling.fit(learnt)).z_mse.sel(variable="Vm")
    assert float(z.squeeze()) < 0.1
