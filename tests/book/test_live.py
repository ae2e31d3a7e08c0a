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
def test_keyboard_and_controls(page):
    """The sheet rests; a square is chosen and paced by keys alone; a block, a slider and a new size are obeyed."""
    status, canvas = page.get_by_role("status"), page.get_by_role("application").first
    page.get_by_label("Pacemaker", exact=True).select_option("0")
    page.get_by_role("button", name="Start again").click()
    page.wait_for_function("cepLive.sheets[0].frame.t === 0")
    canvas.focus()
    for _ in range(2):
        canvas.press("Shift+ArrowUp")
    canvas.press("ArrowLeft")
    assert status.inner_text() == "Row 22, column 11"
    canvas.press("Enter")
    page.wait_for_function("cepLive.sheets[0].frame.t === 1")
    V = np.reshape(page.evaluate("[...cepLive.sheets[0].frame.values]"), (24, 24))
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
    page.get_by_label("Sheet", exact=True).select_option("64")
    page.wait_for_function("cepLive.sheets[0].frame.values.length === 4096")
    assert page.get_by_role("application").count() == 1, "the network is at home on 24 nodes a side"


@pytest.mark.book
def test_a_pointer_paces_and_draws_a_line_of_block(page):
    page.get_by_label("Sheet", exact=True).select_option("24")
    page.wait_for_function("cepLive.sheets[0].frame.values.length === 576")
    canvas = page.get_by_role("application").first
    side = canvas.bounding_box()["width"]
    canvas.click(position={"x": 0.1 * side, "y": 0.9 * side})
    page.wait_for_function("cepLive.sheets[0].frame.values[0] > -60")
    page.get_by_label("A click", exact=True).select_option("block")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.5 * side, box["y"] + 0.1 * side)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.52 * side, box["y"] + 0.6 * side)
    page.mouse.up()
    blocked = page.evaluate("[...cepLive.sheets[0].blocked]")
    rows = sorted(k // 24 for k in blocked)
    assert rows == list(range(rows[0], rows[0] + len(rows))) and len(rows) > 8, "a line without a gap"


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
    rates = maker.frame_rates(page, seconds=3)
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
    assert readout["factors"]["gKr"] == 0.5 and len(readout["error"]) == 4 and readout["clocks"][0] > 0
    other.close()
