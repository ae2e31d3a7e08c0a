/* What is seen: the sheets, the electrode against time, the restitution curve. */
'use strict';

const {variables} = DATA.look;
/* Of each variable, in the unit drawn: the range of its colours, and where its axis is marked. */
const SCALES = {Vm: {low: -90, high: 40, ticks: [-80, -40, 0, 40]}, Cai: {low: 0, high: 1.5, ticks: [0, 0.5, 1, 1.5]},
  CaSR: {low: 2, high: 4.5, ticks: [2, 3, 4]}, CaSS: {low: 0, high: 2.5, ticks: [0, 1, 2]}};
for (const v of variables) {
  v.colours = Uint8Array.from(atob(v.map), c => c.charCodeAt(0));
  Object.assign(v, SCALES[v.symbol]);
}
const BLOCKED = 0xff8c8c8c;

/* Give a canvas the pixels of the screen; returns its width in them. */
function fit(canvas, width, height = width) {
  const side = Math.round(width * devicePixelRatio), tall = Math.round(height * devicePixelRatio);
  if (canvas.width !== side || canvas.height !== tall) { canvas.width = side; canvas.height = tall; }
  return side;
}

/* White on black: seen on every colour of a map. */
function twice(context) {
  for (const [colour, width] of [['#000', 3.5], ['#fff', 1.6]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * Math.max(1, devicePixelRatio / 1.5);
    context.stroke();
  }
}

/* The values of a sheet as pixels; the first row of nodes is at the bottom. */
function paint(live, {values, carried}) {
  const n = live.rows, v = variables[+live.variable.value], image = new ImageData(n, n);
  const pixels = new Uint32Array(image.data.buffer), scale = 255 / (v.high - v.low);
  for (let k = 0; k < values.length; k++) {
    const c = 3 * Math.round(Math.min(255, Math.max(0, (values[k] * v.factor - v.low) * scale))), x = k % n;
    pixels[(n - 1 - (k - x) / n) * n + x] = 0xff000000 | v.colours[c + 2] << 16 | v.colours[c + 1] << 8 | v.colours[c];
  }
  for (const k of live.blocked) pixels[(n - 1 - Math.floor(k / n)) * n + k % n] = BLOCKED;
  live.picture.getContext('2d').putImageData(image, 0, 0);
}

function drawSheet(live, canvas, sheet) {
  paint(live, sheet);
  const n = live.rows, side = fit(canvas, canvas.clientWidth), context = canvas.getContext('2d'), one = side / n;
  context.imageSmoothingEnabled = false;
  context.drawImage(live.picture, 0, 0, side, side);
  const x = column => (column + 0.5) * one, y = row => side - (row + 0.5) * one;
  const ring = (row, column, radius, fill) => {
    context.beginPath();
    context.arc(x(column), y(row), radius, 0, 2 * Math.PI);
    if (fill) { context.fillStyle = fill; context.fill(); }
    twice(context);
  };
  if (sheet.name === 'solver') {
    for (const [t, row, column] of live.path) {
      context.fillStyle = `rgba(255,255,255,${0.7 * (1 - (live.frame.t - t) / FADE)})`;
      context.fillRect(x(column) - one / 4, y(row) - one / 4, one / 2, one / 2);
    }
    const {tips} = live.frame;
    for (let k = 0; k < tips.length; k += 3) ring(tips[k], tips[k + 1], 0.012 * side, '#fff');
  }
  if (sheet.carried) drawSolved(context, sheet.carried, n, one, side);
  ring(...live.electrode, 0.018 * side);
  const size = Math.min(+live.side.value, n), half = size >> 1;
  const [top, left] = live.cursor.map(k => Math.min(n - size, Math.max(0, k - half)));
  context.beginPath();
  context.setLineDash([side / 60, side / 90]);
  context.rect(left * one, side - (top + size) * one, size * one, size * one);
  twice(context);
  context.setLineDash([]);
}

/* A thin frame around each node's tile that the solver looks after: what has no frame is carried. */
function drawSolved(context, carried, n, one, side) {
  context.beginPath();
  for (let k = 0; k < carried.length; k++) {
    if (carried[k]) continue;
    const column = k % n, row = (k - column) / n, left = column * one, top = side - (row + 1) * one;
    if (column + 1 < n && carried[k + 1]) { context.moveTo(left + one, top); context.lineTo(left + one, top + one); }
    if (column > 0 && carried[k - 1]) { context.moveTo(left, top); context.lineTo(left, top + one); }
    if (row + 1 < n && carried[k + n]) { context.moveTo(left, top); context.lineTo(left + one, top); }
    if (row > 0 && carried[k - n]) { context.moveTo(left, top + one); context.lineTo(left + one, top + one); }
  }
  twice(context);
}

/* Axes on a canvas: returns the places of x and y, with the clip set to the inside. */
function axes(live, canvas, {height, xs, ys, title, below, xticks, yticks}) {
  const context = canvas.getContext('2d'), ratio = devicePixelRatio, width = canvas.clientWidth;
  const left = 36, right = 8, top = 18, bottom = 20, ink = getComputedStyle(live.root).color;
  fit(canvas, width, height);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const x = value => left + (value - xs[0]) / (xs[1] - xs[0]) * (width - left - right);
  const y = value => top + (ys[1] - value) / (ys[1] - ys[0]) * (height - top - bottom);
  context.font = '11px sans-serif';
  context.fillStyle = context.strokeStyle = ink;
  context.lineWidth = 0.2;
  for (const value of yticks) {
    context.strokeRect(left, y(value), width - left - right, 0);
    context.textAlign = 'right';
    context.fillText(value, left - 4, y(value) + 4);
  }
  context.textAlign = 'center';
  for (const value of xticks) {
    context.strokeRect(x(value), top, 0, height - top - bottom);
    if (x(value) < width - context.measureText(below).width - 24) context.fillText(value, x(value), height - 7);
  }
  context.textAlign = 'right';
  context.fillText(below, width - right, height - 7);
  context.textAlign = 'left';
  context.fillText(title, 4, 11);
  context.save();
  context.beginPath();
  context.rect(left, top - 4, width - left - right, height - top - bottom + 8);
  context.clip();
  return {context, x, y, ink};
}

const PLOT = 140;  // height [px]

function drawScope(live) {
  const v = variables[+live.variable.value], from = Math.max(0, live.frame.t - SPAN), xticks = [];
  for (let t = Math.ceil(from / 250) * 250; t < from + SPAN - 200; t += 250) xticks.push(t);
  const {context, x, y, ink} = axes(live, live.scope, {height: PLOT, xs: [from, from + SPAN], ys: [v.low, v.high],
    title: `${v.symbol} [${v.unit}] at the electrode`, below: 'time [ms]', xticks, yticks: v.ticks});
  live.frame.sheets.forEach(({name}, k) => {
    context.beginPath();
    live.panes[name].trace.forEach(([t, value], i) => context[i ? 'lineTo' : 'moveTo'](x(t), y(value * v.factor)));
    context.strokeStyle = k ? SHEETS[name].colour : ink;
    context.lineWidth = k ? 1.6 : 3;
    context.stroke();
  });
  context.restore();
}

/* Each beat at the electrode is a point: how long it lasted against how long the cell had rested before it. */
function drawCurve(live) {
  const {context, x, y, ink} = axes(live, live.curve, {height: PLOT, xs: [0, 900], ys: [100, 400], title: 'APD90 [ms]',
    below: 'rest before it [ms]', xticks: [0, 200, 400], yticks: [100, 200, 300, 400]});
  live.frame.sheets.forEach(({name}, k) => {
    context.fillStyle = k ? SHEETS[name].colour : ink;
    for (const {DI, APD} of live.panes[name].beats) {
      context.beginPath();
      context.arc(x(DI), y(APD), k ? 2.2 : 3.5, 0, 2 * Math.PI);
      context.fill();
    }
  });
  context.restore();
}
