/* What is touched: builds the controls, hears the worker, sends wishes to it.  draw.js draws, challenges.js keeps score.

   WORKER (source text) and DATA ({model, network, flowMap, look}) are put before this by script() in live.py. */
'use strict';

const startWorker = () => {
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER], {type: 'text/javascript'})));
  worker.postMessage({type: 'init', model: DATA.model, network: DATA.network, flowMap: DATA.flowMap});
  return worker;
};

const element = (parent, tag, attributes = {}, text) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
};

/* What a sheet is called, and its colour in the plots; the first is what the others are measured by. */
const SHEETS = {
  solver: {label: 'Solver', colour: 'currentColor'},
  coarse: {label: 'Solver, step 0.1 ms', colour: DATA.look.colours.coarse},
  flow: {label: 'Flow map', colour: DATA.look.colours.flow},
  network: {label: 'Network', colour: DATA.look.colours.network},
};
/* A spiral that the page can start by itself: channels as multiples of normal, S1 a strip of nodes, S2 [ms]. */
const SPIRAL = {rows: 64, s2: 120, width: 4, factors: {gCaL: 0.05, gKr: 8, gKs: 8, gNa: 0.35}};
const SPAN = 1500;  // of the trace [ms]
const FADE = 400;  // of the path of a tip [ms]
const REMEMBERED = 1000;  // frames that a surprise is the mean of
const SURPRISED = 0.1;  // twice what the network's own tissue makes of it (chapter on physiology) and more
const GRAPHICS = 256;  // rows that need the graphics card
const STEPS = {24: 0.02, 64: 0.05, 128: 0.1, 256: 0.1};  // the step that each size begins with [ms]
const HELP = 'the arrow keys move the square, with Shift five nodes; Enter or the space bar does what a click does; '
  + 'P paces, B blocks or frees a node, E puts the electrode there';
let count = 0;

class LiveSheet {
  constructor(root, options = {}) {
    this.root = root;
    this.id = `cep-live-${count++}`;
    this.options = {rows: 24, cycle: 500, factors: {}, ...options, ...addressed()};
    this.blocked = new Set();
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
    this.size(+this.options.rows, this.options.factors);
    this.restore(this.options);
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
    const left = element(this.root, 'div', {class: 'cep-seen'}), right = element(this.root, 'div', {class: 'cep-panel'});
    this.buildButtons(left);
    this.buildStage(left);
    this.buildNumbers(left);
    this.buildPlots(left);
    this.buildFields(right);
    this.buildChannels(right);
    this.challenge = new Challenge(this, element(right, 'details'));
  }

  buildButtons(parent) {
    const buttons = element(parent, 'div', {class: 'cep-buttons'});
    const button = (text, act) => {
      const node = element(buttons, 'button', {type: 'button'}, text);
      node.addEventListener('click', act);
      return node;
    };
    this.playButton = button('Play', () => { this.wish = !this.wish; this.run(); });
    button('Pace', () => this.pace());
    button('Start again', () => this.restart());
    button('Spiral', () => this.spiral());
    button('Copy address', () => this.share());
    this.showButton = button('Show it the last second', () => {
      this.send('show');
      this.say('The network begins anew with the last second of the solver.');
    });
  }

  buildStage(parent) {
    this.stage = element(parent, 'div', {class: 'cep-stage'});
    this.panes = Object.fromEntries(Object.entries(SHEETS).map(([name, {label}]) => {
      const figure = element(this.stage, 'figure'), caption = element(figure, 'figcaption', {}, label);
      const lamp = element(caption, 'span', {class: 'cep-lamp'});
      const canvas = element(figure, 'canvas', {tabindex: 0, role: 'application', 'aria-label': `${label}: ${HELP}`});
      this.listen(canvas);
      return [name, {figure, canvas, lamp, trace: [], beats: []}];
    }));
    const legend = element(parent, 'div', {class: 'cep-legend'});
    this.low = element(legend, 'span');
    this.bar = element(legend, 'span', {class: 'cep-bar', 'aria-hidden': true});
    this.high = element(legend, 'span');
    this.status = element(parent, 'div', {role: 'status', 'aria-live': 'polite', class: 'cep-status'});
  }

  /* A row a sheet: what differs from the solver, and what a millisecond of tissue costs. */
  buildNumbers(parent) {
    const table = element(element(parent, 'div', {class: 'cep-numbers'}), 'table');
    element(table, 'caption', {}, 'Mean square error of the last second in z-scores; root mean square of Vm now; '
      + 'last APD90 at the electrode; computing time for a millisecond of tissue; share of the tissue carried');
    const head = element(element(table, 'thead'), 'tr');
    for (const text of ['z-MSE of', ...variables.map(v => v.symbol), 'Vm now [mV]', 'APD90 [ms]', 'cost [ms]', 'carried'])
      element(head, 'th', {scope: 'col'}, text);
    const body = element(table, 'tbody');
    for (const [name, {label, colour}] of Object.entries(SHEETS)) {
      const row = element(body, 'tr'), first = element(row, 'th', {scope: 'row'});
      element(first, 'span', {class: 'cep-swatch', style: `background:${colour}`, 'aria-hidden': true});
      first.append(label);
      this.panes[name].row = row;
      this.panes[name].cells = Array.from({length: variables.length + 4}, () => element(row, 'td', {}, '–'));
    }
  }

  buildPlots(parent) {
    const plots = element(parent, 'div', {class: 'cep-plots'});
    // Named before the first frame comes: what is drawn renames them.
    this.scope = element(plots, 'canvas', {class: 'cep-scope', role: 'img', 'aria-label': 'Electrode against time'});
    this.curve = element(plots, 'canvas', {class: 'cep-curve', role: 'img', 'aria-label': 'Restitution'});
  }

  buildFields(parent) {
    const fields = element(parent, 'div', {class: 'cep-fields'});
    const choose = (label, choices, value, act) => {
      const box = element(fields, 'span'), id = `${this.id}-${label.replaceAll(' ', '-')}`;
      element(box, 'label', {for: id}, label);
      const select = element(box, 'select', {id});
      for (const [key, text] of choices) element(select, 'option', {value: key}, text);
      select.value = value;
      select.addEventListener('change', () => act(select.value));
      return select;
    };
    this.sizes = choose('Sheet', [[24, '24 × 24, 10 mm'], [64, '64 × 64, 27 mm'], [128, '128 × 128, 55 mm'],
      [256, '256 × 256, 111 mm']], this.options.rows, n => this.size(+n));
    this.buildBeside(fields);
    this.action = choose('A click', [['pace', 'paces'], ['block', 'draws a line of block'],
      ['free', 'takes block away'], ['electrode', 'moves the electrode']], 'pace', () => {});
    this.side = choose('Paced square', [[1, '1 node'], [5, '5 × 5 nodes'], [15, '15 × 15 nodes'], [25, '25 × 25 nodes']],
      5, v => { this.send('set', {values: {side: +v}}); this.redraw(); });
    this.buildStrength(fields);
    this.cycle = choose('Pacemaker', [[0, 'off'], ...[300, 350, 400, 500, 650, 1000].map(c => [c, `every ${c} ms`]),
      ['s1s2', 'S1-S2, earlier each round']], this.options.cycle, () => this.pacemaker());
    this.site = choose('Pacemaker at', [['corner', 'the far corner'], ['square', 'the square']], 'corner',
      () => this.pacemaker());
    this.variable = choose('Colours', variables.map((v, k) => [k, `${v.symbol} [${v.unit}]`]), 0, v => this.look(+v));
    this.steps = choose('Step', [0.02, 0.05, 0.1].map(dt => [dt, `${dt} ms`]), 0.02, dt => this.send('dt', {dt: +dt}));
    this.speed = choose('Speed', [[10, '10 ms a second'], [50, '50 ms a second'], [100, '100 ms a second'],
      [250, '250 ms a second'], [1e6, 'as fast as it goes']], 100, v => this.send('set', {values: {speed: +v}}));
  }

  buildBeside(parent) {
    const group = element(parent, 'span', {role: 'group', 'aria-label': 'Beside the solver', class: 'cep-beside'});
    this.beside = Object.fromEntries(Object.entries(SHEETS).slice(1).map(([name, {label}]) => {
      const id = `${this.id}-beside-${name}`, box = element(group, 'input', {type: 'checkbox', id});
      box.checked = name === 'flow' || name === 'network';
      box.addEventListener('change', () => this.restart());
      element(group, 'label', {for: id}, label);
      return [name, box];
    }));
  }

  buildStrength(parent) {
    const box = element(parent, 'span', {class: 'cep-strength'}), id = `${this.id}-strength`;
    element(box, 'label', {for: id}, 'Stimulus');
    const out = element(box, 'output', {for: id});
    this.strength = element(box, 'input', {type: 'range', id, min: -100, max: 300, step: 5, value: 100});
    const {amplitude} = DATA.model.stimulus;
    this.strength.addEventListener('input', this.showStrength = () => {
      const part = this.strength.value / 100, current = (amplitude * part).toFixed(0);
      out.textContent = `${this.strength.value} %, ${current} pA/pF`;
      this.strength.setAttribute('aria-valuetext', `${current} picoampere per picofarad`);
      if (this.worker) this.send('set', {values: {strength: part}});
    });
    this.showStrength();
  }

  buildChannels(parent) {
    const channels = element(parent, 'details');
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
      this.forgetTraces();
      this.send('set', {values: {electrode: this.node()}});
      this.say(`Electrode at ${this.place()}`);
    } else {
      this.blocked[what === 'block' ? 'add' : 'delete'](this.node());
      this.send('blocked', {nodes: [...this.blocked]});
      this.say(`${this.blocked.size} nodes conduct nothing.`
        + (this.panes.network.figure.hidden ? '' : ' The network is not told.'));
    }
    this.redraw();
  }

  pace() {
    this.send('pace', {row: this.cursor[0], column: this.cursor[1]});
    this.say(`Paced at ${this.place()}`);
    this.challenge.paced();
    if (!this.wish) this.send('step', {ms: 1});
    if (this.site.value === 'square') this.pacemaker();
    this.redraw();
  }

  pacemaker() {
    const corner = [this.rows - 1, this.rows - 1], {value} = this.cycle;
    this.send('set', {values: {cycle: value === 's1s2' ? value : +value,
      site: this.site.value === 'corner' ? corner : this.cursor}});
    if (value === 's1s2') this.say('Four stimuli 500 ms apart, then one that comes 10 ms earlier each round: its point '
      + 'on the curve below is the restitution of the tissue at the electrode.');
  }

  look(variable) {
    this.forgetTraces(false);
    const v = variables[variable], stop = k => `rgb(${v.colours.slice(3 * k, 3 * k + 3).join(',')})`;
    const stops = Array.from({length: 17}, (_, k) => stop(k * 15));
    this.bar.style.background = `linear-gradient(to right,${stops.join(',')})`;
    this.low.textContent = `${v.low} ${v.unit}`;
    this.high.textContent = `${v.high} ${v.unit}`;
    this.send('set', {values: {variable}});
  }

  forgetTraces(beats = true) {
    for (const pane of Object.values(this.panes)) {
      pane.trace = [];
      if (beats) pane.beats = [];
    }
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

  /* What may stand beside the solver on a sheet of this size. */
  possible(name) {
    return {coarse: true, flow: this.rows < GRAPHICS, network: this.rows === DATA.network.shape[0]}[name];
  }

  restart() {
    this.forgetTraces();
    this.path = [];
    const beside = Object.keys(this.beside).filter(name => this.possible(name) && this.beside[name].checked);
    for (const [name, box] of Object.entries(this.beside)) box.disabled = !this.possible(name);
    for (const [name, pane] of Object.entries(this.panes))
      pane.figure.hidden = pane.row.hidden = name !== 'solver' && !beside.includes(name);
    this.stage.style.setProperty('--panes', beside.length + 1);
    this.showButton.hidden = !beside.includes('network');
    this.send('set', {values: {speed: +this.speed.value, electrode: this.node(this.electrode), cycle: 0,
      side: +this.side.value, strength: this.strength.value / 100}});
    this.epoch = (this.epoch ?? 0) + 1;
    this.send('reset', {epoch: this.epoch, rows: this.rows, columns: this.rows, dt: +this.steps.value, factors: this.factors(),
      blocked: [...this.blocked], beside, card: this.options.card});
    this.pacemaker();
    this.look(+this.variable.value);
    this.say('Rest. All sheets start from the same state.');
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

  /* ---- an address that holds the state ---- */

  state() {
    const changed = Object.entries(this.factors()).filter(([, factor]) => factor !== 1);
    return {rows: this.rows, cycle: this.cycle.value, site: this.site.value, dt: this.steps.value,
      strength: this.strength.value, side: this.side.value, variable: this.variable.value, speed: this.speed.value,
      cursor: this.cursor.join(), electrode: this.electrode.join(),
      beside: Object.keys(this.beside).filter(name => this.beside[name].checked).join(),
      blocked: runsOf([...this.blocked].sort((a, b) => a - b)).join(),
      ...Object.fromEntries(changed.map(([name, factor]) => [name, +factor.toPrecision(3)]))};
  }

  share() {
    const address = `${location.href.split('#')[0]}#live:${new URLSearchParams(this.state())}`;
    history.replaceState(null, '', address);
    navigator.clipboard?.writeText(address).catch(() => {});
    this.say('The address of this page now holds the sheet as you set it. It is copied where the browser allows.');
  }

  restore(kept) {
    const pair = text => text.split(',').map(Number);
    for (const name of ['site', 'strength', 'side', 'variable', 'speed', 'cycle'])
      if (kept[name] !== undefined) this[name].value = kept[name];
    if (kept.dt) this.steps.value = kept.dt;
    if (kept.cursor) this.cursor = pair(kept.cursor);
    if (kept.electrode) this.electrode = pair(kept.electrode);
    if (kept.beside !== undefined)
      for (const [name, box] of Object.entries(this.beside)) box.checked = kept.beside.split(',').includes(name);
    if (kept.blocked) this.blocked = new Set(nodesOf(kept.blocked));
    this.showStrength();
    if (kept.dt || kept.blocked || kept.beside !== undefined) this.restart();
  }

  /* ---- what comes back ---- */

  receive(message) {
    // On its way when something else was asked for: another sheet, variable or node.
    const [first] = message.sheets;
    if (message.activity.epoch !== this.epoch || first.values.length !== this.rows ** 2 || message.variable !== +this.variable.value
      || message.electrode !== this.node(this.electrode)) return;
    if (this.rows >= GRAPHICS && message.t === 0)
      this.say(message.card ? 'Rest. The graphics card computes, in single precision.'
        : 'Rest. This browser offers no graphics card here, so the processor computes: slowly.');
    this.frame = message;
    for (const sheet of message.sheets) {
      const pane = this.panes[sheet.name], from = Math.floor(message.t + 1e-6) - sheet.trace.length + 1;
      sheet.trace.forEach((value, k) => pane.trace.push([from + k, value]));
      while (pane.trace.length && pane.trace[0][0] < message.t - SPAN) pane.trace.shift();
      pane.beats.push(...sheet.beats);
    }
    const {tips} = message;
    for (let k = 0; k < tips.length; k += 3) this.path.push([message.t, tips[k], tips[k + 1]]);
    this.path = this.path.filter(([t]) => t > message.t - FADE && t <= message.t);
    this.challenge.judge(message);
    this.redraw();
  }

  redraw() {
    this.pending ??= requestAnimationFrame(now => {
      this.pending = null;
      if (!this.frame) return;
      if (this.frame !== this.last) this.drawn = [...this.drawn.filter(t => t > now - 1000), now];
      this.last = this.frame;
      for (const sheet of this.frame.sheets) drawSheet(this, this.panes[sheet.name].canvas, sheet);
      drawScope(this);
      drawCurve(this);
      this.drawNumbers(now);
    });
  }

  drawNumbers(now) {
    if (now - this.written < 250) return;
    this.written = now;
    const {sheets, t, activity} = this.frame, fired = activity.excited > t - 1000;
    const sheetsNow = {};
    for (const sheet of sheets) {
      const {name, error, rms, clock, APD, share} = sheet, {cells, lamp} = this.panes[name];
      // At rest nothing is there to be compared.
      const texts = [...(fired && error ? error : variables.map(() => NaN)), error ? rms : NaN].map(brief);
      texts.push(brief(APD), brief(clock), share === undefined ? '–' : `${Math.round(100 * share)} %`);
      cells.forEach((cell, k) => { cell.textContent = texts[k]; });
      sheetsNow[name] = {error, rms, clock, APD, share};
      if (name === 'network') {
        // A beat has to be seen before it can surprise.
        const surprise = fired && sheet.seen >= REMEMBERED ? Math.sqrt(error.reduce((a, b) => a + b) / error.length) : NaN;
        lamp.textContent = isNaN(surprise) ? ''
          : `${surprise > SURPRISED ? 'surprised' : 'as foretold'}, ${brief(surprise)}`;
        lamp.classList.toggle('cep-on', surprise > SURPRISED);
        sheetsNow.network.surprise = surprise;
      }
    }
    this.readout = {t, sheets: sheetsNow, frames: this.drawn.length};
    const {trace} = this.panes.solver, v = variables[+this.variable.value], node = trace[trace.length - 1];
    this.scope.setAttribute('aria-label', `${v.symbol} at the electrode against time`
      + (node ? `; at ${t} ms ${brief(node[1] * v.factor)} ${v.unit}` : ''));
    const {beats} = this.panes.solver, beat = beats[beats.length - 1];
    this.curve.setAttribute('aria-label', 'Restitution: APD90 against diastolic interval at the electrode'
      + (beat ? `; the solver's last beat ${brief(beat.APD)} ms after ${brief(beat.DI)} ms` : ''));
    this.onReadout?.(this.readout);
  }
}

const brief = x => !Number.isFinite(x) ? '–' : x === 0 ? '0'
  : Math.abs(x) < 1e-3 ? x.toExponential(0) : String(+x.toPrecision(Math.abs(x) >= 100 ? 3 : 2));

/* Nodes on the straight line between two. */
function lineOf([a, b], [c, d]) {
  const steps = Math.max(Math.abs(c - a), Math.abs(d - b));
  return Array.from({length: steps}, (_, k) =>
    [a + (c - a) * (k + 1) / steps, b + (d - b) * (k + 1) / steps].map(Math.round));
}

/* 3, 4, 5, 9 as 3-5, 9; and back. */
const runsOf = nodes => nodes.reduce((runs, k) => {
  const last = runs[runs.length - 1];
  if (last && last[1] === k - 1) last[1] = k;
  else runs.push([k, k]);
  return runs;
}, []).map(([a, b]) => a === b ? a : `${a}-${b}`);
const nodesOf = text => text.split(',').flatMap(run => {
  const [a, b = a] = run.split('-').map(Number);
  return Array.from({length: b - a + 1}, (_, k) => a + k);
});

/* What the address of the page asks for, with channels as factors. */
function addressed() {
  const [, text] = location.hash.split('#live:');
  if (text === undefined) return {};
  const kept = Object.fromEntries(new URLSearchParams(text));
  kept.factors = Object.fromEntries(DATA.look.channels.filter(name => name in kept).map(name => [name, +kept[name]]));
  return kept;
}

/* ---- for programs: a run of the solver, beats in a trace, a free run of the network ---- */

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
  beats: setup => ask('beats', setup),
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
