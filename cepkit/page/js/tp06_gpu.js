/* The sheet of tp06.js on the graphics card: the same equations, tables and weights in fragment shaders (WebGL2).

   A step is two passes over the sheet: the voltage gates, then potential and concentrations.  So each pass writes four
   textures, which is what every WebGL2 has.

   The card computes in single precision.  A step changes Ki by less than the last digit of its number, so what a sum
   rounds off is kept beside the value and added in the next step: for the potential, all concentrations, and the five
   gates whose time constant may exceed 100 ms.  The other gates follow the potential before their rounding adds up. */
'use strict';

const GPU_LAYERS = 4;  // textures that a pass writes, as layers of one array
const GPU_UNITS = {state: 0, gates: 1, table: 2, rectifier: 3, weights: 4, stimulus: 5};  // where each texture is bound
const GPU_FOLD = 64;  // rows of the table side by side in a row of its texture, which may be 2048 wide or more
const GPU_SLOW = {f2: 11, Xr1: 12, Xs: 13, j: 14, f: 15};  // gates with a remainder -> its number among 16 channels

/* ---- the shaders ---- */

/* Pieces of a shader: constants and names of the model, as cepkit exports it, written as GLSL. */
const gpuNumber = value => value.toExponential(9);
const gpuChannel = (vectors, i) => `${vectors}${i >> 2}.${'xyzw'[i & 3]}`;  // channel i of vectors a0, a1, ...
const gpuNamed = (names, vectors) => names.map((name, i) => `float ${name} = ${gpuChannel(vectors, i)};`).join(' ');
const gpuFetched = (texture, vectors, layers) =>
  layers.map(k => `vec4 ${vectors}${k} = texelFetch(${texture}, ivec3(at, ${k}), 0);`).join('\n  ');

/* What both passes share.  `held` hides a number from the compiler: it must not simplify (a + b) - a to b. */
const GPU_HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp sampler2DArray;
uniform sampler2DArray state, gates;
uniform sampler2D table;
uniform uint nought;  // 0, which the compiler does not know
layout(location = 0) out vec4 out0;
layout(location = 1) out vec4 out1;
layout(location = 2) out vec4 out2;
layout(location = 3) out vec4 out3;

vec4 held(vec4 x) { return uintBitsToFloat(floatBitsToUint(x) ^ uvec4(nought)); }

/* A row of the table is eight texels: three of steady states, three of rates, two of factors. */
vec4 entry(int row, int column) {
  return texelFetch(table, ivec2((row & ${GPU_FOLD - 1}) * 8 + column, row / ${GPU_FOLD}), 0);
}
vec4 looked(float x, int column) {
  int row = int(x);
  vec4 below = entry(row, column);
  return below + (x - float(row)) * (entry(row + 1, column) - below);
}
float placed(float x, float last) { return x > 0.0 ? (x < last ? x : last) : 0.0; }  // also where x is NaN
`;

const GPU_VERTEX = `#version 300 es
void main() { gl_Position = vec4(4 * (gl_VertexID & 1) - 1, 2 * (gl_VertexID & 2) - 1, 0, 1); }`;  // covers all

/* The place of a value in its table, of which `last` is the last row. */
function gpuPlace(value, {low, high, step}) {
  const last = Math.round((high - low) / step) - 0.01;
  return `placed((${value} - ${gpuNumber(low)}) * ${gpuNumber(1 / step)}, ${gpuNumber(last)})`;
}

/* gate += (inf - gate) (1 - exp(-dt / tau)); the table holds 1 - exp, whose digits exp itself would not have. */
function gpuGatesShader(model) {
  const remainder = name => name in GPU_SLOW ? gpuChannel('g', GPU_SLOW[name]) : '0.0';
  const four = k => [0, 1, 2, 3].map(c => model.gateNames[4 * k + c]);
  const kept = Object.entries(GPU_SLOW).map(([name, at]) =>
    `${gpuChannel('out', at)} = ${gpuChannel('rest', model.gateNames.indexOf(name))};`);
  return `${GPU_HEAD}
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  ${gpuFetched('gates', 'g', [0, 1, 2, 3])}
  float v = texelFetch(state, ivec3(at, 0), 0).x, x = ${gpuPlace('v', model.voltage)};
  ${[0, 1, 2].map(k => `
  vec4 change${k} = (looked(x, ${k}) - g${k}) * looked(x, ${k + 3}) + vec4(${four(k).map(remainder).join(', ')});
  out${k} = g${k} + change${k};
  vec4 rest${k} = change${k} - (held(out${k}) - g${k});`).join('')}
  ${kept.join('\n  ')}
}`;
}

/* Potential and concentrations: the step of Tissue, line by line. */
function gpuStateShader(model) {
  const c = model.constants, RTF = c.R * c.T / c.F, toMM = c.Cm / (c.Vc * c.F);
  const derived = {
    RTF, KsOut: c.Ko + c.pKNa * c.Nao, EC2: c.EC ** 2, Kup2: c.Kup ** 2, spread: c.max_sr - c.min_sr,
    bufc: c.Bufc * c.Kbufc, bufsr: c.Bufsr * c.Kbufsr, bufss: c.Bufss * c.Kbufss, srPerC: c.Vsr / c.Vc,
    srPerSs: c.Vsr / c.Vss, cPerSs: c.Vc / c.Vss, toMM, halfMM: 0.5 * toMM, toSs: 0.5 * c.Cm / (c.Vss * c.F),
    rootKo: sqrt(c.Ko / 5.4),
  };
  const constants = Object.entries({...c, ...derived}).map(([k, value]) => `const float ${k} = ${gpuNumber(value)};`);
  return `${GPU_HEAD}
uniform sampler2D rectifier, weights, stimulus;
uniform float dt, ${Object.keys(model.conductances).join(', ')};
${constants.join('\n')}

float potential(ivec2 at) {  // beyond an edge any number will do, since its weight is 0
  return texelFetch(state, ivec3(clamp(at, ivec2(0), textureSize(state, 0).xy - 1), 0), 0).x;
}
float opened(int row) { return texelFetch(rectifier, ivec2(row & ${GPU_FOLD - 1}, row / ${GPU_FOLD}), 0).x; }

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  ${gpuFetched('state', 'y', [0, 1, 2, 3])}
  ${gpuFetched('gates', 'g', [0, 1, 2])}
  ${gpuNamed(['v', ...model.concNames], 'y')}
  ${gpuNamed(model.gateNames, 'g')}
  float stim = texelFetch(stimulus, at, 0).x;

  float ENa = RTF * log(Nao / Nai), EK = RTF * log(Ko / Ki);
  float EKs = RTF * log(KsOut / (Ki + pKNa * Nai)), ECa = 0.5 * RTF * log(Cao / Cai);
  float x = ${gpuPlace('v', model.voltage)};
  vec4 CaNaCa = looked(x, 6), NaKpK = looked(x, 7);  // CaL in, out, NaCa in, out; NaK, pK
  float z = ${gpuPlace('(v - EK)', model.drive)};
  int row = int(z);
  float shut = opened(row), open = shut + (z - float(row)) * (opened(row + 1) - shut);

  // The gate of I_CaL that subspace calcium drives: 1 - exp(-u) by its series.
  float q = 1.0 / (1.0 + CaSS * CaSS * 400.0), u = dt / (80.0 * q + 2.0);
  float rate = u * (1.0 - u / 2.0 * (1.0 - u / 3.0 * (1.0 - u / 4.0 * (1.0 - u / 5.0 * (1.0 - u / 6.0)))));
  float fChange = (0.6 * q + 0.4 - fCaSS) * rate, fNow = fCaSS + fChange;

  float iNa = gNa * m * m * m * h * j * (v - ENa);
  float ibNa = gbNa * (v - ENa);
  float iCaL = gCaL * d * f * f2 * fNow * (CaNaCa.x * CaSS - CaNaCa.y);
  float ito = gto * s * r * (v - EK);
  float iKr = gKr * rootKo * Xr1 * Xr2 * (v - EK);
  float iKs = gKs * Xs * Xs * (v - EKs);
  float iK1 = gK1 * rootKo * open * (v - EK);
  float ipK = gpK * NaKpK.y * (v - EK);
  float ibCa = gbCa * (v - ECa);
  float ipCa = gpCa * Cai / (Cai + KpCa);
  float iNaCa = kNaCa * (CaNaCa.z * Nai * Nai * Nai - CaNaCa.w * Cai);
  float iNaK = PNaK * NaKpK.x * Nai / (Nai + KmNa);

  float kSR = max_sr - spread * CaSR * CaSR / (CaSR * CaSR + EC2), bound = k1 * CaSS * CaSS;
  float release = Vrel * bound * Rbar / (k3 * kSR + bound) * (CaSR - CaSS);
  float leak = Vleak * (CaSR - Cai), uptake = Vmaxup * Cai * Cai / (Cai * Cai + Kup2);
  float transfer = Vxfer * (CaSS - Cai);
  float cyt = (Cai + Kbufc) * (Cai + Kbufc), sr = (CaSR + Kbufsr) * (CaSR + Kbufsr);
  float ss = (CaSS + Kbufss) * (CaSS + Kbufss);
  vec4 w = texelFetch(weights, at, 0);  // right, left, up, down
  float flow = w.x * (potential(at + ivec2(1, 0)) - v) + w.y * (potential(at - ivec2(1, 0)) - v)
    + w.z * (potential(at + ivec2(0, 1)) - v) + w.w * (potential(at - ivec2(0, 1)) - v);
  float total = iNa + ibNa + iCaL + ito + iKr + iKs + iK1 + ipK + ibCa + ipCa + iNaCa + iNaK;

  vec4 change0 = y2 + dt * vec4(
    flow - total - stim,
    cyt / (cyt + bufc) * ((leak - uptake) * srPerC + transfer - (ibCa + ipCa - 2.0 * iNaCa) * halfMM),
    sr / (sr + bufsr) * (uptake - release - leak),
    ss / (ss + bufss) * (release * srPerSs - transfer * cPerSs - iCaL * toSs));
  vec4 change1 = y3 + vec4(
    dt * (k4 * (1.0 - Rbar) - k2 * kSR * CaSS * Rbar),
    fChange,
    -dt * (iNa + ibNa + 3.0 * iNaK + 3.0 * iNaCa) * toMM,
    -dt * (iK1 + ito + iKr + iKs - 2.0 * iNaK + ipK + stim) * toMM);
  out0 = y0 + change0;
  out1 = y1 + change1;
  out2 = change0 - (held(out0) - y0);
  out3 = change1 - (held(out1) - y1);
}`;
}

/* A program of two shaders; what the compiler has to say is thrown. */
function gpuProgram(gl, source) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, GPU_VERTEX], [gl.FRAGMENT_SHADER, source]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
      throw new Error(`GpuTissue: a shader does not compile: ${gl.getShaderInfoLog(shader)}`);
    gl.attachShader(program, shader);
    gl.deleteShader(shader);  // goes when the program goes
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
    throw new Error(`GpuTissue: a program does not link: ${gl.getProgramInfoLog(program)}`);
  gl.useProgram(program);
  for (const [name, unit] of Object.entries(GPU_UNITS)) gl.uniform1i(gl.getUniformLocation(program, name), unit);
  const uniforms = {}, count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS);
  for (let k = 0; k < count; k++) {
    const {name} = gl.getActiveUniform(program, k);
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return {program, uniforms};
}

/* ---- the context, one for all sheets of a worker: a browser has few, and compiles for each ---- */

let gpuShared = null;  // {gl, programs: source -> program}

/* The context, or an error that says why there is none. */
function gpuContext() {
  if (gpuShared && !gpuShared.gl.isContextLost()) return gpuShared;
  if (typeof OffscreenCanvas === 'undefined') throw new Error('this browser has no OffscreenCanvas');
  const gl = new OffscreenCanvas(1, 1).getContext('webgl2', {antialias: false, depth: false, alpha: false,
    powerPreference: 'high-performance'});
  if (!gl) throw new Error('this browser has no WebGL2 here');
  if (!gl.getExtension('EXT_color_buffer_float'))
    throw new Error('this graphics card does not write floating point textures (EXT_color_buffer_float)');
  if (gl.getShaderPrecisionFormat(gl.FRAGMENT_SHADER, gl.HIGH_FLOAT).precision < 23)
    throw new Error('the shaders of this graphics card do not compute in single precision');
  gpuShared = {gl, programs: new Map()};
  return gpuShared;
}

function gpuCached(shared, source) {
  if (!shared.programs.has(source)) shared.programs.set(source, gpuProgram(shared.gl, source));
  return shared.programs.get(source);
}

/* ---- the tissue ---- */

class GpuTissue {
  static reason = null;  // why available() says false
  static renderer = null;  // what the browser calls the card
  static software = false;  // the processor plays the card, slowly

  /* Whether this browser can do it; if not, `reason` says why. */
  static available() {
    try {
      const {gl} = gpuContext(), names = gl.getExtension('WEBGL_debug_renderer_info');
      GpuTissue.renderer = gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
      GpuTissue.software = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(GpuTissue.renderer);
      GpuTissue.reason = null;
    } catch (error) {
      GpuTissue.reason = error.message;
    }
    return GpuTissue.reason === null;
  }

  /* As the constructor of Tissue. */
  constructor(model, {rows, columns, dt}) {
    Object.assign(this, {model, rows, columns, n: rows * columns, t: 0});
    const shared = gpuContext(), gl = this.gl = shared.gl;
    this.D = new Float64Array(this.n);
    this.g = {...model.conductances};
    this.stimuli = [];  // {start, duration, amplitude, mask}
    this.shares = [];  // of the stimuli that the card has now: [stimulus, share of the step]
    this.stepGates = gpuCached(shared, gpuGatesShader(model));
    this.stepState = gpuCached(shared, gpuStateShader(model));
    // Two of each: a step reads one and writes the other.
    this.state = [this.target(), this.target()];
    this.gates = [this.target(), this.target()];
    this.textures = {
      table: this.texture(gl.RGBA32F, 8 * GPU_FOLD, this.folded(model.voltage)),
      rectifier: this.texture(gl.R32F, GPU_FOLD, this.folded(model.drive)),
      weights: this.texture(gl.RGBA32F, columns, rows), stimulus: this.texture(gl.R32F, columns, rows),
    };
    const rectifier = new Float32Array(GPU_FOLD * this.folded(model.drive));
    rectifier.set(rectifierTable(model.drive));
    this.upload('rectifier', gl.RED, GPU_FOLD, rectifier);
    this.setStep(dt);
    this.setDiffusivity(() => model.diffusivity);
    this.start(model.initial);
    const error = gl.getError();
    this.check();
    if (error) throw new Error(`GpuTissue: the graphics card refuses a sheet of ${rows} x ${columns} (error ${error})`);
  }

  /* Single steps stay on the card, so there is nobody to tell the time of a crossing. */
  get onActivation() { return null; }
  set onActivation(f) {
    if (f) throw new Error('GpuTissue does not report activations: take them from frames, or use Tissue');
  }

  /* ---- textures ---- */

  folded({low, high, step}) { return Math.ceil((Math.round((high - low) / step) + 1) / GPU_FOLD); }

  texture(format, width, height) {
    const {gl} = this, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER])
      gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
    return texture;
  }

  /* Four layers, and the frame buffer that writes them. */
  target() {
    const {gl} = this, texture = gl.createTexture(), buffer = gl.createFramebuffer();
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA32F, this.columns, this.rows, GPU_LAYERS);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER])
      gl.texParameteri(gl.TEXTURE_2D_ARRAY, filter, gl.NEAREST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
    const places = Array.from({length: GPU_LAYERS}, (_, k) => gl.COLOR_ATTACHMENT0 + k);
    places.forEach((place, k) => gl.framebufferTextureLayer(gl.FRAMEBUFFER, place, texture, 0, k));
    gl.drawBuffers(places);
    const status = gl.checkFramebufferStatus(gl.FRAMEBUFFER);
    if (status !== gl.FRAMEBUFFER_COMPLETE && !gl.isContextLost())
      throw new Error(`GpuTissue: the graphics card does not write four textures at once (status ${status})`);
    return {texture, buffer};
  }

  upload(name, format, width, values) {
    const {gl} = this, height = values.length / width / (format === gl.RED ? 1 : 4);
    gl.activeTexture(gl.TEXTURE0 + GPU_UNITS[name]);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[name]);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, format, gl.FLOAT, values);
  }

  /* Gives the card's memory back; the sheet cannot be used after that. */
  dispose() {
    const {gl} = this;
    for (const {texture, buffer} of [...this.state, ...this.gates]) {
      gl.deleteTexture(texture);
      gl.deleteFramebuffer(buffer);
    }
    for (const texture of Object.values(this.textures)) gl.deleteTexture(texture);
  }

  /* ---- what the page may change at any time ---- */

  setStep(dt) {
    this.dt = dt;
    const rows = voltageTable(this.model.voltage, dt, this.model.constants);
    const packed = new Float32Array(32 * GPU_FOLD * this.folded(this.model.voltage));
    for (let from = 0, to = 0; from < rows.length; from += WIDTH, to += 32) {
      for (let k = 0; k < GATES; k++) {
        packed[to + k] = rows[from + k];
        packed[to + 12 + k] = 1 - rows[from + GATES + k];
      }
      for (let k = 2 * GATES; k < WIDTH; k++) packed[to + 24 + k - 2 * GATES] = rows[from + k];
    }
    this.upload('table', this.gl.RGBA, 8 * GPU_FOLD, packed);
  }

  setDiffusivity(of) {
    for (let k = 0; k < this.n; k++) this.D[k] = of(k);
    const packed = new Float32Array(4 * this.n);
    diffusionWeights(this.rows, this.columns, this.model.spacing, this.D).forEach((weights, side) =>
      weights.forEach((weight, k) => { packed[4 * k + side] = weight; }));
    this.upload('weights', this.gl.RGBA, this.columns, packed);
  }

  setBlocked(nodes) {
    const blocked = new Set(nodes);
    this.setDiffusivity(k => blocked.has(k) ? 0 : this.model.diffusivity);
  }

  setFactors(factors) {
    for (const [name, normal] of Object.entries(this.model.conductances)) this.g[name] = normal * (factors[name] ?? 1);
  }

  /* Where each variable lies: the target, and its channel and its remainder's channel among 16. */
  places() {
    const {gateNames, concNames} = this.model;
    return [
      ...['Vm', ...concNames].map((name, at) => ({name, pair: this.state, at, rest: at + 8})),
      ...gateNames.map((name, at) => ({name, pair: this.gates, at, rest: GPU_SLOW[name]})),
    ];
  }

  /* Every node in one state: the 19 variables by name. */
  start(state) {
    const {gl} = this;
    const values = new Map([[this.state, new Float32Array(16)], [this.gates, new Float32Array(16)]]);
    for (const {name, pair, at, rest} of this.places()) {
      values.get(pair)[at] = state[name];
      if (rest) values.get(pair)[rest] = state[name] - Math.fround(state[name]);
    }
    for (const [[{buffer}], channels] of values) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
      for (let k = 0; k < GPU_LAYERS; k++) gl.clearBufferfv(gl.COLOR, k, channels, 4 * k);
    }
  }

  /* ---- time ---- */

  /* The mean stimulus over [t, t + dt] travels to the card only when it is another than in the step before. */
  stimulate() {
    const {t, dt} = this, shares = [];
    for (const s of this.stimuli) {
      const overlap = min(t + dt, s.start + s.duration) - max(t, s.start);
      if (overlap > 1e-12) shares.push([s, Math.round(1e9 * overlap / dt) / 1e9]);  // without the clock's rounding
    }
    const same = ([s, share], k) => s === this.shares[k][0] && share === this.shares[k][1];
    if (shares.length === this.shares.length && shares.every(same)) return;
    const values = new Float32Array(this.n);
    for (const [s, share] of shares)
      for (let k = 0; k < this.n; k++) if (s.mask[k]) values[k] += s.amplitude * share;
    this.shares = shares;
    this.upload('stimulus', this.gl.RED, this.columns, values);
  }

  bind(unit, texture) {
    const {gl} = this;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
  }

  /* Another sheet may have used the context: set what all steps share. */
  prepare() {
    const {gl} = this;
    gl.viewport(0, 0, this.columns, this.rows);
    for (const [name, texture] of Object.entries(this.textures)) {
      gl.activeTexture(gl.TEXTURE0 + GPU_UNITS[name]);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    }
    this.bind(GPU_UNITS.state, this.state[0].texture);
    this.bind(GPU_UNITS.gates, this.gates[0].texture);
    gl.useProgram(this.stepState.program);
    for (const [name, value] of Object.entries({...this.g, dt: this.dt}))
      gl.uniform1f(this.stepState.uniforms[name], value);
  }

  /* Two passes; the second reads the gates that the first has written. */
  step() {
    const {gl, state, gates} = this;
    this.stimulate();
    gl.bindFramebuffer(gl.FRAMEBUFFER, gates[1].buffer);
    gl.useProgram(this.stepGates.program);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gates.reverse();
    this.bind(GPU_UNITS.gates, gates[0].texture);
    gl.bindFramebuffer(gl.FRAMEBUFFER, state[1].buffer);
    gl.useProgram(this.stepState.program);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    state.reverse();
    this.bind(GPU_UNITS.state, state[0].texture);
    this.t += this.dt;
  }

  /* Hand the card a span of whole steps [ms]; it may still compute when this returns, see sync(). */
  advance(span) {
    this.check();
    this.prepare();
    const begin = this.t, steps = Math.round(span / this.dt);
    for (let s = 0; s < steps; s++) { this.t = begin + s * this.dt; this.step(); }
    this.t = begin + span;
    this.stimuli = this.stimuli.filter(s => s.start + s.duration > this.t);
    this.gl.flush();
  }

  /* Wait until the card has done all steps: a caller who measures time asks for this, then takes his clock. */
  sync() {
    const {gl} = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.state[0].buffer);
    gl.readBuffer(gl.COLOR_ATTACHMENT0);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.FLOAT, new Float32Array(4));
    this.check();
  }

  check() {
    if (this.gl.isContextLost())
      throw new Error('GpuTissue: the browser took the graphics card away (WebGL context lost); the sheet is gone');
  }

  /* ---- what is read back ---- */

  /* One layer of a target: four channels of all nodes, one node after the other. */
  layer({buffer}, k, out, offset) {
    const {gl} = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
    gl.readBuffer(gl.COLOR_ATTACHMENT0 + k);
    gl.readPixels(0, 0, this.columns, this.rows, gl.RGBA, gl.FLOAT, out, offset);
    this.check();
  }

  /* Vm, Cai, CaSR, CaSS of all nodes, one after the other for each node, into an array from an offset; waits. */
  frame(out, offset = 0) {
    if (out instanceof Float32Array) {
      this.layer(this.state[0], 0, out, offset);
      return out;
    }
    const single = new Float32Array(4 * this.n);
    this.layer(this.state[0], 0, single, 0);
    out.set(single, offset);
    return out;
  }

  /* All 19 variables by name, remainders added: for a look at precision. */
  states() {
    const all = new Map([this.state, this.gates].map(pair => [pair, Array.from({length: GPU_LAYERS}, (_, k) => {
      const values = new Float32Array(4 * this.n);
      this.layer(pair[0], k, values, 0);
      return values;
    })]));
    const channel = (pair, at, k) => all.get(pair)[at >> 2][4 * k + (at & 3)];
    return Object.fromEntries(this.places().map(({name, pair, at, rest}) => [name,
      Float64Array.from({length: this.n}, (_, k) => channel(pair, at, k) + (rest ? channel(pair, rest, k) : 0))]));
  }
}
