"""Error against cost of every setting of the solver; with ``--keep`` into data/frontier.json.

python scripts/make_frontier.py [--keep] [PART ...]    parts: beats, sizes, reentry, sheets; all by default

Some ten minutes on two cores, which should have nothing else to do: settings take turns, the fastest of several runs
counts.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version

import numpy as np
import pandas as pd

import cepkit as cep
from cepkit import measure
from cepkit.progress import processors
from cepkit.solver import LOCAL_VERSION, VERSION
from cepkit.store import replace_file

SETTINGS = {f"dt {dt} ms": {"dt": dt} for dt in (0.1, 0.05, 0.02, 0.01)}
SETTINGS |= {"global": {"dt": "global"}} | {f"tolerance {t} ms": {"tolerance": t} for t in (0.02, 0.06, 0.3)}
SHORT = {name: SETTINGS[name] for name in ("dt 0.02 ms", "global", "tolerance 0.02 ms", "tolerance 0.3 ms")}
REENTRY = {"gCaL": 0.2, "gKr": 4.0, "gKs": 4.0}  # times normal, as in scripts/make_spiral.py


def sheet(side, spacing=10 / 23):
    return cep.Tissue((side, side), spacing=spacing, diffusivity=0.125)


def fastest(runs, rounds):
    """Of so many rounds in which the runs take turns, the fastest of each [ms], and what it returned."""
    best, made = dict.fromkeys(runs, np.inf), {}
    for _ in range(rounds + 1):  # the first compiles
        for name, run in runs.items():
            began = time.perf_counter()
            made[name] = run()
            best[name] = min(best[name], 1000 * (time.perf_counter() - began)) if _ else np.inf
    return best, made


def errors(run, exact):
    """z-MSE of each variable; worst error of an activation [ms], of APD90 [ms] and of peak calcium [%]."""
    row = {v: float(((run[v] - exact[v]) ** 2).mean() / exact[v].var()) for v in ("Vm", "Cai", "CaSR", "CaSS")}
    when = [r.activation_time.values[np.lexsort((r.activation_time, r.activation_node))] for r in (run, exact)]
    row["activation"] = float(np.abs(np.subtract(*when)).max()) if len(when[0]) == len(when[1]) else np.inf
    found, right = measure.beats(run), measure.beats(exact)
    row["APD90"] = float(abs(found.APD - right.APD).max())
    return row | {"peak Cai [%]": 100 * float(abs(found.systolic / right.systolic - 1).max())}


def beats():
    """Two beats of the paper's sheet from its paced state, the second premature and from another side."""
    tissue, options = sheet(24), {"progress": False}
    corner, side = cep.region.corner(tissue), cep.region.box(tissue, x=(0, 1))
    paced = cep.final_state(cep.simulate(tissue, cep.pacing.periodic(500.0, 10, corner), 5000.0, dt=0.02, **options))
    protocol = cep.Protocol([cep.Stimulus(0.0, corner), cep.Stimulus(330.0, side)])
    options |= {"tissue": tissue, "protocol": protocol, "duration": 1000.0, "initial": paced.load()}
    exact = cep.simulate(dt=0.00125, **options)
    cases = {(n, d): {**s, "dtype": d} for n, s in SETTINGS.items() for d in ("float64", "mixed")}
    best, made = fastest({k: partial(cep.simulate, **options, **s) for k, s in cases.items()}, 9)
    return [
        {"setting": name, "dtype": dtype, "ms a beat": round(best[name, dtype] / 2, 1)} | errors(run, exact)
        for (name, dtype), run in made.items()
    ]


def sizes():
    """ns for a cell and a ms of tissue, setting up left out: all cells fire, a wave crosses, plateau, rest."""
    rows, cell, none = [], cep.Tissue((1, 1)), cep.Protocol()
    whole = cep.Protocol([cep.Stimulus(0.0, cep.region.everywhere(cell))])
    state = cep.final_state(cep.simulate(cell, whole, 100.0, progress=False))
    plateau = {name: float(value.squeeze()) for name, value in state.items()}
    for side in (24, 64, 128, 256, 512, 1024):
        tissue, ms = sheet(side), 4.0 if side > 256 else 8.0 if side > 128 else 20.0
        run = partial(cep.simulate, tissue, save=("Vm",), progress=False)
        parts = {
            "all fire": (cep.Protocol([cep.Stimulus(0.0, cep.region.everywhere(tissue))]), None, 4.0),
            "a wave": (cep.Protocol([cep.Stimulus(0.0, cep.region.box(tissue, x=(0, 1)))]), None, ms),
            "plateau": (none, plateau, ms), "rest": (none, None, ms), "setting up": (none, None, ms / 2),
        }  # fmt: skip
        runs = {
            (setting, part): partial(run, protocol, initial=initial, duration=length, save_every=length, **given)
            for setting, given in list(SHORT.items())[:3]
            for part, (protocol, initial, length) in parts.items()
        }
        best, _ = fastest(runs, 9 if side <= 128 else 2)
        for (setting, part), time_taken in best.items():
            once = 2 * best[setting, "setting up"] - best[setting, "rest"]
            ns = 1e6 * (time_taken - once) / parts[part][2] / side**2
            rows += (
                [{"side": side, "setting": setting, "part": part, "ns": round(ns, 1)}] if part != "setting up" else []
            )
    return rows


def reentry():
    """50 ms of a re-entry, where something is always fast, against a uniform step of 0.0025 ms."""
    rows, normal = [], cep.cell.Conductances()
    parameters = {name: factor * getattr(normal, name) for name, factor in REENTRY.items()}
    for side in (120, 256):
        tissue, options = sheet(side, 0.5), {"parameters": parameters, "save": ("Vm",), "progress": False}
        begun = cep.simulate(tissue, cep.pacing.cross_field(tissue, 180.0), 400.0, dt=0.05, save_every=100.0, **options)
        state = cep.final_state(begun).load()
        exact = cep.simulate(tissue, cep.Protocol(), 50.0, dt=0.0025, initial=state, **options)
        settings = SHORT | {"dt 0.05 ms": {"dt": 0.05}, "tolerance 0.06 ms": {"tolerance": 0.06}}
        run = partial(cep.simulate, tissue, cep.Protocol(), 50.0, initial=state, **options)
        runs = {name: partial(run, **given) for name, given in settings.items()}
        best, made = fastest(runs, 2)
        rows += [
            {"side": side, "setting": name, "ms": round(best[name]),
             "Vm": float(((run.Vm - exact.Vm) ** 2).mean() / exact.Vm.var())}
            for name, run in made.items()
        ]  # fmt: skip
    return rows


def throughput():
    """A beat of each of sixteen sheets: one after the other on all processors, or each on one of them [ms]."""
    tissue = sheet(24)
    protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(tissue))

    def one(threads):
        return cep.simulate(tissue, protocol, 500.0, threads=threads, progress=False)

    def side_by_side():
        with ThreadPoolExecutor(processors()) as pool:
            list(pool.map(one, 16 * [1]))

    best, _ = fastest({"all processors": lambda: [one(None) for _ in range(16)], "a processor each": side_by_side}, 5)
    return [{"how": how, "ms a sheet": round(ms / 16, 1)} for how, ms in best.items()]


FILE = Path(__file__).parents[1] / "data" / "frontier.json"
PARTS = {"beats": beats, "sizes": sizes, "reentry": reentry, "sheets": throughput}
record = json.loads(FILE.read_text()) if FILE.exists() else {}
record |= {name: PARTS[name]() for name in [part for part in PARTS if part in sys.argv] or PARTS}
for name in PARTS:
    table = pd.DataFrame(record[name])
    if name == "sizes":
        table = table.pivot(index=["setting", "part"], columns="side", values="ns")
    print(f"\n{name}\n{table.to_string(float_format=lambda x: f'{x:.3g}')}")
record |= {
    "what": "fastest of several runs in which the settings take turns, on all processors",
    "processors": processors(), "machine": machine(), "solver": [VERSION, LOCAL_VERSION],
    "versions": {"python": python_version(), **{p: version(p) for p in ("cepkit", "numpy", "numba", "llvmlite")}},
}  # fmt: skip
if "--keep" in sys.argv:
    replace_file(FILE, (json.dumps(record, indent=1) + "\n").encode())
