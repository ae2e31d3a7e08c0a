"""Printing, on two pages of the book: the whole takes a minute or two and is `make pdf`."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.book
ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
spec = importlib.util.spec_from_file_location("book_pdf", ROOT / "book" / "pdf.py")
pdf = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pdf)


def test_two_pages_make_a_book(html, tmp_path):
    try:
        pdf.chromium()
    except SystemExit as missing:
        pytest.skip(str(missing))
    files = ["book/preface", "book/01-one-cell"]
    assert set(files) < set(pdf.entries())
    count = pdf.print_book(html, tmp_path / "book.pdf", files)
    book = pypdf.PdfReader(tmp_path / "book.pdf")
    texts = [" ".join(page.extract_text().split()) for page in book.pages]
    assert count == len(texts) > 12
    assert book.metadata.title == "Networks that simulate the heart"
    assert [item.title for item in book.outline] == [book.metadata.title, next(
        item.title for item in book.outline if "cell" in item.title.lower())]  # fmt: skip
    for item in book.outline:
        number = book.get_destination_page_number(item)
        assert item.title.split(". ")[-1] in texts[number] and str(number + 1) in texts[1]
        assert texts[number].endswith(str(number + 1)) or f"{number + 1} " in texts[number]
    assert "Solution" in " ".join(texts), "on paper solutions are open"
    raw = (tmp_path / "book.pdf").read_bytes()
    assert b"file://" not in raw, "a link leads to a place on this machine"
