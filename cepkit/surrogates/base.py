"""What every surrogate is: ``fit``, ``rollout``, ``save`` and ``load``, and the checks at its door."""

import dataclasses
import time
from copy import copy
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from cepkit.dataset import Scaling, checked, to_dataset, to_tensor
from cepkit.fields import SPACE, UNITS, VARIABLES, in_form, matching, number, one_of
from cepkit.surrogates import card as cards
from cepkit.training import Training

#: Every registered method by its name.
registry = {}


def surrogate(name, label=None, colour="#0072B2", line="-", version="1", draws=False):
    """Register a class under a name that tables, figures and the command line then know.

    Figures write ``label`` and draw in ``colour`` and ``line``.  Bump ``version`` whenever forecasts or training
    change: what was kept under the old one is stale.  ``draws`` says whether another seed makes another model.
    """

    def register(kind):
        if repr(other := registry.get(name, kind)) != repr(kind):
            raise ValueError(f"name={name!r} is that of {other}; choose another for {kind}")
        kind.name, kind.version, kind.draws = name, version, draws
        kind.look = (label or name.replace("_", " "), colour, line)
        registry[name] = kind
        return kind

    return register


@dataclasses.dataclass
class Learning:
    """All that a method is shown, in one argument."""

    runs: list  # trajectories (xr.Dataset)
    stimuli: list  # stimulus current of each, tensor (time, N) [pA/pF]; empty for a method that reads none
    earlier: list  # when each was stimulated before it begins [ms]
    # "validation" and "late": what makes further Learning when it is asked for, since it may have to be simulated
    more: dict = dataclasses.field(default_factory=dict)
    progress: bool = True
    checkpoint: Path | None = None

    def part(self, name):
        """Another part, or None where there is none."""
        return self.more[name]() if name in self.more else None


class Surrogate:
    """Base of all surrogates.  A method writes ``_fit`` and ``_rollout`` and is done.

    ``settings`` and ``configuration`` are what it was made with, an instance of ``Settings`` and plain data; ``card``
    says where it comes from: data and their hash, seeds, training history, versions.
    """

    name = None
    version = "1"
    draws = False  # whether another seed makes another model
    look = (None, "#0072B2", "-")  # label, colour and line style in figures
    trains = False  # whether fit takes minutes rather than moments
    sheets_only = False  # whether it needs the axes y and x, and no other
    needs = ()  # modules that are not installed with cepkit
    anywhere = False  # whether it runs on any nodes and not only on those that it has learnt from
    reads_stimulus = False  # then ``_rollout`` is handed the stimulus as well
    learnt = ()  # names of the tensors that it finds, besides the weights of ``network``
    network = scaling = None
    Settings = dataclasses.make_dataclass("Nothing", (), frozen=True)  # dataclass of the settings and their defaults
    configurations = {}  # name -> settings that differ from the defaults

    def __init__(self, configuration=None, **changes):
        self.settings = self._chosen(configuration, changes)
        self.configuration = dataclasses.asdict(self.settings)
        self.card = {}
        self.grid = {}  # the nodes: name of a space axis -> coordinates [mm]
        self.interval = None  # ms between frames

    def _chosen(self, configuration, changes):
        """Settings by a name, by a card's plain data or by themselves, with changes."""
        known = [field.name for field in dataclasses.fields(self.Settings)]
        given = (configuration if isinstance(configuration, dict) else {}) | changes
        for name in given.keys() - set(known):
            raise ValueError(f"{name}={given[name]!r} is no setting of {self.name}; choose from {', '.join(known)}")
        if isinstance(configuration, str):
            configuration = self.configurations[one_of("configuration", configuration, self.configurations)]
        if isinstance(configuration, dict):
            nested = {k: Training(**value) for k, value in configuration.items() if isinstance(value, dict)}
            configuration = self.Settings(**configuration | nested)
        return dataclasses.replace(configuration or self.Settings(), **changes)

    def _fit(self, learning):
        """Learn; see :class:`Learning`."""

    def _rollout(self, X, start, steps):
        """Forecast (start, steps, N_in) from histories X (start, time, N_in) alone, in physical units.

        ``start`` is the time of the last frame of each history [ms].  A model that reads the stimulus is also handed
        ``stimulus``, shape (start, time + steps, N): row k is the mean current between frame k and the next.
        """
        raise NotImplementedError(f"{type(self).__name__} has no _rollout")

    def _build(self):
        """Make what is random or untrained, such as ``network``."""

    def _tensors(self):
        """Everything learnt, as ``name -> tensor``: what goes into safetensors."""
        network = self.network.state_dict() if self.network else {}
        return {name: getattr(self, name) for name in self.learnt} | {k: v.cpu() for k, v in network.items()}

    def _restore(self, tensors, card):
        """Take back what ``_tensors`` gave."""
        if self.trains or "scaling" in card:
            self.scaling = Scaling.from_dict(card["scaling"])
        for name in self.learnt:
            setattr(self, name, tensors.pop(name))
        self._build()
        if self.network:
            self.network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items()})

    def fit(self, trajectories, stimulus=None, *, earlier=None, validation=None, late=None, progress=True,
            checkpoint=None):  # fmt: skip
        """Learn from one trajectory or a list of them, dims (time, y, x), on one grid, evenly spaced in time.

        ``stimulus`` is that of each at its own times (:func:`cepkit.stimulus_field`), for models that read it;
        ``earlier`` when each was stimulated before it begins [ms], for models with a memory of minutes.
        ``validation``, to choose settings by, and ``late``, runs that begin after minutes of pacing, are tuples of
        these three, or a callable that makes one: they are checked, and simulated, only if the method asks for them.
        ``checkpoint`` is where a training that may be interrupted leaves its state.
        """
        pieces = [trajectories] if isinstance(trajectories, xr.Dataset) else list(trajectories or [])
        if not pieces:
            raise ValueError("trajectories is empty; give at least one trajectory")
        first = checked(pieces[0], "trajectories")
        if first.sizes["time"] < 2:
            raise ValueError("trajectories: one frame is no trajectory; give two or more")
        self.grid = {d: np.asarray(first[d].values, float) for d in SPACE if d in first.dims}
        if self.sheets_only and tuple(self.grid) != ("y", "x"):
            raise ValueError(f"trajectories: {self.name} reads sheets with axes y and x, got {tuple(self.grid)}")
        self.interval = float(first.time[1] - first.time[0])
        learning = self._shown("trajectories", (pieces, stimulus, earlier))
        learning.progress, learning.checkpoint = progress, checkpoint
        parts = {"validation": validation, "late": late}
        learning.more = {name: partial(self._shown, name, given) for name, given in parts.items() if given is not None}
        data = {k: first.attrs[k] for k in ("hash", "data_hash", "profile") if k in first.attrs}
        data |= {"frames": sum(run.sizes["time"] for run in learning.runs), "trajectories": len(pieces)}
        data |= {"from": float(first.time[0]), "to": float(learning.runs[-1].time[-1]), "time unit": "ms"}
        self.card = {"data": data}
        began = time.perf_counter()
        with torch.random.fork_rng():
            self._fit(learning)
        self.card.setdefault("training seconds", round(time.perf_counter() - began, 3))
        if self.scaling:
            self.card["scaling"] = self.scaling.to_dict()
        if self.trains:
            self.card.setdefault("weights", sum(tensor.numel() for tensor in self._tensors().values()))
        return self

    def _shown(self, argument, given):
        """What is learnt from, of ``given`` trajectories, and of their stimulus and ``earlier`` where there are any."""
        pieces, stimulus, earlier, *_ = *(given() if callable(given) else given), None, None
        pieces = [self._trajectory(piece, argument) for piece in pieces]
        for piece in pieces:
            ends = piece[list(VARIABLES)].isel(time=[0, -1])
            if not bool(np.isfinite(ends.to_dataarray()).all()):
                raise ValueError(f"{argument} holds NaN or infinite numbers; fill them, or leave these nodes out")
        stimuli = self._stimuli(pieces, stimulus) if self.reads_stimulus else []
        return Learning(pieces, stimuli, earlier or [()] * len(pieces))

    def _stimuli(self, pieces, stimulus):
        """Stimulus of each trajectory as a tensor (time, N)."""
        if stimulus is None:
            way = "give cepkit.stimulus_field(protocol, like=trajectory) for each trajectory"
            raise ValueError(f"stimulus is missing: {self.name} answers to it; {way}")
        fields = [stimulus] if isinstance(stimulus, xr.DataArray) else list(stimulus)
        if len(fields) != len(pieces):
            raise ValueError(f"stimulus holds {len(fields)} fields for {len(pieces)} trajectories; give one for each")
        each = zip(fields, pieces, strict=True)
        return [self._told(field, run.time.values[:1], 1, run.sizes["time"] - 1)[0] for field, run in each]

    def rollout(self, history, steps, stimulus=None):
        """Run free: forecast ``steps`` frames from a history, feeding on nothing but itself.

        ``history`` has the dims (time, y, x), one frame or more; or (start, time, y, x), many starts at once, with
        ``time`` relative, its last value 0, and ``start`` the time of that last frame [ms].  ``stimulus`` is the
        current with the dims and times of the history; it must cover history and forecast.  Returned are the dims
        (start, lead_time, y, x); ``lead_time`` [ms] is one frame for the first that is forecast.
        """
        if self.interval is None:
            raise ValueError(f"{self.name} has learnt nothing yet: call fit(trajectories) or cepkit.load first")
        if int(number("steps", steps)) != steps or steps < 1:
            raise ValueError(f"steps={steps!r} must be a whole number of frames, 1 or more")
        if self.anywhere:
            self = self._moved(history := checked(history, "history"))  # noqa: PLW0642
        steps, history = int(steps), self._trajectory(history, "history")
        if "start" not in history.dims:
            last = history.time[-1]
            history = history.assign_coords(time=history.time - last).expand_dims(start=[float(last)])
        start, X = np.asarray(history.start.values, float), to_tensor(history)
        if not torch.isfinite(X).all():
            raise ValueError("history holds NaN or infinite numbers; cut it from a trajectory that does not")
        if stimulus is None and self.reads_stimulus:
            raise ValueError(f"stimulus is missing: {self.name} answers to it, so it must cover history and forecast")
        told = [] if stimulus is None else [self._told(stimulus, start, X.shape[1], steps)]
        forecast = self._rollout(X, start, steps, *(told if self.reads_stimulus else []))
        coords = {"start": start, "lead_time": self.interval * np.arange(1, steps + 1), **self.grid}
        out = to_dataset(forecast, coords, tuple(coords))
        for name in coords:
            out[name].attrs["units"] = "mm" if name in self.grid else "ms"
        return out.assign_attrs(model=self.name)

    def _moved(self, history):
        """A copy that stands on the nodes of a history."""
        own = copy(self)
        own.grid = {d: np.asarray(history[d].values, float) for d in SPACE if d in history.dims}
        return own

    def save(self, path):
        """Write ``weights.safetensors`` and ``card.json`` into a folder; other files in it stay."""
        card = {
            "name": self.name,
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "version": self.version,
            "configuration": self.configuration,
            **self.card,
            "interval": self.interval,
            "grid": {d: c.tolist() for d, c in self.grid.items()},
            "units": UNITS,
        }
        cards.write(path, card, self._tensors())

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote, checking it against the hashes on its card."""
        card = cards.read_card(path)
        if card["name"] != cls.name:
            raise ValueError(f"path={str(path)!r} holds a {card['name']}, not a {cls.name}; use cepkit.load(path)")
        tensors = cards.read_weights(path, card)
        model = cls(card["configuration"])
        own = ("name", "class", "version", "configuration", "sha256", "grid", "units")
        model.card = {k: v for k, v in card.items() if k not in own}
        model.interval, model.grid = card["interval"], {d: np.array(c) for d, c in card["grid"].items()}
        try:
            model._restore(tensors, card)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{path} was saved by another version of {cls.name} ({error}); fit it anew") from error
        return model

    def summary(self):
        """One line on where it comes from, for a page."""
        card, made = self.card, ""
        if "weights" in card:
            made = f", {card['weights']} weights, trained in {card['training seconds']:.0f} s"
        return f"profile {card.get('profile', 'none')}, data {card['data'].get('data_hash', 'without hash')}{made}"

    @property
    def nodes(self):
        """N, the number of nodes."""
        return int(np.prod([len(c) for c in self.grid.values()]))

    def _on_nodes(self, fields, argument):
        """The fields themselves; a ValueError unless they stand on the nodes that the model was made for."""
        got = {d: fields[d].values for d in SPACE if d in fields.dims}
        shape, expected = (tuple(len(c) for c in g.values()) for g in (got, self.grid))
        if got.keys() != self.grid.keys() or shape != expected:
            made = f"{self.name} was made for {tuple(self.grid)} {expected}; simulate on that grid or fit it anew"
            raise ValueError(f"{argument}: its grid {tuple(got)} has the shape {shape}; {made}")
        if not all(np.allclose(got[d], self.grid[d], atol=1e-6) for d in got if d in fields.coords):
            raise ValueError(f"{argument}: its nodes stand elsewhere than those that {self.name} was made for")
        return fields

    def _trajectory(self, fields, argument):
        """A trajectory or histories in form; a ValueError unless nodes and interval are those of the model."""
        fields = self._on_nodes(checked(fields, argument), argument)
        steps = np.diff(fields.time.values)
        if not np.allclose(steps, self.interval):
            wanted = f"its frames must be {self.interval} ms apart without a gap, as {self.name} learnt them"
            raise ValueError(f"{argument}: {wanted}; got steps from {steps.min()} to {steps.max()} ms")
        return fields

    def _told(self, stimulus, start, given, steps):
        """The stimulus in ``given`` frames up to and ``steps`` after each start, tensor (start, time, N)."""
        stimulus = self._on_nodes(in_form(stimulus, "stimulus", time=True), "stimulus")
        own, offsets = "start" in stimulus.dims, self.interval * np.arange(1 - given, steps + 1)
        if own and not np.array_equal(stimulus.start, start):
            raise ValueError("stimulus: its starts are not those of the history")
        wanted = offsets[None] if own else start[:, None] + offsets
        lacks = f"stimulus covers not every frame ({self.interval} ms) from {wanted.min()} to {wanted.max()} ms: it"
        at = matching(stimulus.time, wanted, 1e-3 * self.interval, lacks)
        if (np.diff(at) != 1).any():
            raise ValueError(f"stimulus: its frames must be {self.interval} ms apart, as {self.name} learnt them")
        cut = stimulus.values[:, at[0]] if own else stimulus.values[at]
        return torch.from_numpy(np.ascontiguousarray(cut, np.float32)).flatten(2)
