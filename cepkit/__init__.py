"""cepkit: heart tissue, from equations to beating sheets, and the networks that try to replace them."""

import os
import tempfile
from importlib import import_module
from importlib.util import find_spec

# Numba keeps compiled code beside the package, or at home; where neither can be written, it would stop.
if not any(os.access(place, os.W_OK) for place in (os.path.dirname(__file__), os.path.expanduser("~"))):
    os.environ.setdefault("NUMBA_CACHE_DIR", tempfile.mkdtemp(prefix="cepkit-"))

from cepkit import pacing, region
from cepkit.pacing import Protocol, Stimulus, stimulus_field
from cepkit.tissue import Tissue

__all__ = [
    "Protocol", "Stimulus", "Tissue", "ensemble", "final_state", "get_profile", "golden_standard", "load",
    "pacing", "recording", "region", "score", "show", "simulate", "stimulus_field",
]  # fmt: skip

# Loaded on first use: the solver compiles, the surrogates bring PyTorch.
_LAZY = {
    "simulate": "solver", "final_state": "solver", "ensemble": "ensembles", "golden_standard": "problems",
    "open_trajectory": "store", "open_ensemble": "ensembles", "recording": "recordings", "join": "recordings",
    "load": "surrogates", "score": "scores", "get_profile": "profiles", "show": "page.show",
    **dict.fromkeys(("explore_cell", "explore_restitution", "explore_wave"), "page.explore"),
    **dict.fromkeys(("explore_forecast", "explore_scorecard"), "page.explore"),
}  # fmt: skip
_ROOMS = {"events": "bench.events", "explore": "page.explore", "live": "page.live", "widgets": "page.widgets"}


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(f"cepkit.{_LAZY[name]}"), name)
    if find_spec(room := f"cepkit.{_ROOMS.get(name, name)}"):
        return import_module(room)
    raise AttributeError(f"module 'cepkit' has no attribute {name!r}")
