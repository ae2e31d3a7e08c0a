"""The pages, built from the notebooks in git with warnings as errors: all there, with their pictures and links."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

pytestmark = pytest.mark.book

ROOT = Path(__file__).resolve().parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [entry["file"] for part in TOC["parts"] for entry in part["chapters"]]
HASH = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(scope="module")
def soups(html):
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in html.rglob("*.html")}


@pytest.mark.parametrize("page", PAGES)
def test_page_is_there_with_its_pictures(page, html, soups):
    article = soups[html / f"{page}.html"].find("article")
    assert article.find("h1")
    for image in article.find_all("img"):
        if not image["src"].startswith("data:"):
            assert (html / page / ".." / unquote(image["src"])).resolve().stat().st_size > 0
        assert len(image.get("alt", "").split()) >= 3 and not HASH.search(image["alt"]), f"{image} has no alt text"
    source = ROOT / f"{page}.ipynb"
    if source.exists():
        shown = [
            cell
            for cell in nbformat.read(source, as_version=4).cells
            if not {"remove-output", "remove-cell"} & set(cell.metadata.get("tags", []))
        ]
        pictures = sum("image/png" in output.get("data", {}) for cell in shown for output in cell.get("outputs", []))
        assert len(article.find_all("img")) >= pictures
        assert pictures, "a chapter without a picture"


def test_the_preface_shows_what_the_comparison_computed(html, soups):
    preface = soups[html / "book" / "preface.html"].find("article")
    assert preface.find("figure").find("img")["src"].endswith("headline.png")
    film = preface.find("picture", class_="cep-film")
    assert film.find("img")["src"].startswith("data:image/webp") and "reduced-motion" in film.find("source")["media"]
    tables = [table for table in preface.find_all("table") if "lstm" in table.text.lower()]
    assert len(tables) == 2
    numbers = [n for table in tables for n in re.findall(r"\d+\.\d+", table.text)]
    notebook = (ROOT / "book" / "12-comparison.ipynb").read_text()
    assert numbers and all(number in notebook for number in numbers)


def test_internal_links_and_anchors_resolve(html, soups):
    anchors = {path: {tag["id"] for tag in soup.find_all(id=True)} for path, soup in soups.items()}
    broken = []
    for path, soup in soups.items():
        for link in soup.find_all("a", href=True):
            url = urlsplit(link["href"])
            if url.scheme or url.netloc or link["href"] in ("#", ""):
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            known = anchors.get(target, {unquote(url.fragment)})
            if not target.exists() or (url.fragment and unquote(url.fragment) not in known):
                broken.append(f"{path.relative_to(html)}: {link['href']}")
    assert not broken


def test_pages_ask_nothing_of_another_host(html, soups):
    """Equations, fonts and widgets work on a train: what a page loads by itself lies beside it."""
    asked = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
    loads = {"stylesheet", "icon", "preload", "shortcut", "apple-touch-icon"}
    foreign, equations = [], 0
    pages = {
        path: soup for path, soup in soups.items() if "_static" not in path.parts
    }  # the theme's templates lie there
    for path, soup in pages.items():
        for tag in soup.find_all(list(asked)):
            if tag.name == "link" and not loads & set(tag.get("rel", [])):
                continue
            address = urlsplit(tag.get(asked[tag.name], ""))
            if address.netloc:
                foreign.append(f"{path.relative_to(html)}: {tag.name} {address.geturl()}")
            elif address.path and address.scheme != "data":
                assert (path.parent / unquote(address.path)).exists(), f"{path.name}: {address.path}"
            equations += "mathjax" in address.path
    foreign += [str(path) for path in html.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", path.read_text())]
    assert not foreign
    assert equations >= 8  # pages with equations bring their MathJax along


def test_the_api_page_documents_every_module(html, soups):
    ids = {tag["id"] for tag in soups[html / "book" / "api.html"].find_all(id=True)}
    for path in (ROOT / "cepkit").rglob("*.py"):
        if not path.name.startswith("__"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            assert f"module-{name}" in ids, name
