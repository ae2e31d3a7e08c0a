"""What every surrogate is: ``fit``, ``rollout``, ``save`` and ``load``, and the checks at its door.

A surrogate never sees a trajectory when it forecasts: :meth:`Surrogate.rollout` is handed the
history and nothing else, so there is no future to peek at.
"""

import hashlib
import json
import os
import platform
import shutil
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from cepkit.dataset import to_dataset, to_tensor
from cepkit.fields import SPACE, UNITS, VARIABLES

#: Every registered method by its name.
registry = {}


def surrogate(name, label=None, colour="#0072B2", line="-", version="1", draws=False):
    """Register a class under a name that tables, figures and the command line then know.

    Parameters
    ----------
    name : str
    label, colour, line : str
        How figures write and draw it.
    version : str
        Bump it whenever forecasts or training change: what was kept under the old one is stale.
    draws : bool
        Whether another seed makes another model.
    """

    def register(kind):
        kind.name, kind.version, kind.draws = name, version, draws
        kind.look = (label or name.replace("_", " "), colour, line)
        registry[name] = kind
        return kind

    return register



class Surrogate:
    """Base of all surrogates.  A method writes ``_fit`` and ``_rollout`` and is done.

    Attributes
    ----------
    name : str
        Its name in the registry and in every table.
    configuration : dict
        What it was made with; plain JSON.
    card : dict
        Where it comes from: data and their hash, seeds, training history, scores, versions.

    Examples
    --------
    >>> class Resting(cep.surrogates.Surrogate):
    ...     name = "resting"
    ...     def _rollout(self, X, start, steps):
    ...         return X[:, -1:].expand(-1, steps, -1)
    ...
    >>> trajectory, _ = cep.check.toy()
    >>> dict(Resting().fit(trajectory).rollout(trajectory, steps=5).sizes)
    {'start': 1, 'lead_time': 5, 'y': 4, 'x': 4}
    """

    name = None
    version = "1"
    draws = False  # whether another seed makes another model
    look = (None, "#0072B2", "-")  # label, colour and line style in figures
    trains = False  # whether fit takes minutes rather than moments
    reads_stimulus = False  # then ``_fit`` and ``_rollout`` are handed the stimulus as well

    def __init__(self):
        self.configuration = {}
        self.card = {}
        self.grid = {}  # the nodes: name of a space axis -> coordinates [mm]
        self.interval = None  # ms between frames
        self.cycle_length = None  # ms

    # ---- what a method provides -------------------------------------------------------------------
    def _fit(self, pieces, **options):
        """Learn from a list of trajectories (xr.Dataset).

        A model that reads the stimulus is also handed ``stimuli``, a tensor (time, N) for each.
        """

    def _rollout(self, X, start, steps):
        """Forecast from histories alone.

        A model that reads the stimulus is also handed ``stimulus``, shape (start, time + steps, N):
        row k is the mean current between frame k and the next.

        Parameters
        ----------
        X : torch.Tensor, shape (start, time, N_in)
            Histories in physical units.
        start : array, shape (start,)
            Time of the last frame of each history [ms].
        steps : int

        Returns
        -------
        torch.Tensor, shape (start, steps, N_in)
        """
        raise NotImplementedError

    def _tensors(self):
        """Everything learnt, as ``name -> tensor``: what goes into safetensors."""
        return {}

    def _restore(self, tensors, card):
        """Take back what ``_tensors`` gave."""

    # ---- what a user calls ------------------------------------------------------------------------
    def fit(self, trajectories, stimulus=None, **options):
        """Learn from one trajectory or a list of them.

        Parameters
        ----------
        trajectories : xr.Dataset or list of xr.Dataset
            Dims (time, y, x); all on one grid, evenly spaced in time.
        stimulus : xr.DataArray or list of xr.DataArray, optional
            The stimulus current of each trajectory at its own times; see
            :func:`cepkit.stimulus_field`.  Models that read the stimulus need it.

        Returns
        -------
        self

        Examples
        --------
        >>> trajectory, stimulus = cep.check.toy()
        >>> model = cep.surrogates.make("nearest_beat").fit(trajectory, stimulus=stimulus)
        >>> model.interval, model.nodes
        (1.0, 16)
        """
        pieces = [trajectories] if isinstance(trajectories, xr.Dataset) else list(trajectories)
        if not pieces:
            raise ValueError("trajectories is empty; give at least one trajectory")
        first = pieces[0]
        check_fields(first, "trajectories")
        if first.sizes["time"] < 2:
            raise ValueError("trajectories: one frame is no trajectory; give two or more")
        self.grid = {d: np.asarray(first[d].values, float) for d in SPACE if d in first.dims}
        self.interval = float(first.time[1] - first.time[0])
        self.cycle_length = float(first.attrs["cycle_length"]) if "cycle_length" in first.attrs else None
        for piece in pieces:
            check_fields(piece, "trajectories")
            self._check_grid(piece, "trajectories")
        self.card = {"data": {k: first.attrs[k] for k in ("hash", "data_hash", "profile") if k in first.attrs}}
        self.card["data"] |= {"frames": sum(p.sizes["time"] for p in pieces), "trajectories": len(pieces)}
        self.card["data"] |= {"from": float(first.time[0]), "to": float(pieces[-1].time[-1]), "time unit": "ms"}
        if self.reads_stimulus:
            options["stimuli"] = self._stimuli(pieces, stimulus)
        self._fit(pieces, **options)
        return self

    def _stimuli(self, pieces, stimulus):
        """Stimulus of each trajectory as a tensor (time, N)."""
        if stimulus is None:
            raise ValueError(
                f"stimulus is missing: {self.name} answers to it; give cepkit.stimulus_field(protocol, "
                "like=trajectory) for each trajectory"
            )
        fields = [stimulus] if isinstance(stimulus, xr.DataArray) else list(stimulus)
        if len(fields) != len(pieces):
            raise ValueError(f"stimulus holds {len(fields)} fields for {len(pieces)} trajectories; give one for each")
        for field, piece in zip(fields, pieces, strict=True):
            if field.sizes["time"] != piece.sizes["time"] or not np.allclose(field.time, piece.time):
                raise ValueError("stimulus: its times are not those of its trajectory; make it with like=trajectory")
        return [torch.from_numpy(np.asarray(field.values, np.float32)).flatten(1) for field in fields]

    def rollout(self, history, steps, stimulus=None):
        """Run free: forecast ``steps`` frames from a history, feeding on nothing but itself.

        Parameters
        ----------
        history : xr.Dataset
            Dims (time, y, x), one frame or more; or (start, time, y, x), many starts at once, with
            ``time`` relative, its last value 0, and ``start`` the time of that last frame [ms].
        steps : int
            Frames to forecast.
        stimulus : xr.DataArray, optional
            Stimulus current on (time, y, x), or, for many starts, on (start, time, y, x) with
            ``time`` relative as in the history.  It must cover history and forecast; a model whose
            equations have no stimulus does not use it.

        Returns
        -------
        xr.Dataset
            Dims (start, lead_time, y, x); ``lead_time`` in ms, 1 frame = the first one forecast.

        Examples
        --------
        >>> trajectory, _ = cep.check.toy()
        >>> model = cep.surrogates.make("last_beat").fit(trajectory)
        >>> forecast = model.rollout(trajectory.isel(time=slice(0, 100)), steps=20)
        >>> dict(forecast.sizes), float(forecast.lead_time[-1]), float(forecast.start[0])
        ({'start': 1, 'lead_time': 20, 'y': 4, 'x': 4}, 20.0, 99.0)
        """
        if self.interval is None:
            raise ValueError(f"{self.name} has learnt nothing yet: call fit(trajectories) or cepkit.load first")
        if int(steps) != steps or steps < 1:
            raise ValueError(f"steps={steps!r} must be a whole number of frames, 1 or more")
        steps = int(steps)
        check_fields(history, "history")
        self._check_grid(history, "history")
        if "start" not in history.dims:
            history = history.assign_coords(time=history.time - history.time[-1]).expand_dims(
                start=[float(history.time[-1])]
            )
        start = np.asarray(history.start.values, float)
        lead_time = self.interval * np.arange(1, steps + 1)
        X = to_tensor(history.transpose("start", "time", ...))
        if not torch.isfinite(X).all():
            raise ValueError("history holds NaN or infinite numbers; cut it from a trajectory that does not")
        if stimulus is None and self.reads_stimulus:
            raise ValueError(f"stimulus is missing: {self.name} answers to it, so it must cover history and forecast")
        if stimulus is not None:
            stimulus = self._cut_stimulus(stimulus, start, float(history.time[0]), lead_time[-1])
        forecast = self._rollout(X, start, steps, *([stimulus] if self.reads_stimulus else []))
        out = to_dataset(
            forecast, {"start": start, "lead_time": lead_time, **self.grid}, ("start", "lead_time", *self.grid)
        )
        for name, unit in {"start": "ms", "lead_time": "ms", **dict.fromkeys(self.grid, "mm")}.items():
            out[name].attrs["units"] = unit
        out.attrs |= {"model": self.name}
        return out

    def save(self, path):
        """Write ``weights.safetensors`` and ``card.json`` into a folder: all of it or nothing.

        Parameters
        ----------
        path : path-like
            The folder; what it held before stays until the new one is whole.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> trajectory, _ = cep.check.toy()
        >>> model = cep.surrogates.make("climatology").fit(trajectory)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/mine")
        ...     print(sorted(file.name for file in pathlib.Path(f"{folder}/mine").iterdir()))
        ...
        ['card.json', 'weights.safetensors']
        """
        path = Path(path)
        partial, old = (path.with_name(f".{path.name}.{end}.partial") for end in (os.getpid(), "old"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            weights = partial / "weights.safetensors"
            save_file({k: v.contiguous() for k, v in self._tensors().items()}, weights)
            card = {
                "name": self.name,
                "configuration": self.configuration,
                **self.card,
                "interval": self.interval,
                "cycle_length": self.cycle_length,
                "grid": {d: c.tolist() for d, c in self.grid.items()},
                "units": UNITS,
                "versions": versions(),
                "sha256": {"weights.safetensors": sha256(weights)},
            }
            (partial / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")
            shutil.rmtree(old, ignore_errors=True)
            if path.exists():
                os.replace(path, old)
            os.replace(partial, path)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise ValueError(
                f"path={str(path)!r} cannot be written ({error.strerror}); choose a folder that can"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote, checking it against the hash on its card.

        Examples
        --------
        >>> import tempfile
        >>> trajectory, _ = cep.check.toy()
        >>> model = cep.surrogates.make("climatology").fit(trajectory)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/mine")
        ...     again = type(model).load(f"{folder}/mine")
        ...
        >>> again.rollout(trajectory, 5).equals(model.rollout(trajectory, 5))
        True
        """
        path = Path(path)
        card = read_card(path)
        if card["name"] != cls.name:
            raise ValueError(f"path={str(path)!r} holds a {card['name']}, not a {cls.name}; use cepkit.load(path)")
        weights = path / "weights.safetensors"
        if not weights.exists():
            raise ValueError(f"{weights} is missing; get it back from git or train the model again")
        if sha256(weights) != card["sha256"]["weights.safetensors"]:
            raise ValueError(
                f"{weights} is damaged: it is not the file that card.json describes; "
                "get both back from git or train the model again"
            )
        model = cls.__new__(cls)
        Surrogate.__init__(model)
        model.configuration = card["configuration"]
        model.card = {k: v for k, v in card.items() if k not in ("name", "configuration", "sha256", "grid", "units")}
        model.interval, model.cycle_length = card["interval"], card["cycle_length"]
        model.grid = {d: np.array(c) for d, c in card["grid"].items()}
        model._restore(load_file(weights), card)
        return model

    def summary(self):
        """One line on where it comes from, for a page."""
        seconds = self.card.get("training seconds")
        made = f", {self.card['weights']} weights, trained in {seconds:.0f} s" if seconds is not None else ""
        data = self.card["data"].get("data_hash", "without hash")
        return f"profile {self.card.get('profile', 'none')}, data {data}{made}"

    # ---- checks -----------------------------------------------------------------------------------
    @property
    def nodes(self):
        """N, the number of nodes."""
        return int(np.prod([len(c) for c in self.grid.values()]))

    def _check_grid(self, fields, argument):
        got = {d: np.asarray(fields[d].values, float) for d in SPACE if d in fields.dims}
        shape, expected = (tuple(len(c) for c in g.values()) for g in (got, self.grid))
        if got.keys() != self.grid.keys() or shape != expected:
            raise ValueError(
                f"{argument}: its grid {tuple(got)} has the shape {shape}; {self.name} was made for "
                f"{tuple(self.grid)} {expected}; simulate on that grid or fit the model anew"
            )
        if not all(np.allclose(got[d], self.grid[d], atol=1e-6) for d in got):
            raise ValueError(f"{argument}: its nodes stand elsewhere than those that {self.name} was made for")
        steps = np.diff(fields.time.values)
        if not np.allclose(steps, self.interval):
            raise ValueError(
                f"{argument}: its frames must be {self.interval} ms apart without a gap, as {self.name} learnt them; "
                f"got steps from {steps.min()} to {steps.max()} ms"
            )

    def _cut_stimulus(self, stimulus, start, first, last):
        """The stimulus of each start from ``first`` to ``last`` [ms from the start], (start, time, N)."""
        times = np.asarray(stimulus.time.values, float)
        frames = round((last - first) / self.interval) + 1
        begin = np.zeros(len(start)) if "start" in stimulus.dims else start
        at = np.rint((begin + first - times[0]) / self.interval).astype(int)
        if not np.allclose(np.diff(times), self.interval) or at.min() < 0 or at.max() + frames > len(times):
            raise ValueError(
                f"stimulus covers {times[0]} to {times[-1]} ms; history and forecast need every frame of "
                f"{self.interval} ms from {begin.min() + first} to {begin.max() + last} ms"
            )
        if "start" in stimulus.dims:
            if not np.array_equal(stimulus.start, start):
                raise ValueError("stimulus: its starts are not those of the history")
            cut = stimulus.transpose("start", "time", ...).values[:, at[0] : at[0] + frames]
        else:
            cut = np.stack([stimulus.values[k : k + frames] for k in at])
        return torch.from_numpy(np.ascontiguousarray(cut, np.float32)).flatten(2)


def check_fields(fields, argument):
    """Refuse what is no trajectory, in the caller's words.

    Examples
    --------
    >>> from cepkit.surrogates.base import check_fields
    >>> check_fields(cep.check.toy()[0], "trajectories")  # says nothing if all is well
    """
    if not isinstance(fields, xr.Dataset):
        raise ValueError(
            f"{argument} is a {type(fields).__name__}; it must be an xarray.Dataset with dims (time, y, x)"
        )
    missing = [v for v in VARIABLES if v not in fields]
    if missing or "time" not in fields.dims or fields.sizes["time"] < 1:
        raise ValueError(
            f"{argument} has dims {dict(fields.sizes)} and variables {list(fields)}; it must have the dims "
            f"(time, y, x), one frame or more, and the variables {list(VARIABLES)}"
        )


def read_card(path):
    """The card of a saved surrogate, as a dict.

    Examples
    --------
    >>> card = cep.surrogates.read_card(cep.surrogates.kept_folder() / "models" / "lstm")
    >>> card["name"]
    'lstm'
    """
    file = Path(path) / "card.json"
    if not file.exists():
        raise ValueError(f"{file} is missing; {str(path)!r} is no saved surrogate")
    try:
        card = json.loads(file.read_text())
        card["name"], card["configuration"], card["sha256"]["weights.safetensors"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); get it back from git or train the model again") from error
    return card


def sha256(file):
    """SHA-256 of a file, in hex.

    Examples
    --------
    >>> from cepkit.surrogates.base import sha256
    >>> len(sha256(cep.surrogates.kept_folder() / "MANIFEST.json"))
    64
    """
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def versions():
    """Versions of what the numbers depend on.

    Examples
    --------
    >>> from cepkit.surrogates.base import versions
    >>> sorted(versions())
    ['machine', 'numpy', 'python', 'threads', 'torch', 'xarray']
    """
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "xarray": xr.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
