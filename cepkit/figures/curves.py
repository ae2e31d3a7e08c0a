"""Curves: time courses, truth and forecasts, error against lead time."""

import matplotlib.pyplot as plt

from cepkit.figures.style import VARIABLES, done, drawn, label_of, look, new

ABOVE = {"loc": "outside upper center", "ncols": 99}  # a legend for all panels, in one line


def traces(panels, x="time"):
    """Time courses on ``x``, two panels a row, one for each field by its title."""
    panels = dict(panels)
    columns = min(2, len(panels))
    fig, axes = new(-(-len(panels) // columns), columns, height=1.9, sharex=True)
    for ax in axes.ravel()[len(panels) :]:
        ax.axis("off")
    for ax, (title, field) in zip(axes.ravel(), panels.items(), strict=False):
        ax.plot(field[x], drawn(field), **look(title if title in VARIABLES else field.name))
        ax.set(ylabel=label_of(field), title=None if title in VARIABLES else title)
    for ax in axes.ravel()[len(panels) - columns : len(panels)]:
        ax.set_xlabel(label_of(field[x], x))
        ax.tick_params(labelbottom=True)
    return done(fig)


def compare_traces(columns, variables=("Vm",), x="lead_time"):
    """Truth and forecasts ``columns[title][model]`` at single nodes (the paper's Figures 2, 3), a row a variable."""
    fig, axes = new(len(variables), len(columns), height=1.5 if len(variables) > 1 else 2.4, sharex="col", sharey="row")
    for column, (title, models) in zip(axes.T, columns.items(), strict=True):
        for ax, name in zip(column, variables, strict=True):
            for k, (key, series) in enumerate(models.items()):  # what has no look of its own is dashed above others
                ax.plot(series[x], drawn(series[name]), **{"linestyle": "-" if k < 2 else "--", **look(key)})
            if ax in axes[:, 0]:
                ax.set_ylabel(label_of(series[name]))
        column[0].set_title(title)
        column[-1].set_xlabel(label_of(series[x], x))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), **ABOVE)
    return done(fig)


def error_by_lead(errors, x="lead_time"):
    """Error of each model against lead time, a panel a variable: one score of ``cep.score(..., by_lead_time=True)``.

    The band holds the middle half of the starts; the line is 1, the z-score of the mean.
    """
    names = [str(v) for v in errors["variable"].values]
    fig, axes = new(-(-len(names) // 2), min(2, len(names)), height=2.2, sharex=True, sharey=True)
    for ax, name in zip(axes.ravel(), names, strict=False):
        for k, model in enumerate(errors["model"].values):
            series = errors.sel(model=model, variable=name)
            looks = {"color": f"C{k}", **look(str(model))}
            if "start" in series.dims:
                low, series, high = series.quantile([0.25, 0.5, 0.75], "start").transpose("quantile", x)
                ax.fill_between(series[x], low, high, color=looks["color"], alpha=0.2, linewidth=0)
            ax.plot(series[x], series, **looks)
        ax.axhline(1.0, color="#888888", linewidth=0.8)
        ax.set(yscale="log", title=VARIABLES.get(name, (name,))[0])
    plt.setp(axes[-1], xlabel=label_of(errors[x], x))
    plt.setp(axes[:, 0], ylabel=errors.attrs.get("long_name", str(errors.name or "error")))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), **ABOVE)
    return done(fig)
