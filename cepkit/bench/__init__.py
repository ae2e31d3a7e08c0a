"""A fair fight: every method under one protocol; see :mod:`cepkit.bench.scorecard`."""

# ruff: noqa: F401, I001  (names that others import from here, many a line)
from cepkit.bench import methods, pictures, protocols, tracks
from cepkit.bench.pictures import pivot
from cepkit.bench.scorecard import (
    COLUMNS, cost, entrant, evaluate, failed, fit, kept_scorecard, record, scaling, scorecard, showcase, stale,
    statistics,
)  # fmt: skip
from cepkit.bench.tracks import TRACKS, Track, make_track
