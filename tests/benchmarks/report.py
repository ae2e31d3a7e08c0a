"""The table of ``make bench``: one row a benchmark, with the machine it ran on."""

import json
import sys
from pathlib import Path

import pandas as pd

record = json.loads(Path(sys.argv[1]).read_text())
rows = []
for bench in record["benchmarks"]:
    info = bench["extra_info"]
    rows.append(
        {
            "code": info["code"],
            "sheet": f"{info['nodes']} x {info['nodes']}",
            "precision": info["dtype"],
            "step": "adaptive" if "ms per adaptive beat" in info else "0.02 ms",
            "ns per cell step": info.get("ns per cell step"),
            "ms per beat": info.get("ms per adaptive beat"),
        }
    )
table = pd.DataFrame(rows)
rival = table[table.code != "cepkit"].set_index("sheet")["ns per cell step"]
table["times finitewave"] = (table["sheet"].map(rival) / table["ns per cell step"]).round(1)
print(table.to_string(index=False, na_rep=""))
machine = record["machine_info"]
cpu = machine["cpu"]
print(f"\n{cpu.get('brand_raw', 'unknown processor')}, {cpu.get('count', '?')} processors")
print(f"Python {machine['python_version']}, {record['datetime']}")
