"""Print the built pages into one PDF: a title page with the contents, every page of _toc.yml, page numbers.

``make pdf`` prints ``_build/html`` to ``_build/book.pdf`` through Chromium, so that equations, figures and tables look
as they do on the pages; `_static/book.css` says what is different on paper.
"""

import argparse
import html
import io
import os
import shutil
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PAPER = {"format": "A4", "margin": {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}}
# Solutions are open, and links that lead to another page lead nowhere on paper.
PREPARE = """async () => {
  document.documentElement.dataset.theme = 'light';
  for (const hidden of document.querySelectorAll('.toggle-hidden')) hidden.classList.remove('toggle-hidden');
  for (const fold of document.querySelectorAll('details')) fold.open = true;
  for (const link of document.querySelectorAll('a[href]'))
    if (!/^https?:/.test(link.getAttribute('href'))) link.removeAttribute('href');
  if (window.MathJax?.startup) await MathJax.startup.promise;
  const loaded = image => { image.loading = 'eager'; return image.decode().catch(() => 0); };
  await Promise.all([...document.images].map(loaded));
}"""
STYLE = "font-family: sans-serif; color: #222;"


def chromium():
    """Where the browser is: what CHROMIUM names, or what the system calls by one of its usual names."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    return found or sys.exit("Printing takes the system's Chromium: sudo apt-get install chromium")


def entries():
    """The pages of _toc.yml, without suffix, in its order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"]] + [entry["file"] for part in toc["parts"] for entry in part["chapters"]]


def front(title, contents):
    """HTML of the title page and the contents; `contents` holds (title, page) pairs."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td style='text-align: right'>{page}</td></tr>" for name, page in contents
    )
    return (
        f"<body style='{STYLE}'><h1 style='font-size: 34pt; margin-top: 80mm'>{html.escape(title)}</h1>"
        f"<p>The cepkit authors</p><p>Text and figures CC BY 4.0, code BSD-3-Clause.</p>"
        f"<h2 style='break-before: page'>Contents</h2><table style='width: 100%; line-height: 1.7'>{rows}</table>"
    )


def numbers(first, last):
    """HTML of otherwise empty pages that bear their numbers."""
    sheet = "height: 250mm; break-after: page; position: relative"
    foot = "position: absolute; bottom: 0; width: 100%; text-align: center; font-size: 9pt; margin: 0"
    one = f"<div style='{sheet}'><p style='{foot}'>{{}}</p></div>"
    return f"<body style='{STYLE} margin: 0'>" + "".join(map(one.format, range(first, last + 1)))


def print_book(pages, target, files):
    """Print `files` (names relative to the folder `pages`, without suffix) into the PDF `target`."""
    from playwright.sync_api import sync_playwright
    from pypdf import PdfReader, PdfWriter

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(reduced_motion="reduce").new_page()
        page.emulate_media(media="print")

        def printed(margin=PAPER["margin"]):
            return PdfReader(io.BytesIO(page.pdf(format=PAPER["format"], margin=margin, print_background=True)))

        parts = []
        for file in files:
            page.goto((pages / f"{file}.html").resolve().as_uri())
            page.evaluate(PREPARE)
            heading = page.locator("article h1").first.text_content()
            parts.append((" ".join(heading.replace("#", "").split()), printed()))

        def cover(offset):
            contents = []
            for name, part in parts:
                contents.append((name, offset + 1))
                offset += len(part.pages)
            page.set_content(front(parts[0][0], contents))
            return printed()

        leaves = len(cover(0).pages)  # the contents may be longer than a page
        book = PdfWriter()
        book.append(cover(leaves))
        for name, part in parts:
            book.append(part, outline_item=name)
        page.set_content(numbers(leaves + 1, len(book.pages)))
        stamps = printed({"top": "30mm", "bottom": "8mm", "left": "0", "right": "0"})
        for sheet, stamp in zip(book.pages[leaves:], stamps.pages, strict=False):
            sheet.merge_page(stamp)
        browser.close()
    book.add_metadata({"/Title": parts[0][0], "/Author": "The cepkit authors"})
    book.compress_identical_objects()
    book.write(target)
    return len(book.pages)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="folder that holds html/ [_build]")
    build = parser.parse_args().build
    if not (build / "html" / "index.html").exists():
        sys.exit(f"{build} holds no pages: `make book` first.")
    count = print_book(build / "html", build / "book.pdf", entries())
    print(f"{count} pages: {build / 'book.pdf'}")


if __name__ == "__main__":
    main()
