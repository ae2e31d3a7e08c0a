"""The text of a table says what the numbers are."""

import numpy as np
import pytest
import xarray as xr

from cepkit import comparison


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.02467, "0.025"), (0.0996, "0.10"), (9.96, "10"), (123.4, "120"), (1.0, "1.0"), (-0.5, "-0.50"), (0, "0"),
     (3.14e-7, "3.1e-07"), (np.nan, "nan"), (np.inf, "inf")],
)  # fmt: skip
def test_significant_digits(value, text):
    assert comparison.significant(value) == text
    if np.isfinite(value) and value:
        assert float(text) == pytest.approx(value, rel=0.05)


def test_a_table_holds_medians_and_quartiles():
    values = np.arange(5.0)[None, None] * np.array([1.0, 10.0])[:, None, None] * np.array([1.0, 2.0])[None, :, None]
    errors = xr.DataArray(
        values, dims=("model", "variable", "start"), coords={"model": ["a", "b"], "variable": ["Vm", "Cai"]}
    )
    frame = comparison.table(errors)
    assert frame.loc["a", "Vm"] == "2.0 (1.0–3.0)"
    assert frame.loc["b", "Cai"] == "40 (20–60)"
    assert comparison.table(errors.transpose("start", "variable", "model"), quartiles=False).loc["b", "Vm"] == "20"


def test_a_table_needs_the_starts():
    with pytest.raises(ValueError, match=r"dims \('model', 'variable'\).*score"):
        comparison.table(xr.DataArray(np.zeros((1, 1)), dims=("model", "variable")))


def test_the_papers_numbers_are_those_it_printed():
    assert comparison.PRINTED.loc["lstm"].tolist() == [0.0247, 0.0053, 0.0119, 0.0238, 104.17]
    assert comparison.PRINTED.loc["neural_ode"].tolist() == [0.4560, 0.2532, 0.1297, 0.6458, 604.17]
