"""Experiments that run the solver for a number: restitution, thresholds, steady pacing, the D of a velocity."""

import numpy as np
import xarray as xr

from cepkit.cell import CONCENTRATIONS
from cepkit.fields import DURATION, number
from cepkit.measure.traces import action_potential, action_potentials, activation_map
from cepkit.pacing import Protocol, Stimulus, periodic
from cepkit.region import box, everywhere
from cepkit.solver import final_state, simulate
from cepkit.tissue import Tissue

FINE = {"save_every": 0.1, "save": ("Vm",), "progress": False}  # frames that tell an APD to a tenth of a millisecond


def restitution(s1, beats, intervals, fraction=0.9, **cell):
    """S1-S2 restitution of the single cell: ``APD`` of a premature beat against the rest ``DI`` before it [ms].

    The premature stimulus comes at each of the ``intervals`` after ``beats`` of a train with cycle length ``s1`` [ms];
    APD is NaN where it did not capture the cell.  ``cell`` are arguments of :func:`cepkit.simulate`.
    """
    intervals = np.atleast_1d(number("intervals", np.asarray(intervals, float), "ms", positive=True))
    row = Tissue((len(intervals),), spacing=1.0, diffusivity=0.0)  # all at once, in cells that are not coupled
    each = everywhere(row)
    last = (beats - 1) * s1
    S2 = [Stimulus(last + interval, each & (each["x"] == k)) for k, interval in enumerate(intervals)]
    run = simulate(row, periodic(s1, beats, each) + Protocol(S2), last + np.ceil(max(intervals)) + 600.0, **FINE | cell)
    Vm = run["Vm"].sel(time=slice(last, None))
    # The cell whose premature stimulus comes last shows the train undisturbed.
    train = Vm[:, intervals.argmax()].sel(time=slice(last, last + intervals.max()))
    before = action_potential(train, fraction)
    if np.isnan(before.APD):
        raise ValueError(f"s1={s1!r} ms: the last beat of the train is not answered, or not over before every S2")
    APD = [premature(Vm[:, k], last + s2, before, fraction) for k, s2 in enumerate(intervals)]
    DI = intervals - (float(before.repolarisation) - last)
    text = {"units": "ms"}
    coords = {"interval": ("interval", intervals, {**text, "long_name": "coupling interval"})}
    return xr.Dataset({"APD": ("interval", APD, text), "DI": ("interval", DI, text)}, coords)


def premature(Vm, since, before, fraction=0.9):
    """APD [ms] of the first beat in Vm (time,) from ``since`` [ms] on, at the level of the beat ``before``; or NaN."""
    level, time = float(before.peak - fraction * (before.peak - before.rest)), Vm["time"].values
    [spans] = action_potentials(Vm.values.astype(float)[:, None], 10, 64, fraction, level)
    up, began, ended = np.interp(spans[:, :3], np.arange(len(time)), time).T
    found = np.flatnonzero((up >= since) & (spans[:, 4] > 0))
    return (ended - began)[found[0]] if len(found) else np.nan


def steady_state(cycle_length, tolerance=1e-3, most=2000, **options):
    """Pace the cell until beats repeat: its full state when the next stimulus is due, to start from (``initial=``).

    They do when 10 beats change no concentration by more than the share ``tolerance``, and Vm by that of 100 mV.  A
    RuntimeError if ``most`` were not enough.  ``options`` are those of :func:`cepkit.simulate`.
    """
    tissue, state, change = Tissue((1, 1)), options.pop("initial", None), np.inf
    train = periodic(cycle_length, 10, everywhere(tissue))
    options = {"save_every": cycle_length, "progress": False, "save": ("Vm",)} | options
    for count in range(10, most + 1, 10):
        old, state = state, final_state(simulate(tissue, train, 10 * cycle_length, initial=state, **options))
        if old is not None:
            each = {n: np.abs(state[n] - np.asarray(old[n])) / np.abs(state[n]) for n in CONCENTRATIONS}
            each["Vm"] = np.abs(state["Vm"] - np.asarray(old["Vm"])) / 100
            change = max(float(np.max(values)) for values in each.values())
        if change < tolerance:
            return state.assign_attrs(beats=count, change=change)
    raise RuntimeError(f"most={most!r} beats were not enough: the last 10 changed the state by {change:.2g}")


def capture_threshold(duration=DURATION, tissue=None, region=None, most=500.0, wait=50.0, **options):
    """The weakest stimulus that captures [pA/pF, its strength], to one part in a thousand; by default of the cell.

    It captures if more than half of the nodes fire within ``wait`` ms after its end.
    """
    tissue, wait = tissue or Tissue((1, 1)), np.ceil(number("duration", duration, "ms", positive=True) + wait)
    region = everywhere(tissue) if region is None else region
    options = {"save_every": wait, "progress": False, "save": ("Vm",), "activation_level": 0.0} | options

    def captures(strength):
        run = simulate(tissue, Protocol([Stimulus(0.0, region, duration, -strength)]), wait, **options)
        return float(activation_map(run).notnull().mean()) > 0.5

    low, high = 0.0, float(most)
    if captures(low) or not captures(high):
        said = "fires by itself" if captures(low) else f"is not captured by most={most!r} pA/pF"
        raise ValueError(f"with duration={duration!r} ms and these options the tissue {said}")
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if captures(middle) else (middle, high)
    return high


def strength_duration(durations, **options):
    """The :func:`capture_threshold` at each duration [ms]; Weiss's ``rheobase``, ``chronaxie`` [ms] in its attrs."""
    durations = np.atleast_1d(number("durations", durations, "ms", positive=True)).astype(float)
    strength = np.array([capture_threshold(float(d), **options) for d in durations])
    slope, charge = np.polyfit(durations, strength * durations, 1) if len(set(durations)) > 1 else (np.nan, np.nan)
    attrs = {"units": "pA/pF", "long_name": "capture threshold", "rheobase": slope, "chronaxie": charge / slope}
    return xr.DataArray(strength, {"duration": ("duration", durations, {"units": "ms"})}, name="strength", attrs=attrs)


def diffusivity_for(velocity, spacing=0.1, tolerance=1e-3, **options):
    """The D [mm2/ms] whose wave runs at ``velocity`` [m/s], to the share ``tolerance``, on a cable of this ``spacing``.

    A ValueError if no wave crosses the cable.
    """
    n = round(20.0 / number("spacing", spacing, "mm", positive=True)) + 1
    D = 0.3 * number("velocity", velocity, "m/s", positive=True) ** 2
    options = {"save_every": (wait := float(np.ceil(60.0 / velocity + 10))), "progress": False} | options
    for _ in range(20):
        cable = Tissue((n,), spacing, D)
        start = Protocol([Stimulus(0.0, box(cable, x=(0, 1.0)), 2.0)])
        a, b = activation_map(simulate(cable, start, wait, **options)).sel(x=[5.0, 15.0], method="nearest")
        found = float((b.x - a.x) / (b - a))
        if not np.isfinite(found):
            break
        if abs(found / velocity - 1) < tolerance:
            return D
        D *= (velocity / found) ** 2  # speed grows about with the root of D
    raise ValueError(f"velocity={velocity!r} m/s is not met at spacing={spacing!r} mm: a finer one may carry that wave")
