"""The live sheet on the graphics card computes what cepkit computes, as far as single precision reaches.

Here a processor plays the card, so these tests say nothing of its speed.
"""

import base64
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import cepkit as cep
from cepkit.page import live, source

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("make_live", ROOT / "scripts" / "make_live.py")
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)

SOFTWARE = "--use-angle=swiftshader --enable-unsafe-swiftshader --ignore-gpu-blocklist"
FLAGS = [flag for flag in maker.FLAGS.split() if flag != "--disable-gpu"] + SOFTWARE.split()

# The worker's side: a sheet from its description, and what the tests ask of it.
WORKER = """
let model;
const made = ({kind, rows, columns, dt, stimuli = [], blocked = [], factors = {}}) => {
  const sheet = new {Tissue, GpuTissue}[kind](model, {rows, columns, dt});
  sheet.setFactors(factors);
  sheet.setBlocked(blocked);
  sheet.stimuli = stimuli.map(s => {
    const mask = new Uint8Array(sheet.n);
    s.nodes.forEach(k => { mask[k] = 1; });
    return {...s, mask};
  });
  return sheet;
};
const all = sheet => {
  if (sheet.states) return sheet.states();
  const out = {Vm: sheet.V.slice(sheet.columns, sheet.columns + sheet.n)};
  const take = (names, from) => names.forEach((name, i) => {
    out[name] = Float64Array.from({length: sheet.n}, (_, k) => from[names.length * k + i]);
  });
  take(model.gateNames, sheet.gates);
  take(model.concNames, sheet.conc);
  return out;
};
const handlers = {
  init(m) { model = m.model; return {ok: GpuTissue.available(), software: GpuTissue.software}; },
  /* Frames every millisecond; changes = [{at, method, value}] made on the way. */
  run(m) {
    const sheet = made(m), {changes = [], duration} = m;
    const bystander = m.bystander && made({...m, ...m.bystander});
    const out = new Float32Array((duration + 1) * sheet.n * 4);
    sheet.frame(out);
    for (let t = 1; t <= duration; t++) {
      for (const {at, method, value} of changes) if (at === t - 1) sheet[method](value);
      sheet.advance(1);
      if (bystander) bystander.advance(1);
      sheet.frame(out, t * sheet.n * 4);
    }
    const result = {frames: out, t: sheet.t};
    if (m.states) result.states = Object.fromEntries(Object.entries(all(sheet)).map(([k, v]) => [k, [...v]]));
    if (sheet.dispose) sheet.dispose();
    return result;
  },
  broken() {
    new GpuTissue({...model, constants: {...model.constants, 'no name': 1}}, {rows: 4, columns: 4, dt: 0.02});
  },
  listened() { made({kind: 'GpuTissue', rows: 4, columns: 4, dt: 0.02}).onActivation = () => {}; },
  lost() {
    const sheet = made({kind: 'GpuTissue', rows: 4, columns: 4, dt: 0.02});
    sheet.advance(1);
    sheet.sync();
    sheet.gl.getExtension('WEBGL_lose_context').loseContext();
    sheet.advance(1);
  },
  missing() {
    gpuShared = null;
    const kept = self.OffscreenCanvas, before = kept.prototype.getContext, answers = [];
    const ask = () => answers.push([GpuTissue.available(), GpuTissue.reason]);
    self.OffscreenCanvas = undefined;
    ask();
    self.OffscreenCanvas = kept;
    kept.prototype.getContext = () => null;
    ask();
    kept.prototype.getContext = function (...a) {
      const gl = before.apply(this, a);
      gl.getExtension = () => null;
      return gl;
    };
    ask();
    kept.prototype.getContext = before;
    ask();
    return answers;
  },
};
onmessage = ({data}) => {
  try { postMessage({result: handlers[data.what](data)}); } catch (error) { postMessage({error: String(error)}); }
};
"""

# The page's side: the worker's answer, its frames as base64.
ASK = """async message => {
  const {result, error} = await new Promise(done => {
    gpuWorker.onmessage = event => done(event.data);
    gpuWorker.postMessage(message);
  });
  if (result?.frames) {
    const bytes = new Uint8Array(result.frames.buffer);
    let text = '';
    for (let k = 0; k < bytes.length; k += 32768) text += String.fromCharCode(...bytes.subarray(k, k + 32768));
    result.frames = btoa(text);
  }
  return {result, error};
}"""


@pytest.fixture(scope="module")
def ask():
    """A question to a worker that holds both solvers; an error in the worker is raised."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright to drive a browser")
    if not maker.BROWSER:
        pytest.skip("no Chromium here")
    code = "\n".join([source("tp06.js"), source("tp06_gpu.js"), WORKER])
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=maker.BROWSER, args=FLAGS)
        page, complaints = browser.new_page(), []
        page.on("console", lambda m: complaints.append(m.text))
        page.evaluate("code => { globalThis.gpuWorker = new Worker(URL.createObjectURL(new Blob([code]))); }", code)

        def question(what, **message):
            got = page.evaluate(ASK, {"what": what} | message)
            if got.get("error"):
                raise RuntimeError(got["error"])
            result = got.get("result")
            if isinstance(result, dict) and "frames" in result:
                frames = np.frombuffer(base64.b64decode(result["frames"]), "<f4")
                result["frames"] = frames.reshape(-1, message["rows"], message["columns"], 4).astype(float)
            return result

        if not question("init", model=json.loads(json.dumps(live.model())))["ok"]:
            pytest.skip("this Chromium has no WebGL2, even in software")
        question.complaints = complaints
        yield question
        browser.close()


def described(protocol):
    """The stimuli of a protocol for the worker."""
    return [
        {"start": s.start, "duration": s.duration, "amplitude": s.amplitude, "nodes": np.flatnonzero(s.region).tolist()}
        for s in protocol.stimuli
    ]


def sheet(shape, blocked=()):
    D = np.full(shape, cep.fields.SHEET["diffusivity"])
    D.flat[list(blocked)] = 0.0
    return cep.Tissue(shape, cep.fields.SHEET["spacing"], D)


def by_cepkit(shape, protocol, duration, dt, blocked=(), factors=None):
    """The same frames by cepkit."""
    normal = cep.cell.Conductances()
    parameters = {name: factor * getattr(normal, name) for name, factor in (factors or {}).items()}
    tissue = sheet(shape, blocked)
    return maker.stack(cep.simulate(tissue, protocol, duration, dt=dt, parameters=parameters, progress=False))


def activations(V, level=-40.0):
    """(node, time [ms]) of upward crossings, by straight lines between frames a millisecond apart."""
    V = V.reshape(len(V), -1)
    k, node = np.nonzero((V[:-1] < level) & (V[1:] >= level))
    time = k + (level - V[k, node]) / (V[k + 1, node] - V[k, node])
    order = np.lexsort((time, node))
    return node[order], time[order]


def compare(name, frames, expected):
    """Differences as single precision deserves them; says what they are."""
    away = np.abs(frames - expected)
    fast = np.zeros(expected.shape[:3], bool)  # an upstroke within a millisecond
    fast[1:] |= np.abs(np.diff(expected[..., 0], axis=0)) > 5.0
    fast[:-1] |= fast[1:]
    V = away[..., 0]
    node, time = activations(frames[..., 0])
    there, then = activations(expected[..., 0])
    assert np.array_equal(node, there) and len(node) > 0
    late = np.abs(time - then).max()
    relative = (away / expected)[..., 1:]
    rms, calm = np.sqrt((V**2).mean()), V[~fast].max()
    print(
        f"{name}: Vm RMS {rms:.1e} mV, largest {calm:.1e} away from upstrokes, {V.max():.1e} anywhere; "
        f"activations {len(node)}, {late:.1e} ms; Cai, CaSR, CaSS relative {relative.max((0, 1, 2))}"
    )
    assert rms < 1e-4 and calm < 5e-4 and V.max() < 1e-2  # mV
    assert late < 1e-4  # ms
    assert relative.max() < 2e-4


CASES = {
    "square": {"shape": (24, 24), "dt": 0.02},
    "not square": {"shape": (32, 48), "dt": 0.05},
    "line of block, half of gKr": {"shape": (24, 24), "dt": 0.05, "blocked": maker.LINE, "factors": {"gKr": 0.5}},
}


@pytest.mark.book
@pytest.mark.parametrize("name", CASES)
def test_the_card_computes_what_cepkit_computes(ask, name):
    """A beat of 400 ms.  Measured: RMS 2e-5 mV, 7e-5 mV away from upstrokes, activations 2e-5 ms, CaSS 4e-5 of it."""
    changes = dict(CASES[name])
    shape, dt = changes.pop("shape"), changes.pop("dt")
    rows, columns = shape
    protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(sheet(shape)))
    setup = {"rows": rows, "columns": columns, "dt": dt, "duration": 400, "stimuli": described(protocol)}
    got = ask("run", kind="GpuTissue", **setup, **changes)
    assert got["t"] == 400
    compare(name, got["frames"], by_cepkit(shape, protocol, 400.0, dt, **changes))


@pytest.mark.book
def test_a_large_sheet_too(ask):
    """A stimulus that begins and ends within a step, in the middle and at two edges of 256 x 256 nodes."""
    shape, h = (256, 256), cep.fields.SHEET["spacing"]
    sites = [(120, 120), (0, 200), (250, 0)]
    protocol = cep.Protocol(
        cep.Stimulus(0.25, cep.region.box(sheet(shape), x=(j * h, (j + 5) * h), y=(i * h, (i + 5) * h)), duration=1.3)
        for i, j in sites
    )
    setup = {"rows": 256, "columns": 256, "dt": 0.1, "duration": 8, "stimuli": described(protocol)}
    compare("256 x 256", ask("run", kind="GpuTissue", **setup)["frames"], by_cepkit(shape, protocol, 8.0, 0.1))


@pytest.mark.book
def test_rounding_does_not_add_up(ask):
    """Four beats: all 19 variables beside those in double precision.

    A step changes Ki by less than its last digit.  Without remainders, at 0.02 ms, Ki is 0.06 mM off and Vm 0.01 mV.
    """
    left = [8 * i + j for i in range(8) for j in range(4)]
    stimuli = [{"start": t, "duration": 1, "amplitude": -52.0, "nodes": left} for t in (0, 500, 1000, 1500)]
    setup = {"rows": 8, "columns": 8, "dt": 0.05, "duration": 2000, "stimuli": stimuli, "states": True}
    runs = [ask("run", kind=kind, **setup) for kind in ("GpuTissue", "Tissue")]
    assert len(activations(runs[0]["frames"][..., 0])[0]) == 4 * 64, "four beats"
    single, double = (run["states"] for run in runs)
    assert set(single) == set(cep.cell.STATES) == set(double)
    away = {k: float(np.abs(np.divide(single[k], double[k]) - 1).max()) for k in single}
    print("relative after 2 s: " + ", ".join(f"{k} {x:.0e}" for k, x in away.items()))
    assert max(away.values()) < 5e-5 and max(away[k] for k in ("Vm", *cep.cell.CONCENTRATIONS)) < 2e-6
    start, end = cep.cell.INITIAL_STATE["Ki"], np.array(double["Ki"])
    assert np.abs(np.array(single["Ki"]) - end).max() < 1e-4 * np.abs(end - start).max(), "of the change itself"


@pytest.mark.book
def test_changes_on_the_way_and_another_sheet_beside(ask):
    """Conductances, a scar and the step change while it runs; a second sheet uses the same card in between."""
    setup = {"rows": 12, "columns": 16, "dt": 0.05, "duration": 120}
    corner = [16 * i + j for i in range(4) for j in range(4)]
    setup["stimuli"] = [
        {"start": 3, "duration": 1, "amplitude": -52.0, "nodes": corner},
        {"start": 3.5, "duration": 2, "amplitude": -20.0, "nodes": [100, 101, 117]},
        {"start": 60.03, "duration": 5, "amplitude": 8.0, "nodes": corner[:5]},
    ]
    setup["changes"] = [
        {"at": 4, "method": "setBlocked", "value": [16 * i + 8 for i in range(9)]},
        {"at": 30, "method": "setFactors", "value": {"gCaL": 0.5, "gKs": 2}},
        {"at": 50, "method": "setStep", "value": 0.1},
        {"at": 90, "method": "setBlocked", "value": []},
    ]
    other = {"rows": 9, "columns": 7, "dt": 0.1, "stimuli": [], "factors": {"gK1": 0.7}}
    single = ask("run", kind="GpuTissue", bystander=other, **setup)
    double = ask("run", kind="Tissue", **setup)
    assert single["t"] == double["t"] == 120
    compare("changes", single["frames"], double["frames"])


@pytest.mark.book
def test_what_fails_is_named(ask):
    assert ask("missing") == [
        [False, "this browser has no OffscreenCanvas"],
        [False, "this browser has no WebGL2 here"],
        [False, "this graphics card does not write floating point textures (EXT_color_buffer_float)"],
        [True, None],
    ]
    with pytest.raises(RuntimeError, match="(?s)does not compile.*name"):
        ask("broken")
    with pytest.raises(RuntimeError, match="does not report activations"):
        ask("listened")
    with pytest.raises(RuntimeError, match="context lost"):
        ask("lost")
    everywhere = [{"start": 1, "duration": 1, "amplitude": -52.0, "nodes": list(range(16))}]
    again = ask("run", kind="GpuTissue", rows=4, columns=4, dt=0.05, duration=4, stimuli=everywhere)
    assert again["frames"][-1, ..., 0].min() > 0, "a new sheet finds a new context"
    noise = [text for text in ask.complaints if "CONTEXT_LOST" not in text and "GPU stall" not in text]
    assert noise == [], "the browser complained"
