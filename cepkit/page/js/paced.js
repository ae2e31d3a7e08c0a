/* The surrogate of cepkit/bench/methods/paced.py, run from event to event as cepkit/bench/methods/event_sheet.py runs it.

   Arrays over nodes are flat; a state is four z-scores (Vm, Cai, CaSR, CaSS) a node. */
'use strict';

const VARS = 4;
const clip = (x, low, high) => x < low ? low : x > high ? high : x;
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const numbers = packed => Float64Array.from(new Float32Array(bytes(packed.data).buffer));

/* ---- the networks ---- */

/* x @ weight + bias for rows x, then SiLU if asked. Four inputs at a time: the sums are loaded and stored less
   often. */
function linear(x, {weight, bias}, count, silu) {
  const inputs = x.length / count, outputs = bias.length, out = new Float64Array(count * outputs), whole = inputs & ~3;
  for (let s = 0; s < count; s++) {
    const from = s * inputs, to = s * outputs;
    for (let j = 0; j < outputs; j++) out[to + j] = bias[j];
    for (let i = 0; i < whole; i += 4) {
      const a = x[from + i], b = x[from + i + 1], c = x[from + i + 2], d = x[from + i + 3];
      let p = i * outputs, q = p + outputs, r = q + outputs, t = r + outputs;
      for (let j = to; j < to + outputs; j++)
        out[j] += a * weight[p++] + b * weight[q++] + c * weight[r++] + d * weight[t++];
    }
    for (let i = whole; i < inputs; i++)
      for (let j = 0; j < outputs; j++) out[to + j] += x[from + i] * weight[i * outputs + j];
    if (silu) for (let j = to; j < to + outputs; j++) out[j] /= 1 + Math.exp(-out[j]);
  }
  return out;
}

class Networks {
  /* exported: what cepkit.live.export_weights() gives. */
  constructor(exported) {
    Object.assign(this, exported);
    this.networks = Object.fromEntries(Object.entries(exported.networks).map(([name, layers]) => [name,
      layers.map(layer => ({weight: numbers(layer.weight), bias: numbers(layer.bias)}))]));
    this.centre = numbers(exported.centre);
    this.nodes = this.shape[0] * this.shape[1];
    const {knots} = this, first = knots[0], last = knots[knots.length - 1];
    this.first = first;
    this.last = last - 1e-6;
    this.begins = -first;  // a course begins so long before its activation [ms]
    this.after = knots.findIndex(t => t >= 0);
    // The knot before each quarter of a millisecond.
    this.lookup = Int32Array.from({length: Math.round((last - first) * 4) + 1}, (_, q) => {
      const k = knots.findIndex(t => t > first + 0.25 * q);
      return Math.min(k < 0 ? knots.length : k, knots.length - 1) - 1;
    });
  }

  /* One of the four networks on rows of features; what lies outside of all that was seen is taken to its edge. */
  apply(name, unit, features, count) {
    const [mean, std, low, high] = this.units[unit], width = mean.length;
    let x = Float64Array.from(features, (v, k) => {
      const i = k % width;
      return Math.fround((clip(Math.fround(v), low[i], high[i]) - mean[i]) / std[i]);
    });
    this.networks[name].forEach((layer, k) => { x = linear(x, layer, count, k < 2); });
    return x;
  }

  /* Courses of nodes that are left alone, from their states; and how long ago each fired [ms]. */
  continueFrom(now) {
    const count = now.length / VARS, K = this.knots.length, wide = 1 + (K - this.after) * VARS;
    const out = this.apply('onward', 'now', now, count), course = new Float32Array(count * K * VARS);
    for (let n = 0; n < count; n++) for (let k = 0; k < K; k++) for (let v = 0; v < VARS; v++) {
      const change = k < this.after ? 0 : out[n * wide + 1 + (k - this.after) * VARS + v];
      course[(n * K + k) * VARS + v] = Math.fround(now[n * VARS + v]) + Math.fround(change);
    }
    const ago = Float64Array.from({length: count}, (_, n) => clip(500 * Math.exp(out[n * wide]), 50, this.longest));
    return {course, ago};
  }

  /* The state of node n on its course, tau ms from the origin, straight between knots. */
  read(course, n, tau, out, at) {
    const {knots} = this, t = clip(tau, this.first, this.last), k = this.lookup[Math.trunc((t - this.first) * 4)];
    const w = (t - knots[k]) / (knots[k + 1] - knots[k]);
    let i = (n * knots.length + k) * VARS;
    for (let v = 0; v < VARS; v++, i++) out[at + v] = course[i] + w * (course[i + VARS] - course[i]);
  }
}

/* ---- the sheet ---- */

class PacedSheet {
  /* history: physical values, frame after frame; masks: the stimulated nodes from each frame to the next, or null.
     The last frame is time 0. */
  constructor(net, history, masks = []) {
    const n = net.nodes, {mean, std} = net.scaling;
    Object.assign(this, {net, n, dt: net.interval, given: history.length / (n * VARS)});
    this.mean = mean.map(Math.fround);
    this.std = std.map(Math.fround);
    this.history = Float32Array.from(history, (x, k) => (Math.fround(x) - this.mean[k % VARS]) / this.std[k % VARS]);
    this.begin = -(this.given - 1) * this.dt;
    const ago = net.continueFrom(this.past(0)).ago;
    this.when = ago.map(a => this.begin - a);  // last activation [ms]
    this.old = this.when.map(t => t - 600);  // the one before
    this.memory = new Float64Array(n).fill(NaN);
    this.load = new Float64Array(n).fill(net.usual);  // beats a second over the last minutes
    this.counted = new Float64Array(n).fill(this.begin);
    this.seen = new Uint8Array(n);
    this.course = net.continueFrom(this.past(this.given - 1)).course;
    this.origin = new Float64Array(n);
    this.previous = this.course.slice();
    this.begun = new Float64Array(n);
    this.since = new Float64Array(n).fill(-1e9);  // until when the course before holds
    this.readHistory(masks);
    this.history = null;
    this.frame = 0;
    this.event = 0;  // frame of the last stimulus or renewal
    this.on = false;
  }

  past(k) { return this.history.subarray(k * this.n * VARS, (k + 1) * this.n * VARS); }

  /* The history's state at a time for each node, straight between frames. */
  pastAt(times) {
    const {n, dt, given, begin} = this, out = new Float64Array(n * VARS);
    for (let i = 0; i < n; i++) {
      const x = clip((times[i] - begin) / dt, 0, given - 1.001), k = Math.trunc(x), w = given > 1 ? x - k : 0;
      const a = Math.max(k, 0) * n * VARS + i * VARS, b = given > 1 ? a + n * VARS : a;
      for (let v = 0; v < VARS; v++) out[i * VARS + v] = (1 - w) * this.history[a + v] + w * this.history[b + v];
    }
    return out;
  }

  /* Activations of the history, and a course for every node that agrees with its last frame. */
  readHistory(masks) {
    const {net, n, given, begin, dt} = this, found = this.findActivations(), lag = Math.round(20 / dt);
    for (let k = 0; k < given - 1; k++) {
      if (!masks[k] || (k && masks[k - 1])) continue;
      const t = begin + k * dt, boxes = boxesOf(masks[k], net.shape), reached = new Float64Array(n).fill(NaN);
      found.forEach((times, i) => { for (const a of times) if (a > t && a < t + net.wave) reached[i] = a - t; });
      if (t + net.wave > 0 && reached.some(isNaN)) {
        // The wave may still be on its way: it comes where it has not been.
        const caught = this.catches(this.past(k), this.past(Math.max(k - lag, 0)), boxes);
        if (caught.some(Boolean) || !reached.every(isNaN)) {
          const guess = this.arrivals(boxes, this.past(k), t, caught);
          guess.forEach((a, i) => { if (isNaN(reached[i]) && t + a > 0) reached[i] = a; });
        }
      }
      if (reached.reduce((sum, a) => sum + !isNaN(a), 0) > 0.5 * n) this.wave(t, reached, boxes, at => this.pastAt(at));
    }
    const now = this.past(given - 1), K = net.knots.length, state = new Float64Array(VARS);
    const coming = [];
    for (let i = 0; i < n; i++) {
      const tau = -this.when[i];
      if (tau < 0) coming.push(i);
      if (!(this.when[i] > begin && tau > 0)) continue;
      // What the last frame shows is true; an error in a fast variable is soon forgotten.
      net.read(this.course, i, tau, state, 0);
      for (let k = 0; k < K; k++) for (let v = 0; v < VARS; v++) {
        const since = Math.max(net.knots[k] - tau, 0), offset = now[i * VARS + v] - state[v];
        this.course[(i * K + k) * VARS + v] += offset * Math.exp(-since / net.forgotten[v]);
      }
    }
    const rest = net.continueFrom(gather(now, coming, VARS)).course;
    coming.forEach((i, row) => {
      this.previous.set(rest.subarray(row * K * VARS, (row + 1) * K * VARS), i * K * VARS);
      this.begun[i] = 0;
    });
  }

  /* Upward crossings in the history, for each node, as events.find has them. */
  findActivations(room = 8) {
    const {n, given, begin, dt, net} = this, found = Array.from({length: n}, () => []);
    const V = (k, i) => this.history[(k * n + i) * VARS] * net.scaling.std[0] + net.scaling.mean[0];
    for (let i = 0; given >= 3 && i < n; i++) {
      let ready = V(0, i) < net.reset;
      for (let k = 0; k < given - 1 && found[i].length < room; k++) {
        const a = V(k, i), b = V(k + 1, i);
        ready ||= a < net.reset;
        if (!ready || a >= net.up || b < net.up) continue;
        found[i].push(begin + (k + (net.up - a) / (b - a)) * dt);
        ready = false;
      }
    }
    return found;
  }

  /* Go on to the next frame; mask: the nodes that are stimulated meanwhile, or null. */
  next(mask, out, offset = 0) {
    const t = this.frame * this.dt, onset = mask && !this.on;
    this.on = Boolean(mask);
    if (onset) this.stimulate(t, mask);
    else if ((this.frame - this.event) * this.dt >= this.net.renewal) this.renew(t);
    this.frame++;
    const now = this.state(this.frame * this.dt);
    for (let k = 0; k < now.length; k++) out[offset + k] = this.mean[k % VARS] + this.std[k % VARS] * now[k];
  }

  stimulate(t, mask) {
    const boxes = boxesOf(mask, this.net.shape), now = this.state(t);
    const caught = this.catches(now, this.state(t - 20), boxes);
    if (caught.some(Boolean)) this.wave(t, this.arrivals(boxes, now, t, caught), boxes, at => this.state(at));
    this.event = this.frame;
  }

  /* Nodes at rest go on from the state that they are in, since a course stays at its last knot. */
  renew(t) {
    const {net} = this, K = net.knots.length * VARS, rests = [];
    for (let i = 0; i < this.n; i++) {
      if (t - this.when[i] > net.renewal - net.wave) rests.push(i);
    }
    const {course} = net.continueFrom(gather(this.state(t), rests, VARS));
    rests.forEach((i, row) => {
      this.course.set(course.subarray(row * K, (row + 1) * K), i * K);
      this.origin[i] = t;
    });
    this.event = this.frame;
  }

  /* All nodes at one time, or each at its own. */
  state(times) {
    const out = new Float64Array(this.n * VARS), each = typeof times !== 'number';
    for (let i = 0; i < this.n; i++) {
      const t = each ? times[i] : times;
      if (t >= this.since[i]) this.net.read(this.course, i, t - this.origin[i], out, i * VARS);
      else this.net.read(this.previous, i, t - this.begun[i], out, i * VARS);
    }
    return out;
  }

  /* Which of the stimulated boxes start a wave. */
  catches(now, before, boxes) {
    const rows = boxes.flatMap(box => {
      const nodes = inside(box, this.net.shape), of = (x, v) => nodes.map(i => x[i * VARS + v]);
      return [average(of(now, 0)), Math.max(...of(now, 0)), average(of(before, 0)), Math.max(...of(before, 0)),
        average(of(now, 1)), average(of(now, 2))];
    });
    return [...this.net.apply('capture', 'early', rows, boxes.length)].map(x => x > 0);
  }

  /* When the wave comes to each node after the stimulus [ms]: of several, the first. */
  arrivals(boxes, now, t, caught) {
    const chosen = boxes.filter((_, k) => caught[k]), out = new Float64Array(this.n).fill(Infinity);
    for (const box of chosen.length ? chosen : boxes)
      this.net.apply('arrival', 'place', this.place(box, now, t), this.n)
        .forEach((a, i) => { out[i] = Math.min(out[i], a); });
    return out.map(a => Math.max(10 * a, 0.05));
  }

  /* What decides on arrival: where each node lies from the box and the walls, and how rested the box is. */
  place(box, now, t) {
    const {shape, longest} = this.net, nodes = inside(box, shape), rows = new Float64Array(this.n * 9);
    const recovery = average(nodes.map(i => now[i * VARS]));
    const rest = average(nodes.map(i => Math.log(clip(t - this.when[i], 50, longest) / 500)));
    for (let i = 0; i < this.n; i++) {
      const at = [Math.floor(i / shape[1]), i % shape[1]];
      const axes = box.map(([low, high], a) => [
        Math.max(low - at[a], at[a] - high, 0), Math.min(low, shape[a] - 1 - high),
        Math.min(at[a], shape[a] - 1 - at[a])]);
      if (axes[0][0] < axes[1][0]) axes.reverse();  // the axis with the longer gap comes first
      const [a, b] = axes;
      rows.set([Math.hypot(a[0], b[0]), a[0], b[0], a[1], b[1], a[2], b[2], recovery, rest], i * 9);
    }
    return rows;
  }

  /* Every node that is reached begins a new course; state(times) tells what each was before. */
  wave(t, reached, boxes, state) {
    const {net, n} = this, K = net.knots.length * VARS, shape = this.shapeOf(reached, boxes);
    const when = reached.map(a => isNaN(a) ? 0 : t + a), before = state(when.map(a => a - net.begins));
    const rhythm = x => Math.log(clip(x, 100, net.longest) / 500), hit = [], rows = [];
    for (let i = 0; i < n; i++) {
      if (isNaN(reached[i])) continue;
      const interval = rhythm(when[i] - this.when[i]), memory = this.memory[i];
      if (this.seen[i]) this.memory[i] = isNaN(memory) ? interval : memory + net.recent * (interval - memory);
      const known = isNaN(this.memory[i]) ? interval : this.memory[i];
      const load = this.load[i] * Math.exp(-(when[i] - this.counted[i]) / net.minutes);
      this.load[i] = load + 1000 / net.minutes;
      this.counted[i] = when[i];
      hit.push(i);
      rows.push(...before.subarray(i * VARS, (i + 1) * VARS), interval, rhythm(this.when[i] - this.old[i]), known, load,
        ...shape[i]);
    }
    const course = net.apply('response', 'before', rows, hit.length);
    hit.forEach((i, row) => {
      this.previous.set(this.course.subarray(i * K, (i + 1) * K), i * K);
      for (let k = 0; k < K; k++) this.course[i * K + k] = Math.fround(course[row * K + k]) + net.centre[k];
      this.begun[i] = this.origin[i];
      this.old[i] = this.when[i];
      this.when[i] = this.origin[i] = when[i];
      this.since[i] = when[i] - net.begins;
      this.seen[i] = 1;
    });
  }

  /* How the wave passes each node: arrival, slowness, bend of the front, whether it was stimulated itself. */
  shapeOf(reached, boxes) {
    const [rows, columns] = this.net.shape, mean = average([...reached].filter(a => !isNaN(a)));
    const at = (i, j) => {
      const a = reached[clip(i, 0, rows - 1) * columns + clip(j, 0, columns - 1)];
      return isNaN(a) ? mean : a;
    };
    const on = new Set(boxes.flatMap(box => inside(box, this.net.shape)));
    return Array.from({length: this.n}, (_, k) => {
      const i = Math.floor(k / columns), j = k % columns, here = at(i, j);
      const steps = [[at(i + 1, j) - here, here - at(i - 1, j)], [at(i, j + 1) - here, here - at(i, j - 1)]];
      const slow = steps.reduce((sum, [up, down]) => sum + ((up + down) / 2) ** 2, 0);
      return [here, Math.sqrt(slow), steps.reduce((sum, [up, down]) => sum + up - down, 0), +on.has(k)];
    });
  }
}

/* ---- small pieces ---- */

const average = list => list.reduce((sum, x) => sum + x, 0) / list.length;
const gather = (x, rows, width) => Float64Array.from({length: rows.length * width},
  (_, k) => x[rows[Math.floor(k / width)] * width + k % width]);

/* Nodes of a box ((low, high) along each axis). */
function inside([[top, bottom], [left, right]], [, columns]) {
  const nodes = [];
  for (let i = top; i <= bottom; i++) for (let j = left; j <= right; j++) nodes.push(i * columns + j);
  return nodes;
}

/* Bounding boxes of the connected parts of a mask. */
function boxesOf(mask, [rows, columns]) {
  const left = Uint8Array.from(mask), boxes = [];
  for (let k = 0; k < left.length; k++) {
    if (!left[k]) continue;
    const box = [[rows, -1], [columns, -1]], todo = [k];
    left[k] = 0;
    while (todo.length) {
      const node = todo.pop(), at = [Math.floor(node / columns), node % columns];
      at.forEach((x, axis) => { box[axis] = [Math.min(box[axis][0], x), Math.max(box[axis][1], x)]; });
      for (const [di, dj] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        const i = at[0] + di, j = at[1] + dj, to = i * columns + j;
        if (i >= 0 && j >= 0 && i < rows && j < columns && left[to]) { left[to] = 0; todo.push(to); }
      }
    }
    boxes.push(box);
  }
  return boxes;
}
