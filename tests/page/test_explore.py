"""Live controls: the picture follows the control, the line says what is drawn, and what cannot be shown is refused."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr

import cepkit as cep
from cepkit import bench, measure
from cepkit.page import explore


def parts(box):
    """Controls by their description, the line of numbers, and the picture (its caption comes last)."""
    *_, grid, line, picture, _ = box.children
    return {control.description: control for control in grid.children}, line, picture


@pytest.fixture(scope="module")
def trajectory():
    return cep.check.toy()[0]


@pytest.fixture(scope="module")
def forecasts(trajectory):
    starts = [60.0, 70.0]
    truth = cep.forecast.futures(trajectory, starts, 30).Vm
    model = cep.surrogates.make("persistence").fit(trajectory)
    return truth, {"persistence": cep.forecast.forecast(model, trajectory, starts, 10, 30).Vm, "lstm": truth}


def test_the_cell_follows_its_sliders():
    controls, line, picture = parts(cep.explore_cell(beats=1))
    before, said = picture.payload, line.value
    assert [panel["title"] for panel in before["panels"]] == ["Vm [mV]", "Ca i [µM]"]
    controls["gKr [%]"].value = 0
    assert picture.payload != before and line.value != said
    controls["gKr [%]"].value = 100
    assert picture.payload == before and line.value == said


def test_a_cell_without_sodium_and_calcium_has_no_action_potential():
    controls, line, _ = parts(cep.explore_cell(beats=1))
    controls["gNa [%]"].value = controls["gCaL [%]"].value = 0
    assert line.value.startswith("no action potential")


def test_restitution_is_that_of_the_measurement():
    """The point that S2 leaves lies on the curve of `measure.restitution`, for another kind of cell too."""
    curve = measure.restitution(1000.0, beats=2, intervals=[420.0, 600.0, 900.0], cell_type="m")
    controls, line, picture = parts(cep.explore_restitution({"m": curve}, beats=2))
    controls["type of cell"].value = "m"
    for interval in (420, 600, 900):
        before = picture.payload
        controls["S2 after [ms]"].value = interval
        expected = curve.sel(interval=interval)
        assert picture.payload != before
        rest, APD, _ = (int(word) for word in line.value.replace(":", "").split() if word.isdigit())
        assert abs(rest - expected.DI) < 2 and abs(APD - expected.APD) < 2, (rest, APD)


def test_a_cell_that_is_busy_does_not_answer_and_a_faster_train_shortens():
    gap = xr.Dataset({"DI": ("interval", [np.nan, 100.0, 300.0]), "APD": ("interval", [np.nan, 250.0, 290.0])})
    controls, line, picture = parts(cep.explore_restitution({"epi": gap}, beats=3))
    controls["S2 after [ms]"].value = 200
    assert line.value.startswith("no new action potential") and "NaN" not in json.dumps(picture.payload)
    assert not picture.payload["panels"][1]["ring"]
    controls["S2 after [ms]"].value = 500
    slow = line.value
    controls["S1 cycle [ms]"].value = 400
    of_s1 = [int(text.split()[-2]) for text in (slow, line.value)]
    assert of_s1[1] < of_s1[0] - 20


def sent(control):
    """Fields of a player: values (name, start, time, y, x) in the unit drawn."""
    p = control.payload
    shape = len(p["lines"]), len(p.get("starts", [""])), len(p["times"]), p["rows"], p["columns"]
    return np.frombuffer(control.data, "<f4").reshape(shape)


def test_the_wave_carries_every_frame(trajectory):
    control = cep.explore_wave(trajectory.Cai, probe=(0, 0))
    k = control.payload["times"].index(43.0)
    expected = 1e3 * float(trajectory.Cai.sel(time=43, method="nearest")[1, 0])
    assert f"{sent(control)[0, 0, k, 1, 0]:.3g}" == f"{expected:.3g}"
    assert np.array_equal(sent(control)[0, 0], (1e3 * trajectory.Cai.values).astype("f4"))
    assert control.payload["unit"] == "µM" and control.payload["probe"] == [0, 0]
    assert control.payload["columns"] == trajectory.sizes["x"]
    assert cep.explore_wave(trajectory.Cai).payload["probe"] == [trajectory.sizes["y"] // 2, trajectory.sizes["x"] // 2]


def test_the_forecast_carries_every_start_and_lead_time(forecasts):
    truth, said = forecasts
    control = cep.explore_forecast(truth, said, probe=(1, 1))
    p = control.payload
    assert [line["label"] for line in p["lines"]] == ["golden standard", "persistence", "LSTM"]
    assert p["starts"] == ["1: 60 ms", "2: 70 ms"] and p["compare"]
    assert p["times"][19] == 20.0 and p["time"] == "lead time"
    for got, expected in zip(sent(control), (truth, *said.values()), strict=True):
        assert np.array_equal(got, expected.values.astype("f4"))
    assert (p["low"], p["high"]) == (float(truth.values.astype("f4").min()), float(truth.values.astype("f4").max()))


def test_a_forecast_that_is_not_finite_is_shown_all_the_same(forecasts):
    truth, said = forecasts
    control = cep.explore_forecast(truth, {"lstm": truth.where(truth.lead_time < 10)})
    assert np.isnan(sent(control)[1]).any() and "NaN" not in json.dumps(control.payload)


def test_the_scorecard_carries_every_number():
    table = bench.kept_scorecard()
    p = cep.explore_scorecard(table).payload
    assert len(p["what"]) == len(explore.SHOWN) and "NaN" not in json.dumps(p)
    models = list(dict.fromkeys(table.model))
    for what, numbers in zip(p["what"], p["numbers"], strict=True):  # also those that are zero or negative, or missing
        metric, variable = explore.SHOWN[what]
        part = bench.pivot(table.assign(variable=table.variable.fillna("")), metric, variable).reindex(models)
        for test, rows in zip(p["tests"], numbers, strict=True):
            values = np.array([row[0] for row in rows], float)
            assert np.array_equal(values, part[test] if test in part else part.median(axis=1), equal_nan=True)


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium here")
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def mounted(browser, tmp_path):
    """A page that holds a control the way JupyterLab does: import the module, hand it a model and an element."""
    page = browser.new_page()
    page.trouble = []
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    (tmp_path / "empty.html").write_text("<!doctype html><meta charset=utf-8><title>empty</title>")
    page.goto((tmp_path / "empty.html").as_uri())

    def mount(control):
        page.add_style_tag(content=control._css)
        page.evaluate(
            """async ({esm, kind, payload, data}) => {
              const url = URL.createObjectURL(new Blob([esm], {type: 'text/javascript'}));
              const {default: widget} = await import(url), el = document.createElement('div');
              document.body.replaceChildren(el);
              const view = new DataView(Uint8Array.from(atob(data), c => c.charCodeAt(0)).buffer);
              const kept = {kind, payload, data: view};
              globalThis.clear = widget.render({model: {get: k => kept[k], on() {}, off() {}}, el});
            }""",
            {"esm": control._esm, "kind": control.kind, "payload": control.payload,
             "data": base64.b64encode(control.data).decode()},
        )  # fmt: skip
        return page

    yield mount
    assert not page.trouble
    page.close()


@pytest.mark.slow
def test_the_wave_shows_the_frame_and_the_electrode_that_were_chosen(mounted, trajectory):
    page = mounted(cep.explore_wave(trajectory.Cai, probe=(0, 0)))
    slider, canvas, line = page.get_by_role("slider"), page.get_by_role("application"), page.locator("output")
    before = canvas.evaluate("one => one.toDataURL()")
    slider.fill(str(int(np.abs(trajectory.time.values - 43).argmin())))
    canvas.press("ArrowUp")
    expected = 1e3 * float(trajectory.Cai.sel(time=43, method="nearest")[1, 0])
    found = re.fullmatch(r"43 ms; at the electrode ([\d.]+) µM", line.inner_text())
    assert f"{float(found[1]):.3g}" == f"{expected:.3g}" and canvas.evaluate("one => one.toDataURL()") != before
    side = canvas.bounding_box()["width"]
    canvas.click(position={"x": side - 2, "y": 2})
    corner = 1e3 * float(trajectory.Cai.sel(time=43, method="nearest")[-1, -1])
    assert f"{float(line.inner_text().split()[-2]):.3g}" == f"{corner:.3g}"
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("was => document.querySelector('output').textContent !== was", arg=line.inner_text())
    page.evaluate("clear()")
    assert page.get_by_role("button", name="Play").count() == 1


@pytest.mark.slow
def test_the_forecast_shows_error_by_lead_time(mounted, forecasts):
    truth, said = forecasts
    page = mounted(cep.explore_forecast(truth, said, probe=(1, 1)))
    page.get_by_label("Start", exact=True).select_option("2: 70 ms")
    page.get_by_role("slider").fill("19")
    line = page.locator("output")
    here, there = (float(f.isel(start=1, lead_time=19, y=1, x=1)) for f in (truth, said["persistence"]))
    away = said["persistence"].isel(start=1, lead_time=19) - truth.isel(start=1, lead_time=19)
    numbers = re.fullmatch(
        r"20 ms; at the electrode golden standard (\S+) mV, persistence (\S+) mV; "
        r"difference (\S+) mV \(RMS of the sheet\)", line.inner_text()
    )  # fmt: skip
    assert [f"{float(n):.3g}" for n in numbers.groups()] == [
        f"{n:.3g}" for n in (here, there, float(np.sqrt((away**2).mean())))
    ]
    assert page.get_by_role("application").count() == 3 and page.get_by_role("img").count() == 2
    before = page.get_by_role("application").nth(1).evaluate("one => one.toDataURL()")
    page.get_by_label("Forecast", exact=True).select_option("LSTM")
    assert "LSTM" in line.inner_text() and "difference 0.00 mV" in line.inner_text()
    assert page.get_by_role("application").nth(1).evaluate("one => one.toDataURL()") != before


@pytest.mark.slow
def test_the_scorecard_ranks_by_what_was_chosen(mounted):
    table = bench.kept_scorecard()
    page = mounted(cep.explore_scorecard(table))
    line, picture = page.get_by_role("status"), page.get_by_role("img")
    before = picture.inner_html()
    page.get_by_label("What", exact=True).select_option("z-MSE of Cai")
    page.get_by_label("Test", exact=True).select_option("cl500")
    best = bench.pivot(table, "z_mse", "Cai")["cl500"].sort_values()
    names = [cep.figures.MODELS[name][0] for name in best.index]
    words = line.inner_text().removeprefix("z-MSE of Cai, cl500: ").split(", ")
    assert words[0].startswith(f"{names[0]} ") and f"{float(words[0].split()[-1]):.3g}" == f"{best.iloc[0]:.3g}"
    assert picture.inner_html() != before
    rows = [text for text in page.locator("svg text").all_text_contents() if text in names]
    assert rows[: best.notna().sum()] == names[: best.notna().sum()]
    for choice in page.get_by_label("What", exact=True).locator("option").all_inner_texts():
        page.get_by_label("What", exact=True).select_option(choice)
        assert line.inner_text().startswith(f"{choice}, cl500: ")


@pytest.mark.slow
def test_every_control_has_a_name_and_every_picture_a_caption(mounted, trajectory, forecasts):
    for control in (cep.explore_wave(trajectory.Vm), cep.explore_forecast(*forecasts), cep.explore_scorecard()):
        page = mounted(control)
        assert page.get_by_role("group").get_attribute("aria-label") == control.payload["label"]
        for part in page.locator("select, input").all():
            assert page.locator(f"label[for='{part.get_attribute('id')}']").inner_text().strip()
        for part in page.locator("canvas, [role=img]").all():
            assert len(part.get_attribute("aria-label").split()) > 2


def test_every_live_control_has_a_name_and_a_caption():
    controls, _, picture = parts(box := cep.explore_cell(beats=1))
    assert all(controls)
    assert len(picture.payload["label"].split()) > 5 and picture.payload["label"] in box.children[-1].value


@pytest.mark.slow
def test_what_python_computes_is_drawn(mounted):
    *_, grid, line, picture, _ = cep.explore_restitution(beats=1).children
    page = mounted(picture)
    assert page.get_by_role("img").count() == 2 and page.locator("circle").count() == 2  # a point and its ring
    assert page.locator("path").first.get_attribute("d").count("L") > 500


def test_what_cannot_be_shown_is_refused(trajectory, forecasts):
    truth, said = forecasts
    cases = [
        (lambda: cep.explore_wave(truth), r"field has the dims .*field.isel\(start=0\)"),
        (lambda: cep.explore_wave(trajectory.Vm, probe=(99, 0)), r"probe=\(99, 0\) lies outside"),
        (lambda: cep.explore_wave(trajectory), "field is a Dataset, it needs one variable"),
        (lambda: cep.explore_forecast(truth, {}), "forecasts must hold at least one"),
        (lambda: cep.explore_forecast(truth, truth), "forecasts must hold at least one"),
        (lambda: cep.explore_forecast(truth, {"lstm": truth[:1]}), r"forecasts\['lstm'\] has the shape"),
        (lambda: cep.explore_forecast(truth[0], said), r"truth has the dims"),
        (lambda: cep.explore_restitution({"epi": xr.Dataset()}), r"curves\['epi'\] holds no APD"),
        (lambda: cep.explore_restitution(beats=0), "beats=0"),
        (lambda: cep.explore_scorecard(bench.kept_scorecard()[["model"]]), "lacks the columns test"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_all_of_them_are_at_the_front_door():
    names = [name for name in vars(explore) if name.startswith("explore_")]
    assert len(names) == 5 and all(getattr(cep, name) is getattr(explore, name) for name in names)
