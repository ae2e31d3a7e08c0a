"""Live controls for JupyterLab: every move of a slider asks the kernel, and the picture follows in under 100 ms.

All are native controls of ipywidgets, so the Tab and arrow keys reach and move them.  In the rendered book, which has
no kernel, the controls of :mod:`cepkit.page.widgets` stand in their place.
"""

import io
from collections.abc import Mapping

import anywidget
import ipywidgets as w
import matplotlib.pyplot as plt
import numpy as np
import traitlets
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from cepkit import figures

CHANNELS = ("gNa", "gCaL", "gto", "gKr", "gKs", "gK1")
KINDS = {"epicardial": "epi", "endocardial": "endo", "M cell": "m"}
#: What the scorecard can show: label, metric and variable.
SHOWN = {f"z-MSE of {name}": ("z_mse", name) for name in figures.VARIABLES} | {
    "activation error [ms]": ("activation_error", ""),
    "APD90 error [ms]": ("apd90_error", ""),
    "conduction velocity error [%]": ("cv_error", ""),
    "missed activations [%]": ("missed", ""),
    "extra activations [%]": ("spurious", ""),
    "phase drift [ms a beat]": ("phase_drift", ""),
}
MEDIAN = "median of all tests"


# ---- what all of them share ---------------------------------------------------------------------


class _Picture(anywidget.AnyWidget):
    """A PNG with alternative text, in a box that keeps its keys: JupyterLab would go to the next cell at ArrowDown."""

    value = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    _esm = """
    export default {
      render({ model, el }) {
        const image = document.createElement('img');
        image.alt = model.get('alt');
        image.width = 700;
        image.style.maxWidth = '100%';
        const keep = event => { event.target.dataset.lmSuppressShortcuts = ''; };
        const claim = () => el.isConnected
          ? el.closest('.cep-explore')?.addEventListener('focusin', keep) : requestAnimationFrame(claim);
        claim();
        const show = () => {
          const before = image.src;
          image.src = URL.createObjectURL(new Blob([model.get('value')], {type: 'image/png'}));
          URL.revokeObjectURL(before);
        };
        model.on('change:value', show);
        el.append(image);
        show();
        return () => { model.off('change:value', show); URL.revokeObjectURL(image.src); };
      },
    };
    """


class _Board:
    """A figure of which a few artists move; the others are drawn once, and that makes a redraw fast."""

    def __init__(self, fig, moving):
        figures.done(fig)
        fig.set_dpi(100)
        self.canvas, self.moving = FigureCanvasAgg(fig), moving
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # everything has found its place
        for artist in moving:
            artist.set_animated(True)
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(fig.bbox)

    def png(self):
        self.canvas.restore_region(self.background)
        for artist in self.moving:
            artist.draw(self.canvas.get_renderer())
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


def _wired(controls, update, fig, moving, caption, first=()):
    """Controls, a line of text, a picture and its caption; ``update`` gets their values and returns the line."""
    board = _Board(fig, moving)
    text, picture = w.HTML(), _Picture(alt=caption)

    def redraw(_=None):
        text.value = update(**{name: control.value for name, control in controls.items()})
        picture.value = board.png()

    for control in controls.values():
        control.style.description_width, control.layout.width = "125px", "340px"
        control.observe(redraw, "value")
    redraw()
    grid = w.GridBox(list(controls.values()), layout=w.Layout(grid_template_columns="repeat(auto-fill, 345px)"))
    seen = w.HTML(f'<small aria-hidden="true">{caption}</small>')
    return w.VBox([*first, grid, text, picture, seen]).add_class("cep-explore")


def _axes_of(value, name, wanted):
    """``value`` with its dims in order, or a refusal that says what it needs."""
    if not isinstance(value, xr.DataArray):
        raise ValueError(f"{name} is a {type(value).__name__}, it needs one variable as a DataArray, like run.Vm")
    if set(value.dims) != set(wanted):
        extra = [d for d in value.dims if d not in wanted]
        way = f"; choose one with {name}.isel({extra[0]}=0)" if extra else ""
        raise ValueError(f"{name} has the dims {value.dims}, it needs {tuple(wanted)}{way}")
    return value.transpose(*wanted)


def _time_and_electrode(field, x, probe):
    """Controls of what lies on a sheet and runs through time, and a button that lets it run."""
    times, rows, columns = field[x].values, field.sizes["y"], field.sizes["x"]
    row, column = (rows // 2, columns // 2) if probe is None else probe
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(f"probe={probe!r} lies outside the sheet; rows go to {rows - 1}, columns to {columns - 1}")
    step = float(np.diff(times).min()) if len(times) > 1 else 1.0
    controls = {
        "t": w.FloatSlider(
            min=times[0], max=times[-1], step=step, description=f"{x.replace('_', ' ')} [ms]", readout_format=".1f"
        ),
        "row": w.IntSlider(row, 0, rows - 1, description="electrode row"),
        "column": w.IntSlider(column, 0, columns - 1, description="electrode column"),
    }
    low, high = int(np.ceil(times[0])), int(times[-1])
    play = w.Play(value=low, min=low, max=high, step=max(1, (high - low) // 150), interval=100)
    w.jslink((play, "value"), (controls["t"], "value"))
    return controls, play


def _nearest(times, t):
    return int(np.abs(times - t).argmin())


def _electrode(ax):
    return ax.plot([], [], "s", color="none", markeredgecolor="#E62828", markersize=7)[0]


# ---- one cell -----------------------------------------------------------------------------------


def explore_cell(beats=2, cycle_length=500.0):
    """A live cell: sliders for six conductances; every move simulates the cell again.

    Parameters
    ----------
    beats : int
    cycle_length : float
        [ms]

    Returns
    -------
    ipywidgets.VBox

    Examples
    --------
    >>> box = cep.explore_cell(beats=1)
    >>> sliders, line, picture, caption = box.children
    >>> sliders.children[3].description
    'gKr [%]'
    >>> sliders.children[3].value = 50
    """
    import cepkit as cep

    tissue = cep.Tissue((1, 1))
    protocol = cep.pacing.periodic(cycle_length, beats, cep.region.everywhere(tissue))
    normal = cep.cell.Conductances()

    def run(**percent):
        changes = {name: getattr(normal, name) * value / 100 for name, value in percent.items()}
        return cep.simulate(
            tissue, protocol, beats * cycle_length, dt="adaptive", parameters=changes, progress=False, threads=1
        ).isel(y=0, x=0)

    before = run()
    fig, axes = figures.new(1, 2, height=2.4)
    lines = {}
    for ax, name, limits in zip(axes[0], ("Vm", "Cai"), ((-100, 65), (0, 2.5)), strict=True):
        ax.plot(before.time, figures.drawn(before[name]), color="#bbbbbb", label="nothing changed")
        (lines[name],) = ax.plot(before.time, figures.drawn(before[name]), color=figures.VARIABLES[name][3])
        ax.set(xlabel="time [ms]", ylabel=figures.label_of(before[name]), ylim=limits)
    axes[0, 0].legend()

    def update(**percent):
        now = run(**percent)
        for name, line in lines.items():
            line.set_ydata(figures.drawn(now[name]))
        last = cep.measure.beat(now, beats, cycle_length)
        ap = cep.measure.action_potential(last.Vm)
        calcium = f"peak calcium {1e3 * float(last.Cai.max()):.2f} µM"
        if float(ap.peak) < 0 or np.isnan(ap.APD):
            return f"no action potential that ends before the next; rest {float(ap.rest):.1f} mV, {calcium}"
        return f"APD90 {float(ap.APD):.0f} ms, rest {float(ap.rest):.1f} mV, peak {float(ap.peak):.1f} mV, {calcium}"

    controls = {name: w.IntSlider(100, 0, 200, 5, description=f"{name} [%]") for name in CHANNELS}
    caption = "Membrane potential and cytosolic calcium; grey: nothing changed."
    return _wired(controls, update, fig, list(lines.values()), caption)


def explore_restitution(curves=None, beats=5):
    """Pace a cell with S1 and ask it with a premature S2; each answer leaves a point on the restitution plane.

    Parameters
    ----------
    curves : mapping of str to xr.Dataset, optional
        Curves to draw behind the points, each as :func:`cepkit.measure.restitution` gives it.
    beats : int
        Of the S1 train.  All trains are simulated once, at the start; a move simulates what follows the last S1.

    Returns
    -------
    ipywidgets.VBox

    Examples
    --------
    >>> box = cep.explore_restitution(beats=1)
    >>> controls, line, picture, caption = box.children
    >>> controls.children[2].value = 400  # S2 [ms] after the last S1
    >>> line.value
    'S2 comes 91 ms after the end of the last action potential: APD90 233 ms, of S1 309 ms'
    """
    import cepkit as cep

    curves = curves or {}
    for name, curve in curves.items():
        if not {"APD", "DI"} <= set(getattr(curve, "data_vars", ())):
            raise ValueError(f"curves[{name!r}] holds no APD and DI; hand over what cep.measure.restitution returns")
    cycles = np.arange(300, 1001, 50)
    trained = _trains(cycles, beats)
    cell = cep.Tissue((1, 1))
    each = cep.region.everywhere(cell)

    fig, axes = figures.new(1, 2, height=2.6)
    left, right = axes[0]
    (potential,) = left.plot([], [], color=figures.VARIABLES["Vm"][3])
    stimulus = left.axvline(0, color="#888888", linestyle="--", label="S2")
    left.set(xlabel="time after the last S1 [ms]", ylabel="$V_m$ [mV]", xlim=(0, 1500), ylim=(-100, 60))
    left.legend(loc="upper right")
    for name, curve in curves.items():
        right.plot(curve.DI, curve.APD, label=name, linewidth=1.0)
    right.set(xlabel="diastolic interval [ms]", ylabel="APD90 [ms]", xlim=(0, 800), ylim=(100, 420))
    if curves:
        right.legend(loc="lower right")
    points = right.scatter([], [], s=14)
    (now,) = right.plot([], [], "o", color="none", markeredgecolor="#000000", markersize=9)
    seen, colours = [], dict(zip(KINDS.values(), ("C0", "C1", "C2"), strict=True))

    def update(kind, s1, s2):
        start = trained.isel(y=[list(KINDS.values()).index(kind)], x=[list(cycles).index(s1)])
        protocol = cep.Protocol(cep.Stimulus(t, each) for t in (0.0, float(s2)))
        Vm = cep.simulate(
            cell, protocol, s2 + 500.0, dt="adaptive", initial={v: state.values for v, state in start.items()},
            cell_type=kind, progress=False, threads=1,
        ).Vm.isel(y=0, x=0)  # fmt: skip
        potential.set_data(Vm.time, Vm)
        stimulus.set_xdata([s2, s2])
        before, rest, APD = _premature(Vm, s2)
        now.set_data([rest], [APD])
        if np.isnan(APD):
            return "no new action potential: S2 finds the cell busy with the one before"
        seen.append((rest, APD, colours[kind]))
        points.set_offsets([point[:2] for point in seen])
        points.set_facecolor([point[2] for point in seen])
        return (
            f"S2 comes {rest:.0f} ms after the end of the last action potential: APD90 {APD:.0f} ms, "
            f"of S1 {before:.0f} ms"
        )

    controls = {
        "kind": w.Dropdown(options=KINDS, description="type of cell"),
        "s1": w.SelectionSlider(options=cycles.tolist(), value=1000, description="S1 cycle [ms]"),
        "s2": w.IntSlider(500, 200, 1000, 5, description="S2 after [ms]"),
    }
    caption = "Left: the potential after the last S1, and S2. Right: APD90 of each S2 so far; the ring is the last one."
    return _wired(controls, update, fig, [potential, stimulus, points, now], caption)


def _trains(cycles, beats):
    """State of each kind of cell after so many beats of each cycle length, when the next stimulus is due."""
    import cepkit as cep

    if beats < 1:
        raise ValueError(f"beats={beats!r} must be at least 1")
    grid = cep.Tissue((len(KINDS), len(cycles)), diffusivity=0.0)
    each = cep.region.everywhere(grid)
    end = float(beats * cycles.max())
    protocol = cep.Protocol()
    for x, cycle in zip(grid.coords["x"].values, cycles, strict=True):
        protocol += cep.pacing.periodic(float(cycle), beats, each & (each.x == x), start=end - beats * cycle)
    kinds = np.repeat(list(KINDS.values()), len(cycles)).reshape(grid.shape)
    return cep.final_state(cep.simulate(grid, protocol, end, cell_type=kinds, progress=False))


def _premature(Vm, s2, fraction=0.9):
    """APD of the beat at time 0, rest between its end and S2, and APD of the beat of S2 [ms]; NaN for what is not."""
    from cepkit import measure

    first = measure.action_potential(Vm.sel(time=slice(0, s2)), fraction)
    level = float(first.peak - fraction * (first.peak - first.rest))
    after = Vm.sel(time=slice(s2, None))
    up, down = (float(measure.activation_time(sign * after, sign * level)) for sign in (1, -1))
    answered = float(after.max()) > 0 and down > up
    return float(first.APD), s2 - float(first.repolarisation), down - up if answered else np.nan


# ---- a sheet ------------------------------------------------------------------------------------


def explore_wave(field, x="time", probe=None):
    """A wave through time: the frame that the slider names, and the time course at an electrode that can be moved.

    Parameters
    ----------
    field : xr.DataArray
        One variable of a trajectory, dims (``x``, y, x).
    x : str
        Name of the time axis.
    probe : (int, int), optional
        Row and column of the electrode at the start; default: the middle.

    Returns
    -------
    ipywidgets.VBox

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> box = cep.explore_wave(trajectory.Vm, probe=(1, 1))
    >>> play, controls, line, picture, caption = box.children
    >>> controls.children[0].value = 43.0
    >>> line.value
    '43 ms: Vm 35 mV at the electrode'
    """
    field = _axes_of(field, "field", (x, "y", "x")).load()
    controls, play = _time_and_electrode(field, x, probe)
    values, times = figures.drawn(field), field[x].values
    low, high = np.nanmin(values), np.nanmax(values)
    fig, axes = figures.new(1, 2, height=2.7)
    left, right = axes[0]
    image = figures.draw_map(left, field[0], vmin=low, vmax=high)
    fig.colorbar(image, ax=left, label=figures.label_of(field), shrink=0.9)
    electrode = _electrode(left)
    (trace,) = right.plot(times, values[:, 0, 0], color=figures.look(field.name).get("color", "#0072B2"))
    cursor = right.axvline(times[0], color="#888888", linestyle="--")
    pad = 0.05 * (high - low or 1.0)
    right.set(xlabel=figures.label_of(field[x], x), ylabel=figures.label_of(field), ylim=(low - pad, high + pad))
    right.set_title("at the electrode")
    unit = figures.unit_of(field)

    def update(t, row, column):
        k = _nearest(times, t)
        image.set_data(values[k])
        electrode.set_data([field["x"][column]], [field["y"][row]])
        trace.set_ydata(values[:, row, column])
        cursor.set_xdata([times[k]] * 2)
        return f"{times[k]:g} ms: {field.name} {values[k, row, column]:.3g} {unit} at the electrode".replace("  ", " ")

    caption = "Left: the sheet at the chosen time. Right: the time course at the electrode, the red square."
    return _wired(controls, update, fig, [image, electrode, trace, cursor], caption, (play,))


def explore_forecast(truth, forecasts, probe=None):
    """Forecasts beside the truth by lead time: both sheets and their difference, an electrode, and the error's course.

    Parameters
    ----------
    truth : xr.DataArray
        One variable, dims (start, lead_time, y, x).
    forecasts : mapping of str to xr.DataArray
        Model name -> the same.
    probe : (int, int), optional
        Row and column of the electrode at the start; default: the middle.

    Returns
    -------
    ipywidgets.VBox

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> model = cep.surrogates.make("persistence").fit(trajectory)
    >>> truth = cep.forecast.futures(trajectory, [60.0, 70.0], 30)
    >>> forecast = cep.forecast.forecast(model, trajectory, [60.0, 70.0], 10, 30)
    >>> box = cep.explore_forecast(truth.Vm, {"persistence": forecast.Vm})
    >>> play, controls, line, picture, caption = box.children
    >>> [control.description for control in controls.children]
    ['forecast', 'start', 'lead time [ms]', 'electrode row', 'electrode column']
    """
    dims = ("start", "lead_time", "y", "x")
    if not isinstance(forecasts, Mapping) or not len(forecasts):
        raise ValueError('forecasts must hold at least one forecast, by name: {"lstm": forecast.Vm}')
    truth = _axes_of(truth, "truth", dims)
    fields = {name: _axes_of(field, f"forecasts[{name!r}]", dims) for name, field in forecasts.items()}
    for name, field in fields.items():
        if field.shape != truth.shape:
            raise ValueError(
                f"forecasts[{name!r}] has the shape {field.shape}, truth {truth.shape}; cut both to the same starts, "
                f"lead times and grid"
            )
    true, said = figures.drawn(truth), {name: figures.drawn(field) for name, field in fields.items()}
    times = truth.lead_time.values
    low, high = np.nanmin(true), np.nanmax(true)
    errors = {name: np.sqrt(((values - true) ** 2).mean((2, 3))) for name, values in said.items()}
    label = figures.label_of(truth)

    fig = plt.figure(figsize=(figures.WIDTH, 4.4), layout="constrained")
    upper, lower = fig.subfigures(2, 1)
    maps, (course, error) = upper.subplots(1, 3), lower.subplots(1, 2)
    frame = truth[0, 0]
    images = [figures.draw_map(ax, frame, vmin=low, vmax=high) for ax in maps[:2]]
    images.append(figures.draw_map(maps[2], frame, "difference", figures.MAPS["error"], 0.0, high - low))
    for ax in maps:
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        ax.spines[:].set_visible(False)
    upper.colorbar(images[1], ax=list(maps[:2]), label=label, shrink=0.9)
    upper.colorbar(images[2], ax=maps[2], label=f"absolute, {label}", shrink=0.9)
    maps[0].set_title(figures.MODELS["truth"][0])
    electrodes = [_electrode(ax) for ax in maps]
    (black,) = course.plot(times, true[0, :, 0, 0], **figures.look("truth"))
    (other,) = course.plot(times, true[0, :, 0, 0], linewidth=1.4)
    pad = 0.05 * (high - low or 1.0)
    course.set(xlabel="lead time [ms]", ylabel=label, ylim=(low - pad, high + pad), title="at the electrode")
    (rms,) = error.plot(times, true[0, :, 0, 0], linewidth=1.4)
    top = max(float(np.nanmax(e)) for e in errors.values())
    error.set(xlabel="lead time [ms]", ylabel=label, ylim=(0, 1.05 * top or 1.0), title="difference, RMS of the sheet")
    cursors = [ax.axvline(times[0], color="#888888", linestyle="--") for ax in (course, error)]
    unit = label.partition("[")[2].rstrip("]")
    names = {figures.MODELS.get(name, (name,))[0]: name for name in said}
    title = maps[1].set_title(max(names, key=len))

    def update(name, start, t, row, column):
        k, values = _nearest(times, t), said[name][start]
        look = {"color": "#0072B2", "linestyle": "-"} | figures.look(name)
        title.set_text(look["label"])
        for image, frame in zip(images, (true[start, k], values[k], abs(values[k] - true[start, k])), strict=True):
            image.set_data(frame)
        for electrode in electrodes:
            electrode.set_data([truth["x"][column]], [truth["y"][row]])
        black.set_ydata(true[start, :, row, column])
        other.set_ydata(values[:, row, column])
        rms.set_ydata(errors[name][start])
        for line in (other, rms):
            line.set(color=look["color"], linestyle=look["linestyle"])
        for cursor in cursors:
            cursor.set_xdata([times[k]] * 2)
        numbers = true[start, k, row, column], values[k, row, column], errors[name][start, k]
        here, there, away = (f"{number:.3g} {unit}" for number in numbers)
        return f"{times[k]:g} ms ahead: truth {here}, {look['label']} {there}; difference {away} (RMS of the sheet)"

    moving, play = _time_and_electrode(truth[0], "lead_time", probe)
    starts = [(f"{k + 1}: {s:g} ms", k) for k, s in enumerate(truth.start.values)]
    controls = {
        "name": w.Dropdown(options=names, description="forecast"),
        "start": w.SelectionSlider(options=starts, description="start"),
        **moving,
    }
    caption = "Above: truth, forecast, difference. Below: both at the red electrode, and the error by lead time."
    artists = [*images, *electrodes, title, black, other, rms, *cursors]
    return _wired(controls, update, fig, artists, caption, (play,))


# ---- the scorecard ------------------------------------------------------------------------------


def explore_scorecard(table=None):
    """The scorecard, one number of each model at a time: choose what, and on which test; the best stands on top.

    Parameters
    ----------
    table : pandas.DataFrame, optional
        As :func:`cepkit.bench.scorecard.kept_scorecard` gives it; default: that of the track ``paced``.

    Returns
    -------
    ipywidgets.VBox

    Examples
    --------
    >>> box = cep.explore_scorecard()
    >>> controls, line, picture, caption = box.children
    >>> what, test = controls.children
    >>> what.value, test.value = "missed activations [%]", "skipped"
    >>> line.value.partition(":")[0]
    'missed activations [%], skipped'
    """
    from cepkit import bench

    table = bench.kept_scorecard() if table is None else table
    missing = [name for name in bench.COLUMNS if name not in getattr(table, "columns", ())]
    if missing:
        raise ValueError(
            f"table lacks the columns {', '.join(missing)}; hand over what cep.bench.kept_scorecard returns"
        )
    tests = [name for name in dict.fromkeys(table.test) if name not in ("cost", "all")]
    table = table[table.test.isin(tests)].assign(variable=table.variable.fillna(""))
    shown = {k: v for k, v in SHOWN.items() if ((table.metric == v[0]) & (table.variable == v[1])).any()}
    if not shown:
        raise ValueError(f"table holds none of the metrics {', '.join(dict.fromkeys(m for m, _ in SHOWN.values()))}")
    models = list(dict.fromkeys(table.model))
    labels = {name: figures.MODELS.get(name, (name, "#0072B2"))[:2] for name in models}

    ranks = np.arange(len(models))
    fig, axes = figures.new(height=0.6 + 0.2 * len(models))
    ax = axes[0, 0]
    ax.set(ylim=(len(models) - 0.5, -0.5), xlabel=max(shown, key=len))
    ax.set_yticks(ranks, [""] * len(models))
    beside = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
    texts = [ax.text(-0.01, k, labels[name][0], **beside) for k, name in enumerate(models)]
    intervals = ax.hlines(ranks, 1, 1, linewidth=3.0, alpha=0.4)
    points = ax.scatter(np.ones(len(models)), ranks, s=30)

    def update(what, test):
        metric, variable = shown[what]
        rows = table[(table.metric == metric) & (table.variable == variable)]
        if test == MEDIAN:
            rows = rows.groupby("model")[["value"]].median().assign(low=np.nan, high=np.nan)
        else:
            rows = rows[rows.test == test].set_index("model")[["value", "low", "high"]]
        rows = rows.reindex(models).sort_values("value", key=abs, kind="stable")  # those without a number come last
        value, low, high = rows.values.T
        colours = [labels[name][1] for name in rows.index]
        known = value[np.isfinite(value)]
        ends = np.concatenate([known, low[np.isfinite(low)], high[np.isfinite(high)]])
        wide = len(ends) > 0 and ends.min() > 0
        ax.set_xscale("log" if wide else "linear")
        ax.minorticks_off()  # dozens of them, and as slow to draw as all the rest
        if len(ends):
            left, right = (np.log(ends) if wide else ends).min(), (np.log(ends) if wide else ends).max()
            pad = 0.04 * (right - left) or 0.5
            ax.set_xlim(*(np.exp([left - pad, right + pad]) if wide else (left - pad, right + pad)))
        ax.set_xlabel(what)
        for text, name in zip(texts, rows.index, strict=True):
            text.set_text(labels[name][0])
        points.set_offsets(np.column_stack([value, ranks]))
        points.set_facecolor(colours)
        intervals.set_segments([[(a, k), (b, k)] for k, (a, b) in enumerate(zip(low, high, strict=True))])
        intervals.set_color(colours)
        best = [f"{labels[name][0]} {number:.3g}" for name, number in rows.value.dropna().items()][:3]
        return f"{what}, {test}: {', '.join(best) or 'nobody has a number here'}" + (", ..." if best else "")

    controls = {
        "what": w.Dropdown(options=list(shown), description="what"),
        "test": w.Dropdown(options=[MEDIAN, *tests], description="test"),
    }
    caption = "One number of each model, the best on top; the bar is its interval."
    return _wired(controls, update, fig, [ax.xaxis, *texts, intervals, points], caption)
