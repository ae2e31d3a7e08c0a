"""What a page shows and a reader moves.  Python prepares; what draws and listens are the files of ``js/``."""

import base64
from importlib.resources import files

import matplotlib
import numpy as np

VERSION = "2"  # bump it when a control is meant to change, so that chapters run again

#: The conductances that have a slider.
CHANNELS = ("gNa", "gCaL", "gto", "gKr", "gKs", "gK1")


def source(name):
    """The text of one of the files in ``js/``."""
    return files("cepkit.page").joinpath("js", name).read_text(encoding="utf-8")


def encoded(array):
    """The bytes of an array as base64, the way they travel in a page."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def colours(name):
    """A colour map of matplotlib as 256 times red, green and blue, encoded."""
    return encoded((matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8))
