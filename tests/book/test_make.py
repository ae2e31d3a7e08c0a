"""book/make.py on a book of two small chapters: what is kept, what runs again, what a failure leaves."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook, new_output

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
TRAINS = "import pathlib as p; p.Path('{folder}').mkdir(0o755, True, True); p.Path('{folder}/w').write_text('{w}')"


def write_chapter(path, *sources):
    cells = [new_code_cell(source, id=f"c{number}") for number, source in enumerate(sources)]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)


@pytest.fixture
def book(make, tmp_path, monkeypatch):
    """A book whose first chapter leaves a file behind, as training does, and whose second prints the profile."""
    make.ROOT, make.BOOK, make.DATA = tmp_path, tmp_path / "book", tmp_path / "data"
    make.BOOK.mkdir()
    (tmp_path / "cepkit").mkdir()
    (tmp_path / "cepkit" / "code.py").write_text("one = 1\n")
    (tmp_path / "requirements.lock").write_text("numpy==2.0\n")
    files = [{"file": "book/01-first"}, {"file": "book/02-second"}, {"file": "book/glossary"}]
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump({"root": "book/preface", "parts": [{"chapters": files}]}))
    make.trains = lambda w: TRAINS.format(folder=make.DATA / "runs" / "laptop", w=w)
    write_chapter(make.BOOK / "01-first.ipynb", 'profile = "laptop"', make.trains("a"))
    write_chapter(make.BOOK / "02-second.ipynb", 'profile = "laptop"', "print(profile)")
    for name in ("RETRAIN", "TQDM_DISABLE"):  # make.py sets them for its kernels
        monkeypatch.setenv(name, "1")
    return make


def run(book, capsys, **options):
    """Run the book; return which chapters were executed, by number."""
    book.run("laptop", "1", book.ROOT / "out", **options)
    lines = capsys.readouterr().out.splitlines()
    return [number for number, line in enumerate(lines, 1) if "kept" not in line]


def test_an_unchanged_book_is_kept_and_force_overrides(book, capsys):
    assert run(book, capsys) == [1, 2]
    before = (book.ROOT / "out" / "02-second.ipynb").read_bytes()
    assert run(book, capsys) == []
    assert (book.ROOT / "out" / "02-second.ipynb").read_bytes() == before
    assert run(book, capsys, force=True) == [1, 2]
    summary = json.loads((book.ROOT / "out" / "run.json").read_text())
    assert list(summary["01-first"]["wrote"]) == ["runs/laptop/w"] and not summary["02-second"]["wrote"]


def test_what_changed_runs_again_and_nothing_else(book, capsys, monkeypatch):
    run(book, capsys)
    write_chapter(book.BOOK / "02-second.ipynb", 'profile = "laptop"', "print(profile, 2)")
    assert run(book, capsys) == [2]
    write_chapter(book.BOOK / "01-first.ipynb", 'profile = "laptop"', "# the same weights", book.trains("a"))
    assert run(book, capsys) == [1]
    write_chapter(book.BOOK / "01-first.ipynb", 'profile = "laptop"', book.trains("b"))
    assert run(book, capsys) == [1, 2], "the second chapter may depend on the weights that the first one left"
    write_chapter(book.BOOK / "01-first.ipynb", 'profile = "laptop"', "# reuses its weights")
    assert run(book, capsys) == [1]
    write_chapter(book.BOOK / "01-first.ipynb", 'profile = "laptop"', book.trains("b"))
    (book.DATA / "runs" / "laptop" / "w").unlink()
    assert run(book, capsys) == [1], "the weights were gone, and came back as they were"
    (book.ROOT / "cepkit" / "code.py").write_text("one = 2\n")
    assert run(book, capsys) == [], "words may be mended freely"
    monkeypatch.setitem(book.VERSIONS, "figures", "next")
    assert run(book, capsys) == [1, 2]


def test_key_looks_at_sources_and_settings_but_not_at_outputs(book):
    plain, printed = (new_notebook(cells=[new_code_cell("print(1)", id="c")]) for _ in range(2))
    printed.cells[0].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    printed.cells[0].execution_count = 1
    key = book.chapter_key(plain, "code", "laptop", "1", {})
    assert book.chapter_key(printed, "code", "laptop", "1", {}) == key
    for other in (
        ("code", "smoke", "1", {}),
        ("code", "laptop", "0", {}),
        ("new", "laptop", "1", {}),
        ("code", "laptop", "1", {"w": "1"}),
    ):
        assert book.chapter_key(plain, *other) != key


def test_a_failing_chapter_is_named_with_its_cell_and_loses_nothing(book, capsys):
    run(book, capsys)
    before = (book.ROOT / "out" / "02-second.ipynb").read_bytes()
    write_chapter(book.BOOK / "02-second.ipynb", 'profile = "laptop"', "1 / 0")
    with pytest.raises(SystemExit) as failure:
        run(book, capsys)
    message = str(failure.value)
    assert "02-second.ipynb: cell 2 (In [2]): ZeroDivisionError" in message
    partial = book.ROOT / "out" / "02-second.partial.ipynb"
    assert str(partial) in message and partial.exists()
    assert (book.ROOT / "out" / "02-second.ipynb").read_bytes() == before


def test_another_profile_reaches_the_chapters(book):
    book.run("smoke", "1", book.ROOT / "out")
    notebook = nbformat.read(book.ROOT / "out" / "02-second.ipynb", as_version=4)
    assert notebook.cells[-1].outputs[0].text == "smoke\n"
    assert notebook.metadata["cepkit"]["profile"] == "smoke"


def test_refresh_writes_outputs_back_and_nothing_that_changes_by_itself(book):
    book.refresh(book.ROOT / "out")
    path = book.BOOK / "02-second.ipynb"
    first = nbformat.read(path, as_version=4)
    assert first.cells[1].outputs[0].text == "laptop\n"
    assert not first.cells[1].metadata and "papermill" not in first.metadata
    book.refresh(book.ROOT / "again")
    again = nbformat.read(path, as_version=4)
    for notebook in (first, again):
        del notebook.metadata["cepkit"]["seconds"], notebook.metadata["cepkit"]["finished"]
    assert again == first


def test_widget_ids_become_numbers(book):
    state = {"f00dfeed" * 4: {"state": {}}, "deadbeef" * 4: {"state": {"layout": "IPY_MODEL_" + "f00dfeed" * 4}}}
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": state}}
    view = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "f00dfeed" * 4}})
    cell = new_code_cell("slider", outputs=[view])
    tidied = book.tidy(new_notebook(cells=[cell], metadata={"widgets": widgets})).metadata["widgets"]
    states = tidied["application/vnd.jupyter.widget-state+json"]["state"]
    assert states == {"0" * 32: {"state": {}}, f"{1:032x}": {"state": {"layout": "IPY_MODEL_" + "0" * 32}}}


def test_the_state_of_a_widget_that_no_page_shows_is_left_out(book):
    view = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "f00dfeed" * 4}})
    cell = new_code_cell("slider", outputs=[view], metadata={"tags": ["remove-output"]})
    assert "widgets" not in book.tidy(new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})).metadata


def test_a_chapter_that_is_listed_but_missing_is_an_error(book):
    (book.BOOK / "02-second.ipynb").unlink()
    with pytest.raises(SystemExit, match="book/02-second.ipynb"):
        book.chapters()


def test_the_drawn_figures_are_those_of_the_script(root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(root / "book")
    import drawings

    monkeypatch.setattr(drawings, "FOLDER", tmp_path)
    for draw in drawings.DRAWINGS:
        draw()
    made, kept = ({path.name: path.read_text("utf-8") for path in folder.glob("*.svg")}
                  for folder in (tmp_path, root / "book" / "images"))  # fmt: skip
    assert made == kept and len(made) == len(drawings.DRAWINGS)
    assert all("<title>" in text for text in made.values())


def test_the_api_page_says_which_chapters_use_a_module(make):
    text = make.module_list()
    parts = {part.split("\n")[0]: part for part in text.split("### ")[1:]}
    assert "{doc}`/book/01-one-cell`" in parts["cepkit.cell"] and "04-a-sheet-of-cells" in parts["cepkit.solver"]
    assert "/book/14-reduced-order-models" in parts["cepkit.bench.methods.pod_galerkin"]
    assert "Used in" not in parts["cepkit.kernel_cuda"]
    assert sum("Used in" in part for part in parts.values()) > 20


def test_a_chapter_can_be_opened_elsewhere_once_an_address_is_known(monkeypatch):
    """Without REPOSITORY the pages have no such buttons, since there is nowhere to clone the book from."""
    file = Path(__file__).resolve().parents[2] / "_ext" / "polish.py"
    spec = importlib.util.spec_from_file_location("polish", file)
    polish = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(polish)
    config = SimpleNamespace(html_theme_options={})
    monkeypatch.delenv("REPOSITORY", raising=False)
    polish.launch(None, config)
    assert config.html_theme_options == {}
    monkeypatch.setenv("REPOSITORY", "https://github.com/name/book.git")
    polish.launch(None, config)
    assert config.html_theme_options["repository_url"] == "https://github.com/name/book"
    assert {"colab_url", "binderhub_url"} <= set(config.html_theme_options["launch_buttons"])
