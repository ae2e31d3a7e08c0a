/* Controls: `sheets` (a player), `curves` (a case and a level), `ranking` (a scorecard), `plots` (what Python
   computes).

   The same script serves a page, where a payload stands in its element, and JupyterLab, where lab.js hands it over. */
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));

/* Numbers by their place: integers that share a range, as a page carries them, or single precision. */
const numbers = ({type, low, high}, buffer) => {
  const values = new {u1: Uint8Array, u2: Uint16Array, f4: Float32Array}[type](buffer);
  if (type === 'f4') return k => values[k];
  const step = (high - low) / (type === 'u1' ? 255 : 65535);
  return k => low + values[k] * step;
};

/* An id that no other control on the page has. */
const unused = () => `cep-${Math.random().toString(36).slice(2)}`;

const add = (parent, tag, attributes = {}, text) => {
  const svg = ['svg', 'path', 'text', 'line', 'circle'].includes(tag);
  const node = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
};

/* A list to choose from, with its label. */
const choose = (parent, label, choices, act) => {
  const id = unused();
  add(parent, 'label', {for: id}, label);
  const select = add(parent, 'select', {id});
  choices.forEach((choice, k) => add(select, 'option', {value: k}, choice));
  select.addEventListener('change', act);
  return select;
};

const range = values => {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  return low > high ? [0, 1] : [low, high];
};

const ticks = (low, high, n = 4) => {
  const raw = (high - low || 1) / n, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw), out = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9 * step; t += step) out.push(+t.toPrecision(6));
  return out;
};

/* Axes in an SVG of W x H: the part where curves go, which clips them, and the two scales. */
const W = 340, H = 220, L = 48, R = 14, T = 22, B = 36;
const FAINT = {stroke: 'currentColor', 'stroke-opacity': .12};
const axes = (parent, label, x, low, high, title, xLabel) => {
  const svg = add(parent, 'svg', {viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': label});
  const pad = 0.05 * (high - low || 1);
  low -= pad; high += pad;
  const x0 = x[0], x1 = x[x.length - 1];
  const sx = v => L + (v - x0) / (x1 - x0 || 1) * (W - L - R);
  const sy = v => H - B - (v - low) / (high - low) * (H - T - B);
  for (const t of ticks(x0, x1)) {
    add(svg, 'line', {x1: sx(t), x2: sx(t), y1: T, y2: H - B, ...FAINT});
    add(svg, 'text', {x: sx(t), y: H - B + 14, 'text-anchor': 'middle'}, t);
  }
  for (const t of ticks(low, high)) {
    add(svg, 'line', {x1: L, x2: W - R, y1: sy(t), y2: sy(t), ...FAINT});
    add(svg, 'text', {x: L - 5, y: sy(t) + 4, 'text-anchor': 'end'}, t);
  }
  add(svg, 'text', {x: L, y: 13}, title);
  add(svg, 'text', {x: (L + W - R) / 2, y: H - 4, 'text-anchor': 'middle'}, xLabel);
  const inside = add(svg, 'svg', {y: T, width: W, height: H - T - B, viewBox: `0 ${T} ${W} ${H - T - B}`,
    'aria-hidden': true});
  return {inside, sx, sy};
};

/* A curve; where a value is not finite, it has a gap. */
const draw = (path, x, y, {sx, sy}) => {
  let pen = 'M', d = '';
  x.forEach((at, k) => {
    const value = y(k);
    if (Number.isFinite(value)) d += pen + sx(at).toFixed(1) + ' ' + sy(value).toFixed(1);
    pen = Number.isFinite(value) ? 'L' : 'M';
  });
  path.setAttribute('d', d);
};

const cursor = ({inside}) => add(inside, 'line', {y1: T, y2: H - B, stroke: 'currentColor', 'stroke-dasharray': '3 3'});

/* A line as matplotlib would draw it; black is the colour of the text, also in the dark. */
const DASHES = {'--': '6 3', ':': '2 3', '-.': '6 3 2 3'};
const dress = (path, {color, linestyle, linewidth}) => {
  path.setAttribute('stroke', color === '#000000' ? 'currentColor' : color);
  path.setAttribute('stroke-dasharray', DASHES[linestyle] ?? 'none');
  path.setAttribute('stroke-width', linewidth ?? 1.6);
};

/* ---- sheets through time, and an electrode ---- */

/* A canvas on which the electrode is moved, by pointer or arrow keys: `move` gets rows and columns to go. */
const sheetCanvas = (box, p, label, go) => {
  const canvas = add(box, 'canvas', {width: p.columns, height: p.rows, tabindex: 0, role: 'application',
    'aria-label': `${label}: the arrow keys move the electrode`});
  canvas.style.aspectRatio = p.columns + '/' + p.rows;
  const point = e => {
    const r = canvas.getBoundingClientRect();
    go(() => [p.rows - 1 - Math.floor((e.clientY - r.top) / r.height * p.rows),
      Math.floor((e.clientX - r.left) / r.width * p.columns)]);
  };
  canvas.addEventListener('pointerdown', point);
  canvas.addEventListener('pointermove', e => e.buttons && point(e));
  canvas.addEventListener('keydown', e => {
    const d = {ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1]}[e.key];
    if (!d) return;
    e.preventDefault();
    go(([row, column]) => [row + d[0], column + d[1]]);
  });
  return canvas.getContext('2d');
};

/* One frame in colours; what is not finite stays clear, the node of the electrode is red. */
const paint = (context, p, probe, of, map, low, high) => {
  const image = context.createImageData(p.columns, p.rows), scale = 255 / (high - low || 1);
  for (let k = 0; k < p.rows * p.columns; k++) {
    const y = p.rows - 1 - Math.floor(k / p.columns), to = 4 * (y * p.columns + k % p.columns), value = of(k);
    const c = 3 * Math.max(0, Math.min(255, Math.round((value - low) * scale)));
    if (k === probe) image.data.set([230, 40, 40, 255], to);
    else if (Number.isFinite(value)) image.data.set([map[c], map[c + 1], map[c + 2], 255], to);
  }
  context.putImageData(image, 0, 0);
};

const bar = (parent, map) => {
  const stops = [...Array(17).keys()].map(k => `rgb(${map.slice(k * 15 * 3, k * 15 * 3 + 3).join(',')})`);
  add(parent, 'div', {class: 'cep-bar', 'aria-hidden': true}).style.background =
    `linear-gradient(to right,${stops.join(',')})`;
};

/* Fields beside each other; with `compare`, the first (the truth), one of the others, and their difference. */
const sheets = (root, p, buffer) => {
  const at = numbers(p, buffer), n = p.rows * p.columns, frames = p.times.length, starts = p.starts?.length ?? 1;
  const names = p.lines.map(line => line.label);
  const map = bytes(p.map), differences = p.compare && bytes(p.differences), span = p.high - p.low;
  let now = 0, start = 0, other = 1, probe = p.probe[0] * p.columns + p.probe[1], timer = null;
  const value = (f, t, k, s = start) => at(((f * starts + s) * frames + t) * n + k);
  const shown = () => p.compare ? [0, other] : [...names.keys()];
  const go = to => {
    const [y, x] = to([Math.floor(probe / p.columns), probe % p.columns]);
    probe = Math.min(p.rows - 1, Math.max(0, y)) * p.columns + Math.min(p.columns - 1, Math.max(0, x));
    show(true);
  };

  const head = add(root, 'div'), id = unused();
  const play = add(head, 'button', {type: 'button'}, 'Play');
  add(head, 'label', {for: id}, ` ${p.time[0].toUpperCase()}${p.time.slice(1)} `);
  const out = add(head, 'output', {for: id, 'aria-live': 'off'});  // the slider itself speaks its value
  const slider = add(root, 'input', {type: 'range', id, min: 0, max: frames - 1, value: 0});
  if (p.compare) {
    const choices = add(root, 'div');
    const forecast = choose(choices, 'Forecast', names.slice(1), () => { other = 1 + +forecast.value; show(true); });
    const from = choose(choices, 'Start', p.starts, () => { start = +from.value; show(true); });
  }
  const row = add(root, 'div', {class: 'cep-row'});
  const panes = (p.compare ? [names[0], 'forecast', 'difference'] : names).map(name => {
    const box = add(row, 'figure'), context = sheetCanvas(box, p, `${p.label} ${name}`, go);
    return {context, caption: name && add(box, 'figcaption', {}, name)};
  });
  const a = axes(row, `${p.symbol} at the electrode against ${p.time}`, p.times, p.low, p.high,
    `${p.symbol} [${p.unit}] at the electrode`, `${p.time} [ms]`);
  const paths = shown().map(() => add(a.inside, 'path', {fill: 'none'})), cursors = [cursor(a)];
  const away = p.compare && errors(row, p, value, starts);
  if (away) cursors.push(cursor(away));
  const scale = (map, low, high, of) => {
    bar(root, map);
    add(root, 'small', {}, `colours: ${of} from ${low.toPrecision(3)} to ${high.toPrecision(3)} ${p.unit}; `);
  };
  scale(map, p.low, p.high, p.symbol);
  if (p.compare) scale(differences, 0, span, 'difference');
  add(root, 'small', {}, 'click the sheet, or focus it and use the arrow keys, to move the electrode (the red node)');

  const show = all => {
    const seen = shown();
    seen.forEach((f, i) => paint(panes[i].context, p, probe, k => value(f, now, k), map, p.low, p.high));
    if (p.compare) {
      const difference = k => Math.abs(value(other, now, k) - value(0, now, k));
      paint(panes[2].context, p, probe, difference, differences, 0, span);
    }
    if (all) {
      seen.forEach((f, i) => {
        dress(paths[i], p.lines[f]);
        draw(paths[i], p.times, t => value(f, t, probe), a);
        if (panes[i].caption) panes[i].caption.textContent = names[f];
      });
      if (away) { dress(away.path, p.lines[other]); draw(away.path, p.times, t => away.rms[other][start][t], away); }
    }
    cursors.forEach(line => ['x1', 'x2'].forEach(end => line.setAttribute(end, a.sx(p.times[now]))));
    slider.value = now;
    slider.setAttribute('aria-valuetext', p.times[now] + ' ms');
    const said = v => `${v.toPrecision(3)} ${p.unit}`.trim();
    out.textContent = `${p.times[now]} ms; at the electrode `
      + seen.map(f => `${names[f]} ${said(value(f, now, probe))}`.trim()).join(', ')
      + (away ? `; difference ${said(away.rms[other][start][now])} (RMS of the sheet)` : '');
  };
  slider.addEventListener('input', () => { now = +slider.value; show(); });
  const pause = () => { clearInterval(timer); timer = null; play.textContent = 'Play'; };
  play.addEventListener('click', () => {
    if (timer) return pause();
    play.textContent = 'Pause';
    timer = setInterval(() => { now = (now + Math.ceil(frames / 360)) % frames; show(); }, 66);
  });
  show(true);
  return pause;
};

/* Axes of the difference of each forecast from the truth: root mean square over the sheet, by start and time. */
const errors = (row, p, value, starts) => {
  const n = p.rows * p.columns;
  const rms = p.lines.map((_, f) => f && [...Array(starts).keys()].map(s => p.times.map((_, t) => {
    let sum = 0;
    for (let k = 0; k < n; k++) sum += (value(f, t, k, s) - value(0, t, k, s)) ** 2;
    return Math.sqrt(sum / n);
  })));
  const a = axes(row, `difference against ${p.time}`, p.times, 0, range(rms.slice(1).flat(2))[1] || 1,
    `difference [${p.unit}], RMS of the sheet`, `${p.time} [ms]`);
  return {...a, rms, path: add(a.inside, 'path', {fill: 'none'})};
};

/* ---- curves by case and level ---- */

const curves = (root, p) => {
  const id = unused();
  const choice = choose(add(root, 'div'), p.choiceLabel, p.choices, () => show());
  add(root, 'label', {for: id}, p.levelLabel);
  const out = add(root, 'output', {for: id});
  const slider = add(root, 'input', {type: 'range', id, min: 0, max: p.levels.length - 1, value: 0});
  const row = add(root, 'div', {class: 'cep-row'}), n = p.x.length;
  const panels = p.panels.map(q => {
    const at = numbers(q, bytes(q.data).buffer);
    const a = axes(row, `${q.symbol} against time`, p.x, q.low, q.high, `${q.symbol} [${q.unit}]`, p.xLabel);
    const before = add(a.inside, 'path', {fill: 'none', stroke: '#999', 'stroke-width': 1.4});
    const path = add(a.inside, 'path', {fill: 'none', stroke: q.color, 'stroke-width': 1.8});
    return {value: (c, l, k) => at((c * p.levels.length + l) * n + k), a, before, path};
  });
  const line = add(root, 'div', {role: 'status'});
  const show = () => {
    const c = +choice.value, l = +slider.value;
    for (const q of panels) {
      draw(q.before, p.x, k => q.value(c, 0, k), q.a);
      draw(q.path, p.x, k => q.value(c, l, k), q.a);
    }
    out.textContent = p.levels[l];
    slider.setAttribute('aria-valuetext', p.levels[l]);
    line.textContent = p.readout[c][l];
  };
  slider.addEventListener('input', show);
  show();
};

/* ---- a scorecard, one question and one test at a time ---- */

/* Rows of [value, low, high], null where there is none, "failed" for a failure; the best on top, those without a
   number last. */
const ranking = (root, p) => {
  const head = add(root, 'div'), line = add(root, 'div', {role: 'status'});
  const what = choose(head, 'What', p.what, () => show()), test = choose(head, 'Test', p.tests, () => show());
  const stage = add(root, 'div', {class: 'cep-row'}), step = 18, left = 170, right = 540;
  add(root, 'small', {}, 'one number of each model, the best on top; the bar is its interval');
  const show = () => {
    const rows = p.numbers[what.value][test.value].map((cells, k) => {
      const [value, low, high] = cells.map(v => v === 'failed' ? null : v);
      return {k, value, low, high, failed: cells[0] === 'failed'};
    });
    const size = row => row.value === null ? Infinity : Math.abs(row.value);
    rows.sort((one, two) => size(one) - size(two) || one.k - two.k || 0);
    const ends = rows.flatMap(({value, low, high}) => [value, low, high]).filter(v => v !== null);
    const log = ends.length > 0 && Math.min(...ends) > 0, warp = log ? Math.log10 : v => v;
    let [low, high] = range(ends.map(warp));
    const pad = 0.04 * (high - low) || 0.5;
    low -= pad; high += pad;
    const sx = v => left + (warp(v) - low) / (high - low) * (right - left), bottom = step * rows.length + 4;
    const question = `${p.what[what.value]}, ${p.tests[test.value]}`;
    stage.replaceChildren();
    const svg = add(stage, 'svg', {viewBox: `0 0 ${right + 10} ${bottom + 32}`, role: 'img', 'aria-label': question});
    const tens = ticks(low, high).filter(Number.isInteger).map(t => 10 ** t);
    const marks = !log ? ticks(low, high) : tens.length > 1 ? tens : ticks(10 ** low, 10 ** high);
    for (const t of marks.filter(t => !log || t > 0)) {
      add(svg, 'line', {x1: sx(t), x2: sx(t), y1: 0, y2: bottom, ...FAINT});
      add(svg, 'text', {x: sx(t), y: bottom + 13, 'text-anchor': 'middle'}, +t.toPrecision(3));
    }
    add(svg, 'text', {x: (left + right) / 2, y: bottom + 29, 'text-anchor': 'middle'}, p.what[what.value]);
    rows.forEach((row, i) => {
      const y = step * (i + 0.5), stroke = p.colours[row.k];
      add(svg, 'text', {x: left - 8, y: y + 4, 'text-anchor': 'end'}, p.names[row.k]);
      if (row.low !== null && row.high !== null) {
        add(svg, 'line', {x1: sx(row.low), x2: sx(row.high), y1: y, y2: y, stroke, 'stroke-width': 4,
          'stroke-opacity': .4});
      }
      if (row.value !== null) add(svg, 'circle', {cx: sx(row.value), cy: y, r: 4, fill: stroke});
      if (row.failed) add(svg, 'text', {x: left, y: y + 4}, 'failed');
    });
    const best = rows.filter(row => row.value !== null).slice(0, 3)
      .map(row => `${p.names[row.k]} ${+row.value.toPrecision(3)}`);
    line.textContent = `${question}: ${best.length ? [...best, '...'].join(', ') : 'nobody has a number here'}`;
  };
  show();
};

/* ---- what Python computes: curves, a mark and points on axes of its choice ---- */

const plots = (root, p) => {
  const row = add(root, 'div', {class: 'cep-row'});
  for (const q of p.panels) {
    const a = axes(row, `${q.title} against ${q.xLabel}`, q.x, ...q.y, q.title, q.xLabel);
    const names = [];
    for (const curve of q.curves) {
      const path = add(a.inside, 'path', {fill: 'none'});
      dress(path, curve);
      draw(path, curve.x, k => curve.y[k], a);
      if (curve.label) names.push([curve.label, {stroke: curve.color, 'stroke-width': 2}]);
    }
    if (q.at !== undefined) {
      const dashed = {stroke: 'currentColor', 'stroke-dasharray': '3 3'};
      add(a.inside, 'line', {x1: a.sx(q.at), x2: a.sx(q.at), y1: T, y2: H - B, ...dashed});
      names.push([q.atName, dashed]);
    }
    const points = q.points ?? [];
    for (const [x, y, fill] of points) add(a.inside, 'circle', {cx: a.sx(x), cy: a.sy(y), r: 3, fill});
    if (q.ring) {
      const [x, y] = points[points.length - 1];
      add(a.inside, 'circle', {cx: a.sx(x), cy: a.sy(y), r: 6, fill: 'none', stroke: 'currentColor'});
    }
    names.forEach(([name, look], k) => {
      const y = T + 10 + 13 * k;
      add(a.inside, 'line', {x1: W - R - 24, x2: W - R - 4, y1: y, y2: y, ...look});
      add(a.inside, 'text', {x: W - R - 28, y: y + 4, 'text-anchor': 'end'}, name);
    });
  }
};

/* ---- doors ---- */

/* Build a control in an empty element; returns how to stop it, where something runs. */
const mount = (root, kind, payload, buffer) => {
  root.setAttribute('data-ready', '');
  root.setAttribute('role', 'group');
  root.setAttribute('aria-label', payload.label);
  return {sheets, curves, ranking, plots}[kind](root, payload, buffer);
};

for (const root of document.querySelectorAll('.cep-widget[data-payload]:not([data-ready])')) {
  const payload = JSON.parse(root.dataset.payload);
  mount(root, root.dataset.kind, payload, payload.data && bytes(payload.data).buffer);
}
