"""Every plot of the book: labelled data in; a closed figure out, which a notebook shows as the value of its cell."""

# ruff: noqa: F401, I001
from cepkit.figures.curves import compare_traces, error_by_lead, traces
from cepkit.figures.maps import MAPS, activation_map, draw_map, film, forecast_frames, sheet, sheets
from cepkit.figures.style import (
    COLOURS, MODELS, VARIABLES, VERSION, WIDTH, done, drawn, label_of, look, new, style, unit_of,
)  # fmt: skip
