"""Make data/scorecards/solver-curve.csv: the solver's own error and time at every setting, on an idle machine.

python scripts/make_solver_curve.py

It is what a surrogate has to undercut.
"""

from pathlib import Path

import pandas as pd

from cepkit import bench, surrogates
from cepkit.store import replace_file

SETTINGS = {f"dt {dt} ms": {"dt": dt} for dt in (0.1, 0.05, 0.02)}
SETTINGS |= {"adaptive": {"dt": "adaptive"}, "tolerance 0.3 ms": {"dt": "adaptive", "tolerance": 0.3}}
track, rows = bench.make_track("paced", "laptop"), {}
for name, setting in SETTINGS.items():
    model = bench.fit(surrogates.make("solver_coarse", **setting), track, progress=False)
    scores = bench.evaluate(model, track, ["cl500"])
    row = {r.variable: r.value for r in scores[scores.metric == "z_mse"].itertuples()}
    row |= {r.metric: r.value for r in scores.itertuples() if r.metric in ("activation_error", "apd90_error")}
    rows[name] = row | {"beat": round(bench.cost(model, track, many=1)["beat"], 1)}
curve = pd.DataFrame(rows).T.rename_axis("setting")
print(curve.to_string())
file = Path(__file__).parents[1] / "data" / "scorecards" / "solver-curve.csv"
replace_file(file, curve.to_csv(float_format="%.5g").encode())
