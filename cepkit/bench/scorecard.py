"""Everybody is given the same history and stimulus, runs free, and is judged on tests that chose nothing."""

import json
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cepkit import solver, surrogates
from cepkit.bench.metrics import METRICS, case_scores, failed_scores
from cepkit.bench.tissues import wave_scores
from cepkit.bench.tracks import STAND_INS
from cepkit.dataset import Scaling, to_tensor
from cepkit.fields import VARIABLES
from cepkit.forecast import clock
from cepkit.progress import bar
from cepkit.runs import obtain, recipe, retrain
from cepkit.scores import VERSION, interval_of
from cepkit.store import data_folder, digest, kept, kept_folder, replace_file

FAILURES = ValueError, ArithmeticError, ImportError  # whose words suffice
COLUMNS = ["model", "test", "variable", "metric", "value", "low", "high"]


def entrant(row, track, seed=None, progress=True):
    """The fitted model of a row, a registered name or "package.module:Class": kept, or an earlier run, or new."""
    model, held = track.untrained(row, seed), _held(row, track)
    if held and seed is None:
        return surrogates.load(held)
    if not model.trains:
        return fit(model, track, progress)
    more = {"late": track.late and track.late.key, "source": _source(model)}
    wanted = recipe(model, track.train.key, **{name: key for name, key in more.items() if key})
    folder = _folder(track) / (row if seed is None else f"{row}-{seed}").replace(":", ".")
    learn = partial(fit, track=track, progress=progress)
    return obtain(model, learn, wanted, folder, profile=track.profile, track=track.name)


def _held(row, track):
    """The kept model that stands in a row, or None."""
    name = track.kept.get(row, f"{track.name}-{row}")
    return name if track.profile != "smoke" and retrain() != "all" and name in surrogates.kept() else None


def _source(model):
    """A digest of the file of a model from elsewhere, whose author need not know of versions; None of our own."""
    module = sys.modules[type(model).__module__]
    ours = module.__name__.startswith("cepkit.") or not getattr(module, "__file__", None)
    return None if ours else digest(Path(module.__file__).read_bytes())


def _folder(track):
    return data_folder() / "runs" / track.profile / track.name


def fit(model, track, progress=True, checkpoint=None):
    """Show a model the training part of a track; validation and late runs are made if it asks for them."""
    more = {"validation": lambda: track.learning("validation"), "progress": progress, "checkpoint": checkpoint}
    if track.late:
        more |= {"earlier": track.train.earlier, "late": lambda: (*track.learning("late"), track.late.earlier)}
    return model.fit(*track.learning(), **more)


def evaluate(model, track, tests=None, name=None, progress=True, each=None):
    """All scores of a model, or of its trainings together: medians over starts and seeds, with 95 % intervals.

    A training that failed is None: every start of it has failed.  ``failed starts``, ``failed seeds`` and ``wrong
    starts``, with more than one wrong activation in a hundred, are per cent.  ``tests`` are names of the track's, or
    tests by their names.  The dictionary ``each`` gets, by test, z-MSE of Vm, run and seed of every start.
    """
    models = model if isinstance(model, list | tuple) else [model]
    whole = [one for one in models if one is not None]
    name, std, rows, tests = name or whole[0].name, statistics(track), [], tests or track.tests
    for which in bar(list(tests), name, "test", progress):
        test = tests[which] if isinstance(tests, dict) else track.tests[which]
        cases = list(_cases(models, test, std, track.piece))
        scores, runs, seeds = map(np.array, zip(*cases, strict=True))
        if each is not None:
            each[which] = [(one["Vm", "z_mse"], int(run), int(seed)) for one, run, seed in cases]
        for key in scores[0]:  # (variable, metric)
            values = np.array([case[key] for case in scores])
            some = ~np.isnan(values)  # NaN: there was nothing to compare
            rows.append((name, which, *key, *interval_of(values[some], runs[some], seeds[some])))
        rows += [(name, which, *row, np.nan, np.nan) for row in _extremes(scores)]
        rows.append((name, which, "", "failed seeds", 100 * (1 - len(whole) / len(models)), np.nan, np.nan))
    return pd.DataFrame(rows, columns=COLUMNS)


def _cases(models, test, std, piece):
    """Scores, run and seed of every start of a test, of long ones piece by piece."""
    length = piece if test.steps > 2 * piece else test.steps
    pieces = [slice(k, k + length) for k in range(0, test.steps - length + 1, length)]
    for runs in test.groups:
        (history, stimulus), truth = test.given(runs), to_tensor(test.truth(runs))
        own = np.repeat(runs, [len(test.starts[k]) for k in runs])
        interval = float(history.time[-1] - history.time[-2])
        for seed, one in enumerate(models):
            for start, wanted in enumerate(truth):  # one by one: the history of another may hold this one's truth
                told = {"stimulus": stimulus.isel(start=[start])}
                free = one and to_tensor(one.rollout(history.isel(start=[start]), test.steps, **told))[0]
                if one and free.shape != wanted.shape:
                    raise ValueError(f"its forecast has the shape {tuple(free.shape)}, not {tuple(wanted.shape)}")
                for part in pieces:
                    pair = (free[part], wanted[part]) if one else ()
                    scores = case_scores(*pair, std, interval) if one else failed_scores()
                    if getattr(test.part, "sheets", None):
                        scores = scores | wave_scores(pair, stimulus[start, test.warmup - 1 : -1][part])
                    yield scores, own[start] if len(test.starts) > 1 else part.start, seed


def _extremes(scores):
    """Rows of what a median hides: (variable, metric, value); shares are per cent of the starts."""
    z, lost = (np.array([case["Vm", metric] for case in scores]) for metric in ("z_mse", "rmse"))
    wrong = np.nan_to_num([[case["", metric] for metric in ("missed", "spurious")] for case in scores]).sum(1) > 1
    yield from (("Vm", "z_mse_mean", z.mean()), ("Vm", "z_mse_worst", z.max()))
    yield from (("", "wrong starts", 100 * wrong.mean()), ("", "failed starts", 100 * np.isinf(lost).mean()))


def scaling(track):
    """Scaling by the training part of a track; one that is kept with the book needs no training data."""
    own = data_folder() / "tracks" / f"{track.name}-{track.profile}" / "scaling.json"
    for file in (own, kept(f"scorecards/{track.name}-{track.profile}-scaling.json")):
        if (known := _content(file)).get("data") == track.train.key:
            return Scaling.from_dict(known["scaling"])
    found = Scaling.fit([run.isel(time=slice(None, None, track.every)) for run in track.train.runs])
    replace_file(own, json.dumps({"data": track.train.key, "scaling": found.to_dict()}).encode())
    return found


def statistics(track):
    """Standard deviations of the training part, one a variable: the unit of every z-score."""
    return np.array([float(scaling(track).std[v]) for v in VARIABLES])


def cost(model, track, beats=500, many=64):
    """``beat`` of so many frames and ``beat_of_many`` [ms], for each of ``many`` sheets; ``training`` [s]; ``weights``.

    The time of a beat is the difference between the fastest of some long and of some short runs, which take turns.
    """
    test = next(iter(track.tests.values()))
    history, stimulus = test.given()
    long = min(test.steps, 3 * beats)
    short = long // 3
    slow = clock(model, history.isel(start=[0]), short, 1, stimulus.isel(start=[0]))["fastest"]

    def beat(starts):
        copies = 1e6 * np.arange(starts)
        given, field = (x.isel(start=[0] * starts).assign_coords(start=copies) for x in (history, stimulus))
        pairs = [[clock(model, given, n, 1, field, warmups=0)["fastest"] for n in (short, long)]
                 for _ in range(10 if slow * starts < 200 else 4)]  # fmt: skip
        return max(float(np.diff(np.min(pairs, 0))[0]), 0.0) * beats / (long - short) / starts

    times = {"beat": beat(1), "beat_of_many": beat(many) if slow < 1000 else np.nan}
    made = {"training": model.card.get("training seconds", np.nan) if model.trains else np.nan}
    return times | made | {"weights": model.card.get("weights", np.nan), "threads": torch.get_num_threads()}


def scorecard(track, names=None, seeds=None, progress=True, force=False):
    """The table of a track; what was scored before and has not changed is not scored again unless ``force``.

    ``names`` are its rows, all registered methods by default, ``seeds`` the trainings of each.  A model that fails has
    one row whose metric says so.
    """
    seeds = track.seeds if seeds is None else seeds
    if seeds < 1:
        raise ValueError(f"seeds={seeds!r} must be 1 or more trainings of each model")
    tables = []
    for name in dict.fromkeys(row if ":" in row else row.replace("-", "_") for row in names or track.rows):
        try:
            file = _folder(track) / "scores" / f"{name.replace(':', '.')}-{_key(name, track, seeds)}.csv"
            if force or not _whole(file, track):
                made = _scored(name, track, seeds, progress)
                replace_file(file, made.to_csv(index=False, float_format="%.5g").encode())
            tables.append(_read(file))
        except Exception as error:  # whatever a model does, the others are scored all the same
            why = f"failed: {error if isinstance(error, FAILURES) else repr(error)}"
            print(f"{name}: {why}")
            tables.append(pd.DataFrame([(name, "all", "", why, *[np.nan] * 3)], columns=COLUMNS))
    return pd.concat(tables, ignore_index=True)


def _scored(name, track, seeds, progress):
    models = [entrant(name, track, progress=progress)]
    for seed in range(1, seeds if models[0].draws else 1):
        try:
            models.append(entrant(name, track, seed, progress))
        except Exception as error:
            print(f"{name}, seed {seed}: failed: {error!r}")
            models.append(None)
    table = evaluate(models, track, name=name, progress=progress)
    if not track.timed:
        return table
    price = cost(models[0], track) | {"seeds": len(models)}
    costs = [(name, "cost", "", metric, value, np.nan, np.nan) for metric, value in price.items()]
    return pd.concat([table, pd.DataFrame(costs, columns=COLUMNS)])


def _read(file):
    table = pd.read_csv(file, keep_default_na=False, na_values=["nan", "NaN", ""], dtype={"variable": object})
    return table.fillna({"variable": ""})


def _whole(file, track):
    """Whether a score was kept, of all tests."""
    try:
        return set(track.tests) <= set(_read(file).test)
    except (OSError, ValueError, AttributeError):
        return False


def _key(name, track, seeds):
    """A digest of all that the scores of a row depend on."""
    model, held = track.untrained(name), _held(name, track)
    weights = held and surrogates.read_card(kept_folder() / "models" / held)["sha256"]["weights.safetensors"]
    data = [track.train.key, track.late and track.late.key, {name: test.key for name, test in track.tests.items()}]
    what = [model.version, _source(model), model.configuration, weights, VERSION, solver.VERSION, data, seeds]
    what += [track.validation.key, track.every, track.piece, list(METRICS)]
    return digest(json.dumps(what, sort_keys=True).encode())


def failed(table):
    """Rows of a scorecard of whose errors not one is a number."""
    fine = set(table.model[(table.metric == "z_mse") & np.isfinite(table.value)])
    return [name for name in table.model.unique() if name not in fine]


def record(table, track, names=None):
    """Write a scorecard below the data folder, the whole one with its versions, and say where."""
    own = "".join(f"-{name}" for name in names or ()).replace(":", ".")
    own = own if len(own) < 100 else f"-{digest(own.encode())}"  # a file's name has an end
    folder, stem = data_folder() / "scorecards", f"{track.name}-{track.profile}{own}"
    if names is None:
        models = [track.untrained(row) for row in table.model.unique() if row not in failed(table)]
        key = {"scores": VERSION, "solver": solver.VERSION, "data": track.train.key}
        keys = _content(folder / "keys.json") | {stem: key | {"models": {m.name: m.version for m in models}}}
        replace_file(folder / "keys.json", json.dumps(keys, indent=1).encode())
    replace_file(folder / f"{stem}.csv", table.to_csv(index=False, float_format="%.5g").encode())
    return folder / f"{stem}.csv"


def _content(file):
    """What a JSON file holds; nothing if it is missing or damaged."""
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def stale(track="paced", profile="laptop"):
    """Rows of the kept scorecard that were made by another version of their method, or of scores, solver or data."""
    file, card = kept(f"scorecards/{track}-{profile}.csv"), _content(kept(f"cards/{track}-{profile}.json"))
    key, rows = _content(file.with_name("keys.json")).get(file.stem, {}), list(_read(file).model.unique())
    today = {"scores": VERSION, "solver": solver.VERSION}
    if card:
        today["data"] = card.get("made by")
    if any(key.get(name) != value for name, value in today.items()):
        return rows
    valid = {name for name, kind in surrogates.everyone().items() if key["models"].get(name) == kind.version}
    return [row for row in rows if row not in valid and STAND_INS.get(row) not in valid]


def kept_scorecard(track="paced", profile="laptop"):
    """The scorecard that comes with the book; a line warns of rows that are stale."""
    file = kept(f"scorecards/{track}-{profile}.csv")
    again = f"python -m cepkit evaluate --track {track} --profile {profile}"
    if not file.exists():
        raise ValueError(f"no scorecard {file.name} is kept; make it: {again}")
    if old := stale(track, profile):
        warnings.warn(f"{file.name}: {', '.join(old)} were scored by older versions; {again}", stacklevel=2)
    return _read(file)


def showcase(track, names, test="cl500", starts=2):
    """Truth and forecasts by name, from some starts of one test: the first of each run, then the others."""
    test = track.tests[test]
    first = np.cumsum([0, *map(len, test.starts[:-1])])
    at = sorted(range(sum(map(len, test.starts))), key=lambda k: k not in first)[:starts]
    history, stimulus = (x.isel(start=at) for x in test.given())
    forecasts = {name: entrant(name, track).rollout(history, test.steps, stimulus=stimulus) for name in names}
    return test.truth().isel(start=at), forecasts
