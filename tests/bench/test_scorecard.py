"""The protocol's own tests: known answers for models whose errors are known."""

import dataclasses
import json
import sys
import warnings
from copy import copy

import numpy as np
import pytest
import torch
import xarray as xr

import cepkit as cep
from cepkit import bench, measure
from cepkit import scores as judge
from cepkit.bench import events, metrics
from cepkit.bench.methods.paced import Paced
from cepkit.bench.methods.replay import onsets
from cepkit.bench.methods.solver_coarse import protocol_of
from cepkit.dataset import to_tensor
from cepkit.surrogates import Surrogate


@pytest.fixture(scope="module")
def track():
    """The paced track at smoke, simulated once for this module."""
    return bench.make_track("paced", "smoke", progress=False)


@pytest.fixture(scope="module")
def beats():
    """Two nodes that fire at 100, 600 and 1100 ms, 7 ms apart, with an APD of 250 ms: made, not simulated."""
    t = np.arange(1500.0)[:, None]
    V, Ca = np.full((1500, 2), -85.0), np.full((1500, 2), 1e-4)
    for start in (100.0, 600.0, 1100.0):
        for node, late in enumerate((0.0, 7.0)):
            tau = t[:, 0] - start - late
            up = np.clip(tau + 1.0, 0, 2) / 2 * 125  # through -40 mV at tau = -0.28
            down = np.clip((tau - 200) / 100, 0, 1) * 125
            V[:, node] += up - down
            Ca[:, node] += 1e-3 * ((tau > 0) & (tau < 100))
    return V, Ca


def test_a_perfect_forecast_scores_zero(beats):
    same = events.compare(beats, beats)
    for name in ("activation_error", "apd90_error", "missed", "spurious", "cv_error", "phase_drift", "systolic_error"):
        assert same[name] == 0, name
    X = torch.from_numpy(np.stack([beats[0], *[beats[1]] * 3], -1).reshape(1500, -1)).float()
    scores = metrics.case_scores(X, X, np.ones(4), 1.0)
    assert scores["Vm", "z_mse"] == scores["Cai", "rmse"] == scores["CaSR", "mse_published"] == 0


def test_apd90_and_activation_of_a_made_beat(beats):
    found = measure.find(*beats, 1.0, 5)
    assert np.allclose(found[0, :3, 0], np.array([100, 600, 1100]) - 0.28, atol=1e-6)
    assert np.allclose(found[1, :3, 0] - found[0, :3, 0], 7.0)
    # 12.5 mV above rest: reached 0.8 ms before the plateau begins, left 290 ms after.
    assert np.allclose(found[:, 0, 1], 290.0 + 0.8, atol=0.01)
    assert np.isnan(found[:, 3:, 0]).all()


def test_a_taller_beat_that_follows_is_another_beat(beats):
    V, Ca = (x.copy() for x in beats)
    V[400:900] = -85 + 1.1 * (V[400:900] + 85)  # the second beat, 500 ms after the first
    assert np.allclose(measure.find(V, Ca, 1.0, 5)[:, :3, 1], measure.find(*beats, 1.0, 5)[:, :3, 1], atol=0.1)
    V[380:610] = np.maximum(V[380:610], -70.0)  # the first never ends
    assert np.isnan(measure.find(V, Ca, 1.0, 5)[:, 0, 1]).all()


def test_a_shifted_truth_gets_exactly_its_drift(beats):
    """Each beat 2 ms later than the one before it should be."""
    V, Ca = (x.copy() for x in beats)
    for k, start in enumerate((50, 550, 1050)):
        part = slice(start, start + 450)
        V[part], Ca[part] = np.roll(beats[0][part], 2 * k, 0), np.roll(beats[1][part], 2 * k, 0)
    scores = events.compare(beats, (V, Ca))
    assert scores["phase_drift"] == pytest.approx(2.0)
    assert scores["activation_error"] == pytest.approx(2.0)
    assert scores["apd90_error"] == pytest.approx(0, abs=1e-9)
    assert scores["missed"] == scores["spurious"] == 0


def test_missed_and_spurious_activations(beats):
    V, Ca = (x.copy() for x in beats)
    V[550:1050] = -85.0  # the second beat is left out
    assert events.compare(beats, (V, Ca))["missed"] == pytest.approx(100 / 3)
    assert events.compare((V, Ca), beats)["spurious"] == pytest.approx(50)
    silence = np.full_like(V, -85.0), Ca
    assert np.isnan(events.compare(silence, silence)["missed"])
    assert events.compare(silence, beats)["spurious"] == 3  # a node


def test_a_slower_wave_is_a_velocity_error(beats):
    V, Ca = (x.copy() for x in beats)
    V[:, 1] = np.roll(beats[0][:, 1], 7, axis=0)  # 14 ms instead of 7 from node to node
    assert events.compare(beats, (V, Ca))["cv_error"] == pytest.approx(50)


def test_persistence_as_computed_by_hand(track):
    test = track.tests["cl500"]
    table = bench.evaluate(bench.entrant("persistence", track), track, ["cl500"], progress=False)
    truth, (history, _) = test.truth(), test.given()
    squared = ((truth.Cai - history.Cai.isel(time=-1)) ** 2).mean(("lead_time", "y", "x"))
    std = np.concatenate([run.Cai.values[::5].ravel() for run in track.train.runs]).std(dtype=np.float64)
    by_hand = float((squared / std**2).median())
    row = table[(table.metric == "z_mse") & (table.variable == "Cai")]
    assert float(row.value.iloc[0]) == pytest.approx(by_hand, rel=1e-3)
    assert float(row.low.iloc[0]) <= by_hand <= float(row.high.iloc[0])


class Oracle(Surrogate):
    """Tries to peek: all that it is handed is the history, and that holds no frame after the start."""

    name = "oracle"
    seen = None

    def _rollout(self, X, start, steps):
        Oracle.seen = X
        return X[:, -1:].expand(-1, steps, -1)


def test_nobody_sees_the_future(track):
    test = track.tests["s1s2"]
    history, stimulus = test.given()
    Oracle().fit(track.train.runs).rollout(history, test.steps, stimulus=stimulus)
    assert Oracle.seen.shape[1] == test.warmup
    first = to_tensor(test.truth().isel(lead_time=0))
    run, start = test.runs[0], test.starts[0][0]
    assert torch.equal(Oracle.seen[0, -1], to_tensor(run.sel(time=start).load()))
    assert not torch.equal(Oracle.seen[0, -1], first[0])
    assert "lead_time" not in history.dims and float(history.time.max()) == 0


def test_the_stimulus_of_a_case_is_that_of_its_run(track):
    test = track.tests["two_sites"]
    _, stimulus = test.given()
    whole = cep.stimulus_field(test.protocols[0], like=test.runs[0])
    for k, start in enumerate(test.starts[0]):
        own = whole.sel(time=slice(start - test.warmup + 1, start + test.steps))
        assert np.array_equal(stimulus.isel(start=k), own)
    assert stimulus.time.values[0] == 1 - test.warmup and stimulus.time.values[-1] == test.steps
    back = protocol_of(torch.from_numpy(own.values).flatten(1), track.tissue, 1.0)
    again = cep.stimulus_field(back, like=own.assign_coords(time=np.arange(own.sizes["time"], dtype=float)))
    assert np.array_equal(again, own.values)


def test_a_model_that_reads_the_stimulus_must_get_it(track):
    model = bench.entrant("nearest_beat", track)
    history, stimulus = track.tests["cl500"].given()
    with pytest.raises(ValueError, match="stimulus is missing"):
        model.rollout(history, 50)
    with pytest.raises(ValueError, match="stimulus covers"):
        model.rollout(history, 50, stimulus=stimulus.isel(time=slice(0, 120)))
    with pytest.raises(ValueError, match="stimulus is missing"):
        cep.surrogates.make("nearest_beat").fit(track.train.runs)


def test_protocols_keep_their_promises():
    """At laptop: no training site in the hole, no interval under 300 ms, and the tests are what they say."""
    track = bench.make_track("paced", "laptop")
    hole = cep.region.box(track.tissue, x=(9.5 * 10 / 23, 13.5 * 10 / 23), y=(9.5 * 10 / 23, 13.5 * 10 / 23))
    for protocol in track.train.protocols + track.validation.protocols:
        times = np.unique([s.start for s in protocol.stimuli])
        assert np.diff(times).min() >= 300
        for s in protocol.stimuli:
            rows, columns = np.nonzero(s.region.values)
            assert not (9.5 < rows.mean() < 13.5 and 9.5 < columns.mean() < 13.5)
    assert all((s.region & hole).any() for s in track.tests["site"].protocols[0].stimuli)
    assert {float(np.diff(p.times).min()) for p in track.tests["s1s2"].protocols} == {300.0, 360.0, 420.0, 480.0}
    assert not track.tests["rest"].protocols[0].stimuli
    assert sum(len(s) for s in track.tests["cl400"].starts) == 20


def test_runs_that_begin_late_have_a_past(track):
    """Minutes as one cell, then the prelude as a sheet, which begins where the cell ended and knows its stimuli."""
    late = track.late
    (past, duration), (prelude, _) = late.past[0], late.pairs[0]
    cell = cep.Tissue((1, 1), track.tissue.spacing, track.tissue.diffusivity)
    run = cep.simulate(cell, past, duration, dt=0.01, progress=False)
    (state,) = late.begin()  # with adaptive steps
    for name, value in cep.final_state(run).data_vars.items():
        assert state[name] == pytest.approx(value.item(), rel=1e-2, abs=1e-3), name
    end = -track.late.prelude
    times = late.earlier[0]
    assert (np.diff(times) > 0).all() and times[-1] < 0
    assert np.sum(times < end) == len({s.start for s in past.stimuli if s.start < duration})
    assert np.sum(times >= end) == len({s.start for s in prelude.stimuli if s.start < -end})


def test_without_late_runs_there_is_no_load(track, tmp_path):
    """Runs of seconds teach a load nothing but how long they have run, and a test at another hour would be lost."""
    early, fitted = dataclasses.replace(track, late=None), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["cepkit.bench.scorecard"], "_folder", lambda track: tmp_path)
        patch.setattr(Paced, "load", lambda path: fitted[-1])
        patch.setattr(Paced, "fit", lambda model, *_, **__: fitted.append(model))
        patch.setattr(Paced, "save", lambda *_: None)
        patch.setattr(Paced, "summary", lambda *_: "")
        configured = [bench.entrant("paced", t, progress=False).configuration for t in (track, early)]
    assert [c["without"] for c in configured] == [(), ("load",)] and len(fitted) == 2, "an older training was taken"


def test_the_coarse_solver_is_the_solver(track):
    """From a full history at rest, with the same step, it stays as close as its unknown gates allow."""
    test = track.tests["rest"]
    model = bench.entrant("solver_coarse", track)
    history, stimulus = test.given()
    out = model.rollout(history, 100, stimulus=stimulus)
    truth = test.truth().isel(lead_time=slice(0, 100))
    assert float(abs(out.Vm - truth.Vm).max()) < 1.0


def test_the_coarse_solver_takes_up_a_beat_whose_begin_it_has_not_seen(track):
    """One frame of a plateau: the kept state that is most alike goes on as the tissue does."""
    model, run = bench.entrant("solver_coarse", track), track.train.runs[0]
    stimulus = cep.stimulus_field(track.train.protocols[0], like=run)
    fired = float(cep.measure.activation_map(run).max())
    begin = float(run.time.sel(time=fired + 60, method="nearest"))
    history = cep.forecast.histories(run, [begin], 1)
    truth = cep.forecast.futures(run, [begin], 150)
    out = model.rollout(history, 150, stimulus=stimulus)
    quiet = stimulus.sel(time=slice(begin, begin + 150))
    assert float(history.Vm.min()) > -30 and not bool((quiet != 0).any())
    off, held = (float(abs(guess - truth.Vm).mean()) for guess in (out.Vm, history.Vm.isel(time=-1)))
    assert off < min(8.0, 0.4 * held)


def test_half_a_second_without_a_beat_is_enough_for_the_solver(track):
    """The kept states reach a second beyond a stimulus: at rest the four variables say which of them it is."""
    corner = cep.region.corner(track.tissue)
    protocol = cep.Protocol([cep.Stimulus(t, corner) for t in (0.0, 500.0, 1500.0)])
    run = cep.simulate(track.tissue, protocol, 1900.0, progress=False)
    stimulus, model = cep.stimulus_field(protocol, like=run), bench.entrant("solver_coarse", track)
    truth = cep.forecast.futures(run, [1490.0], 400)
    histories = [cep.forecast.histories(run, [1490.0], given) for given in (501, 1001)]
    assert float(histories[0].Vm.max()) < -80 and float(histories[1].Vm.max()) > 0
    outs = [model.rollout(h, 400, stimulus=stimulus) for h in histories]
    off = [float(abs(out.Vm - truth.Vm).mean()) for out in outs]
    rest = copy(model)
    values = [cep.cell.INITIAL_STATE[name] for name in cep.cell.STATES]
    rest.state = torch.tensor([values], dtype=model.state.dtype)
    naive = float(abs(rest.rollout(histories[0], 400, stimulus=stimulus).Vm - truth.Vm).mean())
    assert off[0] < 2 * off[1] and off[0] < naive / 2, (off, naive)


def test_onsets():
    stimulus = torch.zeros(10, 3)
    stimulus[0, 1] = stimulus[4, 0] = stimulus[5, 0] = stimulus[8, 2] = -52.0
    assert onsets(stimulus).tolist() == [0, 4, 8]


@pytest.mark.parametrize("name", ["nearest_beat", "last_response", "mean_response"])
def test_what_replays_survives_its_file(name, tmp_path):
    trajectory, stimulus = cep.check.toy()
    model = cep.surrogates.make(name).fit(trajectory, stimulus=stimulus)
    model.save(tmp_path / "kept")
    again = cep.load(tmp_path / "kept")
    assert type(again) is type(model)
    one, two = (m.rollout(trajectory.isel(time=slice(0, 60)), 40, stimulus=stimulus) for m in (model, again))
    xr.testing.assert_equal(one, two)


def test_intervals_of_the_median():
    assert judge.interval_of([], []) == pytest.approx((np.nan,) * 3, nan_ok=True)
    assert judge.interval_of([0.01, *[np.nan] * 4], range(5))[0] == np.inf  # four of five have failed
    assert judge.interval_of([0.01, 0.02, np.inf], range(3))[0] == 0.02
    median, low, high = judge.interval_of([1.0] * 8, [0, 0, 1, 1, 2, 2, 3, 3])
    assert median == low == high == 1
    values = np.arange(40.0)
    median, low, high = judge.interval_of(values, values // 10)
    assert median == 19.5 and low < 12 and high > 27  # four runs are few, and it says so
    # Two trainings that disagree widen an interval which more starts of either cannot narrow.
    _, low, high = judge.interval_of([1.0] * 20 + [3.0] * 20, np.tile([0, 1], 20), [0] * 20 + [1] * 20)
    assert (low, high) == (1, 3)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="fixed, paced, cell"):
        bench.make_track("other")
    with pytest.raises(ValueError, match="profile"):
        bench.make_track("paced", "huge")
    with pytest.raises(ValueError, match="no scorecard"):
        bench.kept_scorecard("paced", "nothing")


@pytest.mark.parametrize("name", ["fixed", "paced", "cell", "tissue"])
def test_no_kept_score_is_stale(name):
    assert bench.stale(name) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bench.kept_scorecard(name)


def test_a_stale_score_is_named(monkeypatch):
    monkeypatch.setattr(cep.surrogates.registry["persistence"], "version", "another")
    assert bench.stale("paced") == ["persistence"]
    with pytest.warns(UserWarning, match="persistence"):
        bench.kept_scorecard("paced")
    monkeypatch.setattr("cepkit.solver.VERSION", "another")
    assert len(bench.stale("paced")) == 28


def test_a_row_is_scored_again_only_when_something_changed(monkeypatch, tmp_path):
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path))
    track = bench.make_track("cell", "smoke", progress=False)
    scored = []
    evaluate = bench.evaluate
    monkeypatch.setitem(bench.scorecard.__globals__, "evaluate", lambda *a, **k: scored.append(1) or evaluate(*a, **k))
    table = bench.scorecard(track, ["persistence"], progress=False)
    assert table.equals(bench.scorecard(track, ["persistence"], progress=False)) and len(scored) == 1
    bench.scorecard(track, ["persistence"], progress=False, force=True)
    assert len(scored) == 2
    monkeypatch.setattr(cep.surrogates.registry["persistence"], "version", "another")
    bench.scorecard(track, ["persistence"], progress=False)
    assert len(scored) == 3
    with pytest.raises(ValueError, match="seeds=-1"):
        bench.scorecard(track, ["persistence"], seeds=-1)


def test_a_whole_scorecard_is_recorded_with_its_versions(monkeypatch, tmp_path):
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path))
    track = bench.make_track("cell", "smoke", progress=False)
    table = bench.scorecard(track, ["persistence"], progress=False)
    bench.record(table, track)
    key = json.loads((tmp_path / "scorecards" / "keys.json").read_text())["cell-smoke"]
    assert key["data"] == track.train.key
    assert key["models"] == {"persistence": cep.surrogates.registry["persistence"].version}
    assert bench.stale("cell", "smoke") == [] and bench.kept_scorecard("cell", "smoke").equals(table)


def test_a_scaling_of_other_data_is_not_used(track, monkeypatch, tmp_path):
    paced = bench.make_track("paced", "laptop")
    kept = cep.store.kept_folder() / "scorecards" / "paced-laptop-scaling.json"
    assert json.loads(kept.read_text())["data"] == paced.train.key
    own = cep.store.data_folder() / "tracks" / "paced-smoke" / "scaling.json"
    right = bench.scaling(track).to_dict()
    own.write_text(json.dumps({"data": "other", "scaling": bench.scaling(paced).to_dict()}))
    assert bench.scaling(track).to_dict() == right


@pytest.mark.parametrize("name", ["paced", "cell"])
def test_the_kept_card_is_that_of_todays_track(name):
    """The card names the part by its hash: another protocol or another solver makes another one."""
    card = json.loads(cep.store.kept(f"cards/{name}-laptop.json").read_text())
    track = bench.make_track(name, "laptop")
    assert card["made by"] == track.train.key
    assert set(card["parts"]) == {"train", "late", "validation", *track.tests}
    assert card["parts"]["train"]["stimuli"] == [len(p.stimuli) for p in track.train.protocols]
    assert all(len(set(part["data_hash"])) == part["runs"] for part in card["parts"].values() if part["runs"] > 1)


def test_the_sample_is_a_piece_of_the_track(track):
    """Solved again from the same stimuli, it is the same but for the rest from which it starts."""
    sample = cep.bench.tracks.sample()
    assert (
        sample.attrs["data_hash"]
        in json.loads(cep.store.kept("cards/paced-laptop.json").read_text())["parts"]["s1s2"]["data_hash"]
    )
    protocol = bench.make_track("paced", "laptop").tests["s1s2"].protocols[1]
    inside = [s for s in protocol.stimuli if s.start < 2400]
    run = cep.simulate(track.tissue, cep.Protocol(inside), 2400.0, progress=False)
    again = run.sel(time=sample.time[sample.time <= 2400])
    error = abs(again.Vm - sample.Vm.sel(time=again.time))
    assert float(error.mean()) < 3.0  # mV
    assert np.isfinite(sample.to_dataarray()).all()
