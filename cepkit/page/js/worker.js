/* The worker: runs the solver and what stands beside it, and posts what the page draws.

   Messages in: {type, ...}, one handler a type below.
   Messages out: 'frame' while it runs, 'answer' to run, beats and rollout. */
'use strict';

let model, net, flow, learnt, tissue, sheets = [], history, masks, timer = null, debt = 0, last = 0, activity;
const state = {speed: 100, variable: 0, electrode: 0, cycle: 0, site: null, strength: 1, side: 5};
const REMEMBERED = 1000;  // frames of the solver's own past that the network may be shown
const COARSE = 0.1;  // step of the second solver [ms]
const LARGE = 256;  // from so many rows the graphics card steps, if there is one
const MOMENT = 0.2;  // a sheet so large is drawn so often [ms]; all others every millisecond
const DELAY = 5, CENTRE = -60;  // frames and mV of the phase, as in cepkit.measure.phase
/* S1-S2: so many S1, so far apart, then one S2, first and at last so long after them, earlier each round [ms]. */
const S1S2 = {beats: 4, cycle: 500, first: 450, last: 250, less: 10};

/* ---- what can run: an object with advance(), frame(out) ---- */

/* A graphics card that a processor pretends to be is slower than that processor. */
const onCard = ({rows, card}) => rows >= LARGE && GpuTissue.available() && (card || !GpuTissue.software);
const solver = setup => onCard(setup) ? new GpuTissue(model, setup) : new Tissue(model, setup);
const KINDS = {
  solver,
  coarse: setup => solver({...setup, dt: COARSE}),
  flow: setup => new FlowTissue(model, flow ??= new FlowMap(learnt), setup),  // made when first asked for
  network: () => new Network(1),
};

/* The network begins with what the solver has shown: so many of its last frames. */
class Network {
  constructor(frames) {
    const from = Math.max(0, history.length - frames), part = history.slice(from);
    const joined = new Float32Array(part.length * tissue.n * VARS);
    part.forEach((frame, k) => joined.set(frame, k * frame.length));
    this.sheet = new PacedSheet(net, joined, masks.slice(from));
    this.now = Float32Array.from(part[part.length - 1]);
  }

  advance(span, mask) { this.sheet.next(mask, this.now); }
  frame(out) { out.set(this.now); return out; }
}

/* One of the sheets: its last frame, its cost, its distance from the first, its beats at the electrode. */
class Sheet {
  constructor(name, engine) {
    Object.assign(this, {name, engine, now: new Float32Array(tissue.n * VARS), ms: 0, span: 0});
    engine.frame(this.now);
    this.forget();
  }

  forget() { Object.assign(this, {trace: [], seen: 0, error: new Float64Array(VARS), rms: 0, beats: new Beats()}); }

  advance(span, mask) {
    const from = performance.now();
    this.engine.advance(span, mask);
    this.engine.frame(this.now);  // a graphics card has only now done it
    this.ms += performance.now() - from;
    this.span += span;
  }

  /* What is kept of each millisecond. */
  note() {
    this.engine.t = tissue.t;
    this.trace.push(this.now[VARS * state.electrode + state.variable]);
    this.beats.add(tissue.t, this.now[VARS * state.electrode]);
  }

  /* Mean square differences in z-scores, forgotten over a second; and the potential's as it is now [mV]. */
  compare(truth) {
    const squares = new Float64Array(VARS), std = net.scaling.std;
    for (let k = 0; k < truth.length; k++) squares[k % VARS] += (truth[k] - this.now[k]) ** 2;
    this.seen = Math.min(this.seen + 1, REMEMBERED);
    squares.forEach((sum, v) => { this.error[v] += (sum / tissue.n / std[v] ** 2 - this.error[v]) / this.seen; });
    this.rms = Math.sqrt(squares[0] / tissue.n);
  }

  report(first) {
    const {name, engine, seen, error, rms, beats, ms, span} = this;
    const out = {name, seen, values: column(this.now, state.variable), trace: Float32Array.from(this.trace),
      error: first ? null : [...error], rms, clock: span ? ms / span : NaN, APD: beats.last?.APD ?? NaN,
      beats: beats.found.splice(0), share: engine.share, carried: engine.carried && Uint8Array.from(engine.carried)};
    this.trace = [];
    return out;
  }
}

/* APD90 and diastolic interval [ms] of one node from frames a millisecond apart, as cepkit.measure.beats has them. */
class Beats {
  constructor() { Object.assign(this, {past: [], ready: false, course: null, found: [], last: null, end: NaN}); }

  add(t, V) {
    const {past} = this, before = past[past.length - 1];
    if (V < net.reset) this.ready = true;
    if (this.ready && before < net.up && V >= net.up) {
      Object.assign(this, {ready: false, course: [...past, V], onset: past.length - 1, begin: t - past.length});
    } else if (this.course) {
      this.course.push(V);
      if (this.ready) this.finish();
    }
    past.push(V);
    if (past.length > 11) past.shift();
  }

  /* Once the cell counts as at rest: where 90 % of the way from the peak to the rest before is crossed, up and down. */
  finish() {
    const {course, onset, begin} = this, rest = Math.min(...course.slice(0, onset + 1)), peak = Math.max(...course);
    const level = peak - 0.9 * (peak - rest), top = course.indexOf(peak);
    const between = k => begin + k + (level - course[k]) / (course[k + 1] - course[k]);
    const down = course.findIndex((V, k) => k >= top && V > level && course[k + 1] <= level);
    if (down < 0) return;
    const start = between(Math.max(0, course.findLastIndex((V, k) => k <= onset && V <= level)));
    this.last = {start, APD: between(down) - start, DI: start - this.end};
    if (!isNaN(this.end)) this.found.push(this.last);
    Object.assign(this, {end: between(down), course: null});
  }
}

/* ---- stimuli ---- */

const square = (row, column, side = state.side) => {
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

let queue = [];  // {start, mask, strength} of stimuli to come, on whole milliseconds

const pace = (mask, start = Math.round(tissue.t), strength = 1) => queue.push({start, mask, strength});

/* The pacemaker: a stimulus every so often, or rounds of S1-S2. */
function beat(now) {
  if (!state.cycle || now < state.nextBeat) return;
  pace(square(...state.site));
  if (state.cycle !== 's1s2') { state.nextBeat = now + state.cycle; return; }
  const {beats, cycle, first, last, less} = S1S2;
  state.coupling ??= first;
  state.beat = ((state.beat ?? 0) + 1) % (beats + 1);  // the next one's number, the S2 being 0
  state.nextBeat = now + (state.beat === 0 ? state.coupling : cycle);
  if (state.beat === 1 && (state.coupling -= less) < last) state.coupling = first;
}

/* All nodes that a stimulus starting now touches, or null; those who solve are handed the current. */
function due() {
  const now = Math.round(tissue.t);
  beat(now);
  const begins = queue.filter(s => s.start <= now);
  queue = queue.filter(s => s.start > now);
  if (!begins.length) return null;
  for (const {mask, strength} of begins) {
    const {amplitude, duration} = model.stimulus;
    for (const {engine} of sheets) engine.stimuli?.push({start: now, mask, amplitude: amplitude * strength, duration});
  }
  Object.assign(activity, {stimulus: now, fired: 0});
  return begins.reduce((sum, s) => sum.map((a, k) => a | s.mask[k]), new Uint8Array(tissue.n));
}

/* ---- one moment of all, most often a millisecond ---- */

const moment = () => tissue.rows < LARGE ? 1 : MOMENT;

function forward() {
  const span = moment(), whole = Math.round(tissue.t), mask = Math.abs(tissue.t - whole) < 1e-6 ? due() : null;
  for (const sheet of sheets) sheet.advance(span, mask);
  if (Math.abs(tissue.t - Math.round(tissue.t)) < 1e-6) millisecond(mask);
}

function millisecond(mask) {
  tissue.t = Math.round(tissue.t);
  for (const sheet of sheets) sheet.note();
  const [first, ...others] = sheets, frame = Float32Array.from(first.now);
  for (const sheet of others) sheet.compare(frame);
  history.push(frame);
  masks.push(mask);
  const kept = tissue.n === net.nodes ? REMEMBERED : DELAY + 1;
  while (history.length > kept) { history.shift(); masks.shift(); }
  watch(frame);
}

/* What a challenge asks for: activations since the last stimulus, when anything was last excited, since when a tip has
   been there. */
function watch(frame) {
  const before = history[history.length - 2], late = tissue.t > activity.stimulus + 5;
  let excited = false;
  for (let k = 0; k < frame.length; k += VARS) {
    excited ||= frame[k] > net.reset;
    if (late && frame[k] >= net.up && before[k] < net.up) activity.fired++;
  }
  if (excited) activity.excited = tissue.t;
  activity.tips = tips();
  if (activity.tips.length) activity.turning ??= tissue.t;
  else activity.turning = null;
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

const column = (frame, v) => Float32Array.from({length: tissue.n}, (_, k) => frame[4 * k + v]);

function post() {
  const message = {type: 'frame', t: tissue.t, variable: state.variable, electrode: state.electrode,
    card: tissue instanceof GpuTissue, activity: {...activity}, tips: activity.tips,
    sheets: sheets.map((sheet, k) => sheet.report(k === 0))};
  postMessage(message, message.sheets.flatMap(sheet => [sheet.values.buffer, sheet.trace.buffer]));
}

/* Advance as far as the chosen speed asks, but come back to post a frame after some 12 ms. */
function tick() {
  const now = performance.now();
  debt = Math.min(debt + (now - last) / 1000 * state.speed, 40);
  last = now;
  const until = now + 12;
  let moved = false;
  while (debt >= moment() && (performance.now() < until || !moved)) { forward(); debt -= moment(); moved = true; }
  if (moved) post();
  timer = setTimeout(tick, moved ? 0 : 4);
}

const each = (method, argument) => sheets.forEach(({engine}) => engine[method]?.(argument));

const handlers = {
  init(m) { model = m.model; net = new Networks(m.network); learnt = m.flowMap; },

  reset(m) {
    each('dispose');
    sheets = [];
    tissue = KINDS.solver(m);
    tissue.setFactors(m.factors || {});
    tissue.setBlocked(m.blocked || []);
    queue = [];
    state.nextBeat = 0;
    history = [tissue.frame(new Float32Array(tissue.n * VARS))];
    masks = [];
    activity = {epoch: m.epoch, stimulus: 0, fired: 0, excited: -Infinity, turning: null, tips: []};
    sheets.push(new Sheet('solver', tissue));
    for (const name of m.beside) {
      const engine = KINDS[name](m);
      engine.setFactors?.(m.factors || {});
      engine.setBlocked?.(m.blocked || []);
      sheets.push(new Sheet(name, engine));
    }
    post();
  },

  play() { if (timer === null) { last = performance.now(); tick(); } },
  pause() { clearTimeout(timer); timer = null; },
  pace(m) { pace(square(m.row, m.column, m.side ?? state.side), Math.round(tissue.t) + (m.delay ?? 0), state.strength); },
  step(m) { for (let k = 0; k < m.ms / moment(); k++) forward(); post(); },
  blocked(m) { each('setBlocked', m.nodes); },
  factors(m) { each('setFactors', m.factors); },
  dt(m) { sheets.forEach(({name, engine}) => { if (name !== 'coarse') engine.setStep?.(m.dt); }); },

  /* The network begins anew with the last second of the solver. */
  show() {
    const k = sheets.findIndex(({name}) => name === 'network');
    sheets[k] = new Sheet('network', new Network(REMEMBERED));
    post();
  },

  set(m) {
    if ('electrode' in m.values || 'variable' in m.values) for (const sheet of sheets) {
      sheet.trace = [];
      if (m.values.electrode !== state.electrode) sheet.beats = new Beats();
    }
    const beat = 'cycle' in m.values && m.values.cycle !== state.cycle;
    Object.assign(state, m.values);
    if (beat) Object.assign(state, {nextBeat: Math.round(tissue?.t ?? 0), beat: 0, coupling: undefined});
    if (timer === null && sheets.length) post();
  },

  /* A plane wave from the left, and, if asked, a quarter of the sheet behind it. */
  crossField(m) {
    const now = Math.round(tissue.t);
    pace(box(tissue.rows, m.width), now);
    if (m.s2) pace(box((tissue.rows + 1) >> 1, (tissue.columns + 1) >> 1), now + m.s2);
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

  /* For tests: the beats in a trace of the potential, a value a millisecond. */
  beats(m) {
    const beats = new Beats();
    m.trace.forEach((V, t) => beats.add(t, V));
    answer(m, {frames: Float64Array.from(beats.found.flatMap(b => [b.start, b.APD, b.DI]))});
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
