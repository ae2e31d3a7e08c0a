"""Live controls: the picture follows the control, the line says what is drawn, and what cannot be shown is refused."""

import io

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import cepkit as cep
from cepkit import bench
from cepkit.page import explore
from cepkit import measure


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
    before, said = picture.value, line.value
    assert Image.open(io.BytesIO(before)).size == (700, 240)
    controls["gKr [%]"].value = 0
    assert picture.value != before and line.value != said
    controls["gKr [%]"].value = 100
    assert picture.value == before and line.value == said


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
        before = picture.value
        controls["S2 after [ms]"].value = interval
        expected = curve.sel(interval=interval)
        assert picture.value != before
        rest, APD, _ = (int(word) for word in line.value.replace(":", "").split() if word.isdigit())
        assert abs(rest - expected.DI) < 2 and abs(APD - expected.APD) < 2, (rest, APD)


def test_a_cell_that_is_busy_does_not_answer_and_a_faster_train_shortens():
    controls, line, _ = parts(cep.explore_restitution(beats=3))
    controls["S2 after [ms]"].value = 200
    assert line.value.startswith("no new action potential")
    controls["S2 after [ms]"].value = 500
    slow = line.value
    controls["S1 cycle [ms]"].value = 400
    of_s1 = [int(text.split()[-2]) for text in (slow, line.value)]
    assert of_s1[1] < of_s1[0] - 20


def test_the_wave_shows_the_frame_and_the_electrode_that_were_chosen(trajectory):
    controls, line, picture = parts(cep.explore_wave(trajectory.Cai, probe=(0, 0)))
    before = picture.value
    controls["time [ms]"].value = 43.0
    controls["electrode row"].value = 1
    expected = 1e3 * float(trajectory.Cai.sel(time=43, method="nearest")[1, 0])
    assert line.value == f"43 ms: Cai {expected:.3g} µM at the electrode" and picture.value != before
    assert controls["electrode column"].max == trajectory.sizes["x"] - 1


def test_the_forecast_shows_error_by_lead_time(forecasts):
    truth, said = forecasts
    box = cep.explore_forecast(truth, said, probe=(1, 1))
    controls, line, picture = parts(box)
    controls["start"].value = 1
    controls["lead time [ms]"].value = 20.0
    there = float(said["persistence"].isel(start=1, lead_time=19, y=1, x=1))
    away = said["persistence"].isel(start=1, lead_time=19) - truth.isel(start=1, lead_time=19)
    assert f"persistence {there:.3g} mV" in line.value
    assert f"difference {float(np.sqrt((away**2).mean())):.3g} mV" in line.value
    before = picture.value
    controls["forecast"].value = "lstm"
    assert "LSTM" in line.value and "difference 0 mV" in line.value and picture.value != before


def test_the_scorecard_ranks_by_what_was_chosen():
    table = bench.kept_scorecard()
    controls, line, picture = parts(cep.explore_scorecard(table))
    before = picture.value
    controls["what"].value, controls["test"].value = "z-MSE of Cai", "cl500"
    best = bench.pivot(table, "z_mse", "Cai")["cl500"].sort_values()
    name = cep.figures.MODELS[best.index[0]][0]
    assert line.value.startswith(f"z-MSE of Cai, cl500: {name} {best.iloc[0]:.3g}, ") and picture.value != before
    for choice in controls["what"].options:  # also those that are zero or negative, or not there for some
        controls["what"].value = choice
        assert line.value.startswith(f"{choice}, cl500: ")


def test_every_control_has_a_name_and_every_picture_a_caption(trajectory, forecasts):
    for box in (cep.explore_wave(trajectory.Vm), cep.explore_forecast(*forecasts), cep.explore_scorecard()):
        controls, _, picture = parts(box)
        assert all(controls) and len(picture.alt.split()) > 5 and picture.alt in box.children[-1].value


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
        (lambda: cep.explore_restitution(beats=0), "beats=0 must be at least 1"),
        (lambda: cep.explore_scorecard(bench.kept_scorecard()[["model"]]), "lacks the columns test"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_all_of_them_are_at_the_front_door():
    names = [name for name in vars(explore) if name.startswith("explore_")]
    assert len(names) == 5 and all(getattr(cep, name) is getattr(explore, name) for name in names)
