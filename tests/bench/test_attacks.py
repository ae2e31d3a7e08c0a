"""What a model may try for a better score than it deserves, and what somebody else's code may do to the table."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch

import cepkit as cep
from cepkit import bench
from cepkit.bench.tissues import wave_scores
from cepkit.dataset import split
from cepkit.surrogates import Surrogate, surrogate


@pytest.fixture(scope="module")
def track():
    return bench.make_track("cell", "smoke", progress=False)


class Still(Surrogate):
    """Nothing changes."""

    name = "still"
    shown = ()

    def _rollout(self, X, start, steps):
        Still.shown = X
        return X[:, -1:].expand(-1, steps, -1)


class Short(Still):
    """Hands back what it can do, and not what it was asked for."""

    def rollout(self, history, steps, stimulus=None):
        return super().rollout(history, steps // 2, stimulus=stimulus)


def test_the_history_of_another_start_is_not_handed_over(track):
    """Starts of one run overlap: what is history for one is the truth of another."""
    bench.evaluate(bench.fit(Still(), track, progress=False), track, ["cl500"], progress=False)
    assert len(Still.shown) == 1 and sum(map(len, track.tests["cl500"].starts)) > 1


def test_a_shorter_forecast_is_no_forecast(track):
    with pytest.raises(ValueError, match=r"shape \(150, 4\), not \(300, 4\)"):
        bench.evaluate(bench.fit(Short(), track, progress=False), track, ["cl500"], progress=False)


def test_a_forecast_that_is_not_finite_has_no_waves():
    truth, stimulus = torch.zeros(300, 16 * 4), cep.check.toy(beats=6)[1]
    pair = torch.full_like(truth, torch.nan), truth
    assert set(wave_scores(pair, stimulus).values()) == {np.inf}


def test_the_past_does_not_hold_the_future():
    tissue = cep.Tissue((4, 4), spacing=0.4)
    protocol = cep.pacing.periodic(300.0, 3, cep.region.everywhere(tissue))
    run = cep.simulate(tissue, protocol, 900.0, progress=False)
    past, future = split(run, 0.5)
    assert past.sizes["activation"] == 32 and float(past.activation_time.max()) < float(future.time[0])
    assert "final_state" not in past.coords and cep.final_state(future)


def test_what_is_sealed_has_no_runs():
    question = bench.make_track("paced", "smoke", progress=False).exam["steady"]
    for name in ("runs", "protocols"):
        with pytest.raises(ValueError, match="sealed exam"):
            getattr(question, name)


def test_a_name_has_one_class():
    with pytest.raises(ValueError, match="name='lstm' is that of .*LSTM"):
        surrogate("lstm")(type("Other", (Surrogate,), {}))
    assert cep.surrogates.registry["lstm"] is cep.surrogates.LSTM


MODEL = """
import torch
from cepkit.surrogates import Surrogate
class My(Surrogate):
    name, trains = "my", {trains}
    def _fit(self, learning):
        self.scaling = {scaling}
    def _rollout(self, X, start, steps):
        {wrong}
        return {gain} * X[:, -1:].expand(-1, steps, -1)
"""


@pytest.fixture()
def mine(monkeypatch, tmp_path):
    """Writes a module of somebody else, and says what its model scores."""
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(tmp_path)

    def scored(track, trains=False, gain=1.0, wrong="", others=()):
        scaling = "__import__('cepkit').dataset.Scaling.fit(learning.runs)" if trains else "None"
        (tmp_path / "stranger.py").write_text(MODEL.format(trains=trains, gain=gain, wrong=wrong, scaling=scaling))
        importlib.invalidate_caches()
        sys.modules.pop("stranger", None)
        return bench.scorecard(track, ["stranger:My", *others], progress=False)

    return scored


@pytest.mark.parametrize("trains", [False, True])
def test_another_code_has_another_score(mine, trains, track):
    one, same, two = (bench.pivot(mine(track, trains, gain)) for gain in (1.0, 1.0, 3.0))
    assert one.equals(same) and not (one == two).all(axis=None)


@pytest.mark.parametrize("wrong", ["{}['key']", "1 / 0", "raise MemoryError", "raise RuntimeError('no luck')"])
def test_one_that_fails_leaves_the_others(mine, wrong, track):
    table = mine(track, wrong=wrong, others=["persistence", "persistence"])
    assert bench.failed(table) == ["stranger:My"] and "persistence" in set(table.model)
    (why,) = table.metric[table.model == "stranger:My"]
    assert why.startswith("failed: ") and len(why) > 12


@pytest.mark.parametrize("code", ["1 +", "raise SystemExit(0)", "My = 3", ""])
def test_a_module_that_is_no_model_is_named(code, monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    sys.modules.pop("broken", None)
    with pytest.raises(ValueError, match="broken:My"):
        cep.surrogates.kind_of("broken:My")


def test_a_dash_is_an_underscore(track, monkeypatch, tmp_path):
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path))
    assert set(bench.scorecard(track, ["last-beat"], progress=False).model) == {"last_beat"}


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "hello,world", lambda text: ""])
def test_a_damaged_score_is_scored_again(damage, track, monkeypatch, tmp_path):
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path))
    whole = bench.scorecard(track, ["persistence"], progress=False)
    for pattern in ("persistence-*.csv", "scaling.json"):
        (file,) = tmp_path.rglob(pattern)
        file.write_text(damage(file.read_text()))
    assert bench.scorecard(track, ["persistence"], progress=False).equals(whole)


def test_a_part_of_a_run_is_another_part():
    run, _ = cep.check.toy(beats=8)
    run.attrs["data_hash"] = "same"
    protocol = cep.Protocol()
    keys = {bench.tracks.Recorded([run.isel(time=slice(n))], [protocol]).key for n in (200, 300)}
    assert len(keys) == 2 and all(json.dumps(key) for key in keys)


def test_many_rows_have_a_file_of_their_own(track, monkeypatch, tmp_path):
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path))
    table = bench.scorecard(track, ["persistence"], progress=False)
    many = [f"package.of.somebody:Model{k}" for k in range(12)]
    files = {bench.record(table, track, names) for names in (many, many[:-1], many[:1])}
    assert len(files) == 3 and all(file.exists() for file in files)
