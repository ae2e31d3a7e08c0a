"""Every metric: squared errors are averaged over the nodes once, and the metrics follow from them."""

import numpy as np
import xarray as xr

from .dataset import VARIABLES
from .forecast import futures

_SPACE = ("z", "y", "x")


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
    """
    over = [d for d in ("lead_time", *_SPACE) if d in series.dims]
    low, high = series.min(over), series.max(over)
    width = (high - low).where(high > low, 1.0)
    return (2 * (series - low) / width - 1).where(high > low, 0.0)
