"""Curves: time courses, truth and forecasts, error against lead time."""

import matplotlib.pyplot as plt

from cepkit.figures.style import VARIABLES, done, drawn, label_of, look, new

ABOVE = {"loc": "outside upper center", "ncols": 99}  # a legend for all panels, in one line


def traces(panels, columns=2, height=1.9, x="time", **kwargs):
    """Time courses on ``x``, a panel for each entry; an entry that is a dict draws several lines in its panel."""
    panels = dict(panels)
    columns = min(columns, len(panels))
    fig, axes = new(-(-len(panels) // columns), columns, height=height, sharex=True, **kwargs)
    for ax in axes.ravel()[len(panels) :]:
        ax.axis("off")
    for ax, (title, lines) in zip(axes.ravel(), panels.items(), strict=False):
        many = isinstance(lines, dict)
        for key, field in (lines if many else {title: lines}).items():
            ax.plot(field[x], drawn(field), **look(key if many or key in VARIABLES else field.name))
        ax.set(ylabel=label_of(field), title=None if title in VARIABLES else title)
        if many and len(lines) > 1:
            ax.legend()
    for ax in axes.ravel()[len(panels) - columns : len(panels)]:
        ax.set_xlabel(label_of(field[x], x))
        ax.tick_params(labelbottom=True)
    return done(fig)


def compare_traces(columns, variables=("Vm",), x="lead_time"):
    """Truth and forecasts ``columns[title][model]`` at single nodes (the paper's Figures 2, 3), a row a variable."""
    fig, axes = new(len(variables), len(columns), height=1.5 if len(variables) > 1 else 2.4, sharex="col", sharey="row")
    for column, (title, models) in zip(axes.T, columns.items(), strict=True):
        for ax, name in zip(column, variables, strict=True):
            for key, series in models.items():
                ax.plot(series[x], drawn(series[name]), **look(key))
            if ax in axes[:, 0]:
                ax.set_ylabel(label_of(series[name]))
        column[0].set_title(title)
        column[-1].set_xlabel(label_of(series[x], x))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), **ABOVE)
    return done(fig)


def error_by_lead(errors, reference=1.0, x="lead_time"):
    """Error of each model against lead time, a panel a variable: one score of ``cep.score(..., by_lead_time=True)``.

    The band holds the middle half of the starts; the line is the ``reference``.
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
        if reference is not None:
            ax.axhline(reference, color="#888888", linewidth=0.8)
        ax.set(yscale="log", title=VARIABLES.get(name, (name,))[0])
    plt.setp(axes[-1], xlabel=label_of(errors[x], x))
    plt.setp(axes[:, 0], ylabel=errors.attrs.get("long_name", str(errors.name or "error")))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), **ABOVE)
    return done(fig)
