"""The surrogate that answers the stimulus: its pieces by hand, and what it must never do."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import cepkit as cep
from cepkit import bench, surrogates, training
from cepkit.bench import events
from cepkit.bench.methods import event_sheet, paced, paced_examples


@pytest.fixture(scope="module")
def track():
    return bench.make_track("paced", "smoke", progress=False)


@pytest.fixture(scope="module")
def model(track):
    """Hardly trained: enough for what must hold of any weights."""
    return bench.fit(paced.Paced("smoke"), track, progress=False)


def test_saved_and_loaded_it_forecasts_the_same(model, track, tmp_path):
    history, stimulus = track.tests["cl500"].given()
    model.save(tmp_path / "paced")
    again = cep.load(tmp_path / "paced")
    one, two = (m.rollout(history, 200, stimulus=stimulus) for m in (model, again))
    for v in one.data_vars:
        assert np.array_equal(one[v], two[v]), v


def test_the_plain_networks_are_the_trained_ones(model):
    """Inference is written in NumPy: it must say what PyTorch says."""
    rng = np.random.default_rng(0)
    for (net, trained), unit in zip(model.networks.items(), paced.FLOOR, strict=True):
        mean, std, *_ = model.units[unit]
        X = (mean + std * rng.standard_normal((7, len(mean)))).astype(np.float32)
        with torch.inference_mode():
            expected = trained(torch.from_numpy(model._scaled(unit, X))).numpy()
        assert np.allclose(model.apply(net, unit, X), expected, atol=1e-4), net


def test_features_are_believed_as_far_as_they_were_seen(model):
    """A rhythm that training never showed must not be taken for one far beyond all that it did."""
    _, std, low, high = model.units["before"]
    far = model._scaled("before", np.stack([low - 1e3 * std, high + 1e3 * std]))
    assert np.allclose(far, model._scaled("before", np.stack([low, high])))
    inside = (low + high)[None] / 2
    assert np.allclose(model._scaled("before", inside) * std + model.units["before"][0], inside, rtol=1e-5, atol=1e-6)


def test_nothing_fires_without_a_stimulus(model, track):
    history, stimulus = track.tests["rest"].given()
    out = model.rollout(history, 300, stimulus=stimulus)
    assert float(out.Vm.max()) < -60


def test_a_minute_of_rest_stays_at_rest():
    """Of the kept model: guesses that feed on guesses once let the potential wander to -30 mV, or the store stay full.

    The store of a node that rests loses some 3 of its 3.5 mM in a minute; the surrogate follows within a tenth of that.
    """
    tissue = cep.Tissue((24, 24), 10 / 23, 0.125)
    protocol = cep.pacing.periodic(500.0, 2, cep.region.corner(tissue))
    run = cep.simulate(tissue, protocol, 1500.0, progress=False)
    silence = xr.zeros_like(run.Vm[:1]).reindex(time=np.arange(0.0, 61_501.0), fill_value=0.0)
    stimulus = silence + cep.stimulus_field(protocol, like=run).reindex(time=silence.time, fill_value=0.0)
    still = cep.load("paced").rollout(run, 60_000, stimulus=stimulus).isel(start=0)
    assert -95 < float(still.Vm.min()) and float(still.Vm.max()) < -75
    cell = cep.Tissue((1, 1), 10 / 23, 0.125)  # all nodes of a resting sheet are one
    alone = cep.pacing.periodic(500.0, 2, cep.region.everywhere(cell))
    store = cep.simulate(cell, alone, 61_500.0, save_every=1500.0, progress=False).CaSR.isel(y=0, x=0)
    for seconds in (3, 9, 30, 60):
        frame = still.CaSR.sel(lead_time=1000.0 * seconds)
        truth = store.sel(time=1500 + 1000.0 * seconds).item()
        assert np.abs(frame - truth).max() < 0.3, f"{seconds} s: {truth:.2f} mM, {frame.mean().item():.2f} mM"


def test_other_tissue_and_missing_stimulus_are_refused(model, track):
    history, stimulus = track.tests["cl500"].given()
    with pytest.raises(ValueError, match="stimulus is missing"):
        model.rollout(history, 100)
    with pytest.raises(ValueError, match="grid"):
        model.rollout(history.isel(x=slice(0, 12)), 100, stimulus=stimulus)
    with pytest.raises(ValueError, match="no setting"):
        paced.Paced(layers=3)


def test_cubic_samples_are_exact_for_parabolas():
    t = np.arange(20.0)
    X = (2 + 3 * t - 0.5 * t**2)[:, None, None].repeat(4, 2).repeat(2, 1)
    at = np.array([[3.25, 7.5], [4.0, 9.9]])
    assert np.allclose(paced_examples.sample(X, np.array([0, 1]), at)[..., 0], 2 + 3 * at - 0.5 * at**2)


def test_courses_are_drawn_as_they_are_read():
    """The compiled loop and the plain look-up agree, before and after a node begins its new course."""
    rng = np.random.default_rng(1)
    course, previous = rng.standard_normal((2, 3, len(event_sheet.KNOTS), 4)).astype(np.float32)
    when, old = np.array([10.3, 25.0, 40.7]), np.array([-480.0, -300.5, -990.0])
    since = when - event_sheet.BEFORE
    mean, std = np.array([1.0, 2.0, 3.0, 4.0], np.float32), np.array([2.0, 1.0, 0.5, 3.0], np.float32)
    out = np.empty((60, 3, 4), np.float32)
    clocks = (when, old, since)
    event_sheet.draw(out, 0, 1.0, *clocks, course, previous, event_sheet.KNOTS, event_sheet.LOOKUP, mean, std)
    for f in (0, 2, 17, 33, 59):
        t = f + 1.0
        new, before = event_sheet.read_at(course, t - when), event_sheet.read_at(previous, t - old)
        expected = mean + std * np.where((t >= since)[:, None], new, before)
        assert np.allclose(out[f], expected, atol=1e-4)


def test_a_node_remembers_its_rhythm():
    memory = event_sheet.remember(np.full(1, np.nan), np.array([np.nan]))
    assert np.isnan(memory[0])
    memory = event_sheet.remember(memory, np.array([500.0]))
    assert memory[0] == 0.0
    for _ in range(60):
        memory = event_sheet.remember(memory, np.array([1000.0]))
    assert memory[0] == pytest.approx(np.log(2), rel=1e-4)


def test_a_load_is_the_rate_of_the_last_minutes():
    """Beats of 500 ms for long are two a second; what was paced before the run counts on in the run."""
    load = 0.0
    for _ in range(5000):
        load = event_sheet.fade(load + event_sheet.BEAT, 500.0)
    assert load == pytest.approx(2.0, rel=2e-3)  # 0.5 s of 200 s, half of it before the beat
    earlier = np.arange(-100e3, 0, 500.0)
    assert event_sheet.load_of(earlier, 60e3) == pytest.approx(event_sheet.fade(event_sheet.load_of(earlier), 60e3))


def test_arrival_learns_from_the_training_runs_alone(model, track):
    """The others learn from the late runs as well; and an unknown past has the load of the training runs' own."""
    early = bench.fit(paced.Paced("smoke"), dataclasses.replace(track, late=None), progress=False)
    same = {name: torch.equal(weight, early._tensors()[name]) for name, weight in model._tensors().items()}
    assert all(same[name] for name in same if name.startswith(("arrival", "place")))
    assert not all(same[name] for name in same if name.startswith(("response", "before")))
    assert model.usual == pytest.approx(np.mean([event_sheet.load_of(e) for e in track.train.earlier]))
    rest, silence = np.zeros((20, 576, 4), np.float32), np.zeros((40, 576), np.float32)
    assert (paced.Sheet(model, rest, silence).load == model.usual).all()
    assert (paced.Sheet(model, rest, silence, earlier=()).load == 0).all()


def test_last_and_next_activations():
    when, node = np.array([5.0, 6.0, 105.0, 106.0, 205.0]), np.array([0, 1, 0, 1, 0])
    last, earlier = paced_examples.last_before(when, node, 200.0, 3)
    assert last[:2].tolist() == [105.0, 106.0] and earlier[:2].tolist() == [5.0, 6.0] and np.isnan(last[2])
    after = paced_examples.next_after(when, node, np.array([105.0, 106.0, 0.0]), 300.0)
    assert after.tolist() == [205.0, 300.0, 300.0]


def test_the_kept_model_follows_the_solver():
    """A rhythm and a site of no training run: no beat missed or invented, waves and beats in time."""
    model = cep.load("paced")
    tissue = cep.Tissue((24, 24), 10 / 23, 0.125)
    site = cep.region.box(tissue, x=(4.3, 6.2), y=(4.3, 6.2))
    protocol = cep.pacing.periodic(550.0, 6, site)
    run = cep.simulate(tissue, protocol, 3000.0, progress=False)
    history, stimulus = run.isel(time=slice(0, 1501)), cep.stimulus_field(protocol, like=run)
    free = model.rollout(history, 1500, stimulus=stimulus).isel(start=0)
    fields = [[f[v].values.reshape(1500, -1) for v in ("Vm", "Cai")] for f in (run.isel(time=slice(1501, None)), free)]
    scores = events.compare(*fields)
    assert scores["missed"] == scores["spurious"] == 0
    assert scores["activation_error"] < 1.0
    assert scores["apd90_error"] < 10.0
    assert model.surprise[0] < 0.2
    other = cep.simulate(tissue, protocol, 3000.0, cell_type="m", progress=False)
    model.rollout(other.isel(time=slice(0, 1501)), 100, stimulus=stimulus)
    assert model.surprise[0] > 0.3  # tissue that it does not know


def test_a_training_that_was_killed_ends_with_the_same_weights(track, tmp_path, monkeypatch):
    """Stopped in the second network and started again: the very same weights."""
    whole = bench.fit(paced.Paced("smoke"), track, progress=False)
    calls = []

    def killed(checkpoint, *state):
        keep(checkpoint, *state)
        calls.append(checkpoint)
        if len(calls) == 14:
            raise KeyboardInterrupt

    keep = training.keep
    monkeypatch.setattr(training, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        bench.fit(paced.Paced("smoke"), track, progress=False, checkpoint=tmp_path / "state")
    assert "arrival" in str(calls[-1])
    monkeypatch.setattr(training, "keep", keep)
    resumed = bench.fit(paced.Paced("smoke"), track, progress=False, checkpoint=tmp_path / "state")
    for name, tensor in whole._tensors().items():
        assert torch.equal(tensor, resumed._tensors()[name]), name


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    """As several GPUs would: each process draws its own batches, and the mean gradient moves them all."""
    fabric = Path(sys.executable).with_name("fabric")
    script = Path(__file__).parents[2] / "scripts" / "train_paced.py"
    launch = [fabric, "run", "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp", "--precision", "bf16-mixed"]
    sizes = ["--profile", "smoke", "--hidden", "16", "--rank", "8", "--updates", "40"]
    train = [*launch, script, tmp_path / "model", *sizes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(list(map(str, train)), capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    model = surrogates.load(tmp_path / "model")
    assert model.card["trained on"] == {"device": "cpu", "processes": 2, "precision": "bf16-mixed"}
    assert all(torch.isfinite(tensor).all() for tensor in model._tensors().values())
    losses = [entry["loss"] for entry in model.card["training"]["response"]]
    assert losses[-1] < 0.5 * losses[0]


def test_one_frame_tells_how_long_ago_a_node_fired():
    """Of the kept model: from a single frame, 200 ms after a beat, it follows the rest of that beat and the next."""
    model = cep.load("paced")
    tissue = cep.Tissue((24, 24), 10 / 23, 0.125)
    protocol = cep.pacing.periodic(500.0, 5, cep.region.corner(tissue))
    run = cep.simulate(tissue, protocol, 2500.0, progress=False)
    frame = run.isel(time=slice(1700, 1701))
    stimulus = cep.stimulus_field(protocol, like=run).isel(time=slice(1700, None))
    free = model.rollout(frame, 700, stimulus=stimulus).isel(start=0)
    truth = run.isel(time=slice(1701, 2401))
    assert float(abs(free.Vm.values[:250] - truth.Vm.values[:250]).mean()) < 5.0  # mV, until the next stimulus
    both = [[f[v].values.reshape(700, -1) for v in ("Vm", "Cai")] for f in (truth, free)]
    scores = events.compare(*both)
    assert scores["missed"] == scores["spurious"] == 0
