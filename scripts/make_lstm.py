"""The LSTM of the book and the paper's own recipes: five seeds, an ablation, and what was published.

python scripts/make_lstm.py [NAME ...] [--seconds S]   trains the rows of these names, or all but the PUBLISHED ones;
                                                       what is interrupted is taken up again
python scripts/make_lstm.py --theirs LSTMbest.pt       scores the weights that the authors published beside their
                                                       code (github.com/correctanswerdd/CardiacDeepSim)
python scripts/make_lstm.py [NAME ...] --keep          scores these of the five seeds on the test part, once; writes
                                                       data/lstm.json and data/models/lstm; other rows stay there

Ten minutes a row on two cores.  Rows are chosen and compared on validation alone.  Those of PUBLISHED want a graphics
card or hours: ``--seconds`` ends their training earlier, and the record says how many of the updates were done.
"""

import argparse
import json
import os
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from platform import machine

import numpy as np
import torch
import xarray as xr

import cepkit as cep
from cepkit import bench, forecast, pacing, region, runs, surrogates  # noqa: F401  bench knows more methods
from cepkit.fields import CYCLE_LENGTH, SHEET, VARIABLES
from cepkit.progress import processors
from cepkit.store import data_folder, kept_folder, replace_file

RECIPE = surrogates.LSTM.configurations["laptop"]
CODE = surrogates.LSTM.configurations["published_code"]
SEEDS = {f"seed {seed}": ("lstm", "laptop", {"seed": seed}) for seed in range(5)}
#: An ablation on a simpler recipe: fewer components, the last layer alone read, larger batches and two passes; and the
#: same with one ingredient less, or with a third pass.
HALF = {part: replace(getattr(RECIPE, part), batch=16) for part in ("training", "finish")}
HALF |= {"components": 64, "both": False, "horizons": RECIPE.horizons[:2], "polish": (), "fits": RECIPE.fits[:1]}
WITHOUT = {
    "the first two passes": {},
    "true frames alone": {"finish": None},
    "no long memories at the start": {"memory": 0},
    "no weight on the mean": {"level": 0.0},
    "no beats to come": {part: replace(HALF[part], skip=20_000, drift=None) for part in ("training", "finish")},
    "long free runs from the start": {"horizons": (500, 500)},
    "never from a single frame": {"cold": 0.0},
    "components not whitened": {"whitened": False},
    "no running mean of the weights": {"finish": replace(HALF["finish"], average=None)},
    "H = 32": {"hidden": 32},
    "a third pass after a refit": {
        "polish": (replace(RECIPE.polish[0], batch=16, epochs=3),),
        "horizons": RECIPE.horizons[:3],
    },
    "as many updates without a refit": {"finish": replace(HALF["finish"], epochs=RECIPE.finish.epochs + 3)},
}
WITHOUT = {name: ("lstm", "laptop", HALF | changes) for name, changes in WITHOUT.items()}
#: The whole recipe with one of its later ingredients less, or with a further one.
WHOLE = {
    "a weight on changes": {"front": 3.0},
    "64 components": {"components": 64},
    "the last layer alone read": {"both": False},
    "16 windows a batch": {
        "training": replace(RECIPE.training, batch=16),
        "finish": replace(RECIPE.finish, batch=16),
        "polish": tuple(replace(part, batch=16) for part in RECIPE.polish),
    },
}
WITHOUT |= {name: ("lstm", "laptop", changes) for name, changes in WHOLE.items()}
#: In as many updates as published, on windows further apart, so that weights can be judged every so often.
often = {"stride": 13, "epochs": 3 * 13}
PUBLISHED = {
    "LSTM, published code": ("lstm", "published_code", {"training": replace(CODE.training, **often)}),
    "LSTM, H = 2304": ("lstm", "paper", {"training": replace(CODE.training, **often)}),
    "Neural ODE, published code": ("neural_ode", "published_code", {}),
    "Neural ODE, the paper's text": ("neural_ode", "paper", {}),
    "LSTM told of the stimulus": ("lstm_stimulus", None, {}),
}
ROWS = SEEDS | WITHOUT | PUBLISHED
EXPLORED = 39  # shorter trainings by which the recipe's last form was found: on validation, but for its last pass
THEIRS = "LSTM, the authors' weights"

size = cep.get_profile("laptop")
golden = cep.golden_standard("laptop")
learn, held, test = runs.parts(golden, size)
scaling = cep.dataset.Scaling.fit(learn)
folder = data_folder() / "runs" / "lstm"


def stimulus(part):
    """Of a part of the golden standard."""
    corner = region.corner(cep.Tissue(**SHEET), fraction=0.2)
    return cep.stimulus_field(pacing.periodic(CYCLE_LENGTH, size.beats, corner), like=part)


def made(name, seconds):
    """The untrained model of a row.  Windows of a Neural ODE are far apart: an update of it takes seconds."""
    kind, configuration, changes = ROWS[name]
    model = surrogates.kind_of(kind)(configuration, **changes)
    if name not in PUBLISHED or not configuration:
        return model
    t = model.settings.training
    t = replace(t, stride=401, epochs=401 * t.epochs) if kind == "neural_ode" else t
    return type(model)(model.settings, training=replace(t, seconds=seconds), chosen=True)


def fit(model, checkpoint, half=False):
    """Train; a large network without checkpoints of a gigabyte, and ``half`` with its LSTM layers in bfloat16."""
    told, judged = (stimulus(part) if model.reads_stimulus else None for part in (learn, held))
    if getattr(model.settings, "hidden", 0) > 1000:
        checkpoint = None
    if half:
        model.loss = in_half_precision
    model.fit(learn, told, validation=([held], [judged]), checkpoint=checkpoint)


def in_half_precision(network, X_b, done):
    """Equation 6 with the LSTM layers in bfloat16; weights, sums and errors stay in single precision."""
    layers = network.NN_LSTM
    weights = [w.bfloat16() for layer in layers.all_weights for w in layer]
    h = X_b.new_zeros(layers.num_layers, len(X_b), layers.hidden_size, dtype=torch.bfloat16)
    out, *_ = torch.lstm(X_b[:, :-1].bfloat16(), (h, h), weights, True, layers.num_layers, 0.0, True, False, True)
    return ((X_b[:, 1:] - network.g(out.float())) ** 2).mean()


def obtain(name, seconds=None, half=False):
    """The model of a row: trained before, or now."""
    model = made(name, seconds)
    recipe = runs.recipe(model, golden.attrs["data_hash"], validation=size.validation)
    say = lambda text: print(f"{name}: {text}", flush=True)  # noqa: E731
    train = partial(fit, half=half)
    place = folder / name.replace(" ", "-").replace("'", "")
    return runs.obtain(model, train, recipe, place, say=say, profile="laptop")


def scores(model, part, seed, warmup=size.warmup):
    """Medians over twenty starts of every measure, and the part of the numbers outside the range of the training."""
    starts = forecast.draw_starts(part, size.starts, size.warmup, size.steps, seed)
    given, truth = forecast.histories(part, starts, warmup), forecast.futures(part, starts, size.steps)
    out = model.rollout(given, size.steps, stimulus=stimulus(part) if model.reads_stimulus else None)
    found = cep.score({"it": out}, truth, scaling).isel(model=0).median("start")
    row = {m: {v: float(found[m].sel(variable=v)) for v in VARIABLES} for m in found.data_vars}
    beyond = [float(((out[v] < learn[v].min()) | (out[v] > learn[v].max())).mean()) for v in VARIABLES]
    return row | {"outside the range": max(beyond)}


def rises(model):
    """Of the beats held back: the steepest rise of Vm from frame to frame, of free runs and of the truth [mV]."""
    starts = forecast.draw_starts(held, size.starts, size.warmup, size.steps, 1)
    given, truth = forecast.histories(held, starts, size.warmup), forecast.futures(held, starts, size.steps)
    both = model.rollout(given, size.steps), truth
    return [float(run.Vm.diff("lead_time").max("lead_time").median()) for run in both]


def reconstructed(model):
    """The error of a Neural ODE by the published protocol: it encodes the very window that it then repeats."""
    starts = forecast.draw_starts(test, size.starts, size.warmup, size.steps, size.seed)
    truth = forecast.at_times(test, starts, np.arange(1 - size.warmup, size.steps + 1.0))
    windows = [truth.isel(start=k, drop=True).rename(lead_time="time") for k in range(size.starts)]
    out = xr.concat([model.reconstruct(window).rename(time="lead_time") for window in windows], truth.start)
    found = cep.score({"it": out}, truth, scaling).isel(model=0).median("start")
    return {m: {v: float(found[m].sel(variable=v)) for v in VARIABLES} for m in ("mse_published", "z_mse")}


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
    when = [upstrokes(run.Vm.isel(y=12, x=12)) for run in (out, truth)]
    both = min(map(len, when))
    return {
        "z_mse": {v: float(((out[v] - truth[v]) ** 2).mean() / scaling.std[v] ** 2) for v in VARIABLES},
        "upstrokes": [len(w) for w in when],
        "drift": float(np.abs(when[0][:both] - when[1][:both]).max()) if both else np.inf,
    }


def row(model):
    """What the training was, and the errors on the beats held back."""
    course = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in model.card["training"]]
    updates = sum(epoch.get("updates", 0) for epoch in course)
    rounds = {entry["part"]: entry["round"] for entry in course if "part" in entry}  # a method of the benchmark
    record = {"training": course, "updates": updates or sum(rounds.values())}
    record |= {"weights": model.card["weights"], "validation": scores(model, held, 1)}
    return record if model.reads_stimulus else record | {"rise": rises(model)}


def provenance():
    where = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    where |= {"processors": processors(), "machine": machine(), "data_hash": golden.attrs["data_hash"]}
    return where | {"versions": {p: version(p) for p in ("cepkit", "torch", "numba", "torchdiffeq")}}


def tested(model):
    """The errors of a row on the test part, after the history, and after a single frame for the paper's networks."""
    found = {"test": scores(model, test, size.seed)}
    if model.name == "lstm":
        found |= {"test, one frame": scores(model, test, size.seed, 1), "long run": long_run(model)}
    return found


def published(name, seconds=None, half=False):
    """The record of a row of PUBLISHED, whose weights nobody needs again."""
    path = folder / f"{name}.json"
    if not path.exists():
        model = obtain(name, seconds, half)
        found = row(model) | tested(model) | provenance() | {"half precision": half}
        if model.name != "lstm_stimulus":
            frames = learn.sizes["time"] - model.settings.training.window
            asked = 2 if "Neural ODE, published" in name else 3
            found["share of the updates"] = found["updates"] / (asked * (frames // model.settings.training.batch))
        if model.name == "neural_ode":
            found["as published, encoding what it repeats"] = reconstructed(model)
        replace_file(path, (json.dumps(found, indent=1) + "\n").encode())
    return json.loads(path.read_text())


def theirs(path):
    """The record of the authors' own weights on this data.  They have no licence, so they do not come with the book."""
    model = surrogates.LSTM("published_code", training=replace(CODE.training, epochs=0)).fit(learn)
    state = torch.load(path, weights_only=True, map_location="cpu")
    names = {name: name.replace("lstm.", "NN_LSTM.").replace("fc.", "g.") for name in state}
    model.network.load_state_dict({names[name]: value for name, value in state.items()})
    found = row(model) | tested(model) | provenance()
    replace_file(folder / f"{THEIRS}.json", (json.dumps(found, indent=1) + "\n").encode())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*ROWS, []], metavar="NAME")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--half", action="store_true", help="LSTM layers of the PUBLISHED rows in bfloat16")
    parser.add_argument("--theirs", metavar="PATH")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    record = {THEIRS: theirs(asked.theirs)} if asked.theirs else {}
    for name in asked.names or ([] if asked.theirs else [*SEEDS, *WITHOUT]):
        record[name] = published(name, asked.seconds, asked.half) if name in PUBLISHED else row(obtain(name))
        print(f"{name:>32}", {v: f"{e:.2g}" for v, e in record[name]["validation"]["z_mse"].items()}, flush=True)
    if not asked.keep:
        return
    kept = json.loads((kept_folder() / "lstm.json").read_text())["rows"]
    ours = set(SEEDS) & set(record)
    for name in ours:
        record[name] |= tested(obtain(name))
    files = {name: folder / f"{name}.json" for name in [*PUBLISHED, THEIRS]}
    record = kept | {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()} | record
    middle = sorted(SEEDS, key=lambda name: sum(record[name]["validation"]["z_mse"].values()))[len(SEEDS) // 2]
    if middle in ours:
        obtain(middle).save(kept_folder() / "models" / "lstm")
    about = {"kept": middle, "trials": len(SEEDS) + len(WITHOUT) + EXPLORED, "threads": torch.get_num_threads()}
    about |= provenance()
    replace_file(kept_folder() / "lstm.json", (json.dumps(about | {"rows": record}, indent=1) + "\n").encode())


if __name__ == "__main__":
    os.environ.setdefault("TQDM_MININTERVAL", "10")
    main()
