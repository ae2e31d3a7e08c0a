"""The surrogates: one short file a method, one interface, one table of names."""

import json
from pathlib import Path

from importlib import import_module

from cepkit.store import data_folder, replace_file
from cepkit.surrogates.base import Surrogate, read_card, registry, sha256, surrogate
from cepkit.surrogates.baselines import Climatology, LastBeat, Persistence
from cepkit.surrogates.lstm import LSTM
from cepkit.surrogates.neural_ode import NeuralODE

__all__ = ["LSTM", "Climatology", "LastBeat", "NeuralODE", "Persistence", "Surrogate", "keep", "kept", "load", "make",
           "read_card", "registry", "surrogate"]  # fmt: skip

#: Modules that register further methods when they are imported, which happens when one is asked for.
HOMES = ["cepkit.bench.methods"]


def everyone():
    """The registry with the methods of all HOMES in it."""
    for home in HOMES:
        import_module(home)
    return registry


def canonical(name):
    """The name in the registry: "neural-ode" is "neural_ode".

    Examples
    --------
    >>> cep.surrogates.canonical("neural-ode")
    'neural_ode'
    """
    known = str(name).replace("-", "_")
    if known not in registry and known not in everyone():
        raise ValueError(f"name={name!r} is no surrogate; choose from {', '.join(registry)}")
    return known


def make(name, profile="laptop", **changes):
    """An untrained surrogate, configured as a profile says.

    Parameters
    ----------
    name : str
    profile : str or Profile

    Returns
    -------
    Surrogate

    Examples
    --------
    >>> cep.surrogates.make("lstm", "smoke", hidden=8).settings.hidden
    8
    """
    from cepkit.profiles import get_profile

    name = canonical(name)
    configuration = getattr(get_profile(profile), name, None)
    return registry[name](configuration, **changes) if configuration else registry[name](**changes)


def load(name, run=None):
    """A trained surrogate.

    Parameters
    ----------
    name : str or path-like
        "lstm" and "neural-ode" are kept with the book; a path is a folder that ``save`` wrote.
    run : str, optional
        A profile: take what the last training of that profile on this machine left behind.

    Returns
    -------
    Surrogate

    Examples
    --------
    >>> cep.load("lstm").name
    'lstm'
    """
    known = str(name).replace("-", "_")
    if known not in everyone() and not Path(name).exists() and str(name) not in kept():
        raise ValueError(f"name={str(name)!r} is neither a folder nor a surrogate; choose from {', '.join(registry)}")
    if run is None and str(name) in kept():  # such as "paced-esn"
        verify(str(name))
        path = kept_folder() / "models" / str(name)
    elif Path(name).exists() and known not in registry:
        path = Path(name)
    elif run is not None:
        path = data_folder() / "runs" / run / known
        if not path.exists():
            raise ValueError(
                f"run={run!r} holds no {known} ({path} is missing); train it: python -m cepkit train --profile {run}"
            )
    else:
        path = kept_folder() / "models" / known
        if known not in kept():
            raise ValueError(
                f"no {known} is kept with the book, only {', '.join(kept()) or 'nothing'}; "
                f"fit one: cepkit.surrogates.make({known!r}).fit(trajectory)"
            )
        verify(known)
    return everyone()[read_card(path)["name"]].load(path)


# ---- what is kept with the book: data/models and its manifest ----------------------------------------
def kept_folder():
    """Where the committed artefacts are: ``data/`` beside the package, wherever generated data go.

    Examples
    --------
    >>> cep.surrogates.kept_folder().name
    'data'
    """
    return Path(__file__).parents[2] / "data"


def _manifest():
    file = kept_folder() / "MANIFEST.json"
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is damaged ({error}); get it back from git") from error


def kept():
    """Names of the surrogates that are kept with the book.

    Examples
    --------
    >>> "lstm" in cep.surrogates.kept()
    True
    """
    return sorted({Path(file).parts[1] for file in _manifest() if file.startswith("models/")})


def verify(name):
    """Compare the files of a kept surrogate with the manifest.

    Raises
    ------
    ValueError
        Naming the file that is missing or damaged.

    Examples
    --------
    >>> cep.surrogates.verify("lstm")  # says nothing if all is well
    """
    for file, expected in _manifest().items():
        if file.startswith(f"models/{name}/"):
            path = kept_folder() / file
            if not path.exists():
                raise ValueError(f"{path} is missing; get it back from git")
            if sha256(path) != expected:
                raise ValueError(f"{path} is damaged: its SHA-256 is not that of MANIFEST.json; get it back from git")


def keep(model, name=None):
    """Put a trained surrogate among the artefacts that are committed, and note its files in the manifest.

    Parameters
    ----------
    model : Surrogate
    name : str, optional
        To load it by, such as "paced-esn"; default: the model's own.

    Examples
    --------
    >>> cep.surrogates.keep(model, "my-model")  # doctest: +SKIP
    """
    name = name or model.name
    folder = kept_folder() / "models" / name
    model.save(folder)
    manifest = {file: sha for file, sha in _manifest().items() if not file.startswith(f"models/{name}/")}
    for path in sorted(folder.iterdir()):
        manifest[path.relative_to(kept_folder()).as_posix()] = sha256(path)
    replace_file(kept_folder() / "MANIFEST.json", (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
    return folder
