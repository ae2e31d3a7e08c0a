"""A number that moved without its VERSION would leave stale data, weights or scores in use."""

import json
import math

import fingerprints
import pytest

from cepkit import runs

KEPT = json.loads(fingerprints.FILE.read_text())
BUMP = {
    "solver": "solver.VERSION (solver.LOCAL_VERSION for the adaptive step alone)",
    "measures": "scores.VERSION",
    "scores": "scores.VERSION",
    "kept_models": "version in the @surrogate line of the method",
    "methods": "version in the @surrogate line of the method",
    "settings": "version in the @surrogate line of the method (of a track or a profile: scores.VERSION)",
}
#: Relative: single precision, and what a float64 run gains from another processor.
TOLERANCE = {"solver": 1e-5, "measures": 1e-6, "scores": 1e-6, "kept_models": 2e-3, "methods": 2e-3}


def differs(now, then, tolerance):
    """Whether two entries of a group are not the same, within rounding."""
    if isinstance(then, str) or len(now) != len(then):
        return now != then
    same = (a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= tolerance * max(abs(b), 1e-2)
            for a, b in zip(now, then, strict=True))  # fmt: skip
    return not all(same)


@pytest.mark.parametrize("group", fingerprints.GROUPS)
def test_numbers_are_those_of_their_version(group):
    now, then = fingerprints.GROUPS[group](), KEPT[group]
    assert set(now) == set(then), "something has come or gone: run `make fingerprints`"
    moved = [name for name in then if differs(now[name], then[name], TOLERANCE.get(group, 0))]
    assert not moved, (
        f"{group}: the numbers of {', '.join(moved)} have changed. If they were meant to, bump {BUMP[group]} and run "
        "`make fingerprints`; else the change is a fault."
    )


def test_versions_are_those_of_the_numbers():
    assert runs.versions() == KEPT["versions"], "a VERSION was bumped: run `make fingerprints`"


def test_a_fingerprint_notices_a_small_change():
    then = [1.0, float("nan"), -2.0]
    assert not differs([1.0 + 1e-9, float("nan"), -2.0], then, 1e-6)
    assert differs([1.0 + 1e-4, float("nan"), -2.0], then, 1e-6)
    assert differs([1.0, 0.0, -2.0], then, 1e-6) and differs([1.0], then, 1e-6) and differs("a", "b", 0)
    assert all(runs.versions().values())
