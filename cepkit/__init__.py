"""cepkit: heart tissue, from equations to beating sheets, and the networks that try to replace them."""

from importlib import import_module

from cepkit import pacing, region
from cepkit.pacing import Protocol, Stimulus, stimulus_field
from cepkit.tissue import Tissue

__all__ = [
    "Protocol", "Stimulus", "Tissue", "ensemble", "final_state", "get_profile", "golden_standard", "load",
    "pacing", "region", "score", "show", "simulate", "stimulus_field",
]  # fmt: skip

# Loaded on first use: the solver compiles, the surrogates bring PyTorch.
_LAZY = {
    "simulate": "solver",
    "ensemble": "ensembles",
    "final_state": "solver",
    "golden_standard": "problems",
    "open_trajectory": "store",
    "load": "surrogates",
    "score": "scores",
    "show": "page.show",
    "get_profile": "profiles",
    "explore_cell": "page.explore",
    "explore_restitution": "page.explore",
    "explore_wave": "page.explore",
    "explore_forecast": "page.explore",
    "explore_scorecard": "page.explore",
}
_ROOMS = {"explore": "page.explore", "live": "page.live", "widgets": "page.widgets"} | {
    name: name
    for name in (
        "bench", "cell", "check", "comparison", "dataset", "ensembles", "events", "fields", "figures", "forecast",
        "kernel", "measure", "page", "problems", "profiles", "runs", "scores", "solver", "store", "surrogates",
        "training",
    )
}  # fmt: skip


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(f"cepkit.{_LAZY[name]}"), name)
    if name in _ROOMS:
        return import_module(f"cepkit.{_ROOMS[name]}")
    raise AttributeError(f"module 'cepkit' has no attribute {name!r}")
