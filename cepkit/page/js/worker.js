/* The worker: runs solver and surrogate side by side and posts what the page draws.

   Messages in: {type, ...}, one handler a type below.
   Messages out: 'frame' while it runs, 'answer' to run and rollout. */
'use strict';

let model, net, tissue, sheet, history, masks, setup, timer = null, debt = 0, last = 0;
const state = {speed: 100, variable: 0, electrode: 0, cycle: 0, site: null};
const REMEMBERED = 1000;  // frames of the solver's own past that the surrogate may be shown
const DELAY = 5, CENTRE = -60;  // frames and mV of the phase, as in cepkit.measure.phase

/* ---- stimuli ---- */

const square = (row, column, side = 5) => {
  const mask = new Uint8Array(tissue.n), from = (x, size) => clip(x - (side >> 1), 0, size - side);
  const top = from(row, tissue.rows), left = from(column, tissue.columns);
  for (let i = top; i < top + side; i++) mask.fill(1, i * tissue.columns + left, i * tissue.columns + left + side);
  return mask;
};

const box = (rows, columns) => {
  const mask = new Uint8Array(tissue.n);
  for (let i = 0; i < rows; i++) mask.fill(1, i * tissue.columns, i * tissue.columns + columns);
  return mask;
};

let queue = [];  // {start, mask} of stimuli to come, on whole milliseconds

const pace = (mask, start = Math.round(tissue.t)) => queue.push({start, mask});

/* All nodes that a stimulus starting now touches, or null; the solver is handed the current. */
function due() {
  const now = Math.round(tissue.t);
  if (state.cycle && now >= state.nextBeat) {
    pace(square(...state.site));
    state.nextBeat = now + state.cycle;
  }
  const begins = queue.filter(s => s.start <= now);
  queue = queue.filter(s => s.start > now);
  if (!begins.length) return null;
  const mask = begins.reduce((sum, s) => sum.map((a, k) => a | s.mask[k]), new Uint8Array(tissue.n));
  tissue.stimuli.push({start: now, mask, ...model.stimulus});
  return mask;
}

/* ---- one millisecond of both ---- */

function forward() {
  const mask = due(), frame = new Float32Array(tissue.n * VARS);
  const a = performance.now();
  tissue.advance(1);
  const b = performance.now();
  tissue.frame(frame);
  history.push(frame);
  masks.push(mask);
  if (history.length > REMEMBERED) { history.shift(); masks.shift(); }
  stats.solver += b - a;
  if (sheet) {
    const c = performance.now();
    sheet.next(mask, stats.answer);
    stats.surrogate += performance.now() - c;
    compare(frame, stats.answer);
  }
  stats.span++;
  const at = 4 * state.electrode + state.variable;
  stats.trace.push(frame[at], sheet ? stats.answer[at] : NaN);
}

/* Mean square differences in z-scores, forgotten over a second; and the potential's as it is now [mV]. */
function compare(truth, answer) {
  const squares = new Float64Array(VARS), std = net.scaling.std;
  for (let k = 0; k < truth.length; k++) squares[k % VARS] += (truth[k] - answer[k]) ** 2;
  stats.seen = Math.min(stats.seen + 1, REMEMBERED);
  squares.forEach((sum, v) => { stats.error[v] += (sum / tissue.n / std[v] ** 2 - stats.error[v]) / stats.seen; });
  stats.rms = Math.sqrt(squares[0] / tissue.n);
}

/* Where the phase winds: the tip of a spiral lies in such a square of four nodes. */
function tips() {
  const now = history[history.length - 1], before = history[history.length - 1 - DELAY], found = [];
  if (!before) return found;
  const {rows, columns} = tissue, phase = k => Math.atan2(now[4 * k] - CENTRE, before[4 * k] - CENTRE);
  const angle = Float64Array.from({length: tissue.n}, (_, k) => phase(k)), whole = 2 * Math.PI;
  for (let i = 0; i < rows - 1; i++) for (let j = 0; j < columns - 1; j++) {
    const k = i * columns + j, corners = [k, k + 1, k + columns + 1, k + columns];
    if (corners.some(node => tissue.D[node] === 0)) continue;  // around a scar a wave may turn without a tip
    let turn = 0;
    corners.forEach((node, c) => {
      const step = angle[corners[(c + 1) % 4]] - angle[node];
      turn += step - whole * Math.round(step / whole);
    });
    if (Math.abs(turn) > Math.PI) found.push(i + 0.5, j + 0.5, Math.sign(turn));
  }
  return found;
}

/* ---- the loop ---- */

let stats;
const begin = () => {
  stats = {solver: 0, surrogate: 0, span: 0, trace: [], seen: 0, error: new Float64Array(VARS), rms: 0,
    answer: tissue && new Float32Array(tissue.n * VARS)};
};

const column = (frame, v) => Float32Array.from({length: tissue.n}, (_, k) => frame[4 * k + v]);

function post() {
  const v = state.variable, frame = history[history.length - 1];
  const message = {
    type: 'frame', t: tissue.t, variable: v, electrode: state.electrode,
    values: column(frame, v), answer: sheet ? column(stats.answer, v) : null,
    trace: Float32Array.from(stats.trace), tips: tips(), error: sheet ? [...stats.error] : null, rms: stats.rms,
    clocks: stats.span ? [stats.solver / stats.span, sheet ? stats.surrogate / stats.span : NaN] : null,
  };
  stats.trace = [];
  const given = [message.values, message.trace, message.answer].filter(Boolean);
  postMessage(message, given.map(array => array.buffer));
}

/* Advance as far as the chosen speed asks, but come back to post a frame after some 12 ms. */
function tick() {
  const now = performance.now();
  debt = Math.min(debt + (now - last) / 1000 * state.speed, 40);
  last = now;
  const until = now + 12;
  let moved = false;
  while (debt >= 1 && (performance.now() < until || !moved)) { forward(); debt--; moved = true; }
  if (moved) post();
  timer = setTimeout(tick, moved ? 0 : 4);
}

/* The surrogate begins with what the solver has shown: frames from the last ones on, or one. */
function show(frames) {
  sheet = null;
  if (!setup.surrogate) return;
  const from = Math.max(0, history.length - frames), part = history.slice(from);
  const joined = new Float32Array(part.length * tissue.n * VARS);
  part.forEach((frame, k) => joined.set(frame, k * frame.length));
  sheet = new PacedSheet(net, joined, masks.slice(from));
  begin();
  stats.answer.set(history[history.length - 1]);
}

const handlers = {
  init(m) { model = m.model; net = new Networks(m.network); },

  reset(m) {
    setup = {rows: m.rows, columns: m.columns, surrogate: m.rows === net.shape[0] && m.columns === net.shape[1]};
    tissue = new Tissue(model, m);
    tissue.setFactors(m.factors || {});
    tissue.setBlocked(m.blocked || []);
    queue = [];
    state.nextBeat = 0;
    history = [tissue.frame(new Float32Array(tissue.n * VARS))];
    masks = [];
    begin();
    show(1);
    post();
  },

  play() { if (timer === null) { last = performance.now(); tick(); } },
  pause() { clearTimeout(timer); timer = null; },
  pace(m) { pace(square(m.row, m.column)); },
  step(m) { for (let k = 0; k < m.ms; k++) forward(); post(); },
  blocked(m) { tissue.setBlocked(m.nodes); },
  factors(m) { tissue?.setFactors(m.factors); },
  dt(m) { tissue.setStep(m.dt); },
  show() { show(REMEMBERED); post(); },
  set(m) {
    if (stats) stats.trace = [];  // of another variable or node
    const beat = 'cycle' in m.values && m.values.cycle !== state.cycle;
    Object.assign(state, m.values);
    if (beat) state.nextBeat = Math.round(tissue.t);
    if (timer === null && tissue) post();
  },

  /* A plane wave from the left, and a quarter of the sheet behind it. */
  crossField(m) {
    const now = Math.round(tissue.t);
    pace(box(tissue.rows, m.width), now);
    pace(box((tissue.rows + 1) >> 1, (tissue.columns + 1) >> 1), now + m.s2);
  },

  /* For tests: a run of the solver alone, from the initial state. */
  run(m) {
    const sheet = new Tissue(model, m), frames = Math.round(m.duration), activations = [];
    sheet.setFactors(m.factors || {});
    sheet.setBlocked(m.blocked || []);
    sheet.stimuli = m.stimuli.map(s => ({...model.stimulus, ...s}));
    sheet.onActivation = (t, node) => activations.push(t, node);
    const out = new Float64Array((frames + 1) * sheet.n * VARS), from = performance.now();
    sheet.frame(out);
    for (let k = 1; k <= frames; k++) { sheet.advance(1); sheet.frame(out, k * sheet.n * VARS); }
    answer(m, {frames: out, activations: Float64Array.from(activations), ms: performance.now() - from});
  },

  /* For tests: a free run of the surrogate. */
  rollout(m) {
    const given = m.history.length / (net.nodes * VARS);
    const sheet = new PacedSheet(net, m.history, m.masks.slice(0, given - 1));
    const out = new Float64Array(m.steps * net.nodes * VARS), from = performance.now();
    for (let k = 0; k < m.steps; k++) sheet.next(m.masks[given - 1 + k], out, k * net.nodes * VARS);
    answer(m, {frames: out, ms: performance.now() - from});
  },
};

const answer = (m, result) => postMessage({type: 'answer', id: m.id, ...result}, [result.frames.buffer]);

onmessage = event => handlers[event.data.type](event.data);
