"""Notebooks for a class: the solutions are gone, nothing else is, and no cell that stays needs a cell that went."""

import ast
import builtins
import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("handouts", ROOT / "book" / "handouts.py")
handouts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(handouts)
CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.ipynb"))


def names(cells):
    """Names that code cells read and names that they define."""
    trees = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code"]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    made = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    made |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler)}
    made |= {
        a.asname or a.name.split(".")[0] for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names
    }
    made |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    return read, made


def test_of_a_constructed_notebook():
    v4 = nbformat.v4
    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell("before\n\n```{exercise}\nask\n```\n\n````{solution-start} a\n:class: dropdown\n````"),
            v4.new_code_cell("secret = 1"),
            v4.new_markdown_cell(
                "secret words\n\n````{solution-end}\n````\n\nafter\n\n```{solution} b\nsecret\n```\n\nlast"
            ),
            v4.new_code_cell("shown = 2"),
        ]
    )
    cells = handouts.without_solutions(notebook).cells
    assert [c.cell_type for c in cells] == ["markdown", "code", "markdown", "code"]
    text = "\n".join(c.source for c in cells)
    assert "secret" not in text and all(word in text for word in ("before", "ask", "after", "last", "shown"))
    notebook.cells.pop(2)
    with pytest.raises(ValueError, match="solution-end"):
        handouts.without_solutions(notebook)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_students_get_all_but_the_solutions(path):
    whole, bare = handouts.handout(path, True), handouts.handout(path, False)
    text = "\n".join(cell.source for cell in bare.cells)
    assert not re.search(r"\{solution(-start|-end)?\}", text)
    exercises = sum(cell.source.count("{exercise}") for cell in whole.cells)
    assert text.count("{exercise}") == exercises >= 3
    assert not any(cell.get("outputs") for cell in bare.cells + whole.cells)
    for heading in ("# ", "## Summary"):
        assert any(line.startswith(heading) for line in text.splitlines())
    read, made = names(bare.cells)
    assert read <= made | set(dir(builtins)) | {"display", "get_ipython"}


@pytest.mark.book
@pytest.mark.parametrize("solutions", [False, True], ids=["students", "solutions"])
def test_a_handout_runs_from_top_to_bottom(solutions, tmp_path, monkeypatch):
    papermill = pytest.importorskip("papermill")
    for name, value in (("RETRAIN", "0"), ("TQDM_DISABLE", "1")):
        monkeypatch.setenv(name, value)
    nbformat.write(handouts.handout(ROOT / "book" / "08-sequences.ipynb", solutions), tmp_path / "chapter.ipynb")
    executed = papermill.execute_notebook(
        tmp_path / "chapter.ipynb",
        tmp_path / "executed.ipynb",
        {"profile": "smoke"},
        kernel_name="python3",
        cwd=ROOT / "book",
        progress_bar=False,
    )
    said = "".join(output.get("text", "") for cell in executed.cells for output in cell.get("outputs", []))
    assert ("That is right." in said) == solutions
