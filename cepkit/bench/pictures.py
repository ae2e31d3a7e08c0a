"""The benchmark's standard pictures: free runs, the scorecard, accuracy against cost."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.transforms import Bbox

from cepkit.fields import THRESHOLD
from cepkit.figures.maps import MAPS
from cepkit.figures.style import VARIABLES, WIDTH, done, look, new
from cepkit.measure import activation_time


def free_run(truth, forecasts, start=0, nodes=((21, 21), (3, 3)), beat=None):
    """Free runs (start, lead_time, y, x) beside the truth: the potential at some nodes, and one activation map of each.

    ``nodes`` are (row, column), moved onto the sheet; the map is of the first wave after ``beat`` [ms], or of the last.
    """
    rows = {name: field.isel(start=start) for name, field in {"truth": truth, **forecasts}.items()}
    ny, nx = truth.sizes["y"], truth.sizes["x"]
    nodes = list(dict.fromkeys((min(row, ny - 1), min(column, nx - 1)) for row, column in nodes))
    height, has_maps = 1.7 * len(nodes), min(ny, nx) > 1
    fig = plt.figure(figsize=(WIDTH, height + (1.9 if has_maps else 0.3)), layout="constrained")
    upper, lower = fig.subfigures(2, 1, height_ratios=[height, 1.9]) if has_maps else (fig, None)
    axes = upper.subplots(len(nodes), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (row, column) in zip(axes, nodes, strict=True):
        for k, (name, field) in enumerate(rows.items()):  # of two forecasts on one line both are seen
            changed = {0: {"label": "solver"}, 2: {"linestyle": "--"}}.get(k, {})
            ax.plot(truth.lead_time.values, field.Vm.isel(y=row, x=column), **look(name) | changed)
        ax.set(ylabel="$V_m$ [mV]", title=f"node ({row}, {column})", ylim=(-100, 60))
    axes[-1].set_xlabel("lead time [ms]")
    axes[0].legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.15))
    if has_maps:
        _wave_maps(lower, rows, beat)
    return done(fig)


def _wave_maps(figure, rows, since, crossing=60.0):
    """When each node is next activated after the lead time ``since`` [ms], on one scale."""
    waves = {name: field.Vm.rename(lead_time="time") for name, field in rows.items()}
    if since is None:  # the last rest of the whole sheet before a wave that has time to cross it
        t, rests = waves["truth"].time.values, (waves["truth"].max(("y", "x")) < THRESHOLD).values
        before = t[:-1][rests[:-1] & ~rests[1:] & (t[:-1] < t[-1] - crossing)]
        since = before[-1] if len(before) else t[-1] - 700
    maps = {name: activation_time(Vm.sel(time=slice(since, None))) for name, Vm in waves.items()}
    first, last = float(maps["truth"].min()), float(maps["truth"].max())
    top = last - first if last > first else 25.0  # no wave in the truth: any scale will do
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for ax, (name, when) in zip(axes, maps.items(), strict=True):
        image = ax.imshow(when - first, cmap=MAPS["time"], vmin=0, vmax=top)
        ax.set_title("solver" if name == "truth" else look(name)["label"], fontsize=7)
        ax.set(xticks=[], yticks=[], xlabel=f"{float(np.ptp(when.x.values)):.0f} mm")
    figure.colorbar(image, ax=list(axes), label="after the truth's first\nactivation [ms]", shrink=0.8, extend="max")


def pivot(table, metric="z_mse", variable="Vm"):
    """One metric of a scorecard (:func:`cepkit.bench.kept_scorecard`), models by tests, both in its own order."""
    part = table[(table.metric == metric) & (table.variable == variable) & ~table.test.isin(["cost", "all"])]
    return part.pivot(index="model", columns="test", values="value").loc[part.model.unique(), part.test.unique()]


def scorecard(table, metric="z_mse", variables=tuple(VARIABLES)):
    """Every model of a scorecard on every test, one panel a variable: the darker, the smaller the error."""
    fig, axes = new(1, len(variables), height=4.6, sharey=True)
    for ax, variable in zip(axes[0], variables, strict=True):
        part = pivot(table, metric, variable)
        values = np.log10(np.clip(part.values.astype(float), 1e-7, 1e2))
        image = ax.imshow(values, cmap="viridis", vmin=-4, vmax=0.5, aspect="auto", origin="upper")
        ax.set_xticks(range(part.shape[1]), part.columns, rotation=90, fontsize=6)
        ax.set_yticks(range(part.shape[0]), [look(m)["label"] for m in part.index], fontsize=6)
        ax.set_title(VARIABLES.get(variable, (variable,))[0])
        ax.grid(False)
    fig.colorbar(image, ax=axes, label=f"log10 {metric}", shrink=0.6)
    return done(fig)


def accuracy_and_cost(rows, curve, full, error="error", cost="beat"):
    """Error of each row over the time of a beat [ms], and the solver's, by its settings: same history, full state."""
    fig, [[ax]] = new(height=4.6)
    for line, colour, what in ((full, "#A0A0A0", "full state"), (curve, "#000000", "state from the history")):
        for fixed, part in line.sort_values(cost).groupby(lambda setting: setting.startswith("dt")):  # or adaptive
            label = None if fixed else f"solver, {what}"
            ax.loglog(part[cost], part[error], "-o", color=colour, markersize=4, zorder=3, label=label)
    ax.legend(loc="lower left")
    points = [(row[cost], row[error], setting) for setting, row in curve.iterrows()]
    for name, row in rows.iterrows():
        looks = look(name)
        ax.loglog(row[cost], row[error], "s", color=looks.get("color", "#0072B2"))
        points.append((row[cost], row[error], looks["label"]))
    ax.set(xlabel="time of one beat [ms]", ylabel="z-MSE of $V_m$", xmargin=0.2)
    fig.canvas.draw()
    _label(ax, points)
    return done(fig)


def _label(ax, points, size=7):
    """Write a label beside each point (x, y, label), each in the free place nearest to it."""
    at = ax.transData.transform([(x, y) for x, y, _ in points]) / (ax.figure.dpi / 72)  # in typographic points
    taken = [Bbox.from_extents(x - 3, y - 3, x + 3, y + 3) for x, y in at]
    # On the right before the left, and the lower the shift the better.
    places = sorted(((left, dy) for left in (False, True) for dy in range(-60, 61, 3)), key=lambda p: abs(p[1]) + p[0])
    for (x, y), (x0, y0, label) in zip(at, points, strict=True):
        width = 0.6 * size * len(label)
        for left, dy in places:
            dx = -5 - width if left else 5
            box = Bbox.from_bounds(x + dx, y + dy - size / 2, width, size)
            if not box.count_overlaps(taken):
                break
        taken.append(box)
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "#888888"} if abs(dy) > 6 else None
        ax.annotate(label, (x0, y0), (dx, dy), textcoords="offset points", fontsize=size, va="center", arrowprops=line)
