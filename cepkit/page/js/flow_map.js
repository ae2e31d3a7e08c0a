/* The flow map of cepkit/bench/methods/flow_map.py: a sheet that the solver steps only where something happens fast.

   FlowMap is the net: from the full state of a cell to the course of its 19 variables over the next second.
   FlowTissue is a Tissue cut into square tiles.  Each is either solved, by Tissue's own steps, or carried: then nobody
   steps its nodes, and their variables are read from their courses.  Needs tp06.js, and numbers() of paced.js. */
'use strict';

/* ---- the net ---- */

/* A layer of a network for rows of inputs.  Weights stand in panels of four outputs, whose sums stay in registers
   while the inputs go by; rows of results are padded to whole panels. */
class Layer {
  /* weight: a function of input and output; bias: of the output. */
  constructor(inputs, outputs, weight, bias) {
    const width = 4 * Math.ceil(outputs / 4);
    Object.assign(this, {inputs, width, bias: new Float64Array(width), weight: new Float32Array(inputs * width)});
    for (let o = 0; o < outputs; o++) {
      this.bias[o] = bias(o);
      const at = (o & ~3) * inputs + (o & 3);
      for (let i = 0; i < inputs; i++) this.weight[at + 4 * i] = weight(i, o);
    }
  }

  apply(x, count, silu = false) {
    const {inputs, width, weight, bias} = this, out = new Float64Array(count * width);
    for (let p = 0; p < width; p += 4) for (let s = 0; s < count; s++) {
      let a = bias[p], b = bias[p + 1], c = bias[p + 2], d = bias[p + 3];
      for (let i = s * inputs, q = p * inputs, end = i + inputs; i < end; i++, q += 4) {
        const v = x[i];
        a += v * weight[q];
        b += v * weight[q + 1];
        c += v * weight[q + 2];
        d += v * weight[q + 3];
      }
      const at = s * width + p;
      out[at] = a; out[at + 1] = b; out[at + 2] = c; out[at + 3] = d;
    }
    if (silu) for (let k = 0; k < out.length; k++) out[k] /= 1 + exp(-out[k]);
    return out;
  }
}

/* The cubic B-splines of a spline through values at given times (its ends as SciPy's, "not a knot"), at each whole
   millisecond: the first of the four that are not 0, and the four. */
function splineTable(times) {
  const first = times[0], last = times[times.length - 1];
  const t = [first, first, first, first, ...times.slice(2, -2), last, last, last, last];
  const begins = new Uint16Array(last + 1), values = new Float32Array(4 * (last + 1));
  let m = 3;
  for (let x = 0; x <= last; x++) {
    while (m < times.length - 1 && t[m + 1] <= x) m++;
    let b = [1];
    for (let degree = 1; degree <= 3; degree++) {  // de Boor: each from two of the degree below
      const next = new Array(degree + 1).fill(0);
      for (let j = 0; j < degree; j++) {
        const low = t[m + 1 - degree + j], high = t[m + 1 + j], share = b[j] / (high - low);
        next[j] += (high - x) * share;
        next[j + 1] += (x - low) * share;
      }
      b = next;
    }
    begins[x] = m - 3;
    values.set(b, 4 * x);
  }
  return {begins, values, last};
}

class FlowMap {
  /* exported: what cepkit.live.export_flow_map() gives. */
  constructor(exported) {
    Object.assign(this, exported);
    const layers = ['code.0', 'code.2', 'code.4', 'code.6', 'doubt.0', 'doubt.2'].map(name => this.layer(name));
    Object.assign(this, {code: layers.slice(0, 4), unsure: layers.slice(4), inputs: layers[0].inputs});
    this.rank = this.code[3].width;
    this.scale = Object.fromEntries(Object.entries(exported.scale).map(([name, values]) => [name, numbers(values)]));
    this.limit = 2 * Math.log10(this.doubt / this.scale.std[0]);
    this.spline = splineTable(this.knots);
    this.own = this.numbersOf(['Cai', 'CaSS']);
    this.isSlow = this.states.map(name => this.slow.includes(name));
    const sets = {all: this.states, shown: ['Vm', 'Cai', 'CaSR', 'CaSS'], near: this.near};
    const table = numbers(exported.table);
    this.written = Object.fromEntries(Object.entries(sets).map(([set, names]) => [set, this.writers(table, names)]));
  }

  /* As PyTorch keeps it: weights (outputs, inputs). */
  layer(name) {
    const {shape: [outputs, inputs], ...packed} = this.layers[`${name}.weight`], weight = numbers(packed);
    const bias = numbers(this.layers[`${name}.bias`]);
    return new Layer(inputs, outputs, (i, o) => weight[o * inputs + i], o => bias[o]);
  }

  numbersOf(names) { return names.map(name => this.states.indexOf(name)); }

  /* Of some variables: their numbers, and of each B-spline the layer that writes its coefficients. */
  writers(table, names) {
    const {rank, states} = this, which = this.numbersOf(names);
    const value = (s, o, i) => table[(s * states.length + which[o]) * (rank + 1) + i];  // the bias stands last
    const layers = this.knots.map((_, s) => new Layer(rank, which.length, (i, o) => value(s, o, i),
      o => value(s, o, rank)));
    return {which, layers};
  }

  /* Features scaled as the networks take them. */
  scaled(X) {
    const {x_mean: mean, x_std: std} = this.scale;
    return Float64Array.from(X, (v, k) => Math.fround((v - mean[k % this.inputs]) / std[k % this.inputs]));
  }

  /* Which cells the net expects to know: within what it was shown, with a small error to come. */
  sure(X, count, x = this.scaled(X)) {
    const {low, high} = this.scale, {inputs, limit} = this, [hidden, out] = this.unsure;
    const doubt = out.apply(hidden.apply(x, count, true), count), sure = new Uint8Array(count);
    for (let n = 0; n < count; n++) {
      sure[n] = doubt[n * out.width] < limit;
      for (let i = 0; i < inputs && sure[n]; i++) sure[n] = X[n * inputs + i] >= low[i] && X[n * inputs + i] <= high[i];
    }
    return sure;
  }

  /* From features X (cells, inputs) and states S (cells, 19): what the courses are written from, what they fade from,
     and whether the net knows such cells: it expects to, and it recognises their state. */
  encode(X, S, count) {
    const x = this.scaled(X), known = this.sure(X, count, x), {far} = this.scale, wide = far.length;
    const code = this.code.reduce((h, layer, k) => layer.apply(h, count, k < this.code.length - 1), x);
    const [start] = this.written.all.layers, begin = start.apply(code, count), rest = new Float32Array(count * wide);
    for (let n = 0; n < count; n++) for (let v = 0; v < wide; v++) {
      const away = rest[n * wide + v] = S[n * wide + v] - begin[n * start.width + v];
      if (!(abs(away) <= far[v])) known[n] = 0;
    }
    const late = this.at(code, rest, this.long, 'shown');  // a course that is not over by then is not believed
    for (let n = 0; n < count; n++) if (!(late[n] < this.over)) known[n] = 0;
    return {code, rest, known};
  }

  /* The coefficients of a B-spline, (cells, variables of a set). */
  write(code, set, s) { return this.written[set].layers[s].apply(code, code.length / this.rank); }

  /* States at an age [ms] of courses, (variables, cells), within their bounds: of all variables, shown or near. */
  at(code, rest, age, set = 'all', write = s => this.write(code, set, s)) {
    const {spline: {begins, values, last}, scale: {floor: lowest, roof}, isSlow} = this;
    const {which, layers: [{width}]} = this.written[set], wide = this.states.length;
    const count = code.length / this.rank, out = new Float64Array(which.length * count);
    age = min(max(age, 0), last);
    const low = min(floor(age), last - 1), w = age - low, share = [0, 0, 0, 0, 0];
    for (let j = 0; j < 4; j++) {  // straight between whole milliseconds
      share[j] += (1 - w) * values[4 * low + j];
      share[j + begins[low + 1] - begins[low]] += w * values[4 * low + 4 + j];
    }
    share.forEach((part, j) => {
      if (part === 0) return;
      const written = write(begins[low] + j);
      for (let k = 0; k < which.length; k++)
        for (let n = 0; n < count; n++) out[k * count + n] += part * written[n * width + k];
    });
    const fade = age < 8 * this.fade ? exp(-age / this.fade) : 0;
    which.forEach((v, k) => {
      const part = isSlow[v] ? 1 : fade, least = lowest[v], most = roof[v];
      for (let n = 0, at = k * count; n < count; n++, at++) {
        const x = out[at] + part * rest[n * wide + v];
        out[at] = x < least ? least : x > most ? most : x;
      }
    });
    return out;
  }
}

/* The courses of the nodes of a tile.  Coefficients of what is shown are kept while they are used. */
class Course {
  constructor(map, code, rest, since) { Object.assign(this, {map, code, rest, since, kept: new Map()}); }

  at(t, set) {
    const {map, code, rest, kept} = this;
    if (set !== 'shown') return map.at(code, rest, t - this.since, set);
    return map.at(code, rest, t - this.since, set, s => {
      if (!kept.has(s)) {
        for (const old of kept.keys()) if (old < s - 5) kept.delete(old);
        kept.set(s, map.write(code, set, s));
      }
      return kept.get(s);
    });
  }
}

/* ---- the tissue's diffusion over some ms ---- */

/* exp(-x) I_k(x) for k < count, I_k the modified Bessel functions: Miller's recurrence, downwards. */
function besselShares(x, count) {
  const out = new Float64Array(count);
  let above = 0, now = 1e-300, sum = 0;
  for (let k = count + 40; k >= 0; k--) {
    if (k < count) out[k] = now;
    sum += k ? 2 * now : now;
    [above, now] = [now, above + 2 * k / x * now];
    if (now > 1e200) { above *= 1e-200; now *= 1e-200; sum *= 1e-200; out.forEach((v, j) => { out[j] = v * 1e-200; }); }
  }
  return out.map(v => v / sum);
}

/* Fields (each an array over the nodes of a box of the tissue) after each of some times [ms] of diffusion, by Chebyshev
   polynomials: [field][time].  Nothing leaves the box. */
function smoothed(tissue, box, fields, times) {
  const {top, left} = box, wide = box.right - left, high = box.bottom - top, size = wide * high, {columns} = tissue;
  const [toRight, toLeft, toUp, toDown] = [0, 1, 2, 3].map(() => new Float64Array(size));
  let most = 0;  // the largest sum of weights: an explicit step bears 1 over it
  for (let i = 0, k = 0; i < high; i++) for (let j = 0; j < wide; j++, k++) {
    const node = (top + i) * columns + left + j, [a, b, c, d] = tissue.weights.map(weight => weight[node]);
    most = max(most, a + b + c + d);
    if (j < wide - 1) toRight[k] = a;
    if (j > 0) toLeft[k] = b;
    if (i < high - 1) toUp[k] = c;
    if (i > 0) toDown[k] = d;
  }
  if (most === 0) return fields.map(field => times.map(() => field));
  const terms = Math.ceil(sqrt(12 * max(...times) * most)) + 3, shares = times.map(t => besselShares(t * most, terms));
  // A row on either side, so that edges need no branch; columns weigh 0 there.
  const pad = () => new Float64Array(size + 2 * wide);
  return fields.map(field => {
    let before = pad(), now = pad(), next = pad();
    const out = times.map((_, which) => Float64Array.from(field, v => shares[which][0] * v));
    before.set(field, wide);
    for (let term = 1; term < terms; term++) {
      const from = term === 1 ? before : now, twice = term === 1 ? 1 : 2, less = term === 1 ? 0 : 1;
      for (let k = 0, at = wide; k < size; k++, at++) {
        const v = from[at];
        const change = toRight[k] * (from[at + 1] - v) + toLeft[k] * (from[at - 1] - v)
          + toUp[k] * (from[at + wide] - v) + toDown[k] * (from[at - wide] - v);
        next[at] = twice * (v + change / most) - less * before[at];
      }
      if (term === 1) now.set(next);
      else [before, now, next] = [now, next, before];
      out.forEach((sum, which) => {
        const share = 2 * shares[which][term];
        for (let k = 0; k < size; k++) sum[k] += share * now[wide + k];
      });
    }
    return out;
  });
}

/* ---- the tissue ---- */

const TILE = 8;  // nodes along a side of a tile
const LOT = 3, PARTS = 16;  // so many tiles, or such a part of all, are handed over in a ms: nobody waits long for it
const MARGIN = 24;  // nodes around tiles to be handed over that their features depend on
const PAUSE = 40;  // for so long after a change of the tissue all of it is solved [ms]

class FlowTissue extends Tissue {
  /* model: what cepkit.live.model() exports; map: a FlowMap; setup: {rows, columns, dt}. */
  constructor(model, map, setup) {
    super(model, setup);
    Object.assign(this, {map, carried: new Uint8Array(this.n), span: 0, carriedSpan: 0, met: new WeakSet()});
    this.tiles = this.cut();
    this.hear(model.conductances);
    this.arrange();
    this.stepped = this.dt;  // the last step: between the two potentials that are kept
    this.waiting = [];  // tiles to be handed over soon
    this.whole = this.until = 0;  // the end of the window, and when something is decided before
    this.calm = map.window;  // before, none is handed over
  }

  /* The mean share of the tissue that was carried. */
  get share() { return this.span ? this.carriedSpan / this.span : 0; }

  /* Square tiles: corners, nodes, and the tiles that a front in it may reach within a window. */
  cut() {
    const {rows, columns, map} = this, tiles = [];
    for (let top = 0; top < rows; top += TILE) for (let left = 0; left < columns; left += TILE) {
      const bottom = min(top + TILE, rows), right = min(left + TILE, columns), nodes = [];
      for (let i = top; i < bottom; i++) for (let j = left; j < right; j++) nodes.push(i * columns + j);
      tiles.push({top, left, bottom, right, nodes: Int32Array.from(nodes), course: null, again: 0, wait: map.window});
    }
    const gap = (from, to, other, end) => max(0, from - end + 1, other - to + 1);
    const apart = (a, b) => this.model.spacing * Math.hypot(gap(a.top, a.bottom, b.top, b.bottom),
      gap(a.left, a.right, b.left, b.right));
    for (const a of tiles) a.near = tiles.filter(b => apart(a, b) <= map.reach * map.window);
    return tiles;
  }

  /* ---- changes from outside ---- */

  start(state) {
    for (const tile of this.tiles ?? []) tile.course = null;
    super.start(state);
    if (this.tiles) this.wakeAll();
  }

  setDiffusivity(of) {
    const before = this.D.slice();
    super.setDiffusivity(of);
    if (this.tiles && before.some((D, k) => D !== this.D[k])) this.wakeAll();
  }

  setFactors(factors) {
    const before = {...this.g};
    super.setFactors(factors);
    if (Object.keys(before).every(name => before[name] === this.g[name])) return;
    this.hear(this.g);
    this.wakeAll();
  }

  /* What the net is told of the cells, and whether it knows such cells at all. */
  hear(g) {
    const {map, model: {conductances: normal}} = this, {low, high} = map.scale;
    const factor = name => normal[name] === g[name] ? 1 : g[name] / normal[name];
    this.told = [...map.conductances.map(factor), 0];  // the last: endocardial
    this.usual = Object.keys(normal).every(name => map.conductances.includes(name) || abs(factor(name) - 1) < 1e-5)
      && this.told.every((v, k) => v >= low.at(k - this.told.length) && v <= high.at(k - this.told.length));
  }

  wakeAll() {
    for (const tile of this.tiles) if (tile.course) this.settle(tile);
    this.arrange();
    this.whole = this.until = this.t;
    this.calm = this.t + PAUSE;
  }

  /* ---- who is carried ---- */

  active(s) { return s.start < this.t + this.dt - 1e-9 && s.start + s.duration > this.t + 1e-9; }

  /* Every window: tiles that are busy are solved; others, if the net knows them, are carried.  They are handed over a
     few at a time, a lot a ms, so that no frame takes long. */
  decide() {
    const {map, tiles, t} = this, busy = this.busy(), solved = tiles.filter(tile => !tile.course).length;
    const whole = t > this.whole - 1e-9, lot = max(LOT, Math.ceil(tiles.length / PARTS));
    let worth = this.waiting.length > 0;
    for (const tile of tiles) if (tile.course) {
      const old = t + map.window > tile.course.since + map.horizon;
      if (!old && !busy.has(tile)) continue;
      this.settle(tile);
      if (!busy.has(tile)) worth = true;  // a new course follows the old one
    }
    const may = this.usual && t > this.calm - 1e-9;
    const free = tile => may && !tile.course && !busy.has(tile) && t > tile.again - 1e-9;
    const given = whole ? tiles.filter(free) : this.waiting.filter(free);
    // Only once these are half of those that are solved: to hand over costs as much as many steps.
    worth ||= given.length >= 0.5 * solved;
    const asked = !worth ? [] : whole ? given : given.slice(0, lot);
    this.waiting = [...asked.length ? this.take(asked, lot) : [], ...whole ? [] : given.slice(lot)];
    this.arrange();
    if (whole) this.whole = t + map.window;
    this.until = this.waiting.length ? min(t + 1, this.whole) : this.whole;
  }

  /* Tiles that the solver must look after in the coming window: something is near, or will be. */
  busy() {
    const {V, next, columns, stepped, conc, map} = this, busy = new Set();
    const stimuli = this.stimuli.filter(s => this.active(s));
    for (const s of stimuli) this.met.add(s);
    const change = k => abs(V[columns + k] - next[columns + k]) / stepped, release = k => map.release * conc[7 * k + 2];
    const fast = k => change(k) > map.fast || release(k) > map.fast;
    for (const tile of this.tiles)
      if ((!tile.course && tile.nodes.some(fast)) || stimuli.some(s => tile.nodes.some(k => s.mask[k])))
        for (const other of tile.near) busy.add(other);
    return busy;
  }

  /* The state of a carried tile, written where the solver finds it. */
  settle(tile) {
    const {V, next, gates, conc, columns} = this, {nodes} = tile, count = nodes.length;
    const S = tile.course.at(this.t, 'all');
    nodes.forEach((k, n) => {
      V[columns + k] = next[columns + k] = S[n];
      for (let i = 0; i < GATES; i++) gates[k * GATES + i] = S[(1 + i) * count + n];
      for (let i = 0; i < 7; i++) conc[k * 7 + i] = S[(1 + GATES + i) * count + n];
    });
    Object.assign(tile, {course: null, again: 0, wait: this.map.window});
  }

  /* A solved node's state, in the order of map.states. */
  state(k, out, offset) {
    out[offset] = this.V[this.columns + k];
    for (let i = 0; i < GATES; i++) out[offset + 1 + i] = this.gates[k * GATES + i];
    for (let i = 0; i < 7; i++) out[offset + 1 + GATES + i] = this.conc[k * 7 + i];
  }

  /* Begin a course for each of some tiles whose nodes are all known, for so many at most; the others that may be. */
  take(tiles, most) {
    const features = this.features(tiles), {map, t} = this, waiting = [];
    tiles.forEach((tile, k) => {
      const {X, S} = features[k], count = tile.nodes.length, sure = map.sure(X, count).every(Boolean);
      if (sure && most-- <= 0) { waiting.push(tile); return; }
      const found = sure && map.encode(X, S, count);
      if (found && found.known.every(Boolean)) { tile.course = new Course(map, found.code, found.rest, t); return; }
      tile.again = t + tile.wait;  // who is not known is asked ever more rarely
      tile.wait = min(2 * tile.wait, 8 * map.window);
    });
    return waiting;
  }

  /* What the net is told of the nodes of some solved tiles: features X and states S. */
  features(tiles) {
    const {map, columns} = this, {mean, std} = map.scale, near = map.numbersOf(map.near), wide = map.states.length;
    const box = {
      top: max(0, min(...tiles.map(tile => tile.top)) - MARGIN),
      left: max(0, min(...tiles.map(tile => tile.left)) - MARGIN),
      bottom: min(this.rows, max(...tiles.map(tile => tile.bottom)) + MARGIN),
      right: min(columns, max(...tiles.map(tile => tile.right)) + MARGIN),
    };
    const place = k => (floor(k / columns) - box.top) * (box.right - box.left) + k % columns - box.left;
    const fields = near.map(() => new Float64Array((box.bottom - box.top) * (box.right - box.left)));
    const own = new Float64Array(wide);
    for (const tile of this.tiles) {
      if (tile.bottom <= box.top || tile.top >= box.bottom) continue;
      if (tile.right <= box.left || tile.left >= box.right) continue;
      const told = tile.course?.at(this.t, 'near');
      tile.nodes.forEach((k, n) => {
        const row = floor(k / columns), column = k % columns;
        if (row < box.top || row >= box.bottom || column < box.left || column >= box.right) return;
        if (!told) this.state(k, own, 0);
        near.forEach((v, f) => {
          fields[f][place(k)] = ((told ? told[f * tile.nodes.length + n] : own[v]) - mean[v]) / std[v];
        });
      });
    }
    const wider = smoothed(this, box, fields, map.smooth);
    return tiles.map(({nodes}) => {
      const X = new Float32Array(nodes.length * map.inputs), S = new Float32Array(nodes.length * wide);
      nodes.forEach((k, n) => {
        this.state(k, S, n * wide);
        let at = n * map.inputs;
        for (let v = 0; v < wide; v++) X[at++] = (S[n * wide + v] - mean[v]) / std[v];
        for (const v of map.own) X[at++] = log(max(S[n * wide + v], 1e-7));
        map.smooth.forEach((_, time) => near.forEach((v, f) => {
          X[at++] = wider[f][time][place(k)] - fields[f][place(k)];
        }));
        for (const factor of this.told) X[at++] = factor;
      });
      return {X, S};
    });
  }

  /* Which nodes are stepped; and of the others, those that a stepped one sees: their potentials in this window as
     cubics of the time since. */
  arrange() {
    const {carried, tiles, n, columns, map, t} = this, ranges = [], seen = [], cubics = [], h = map.window / 3;
    for (const tile of tiles) for (const k of tile.nodes) carried[k] = tile.course ? 1 : 0;
    for (let k = 0; k < n; k++) {
      if (!carried[k] && (k === 0 || carried[k - 1])) ranges.push(k, n);
      if (carried[k] && k > 0 && !carried[k - 1]) ranges[ranges.length - 1] = k;
    }
    const border = k => (k % columns > 0 && !carried[k - 1]) || (k % columns < columns - 1 && !carried[k + 1])
      || (k >= columns && !carried[k - columns]) || (k < n - columns && !carried[k + columns]);
    for (const {course, nodes} of ranges.length ? tiles : []) {
      if (!course || !nodes.some(border)) continue;
      const V = [0, h, 2 * h, 3 * h].map(later => course.at(t + later, 'shown'));
      nodes.forEach((k, i) => {
        if (!border(k)) return;
        const [a, b, c, d] = V.map(values => values[i]);
        seen.push(columns + k);
        cubics.push(a, (9 * b - 5.5 * a - 4.5 * c + d) / (3 * h), (2 * a - 5 * b + 4 * c - d) / (2 * h ** 2),
          (d - 3 * c + 3 * b - a) / (6 * h ** 3));
      });
    }
    const part = carried.reduce((sum, is) => sum + is, 0) / n;
    Object.assign(this, {ranges, part, seen: Int32Array.from(seen), cubics: Float64Array.from(cubics), begun: t});
  }

  /* ---- on it goes ---- */

  step() {
    const {V, seen, cubics} = this, s = this.t - this.begun;
    this.stepped = this.dt;
    for (let k = 0, q = 0; k < seen.length; k++, q += 4)
      V[seen[k]] = cubics[q] + s * (cubics[q + 1] + s * (cubics[q + 2] + s * cubics[q + 3]));
    super.step();
  }

  /* As Tissue's, from window to window; one ends early where a stimulus begins. */
  advance(span) {
    const begin = this.t, steps = Math.round(span / this.dt);
    for (let done = 0; done < steps;) {
      const {t, dt} = this;
      if (t > this.until - 1e-9 || this.stimuli.some(s => this.active(s) && !this.met.has(s))) this.decide();
      const coming = this.stimuli.filter(s => s.start > t).map(s => floor((s.start - t) / dt + 1e-9));
      const count = min(steps - done, ...[Math.round((this.until - t) / dt), ...coming].map(left => max(left, 1)));
      if (this.ranges.length) for (let s = 0; s < count; s++) {
        this.t = begin + (done + s) * dt;
        this.step();
      }
      done += count;
      this.t = begin + done * dt;
      this.span += count * dt;
      this.carriedSpan += count * dt * this.part;
    }
    this.t = begin + span;
    this.stimuli = this.stimuli.filter(s => s.start + s.duration > this.t);
  }

  frame(out, offset = 0) {
    super.frame(out, offset);
    for (const {course, nodes} of this.tiles) if (course) {
      const shown = course.at(this.t, 'shown'), count = nodes.length;
      for (let i = 0; i < count; i++)
        for (let v = 0; v < 4; v++) out[offset + 4 * nodes[i] + v] = shown[v * count + i];
    }
    return out;
  }
}
