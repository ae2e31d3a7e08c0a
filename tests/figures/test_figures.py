"""Figures show what they were given: read back from the artists, not from pixels."""

import base64
import io
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from cepkit import bench, figures, surrogates

TIME = np.arange(12.0)


def wave(offset=0.0, dim="time"):
    """A field that tells its own frame, row and column: 100 t + 10 y + x."""
    t, y, x = np.meshgrid(TIME, np.arange(5.0), np.arange(6.0), indexing="ij")
    return xr.DataArray(
        100 * t + 10 * y + x + offset, dims=(dim, "y", "x"), name="Vm",
        coords={dim: (dim, TIME, {"units": "ms", "long_name": dim}), "y": np.arange(5.0) / 2, "x": np.arange(6.0) / 2},
    )  # fmt: skip


def images(fig):
    return [image for ax in fig.axes for image in ax.images]


def test_every_figure_is_closed_and_names_its_profile():
    figures.style("smoke")
    fig = figures.sheet(wave()[0])
    assert not plt.get_fignums()
    assert any("smoke" in text.get_text() for text in fig.findobj(plt.Text))
    figures.style()
    assert not any("smoke" in text.get_text() for text in figures.sheet(wave()[0]).findobj(plt.Text))


def test_a_sheet_is_drawn_where_it_lies():
    fig = figures.sheet(wave()[3].transpose("x", "y"))
    (image,) = images(fig)
    assert np.array_equal(image.get_array(), wave()[3].values) and image.origin == "lower"
    assert np.allclose(image.get_extent(), (-0.25, 2.75, -0.25, 2.25))  # nodes in the middle of pixels
    labels = {text.get_text() for text in fig.findobj(plt.Text)}
    assert {"x [mm]", "y [mm]", "$V_m$ [mV]"} <= labels


def test_frames_share_one_scale_and_keep_their_order():
    times = [1.0, 4.0, 7.0, 9.0, 10.0]
    fig = figures.forecast_frames(wave(dim="lead_time"), {"lstm": wave(50.0, "lead_time")}, times, columns=3)
    got = images(fig)
    assert len(got) == 10
    assert {image.get_clim() for image in got} == {(0.0, float(wave().max()))}
    firsts = sorted(float(image.get_array()[0, 0]) for image in got)
    assert firsts == sorted([100 * t for t in times] + [100 * t + 50 for t in times])


def test_isochrones_on_one_scale():
    when = (wave()[0] / 2).rename("activation_time").assign_attrs(units="ms", long_name="activation time")
    fig = figures.activation_map({"a": when, "b": when + 3}, step=5)
    assert {image.get_clim() for image in images(fig)} == {(0.0, float(when.max() + 3))}


def test_calcium_is_drawn_in_micromolar():
    cai = xr.DataArray([1e-4, 1e-3], dims="time", coords={"time": [0.0, 1.0]}, name="Cai")
    fig = figures.traces({"Cai": cai})
    assert np.allclose(fig.axes[0].lines[0].get_ydata(), [0.1, 1.0])
    assert "µM" in fig.axes[0].get_ylabel()
    assert fig.axes[0].lines[0].get_color() == figures.VARIABLES["Cai"][3]


def test_models_keep_their_colour():
    series = wave().isel(y=0, x=0).to_dataset().rename(time="lead_time")
    models = {"truth": series, "lstm": series + 1, "last_beat": series + 2}
    fig = figures.compare_traces({"node (0, 0)": models, "node (1, 1)": models})
    for ax in fig.axes:
        assert [line.get_color() for line in ax.lines] == [figures.MODELS[key][1] for key in models]
    colours = [look[1] for look in figures.MODELS.values()]
    assert len(set(colours)) == len(colours)


def test_error_by_lead_shows_the_median_of_the_starts():
    rng = np.random.default_rng(0)
    errors = xr.DataArray(
        rng.uniform(0.1, 1, (2, 4, 7, 30)), dims=("model", "variable", "start", "lead_time"), name="z_mse",
        coords={"model": ["lstm", "last_beat"], "variable": list(figures.VARIABLES), "lead_time": np.arange(1.0, 31)},
    )  # fmt: skip
    fig = figures.error_by_lead(errors)
    assert len(fig.axes) == 4 and all(ax.get_yscale() == "log" for ax in fig.axes)
    drawn = fig.axes[1].lines[0].get_ydata()
    assert np.allclose(drawn, errors.sel(model="lstm", variable="Cai").median("start"))


def test_maps_are_perceptually_uniform():
    """Lightness rises steadily along every map (within the rounding of 8-bit colours)."""
    for name in set(figures.MAPS.values()):
        red, green, blue = plt.colormaps[name](np.linspace(0, 1, 64))[:, :3].T
        lightness = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
        assert np.all(np.diff(lightness) > -1e-3), name


@pytest.mark.parametrize("count", [1, 3, 4])
def test_traces_of_any_number(count):
    panels = {f"panel {k}": wave().isel(y=k, x=0) for k in range(count)}
    fig = figures.traces(panels)
    assert sum(len(ax.lines) for ax in fig.axes) == count
    assert sum(ax.get_xlabel() == "time [ms]" for ax in fig.axes) == min(count, 2)


def test_a_film_has_every_frame_and_a_still():
    film = figures.film({"truth": wave(), "lstm": wave(50.0)}, TIME[:7], alt='a "wave"', still=3.0)
    kinds = dict(re.findall(r"data:image/(\w+);base64,([^\"]+)", film.data))
    moving, still = (Image.open(io.BytesIO(base64.b64decode(kinds[kind]))) for kind in ("webp", "png"))
    assert moving.n_frames == 7 and moving.info["loop"] == 0
    assert moving.size == still.size
    moving.seek(3)
    difference = np.asarray(moving.convert("RGB"), float) - np.asarray(still.convert("RGB"), float)
    assert abs(difference).mean() < 4, "the still is the frame that was asked for"
    assert 'alt="a &quot;wave&quot;"' in film.data and "prefers-reduced-motion" in film.data


def test_a_film_shows_how_far_two_fields_are_apart():
    two = {"truth": wave(), "lstm": wave(50.0)}
    apart, plain = (figures.film(two, TIME[:2], "a wave", 3.0, apart=a).data for a in (20.0, None))
    sizes = [tuple(map(int, re.findall(r'(?:width|height)="(\d+)"', data))) for data in (apart, plain)]
    assert sizes[0][0] > sizes[1][0]


@pytest.fixture
def outsider():
    """A model that is not of this library, registered for one test."""

    @surrogates.surrogate("from_outside", label="a model of my own", colour="#123456", line="--")
    class FromOutside(surrogates.Persistence):
        pass

    yield FromOutside.name
    del surrogates.registry["from_outside"]


def test_a_model_from_outside_has_its_look_in_every_figure(outsider):
    assert figures.MODELS[outsider] == ("a model of my own", "#123456", "--")
    L = wave(dim="lead_time").to_dataset()
    node = L.isel(y=0, x=0)
    errors = xr.DataArray(
        np.full((1, 1, 12), 0.1), dims=("model", "variable", "lead_time"), name="z_mse",
        coords={"model": [outsider], "variable": ["Vm"], "lead_time": TIME},
    )  # fmt: skip
    scores = pd.DataFrame([(outsider, "cl500", "Vm", "z_mse", 0.1)], columns="model test variable metric value".split())
    rows = pd.DataFrame({"error": [0.1], "beat": [20.0]}, index=[outsider])
    curve = pd.DataFrame({"error": [1e-3, 1e-2], "beat": [90.0, 30.0]}, index=["dt 0.02 ms", "dt 0.1 ms"])
    starts = L.expand_dims(start=[0.0])
    lines = [
        figures.compare_traces({"a node": {outsider: node}}),
        figures.error_by_lead(errors),
        bench.pictures.free_run(starts, {outsider: starts}),
        bench.pictures.accuracy_and_cost(rows, curve, curve),
    ]
    maps = [figures.forecast_frames(L.Vm, {outsider: L.Vm}, [1.0, 4.0])]
    maps.append(bench.pictures.scorecard(scores, variables=("Vm",)))
    for fig in lines + maps:
        assert any(text.get_text() == "a model of my own" for text in fig.findobj(plt.Text))
    for fig in lines:
        assert any(line.get_color() == "#123456" for line in fig.findobj(plt.Line2D))


def test_the_looks_of_models_begin_with_the_truth_and_are_those_of_the_registry():
    names = list(figures.MODELS)
    assert names == ["truth", *surrogates.everyone()] and len(figures.MODELS) == len(names)
    assert "" not in figures.MODELS and figures.look("anything else") == {"label": "anything else"}


def test_figures_of_fields_do_not_load_the_methods():
    code = (
        "import sys, xarray as xr; from cepkit import figures; "
        "vm = xr.DataArray([[0.0, 1.0]], dims=('y', 'x'), coords={'y': [0.0], 'x': [0.0, 1.0]}, name='Vm'); "
        "figures.sheet(vm); figures.traces({'Vm': vm[0].drop_vars('y')}, x='x'); figures.MODELS.get('', None); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
