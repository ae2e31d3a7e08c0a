/* A sheet of TP06 tissue: the equations of cepkit/cell.py in the order of cepkit/kernel.py, in double precision.

   All constants, conductances and the initial state come from cepkit as data (see model() in __init__.py). */
'use strict';

/* ---- the membrane: what voltage alone decides ---- */

const {exp, log, sqrt, floor, min, max, abs} = Math;
const sigmoid = x => 1 / (1 + exp(-x));

/* Steady state and time constant [ms] of the eleven voltage gates, in the order of cell.VOLTAGE_GATES. */
function voltageGates(V) {
  const low = V < -40;
  const hOpen = low ? 0.057 * exp(-(V + 80) / 6.8) : 0;
  const hClose = low ? 2.7 * exp(0.079 * V) + 310000 * exp(0.3485 * V) : 0.77 / 0.13 * sigmoid((V + 10.66) / 11.1);
  const jOpen = low ? (-25428 * exp(0.2444 * V) - 6.948e-6 * exp(-0.04391 * V)) * (V + 37.78)
    * sigmoid(-0.311 * (V + 79.23)) : 0;
  const jClose = low ? 0.02424 * exp(-0.01052 * V) * sigmoid(0.1378 * (V + 40.14))
    : 0.6 * exp(0.057 * V) * sigmoid(0.1 * (V + 32));
  const hjInf = sigmoid(-(V + 71.55) / 7.43) ** 2;
  return [
    [sigmoid((V + 26) / 7), 450 * sigmoid((V + 45) / 10) * 6 * sigmoid(-(V + 30) / 11.5)],  // Xr1
    [sigmoid(-(V + 88) / 24), 3 * sigmoid((V + 60) / 20) * 1.12 * sigmoid(-(V - 60) / 20)],  // Xr2
    [sigmoid((V + 5) / 14), 1400 * sqrt(sigmoid((V - 5) / 6)) * sigmoid(-(V - 35) / 15) + 80],  // Xs
    [sigmoid((V + 56.86) / 9.03) ** 2,
      sigmoid((V + 60) / 5) * (0.1 * sigmoid(-(V + 35) / 5) + 0.1 * sigmoid(-(V - 50) / 200))],  // m
    [hjInf, 1 / (hOpen + hClose)],  // h
    [hjInf, 1 / (jOpen + jClose)],  // j
    [sigmoid((V + 8) / 7.5),
      (1.4 * sigmoid((V + 35) / 13) + 0.25) * 1.4 * sigmoid(-(V + 5) / 5) + sigmoid((V - 50) / 20)],  // d
    [sigmoid(-(V + 20) / 7), 1102.5 * exp(-((V + 27) ** 2) / 225) + 200 * sigmoid((V - 13) / 10)
      + 180 * sigmoid(-(V + 30) / 10) + 20],  // f
    [0.67 * sigmoid(-(V + 35) / 7) + 0.33, 562 * exp(-((V + 27) ** 2) / 240) + 31 * sigmoid((V - 25) / 10)
      + 80 * sigmoid(-(V + 30) / 10)],  // f2
    [sigmoid(-(V + 20) / 5), 85 * exp(-((V + 45) ** 2) / 320) + 5 * sigmoid(-(V - 20) / 5) + 3],  // s
    [sigmoid((V - 20) / 6), 9.5 * exp(-((V + 40) ** 2) / 1800) + 0.8],  // r
  ];
}

/* Factors of the currents that depend on voltage alone, in the order of cell.Voltage. */
function voltageFactors(V, c) {
  const u = V * c.F / (c.R * c.T), x = 2 * (V - 15) * c.F / (c.R * c.T);
  const ghk = abs(x) < 1e-5 ? 1 - x / 2 : x / Math.expm1(x);  // 0/0 at 15 mV
  const back = exp((c.gamma - 1) * u);
  const exchange = 1 / ((c.KmNai ** 3 + c.Nao ** 3) * (c.KmCa + c.Cao) * (1 + c.ksat * back));
  return [
    2 * c.F * ghk * 0.25 * exp(x), 2 * c.F * ghk * c.Cao,  // CaL in, out
    exchange * exp(c.gamma * u) * c.Cao, exchange * back * c.Nao ** 3 * c.alpha,  // NaCa in, out
    c.Ko / (c.Ko + c.KmK) / (1 + 0.1245 * exp(-0.1 * u) + 0.0353 * exp(-u)),  // NaK
    1 / (1 + exp((25 - V) / 5.98)),  // pK
  ];
}

/* Open fraction of I_K1 against V - E_K [mV]. */
function rectifier(drive) {
  const opening = 0.1 / (1 + exp(0.06 * (drive - 200)));
  const closing = (3 * exp(0.0002 * (drive + 100)) + exp(0.1 * (drive - 10))) / (1 + exp(-0.5 * drive));
  return opening / (opening + closing);
}

/* A row of the table holds eleven steady states, eleven decays over dt, and the six factors. */
const GATES = 11, WIDTH = 28;

function voltageTable(grid, dt, c) {
  const rows = Math.round((grid.high - grid.low) / grid.step) + 1, table = new Float64Array(rows * WIDTH);
  for (let k = 0; k < rows; k++) {
    const V = grid.low + grid.step * k;
    voltageGates(V).forEach(([inf, tau], gate) => {
      table[k * WIDTH + gate] = inf;
      table[k * WIDTH + GATES + gate] = exp(-dt / tau);
    });
    table.set(voltageFactors(V, c), k * WIDTH + 2 * GATES);
  }
  return table;
}

const rectifierTable = grid =>
  Float64Array.from({length: Math.round((grid.high - grid.low) / grid.step) + 1},
    (_, k) => rectifier(grid.low + grid.step * k));

/* exp(x) for -0.5 <= x <= 0 by its series, as kernel.small_exp has it. */
const smallExp = x => 1 + x * (1 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720
  + x * (1 / 5040 + x * (1 / 40320 + x / 362880))))))));

/* ---- the tissue ---- */

/* What diffusion takes from each node, for the four neighbours [1/ms]: harmonic means between nodes, sealed edges,
   half a volume on an edge; as Tissue.weights in cepkit/tissue.py. */
function diffusionWeights(rows, columns, spacing, D) {
  const n = rows * columns, weights = [0, 1, 2, 3].map(() => new Float64Array(n));  // right, left, up, down
  const face = (a, b) => a + b > 0 ? 2 * a * b / (a + b) / spacing : 0;
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
    const k = i * columns + j;
    const width = j === 0 || j === columns - 1 ? spacing / 2 : spacing;
    const height = i === 0 || i === rows - 1 ? spacing / 2 : spacing;
    if (j < columns - 1) weights[0][k] = face(D[k], D[k + 1]) / width;
    if (j > 0) weights[1][k] = face(D[k - 1], D[k]) / width;
    if (i < rows - 1) weights[2][k] = face(D[k], D[k + columns]) / height;
    if (i > 0) weights[3][k] = face(D[k - columns], D[k]) / height;
  }
  return weights;
}

class Tissue {
  /* model: what cepkit.live.model() exports; setup: {rows, columns, dt}. */
  constructor(model, {rows, columns, dt}) {
    Object.assign(this, {model, rows, columns, n: rows * columns, t: 0, onActivation: null});
    this.D = new Float64Array(this.n).fill(model.diffusivity);
    this.g = {...model.conductances};
    this.stimuli = [];  // {start, duration, amplitude, mask}
    // A row of cells on either side, so that the edges need no branch: their weights are 0.
    this.V = new Float64Array(this.n + 2 * columns);
    this.next = new Float64Array(this.n + 2 * columns);
    this.gates = new Float64Array(this.n * GATES);
    this.conc = new Float64Array(this.n * 7);
    this.stimulus = new Float64Array(this.n);
    this.ranges = [0, this.n];  // the nodes that are stepped: from, to, from, to, ...
    this.rectify = rectifierTable(model.drive);
    this.setStep(dt);
    this.setDiffusivity(() => model.diffusivity);
    this.start(model.initial);
  }

  setStep(dt) { this.dt = dt; this.table = voltageTable(this.model.voltage, dt, this.model.constants); }

  /* Diffusivity of each node by a function of its number; 0 conducts nothing. */
  setDiffusivity(of) {
    for (let k = 0; k < this.n; k++) this.D[k] = of(k);
    this.weights = diffusionWeights(this.rows, this.columns, this.model.spacing, this.D);
  }

  setBlocked(nodes) {
    const blocked = new Set(nodes);
    this.setDiffusivity(k => blocked.has(k) ? 0 : this.model.diffusivity);
  }

  /* Conductances as multiples of their normal values. */
  setFactors(factors) {
    for (const [name, normal] of Object.entries(this.model.conductances)) this.g[name] = normal * (factors[name] ?? 1);
  }

  /* Every node in one state: the 19 variables by name. */
  start(state) {
    this.V.fill(state.Vm);
    const {gateNames, concNames} = this.model;
    for (let k = 0; k < this.n; k++) {
      gateNames.forEach((name, i) => { this.gates[k * GATES + i] = state[name]; });
      concNames.forEach((name, i) => { this.conc[k * 7 + i] = state[name]; });
    }
  }

  /* Mean stimulus over [t, t + dt]; returns whether there is any. */
  stimulate() {
    const {t, dt, stimulus} = this;
    let any = false;
    for (const s of this.stimuli) {
      const overlap = min(t + dt, s.start + s.duration) - max(t, s.start);
      if (overlap <= 1e-12) continue;
      if (!any) stimulus.fill(0);
      any = true;
      const share = s.amplitude * overlap / dt;
      for (let k = 0; k < this.n; k++) if (s.mask[k]) stimulus[k] += share;
    }
    if (this.stimulated && !any) stimulus.fill(0);
    this.stimulated = any;
  }

  /* One step of the nodes in ranges: each reads the old potentials and writes its new one. */
  step() {
    const {V, next, gates, conc, table, rectify, ranges, columns, dt, stimulus, g} = this;
    const [right, left, up, down] = this.weights, c = this.model.constants;
    const {low: vLow, step: vStep, high: vHigh} = this.model.voltage, {low: dLow, step: dStep} = this.model.drive;
    const vLast = Math.round((vHigh - vLow) / vStep) - 0.001, dLast = rectify.length - 1.001;
    const {Ko, Cao, Nao, pKNa, KmNa, KpCa, k1, k2, k3, k4, max_sr, Vrel, Vleak, Vmaxup, Vxfer} = c;
    const {Kbufc, Kbufsr, Kbufss} = c, {gNa, gbNa, gCaL, gto, gKs, gpK, gbCa, gpCa, kNaCa, PNaK} = g;
    const rootKo = sqrt(Ko / 5.4), gKr = g.gKr * rootKo, gK1 = g.gK1 * rootKo;
    const RTF = c.R * c.T / c.F, KsOut = Ko + pKNa * Nao, EC2 = c.EC * c.EC, Kup2 = c.Kup * c.Kup;
    const spread = max_sr - c.min_sr, bufc = c.Bufc * Kbufc, bufsr = c.Bufsr * Kbufsr, bufss = c.Bufss * Kbufss;
    const srPerC = c.Vsr / c.Vc, srPerSs = c.Vsr / c.Vss, cPerSs = c.Vc / c.Vss;
    const toMM = c.Cm / (c.Vc * c.F), half = 0.5 * toMM, toSs = 0.5 * c.Cm / (c.Vss * c.F);
    this.stimulate();

    for (let r = 0; r < ranges.length; r += 2) {
      const end = ranges[r + 1];
      for (let k = ranges[r], at = columns + k, p = k * GATES, q = k * 7; k < end; k++, at++, p += GATES, q += 7) {
        const v = V[at];
        const Cai = conc[q], CaSR = conc[q + 1], CaSS = conc[q + 2], Rbar = conc[q + 3];
        const Nai = conc[q + 5], Ki = conc[q + 6];
        const ENa = RTF * log(Nao / Nai), EK = RTF * log(Ko / Ki);
        const EKs = RTF * log(KsOut / (Ki + pKNa * Nai)), ECa = 0.5 * RTF * log(Cao / Cai);

        // Gates and factors: one row of the table, straight between rows.
        let x = (v - vLow) / vStep;
        x = x > 0 ? (x < vLast ? x : vLast) : 0;  // also where x is NaN
        const row = x | 0, w = x - row;
        let b = row * WIDTH, d = b + GATES, u = b + WIDTH, e = d + WIDTH;
        for (let i = p; i < p + GATES; i++, b++, d++, u++, e++) {
          const inf = table[b] + w * (table[u] - table[b]);
          gates[i] = inf + (gates[i] - inf) * (table[d] + w * (table[e] - table[d]));
        }
        const CaLIn = table[d] + w * (table[e] - table[d]), CaLOut = table[d + 1] + w * (table[e + 1] - table[d + 1]);
        const NaCaIn = table[d + 2] + w * (table[e + 2] - table[d + 2]);
        const NaCaOut = table[d + 3] + w * (table[e + 3] - table[d + 3]);
        const NaKv = table[d + 4] + w * (table[e + 4] - table[d + 4]);
        const pKv = table[d + 5] + w * (table[e + 5] - table[d + 5]);
        x = (v - EK - dLow) / dStep;
        x = x > 0 ? (x < dLast ? x : dLast) : 0;
        const z = x | 0, open = rectify[z] + (x - z) * (rectify[z + 1] - rectify[z]);

        // The gate of I_CaL that subspace calcium drives.
        const y = 1 / (1 + CaSS * CaSS * 400), fInf = 0.6 * y + 0.4;
        const fCaSS = fInf + (conc[q + 4] - fInf) * smallExp(-dt / (80 * y + 2));

        const m = gates[p + 3], Xs = gates[p + 2], stim = stimulus[k];
        const iNa = gNa * m * m * m * gates[p + 4] * gates[p + 5] * (v - ENa);
        const ibNa = gbNa * (v - ENa);
        const iCaL = gCaL * gates[p + 6] * gates[p + 7] * gates[p + 8] * fCaSS * (CaLIn * CaSS - CaLOut);
        const ito = gto * gates[p + 9] * gates[p + 10] * (v - EK);
        const iKr = gKr * gates[p] * gates[p + 1] * (v - EK);
        const iKs = gKs * Xs * Xs * (v - EKs);
        const iK1 = gK1 * open * (v - EK);
        const ipK = gpK * pKv * (v - EK);
        const ibCa = gbCa * (v - ECa);
        const ipCa = gpCa * Cai / (Cai + KpCa);
        const iNaCa = kNaCa * (NaCaIn * Nai * Nai * Nai - NaCaOut * Cai);
        const iNaK = PNaK * NaKv * Nai / (Nai + KmNa);

        const kSR = max_sr - spread * CaSR * CaSR / (CaSR * CaSR + EC2), bound = k1 * CaSS * CaSS;
        const release = Vrel * bound * Rbar / (k3 * kSR + bound) * (CaSR - CaSS);
        const leak = Vleak * (CaSR - Cai), uptake = Vmaxup * Cai * Cai / (Cai * Cai + Kup2);
        const transfer = Vxfer * (CaSS - Cai);
        const cyt = (Cai + Kbufc) ** 2, sr = (CaSR + Kbufsr) ** 2, ss = (CaSS + Kbufss) ** 2;
        conc[q] = Cai + dt * cyt / (cyt + bufc)
          * ((leak - uptake) * srPerC + transfer - (ibCa + ipCa - 2 * iNaCa) * half);
        conc[q + 1] = CaSR + dt * sr / (sr + bufsr) * (uptake - release - leak);
        conc[q + 2] = CaSS + dt * ss / (ss + bufss) * (release * srPerSs - transfer * cPerSs - iCaL * toSs);
        conc[q + 3] = Rbar + dt * (k4 * (1 - Rbar) - k2 * kSR * CaSS * Rbar);
        conc[q + 4] = fCaSS;
        conc[q + 5] = Nai - dt * (iNa + ibNa + 3 * iNaK + 3 * iNaCa) * toMM;
        conc[q + 6] = Ki - dt * (iK1 + ito + iKr + iKs - 2 * iNaK + ipK + stim) * toMM;

        const flow = right[k] * (V[at + 1] - v) + left[k] * (V[at - 1] - v)
          + up[k] * (V[at + columns] - v) + down[k] * (V[at - columns] - v);
        const total = iNa + ibNa + iCaL + ito + iKr + iKs + iK1 + ipK + ibCa + ipCa + iNaCa + iNaK;
        next[at] = v + dt * (flow - total - stim);
      }
    }
    if (this.onActivation) this.noteActivations();
    this.V = next;
    this.next = V;
    this.t += dt;
  }

  /* Upward crossings of -40 mV, linear within the step. */
  noteActivations() {
    const level = this.model.activationLevel, {ranges} = this;
    for (let r = 0; r < ranges.length; r += 2) {
      for (let k = ranges[r], at = this.columns + k; k < ranges[r + 1]; k++, at++) {
        const before = this.V[at], after = this.next[at];
        if (before < level && after >= level)
          this.onActivation(this.t + this.dt * (level - before) / (after - before), k);
      }
    }
  }

  /* Advance by a span of whole steps [ms]; the clock is set anew so that no rounding adds up. */
  advance(span) {
    const begin = this.t, steps = Math.round(span / this.dt);
    for (let s = 0; s < steps; s++) { this.t = begin + s * this.dt; this.step(); }
    this.t = begin + span;
    this.stimuli = this.stimuli.filter(s => s.start + s.duration > this.t);
  }

  /* Vm, Cai, CaSR, CaSS of all nodes, one after the other for each node, into an array from an offset. */
  frame(out, offset = 0) {
    for (let k = 0; k < this.n; k++) {
      out[offset + 4 * k] = this.V[this.columns + k];
      for (let v = 0; v < 3; v++) out[offset + 4 * k + 1 + v] = this.conc[7 * k + v];
    }
    return out;
  }
}
