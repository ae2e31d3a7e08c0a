"""The live sheet: solver, flow map and network, run by the page itself in a Web Worker of plain JavaScript.

Constants come from :mod:`cepkit.cell`, weights from ``data/models``; tests hold the equations of ``tp06.js`` and
``tp06_gpu.js`` to the first.  ``worker.js`` runs what is there, ``view.js`` listens, ``draw.js`` draws.
"""

import html as markup
import json
from functools import cache

import anywidget
import numpy as np
import traitlets
from IPython.display import HTML

from cepkit import cell, fields, figures, kernel, measure, simd, solver, surrogates
from cepkit.bench.methods import event_sheet, flow_map
from cepkit.page import CHANNELS, colours, encoded, source

#: Where the rendered book keeps the script, seen from one of its pages.
SCRIPT = "../_static/cepkit-live.js"
WORKER = "tp06.js", "tp06_gpu.js", "paced.js", "flow_map.js", "worker.js"
VIEW = "draw.js", "challenges.js", "view.js"
COLOURS = {"coarse": "#2F8FCE", "flow": "#CC79A7", "network": "#009E73"}
ALLOWED = {"rows": (24, 64, 128, 256), "cycle_length": (0, 300, 350, 400, 500, 650, 1000), "factors": CHANNELS}


def model():
    """The cell and the tissue as plain data, so that no constant is typed twice."""
    return {
        "constants": cell.NORMAL._asdict(), "conductances": cell.Conductances()._asdict(),
        "initial": cell.INITIAL_STATE, "gateNames": cell.VOLTAGE_GATES, "concNames": cell.CONCENTRATIONS,
        "voltage": {"low": simd.V_LOW, "high": simd.V_HIGH, "step": simd.V_STEP},
        "drive": {"low": simd.DRIVE_LOW, "high": simd.DRIVE_HIGH, "step": simd.DRIVE_STEP},
        "spacing": fields.SHEET["spacing"], "diffusivity": fields.SHEET["diffusivity"],
        "stimulus": {"amplitude": fields.AMPLITUDE, "duration": fields.DURATION}, "activationLevel": fields.THRESHOLD,
    }  # fmt: skip


def _pack(array):
    """An array as JSON: its shape, and its numbers in single precision as base64."""
    return {"shape": list(np.shape(array)), "data": encoded(np.asarray(array, "<f4"))}


def export_weights(surrogate):
    """All that a :class:`cepkit.bench.methods.paced.Paced` knows, for JavaScript: weights are (inputs, outputs)."""
    networks, scaling = surrogate.plain, surrogate.scaling
    return {
        "networks": {n: [{"weight": _pack(w), "bias": _pack(b)} for w, b in layers] for n, layers in networks.items()},
        "centre": _pack(surrogate.centre_plain),
        "units": {name: [np.asarray(values).tolist() for values in unit] for name, unit in surrogate.units.items()},
        "scaling": {k: [float(getattr(scaling, k)[v]) for v in event_sheet.VARIABLES] for k in ("mean", "std")},
        "shape": list(surrogate.shape), "interval": surrogate.interval, "knots": event_sheet.KNOTS.tolist(),
        **{name.lower(): getattr(event_sheet, name) for name in ("RENEWAL", "LONGEST", "WAVE", "RECENT", "MINUTES")},
        "usual": surrogate.usual, "forgotten": event_sheet.FORGOTTEN.tolist(), "up": measure.UP, "reset": measure.RESET,
    }  # fmt: skip


def export_flow_map(surrogate):
    """All that a :class:`cepkit.bench.methods.flow_map.FlowMap` knows, for JavaScript."""
    names = "CONDUCTANCES", "SLOW", "FADE", "SMOOTH", "NEAR", "WINDOW", "REACH", "DOUBT", "LONG", "OVER"
    return {name.lower(): getattr(flow_map, name) for name in names} | {
        "layers": {name: _pack(p) for name, p in surrogate.network.state_dict().items() if "write" not in name},
        "table": _pack(surrogate.table), "scale": {name: _pack(v) for name, v in surrogate.scale.items()},
        "knots": surrogate.knots.tolist(), "horizon": surrogate.settings.horizon, "states": cell.STATES,
        "fast": solver.ADAPTIVE[surrogate.settings.tolerance][2][0], "release": kernel.RELEASE,
    }  # fmt: skip


@cache
def script():
    """The whole script: readable sources, and constants and weights as data.  Three megabytes, nearly all weights."""
    variables = [{"symbol": name, "unit": v.drawn_units, "factor": v.factor, "map": colours(figures.MAPS[name])}
                 for name, v in fields.TABLE.items()]  # fmt: skip
    look = {"variables": variables, "colours": COLOURS, "channels": CHANNELS, "css": source("live.css")}
    data = {"model": model(), "network": export_weights(surrogates.load("paced")), "look": look}
    data["flowMap"] = export_flow_map(surrogates.load("flow_map"))
    worker, view = ("\n".join(map(source, parts)) for parts in (WORKER, VIEW))
    # Inside <script> the text must not end it.
    texts = [json.dumps(part, separators=(",", ":")).replace("</", "<\\/") for part in (worker, data)]
    return f"(() => {{\nconst WORKER = {texts[0]};\nconst DATA = {texts[1]};\n{view}}})();\n"


def _options(rows, cycle_length, factors):
    for name, value in ("rows", rows), ("cycle_length", cycle_length), *(("factors", name) for name in factors or ()):
        fields.one_of(name, value, ALLOWED[name])
    return {"rows": rows, "cycle": cycle_length, "factors": dict(factors or {})}


def html(rows=24, cycle_length=500, factors=None, source=SCRIPT, paused=False):
    """The live sheet for a page; ``source`` is the address of its script, None puts the script into the page.

    ``rows`` are the nodes along each side (the network runs beside the solver at 24), ``cycle_length`` is that of the
    pacemaker in the far corner [ms] (0 for none), ``factors`` are multiples of normal conductances, ``{"gKr": 0.5}``.
    """
    options = json.dumps(_options(rows, cycle_length, factors) | {"paused": bool(paused)})
    code = f"<script>{script()}</script>" if source is None else f'<script src="{markup.escape(source)}"></script>'
    return HTML(
        f'<div class="cep-live" data-options="{markup.escape(options)}">'
        "<p>Here a sheet of tissue runs, in the rendered book and with JavaScript. In JupyterLab use "
        f"<code>cep.live.LiveSheet()</code>.</p></div>{code}"
    )


class LiveSheet(anywidget.AnyWidget):
    """A live sheet in a notebook; ``rows``, ``cycle_length`` and ``factors`` are those of :func:`html`.

    ``factors`` may be set while it runs.  ``readout`` is what it shows: ``t`` [ms], ``frames`` a second, and for each
    of ``sheets`` its ``error`` (z-MSE), ``rms`` [mV], ``clock`` (ms of computing a ms), ``APD`` [ms], ``share``.
    """

    options, factors, readout = (traitlets.Dict().tag(sync=True) for _ in range(3))

    def __init__(self, rows=24, cycle_length=500, factors=None):
        options = _options(rows, cycle_length, factors)
        super().__init__(_esm=script() + source("live_lab.js"), options=options, factors=options["factors"])
