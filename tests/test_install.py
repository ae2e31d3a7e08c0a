"""What is installed works elsewhere: the weights that the README promises come along."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USES = """
import cepkit as cep
from pathlib import Path
assert "site" in cep.__file__, cep.__file__
sheet = cep.Tissue((24, 24), spacing=10 / 23)
run = cep.simulate(sheet, cep.Protocol(), 110.0, dt=0.1, progress=False)
stimulus = cep.stimulus_field(cep.Protocol(), like=run)
for name in ("lstm", "neural-ode", "paced"):
    cep.load(name).rollout(run.isel(time=slice(0, 101)), 10, stimulus=stimulus)
assert len(cep.bench.kept_scorecard("paced")) > 100
assert "ldnet" in cep.bench.make_track("paced", "laptop", progress=False).changes
assert cep.store.data_folder() == Path.home() / ".cache" / "cepkit"
try:
    cep.load("paced-esn")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_an_installed_package_has_its_weights(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "cepkit", source / "cepkit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data", source / "data", ignore=shutil.ignore_patterns("golden", "runs", "tracks"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", tmp_path, source], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("cepkit-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path), "CEPKIT_DATA": ""}
    done = subprocess.run([sys.executable, "-c", USES], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "paced-esn" in done.stdout and "come with the repository" in done.stdout


def test_every_package_is_listed():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "cepkit").rglob("__init__.py")}
    assert set(listed) == there | {"cepkit.kept"}
