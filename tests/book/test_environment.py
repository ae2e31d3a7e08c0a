"""pyproject.toml, requirements.lock and environment.yml tell one story, and so does what is installed."""

import importlib.metadata
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def direct(project):
    extras = project["optional-dependencies"]
    return [Requirement(line) for line in sum(extras.values(), project["dependencies"])]


@pytest.fixture(scope="module")
def lock(root):
    lines = (root / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def version(requirement):
    (pin,) = requirement.specifier
    return pin.version


def test_lock_holds_exact_public_versions(lock):
    assert len({canonicalize_name(entry.name) for entry in lock}) == len(lock) > 100
    for entry in lock:
        assert entry.url is None, f"{entry.name} is pinned to a place, not a version"
        assert [pin.operator for pin in entry.specifier] == ["=="], f"{entry} is not one exact version"
        assert Version(version(entry)).local is None, f"{entry} names a local build"


def test_lock_satisfies_what_pyproject_asks_for(direct, lock):
    pins = {canonicalize_name(entry.name): version(entry) for entry in lock}
    for requirement in direct:
        name = canonicalize_name(requirement.name)
        assert name in pins, f"pyproject.toml asks for {name}, requirements.lock has none"
        assert requirement.specifier.contains(pins[name], prereleases=True), f"{requirement}, locked {pins[name]}"


def test_lock_holds_nothing_that_nobody_asks_for(direct, lock, project):
    """Walk the dependencies from pyproject.toml through what is installed; every pin must be met on the way."""
    oldest = {"python_version": "3.11", "python_full_version": "3.11.9"}  # it needs most
    todo = [(entry.name, frozenset(entry.extras)) for entry in direct] + [("setuptools", frozenset())]
    reached = set()
    while todo:
        name, extras = todo.pop()
        if (canonicalize_name(name), extras) in reached:
            continue
        reached.add((canonicalize_name(name), extras))
        try:
            needed = map(Requirement, importlib.metadata.requires(name) or [])
        except importlib.metadata.PackageNotFoundError:  # for another Python or platform
            continue
        todo += [
            (entry.name, frozenset(entry.extras))
            for entry in needed
            if not entry.marker or any(entry.marker.evaluate(oldest | {"extra": extra}) for extra in {""} | extras)
        ]
    superfluous = {canonicalize_name(entry.name) for entry in lock} - {name for name, _ in reached}
    assert not superfluous


def test_installed_versions_are_the_locked_ones(lock):
    for entry in lock:
        assert Version(importlib.metadata.version(entry.name)).public == version(entry), entry.name


def test_conda_installs_the_same(root, project):
    environment = yaml.safe_load((root / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}
    assert {re.split("[=<>]", name)[0] for name in conda} == {"python", "pip", "make"}, "the rest comes from the lock"
    (python,) = [name.partition("=")[2] for name in conda if name.startswith("python=")]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python)


def test_makefile_takes_every_python_that_pyproject_takes(root, project):
    lowest, highest = re.search(
        r"\((3, \d+)\) <= sys.version_info\[:2\] <= \((3, \d+)\)", (root / "Makefile").read_text()
    ).groups()
    assert project["requires-python"] == ">=" + lowest.replace(", ", ".")
    assert highest.replace(", ", ".") in (root / "requirements.lock").read_text().splitlines()[0]
