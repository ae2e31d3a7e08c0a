"""A fair fight: every method under one protocol.

Everybody is given the same history and the same stimulus, runs free, and is judged by the same
scores on tests that were not used to choose anything.

Examples
--------
>>> track = cep.bench.make_track("cell", "smoke", progress=False)
>>> model = cep.bench.entrant("persistence", track, progress=False)
>>> rows = cep.bench.evaluate(model, track, ["rest"], progress=False)
>>> list(rows.columns[:5])
['model', 'test', 'variable', 'metric', 'value']
"""

import importlib
import inspect
import json
import time

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from cepkit import surrogates
from cepkit.dataset import VARIABLES, Scaling, to_tensor
from cepkit.forecast import clock
from cepkit.profiles import Training
from cepkit.scores import VERSION, case_scores, interval_of
from cepkit.store import data_folder, digest, kept, replace_file
from cepkit.bench.methods.replay import LastResponse, MeanResponse
from cepkit.bench.methods.solver_coarse import SolverCoarse
from cepkit.bench.tracks import Track, make_track
from cepkit.training import retrain

__all__ = ["ENTRANTS", "Track", "cost", "entrant", "evaluate", "kept_scorecard", "make_track", "pivot", "record",
           "scorecard", "showcase"]  # fmt: skip

#: The rows of the scorecard, in the order of the book.
ENTRANTS = (
    "persistence", "last_beat", "climatology", "nearest_beat", "pod_galerkin", "pod_deim", "pod_regression",
    "latent_dynamics", "physics_augmented", "neural_ode", "neural_ode_stimulus", "lstm", "lstm_stimulus", "esn", "nvar",
    "conv_lstm", "dmd_control", "solver_coarse", "paced",
)  # fmt: skip
#: Physical scores, which have no variable of their own.
PHYSICAL = ("activation_error", "apd90_error", "apd90_bias", "missed", "spurious", "cv_error", "phase_drift",
            "systolic_error", "diastolic_error", "restitution_error")  # fmt: skip
#: The paper's networks were configured for one rhythm; runs of ten seconds at many sites need other windows.
PACED = {
    "lstm": {
        "training": Training(window=750, stride=60, epochs=4, learning_rate=3e-3, decay=True, clip=1.0),
        "finish": Training(window=1000, stride=80, epochs=2, learning_rate=3e-4, decay=True, clip=0.3),
    },
    "neural_ode": {"training": Training(window=1000, stride=60, epochs=4, learning_rate=3e-3, decay=True, clip=1.0)},
}
#: Whatever is trained is trained (and scored) this often on the track ``paced``, on the others once.
SEEDS = 5
COLUMNS = ["model", "test", "variable", "metric", "value", "low", "high"]


# ---- models -------------------------------------------------------------------------------------------


def _kind(name, track):
    """The class of an entrant; under irregular pacing two baselines answer to the stimulus."""
    if ":" in name:  # package.module:Class, from outside
        module, _, kind = name.partition(":")
        return getattr(importlib.import_module(module), kind)
    if track.name != "fixed" and name in ("last_beat", "climatology"):
        return {"last_beat": LastResponse, "climatology": MeanResponse}[name]
    return surrogates.registry[surrogates.canonical(name)]


def entrant(name, track, seed=None, progress=True):
    """A fitted entrant for a track: the kept one where there is one, else an earlier run, else a new training.

    Parameters
    ----------
    name : str
        A name in ``ENTRANTS``, or ``"package.module:Class"`` for a model from outside.
    track : Track
    seed : int, optional
        Another seed than the configured one.

    Returns
    -------
    Surrogate

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> cep.bench.entrant("persistence", track, progress=False).name
    'persistence'
    """
    kind = _kind(name, track)
    # The paper's two networks are kept for its own data under their own names.
    own = (track.name == "fixed" and name in ("lstm", "neural_ode")) or track.name == name
    held = name if own else f"{track.name}-{name}"
    wanted = track.profile == "smoke" or retrain() == "all"
    if not wanted and seed is None and held in surrogates.kept():
        return surrogates.load(held)
    changes = dict(getattr(kind, "smoke", {})) if track.profile == "smoke" else {}
    if seed is not None:
        changes["seed"] = seed
    if name == "paced" and track.late is None:  # a load that only runs of seconds have shown is a clock of the run
        changes["without"] = ("load",)
    if name in PACED:
        if track.name != "fixed" and track.profile != "smoke":
            changes |= PACED[name]
        if track.tissue.size == 1:
            changes["components"] = None
        model = kind(track.profile if track.profile == "smoke" else "laptop", **changes)
    else:
        model = kind(**changes)
    if not kind.trains:
        return fit(model, track, progress)
    path = data_folder() / "runs" / track.profile / track.name / (name if seed is None else f"{name}-{seed}")
    recipe = _recipe(model, track)
    if (path / "card.json").exists() and surrogates.read_card(path).get("recipe") == recipe:
        return kind.load(path)
    checkpoint = path.with_name(f".{path.name}-{digest(json.dumps(recipe, sort_keys=True).encode())}.checkpoint")
    fit(model, track, progress, checkpoint)
    model.card |= {"profile": track.profile, "track": track.name, "recipe": recipe}
    model.save(path)
    for finished in path.parent.glob(f"{checkpoint.name}-*"):
        finished.unlink()
    return model


def _recipe(model, track):
    """All that a trained entrant depends on."""
    data = track.card.get("made by") or track.card["data_hash"]
    recipe = {"configuration": model.configuration, "data": data, "version": model.version}
    if _learns_late(model, track):
        recipe["late"] = track.late.path.name
    return json.loads(json.dumps(recipe))


def _learns_late(model, track):
    """Whether a model can learn from runs that begin late, and there are some."""
    return track.late is not None and "late" in inspect.signature(model._fit).parameters


def fit(model, track, progress=True, checkpoint=None):
    """Show a model the training part of a track, and the validation part if it chooses by one.

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> model = cep.bench.fit(cep.surrogates.make("nearest_beat"), track, progress=False)
    >>> len(model.beats) > 0
    True
    """
    runs, fields = track.learning("train")
    options = {"stimulus": fields}
    known = inspect.signature(model._fit).parameters
    if "progress" in known:
        options["progress"] = progress
    if "checkpoint" in known:
        options["checkpoint"] = checkpoint
    if _learns_late(model, track):
        options |= {"earlier": track.train.earlier, "late": (*track.learning("late"), track.late.earlier)}
    if "validation" in known:
        options["validation"] = track.learning("validation")
    began = time.perf_counter()
    model.fit(runs, **options)
    model.card.setdefault("training seconds", round(time.perf_counter() - began, 1))
    return model


# ---- scores -------------------------------------------------------------------------------------------


def evaluate(model, track, tests=None, name=None, progress=True):
    """All scores of a model on the tests of a track.

    Parameters
    ----------
    model : Surrogate or list of Surrogate
        Several seeds of one model are judged together.
    track : Track
    tests : sequence of str, optional
    name : str, optional
        Of its rows; default: the model's own.

    Returns
    -------
    pandas.DataFrame
        Columns model, test, variable, metric, value, low, high; value is a median over starts (and
        seeds), low and high the ends of its 95 % bootstrap interval.
    """
    models = list(model) if isinstance(model, list | tuple) else [model]
    std = statistics(track)
    rows = []
    names = list(tests or track.tests)
    for which in tqdm(names, desc=name or models[0].name, unit="test", disable=None if progress else True):
        test = track.tests[which]
        (history, stimulus), truth = test.given(), to_tensor(test.truth())
        start_runs = np.repeat(np.arange(len(test.starts)), [len(s) for s in test.starts])
        cases, runs, seeds = [], [], []
        for seed, one in enumerate(models):
            free = to_tensor(one.rollout(history, test.steps, stimulus=stimulus))
            for k, run in enumerate(start_runs):
                for part in _pieces(len(truth[k])):
                    cases.append(case_scores(free[k, part], truth[k, part], std, one.interval))
                    runs.append(run if len(test.starts) > 1 else part.start)
                    seeds.append(seed)
        for variable, metric in cases[0]:
            values = [case[variable, metric] for case in cases]
            rows.append((name or models[0].name, which, variable, metric, *interval_of(values, runs, seeds)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _pieces(steps, length=5000):
    """A long forecast is judged in pieces of five seconds."""
    if steps <= 2 * length:
        return [slice(0, steps)]
    return [slice(k, k + length) for k in range(0, steps - length + 1, length)]


def scaling(track):
    """Scaling by the training part of a track.

    That of the laptop's track is kept with the book, so that it needs no training data.

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> sorted(cep.bench.scaling(track).to_dict())
    ['CaSR', 'CaSS', 'Cai', 'Vm']
    """
    if track.name == "fixed":
        return Scaling.fit(track.train.runs)
    part = track.train
    file = data_folder() / "tracks" / f"{track.name}-{track.profile}" / f"{part.path.name}-scaling.json"
    known = file if file.exists() else kept(f"scorecards/{part.path.name}-scaling.json")
    if known.exists():
        return Scaling.from_dict(json.loads(known.read_text()))
    found = Scaling.fit([run.isel(time=slice(None, None, 5)) for run in part.runs])
    replace_file(file, json.dumps(found.to_dict()).encode())
    return found


def statistics(track):
    """Standard deviations of the training part, one a variable: the unit of every z-score.

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> cep.bench.statistics(track).shape
    (4,)
    """
    return np.array([float(scaling(track).std[v]) for v in VARIABLES])


def cost(model, track, beats=500, many=64):
    """Time of one beat of 500 frames, for one sheet and for many at once, and what the model took to make.

    The history is read outside: the time of a beat is the difference between a long and a short
    run, so that what is done once does not count; the median over pairs of runs is taken.

    Returns
    -------
    dict
        ``beat`` and ``beat_of_many`` [ms], the latter for each of ``many`` sheets at once;
        ``training`` [s]; ``weights``; ``threads``.

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> model = cep.bench.entrant("persistence", track, progress=False)
    >>> price = cep.bench.cost(model, track, beats=20, many=2)
    >>> sorted(price)
    ['beat', 'beat_of_many', 'threads', 'training', 'weights']
    """
    test = next(iter(track.tests.values()))
    history, stimulus = test.given()
    history, stimulus = history.isel(start=[0]), stimulus.isel(start=[0])
    long = min(test.steps, 3 * beats)
    short = long // 3

    def beat(starts):
        copies = [k * 1e6 for k in range(starts)]
        given, field = (x.isel(start=[0] * starts).assign_coords(start=copies) for x in (history, stimulus))
        repeats = 9 if slow * starts < 200 else 3
        # In pairs, one after the other: what disturbs a machine for a while disturbs both.  The first pair warms up.
        pairs = [
            [clock(model, given, n, 1, field, warmups=0)["median"] for n in (short, long)] for _ in range(repeats + 1)
        ]
        return max(float(np.median(np.diff(pairs[1:]))), 0.0) * beats / (long - short) / starts

    slow = clock(model, history, short, repeats=1, stimulus=stimulus)["fastest"]
    card = model.card
    return {
        "beat": beat(1),
        "beat_of_many": beat(many) if slow < 1000 else np.nan,
        "training": card.get("training seconds", np.nan),
        "weights": card.get("weights", np.nan),
        "threads": torch.get_num_threads(),
    }


def scorecard(track, names=ENTRANTS, seeds=None, progress=True):
    """The whole table of a track; what was scored before and has not changed is not scored again.

    Parameters
    ----------
    track : Track
    names : sequence of str
    seeds : int, optional
        Trainings of each entrant; default: ``SEEDS`` on the track ``paced``, else 1.
    progress : bool

    Returns
    -------
    pandas.DataFrame
        As :func:`evaluate`, on the track ``paced`` with rows for the cost; a model that fails has one row whose
        metric says so.

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> table = cep.bench.scorecard(track, ["persistence"], progress=False)  # doctest: +SKIP
    """
    folder = data_folder() / "runs" / track.profile / track.name / "scores"
    judge = VERSION
    judge += str(track.card.get("made by") or track.card["data_hash"])
    tables = []
    for name in names:
        count = seeds or (SEEDS if (track.name, track.profile) == ("paced", "laptop") else 1)
        key = f"{name.replace(':', '.')}-{digest((_kind(name, track).version + f'{count}' + judge).encode())}"
        parts = {f"{key}.csv": _scored}
        if track.name == "paced":  # a beat costs the same on every track
            parts[f"{key}-cost.csv"] = _timed
        for file, make in parts.items():
            if not (folder / file).exists():
                table = make(name, track, count, progress)
                replace_file(folder / file, table.to_csv(index=False, float_format="%.5g").encode())
            tables.append(_read(folder / file))
    return pd.concat(tables, ignore_index=True)


def _read(file):
    table = pd.read_csv(file, keep_default_na=False, na_values=["nan", "NaN", ""], dtype={"variable": object})
    return table.fillna({"variable": ""})


def record(table, track, profile, names=None):
    """Write a scorecard below the data folder, and say where.

    The whole one is ``scorecards/TRACK-PROFILE.csv``; rows of some models alone are a JSON record beside it.

    Examples
    --------
    >>> table = cep.bench.kept_scorecard("cell")
    >>> cep.bench.record(table, "cell", "laptop")  # doctest: +SKIP
    """
    folder = data_folder() / "scorecards"
    if names is None:
        file, text = folder / f"{track}-{profile}.csv", table.to_csv(index=False, float_format="%.5g")
    else:
        file = folder / f"{track}-{profile}-{'-'.join(names).replace(':', '.')}.json"
        text = json.dumps(
            {"track": track, "profile": profile, "rows": json.loads(table.to_json(orient="records"))}, indent=1
        )
    replace_file(file, text.encode())
    return file


def trainings(name, track, seeds=1, progress=True):
    """An entrant as often as it is trained for the scorecard, each time with another seed.

    Returns
    -------
    list of Surrogate

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> len(cep.bench.trainings("persistence", track, seeds=5, progress=False))  # draws nothing
    1
    """
    models = [entrant(name, track, progress=progress)]
    if _draws(name, models[0]):
        models += [entrant(name, track, seed, progress) for seed in range(1, seeds)]
    return models


def _draws(name, model):
    """Whether another seed would make another model."""
    return model.draws


def _scored(name, track, seeds, progress):
    try:
        return evaluate(trainings(name, track, seeds, progress), track, name=name, progress=progress)
    except (ValueError, FloatingPointError, RuntimeError) as error:
        print(f"{name}: failed: {error}")
        return pd.DataFrame([(name, "all", "", f"failed: {error}", np.nan, np.nan, np.nan)], columns=COLUMNS)


def _timed(name, track, seeds, progress):
    try:
        model = entrant(name, track, progress=progress)
        price = cost(model, track) | {"seeds": seeds if _draws(name, model) else 1}
    except (ValueError, FloatingPointError, RuntimeError):
        price = {}  # its failure stands in the row of its scores
    rows = [(name, "cost", "", metric, value, np.nan, np.nan) for metric, value in price.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def kept_scorecard(track="paced", profile="laptop"):
    """The scorecard that comes with the book.

    Raises
    ------
    ValueError
        If none is kept under that name.

    Examples
    --------
    >>> table = cep.bench.kept_scorecard("paced")
    >>> list(table.columns)
    ['model', 'test', 'variable', 'metric', 'value', 'low', 'high']
    """
    file = kept(f"scorecards/{track}-{profile}.csv")
    if not file.exists():
        raise ValueError(f"no scorecard {file.name} is kept; make it: python -m cepkit evaluate --track {track}")
    return _read(file)


def solver_curve(track, steps=(0.2, 0.1, 0.05, 0.02, "adaptive"), test="cl500", progress=True):
    """The solver's own error against its own time, over its time step: what a surrogate has to undercut.

    Returns
    -------
    pandas.DataFrame
        Index ``dt ... ms``; columns z_mse of the four variables, activation_error, apd90_error, beat [ms].

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> curve = cep.bench.solver_curve(track, steps=(0.1, 0.02), progress=False)  # doctest: +SKIP
    """
    rows = {}
    for dt in steps:
        model = fit(SolverCoarse(dt=dt), track, progress=False)
        scores = evaluate(model, track, [test], progress=progress)
        name = f"dt {dt} ms" if dt != "adaptive" else "adaptive"
        rows[name] = {r.variable: r.value for r in scores[scores.metric == "z_mse"].itertuples()}
        rows[name] |= {r.metric: r.value for r in scores[scores.metric.isin(PHYSICAL[:2])].itertuples()}
        rows[name]["beat"] = cost(model, track, many=1)["beat"]
    return pd.DataFrame(rows).T.rename_axis("setting")


def pivot(table, metric="z_mse", variable="Vm"):
    """One metric of a scorecard as models by tests.

    Examples
    --------
    >>> table = cep.bench.kept_scorecard("paced")
    >>> errors = cep.bench.pivot(table, "z_mse", "Vm")
    >>> errors.index.name, errors.columns.name, "persistence" in errors.index
    ('model', 'test', True)
    """
    part = table[(table.metric == metric) & (table.variable == variable) & ~table.test.isin(["cost", "all"])]
    order = list(dict.fromkeys(part.model)), list(dict.fromkeys(part.test))
    return part.pivot(index="model", columns="test", values="value").loc[order[0], order[1]]


def showcase(track, names, test="cl500", starts=2):
    """Forecasts of some entrants from the same starts of one test, to look at.

    Parameters
    ----------
    track : Track
    names : sequence of str
    test : str
    starts : int
        The first of the test's starts, one a run.

    Returns
    -------
    truth : xr.Dataset
        Dims (start, lead_time, y, x).
    forecasts : dict of str to xr.Dataset

    Examples
    --------
    >>> track = cep.bench.make_track("cell", "smoke", progress=False)
    >>> truth, forecasts = cep.bench.showcase(track, ["persistence"], "cl500", starts=1)
    >>> list(forecasts), forecasts["persistence"].sizes == truth.sizes
    (['persistence'], True)
    """
    test = track.tests[test]
    history, stimulus = test.given()
    each = [sum(len(s) for s in test.starts[:k]) for k in range(len(test.starts))]
    at = (each + [k for k in range(history.sizes["start"]) if k not in each])[:starts]
    history, stimulus = history.isel(start=at), stimulus.isel(start=at)
    forecasts = {name: entrant(name, track).rollout(history, test.steps, stimulus=stimulus) for name in names}
    return test.truth().isel(start=at), forecasts
