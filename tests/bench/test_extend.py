"""A model, a metric and a track from outside, a few lines each, show up wherever the built-in ones do."""

import numpy as np
import pytest

import cepkit as cep
from cepkit import bench, figures
from cepkit.__main__ import main
from cepkit.bench import metrics, tracks

MODEL = """
from cepkit.dataset import to_tensor
from cepkit.surrogates import Surrogate, surrogate

@surrogate("toy_mean", "toy mean", "#123456", "--")
class Mean(Surrogate):
    def _fit(self, learning):
        self.mean = to_tensor(learning.runs[0]).mean(0)
    def _rollout(self, X, start, steps):
        return self.mean.expand(len(X), steps, -1)

@surrogate("toy_broken")
class Broken(Surrogate):
    def _rollout(self, X, start, steps):
        return X.new_full((len(X), steps, X.shape[2]), float("nan"))

class Stuck(Surrogate):
    name = "stuck"
    def _fit(self, learning):
        raise ValueError("no way")
"""


def toy_track(profile, progress=True):
    """Ten beats of a made-up wave, split in time."""
    runs, _ = cep.check.toy(beats=10)
    part = tracks.Recorded([runs.isel(time=slice(0, 300))], [cep.Protocol()])
    whole = tracks.Recorded([runs], [cep.Protocol()])
    test = tracks.Test("wave", "the beats that follow", whole, [[320.0, 345.0]], 60, 100)
    return tracks.Track("toy", profile, part, part, {"wave": test}, cep.Tissue((4, 4)), {"what": "a wave of formulas"})


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module with models, importable, and an empty data folder."""
    (tmp_path / "outside.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path / "data"))
    monkeypatch.delitem(__import__("sys").modules, "outside", raising=False)
    registry = dict(cep.surrogates.everyone())
    yield tmp_path / "data"
    for name in set(cep.surrogates.registry) - set(registry):
        del cep.surrogates.registry[name]


def test_a_model_from_outside(outside, capsys):
    main(["evaluate", "--track", "cell", "--profile", "smoke", "--model", "outside:Mean"])
    assert "outside:Mean" in capsys.readouterr().out
    (file,) = (outside / "scorecards").glob("cell-smoke-*.csv")
    assert "z_mse" in file.read_text()
    track = bench.make_track("cell", "smoke", progress=False)
    assert "toy_mean" in track.rows
    table = bench.scorecard(track, ["toy_mean", "persistence"], progress=False)
    assert "toy mean" in drawn(table) and figures.MODELS["toy_mean"] == ("toy mean", "#123456", "--")


def drawn(table):
    """Labels of the models in the picture of a scorecard."""
    return [text.get_text() for text in bench.pictures.scorecard(table, variables=("Vm",)).axes[0].get_yticklabels()]


def test_a_track_from_outside(outside, monkeypatch, capsys):
    monkeypatch.setitem(bench.TRACKS, "toy", toy_track)
    main(["evaluate", "--track", "toy", "--profile", "smoke", "--model", "persistence", "--model", "last_beat"])
    assert "wave" in capsys.readouterr().out
    table = bench.scorecard(bench.make_track("toy", "smoke"), ["persistence", "last_beat"], progress=False)
    errors = bench.pivot(table)["wave"]
    assert errors["last_beat"] < 1e-6 < errors["persistence"]
    assert len(drawn(table)) == 2


def test_a_metric_from_outside(outside, monkeypatch, capsys):
    def bias(case, k):
        return float((case.forecast[..., k] - case.truth[..., k]).mean())

    monkeypatch.setitem(metrics.METRICS, "toy_bias", metrics.Metric("own unit", ("Vm",), bias))
    monkeypatch.setitem(bench.TRACKS, "toy", toy_track)
    main(["evaluate", "--track", "toy", "--profile", "smoke", "--model", "last_beat", "--metric", "toy_bias"])
    assert "toy_bias Vm" in capsys.readouterr().out
    table = bench.scorecard(bench.make_track("toy", "smoke"), ["last_beat"], progress=False)
    assert np.isfinite(bench.pivot(table, "toy_bias", "Vm").loc["last_beat", "wave"])
    assert bench.pictures.scorecard(table, "toy_bias", ("Vm",)).axes


@pytest.mark.parametrize("model", ["Stuck", "Broken"])
def test_a_model_that_fails_is_a_failure(outside, monkeypatch, capsys, model):
    monkeypatch.setitem(bench.TRACKS, "toy", toy_track)
    command = ["evaluate", "--track", "toy", "--profile", "smoke", "--model", f"outside:{model}"]
    for _ in range(2):
        with pytest.raises(SystemExit, match=f"outside:{model} failed"):
            main([*command, "--model", "persistence"])
    out = capsys.readouterr().out
    assert "persistence" in out and ("failed: no way" in out) == (model == "Stuck")
    kept = [file.name for file in (outside / "runs" / "smoke" / "toy" / "scores").iterdir()]
    assert any("persistence" in name for name in kept) and not any("Stuck" in name for name in kept)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "nomodule:X"], "nomodule:X.*cannot be imported"),
        (["--model", "nobody"], "nobody.*is no surrogate"),
        (["--seeds", "-1"], "seeds=-1 must be 1 or more"),
        (["--track", "nowhere"], "nowhere.*is not known"),
    ],
)
def test_a_wrong_option_is_answered_in_one_line(outside, monkeypatch, options, words):
    monkeypatch.setitem(bench.TRACKS, "toy", toy_track)
    with pytest.raises(SystemExit, match=words) as caught:
        main(["evaluate", "--profile", "smoke", "--track", "toy", *options])
    assert "\n" not in str(caught.value)
