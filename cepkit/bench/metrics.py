"""Every metric of the scorecard, once: :func:`case_scores` takes one forecast through the table METRICS."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cepkit.bench import events
from cepkit.fields import VARIABLES
from cepkit.scores import tally


@dataclass
class Case:
    """One forecast and its truth, with the statistics that metrics share, each computed once."""

    forecast: np.ndarray  # (steps, N, variables), physical units
    truth: np.ndarray
    std: np.ndarray  # of the training part, one a variable
    interval: float  # between frames [ms]

    @cached_property
    def errors(self):
        """See :func:`cepkit.scores.tally`."""
        return tally(self.forecast, self.truth)

    @property
    def mse(self):
        return self.errors[0].mean(0)

    @cached_property
    def physical(self):
        """What :func:`cepkit.bench.events.compare` finds."""
        pairs = [tuple(x[..., k].astype(np.float64) for k in (0, 1)) for x in (self.truth, self.forecast)]
        return events.compare(*pairs, self.interval)


class Metric(NamedTuple):
    """A row of METRICS."""

    unit: str
    variables: tuple  # it is taken of; ("",) for what belongs to no single one
    function: Callable  # (case, number of the variable) -> value


#: Every metric of the scorecard by name.  One of your own is one more row.
METRICS = {
    "z_mse": Metric("variance of the training part", VARIABLES, lambda c, k: c.mse[k] / c.std[k] ** 2),
    "rmse": Metric("mV, mM", VARIABLES, lambda c, k: np.sqrt(c.mse[k])),
    "mse_published": Metric("half of the own range, squared", VARIABLES, lambda c, k: c.errors[1][:, k].mean()),
    **{name: Metric(unit, ("",), lambda c, k, name=name: c.physical[name]) for name, unit in events.UNITS.items()},
}


def case_scores(forecast, truth, std, interval):
    """All of METRICS for one start: (variable, or "" for none, and metric) -> value.

    ``forecast`` and ``truth`` are tensors (steps, N_in) in physical units, ``std`` the standard deviations of the
    training part, ``interval`` in ms.
    """
    arrays = (np.ascontiguousarray(x.numpy().reshape(len(x), -1, len(VARIABLES))) for x in (forecast, truth))
    case, number = Case(*arrays, std, interval), {v: k for k, v in enumerate(VARIABLES)}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = {(v, name): METRICS[name].function(case, number.get(v)) for v, name in rows()}
    return found if np.isfinite(case.forecast).all() else failed_scores()


def rows():
    """Every (variable, metric) of METRICS: what all variables have comes first."""
    pairs = [(v, name) for v in (*VARIABLES, "") for name, metric in METRICS.items() if v in metric.variables]
    return sorted(pairs, key=lambda row: METRICS[row[1]].variables != VARIABLES)


def failed_scores():
    """What a case scores whose forecast is not finite, or was never made: infinite errors."""
    return dict.fromkeys(rows(), np.inf)
