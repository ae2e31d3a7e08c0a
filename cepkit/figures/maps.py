"""Maps of a sheet: one, several on one scale, and films."""

import base64
import html
import io

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from PIL import Image

from cepkit.figures.style import WIDTH, done, drawn, label_of, look, new

#: A perceptually uniform map for each kind of quantity.
MAPS = {"Vm": "viridis", "Cai": "magma", "CaSR": "magma", "CaSS": "magma", "time": "cividis", "error": "inferno"}


def draw_map(ax, field, title=None, cmap=None, vmin=None, vmax=None, contours=None):
    """Draw a field on (y, x) [mm] into axes, with lines at the levels ``contours``; hand back the image."""
    x, y, values = field["x"].values, field["y"].values, drawn(field.transpose("y", "x"))
    dx, dy = (np.diff(v).mean() / 2 if v.size > 1 else 0.5 for v in (x, y))
    extent = x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy  # pixels are centred on the nodes
    image = ax.imshow(values, cmap=cmap or MAPS.get(field.name, "viridis"), vmin=vmin, vmax=vmax, extent=extent)
    if contours is not None:
        ink = ["white" if c < np.mean(image.get_clim()) else "black" for c in contours]
        ax.clabel(ax.contour(x, y, values, levels=contours, colors=ink, linewidths=0.8), fontsize=7)
    ax.grid(False)
    ax.set(xlabel="x [mm]", ylabel="y [mm]", title=title)
    return image


def sheet(field, title=None):
    """One field on (y, x) with its colour bar."""
    fig, axes = new(height=2.88, width=3.6)
    image = draw_map(axes[0, 0], field, title)
    fig.colorbar(image, ax=axes, label=label_of(field), shrink=0.9)
    return done(fig)


def activation_map(when, step=2.0, title="activation time"):
    """Activation times [ms] with an isochrone every ``step`` ms; those of a dict side by side on one scale."""
    maps = when if isinstance(when, dict) else {title: when}
    low, high = min(float(m.min()) for m in maps.values()), max(float(m.max()) for m in maps.values())
    height, width = (5.8 / len(maps) + 0.2, WIDTH) if len(maps) > 1 else (2.9, 3.6)
    fig, axes = new(1, len(maps), height=height, width=width, sharey=True)
    for ax, (name, field) in zip(axes[0], maps.items(), strict=True):
        image = draw_map(ax, field, name, MAPS["time"], low, high, step * np.arange(low // step + 1, high / step))
        ax.label_outer()
    fig.colorbar(image, ax=axes, label=label_of(field), shrink=0.9)
    return done(fig)


def sheets(rows, times, columns=6, vmin=None, vmax=None, time="time"):
    """Fields by label, (``time``, y, x), at ``times`` [ms] on one scale, a row each; beyond ``columns`` below."""
    times = np.asarray(times, float)
    fields = {label: field.sel({time: times}, method="nearest") for label, field in rows.items()}
    first = next(iter(fields.values()))
    low = min(drawn(f).min() for f in fields.values()) if vmin is None else vmin
    high = max(drawn(f).max() for f in fields.values()) if vmax is None else vmax
    fig, axes = new(-(-len(times) // columns) * len(rows), min(columns, len(times)), WIDTH / (columns + 1) * 1.1)
    for ax in axes.flat:
        ax.axis("off")
    for k, t in enumerate(times):
        block, column = divmod(k, columns)
        for r, (label, field) in enumerate(fields.items()):
            ax = axes[block * len(rows) + r, column]
            image = draw_map(ax, field.isel({time: k}), None, MAPS.get(first.name, "viridis"), low, high)
            if r == 0:
                ax.set_title(f"{t:g} ms", fontsize=8)
            if column == 0:
                ax.axis("on")
                ax.set(xticks=[], yticks=[], xlabel=f"{np.ptp(ax.get_xlim()):.0f} mm" * (ax in axes[-1]), ylabel=label)
                plt.setp((ax.xaxis.label, ax.yaxis.label), fontsize=8)
                ax.spines[:].set_visible(False)
    many = len(axes) > 1
    fig.colorbar(image, ax=axes, label=label_of(first), shrink=0.8 if many else 1.0, aspect=30 if many else 15)
    return done(fig)


def forecast_frames(truth, forecasts, times, columns=6, time="lead_time"):
    """Frames of the truth above those of each model's forecast, on the scale of the truth (the paper's Figure 4)."""
    named = {look(key)["label"]: field for key, field in {"truth": truth, **forecasts}.items()}
    return sheets(named, times, columns, drawn(truth).min(), drawn(truth).max(), time)


def film(fields, times, alt, still, x="time", apart=None):
    """A looping film of one field on (``x``, y, x), or of several by label or model, side by side; 2 kB a frame.

    It shows the ``times`` [ms], 20 a second; on paper, and for those who want no motion, only ``still`` [ms].
    With ``apart`` a last panel has the second field less the first, up to so much.
    """
    named = fields if isinstance(fields, dict) else {"": fields}
    shown = [f.sel({x: np.asarray(times, float)}, method="nearest").transpose(x, "y", "x") for f in named.values()]
    low, high = min(drawn(f).min() for f in shown), max(drawn(f).max() for f in shown)
    looks = [(look(name)["label"], "viridis", low, high) for name in named]
    if apart:
        shown.append((shown[1] - shown[0].values).assign_attrs(shown[0].attrs))
        looks.append(("difference", "RdBu_r", -apart, apart))
    fig, axes = new(1, len(shown), height=2.5 if apart else 2.9, width=min(7.6, 0.4 + 2.7 * len(shown)), dpi=110)
    images = [draw_map(ax, f[0], *how) for ax, how, f in zip(axes[0], looks, shown, strict=True)]
    for ax in axes[0]:
        ax.axis("off")
    for k in range(len(named) - 1, len(shown)):
        fig.colorbar(images[k], ax=axes[0, k], label=label_of(shown[0]), shrink=0.9)
    clock = axes[0, 0].text(0, -0.03, "0000 ms", transform=axes[0, 0].transAxes, va="top", family="DejaVu Sans Mono")
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
    first.save(moving, "WEBP", save_all=True, append_images=others, duration=50, loop=0, quality=70)
    frame(int(np.abs(np.asarray(times, float) - still).argmin())).save(fixed, "PNG", optimize=True)
    plt.close(fig)
    webp, png = (base64.b64encode(data.getvalue()).decode() for data in (moving, fixed))
    return HTML(
        f'<picture class="cep-film"><source media="print, (prefers-reduced-motion: reduce)" '
        f'srcset="data:image/png;base64,{png}"><img src="data:image/webp;base64,{webp}" '
        f'width="{first.width}" height="{first.height}" alt="{html.escape(alt)}"></picture>'
    )
