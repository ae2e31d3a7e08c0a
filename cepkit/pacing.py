"""Pacing: when and where the tissue is stimulated."""

import base64
from dataclasses import dataclass, field

import numpy as np
import xarray as xr


@dataclass(frozen=True, eq=False)
class Stimulus:
    """One current pulse.

    Parameters
    ----------
    start : float
        Onset [ms].
    region : xr.DataArray of bool
        The nodes that receive it (see :mod:`cepkit.region`).
    duration : float
        [ms]
    amplitude : float
        [pA/pF], negative = depolarising.

    Examples
    --------
    >>> everywhere = cep.region.everywhere(cep.Tissue((4, 4)))
    >>> cep.Stimulus(10.0, everywhere, duration=2.0).amplitude
    -52.0
    """

    start: float
    region: xr.DataArray = field(repr=False)
    duration: float = 1.0
    amplitude: float = -52.0

    def __post_init__(self):
        for name in ("start", "duration", "amplitude"):
            value = getattr(self, name)
            if not np.isfinite(value):
                raise ValueError(f"Stimulus: {name}={value!r} must be a finite number")
            object.__setattr__(self, name, float(value))
        if self.duration <= 0:
            raise ValueError(f"Stimulus: duration={self.duration!r} must be positive [ms]")
        if not isinstance(self.region, xr.DataArray) or self.region.dtype != bool:
            raise ValueError(
                "Stimulus: region must be a boolean DataArray on the tissue's grid; make one with "
                "cepkit.region, for example cepkit.region.corner(tissue)"
            )
        if not bool(self.region.any()):
            raise ValueError("Stimulus: region holds no node; make it larger or move it")


@dataclass(frozen=True, eq=False)
class Protocol:
    """A sequence of stimuli, in any order; where they overlap, their currents add.

    Examples
    --------
    >>> everywhere = cep.region.everywhere(cep.Tissue((4, 4)))
    >>> two = cep.Protocol([cep.Stimulus(300.0, everywhere), cep.Stimulus(0.0, everywhere)])
    >>> two.times.tolist()
    [0.0, 300.0]
    >>> (two + cep.pacing.periodic(500.0, 2, everywhere, start=600.0)).times.tolist()
    [0.0, 300.0, 600.0, 1100.0]
    """

    stimuli: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "stimuli", tuple(self.stimuli))
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
        regions, index = [], []
        for stimulus in self.stimuli:
            for k, region in enumerate(regions):
                if region is stimulus.region or np.array_equal(region.values, stimulus.region.values):
                    index.append(k)
                    break
            else:
                index.append(len(regions))
                regions.append(stimulus.region)
        return regions, index

    def describe(self):
        """The protocol as plain data, for provenance; regions as base64 of their packed bits."""
        regions, index = self.regions()
        return {
            "stimuli": [[s.start, s.duration, s.amplitude, k] for s, k in zip(self.stimuli, index, strict=True)],
            "regions": [base64.b64encode(np.packbits(r.values)).decode() for r in regions],
        }


def _positive(**values):
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value!r} must be positive")


def periodic(cycle_length, beats, region, amplitude=-52.0, duration=1.0, start=0.0):
    """``beats`` stimuli, one each ``cycle_length`` ms.

    Examples
    --------
    >>> import cepkit as cep
    >>> tissue = cep.Tissue((24, 24), spacing=10 / 23)
    >>> cep.pacing.periodic(500.0, beats=3, region=cep.region.corner(tissue)).times.tolist()
    [0.0, 500.0, 1000.0]
    """
    _positive(cycle_length=cycle_length, beats=beats, duration=duration)
    return Protocol(Stimulus(start + k * cycle_length, region, duration, amplitude) for k in range(int(beats)))


def s1s2(s1, beats, s2, region, s2_region=None, amplitude=-52.0, duration=1.0, start=0.0):
    """``beats`` stimuli at cycle length ``s1``, then one at the coupling interval ``s2`` [ms].

    Examples
    --------
    >>> everywhere = cep.region.everywhere(cep.Tissue((4, 4)))
    >>> cep.pacing.s1s2(s1=500.0, beats=3, s2=320.0, region=everywhere).times.tolist()
    [0.0, 500.0, 1000.0, 1320.0]
    """
    _positive(s1=s1, s2=s2, beats=beats)
    train = periodic(s1, beats, region, amplitude, duration, start)
    extra = train.times[-1] + s2
    return train + Protocol([Stimulus(extra, region if s2_region is None else s2_region, duration, amplitude)])


def ramp(first, last, beats, region, amplitude=-52.0, duration=1.0, start=0.0):
    """``beats`` stimuli whose intervals go evenly from ``first`` to ``last`` [ms]: pacing that speeds up or slows down.

    Examples
    --------
    >>> import cepkit as cep
    >>> tissue = cep.Tissue((24, 24), spacing=10 / 23)
    >>> cep.pacing.ramp(500.0, 300.0, beats=4, region=cep.region.corner(tissue)).times.tolist()
    [0.0, 500.0, 900.0, 1200.0]
    """
    _positive(first=first, last=last, beats=beats)
    times = start + np.concatenate([[0.0], np.cumsum(np.linspace(first, last, int(beats) - 1))])
    return Protocol(Stimulus(float(t), region, duration, amplitude) for t in times)


def cross_field(tissue, s2, width=1.5, amplitude=-52.0, duration=1.0, start=0.0):
    """A plane wave along the last axis, and after ``s2`` ms a quarter of a 2-D tissue: the way to re-entry.

    Parameters
    ----------
    tissue : Tissue
        Two axes.
    s2 : float
        Time from the first stimulus to the second [ms]; re-entry starts where the second one meets
        a tail that is half recovered.
    width : float
        Width of the strip that starts the plane wave [mm].

    Examples
    --------
    >>> sheet = cep.Tissue((9, 9), spacing=1.0)
    >>> strip, quarter = cep.pacing.cross_field(sheet, s2=280.0).stimuli
    >>> strip.start, quarter.start, int(quarter.region.sum())
    (0.0, 280.0, 25)
    """
    from cepkit import region

    if len(tissue.shape) != 2:
        raise ValueError(f"tissue has {len(tissue.shape)} axes; a cross-field protocol needs 2")
    _positive(s2=s2, width=width)
    strip = region.box(tissue, x=(0, width))
    quarter = region.box(tissue, x=(0, tissue.extent[1] / 2), y=(0, tissue.extent[0] / 2))
    first = Stimulus(start, strip, duration, amplitude)
    return Protocol([first, Stimulus(start + s2, quarter, duration, amplitude)])


def irregular(intervals, regions, seed, duration_total, amplitude=-52.0, duration=1.0, start=0.0):
    """Stimuli at random intervals and sites, reproducible by ``seed``.

    Parameters
    ----------
    intervals : (float, float)
        Shortest and longest interval [ms]; uniform between them.
    regions : sequence of xr.DataArray
        The sites to choose from.
    seed : int
    duration_total : float
        No stimulus starts at or after this time [ms].

    Returns
    -------
    Protocol

    Examples
    --------
    >>> everywhere = cep.region.everywhere(cep.Tissue((4, 4)))
    >>> random = cep.pacing.irregular((300.0, 800.0), [everywhere], seed=0, duration_total=5000.0)
    >>> gaps = np.diff(random.times)
    >>> bool((gaps >= 300).all() and (gaps <= 800).all())
    True
    """
    low, high = intervals
    _positive(shortest_interval=low, longest_interval=high, duration_total=duration_total)
    if high < low:
        raise ValueError(f"intervals={intervals!r} must be (shortest, longest)")
    rng = np.random.default_rng(seed)
    stimuli, t = [], float(start)
    while t < duration_total:
        stimuli.append(Stimulus(t, regions[rng.integers(len(regions))], duration, amplitude))
        t += rng.uniform(low, high)
    return Protocol(stimuli)


def stimulus_field(protocol, like):
    """The stimulus as a field: at each frame, the mean current until the next frame.

    Parameters
    ----------
    protocol : Protocol
    like : xr.Dataset or xr.DataArray
        Gives the time axis and the grid.

    Returns
    -------
    xr.DataArray
        Stimulus current [pA/pF], dims (time, ...) as in ``like``.

    Examples
    --------
    >>> sheet = cep.Tissue((4, 4))
    >>> protocol = cep.pacing.periodic(20.0, 2, cep.region.everywhere(sheet), start=5.0)
    >>> trajectory, _ = cep.check.toy()
    >>> field = cep.stimulus_field(protocol, like=trajectory)
    >>> field.dims, field.time.values[(field != 0).any(("y", "x"))].tolist()
    (('time', 'y', 'x'), [5.0, 25.0])
    """
    time = like["time"]
    grid = [d for d in ("z", "y", "x") if d in like.dims]
    shape = tuple(like.sizes[d] for d in grid)
    step = float(time[1] - time[0]) if time.size > 1 else 1.0
    values = np.zeros((time.size, *shape), np.float32)
    begin = time.values
    for stimulus in protocol.stimuli:
        if stimulus.region.shape != shape:
            raise ValueError(f"protocol: a region has shape {stimulus.region.shape}, the grid has {shape}")
        overlap = np.minimum(begin + step, stimulus.start + stimulus.duration) - np.maximum(begin, stimulus.start)
        for k in np.flatnonzero(overlap > 1e-12):
            values[k][stimulus.region.values] += stimulus.amplitude * overlap[k] / step
    coords = {name: like[name] for name in ("time", *grid) if name in like.coords}
    return xr.DataArray(
        values, dims=("time", *grid), coords=coords, name="stimulus",
        attrs={"units": "pA/pF", "long_name": "stimulus current"},
    )  # fmt: skip
