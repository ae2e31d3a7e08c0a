"""What the tests of the book share: its folder, its chapters, book/make.py as a module and the built pages."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture
def make():
    """book/make.py, freshly loaded so that a test may point it at another folder."""
    spec = importlib.util.spec_from_file_location("book_make", ROOT / "book" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def html(tmp_path_factory):
    """The folder of the pages, built once from the notebooks in git."""
    build = tmp_path_factory.mktemp("pages")
    command = [sys.executable, ROOT / "book" / "make.py", "--build", build, "render", "--notebooks", ROOT / "book"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert str(build / "html" / "index.html") in finished.stdout
    return build / "html"
