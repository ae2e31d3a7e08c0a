"""Controls that need no kernel: in a page as HTML that carries its data, in JupyterLab as a widget of the same script.

They are native controls, so they work with the keyboard and with screen readers.
"""

import html
import json

import anywidget
import numpy as np
import traitlets
from IPython.display import HTML

from cepkit import figures
from cepkit.comparison import significant
from cepkit.page import colours, encoded, source

SYMBOLS = {"Vm": "Vm", "Cai": "Ca i", "CaSR": "Ca SR", "CaSS": "Ca SS"}
# Style and script of a sortable table, open at the end.
SORTING = f"<style>\n{source('tables.css')}</style><script>\n{source('tables.js')}"


class Control(anywidget.AnyWidget):
    """A control of ``js/widgets.js`` in JupyterLab."""

    kind = traitlets.Unicode().tag(sync=True)
    payload = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)  # single precision numbers
    _esm = source("widgets.js") + source("lab.js")
    _css = source("widgets.css")


def _html(kind, payload):
    """A :class:`Control` in a page."""
    text = html.escape(json.dumps(payload, separators=(",", ":")), quote=True)
    return HTML(
        f'<div class="cep-widget" data-kind="{kind}" data-payload="{text}">'
        f"<noscript>This control needs JavaScript; the figures around it do not.</noscript></div>"
        f"<style>{source('widgets.css')}</style><script>(() => {{\n{source('widgets.js')}}})();</script>"
    )


def _short(numbers):
    """Six digits are enough for an axis."""
    return [float(f"{number:.6g}") for number in numbers]


def _packed(values, kind):
    """Values scaled to all of an unsigned integer type, ``u1`` or ``u2``, with the range they stand for."""
    values = np.asarray(values, float)
    if not np.isfinite(values).all():
        raise ValueError("field holds a value that is not finite; a widget can draw finite values only")
    low, high = values.min(), values.max()
    steps = (values - low) / ((high - low) or 1.0) * np.iinfo(kind).max
    low, high = _short((low, high))
    return {"type": kind, "low": low, "high": high, "data": encoded(np.round(steps).astype(f"<{kind}"))}


def symbol_of(field):
    """The name of a variable in plain letters."""
    return SYMBOLS.get(field.name, str(field.attrs.get("long_name", field.name or "")))


def player(named, label, x, probe):
    """What ``js/widgets.js`` must know of fields by name, dims (..., ``x``, y, x), besides their values."""
    first = next(iter(named.values()))
    rows, columns = first.sizes["y"], first.sizes["x"]
    row, column = probe or (rows // 2, columns // 2)
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(f"probe={probe!r} lies outside the sheet; rows go to {rows - 1}, columns to {columns - 1}")
    own = {"color": "#0072B2", "linestyle": "-", "linewidth": 1.6} | figures.look(first.name)
    return {
        "label": label, "lines": [own | figures.look(name) for name in named], "probe": [int(row), int(column)],
        "time": x.replace("_", " "), "times": _short(first[x].values), "rows": rows, "columns": columns,
        "symbol": symbol_of(first), "unit": figures.unit_of(first),
        "map": colours(figures.MAPS.get(first.name, "viridis")),
    }  # fmt: skip


def sheet_player(fields, label="Membrane potential of the sheet", x="time", probe=(0, 0)):
    """A slider through time over one or more fields, with an electrode that can be moved, for a page.

    ``fields`` is a DataArray, or several by name, dims (``x``, y, x), of one variable on one grid; 1 byte a node
    and frame.  The electrode starts at the node ``probe`` (row, column).  A screen reader says ``label``.
    """
    named = fields if isinstance(fields, dict) else {"": fields}
    stack = [field.transpose(x, "y", "x") for field in named.values()]
    if any(field.shape != stack[0].shape for field in stack):
        raise ValueError(f"fields must share their frames and grid; their shapes are {[f.shape for f in stack]}")
    return _html("sheets", player(named, label, x, probe) | _packed([figures.drawn(f) for f in stack], "u1"))


def curve_explorer(curves, readout, label, choice_label, level_label, x="time"):
    """Choose a case and a level, see the curves (choice, level, ``x``) change, and below them ``readout``, a line each.

    Each variable gets a panel; the first level stays as a grey reference.
    """
    curves = curves.transpose("choice", "level", x)
    panels = [
        {"symbol": symbol_of(field), "unit": figures.unit_of(field), "color": "#0072B2"} | figures.look(name)
        | _packed(figures.drawn(field), "u2") for name, field in curves.data_vars.items()
    ]  # fmt: skip
    return _html("curves", {
        "label": label, "choiceLabel": choice_label, "levelLabel": level_label,
        "choices": [str(c) for c in curves["choice"].values], "levels": [str(v) for v in curves["level"].values],
        "x": _short(curves[x].values), "xLabel": f"{x} [{curves[x].attrs.get('units', 'ms')}]",
        "panels": panels, "readout": readout.transpose("choice", "level").values.tolist(),
    })  # fmt: skip


def sortable(table, label):
    """A pandas.DataFrame whose columns sort at a click (or Enter) on their heading; numbers get three digits."""
    return HTML(f"{_table(table, label)}{SORTING}</script>")


def table_explorer(tables, label):
    """One of several sortable tables, by name, chosen from a list; without JavaScript all of them are shown."""
    options = "".join(f"<option>{html.escape(name)}</option>" for name in tables)
    choice = f'<div class="cep-explorer"><label>{html.escape(label)} <select>{options}</select></label>'
    shown = "".join(_table(table, name) for name, table in tables.items())
    return HTML(f"{choice}{shown}</div>{SORTING}\n{source('choose.js')}</script>")


def _table(table, label):
    def cell(value):
        number = isinstance(value, int | float | np.number)
        text = {"nan": "–", "inf": "failed"}.get((t := significant(value)).lstrip("-"), t) if number else str(value)
        key = f' data-value="{value:.6g}"' if number and np.isfinite(value) else ""
        return f"<td{key}>{html.escape(text)}</td>"

    names = [table.index.name or "", *table.columns]
    head = "".join(f'<th scope="col"><button type="button">{html.escape(str(n))}</button></th>' for n in names)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(str(i))}</th>{"".join(map(cell, row))}</tr>'
        for i, row in zip(table.index, table.itertuples(index=False), strict=True)
    )
    return (
        f'<div class="cep-sortable"><table><caption>{html.escape(label)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
