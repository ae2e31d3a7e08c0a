"""Every plot of the book: one typeface, one colour for each variable and each model, units on every axis.

Functions take labelled data and hand back a closed :class:`matplotlib.figure.Figure`, so that a notebook shows it
once, as the value of its cell.
"""

import base64
import html
import io

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from IPython.display import HTML
from PIL import Image

#: What is drawn for each variable: label, unit, factor from stored to drawn unit, colour (Okabe and Ito's).
VARIABLES = {
    "Vm": ("$V_m$", "mV", 1.0, "#0072B2"),
    "Cai": ("$Ca_i$", "µM", 1e3, "#D55E00"),
    "CaSR": ("$Ca_{SR}$", "mM", 1.0, "#009E73"),
    "CaSS": ("$Ca_{SS}$", "mM", 1.0, "#CC79A7"),
}
#: Label, colour and line style of each model; the truth is black and the opponents that cost nothing are dashed.
MODELS = {
    "truth": ("golden standard", "#000000", "-"),
    "lstm": ("LSTM", "#E69F00", "-"),
    "neural_ode": ("Neural ODE", "#56B4E9", "-"),
    "persistence": ("persistence", "#999999", ":"),
    "last_beat": ("copy last beat", "#882255", "--"),
    "climatology": ("climatology", "#117733", "-."),
    "nearest_beat": ("nearest beat", "#AA4499", "--"),
    "pod_galerkin": ("POD-Galerkin", "#332288", "-"),
    "pod_deim": ("POD-DEIM", "#6699CC", "-"),
    "pod_regression": ("POD regression", "#44AA99", "-"),
    "latent_dynamics": ("latent dynamics", "#D55E00", "-"),
    "physics_augmented": ("physics plus correction", "#999933", "-"),
    "neural_ode_stimulus": ("Neural ODE with stimulus", "#0072B2", "-"),
    "lstm_stimulus": ("LSTM with stimulus", "#CC6600", "--"),
    "esn": ("echo state network", "#CC79A7", "-"),
    "nvar": ("NVAR", "#AA7744", "-"),
    "conv_lstm": ("ConvLSTM", "#661100", "-"),
    "dmd_control": ("DMD with control", "#777777", "-"),
    "solver_coarse": ("coarse solver", "#555555", "-."),
    "paced": ("paced network", "#009E73", "-"),
}
#: A perceptually uniform map for each kind of quantity.
MAPS = {"Vm": "viridis", "Cai": "magma", "CaSR": "magma", "CaSS": "magma", "time": "cividis", "error": "inferno"}
WIDTH = 7.0  # inches: the text column
_profile = None


def style(profile=None):
    """Set the book's style; ``profile`` is then named in the corner of every figure.

    Examples
    --------
    >>> cep.figures.style("laptop")
    """
    global _profile
    _profile = profile
    plt.rcParams.update({
        "font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "font.size": 9, "axes.titlesize": 9,
        "legend.fontsize": 8, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "lines.linewidth": 1.6, "figure.dpi": 160, "savefig.dpi": 160, "figure.facecolor": "white",
        "image.origin": "lower", "image.interpolation": "nearest", "axes.prop_cycle": plt.cycler(color=[
            "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]),
    })  # fmt: skip


def new(rows=1, columns=1, height=2.4, width=WIDTH, **kwargs):
    """A figure and its array of axes (rows, columns), ``height`` inches a row.

    Examples
    --------
    >>> fig, axes = cep.figures.new(2, 3)
    >>> axes.shape
    (2, 3)
    >>> figure = cep.figures.done(fig)
    """
    return plt.subplots(rows, columns, figsize=(width, height * rows), layout="constrained", squeeze=False, **kwargs)


def done(fig):
    """Name the profile on the figure and close it, so that it is shown once.

    Examples
    --------
    >>> fig, axes = cep.figures.new()
    >>> figure = cep.figures.done(fig)
    """
    if _profile:
        fig.supxlabel(f"profile: {_profile}", x=0.995, ha="right", fontsize=6, color="#888888")
    plt.close(fig)
    return fig


def label_of(field, name=None):
    """Axis label of a DataArray, ``symbol [unit]``.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> cep.figures.label_of(trajectory.Vm)
    '$V_m$ [mV]'
    """
    name = name or field.name
    if name in VARIABLES:
        return "{} [{}]".format(*VARIABLES[name][:2])
    text, unit = field.attrs.get("long_name", name or ""), field.attrs.get("units")
    text = str(text).replace("_", " ")
    return f"{text} [{unit}]" if unit else text


def _unit(field):
    """Unit of a DataArray as it is drawn."""
    return VARIABLES[field.name][1] if field.name in VARIABLES else field.attrs.get("units", "")


def drawn(field):
    """Values in the unit they are drawn in.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> round(float(cep.figures.drawn(trajectory.Cai).max()), 2)  # µM
    1.0
    """
    return np.asarray(field.values, float) * (VARIABLES[field.name][2] if field.name in VARIABLES else 1.0)


def _line(key):
    """Label, colour and line style of a series named after a model or a variable, or of any other."""
    if key in MODELS:
        label, colour, line = MODELS[key]
        # The truth is a broad line below: what agrees with it lies inside it.
        under = {"linewidth": 3.0, "zorder": 1.9} if key == "truth" else {"linewidth": 1.4}
        return {"label": label, "color": colour, "linestyle": line, **under}
    return {"label": key, "color": VARIABLES[key][3]} if key in VARIABLES else {"label": key}


# ---- maps of a sheet ----------------------------------------------------------------------------


def _edges(field):
    """Extent of an image whose pixels are centred on the nodes [mm]."""
    x, y = field["x"].values, field["y"].values
    dx, dy = (np.diff(v).mean() / 2 if v.size > 1 else 0.5 for v in (x, y))
    return x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy


def sheet(field, title=None, cmap=None, vmin=None, vmax=None, contours=None, width=3.6):
    """One map with its colour bar.

    Parameters
    ----------
    field : xr.DataArray
        Dims (y, x) with coordinates [mm].
    cmap : str, optional
        Default by the field's name.
    contours : array, optional
        Levels of contour lines.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> figure = cep.figures.sheet(trajectory.Vm.sel(time=43))
    """
    fig, axes = new(height=width * 0.8, width=width)
    image = _map(axes[0, 0], field, title, cmap, vmin, vmax, contours)
    fig.colorbar(image, ax=axes, label=label_of(field), shrink=0.9)
    return done(fig)


def _map(ax, field, title=None, cmap=None, vmin=None, vmax=None, contours=None):
    field = field.transpose("y", "x")
    values = drawn(field)
    cmap = cmap or MAPS.get(field.name, "viridis")
    image = ax.imshow(values, cmap=cmap, vmin=vmin, vmax=vmax, extent=_edges(field))
    if contours is not None:
        lines = ax.contour(field["x"], field["y"], values, levels=contours, colors="white", linewidths=0.8)
        ax.clabel(lines, fontsize=6)
    ax.grid(False)
    ax.set(xlabel="x [mm]", ylabel="y [mm]", title=title)
    return image


def activation_map(when, step=2.0, title="activation time", width=3.6):
    """Activation times with an isochrone every ``step`` ms.

    Parameters
    ----------
    when : xr.DataArray or dict of str to xr.DataArray
        Activation time [ms], dims (y, x); a dict gives maps side by side on one scale.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> figure = cep.figures.activation_map(cep.measure.activation_time(trajectory.Vm), step=1.0)
    """
    maps = when if isinstance(when, dict) else {title: when}
    vmax = max(float(m.max()) for m in maps.values())
    many = len(maps) > 1
    fig, axes = new(
        1, len(maps), height=5.8 / max(2, len(maps)) + 0.2 * many, width=WIDTH if many else width, sharey=True
    )
    for ax, (name, field) in zip(axes[0], maps.items(), strict=True):
        image = _map(ax, field, name, MAPS["time"], 0.0, vmax, np.arange(step, vmax, step))
        ax.label_outer()
    fig.colorbar(image, ax=axes, label=label_of(field), shrink=0.9)
    return done(fig)


def sheets(rows, times, columns=6, vmin=None, vmax=None, time="time"):
    """Frames of one or more fields on one colour scale, a row for each field.

    Parameters
    ----------
    rows : dict of str to xr.DataArray
        Label -> field with dims (time, y, x); they share the variable and the grid.
    times : sequence of float
        [ms]; with more than ``columns`` of them the rows are repeated below.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> figure = cep.figures.sheets({"toy": trajectory.Vm}, times=[41, 43, 45], columns=3)
    """
    times = np.asarray(times, float)
    fields = {label: field.sel({time: times}, method="nearest") for label, field in rows.items()}
    first = next(iter(fields.values()))
    low = min(drawn(f).min() for f in fields.values()) if vmin is None else vmin
    high = max(drawn(f).max() for f in fields.values()) if vmax is None else vmax
    blocks = -(-len(times) // columns)
    fig, axes = new(blocks * len(rows), min(columns, len(times)), height=WIDTH / (columns + 1) * 1.1)
    for ax in axes.ravel():
        ax.axis("off")
    for k, t in enumerate(times):
        block, column = divmod(k, columns)
        for r, (label, field) in enumerate(fields.items()):
            ax = axes[block * len(rows) + r, column]
            frame = field.isel({time: k}).transpose("y", "x")
            cmap = MAPS.get(first.name, "viridis")
            image = ax.imshow(drawn(frame), cmap=cmap, vmin=low, vmax=high, extent=_edges(frame))
            if r == 0:
                ax.set_title(f"{t:g} ms", fontsize=8)
            if column == 0:
                ax.axis("on")
                ax.set(xticks=[], yticks=[])
                ax.set_ylabel(label, fontsize=8)
                ax.spines[:].set_visible(False)
    many = len(axes) > 1
    fig.colorbar(image, ax=axes, label=label_of(first), shrink=0.8 if many else 1.0, aspect=30 if many else 15)
    return done(fig)


def forecast_frames(truth, forecasts, times, columns=6, time="lead_time"):
    """Frames of the truth above those of the forecasts, one colour scale (the paper's Figure 4).

    Parameters
    ----------
    truth : xr.DataArray
        One variable, dims (``time``, y, x).
    forecasts : dict of str to xr.DataArray
        Model name -> the same.
    times : sequence of float
        [ms]

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> model = cep.surrogates.make("persistence").fit(trajectory)
    >>> truth = cep.forecast.futures(trajectory, [60.0], 30).isel(start=0)
    >>> forecast = cep.forecast.forecast(model, trajectory, [60.0], 10, 30).isel(start=0)
    >>> figure = cep.figures.forecast_frames(truth.Vm, {"persistence": forecast.Vm}, times=[1, 10, 20], columns=3)
    """
    low, high = drawn(truth).min(), drawn(truth).max()
    named = {MODELS.get(key, (key,))[0]: field for key, field in {"truth": truth, **forecasts}.items()}
    return sheets(named, times, columns, low, high, time)


def film(fields, times, alt, still, x="time", rate=20):
    """Several fields side by side in one looping animation, with a still for paper and for those who want no motion.

    Parameters
    ----------
    fields : xr.DataArray or dict of str to xr.DataArray
        Dims (``x``, y, x) of one variable on one grid; names of models get their label.
    times : sequence of float
        The frames [ms].
    alt : str
        What is to be seen, for those who do not see it.
    still : float
        The frame [ms] that stands for the film.
    rate : float
        Frames a second.

    Returns
    -------
    IPython.display.HTML
        About 2 kB a frame.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> times = trajectory.time.values[:4]
    >>> "<picture" in cep.figures.film(trajectory.Vm, times, "A made-up beat.", still=times[0]).data
    True
    """
    named = fields if isinstance(fields, dict) else {"": fields}
    shown = [f.sel({x: np.asarray(times, float)}, method="nearest").transpose(x, "y", "x") for f in named.values()]
    low, high = min(drawn(f).min() for f in shown), max(drawn(f).max() for f in shown)
    fig, axes = new(1, len(shown), height=2.9, width=0.4 + 2.7 * len(shown))
    images = [_map(ax, f[0], MODELS.get(name, (name,))[0], vmin=low, vmax=high)
              for ax, name, f in zip(axes[0], named, shown, strict=True)]  # fmt: skip
    for ax in axes[0]:
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        ax.spines[:].set_visible(False)
    fig.colorbar(images[-1], ax=axes, label=label_of(shown[0]), shrink=0.9)
    clock = axes[0, 0].text(0, -0.03, "0000 ms", transform=axes[0, 0].transAxes, va="top", family="DejaVu Sans Mono")
    fig.set_dpi(110)
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # from here on nothing moves but the wave

    def frame(k):
        for image, field in zip(images, shown, strict=True):
            image.set_data(drawn(field[k]))
        clock.set_text(f"{times[k]:4.0f} ms")
        fig.canvas.draw()
        return Image.fromarray(np.asarray(fig.canvas.buffer_rgba())[..., :3].copy())

    moving, fixed = io.BytesIO(), io.BytesIO()
    first, *others = map(frame, range(len(times)))
    first.save(moving, "WEBP", save_all=True, append_images=others, duration=round(1000 / rate), loop=0, quality=70)
    frame(int(np.abs(np.asarray(times, float) - still).argmin())).save(fixed, "PNG", optimize=True)
    plt.close(fig)
    webp, png = (base64.b64encode(data.getvalue()).decode() for data in (moving, fixed))
    return HTML(
        f'<picture class="cep-film"><source media="print, (prefers-reduced-motion: reduce)" '
        f'srcset="data:image/png;base64,{png}"><img src="data:image/webp;base64,{webp}" '
        f'width="{first.width}" height="{first.height}" alt="{html.escape(alt)}"></picture>'
    )


# ---- curves -------------------------------------------------------------------------------------


def traces(panels, columns=2, height=1.9, x="time", **kwargs):
    """Time courses, one panel for each entry.

    Parameters
    ----------
    panels : xr.Dataset, or dict of str to (xr.DataArray or dict of str to xr.DataArray)
        Each DataArray has the one dim ``x``.  A dict inside names several lines of a panel; names of models and
        variables get their own colour.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> figure = cep.figures.traces(trajectory.isel(y=0, x=0))
    """
    if isinstance(panels, xr.Dataset):
        panels = {name: panels[name] for name in panels.data_vars}
    columns = min(columns, len(panels))
    fig, axes = new(-(-len(panels) // columns), columns, height=height, sharex=True, **kwargs)
    for ax in axes.ravel()[len(panels) :]:
        ax.axis("off")
    for ax, (title, lines) in zip(axes.ravel(), panels.items(), strict=False):
        many = isinstance(lines, dict)
        for key, field in (lines if many else {title: lines}).items():
            look = _line(key if many or key in VARIABLES else field.name)
            ax.plot(field[x], drawn(field), **look)
        ax.set(ylabel=label_of(field), title=None if title in VARIABLES else title)
        if many and len(lines) > 1:
            ax.legend()
    shown = min(columns, len(panels))
    for ax in axes.ravel()[len(panels) - shown : len(panels)]:
        ax.set_xlabel(label_of(field[x], x))
        ax.tick_params(labelbottom=True)
    return done(fig)


def compare_traces(columns, variables=("Vm",), x="lead_time"):
    """Truth and forecasts at single nodes (the paper's Figures 2 and 3): a row a variable, a column a case.

    Parameters
    ----------
    columns : dict of str to dict of str to xr.Dataset
        Title of a column (a node, a start) -> model name -> series with the one dim ``x``.
    variables : sequence of str

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> node = cep.forecast.futures(trajectory, [60.0], 40).isel(start=0, y=0, x=0)
    >>> figure = cep.figures.compare_traces({"one start": {"truth": node, "persistence": node}})
    """
    fig, axes = new(len(variables), len(columns), height=1.5 if len(variables) > 1 else 2.4, sharex="col", sharey="row")
    for column, (title, models) in zip(axes.T, columns.items(), strict=True):
        for ax, name in zip(column, variables, strict=True):
            for key, series in models.items():
                ax.plot(series[x], drawn(series[name]), **_line(key))
            if ax in axes[:, 0]:
                ax.set_ylabel(label_of(series[name]))
        column[0].set_title(title)
        column[-1].set_xlabel(label_of(series[x], x))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return done(fig)


def error_by_lead(errors, reference=1.0, x="lead_time"):
    """Error against lead time for each model, a panel a variable; the band holds the middle half of the starts.

    Parameters
    ----------
    errors : xr.DataArray
        Dims (model, variable, start, lead_time), as ``score(..., by_lead_time=True)`` gives it; start is optional.
    reference : float or None
        A horizontal line: for z-scores, 1 is the error of forecasting the mean.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> model = cep.surrogates.make("persistence").fit(trajectory)
    >>> forecasts = {"persistence": cep.forecast.forecast(model, trajectory, [60.0, 80.0], 10, 30)}
    >>> scaling = cep.dataset.Scaling.fit(trajectory)
    >>> errors = cep.score(forecasts, trajectory, scaling, by_lead_time=True).z_mse
    >>> figure = cep.figures.error_by_lead(errors.clip(1e-6))
    """
    names = [str(v) for v in errors["variable"].values]
    fig, axes = new(-(-len(names) // 2), min(2, len(names)), height=2.2, sharex=True, sharey=True)
    for ax, name in zip(axes.ravel(), names, strict=False):
        for k, model in enumerate(errors["model"].values):
            series = errors.sel(model=model, variable=name)
            look = {"color": f"C{k}", **_line(str(model))}
            if "start" in series.dims:
                low, middle, high = series.quantile([0.25, 0.5, 0.75], "start").transpose("quantile", x)
                ax.fill_between(series[x], low, high, color=look["color"], alpha=0.2, linewidth=0)
                series = middle
            ax.plot(series[x], series, **look)
        if reference is not None:
            ax.axhline(reference, color="#888888", linewidth=0.8)
        ax.set(yscale="log", title=VARIABLES[name][0] if name in VARIABLES else name)
    for ax in axes[-1]:
        ax.set_xlabel(label_of(errors[x], x))
    for ax in axes[:, 0]:
        ax.set_ylabel(errors.attrs.get("long_name", str(errors.name or "error")))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return done(fig)


# ---- the benchmark's standard picture -----------------------------------------------------------


def free_run(truth, forecasts, start=0, nodes=((21, 21), (3, 3)), beat=None):
    """Free runs beside the truth: the potential at two nodes, and one activation map of each.

    Parameters
    ----------
    truth : xr.Dataset
        Dims (start, lead_time, y, x).
    forecasts : dict of str to xr.Dataset
    start : int
        Which start.
    nodes : sequence of (int, int)
        Row and column; on a sheet of one node both are that node.
    beat : float, optional
        Lead time [ms] from which the next wave is mapped; default: just before the last wave of the truth.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> track = cep.bench.make_track("paced", "smoke")  # doctest: +SKIP
    >>> truth, forecasts = cep.bench.showcase(track, ["persistence"])  # doctest: +SKIP
    >>> cep.figures.free_run(truth, forecasts)  # doctest: +SKIP
    """
    rows = {"truth": truth.isel(start=start), **{name: f.isel(start=start) for name, f in forecasts.items()}}
    t = truth.lead_time.values
    shape = truth.sizes["y"], truth.sizes["x"]
    nodes = [tuple(min(k, n - 1) for k, n in zip(node, shape, strict=True)) for node in nodes]
    nodes = list(dict.fromkeys(nodes))
    fig = plt.figure(figsize=(WIDTH, 1.7 * len(nodes) + (1.9 if min(shape) > 1 else 0.3)), layout="constrained")
    upper, lower = fig.subfigures(2, 1, height_ratios=[1.7 * len(nodes), 1.9]) if min(shape) > 1 else (fig, None)
    axes = np.atleast_1d(upper.subplots(len(nodes), 1, sharex=True))
    for ax, (row, column) in zip(axes, nodes, strict=True):
        for name, field in rows.items():
            ax.plot(t, field.Vm.isel(y=row, x=column), **_line(name))
        ax.set(ylabel="$V_m$ [mV]", title=f"node ({row}, {column})", ylim=(-100, 60))
    axes[-1].set_xlabel("lead time [ms]")
    axes[0].legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.15))
    if lower is not None:
        _wave_maps(lower, rows, _last_rest(rows["truth"].Vm) if beat is None else beat)
    return done(fig)


def _last_rest(Vm, crossing=60.0):
    """The last lead time at which the whole sheet rests before a wave that has time to cross it [ms]."""
    t, rests = Vm.lead_time.values, (Vm.max(("y", "x")) < -40).values
    before = t[:-1][rests[:-1] & ~rests[1:]]
    before = before[before < t[-1] - crossing]
    return before[-1] if len(before) else t[-1] - 700


def _wave_maps(figure, rows, since):
    """When each node is next activated after a lead time, on one scale."""
    from cepkit.figures.measure import activation_time

    maps = {}
    for name, field in rows.items():
        Vm = field.Vm.sel(lead_time=slice(since, None)).rename(lead_time="time")
        maps[name] = activation_time(Vm)
    zero = float(maps["truth"].min())
    top = float(maps["truth"].max()) - zero
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for ax, (name, when) in zip(axes, maps.items(), strict=True):
        field = (when - zero).rename("activation_time")
        image = ax.imshow(field, cmap=MAPS["time"], vmin=0, vmax=top if np.isfinite(top) and top > 0 else 25)
        ax.set(title=MODELS.get(name, (name,))[0], xticks=[], yticks=[])
        ax.title.set_fontsize(7)
        ax.grid(False)
    figure.colorbar(image, ax=list(axes), label="activated [ms]", shrink=0.8)


def scorecard(table, metric="z_mse", variables=("Vm", "Cai", "CaSR", "CaSS")):
    """Every model on every test, one panel a variable: the darker, the smaller the error.

    Parameters
    ----------
    table : pandas.DataFrame
        A scorecard; see :func:`cepkit.bench.scorecard.evaluate`.

    Examples
    --------
    >>> figure = cep.figures.scorecard(cep.bench.kept_scorecard("paced"))
    """
    from cepkit.figures.benchmark import pivot

    fig, axes = new(1, len(variables), height=4.6, sharey=True)
    for ax, variable in zip(axes[0], variables, strict=True):
        part = pivot(table, metric, variable)
        values = np.log10(np.clip(part.values.astype(float), 1e-7, 1e2))
        image = ax.imshow(values, cmap="viridis", vmin=-4, vmax=0.5, aspect="auto", origin="upper")
        ax.set_xticks(range(part.shape[1]), part.columns, rotation=90, fontsize=6)
        ax.set_yticks(range(part.shape[0]), [MODELS.get(m, (m,))[0] for m in part.index], fontsize=6)
        ax.set_title(VARIABLES[variable][0] if variable in VARIABLES else variable)
        ax.grid(False)
    fig.colorbar(image, ax=axes, label=f"log10 {metric}", shrink=0.6)
    return done(fig)


def accuracy_and_cost(rows, curve, error="error", cost="beat"):
    """Error of each model over the time that one beat takes, with the solver's own curve drawn in.

    Parameters
    ----------
    rows : pandas.DataFrame
        Index: models; columns ``error`` and ``cost`` [ms].
    curve : pandas.DataFrame
        The same for the solver; the index says its setting.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"error": [0.1], "beat": [20.0]}, index=["lstm"])
    >>> curve = pd.DataFrame({"error": [1e-3, 1e-2], "beat": [90.0, 30.0]}, index=["dt 0.02 ms", "dt 0.1 ms"])
    >>> figure = cep.figures.accuracy_and_cost(rows, curve)
    """
    fig, axes = new(height=4.6, width=WIDTH)
    ax = axes[0, 0]
    curve = curve.sort_values(cost)
    ax.loglog(curve[cost], curve[error], "-o", color="#000000", markersize=4, zorder=3)
    points = [(row[cost], row[error], setting) for setting, row in curve.iterrows()]
    for name, row in rows.iterrows():
        label, colour, _ = MODELS.get(name, (name, "#0072B2", "-"))
        ax.loglog(row[cost], row[error], "s", color=colour)
        points.append((row[cost], row[error], label))
    ax.set(xlabel="time of one beat [ms]", ylabel="z-MSE of $V_m$")
    ax.margins(x=0.2)
    fig.canvas.draw()
    _label(ax, points)
    return done(fig)


def _label(ax, points, size=7):
    """Write a label beside each point (x, y, label), each in the free place nearest to it."""
    unit = ax.figure.dpi / 72  # pixels a typographic point
    at = ax.transData.transform([(x, y) for x, y, _ in points]) / unit
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in at]
    places = sorted(
        ((dx, dy) for dx in (5, None) for dy in range(-60, 61, 3)), key=lambda p: abs(p[1]) + (p[0] is None)
    )
    for (x, y), (x0, y0, label) in zip(at, points, strict=True):
        width = 0.6 * size * len(label)
        for dx, dy in places:
            left = x + (dx if dx is not None else -5 - width)
            box = (left, y + dy - size / 2, left + width, y + dy + size / 2)
            if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                break
        taken.append(box)
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "#888888"} if abs(dy) > 6 else None
        ax.annotate(label, (x0, y0), xytext=(left - x, dy), textcoords="offset points", fontsize=size, va="center",
                    arrowprops=line)  # fmt: skip


draw_map, look, unit_of = _map, _line, _unit
