"""The live sheet: the page holds what cepkit holds, and computes what cepkit computes."""

import base64
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import cepkit as cep
from cepkit import cell, simd
from cepkit.bench.methods import event_sheet
from cepkit.page import live

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("make_live", ROOT / "scripts" / "make_live.py")
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)


def unpack(packed):
    return np.frombuffer(base64.b64decode(packed["data"]), "<f4").reshape(packed["shape"])


# ---- what travels ---------------------------------------------------------------------------------


def test_weights_survive_the_way_into_the_page():
    model = cep.load("paced")
    sent = json.loads(json.dumps(live.export_weights(model)))
    for name, layers in model.plain.items():
        for got, (weight, bias) in zip(sent["networks"][name], layers, strict=True):
            assert np.array_equal(unpack(got["weight"]), weight) and weight.dtype == np.float32
            assert np.array_equal(unpack(got["bias"]), bias)
    assert np.array_equal(unpack(sent["centre"]), model.centre_plain)
    for name, unit in model.units.items():
        assert np.array_equal(sent["units"][name], unit)
    assert sent["knots"] == event_sheet.KNOTS.tolist()


def test_constants_come_from_the_cell():
    sent = json.loads(json.dumps(live.model()))
    assert sent["constants"] == cell.Constants()._asdict() and sent["conductances"] == cell.Conductances()._asdict()
    assert tuple(sent["gateNames"] + sent["concNames"]) == cell.STATES[1:] and sent["initial"] == cell.INITIAL_STATE
    assert len(cell.CONCENTRATIONS) == 7 and simd.N_FACTORS == 6, "tp06.js counts on it"


def test_a_page_is_whole_or_points_to_the_script_of_the_book():
    whole, light = live.html(source=None).data, live.html().data
    assert f'src="{live.SCRIPT}"' in light and len(light) < 1500
    assert len(whole) > 500_000 and whole.count("<script") == 1 == whole.count("</script")
    assert not re.findall(r"https?://(?!www\.w3\.org)[^'\"\s]+", whole)
    assert live.script() == live.script()


def test_what_it_cannot_do_is_refused():
    for bad, message in (
        ({"rows": 25}, "rows=25"),
        ({"cycle_length": 7}, "cycle_length=7"),
        ({"factors": {"g": 1}}, "factors='g'"),
    ):
        with pytest.raises(ValueError, match=message):
            live.html(**bad)


def test_the_notebook_widget_is_the_same_script():
    sheet = live.LiveSheet(cycle_length=400, factors={"gKr": 0.5})
    assert sheet._esm.startswith(live.script()) and "export default" in sheet._esm
    assert sheet.options == {"rows": 24, "cycle": 400, "factors": {"gKr": 0.5}}


@pytest.mark.skipif(not shutil.which("node"), reason="no node here to check the script's grammar")
def test_the_script_is_javascript(tmp_path):
    file = tmp_path / "live.js"
    file.write_text(live.script())
    subprocess.run(["node", "--check", file], check=True)


# ---- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pytest.importorskip("playwright.sync_api", reason="pip install playwright to drive a browser")
    if not maker.BROWSER:
        pytest.skip("no Chromium here")
    with maker.open_page(tmp_path_factory.mktemp("live"), paused=True) as page:
        yield page
        assert page.heard["complaints"] == []
        assert {url.split(":")[0] for url in page.heard["requests"]} <= {"file", "blob"}, "it asked another host"


CORNER = cep.pacing.periodic(500.0, 2, cep.region.corner(maker.SHEET))


@pytest.mark.book
@pytest.mark.parametrize("name", maker.CASES)
def test_the_solver_in_the_page_is_the_solver(page, name):
    """A beat and most of the next.  What is left is that cepkit's frames are kept in single precision."""
    changes = maker.CASES[name]
    frames, activations, ms = maker.run(page, CORNER, 900, **changes)
    truth = maker.simulate(CORNER, 900.0, **changes)
    expected = maker.stack(truth)
    away = np.abs(frames - expected)
    print(f"{name}: largest differences {away.max((0, 1, 2))}, {1e6 * ms / (900 * 50 * 576):.0f} ns a node and step")
    assert away[..., 0].max() < 1e-4  # mV, upstrokes included
    assert (away / expected)[..., 1:].max() < 1e-6
    late = maker.lateness(activations, truth)
    assert len(late) > 1100 and np.abs(late).max() < 1e-6  # ms
    if name != "as it is":
        normal = maker.simulate(CORNER, 900.0)
        assert np.abs(expected - maker.stack(normal))[..., 0].max() > 20, "the change should show"


@pytest.mark.book
def test_coarser_steps_too(page):
    frames, *_ = maker.run(page, CORNER, 300, dt=0.1)
    assert np.abs(frames - maker.stack(maker.simulate(CORNER, 300.0, dt=0.1)))[..., 0].max() < 1e-4


@pytest.mark.book
@pytest.mark.parametrize("given", [1, 641, 1001], ids=["one frame", "wave on its way", "a second"])
def test_the_network_in_the_page_is_the_network(page, given):
    """Two sites at once, a rest of over two seconds, a premature stimulus.

    Sums of single precision numbers depend on their order: that is the difference.  CaSS, whose burst is ten
    standard deviations high and a few milliseconds long, shows most of it.
    """
    sites = [(0, 0.0, 0.0), (380, 3.0, 5.0), (630, 7.0, 7.0), (1000, 4.0, 1.0), (1000, 0.0, 6.0), (1290, 2.0, 2.0)]
    sites += [(3900, 1.0, 1.0)]
    protocol = cep.Protocol(
        cep.Stimulus(t, cep.region.box(maker.SHEET, x=(x, x + 2), y=(y, y + 2))) for t, x, y in sites
    )
    truth = cep.simulate(maker.SHEET, protocol, 4200.0, progress=False)
    stimulus, steps = cep.stimulus_field(protocol, like=truth), 4201 - given
    model = cep.load("paced")
    history = truth.isel(time=slice(None, given))
    python = maker.stack(model.rollout(history, steps, stimulus=stimulus).isel(start=0))
    frames, ms = maker.rollout(page, history, steps, stimulus)
    std = np.array([float(model.scaling.std[v]) for v in maker.VARIABLES])
    away = np.abs(frames - python) / std
    print(f"largest differences in z-scores {away.max((0, 1, 2))}, {ms / steps:.2f} ms a frame")
    assert away[..., :3].max() < 1e-4 and away[..., 3].max() < 1e-3
    assert np.sqrt((away**2).mean((0, 1, 2))).max() < 1e-5


@pytest.mark.book
def test_beats_in_the_page_are_those_of_cepkit(page):
    """S1-S2 of one cell: APD90 and diastolic intervals, read from frames a millisecond apart."""
    one = cep.Tissue((1, 1), 1.0, 0.1)
    everywhere = cep.region.box(one, x=(-1, 1), y=(-1, 1))
    stimuli = [cep.Stimulus(t, everywhere) for t in (10.0, 510.0, 1010.0, 1360.0, 1860.0)]
    Vm = cep.simulate(one, cep.Protocol(stimuli), 2400.0, progress=False).Vm
    found = np.reshape(maker.beats(page, Vm.values.ravel()), (-1, 3))
    beats = cep.measure.beats(Vm).squeeze()
    assert len(found) == 4, "the first beat has no rest before it"
    begin = beats.repolarisation.values - beats.APD.values
    expected = np.stack([begin[1:], beats.APD.values[1:], begin[1:] - beats.repolarisation.values[:-1]], 1)
    assert np.abs(found - expected).max() < 1e-3, "ms"


def choose(page, label, value):
    page.get_by_label(label, exact=True).select_option(value)


def fresh(page, rows=24, beside=()):
    """A sheet at rest that nobody paces, with these beside the solver."""
    page.evaluate("cepLive.sheets[0].wish = false, cepLive.sheets[0].run(), cepLive.sheets[0].setFactors({})")
    choose(page, "Pacemaker", "0")
    page.evaluate(
        """([rows, beside]) => {
          const sheet = cepLive.sheets[0];
          for (const [name, box] of Object.entries(sheet.beside)) box.checked = beside.includes(name);
          sheet.size(rows);
        }""",
        [rows, list(beside)],
    )
    page.wait_for_function("cepLive.sheets[0].frame?.activity.epoch === cepLive.sheets[0].epoch")


@pytest.mark.book
def test_keyboard_and_controls(page):
    """The sheet rests; a square is chosen and paced by keys alone; a block, a slider and a new size are obeyed."""
    status, canvas = page.get_by_role("status").first, page.get_by_role("application").first
    fresh(page, beside=["network"])
    canvas.focus()
    for _ in range(2):
        canvas.press("Shift+ArrowUp")
    canvas.press("ArrowLeft")
    assert status.inner_text() == "Row 22, column 11"
    canvas.press("Enter")
    page.wait_for_function("cepLive.sheets[0].frame.t === 1")
    V = np.reshape(page.evaluate("[...cepLive.sheets[0].frame.sheets[0].values]"), (24, 24))
    assert V[19:24, 9:14].min() > -60 and V[:14].max() < -80
    canvas.press("b")
    assert page.evaluate("cepLive.sheets[0].blocked.size") == 1 and "conduct nothing" in status.inner_text()
    canvas.press("e")
    assert status.inner_text() == "Electrode at row 22, column 11"
    page.get_by_text("Channels: block and boost").click()
    page.get_by_label("gKr").press("Home")
    assert page.evaluate("cepLive.sheets[0].factors().gKr") == 0
    page.get_by_role("button", name="All as they were").click()
    assert page.evaluate("cepLive.sheets[0].factors()") == dict.fromkeys(live.CHANNELS, 1)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("cepLive.sheets[0].frame.t > 60")
    page.get_by_role("button", name="Show it the last second").click()
    page.get_by_role("button", name="Pause").click()
    choose(page, "Sheet", "64")
    page.wait_for_function("cepLive.sheets[0].frame.sheets[0].values.length === 4096")
    assert page.get_by_role("application").count() == 1, "the network is at home on 24 nodes a side"


@pytest.mark.book
def test_the_strength_of_a_stimulus_decides(page):
    """A twentieth of the current starts no wave in the solver; the network, which is not told, sees one."""
    fresh(page, beside=["coarse", "flow", "network"])
    page.evaluate("cepLive.sheets[0].strength.value = 5, cepLive.sheets[0].showStrength(), cepLive.sheets[0].pace()")
    page.evaluate("cepLive.sheets[0].send('step', {ms: 60})")
    page.wait_for_function("cepLive.sheets[0].frame.t > 60")
    peaks = dict(page.evaluate("cepLive.sheets[0].frame.sheets.map(s => [s.name, Math.max(...s.values)])"))
    assert max(peaks[name] for name in ("solver", "coarse", "flow")) < -80 and peaks["network"] > 0
    page.evaluate("cepLive.sheets[0].strength.value = 100, cepLive.sheets[0].showStrength()")


@pytest.mark.book
def test_numbers_make_sense(page):
    """Dashes at rest; a lamp that is dark on healthy tissue and lit by a blocked channel."""
    fresh(page, beside=["coarse", "network"])
    page.evaluate("cepLive.sheets[0].written = 0, cepLive.sheets[0].redraw()")
    row = "name => [...cepLive.sheets[0].panes[name].cells].map(cell => cell.textContent)"
    page.wait_for_timeout(300)
    assert page.evaluate(row, "coarse")[:4] == ["–"] * 4
    step = "ms => cepLive.sheets[0].send('step', {ms})"
    lit = "cepLive.sheets[0].panes.network.lamp.classList.contains('cep-on')"
    choose(page, "Pacemaker", "500")
    for until in (1000, 2000):
        page.evaluate(step, 1000)
        page.wait_for_function(f"cepLive.sheets[0].frame.t === {until}")
    page.wait_for_timeout(400)
    page.evaluate("cepLive.sheets[0].written = 0, cepLive.sheets[0].redraw()")
    page.wait_for_timeout(100)
    assert not page.evaluate(lit)
    apd = float(page.evaluate(row, "solver")[5])
    assert 250 < apd < 320 and float(page.evaluate(row, "coarse")[0]) < 0.01
    assert abs(float(page.evaluate(row, "network")[5]) - apd) < 3
    page.evaluate("cepLive.sheets[0].setFactors({gKr: 0.3})")
    page.evaluate(step, 1000)
    page.wait_for_function("cepLive.sheets[0].frame.t === 3000")
    page.wait_for_timeout(400)
    page.evaluate("cepLive.sheets[0].written = 0, cepLive.sheets[0].redraw()")
    page.wait_for_timeout(100)
    assert page.evaluate(lit)


@pytest.mark.book
def test_an_address_holds_the_sheet(page):
    fresh(page, rows=64, beside=["coarse"])
    page.evaluate(
        """const sheet = cepLive.sheets[0];
        sheet.setFactors({gKr: 0.5, gNa: 2});
        sheet.blocked = new Set([3, 4, 5, 9]);
        sheet.cursor = [7, 8]; sheet.electrode = [9, 10];
        sheet.site.value = 'square'; sheet.strength.value = 150; sheet.side.value = 15; sheet.share();"""
    )
    address = page.evaluate("location.href")
    page.evaluate("history.replaceState(null, '', location.href.split('#')[0])")
    other = page.context.browser.new_page()
    other.goto(address)
    other.wait_for_function("cepLive.sheets[0].frame?.t === 0")
    ask = """() => { const s = cepLive.sheets[0]; return [s.rows, [...s.blocked], s.cursor, s.electrode, s.site.value,
      s.strength.value, s.side.value, s.factors().gKr, s.factors().gNa, s.frame.sheets.map(x => x.name)]; }"""
    kept = other.evaluate(ask)
    other.close()
    assert kept[:7] == [64, [3, 4, 5, 9], [7, 8], [9, 10], "square", "150", "15"]
    assert kept[7] == 0.5 and kept[8] == 2 and kept[9] == ["solver", "coarse"]


@pytest.mark.book
@pytest.mark.parametrize("delay, outcome", [(120, "nothing"), (140, "re-entry"), (190, "a wave on all sides")])
def test_the_vulnerable_window_is_judged(page, delay, outcome):
    """Too early nothing follows, then a re-entry, later a wave on all sides."""
    page.get_by_text("Challenges").first.evaluate("node => { node.parentNode.open = true; }")
    page.get_by_role("button", name="Find the vulnerable window").click()
    choose(page, "Speed", "1000000")
    page.get_by_label("S2 after S1 [ms]").fill(str(delay))
    page.get_by_role("button", name="Try", exact=True).click()
    page.wait_for_function(f"cepLive.sheets[0].challenge.tries.get({delay})", timeout=60_000)
    assert page.evaluate(f"cepLive.sheets[0].challenge.tries.get({delay})") == outcome


@pytest.mark.book
def test_a_re_entry_ends_at_a_line_of_block_with_a_score(page):
    page.get_by_role("button", name="End a re-entry").click()
    page.wait_for_function("cepLive.sheets[0].frame.t > 260", timeout=60_000)
    assert page.evaluate("cepLive.sheets[0].challenge.current") == "end", "it turns"
    every = "cepLive.sheets[0].blocked = new Set(Array.from({length: 4096}, (_, k) => k).filter(k => k % 3 === 0))"
    page.evaluate(every + "; cepLive.sheets[0].send('blocked', {nodes: [...cepLive.sheets[0].blocked]})")
    page.wait_for_function("cepLive.sheets[0].challenge.score !== undefined", timeout=60_000)
    assert page.evaluate("cepLive.sheets[0].challenge.score") == 0, "a thousand blocked nodes cost all points"
    page.get_by_role("button", name="Pause").click()


@pytest.mark.book
def test_a_pointer_paces_and_draws_a_line_of_block(page):
    fresh(page, beside=["network"])
    canvas = page.get_by_role("application").first
    side = canvas.bounding_box()["width"]
    choose(page, "Paced square", "5")
    canvas.click(position={"x": 0.1 * side, "y": 0.9 * side})
    page.wait_for_function("cepLive.sheets[0].frame.sheets[0].values[0] > -60")
    choose(page, "A click", "block")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.5 * side, box["y"] + 0.1 * side)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.52 * side, box["y"] + 0.6 * side)
    page.mouse.up()
    blocked = page.evaluate("[...cepLive.sheets[0].blocked]")
    rows = sorted(k // 24 for k in blocked)
    assert rows == list(range(rows[0], rows[0] + len(rows))) and len(rows) > 8, "a line without a gap"
    choose(page, "A click", "pace")


@pytest.mark.book
def test_a_spiral_turns_around_its_tip(page):
    page.get_by_role("button", name="Spiral").click()
    page.get_by_label("Speed").select_option("1000000")
    page.wait_for_function("cepLive.sheets[0].frame.t > 260", timeout=60_000)
    assert page.evaluate("cepLive.sheets[0].frame.tips.length") >= 3
    assert page.evaluate("cepLive.sheets[0].path.length") > 20
    page.get_by_role("button", name="Pause").click()


@pytest.mark.book
def test_frames_come_fast_enough(page):
    """A page that stutters is no live sheet.  The floor is low: tests share their machine."""
    page.evaluate("cepLive.sheets[0].wish = true, cepLive.sheets[0].run()")
    rates = maker.frame_rates(page, seconds=3, rows=(24, 64))
    print(rates)
    assert rates["24"]["frames a second"] >= 10 and rates["64"]["frames a second"] >= 10


@pytest.mark.book
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_waits_for_those_who_asked_for_no_motion(tmp_path, page, scheme):
    other = page.context.browser.new_page(
        viewport={"width": 390, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    file = tmp_path / "live.html"
    file.write_text(maker.HEAD + live.html(source=None).data)
    other.goto(file.as_uri())
    other.wait_for_function("cepLive.sheets[0].frame?.t === 0")
    assert other.evaluate("document.documentElement.scrollWidth") <= 390
    assert other.get_by_role("button", name="Play").count() == 1
    other.close()


@pytest.mark.book
def test_the_notebook_widget_runs_and_reports(tmp_path, page):
    """What JupyterLab does with it: import the module, hand it a model and an element, and clear it away."""
    other = page.context.browser.new_page()
    (tmp_path / "empty.html").write_text("<!doctype html><title>empty</title>")
    other.goto((tmp_path / "empty.html").as_uri())
    readout = other.evaluate(
        """async esm => {
          const url = URL.createObjectURL(new Blob([esm], {type: 'text/javascript'}));
          const {default: widget} = await import(url), el = document.createElement('div');
          document.body.append(el);
          const kept = {options: {rows: 24, cycle: 500, factors: {gKr: 0.5}}};
          const model = {get: k => kept[k], set: (k, v) => { kept[k] = v; }, save_changes() {}, on() {}};
          const clear = widget.render({model, el});
          while (!(kept.readout?.t > 5)) await new Promise(done => setTimeout(done, 50));
          clear();
          return {...kept.readout, factors: cepLive.sheets[0].factors()};
        }""",
        live.LiveSheet()._esm,
    )
    sheets = readout["sheets"]
    assert readout["factors"]["gKr"] == 0.5 and len(sheets["network"]["error"]) == 4 and sheets["solver"]["clock"] > 0
    other.close()


@pytest.mark.book
def test_a_large_sheet_is_drawn_between_milliseconds(page):
    """256 x 256 nodes: a frame every fifth of a millisecond, and a stimulus on time."""
    fresh(page, rows=256)
    page.evaluate("cepLive.sheets[0].steps.value = 0.1, cepLive.sheets[0].restart(), cepLive.sheets[0].pace()")
    page.wait_for_function("cepLive.sheets[0].frame.t === 1", timeout=60_000)
    V = np.reshape(page.evaluate("[...cepLive.sheets[0].frame.sheets[0].values]"), (256, 256))
    assert V[126:131, 126:131].min() > -60 and V[:100].max() < -80
    assert page.evaluate("cepLive.sheets[0].panes.solver.trace.at(-1)[0]") == 1
    fresh(page)
