"""Small numbers that stand for all that is kept: simulated data, weights, scores.

``python tests/fingerprints.py`` (``make fingerprints``) writes ``tests/fingerprints.json``; ``test_fingerprints.py``
compares.  A number that moves without its VERSION would leave stale data, weights or scores in use.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

import cepkit as cep
from cepkit import forecast, measure, profiles, runs, scores, surrogates
from cepkit.bench import events, metrics, tracks
from cepkit.dataset import VARIABLES, Scaling, to_tensor
from cepkit.store import digest
from cepkit.surrogates import lstm, neural_ode

FILE = Path(__file__).with_suffix(".json")
DIGITS = 10
SMALL = {  # trained for a moment on a made-up wave
    "lstm": {"configuration": "smoke", "hidden": 4, "components": 4},
    "neural_ode": {"configuration": "smoke", "latent": 3, "components": 4},
    "pod_regression": {"components": 4, "samples": 40, "centres": 40, "frames": 200, "skip": 100},
    "latent_dynamics": {"components": 4, "latent": 4, "hidden": 8, "window": 40, "settle": 10, "batch": 2, "rounds": 3},
    "neural_ode_stimulus": {"components": 4, "latent": 4, "hidden": 8, "recurrent": 4, "seen": 10, "window": 20,
                            "batch": 2, "rounds": 3},
    "lstm_stimulus": {"components": 4, "hidden": 6, "window": 30, "settle": 10, "batch": 2, "rounds": 2, "finish": 2},
    "conv_lstm": {"hidden": 4, "seen": 10, "given": 5, "free": 5, "batch": 2, "rounds": 3},
    "unet": {"hidden": 4, "seen": 10, "given": 5, "free": 5, "batch": 2, "rounds": 3},
    "ldnet": {"latent": 4, "hidden": 8, "width": 4, "points": 4, "window": 40, "settle": 10, "batch": 2, "rounds": 3},
    "esn_local": {"size": 10, "nodes": 2, "settle": 5, "seen": 10, "choices": ((1, 1, 0.1, 0.9, 0.3, 0.3),)},
    "nvar_local": {"nodes": 2, "settle": 5, "seen": 10, "choices": ((1, 1, 0.1, 2, 1),), "ridges": (1e-2,)},
    "esn": {"components": 4, "size": 30, "choices": ((0.9, 0.3, 0.3),), "ridges": (1e-4,), "settle": 5},
    "nvar": {"components": 4, "multiplied": 2, "choices": ((2, 1),), "ridges": (1e-3,)},
    "dmd_control": {"components": 8},
}  # fmt: skip


SIZE = {"Vm": 50.0, "Cai": 3e-4, "CaSR": 0.3, "CaSS": 0.2}  # so that every number counts alike


def _numbers(*values):
    return np.concatenate([np.asarray(v, float).ravel() for v in values])


def _run_numbers(run):
    """Frames at three nodes, the mean state at the end, the sum of all activations."""
    nodes = run.isel(y=[0, -1], x=[0, -1]).isel(time=slice(0, None, 10))
    final = cep.final_state(run)
    ends = [final[name].mean() / abs(value) for name, value in cep.cell.INITIAL_STATE.items()]
    activations = run.activation_time.sum(), run.activation_node.sum()
    return _numbers(*(nodes[v] / SIZE[v] for v in VARIABLES), *ends, *activations)


def of_the_solver():
    cell, sheet = cep.Tissue((1, 1)), cep.Tissue((8, 8), spacing=10 / 23, diffusivity=0.125)
    here, corner = cep.region.everywhere(cell), cep.region.corner(sheet, fraction=0.3)
    beat, two = cep.pacing.periodic(500.0, 1, here), cep.pacing.periodic(150.0, 2, corner)
    gKr = np.linspace(0.05, 0.3, 64).reshape(8, 8)
    kinds = np.repeat(["epi", "endo", "m", "epi"], 16).reshape(8, 8)
    runs = {
        "cell": dict(tissue=cell, protocol=beat, duration=400.0, dt=0.02),
        "fixed": dict(dt=0.02),
        "global": dict(dt="global"),
        "adaptive": {},
        "mixed": dict(dt=0.02, dtype="mixed"),
        "fields": dict(dt=0.02, parameters={"gKr": gKr, "Ko": 6.0}, cell_type=kinds),
        "refined": dict(dt=0.02, refine=2, duration=20.0),
    }
    base = dict(tissue=sheet, protocol=two, duration=200.0, progress=False)
    return {name: _run_numbers(cep.simulate(**base | run)) for name, run in runs.items()}


def _given():
    """Half a second of the paper's sheet, a history of 120 frames, and a stimulus in the forecast."""
    sheet = cep.Tissue((24, 24), spacing=10 / 23, diffusivity=0.125)
    corner = cep.region.corner(sheet)
    protocol = cep.Protocol([cep.Stimulus(t, corner) for t in (5.0, 403.0)])
    run = cep.simulate(sheet, protocol, 430.0, dt=0.05, progress=False)
    return run.isel(time=slice(280, 401)), cep.stimulus_field(protocol, like=run)


def _rollout_numbers(free):
    few = free.isel(lead_time=[0, 9, -1])
    return _numbers(free.lead_time[[0, -1]], *(few[v].mean(("y", "x")) / SIZE[v] for v in VARIABLES),
                    *(few[v].isel(y=[0, -1], x=[0, -1]) / SIZE[v] for v in VARIABLES))  # fmt: skip


def of_the_kept_models():
    history, stimulus = _given()
    models = {name: surrogates.load(name) for name in surrogates.kept()}
    flow, sheet = models.pop("flow_map"), cep.Tissue((8, 8), spacing=10 / 23, diffusivity=0.125)
    two = cep.pacing.periodic(400.0, 2, cep.region.corner(sheet, fraction=0.3))
    out = {name: _rollout_numbers(model.rollout(history, 20, stimulus=stimulus)) for name, model in models.items()}
    return out | {"flow_map": _run_numbers(flow.simulate(sheet, two, 800.0, save_every=10.0, progress=False))}


def of_the_methods():
    """A moment of fitting each method, and ten frames of what came out."""
    trajectory, stimulus = cep.check.toy(beats=8)
    rhythm, _ = cep.check.toy(beats=8)
    out = {}
    for name, kind in surrogates.everyone().items():
        if name in ("paced", "pod_galerkin", "pod_deim", "physics_augmented", "minimal_model"):
            continue  # they need simulated tissue; their kept weights stand for them
        if kind.needs:
            continue  # libraries that are optional
        model = kind(**SMALL.get(name, {}))
        runs = rhythm if name in ("last_beat", "climatology", "persistence", "lstm", "neural_ode") else trajectory
        options = {"progress": False} if kind.trains else {}
        model.fit(runs, stimulus=stimulus, **options)
        free = model.rollout(trajectory.isel(time=slice(0, 130)), 20, stimulus=stimulus)
        out[name] = _rollout_numbers(free)
    return out


def of_the_scores():
    trajectory, _ = cep.check.toy(beats=12)
    truth = forecast.futures(trajectory, [60.0, 90.0], 300)
    wrong = truth.roll(lead_time=3) * 1.02
    scaling = Scaling.fit(trajectory)
    table = cep.score({"late": wrong}, trajectory, scaling)
    case = metrics.case_scores(to_tensor(wrong)[0], to_tensor(truth)[0], np.array([40.0, 3e-4, 0.5, 5e-3]), 1.0)
    long = np.full((2, 1200, 2), -85.0)
    for shift, row in zip((0, 7), long, strict=True):
        for begin, lasts in ((100, 280), (480, 240), (800, 250)):
            row[begin + shift : begin + shift + lasts] = np.linspace(30, -70, lasts)[:, None]
    calcium = 1e-4 + 1e-5 * (long + 85)
    found = events.compare((long[0], calcium[0]), (long[1], calcium[1]))
    given = forecast.histories(trajectory, [60.0, 90.0], 20)
    return {
        "score": _numbers(*(table[name].values for name in table)),
        "case": _numbers([case[key] for key in sorted(case)]),
        "events": _numbers([found[key] for key in sorted(found)]),
        "interval": _numbers(scores.interval_of(np.arange(12.0) ** 2, np.arange(12) // 3, np.arange(12) % 2)),
        "cuts": _numbers(
            truth.lead_time[[0, -1]],
            truth.Vm[:, ::50, 1, 2],
            given.time[[0, -1]],
            given.Vm[:, ::5, 1, 2],
            forecast.draw_starts(trajectory, 5, 20, 100),
        ),  # fmt: skip
    }


def of_the_measures():
    trajectory, _ = cep.check.toy()
    beat = trajectory.sel(time=slice(38, 85))
    sheet = cep.Tissue((8, 8), spacing=0.4)
    run = cep.simulate(sheet, cep.pacing.periodic(500.0, 1, cep.region.corner(sheet)), 30.0, dt=0.02, progress=False)
    beats = measure.beats(beat)
    curve = measure.restitution(500.0, 2, [300.0, 400.0])
    angle = measure.phase(trajectory.Vm)
    return {
        "activation": _numbers(measure.activation_map(run), measure.activation_time(beat.Vm)),
        "beats": _numbers(*(beats[name].fillna(-1) for name in sorted(beats))),
        "velocity": _numbers(measure.conduction_velocity(beat.Vm, {"y": 0.0, "x": 0.0}, {"y": 0.5, "x": 1.5})),
        "phase": _numbers(angle.mean(), abs(measure.phase_singularities(angle)).sum()),
        "restitution": _numbers(curve.APD, curve.DI),
    }


def of_the_settings():
    """What is learnt from, how, and what is asked: as numbers that a digest stands for."""
    plain = {name: kind().configuration for name, kind in surrogates.everyone().items()}
    for model, module in (("lstm", lstm), ("neural_ode", neural_ode)):
        plain |= {f"{model} {name}": dataclasses.asdict(settings) for name, settings in module.CONFIGURATIONS.items()}
    plain |= {f"track {name}": dataclasses.asdict(size) for name, size in tracks.SIZES.items()}
    plain |= {f"profile {name}": dataclasses.asdict(size) for name, size in profiles.PROFILES.items()}
    return {name: _plain(settings) for name, settings in plain.items()}


def _plain(settings):
    words = {k: v for k, v in settings.items() if k != "departures"}
    return digest(json.dumps(words, sort_keys=True).encode())


GROUPS = {f.__name__.removeprefix("of_the_"): f for f in (
    of_the_solver, of_the_measures, of_the_scores, of_the_kept_models, of_the_methods, of_the_settings)}  # fmt: skip


def compute():
    out = {"versions": runs.versions()}
    for group, make in GROUPS.items():
        out[group] = {
            name: value if isinstance(value, str) else [float(f"{x:.{DIGITS}g}") for x in value]
            for name, value in make().items()
        }
    return out


if __name__ == "__main__":
    torch.set_num_threads(1)
    FILE.write_text(json.dumps(compute(), indent=0) + "\n")
    print(FILE)
