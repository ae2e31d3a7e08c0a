"""Kernel-free widgets: what travels in the page is what was handed over, and the script runs."""

import base64
import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cepkit.page import widgets

TIME = np.arange(10.0)


def field(offset=0.0):
    t, y, x = np.meshgrid(TIME, np.arange(4.0), np.arange(5.0), indexing="ij")
    return xr.DataArray(-80 + 10 * t + y + 0.1 * x + offset, dims=("time", "y", "x"), coords={"time": TIME}, name="Vm")


def curves():
    c, level, t = np.meshgrid(np.arange(2.0), np.arange(3.0), TIME, indexing="ij")
    dims = ("choice", "level", "time")
    data = xr.Dataset(
        {"Vm": (dims, -80 + 20 * c + 5 * level + t), "Cai": (dims, 1e-4 * t)},
        coords={"choice": ["gKr", "gKs"], "level": ["0 %", "50 %", "100 %"], "time": TIME},
    )  # fmt: skip
    text = [[f"{c}-{level}" for level in range(3)] for c in range(2)]
    return data, xr.DataArray(text, dims=("choice", "level"))


def payload(widget):
    return json.loads(unescape(re.search(r'data-payload="([^"]*)"', widget.data)[1]))


def unpacked(part, dtype, shape):
    steps = np.frombuffer(base64.b64decode(part["data"]), dtype).reshape(shape).astype(float)
    return part["low"] + steps / np.iinfo(dtype).max * (part["high"] - part["low"])


def test_frames_survive_packing():
    got = unpacked(payload(widgets.sheet_player({"truth": field(), "lstm": field(3)})), np.uint8, (2, 10, 4, 5))
    expected = np.stack([field(), field(3)])
    assert np.abs(got - expected).max() <= np.ptp(expected) / 255 / 2 + 1e-3


def test_curves_survive_packing_in_the_unit_drawn():
    data, text = curves()
    sent = payload(widgets.curve_explorer(data, text, "Block", "Current", "Level"))
    assert np.allclose(unpacked(sent["panels"][0], "<u2", (2, 3, 10)), data.Vm, atol=1e-3)
    assert np.allclose(unpacked(sent["panels"][1], "<u2", (2, 3, 10)), data.Cai * 1e3, atol=1e-4)
    assert sent["panels"][1]["unit"] == "µM" and sent["readout"][1][2] == "1-2"


def test_nothing_is_asked_of_another_host_and_the_bytes_repeat():
    first, second = (widgets.sheet_player(field()).data for _ in range(2))
    assert first == second
    assert set(re.findall(r"https?://[^'\"\s]+", first)) <= {"http://www.w3.org/2000/svg"}
    assert len(first) < 30_000


def test_bad_fields_are_refused():
    with pytest.raises(ValueError, match="share their frames"):
        widgets.sheet_player({"a": field(), "b": field()[:5]})
    with pytest.raises(ValueError, match="not finite"):
        widgets.sheet_player(field().where(field() > -80))


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def titled(page, tmp_path):
    """Title of a page after its scripts have run."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    command = [BROWSER, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return re.search(r"<title>([^<]*)", dom)[1]


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_controls_react_in_a_browser(tmp_path):
    data, text = curves()
    script = """<script>
      window.onerror = m => { document.title = 'ERROR ' + m; };
      const [a, b] = document.querySelectorAll('.cep-widget');
      const move = (e, v) => { e.value = v; e.dispatchEvent(new Event('input')); };
      move(a.querySelector('input'), 4);
      const key = key => a.querySelector('canvas').dispatchEvent(new KeyboardEvent('keydown', {key}));
      key('ArrowUp'); key('ArrowUp'); key('ArrowDown');
      b.querySelector('select').value = 1; b.querySelector('select').dispatchEvent(new Event('change'));
      move(b.querySelector('input'), 2);
      document.title = a.querySelector('output').textContent + ' | ' + b.querySelector('[role=status]').textContent;
    </script>"""
    page = tmp_path / "page.html"
    body = widgets.sheet_player(field()).data + widgets.curve_explorer(data, text, "Block", "Current", "Level").data
    page.write_text(f"<!doctype html><meta charset=utf-8><title>not run</title>{body}{script}")
    title = titled(page, tmp_path)
    # Frame 4 at row 1, column 0 is -80 + 40 + 1; the last choice and level read "1-2".
    assert title == "4 ms; at the electrode -39.0 mV | 1-2", title


def test_a_sortable_table_sorts_numbers_as_numbers():
    table = pd.DataFrame(
        {"error": [0.5, np.nan, 12.0], "what": ["a", "b<c", "d"]}, index=pd.Index(list("xyz"), name="model")
    )
    text = widgets.sortable(table, "Errors").data
    assert '<td data-value="12">12</td>' in text and "<td>–</td>" in text and "b&lt;c" in text
    assert text.count('<th scope="col"><button type="button">') == 3 and "<caption>Errors</caption>" in text


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_the_explorer_shows_the_chosen_table(tmp_path):
    tables = {name: pd.DataFrame({"error": [value]}, index=["a"]) for name, value in (("first", 1.5), ("second", 2.5))}
    script = """<script>
      const select = document.querySelector('.cep-explorer select');
      const tables = [...document.querySelectorAll('.cep-sortable')];
      const seen = () => tables.map(t => t.hidden ? '-' : t.querySelector('td').textContent);
      const before = seen();
      select.value = 'second'; select.dispatchEvent(new Event('change'));
      document.title = before + ' | ' + seen();
    </script>"""
    page = tmp_path / "page.html"
    body = widgets.table_explorer(tables, "Which").data
    page.write_text(f"<!doctype html><meta charset=utf-8><title>not run</title>{body}{script}")
    assert titled(page, tmp_path) == "1.5,- | -,2.5"
