"""The sealed exam of the track ``paced``: a row sits it once, after all of its choices.

python scripts/sit_exam.py [--again] ROW [ROW ...]

A row sits it with its kept model and, where it draws random numbers and trains within minutes, two more trainings; the
settings are those of data/search/chosen.json, where it has the row.  What comes out stays in
data/scorecards/exam/ROW.json; who has sat it is left out, unless ``--again`` says otherwise, and then a look more is
counted, and the mean errors of the sittings before stay.
"""

import json
import sys
from importlib.metadata import version

import pandas as pd

from cepkit import bench, solver, surrogates
from cepkit.bench.scorecard import entrant
from cepkit.fields import VARIABLES
from cepkit.scores import VERSION
from cepkit.store import data_folder, kept, replace_file

SEEDS = 3
ONCE = "paced", "flow_map"  # trained outside the budget, one training each
LATE = ("paced",)  # learns from the late runs too
SHOWN = {("", m) for m in ("activation_error", "apd90_error", "missed", "spurious", "wrong starts", "failed starts")}
SHOWN |= {(v, "z_mse") for v in VARIABLES} | {("Vm", "z_mse_mean"), ("Vm", "z_mse_worst")}


def record_of(row):
    return data_folder() / "scorecards" / "exam" / f"{row}.json"


def candidates(row, track):
    """The trained models of a row."""
    first = entrant(row, track)
    more = SEEDS if first.trains and first.draws and row not in ONCE else 1
    return [first, *(entrant(row, track, seed) for seed in range(1, more))]


def least(model):
    """The least error of a training on the validation part; None where it was not asked."""
    entries = model.card.get("training") or []
    return min((e["validation error"] for e in entries if "validation error" in e), default=None)


def sittings(file):
    """What each earlier sitting gave: settings, version and mean errors."""
    if not file.exists():
        return []
    last = json.loads(file.read_text())
    means = {test: value for test, _, metric, value, *_ in last["table"] if metric == "z_mse_mean"}
    now = {"configuration": last["configuration"], "version": last["versions"]["method"], "mean z-MSE of Vm": means}
    return [*last.get("before", []), now]


def sit(row, track):
    """Score a row on every question, and keep what came out with what it cost."""
    file, search = record_of(row), json.loads(kept("search/chosen.json").read_text()).get(row, {})
    models, each, before = candidates(row, track), {}, sittings(file)
    table = bench.evaluate(models, track, track.sitting(), row, each=each)
    table = table[pd.MultiIndex.from_frame(table[["variable", "metric"]]).isin(SHOWN)].drop(columns="model")
    seconds = [model.card.get("training seconds") for model in models if model.trains]
    length = search.get("settings", {})
    record = {
        "row": row,
        "looks": len(before) + 1,
        "before": before,
        "trials": search.get("trials"),
        "validation error": search.get("error"),
        "validation errors of the trainings": [best for best in map(least, models) if best is not None],
        "updates": sum(length.get(name, 0) for name in ("rounds", "finish")) or None,
        "trainings": len(models) if models[0].trains else 0,
        "seconds": [round(s) for s in seconds if s],
        "weights": models[0].card.get("weights"),
        "late runs": row in LATE,
        "configuration": models[0].configuration,
        "versions": {"method": models[0].version, "scores": VERSION, "solver": solver.VERSION, "data": track.train.key,
                     **{p: version(p) for p in ("cepkit", "numpy", "torch")}},
        "table": [[*row[:3], *(float(f"{x:.5g}") for x in row[3:])] for row in table.values.tolist()],
        "Vm z-MSE, run, seed": {name: [[float(f"{z:.4g}"), *at] for z, *at in cases] for name, cases in each.items()},
    }  # fmt: skip
    replace_file(file, (json.dumps(record) + "\n").encode())
    print(row, table[table.metric == "z_mse_mean"].set_index("test").value.round(4).to_dict(), flush=True)


def main(rows, again=False):
    track = bench.make_track("paced", "laptop")
    for row in rows or track.rows:
        surrogates.kind_of(row)
        if again or not record_of(row).exists():
            sit(row, track)


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name != "--again"], "--again" in sys.argv)
