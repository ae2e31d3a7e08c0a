"""Make data/niederer.json: the whole N-version benchmark, some minutes on two cores.

python scripts/make_niederer.py
"""

import json
import time
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version

from cepkit.bench import niederer
from cepkit.solver import VERSION
from cepkit.store import replace_file

rows = []
for spacing in (0.5, 0.2, 0.1):
    for dt in (0.05, 0.01, 0.005):
        began = time.perf_counter()
        try:
            points, diagonal = niederer.activation(spacing, dt)
        except ValueError as refusal:  # over the stability bound of an explicit step
            print(refusal)
            rows.append({"spacing": spacing, "dt": dt, "refused": str(refusal)})
            continue
        seconds = time.perf_counter() - began
        rows.append({
            "spacing": spacing, "dt": dt, "activation": [round(float(t), 4) for t in points],
            "diagonal": [round(float(t), 4) for t in diagonal], "seconds": round(seconds, 1),
        })  # fmt: skip
        print(spacing, dt, rows[-1]["activation"], f"{seconds:.0f} s", flush=True)

fine = {r["spacing"]: r["activation"] for r in rows if r["dt"] == 0.005}
record = {
    "what": "activation times [ms] at P1 to P9 of the N-version benchmark (doi:10.1098/rsta.2011.0139)",
    "rows": rows,
    "limit": [round(a + (a - b) / 3, 4) for a, b in zip(fine[0.1], fine[0.2], strict=True)],
    "limit made by": "Richardson, second order in space, from 0.2 and 0.1 mm at dt 0.005 ms",
    "solver": VERSION,
    "versions": {"python": python_version(), **{p: version(p) for p in ("cepkit", "numpy", "numba")}},
    "machine": machine(),
}
replace_file(Path(__file__).parents[1] / "data" / "niederer.json", (json.dumps(record, indent=1) + "\n").encode())
