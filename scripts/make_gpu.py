"""Make data/gpu/*.json: the solver and the kept networks on a GPU.

python scripts/make_gpu.py [solver|clocks ...]

Without names, both.  The paper's networks at their published sizes are trained by make_lstm.py.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numba import cuda

import cepkit as cep
from cepkit import forecast, surrogates
from cepkit.fields import VARIABLES
from cepkit.solver import VERSION
from cepkit.store import replace_file

FOLDER = Path(__file__).parents[1] / "data" / "gpu"


def keep(name, rows, **more):
    record = {
        "rows": rows,
        **more,
        "gpu": torch.cuda.get_device_name(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {p: version(p) for p in ("cepkit", "numba", "numpy", "torch", "torchdiffeq")},
        "solver": VERSION,
        "date": time.strftime("%Y-%m-%d"),
    }
    FOLDER.mkdir(exist_ok=True)
    replace_file(FOLDER / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode())
    print(name, json.dumps(rows), flush=True)


def paced_sheet(n, duration, dt=0.02, **options):
    """Seconds of a run from rest with one stimulus, and its trajectory."""
    tissue = cep.Tissue((n, n), spacing=10 / 23, diffusivity=0.125)
    protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(tissue))
    began = time.perf_counter()
    run = cep.simulate(tissue, protocol, duration, dt=dt, progress=False, **options)
    return time.perf_counter() - began, run


def solver():
    """Agreement with the CPU over a beat, and time per cell step without what a call costs once."""
    cpu, gpu = (paced_sheet(24, 500.0, device=d)[1] for d in ("cpu", "cuda"))
    apart = {v: float(abs(cpu[v] - gpu[v]).max() / np.ptp(cpu[v].values)) for v in VARIABLES}
    apart["activation_time [ms]"] = float(abs(cpu.activation_time - gpu.activation_time).max())
    rows = []
    for n, duration in ((24, 2000.0), (256, 100.0), (1024, 40.0)):
        for device in ("cpu", "cuda"):
            paced_sheet(n, 2.0, device=device)
            times = [[paced_sheet(n, ms, device=device)[0] for ms in (duration / 4, duration)] for _ in range(3)]
            seconds = float(np.median([long - short for short, long in times]))
            steps = 0.75 * duration / 0.02
            rows.append({"sheet": f"{n} x {n}", "device": device, "ns per cell step": 1e9 * seconds / steps / n**2,
                         "ms per beat": 1e3 * seconds * 500 / (0.75 * duration)})  # fmt: skip
            print(rows[-1], flush=True)
    beat = min(paced_sheet(24, 500.0, dt="adaptive")[0] for _ in range(5))
    rows.append({"sheet": "24 x 24", "device": "cpu, adaptive", "ms per beat": 1e3 * beat})
    keep("solver", rows, what="float64, dt 0.02 ms, frames each ms; adaptive: a whole call", apart=apart)


def clocks():
    """One beat, from 500 frames given, by the kept networks; one start and 64."""
    golden = cep.golden_standard()
    rows = []
    for name in ("lstm", "neural_ode"):
        for device in ("cpu", "cuda"):
            model = surrogates.load(name)
            model.device = torch.device(device)
            model.network.to(device)
            for starts in (1, 64):
                history = forecast.histories(golden, np.arange(starts) * 100 + 40_000, 500)
                timed = forecast.clock(model, history, 500, repeats=9)
                rows.append({"model": name, "device": device, "starts": starts} |
                            {k: timed[k] for k in ("median", "fastest", "threads")})  # fmt: skip
    keep("clocks", rows, what="ms for 500 frames of all starts, history read")


PARTS = {"solver": solver, "clocks": clocks}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    given = parser.parse_args()
    if not cuda.is_available():
        raise SystemExit("no CUDA device here; what data/gpu holds was made on one")
    for part in given.parts or PARTS:
        PARTS[part]()
