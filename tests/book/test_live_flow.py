"""The flow map in the page: its net is cepkit's, and tissue that is carried by it is the solver's, nearly."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import cepkit as cep
from cepkit import cell
from cepkit.bench.methods import flow_map
from cepkit.page import live, source

spec = importlib.util.spec_from_file_location("make_live", Path(__file__).parents[2] / "scripts" / "make_live.py")
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)

pytestmark = pytest.mark.book

# What the worker of this page answers.
_WORKER = """
let model, map;
const flat = lists => Float32Array.from(lists.flat());
const square = (tissue, [row, column]) => {
  const mask = new Uint8Array(tissue.n);
  for (let i = row; i < row + 5; i++) for (let j = column; j < column + 5; j++) mask[i * tissue.columns + j] = 1;
  return mask;
};
const change = (tissue, {factors, blocked}) => {
  if (factors) tissue.setFactors(factors);
  if (blocked) tissue.setBlocked(blocked);
};
const kinds = {
  init(m) { model = m.model; map = new FlowMap(m.flowMap); },

  /* Of a sheet in given states (nodes, 19): the features, and what becomes of some nodes at some ages. */
  net({S, blocked, factors, nodes, ages}) {
    const tissue = new FlowTissue(model, map, {rows: 24, columns: 24, dt: 0.02}), n = tissue.n, X = [];
    change(tissue, {factors, blocked});
    S.forEach((state, k) => {
      tissue.V[tissue.columns + k] = state[0];
      for (let i = 0; i < GATES; i++) tissue.gates[k * GATES + i] = state[1 + i];
      for (let i = 0; i < 7; i++) tissue.conc[k * 7 + i] = state[1 + GATES + i];
    });
    tissue.features(tissue.tiles).forEach((of, t) => tissue.tiles[t].nodes.forEach((k, i) => {
      X[k] = [...of.X.subarray(i * map.inputs, (i + 1) * map.inputs)];
    }));
    const {code, rest, known} = map.encode(flat(nodes.map(k => X[k])), flat(nodes.map(k => S[k])), nodes.length);
    const [all, shown] = ['all', 'shown'].map(set => ages.map(age => [...map.at(code, rest, age, set)]));
    return {X: X.flat(), code: [...code], rest: [...rest], known: [...known], all, shown};
  },

  /* Solver and flow map side by side; beats: [start, [row, column], strength]. */
  both({rows, dt, duration, beats, changes}) {
    const setup = {rows, columns: rows, dt}, both = [new Tissue(model, setup), new FlowTissue(model, map, setup)];
    const noted = [[], []], ms = [0, 0], frames = both.map(({n}) => new Float32Array(4 * n));
    const sums = [0, 0, 0, 0].map(() => [0, 0, 0, 0]), most = [];
    both.forEach((tissue, k) => { tissue.onActivation = (t, node) => noted[k].push([node, t]); });
    for (let t = 0; t < duration; t++) {
      both.forEach((tissue, k) => {
        for (const [start, site, strength] of beats) if (start === t) {
          const {amplitude, duration} = model.stimulus;
          tissue.stimuli.push({start, duration, amplitude: amplitude * strength, mask: square(tissue, site)});
        }
        if (changes[t]) change(tissue, changes[t]);
        const from = performance.now();
        tissue.advance(1);
        tissue.frame(frames[k]);
        ms[k] += performance.now() - from;
      });
      const [truth, own] = frames;
      let largest = 0;
      for (let q = 0; q < truth.length; q++) {
        const away = own[q] - truth[q];
        [1, truth[q], truth[q] ** 2, away ** 2].forEach((x, s) => { sums[q % 4][s] += x; });
        if (q % 4 === 0) largest = max(largest, abs(away));
      }
      most.push(largest);
    }
    const zMse = sums.map(([n, sum, squares, error]) => error / (squares - sum * sum / n));
    return {noted, zMse, most, share: both[1].share, carried: [...both[1].carried], ms: ms.map(x => x / duration)};
  },
};
onmessage = ({data}) => postMessage(kinds[data.kind](data));
"""
_ASK = """([kind, m]) => new Promise((done, fail) => {
  window.flow ??= new Worker(URL.createObjectURL(new Blob([window.text], {type: 'text/javascript'})));
  window.flow.onmessage = e => done(e.data);
  window.flow.onerror = e => fail(new Error(e.message));
  window.flow.postMessage({kind, ...m});
})"""


@pytest.fixture(scope="module")
def flow():
    return cep.load("flow_map")


@pytest.fixture(scope="module")
def ask(flow):
    sync = pytest.importorskip("playwright.sync_api", reason="pip install playwright to drive a browser")
    if not maker.BROWSER:
        pytest.skip("no Chromium here")
    text = "\n".join([*map(source, ("tp06.js", "paced.js", "flow_map.js")), _WORKER])
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=maker.BROWSER, args=maker.FLAGS.split())
        page = browser.new_page()
        page.evaluate("text => { window.text = text; }", text)
        page.evaluate(_ASK, ["init", {"model": live.model(), "flowMap": live.export_flow_map(flow)}])
        yield lambda kind, **m: page.evaluate(_ASK, [kind, m])
        browser.close()


def states():
    """Of all nodes (576, 19) at several times of two beats, the second of which comes from another site."""
    other = cep.region.box(maker.SHEET, x=(6, 8), y=(5, 7))
    protocol = cep.Protocol([*cep.pacing.periodic(500.0, 1, cep.region.corner(maker.SHEET)).stimuli,
                             cep.Stimulus(420.0, other)])  # fmt: skip
    initial, now, parts = None, 0.0, []
    for until in (12.0, 60.0, 250.0, 330.0, 410.0, 470.0):
        shifted = cep.Protocol(cep.Stimulus(s.start - now, s.region) for s in protocol.stimuli if s.start >= now)
        run = cep.simulate(maker.SHEET, shifted, until - now, dt=0.05, save_every=2.0, initial=initial, progress=False)
        initial, now = cep.final_state(run), until
        parts.append(np.stack([initial[name].values.ravel() for name in cell.STATES], 1))
    return parts


AGES = [0.0, 0.4, 4.0, 17.5, 133.0, 555.25, 999.0, 999.9, 1000.0, 1400.0]


def test_the_net_in_the_page_is_the_net(ask, flow):
    """Features, codes and courses; of states that it knows, and of states that were shaken."""
    rng, known, mean, std = np.random.default_rng(0), [], flow.scale["mean"], flow.scale["std"]
    for turn, S in enumerate(states()):
        blocked, factors = (maker.LINE, {"gKr": 0.5, "gK1": 1.2}) if turn % 2 else ([], {})
        S = S.astype(np.float32)
        shaken = rng.choice(576, 90, replace=False)
        S[shaken] *= np.exp(0.3 * rng.normal(size=(90, 19)) * (rng.random((90, 1)) < 0.5))
        D = np.full(576, cep.fields.SHEET["diffusivity"])
        D[blocked] = 0.0
        tissue = cep.Tissue((24, 24), cep.fields.SHEET["spacing"], D.reshape(24, 24))
        z = (S - mean) / std
        near = z[:, [cell.STATES.index(name) for name in flow_map.NEAR]]
        parts = [wide - near for wide in flow_map.Smoothing(tissue, np.arange(576))(near)]
        told = [factors.get(name, 1.0) for name in flow_map.CONDUCTANCES] + [0.0]
        X = flow_map.told(S, z, parts, np.tile(told, (576, 1)))
        nodes = np.sort(np.concatenate([shaken[:60], rng.choice(576, 60)]))
        code, rest, sure = flow.encode(X[nodes], S[nodes])
        got = ask("net", S=S.tolist(), blocked=list(blocked), factors=factors, nodes=nodes.tolist(), ages=AGES)
        assert np.abs(np.reshape(got["X"], X.shape) - X).max() < 1e-4
        assert np.abs(np.reshape(got["code"], code.shape) - code).max() < 1e-3 * code.std()
        assert (np.abs(np.reshape(got["rest"], rest.shape) - rest) / std).max() < 1e-3
        assert np.array_equal(np.array(got["known"], bool), sure)
        known.append(sure)
        mine = np.array(got["all"]).reshape(len(AGES), 19, -1)
        away = np.abs(mine - flow.at(code, rest, np.array(AGES)))[..., sure] / std[:, None]
        assert away.max() < 1e-4, away.max((0, 2))
        which = [cell.STATES.index(name) for name in maker.VARIABLES]
        assert np.allclose(np.array(got["shown"]).reshape(len(AGES), 4, -1), mine[:, which])
    assert 0.2 < np.mean(known) < 0.9, "both kinds should be there"


BEATS = [*((start, (0, 0), 1.0) for start in (0, 500, 1000)), (1400, (19, 3), 0.15), (1430, (10, 15), 1.0)]
CASES = {
    "as it is": {"dt": 0.02},
    "half of gKr": {"changes": {0: {"factors": {"gKr": 0.5}}}},
    "a line of block": {"changes": {0: {"blocked": maker.LINE}}},
    "changes on the way": {"changes": {700: {"factors": {"gKr": 0.6}}, 1200: {"blocked": maker.LINE}}},
    "64 nodes a side": {"rows": 64, "dt": 0.1, "duration": 450, "beats": BEATS[:1]},
}


def both(ask, **given):
    out = ask("both", **{"rows": 24, "dt": 0.05, "duration": 1600, "beats": BEATS, "changes": {}} | given)
    return out, [np.array(sorted(noted)).reshape(-1, 2) for noted in out["noted"]]


@pytest.mark.parametrize("name", CASES)
def test_carried_tissue_is_the_solvers_nearly(ask, name):
    """Three beats, a stimulus that is too weak, and a premature one from elsewhere."""
    out, (truth, own) = both(ask, **CASES[name])
    assert len(own) == len(truth) > 2000 and np.array_equal(own[:, 0], truth[:, 0])
    late = np.abs(own[:, 1] - truth[:, 1]).max()
    print(f"{name}: {late:.3f} ms, z-MSE {np.array(out['zMse'])}, {max(out['most']):.1f} mV at most, "
          f"share {out['share']:.3f}, {out['ms'][0]:.2f} and {out['ms'][1]:.2f} ms a ms")  # fmt: skip
    assert late < 0.3 and out["zMse"][0] < 1e-3 and max(out["zMse"][:3]) < 2e-3 and out["zMse"][3] < 0.04
    assert out["share"] > 0.7


def test_what_was_not_learnt_is_solved(ask):
    for factors in ({"gpCa": 0.5}, {"gCaL": 0.01}):
        out, (truth, own) = both(ask, dt=0.1, duration=300, changes={0: {"factors": factors}})
        assert out["share"] == 0 and max(out["most"]) == 0 and np.array_equal(truth, own) and len(own) == 576


def test_a_change_takes_all_back(ask):
    """Between beats all is carried; a slider or a scar wakes the sheet, which is handed over again later."""
    run = {"dt": 0.1, "beats": BEATS[:1]}
    for change in ({"factors": {"gKs": 0.8}}, {"blocked": [300]}):
        out, _ = both(ask, duration=122, changes={120: change}, **run)
        assert not any(out["carried"]) and max(out["most"][120:]) < 2.5
        assert all(both(ask, duration=180, changes={120: change}, **run)[0]["carried"])
    same = both(ask, duration=122, changes={120: {"factors": {"gKs": 1.0}}}, **run)[0]
    assert all(same["carried"]), "all was, and what changes nothing wakes nobody"
