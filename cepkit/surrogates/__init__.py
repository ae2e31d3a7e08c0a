"""The surrogates of the paper and their opponents: one short file a method, one interface, one registry."""

import warnings
from importlib import import_module
from pathlib import Path

from cepkit.profiles import get_profile
from cepkit.store import data_folder, folder_of, kept_folder
from cepkit.surrogates.base import Learning, Surrogate, registry, surrogate
from cepkit.surrogates.baselines import Climatology, LastBeat, Persistence
from cepkit.surrogates.card import read_card
from cepkit.surrogates.lstm import LSTM
from cepkit.surrogates.neural_ode import NeuralODE

__all__ = [
    "LSTM", "Climatology", "LastBeat", "Learning", "NeuralODE", "Persistence", "Surrogate", "everyone", "kept",
    "kind_of", "load", "make", "read_card", "registry", "surrogate",
]  # fmt: skip


def everyone():
    """The registry, with the methods of the benchmark in it, which register when they are imported."""
    import_module("cepkit.bench.methods")
    return registry


def kind_of(name):
    """The class of a registered name ("neural-ode" is "neural_ode"), or of "mypackage.module:MyModel"."""
    module, _, own = str(name).partition(":")
    if own:
        try:
            kind = getattr(import_module(module), own)
        except (Exception, SystemExit) as error:  # whatever somebody else's code does
            raise ValueError(f"name={name!r} cannot be imported ({error!r}); give package.module:Class") from error
        if not (isinstance(kind, type) and issubclass(kind, Surrogate) and kind.name):
            raise ValueError(f"name={name!r} is no Surrogate with a name; decorate it with @surrogate(...)")
        return kind
    known = str(name).replace("-", "_")
    if known not in registry and known not in everyone():
        raise ValueError(f"name={name!r} is no surrogate; choose from {', '.join(registry)}")
    return registry[known]


def make(name, profile="laptop", **changes):
    """An untrained surrogate, configured as a profile says, with changes of its settings."""
    kind, size = kind_of(name), get_profile(profile)
    configuration = getattr(size, kind.name, size.name)
    return kind(configuration if configuration in kind.configurations else None, **changes)


def load(name, run=None):
    """A trained surrogate: by a name that comes with the book ("lstm", "paced-esn"), or from a folder of ``save``.

    A ``Path`` is always a folder.  With ``run``, a profile, it is the last training of that profile on this machine.

    Examples
    --------
    >>> cep.load("lstm").name
    'lstm'
    """
    path = _folder(name, run)
    card = read_card(path)
    kind = kind_of(card["name"] if card["name"] in everyone() else card.get("class", card["name"]))
    if card.get("version", kind.version) != kind.version:
        warnings.warn(f"{path} was made by version {card['version']} of {kind.name}, which is now {kind.version}; "
                      "train it again (RETRAIN=all)", stacklevel=2)  # fmt: skip
    return kind.load(path)


def _folder(name, run):
    """Where a surrogate lies, by what :func:`load` is given."""
    path, plain = folder_of(name, "name"), str(name).replace("-", "_")
    if run is not None:
        if (path := data_folder() / "runs" / run / plain).exists():
            return path
        way = f"train it: python -m cepkit train --profile {run}"
        raise ValueError(f"run={run!r} holds no {plain} ({path} is missing); {way}")
    known = [] if isinstance(name, Path) else [one for one in (str(name), plain) if one in kept()]
    if known:
        if (path / "card.json").exists():
            warnings.warn(f"name={name!r} is kept with the book, and a folder: this is the former; for the folder give "
                          f"Path({name!r})", stacklevel=4)  # fmt: skip
        return kept_folder() / "models" / known[0]
    if path.exists():
        return path
    if plain in everyone():
        way = f"fit one: cepkit.surrogates.make({plain!r}).fit(trajectory)"
        raise ValueError(f"no {plain} is kept with the book, only {', '.join(kept()) or 'nothing'}; {way}")
    raise ValueError(
        f"name={str(name)!r} is neither a folder nor a surrogate; choose from {', '.join(registry)} (weights for a "
        "track, such as paced-esn, come with the repository and not with an installed package)"
    )


def kept():
    """Names of the surrogates that are kept with the book."""
    return sorted(card.parent.name for card in (kept_folder() / "models").glob("*/card.json"))
