"""The LSTM of the book: its recipe with five seeds, and what each ingredient of it is worth on beats held back.

python scripts/make_lstm.py [NAME ...]    trains what is missing (all, or the rows of these names), and can be resumed
python scripts/make_lstm.py --keep        scores the five seeds on the test part, once; data/lstm.json, data/models/lstm

Ten minutes a row on two cores.  Rows are chosen and compared on validation alone.
"""

import json
import sys
from dataclasses import replace
from importlib.metadata import version
from platform import machine

import numpy as np
import torch

import cepkit as cep
from cepkit import forecast, runs, surrogates
from cepkit.progress import processors
from cepkit.store import data_folder, kept_folder, replace_file

VARIABLES = ("Vm", "Cai", "CaSR", "CaSS")
RECIPE = surrogates.LSTM.configurations["laptop"]
#: One ingredient less, or another: its row in the ablation.
WITHOUT = {
    "teacher forced alone": {"finish": None, "polishes": 0},
    "no blur of the input": {"noise": 0.0, "jitter": 0.0},
    "long free runs from the start": {"horizons": (500, 500)},
    "no refit": {"finish": replace(RECIPE.finish, epochs=12), "polishes": 0},
    "components not whitened": {"whitened": False},
    "H = 32": {"hidden": 32},
}
SEEDS = {f"seed {seed}": {"seed": seed} for seed in range(5)}
ROWS = SEEDS | WITHOUT

size = cep.get_profile("laptop")
golden = cep.golden_standard("laptop")
learn, held, test = runs.parts(golden, size)
folder = data_folder() / "runs" / "lstm"


def obtain(name):
    """The model of a row: trained before, or now."""
    model = surrogates.make("lstm", "laptop", **ROWS[name])
    recipe = runs.recipe(model, golden.attrs["data_hash"], validation=size.validation)
    return runs.obtain(
        model, lambda model, checkpoint: model.fit(learn, validation=([held],), checkpoint=checkpoint), recipe,
        folder / name.replace(" ", "-"), say=lambda text: print(f"{name}: {text}", flush=True), profile="laptop",
    )  # fmt: skip


def scores(model, part, seed):
    """Medians over twenty starts of every measure, and the part of the numbers outside the range of the training."""
    starts = forecast.draw_starts(part, size.starts, size.warmup, size.steps, seed)
    given, truth = (cut(part, starts, size.warmup) for cut in (forecast.histories, forecast.futures))
    out = model.rollout(given, size.steps)
    found = cep.score({"lstm": out}, truth, cep.dataset.Scaling.fit(learn)).isel(model=0).median("start")
    row = {m: {v: float(found[m].sel(variable=v)) for v in VARIABLES} for m in found.data_vars}
    beyond = [float(((out[v] < learn[v].min()) | (out[v] > learn[v].max())).mean()) for v in VARIABLES]
    return row | {"outside the range": max(beyond)}


def upstrokes(Vm, level=-40.0):
    """Times at which a cell's Vm rises through the level, between frames [ms]."""
    v, t = Vm.values.astype(float), Vm.time.values
    k = np.flatnonzero((v[:-1] <= level) & (v[1:] > level))
    return t[k] + (level - v[k]) / (v[k + 1] - v[k]) * (t[k + 1] - t[k])


def long_run(model):
    """A free run through the whole test part: z-MSE, upstrokes of a cell and their drift against the truth [ms]."""
    start, steps = test.time.values[[size.warmup - 1]], test.sizes["time"] - size.warmup
    out = forecast.forecast(model, test, start, size.warmup, steps).isel(start=0).rename(lead_time="time")
    truth = forecast.futures(test, start, steps).isel(start=0).rename(lead_time="time")
    scaling = cep.dataset.Scaling.fit(learn)
    when = [upstrokes(run.Vm.isel(y=12, x=12)) for run in (out, truth)]
    both = min(map(len, when))
    return {
        "z_mse": {v: float(((out[v] - truth[v]) ** 2).mean() / scaling.std[v] ** 2) for v in VARIABLES},
        "upstrokes": [len(w) for w in when],
        "drift": float(np.abs(when[0][:both] - when[1][:both]).max()) if both else np.inf,
    }


def row(model, *parts):
    course = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in model.card["training"]]
    record = {"training": course, "updates": sum(epoch["updates"] for epoch in course)}
    return record | {name: scores(model, part, seed) for name, part, seed in parts}


models = {name: obtain(name) for name in [a for a in sys.argv[1:] if a in ROWS] or ROWS}
for name, model in models.items():
    found = row(model, ("validation", held, 1))["validation"]["z_mse"]
    print(f"{name:>32}", {v: f"{e:.2g}" for v, e in found.items()})
if "--keep" in sys.argv:
    record = {name: row(model, ("validation", held, 1)) for name, model in models.items()}
    for name in SEEDS:
        record[name] |= {"test": scores(models[name], test, size.seed), "long run": long_run(models[name])}
    middle = sorted(SEEDS, key=lambda name: sum(record[name]["validation"]["z_mse"].values()))[len(SEEDS) // 2]
    models[middle].save(kept_folder() / "models" / "lstm")
    about = {"kept": middle, "trials": len(ROWS), "processors": processors(), "threads": torch.get_num_threads(),
             "machine": machine(), "data_hash": golden.attrs["data_hash"],
             "versions": {p: version(p) for p in ("cepkit", "torch", "numba")}}  # fmt: skip
    replace_file(kept_folder() / "lstm.json", (json.dumps(about | {"rows": record}, indent=1) + "\n").encode())
