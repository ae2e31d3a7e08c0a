"""cepkit: heart tissue, from equations to beating sheets, and the networks that try to replace them."""

from importlib import import_module

from cepkit import pacing, region
from cepkit.pacing import Protocol, Stimulus, stimulus_field
from cepkit.tissue import Tissue

__all__ = [
    "Protocol", "Stimulus", "Tissue", "ensemble", "final_state", "get_profile", "golden_standard", "load",
    "pacing", "region", "score", "simulate", "stimulus_field",
]  # fmt: skip

# Loaded on first use: the solver compiles, the surrogates bring PyTorch.
_LAZY = {
    "simulate": "solver",
    "ensemble": "ensembles",
    "final_state": "solver",
    "golden_standard": "store",
    "open_trajectory": "store",
    "load": "surrogates",
    "score": "scores",
    "get_profile": "profiles",
    "explore_cell": "explore",
    "explore_restitution": "explore",
    "explore_wave": "explore",
    "explore_forecast": "explore",
    "explore_scorecard": "explore",
}
_ROOMS = {
    "benchmark", "cell", "check", "dataset", "events", "explore", "figures", "forecast", "live", "measure", "profiles",
    "scores", "solver", "store", "surrogates", "tracks", "training", "widgets",
}  # fmt: skip


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(f"cepkit.{_LAZY[name]}"), name)
    if name in _ROOMS:
        return import_module(f"cepkit.{name}")
    raise AttributeError(f"module 'cepkit' has no attribute {name!r}")
