"""Pacing: when and where the tissue is stimulated."""

import base64
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from cepkit.fields import AMPLITUDE, DURATION, SPACE, in_form, in_order, number, time_of
from cepkit.region import box


@dataclass(frozen=True, eq=False)
class Stimulus:
    """One current pulse.

    Examples
    --------
    >>> cep.Stimulus(10.0, cep.region.everywhere(cep.Tissue((4, 4))), duration=2.0).amplitude
    -52.0
    """

    start: float  # [ms]
    region: xr.DataArray = field(repr=False)  # of booleans: the nodes that receive it (see cepkit.region)
    duration: float = DURATION  # [ms]
    amplitude: float = AMPLITUDE  # [pA/pF], negative = depolarising

    def __post_init__(self):
        for name in ("start", "duration", "amplitude"):
            self.__dict__[name] = float(number(f"Stimulus: {name}", getattr(self, name), positive=name == "duration"))
        if not isinstance(self.region, xr.DataArray) or self.region.dtype != bool:
            hint = "make one with cepkit.region, for example cepkit.region.corner(tissue)"
            raise ValueError(f"Stimulus: region must be a boolean DataArray on the tissue's grid; {hint}")
        self.__dict__["region"] = in_order(self.region)
        if not self.region.values.any():
            raise ValueError("Stimulus: region holds no node; make it larger or move it")


@dataclass(frozen=True, eq=False)
class Protocol:
    """A sequence of stimuli, in any order; where they overlap, their currents add.

    Examples
    --------
    >>> everywhere = cep.region.everywhere(cep.Tissue((4, 4)))
    >>> first = cep.Protocol([cep.Stimulus(0.0, everywhere)])
    >>> (first + cep.pacing.periodic(500.0, 2, everywhere, start=600.0)).times.tolist()
    [0.0, 600.0, 1100.0]
    """

    stimuli: tuple = ()

    def __post_init__(self):
        self.__dict__["stimuli"] = tuple(self.stimuli)
        for stimulus in self.stimuli:
            if not isinstance(stimulus, Stimulus):
                raise ValueError(f"Protocol: {stimulus!r} is not a Stimulus")

    def __add__(self, other):
        return Protocol(self.stimuli + other.stimuli)

    @property
    def times(self):
        """Onsets [ms], sorted."""
        return np.sort([s.start for s in self.stimuli])

    def regions(self):
        """The distinct regions, and for each stimulus the index of its own."""
        known = {}  # what a region holds -> its number and itself
        keys = [(s.region.shape, s.region.values.tobytes()) for s in self.stimuli]
        index = [known.setdefault(key, (len(known), s.region))[0] for key, s in zip(keys, self.stimuli, strict=True)]
        return [region for _, region in known.values()], index

    def check(self, shape):
        """A ValueError if a region is not of this shape, the tissue's."""
        for its in (s.region.shape for s in self.stimuli):
            if its != shape:
                said = f"a region has shape {its}, the tissue has {shape}; make the region with this tissue"
                raise ValueError(f"protocol: {said}")

    def describe(self):
        """The protocol as plain data, for provenance; regions as base64 of their packed bits."""
        regions, index = self.regions()
        return {
            "stimuli": [[s.start, s.duration, s.amplitude, k] for s, k in zip(self.stimuli, index, strict=True)],
            "regions": [base64.b64encode(np.packbits(r.values)).decode() for r in regions],
        }


def periodic(cycle_length, beats, region, amplitude=AMPLITUDE, duration=DURATION, start=0.0):
    """``beats`` stimuli, one each ``cycle_length`` ms."""
    number("cycle_length", cycle_length, "ms", positive=True)
    if number("beats", beats, positive=True) != int(beats):
        raise ValueError(f"beats={beats!r} must be a whole number")
    return Protocol(Stimulus(start + k * cycle_length, region, duration, amplitude) for k in range(int(beats)))


def s1s2(s1, beats, s2, region, s2_region=None, amplitude=AMPLITUDE, duration=DURATION, start=0.0):
    """``beats`` stimuli at cycle length ``s1``, then one at the coupling interval ``s2`` [ms]."""
    number("s2", s2, "ms", positive=True)
    train = periodic(s1, beats, region, amplitude, duration, start)
    extra = Stimulus(train.times[-1] + s2, region if s2_region is None else s2_region, duration, amplitude)
    return train + Protocol([extra])


def ramp(first, last, beats, region, amplitude=AMPLITUDE, duration=DURATION, start=0.0):
    """``beats`` stimuli whose intervals go evenly from ``first`` to ``last`` [ms]: pacing that speeds up, or slows."""
    number("(first, last, beats)", (first, last, beats), positive=True)
    times = start + np.concatenate([[0.0], np.cumsum(np.linspace(first, last, int(beats) - 1))])
    return Protocol(Stimulus(float(t), region, duration, amplitude) for t in times)


def cross_field(tissue, s2, width=1.5, amplitude=AMPLITUDE, duration=DURATION, start=0.0):
    """Re-entry in a 2-D tissue: a plane wave along x from a strip of ``width`` mm, and a quarter after ``s2`` ms."""
    if len(tissue.shape) != 2:
        raise ValueError(f"tissue has {len(tissue.shape)} axes; a cross-field protocol needs 2")
    strip = box(tissue, x=(0, number("width", width, "mm", positive=True)))
    quarter = box(tissue, x=(0, tissue.extent[1] / 2), y=(0, tissue.extent[0] / 2))
    later = start + number("s2", s2, "ms", positive=True)
    return Protocol([Stimulus(start, strip, duration, amplitude), Stimulus(later, quarter, duration, amplitude)])


def irregular(intervals, regions, seed, duration_total, amplitude=AMPLITUDE, duration=DURATION, start=0.0):
    """Stimuli at intervals uniform in ``intervals`` [ms], each at one of ``regions``, before ``duration_total``."""
    low, high = number("intervals", intervals, "ms", positive=True)
    number("duration_total", duration_total, "ms", positive=True)
    if high < low:
        raise ValueError(f"intervals={intervals!r} must be (shortest, longest)")
    rng, stimuli, t = np.random.default_rng(seed), [], float(start)
    while t < duration_total:
        stimuli.append(Stimulus(t, regions[rng.integers(len(regions))], duration, amplitude))
        t += rng.uniform(low, high)
    return Protocol(stimuli)


def stimulus_field(protocol, like):
    """The stimulus [pA/pF] on the times and the grid of ``like``: at each frame, the mean until the next frame.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> protocol = cep.pacing.periodic(20.0, 2, cep.region.everywhere(cep.Tissue((4, 4))), start=5.0)
    >>> field = cep.stimulus_field(protocol, like=trajectory)
    >>> field.dims, field.time.values[(field != 0).any(("y", "x"))].tolist()
    (('time', 'y', 'x'), [5.0, 25.0])
    """
    if not isinstance(protocol, Protocol):
        raise ValueError(f"protocol={protocol!r} must be a cepkit.Protocol")
    like = in_form(like, "like", time=True)
    begin, grid = like[time_of(like)].values, [d for d in SPACE if d in like.dims]
    shape = tuple(like.sizes[d] for d in grid)
    protocol.check(shape)
    steps = np.diff(begin, append=2 * begin[-1] - begin[-2] if begin.size > 1 else begin[-1] + 1.0)
    values = np.zeros((begin.size, *shape), np.float32)
    for stimulus in protocol.stimuli:
        overlap = np.minimum(begin + steps, stimulus.start + stimulus.duration) - np.maximum(begin, stimulus.start)
        for k in np.flatnonzero(overlap > 1e-12):
            values[k][stimulus.region.values] += stimulus.amplitude * overlap[k] / steps[k]
    coords = {name: like[name] for name in ("time", *grid) if name in like.coords}
    attrs = {"units": "pA/pF", "long_name": "stimulus current"}
    return xr.DataArray(values, dims=("time", *grid), coords=coords, name="stimulus", attrs=attrs)
