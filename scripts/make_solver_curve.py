"""Make data/scorecards/solver-curve.csv: the solver's own error and time at every step, on an idle machine.

python scripts/make_solver_curve.py
"""

from pathlib import Path

from cepkit import bench
from cepkit.store import replace_file

curve = bench.solver_curve(bench.make_track("paced", "laptop"))
curve["beat"] = curve["beat"].round(1)
print(curve.to_string())
file = Path(__file__).parents[1] / "data" / "scorecards" / "solver-curve.csv"
replace_file(file, curve.to_csv(float_format="%.5g").encode())
