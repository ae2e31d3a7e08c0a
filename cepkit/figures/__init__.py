"""Every plot of the book: labelled data in; a closed figure out, which a notebook shows as the value of its cell."""

# ruff: noqa: I001  (many names a line)
from cepkit.figures.curves import compare_traces, error_by_lead, traces
from cepkit.figures.maps import MAPS, activation_map, draw_map, film, forecast_frames, sheet, sheets
from cepkit.figures.style import (
    COLOURS, MODELS, VARIABLES, VERSION, WIDTH, done, drawn, label_of, look, new, style, unit_of,
)  # fmt: skip

__all__ = [
    "COLOURS", "MAPS", "MODELS", "VARIABLES", "VERSION", "WIDTH", "activation_map", "compare_traces", "done",
    "draw_map", "drawn", "error_by_lead", "film", "forecast_frames", "label_of", "look", "new", "sheet", "sheets",
    "style", "traces", "unit_of",
]  # fmt: skip
