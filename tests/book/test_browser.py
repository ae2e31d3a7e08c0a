"""Every page in Chromium: nothing fails, nothing is asked of another host, all can see, read, reach and use it.

Each page is visited once, and all that is checked of it is checked on that visit. `CHROMIUM` names another browser.
"""

import functools
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.book

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
if not CHROMIUM:
    pytest.skip("no Chromium: sudo apt-get install chromium", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = ["book/preface.html", "search.html", "genindex.html", "py-modindex.html", "_modules/index.html"]
PAGES += [f"{entry['file']}.html" for part in TOC["parts"] for entry in part["chapters"]]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
AXE = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
BRIEF = {"resultTypes": ["violations"], "preload": False}  # it would ask for style sheets at wrong addresses
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}

# Contrast is slow to measure, and most text of a page looks like other text of it: one example of each look is enough.
MARK_LOOKS = """() => {
  const seen = new Set();
  document.querySelectorAll('[data-look]').forEach(e => e.removeAttribute('data-look'));
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!text || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), look = [style.color, style.fontSize, style.fontWeight];
    for (let up = element; up; up = up.parentElement) {
      const {backgroundColor, opacity} = getComputedStyle(up);
      if (backgroundColor !== 'rgba(0, 0, 0, 0)' || opacity !== '1') look.push(backgroundColor, opacity);
    }
    if (seen.size < seen.add(look.join()).size) element.setAttribute('data-look', '');
  }
}"""
RUN_AXE = """async ([context, options]) => (await axe.run(context, options)).violations
  .flatMap(found => found.nodes.slice(0, 5).map(node => `${found.id}: ${node.html.slice(0, 150)}`))"""
SIDEWAYS = """() => {
  const page = document.scrollingElement, wide = page.clientWidth;
  return page.scrollWidth <= wide ? [] : [...document.querySelectorAll('article *')]
    .filter(e => e.getBoundingClientRect().right > wide + 1).slice(0, 5).map(e => e.outerHTML.slice(0, 120))
    .concat(`the page is ${page.scrollWidth} px wide`);
}"""

# With everything open: blocks of code and tables that are wider than the box that shows them.
CUT = """() => {
  document.querySelectorAll('article details').forEach(e => { e.open = true; });
  document.querySelectorAll('article .toggle-hidden').forEach(e => e.classList.remove('toggle-hidden'));
  dispatchEvent(new Event('resize'));
  const over = e => {
    for (let up = e; up && up.tagName !== 'ARTICLE'; up = up.parentElement) {
      const clips = getComputedStyle(up).overflowX !== 'visible';
      if (up.clientWidth && up.scrollWidth > up.clientWidth + 1 && clips) return true;
    }
    return e.getBoundingClientRect().right > innerWidth + 1;
  };
  return [...document.querySelectorAll('article :is(pre, table)')].filter(e => e.offsetWidth && over(e))
    .map(e => `cut at ${innerWidth} px: ${e.textContent.trim().slice(0, 80)}`);
}"""


@pytest.fixture(scope="module")
def address(html):
    """The pages on the loopback interface: what would be asked of another host is seen to be so."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def context():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        # Nothing fades while it is measured; the book's films stand still, as for a reader who asks for that.
        yield browser.new_context(viewport=WIDE, reduced_motion="reduce")
        browser.close()


@pytest.fixture
def page(context, address):
    """An empty page that notes what goes wrong in `page.trouble`."""
    page = context.new_page()
    trouble = page.trouble = []
    page.on("console", lambda said: said.type in ("error", "warning") and trouble.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: trouble.append(f"script: {error}"))
    # A request that is still on its way when the next page is asked for is aborted, and has not failed.
    page.on("requestfailed", lambda ask: ask.failure == "net::ERR_ABORTED" or trouble.append(f"failed: {ask.url}"))
    page.on("response", lambda answer: answer.status >= 400 and trouble.append(f"{answer.status}: {answer.url}"))
    inside = (address, "data:", "blob:", "file:")
    page.on("request", lambda ask: ask.url.startswith(inside) or trouble.append(f"another host: {ask.url[:200]}"))
    yield page
    page.close()


def visit(page, url):
    page.goto(url)
    page.evaluate("async () => window.MathJax?.startup && await MathJax.startup.promise")
    page.add_style_tag(content="* { transition: none !important; animation: none !important }")


def contrast(page, theme):
    page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
    page.evaluate(MARK_LOOKS)
    options = {"runOnly": ["color-contrast"], **BRIEF}
    return [f"{theme}: {one}" for one in page.evaluate(RUN_AXE, [{"include": ["[data-look]"]}, options])]


def use_players(page):
    """Each slider answers the arrow keys, and what stands beside it changes."""
    for widget in page.locator(".cep-widget").all():
        slider = widget.locator("input[type=range]").first
        before = widget.locator("output").first.inner_text()
        slider.focus()
        slider.press("ArrowRight")
        assert widget.locator("output").first.inner_text() != before
        assert slider.get_attribute("aria-valuetext")


def sort_tables(page):
    for table in page.locator(".cep-sortable:visible table").all():
        button = table.locator("thead button").nth(1)
        button.focus()
        button.press("Enter")
        values = [float(v) for v in table.evaluate(
            "t => [...t.tBodies[0].rows].map(r => r.cells[1].dataset.value).filter(v => v !== undefined)")]  # fmt: skip
        assert values == sorted(values)
        assert table.locator("thead th").nth(1).get_attribute("aria-sort") == "ascending"


def choose_tables(page):
    """An explorer shows one table at a time: the chosen one."""
    for box in page.locator(".cep-explorer").all():
        names = box.locator("option").all_inner_texts()
        for name in [*names[1:], names[0]]:
            box.locator("select").select_option(name)
            assert box.locator(".cep-sortable:visible caption").all_inner_texts() == [name]


@pytest.mark.parametrize("name", PAGES)
def test_page(name, page, address):
    visit(page, f"{address}/{name}")
    assert page.locator("mjx-container").count() >= page.locator("span.math, div.math").count()
    assert not page.locator("mjx-merror, .MathJax_Error").count()
    use_players(page)
    choose_tables(page)
    sort_tables(page)

    page.evaluate(AXE)
    rules = {"color-contrast": {"enabled": False}, "label-content-name-mismatch": {"enabled": True}}
    rest = {"rules": rules, **BRIEF}
    found = page.evaluate(RUN_AXE, ["html", rest]) + contrast(page, "light") + contrast(page, "dark")
    found += page.evaluate(CUT)
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)  # until the theme has let the keyboard into what scrolls now
    options = {"runOnly": ["scrollable-region-focusable"], **BRIEF}
    found += page.evaluate(SIDEWAYS) + page.evaluate(CUT) + page.evaluate(RUN_AXE, ["html", options])
    assert not found + page.trouble


def test_the_button_of_the_theme_is_called_what_is_seen(page, address):
    """Its icons become drawings with titles of their own, before or after the page has mended them."""
    visit(page, f"{address}/book/preface.html")
    icon = "<i class='fa-solid fa-sun theme-switch' style='display: block' data-mode='auto' title='Light'></i>"
    page.locator(".theme-switch-button").first.evaluate("(node, icon) => { node.innerHTML = icon }", icon)
    page.evaluate(AXE)
    options = {"runOnly": ["label-content-name-mismatch"], **BRIEF}
    assert not page.evaluate(RUN_AXE, [".theme-switch-button", options])
    assert not page.locator(".theme-switch title").count()


def test_the_first_address_leads_to_the_preface(page, address):
    page.goto(f"{address}/index.html")
    page.wait_for_url("**/book/preface.html")
    # Jupyter Book's redirecting page names no icon, so the browser looks for /favicon.ico before it moves on.
    assert not [one for one in page.trouble if not one.startswith("console: Failed to load resource")]


def test_source_pages_load(html, page, address):
    for path in sorted((html / "_modules" / "cepkit").rglob("*.html")):
        visit(page, f"{address}/{path.relative_to(html)}")
    assert not page.trouble


@pytest.mark.parametrize("how", ["served", "from a file"])
def test_search_finds_offline(how, html, page, address):
    page.goto(f"{address if how == 'served' else html.as_uri()}/search.html?q=restitution")
    results = page.locator("#search-results li a")
    results.first.wait_for(timeout=20_000)
    page.wait_for_function("!document.querySelector('#search-progress')?.textContent.includes('...')")
    assert any(re.search(r"03-rhythm|glossary|19-", link.get_attribute("href")) for link in results.all())
    if how == "served":  # a browser lets a file read no other file: there the excerpts are missing
        assert not page.trouble


def test_the_dark_is_one_press_away(page, address):
    visit(page, f"{address}/book/preface.html")
    before = page.evaluate("document.documentElement.dataset.theme")
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.press("Enter")
        if page.evaluate("document.documentElement.dataset.theme") != before:
            break
    assert page.evaluate("document.documentElement.dataset.theme") != before


def test_the_live_sheet_fits_a_small_projector(page, address):
    """Sheets, table, plots and controls are seen at once, below the bar at the top of the page."""
    page.set_viewport_size({"width": 1280, "height": 800})
    visit(page, f"{address}/book/21-the-live-sheet.html")
    sheet = page.locator(".cep-live")
    page.wait_for_function("cepLive.sheets[0].frame")
    for name in ("Channels: block and boost", "Challenges"):
        assert sheet.bounding_box()["height"] < 800 - 60
        sheet.get_by_text(name, exact=True).click()
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
