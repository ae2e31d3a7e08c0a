"""Every argument of the public functions, once: what it refuses, and that the refusal names it."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cepkit as cep
from cepkit import dataset, forecast, measure, pacing, recordings, region, surrogates, tissue

CELL, SHEET = cep.Tissue((1, 1)), cep.Tissue((4, 5), spacing=0.5)
HERE, CORNER = region.everywhere(CELL), region.corner(SHEET)
TOY, STIMULUS = cep.check.toy()
VM, MODEL = TOY.Vm, surrogates.make("last_beat").fit(TOY)
FREE = forecast.futures(TOY, [60.0], 5)
MAP = xr.DataArray(np.zeros((3, 3)), {"y": np.arange(3.0), "x": np.arange(3.0)}, ("y", "x"))
MOVED = STIMULUS.assign_coords(x=STIMULUS.x + 1)
NAN, INF = float("nan"), float("inf")


def simulate(**given):
    return cep.simulate(**{"tissue": CELL, "protocol": cep.Protocol(), "duration": 5.0, "progress": False} | given)


REFUSED = {
    "Tissue: shape": (lambda: cep.Tissue("ab"), "shape='ab'"),
    "Tissue: spacing": (lambda: cep.Tissue((3, 3), "a"), "spacing=.*'a'"),
    "Tissue: diffusivity": (lambda: cep.Tissue((3, 3), 1.0, NAN), "diffusivity"),
    "Stimulus: start": (lambda: cep.Stimulus("a", HERE), "start='a'"),
    "Stimulus: region": (lambda: cep.Stimulus(0.0, np.ones((1, 1), bool)), "region must be"),
    "Stimulus: duration": (lambda: cep.Stimulus(0.0, HERE, 0.0), "duration=0.0"),
    "Stimulus: amplitude": (lambda: cep.Stimulus(0.0, HERE, 1.0, INF), "amplitude=inf"),
    "Protocol: stimuli": (lambda: cep.Protocol([5]), "5 is not a Stimulus"),
    "simulate: tissue": (lambda: simulate(tissue=None), "tissue=None"),
    "simulate: protocol": (lambda: simulate(protocol=None), "protocol=None"),
    "simulate: duration": (lambda: simulate(duration="5"), "duration='5'"),
    "simulate: dt": (lambda: simulate(dt=None), "dt=None"),
    "simulate: save_every": (lambda: simulate(save_every=-1), "save_every=-1"),
    "simulate: refine": (lambda: simulate(refine=1.5), "refine=1.5"),
    "simulate: cell_type": (lambda: simulate(cell_type="x"), "cell_type='x'"),
    "simulate: parameters": (lambda: simulate(parameters=[1]), r"parameters=\[1\] must be a mapping"),
    "simulate: a parameter": (lambda: simulate(parameters={"gKr": "a"}), "gKr"),
    "simulate: initial": (lambda: simulate(initial=5), "initial=5 must be a mapping"),
    "simulate: dtype": (lambda: simulate(dtype=int), "dtype"),
    "simulate: save": (lambda: simulate(save=()), "save="),
    "simulate: store": (lambda: simulate(store=5), "store=5"),
    "simulate: threads": (lambda: simulate(threads="two"), "threads='two'"),
    "simulate: activation_level": (lambda: simulate(activation_level=NAN), "activation_level=nan"),
    "simulate: device": (lambda: simulate(device="x"), "device='x'"),
    "simulate: attrs": (lambda: simulate(attrs=5), "attrs=5"),
    "final_state": (lambda: cep.final_state(TOY), "no full state"),
    "stimulus_field: protocol": (lambda: cep.stimulus_field(None, TOY), "protocol=None"),
    "stimulus_field: like": (lambda: cep.stimulus_field(cep.Protocol(), 5), "like is a int"),
    "golden_standard": (lambda: cep.golden_standard("huge"), "profile='huge'"),
    "get_profile": (lambda: cep.get_profile(5), "profile=5"),
    "ensemble: protocols": (lambda: cep.ensemble(None, CELL, 5.0, "e"), "protocols is empty"),
    "open_ensemble": (lambda: cep.open_ensemble("nowhere"), "holds no runs"),
    "open_trajectory": (lambda: cep.open_trajectory(None), "path=None"),
    "load: name": (lambda: cep.load(None), "name=None"),
    "load: a folder": (lambda: cep.load(Path("nowhere")), "nowhere"),
    "load: run": (lambda: cep.load("lstm", run="huge"), "run='huge'"),
    "score: forecasts": (lambda: cep.score([1], TOY), "forecasts"),
    "score: dims": (lambda: cep.score({"a": TOY}, TOY), "start and lead_time"),
    "score: truth": (lambda: cep.score({"a": FREE}, "x"), "truth is a str"),
    "score: nodes": (lambda: cep.score({"a": FREE.isel(x=[0])}, TOY), "the same nodes"),
    "score: NaN": (lambda: cep.score({"a": FREE}, TOY.where(TOY.x > 0)), "or holds NaN there"),
    "recording: source": (lambda: cep.recording(5), "source=5"),
    "join: first": (lambda: cep.join(5, TOY), "first is a int"),
    "join: second": (lambda: recordings.join(TOY, TOY), "does not begin where first ends"),
    "region.mask": (lambda: region.mask(SHEET, np.ones((4, 5))), "values"),
    "region.box: axis": (lambda: region.box(SHEET, z=(0, 1)), "z="),
    "region.box: limits": (lambda: region.box(SHEET, x=5), "x=5"),
    "region.corner": (lambda: region.corner(SHEET, "a"), "fraction='a'"),
    "region.disc: centre": (lambda: region.disc(SHEET, 5, 1.0), "centre"),
    "region.disc: radius": (lambda: region.disc(SHEET, (0, 0), -1), "radius=-1"),
    "periodic: cycle_length": (lambda: pacing.periodic(0.0, 2, HERE), "cycle_length=0.0"),
    "periodic: beats": (lambda: pacing.periodic(500.0, "a", HERE), "beats='a'"),
    "periodic: region": (lambda: pacing.periodic(500.0, 2, None), "region must be"),
    "s1s2: s2": (lambda: pacing.s1s2(500.0, 2, NAN, HERE), "s2=nan"),
    "ramp: first": (lambda: pacing.ramp(-1.0, 300.0, 5, HERE), "first, last, beats"),
    "cross_field: tissue": (lambda: pacing.cross_field(cep.Tissue((5,)), 200.0), "1 axes"),
    "cross_field: s2": (lambda: pacing.cross_field(SHEET, -1), "s2=-1"),
    "irregular: intervals": (lambda: pacing.irregular((500, 300), [CORNER], 0, 1e3), "intervals"),
    "fibres: tissue": (lambda: tissue.fibres(cep.Tissue((5,)), 0, 1, 1), "1 axes"),
    "fibres: along": (lambda: cep.Tissue((4, 5), 1.0, tissue.fibres(SHEET, 0, -1, 1)), "diffusivity"),
    "split: trajectory": (lambda: dataset.split("x"), "trajectory is a str"),
    "split: fraction": (lambda: dataset.split(TOY, 1.0), "fraction=1.0"),
    "histories: starts": (lambda: forecast.histories(TOY, [], 5), "starts="),
    "histories: warmup": (lambda: forecast.histories(TOY, [60.0], 500), "warmup=500"),
    "futures: steps": (lambda: forecast.futures(TOY, [60.0], 500), "steps=500"),
    "beats: trajectory": (lambda: measure.beats("x"), "Vm"),
    "beats: variables": (lambda: measure.beats(TOY.drop_vars("Vm")), "Vm"),
    "beats: fraction": (lambda: measure.beats(TOY, 5), "fraction=5"),
    "beats: time": (lambda: measure.beats(VM[0]), "needs time"),
    "action_potential": (lambda: measure.action_potential(VM), "action potentials at a node"),
    "activation_time": (lambda: measure.activation_time(VM.values), "Vm is a ndarray"),
    "activation_map": (lambda: measure.activation_map(TOY), "lacks the activations"),
    "beat: number": (lambda: measure.beat(TOY, 0, 50.0), "number=0"),
    "conduction_velocity: axes": (lambda: measure.conduction_velocity(VM, {"x": 1}, {"y": 2}), "start="),
    "conduction_velocity: place": (lambda: measure.conduction_velocity(VM[:, 0], {"x": 0}, {"x": 9}), "on the tissue"),
    "activation_time: a Dataset": (lambda: measure.activation_time(TOY), "one variable"),
    "beat: cycle_length": (lambda: measure.beat(TOY, 1, 0.0), "cycle_length=0.0"),
    "phase: half a frame": (lambda: measure.phase(VM, 2.5), "delay=2.5"),
    "fibres: angle": (lambda: tissue.fibres(SHEET, NAN, 1, 1), "angle=nan"),
    "fibres: shape": (lambda: tissue.fibres(SHEET, np.ones(3), 1, 1), "angle: give one number"),
    "simulate: tolerance": (lambda: simulate(tolerance="a"), "tolerance='a'"),
    "recording: spacing": (lambda: cep.recording(TOY, spacing=0.0), "spacing=0.0"),
    "diffusivity_for: spacing": (lambda: measure.diffusivity_for(0.5, spacing=0.0), "spacing=0.0"),
    "phase: delay": (lambda: measure.phase(VM, 0), "delay=0"),
    "phase_singularities": (lambda: measure.phase_singularities(VM[:, 0]), "two nodes or more"),
    "tips": (lambda: measure.tips(VM, 1000), "delay=1000"),
    "local_velocity": (lambda: measure.local_velocity(MAP.values), "when is a ndarray"),
    "pseudo_ecg: electrode": (lambda: measure.pseudo_ecg(VM, (1, 2)), "electrode="),
    "pseudo_ecg: place": (lambda: measure.pseudo_ecg(VM, (0, 0, 0)), "touches a node"),
    "restitution: intervals": (lambda: measure.restitution(600.0, 3, [-5.0]), "intervals"),
    "restitution: beats": (lambda: measure.restitution(600.0, 0, [300.0]), "beats=0"),
    "steady_state: cycle_length": (lambda: measure.steady_state(-5.0), "cycle_length=-5.0"),
    "capture_threshold: duration": (lambda: measure.capture_threshold(-1.0), "duration=-1.0"),
    "strength_duration": (lambda: measure.strength_duration([0.0]), "durations="),
    "diffusivity_for": (lambda: measure.diffusivity_for(0.0), "velocity=0.0"),
    "make: name": (lambda: surrogates.make("nope"), "name='nope'"),
    "make: a setting": (lambda: surrogates.make("lstm", hiden=5), "hiden=5"),
    "fit: nothing": (lambda: surrogates.make("persistence").fit(None), "trajectories is empty"),
    "fit: a word": (lambda: surrogates.make("persistence").fit(["a"]), "trajectories is a str"),
    "fit: NaN": (lambda: surrogates.make("persistence").fit(TOY.where(TOY.x > 0)), "NaN"),
    "fit: an ensemble": (lambda: surrogates.make("persistence").fit(TOY.expand_dims(run=2)), "run=k"),
    "fit: no stimulus": (lambda: surrogates.make("nearest_beat").fit(TOY), "stimulus is missing"),
    "fit: another stimulus": (lambda: surrogates.make("nearest_beat").fit(TOY, STIMULUS[:9]), "stimulus"),
    "fit: a moved stimulus": (lambda: surrogates.make("nearest_beat").fit(TOY, MOVED), "stimulus: its nodes"),
    "rollout: history": (lambda: MODEL.rollout(None, 5), "history is a NoneType"),
    "rollout: another grid": (lambda: MODEL.rollout(TOY.isel(x=[0, 1]), 5), "grid"),
    "rollout: steps": (lambda: MODEL.rollout(TOY, "a"), "steps='a'"),
    "save: path": (lambda: MODEL.save("/proc/nowhere"), "/proc/nowhere"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_by_name(what):
    call, says = REFUSED[what]
    with pytest.raises(ValueError, match=says):
        call()
