"""The table of ``make bench``: one row a benchmark, with the machine it ran on.

With ``--keep`` it is also written to ``data/speed.json``, which the chapter on speed shows.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from cepkit.solver import VERSION
from cepkit.store import replace_file

record = json.loads(Path(sys.argv[1]).read_text())
rows, redraws = [], {}
for row in record["benchmarks"]:
    info = row["extra_info"]
    if "control" in info:
        redraws[info["control"]] = info["ms per redraw"]
        continue
    rows.append(
        {
            "code": info["code"],
            "sheet": f"{info['nodes']} x {info['nodes']}",
            "precision": info["dtype"],
            "step": "adaptive" if "ms per adaptive beat" in info else "0.02 ms",
            "ns per cell step": info.get("ns per cell step"),
            "ms per beat": info.get("ms per adaptive beat"),
            "fastest": info["fastest"],
        }
    )
table = pd.DataFrame(rows)
rival = table[table.code != "cepkit"].set_index("sheet")["ns per cell step"]
table["times finitewave"] = (table["sheet"].map(rival) / table["ns per cell step"]).round(1)
print(table.to_string(index=False, na_rep=""))
print("\n".join(["\nms per redraw of a live control", *(f"{name:27s} {ms:5.1f}" for name, ms in redraws.items())]))
machine = record["machine_info"]
cpu = machine["cpu"]
print(f"\n{cpu.get('brand_raw', 'unknown processor')}, {cpu.get('count', '?')} processors")
print(f"Python {machine['python_version']}, {record['datetime']}")
if "--keep" in sys.argv:
    kept = {
        "what": "wall time on all processors: membrane, diffusion, recording each ms; median and fastest of some runs",
        "rows": json.loads(table.to_json(orient="records")),
        "machine": f"{cpu.get('brand_raw', 'unknown processor')}, {cpu.get('count', '?')} processors",
        "python": machine["python_version"],
        "versions": {p: version(p) for p in ("cepkit", "numpy", "numba", "llvmlite")},
        "solver": VERSION,
        "date": record["datetime"][:10],
    }
    replace_file(Path(__file__).parents[1] / "data" / "speed.json", (json.dumps(kept, indent=1) + "\n").encode())
