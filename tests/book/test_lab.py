"""A real JupyterLab in Chromium: live controls and the live sheet draw, and the keyboard moves them."""

import io
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

pytestmark = pytest.mark.book

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
from test_browser import CHROMIUM, FLAGS  # noqa: E402  (it skips where there is no Chromium)

CELLS = (
    "import cepkit as cep\ntrajectory, _ = cep.check.toy()",
    "cep.explore_wave(trajectory.Vm)",
    "cep.explore_cell(beats=1)",
    "cep.explore_scorecard()",
    "sheet = cep.live.LiveSheet(rows=24, cycle_length=400)\nsheet",
)
ASK = """sheet.factors = {"gKr": 0.5}
print("heard", len(sheet.readout["sheets"]["network"]["error"]), sheet.readout["t"] > 0)"""

#: Names and numbers in the table of the live sheet stand beside each other.
APART = """output => [...output.querySelectorAll('.cep-numbers tr:not([hidden])')].every(row => {
  const boxes = [...row.children].map(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect();
  });
  return boxes.every((box, k) => !k || !box.width || boxes[k - 1].right <= box.left);
})"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a notebook in a JupyterLab of its own: own settings, own folder, own kernel."""
    folder = tmp_path_factory.mktemp("lab")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [new_code_cell(source) for source in (*CELLS, ASK)]
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / "live.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, own = secrets.token_hex(8), {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "RUNTIME")}
    own["JUPYTERLAB_SETTINGS_DIR"], own["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "settings"), str(folder / "spaces")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
               f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"]  # fmt: skip
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | own, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api?token={token}", timeout=5)
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.25)
        yield f"{address}/lab/tree/live.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def page(lab):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1600})
        page.trouble = []
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.goto(lab)
        page.locator(".jp-Cell").nth(len(CELLS)).wait_for(timeout=60_000)
        page.get_by_text("| Idle").wait_for(timeout=60_000)
        yield page
        browser.close()


def run(page, number):
    """Run one cell with the keyboard, as a reader does; its output."""
    cell = page.locator(".jp-CodeCell").nth(number)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    cell.locator(".jp-InputPrompt").get_by_text(re.compile(r"\[\d+\]")).wait_for(timeout=60_000)
    return cell.locator(".jp-OutputArea").first


def drawn(picture):
    return np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("RGB"), int)


def until_other(picture, before):
    """The picture once it differs from what it was."""
    for _ in range(100):
        now = drawn(picture)
        if now.shape != before.shape or np.abs(now - before).max() > 40:
            return now
        picture.page.wait_for_timeout(50)
    raise AssertionError("the picture stays as it was")


def test_controls_are_moved_by_the_keyboard(page):
    run(page, 0)
    for number, said in ((1, r"^\d[\d.]* ms; at the electrode .* mV$"), (2, r"^APD90 \d+ ms, rest")):
        output = run(page, number)
        # The cursor moves through a trace; what Python computes is built again in its group.
        group, slider = output.locator("[role=group][data-ready]"), output.get_by_role("slider").first
        picture = group.get_by_role("img") if number == 1 else group
        picture.wait_for(timeout=30_000)
        line = output.locator("output, .widget-html-content").first
        before, words = drawn(picture), line.inner_text()
        assert re.match(said, words)
        slider.focus()
        for _ in range(4):
            page.keyboard.press("ArrowRight" if number == 1 else "ArrowLeft")
        until_other(picture, before)
        assert re.match(said, line.inner_text()) and line.inner_text() != words
        labels = [part.get_attribute("aria-label") for part in (group, group.get_by_role("img").first)]
        assert len(" ".join(labels).split()) > 5


def test_a_choice_is_made_by_the_keyboard(page):
    """JupyterLab goes to the next cell at ArrowDown, unless it is told to leave the key alone."""
    output = run(page, 3)
    picture, choice = output.locator(".cep-row"), output.locator("select").first
    picture.wait_for(timeout=30_000)
    choice.focus()
    page.wait_for_timeout(300)  # until it has scrolled there
    before = drawn(picture)
    page.keyboard.press("ArrowDown")
    until_other(picture, before)
    assert choice.evaluate("one => one.selectedIndex") == 1
    assert output.get_by_role("status").inner_text().startswith("z-MSE of Cai, median of all tests: ")


def test_the_live_sheet_runs_and_talks_to_python(page):
    output = run(page, 4)
    canvas = output.locator("canvas").first
    canvas.wait_for(timeout=30_000)
    until_other(canvas, drawn(canvas))
    page.wait_for_function("globalThis.cepLive.sheets[0].frame?.t > 50")
    said = run(page, 5)
    said.get_by_text("heard 4 True").wait_for(timeout=20_000)
    page.wait_for_function("globalThis.cepLive.sheets[0].factors().gKr === 0.5")
    assert page.evaluate(APART, output.element_handle()), "the numbers at the foot overlap"
    status, row = output.get_by_role("status").first, re.compile(r"Row (\d+)")
    canvas.focus()
    page.keyboard.press("ArrowDown")
    before = row.match(status.inner_text())[1]
    page.keyboard.press("ArrowDown")
    assert int(row.match(status.inner_text())[1]) == int(before) - 1
    page.keyboard.press("b")
    assert "conduct nothing" in status.inner_text() and page.locator(".jp-CodeCell").count() == len(CELLS) + 1


def test_nothing_complained(page):
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr'], .jp-mod-error").count() == 0
    assert page.trouble == []
