"""Every metric: squared errors are averaged over the nodes once, and the metrics follow from them.

:func:`score` serves a few forecasts side by side; :func:`case_scores` takes one forecast through
everything that the benchmark asks for, and :func:`interval_of` says how sure a median is.
"""

import numpy as np
import xarray as xr
from numba import njit

from cepkit import events
from cepkit.dataset import VARIABLES
from cepkit.forecast import futures

_SPACE = ("z", "y", "x")
#: Of every metric: bump it whenever a score changes, so that kept scores are made again.
VERSION = "1"


def score(forecasts, truth, scaling=None, by_lead_time=False):
    """Mean squared errors of forecasts, in three currencies.

    Parameters
    ----------
    forecasts : dict of str to xr.Dataset
        Model name -> forecast with dims (start, lead_time, y, x); all from the same starts.
    truth : xr.Dataset
        The trajectory that was forecast, or frames of it shaped like a forecast.
    scaling : Scaling, optional
        Statistics of the training part; ``z_mse`` needs them and is left out without.
    by_lead_time : bool
        Keep ``lead_time`` instead of averaging over it.

    Returns
    -------
    xr.Dataset
        Dims (model, variable, start), and lead_time where asked for:

        - ``mse_published``: truth and forecast of each start and variable are first rescaled to
          [-1, 1], each by *its own* minimum and maximum, as the paper's code does.  An error in
          offset or gain leaves no trace.
        - ``z_mse``: in units of the training part's variance; 1 is about the error of its mean.
        - ``rmse``: physical units, mV and mM; square root of the mean.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> scaling = cep.dataset.Scaling.fit(trajectory)
    >>> given = cep.forecast.histories(trajectory, [60.0, 90.0], warmup=50)
    >>> models = {name: cep.surrogates.make(name).fit(trajectory) for name in ("persistence", "last_beat")}
    >>> forecasts = {name: model.rollout(given, steps=40) for name, model in models.items()}
    >>> scores = cep.score(forecasts, trajectory, scaling)
    >>> scores.z_mse.sel(variable="Vm").median("start").round(2).to_series().to_dict()
    {'persistence': 2.48, 'last_beat': 0.0}
    """
    if not forecasts:
        raise ValueError("forecasts is empty; give a dict such as {'lstm': forecast}")
    rows = {}
    for model, forecast in forecasts.items():
        if not {"start", "lead_time"} <= set(forecast.dims):
            raise ValueError(
                f"forecasts[{model!r}] has the dims {tuple(forecast.dims)}; a forecast has start and lead_time"
            )
        rows[model] = _score_one(forecast, _aligned(truth, forecast), scaling, by_lead_time)
    try:
        # Models that were run from different starts cannot stand in one table.
        return xr.concat(rows.values(), xr.DataArray(list(rows), dims="model", name="model"), join="exact")
    except ValueError as error:
        raise ValueError(
            "forecasts must all have the same starts and lead times; run the models from the same histories"
        ) from error


def _aligned(truth, forecast):
    """Truth for every (start, lead_time) of a forecast."""
    if "lead_time" in truth.dims:
        return truth.sel(start=forecast.start, lead_time=forecast.lead_time)
    return futures(truth, forecast.start.values, forecast.sizes["lead_time"])


def _score_one(forecast, truth, scaling, by_lead_time):
    over = [] if by_lead_time else ["lead_time"]
    mse = _mse(_stack(forecast), _stack(truth)).mean(over)
    own_range = _mse(rescale(_stack(forecast)), rescale(_stack(truth))).mean(over)
    out = xr.Dataset({"mse_published": own_range})
    if scaling is not None:
        out["z_mse"] = mse / _stack(scaling.std) ** 2
    out["rmse"] = np.sqrt(mse)
    return out


def _stack(fields):
    return fields[list(VARIABLES)].to_dataarray("variable").astype(np.float64)


def _mse(a, b):
    """Mean over the nodes of the squared difference."""
    return ((a - b) ** 2).mean([d for d in _SPACE if d in a.dims])


def rescale(series):
    """Each start and variable to [-1, 1] by its own minimum and maximum over lead time and nodes.

    A series that never changes has no range; it becomes 0.

    Examples
    --------
    >>> series = xr.DataArray([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], dims=("start", "lead_time"))
    >>> cep.scores.rescale(series).values.tolist()
    [[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    over = [d for d in ("lead_time", *_SPACE) if d in series.dims]
    low, high = series.min(over), series.max(over)
    width = (high - low).where(high > low, 1.0)
    return (2 * (series - low) / width - 1).where(high > low, 0.0)


# ---- the benchmark's -----------------------------------------------------------------------------------


def case_scores(forecast, truth, std, interval):
    """Scores of one start.

    Parameters
    ----------
    forecast, truth : torch.Tensor, shape (steps, N_in)
        Physical units.
    std : array, shape (4,)
        Standard deviations of the training part.
    interval : float
        [ms]

    Returns
    -------
    dict
        (variable, metric) -> value; the variable is "" for what belongs to no single one.

    Examples
    --------
    >>> truth = cep.dataset.to_tensor(cep.check.toy()[0])
    >>> found = cep.scores.case_scores(truth, truth, std=np.ones(4), interval=1.0)
    >>> float(found["Vm", "z_mse"]), found["", "missed"]
    (0.0, 0.0)
    """
    F, T = (np.ascontiguousarray(x.numpy().reshape(len(x), -1, len(VARIABLES))) for x in (forecast, truth))
    squared, own_range, spread = _tally(F, T)
    mse = squared.mean(0)
    out = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for k, v in enumerate(VARIABLES):
            out[v, "z_mse"] = mse[k] / std[k] ** 2
            out[v, "rmse"] = np.sqrt(mse[k])
            out[v, "vrmse"] = np.sqrt(mse[k] / max(spread[k], 1e-30))
            out[v, "mse_published"] = own_range[k]
            out[v, "valid_time"] = valid_time(np.sqrt(squared[:, k]) / std[k], interval)
        Vm, Cai = ((F[..., k].astype(np.float64), T[..., k].astype(np.float64)) for k in (0, 1))
        out["Vm", "correlation_time"] = correlation_time(*Vm, interval)
        physical = events.compare((Vm[1], Cai[1]), (Vm[0], Cai[0]), interval)
    return out | {("", name): value for name, value in physical.items()}


@njit(cache=True, nogil=True)
def _tally(F, T):
    """Sums over a forecast and its truth, both (steps, N, variables), in one go.

    Returns
    -------
    squared : array, shape (steps, variables)
        Squared errors, means over the nodes.
    own_range : array, shape (variables,)
        Mean squared error after each series was taken to [-1, 1] by its own range (0 where it has none).
    spread : array, shape (variables,)
        Variance of the truth.
    """
    steps, nodes, count = F.shape
    squared, total, low, high = np.zeros((steps, count)), np.zeros(count), np.zeros((2, count)), np.zeros((2, count))
    low += np.inf
    high -= np.inf
    for k in range(steps):
        for n in range(nodes):
            for v in range(count):
                f, t = np.float64(F[k, n, v]), np.float64(T[k, n, v])
                squared[k, v] += (f - t) * (f - t) / nodes
                total[v] += t
                low[0, v], high[0, v] = min(low[0, v], f), max(high[0, v], f)
                low[1, v], high[1, v] = min(low[1, v], t), max(high[1, v], t)
    mean = total / (steps * nodes)
    gain = np.zeros((2, count))
    for j in range(2):
        for v in range(count):
            if high[j, v] > low[j, v]:
                gain[j, v] = 2 / (high[j, v] - low[j, v])
    own_range, spread = np.zeros(count), np.zeros(count)
    for k in range(steps):
        for n in range(nodes):
            for v in range(count):
                f = gain[0, v] * (F[k, n, v] - low[0, v]) - (1.0 if gain[0, v] > 0 else 0.0)
                t = gain[1, v] * (T[k, n, v] - low[1, v]) - (1.0 if gain[1, v] > 0 else 0.0)
                own_range[v] += (f - t) ** 2
                spread[v] += (T[k, n, v] - mean[v]) ** 2
    return squared, own_range / (steps * nodes), spread / (steps * nodes)


def valid_time(error, interval, tolerance=0.4):
    """Lead time [ms] up to which an error, in standard deviations, stays below ``tolerance``.

    Examples
    --------
    >>> float(valid_time(np.arange(10.0) / 10, interval=5.0))
    25.0
    """
    wrong = np.flatnonzero(~(np.asarray(error) < tolerance))
    return (wrong[0] + 1 if len(wrong) else len(error)) * interval


def correlation_time(forecast, truth, interval, window=100.0, least=0.8):
    """Lead time [ms] of the first window in which forecast and truth correlate by less than ``least``.

    Windows in which the truth hardly varies (less than 1 mV) have no correlation and are passed over.

    Examples
    --------
    >>> truth = np.sin(np.arange(400.0) / 5)[:, None] * 50
    >>> wrong = truth.copy()
    >>> wrong[200:] *= -1
    >>> cep.scores.correlation_time(wrong, truth, interval=1.0)
    200.0
    """
    n = round(window / interval)
    for k in range(0, len(truth) - n + 1, n):
        a, b = forecast[k : k + n].ravel(), truth[k : k + n].ravel()
        if b.std() > 1.0 and not (a.std() > 0 and np.corrcoef(a, b)[0, 1] >= least):
            return k * interval
    return len(truth) * interval


def interval_of(values, runs, seeds=None, draws=1000, seed=0):
    """Median over starts (and seeds), and the middle 95 % of it over a bootstrap.

    Starts of one run are alike, and so are forecasts of one training: whole runs and whole seeds
    are drawn, then starts within each.

    Parameters
    ----------
    values, runs, seeds : array, shape (cases,)
        A value, the run that it was started in, and the training of the model that made it.

    Returns
    -------
    median, low, high : float
        NaN if there is no value.

    Examples
    --------
    >>> median, low, high = cep.scores.interval_of([1.0, 2.0, 3.0, 4.0, 5.0], runs=[0, 0, 1, 1, 2])
    >>> median, low <= median <= high
    (3.0, True)
    """
    values, runs = np.asarray(values, float), np.asarray(runs)
    seeds = np.zeros(len(values), int) if seeds is None else np.asarray(seeds)
    keep = ~np.isnan(values)
    values, (own_run, R), (own_seed, S) = values[keep], *(_numbered(x[keep]) for x in (runs, seeds))
    if not len(values):
        return (np.nan,) * 3
    groups = {(s, r): values[(own_seed == s) & (own_run == r)] for s in range(S) for r in range(R)}
    sizes = np.array([[len(groups[s, r]) for r in range(R)] for s in range(S)])
    table = np.full((S, R, sizes.max()), np.nan)
    for (s, r), group in groups.items():
        table[s, r, : len(group)] = group
    rng = np.random.default_rng(seed)
    s = rng.integers(S, size=(draws, S, 1, 1))
    r = rng.integers(R, size=(draws, 1, R, 1))
    k = rng.random((draws, S, R, table.shape[2])) * sizes[s, r]
    slots = np.arange(table.shape[2]) < sizes[s, r]
    picked = np.where(slots, table[s, r, k.astype(int)], np.nan)
    medians = np.nanmedian(picked.reshape(draws, -1), axis=1)
    return float(np.median(values)), *(float(q) for q in np.nanquantile(medians, [0.025, 0.975]))


def _numbered(labels):
    """Labels as numbers from 0, and how many there are."""
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers, len(names)
