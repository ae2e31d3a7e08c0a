"""The event engine: what it measures in training runs, and, where the engine is installed, its waves."""

import sys

import numpy as np
import pytest
import torch

import cepkit as cep
from cepkit.bench.methods import event_engine
from cepkit.bench.scorecard import fit
from cepkit.bench.tracks import make_track


@pytest.fixture(scope="module")
def model():
    return fit(event_engine.EventEngine(), make_track("paced", "smoke", progress=False), progress=False)


def test_a_course_is_found_in_beats_of_any_duration():
    """Two beats that are the same but for their duration have the same course."""
    phase = np.arange(400) / 400

    def beat(lasts):
        return np.interp(np.arange(lasts) / lasts, phase, np.sin(2 * np.pi * phase))

    frames = np.concatenate([np.zeros(100), beat(280), np.zeros(100), beat(140), np.zeros(300)])[:, None, None]
    up, APD = np.array([[100.0], [480.0], [np.nan]]), np.array([[280.0], [140.0], [np.nan]])
    model = event_engine.EventEngine(length=280)
    model.interval = 1.0
    found = model._course(frames, up, APD, np.random.default_rng(0))
    assert found[:, 0].tolist() == [2.0] * 280
    at = np.arange(280) - event_engine.BEFORE
    np.testing.assert_allclose(found[:, 1] / 2, np.where(at < 0, 0, np.sin(2 * np.pi * at / 280)), atol=0.03)


def test_the_curves_are_medians_of_what_was_seen():
    DI = np.r_[np.linspace(10, 100, 400), np.nan, 50.0]
    curves = event_engine.EventEngine(points=4)._curves(DI, 2 * DI, np.r_[np.full(401, 0.5), 99.0])
    np.testing.assert_allclose(curves[1], 2 * curves[0])
    assert curves[0] == pytest.approx([21.2, 43.7, 66.3, 88.7], abs=0.2) and set(curves[2]) == {0.5}


def test_it_fits_and_says_which_engine_is_missing(model, monkeypatch):
    assert 0 < float(model.latency) < 5 and model.curves.shape[0] == 3 and torch.isfinite(model.course).all()
    at_rest = model.course[-1, 0] * float(model.scaling.std.Vm) + float(model.scaling.mean.Vm)
    assert -90 < float(at_rest) < -80, "what no beat lasted to see is rest"
    monkeypatch.setitem(sys.modules, "arritmic3d", None)
    with pytest.raises(ImportError, match="pip install arritmic3d"):
        model._run_engine(np.zeros((3, model.nodes)), 1)


def test_its_wave_has_the_speed_of_the_curve(model):
    pytest.importorskip("arritmic3d", reason="arritmic3d is not installed")
    model.curves = torch.tensor([[5.0, 100.0, 1000.0], [200.0, 280.0, 300.0], [0.5, 0.5, 0.5]])
    stimulus = np.zeros((900, 24, 24))
    stimulus[[10, 510], :, 0] = -52.0
    fired, APD = (v.reshape(-1, 24, 24) for v in model._run_engine(stimulus.reshape(900, -1), 0))
    crossing = 23 * 10 / 23 / 0.5
    for end, begin in ((500, 10), (899, 510)):
        np.testing.assert_allclose(fired[end, :, 23] - begin, crossing, rtol=0.02)
        assert fired[end, :, 0] == pytest.approx(begin)
    assert APD[899] == pytest.approx(np.interp(500 - APD[400].mean(), *model.curves[:2].numpy()), rel=0.02)
    history, told = make_track("paced", "smoke", progress=False).tests["cl500"].given()
    free = model.rollout(history, 50, stimulus=told)
    model.curves[2] /= 2
    slower = model._run_engine(stimulus.reshape(900, -1), 0)[0].reshape(-1, 24, 24)
    np.testing.assert_allclose(slower[500, :, 23] - 10, 2 * crossing, rtol=0.02, err_msg="curves of an earlier model")
    assert all(np.isfinite(free[v]).all() for v in cep.fields.VARIABLES)
