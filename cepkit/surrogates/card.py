"""The folder of a saved surrogate: weights in safetensors, and a card that says what they are and detects damage."""

import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from safetensors.torch import load_file, save

from cepkit.store import replace_file

WEIGHTS, CARD = "weights.safetensors", "card.json"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write(folder, card, tensors):
    """Replace the two files of a surrogate in a folder; whatever else lies there stays."""
    folder = Path(folder).expanduser()
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    packages = {"numpy": np.__version__, "torch": str(torch.__version__), "xarray": xr.__version__}
    machine = {"machine": platform.machine(), "threads": torch.get_num_threads()}
    card = card | {"versions": {"python": platform.python_version(), **packages, **machine}}
    card = json.loads(json.dumps(card)) | {"sha256": {WEIGHTS: sha256(data)}}  # keys become text
    card["sha256"] = card["sha256"] | {CARD: _seal(card)}
    try:
        replace_file(folder / WEIGHTS, data)
        replace_file(folder / CARD, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        said = f"cannot be written ({error.strerror}); choose a folder that can"
        raise ValueError(f"path={str(folder)!r} {said}") from error


def _seal(card):
    content = card | {"sha256": {WEIGHTS: card["sha256"][WEIGHTS]}}
    return sha256(json.dumps(content, sort_keys=True).encode())


def read_card(folder):
    """The card of a saved surrogate, as a dict; a ValueError if it is missing or damaged."""
    file = Path(folder) / CARD
    if not file.exists():
        raise ValueError(f"{file} is missing; {str(folder)!r} is no saved surrogate")
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        card["name"], card["configuration"]
        if card["sha256"].get(CARD, _seal(card)) != _seal(card):  # cards of the first edition have no seal
            raise ValueError("its content is not what was sealed")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error}); get it back from git or train the model again") from error
    return card


def read_weights(folder, card):
    """The tensors that belong to a card; a ValueError if they are missing, or not those of the card."""
    file = Path(folder) / WEIGHTS
    if not file.exists():
        raise ValueError(f"{file} is missing; get it back from git or train the model again")
    if sha256(file.read_bytes()) != card["sha256"][WEIGHTS]:
        way = "get both back from git or train the model again"
        raise ValueError(f"{file} is damaged: it is not the file that card.json describes; {way}")
    return load_file(file)
