"""The N-version benchmark: coarse rows computed here, the fine ones kept with their provenance."""

import json
from pathlib import Path

import numpy as np
import pytest

from cepkit.bench import niederer

KEPT = json.loads((Path(__file__).parents[1] / "data" / "niederer.json").read_text())
#: P1 finite elements with a full mass matrix, dx 0.1 mm, dt 0.005 ms (fenicsx-beat), P1 to P9 [ms].
FEM = [1.225, 25.5, 31.26, 37.81, 7.99, 26.09, 31.72, 37.93, 17.84]


def kept(spacing, dt):
    (row,) = [r for r in KEPT["rows"] if r["spacing"] == spacing and r["dt"] == dt]
    return np.array(row["activation"])


@pytest.mark.parametrize(("spacing", "dt"), [(0.5, 0.05), (0.5, 0.01), (0.2, 0.05)])
def test_coarse_rows_are_what_was_kept(spacing, dt):
    points, diagonal = niederer.activation(spacing, dt, progress=False)
    assert np.allclose(points, kept(spacing, dt), atol=0.02)
    assert float(diagonal[0]) == pytest.approx(float(points[0]))
    assert np.all(np.diff(diagonal[2:]) > 0)


def test_points_are_the_published_ones():
    assert niederer.POINTS["P2"] == (0.0, 7.0, 0.0)
    assert niederer.POINTS["P3"] == (0.0, 0.0, 20.0)
    assert niederer.POINTS["P8"] == (3.0, 7.0, 20.0)


def test_finest_row_lies_among_the_published_codes():
    finest = kept(0.1, 0.005)
    assert 37.8 <= finest[7] <= 48.7  # the range of eleven codes at P8


def test_the_limit_lies_between_the_two_families():
    """Finite differences are slow on a coarse grid, finite elements with a full mass matrix fast.

    The Richardson limit of ours (second order, from dx 0.1 and 0.05 mm) must lie between finite elements at dx 0.1 mm
    and ours at 0.05 mm, and each refinement must change less than the one before.
    """
    grids = [kept(spacing, "adaptive") for spacing in (0.2, 0.1, 0.05)]
    limit = grids[2] + (grids[2] - grids[1]) / 3
    assert np.allclose(KEPT["limit"], limit, atol=0.02)
    assert np.all(np.array(FEM)[1:] < limit[1:]) and np.all(limit[1:] < grids[2][1:])
    assert np.all(np.abs(grids[2] - grids[1])[1:] < 0.4 * np.abs(grids[1] - grids[0])[1:])
    # Along the fibres the wave is wide and both have converged to a few percent.
    assert limit[2] == pytest.approx(FEM[2], rel=0.02)


def test_the_time_step_matters_little():
    assert np.allclose(kept(0.1, 0.01), kept(0.1, 0.005), atol=0.05)
    assert np.allclose(kept(0.1, "adaptive"), 2 * kept(0.1, 0.005) - kept(0.1, 0.01), atol=0.03)


def test_a_step_for_each_block_on_a_slab():
    """Fibres, three dimensions, blocks of which half the cells see another: as good as a fixed step, computed here."""
    points, _ = niederer.activation(0.2, "adaptive", progress=False)
    assert np.allclose(points, kept(0.2, "adaptive"), atol=0.01)
    assert np.allclose(points, 2 * kept(0.2, 0.005) - kept(0.2, 0.01), atol=0.05)
