"""Every metric, once: squared errors are averaged over the nodes, and the metrics follow from them.

:func:`score` serves a few forecasts side by side; :func:`case_scores` takes one forecast through
the table METRICS, and :func:`interval_of` says how sure a median is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr
from numba import njit

from cepkit import events
from cepkit.fields import VARIABLES
from cepkit.forecast import futures

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

    Returns
    -------
    xr.Dataset
        Dims (model, variable, start), and lead_time where asked for:

        - ``mse_published``: truth and forecast of each start and variable are first rescaled to [-1, 1], each by
          *its own* minimum and maximum, as the paper's code does.  An error in offset or gain leaves no trace.
        - ``z_mse``: in units of the training part's variance; 1 is about the error of its mean.
        - ``rmse``: physical units, mV and mM; square root of the mean.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> model = cep.surrogates.make("persistence").fit(trajectory)
    >>> forecast = model.rollout(cep.forecast.histories(trajectory, [60.0, 90.0], warmup=50), steps=40)
    >>> scores = cep.score({"persistence": forecast}, trajectory, cep.dataset.Scaling.fit(trajectory))
    >>> round(float(scores.z_mse.sel(variable="Vm").median()), 2)
    2.48
    """
    if not forecasts:
        raise ValueError("forecasts is empty; give a dict such as {'lstm': forecast}")
    rows = {}
    for model, forecast in forecasts.items():
        if not {"start", "lead_time"} <= set(forecast.dims):
            dims = tuple(forecast.dims)
            raise ValueError(f"forecasts[{model!r}] has the dims {dims}; a forecast has start and lead_time")
        rows[model] = _score_one(forecast, _aligned(truth, forecast), scaling, by_lead_time)
    try:
        # Models that were run from different starts cannot stand in one table.
        return xr.concat(rows.values(), xr.DataArray(list(rows), dims="model", name="model"), join="exact")
    except ValueError as error:
        way = "run the models from the same histories"
        raise ValueError(f"forecasts must all have the same starts and lead times; {way}") from error


def _aligned(truth, forecast):
    """Truth for every (start, lead_time) of a forecast."""
    if "lead_time" in truth.dims:
        return truth.sel(start=forecast.start, lead_time=forecast.lead_time)
    return futures(truth, forecast.start.values, forecast.sizes["lead_time"])


def _score_one(forecast, truth, scaling, by_lead_time):
    tallies = [_tally(f, t) for f, t in zip(_arrays(forecast), _arrays(truth), strict=True)]
    squared, own_range = (np.stack([tally[k] for tally in tallies]) for k in (0, 1))  # (start, lead_time, variable)
    if not by_lead_time:
        squared, own_range = squared.mean(1), own_range.mean(1)
    fields = {"mse_published": own_range}
    if scaling is not None:
        fields["z_mse"] = squared / np.array([float(scaling.std[v]) for v in VARIABLES]) ** 2
    fields["rmse"] = np.sqrt(squared)
    dims = ("start", *(["lead_time"] if by_lead_time else []), "variable")
    coords = {"variable": list(VARIABLES), **{d: forecast[d] for d in dims[:-1]}}
    return xr.Dataset({name: (dims, values) for name, values in fields.items()}, coords).transpose("variable", ...)


def _arrays(fields):
    """Dims (start, lead_time, y, x) of four variables as an array (start, lead_time, N, variable)."""
    parts = [fields[v].transpose("start", "lead_time", ...).values for v in VARIABLES]
    return np.stack([part.reshape(*part.shape[:2], -1) for part in parts], -1)


@dataclass
class Case:
    """One forecast and its truth, with the statistics that metrics share, each computed once."""

    forecast: np.ndarray  # (steps, N, variables), physical units
    truth: np.ndarray
    std: np.ndarray  # of the training part, one a variable
    interval: float  # between frames [ms]

    @cached_property
    def tally(self):
        """See ``_tally``."""
        return _tally(self.forecast, self.truth)

    @property
    def mse(self):
        return self.tally[0].mean(0)

    @cached_property
    def physical(self):
        """What :func:`cepkit.events.compare` finds."""
        pairs = [tuple(x[..., k].astype(np.float64) for k in (0, 1)) for x in (self.truth, self.forecast)]
        return events.compare(*pairs, self.interval)


class Metric(NamedTuple):
    """A row of METRICS."""

    unit: str
    variables: tuple  # it is taken of; ("",) for what belongs to no single one
    function: Callable  # (case, number of the variable) -> value


def _correlation_time(case, k):
    forecast, truth = (x[..., k].astype(np.float64) for x in (case.forecast, case.truth))
    return correlation_time(forecast, truth, case.interval)


#: Every metric of the scorecard by name.  One of your own is one more row.
METRICS = {
    "z_mse": Metric("variance of the training part", VARIABLES, lambda c, k: c.mse[k] / c.std[k] ** 2),
    "rmse": Metric("mV, mM", VARIABLES, lambda c, k: np.sqrt(c.mse[k])),
    "vrmse": Metric("spread of the truth", VARIABLES, lambda c, k: np.sqrt(c.mse[k] / max(c.tally[2][k], 1e-30))),
    "mse_published": Metric("half of the own range, squared", VARIABLES, lambda c, k: c.tally[1][:, k].mean()),
    "valid_time": Metric("ms", VARIABLES, lambda c, k: valid_time(np.sqrt(c.tally[0][:, k]) / c.std[k], c.interval)),
    "correlation_time": Metric("ms", ("Vm",), _correlation_time),
    **{name: Metric(unit, ("",), lambda c, k, name=name: c.physical[name]) for name, unit in events.UNITS.items()},
}


def physical():
    """Names of the metrics that belong to no single variable."""
    return tuple(name for name, metric in METRICS.items() if metric.variables == ("",))


def case_scores(forecast, truth, std, interval):
    """All of METRICS for one start.

    ``forecast`` and ``truth`` are tensors (steps, N_in) in physical units, ``std`` the standard deviations of the
    training part, ``interval`` in ms.  Returned is (variable, metric) -> value; the variable is "" for what belongs to
    no single one.
    """
    arrays = (np.ascontiguousarray(x.numpy().reshape(len(x), -1, len(VARIABLES))) for x in (forecast, truth))
    case = Case(*arrays, std, interval)
    rows = [(v, name) for v in (*VARIABLES, "") for name, metric in METRICS.items() if v in metric.variables]
    rows.sort(key=lambda row: METRICS[row[1]].variables != VARIABLES)  # what all variables have comes first
    number = {v: k for k, v in enumerate(VARIABLES)}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return {(v, name): METRICS[name].function(case, number.get(v)) for v, name in rows}


def _tally(F, T):
    """Errors of a forecast against its truth, both (steps, N, variables).

    Returned are squared errors (steps, variables), means over the nodes; the same after each series was taken to
    [-1, 1] by its own minimum and maximum (one that never changes becomes 0); and the variance of the truth.
    """
    low, high = (np.array([f((0, 1)) for f in pair], float) for pair in ((F.min, T.min), (F.max, T.max)))
    flat = high <= low
    gain = np.where(flat, 0.0, 2 / np.where(flat, 1.0, high - low))
    own_range = _mean_square(F, T, gain, np.where(flat, 0.0, -gain * low - 1))
    return _mean_square(F, T, np.ones(gain.shape), np.zeros(gain.shape)), own_range, T.var((0, 1), dtype=np.float64)


@njit(cache=True, nogil=True)
def _mean_square(F, T, gain, shift):
    """Mean over the nodes of the squared difference after each series was scaled and shifted, (steps, variables)."""
    steps, nodes, count = F.shape
    out = np.zeros((steps, count))
    for k in range(steps):
        for n in range(nodes):
            for v in range(count):
                away = (gain[0, v] * F[k, n, v] + shift[0, v]) - (gain[1, v] * T[k, n, v] + shift[1, v])
                out[k, v] += away * away / nodes
    return out


def valid_time(error, interval, tolerance=0.4):
    """Lead time [ms] up to which an error, in standard deviations, stays below ``tolerance``."""
    wrong = np.flatnonzero(~(np.asarray(error) < tolerance))
    return (wrong[0] + 1 if len(wrong) else len(error)) * interval


def correlation_time(forecast, truth, interval, window=100.0, least=0.8):
    """Lead time [ms] of the first window in which forecast and truth correlate by less than ``least``.

    Windows in which the truth hardly varies (less than 1 mV) have no correlation and are passed over.
    """
    n = round(window / interval)
    for k in range(0, len(truth) - n + 1, n):
        a, b = forecast[k : k + n].ravel(), truth[k : k + n].ravel()
        if b.std() > 1.0 and not (a.std() > 0 and np.corrcoef(a, b)[0, 1] >= least):
            return k * interval
    return len(truth) * interval


def interval_of(values, runs, seeds=None, draws=1000, seed=0):
    """Median over starts (and seeds), and the middle 95 % of it over a bootstrap.

    Starts of one run are alike, and so are forecasts of one training: whole runs and seeds are drawn, then starts.
    ``values``, ``runs`` and ``seeds`` say for each case a value, the run that it was started in, and the training of
    the model that made it.  Returned are median, low and high, NaN if there is no value.
    """
    values, runs = np.asarray(values, float), np.asarray(runs)
    seeds = np.zeros(len(values), int) if seeds is None else np.asarray(seeds)
    keep = ~np.isnan(values)
    if not keep.any():
        return (np.nan,) * 3
    own_run, own_seed = (np.unique(x[keep], return_inverse=True)[1] for x in (runs, seeds))
    values = values[keep]
    R, S = own_run.max() + 1, own_seed.max() + 1
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
