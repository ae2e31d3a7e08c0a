"""Checks of exercises on the cell, the sheet and the golden standard."""

import numpy as np
import xarray as xr

from cepkit.check import answers


def rush_larsen(step):
    """Check ``step(y, target, tau, dt)``, one step of Rush and Larsen for a gate.

    Parameters
    ----------
    step : callable
        Gate, its steady state, its time constant [ms] and the time step [ms] -> the gate a step later.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.rush_larsen(lambda y, target, tau, dt: y + dt * (target - y) / tau)
    That is Euler's step: it overshoots where the step is longer than the time constant.
    False
    """

    def right(y, target, tau, dt):
        return target + (y - target) * np.exp(-dt / tau)

    return answers.function(
        step,
        right,
        [(0.1, 0.9, 2.0, 0.5), (0.8, 0.3, 0.5, 2.0), (0.0, 1.0, 10.0, 1.0)],
        {
            "That is Euler's step: it overshoots where the step is longer than the time constant.": (
                lambda y, target, tau, dt: y + dt * (target - y) / tau
            ),
            "The exponent has the wrong sign: the distance to the target must shrink.": (
                lambda y, target, tau, dt: target + (y - target) * np.exp(dt / tau)
            ),
            "The exponent is upside down: a long step must come nearer to the target than a short one.": (
                lambda y, target, tau, dt: target + (y - target) * np.exp(-tau / dt)
            ),
            "Start and target are swapped: for a very long step the gate must arrive at its target.": (
                lambda y, target, tau, dt: y + (target - y) * np.exp(-dt / tau)
            ),
        },
    )


def apd90(duration):
    """Check ``duration(Vm)``, the APD90 of a beat [ms].

    Parameters
    ----------
    duration : callable
        Potential [mV], an ``xr.DataArray`` over ``time`` [ms] -> one number.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.apd90(lambda Vm: float(cep.measure.action_potential(Vm, 0.5).APD))
    That is where half has repolarised: APD90 waits for nine tenths.
    False
    """
    from cepkit.measure import action_potential

    def part(name, fraction=0.9):
        return lambda Vm: float(action_potential(Vm, fraction)[name])

    def from_zero(Vm):
        above = Vm.time[Vm.values > 0.1 * float(Vm.max())]
        return float(above[-1] - above[0])

    def whole_frames(Vm):
        rest, peak = float(Vm.min()), float(Vm.max())
        above = Vm.time[Vm.values > peak - 0.9 * (peak - rest)]
        return float(above[-1] - above[0])

    def frames(Vm):
        return part("APD")(Vm) / float(Vm.time[1] - Vm.time[0])

    return answers.function(
        duration,
        part("APD"),
        [(_pulse(-85.0, 35.0, 280.0),), (_pulse(-70.0, 20.0, 190.0, 0.5),), (_pulse(-80.0, 30.0, 330.0, 4.0),)],
        {
            "That is where half has repolarised: APD90 waits for nine tenths.": part("APD", 0.5),
            "The level is a tenth of the way up: APD90 ends where a tenth is left, and that is counted from rest.": (
                part("APD", 0.1)
            ),
            "Nine tenths of what? The level lies between rest and peak; zero has no meaning here.": from_zero,
            "That is the time at which the beat ends. A duration begins at the crossing on the way up.": (
                part("repolarisation")
            ),
            "You count frames. They are not always a millisecond apart: use the time coordinate.": frames,
            "Your crossings sit on frames: interpolate between the frame before and the frame after.": whole_frames,
        },
        tolerance=2e-3,
    )


def _pulse(rest, peak, lasts, step=1.0):
    """An action potential made of straight lines, 20.3 ms after the first frame."""
    t = np.arange(0.0, 500.0, step)
    corners = np.array([0.0, 20.3, 25.7, 20.3 + 0.7 * lasts, 20.3 + lasts, 500.0])
    Vm = np.interp(t, corners, [rest, rest, peak, peak - 0.3 * (peak - rest), rest, rest])
    return xr.DataArray(Vm, {"time": t}, ("time",), name="Vm", attrs={"units": "mV"})


def threshold(value):
    """Check the weakest stimulus of 1 ms that makes the resting cell fire [pA/pF, its strength, a positive number].

    Parameters
    ----------
    value : float

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.threshold(-24.0)
    The sign is the other way round, and that is not all. The unit asked for is pA/pF.
    False
    """
    from cepkit import Protocol, Stimulus, Tissue, region
    from cepkit.solver import simulate

    strengths = np.arange(15.0, 35.0, 0.1)
    row = Tissue((len(strengths),), diffusivity=0.0)
    each = region.everywhere(row)
    pulses = Protocol(
        Stimulus(0.0, each & (np.arange(len(strengths)) == k), amplitude=-s) for k, s in enumerate(strengths)
    )
    peak = simulate(row, pulses, 20.0, save_every=0.2, progress=False)["Vm"].max("time").values
    weakest = float(strengths[peak > 0].min())
    silent = float(strengths[peak <= 0].max())
    return answers.number(
        value, weakest, "pA/pF", tolerance=0.03 / weakest, mistakes={"With this one the cell stays silent.": silent}
    )


def conduction_velocity(velocity):
    """Check ``velocity(Vm, start, end)``, the speed of a front between two places [m/s].

    Parameters
    ----------
    velocity : callable
        One beat, dims (time, y, x) [mV, ms, mm], and two positions by axis [mm] -> one number.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.conduction_velocity(cep.measure.conduction_velocity)
    That is right.
    True
    """
    from cepkit import measure

    def nodes(Vm, start, end):
        return measure.conduction_velocity(Vm, start, end) / float(Vm["x"][1] - Vm["x"][0])

    def along_x(Vm, start, end):
        when = measure.activation_time(Vm)
        a, b = (when.sel(place, method="nearest") for place in (start, end))
        return float((b.x - a.x) / (b - a))

    def unsigned(Vm, start, end):
        return abs(measure.conduction_velocity(Vm, start, end))

    Vm = _plane_wave()
    return answers.function(
        velocity,
        measure.conduction_velocity,
        [(Vm, {"y": 1.0, "x": 1.0}, {"y": 2.5, "x": 3.0}), (Vm, {"y": 3.0, "x": 3.0}, {"y": 1.0, "x": 1.5})],
        {
            "You count nodes. Distance is in millimetres: use the coordinates.": nodes,
            "The two places differ along both axes: the distance is that of Pythagoras.": along_x,
            "A wave that reaches the end first has a negative velocity: keep the sign.": unsigned,
        },
        tolerance=0.02,
    )


def _plane_wave():
    """An oblique front on a sheet of 9 x 9 nodes, half a millimetre apart."""
    axis = 0.5 * np.arange(9.0)
    t = np.arange(0.0, 60.0)
    arrival = 10.0 + 4.0 * axis[:, None] + 3.0 * axis
    Vm = -85.0 + 120.0 / (1.0 + np.exp(-(t[:, None, None] - arrival) * 3.0))
    return xr.DataArray(Vm, {"time": t, "y": axis, "x": axis}, ("time", "y", "x"), name="Vm", attrs={"units": "mV"})


def stimulus_potassium(value, beats):
    """Check by how much the potassium of a cell would rise if it kept what the stimuli carry in [mM].

    Parameters
    ----------
    value : float
    beats : int
        Stimuli of 52 pA/pF for 1 ms.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.stimulus_potassium(1e6, beats=109)
    Too large. The unit asked for is mM.
    False
    """
    from cepkit.cell import Constants

    c = Constants()
    charge = beats * 52.0 * 1.0 * c.Cm / c.F
    return answers.number(
        value,
        charge / c.Vc,
        "mM",
        mistakes={
            "That is one beat: multiply by their number.": charge / c.Vc / beats,
            "That spreads the ions over the store. They go into the cytosol.": charge / c.Vsr,
            "That spreads the ions over the subspace. They go into the cytosol.": charge / c.Vss,
            "The charge of a mole of ions is missing: divide by F.": charge * c.F / c.Vc,
            "The capacitance is missing: the current is given for each picofarad.": charge / c.Vc / c.Cm,
        },
    )
