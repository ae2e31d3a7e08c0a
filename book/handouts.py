"""Notebooks for a class: ``students`` without the solutions, ``solutions`` with them; both without outputs.

python book/handouts.py students|solutions [--to FOLDER]
"""

import argparse
import re
import shutil
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
FENCE = r"^(?P<fence>`{3,})\{%s\}.*?^(?P=fence)[ \t]*$\n?"
WHOLE, START, END = (re.compile(FENCE % name, re.S | re.M) for name in ("solution", "solution-start", "solution-end"))
YOURS = "# Your answer\n"


def without_solutions(notebook):
    """The notebook with an empty cell in the place of each solution.

    Solutions that are one fence vanish from their text; those between ``solution-start`` and ``solution-end`` reach
    over cells, and the text before and after them stays.
    """
    cells, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            cells += [] if inside else [cell]
            continue
        text = WHOLE.sub("", cell.source)
        kept = ""
        while text:
            border = (END if inside else START).search(text)
            before, text = (text[: border.start()], text[border.end() :]) if border else (text, "")
            kept += "" if inside else before
            if border:
                if not inside:  # what follows the exercise begins here
                    cells += _text(cell, kept) + [nbformat.v4.new_code_cell(YOURS, id=f"yours-{len(cells)}")]
                    kept = ""
                inside = not inside
        cells += _text(cell, kept)
    if inside:
        raise ValueError("a solution-start without its solution-end")
    result = notebook.copy()
    result.cells = cells
    return result


def _text(cell, text):
    """A markdown cell with what is left of another's text, or none."""
    if not text.strip():
        return []
    return [nbformat.v4.new_markdown_cell(text.strip() + "\n", metadata=cell.metadata)]


def handout(path, solutions):
    """A chapter as it is handed out: no outputs, no trace of a run, with or without its solutions."""
    notebook = nbformat.read(path, as_version=4)
    if not solutions:
        notebook = without_solutions(notebook)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    for name in ("cepkit", "widgets"):
        notebook.metadata.pop(name, None)
    nbformat.validate(notebook)
    return notebook


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("students", "solutions"))
    parser.add_argument("--to", type=Path, help="folder [_build/KIND]")
    given = parser.parse_args()
    folder = given.to or ROOT / "_build" / given.kind
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "book").glob("[0-9]*.ipynb")):
        nbformat.write(handout(path, given.kind == "solutions"), folder / path.name)
    shutil.copy(ROOT / "book" / "textbook.py", folder)  # which the chapter on reservoirs imports
    print(f"{folder}: open them with .venv/bin/jupyter lab {folder}")


if __name__ == "__main__":
    main()
