"""Equal budgets: settings of a row are chosen on the validation part of the track ``paced`` in 20 minutes of one core.

python scripts/search.py [--final] ROW [ROW ...]

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943), the same for every row: ten draws from its space,
of which the first are its own defaults, train for a minute each; the three best of them start afresh and train for
three minutes.  Batches are counted and not timed: how many fit into the time is measured first, so that a training can
be repeated.  All trials stay in data/search/ROW.json, and a search that was interrupted goes on there.  The best goes
into data/search/chosen.json, with as many batches as fit into five minutes; with ``--final`` three of it are trained,
the first of which is kept with the book.
"""

import json
import sys
import time

import numpy as np
import torch

from cepkit import surrogates
from cepkit.bench import make_track
from cepkit.bench.methods.reduced import judge
from cepkit.bench.scorecard import entrant, fit
from cepkit.store import data_folder, kept_folder, replace_file
from cepkit.surrogates import Learning

FIRST, SECOND, FINAL = (10, 60.0), (3, 180.0), 300.0  # trials and seconds of each; seconds of a final training
VALIDATIONS = 12  # in every training
SEED, SEEDS = 1601, 3  # draws the settings; how many are trained in the end
#: Settings to draw from; two numbers are the ends of a logarithmic range.
SPACES = {
    "latent_dynamics": {
        "components": [32, 64, 96], "latent": [16, 32, 48, 96], "hidden": [64, 160, 256], "stride": [2, 5, 10],
        "window": [200, 300, 500], "batch": [16, 32], "learning_rate": (5e-4, 1e-2),
    },
    "ldnet": {
        "latent": [12, 24, 48], "hidden": [64, 160], "width": [16, 32, 64], "depth": [2, 3, 4], "stride": [2, 5],
        "window": [200, 300, 500], "batch": [8, 16], "points": [16, 32, 64], "learning_rate": (5e-4, 1e-2),
    },
    "lstm_stimulus": {
        "components": [32, 48, 96], "hidden": [96, 160, 256], "stride": [2, 5, 10], "window": [160, 260, 400],
        "batch": [8, 16, 32], "rounds": [0, 100, 400], "last_rate": (5e-4, 1e-2),
    },
    "neural_ode_stimulus": {
        "components": [32, 48, 96], "latent": [20, 40, 80], "hidden": [64, 128, 256], "stride": [2, 5, 10],
        "seen": [30, 60, 120], "window": [100, 200, 400], "batch": [8, 16, 32], "learning_rate": (5e-4, 1e-2),
    },
    "conv_lstm": {
        "patch": [2, 4, 8], "hidden": [16, 24, 48], "kernel": [3, 5], "stride": [5, 10], "free": [20, 50, 100],
        "batch": [4, 8], "learning_rate": (1e-3, 1e-2),
    },
    "physics_augmented": {
        "evaluations": [40, 80, 160], "runs": [1, 2], "frames": [1000, 2000], "limit": [0.05, 0.15, 0.3],
        "error": [0.01, 0.02, 0.05], "kept": [0.8, 0.9, 0.95], "hidden": [24, 40, 80], "batch": [1024, 2048, 4096],
        "learning_rate": (1e-3, 1e-2),
    },
    "unet": {
        "patch": [1, 2, 4], "hidden": [12, 24, 48], "frames": [2, 4, 8], "keep": [0.8, 1.0],
        "stride": [5, 10], "free": [20, 50, 100], "batch": [4, 8], "learning_rate": (3e-4, 5e-3),
    },
    "fno": {
        "patch": [1, 2, 4], "hidden": [12, 24, 48], "frames": [2, 4, 8], "keep": [0.8, 1.0],
        "stride": [5, 10], "free": [20, 50, 100],
        "modes": [4, 8, 12], "layers": [2, 4], "batch": [4, 8], "learning_rate": (3e-4, 5e-3),
    },
}  # fmt: skip
SPACES["minimal_model"] = SPACES["physics_augmented"]
LENGTH = {"lstm_stimulus": "finish"}  # the setting that counts batches, where that is not ``rounds``
#: Seconds are those of this process, whatever else the machine does.
time.perf_counter = time.process_time


def draws(row):
    """The settings of the first trials."""
    rng, space = np.random.default_rng(SEED), SPACES[row]

    def one(choices):
        if isinstance(choices, tuple):
            return float(f"{np.exp(rng.uniform(*np.log(choices))):.2g}")
        return choices[int(rng.integers(len(choices)))]

    return [{}, *({name: one(choices) for name, choices in space.items()} for _ in range(FIRST[0] - 1))]


def trained(row, track, **settings):
    """A model that was trained with these settings."""
    model = track.untrained(row)
    return fit(type(model)(model.configuration | settings), track, progress=False)


def seconds_of_a_batch(row, track, settings):
    """Of one batch, of one look at the validation part, and of what goes before the first batch."""
    length, n = LENGTH.get(row, "rounds"), 20
    model = trained(row, track, **settings | {"rounds": 0} | {length: n, "validations": 2})
    batch = sum(entry["seconds"] for entry in model.card["training"]) / n
    runs, stimuli = track.learning("validation")
    shown = Learning(runs, [torch.from_numpy(u.values).flatten(1) for u in stimuli], [])
    look = judge(model, Learning([], [], [], {"validation": lambda: shown}))
    began = time.perf_counter()
    look()
    look = time.perf_counter() - began
    return batch, look, max(model.card["training seconds"] - n * batch - 2 * look, 0.0)


def batches(row, settings, seconds, batch, look, before=0.0):
    """How many batches fit into so many seconds with all looks at the validation part."""
    fits = int((seconds - before - VALIDATIONS * look) / batch)
    if LENGTH.get(row, "rounds") != "rounds":  # batches that go before
        fits -= (surrogates.make(row).configuration | settings)["rounds"]
    return max(fits // VALIDATIONS, 1) * VALIDATIONS


def trial(row, track, settings, seconds, cost=None):
    """Train for so long; what was tried, and what came out."""
    cost = cost or seconds_of_a_batch(row, track, settings)
    length = LENGTH.get(row, "rounds")
    rounds = batches(row, settings, seconds, *cost)
    said = {"settings": settings, "seconds": seconds, length: rounds, "cost": list(cost)}
    try:
        card = trained(row, track, **settings | {length: rounds, "validations": VALIDATIONS}).card
    except (ArithmeticError, ValueError, RuntimeError) as error:
        return said | {"error": None, "failed": str(error)[:200]}
    errors = [entry["validation error"] for entry in card["training"] if "validation error" in entry]
    finite = [e for e in errors if np.isfinite(e)]
    return said | {"error": min(finite, default=None), "errors": errors, "weights": card["weights"],
                   "trained": card["training seconds"]}  # fmt: skip


def search(row, track):
    """All trials of a row, kept as they come."""
    file = data_folder() / "search" / f"{row}.json"
    trials = json.loads(file.read_text()) if file.exists() else []

    def add(settings, seconds, cost=None):
        trials.append(trial(row, track, settings, seconds, cost))
        print(row, json.dumps({k: v for k, v in trials[-1].items() if k != "errors"}), flush=True)
        replace_file(file, (json.dumps(trials, indent=1) + "\n").encode())

    for settings in draws(row)[len(trials) :]:
        add(settings, FIRST[1])
    first = [one for one in trials[: FIRST[0]] if one["error"] is not None]
    for one in sorted(first, key=lambda one: one["error"])[: SECOND[0]][len(trials) - FIRST[0] :]:
        add(one["settings"], SECOND[1], one["cost"])
    return trials


def choose(row, trials):
    """The settings of the best of the longer trials, and how many were tried, kept beside those of other rows."""
    long = [one for one in trials[FIRST[0] :] if one["error"] is not None]
    best, length = min(long, key=lambda one: one["error"]), LENGTH.get(row, "rounds")
    settings = best["settings"] | {length: batches(row, best["settings"], FINAL, *best["cost"])}
    file = data_folder() / "search" / "chosen.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    known[row] = {"settings": settings | {"validations": VALIDATIONS}, "trials": len(trials), "error": best["error"]}
    replace_file(file, (json.dumps(known, indent=1) + "\n").encode())
    return known[row]["settings"]


def main(rows, final=False):
    track = make_track("paced", "laptop")
    for part in (track.train, track.validation):
        part.runs = [run.load() for run in part.runs]
    for row in rows:
        track.changes = track.changes | {row: choose(row, search(row, track))}
        for seed in range(SEEDS if final else 0):
            model = entrant(row, track, seed, progress=False)
            if not seed and not model.needs:  # what needs more than the book has is not kept with it
                model.save(kept_folder() / "models" / f"paced-{row}")
            print(row, seed, model.summary(), model.card["training"][-1], flush=True)


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name != "--final"]
    main(names or list(SPACES), "--final" in sys.argv)
