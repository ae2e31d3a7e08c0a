"""Every plot of the book: labelled data in; a closed figure out, which a notebook shows as the value of its cell."""

from cepkit.figures.curves import compare_traces, error_by_lead, traces
from cepkit.figures.maps import MAPS, activation_map, draw_map, film, forecast_frames, sheet, sheets
from cepkit.figures.scorecard import accuracy_and_cost, free_run, pivot, scorecard
from cepkit.figures.style import MODELS, VARIABLES, VERSION, WIDTH, done, drawn, label_of, look, new, style, unit_of

__all__ = [
    "MAPS", "MODELS", "VARIABLES", "VERSION", "WIDTH", "accuracy_and_cost", "activation_map", "compare_traces", "done",
    "draw_map", "drawn", "error_by_lead", "film", "forecast_frames", "free_run", "label_of", "look", "new", "pivot",
    "scorecard", "sheet", "sheets", "style", "traces", "unit_of",
]  # fmt: skip
