"""What a docstring shows is what happens, and what a reader calls first shows how."""

import doctest
import importlib
import inspect
import pkgutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

import cepkit

MODULES = sorted(m.name for m in pkgutil.walk_packages(cepkit.__path__, "cepkit.") if not m.name.endswith("__main__"))
METHODS = ("fit", "rollout", "save", "load")  # of every surrogate


def documented(name):
    """Full name -> docstring, of a module, its public callables, and the methods of a surrogate."""
    module = importlib.import_module(name)
    own = {k: v for k, v in vars(module).items() if not k.startswith("_") and getattr(v, "__module__", None) == name}
    found = {name: module.__doc__} | {f"{name}.{k}": inspect.getdoc(v) for k, v in own.items() if callable(v)}
    surrogate = own.get("Surrogate")
    if surrogate:
        found |= {f"{name}.Surrogate.{m}": inspect.getdoc(getattr(surrogate, m)) for m in METHODS}
    return found


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress bars, no windows; figures and seeds of other tests stay as they are."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with plt.rc_context({"backend": "agg"}), torch.random.fork_rng():
        yield
    plt.close("all")


@pytest.mark.parametrize("name", [n for n in cepkit.__all__ if callable(getattr(cepkit, n))])
def test_what_a_reader_calls_first_has_an_example(name):
    assert "Examples\n--------\n>>> " in inspect.getdoc(getattr(cepkit, name))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_say_what_happens(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for key, text in documented(name).items():
        names = {"cep": cepkit, "np": np, "torch": torch, "xr": xr}
        names |= {key.rpartition(".")[2]: vars(importlib.import_module(name)).get(key.rpartition(".")[2])}
        output = []
        runner.run(doctest.DocTestParser().get_doctest(text or "", names, key, None, 0), out=output.append)
        assert not output, "".join(output)
