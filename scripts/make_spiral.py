"""Make data/spiral.npz: a re-entry started by cross-field S1-S2, half a minute on two cores.

python scripts/make_spiral.py
"""

import io
import json
import time
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version

import numpy as np

import cepkit as cep
from cepkit.solver import VERSION
from cepkit.store import replace_file

SIDE, SPACING, S2, DURATION, EVERY = 120, 0.5, 180.0, 800.0, 5.0
CHANGES = {"gCaL": 0.2, "gKr": 4.0, "gKs": 4.0}  # times normal

tissue = cep.Tissue((SIDE, SIDE), SPACING, 0.125)
protocol = cep.pacing.cross_field(tissue, S2)
normal = cep.cell.Conductances()
parameters = {name: factor * getattr(normal, name) for name, factor in CHANGES.items()}

began = time.perf_counter()
run = cep.simulate(
    tissue, protocol, DURATION, dt=0.05, save_every=EVERY, save=("Vm",), parameters=parameters, dtype="mixed"
)
record = {
    "what": "Vm of a spiral wave, every second node; low + bytes / 255 (high - low) [mV]",
    "shape": [SIDE, SIDE], "spacing": SPACING, "diffusivity": 0.125, "dt": 0.05, "dtype": "mixed",
    "S1": "left edge, 1.5 mm, at 0 ms", "S2": f"lower left quarter at {S2:g} ms", "times normal": CHANGES,
    "save_every": EVERY, "seconds": round(time.perf_counter() - began, 1), "low": -95.0, "high": 45.0,
    "solver": VERSION, "machine": machine(),
    "versions": {"python": python_version(), **{p: version(p) for p in ("cepkit", "numpy", "numba")}},
}  # fmt: skip
Vm = run.Vm.values[:, ::2, ::2]
scaled = np.round((Vm - record["low"]) / (record["high"] - record["low"]) * 255)
assert 0 <= scaled.min() and scaled.max() <= 255
file = io.BytesIO()
np.savez_compressed(file, frames=scaled.astype(np.uint8), record=json.dumps(record))
replace_file(Path(__file__).parents[1] / "data" / "spiral.npz", file.getvalue())
print(f"{len(file.getvalue()) / 1e3:.0f} kB, {record['seconds']} s")
