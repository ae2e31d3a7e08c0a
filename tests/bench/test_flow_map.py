"""The flow map: what the solver is told of carried blocks, when they are handed over and taken back."""

import numpy as np
import pytest
from scipy.linalg import expm

import cepkit as cep
from cepkit import engine, store
from cepkit.bench.methods import flow_map

SHEET = cep.Tissue((16, 24), 10 / 23, 0.125)
LEFT = cep.region.everywhere(SHEET) & (cep.region.everywhere(SHEET).x < 1.0)
BEATS = cep.Protocol([cep.Stimulus(t, LEFT) for t in (5.0, 505.0, 840.0)])
alone = {"progress": False, "threads": 1, "tolerance": 0.06}


@pytest.fixture(scope="module")
def flow():
    return cep.load("flow_map")


def test_smoothing_is_the_tissues_diffusion():
    rng, D = np.random.default_rng(0), np.full((5, 7), 0.125)
    D[2:4, 3:5] = [[0.0, 0.02], [0.1, 0.0]]
    tissue = cep.Tissue((5, 7), 0.4, D)
    order = engine.tiles(tissue.shape)
    operator = np.zeros((35, 35))
    for k, unit in enumerate(np.eye(35).reshape(-1, 5, 7)):
        for step, ahead, behind in zip(tissue.directions, *tissue.weights, strict=True):
            operator[:, k] += (ahead * (np.roll(unit, -step, (0, 1)) - unit)).ravel()
            operator[:, k] += (behind * (np.roll(unit, step, (0, 1)) - unit)).ravel()
    fields = rng.normal(size=(35, 2)).astype(np.float32)
    for time, smooth in zip(flow_map.SMOOTH, flow_map.Smoothing(tissue, order)(fields[order]), strict=True):
        assert np.abs(smooth - (expm(time * operator) @ fields)[order]).max() < 1e-3


class Oracle:
    """Carries some blocks for a while along the voltages that the solver found."""

    hash = "an oracle"

    def __init__(self, truth, blocks, begin, end):
        self.truth, self.blocks, self.begin, self.end = truth, blocks, begin, end

    def engine(self, *given):
        class Carrying(engine.Engine):
            def run(own, first, count):
                frames, noted = zip(*(own.one(k) for k in range(first, first + count)), strict=True)
                return np.concatenate(frames), np.concatenate(noted)

            def one(own, k):
                own.plan.carried[:] = (self.begin <= k < self.end) & self.blocks
                at = np.clip([k - 1, k, k + 1, k + 2], 0, 400)
                V = self.truth.Vm.sel(time=at).values.reshape(4, -1)[:, own.state.order]
                powers = np.vander(np.arange(-1.0, 3.0), increasing=True)
                own.plan.course[:, : own.state.n] = np.linalg.inv(powers) @ V
                frames, noted = engine.Engine.run(own, k, 1)
                if own.plan.carried.any():
                    frames[0, :, :, 8:16] = 0.0  # nobody fills them in
                return frames, noted

        return Carrying(*given)


def test_the_solver_goes_on_beside_blocks_that_are_carried():
    """In the plateau and in repolarisation, with a slope of APD across the border."""
    gKs = np.linspace(0.2, 0.8, 24) * np.ones((16, 1))
    given = {"parameters": {"gKs": gKs}, **alone}
    truth = cep.simulate(SHEET, BEATS, 480.0, **given)
    start = cep.simulate(SHEET, BEATS, 60.0, **given)
    later = cep.Protocol([cep.Stimulus(900.0, LEFT)])
    again = {"initial": cep.final_state(start), **given}
    truth = cep.simulate(SHEET, later, 400.0, **again)
    blocks = np.arange(12) % 3 == 1  # the middle column
    out = cep.simulate(SHEET, later, 398.0, carry=Oracle(truth, blocks, 2, 396), **again)
    solved = np.ones(SHEET.shape, bool)
    solved[:, 8:16] = False
    error = np.abs((out.Vm - truth.Vm.isel(time=slice(0, 399))).values[:395][:, solved])
    assert error.max() < 0.3  # mV, where it falls by one in a ms; it is far more if the middle is wrong:
    wrong = cep.simulate(SHEET, later, 398.0, carry=Oracle(truth - 5.0, blocks, 2, 396), **again)
    assert np.abs((wrong.Vm - truth.Vm.isel(time=slice(0, 399))).values[:395][:, solved]).max() > 1


def test_a_carried_run_is_the_solvers_nearly(flow):
    truth, out = cep.simulate(SHEET, BEATS, 1200.0, **alone), flow.simulate(SHEET, BEATS, 1200.0, **alone)
    assert 0.6 < out.attrs["carried"] < 0.95
    assert out.sizes == truth.sizes and set(out.coords) == set(truth.coords)
    for v in cep.dataset.VARIABLES:
        assert ((out[v] - truth[v]) ** 2).mean() < {"CaSS": 0.02}.get(v, 0.002) * truth[v].var()
    for run in (out, truth):
        run["order"] = "activation", np.lexsort((run.activation_time, run.activation_node))
    late = out.activation_time[out.order.values].values - truth.activation_time[truth.order.values].values
    assert np.abs(late).max() < 0.2
    ends = [cep.final_state(run) for run in (out, truth)]
    assert np.abs(ends[0].Vm - ends[1].Vm).max() < 1.5 and np.abs(ends[0].Nai - ends[1].Nai).max() < 0.02


def test_an_interrupted_run_goes_on_to_the_same_bits(flow, tmp_path, monkeypatch):
    whole = flow.simulate(SHEET, BEATS, 900.0, store=tmp_path / "whole", **alone)
    checkpoint = store.TrajectoryStore.checkpoint

    def stop(self, *given):
        checkpoint(self, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.TrajectoryStore, "checkpoint", stop)
        flow.simulate(SHEET, BEATS, 900.0, store=tmp_path / "part", **alone)
    resumed = flow.simulate(SHEET, BEATS, 900.0, store=tmp_path / "part", **alone)
    for v in cep.dataset.VARIABLES:
        assert np.array_equal(resumed[v], whole[v])
    with pytest.raises(ValueError, match="another"):
        cep.simulate(SHEET, BEATS, 900.0, store=tmp_path / "whole", **alone)


def test_frames_may_be_far_apart(flow):
    every = flow.simulate(SHEET, BEATS, 1000.0, **alone)
    few = flow.simulate(SHEET, BEATS, 1000.0, save_every=100.0, **alone)
    assert np.abs(few.Vm - every.Vm.sel(time=few.time)).max() < 1.5  # mV: blocks are handed over at other moments


def test_what_was_not_learnt_is_solved(flow):
    with pytest.raises(ValueError, match="adaptive"):
        flow.simulate(SHEET, BEATS, 100.0, dt=0.02, progress=False)
    for parameters in ({"Ko": 8.0}, {"gpCa": 0.3}, {"gKr": 0.153 * 9}):
        out = flow.simulate(SHEET, BEATS, 300.0, parameters=parameters, **alone)
        assert out.attrs["carried"] == 0
        assert np.array_equal(out.Vm, cep.simulate(SHEET, BEATS, 300.0, parameters=parameters, **alone).Vm)


def test_a_rollout_needs_no_fit_and_is_that_of_the_solver_nearly(flow, tmp_path):
    run = cep.simulate(SHEET, BEATS, 1200.0, **alone)
    stimulus, history = cep.stimulus_field(BEATS, like=run), run.isel(time=slice(0, 501))
    out = flow.rollout(history, 600, stimulus=stimulus)
    z = cep.score({"flow": out}, run, cep.dataset.Scaling.fit(run)).z_mse.squeeze()
    assert float(z.sel(variable="Vm")) < 1e-3 and float(z.max()) < 5e-3
    fitted = cep.surrogates.make("flow_map").fit(run, stimulus=stimulus)
    fitted.save(tmp_path / "own")
    again = [model.rollout(history, 600, stimulus=stimulus).Vm for model in (fitted, cep.load(tmp_path / "own"))]
    assert np.array_equal(*again) and abs(again[0] - out.Vm).mean() < 1.0  # mV: another guess of the slow ions
