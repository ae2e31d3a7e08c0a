"""A fair fight: every method under one protocol; see :mod:`cepkit.bench.scorecard`."""

from cepkit.bench import methods, pictures, protocols, tracks  # noqa: F401, I001  (many names a line)
from cepkit.bench.pictures import pivot
from cepkit.bench.scorecard import (
    COLUMNS, cost, entrant, evaluate, failed, fit, kept_scorecard, record, scaling, scorecard, showcase, stale,
    statistics,
)  # fmt: skip
from cepkit.bench.tracks import TRACKS, Track, make_track

__all__ = [
    "COLUMNS", "TRACKS", "Track", "cost", "entrant", "evaluate", "failed", "fit", "kept_scorecard", "make_track",
    "pivot", "record", "scaling", "scorecard", "showcase", "stale", "statistics",
]  # fmt: skip
