"""Methods that give activation times and APDs alone, beside the solver and the flow map: errors and time of a beat.

python scripts/make_maps.py [--runs N]     writes data/maps.json

- ``arritmic3d`` (PyPI, optional: pip install arritmic3d), an event-driven automaton on tables of restitution made from
  the model of ten Tusscher, as it comes, and with its two factors fitted.
- An eikonal method that excites a node anew: the wave goes from node to node along the shortest time, its velocity and
  the APD follow the diastolic interval by curves fitted to the solver, and a node that has not recovered blocks.

Both are fitted on runs of their own.  Runs, sites and rhythms are those of ``judge_flow_map.py pacing``, whose truth is
the solver at 0.02 ms.  The opponents never see frames.  Times are the fastest of several runs that take turns.
"""

import argparse
import heapq
import json
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from judge_flow_map import box, flow, quiet, sheet
from scipy.optimize import minimize

import cepkit as cep
from cepkit.progress import bar
from cepkit.store import kept_folder, replace_file

try:
    import arritmic3d
except ImportError:
    arritmic3d = None  # the table then lacks its rows

FITS, TESTS, BEATS, AFTER = 10, 9, 8, 500.0  # seeds of the runs; stimuli of a run; ms after the last of them
STEPS = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if np.gcd(i, j) == 1]  # to the sixteen nearest directions
EPICARDIUM = 3  # in the tables of arritmic3d
TRUTH = partial(cep.simulate, dt=0.02)


def drawn(seed, k):
    """Times and sites of a run (sites as boolean fields)."""
    rng = np.random.default_rng([seed, k])
    times = 5 + np.concatenate([[0], np.cumsum(rng.uniform(330, 900, BEATS - 1))]).round(1)
    return times, [box(sheet(), rng) for _ in times]


def by_solver(times, sites, way=TRUTH, frames=True):
    """Activation and APD90 of each stimulus and node, (2, beats, nodes), NaN where none began; APD from ``frames``."""
    protocol = cep.Protocol([cep.Stimulus(t, site) for t, site in zip(times, sites, strict=True)])
    duration = float(np.ceil(times[-1] + AFTER))
    run = way(sheet(), protocol, duration, save=("Vm",), save_every=1.0 if frames else duration, **quiet)
    found = np.full((2, len(times), sheet().size), np.nan)
    number = np.searchsorted(times, run.activation_time.values) - 1
    found[0, number, run.activation_node.values] = run.activation_time.values
    if frames:
        beats = cep.measure.beats(run[["Vm"]])
        up, APD = (beats[name].values.reshape(beats.sizes["beat"], -1) for name in ("activation", "APD"))
        for k, t in enumerate(times):
            of = (up >= t) & (up < (times[k + 1] if k + 1 < len(times) else np.inf))
            found[1, k] = np.where(of.any(0), np.take_along_axis(APD, of.argmax(0)[None], 0)[0], np.nan)
    return found


class Automaton:
    """arritmic3d on the sheet, one node a voxel; ``scale`` are its factors of velocity and of APD."""

    start = (1.0, 1.0)

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, times, sites):
        base, h = Path(arritmic3d.__file__).parent / "restitutionModels", sheet().spacing
        tissue = arritmic3d.CardiacTissue(*sheet().shape, 1, h[0], h[1], h[0])
        tissue.InitModels(*(str(base / f"config_TenTuscher_{of}.csv") for of in ("APD", "CV")))
        tissue.SetInitialAPD(300.0)
        n, given = sheet().size, tissue.GetDefaultParameters()
        given |= dict(zip(("CORRECTION_FACTOR_CV_BORDER_ZONE", "CORRECTION_FACTOR_APD"), self.scale, strict=True))
        tissue.InitPy([EPICARDIUM] * n, {name: [value] * n for name, value in given.items()}, [[0, 0, 0]] * n)
        for t in times:
            tissue.SetSystemEvent(arritmic3d.SystemEventType.EXT_ACTIVATION, t)
        tissue.SetTimer(arritmic3d.SystemEventType.FILE_WRITE, 100.0, initial_time=100.0)  # so that time goes on
        found, beat = np.full((2, len(times), n), np.nan), 0
        while tissue.GetTime() < times[-1] + AFTER:
            event = tissue.update(0)
            if event == arritmic3d.SystemEventType.EXT_ACTIVATION:
                self._note(tissue, found, times, beat)
                beat += 1
                tissue.ExternalActivation(np.flatnonzero(sites[beat - 1].values).tolist(), tissue.GetTime(), beat)
        self._note(tissue, found, times, beat)
        return found

    def _note(self, tissue, found, times, beat):
        if beat:
            when, APD = np.array(tissue.GetLAT()), np.array(tissue.GetAPD())
            found[:, beat - 1] = np.where(when >= times[beat - 1], [when, APD], np.nan)


class Eikonal:
    """See the module; ``scale`` are velocities along an edge, a diagonal and between [mm/ms], the delay of a stimulus
    [ms], by how much and how fast [ms] velocity and APD recover, the longest APD, and the shortest interval [ms]."""

    start = (0.55, 0.6, 0.57, 1.0, 0.3, 40.0, 285.0, 0.25, 90.0, 15.0)

    def __init__(self, scale):
        *velocities, self.delay, self.slow, self.v_tau, self.longest, self.short, self.apd_tau, self.least = scale
        h, shape = sheet().spacing[0], sheet().shape
        self.near = [[] for _ in range(sheet().size)]
        for at in np.ndindex(*shape):
            for i, j in STEPS:
                to = at[0] + i, at[1] + j
                if 0 <= to[0] < shape[0] and 0 <= to[1] < shape[1]:
                    v = velocities[{1: 0, 2: 1, 5: 2}[i * i + j * j]]
                    self.near[at[0] * shape[1] + at[1]].append((to[0] * shape[1] + to[1], np.hypot(i, j) * h / v))

    def __call__(self, times, sites):
        ended, found = [-1000.0] * sheet().size, np.full((2, len(times), sheet().size), np.nan)
        for k, (t, site) in enumerate(zip(times, sites, strict=True)):
            queue, done = [(t + self.delay, int(n), 1.0) for n in np.flatnonzero(site.values)], set()
            heapq.heapify(queue)
            while queue:
                when, n, _ = heapq.heappop(queue)
                rest = when - ended[n]
                if n in done or rest < self.least:
                    continue
                done.add(n)
                pace = 1 - self.slow * np.exp(-rest / self.v_tau)
                APD = self.longest * (1 - self.short * np.exp(-rest / self.apd_tau))
                found[:, k, n] = when, APD
                ended[n] = when + APD
                for m, far in self.near[n]:
                    if m not in done:
                        heapq.heappush(queue, (when + far / max(pace, 0.1), m, pace))
        return found


def compare(found, truth):
    """Of some runs: errors of activation and of APD [ms], and the share of activations that only one of both has."""
    (when, APD), (right, longs) = (np.concatenate(part, 1) for part in (found, truth))
    both = ~np.isnan(when) & ~np.isnan(right)
    off, apd = np.abs(when - right)[both], (APD - longs)[both]
    wrong = (np.isnan(when) != np.isnan(right)).sum() / (~np.isnan(right)).sum()
    row = {"activation, mean": off.mean(), "activation, largest": off.max(), "wrong": 100 * wrong}
    if not np.isnan(apd).all():
        row |= {"APD90, median": np.nanmedian(np.abs(apd)), "APD90, bias": np.nanmedian(apd)}
    return {name: float(f"{value:.3g}") for name, value in row.items()}


def fitted(kind, runs, truth):
    """Of a method with the scale that has the smallest errors of activation and APD on some runs."""

    def error(change):
        row = compare([kind(np.array(kind.start) * np.exp(change))(*run) for run in runs], truth)
        return row["activation, mean"] + 0.1 * row["APD90, median"] + 0.1 * row["wrong"]

    n = len(kind.start)
    corners = np.vstack([np.zeros(n), 0.1 * np.eye(n)])
    best = minimize(error, np.zeros(n), method="Nelder-Mead", options={"initial_simplex": corners, "maxfev": 30 * n})
    return kind(np.array(kind.start) * np.exp(best.x))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    count = parser.parse_args().runs
    learn, tests = ([drawn(seed, k) for k in range(n)] for seed, n in ((FITS, 3), (TESTS, count)))
    known, truth = ([by_solver(*run) for run in bar(part, "truth", "run")] for part in (learn, tests))
    ways = {
        "solver, tolerance 0.06 ms": partial(by_solver, way=partial(cep.simulate, tolerance=0.06)),
        "solver, tolerance 0.3 ms": partial(by_solver, way=partial(cep.simulate, tolerance=0.3)),
        "flow map": partial(by_solver, way=partial(flow.simulate, tolerance=0.06)),
        "eikonal, fitted": fitted(Eikonal, learn, known),
    }
    if arritmic3d:
        ways |= {"arritmic3d, as it comes": Automaton(Automaton.start)}
        ways |= {"arritmic3d, fitted": fitted(Automaton, learn, known)}
    rows = {name: compare([way(*run) for run in bar(tests, name, "run")], truth) for name, way in ways.items()}
    taken = {name: [] for name in ways}
    for _ in range(6):
        for name, way in ways.items():
            alone = {"frames": False} if isinstance(way, partial) else {}
            began = time.perf_counter()
            way(*tests[0], **alone)
            taken[name].append((time.perf_counter() - began) / BEATS * 1e3)
    for name, row in rows.items():
        row["ms a beat"] = float(f"{min(taken[name][1:]):.3g}")
        row |= {"scale": [float(f"{s:.4g}") for s in ways[name].scale]} if hasattr(ways[name], "scale") else {}
        print(name, row)
    about = {"runs": count, "beats": BEATS, "fitted on runs": len(learn), "threads": 1}
    about |= {"arritmic3d": version("arritmic3d") if arritmic3d else None}
    replace_file(kept_folder() / "maps.json", (json.dumps(about | {"rows": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
