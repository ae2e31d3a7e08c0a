"""Sliders without a kernel, for the rendered page; :mod:`cepkit.page.explore` has the live ones for JupyterLab.

Each carries its data and some plain JavaScript in one HTML output: no server, no network.  They are native controls,
so they work with the keyboard and with screen readers.
"""

import base64
import html
import json

import matplotlib
import numpy as np
from IPython.display import HTML

from cepkit import figures


def _packed(values, dtype):
    """Values scaled to all of an unsigned integer type and written as base64, with the range they stand for."""
    values = np.asarray(values, float)
    if not np.all(np.isfinite(values)):
        raise ValueError("field holds a value that is not finite; a widget can draw finite values only")
    low, high = float(values.min()), float(values.max())
    steps = (values - low) / ((high - low) or 1.0) * np.iinfo(dtype).max
    data = np.round(steps).astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    return {"data": base64.b64encode(data).decode(), "low": float(f"{low:.6g}"), "high": float(f"{high:.6g}")}


def _html(kind, payload):
    text = html.escape(json.dumps(payload, separators=(",", ":")), quote=True)
    return HTML(
        f'<div class="cep-widget" data-kind="{kind}" data-payload="{text}">'
        f"<noscript>This control needs JavaScript; the figures around it do not.</noscript></div>"
        f"<style>{_CSS}</style><script>{_JS}</script>"
    )


def sheet_player(fields, label="Membrane potential of the sheet", x="time", probe=(0, 0)):
    """A slider through time over one or more fields, with a movable electrode.

    Parameters
    ----------
    fields : xr.DataArray or dict of str to xr.DataArray
        Dims (``x``, y, x) of one variable on one grid; names of models get their colour and label.
    label : str
        What a screen reader calls the widget.
    x : str
        Name of the time axis.
    probe : (int, int)
        Node (row, column) at which the electrode starts.

    Returns
    -------
    IPython.display.HTML
        About 1 byte a node and frame: thin out long trajectories first.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> type(cep.page.widgets.sheet_player(trajectory.Vm, probe=(1, 1))).__name__
    'HTML'
    """
    named = fields if isinstance(fields, dict) else {"": fields}
    stack = [f.transpose(x, "y", "x") for f in named.values()]
    if any(f.shape != stack[0].shape for f in stack):
        raise ValueError(f"fields must share their frames and grid; their shapes are {[f.shape for f in stack]}")
    first = stack[0]
    cmap = matplotlib.colormaps[figures.MAPS.get(first.name, "viridis")]
    looks = [figures.MODELS.get(k, (k, figures.VARIABLES.get(first.name, [""] * 4)[3] or "#0072B2", "")) for k in named]
    values = np.stack([figures.drawn(f) for f in stack])
    colours = (cmap(np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)
    return _html("sheets", {
        "label": label, "names": [look[0] for look in looks], "colours": [look[1] for look in looks],
        "times": [float(f"{t:.6g}") for t in first[x].values], "rows": first.sizes["y"], "columns": first.sizes["x"],
        "unit": figures.unit_of(first), "symbol": _symbol(first), "probe": list(probe),
        "map": base64.b64encode(colours.tobytes()).decode(), **_packed(values, np.uint8),
    })  # fmt: skip


def curve_explorer(curves, readout, label, choice_label, level_label, x="time"):
    """Choose a case and a level and see the curves change; the first level stays as a grey reference.

    Parameters
    ----------
    curves : xr.Dataset
        Dims (choice, level, ``x``); one panel for each variable.
    readout : xr.DataArray of str
        Dims (choice, level): the line of numbers below the panels.
    label, choice_label, level_label : str
        Names of the widget and its two controls.

    Returns
    -------
    IPython.display.HTML

    Examples
    --------
    >>> curves = xr.Dataset(
    ...     {"Vm": (("choice", "level", "time"), np.zeros((1, 2, 5)), {"units": "mV"})},
    ...     {"choice": ["Kr"], "level": [0, 50], "time": np.arange(5.0)},
    ... )
    >>> readout = xr.DataArray([["APD 280 ms", "APD 300 ms"]], dims=("choice", "level"))
    >>> type(cep.page.widgets.curve_explorer(curves, readout, "block", "current", "share [%]")).__name__
    'HTML'
    """
    curves = curves.transpose("choice", "level", x)
    panels = []
    for name, field in curves.data_vars.items():
        look = figures.VARIABLES.get(name, (name, "", 1.0, "#0072B2"))
        packed = _packed(figures.drawn(field), np.uint16)
        panels.append({"symbol": _symbol(field), "unit": figures.unit_of(field), "colour": look[3], **packed})
    return _html("curves", {
        "label": label, "choiceLabel": choice_label, "levelLabel": level_label,
        "choices": [str(c) for c in curves["choice"].values], "levels": [str(v) for v in curves["level"].values],
        "x": [float(f"{t:.6g}") for t in curves[x].values], "xLabel": f"{x} [{curves[x].attrs.get('units', 'ms')}]",
        "panels": panels, "readout": readout.transpose("choice", "level").values.tolist(),
    })  # fmt: skip


def sortable(table, label):
    """A table whose columns sort at a click (or Enter) on their heading; without JavaScript it is just a table.

    Parameters
    ----------
    table : pandas.DataFrame
        Numbers are shown with three significant digits and sorted as numbers; the index is the first column.
    label : str
        Its caption.

    Returns
    -------
    IPython.display.HTML

    Examples
    --------
    >>> import pandas as pd
    >>> type(cep.page.widgets.sortable(pd.DataFrame({"error": [0.1, 0.02]}, index=["a", "b"]), "errors")).__name__
    'HTML'
    """

    return HTML(f"{_table(table, label)}<style>{_SORT_CSS}</style><script>{_SORT_JS}</script>")


def table_explorer(tables, label):
    """One of several sortable tables at a time, chosen from a list; without JavaScript all of them are shown.

    Parameters
    ----------
    tables : dict of str to pandas.DataFrame
        What the list calls each table, and the table.
    label : str
        Name of the control.

    Returns
    -------
    IPython.display.HTML

    Examples
    --------
    >>> import pandas as pd
    >>> tables = {name: pd.DataFrame({"cl500": [0.1, 0.02]}, index=["a", "b"]) for name in ("Vm", "Cai")}
    >>> cep.page.widgets.table_explorer(tables, "What to show").data.count("<option")
    2
    """
    options = "".join(f"<option>{html.escape(name)}</option>" for name in tables)
    return HTML(
        f'<div class="cep-explorer"><label>{html.escape(label)} <select>{options}</select></label>'
        f"{''.join(_table(table, name) for name, table in tables.items())}</div>"
        f"<style>{_SORT_CSS}</style><script>{_SORT_JS}{_CHOOSE_JS}</script>"
    )


def _table(table, label):
    def cell(value):
        number = isinstance(value, int | float | np.number)
        text = ("–" if not np.isfinite(value) else f"{value:.3g}") if number else str(value)
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


_CHOOSE_JS = """
(() => {
  for (const box of document.querySelectorAll('.cep-explorer:not([data-ready])')) {
    box.dataset.ready = 1;
    const select = box.querySelector('select'), tables = [...box.querySelectorAll('.cep-sortable')];
    const show = () => tables.forEach((table, k) => { table.hidden = k !== select.selectedIndex; });
    select.addEventListener('change', show);
    show();
  }
})();
"""
_SORT_CSS = """
.cep-sortable { overflow-x: auto; }
.cep-sortable table { border-collapse: collapse; font-size: 0.85em; }
.cep-sortable caption { caption-side: top; text-align: left; }
.cep-sortable th, .cep-sortable td { padding: 0.15em 0.6em; text-align: right; border-bottom: 1px solid #8884; }
.cep-sortable th[scope=row] { text-align: left; font-weight: normal; white-space: nowrap; }
.cep-sortable button { all: unset; cursor: pointer; font-weight: bold; }
.cep-sortable button:focus-visible { outline: 2px solid #0072B2; }
.cep-sortable th[aria-sort=ascending] button::after { content: " \\25B2"; }
.cep-sortable th[aria-sort=descending] button::after { content: " \\25BC"; }
"""
_SORT_JS = """
(() => {
  for (const table of document.querySelectorAll('.cep-sortable table:not([data-ready])')) {
    table.dataset.ready = 1;
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') !== 'ascending';
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = row => row.cells[column].dataset.value, words = row => row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === undefined || y === undefined)
          return (x === undefined) - (y === undefined) || words(a).localeCompare(words(b)) * (up ? 1 : -1);
        return (x - y) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort(compare));
    }));
  }
})();
"""


def _symbol(field):
    plain = {"Vm": "Vm", "Cai": "Ca i", "CaSR": "Ca SR", "CaSS": "Ca SS"}
    return plain.get(field.name, str(field.attrs.get("long_name", field.name or "")))


_CSS = """
.cep-widget{max-width:720px;margin:.5em 0;padding:.6em;border:1px solid #8886;border-radius:6px;line-height:1.4}
.cep-widget label{margin-right:.6em}.cep-widget input[type=range]{width:100%;display:block;margin:.2em 0}
.cep-widget .cep-row{display:flex;flex-wrap:wrap;gap:.8em;align-items:flex-start;justify-content:center}
.cep-widget figure{margin:0;flex:1 1 200px;max-width:300px;text-align:center}
.cep-widget canvas{width:100%;image-rendering:pixelated;touch-action:none;cursor:crosshair;display:block}
.cep-widget svg{flex:1 1 280px;max-width:100%;height:auto}.cep-widget svg text{font-size:11px;fill:currentColor}
.cep-widget button,.cep-widget select{font:inherit;color:inherit;background:transparent;border:1px solid #8889;
border-radius:4px;padding:.1em .7em;margin-right:.6em}.cep-widget select option{color:#000;background:#fff}
.cep-widget output,.cep-widget small{font-variant-numeric:tabular-nums}
.cep-widget .cep-bar{height:.7em;border-radius:2px}
"""

_JS = r"""
(() => {
const bytes = s => Uint8Array.from(atob(s), c => c.charCodeAt(0));
const add = (parent, tag, attributes = {}, text) => {
  const svg = ['svg', 'path', 'text', 'line'].includes(tag);
  const node = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
};
const ticks = (low, high, n = 4) => {
  const raw = (high - low || 1) / n, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw), out = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9 * step; t += step) out.push(+t.toPrecision(6));
  return out;
};
/* Axes in an SVG of W x H; returns the two scales. */
const W = 340, H = 220, L = 48, R = 8, T = 22, B = 36;
const axes = (parent, label, x, low, high, title, xLabel) => {
  const svg = add(parent, 'svg', {viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': label});
  const pad = 0.05 * (high - low || 1);
  low -= pad; high += pad;
  const x0 = x[0], x1 = x[x.length - 1];
  const sx = v => L + (v - x0) / (x1 - x0 || 1) * (W - L - R);
  const sy = v => H - B - (v - low) / (high - low) * (H - T - B);
  for (const t of ticks(x0, x1)) {
    add(svg, 'line', {x1: sx(t), x2: sx(t), y1: T, y2: H - B, stroke: 'currentColor', 'stroke-opacity': .12});
    add(svg, 'text', {x: sx(t), y: H - B + 14, 'text-anchor': 'middle'}, t);
  }
  for (const t of ticks(low, high)) {
    add(svg, 'line', {x1: L, x2: W - R, y1: sy(t), y2: sy(t), stroke: 'currentColor', 'stroke-opacity': .12});
    add(svg, 'text', {x: L - 5, y: sy(t) + 4, 'text-anchor': 'end'}, t);
  }
  add(svg, 'text', {x: L, y: 13}, title);
  add(svg, 'text', {x: (L + W - R) / 2, y: H - 4, 'text-anchor': 'middle'}, xLabel);
  return {svg, sx, sy};
};
const draw = (path, x, y, a) => path.setAttribute('d',
  x.map((v, k) => (k ? 'L' : 'M') + a.sx(v).toFixed(1) + ' ' + a.sy(y(k)).toFixed(1)).join(''));
let number = document.querySelectorAll('.cep-widget[data-ready]').length;

const sheets = (root, p) => {
  const data = bytes(p.data), map = bytes(p.map), n = p.rows * p.columns, frames = p.times.length;
  const value = (f, t, k) => p.low + data[(f * frames + t) * n + k] / 255 * (p.high - p.low);
  let now = 0, probe = p.probe[0] * p.columns + p.probe[1], timer = null;
  const head = add(root, 'div'), id = 'cep-' + number++;
  const play = add(head, 'button', {type: 'button'}, 'Play');
  add(head, 'label', {for: id}, ' Time ');
  const out = add(head, 'output', {for: id, 'aria-live': 'off'});  /* the slider itself speaks its value */
  const slider = add(root, 'input', {type: 'range', id, min: 0, max: frames - 1, value: 0});
  const row = add(root, 'div', {class: 'cep-row'});
  const contexts = p.names.map(name => {
    const box = add(row, 'figure');
    const canvas = add(box, 'canvas', {width: p.columns, height: p.rows, tabindex: 0, role: 'application',
      'aria-label': `${p.label} ${name}: the arrow keys move the electrode`});
    canvas.style.aspectRatio = p.columns + '/' + p.rows;
    if (name) add(box, 'figcaption', {}, name);
    const move = (y, x) => {
      probe = Math.min(p.rows - 1, Math.max(0, y)) * p.columns + Math.min(p.columns - 1, Math.max(0, x)); show(true);
    };
    const point = e => {
      const r = canvas.getBoundingClientRect();
      move(p.rows - 1 - Math.floor((e.clientY - r.top) / r.height * p.rows),
           Math.floor((e.clientX - r.left) / r.width * p.columns));
    };
    canvas.addEventListener('pointerdown', point);
    canvas.addEventListener('pointermove', e => e.buttons && point(e));
    canvas.addEventListener('keydown', e => {
      const d = {ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1]}[e.key];
      if (!d) return;
      e.preventDefault();
      move(Math.floor(probe / p.columns) + d[0], probe % p.columns + d[1]);
    });
    return canvas.getContext('2d');
  });
  const a = axes(row, `${p.symbol} at the electrode against time`, p.times, p.low, p.high,
                 `${p.symbol} [${p.unit}] at the electrode`, 'time [ms]');
  const paths = p.colours.map(c => add(a.svg, 'path', {fill: 'none', 'stroke-width': 1.6,
    stroke: c === '#000000' ? 'currentColor' : c}));
  const cursor = add(a.svg, 'line', {y1: T, y2: H - B, stroke: 'currentColor', 'stroke-dasharray': '3 3'});
  const stops = [...Array(17).keys()].map(k => `rgb(${map.slice(k * 15 * 3, k * 15 * 3 + 3).join(',')})`);
  const bar = add(root, 'div', {class: 'cep-bar', 'aria-hidden': true});
  bar.style.background = `linear-gradient(to right,${stops.join(',')})`;
  add(root, 'small', {}, `colours: ${p.symbol} from ${p.low.toPrecision(3)} to ${p.high.toPrecision(3)} ${p.unit}; ` +
    'click the sheet, or focus it and use the arrow keys, to move the electrode (the red node)');
  const show = trace => {
    contexts.forEach((context, f) => {
      const image = context.createImageData(p.columns, p.rows);
      for (let k = 0; k < n; k++) {
        const y = p.rows - 1 - Math.floor(k / p.columns), to = 4 * (y * p.columns + k % p.columns);
        const c = 3 * data[(f * frames + now) * n + k];
        image.data.set(k === probe ? [230, 40, 40, 255] : [map[c], map[c + 1], map[c + 2], 255], to);
      }
      context.putImageData(image, 0, 0);
    });
    if (trace) paths.forEach((path, f) => draw(path, p.times, t => value(f, t, probe), a));
    const at = a.sx(p.times[now]);
    cursor.setAttribute('x1', at); cursor.setAttribute('x2', at);
    slider.value = now;
    slider.setAttribute('aria-valuetext', p.times[now] + ' ms');
    out.textContent = `${p.times[now]} ms; at the electrode ` +
      p.names.map((name, f) => `${name} ${value(f, now, probe).toPrecision(3)} ${p.unit}`.trim()).join(', ');
  };
  slider.addEventListener('input', () => { now = +slider.value; show(); });
  play.addEventListener('click', () => {
    if (timer) { clearInterval(timer); timer = null; play.textContent = 'Play'; return; }
    play.textContent = 'Pause';
    timer = setInterval(() => { now = (now + 1) % frames; show(); }, 66);
  });
  show(true);
};

const curves = (root, p) => {
  const id = 'cep-' + number++, head = add(root, 'div');
  add(head, 'label', {for: id + 'c'}, p.choiceLabel);
  const choice = add(head, 'select', {id: id + 'c'});
  p.choices.forEach((c, k) => add(choice, 'option', {value: k}, c));
  add(root, 'label', {for: id}, p.levelLabel);
  const out = add(root, 'output', {for: id});
  const slider = add(root, 'input', {type: 'range', id, min: 0, max: p.levels.length - 1, value: 0});
  const row = add(root, 'div', {class: 'cep-row'}), n = p.x.length;
  const panels = p.panels.map(q => {
    const raw = new DataView(bytes(q.data).buffer);
    const value = (c, l, k) => q.low + raw.getUint16(2 * ((c * p.levels.length + l) * n + k), true) / 65535
                                       * (q.high - q.low);
    const a = axes(row, `${q.symbol} against time`, p.x, q.low, q.high, `${q.symbol} [${q.unit}]`, p.xLabel);
    const before = add(a.svg, 'path', {fill: 'none', stroke: '#999', 'stroke-width': 1.4});
    const path = add(a.svg, 'path', {fill: 'none', stroke: q.colour, 'stroke-width': 1.8});
    return {value, a, before, path};
  });
  const numbers = add(root, 'div', {role: 'status'});
  const show = () => {
    const c = +choice.value, l = +slider.value;
    for (const q of panels) {
      draw(q.before, p.x, k => q.value(c, 0, k), q.a);
      draw(q.path, p.x, k => q.value(c, l, k), q.a);
    }
    out.textContent = p.levels[l];
    slider.setAttribute('aria-valuetext', p.levels[l]);
    numbers.textContent = p.readout[c][l];
  };
  choice.addEventListener('change', show);
  slider.addEventListener('input', show);
  show();
};

for (const root of document.querySelectorAll('.cep-widget:not([data-ready])')) {
  root.setAttribute('data-ready', '');
  const p = JSON.parse(root.dataset.payload);
  root.setAttribute('role', 'group');
  root.setAttribute('aria-label', p.label);
  ({sheets, curves})[root.dataset.kind](root, p);
}
})();
"""
