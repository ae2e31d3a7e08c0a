"""Tables of a comparison: medians with quartiles, and the numbers that the paper printed."""

from decimal import Decimal

import numpy as np
import pandas as pd

from cepkit.scores import FAILED, worst

#: Table 1 of the paper: mean squared error of each variable, and the time of one heart cycle [ms].
PRINTED = pd.DataFrame(
    [[0.4560, 0.2532, 0.1297, 0.6458, 604.17], [0.0247, 0.0053, 0.0119, 0.0238, 104.17]],
    index=pd.Index(["neural_ode", "lstm"], name="model"), columns=["Vm", "Cai", "CaSR", "CaSS", "time"],
)  # fmt: skip


def significant(value, digits=2):
    """A number as text with so many significant digits, and no more zeros than needed: 0.025, 120, 3.1e-07, 0."""
    value = float(value)
    if not np.isfinite(value) or value == 0:
        return f"{value:g}"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits - 1}e}"
    return f"{Decimal(f'{value:.{digits - 1}e}'):f}"


def table(errors, digits=2, quartiles=True):
    """Medians over the starts, with the quartiles as in '0.20 (0.15–0.25)': a row a model, a column a variable.

    ``errors`` is one metric of :func:`cepkit.score`, dims (model, variable, start).  What is not finite has failed and
    counts as the worst; where any has, a column says how many of the starts.
    """
    if set(errors.dims) != {"model", "variable", "start"}:
        wanted = "one metric with the dims (model, variable, start), such as score(forecasts, truth, scaling).z_mse"
        raise ValueError(f"errors has the dims {tuple(errors.dims)}; give {wanted}")
    ordered, number = errors.transpose("start", "model", "variable"), errors.sizes["start"]
    low, middle, high = np.quantile(worst(ordered), [0.25, 0.5, 0.75], axis=0)
    text = np.vectorize(lambda value: significant(value, digits) if value < FAILED else "failed", otypes=[object])
    cells = text(middle)
    if quartiles:
        cells = cells + " (" + text(low) + "–" + text(high) + ")"
    made = pd.DataFrame(cells, index=pd.Index(errors.model.values, name="model"), columns=errors["variable"].values)
    if (lost := (~np.isfinite(ordered.values)).any(2).sum(0)).any():
        made["failed starts"] = [f"{n} of {number}" for n in lost]
    return made
