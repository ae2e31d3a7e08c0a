"""Make data/live.json: what the live sheet computes in a browser, beside what cepkit computes; a minute.

python scripts/make_live.py

Needs Chromium and `pip install playwright`. tests/book/test_live.py drives the page through the functions below.
"""

import base64
import contextlib
import datetime
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np

import cepkit as cep
from cepkit.page import live

VARIABLES = ("Vm", "Cai", "CaSR", "CaSS")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
HEAD = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Live</title>'
NODES = ((3, 3), (12, 12))  # whose traces are kept
STEPS = 500  # frames of each case
SHEET = cep.Tissue(**cep.fields.SHEET)
#: A vertical line of nodes that conduct nothing, open below; and half of gKr.
LINE = [row * 24 + 12 for row in range(6, 24)]
CASES = {"as it is": {}, "a line of block": {"blocked": LINE}, "half of gKr": {"factors": {"gKr": 0.5}}}

# The page's side of a question: masks from lists of nodes, arrays from and to base64.
_ASK = """async ([kind, setup, history]) => {
  const size = setup.rows * setup.columns;
  const mask = nodes => { const m = new Uint8Array(size); nodes.forEach(k => { m[k] = 1; }); return m; };
  if (setup.stimuli) for (const s of setup.stimuli) s.mask = mask(s.nodes);
  if (setup.masks) setup.masks = setup.masks.map(nodes => nodes && mask(nodes));
  if (history) setup.history = new Float32Array(Uint8Array.from(atob(history), c => c.charCodeAt(0)).buffer);
  const {frames, activations, ms} = await cepLive[kind](setup), bytes = new Uint8Array(frames.buffer);
  let text = '';
  for (let k = 0; k < bytes.length; k += 32768) text += String.fromCharCode(...bytes.subarray(k, k + 32768));
  return {frames: btoa(text), activations: [...(activations ?? [])], ms};
}"""


@contextlib.contextmanager
def open_page(folder, **options):
    """A page that holds the live sheet alone, opened from a file; ``page.heard`` collects complaints and requests."""
    from playwright.sync_api import sync_playwright

    file = Path(folder) / "live.html"
    file.write_text(HEAD + live.html(source=None, **options).data, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1000, "height": 1100})
        page.heard = {"complaints": [], "requests": []}
        page.on("console", lambda m: page.heard["complaints"].append(m.text))
        page.on("pageerror", lambda e: page.heard["complaints"].append(str(e)))
        page.on("request", lambda r: page.heard["requests"].append(r.url))
        page.goto(file.as_uri())
        yield page
        browser.close()


def _answer(page, kind, setup, history=None):
    got = page.evaluate(_ASK, [kind, {"rows": 24, "columns": 24} | setup, history])
    frames = np.frombuffer(base64.b64decode(got["frames"])).reshape(-1, 24, 24, 4)
    return frames, np.array(got["activations"]).reshape(-1, 2), got["ms"]


def run(page, protocol, duration, dt=0.02, **changes):
    """The page's solver: frames (time, y, x, 4), activations (events, 2) as (time, node), computing time [ms]."""
    stimuli = [
        {"start": s.start, "duration": s.duration, "amplitude": s.amplitude, "nodes": np.flatnonzero(s.region).tolist()}
        for s in protocol.stimuli
    ]
    return _answer(page, "run", {"stimuli": stimuli, "duration": duration, "dt": dt, **changes})


def rollout(page, history, steps, stimulus):
    """The page's network: frames (steps, y, x, 4) and computing time [ms]."""
    masks = [np.flatnonzero(row).tolist() or None for row in stimulus.values]
    packed = base64.b64encode(stack(history).astype("<f4").tobytes()).decode()
    frames, _, ms = _answer(page, "rollout", {"steps": steps, "masks": masks}, packed)
    return frames, ms


def beats(page, trace):
    """Start, APD90 and diastolic interval [ms] of each beat in a trace of the potential, a value a millisecond."""
    return [*page.evaluate("async trace => [...(await cepLive.beats({trace})).frames]", list(map(float, trace)))]


def stack(fields):
    """The four variables of a trajectory, last axis."""
    return np.stack([fields[v].values for v in VARIABLES], -1)


def simulate(protocol, duration, dt=0.02, blocked=(), factors=None):
    """The same by cepkit."""
    D = np.full(SHEET.size, cep.fields.SHEET["diffusivity"])
    D[list(blocked)] = 0.0
    tissue = cep.Tissue(SHEET.shape, cep.fields.SHEET["spacing"], D.reshape(SHEET.shape))
    normal = cep.cell.Conductances()
    parameters = {name: factor * getattr(normal, name) for name, factor in (factors or {}).items()}
    return cep.simulate(tissue, protocol, duration, dt=dt, parameters=parameters, progress=False)


def lateness(activations, truth):
    """How much later each activation comes than cepkit's [ms], beat by beat, node by node."""
    both = [(a[:, 0], a[:, 1]) for a in (activations, np.stack([truth.activation_time, truth.activation_node], 1))]
    mine, theirs = (time[np.lexsort((time, node))] for time, node in both)
    return mine - theirs


def frame_rates(page, seconds=4, rows=(24, 64, 128, 256), beside="flow"):
    """Frames a second on the screen, and ms of computing a ms of tissue, as fast as it goes, paced every 500 ms."""
    rates = {}
    for n in rows:
        page.evaluate(
            """([rows, beside]) => {
              const sheet = cepLive.sheets[0];
              for (const [name, box] of Object.entries(sheet.beside)) box.checked = name === beside;
              sheet.cycle.value = 500;
              sheet.size(rows);
            }""",
            [n, beside],
        )
        page.get_by_label("Speed").select_option("1000000")
        page.wait_for_timeout(1000 * seconds)
        got = page.evaluate("({...cepLive.sheets[0].readout, dt: +cepLive.sheets[0].steps.value})")
        rates[str(n)] = {"frames a second": got["frames"], "dt": got["dt"]}
        rates[str(n)] |= {f"{name} [ms]": float(f"{sheet['clock']:.2g}") for name, sheet in got["sheets"].items()}
    return rates


def beside(page):
    """What the table of the sheet shows after two seconds at 500 ms, channels as they are and with half of gKr."""
    shown = {}
    for name, factors in (("as it is", {}), ("half of gKr", {"gKr": 0.5})):
        page.evaluate(
            """factors => {
              const sheet = cepLive.sheets[0];
              Object.assign(sheet, {wish: false});
              sheet.run();
              for (const box of Object.values(sheet.beside)) box.checked = true;
              sheet.cycle.value = 500;
              sheet.size(24, factors);
              sheet.send('step', {ms: 2000});
            }""",
            factors,
        )
        ready = "(({frame, epoch}) => frame.activity.epoch === epoch && frame.t === 2000)(cepLive.sheets[0])"
        page.wait_for_function(ready, timeout=300_000)
        ask = "cepLive.sheets[0].frame.sheets.map(({name, error, APD, share}) => ({name, error, APD, share}))"
        shown[name] = {one.pop("name"): one for one in page.evaluate(ask)}
    return shown


def main():
    import tempfile

    protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(SHEET))
    out = {"what": "the live sheet in a browser: Vm [mV] every ms at some nodes; differences from cepkit; speed"}
    out |= {"nodes": NODES, "dt": 0.02, "cases": {}, "agreement": {}}
    with tempfile.TemporaryDirectory() as folder, open_page(folder, paused=True) as page:
        for name, changes in CASES.items():
            frames, activations, ms = run(page, protocol, STEPS, **changes)
            truth = simulate(protocol, float(STEPS), **changes)
            out["cases"][name] = {"changes": changes, "Vm": [frames[:, i, j, 0].round(4).tolist() for i, j in NODES]}
            late = lateness(activations, truth)
            away = np.abs(frames - stack(truth)).max((0, 1, 2))
            out["agreement"][name] = {
                "activations": len(late), "activation [ms]": float(f"{np.abs(late).max():.1e}"),
                **{v: float(f"{x:.1e}") for v, x in zip(VARIABLES, away, strict=True)},
            }  # fmt: skip
        truth, model = simulate(protocol, float(STEPS)), cep.load("paced")
        stimulus = cep.stimulus_field(protocol, like=truth)
        frames, _ = rollout(page, truth.isel(time=[0]), STEPS, stimulus)
        python = stack(model.rollout(truth.isel(time=[0]), STEPS, stimulus=stimulus).isel(start=0))
        std = np.array([float(model.scaling.std[v]) for v in VARIABLES])
        away = np.abs(frames - python).max((0, 1, 2)) / std
        out["agreement"]["network, z-scores"] = {v: float(f"{x:.1e}") for v, x in zip(VARIABLES, away, strict=True)}
        out["network"] = [frames[:, i, j, 0].round(4).tolist() for i, j in NODES]
        out["beside"] = beside(page)
        page.evaluate("cepLive.sheets[0].wish = true, cepLive.sheets[0].run()")
        out["speed"] = frame_rates(page)
        out["browser"] = page.context.browser.version
    out["machine"] = platform.machine()
    out["kilobytes of script"] = round(len(live.script()) / 1e3)
    out["versions"] = {"python": platform.python_version(), **{p: version(p) for p in ("cepkit", "numpy", "anywidget")}}
    out["date"] = datetime.date.today().isoformat()
    text = json.dumps(out, separators=(",", ":"))
    cep.store.replace_file(Path(__file__).parents[1] / "data" / "live.json", text.encode())
    print(json.dumps(out["agreement"], indent=1), out["speed"], f"{len(text) / 1e3:.0f} kB", sep="\n")


if __name__ == "__main__":
    main()
