"""Controls for JupyterLab; all are native controls, so the Tab and arrow keys reach and move them.

A cell and its restitution are simulated again at every move of a slider, and the picture follows in under 100 ms; a
wave, forecasts and the scorecard travel to the browser once and move there.
"""

from collections.abc import Mapping
from itertools import cycle as endless

import ipywidgets as w
import numpy as np
import xarray as xr

from cepkit import bench, fields, figures, measure, pacing, region
from cepkit.cell import Conductances
from cepkit.page import CHANNELS, colours
from cepkit.page.widgets import Control, player, symbol_of
from cepkit.solver import simulate
from cepkit.tissue import Tissue

KINDS = {"epicardial": "epi", "endocardial": "endo", "M cell": "m"}
#: What the scorecard can show: label, metric and variable.
SHOWN = {f"z-MSE of {name}": ("z_mse", name) for name in fields.VARIABLES} | {
    "activation error [ms]": ("activation_error", ""), "APD90 error [ms]": ("apd90_error", ""),
    "conduction velocity error [%]": ("cv_error", ""), "missed activations [%]": ("missed", ""),
    "extra activations [%]": ("spurious", ""), "phase drift [ms a beat]": ("phase_drift", ""),
}  # fmt: skip
MEDIAN = "median of all tests"


def _wired(controls, update, caption):
    """Controls, a line of text, a picture and its caption; ``update`` gets their values and returns line and panels."""
    text, picture, below = w.HTML(), Control(kind="plots"), w.HTML(f'<small aria-hidden="true">{caption}</small>')

    def redraw(_=None):
        text.value, panels = update(**{name: control.value for name, control in controls.items()})
        picture.payload = {"label": caption, "panels": panels}

    for control in controls.values():
        control.style.description_width, control.layout.width = "125px", "340px"
        control.observe(redraw, "value")
    redraw()
    grid = w.GridBox(list(controls.values()), layout=w.Layout(grid_template_columns="repeat(auto-fill, 345px)"))
    return w.VBox([grid, text, picture, below]).add_class("cep-explore")


def _curve(x, y, **look):
    points = np.round(np.stack([x, y]).astype(float), 4)
    x, y = points[:, np.isfinite(points).all(0)].tolist()  # JSON knows no NaN
    return {"x": x, "y": y} | look


def explore_cell(beats=2, cycle_length=fields.CYCLE_LENGTH):
    """A live cell: sliders for six conductances; every move simulates the cell again."""
    tissue, normal, duration = Tissue((1, 1)), Conductances(), beats * cycle_length
    protocol = pacing.periodic(cycle_length, beats, region.everywhere(tissue))

    def run(**percent):
        own = {name: getattr(normal, name) * value / 100 for name, value in percent.items()}
        return simulate(tissue, protocol, duration, parameters=own, progress=False, threads=1)[{"y": 0, "x": 0}]

    before = run()

    def panel(now, name, low, high):
        grey, own = {"color": "#bbbbbb", "label": "nothing changed"}, {"color": fields.TABLE[name].colour}
        return {
            "title": f"{symbol_of(now[name])} [{figures.unit_of(now[name])}]", "xLabel": "time [ms]",
            "x": [0.0, duration], "y": [low, high],
            "curves": [_curve(f.time, figures.drawn(f[name]), **look) for f, look in ((before, grey), (now, own))],
        }  # fmt: skip

    def update(**percent):
        now = run(**percent)
        panels, last = [panel(now, "Vm", -100, 65), panel(now, "Cai", 0, 2.5)], measure.beat(now, beats, cycle_length)
        rest, peak, APD = float(last.Vm[0]), float(last.Vm.max()), float(measure.beats(last.Vm).APD[0])
        calcium = f"peak calcium {1e3 * float(last.Cai.max()):.2f} µM"
        if peak < 0 or np.isnan(APD):
            return f"no action potential that ends before the next; rest {rest:.1f} mV, {calcium}", panels
        return f"APD90 {APD:.0f} ms, rest {rest:.1f} mV, peak {peak:.1f} mV, {calcium}", panels

    controls = {name: w.IntSlider(100, 0, 200, 5, description=f"{name} [%]") for name in CHANNELS}
    return _wired(controls, update, "Membrane potential and cytosolic calcium; grey: nothing changed.")


def explore_restitution(curves=None, beats=5):
    """Pace a cell with S1 and ask it with a premature S2; each answer leaves a point on the restitution plane.

    ``curves`` to draw behind the points, by name, are what :func:`~cepkit.measure.experiments.restitution` gives.
    """
    curves = curves or {}
    for name, curve in curves.items():
        if not {"APD", "DI"} <= set(getattr(curve, "data_vars", ())):
            raise ValueError(f"curves[{name!r}] holds no APD and DI; hand over what cep.measure.restitution returns")
    cell, seen = Tissue((1, 1)), []
    behind = [_curve(curve.DI, curve.APD, color=colour, label=name, linewidth=1.0)
              for colour, (name, curve) in zip(endless(figures.COLOURS), curves.items())]  # fmt: skip

    def update(kind, s1, s2):
        protocol, last = pacing.s1s2(s1, beats, s2, region.everywhere(cell)), (beats - 1) * s1
        run = simulate(cell, protocol, last + s2 + 500.0, cell_type=kind, save=("Vm",), progress=False, threads=1)
        Vm = run.assign_coords(time=run.time - last).Vm[:, 0, 0].sel(time=slice(0, None))
        before = measure.beats(Vm.sel(time=slice(0, s2))).isel(beat=0)
        rest, APD = s2 - float(before.repolarisation), measure.premature(Vm, s2, before)
        placed = bool(np.isfinite([rest, APD]).all())
        if placed:
            seen.append([rest, APD, figures.COLOURS[list(KINDS.values()).index(kind)]])
        panels = [
            {"title": "Vm [mV]", "xLabel": "time after the last S1 [ms]", "x": [0, 1500], "y": [-100, 60],
             "curves": [_curve(Vm.time, Vm, color=fields.TABLE["Vm"].colour)], "at": s2, "atName": "S2"},
            {"title": "APD90 [ms]", "xLabel": "diastolic interval [ms]", "x": [0, 800], "y": [100, 420],
             "curves": behind, "points": list(seen), "ring": placed},
        ]  # fmt: skip
        if np.isnan(APD):
            return "no new action potential: S2 finds the cell busy with the one before", panels
        line = f"S2 comes {rest:.0f} ms after the end of the last action potential: APD90 {APD:.0f} ms"
        return f"{line}, of S1 {float(before.APD):.0f} ms", panels

    controls = {
        "kind": w.Dropdown(options=KINDS, description="type of cell"),
        "s1": w.SelectionSlider(options=range(300, 1001, 50), value=1000, description="S1 cycle [ms]"),
        "s2": w.IntSlider(500, 200, 1000, 5, description="S2 after [ms]"),
    }
    caption = "Left: the potential after the last S1, and S2. Right: APD90 of each S2 so far; the ring is the last one."
    return _wired(controls, update, caption)


def _axes_of(value, name, wanted):
    """``value`` with its dims in order, or a refusal that says what it needs."""
    if not isinstance(value, xr.DataArray):
        raise ValueError(f"{name} is a {type(value).__name__}, it needs one variable as a DataArray, like run.Vm")
    if set(value.dims) != set(wanted):
        way = "".join(f"; choose one with {name}.isel({d}=0)" for d in value.dims if d not in wanted)
        raise ValueError(f"{name} has the dims {value.dims}, it needs {tuple(wanted)}{way}")
    return value.transpose(*wanted)


def _sheets(named, label, x, probe, **more):
    """The player of sheets on the scale of the first field; every frame travels, 4 bytes a node."""
    values = np.stack([figures.drawn(field) for field in named.values()]).astype("<f4")
    scale = {"type": "f4", "low": float(np.nanmin(values[0])), "high": float(np.nanmax(values[0]))}
    return Control(kind="sheets", payload=player(named, label, x, probe) | scale | more, data=values.tobytes())


def explore_wave(field, x="time", probe=None):
    """One variable (``x``, y, x) through time: frames, and the course at an electrode, first at node ``probe``."""
    return _sheets({"": _axes_of(field, "field", (x, "y", "x"))}, f"{field.name} of the sheet", x, probe)


def explore_forecast(truth, forecasts, probe=None):
    """Forecasts by name beside the truth, all of one variable (start, lead_time, y, x), their difference and error."""
    dims = ("start", "lead_time", "y", "x")
    if not isinstance(forecasts, Mapping) or not len(forecasts):
        raise ValueError('forecasts must hold at least one forecast, by name: {"lstm": forecast.Vm}')
    truth = _axes_of(truth, "truth", dims)
    named = {name: _axes_of(field, f"forecasts[{name!r}]", dims) for name, field in forecasts.items()}
    for name, field in named.items():
        if field.shape != truth.shape:
            shapes = f"forecasts[{name!r}] has the shape {field.shape}, truth {truth.shape}"
            raise ValueError(f"{shapes}; cut both to the same starts, lead times and grid")
    starts = [f"{k + 1}: {s:g} ms" for k, s in enumerate(truth.start.values)]
    more = {"starts": starts, "compare": True, "differences": colours(figures.MAPS["error"])}
    return _sheets({"truth": truth} | named, f"Forecasts of {truth.name} beside the truth", "lead_time", probe, **more)


def explore_scorecard(table=None):
    """One number of each model at a time, of a table from :func:`cepkit.bench.kept_scorecard`; the best on top."""
    table = bench.kept_scorecard() if table is None else table
    if missing := ", ".join(name for name in bench.COLUMNS if name not in getattr(table, "columns", ())):
        raise ValueError(f"table lacks the columns {missing}; hand over what cep.bench.kept_scorecard returns")
    tests = [name for name in dict.fromkeys(table.test) if name not in ("cost", "all")]
    table = table[table.test.isin(tests)].assign(variable=table.variable.fillna(""))
    rows = {label: table[(table.metric == m) & (table.variable == v)] for label, (m, v) in SHOWN.items()}
    if not (parts := {label: part for label, part in rows.items() if len(part)}):
        raise ValueError(f"table holds none of the metrics {', '.join(dict.fromkeys(m for m, _ in SHOWN.values()))}")
    models = list(dict.fromkeys(table.model))
    looks = [{"color": "#0072B2"} | figures.look(name) for name in models]
    return Control(kind="ranking", payload={
        "label": "Scorecard", "what": list(parts), "tests": [MEDIAN, *tests],
        "names": [look["label"] for look in looks], "colours": [look["color"] for look in looks],
        "numbers": [[_numbers(part, test, models) for test in [MEDIAN, *tests]] for part in parts.values()],
    })  # fmt: skip


def _numbers(part, test, models):
    """Value and interval of each model on one test, None where there is none."""
    rows = part.groupby("model")[["value"]].median() if test == MEDIAN else part[part.test == test].set_index("model")
    rows = rows.reindex(index=models, columns=["value", "low", "high"])
    return rows.astype(object).replace({np.nan: None, np.inf: "failed"}).values.tolist()
