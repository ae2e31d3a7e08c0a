"""The time loop: threads, restarts, refusals."""

import tracemalloc

import numpy as np
import pytest

import cepkit as cep
from cepkit import cell, measure

SHEET = cep.Tissue((12, 15), spacing=10 / 23, diffusivity=0.125)
CORNER = cep.region.corner(SHEET)
BEAT = cep.pacing.periodic(300.0, 2, CORNER)


def run(duration=80.0, tissue=SHEET, protocol=BEAT, **kwargs):
    return cep.simulate(tissue, protocol, duration, progress=False, **kwargs)


def test_shape_of_a_trajectory():
    trajectory = run(20.0)
    assert dict(trajectory.sizes) == {"time": 21, "y": 12, "x": 15, "state": 19, "activation": 180}
    assert list(trajectory.data_vars) == ["Vm", "Cai", "CaSR", "CaSS"]
    assert [trajectory[v].attrs["units"] for v in trajectory] == ["mV", "mM", "mM", "mM"]
    assert trajectory.time.values[-1] == 20.0
    assert np.allclose(trajectory.Vm[0], cell.INITIAL_STATE["Vm"])


@pytest.mark.parametrize("dt", [0.02, "adaptive"])
def test_threads_do_not_change_a_bit(dt):
    one, two = run(dt=dt, threads=1), run(dt=dt, threads=2)
    assert one.attrs["data_hash"] == two.attrs["data_hash"]
    assert np.array_equal(one.final_state, two.final_state)


def test_a_run_continued_is_the_same_run():
    whole = run(100.0, dt=0.02)
    first = run(50.0, dt=0.02)
    later = cep.Protocol([cep.Stimulus(s.start - 50, s.region) for s in BEAT.stimuli[1:]])
    second = run(50.0, dt=0.02, protocol=later, initial=cep.final_state(first))
    assert np.allclose(second.final_state, whole.final_state, rtol=1e-12)
    with pytest.raises(ValueError, match="full state"):
        cep.final_state(whole.isel(time=slice(0, 10)))


def test_adaptive_step_against_a_fine_one():
    fine, adaptive = (run(300.0, dt=dt, save_every=0.2) for dt in (0.0025, "adaptive"))
    late = measure.activation_map(adaptive) - measure.activation_map(fine)
    assert float(abs(late).max()) < 0.05
    apd = [measure.action_potential(t.Vm).APD for t in (fine, adaptive)]
    assert float(abs(apd[1] - apd[0]).max()) < 0.2
    assert float(abs(adaptive.Cai - fine.Cai).max() / fine.Cai.max()) < 0.005
    # 0.02 ms late in an upstroke of 360 mV/ms.
    assert float(abs(adaptive.Vm - fine.Vm).max()) < 7.0


def test_activations_agree_with_the_frames():
    twice = cep.pacing.periodic(400.0, 2, CORNER)
    trajectory = run(420.0, protocol=twice, save_every=0.02, dt=0.02)
    from_frames = measure.activation_time(trajectory.Vm)
    assert np.allclose(measure.activation_map(trajectory), from_frames, atol=1e-3)
    second = measure.activation_map(trajectory, start=400.0)
    assert bool((second > 0).all()) and float(second.max()) < 20


@pytest.mark.parametrize("save_every", [1.0, 20.0, 50.0])
def test_no_activation_is_dropped_whatever_the_frames(save_every):
    """Twelve beats that speed up from 450 to 330 ms, however many of them fall into one call of the kernel."""
    sheet = cep.Tissue((24, 24), spacing=10 / 23)
    ramp = cep.pacing.ramp(450.0, 330.0, 12, cep.region.corner(sheet))
    assert run(4400.0, sheet, ramp, save_every=save_every).sizes["activation"] == 12 * 576


def test_cells_that_only_fill_up_a_block_note_no_activation():
    """In 12 mM of potassium the cells of the padding, without a stimulus of their own, fire as well."""
    point = cep.Tissue((1, 1))
    beats = cep.pacing.periodic(800.0, 4, cep.region.everywhere(point), duration=2.0)
    trajectory = run(3200.0, point, beats, parameters={"Ko": 12.0})
    assert trajectory.activation_node.values.tolist() == [0] * 4


def test_refine_keeps_the_coarse_nodes_and_speeds_up_the_wave():
    coarse, fine = run(30.0), run(30.0, refine=3)
    assert coarse.Vm.shape == fine.Vm.shape
    assert np.array_equal(coarse.x, fine.x)
    a, b = (measure.activation_map(t) for t in (coarse, fine))
    assert bool(b.notnull().all())
    assert float(b.max()) < 0.95 * float(a.max())
    by_hand = SHEET.refined(3)
    corner = cep.region.mask(by_hand, by_hand.share(CORNER.values, 3) == 1)
    whole = run(30.0, by_hand, cep.Protocol([cep.Stimulus(0.0, corner)]))
    assert np.array_equal(whole.Vm[:, ::3, ::3], fine.Vm)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_a_refined_stimulus_covers_the_same_area(factor):
    """Whatever the grid, the stimulated volume is that of the coarse nodes."""
    fine = SHEET.refined(factor)
    coarse = cep.region.corner(SHEET, 0.3).values
    share = fine.share(coarse, factor)
    volume = [np.outer(*([0.5, *[1] * (n - 2), 0.5] for n in t.shape)) for t in (SHEET, fine)]
    assert (share * volume[1]).sum() / factor**2 == pytest.approx((coarse * volume[0]).sum())


def test_adaptive_steps_keep_the_slow_variables_over_many_beats():
    """No worse than a fixed 0.02 ms against 0.0025 ms, in what drifts."""
    point = cep.Tissue((1, 1))
    train = cep.pacing.periodic(500.0, 20, cep.region.everywhere(point))
    fine, fixed, adaptive = (cep.final_state(run(10_000.0, point, train, dt=dt)) for dt in (0.0025, 0.02, "adaptive"))
    for name in ("Nai", "CaSR", "Cai"):
        error = [abs(float((s[name] - fine[name]).squeeze())) for s in (fixed, adaptive)]
        assert error[1] < 1.2 * error[0], (name, error)


PLAIN = cep.Tissue((24, 24), spacing=10 / 23)


@pytest.mark.parametrize("s2", [None, 310.0])
def test_a_tolerance_is_kept_and_a_looser_one_takes_fewer_steps(s2):
    """Against dt 0.0025: activation (extrapolated to 0), APD90 and peak calcium, with a premature beat or without."""
    corner, side = cep.region.corner(PLAIN), cep.region.box(PLAIN, x=(0, 1))
    protocol = cep.pacing.periodic(500.0, 1, corner) if s2 is None else cep.pacing.s1s2(400.0, 2, s2, corner, side)
    given = {"tissue": PLAIN, "protocol": protocol, "duration": 450.0 if s2 is None else 1050.0, "progress": False}
    coarse, exact = (cep.simulate(dt=dt, **given) for dt in (0.005, 0.0025))
    right = measure.beats(exact)

    def times(run):
        return run.activation_time.values[np.lexsort((run.activation_time, run.activation_node))]

    for tolerance in (0.02, 0.06, 0.3):
        run = cep.simulate(tolerance=tolerance, **given)
        found = measure.beats(run)
        assert np.abs(times(run) - 2 * times(exact) + times(coarse)).max() < tolerance
        assert float(abs(found.APD - right.APD).max()) < max(0.2, 5 * tolerance)
        assert float(abs(found.systolic / right.systolic - 1).max()) < max(0.005, 0.1 * tolerance)
    with pytest.raises(ValueError, match="tolerance=0.001 must be 0.02 ms or more"):
        cep.simulate(tolerance=0.001, **given)


@pytest.mark.parametrize("dtype", ["mixed", "float32"])
def test_precisions_agree_over_a_beat(dtype):
    a, b = run(300.0), run(300.0, dtype=dtype)
    assert float(abs(a.Vm - b.Vm).max()) < 0.5
    assert float(abs(a.Cai - b.Cai).max()) < 2e-5


def test_parameters_as_fields():
    """Two halves with different gKr, uncoupled, are two uniform tissues."""
    apart = cep.Tissue((8, 10), diffusivity=0.0)
    everywhere = cep.Protocol([cep.Stimulus(0.0, cep.region.everywhere(apart))])
    gKr = np.full(apart.shape, 0.153)
    gKr[:, 5:] = 0.05
    both, plain, blocked = (
        run(300.0, apart, everywhere, dt=0.02, parameters=p) for p in ({"gKr": gKr}, {}, {"gKr": 0.05})
    )
    assert np.array_equal(both.Vm[:, :, :5], plain.Vm[:, :, :5])
    assert np.array_equal(both.Vm[:, :, 5:], blocked.Vm[:, :, 5:])
    assert float(abs(blocked.Vm - plain.Vm).max()) > 1.0


def test_cell_types_as_a_field():
    apart = cep.Tissue((6, 9), diffusivity=0.0)
    everywhere = cep.Protocol([cep.Stimulus(0.0, cep.region.everywhere(apart))])
    wall = np.array(["endo"] * 3 + ["m"] * 3 + ["epi"] * 3)
    both = run(300.0, apart, everywhere, dt=0.02, cell_type=np.broadcast_to(wall, apart.shape))
    for k, kind in enumerate(("endo", "m", "epi")):
        alone = run(300.0, apart, everywhere, dt=0.02, cell_type=kind)
        assert np.array_equal(both.Vm[:, :, 3 * k], alone.Vm[:, :, 0]), kind
    assert float(abs(both.Vm[:, 0, 0] - both.Vm[:, 0, 8]).max()) > 1.0


def test_a_stimulus_off_the_grid_of_steps_delivers_its_charge():
    """Whatever dt and onset, potassium carries the whole pulse: dKi = -charge Cm / (Vc F)."""
    point = cep.Tissue((1, 1))
    here = cep.region.everywhere(point)
    gone = []
    for start in (1.0, 1.0137):
        pulse = cep.Protocol([cep.Stimulus(start, here, 0.7531, -30.0)])
        state = cep.final_state(run(4.0, point, pulse, parameters=dict.fromkeys(
            cell.Conductances._fields, 0.0)))  # fmt: skip
        gone.append(float(state.Ki.squeeze()) - cell.INITIAL_STATE["Ki"])
    c = cell.Constants()
    assert gone == pytest.approx([0.7531 * 30.0 * c.Cm / (c.Vc * c.F)] * 2, rel=1e-6)


def test_stimulus_field():
    trajectory = run(20.0)
    protocol = cep.Protocol([cep.Stimulus(3.5, CORNER, 1.0, -52.0)])
    stimulus = cep.stimulus_field(protocol, like=trajectory)
    assert stimulus.dims == ("time", "y", "x")
    at_corner = stimulus[:, -1, -1].values
    assert at_corner[3] == -26 and at_corner[4] == -26 and at_corner.sum() == -52
    assert float(abs(stimulus[:, 0, 0]).sum()) == 0


def test_divergence_says_when_and_where():
    """The stimulus covers nodes from (9, 12) on; its neighbour overshoots first in reading order."""
    strong = cep.Protocol([cep.Stimulus(10.0, CORNER, 1.0, -2000.0)])
    with pytest.raises(FloatingPointError, match=r"before t = 11 ms at node \(8, 1[0-9]\)"):
        run(protocol=strong)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"duration": -1.0}, "duration=-1.0"),
        ({"duration": 10.5}, "multiple of save_every"),
        ({"dt": 0.5}, r"dt=0.5 .*largest step that works is 0.15"),
        ({"dt": 0.03}, "multiple of dt=0.03"),
        ({"dt": "fast"}, "adaptive"),
        ({"dt": float("nan")}, "dt=nan"),
        ({"dtype": "float16"}, "mixed"),
        ({"save": ("Vm", "Q")}, "CaSR"),
        ({"cell_type": "purkinje"}, "epi"),
        ({"parameters": {"gKr": np.ones((3, 3))}}, r"\(12, 15\)"),
        ({"parameters": {"gKr": float("inf")}}, "finite"),
        ({"parameters": {"gNa": -1.0}}, "gNa.*negative"),
        ({"parameters": {"Ko": np.ones((3, 3))}}, r"Ko.*\(12, 15\)"),
        ({"parameters": {"Ko": 0.0}}, "Ko.*above 0"),
        ({"initial": {"Vm": -80.0}}, "Xr1"),
        ({"initial": {**cell.INITIAL_STATE, "Vm": np.nan}}, "Vm.*finite"),
        ({"tissue": cep.Tissue((5, 5))}, "make the region with this tissue"),
    ],
)
def test_bad_input_names_the_way_out(arguments, says):
    arguments = {"duration": 10.0, **arguments}
    with pytest.raises(ValueError, match=says):
        run(**arguments)


def test_protocols():
    train = cep.pacing.s1s2(400.0, 3, 250.0, CORNER)
    assert train.times.tolist() == [0.0, 400.0, 800.0, 1050.0]
    a, b = (cep.pacing.irregular((300.0, 900.0), [CORNER, ~CORNER], s, 9000.0) for s in (1, 1))
    assert a.describe() == b.describe()
    gaps = np.diff(a.times)
    assert gaps.min() >= 300 and gaps.max() <= 900 and len({k for *_, k in a.describe()["stimuli"]}) == 2
    with pytest.raises(ValueError, match="no node"):
        cep.Stimulus(0.0, ~cep.region.everywhere(SHEET))
    with pytest.raises(ValueError, match="beats=0"):
        cep.pacing.periodic(500.0, 0, CORNER)


def test_ramp_and_cross_field():
    ramp = cep.pacing.ramp(500.0, 300.0, 5, CORNER)
    assert np.allclose(np.diff(ramp.times), np.linspace(500, 300, 4))
    cross = cep.pacing.cross_field(SHEET, 180.0)
    assert cross.times.tolist() == [0.0, 180.0]
    strip, quarter = (s.region.values for s in cross.stimuli)
    assert strip[:, :4].all() and not strip[:, 5:].any()
    assert quarter[:6, :8].all() and not quarter[7:].any() and not quarter[:, 8:].any()
    with pytest.raises(ValueError, match="2"):
        cep.pacing.cross_field(cep.Tissue(10, 0.2), 180.0)


def test_memory_is_twice_the_state_and_what_is_asked_for():
    """The peak while a sheet is set up and stepped; frames and final state are the caller's own wish."""
    tissue = cep.Tissue((400, 400), 0.25, 0.125)
    protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(tissue))
    state, frame = 19 * 8 * tissue.size, 4 * 8 * tissue.size
    run(0.1, tissue=tissue, protocol=protocol, save_every=0.1, dt=0.05)  # what loads once
    tracemalloc.start()
    try:
        run(0.1, tissue=tissue, protocol=protocol, save_every=0.1, dt=0.05)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    asked = state + 2 * frame  # final state; first and last frame
    assert peak - asked < 2.2 * state, f"{(peak - asked) / state:.2f} times the state"


def test_what_precision_costs_over_109_beats():
    """Concentrations in float32 lose their slow drift: a step changes Ki by less than Ki resolves."""
    point = cep.Tissue((1, 1))
    train = cep.pacing.periodic(500.0, 109, cep.region.everywhere(point))
    state, APD90 = {}, {}
    for dtype in ("float64", "mixed", "float32"):
        trajectory = run(54_500.0, point, train, dtype=dtype, dt=0.02)
        state[dtype] = cep.final_state(trajectory).squeeze()
        APD90[dtype] = float(measure.action_potential(measure.beat(trajectory.Vm, 109)).APD.squeeze())
    for name in ("Ki", "Nai", "CaSR"):
        assert float(state["mixed"][name]) == pytest.approx(float(state["float64"][name]), rel=1e-4)
    assert APD90["mixed"] == pytest.approx(APD90["float64"], abs=0.1)
    drift = {dtype: cell.INITIAL_STATE["Ki"] - float(s["Ki"]) for dtype, s in state.items()}
    assert drift["float64"] == pytest.approx(1.37, abs=0.05)  # 135.51 mM by an independent code
    assert abs(drift["float32"]) < 0.2
