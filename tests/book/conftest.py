"""What the tests of the book share: its folder, its chapters and book/make.py as a module."""

import importlib.util
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
