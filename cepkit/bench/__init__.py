"""A fair fight: every method under one protocol; see :mod:`cepkit.bench.scorecard`."""

from cepkit.bench import methods, textbook, tracks
from cepkit.bench.scorecard import (
    COLUMNS, ENTRANTS, PHYSICAL, SEEDS, cost, entrant, evaluate, fit, kept_scorecard, pivot, record, scaling,
    scorecard, showcase, solver_curve, statistics, trainings,
)  # fmt: skip
from cepkit.bench.tracks import Track, make_track

__all__ = [
    "COLUMNS", "ENTRANTS", "PHYSICAL", "SEEDS", "Track", "cost", "entrant", "evaluate", "fit", "kept_scorecard",
    "make_track", "methods", "pivot", "record", "scaling", "scorecard", "showcase", "solver_curve", "statistics",
    "textbook", "tracks", "trainings",
]  # fmt: skip
