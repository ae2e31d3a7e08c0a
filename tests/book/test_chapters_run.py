"""The whole book runs from nothing at the smallest profile, training included, as `make book PROFILE=smoke` does."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

pytestmark = pytest.mark.book


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_chapter_runs_at_smoke(root, make, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copytree(root / "data" / "models", data / "models")  # what is in git and nothing else
    before = contents(data / "models")

    command = [sys.executable, root / "book" / "make.py", "--build", tmp_path, "run", "--profile", "smoke"]
    environment = os.environ | {"CEPKIT_DATA": str(data), "FORCE": "", "RETRAIN": "1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    print(finished.stdout)

    folder = tmp_path / "executed" / "smoke"
    for chapter in make.chapters():
        notebook = nbformat.read(folder / chapter.name, as_version=4)
        executed = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        assert all(cell.execution_count for cell in executed)
        assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in executed)
    summary = json.loads((folder / "run.json").read_text())
    assert sum(record["seconds"] for record in summary.values()) < 600, "smoke is meant to take three minutes"
    assert [name for record in summary.values() for name in record["wrote"]], "no chapter trained anything"
    assert contents(data / "models") == before, "a run changed the kept weights"
