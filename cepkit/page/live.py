"""The live sheet: solver and surrogate, run by the page itself.

The page brings its own computer along: a Web Worker in plain JavaScript that advances a sheet of TP06 tissue and,
beside it, the network of :mod:`cepkit.bench.methods.paced`.  No kernel, no network, not even a server: it works from a
file on a disk.  Constants come from :mod:`cepkit.cell` and weights from ``data/models/paced``; the equations are
written a second time, and ``tests/book/test_live.py`` holds them to the first.

``tp06.js`` is the solver, ``paced.js`` the surrogate, ``worker.js`` runs both, ``view.js`` draws and listens.
"""

import base64
import html as markup
import json
from functools import cache
from importlib.resources import files

import matplotlib
import numpy as np

from cepkit import cell, figures, kernel

#: The sheet of the book: what a live sheet of any size shares with it.
SPACING, DIFFUSIVITY = 10 / 23, 0.125
#: Where the rendered book keeps the script, seen from one of its pages.
SCRIPT = "../_static/cepkit-live.js"
_PARTS = ("tp06.js", "paced.js", "worker.js")


# ---- what travels into the page -----------------------------------------------------------------


def model():
    """The cell and the tissue as plain data, so that no constant is typed twice.

    Returns
    -------
    dict
        Constants, conductances and initial state by name, the ranges of the kernel's tables, spacing [mm],
        diffusivity [mm2/ms] and the stimulus of :class:`cepkit.pacing.Stimulus`.

    Examples
    --------
    >>> cep.page.live.model()["initial"]["Vm"]
    -85.23
    """
    from cepkit.pacing import Stimulus

    conductances, constants = cell.parameters()
    return {
        "constants": constants._asdict(),
        "conductances": conductances._asdict(),
        "initial": cell.INITIAL_STATE,
        "gateNames": cell.VOLTAGE_GATES,
        "concNames": cell.CONCENTRATIONS,
        "voltage": {"low": kernel.V_LOW, "high": kernel.V_HIGH, "step": kernel.V_STEP},
        "drive": {"low": kernel.DRIVE_LOW, "high": kernel.DRIVE_HIGH, "step": kernel.DRIVE_STEP},
        "spacing": SPACING,
        "diffusivity": DIFFUSIVITY,
        "stimulus": {"amplitude": Stimulus.amplitude, "duration": Stimulus.duration},
        "activationLevel": -40.0,
    }


def pack(array, dtype="<f4"):
    """An array as JSON: its shape, and its numbers as base64.

    Examples
    --------
    >>> cep.page.live.pack(np.zeros((2, 1)))
    {'shape': [2, 1], 'data': 'AAAAAAAAAAA='}
    """
    array = np.ascontiguousarray(array, dtype)
    return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def unpack(packed, dtype="<f4"):
    """The array that :func:`pack` packed.

    Examples
    --------
    >>> cep.page.live.unpack(cep.page.live.pack(np.arange(3.0))).tolist()
    [0.0, 1.0, 2.0]
    """
    return np.frombuffer(base64.b64decode(packed["data"]), dtype).reshape(packed["shape"])


def export_weights(surrogate):
    """All that the network knows, for JavaScript.

    Parameters
    ----------
    surrogate : cepkit.bench.methods.paced.Paced

    Returns
    -------
    dict
        ``networks``: for each of the four its layers as packed float32 ``weight`` (inputs, outputs) and ``bias``;
        ``centre`` (knots, 4), the mean response; ``units``: mean, standard deviation, lowest and highest of each
        feature, in double precision; ``scaling`` of the four variables; ``knots`` [ms] and the numbers that
        :mod:`cepkit.bench.methods.event_sheet` runs by.

    Examples
    --------
    >>> weights = cep.page.live.export_weights(cep.load("paced"))
    >>> list(weights["networks"])
    ['response', 'arrival', 'capture', 'onward']
    >>> cep.page.live.unpack(weights["networks"]["capture"][0]["weight"]).shape
    (6, 8)
    """
    from cepkit import events
    from cepkit.bench.methods import event_sheet

    mean, std = (
        np.array([float(s[v]) for v in event_sheet.VARIABLES]) for s in (surrogate.scaling.mean, surrogate.scaling.std)
    )
    return {
        "networks": {
            name: [{"weight": pack(weight), "bias": pack(bias)} for weight, bias in layers]
            for name, layers in surrogate.plain.items()
        },
        "centre": pack(surrogate.centre_plain),
        "units": {name: [np.asarray(values).tolist() for values in unit] for name, unit in surrogate.units.items()},
        "scaling": {"mean": mean.tolist(), "std": std.tolist()},
        "shape": list(surrogate.shape),
        "interval": surrogate.interval,
        "knots": event_sheet.KNOTS.tolist(),
        "renewal": event_sheet.RENEWAL,
        "longest": event_sheet.LONGEST,
        "wave": event_sheet.WAVE,
        "recent": event_sheet.RECENT,
        "minutes": event_sheet.MINUTES,
        "usual": surrogate.usual,
        "forgotten": event_sheet.FORGOTTEN.tolist(),
        "up": events.UP,
        "reset": events.RESET,
    }


#: A spiral that the page can start by itself: channels as multiples of normal, S1 a strip of ``width`` nodes, S2 [ms].
SPIRAL = {"rows": 64, "s2": 140, "width": 4, "factors": {"gCaL": 0.05, "gKr": 8.0, "gKs": 2.0, "gNa": 0.4}}
CHANNELS = ("gNa", "gCaL", "gto", "gKr", "gKs", "gK1")
_RANGES = {"Vm": (-90, 40), "Cai": (0, 1.5), "CaSR": (2, 4.5), "CaSS": (0, 2.5)}  # in the unit drawn
_TICKS = {"Vm": (-80, -40, 0, 40), "Cai": (0, 0.5, 1, 1.5), "CaSR": (2, 3, 4), "CaSS": (0, 1, 2)}


def look():
    """What the view needs to draw as the book draws: colour maps, units, ranges, colours of the models.

    Examples
    --------
    >>> [variable["symbol"] for variable in cep.page.live.look()["variables"]]
    ['Vm', 'Cai', 'CaSR', 'CaSS']
    """
    variables = []
    for name, (low, high) in _RANGES.items():
        colours = matplotlib.colormaps[figures.MAPS[name]](np.linspace(0, 1, 256))[:, :3]
        variables.append({
            "symbol": name, "unit": figures.VARIABLES[name][1], "factor": figures.VARIABLES[name][2],
            "low": low, "high": high, "ticks": _TICKS[name],
            "map": base64.b64encode((colours * 255).round().astype(np.uint8).tobytes()).decode(),
        })  # fmt: skip
    return {
        "variables": variables,
        "surrogate": figures.MODELS["paced"][1],
        "channels": CHANNELS,
        "spiral": SPIRAL,
        "css": _source("live.css"),
    }


def _source(name):
    return files("cepkit.page").joinpath("js", name).read_text(encoding="utf-8")


@cache
def script():
    """The whole script: readable sources, and constants and weights as data.  About a megabyte, nearly all weights.

    Examples
    --------
    >>> len(cep.page.live.script()) > 500_000
    True
    """
    from cepkit import surrogates

    data = {"model": model(), "network": export_weights(surrogates.load("paced")), "look": look()}
    worker = "\n".join(_source(part) for part in _PARTS)
    # Inside <script> the text must not end it.
    texts = [json.dumps(part, separators=(",", ":")).replace("</", "<\\/") for part in (worker, data)]
    return f"(() => {{\nconst WORKER = {texts[0]};\nconst DATA = {texts[1]};\n{_source('view.js')}}})();\n"


# ---- doors --------------------------------------------------------------------------------------


def html(rows=24, cycle_length=500, factors=None, source=SCRIPT, paused=False):
    """The live sheet for a page.

    Parameters
    ----------
    rows : {24, 64, 128}
        Nodes along each side; the network runs beside the solver at 24.
    cycle_length : {0, 300, 350, 400, 500, 650, 1000}
        Of the pacemaker in the far corner [ms]; 0 for none.
    factors : mapping, optional
        Conductances as multiples of normal, for example ``{"gKr": 0.5}``.
    source : str or None
        Address of the script, as :func:`script` gives it; None puts the script itself into the page.
    paused : bool
        Wait for the reader to press Play.

    Returns
    -------
    IPython.display.HTML

    Examples
    --------
    >>> "cycle" in cep.page.live.html(rows=64, cycle_length=400, factors={"gKr": 0.5}).data
    True
    """
    from IPython.display import HTML

    options = _options(rows, cycle_length, factors) | {"paused": bool(paused)}
    code = f"<script>{script()}</script>" if source is None else f'<script src="{markup.escape(source)}"></script>'
    return HTML(
        f'<div class="cep-live" data-options="{markup.escape(json.dumps(options))}">'
        "<p>Here a sheet of tissue runs, in the rendered book and with JavaScript. In JupyterLab use "
        f"<code>cep.page.live.LiveSheet()</code>.</p></div>{code}"
    )


def _options(rows, cycle_length, factors):
    if rows not in (24, 64, 128):
        raise ValueError(f"rows={rows!r} must be 24, 64 or 128")
    if cycle_length not in (0, 300, 350, 400, 500, 650, 1000):
        raise ValueError(f"cycle_length={cycle_length!r} must be 0, 300, 350, 400, 500, 650 or 1000 [ms]")
    unknown = set(factors or {}) - set(CHANNELS)
    if unknown:
        raise ValueError(f"factors: {', '.join(sorted(unknown))} has no slider; choose from {', '.join(CHANNELS)}")
    return {"rows": rows, "cycle": cycle_length, "factors": dict(factors or {})}


def page(title="The live sheet", **options):
    """A whole page with nothing but the live sheet, all in one file.

    Parameters
    ----------
    title : str
    **options
        Of :func:`html`.

    Returns
    -------
    str

    Examples
    --------
    >>> cep.page.live.page("Pace me")[:15]
    '<!doctype html>'
    """
    body = html(**{"source": None} | options).data
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{markup.escape(title)}</title><style>:root {{ color-scheme: light dark; font-family: sans-serif }}"
        f"</style><h1>{markup.escape(title)}</h1>{body}</html>\n"
    )


def __getattr__(name):
    if name == "LiveSheet":  # JupyterLab's widget machinery is loaded for those who use it
        from cepkit.page.live_widget import LiveSheet

        return LiveSheet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
