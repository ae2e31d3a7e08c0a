"""The flow map against the solver: accuracy of every kind of run, the worst of each included, and speed.

python scripts/judge_flow_map.py [PART ...] [--runs N] [--fast] [--keep]
Parts: pacing, stimuli, tissues, drugs, long, reentry, speed; all by default.

The truth is the solver with a step of 0.02 ms (``--fast``: its default tolerance).  With ``--keep`` what was found goes
into data/flow-map.json, beside what is there of other parts.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

import cepkit as cep
from cepkit.fields import SHEET, VARIABLES
from cepkit.store import replace_file

NORMAL = cep.cell.Conductances()
FILE = Path(__file__).parents[1] / "data" / "flow-map.json"
found = {}  # title -> measure -> numbers
flow = cep.load("flow_map")
quiet = {"progress": False, "threads": 1}
SOLVER = {"dt": 0.02}


def box(tissue, rng, least=0.4, most=2.0):
    """A square of nodes anywhere."""
    whole, place = cep.region.everywhere(tissue), [rng.uniform(0, side) for side in tissue.extent]
    for d, at in zip(tissue.dims, place, strict=True):
        whole = whole & (np.abs(whole[d] - at) <= rng.uniform(least, most))
    return whole if whole.any() else cep.region.everywhere(tissue)


def activations(run):
    order = np.lexsort((run.activation_time.values, run.activation_node.values))
    return run.activation_node.values[order], run.activation_time.values[order]


def compare(tissue, pulses, duration, **more):
    """Errors of one run: z-MSE by the truth's spread, wrong activations, error of the others [ms], of APD90 [ms]."""
    protocol = cep.Protocol(pulses)
    truth = cep.simulate(tissue, protocol, duration, **SOLVER, **more, **quiet)
    run = flow.simulate(tissue, protocol, duration, tolerance=0.06, **more, **quiet)
    row = {v: float(((run[v] - truth[v]) ** 2).mean() / truth[v].var()) for v in VARIABLES}
    (n, t), (m, u) = activations(run), activations(truth)
    count = [np.bincount(k, minlength=tissue.size) for k in (n, m)]
    same = count[0] == count[1]
    row["wrong"] = int(np.abs(count[0] - count[1]).sum())
    if row["wrong"] and "dt" in SOLVER:  # is the truth itself decided?
        finer = cep.simulate(tissue, protocol, duration, dt=SOLVER["dt"] / 4, **more, **quiet)
        row["wrong in the truth"] = int(
            np.abs(np.bincount(activations(finer)[0], minlength=tissue.size) - count[1]).sum()
        )
    late = np.abs(t[same[n]] - u[same[m]]) if same.any() else np.array([np.nan])
    row["late"] = float(late.max(initial=0.0))
    if not row["wrong"] and len(n):
        apd = [cep.measure.beats(r).APD.values for r in (run, truth)]
        both = [a[: min(len(a) for a in apd)] for a in apd]
        row["APD90"] = float(np.nanmax(np.abs(both[0] - both[1]), initial=0.0))
        row["APD90 median"] = float(np.nanmedian(np.abs(both[0] - both[1])))
    row["RMSE"] = float(np.sqrt(((run.Vm - truth.Vm) ** 2).mean()))
    return row | {"activations": len(m), "carried": run.attrs["carried"]}


def table(title, rows):
    """Median and worst of each column."""
    print(f"\n{title}: {len(rows)} runs")
    found[title] = {"runs": len(rows), "runs with a wrong activation": sum(row["wrong"] > 0 for row in rows)}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = np.array([row[name] for row in rows if name in row], float)
        worst = values.min() if name in ("carried", "activations") else np.nanmax(values)
        found[title][name] = [float(f"{number:.3g}") for number in (np.nanmedian(values), worst)]
        print(f"  {name:>14}  median {np.nanmedian(values):9.2g}   worst {worst:9.2g}")


def sheet():
    return cep.Tissue(**SHEET)


def pacing(runs):
    rows = []
    for k in range(runs):
        rng, tissue = np.random.default_rng([9, k]), sheet()
        times = 5 + np.concatenate([[0], np.cumsum(rng.uniform(330, 900, 7))]).round(1)
        rows.append(
            compare(tissue, [cep.Stimulus(t, box(tissue, rng)) for t in times], float(np.ceil(times[-1] + 500)))
        )
    table("irregular pacing at unseen sites, 8 beats", rows)


def stimuli(runs):
    rows = []
    for k in range(runs):
        rng, tissue = np.random.default_rng([8, k]), sheet()
        first, second = box(tissue, rng), box(tissue, rng)
        pulses = [cep.Stimulus(5.0, first), cep.Stimulus(5.0 + rng.choice([0, 1, 2, 5, 10, 20, 30]), second)]
        place = cep.region.everywhere(tissue) & False
        i, j = rng.integers(2, 22, 2)
        shape = rng.choice(["node", "L", "box"])
        place.values[i, j] = True
        if shape == "L":
            place.values[i - 2 : i + 2, j] = place.values[i, j - 2 : j + 2] = True
        amplitude = -52.0 * rng.choice([0.05, 0.2, 0.5, 0.8, 1.0, 1.5]) * rng.choice([1, 1, 1, -1])
        pulses.append(cep.Stimulus(5.0 + round(rng.uniform(300, 360), 1), box(tissue, rng) if shape == "box" else place,
                                   1.0, float(amplitude)))  # fmt: skip
        rows.append(compare(tissue, pulses, 900.0))
    table("two sites with a lag, then a premature pulse of any strength, sign and shape", rows)


def tissues(runs):
    rows, D = [], np.full((24, 24), 0.125)
    D[8:16, 10:14] = 0.0  # scar
    slow = np.full((24, 24), 0.125)
    slow[:, 12:] = 0.03
    neck = np.full((24, 48), 0.125)
    neck[:, 23:25] = 0.0
    neck[11:13, 23:25] = 0.125
    made = {
        "scar": cep.Tissue((24, 24), SHEET["spacing"], D), "slow zone": cep.Tissue((24, 24), SHEET["spacing"], slow),
        "isthmus": cep.Tissue((24, 48), SHEET["spacing"], neck), "96 x 64 at 0.3 mm": cep.Tissue((96, 64), 0.3, 0.125),
        "slab": cep.Tissue((8, 24, 24), 0.4, 0.125), "cable": cep.Tissue((200,), 0.2, 0.125),
    }  # fmt: skip
    for name, tissue in made.items():
        corner = cep.region.corner(tissue, fraction=0.2)
        pulses = [cep.Stimulus(t, corner) for t in (5.0, 405.0, 735.0)]
        rows.append(compare(tissue, pulses, 1200.0))
        print(name, {k: f"{v:.2g}" for k, v in rows[-1].items()}, flush=True)
    table("tissues", rows)


def drugs(runs):
    """Isolated cells of random conductances, five beats at 1 Hz."""
    tissue, rng = cep.Tissue((10, max(runs, 10)), 1.0, 0.0), np.random.default_rng(6)
    low_high = {
        "gNa": (0.5, 1.2),
        "gCaL": (0.2, 1.5),
        "gKr": (0.2, 2.5),
        "gKs": (0.2, 3.0),
        "gto": (0.1, 1.8),
        "gK1": (0.7, 1.4),
    }
    factors = {name: rng.uniform(*r, tissue.shape) for name, r in low_high.items()}
    given = {"parameters": {name: f * getattr(NORMAL, name) for name, f in factors.items()}}
    protocol = cep.pacing.periodic(1000.0, 5, cep.region.everywhere(tissue))
    truth, run = (f(tissue, protocol, 5000.0, **given, **quiet, **how) for f, how in
                  ((cep.simulate, SOLVER), (flow.simulate, {"tolerance": 0.06})))  # fmt: skip
    rmse = np.sqrt(((run.Vm - truth.Vm)[4000:] ** 2).mean("time")).values.ravel()
    counts = run.sizes["activation"], truth.sizes["activation"]
    found["random conductances, fifth beat"] = {
        "cells": rmse.size, "RMSE": [round(float(x), 3) for x in (np.median(rmse), rmse.max())], "activations": counts,
    }  # fmt: skip
    print(f"\nrandom conductances, fifth beat: RMSE median {np.median(rmse):.2f}, 95 % {np.quantile(rmse, 0.95):.2f}, "
          f"worst {rmse.max():.2f} mV; carried {run.attrs['carried']:.2f}; activations "
          f"{run.sizes['activation']} of {truth.sizes['activation']}")  # fmt: skip


def long(runs):
    rng, tissue, whole = (
        np.random.default_rng(5),
        cep.Tissue((1, 1), 1.0, 0.0),
        cep.region.everywhere(cep.Tissue((1, 1), 1.0, 0.0)),
    )
    times = 5 + np.concatenate([[0], np.cumsum(rng.uniform(350, 1000, 1000))]).round(1)
    times = times[times < 720_000]
    protocol = cep.Protocol([cep.Stimulus(t, whole) for t in times])
    truth, run = (f(tissue, protocol, 720_000.0, progress=False, threads=1, **how) for f, how in
                  ((cep.simulate, {"dt": 0.02}), (flow.simulate, {"tolerance": 0.06})))  # fmt: skip
    apd = [cep.measure.beats(r).APD.values.ravel() for r in (run, truth)]
    n = min(map(len, apd))
    off = np.nanmedian(np.abs(apd[0][:n] - apd[1][:n])[-50:])
    store = run.CaSR[-5000:].mean() / truth.CaSR[-5000:].mean()
    beats = len(apd[0]), len(apd[1])
    found["twelve minutes of one cell"] = {"APD90": round(float(off), 3), "store": float(store - 1), "beats": beats}
    print(f"\ntwelve minutes: APD90 off by {off:.2f} ms at the end, store by {float(store - 1):.2%}; "
          f"beats {len(apd[0])} of {len(apd[1])}")  # fmt: skip


def reentry(runs):
    """The book's re-entry until it ends, and one round a hole, which lasts: who fires how often, and until when."""
    low = {name: factor * getattr(NORMAL, name) for name, factor in {"gCaL": 0.2, "gKr": 4.0, "gKs": 4.0}.items()}
    whole, hole = np.full((2, 120, 120), 0.125)
    hole[np.hypot(*(np.mgrid[:120, :120] - 59.5)) < 22] = 0.0
    for name, D, duration in (("ends", whole, 1200.0), ("lasts", hole, 2000.0)):
        tissue = cep.Tissue((120, 120), 0.5, D)
        given = {"parameters": low, "save": ("Vm",), "save_every": 20.0, "progress": True, "threads": 2}
        protocol = cep.pacing.cross_field(tissue, 180.0)
        both = []
        for way in (partial(cep.simulate, tolerance=0.02), partial(flow.simulate, tolerance=0.06)):
            run = way(tissue, protocol, duration, **given)
            node, when = activations(run)
            middle = when[node == np.bincount(node, minlength=tissue.size).argmax()]
            both.append([len(node) / tissue.size, float(np.median(np.diff(np.sort(middle)))), float(when.max())])
        share = run.attrs["carried"]
        found[f"re-entry that {name}"] = {
            "activations a node": [one[0] for one in both], "period": [one[1] for one in both],
            "last": [one[2] for one in both], "carried": share,
        }  # fmt: skip
        for what, a, b in zip(("activations a node", "period [ms]", "last activation [ms]"), *both, strict=True):
            print(f"re-entry that {name}, {what}: solver {a:.4g}, flow map {b:.4g} ({b / a - 1:+.2%})")
        print(f"carried {share:.0%}")


def speed(runs):
    """Ratios in one run, on all processors: fastest of several runs that take turns."""
    cells, hundred = cep.Tissue((32, 32), 1.0, 0.0), cep.Tissue((256, 256), SHEET["spacing"], SHEET["diffusivity"])
    made = {
        "24 x 24": (sheet(), 4, 7, {}), "24 x 24, maps alone": (sheet(), 4, 7, {"save_every": 500.0}),
        "256 x 256": (hundred, 2, 2, {"save_every": 5.0}), "1024 cells": (cells, 8, 4, {"save_every": 20.0}),
    }  # fmt: skip
    for what, (tissue, beats, rounds, options) in made.items():
        place = cep.region.everywhere(tissue) if "cells" in what else cep.region.corner(tissue, fraction=0.2)
        protocol = cep.pacing.periodic(500.0, beats, place)
        both = {"solver": cep.simulate, "flow map": flow.simulate}
        ways = {(name, t): partial(way, tolerance=t) for name, way in both.items() for t in (0.06, 0.3)}
        taken = {name: [] for name in ways}
        for _ in range(rounds + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                way(tissue, protocol, 500.0 * beats, progress=False, **options)
                taken[name].append((time.perf_counter() - began) / beats * 1e3)
        best = {name: min(t[1:]) for name, t in taken.items()}
        for t in (0.06, 0.3):
            ratio = best["solver", t] / best["flow map", t]
            found.setdefault("speed", {})[f"{what}, tolerance {t} ms"] = round(ratio, 3)
            print(f"{what}, tolerance {t} ms: solver / flow map {ratio:.2f} ({best['flow map', t]:.3g} ms a beat)")


PARTS = {"pacing": pacing, "stimuli": stimuli, "tissues": tissues, "drugs": drugs, "long": long,
         "reentry": reentry, "speed": speed}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    if asked.fast:
        SOLVER.pop("dt")
    for name in asked.parts or PARTS:
        PARTS[name](asked.runs)
        if asked.keep:
            old = json.loads(FILE.read_text()) if FILE.exists() else {}
            made = {"weights": flow.hash, "truth": SOLVER or "tolerance 0.02 ms"}
            replace_file(FILE, (json.dumps(old | made | found, indent=1) + "\n").encode())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
