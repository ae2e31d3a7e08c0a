/* What is seen and touched: builds the controls, draws frames as they come, sends wishes to the worker.

   WORKER (source text) and DATA ({model, network, look}) are put before this by script() in live.py. */
'use strict';

const startWorker = () => {
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER], {type: 'text/javascript'})));
  worker.postMessage({type: 'init', model: DATA.model, network: DATA.network});
  return worker;
};

const element = (parent, tag, attributes = {}, text) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
};

const {variables} = DATA.look;
/* Of each variable, in the unit drawn: the range of its colours, and where its axis is marked. */
const SCALES = {Vm: {low: -90, high: 40, ticks: [-80, -40, 0, 40]}, Cai: {low: 0, high: 1.5, ticks: [0, 0.5, 1, 1.5]},
  CaSR: {low: 2, high: 4.5, ticks: [2, 3, 4]}, CaSS: {low: 0, high: 2.5, ticks: [0, 1, 2]}};
for (const v of variables) {
  v.colours = Uint8Array.from(atob(v.map), c => c.charCodeAt(0));
  Object.assign(v, SCALES[v.symbol]);
}
/* A spiral that the page can start by itself: channels as multiples of normal, S1 a strip of nodes, S2 [ms]. */
const SPIRAL = {rows: 64, s2: 140, width: 4, factors: {gCaL: 0.05, gKr: 8, gKs: 2, gNa: 0.4}};
const SPAN = 1500;  // of the trace [ms]
const FADE = 400;  // of the path of a tip [ms]
const SOLVER = 'currentColor', SURROGATE = DATA.look.surrogate;
const STEPS = {24: 0.02, 64: 0.05, 128: 0.1};  // the step that each size begins with [ms]
const HELP = 'the arrow keys move the square, with Shift five nodes; Enter or the space bar does what a click does; '
  + 'P paces, B blocks or frees a node, E puts the electrode there';
let count = 0;

class LiveSheet {
  constructor(root, options = {}) {
    this.root = root;
    this.id = `cep-live-${count++}`;
    this.options = {rows: 24, cycle: 500, factors: {}, ...options};
    this.blocked = new Set();
    this.trace = [];
    this.path = [];
    this.drawn = [];  // when frames were drawn, for the frame rate
    this.wish = !matchMedia('(prefers-reduced-motion: reduce)').matches && !options.paused;
    root.replaceChildren();
    root.setAttribute('role', 'group');
    root.setAttribute('aria-label', 'Live sheet of heart tissue');
    this.build();
    this.worker = startWorker();
    this.worker.onmessage = event => this.receive(event.data);
    this.worker.onerror = event => this.say(`The worker stopped: ${event.message}`);
    this.size(this.options.rows, this.options.factors);
    // What nobody sees need not be computed.
    this.watcher = new IntersectionObserver(([entry]) => { this.visible = entry.isIntersecting; this.run(); });
    this.watcher.observe(this.stage);
    document.addEventListener('visibilitychange', this.onHide = () => this.run());
  }

  destroy() {
    this.watcher.disconnect();
    document.removeEventListener('visibilitychange', this.onHide);
    this.worker.terminate();
  }

  send(type, message = {}) { this.worker.postMessage({type, ...message}); }
  say(text) { this.status.textContent = text; }

  /* ---- building ---- */

  build() {
    const {root} = this, buttons = element(root, 'div', {class: 'cep-buttons'});
    const button = (text, act) => {
      const node = element(buttons, 'button', {type: 'button'}, text);
      node.addEventListener('click', act);
      return node;
    };
    this.playButton = button('Play', () => { this.wish = !this.wish; this.run(); });
    button('Pace', () => this.pace());
    button('Start again', () => this.restart());
    button('Spiral', () => this.spiral());
    this.showButton = button('Show it the last second', () => {
      this.send('show');
      this.say('The network begins anew with the last second of the solver.');
    });

    this.stage = element(root, 'div', {class: 'cep-stage'});
    this.canvases = ['solver', 'network'].map(name => {
      const figure = element(this.stage, 'figure');
      element(figure, 'figcaption', {}, name === 'solver' ? 'Solver' : 'Network');
      const canvas = element(figure, 'canvas', {tabindex: 0, role: 'application',
        'aria-label': `Sheet of the ${name}: ${HELP}`});
      this.listen(canvas);
      return canvas;
    });
    const legend = element(root, 'div', {class: 'cep-legend'});
    this.low = element(legend, 'span');
    this.bar = element(legend, 'span', {class: 'cep-bar', 'aria-hidden': true});
    this.high = element(legend, 'span');
    // Named before the first frame comes: what is drawn renames it.
    this.scope = element(root, 'canvas', {class: 'cep-scope', role: 'img', 'aria-label': 'Electrode against time'});
    this.status = element(root, 'div', {role: 'status', 'aria-live': 'polite', class: 'cep-status'});

    const fields = element(root, 'div', {class: 'cep-fields'});
    const choose = (label, choices, value, act) => {
      const box = element(fields, 'span'), id = `${this.id}-${label.replace(' ', '-')}`;
      element(box, 'label', {for: id}, label);
      box.append(' ');
      const select = element(box, 'select', {id});
      for (const [key, text] of choices) element(select, 'option', {value: key}, text);
      select.value = value;
      select.addEventListener('change', () => act(select.value));
      return select;
    };
    this.action = choose('A click', [['pace', 'paces 5 × 5 nodes'], ['block', 'draws a line of block'],
      ['free', 'takes block away'], ['electrode', 'moves the electrode']], 'pace', () => {});
    this.variable = choose('Colours', variables.map((v, k) => [k, `${v.symbol} [${v.unit}]`]), 0, v => this.look(+v));
    this.cycle = choose('Pacemaker', [[0, 'off'], ...[300, 350, 400, 500, 650, 1000].map(c => [c, `every ${c} ms`])],
      this.options.cycle, () => this.pacemaker());
    this.site = choose('Pacemaker at', [['corner', 'the far corner'], ['square', 'the square']], 'corner',
      () => this.pacemaker());
    this.sizes = choose('Sheet', [[24, '24 × 24, 10 mm'], [64, '64 × 64, 27 mm'], [128, '128 × 128, 55 mm']],
      this.options.rows, n => this.size(+n));
    this.steps = choose('Step', [0.02, 0.05, 0.1].map(dt => [dt, `${dt} ms`]), 0.02, dt => this.send('dt', {dt: +dt}));
    this.speed = choose('Speed', [[10, '10 ms a second'], [50, '50 ms a second'], [100, '100 ms a second'],
      [250, '250 ms a second'],
      [1e6, 'as fast as it goes']], 100, v => this.send('set', {values: {speed: +v}}));

    const channels = element(root, 'details');
    element(channels, 'summary', {}, 'Channels: block and boost');
    const grid = element(channels, 'div', {class: 'cep-channels'});
    this.sliders = Object.fromEntries(DATA.look.channels.map(name => {
      const box = element(grid, 'div'), id = `${this.id}-${name}`;
      element(box, 'label', {for: id}, `${name} `);
      const out = element(box, 'output', {for: id}, '100 %');
      const slider = element(box, 'input', {type: 'range', id, min: 0, max: 175, step: 1, value: 100});
      slider.addEventListener('input', () => { this.label(slider, out); this.sendFactors(); });
      return [name, {slider, out}];
    }));
    const normal = element(channels, 'button', {type: 'button'}, 'All as they were');
    normal.addEventListener('click', () => this.setFactors({}));

    element(root, 'p', {},
      'Error of the network, mean of the last second, and computing time for a millisecond of tissue:');
    const numbers = element(root, 'dl');
    this.cells = [...variables.map(v => `z-MSE ${v.symbol}`),
      'RMS of Vm now [mV]', 'solver [ms]', 'network [ms]', 'frames a second']
      .map(text => {
        const box = element(numbers, 'div');
        element(box, 'dt', {}, text);
        return element(box, 'dd', {}, '–');
      });
  }

  /* A slider goes from 0 through normal to eight times normal, evenly at first, then by doubling. */
  static factor(position) { return position <= 100 ? position / 100 : 2 ** ((position - 100) / 25); }
  static position(factor) { return Math.round(factor <= 1 ? 100 * factor : 100 + 25 * Math.log2(factor)); }

  label(slider, out) {
    const percent = Math.round(100 * LiveSheet.factor(+slider.value));
    out.textContent = `${percent} %`;
    slider.setAttribute('aria-valuetext', `${percent} per cent of normal`);
  }

  listen(canvas) {
    const at = event => {
      const r = canvas.getBoundingClientRect(), n = this.rows, part = (x, size) => Math.floor(x / size * n);
      const inside = k => Math.min(n - 1, Math.max(0, k));
      return [n - 1 - inside(part(event.clientY - r.top, r.height)), inside(part(event.clientX - r.left, r.width))];
    };
    let from = null;
    canvas.addEventListener('pointerdown', event => {
      this.cursor = from = at(event);
      canvas.setPointerCapture(event.pointerId);
      this.act();
    });
    canvas.addEventListener('pointermove', event => {
      if (!from || this.action.value === 'pace') return;
      for (const node of lineOf(from, at(event))) { this.cursor = node; this.act(); }
      from = at(event);
    });
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener('keydown', event => this.key(event));
  }

  key(event) {
    const move = {ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1]}[event.key];
    const act = {Enter: () => this.act(), ' ': () => this.act(), p: () => this.pace(), e: () => this.act('electrode'),
      b: () => this.act(this.blocked.has(this.node()) ? 'free' : 'block')}[
      event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if ((!move && !act) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    if (act) return act();
    const far = event.shiftKey ? 5 : 1;
    this.cursor = this.cursor.map((x, k) => Math.min(this.rows - 1, Math.max(0, x + move[k] * far)));
    this.say(`Row ${this.cursor[0]}, column ${this.cursor[1]}`);
    this.redraw();
  }

  /* ---- wishes ---- */

  node([row, column] = this.cursor) { return row * this.rows + column; }
  place([row, column] = this.cursor) { return `row ${row}, column ${column}`; }

  act(what = this.action.value) {
    if (what === 'pace') return this.pace();
    if (what === 'electrode') {
      this.electrode = [...this.cursor];
      this.trace = [];
      this.send('set', {values: {electrode: this.node()}});
      this.say(`Electrode at ${this.place()}`);
    } else {
      this.blocked[what === 'block' ? 'add' : 'delete'](this.node());
      this.send('blocked', {nodes: [...this.blocked]});
      this.say(`${this.blocked.size} nodes conduct nothing. The network does not know.`);
    }
    this.redraw();
  }

  pace() {
    this.send('pace', {row: this.cursor[0], column: this.cursor[1]});
    this.say(`Paced at ${this.place()}`);
    if (!this.wish) this.send('step', {ms: 1});
    if (this.site.value === 'square') this.pacemaker();
    this.redraw();
  }

  pacemaker() {
    const corner = [this.rows - 1, this.rows - 1];
    this.send('set', {values: {cycle: +this.cycle.value, site: this.site.value === 'corner' ? corner : this.cursor}});
  }

  look(variable) {
    this.trace = [];
    const v = variables[variable], stop = k => `rgb(${v.colours.slice(3 * k, 3 * k + 3).join(',')})`;
    const stops = Array.from({length: 17}, (_, k) => stop(k * 15));
    this.bar.style.background = `linear-gradient(to right,${stops.join(',')})`;
    this.low.textContent = `${v.low} ${v.unit}`;
    this.high.textContent = `${v.high} ${v.unit}`;
    this.send('set', {values: {variable}});
  }

  factors() {
    return Object.fromEntries(Object.entries(this.sliders).map(
      ([name, {slider}]) => [name, LiveSheet.factor(+slider.value)]));
  }

  sendFactors() { this.send('factors', {factors: this.factors()}); }

  setFactors(factors) {
    for (const [name, {slider, out}] of Object.entries(this.sliders)) {
      slider.value = LiveSheet.position(factors[name] ?? 1);
      this.label(slider, out);
    }
    this.sendFactors();
  }

  /* Another sheet: everything but the channels begins anew. */
  size(rows, factors = this.factors()) {
    this.rows = rows;
    this.sizes.value = rows;
    this.steps.value = STEPS[rows] ?? 0.1;
    this.cursor = [rows >> 1, rows >> 1];
    this.electrode = [Math.round(rows * 0.2), Math.round(rows * 0.2)];
    this.blocked.clear();
    this.picture = new OffscreenCanvas(rows, rows);
    this.setFactors(factors);
    this.restart();
  }

  restart() {
    this.trace = [];
    this.path = [];
    const both = this.rows === DATA.network.shape[0];
    this.canvases[1].parentNode.hidden = this.showButton.hidden = !both;
    this.send('set', {values: {speed: +this.speed.value, electrode: this.node(this.electrode), cycle: 0}});
    this.send('reset', {rows: this.rows, columns: this.rows, dt: +this.steps.value, factors: this.factors(),
      blocked: [...this.blocked]});
    this.pacemaker();
    this.look(+this.variable.value);
    this.say(both ? 'Rest. Solver and network start from the same state.'
      : 'Rest. The network is at home on 24 × 24 nodes only.');
  }

  spiral() {
    this.cycle.value = 0;
    this.size(SPIRAL.rows, SPIRAL.factors);
    this.send('crossField', {s2: SPIRAL.s2, width: SPIRAL.width});
    this.wish = true;
    this.run();
    this.say(`Channels changed, a plane wave, and ${SPIRAL.s2} ms later a quarter of the sheet: `
      + 'the tip is the white dot.');
  }

  run() {
    const on = this.wish && this.visible && !document.hidden;
    this.playButton.textContent = this.wish ? 'Pause' : 'Play';
    this.send(on ? 'play' : 'pause');
  }

  /* ---- drawing ---- */

  receive(message) {
    // On its way when something else was asked for: another sheet, variable or node.
    if (message.values.length !== this.rows ** 2 || message.variable !== +this.variable.value
      || message.electrode !== this.node(this.electrode)) return;
    this.frame = message;
    for (let k = 0; k < message.trace.length; k += 2)
      this.trace.push([message.t - (message.trace.length - 2 - k) / 2, message.trace[k], message.trace[k + 1]]);
    while (this.trace.length && this.trace[0][0] < message.t - SPAN) this.trace.shift();
    for (let k = 0; k < message.tips.length; k += 3) this.path.push([message.t, message.tips[k], message.tips[k + 1]]);
    this.path = this.path.filter(([t]) => t > message.t - FADE && t <= message.t);
    this.redraw();
  }

  redraw() {
    this.pending ??= requestAnimationFrame(now => {
      this.pending = null;
      if (!this.frame) return;
      if (this.frame !== this.last) this.drawn = [...this.drawn.filter(t => t > now - 1000), now];
      this.last = this.frame;
      this.canvases.forEach((canvas, k) => this.drawSheet(canvas, k ? this.frame.answer : this.frame.values));
      this.drawScope();
      this.drawNumbers(now);
    });
  }

  drawSheet(canvas, values) {
    if (!values) return;
    const n = this.rows, v = variables[+this.variable.value], image = new ImageData(n, n);
    const pixels = new Uint32Array(image.data.buffer), scale = 255 / (v.high - v.low);
    for (let k = 0; k < values.length; k++) {
      const c = 3 * Math.round(Math.min(255, Math.max(0, (values[k] * v.factor - v.low) * scale))), x = k % n;
      pixels[(n - 1 - (k - x) / n) * n + x] =
        0xff000000 | v.colours[c + 2] << 16 | v.colours[c + 1] << 8 | v.colours[c];
    }
    for (const k of this.blocked) pixels[(n - 1 - Math.floor(k / n)) * n + k % n] = 0xff8c8c8c;
    this.picture.getContext('2d').putImageData(image, 0, 0);
    const side = fit(canvas, canvas.clientWidth), context = canvas.getContext('2d'), one = side / n;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.picture, 0, 0, side, side);
    const x = column => (column + 0.5) * one, y = row => side - (row + 0.5) * one;
    // White on black: seen on every colour of the map.
    const ring = (row, column, radius, fill) => {
      context.beginPath();
      context.arc(x(column), y(row), radius, 0, 2 * Math.PI);
      if (fill) { context.fillStyle = fill; context.fill(); }
      twice(context);
    };
    if (canvas === this.canvases[0]) {
      for (const [t, row, column] of this.path) {
        context.fillStyle = `rgba(255,255,255,${0.7 * (1 - (this.frame.t - t) / FADE)})`;
        context.fillRect(x(column) - one / 4, y(row) - one / 4, one / 2, one / 2);
      }
      for (let k = 0; k < this.frame.tips.length; k += 3)
        ring(this.frame.tips[k], this.frame.tips[k + 1], 0.012 * side, '#fff');
    }
    ring(...this.electrode, 0.018 * side);
    const [top, left] = this.cursor.map(k => Math.min(n - 5, Math.max(0, k - 2)));
    context.beginPath();
    context.setLineDash([side / 60, side / 90]);
    context.rect(left * one, side - (top + 5) * one, 5 * one, 5 * one);
    twice(context);
    context.setLineDash([]);
  }

  drawScope() {
    const {scope, frame} = this, v = variables[+this.variable.value], context = scope.getContext('2d');
    const ratio = devicePixelRatio, width = scope.clientWidth, height = 150;
    const left = 42, right = 8, top = 20, bottom = 22;
    fit(scope, width, height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const ink = getComputedStyle(this.root).color, from = Math.max(0, frame.t - SPAN);
    const x = t => left + (t - from) / SPAN * (width - left - right);
    const y = value => top + (v.high - value) / (v.high - v.low) * (height - top - bottom);
    context.font = '11px sans-serif';
    context.fillStyle = context.strokeStyle = ink;
    context.lineWidth = 0.2;
    for (const value of v.ticks) {
      context.strokeRect(left, y(value), width - left - right, 0);
      context.textAlign = 'right';
      context.fillText(value, left - 5, y(value) + 4);
    }
    for (let t = Math.ceil(from / 250) * 250; t <= from + SPAN; t += 250) {
      context.strokeRect(x(t), top, 0, height - top - bottom);
      context.textAlign = 'center';
      if (x(t) < width - 20) context.fillText(t, x(t), height - 7);
    }
    context.textAlign = 'left';
    context.fillText(`${v.symbol} [${v.unit}] at the electrode${width > 450 ? ' against time [ms]' : ''}`, left, 12);
    context.save();
    context.beginPath();
    context.rect(left, top - 4, width - left - right, height - top - bottom + 8);
    context.clip();
    for (const [k, colour, thick] of [[1, ink, 3], [2, SURROGATE, 1.6]]) {
      context.beginPath();
      this.trace.forEach((row, i) => {
        if (!isNaN(row[k])) context[i ? 'lineTo' : 'moveTo'](x(row[0]), y(row[k] * v.factor));
      });
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.stroke();
    }
    context.restore();
    if (frame.answer) {
      context.textAlign = 'right';
      context.fillStyle = SURROGATE;
      context.fillText('network', width - right, 12);
      context.fillStyle = ink;
      context.fillText('solver', width - right - 52, 12);
    }
  }

  drawNumbers(now) {
    if (now - this.written < 250) return;
    this.written = now;
    const {error, rms, clocks, t} = this.frame;
    const short = x => Number.isFinite(x) ? x < 1e-3 ? x.toExponential(0) : +x.toPrecision(2) : '–';
    const texts = [...(error ?? variables.map(() => NaN)),
      error ? rms : NaN, ...(clocks ?? [NaN, NaN]), this.drawn.length];
    this.cells.forEach((cell, k) => { cell.textContent = short(texts[k]); });
    this.readout = {t, error, rms, clocks, frames: this.drawn.length};
    const node = this.trace[this.trace.length - 1], v = variables[+this.variable.value];
    this.scope.setAttribute('aria-label', `${v.symbol} at the electrode against time`
      + (node ? `; at ${t} ms ${short(Math.round(node[1] * v.factor * 100) / 100)} ${v.unit}` : ''));
    this.onReadout?.(this.readout);
  }
}

/* Nodes on the straight line between two. */
function lineOf([a, b], [c, d]) {
  const steps = Math.max(Math.abs(c - a), Math.abs(d - b));
  return Array.from({length: steps}, (_, k) =>
    [a + (c - a) * (k + 1) / steps, b + (d - b) * (k + 1) / steps].map(Math.round));
}

/* Give a canvas the pixels of the screen; returns its width in them. */
function fit(canvas, width, height = width) {
  const side = Math.round(width * devicePixelRatio), tall = Math.round(height * devicePixelRatio);
  if (canvas.width !== side || canvas.height !== tall) { canvas.width = side; canvas.height = tall; }
  return side;
}

function twice(context) {
  for (const [colour, width] of [['#000', 3.5], ['#fff', 1.6]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * Math.max(1, devicePixelRatio / 1.5);
    context.stroke();
  }
}

/* ---- for programs: a run of the solver, a free run of the network ---- */

let engine = null, asked = 0;
const ask = (type, message) => new Promise((resolve, reject) => {
  engine ??= startWorker();
  const id = asked++, worker = engine;
  worker.addEventListener('message', function hear({data}) {
    if (data.id !== id) return;
    worker.removeEventListener('message', hear);
    resolve(data);
  });
  worker.onerror = event => reject(new Error(event.message));
  worker.postMessage({type, id, ...message});
});

globalThis.cepLive = {
  sheets: [],
  run: setup => ask('run', setup),
  rollout: setup => ask('rollout', setup),
  mount(root, options) {
    if (!document.getElementById('cep-live-style'))
      element(document.head, 'style', {id: 'cep-live-style'}, DATA.look.css);
    const sheet = new LiveSheet(root, options);
    cepLive.sheets.push(sheet);
    return sheet;
  },
};

for (const root of document.querySelectorAll('.cep-live:not([data-ready])')) {
  root.dataset.ready = '';
  cepLive.mount(root, JSON.parse(root.dataset.options));
}
