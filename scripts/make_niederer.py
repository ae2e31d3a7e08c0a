"""Make data/niederer.json: the whole N-version benchmark, half an hour on two cores; what is there is kept.

python scripts/make_niederer.py
"""

import json
import time
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version

from cepkit.bench import niederer
from cepkit.solver import LOCAL_VERSION, VERSION
from cepkit.store import replace_file

FILE = Path(__file__).parents[1] / "data" / "niederer.json"
CASES = [(spacing, dt) for spacing in (0.5, 0.2, 0.1) for dt in (0.05, 0.01, 0.005)]
CASES += [(spacing, "adaptive") for spacing in (0.2, 0.1, 0.05)]  # fixed steps would take days on the finest grid


def row(spacing, dt):
    began = time.perf_counter()
    try:
        points, diagonal = niederer.activation(spacing, dt)
    except ValueError as refusal:  # over the stability bound of an explicit step
        return {"spacing": spacing, "dt": dt, "refused": str(refusal)}
    return {
        "spacing": spacing, "dt": dt, "activation": [round(float(t), 4) for t in points],
        "diagonal": [round(float(t), 4) for t in diagonal], "seconds": round(time.perf_counter() - began, 1),
        "solver": LOCAL_VERSION if dt == "adaptive" else VERSION,
    }  # fmt: skip


def record(rows):
    fine = {r["spacing"]: r["activation"] for r in rows if r["dt"] == "adaptive"}
    limit = [round(a + (a - b) / 3, 4) for a, b in zip(fine[0.05], fine[0.1], strict=True)] if 0.05 in fine else None
    return {
        "what": "activation times [ms] at P1 to P9 of the N-version benchmark (doi:10.1098/rsta.2011.0139)",
        "rows": rows,
        "limit": limit,
        "limit made by": "Richardson, second order in space, from 0.1 and 0.05 mm with the adaptive step",
        "versions": {"python": python_version(), **{p: version(p) for p in ("cepkit", "numpy", "numba")}},
        "machine": machine(),
    }


rows = json.loads(FILE.read_text())["rows"] if FILE.exists() else []
rows = [r for r in rows if r.get("solver", VERSION) == (LOCAL_VERSION if r["dt"] == "adaptive" else VERSION)]
for case in CASES:
    if case not in [(r["spacing"], r["dt"]) for r in rows]:  # an interrupted run goes on
        rows.append(row(*case))
        print(*case, rows[-1].get("activation", rows[-1].get("refused")), flush=True)
        replace_file(FILE, (json.dumps(record(rows), indent=1) + "\n").encode())
