"""Squared errors averaged over the nodes, and medians of them: :func:`score` and :func:`interval_of`."""

import numpy as np
import pandas as pd
import xarray as xr
from numba import njit

from cepkit.fields import SPACE, VARIABLES, in_form, matching
from cepkit.forecast import at_times

#: Of every metric: bump it whenever a score changes, so that kept scores are made again.
VERSION = "1"


def score(forecasts, truth, scaling=None, by_lead_time=False):
    """Mean squared errors of forecasts, in four currencies.

    ``forecasts`` are names of models -> dims (start, lead_time, y, x), all from the same starts; ``truth`` the
    trajectory, or frames of it shaped like a forecast, matched by time and place; ``scaling`` that of the training
    part, without which there is no ``z_mse``.  Returned are dims (model, variable, start), and lead_time where asked
    for; infinite where a forecast is not finite, or lacks the variable:

    - ``mse_published``: truth and forecast of each start and variable are first rescaled to [-1, 1], each by *its own*
      minimum and maximum, as the paper's code does.  An error in offset or gain leaves no trace.
    - ``mse_truth_range``: both are rescaled by the minimum and maximum of the truth.
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
    if not forecasts or not hasattr(forecasts, "items"):
        raise ValueError("forecasts is empty or no dict; give one such as {'lstm': forecast}")
    rows = {}
    truth = in_form(truth, "truth", time=True)
    for model, forecast in forecasts.items():
        forecast = in_form(forecast, f"forecasts[{model!r}]")
        named = set(forecast.dims) & set(forecast.coords) & {"start", "lead_time"}
        if len(named) < 2 or not hasattr(forecast, "data_vars"):
            said = f"has the dims {tuple(forecast.dims)}; a forecast is a Dataset with start and lead_time in ms"
            raise ValueError(f"forecasts[{model!r}] {said}")
        rows[model] = _score_one(forecast, _aligned(truth, forecast, model), scaling, by_lead_time)
    try:
        # Models that were run from different starts cannot stand in one table.
        return xr.concat(rows.values(), xr.DataArray(list(rows), dims="model", name="model"), join="exact")
    except ValueError as error:
        way = "run the models from the same histories"
        raise ValueError(f"forecasts must all have the same starts and lead times; {way}") from error


def _aligned(truth, forecast, model):
    """Truth at the starts, lead times and nodes of a forecast, found by value to a tolerance of 1e-3 ms or mm."""
    for d in [d for d in SPACE if d in truth.dims or d in forecast.dims]:
        if truth.sizes.get(d) != forecast.sizes.get(d):
            sizes = f"{dict(forecast.sizes)}, the truth {dict(truth.sizes)}"
            raise ValueError(f"forecasts[{model!r}] has the sizes {sizes}; give both on the same nodes")
        if d in truth.coords and d in forecast.coords:
            where = f"truth, for forecasts[{model!r}], along {d}"
            truth = truth.isel({d: matching(truth[d], forecast[d], 1e-3, where)})
    if "start" not in truth.dims:
        found = at_times(truth, forecast.start.values, forecast.lead_time.values)
    else:
        at = {d: matching(truth[d], forecast[d], 1e-3, f"truth: {d}") for d in ("start", "lead_time")}
        found = truth.isel(at)
    if bad := [v for v in VARIABLES if v not in getattr(found, "data_vars", ()) or not np.isfinite(found[v]).all()]:
        raise ValueError(f"truth lacks {', '.join(bad)}, or holds NaN there; nothing can be scored against it")
    return found


def _score_one(forecast, truth, scaling, by_lead_time):
    each = [tally(f, t) for f, t in zip(_arrays(forecast), _arrays(truth), strict=True)]
    squared, own_range = (np.stack([one[k] for one in each]) for k in (0, 1))  # (start, lead_time, variable)
    spans = np.stack([np.ptp(t, axis=(0, 1)) for t in _arrays(truth)])[:, None]  # (start, 1, variable)
    fields = {"mse_published": own_range, "mse_truth_range": 4 * squared / np.maximum(spans, 1e-100) ** 2}
    if not by_lead_time:
        squared, fields = squared.mean(1), {name: values.mean(1) for name, values in fields.items()}
    if scaling is not None:
        fields["z_mse"] = squared / np.array([float(scaling.std[v]) for v in VARIABLES]) ** 2
    fields["rmse"] = np.sqrt(squared)
    fields = {name: np.where(np.isfinite(values), values, np.inf) for name, values in fields.items()}
    dims = ("start", *(["lead_time"] if by_lead_time else []), "variable")
    coords = {"variable": list(VARIABLES), **{d: forecast[d] for d in dims[:-1]}}
    return xr.Dataset({name: (dims, values) for name, values in fields.items()}, coords).transpose("variable", ...)


def _arrays(fields):
    """Dims (start, lead_time, y, x) of four variables as an array (start, lead_time, N, variable)."""
    first = next(fields[v] for v in VARIABLES if v in fields)
    parts = [fields.get(v, first * np.nan).transpose("start", "lead_time", ...).values for v in VARIABLES]
    return np.stack([part.reshape(*part.shape[:2], -1) for part in parts], -1)


def tally(F, T):
    """Squared errors (steps, variables) of a forecast against its truth, both (steps, N, variables): means over nodes.

    And the same after each was taken to [-1, 1] by its own range (without one, to 0).
    """
    low, high = (np.array([[f(x[..., k]) for k in range(F.shape[2])] for x in (F, T)], float) for f in (np.min, np.max))
    flat = high <= low
    gain = np.where(flat, 0.0, 2 / np.where(flat, 1.0, high - low))
    own_range = _mean_square(F, T, gain, np.where(flat, 0.0, -gain * low - 1))
    return _mean_square(F, T, np.ones(gain.shape), np.zeros(gain.shape)), own_range


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


def interval_of(values, runs, seeds=None, draws=1000, seed=0):
    """Median of the values, and the ends of the middle 95 % of it over a bootstrap.

    Starts of one run are alike, and so are forecasts of one training: of ``runs`` and ``seeds``, those of each value,
    whole ones are drawn, then starts.  What is not finite counts as the worst; infinite where that decides, NaN if
    there are no values.
    """
    values, runs = worst(values), np.asarray(runs)
    seeds = np.zeros(len(values), int) if seeds is None else np.asarray(seeds)
    if not len(values):
        return (np.nan,) * 3
    own_run, own_seed = (np.unique(x, return_inverse=True)[1] for x in (runs, seeds))
    R, S = own_run.max() + 1, own_seed.max() + 1
    group = pd.Series(own_seed * R + own_run)
    sizes = np.bincount(group, minlength=S * R).reshape(S, R)
    table = np.full((S, R, sizes.max()), np.nan)
    table[own_seed, own_run, group.groupby(group).cumcount()] = values
    rng = np.random.default_rng(seed)
    s = rng.integers(S, size=(draws, S, 1, 1))
    r = rng.integers(R, size=(draws, 1, R, 1))
    k = rng.random((draws, S, R, table.shape[2])) * sizes[s, r]
    slots = np.arange(table.shape[2]) < sizes[s, r]
    picked = np.where(slots, table[s, r, k.astype(int)], np.nan)
    medians = np.nanmedian(picked.reshape(draws, -1), axis=1)
    found = np.array([np.median(values), *np.nanquantile(medians, [0.025, 0.975])])
    return tuple(np.where(found < FAILED, found, np.inf).tolist())


#: Beyond this a number stands for a failure: large, and yet medians can be taken of it, which infinity forbids.
FAILED = 1e250


def worst(values):
    """Values with a huge number for what is not finite, so that quantiles rank a failure last."""
    return np.nan_to_num(np.asarray(values, float), nan=1e4 * FAILED, posinf=1e4 * FAILED, neginf=1e4 * FAILED)
